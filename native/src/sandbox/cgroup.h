/* Control groups in two parts: cgroup_host.c finds what the host has, cgroup.c handles the leaves. */
#ifndef CT_SANDBOX_CGROUP_H
#define CT_SANDBOX_CGROUP_H

#include "base/abi.h"

#include <stdbool.h>

enum { CT__CGROUP_NAME_BYTES = 128 };

/* One path component that is not hidden. */
bool ct__cgroup_is_name(const char *name);

/* dir/name; CT_E_TOOBIG when it does not fit. */
int ct__cgroup_join(char out[CT_PATH_BYTES], const char *dir, const char *name);

/* Makes a directory, or leaves the one that is there. */
int ct__cgroup_make_group(const char *dir);

int ct__cgroup_write(const char *dir, const char *file, const char *text);
int ct__cgroup_read(const char *dir, const char *file, char *out, size_t cap);

/* Reads cgroup.procs; a pid that the buffer's end cuts in two would be another process's, so it is left out. */
int ct__cgroup_read_pids(const char *dir, char *out, size_t cap);

/* Takes what a v2 tree at mount offers for controllers that *out does not have yet. `own` is this process's group
 * below mount ("/" at its top). Apart from ct_cgroup_detect so that a test can bring a tree of its own. */
int ct__cgroup_use_unified(const char *mount, const char *own, const char *group, ct_cgroup_host *out);

/* Reads mountinfo(5) text for v1 hierarchies, which it makes `group` in, and gives the v2 mount point, "" without. */
int ct__cgroup_use_v1(char *mountinfo, const char *group, ct_cgroup_host *out, char unified[CT_PATH_BYTES]);

#endif
