#ifndef CT_SANDBOX_VOLUME_H
#define CT_SANDBOX_VOLUME_H

#include "base/abi.h"
#include "sandbox/mounts.h"
#include "sandbox/step.h"

/* Opens the plan's volumes as detached mounts: nosuid, nodev, noexec. Where this process may map ids, the files of
 * CT_VOLUME_ID are the sandbox's own on them, and those of anybody else are nobody's. By a parent: a child in a user
 * namespace of its own has no such power. */
int ct__volumes_open(const ct_plan *plan, ct__sources *out, ct__failure *why);

#endif
