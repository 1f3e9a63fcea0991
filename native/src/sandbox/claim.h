#ifndef CT_SANDBOX_CLAIM_H
#define CT_SANDBOX_CLAIM_H

#include "base/abi.h"
#include "sandbox/step.h"

/* Where a fork server comes back to from a sandbox's mount namespace. */
typedef struct ct__home {
    int mounts_fd; /* -1 where it could not come back */
    int root_fd;
} ct__home;

/* Returns 0, or why this process may not enter mount namespaces and come back: then every claim fails. Its working
 * directory is its root afterwards. */
int ct__home_init(ct__home *home);

/* Comes back; entering a mount namespace moves root and working directory to that namespace's root, and ours may be
 * another. Returns 0 or -ENOTRECOVERABLE: this process must end. */
int ct__home_return(const ct__home *home);

/* Carries out a claim on a child of this process that is not reaped yet, so that its pid is its own. Returns 0; a
 * negative number with *why filled; -ENOTRECOVERABLE when this process is left inside the sandbox's mounts, and must
 * end. */
int ct__claim(const ct_claim *claim, const ct__home *home, ct__failure *why);

void ct__home_fini(ct__home *home);

#endif
