/* The host's side of what stands between it and a function's own program, whatever that program speaks. The host always reads, and what
 * we begin to say to it we say whole, so both ways may block. */
#ifndef CT_GUEST_HOST_H
#define CT_GUEST_HOST_H

#include "base/abi.h"

#include <stdbool.h>
#include <sys/types.h>

enum { CT__HOST_GONE = 0, CT__HOST_WRONG = 1, CT__CANNOT = 2 }; /* statuses to exit with */

typedef struct ct__host {
    int fd; /* its channel */
    bool ended;
    int status; /* to exit with, once it has ended */
} ct__host;

void ct__host_end(ct__host *h, int status); /* the first one counts */

/* A host that has gone ends us; hear is false then. */
void ct__host_say(ct__host *h, uint8_t kind, uint32_t call_id, const void *body, size_t len);
bool ct__host_hear(ct__host *h, void *out, size_t len);

/* One frame of the host's; its body is freed by who takes it, and has one byte more than `len`. */
typedef struct ct__host_frame {
    uint8_t kind;
    uint32_t call_id;
    uint8_t *body;
    size_t len;
} ct__host_frame;

/* Takes the next frame; false: there is none to act on, be it that it was a ping, which is answered, or that the host ended. */
bool ct__host_take(ct__host *h, ct__host_frame *out);

/* Says who we are, and that the program can not be used and why: the body of an error frame. */
void ct__host_greet(ct__host *h, const char *runtime);
void ct__host_not_ready(ct__host *h, const uint8_t *error, size_t len);

/* A descriptor on which the end of children is news, or -errno; and what to do of it: with the program it is over. */
int ct__host_signals(void);
void ct__host_bury(ct__host *h, int signals, pid_t program);

#endif
