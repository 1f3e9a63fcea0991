#include "proto/page.h"

#include <string.h>

bool ct__page_put(ct__page_side *side, const uint8_t *frame, size_t len, uint32_t after) {
    if (len == 0 || len > sizeof side->frame || atomic_load_explicit(&side->len, memory_order_acquire) != 0)
        return false;
    memcpy(side->frame, frame, len);
    atomic_store_explicit(&side->after, after, memory_order_relaxed);
    atomic_store_explicit(&side->len, (uint32_t)len, memory_order_release);
    return true;
}

int ct__page_take(ct__page_side *side, uint32_t seen, uint8_t out[CT__PAGE_FRAME_BYTES]) {
    const uint32_t len = atomic_load_explicit(&side->len, memory_order_acquire);
    const uint32_t after = atomic_load_explicit(&side->after, memory_order_relaxed);
    if (len == 0 || (int32_t)(after - seen) > 0) /* they may wrap */
        return 0;
    if (len > sizeof side->frame)
        return CT_E_TOOBIG;
    memcpy(out, side->frame, len);
    atomic_store_explicit(&side->len, 0, memory_order_release);
    return (int)len;
}

int ct__page_split(const uint8_t block[CT__PAGE_FRAME_BYTES], int len, ct_frame *out) {
    if (len <= 0)
        return len == 0 ? CT_E_MORE : len;
    const int result = ct_frame_split(block, (size_t)len, CT__PAGE_FRAME_BYTES, out);
    return result == CT_E_MORE || (result == 0 && out->used != (size_t)len) ? CT_E_MALFORMED : result;
}
