/* Bounded big-endian reads and writes over a byte span. A cursor that overran stays overrun: every later read
 * gives zeros, every later write does nothing, and the caller asks once at the end. */
#ifndef CT_BASE_CURSOR_H
#define CT_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t ct__be16(const uint8_t *at) {
    return (uint16_t)((uint32_t)at[0] << 8 | at[1]);
}

static inline uint32_t ct__be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static inline void ct__be16_put(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void ct__be32_put(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

typedef struct ct__reader {
    const uint8_t *at;
    size_t left;
    bool overran;
} ct__reader;

/* The next n bytes, borrowed from the input; NULL when fewer are left. */
static inline const uint8_t *ct__read_span(ct__reader *r, size_t n) {
    if (r->overran || r->left < n) {
        r->overran = true;
        return NULL;
    }
    const uint8_t *span = r->at;
    r->at += n;
    r->left -= n;
    return span;
}

static inline uint32_t ct__read_u16(ct__reader *r) {
    const uint8_t *span = ct__read_span(r, 2);
    return span != NULL ? ct__be16(span) : 0;
}

static inline uint32_t ct__read_u32(ct__reader *r) {
    const uint8_t *span = ct__read_span(r, 4);
    return span != NULL ? ct__be32(span) : 0;
}

static inline uint64_t ct__read_u64(ct__reader *r) {
    const uint64_t high = ct__read_u32(r);
    return high << 32 | ct__read_u32(r);
}

typedef struct ct__writer {
    uint8_t *at;
    size_t left;
    bool overran;
} ct__writer;

static inline uint8_t *ct__write_span(ct__writer *w, size_t n) {
    if (w->overran || w->left < n) {
        w->overran = true;
        return NULL;
    }
    uint8_t *span = w->at;
    w->at += n;
    w->left -= n;
    return span;
}

static inline void ct__write_u16(ct__writer *w, uint16_t value) {
    uint8_t *span = ct__write_span(w, 2);
    if (span != NULL)
        ct__be16_put(span, value);
}

static inline void ct__write_u32(ct__writer *w, uint32_t value) {
    uint8_t *span = ct__write_span(w, 4);
    if (span != NULL)
        ct__be32_put(span, value);
}

static inline void ct__write_u64(ct__writer *w, uint64_t value) {
    ct__write_u32(w, (uint32_t)(value >> 32));
    ct__write_u32(w, (uint32_t)value);
}

static inline void ct__write_bytes(ct__writer *w, const void *data, size_t n) {
    uint8_t *span = ct__write_span(w, n);
    if (span != NULL && n > 0)
        memcpy(span, data, n);
}

#endif
