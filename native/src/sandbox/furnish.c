/* A /proc shows the pid namespace of whoever mounts it, and only a child of the one that enters a pid namespace is
 * inside: so two helpers, the second of which mounts and ends. It keeps the host's user namespace, in which nobody
 * inside has power over it. */

#define _GNU_SOURCE
#include "sandbox/furnish.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/mounts.h"
#include "sandbox/nets.h"

#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int mount_empty(const char *target, uint64_t bytes, uint32_t inodes, unsigned long flags, ct__failure *why) {
    char options[96];
    int result = ct__format(options, sizeof options, "size=%llu,nr_inodes=%u,mode=1777", (unsigned long long)bytes, inodes);
    if (result == 0)
        result = ct__mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV | flags, options);
    return result < 0 ? ct__fail(why, CT_STEP_ENTRY, result, target) : 0;
}

static int mount_all(int pidfd, const ct_furnish *what, ct__failure *why) {
    /* While still among the host's mounts, where the kernel has nothing against another whole /proc */
    ct_autofd proc = ct__proc_make();
    if (proc < 0)
        return ct__fail(why, CT_STEP_SOURCE, proc, "/proc");
    if (setns(pidfd, CLONE_NEWNS | CLONE_NEWNET) != 0)
        return ct__fail(why, CT_STEP_ENTRY, ct__errno(), "setns");
    int result = ct__move_mount(proc, "/proc");
    if (result == 0)
        result = ct__proc_cover("/proc");
    if (result < 0)
        return ct__fail(why, CT_STEP_ENTRY, result, "/proc");
    if ((result = mount_empty("/tmp", what->tmp_bytes, what->inodes, 0, why)) < 0 ||
        (result = mount_empty("/dev/shm", what->shm_bytes, what->inodes, MS_NOEXEC, why)) < 0)
        return result;
    return ct__loopback_raise(why);
}

static pid_t wait_for(pid_t pid) {
    pid_t ended;
    while ((ended = waitpid(pid, NULL, 0)) < 0 && errno == EINTR)
        continue;
    return ended;
}

/* The first helper; *why goes through the socket as soon as there is an answer. */
static void help(int pidfd, const ct_furnish *what, int answer_fd) {
    ct__failure why = {0};
    pid_t inner = -1;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setns(pidfd, CLONE_NEWPID) != 0 || (inner = fork()) < 0)
        (void)ct__fail(&why, CT_STEP_CLONE, ct__errno(), "helper");
    if (inner == 0)
        (void)mount_all(pidfd, what, &why);
    if (inner <= 0)
        (void)ct__send(answer_fd, &why, sizeof why, 0); /* without an answer the caller knows that we died */
    else
        (void)wait_for(inner);
    _exit(0);
}

int ct__furnish(int pidfd, const ct_furnish *what, ct__failure *why) {
    int pair[2];
    if (what->tmp_bytes == 0 || what->shm_bytes == 0 || what->inodes == 0) /* "no limit" to the kernel */
        return ct__fail(why, CT_STEP_REQUEST, CT_E_RANGE, NULL);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return ct__fail(why, CT_STEP_CLONE, ct__errno(), "socketpair");
    ct_autofd ours = pair[0];
    ct_autofd theirs = pair[1];
    const pid_t helper = fork();
    if (helper == 0)
        help(pidfd, what, theirs);
    if (helper < 0)
        return ct__fail(why, CT_STEP_CLONE, ct__errno(), "fork");
    (void)wait_for(helper);
    ct__failure answer;
    if (ct__recv(ours, &answer, sizeof answer, MSG_DONTWAIT) != (ssize_t)sizeof answer)
        return ct__fail(why, CT_STEP_NONE, CT_E_DIED, NULL);
    *why = answer;
    return answer.status;
}
