#ifndef CT_SANDBOX_CGROUP_H
#define CT_SANDBOX_CGROUP_H

#include "base/abi.h"

/* Takes what a v2 tree at mount offers for controllers that *out does not have yet. `own` is this process's group
 * below mount ("/" at its top). Apart from ct_cgroup_detect so that a test can bring a tree of its own. */
int ct__cgroup_use_unified(const char *mount, const char *own, const char *group, ct_cgroup_host *out);

/* Reads mountinfo(5) text for v1 hierarchies, which it makes `group` in, and returns the v2 mount point, "" without. */
int ct__cgroup_use_v1(char *mountinfo, const char *group, ct_cgroup_host *out, char unified[CT_PATH_BYTES]);

#endif
