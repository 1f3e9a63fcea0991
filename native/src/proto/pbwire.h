/* Protobuf's wire format, bounded: fields in, fields out. What a field means is the caller's business. */
#ifndef CT_PROTO_PBWIRE_H
#define CT_PROTO_PBWIRE_H

#include "base/abi.h"
#include "base/cursor.h"

enum { CT__PB_VARINT = 0, CT__PB_FIXED64 = 1, CT__PB_BYTES = 2, CT__PB_FIXED32 = 5 };

typedef struct ct__pb_field {
    uint32_t number;
    uint32_t type;       /* CT__PB_... */
    uint64_t value;      /* of a varint or fixed field */
    const uint8_t *data; /* of a bytes field; borrows the input */
    size_t len;
} ct__pb_field;

/* Takes the next field off the reader. Returns 1, 0 at the end, CT_E_MORE when the input ends inside a field,
 * CT_E_MALFORMED (field number 0, a varint above 64 bits, a group or unknown type). Writes *out only on 1. */
int ct__pb_next(ct__reader *r, ct__pb_field *out);

/* These write whole fields; an output that is too small shows as w->overran. */
void ct__pb_put_varint(ct__writer *w, uint32_t number, uint64_t value);
void ct__pb_put_bytes(ct__writer *w, uint32_t number, const void *data, size_t len);

/* What stands before the bytes of a field that are themselves written elsewhere. */
void ct__pb_put_bytes_head(ct__writer *w, uint32_t number, size_t len);

#endif
