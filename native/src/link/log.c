#include "link/log.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 256 };

static bool make_room(ct__log *log, uint32_t needed) {
    if (needed <= log->cap)
        return true;
    uint32_t cap = log->cap == 0 ? FIRST_BYTES : log->cap;
    while (cap < needed)
        cap = cap > log->limit / 2 ? log->limit : 2 * cap; /* needed is within the limit */
    uint8_t *grown = realloc(log->base, cap);
    if (grown == NULL)
        return false;
    log->base = grown;
    log->cap = cap;
    return true;
}

void ct__log_add(ct__log *log, const uint8_t *data, size_t len, bool is_cut) {
    if (is_cut)
        log->is_cut = true;
    const size_t left = log->limit - log->len;
    if (len > left) {
        log->is_cut = true;
        len = left;
    }
    if (len == 0)
        return;
    if (!make_room(log, log->len + (uint32_t)len)) {
        log->is_cut = true;
        return;
    }
    memcpy(log->base + log->len, data, len);
    log->len += (uint32_t)len;
}

const uint8_t *ct__log_tail(const ct__log *log, size_t count, size_t *len) {
    *len = count < log->len ? count : log->len;
    return log->base != NULL ? log->base + log->len - *len : NULL;
}

void ct__log_free(ct__log *log) {
    free(log->base);
    log->base = NULL;
    log->len = log->cap = 0;
    log->is_cut = false;
}
