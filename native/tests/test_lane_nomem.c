#define _GNU_SOURCE
#include "lane_rig.h"

/* Every allocation of the core goes through these (see the Makefile): the one that is chosen fails. */
static long allocations_left = -1; /* -1: none fails */

static bool fails(void) {
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fails() ? NULL : __real_reallocarray(old, count, size);
}

/* A cold and a warm call with the nth allocation failing: each caller hears of its call once, and nothing is left of it. */
static bool live(long nth) {
    rig g;
    open_rig(&g, 2);
    caller c = {0};
    allocations_left = nth;
    for (int round = 0; round < 2; round++) {
        if (ask(&g, &c, "1") != 0)
            continue;
        for (int i = 0; i < 400 && c.done == 0; i++) {
            turn(&g, 20);
            uint8_t frame[256];
            for (size_t place = 0; place < g.member_count; place++)
                if (g.members[place].link != NULL && read(g.members[place].peer, frame, sizeof frame) > CT_FRAME_HEADER_BYTES)
                    say(&g, place, CT_FRAME_RESULT, ct__be32(frame + 8), "1");
            for (size_t j = 0; j < g.count; j++)
                if (g.events[j].kind == CT_LANE_REFUSES)
                    (void)ct_lane_refuse(g.lane, g.events[j].target, 14, NULL, 0, NULL, 0);
            forget(&g);
        }
        CHECK_INT(c.done, 1);
    }
    const bool was_used_up = allocations_left >= 0;
    allocations_left = -1;
    close_rig(&g);
    return was_used_up;
}

static void no_allocation_that_fails_loses_a_call(void) {
    long nth = 0;
    while (!live(nth))
        nth++;
    CHECK(nth > 15);
}

int main(void) {
    static const ct_case cases[] = {CASE(no_allocation_that_fails_loses_a_call)};
    return RUN("lane_nomem", cases);
}
