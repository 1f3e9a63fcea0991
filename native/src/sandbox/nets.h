#ifndef CT_SANDBOX_NETS_H
#define CT_SANDBOX_NETS_H

#include "base/abi.h"
#include "sandbox/step.h"

#include <stdbool.h>

enum {
    CT__NETS_READY = 4, /* chosen: a burst's first starts; each holds some 100 KiB of the kernel's memory */
    CT__NETS_KEPT = 64, /* chosen: what ends together in a burst; 6 MiB of that memory */
    CT__NETS_LENT = 256, /* chosen: a quarter of the descriptors that a process usually may have */
    CT__NETS_REST_MS = 1000 /* chosen: what nobody has asked for in so long is dropped */
};

typedef struct ct__kept_net {
    uint32_t tenant;
    int fd;
} ct__kept_net;

/* Network namespaces with their loopback up and nothing else. They belong to this process's user namespace, so that
 * nobody in a sandbox, whatever it is there, has power over one: what a sandbox leaves in its own when it ends is what
 * the kernel remembers of connections. So it serves the same tenant again, which the kernel thanks: to make one and
 * to take it down is a tenth of a sandbox's cost (measured). */
typedef struct ct__nets {
    int home_fd; /* this process's own; -1 before the first was made */
    bool is_off; /* this process may not make them */
    uint32_t count;
    uint32_t kept_count;
    uint32_t lent_count;
    int ready[CT__NETS_READY];         /* made ahead, never used */
    ct__kept_net kept[CT__NETS_KEPT]; /* used, the oldest first */
} ct__nets;

void ct__nets_init(ct__nets *nets);

static inline bool ct__nets_wants_more(const ct__nets *nets) {
    return !nets->is_off && nets->count < CT__NETS_READY;
}

/* Makes one (measured: 0.3 ms). Where that is not allowed none is ever wanted again, which is no failure. Returns 0 or
 * -ENOTRECOVERABLE: this process is left in a namespace that is not its own, and must end. */
int ct__nets_make(ct__nets *nets);

/* Gives a descriptor that is the caller's, or -1: of one that this tenant has used, else of one that nobody has. */
int ct__nets_take(ct__nets *nets, uint32_t tenant);

/* Notes that a sandbox has been made in one. Returns its descriptor, for ct__nets_give, or -1 when too many are lent:
 * then it ends with its sandbox. */
int ct__nets_lend(ct__nets *nets, int *fd);

/* Takes back what was lent when every process of its sandbox has ended; fd may be -1. */
void ct__nets_give(ct__nets *nets, uint32_t tenant, int fd);

/* How long the server waits for a request before it calls ct__nets_tend: 0 while some are to be made ahead; -1: for ever. */
static inline int ct__nets_due_ms(const ct__nets *nets) {
    if (ct__nets_wants_more(nets))
        return 0;
    return nets->kept_count > 0 ? CT__NETS_REST_MS : -1;
}

/* Makes one ahead, or else lets go of those that are kept. Returns what ct__nets_make does. */
int ct__nets_tend(ct__nets *nets);

void ct__nets_fini(ct__nets *nets);

/* In a fresh network namespace. */
int ct__loopback_raise(ct__failure *why);

#endif
