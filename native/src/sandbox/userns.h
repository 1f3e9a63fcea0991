#ifndef CT_SANDBOX_USERNS_H
#define CT_SANDBOX_USERNS_H

#include "base/abi.h"
#include "sandbox/step.h"

#include <stdbool.h>
#include <sys/types.h>

/* Maps the plan's one inside uid and gid to its host ids, for a child that waits in a fresh user namespace.
 * Called by its parent. An unprivileged parent can map only its own ids, and gives up setgroups for it. */
int ct__userns_map(pid_t child, const ct_plan *plan, bool is_privileged, ct__failure *why);

/* In the child: becomes the inside ids. Capabilities stay, since uid 0 is mapped on neither side of the change. */
int ct__userns_become(const ct_plan *plan, bool is_privileged, ct__failure *why);

/* For an unprivileged fork server whose children keep its executable open: moves this process into user, mount and
 * network namespaces in which it has its own ids, and every mount of the host is read-only. A child has the user's own
 * uid, so through /proc/self/exe it could else change the modes of an interpreter that belongs to the user. The power
 * to enter its children's namespaces is kept across an exec. */
int ct__userns_confine(ct__failure *why);

#endif
