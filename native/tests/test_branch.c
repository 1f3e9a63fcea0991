/* A nursery and what it forks: this process in a user namespace of its own, behind the nursery's filter. */
#define _GNU_SOURCE
#include "sandbox/branch.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, FAILED = 99 };

static int said_before;
static int still(void) {
    said_before++;
    return 0;
}

static int busy(void) {
    return CT_E_THREADS;
}

static void go_on(void) {
    said_before = -said_before;
}

static const ct__fork_hooks HOOKS = {.before = still, .after = go_on};
static const ct__fork_hooks BUSY = {.before = busy, .after = go_on};

static int in_nursery(int (*body)(ct__branch_request *)) {
    const pid_t child = fork();
    if (child == 0) {
        ct__seccomp filters;
        ct__failure why;
        int pair[2];
        if (ct__seccomp_init(&filters) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
            _exit(FAILED);
        if (unshare(CLONE_NEWUSER) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            _exit(CANNOT);
        if (ct__seccomp_load(&filters, CT_PLAN_NURSERY, &why) != 0)
            _exit(FAILED);
        ct__branch_request request = {.channel_fd = pair[1], .stdio_fd = pair[0], .page_fd = -1, .bell_fd = -1, .filters = &filters, .hooks = &HOOKS};
        const int result = body(&request);
        ct__seccomp_fini(&filters);
        _exit(result);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int has_power(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}, {0}};
    if (syscall(SYS_capget, &head, sets) != 0)
        return 1;
    return (sets[0].effective | sets[0].permitted | sets[1].effective | sets[1].permitted) != 0 ||
           prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) != 0 || unshare(CLONE_NEWCGROUP) == 0;
}

static int a_child_is_alone_and_without_power(ct__branch_request *request) {
    ct__child child = {.pidfd = -1};
    ct__page page = {.bell = 41};
    request->page_fd = memfd_create("page", MFD_CLOEXEC);
    request->bell_fd = eventfd(0, 0);
    if (write(request->page_fd, &page, sizeof page) != (ssize_t)sizeof page)
        return 4;
    const int result = ct__branch(request, &child);
    if (result == CT__IN_CHILD) {
        const bool has_page = child.page != NULL && atomic_load(&child.page->bell) == 41 && fcntl(CT__BELL_FD, F_GETFD) == FD_CLOEXEC;
        const char word = getpid() == 1 && !has_power() && has_page && fcntl(CT__BELL_FD + 1, F_GETFD) < 0 ? 'y' : 'n';
        _exit(write(CT__CHANNEL_FD, &word, 1) == 1 ? 7 : 8);
    }
    if (result == -EPERM)
        return CANNOT;
    struct pollfd ended = {.fd = child.pidfd, .events = POLLIN};
    char word = 0;
    int status = 0;
    const int ours = request->stdio_fd; /* the other end of the channel */
    if (result != 0 || said_before != -1 || poll(&ended, 1, 50) != 0)
        return 1; /* it waits for the host's word */
    if (write(ours, "g", 1) != 1 || read(ours, &word, 1) != 1 || word != 'y')
        return 2;
    return waitpid(child.pid, &status, 0) == child.pid && WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 0 : 3;
}

static int a_child_whose_host_is_gone_ends(ct__branch_request *request) {
    ct__child child = {.pidfd = -1};
    int status = 0;
    const int ours = request->stdio_fd;
    int pair[2];
    if (pipe(pair) != 0)
        return 1;
    request->stdio_fd = pair[1];
    const int result = ct__branch(request, &child);
    if (result == CT__IN_CHILD)
        _exit(7);
    if (result == -EPERM)
        return CANNOT;
    (void)close(ours);
    return waitpid(child.pid, &status, 0) == child.pid && WIFEXITED(status) && WEXITSTATUS(status) == 125 ? 0 : 2;
}

static int a_group_that_takes_nobody_ends_it(ct__branch_request *request) {
    ct__child child = {.pidfd = -1};
    int status = 0;
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    request->task_fds = &full;
    request->task_count = 1;
    const int result = ct__branch(request, &child);
    if (result == CT__IN_CHILD)
        _exit(7);
    if (result == -EPERM)
        return CANNOT;
    return waitpid(child.pid, &status, 0) == child.pid && WIFEXITED(status) && WEXITSTATUS(status) == 125 ? 0 : 2;
}

static int threads_forbid_it(ct__branch_request *request) {
    ct__child child = {.pidfd = -1};
    request->hooks = &BUSY;
    return ct__branch(request, &child) == CT_E_THREADS && child.pidfd == -1 ? 0 : 1;
}

static int cloned(unsigned long flags) {
    const pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0UL, NULL, 0UL, 0UL);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
    return pid < 0 ? errno : 0;
}

static int only_all_of_the_namespaces_are_to_be_had(ct__branch_request *request) {
    const unsigned long all = CT__BRANCH_NAMESPACES;
    (void)request;
    for (unsigned long some = (all - 1) & all; some != 0; some = (some - 1) & all)
        if (cloned(some) != EPERM)
            return 1;
    if (cloned(0) != 0 || cloned(all | CLONE_NEWUSER) != EPERM || cloned(all | CLONE_NEWCGROUP) != EPERM)
        return 2;
    return unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0 ? 3 : 0;
}

static void a_branch(void) {
    static int (*const bodies[])(ct__branch_request *) = {
        a_child_is_alone_and_without_power, a_child_whose_host_is_gone_ends, a_group_that_takes_nobody_ends_it,
        threads_forbid_it, only_all_of_the_namespaces_are_to_be_had};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        const int ended = in_nursery(bodies[i]);
        if (ended != CANNOT)
            CHECK_INT(ended, 0);
    }
}

int main(void) {
    static const ct_case cases[] = {CASE(a_branch)};
    return RUN("branch", cases);
}
