#ifndef CT_SANDBOX_PROBE_H
#define CT_SANDBOX_PROBE_H

#include "base/abi.h"
#include "sandbox/step.h"

/* Makes one sandbox with nothing to run in it. Returns 0, or a negative number with *why filled. */
int ct__probe(uint32_t host_uid, uint32_t host_gid, ct__failure *why);

#endif
