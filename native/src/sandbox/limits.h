#ifndef CT_SANDBOX_LIMITS_H
#define CT_SANDBOX_LIMITS_H

#include "base/abi.h"
#include "sandbox/step.h"

#include <sys/resource.h>
#include <sys/types.h>

#ifdef __GLIBC__ /* whose calls take the enumeration itself */
typedef __rlimit_resource_t ct__resource;
#else
typedef int ct__resource;
#endif

/* Sets both values of a process's limit (0: our own); one above the present hard limit is brought down to it, since we may not
 * raise that. Returns 0 or -errno. */
int ct__limit_set(pid_t pid, ct__resource what, uint64_t value);

/* Sets the plan's resource limits, hard as soft. No core files, no real-time priority. */
int ct__limits_apply(const ct_plan *plan, ct__failure *why);

/* Gives up every capability but the `kept` (a bit each; an instance keeps none) in every set for good, and every way to
 * gain one: bounding and ambient set, secure bits, no_new_privs. */
int ct__privileges_drop(uint64_t kept, ct__failure *why);

#endif
