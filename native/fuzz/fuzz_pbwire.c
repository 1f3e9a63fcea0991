/* Fields that are read and written again are read as the same fields. */
#include "proto/pbwire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds) {
    if (!holds)
        abort();
}

static void rewrite(const ct__pb_field *field) {
    uint8_t buf[8192];
    ct__writer w = {.at = buf, .left = sizeof buf};
    if (field->type == CT__PB_BYTES)
        ct__pb_put_bytes(&w, field->number, field->data, field->len);
    else
        ct__pb_put_varint(&w, field->number, field->value);
    if (w.overran)
        return;
    ct__reader r = {.at = buf, .left = (size_t)(w.at - buf)};
    ct__pb_field back;
    must(ct__pb_next(&r, &back) == 1);
    must(back.number == field->number && back.value == field->value && back.len == field->len);
    must(back.len == 0 || memcmp(back.data, field->data, back.len) == 0);
    must(ct__pb_next(&r, &back) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ct__reader r = {.at = data, .left = size};
    ct__pb_field field;
    int result;
    while ((result = ct__pb_next(&r, &field)) == 1) {
        must(field.number > 0);
        must(field.type != CT__PB_BYTES || (field.data >= data && field.data + field.len <= data + size));
        rewrite(&field);
    }
    must(result == 0 || result == CT_E_MORE || result == CT_E_MALFORMED);
    return 0;
}
