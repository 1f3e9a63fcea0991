#include "proto/pbwire.h"

enum { VARINT_BYTES_MAX = 10 };

static int varint(ct__reader *r, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        const uint8_t *byte = ct__read_span(r, 1);
        if (byte == NULL)
            return CT_E_MORE;
        if (i == VARINT_BYTES_MAX - 1 && *byte > 1)
            return CT_E_MALFORMED; /* bits above the 64th */
        value |= (uint64_t)(*byte & 0x7F) << (7 * i);
        if ((*byte & 0x80) == 0) {
            *out = value;
            return 0;
        }
    }
    return CT_E_MALFORMED;
}

static uint64_t little(const uint8_t *at, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static int fixed(ct__reader *r, unsigned count, uint64_t *out) {
    const uint8_t *span = ct__read_span(r, count);
    if (span == NULL)
        return CT_E_MORE;
    *out = little(span, count);
    return 0;
}

int ct__pb_next(ct__reader *r, ct__pb_field *out) {
    if (r->overran)
        return CT_E_MORE;
    if (r->left == 0)
        return 0;
    uint64_t tag = 0;
    int result = varint(r, &tag);
    if (result < 0)
        return result;
    if (tag > UINT32_MAX || tag >> 3 == 0)
        return CT_E_MALFORMED;
    ct__pb_field field = {.number = (uint32_t)(tag >> 3), .type = (uint32_t)(tag & 7)};
    switch (field.type) {
    case CT__PB_VARINT:
        result = varint(r, &field.value);
        break;
    case CT__PB_FIXED64:
        result = fixed(r, 8, &field.value);
        break;
    case CT__PB_FIXED32:
        result = fixed(r, 4, &field.value);
        break;
    case CT__PB_BYTES: {
        uint64_t len = 0;
        result = varint(r, &len);
        if (result < 0)
            break;
        if (len > r->left) { /* before it becomes a size */
            r->overran = true;
            return CT_E_MORE;
        }
        field.len = (size_t)len;
        field.data = ct__read_span(r, field.len);
        break;
    }
    default:
        return CT_E_MALFORMED;
    }
    if (result < 0)
        return result;
    *out = field;
    return 1;
}

static void put_raw_varint(ct__writer *w, uint64_t value) {
    uint8_t bytes[VARINT_BYTES_MAX];
    size_t len = 0;
    do {
        bytes[len] = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        value >>= 7;
        len++;
    } while (value != 0);
    ct__write_bytes(w, bytes, len);
}

void ct__pb_put_varint(ct__writer *w, uint32_t number, uint64_t value) {
    put_raw_varint(w, (uint64_t)number << 3 | CT__PB_VARINT);
    put_raw_varint(w, value);
}

void ct__pb_put_bytes_head(ct__writer *w, uint32_t number, size_t len) {
    put_raw_varint(w, (uint64_t)number << 3 | CT__PB_BYTES);
    put_raw_varint(w, len);
}

void ct__pb_put_bytes(ct__writer *w, uint32_t number, const void *data, size_t len) {
    ct__pb_put_bytes_head(w, number, len);
    ct__write_bytes(w, data, len);
}
