#ifndef CT_SANDBOX_ROOTS_H
#define CT_SANDBOX_ROOTS_H

#include "base/abi.h"
#include "sandbox/claim.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CT__ROOTS_KEPT = 4, /* chosen: a server has the roots of its runtimes, of which there are few */
    CT__ROOT_KEY_BYTES = 2 * CT_PLAN_BYTES_MAX
};

/* What the common part of a root was made from. */
typedef struct ct__root_key {
    size_t len;
    uint8_t bytes[CT__ROOT_KEY_BYTES];
} ct__root_key;

/* Common parts of roots, made once, each in a mount namespace of its own where nobody is: a child that is cloned by a
 * process which stands there has a copy of those mounts, and no other. The files in them are the same for all, and
 * read-only, as /usr is. */
typedef struct ct__roots {
    uint32_t next;               /* to be replaced */
    ct__root_key *keys;          /* of each, and at last of what is wanted; NULL: none are kept */
    int mounts_fd[CT__ROOTS_KEPT]; /* -1 when there is none */
} ct__roots;

/* keys has room for CT__ROOTS_KEPT + 1 and is the caller's; NULL when there shall be none. */
void ct__roots_init(ct__roots *roots, const ct__home *home, ct__root_key *keys);

/* Gives the mount namespace whose root is the common part of the plan's, read-only; it stays ours. -1 when this root must
 * be made whole; or -ENOTRECOVERABLE: this process is left among other mounts, and must end. What has been replaced on
 * the host since, by its name, is found anew. */
int ct__roots_get(ct__roots *roots, const ct__home *home, const ct_plan *plan);

void ct__roots_fini(ct__roots *roots);

#endif
