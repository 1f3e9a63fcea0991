#include "proto/page.h"

#include "ct_test.h"

static uint8_t out[CT__PAGE_FRAME_BYTES];

static void a_side_holds_one_frame(void) {
    static ct__page_side side;
    CHECK_INT(ct__page_take(&side, 0, out), 0);
    CHECK(ct__page_put(&side, (const uint8_t *)"one", 3, 0));
    CHECK(!ct__page_put(&side, (const uint8_t *)"two", 3, 0));
    CHECK_INT(ct__page_take(&side, 0, out), 3);
    CHECK_INT(memcmp(out, "one", 3), 0);
    CHECK_INT(ct__page_take(&side, 0, out), 0);
    CHECK(ct__page_put(&side, (const uint8_t *)"two", 3, 0));
    CHECK_INT(ct__page_take(&side, 0, out), 3);
}

static void a_frame_waits_for_those_of_the_socket_before_it(void) {
    static ct__page_side side;
    CHECK(ct__page_put(&side, (const uint8_t *)"x", 1, 2));
    CHECK_INT(ct__page_take(&side, 0, out), 0);
    CHECK_INT(ct__page_take(&side, 1, out), 0);
    CHECK_INT(ct__page_take(&side, 2, out), 1);
    CHECK(ct__page_put(&side, (const uint8_t *)"x", 1, 2));
    CHECK_INT(ct__page_take(&side, 3, out), 1); /* another thread's frame overtook it */
    CHECK(ct__page_put(&side, (const uint8_t *)"x", 1, 1));
    CHECK_INT(ct__page_take(&side, UINT32_MAX, out), 0);
    CHECK_INT(ct__page_take(&side, 1, out), 1);
}

static void a_frame_has_its_bounds(void) {
    static ct__page_side side;
    static const uint8_t frame[CT__PAGE_FRAME_BYTES + 1] = {7};
    CHECK(!ct__page_put(&side, frame, 0, 0));
    CHECK(!ct__page_put(&side, frame, sizeof frame, 0));
    CHECK(ct__page_put(&side, frame, sizeof frame - 1, 0));
    CHECK_INT(ct__page_take(&side, 0, out), CT__PAGE_FRAME_BYTES);
    CHECK_INT(out[0], 7);
}

static void a_length_of_the_other_side_is_not_believed(void) {
    static ct__page_side side;
    atomic_store(&side.len, CT__PAGE_FRAME_BYTES + 1);
    CHECK_INT(ct__page_take(&side, 0, out), CT_E_TOOBIG);
    atomic_store(&side.len, UINT32_MAX);
    CHECK_INT(ct__page_take(&side, 0, out), CT_E_TOOBIG);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_side_holds_one_frame), CASE(a_frame_waits_for_those_of_the_socket_before_it),
                                    CASE(a_frame_has_its_bounds), CASE(a_length_of_the_other_side_is_not_believed)};
    return RUN("page", cases);
}
