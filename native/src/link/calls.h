/* The calls that one worker has, by id: those that somebody waits for, and those that were given up. */
#ifndef CT_LINK_CALLS_H
#define CT_LINK_CALLS_H

#include "base/abi.h"

#include <stdbool.h>

struct ct__link_call;

typedef struct ct__seat {
    uint32_t id; /* 0: free */
    bool is_stream;
    struct ct__link_call *call; /* NULL: given up */
} ct__seat;

typedef struct ct__calls { /* zeroed is empty */
    ct__seat *seats;       /* open addressing, at most half full */
    uint32_t count, cap;
} ct__calls;

/* Returns 0 or -ENOMEM. `id` is not 0 and not in it yet. */
int ct__calls_put(ct__calls *calls, uint32_t id, bool is_stream, struct ct__link_call *call);
ct__seat *ct__calls_find(const ct__calls *calls, uint32_t id);
void ct__calls_remove(ct__calls *calls, ct__seat *seat);

/* Any seat that is taken, from the `from`th place on; NULL: there is none. */
ct__seat *ct__calls_next(const ct__calls *calls, uint32_t from);
void ct__calls_free(ct__calls *calls);

#endif
