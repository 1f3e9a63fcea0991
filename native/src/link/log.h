/* What a worker's process printed: bytes up to a bound, what comes after is dropped and the log marked as cut. */
#ifndef CT_LINK_LOG_H
#define CT_LINK_LOG_H

#include "base/abi.h"

#include <stdbool.h>

typedef struct ct__log {
    uint8_t *base; /* NULL until something was printed */
    uint32_t len, cap, limit;
    bool is_cut;
} ct__log;

static inline bool ct__log_is_empty(const ct__log *log) {
    return log->len == 0 && !log->is_cut;
}

/* Without memory for it, what is added is dropped as if it were above the bound. */
void ct__log_add(ct__log *log, const uint8_t *data, size_t len, bool is_cut);

/* The last bytes, at most `count`; borrowed until the next add. */
const uint8_t *ct__log_tail(const ct__log *log, size_t count, size_t *len);
void ct__log_free(ct__log *log);

#endif
