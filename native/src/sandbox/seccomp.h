/* What a sandbox may ask of the kernel. Two questions, two programs: which calls exist at all (what is not listed answers ENOSYS, so a call that is newer
 * than this list is closed), and which arguments are never good. The kernel takes the stricter answer. To load one
 * takes some 100 us, so a fork server loads the second once for all its children. */
#ifndef CT_SANDBOX_SECCOMP_H
#define CT_SANDBOX_SECCOMP_H

#include "base/abi.h"
#include "sandbox/filter.h"
#include "sandbox/step.h"

#include <stdbool.h>

/* Prepared once by the fork server; a child only loads it. */
typedef struct ct__seccomp {
    ct__program calls;
    ct__program arguments;
    ct__program shared_memory;
    ct__program nursery_calls;
    ct__program nursery_clone;
    bool is_inherited; /* the arguments program is loaded, and every child has it */
} ct__seccomp;

/* Builds the programs. Returns 0 or -errno; on failure there is nothing to give back. */
int ct__seccomp_init(ct__seccomp *s);
void ct__seccomp_fini(ct__seccomp *s);

/* In a fork server, which never asks for what the arguments program refuses. Where it may not load one, each child
 * does. */
void ct__seccomp_inherit(ct__seccomp *s);

/* In the child, with no_new_privs set: loads what the plan's flags ask for. Nothing but what the filter allows works
 * after; what a nursery's allows, an instance's, loaded on top of it, refuses again. */
int ct__seccomp_load(const ct__seccomp *s, uint32_t plan_flags, ct__failure *why);

#endif
