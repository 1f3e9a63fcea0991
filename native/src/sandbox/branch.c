#define _GNU_SOURCE
#include "sandbox/branch.h"

#include "base/err.h"
#include "base/sysx.h"
#include "sandbox/limits.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    BRANCH_FAILED = 125, /* exit status, as a spawn's */
    HIGH_FD = 64         /* above every number that is laid out below */
};

/* Not clone3: its flags lie in memory, where no filter can tell which namespaces are asked for. */
static pid_t clone_fresh(int *pidfd) {
    uint64_t tid = 0; /* as in spawn.c: where libc keeps the thread's id */
    if (prctl(PR_GET_TID_ADDRESS, &tid, 0, 0, 0) != 0)
        tid = 0;
    const unsigned long flags = CT__BRANCH_NAMESPACES | CLONE_PIDFD | (unsigned long)SIGCHLD |
                                (tid != 0 ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0UL);
    /* SAFETY: without CLONE_VM the child has a copy of this stack and returns from the same call; there is one thread,
     * which the hooks see to. Where the last two arguments stand differs between architectures. */
#ifdef __x86_64__
    return (pid_t)syscall(SYS_clone, flags, 0UL, pidfd, tid, 0UL);
#elif defined(__s390x__)
    return (pid_t)syscall(SYS_clone, 0UL, flags, pidfd, tid, 0UL);
#else
    return (pid_t)syscall(SYS_clone, flags, 0UL, pidfd, 0UL, tid);
#endif
}

/* Lays out 1 and 2 (stdio), 3 (channel) and 4 (bell, if there is one), keeps 0 and closes every other descriptor. */
static int lay_descriptors(const ct__branch_request *request) {
    const int channel = fcntl(request->channel_fd, F_DUPFD_CLOEXEC, HIGH_FD);
    const int stdio = fcntl(request->stdio_fd, F_DUPFD_CLOEXEC, HIGH_FD);
    const int bell = request->bell_fd >= 0 ? fcntl(request->bell_fd, F_DUPFD_CLOEXEC, HIGH_FD) : -1;
    if (channel < 0 || stdio < 0 || (bell < 0 && request->bell_fd >= 0) || dup2(stdio, STDOUT_FILENO) < 0 ||
        dup2(stdio, STDERR_FILENO) < 0 || dup2(channel, CT__CHANNEL_FD) < 0 ||
        (bell >= 0 && dup3(bell, CT__BELL_FD, O_CLOEXEC) < 0))
        return ct__errno();
    return ct__close_from(bell >= 0 ? CT__BELL_FD + 1 : CT__BELL_FD);
}

static int join_groups(const ct__branch_request *request) {
    for (uint32_t i = 0; i < request->task_count; i++)
        if (write(request->task_fds[i], "0", 1) != 1)
            return ct__errno();
    return unshare(CLONE_NEWCGROUP) != 0 ? ct__errno() : 0;
}

static int settle_in(const ct__branch_request *request, ct__page **page) {
    ct__failure why;
    char go;
    int result = join_groups(request);
    if (result == 0 && request->page_fd >= 0)
        result = ct__spawn_map_page(request->page_fd, page);
    if (result == 0)
        result = lay_descriptors(request);
    if (result == 0 && ct__recv(CT__CHANNEL_FD, &go, 1, 0) != 1) /* the host has furnished us */
        result = CT_E_DIED;
    if (result == 0 && (chdir("/tmp") != 0 || setsid() < 0))
        result = ct__errno();
    if (result == 0)
        result = ct__privileges_drop(0, &why);
    return result < 0 ? result : ct__seccomp_load(request->filters, 0, &why);
}

int ct__branch(const ct__branch_request *request, ct__child *out) {
    const int ready = request->hooks->before();
    if (ready < 0)
        return ready;
    *out = (ct__child){.pidfd = -1, .sync_fd = -1};
    const pid_t child = clone_fresh(&out->pidfd);
    const int failed = child < 0 ? ct__errno() : 0;
    if (child == 0) {
        if (settle_in(request, &out->page) < 0)
            _exit(BRANCH_FAILED);
        return CT__IN_CHILD;
    }
    request->hooks->after();
    out->pid = child;
    return failed;
}
