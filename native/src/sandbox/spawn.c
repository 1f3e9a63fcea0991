/* One sandbox, from fork to the first instruction of what runs in it. The order is the recipe: while the child has
 * the host's uid it joins its cgroups and opens its sources; then it becomes the instance's uid, builds its root, and
 * gives up one power after the other, system calls last.
 *
 * Where the common part of its root is there already (roots.h), the child is born among those mounts instead of the
 * host's. So there is nothing to let go of, which would take the kernel a grace period (measured: 4 ms on a busy machine);
 * and what it needs of the host, its parent has opened for it. */

#define _GNU_SOURCE
#include "sandbox/spawn.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/branch.h"
#include "sandbox/limits.h"
#include "sandbox/mounts.h"
#include "sandbox/nets.h"
#include "sandbox/userns.h"
#include "sandbox/volume.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SETUP_FAILED = 125, /* exit status of a child that reported a failure */
    SYNC_FD = 5,
    FIRST_FREE_FD = 6,
    HIGH_FD = 32 /* above every number that is laid out below, below every limit */
};

static const uint64_t FRESH = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;

/* The parent's word that the ids are mapped. The end of the stream instead means that there is no parent. */
static void await_parent(int sync_fd) {
    char go;
    if (ct__recv(sync_fd, &go, 1, 0) != 1)
        _exit(SETUP_FAILED);
}

static int start_session(bool is_exec, ct__failure *why) {
    if (setsid() < 0)
        return ct__fail(why, CT_STEP_SESSION, ct__errno(), "setsid");
    (void)umask(022);
    if (is_exec) /* what is ignored stays ignored across exec */
        for (int number = 1; number < NSIG; number++)
            (void)signal(number, SIG_DFL); /* refused for SIGKILL and SIGSTOP, which need none */
    sigset_t none;
    (void)sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        return ct__fail(why, CT_STEP_SESSION, ct__errno(), "signals");
    return 0;
}

/* What a child has from its parent: of the host's files, what it shall join and what it shall have in its root. */
typedef struct inherited {
    int tasks[CT_PLAN_CGROUPS_MAX];
    ct__sources sources;
} inherited;

static bool has_root(const ct__spawn_request *request) {
    return request->root_mounts_fd >= 0;
}

static void inherited_close(inherited *l) {
    for (size_t i = 0; i < sizeof l->tasks / sizeof l->tasks[0]; i++)
        ct_drop_fd(&l->tasks[i]);
    ct__sources_close(&l->sources);
}

static int inherited_open(const ct__spawn_request *request, inherited *out, ct__failure *why) {
    const ct_plan *plan = request->plan;
    memset(out, 0xFF, sizeof *out); /* -1 in each */
    for (uint32_t i = 0; i < plan->task_file_count; i++) {
        out->tasks[i] = open(plan->task_files[i], O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* whatever it is, we never wait */
        if (out->tasks[i] < 0)
            return ct__fail(why, CT_STEP_CGROUP, ct__errno(), plan->task_files[i]);
    }
    const int result = ct__volumes_open(plan, &out->sources, why);
    return result == 0 && has_root(request) ? ct__sources_open(plan, CT__PART_OWN, &out->sources, why) : result;
}

/* 0 is the writing thread: no pid to race with, and none of the stall that cgroup.procs has (native.md) */
static int join(int task_fd) {
    while (write(task_fd, "0", 1) < 0) {
        struct pollfd later = {.fd = task_fd, .events = POLLOUT};
        if (errno != EINTR && errno != EAGAIN)
            return ct__errno();
        (void)poll(&later, 1, -1); /* who waits for us sets the deadline */
    }
    return 0;
}

static int join_cgroups(const ct_plan *plan, const inherited *had, ct__failure *why) {
    for (uint32_t i = 0; i < plan->task_file_count; i++) {
        const int result = join(had->tasks[i]);
        if (result < 0)
            return ct__fail(why, CT_STEP_CGROUP, result, plan->task_files[i]);
    }
    /* After joining, so that the leaf is what the sandbox sees as the root */
    if (unshare(CLONE_NEWCGROUP) != 0)
        return ct__fail(why, CT_STEP_CGROUP, ct__errno(), "namespace");
    return 0;
}

static int name_host(const ct_plan *plan, ct__failure *why) {
    if (sethostname(plan->hostname, strlen(plan->hostname)) != 0)
        return ct__fail(why, CT_STEP_HOSTNAME, ct__errno(), plan->hostname);
    if (chdir(plan->workdir) != 0)
        return ct__fail(why, CT_STEP_ROOT, ct__errno(), plan->workdir);
    return 0;
}

int ct__spawn_map_page(int page_fd, ct__page **out) {
    void *mapped = mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
    if (mapped == MAP_FAILED || madvise(mapped, CT__PAGE_BYTES, MADV_DONTFORK) != 0)
        return ct__errno();
    *out = mapped;
    return 0;
}

static int map_page(const ct__spawn_request *request, ct__page **page, ct__failure *why) {
    const int result = request->page_fd >= 0 ? ct__spawn_map_page(request->page_fd, page) : 0;
    return result < 0 ? ct__fail(why, CT_STEP_DESCRIPTORS, result, "page") : 0;
}

/* Lays out 0 (null), 1 and 2 (stdio), 3 (channel), 4 (bell, if there is one), 5 (sync) and closes every other descriptor.
 * The last two are closed on exec. */
static int lay_descriptors(const ct__spawn_request *request, int *sync_fd, ct__failure *why) {
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return ct__fail(why, CT_STEP_DESCRIPTORS, ct__errno(), "/dev/null");
    const int wanted[FIRST_FREE_FD] = {null, request->stdio_fd, request->stdio_fd, request->channel_fd, request->bell_fd, *sync_fd};
    int high[FIRST_FREE_FD];
    /* First out of the way, so that no placing hits a descriptor still to be placed */
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        high[i] = wanted[i] >= 0 ? fcntl(wanted[i], F_DUPFD_CLOEXEC, HIGH_FD) : -1;
        if (high[i] < 0 && wanted[i] >= 0)
            return ct__fail(why, CT_STEP_DESCRIPTORS, ct__errno(), "dup");
    }
    for (int i = 0; i < FIRST_FREE_FD; i++) {
        if (high[i] < 0)
            (void)close(i);
        else if (dup3(high[i], i, i > CT__CHANNEL_FD ? O_CLOEXEC : 0) < 0)
            return ct__fail(why, CT_STEP_DESCRIPTORS, ct__errno(), "dup3");
    }
    *sync_fd = SYNC_FD;
    const int result = ct__close_from(FIRST_FREE_FD);
    return result < 0 ? ct__fail(why, CT_STEP_DESCRIPTORS, result, "close_range") : 0;
}

