#ifndef CT_SANDBOX_NETS_H
#define CT_SANDBOX_NETS_H

#include "base/abi.h"
#include "sandbox/step.h"

#include <stdbool.h>

enum { CT__NETS_READY = 4 }; /* chosen: a burst's first starts; each holds some 100 KiB of the kernel's memory */

/* Network namespaces made ahead, each with its loopback up and nothing else; every one is used once. They belong to
 * this process's user namespace, so that nobody in a sandbox, whatever it is there, has power over one. */
typedef struct ct__nets {
    int home_fd; /* this process's own; -1 before the first was made */
    bool is_off; /* this process may not make them */
    uint32_t count;
    int ready[CT__NETS_READY];
} ct__nets;

void ct__nets_init(ct__nets *nets);

static inline bool ct__nets_wants_more(const ct__nets *nets) {
    return !nets->is_off && nets->count < CT__NETS_READY;
}

/* Makes one (measured: 0.3 ms). Where that is not allowed none is ever wanted again, which is no failure. Returns 0 or
 * -ENOTRECOVERABLE: this process is left in a namespace that is not its own, and must end. */
int ct__nets_make(ct__nets *nets);

/* Gives a descriptor that is the caller's, or -1. */
int ct__nets_take(ct__nets *nets);

void ct__nets_fini(ct__nets *nets);

/* In a fresh network namespace. */
int ct__loopback_raise(ct__failure *why);

#endif
