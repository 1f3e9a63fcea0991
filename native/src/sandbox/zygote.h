#ifndef CT_SANDBOX_ZYGOTE_H
#define CT_SANDBOX_ZYGOTE_H

#include "base/abi.h"
#include "sandbox/spawn.h"

typedef struct ct__served {
    int channel_fd; /* in a child: its channel */
    ct__page *page; /* in a child: as ct__child's, with CT__BELL_FD */
    ct_plan *plan;  /* in a child: what it was made from, environment included */
    uint8_t *bytes; /* what the plan borrows; may hold secrets */
    size_t len;     /* of what was received there: only those pages are worth a copy */
    void *memory;   /* where both are */
} ct__served;

/* Clears and gives back everything but the channel and the page. */
void ct__served_fini(ct__served *served);

/* Serves requests on control_fd until its other end closes; then every child is dead and 0 is returned. In a freshly
 * forked child it returns CT__IN_CHILD, with *out filled. A negative number: the server could not start or go on.
 * hooks say how to fork an interpreter; NULL for a program that executes: it refuses a plan without argv. */
int ct__zygote_serve(int control_fd, const ct__fork_hooks *hooks, ct__served *out);

#endif