/* Ends this process with its fork server. Set after the last change of ids and capabilities, which clear it. */
static int die_with_parent(int sync_fd, ct__failure *why) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "pdeathsig");
    char byte;
    if (ct__recv(sync_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        _exit(SETUP_FAILED); /* it died before the signal was asked for */
    return 0;
}

static uint64_t kept_by(const ct_plan *plan) {
    return (plan->flags & CT_PLAN_NURSERY) != 0 ? CT__NURSERY_CAPS : 0;
}

static int enter_sandbox(const ct__spawn_request *request, bool is_privileged, inherited *had, int *sync_fd, ct__page **page,
                         ct__failure *why) {
    const ct_plan *plan = request->plan;
    const enum ct__part part = has_root(request) ? CT__PART_OWN : CT__PART_WHOLE;
    ct__sources *sources = &had->sources;
    int result = start_session(plan->argc > 0, why);
    if (result < 0)
        return result;
    await_parent(*sync_fd);
    /* Nobody reads our memory or enters us by /proc until all is done. The parent has mapped our ids already: it
     * could not after this, without privilege. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_SESSION, ct__errno(), "dumpable");
    if ((result = join_cgroups(plan, had, why)) < 0 ||
        (!has_root(request) && (result = ct__sources_open(plan, part, sources, why)) < 0) ||
        (result = ct__sources_add_procs(plan, sources, why)) < 0 ||
        (result = ct__userns_become(plan, is_privileged, why)) < 0 ||
        (!has_root(request) && (result = ct__root_make(why)) < 0) ||
        (result = ct__root_fill(plan, part, sources, why)) < 0 ||
        (request->net_fd < 0 && (result = ct__loopback_raise(why)) < 0) ||
        (result = name_host(plan, why)) < 0 || (result = map_page(request, page, why)) < 0 ||
        (result = lay_descriptors(request, sync_fd, why)) < 0 ||
        (result = ct__limits_apply(plan, why)) < 0 || (result = ct__privileges_drop(kept_by(plan), why)) < 0 ||
        (result = die_with_parent(*sync_fd, why)) < 0)
        return result;
    /* A program that is executed becomes dumpable by that; one that was forked must be told */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "dumpable");
    return ct__seccomp_load(request->filters, plan->flags, why);
}

static int run_child(const ct__spawn_request *request, bool is_privileged, inherited *had, int sync_fd, ct__page **page) {
    const ct_plan *plan = request->plan;
    ct__failure why = {0};
    const int result = enter_sandbox(request, is_privileged, had, &sync_fd, page, &why);
    (void)ct__send(sync_fd, &why, sizeof why, 0); /* nobody is left to tell if this fails; the end of the stream tells */
    if (result < 0)
        _exit(SETUP_FAILED);
    if (plan->argc == 0) {
        (void)close(sync_fd);
        return CT__IN_CHILD;
    }
    /* SAFETY: execve takes pointers to non-const for old callers' sake and does not write through them. */
    (void)execve(plan->argv[0], (char *const *)plan->argv, (char *const *)plan->env);
    (void)ct__fail(&why, CT_STEP_EXEC, ct__errno(), plan->argv[0]);
    (void)ct__send(sync_fd, &why, sizeof why, 0);
    _exit(SETUP_FAILED);
}

