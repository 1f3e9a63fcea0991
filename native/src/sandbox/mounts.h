#ifndef CT_SANDBOX_MOUNTS_H
#define CT_SANDBOX_MOUNTS_H

#include "base/abi.h"
#include "sandbox/step.h"

/* The host's part of each entry as a detached mount, -1 where an entry has none. */
typedef struct ct__sources {
    int fd[CT_PLAN_ENTRIES_MAX];
} ct__sources;

/* Opens all sources, while the caller may still look up host paths with the host's uid: an interpreter may live
 * below a directory that only root may enter. Already read-only, nosuid, nodev and private. */
int ct__sources_open(const ct_plan *plan, ct__sources *out, ct__failure *why);

/* Makes an empty tmpfs the root and lets the old root go. From here on no path leads to the host. */
int ct__root_make(ct__failure *why);

/* Covers what a /proc that is mounted there tells of the host, in a root that was filled before. */
int ct__proc_cover(const char *proc);

/* Makes the plan's entries in the new root, closing the sources, then makes the root read-only. */
int ct__root_fill(const ct_plan *plan, ct__sources *sources, ct__failure *why);

#endif
