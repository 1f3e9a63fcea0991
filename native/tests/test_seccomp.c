#define _GNU_SOURCE
#include "sandbox/seccomp.h"

#include "base/err.h"
#include "ct_test.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static ct__seccomp filters;

/* Runs body under the filter in a child; its exit status, or 1000 and the signal. */
static int under_filter(int (*body)(void), uint32_t flags) {
    const pid_t child = fork();
    if (child == 0) {
        ct__failure why;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ct__seccomp_load(&filters, flags, &why) != 0)
            _exit(99);
        _exit(body());
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int trace(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0;
}

static int leave(void) {
    return unshare(CLONE_NEWUSER) < 0 ? errno : 0;
}

static int newer_clone(void) {
    return syscall(SYS_clone3, NULL, 0) < 0 ? errno : 0;
}

static int link_socket(void) {
    return socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? errno : 0;
}

static int inet_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int halt(void) {
    return (int)syscall(SYS_reboot, 0, 0, 0, NULL); /* a wrong magic: nothing would happen without the filter */
}

static int memory_file(void) {
    return memfd_create("x", 0) < 0 ? errno : 0;
}

static int forget_parent(void) {
    return prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0 ? errno : 0;
}

static int watch(void) {
    return inotify_init1(0) < 0 ? errno : 0;
}

static int watch_the_old_way(void) {
    return fcntl(0, F_NOTIFY, DN_ACCESS) < 0 ? errno : 0;
}

static int lease(void) {
    return fcntl(0, F_SETLEASE, F_RDLCK) < 0 ? errno : 0;
}

static int huge_memory(void) {
    void *at = mmap(NULL, 1 << 21, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return at == MAP_FAILED ? errno : 0;
}

static int huge_memory_file(void) {
    return memfd_create("x", MFD_HUGETLB) < 0 ? errno : 0;
}

static int huge_shared_memory(void) {
    return shmget(IPC_PRIVATE, 1 << 21, SHM_HUGETLB | 0600) < 0 ? errno : 0;
}

static int ask_flags(void) {
    return fcntl(0, F_GETFD) < 0 ? errno : 0;
}

static void what_all_sandboxes_share_is_not_watched_or_taken(void) {
    CHECK_INT(under_filter(watch, 0), EPERM);
    CHECK_INT(under_filter(watch_the_old_way, 0), EPERM);
    CHECK_INT(under_filter(lease, 0), EPERM);
    CHECK_INT(under_filter(huge_memory, 0), EPERM);
    CHECK_INT(under_filter(huge_memory_file, 0), EPERM);
    CHECK_INT(under_filter(huge_shared_memory, 0), EPERM);
    CHECK_INT(under_filter(ask_flags, 0), 0);
}

static void calls_get_their_answers(void) {
    CHECK_INT(under_filter(trace, 0), EPERM);
    CHECK_INT(under_filter(leave, 0), EPERM);
    CHECK_INT(under_filter(newer_clone, 0), ENOSYS);
    CHECK_INT(under_filter(link_socket, 0), ENOSYS);
    CHECK_INT(under_filter(inet_socket, 0), 0);
    CHECK_INT(under_filter(halt, 0), 1000 + SIGSYS);
    CHECK_INT(under_filter(forget_parent, 0), EPERM);
}

static void shared_memory_is_a_choice(void) {
    CHECK_INT(under_filter(memory_file, 0), 0);
    CHECK_INT(under_filter(memory_file, CT_PLAN_NO_SHARED_MEMORY), EPERM);
}

/* 0 when each set of namespaces gets EPERM, and a plain clone a process. */
static int every_clone(void) {
    static const unsigned each[] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWNET,
                                    CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME};
    for (unsigned set = 0; set < 1U << (sizeof each / sizeof each[0]); set++) {
        unsigned long flags = SIGCHLD;
        for (unsigned i = 0; i < sizeof each / sizeof each[0]; i++)
            flags |= (set >> i & 1) != 0 ? each[i] : 0;
        const long child = syscall(SYS_clone, flags, 0UL, NULL, 0UL, 0UL);
        if (child == 0)
            _exit(0);
        if (set != 0 && (child > 0 || errno != EPERM))
            return 1;
        if (set == 0 && (child < 0 || waitpid((pid_t)child, NULL, 0) != child))
            return 2;
    }
    return 0;
}

static void a_clone_makes_no_namespace(void) {
    CHECK_INT(under_filter(every_clone, 0), 0);
}

static int serve(void) {
    static int (*const refused[])(void) = {watch_the_old_way, lease, huge_memory, huge_shared_memory, forget_parent, trace, leave};
    ct__seccomp_inherit(&filters);
    if (!filters.is_inherited || lease() != EPERM || memory_file() != 0)
        return 1;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (under_filter(refused[i], 0) != EPERM)
            return 2;
    return under_filter(ask_flags, 0) == 0 && under_filter(every_clone, 0) == 0 ? 0 : 3;
}

static void what_a_server_has_loaded_its_children_have(void) {
    const pid_t server = fork();
    if (server == 0)
        _exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ? 99 : serve());
    int status = 0;
    CHECK_INT(waitpid(server, &status, 0), server);
    CHECK_INT(status, 0);
}

static void programs_are_within_the_kernels_bound(void) {
    CHECK(filters.calls.len > 100);
    CHECK(filters.calls.len < BPF_MAXINSNS);
    CHECK(filters.arguments.len > 10);
}

int main(void) {
    static const ct_case cases[] = {CASE(calls_get_their_answers), CASE(shared_memory_is_a_choice),
                                    CASE(what_all_sandboxes_share_is_not_watched_or_taken),
                                    CASE(a_clone_makes_no_namespace), CASE(what_a_server_has_loaded_its_children_have),
                                    CASE(programs_are_within_the_kernels_bound)};
    CHECK_INT(ct__seccomp_init(&filters), 0);
    const int result = RUN("seccomp", cases);
    ct__seccomp_fini(&filters);
    return result;
}
