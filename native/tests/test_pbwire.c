#include "proto/pbwire.h"

#include "ct_test.h"

static void fields_come_back(void) {
    uint8_t buf[64];
    ct__writer w = {.at = buf, .left = sizeof buf};
    ct__pb_put_varint(&w, 1, 300);
    ct__pb_put_bytes(&w, 2, "testing", 7);
    ct__pb_put_varint(&w, 536870911, UINT64_MAX);
    CHECK(!w.overran);
    /* the encodings that protobuf's own documentation shows */
    CHECK(memcmp(buf, "\x08\xac\x02\x12\x07testing", 12) == 0);

    ct__reader r = {.at = buf, .left = (size_t)(w.at - buf)};
    ct__pb_field field;
    CHECK_INT(ct__pb_next(&r, &field), 1);
    CHECK_INT(field.number, 1);
    CHECK_INT(field.value, 300);
    CHECK_INT(ct__pb_next(&r, &field), 1);
    CHECK_INT(field.type, CT__PB_BYTES);
    CHECK_INT(field.len, 7);
    CHECK(memcmp(field.data, "testing", 7) == 0);
    CHECK_INT(ct__pb_next(&r, &field), 1);
    CHECK_INT(field.number, 536870911);
    CHECK(field.value == UINT64_MAX);
    CHECK_INT(ct__pb_next(&r, &field), 0);
}

static void fixed_fields_are_little_endian(void) {
    const uint8_t bytes[] = {0x0D, 1, 2, 3, 4, 0x11, 1, 0, 0, 0, 0, 0, 0, 0x80};
    ct__reader r = {.at = bytes, .left = sizeof bytes};
    ct__pb_field field;
    CHECK_INT(ct__pb_next(&r, &field), 1);
    CHECK_INT(field.value, 0x04030201);
    CHECK_INT(ct__pb_next(&r, &field), 1);
    CHECK(field.value == UINT64_C(0x8000000000000001));
}

static int first(const char *bytes, size_t len) {
    ct__reader r = {.at = (const uint8_t *)bytes, .left = len};
    ct__pb_field field;
    return ct__pb_next(&r, &field);
}

static void cut_short_is_more_and_nonsense_is_malformed(void) {
    CHECK_INT(first("\x08", 1), CT_E_MORE);
    CHECK_INT(first("\x08\x80", 2), CT_E_MORE);
    CHECK_INT(first("\x12\x05xx", 4), CT_E_MORE);
    CHECK_INT(first("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), CT_E_MORE);
    CHECK_INT(first("\x0d\x01\x02", 3), CT_E_MORE);
    CHECK_INT(first("\x00\x01", 2), CT_E_MALFORMED);                                              /* field 0 */
    CHECK_INT(first("\x0b", 1), CT_E_MALFORMED);                                                  /* a group */
    CHECK_INT(first("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11), CT_E_MALFORMED);         /* 65 bits */
    CHECK_INT(first("\xff\xff\xff\xff\xff\x01", 6), CT_E_MALFORMED);                              /* a huge tag */
}

static void a_failed_reader_stays_failed(void) {
    ct__reader r = {.at = (const uint8_t *)"\x12\x09xx", .left = 4};
    ct__pb_field field;
    CHECK_INT(ct__pb_next(&r, &field), CT_E_MORE);
    CHECK_INT(ct__pb_next(&r, &field), CT_E_MORE);
}

static void a_full_writer_says_so(void) {
    uint8_t buf[4];
    ct__writer w = {.at = buf, .left = sizeof buf};
    ct__pb_put_bytes(&w, 1, "abc", 3);
    CHECK(w.overran);
}

int main(void) {
    static const ct_case cases[] = {CASE(fields_come_back), CASE(fixed_fields_are_little_endian),
                                    CASE(cut_short_is_more_and_nonsense_is_malformed), CASE(a_failed_reader_stays_failed),
                                    CASE(a_full_writer_says_so)};
    return RUN("pbwire", cases);
}
