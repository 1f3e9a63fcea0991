/* An instance forked from a nursery: a sandbox that has imported its tenant's packages, and so is the tenant's.
 *
 * All that a nursery may do beyond an instance is to clone a child into namespaces that are all fresh and empty of
 * power: no mount, no setns, no user namespace. What such a child needs of mounts and network, the host makes
 * (furnish.h); what it shall not do any more, it gives up itself before it returns to the interpreter. */
#ifndef CT_SANDBOX_BRANCH_H
#define CT_SANDBOX_BRANCH_H

#include "base/abi.h"
#include "sandbox/seccomp.h"
#include "sandbox/spawn.h"

#include <linux/capability.h>
#include <linux/sched.h>

enum { CT__BRANCH_NAMESPACES = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS };

/* To make those namespaces; and to empty the bounding set in a branch. */
#define CT__NURSERY_CAPS (UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_SETPCAP)

typedef struct ct__branch_request {
    int channel_fd; /* all borrowed */
    int stdio_fd;
    int page_fd; /* that the child shares with its host, and what it rings him by; -1 for none */
    int bell_fd;
    const int *task_fds; /* of the control groups to join, open for writing */
    uint32_t task_count;
    const ct__seccomp *filters;
    const ct__fork_hooks *hooks;
} ct__branch_request;

/* Returns 0 in the nursery with the child's pid and pidfd, the caller's to close; a negative number when there is no child.
 * In the child CT__IN_CHILD with its page, once a byte has come on the channel (which is CT__CHANNEL_FD by then, and the bell
 * CT__BELL_FD) and all is given up; a child that fails ends. */
int ct__branch(const ct__branch_request *request, ct__child *out);

#endif
