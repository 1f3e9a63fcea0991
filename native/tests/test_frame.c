#include "base/abi.h"
#include "ct_test.h"

static void put_and_split_agree(void) {
    uint8_t buf[CT_FRAME_HEADER_BYTES + 5];
    ct_frame frame;
    CHECK_INT(ct_frame_put(buf, 4, 9, 0xA1B2C3D4, 5), 0);
    memcpy(buf + CT_FRAME_HEADER_BYTES, "hello", 5);
    CHECK_INT(ct_frame_split(buf, sizeof buf, 5, &frame), 0);
    CHECK_INT(frame.kind, 4);
    CHECK_INT(frame.flags, 9);
    CHECK_INT(frame.call_id, 0xA1B2C3D4);
    CHECK_INT(frame.len, 5);
    CHECK_INT(frame.used, sizeof buf);
    CHECK(memcmp(frame.body, "hello", 5) == 0);
}

static void byte_by_byte_it_is_whole_only_at_the_end(void) {
    uint8_t buf[CT_FRAME_HEADER_BYTES + 300];
    CHECK_INT(ct_frame_put(buf, 1, 0, 1, 300), 0);
    memset(buf + CT_FRAME_HEADER_BYTES, 'x', 300);
    for (size_t len = 0; len < sizeof buf; len++) {
        /* of exactly this size, so that a sanitizer sees a read past it */
        uint8_t *part = malloc(len > 0 ? len : 1);
        CHECK(part != NULL);
        memcpy(part, buf, len);
        ct_frame frame = {.kind = 77};
        CHECK_INT(ct_frame_split(part, len, 300, &frame), CT_E_MORE);
        CHECK_INT(frame.kind, 77); /* written only on success */
        free(part);
    }
}

static void a_length_over_the_limit_is_refused_before_its_body(void) {
    uint8_t buf[CT_FRAME_HEADER_BYTES];
    ct_frame frame;
    CHECK_INT(ct_frame_put(buf, 1, 0, 1, 11), 0);
    CHECK_INT(ct_frame_split(buf, sizeof buf, 10, &frame), CT_E_TOOBIG);
    memset(buf, 0xFF, 4);
    CHECK_INT(ct_frame_split(buf, sizeof buf, UINT32_MAX - 1, &frame), CT_E_TOOBIG);
    CHECK_INT(ct_frame_split(buf, sizeof buf, SIZE_MAX, &frame), CT_E_MORE);
    CHECK_INT(ct_frame_put(buf, 1, 0, 1, (size_t)UINT32_MAX + 1), CT_E_TOOBIG);
}

static void reserved_bits_are_refused(void) {
    uint8_t buf[CT_FRAME_HEADER_BYTES];
    ct_frame frame;
    CHECK_INT(ct_frame_put(buf, 1, 0, 1, 0), 0);
    buf[7] = 1;
    CHECK_INT(ct_frame_split(buf, sizeof buf, 10, &frame), CT_E_MALFORMED);
}

static void scan_takes_whole_frames_and_leaves_the_rest(void) {
    uint8_t buf[4 * CT_FRAME_HEADER_BYTES];
    ct_frame frames[3];
    size_t used = 99;
    for (uint32_t i = 0; i < 4; i++)
        CHECK_INT(ct_frame_put(buf + (size_t)i * CT_FRAME_HEADER_BYTES, 1, 0, i, 0), 0);
    CHECK_INT(ct_frame_scan(buf, sizeof buf - 1, 0, frames, 3, &used), 3);
    CHECK_INT(used, 3 * CT_FRAME_HEADER_BYTES);
    CHECK_INT(frames[2].call_id, 2);
    CHECK_INT(ct_frame_scan(buf + used, CT_FRAME_HEADER_BYTES - 1, 0, frames, 3, &used), 0);
    CHECK_INT(used, 0);
    buf[CT_FRAME_HEADER_BYTES + 6] = 1; /* the second is bad: the first is delivered, then the second told of */
    CHECK_INT(ct_frame_scan(buf, sizeof buf, 0, frames, 3, &used), 1);
    CHECK_INT(ct_frame_scan(buf + used, sizeof buf - used, 0, frames, 3, &used), CT_E_MALFORMED);
}

static void exec_head_comes_back(void) {
    ct_exec_head head = {.remaining_ms = 30000, .flags = 1};
    memset(head.request_id, 1, sizeof head.request_id);
    memset(head.trace_id, 2, sizeof head.trace_id);
    memset(head.span_id, 3, sizeof head.span_id);
    uint8_t buf[CT_EXEC_HEAD_BYTES];
    ct_exec_head_put(buf, &head);
    ct_exec_head back;
    CHECK_INT(ct_exec_head_get(buf, sizeof buf - 1, &back), CT_E_MORE);
    CHECK_INT(ct_exec_head_get(buf, sizeof buf, &back), 0);
    CHECK(memcmp(&back, &head, sizeof head) == 0);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(put_and_split_agree),       CASE(byte_by_byte_it_is_whole_only_at_the_end),
        CASE(a_length_over_the_limit_is_refused_before_its_body),
        CASE(reserved_bits_are_refused), CASE(scan_takes_whole_frames_and_leaves_the_rest),
        CASE(exec_head_comes_back)};
    return RUN("frame", cases);
}
