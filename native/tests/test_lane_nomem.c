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

static void piece(ct__h2_call *call, ct__h2_span message) {
    const caller *c = (const caller *)call;
    CHECK(c->done == 0 && message.len > 0);
}

/* A call that is answered whole, or in pieces. */
static int ask_either(rig *g, caller *c, bool is_stream) {
    if (!is_stream)
        return ask(g, c, "1");
    *c = (caller){.call = {.done = done, .piece = piece}};
    return ask_by(g, c, "/nova.v1.NovaService/InvokeStream", "1");
}

static void answer_either(const rig *g, size_t place, uint32_t id, bool is_stream) {
    if (is_stream)
        say(g, place, CT_FRAME_CHUNK, id, "piece");
    say(g, place, CT_FRAME_RESULT, id, is_stream ? "" : "1");
}

/* A cold and a warm call with the nth allocation failing: each caller hears of its call once, and nothing is left of it. */
static bool live(long nth, bool is_stream) {
    rig g;
    open_rig(&g, 2);
    caller c = {0};
    allocations_left = nth;
    for (int round = 0; round < 2; round++) {
        if (ask_either(&g, &c, is_stream) != 0)
            continue;
        for (int i = 0; i < 400 && c.done == 0; i++) {
            turn(&g, 20);
            uint8_t frame[256];
            for (size_t place = 0; place < g.member_count; place++)
                if (g.members[place].link != NULL && read(g.members[place].peer, frame, sizeof frame) > CT_FRAME_HEADER_BYTES)
                    answer_either(&g, place, ct__be32(frame + 8), is_stream);
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
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        long nth = 0;
        while (!live(nth, is_stream == 1))
            nth++;
        CHECK(nth > 15);
    }
}

int main(void) {
    static const ct_case cases[] = {CASE(no_allocation_that_fails_loses_a_call)};
    return RUN("lane_nomem", cases);
}
