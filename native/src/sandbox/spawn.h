#ifndef CT_SANDBOX_SPAWN_H
#define CT_SANDBOX_SPAWN_H

#include "base/abi.h"
#include "proto/page.h"
#include "sandbox/claim.h"
#include "sandbox/seccomp.h"
#include "sandbox/step.h"

#include <sys/types.h>

/* For an interpreter that is forked: once, when nothing is left but to serve; and around each fork, in the parent. */
typedef struct ct__fork_hooks {
    void (*settle)(void);
    int (*before)(void); /* 0, or why there must be no fork now */
    void (*after)(void);
} ct__fork_hooks;

typedef struct ct__spawn_request {
    const ct_plan *plan;
    int channel_fd; /* all borrowed */
    int stdio_fd;
    int page_fd; /* of a child without argv: the page that it shares with its host, -1 for none */
    int bell_fd; /* and what it rings him by */
    int net_fd;           /* a network namespace of our user namespace, with its loopback up; -1 for a fresh one */
    int home_net_fd;      /* our own, when there is a net_fd */
    int root_mounts_fd;   /* a mount namespace with the common part of its root (roots.h); -1: the child makes it whole */
    const ct__home *home; /* our own mounts, when there is such a namespace */
    const ct__seccomp *filters;
    const ct__fork_hooks *hooks;
} ct__spawn_request;

enum {
    CT__IN_CHILD = 1,
    CT__CHANNEL_FD = 3, /* inside the sandbox, whatever they were outside */
    CT__BELL_FD = 4
};

typedef struct ct__child {
    pid_t pid;
    int pidfd;   /* the caller's to close */
    int sync_fd; /* the caller's: gives one ct__failure when the sandbox is complete or a step failed, then the end */
    ct__page *page; /* in the child: mapped, and no child of its own will have it; NULL for none */
} ct__child;

/* Maps a page that this process shares with its host, and no child of its own will. Returns 0 or -errno. */
int ct__spawn_map_page(int page_fd, ct__page **out);

/* Forks into fresh user, pid, mount, network, ipc and uts namespaces and lets the child carry out its plan.
 * Returns 0 in the parent, with the child on its way; a negative number with *why filled when there is no child;
 * -ENOTRECOVERABLE when this process is left in another network or mount namespace, and must end.
 * In a child without argv it returns CT__IN_CHILD once its sandbox is complete; with argv it does not return. */
int ct__spawn(const ct__spawn_request *request, ct__child *out, ct__failure *why);

#endif
