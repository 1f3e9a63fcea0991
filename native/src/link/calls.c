#include "link/calls.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SEATS = 4 }; /* most instances have one call at a time */

static uint32_t home_of(uint32_t cap, uint32_t id) {
    return id & (cap - 1); /* ids are consecutive numbers: they spread by themselves */
}

static void seat_at_home(ct__seat *seats, uint32_t cap, ct__seat seat) {
    uint32_t at = home_of(cap, seat.id);
    while (seats[at].id != 0)
        at = (at + 1) & (cap - 1);
    seats[at] = seat;
}

int ct__calls_put(ct__calls *calls, uint32_t id, bool is_stream, struct ct__link_call *call) {
    if (2 * (calls->count + 1) > calls->cap) {
        const uint32_t cap = calls->cap == 0 ? FIRST_SEATS : 2 * calls->cap;
        ct__seat *grown = calloc(cap, sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        for (uint32_t i = 0; i < calls->cap; i++)
            if (calls->seats[i].id != 0)
                seat_at_home(grown, cap, calls->seats[i]);
        free(calls->seats);
        calls->seats = grown;
        calls->cap = cap;
    }
    seat_at_home(calls->seats, calls->cap, (ct__seat){.id = id, .is_stream = is_stream, .call = call});
    calls->count++;
    return 0;
}

ct__seat *ct__calls_find(const ct__calls *calls, uint32_t id) {
    if (calls->cap == 0 || id == 0)
        return NULL;
    for (uint32_t at = home_of(calls->cap, id); calls->seats[at].id != 0; at = (at + 1) & (calls->cap - 1))
        if (calls->seats[at].id == id)
            return &calls->seats[at];
    return NULL;
}

/* Closes the gap, so that every seat is found from its home on without a free one between. */
void ct__calls_remove(ct__calls *calls, ct__seat *seat) {
    const uint32_t mask = calls->cap - 1;
    uint32_t gap = (uint32_t)(seat - calls->seats);
    for (uint32_t at = (gap + 1) & mask; calls->seats[at].id != 0; at = (at + 1) & mask) {
        const uint32_t home = home_of(calls->cap, calls->seats[at].id);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            calls->seats[gap] = calls->seats[at];
            gap = at;
        }
    }
    calls->seats[gap] = (ct__seat){0};
    calls->count--;
}

ct__seat *ct__calls_next(const ct__calls *calls, uint32_t from) {
    for (uint32_t at = from; at < calls->cap; at++)
        if (calls->seats[at].id != 0)
            return &calls->seats[at];
    return NULL;
}

void ct__calls_free(ct__calls *calls) {
    free(calls->seats);
    *calls = (ct__calls){0};
}