/* Where libc keeps this thread's id, so that the kernel can write the child's there: glibc's recursive locks (the
 * dynamic linker's among them) would else compare with the parent's. 0 where the kernel can not tell. */
static uint64_t thread_id_address(void) {
    uint64_t address = 0;
    return prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) == 0 ? address : 0;
}

static pid_t clone_child(const ct_plan *plan, uint64_t fresh, int cgroup_fd, int *pidfd) {
    const uint64_t tid = thread_id_address();
    struct clone_args args = {
        .flags = fresh | CLONE_PIDFD | (tid != 0 ? CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID : 0) |
                 (plan->cgroup_dir[0] != '\0' ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .child_tid = tid,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup_fd >= 0 ? (uint32_t)cgroup_fd : 0,
    };
    /* SAFETY: without CLONE_VM the child has a copy of this stack and returns from the same call; this process has one
     * thread, which the fork server sees to, so no lock is held by anybody else. */
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void end_child(pid_t pid) {
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* A namespace that is there already is joined here, since it belongs to our user namespace: the child, in one of its
 * own, may not. Where we stand among the root's mounts, the child gets a copy of those. */
static int clone_into(const ct__spawn_request *request, int cgroup_fd, pid_t *pid, int *pidfd) {
    const bool has_net = request->net_fd >= 0;
    int failed = has_net && setns(request->net_fd, CLONE_NEWNET) != 0 ? ct__errno() : 0;
    if (failed == 0 && has_root(request) && setns(request->root_mounts_fd, CLONE_NEWNS) != 0)
        failed = ct__errno();
    if (failed == 0) {
        *pid = clone_child(request->plan, has_net ? FRESH : FRESH | CLONE_NEWNET, cgroup_fd, pidfd);
        if (*pid == 0)
            return 0;
        failed = *pid < 0 ? ct__errno() : 0;
    }
    if (has_root(request) && ct__home_return(request->home) < 0)
        return -ENOTRECOVERABLE;
    return has_net && setns(request->home_net_fd, CLONE_NEWNET) != 0 ? -ENOTRECOVERABLE : failed;
}

/* Chosen: when the whole machine runs out of memory, functions go before planes and databases (which are at 0). */
#define OOM_SCORE "500"

/* What only a parent can do, or who sees the host's /proc. */
static int prepare(pid_t child, const ct_plan *plan, bool is_privileged, ct__failure *why) {
    char path[64];
    int result = ct__format(path, sizeof path, "/proc/%d/oom_score_adj", (int)child);
    if (result == 0)
        result = ct__write_file(path, OOM_SCORE);
    return result < 0 ? ct__fail(why, CT_STEP_SESSION, result, "oom_score_adj")
                      : ct__userns_map(child, plan, is_privileged, why);
}

int ct__spawn(const ct__spawn_request *request, ct__child *out, ct__failure *why) {
    const ct_plan *plan = request->plan;
    const bool is_privileged = geteuid() == 0;
    ct_autofd cgroup = -1;
    if (plan->cgroup_dir[0] != '\0') {
        cgroup = open(plan->cgroup_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroup < 0)
            return ct__fail(why, CT_STEP_CGROUP, ct__errno(), plan->cgroup_dir);
    }
    __attribute__((cleanup(inherited_close))) inherited given;
    const int opened = inherited_open(request, &given, why);
    if (opened < 0)
        return opened;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return ct__fail(why, CT_STEP_CLONE, ct__errno(), "socketpair");
    ct_autofd ours = pair[0];
    ct_autofd theirs = pair[1];

    const int ready = request->hooks != NULL ? request->hooks->before() : 0;
    if (ready < 0)
        return ct__fail(why, CT_STEP_CLONE, ready, NULL);
    int pidfd = -1;
    pid_t pid = -1;
    const int failed = clone_into(request, cgroup, &pid, &pidfd);
    if (pid == 0) {
        ct_drop_fd(&ours); /* else the end of the stream would never come */
        *out = (ct__child){0};
        const int entered = run_child(request, is_privileged, &given, ct_take_fd(&theirs), &out->page);
        memset(&given, 0xFF, sizeof given); /* their numbers are another thing's by now */
        return entered;
    }
    if (request->hooks != NULL)
        request->hooks->after();
    ct_autofd child_pidfd = pidfd;
    if (failed < 0) {
        if (pid > 0)
            end_child(pid);
        return ct__fail(why, CT_STEP_CLONE, failed, NULL);
    }
    int result = prepare(pid, plan, is_privileged, why);
    if (result == 0 && ct__send(ours, "g", 1, 0) != 1)
        result = ct__fail(why, CT_STEP_IDMAP, CT_E_DIED, NULL);
    if (result < 0) {
        end_child(pid);
        return result;
    }
    *out = (ct__child){.pid = pid, .pidfd = ct_take_fd(&child_pidfd), .sync_fd = ct_take_fd(&ours)};
    return 0;
}
