#include "link/calls.h"

#include "ct_test.h"

#include <stdbool.h>

enum { IDS = 400 };

/* The same operations on a plain array: whatever the order, each finds what the other has. */
static void calls_are_found_whatever_came_and_went(void) {
    ct__calls calls = {0};
    static bool has[IDS + 1];
    uint64_t state = 7;
    uint32_t count = 0;
    for (int step = 0; step < 20000; step++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const uint32_t id = 1 + (uint32_t)(state >> 33) % IDS;
        ct__seat *seat = ct__calls_find(&calls, id);
        CHECK_INT(seat != NULL, has[id]);
        if (seat != NULL) {
            CHECK_INT(seat->id, id);
            ct__calls_remove(&calls, seat);
            count--;
        } else {
            CHECK_INT(ct__calls_put(&calls, id, id % 2 == 0, NULL), 0);
            count++;
        }
        has[id] = !has[id];
        CHECK_INT(calls.count, count);
    }
    uint32_t seen = 0;
    for (ct__seat *seat; (seat = ct__calls_next(&calls, 0)) != NULL; seen++)
        ct__calls_remove(&calls, seat);
    CHECK_INT(seen, count);
    CHECK(ct__calls_find(&calls, 0) == NULL);
    ct__calls_free(&calls);
    CHECK(ct__calls_find(&calls, 1) == NULL && ct__calls_next(&calls, 0) == NULL);
}

int main(void) {
    static const ct_case cases[] = {CASE(calls_are_found_whatever_came_and_went)};
    return RUN("calls", cases);
}
