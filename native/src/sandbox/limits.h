#ifndef CT_SANDBOX_LIMITS_H
#define CT_SANDBOX_LIMITS_H

#include "base/abi.h"
#include "sandbox/step.h"

/* Sets the plan's resource limits, hard as soft. No core files, no real-time priority. */
int ct__limits_apply(const ct_plan *plan, ct__failure *why);

/* Gives up every capability but the `kept` (a bit each; an instance keeps none) in every set for good, and every way to
 * gain one: bounding and ambient set, secure bits, no_new_privs. */
int ct__privileges_drop(uint64_t kept, ct__failure *why);

#endif
