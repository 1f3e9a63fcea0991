/* Frames of the guest protocol. No I/O and no allocation: host, workers' tests and fuzzers link this file alone. */

#include "base/abi.h"
#include "base/cursor.h"

/* The length meets `limit` before any sum, so a hostile guest can cause neither an overflow nor an allocation. */
int ct_frame_split(const uint8_t *buf, size_t len, size_t limit, ct_frame *out) {
    if (len < CT_FRAME_HEADER_BYTES)
        return CT_E_MORE;
    const size_t body = ct__be32(buf);
    if (ct__be16(buf + 6) != 0)
        return CT_E_MALFORMED;
    if (body > limit)
        return CT_E_TOOBIG;
    if (len - CT_FRAME_HEADER_BYTES < body)
        return CT_E_MORE;
    *out = (ct_frame){.kind = buf[4],
                      .flags = buf[5],
                      .call_id = ct__be32(buf + 8),
                      .body = buf + CT_FRAME_HEADER_BYTES,
                      .len = body,
                      .used = CT_FRAME_HEADER_BYTES + body};
    return 0;
}

int ct_frame_scan(const uint8_t *buf, size_t len, size_t limit, ct_frame *out, size_t cap, size_t *used) {
    size_t at = 0;
    int count = 0;
    while ((size_t)count < cap) {
        const int result = ct_frame_split(buf + at, len - at, limit, &out[count]);
        if (result == CT_E_MORE)
            break;
        if (result < 0) {
            if (count == 0)
                return result;
            break;
        }
        at += out[count].used;
        count++;
    }
    *used = at;
    return count;
}

int ct_frame_put(uint8_t *out, uint8_t kind, uint8_t flags, uint32_t call_id, size_t body_len) {
    if (body_len > UINT32_MAX)
        return CT_E_TOOBIG;
    ct__be32_put(out, (uint32_t)body_len);
    out[4] = kind;
    out[5] = flags;
    ct__be16_put(out + 6, 0);
    ct__be32_put(out + 8, call_id);
    return 0;
}

int ct_exec_head_get(const uint8_t *buf, size_t len, ct_exec_head *out) {
    if (len < CT_EXEC_HEAD_BYTES)
        return CT_E_MORE;
    memcpy(out->request_id, buf, sizeof out->request_id);
    memcpy(out->trace_id, buf + 16, sizeof out->trace_id);
    memcpy(out->span_id, buf + 32, sizeof out->span_id);
    out->remaining_ms = ct__be32(buf + 40);
    out->flags = ct__be32(buf + 44);
    return 0;
}

void ct_exec_head_put(uint8_t *out, const ct_exec_head *head) {
    memcpy(out, head->request_id, sizeof head->request_id);
    memcpy(out + 16, head->trace_id, sizeof head->trace_id);
    memcpy(out + 32, head->span_id, sizeof head->span_id);
    ct__be32_put(out + 40, head->remaining_ms);
    ct__be32_put(out + 44, head->flags);
}
