#ifndef CT_SANDBOX_MOUNTS_H
#define CT_SANDBOX_MOUNTS_H

#include "base/abi.h"
#include "sandbox/step.h"

#include <stdbool.h>

/* Most of a root is the same in many sandboxes and can be made once for all of them (roots.h): all but what is mounted
 * for one alone, which is a /proc, a tmpfs, terminals, the code, and the layers. */
enum ct__part {
    CT__PART_COMMON = 1, /* with empty directories where the others will be mounted */
    CT__PART_OWN = 2,    /* on those directories */
    CT__PART_WHOLE = 3
};

#define CT__CODE_DIR "/code"
#define CT__LAYERS_DIR "/opt"
#define CT__SOCKETS_DIR "/run/db"

bool ct__entry_is_own(const ct_entry *e);

/* The host's part of each entry as a detached mount, -1 where an entry has none. */
typedef struct ct__sources {
    int fd[CT_PLAN_ENTRIES_MAX];
} ct__sources;

void ct__sources_init(ct__sources *out);

/* Opens what is bound, while the caller may still look up host paths with the host's uid: an interpreter may live
 * below a directory that only root may enter. Already read-only, nosuid, nodev and private. What was opened stays the
 * caller's when this fails. */
int ct__sources_open(const ct_plan *plan, enum ct__part part, ct__sources *out, ct__failure *why);

/* Adds each /proc; by a process of the pid namespace that it shall show, where a whole one is mounted already. */
int ct__sources_add_procs(const ct_plan *plan, ct__sources *sources, ct__failure *why);

void ct__sources_close(ct__sources *sources);

/* What a /proc is mounted with. */
int ct__proc_make(void);

/* Makes an empty tmpfs the root and lets the old root go. From here on no path leads to the host. */
int ct__root_make(ct__failure *why);

/* Covers what a /proc that is mounted there tells of the host, in a root that was filled before. */
int ct__proc_cover(const char *proc);

/* Makes the plan's entries in the new root, closing the sources, then makes the root read-only; one that has its common
 * part already is. */
int ct__root_fill(const ct_plan *plan, enum ct__part part, ct__sources *sources, ct__failure *why);

#endif
