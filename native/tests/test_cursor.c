#include "base/cursor.h"

#include "base/scope.h"
#include "ct_test.h"

#include <fcntl.h>

static void reads_stop_at_the_end_and_stay_stopped(void) {
    const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07};
    ct__reader r = {.at = bytes, .left = sizeof bytes};
    CHECK_INT(ct__read_u32(&r), 0x01020304);
    CHECK_INT(ct__read_u32(&r), 0);
    CHECK(r.overran);
    CHECK_INT(ct__read_u16(&r), 0); /* though two bytes would still be there */
    CHECK(ct__read_span(&r, 0) == NULL);
}

static void huge_lengths_do_not_wrap(void) {
    const uint8_t bytes[4] = {0};
    ct__reader r = {.at = bytes, .left = sizeof bytes};
    CHECK(ct__read_span(&r, SIZE_MAX) == NULL);
    uint8_t out[4];
    ct__writer w = {.at = out, .left = sizeof out};
    CHECK(ct__write_span(&w, SIZE_MAX) == NULL);
    CHECK(w.overran);
}

static void what_is_written_is_read(void) {
    uint8_t out[17];
    ct__writer w = {.at = out, .left = sizeof out};
    ct__write_u16(&w, 0xBEEF);
    ct__write_u32(&w, 0xDEADBEEF);
    ct__write_u64(&w, UINT64_C(0x0123456789ABCDEF));
    ct__write_bytes(&w, "abc", 3);
    CHECK(!w.overran);
    CHECK_INT(w.left, 0);
    ct__write_bytes(&w, "x", 1);
    CHECK(w.overran);
    ct__reader r = {.at = out, .left = sizeof out};
    CHECK_INT(ct__read_u16(&r), 0xBEEF);
    CHECK_INT(ct__read_u32(&r), 0xDEADBEEF);
    CHECK(ct__read_u64(&r) == UINT64_C(0x0123456789ABCDEF));
    CHECK(memcmp(ct__read_span(&r, 3), "abc", 3) == 0);
    CHECK(!r.overran);
}

static void a_scope_closes_what_was_not_taken(void) {
    int kept = -1;
    int lost = -1;
    {
        ct_autofd a = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ct_autofd b = open("/dev/null", O_RDONLY | O_CLOEXEC);
        lost = a;
        kept = ct_take_fd(&b);
        CHECK_INT(b, -1);
        errno = ENOTTY;
    }
    CHECK_INT(errno, ENOTTY);
    CHECK(fcntl(kept, F_GETFD) >= 0);
    CHECK(fcntl(lost, F_GETFD) < 0);
    ct_drop_fd(&kept);
    CHECK_INT(kept, -1);
}

int main(void) {
    static const ct_case cases[] = {CASE(reads_stop_at_the_end_and_stay_stopped), CASE(huge_lengths_do_not_wrap),
                                    CASE(what_is_written_is_read), CASE(a_scope_closes_what_was_not_taken)};
    return RUN("cursor", cases);
}
