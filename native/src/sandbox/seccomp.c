#define _GNU_SOURCE
#include "sandbox/seccomp.h"

#include "base/err.h"
#include "base/scope.h"
#include "sandbox/branch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Names, because each architecture has only some of them; what this libseccomp does not know stays closed. */
static const char *const ALLOWED[] = {
    /* processes and threads; for clone, see build_calls */
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "waitpid", "kill", "tkill",
    "tgkill", "pidfd_open", "pidfd_send_signal", "getpid", "getppid", "gettid", "getpgid", "getpgrp", "setpgid", "getsid",
    "setsid", "set_tid_address", "set_robust_list", "get_robust_list", "rseq", "membarrier", "arch_prctl", "prctl",
    "set_thread_area", "get_thread_area", "restart_syscall", "seccomp", "process_madvise", "process_mrelease",
    /* identity: reads, and changes that no capability backs */
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "setuid", "setgid", "setreuid",
    "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capget", "capset", "getcpu", "uname",
    "sysinfo", "getrlimit", "setrlimit", "prlimit64", "getrusage", "times", "getpriority", "setpriority", "ioprio_get",
    "ioprio_set", "umask",
    /* scheduling */
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_setparam", "sched_getscheduler",
    "sched_setscheduler", "sched_getattr", "sched_setattr", "sched_get_priority_max", "sched_get_priority_min",
    "sched_rr_get_interval",
    /* memory */
    "brk", "mmap", "mmap2", "munmap", "mprotect", "mremap", "madvise", "mincore", "msync", "mlock", "mlock2", "munlock",
    "mlockall", "munlockall", "pkey_alloc", "pkey_free", "pkey_mprotect", "memfd_create", "map_shadow_stack", "mseal",
    /* signals */
    "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "sigreturn", "pause", "alarm", "signalfd", "signalfd4",
    /* time */
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getitimer", "setitimer",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create",
    "timerfd_gettime", "timerfd_settime",
    /* files */
    "open", "openat", "openat2", "creat", "close", "close_range", "read", "write", "readv", "writev", "pread64",
    "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "splice", "tee",
    "vmsplice", "copy_file_range", "readahead", "fadvise64", "fallocate", "truncate", "ftruncate", "fsync", "fdatasync",
    "sync", "syncfs", "sync_file_range", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access",
    "faccessat", "faccessat2", "chdir", "fchdir", "getcwd", "mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2",
    "link", "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
    "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat", "mknod",
    "mknodat", "getdents", "getdents64", "dup", "dup2", "dup3", "fcntl", "fcntl64", "flock", "ioctl", "pipe", "pipe2",
    "getxattr", "lgetxattr", "fgetxattr", "setxattr", "lsetxattr", "fsetxattr", "listxattr", "llistxattr", "flistxattr",
    "removexattr", "lremovexattr", "fremovexattr", "cachestat", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    /* waiting */
    "poll", "ppoll", "select", "pselect6", "_newselect", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
    "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "futex", "futex_waitv", "futex_wait", "futex_wake",
    "futex_requeue", "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "io_pgetevents",
    /* sockets; which families: see open_families */
    "bind", "connect", "listen", "accept", "accept4", "getsockname", "getpeername", "getsockopt", "setsockopt", "send",
    "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "shutdown",
    /* System V and POSIX IPC, in a namespace of the sandbox's own */
    "semget", "semop", "semtimedop", "semctl", "shmget", "shmat", "shmdt", "shmctl", "msgget", "msgsnd", "msgrcv",
    "msgctl", "ipc", "mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr",
    /* chance */
    "getrandom",
};

/* Known and refused: EPERM says "not here", where ENOSYS would say "not in this kernel". */
static const char *const REFUSED[] = {
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "mount", "umount", "umount2", "pivot_root",
    "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "move_mount", "open_tree", "mount_setattr", "bpf", "userfaultfd",
    "add_key", "request_key", "keyctl", "perf_event_open", "setns", "open_by_handle_at", "name_to_handle_at",
    "quotactl", "quotactl_fd", "fanotify_init", "fanotify_mark", "lookup_dcookie", "vhangup", "syslog", "settimeofday",
    "clock_settime", "clock_settime64", "clock_adjtime", "adjtimex", "stime", "sethostname", "setdomainname",
    "move_pages", "migrate_pages", "mbind", "set_mempolicy", "get_mempolicy", "memfd_secret", "nfsservctl", "modify_ldt",
    "remap_file_pages", "io_uring_setup", "io_uring_enter", "io_uring_register",
    /* /usr is the same files in every sandbox and on the host: a watch tells which of them others open, and when */
    "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
};

/* No program does these by mistake. */
static const char *const FATAL[] = {
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "reboot", "swapon",
    "swapoff",    "acct",            "iopl",        "ioperm",       "uselib",        "vm86",          "vm86old",
};

static const unsigned NAMESPACES[] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWNET,
                                      CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWTIME};

/* Push characters into, or take over, the terminal of whoever started us. */
static const unsigned TERMINAL_REQUESTS[] = {TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS};

/* Watches again (dnotify), and leases, which make whoever opens a shared file wait for the holder. */
static const unsigned FILE_COMMANDS[] = {F_NOTIFY, F_SETLEASE};

#ifdef __s390x__
enum { CLONE_FLAGS_ARG = 1 };
#else
enum { CLONE_FLAGS_ARG = 0 };
#endif

/* personality(2) values that programs use: Linux itself, and the question what it is. */
static const ct__check PERSONALITY = {.values = {0x0, 0xFFFFFFFF}, .count = 2, .otherwise = SECCOMP_RET_ERRNO | ENOSYS};

static int set_all(ct__filter *filter, const char *const *names, size_t count, uint32_t verdict) {
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = ct__filter_set(filter, names[i], verdict);
    return result;
}

static uint32_t refusal(uint32_t error) {
    return SECCOMP_RET_ERRNO | error;
}

static int set_listed(ct__filter *filter) {
    static const ct__check family = {.values = {AF_UNIX, AF_INET, AF_INET6}, .count = 3, .otherwise = SECCOMP_RET_ERRNO | ENOSYS};
    int result = set_all(filter, ALLOWED, sizeof ALLOWED / sizeof ALLOWED[0], SECCOMP_RET_ALLOW);
    if (result == 0)
        result = set_all(filter, REFUSED, sizeof REFUSED / sizeof REFUSED[0], refusal(EPERM));
    if (result == 0)
        result = set_all(filter, FATAL, sizeof FATAL / sizeof FATAL[0], SECCOMP_RET_KILL_PROCESS);
    if (result == 0)
        result = ct__filter_check(filter, "socket", &family);
    if (result == 0)
        result = ct__filter_check(filter, "socketpair", &family);
    if (result == 0)
        result = ct__filter_check(filter, "personality", &PERSONALITY);
    return result;
}

/* Processes and threads, but no namespace. */
static int build_calls(ct__filter *filter) {
    ct__check clone = {.arg = CLONE_FLAGS_ARG, .otherwise = refusal(EPERM)};
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof NAMESPACES[0]; i++)
        clone.refused_bits |= NAMESPACES[i];
    int result = set_listed(filter);
    if (result == 0)
        result = ct__filter_check(filter, "clone", &clone);
    return result < 0 ? result : ct__filter_set(filter, "unshare", refusal(EPERM));
}

/* A branch leaves the nursery's control group, and then shall not see the path to its own. */
static int build_nursery_calls(ct__filter *filter) {
    static const ct__check cgroup = {.values = {CLONE_NEWCGROUP}, .count = 1, .otherwise = SECCOMP_RET_ERRNO | EPERM};
    int result = set_listed(filter);
    if (result == 0)
        result = ct__filter_set(filter, "clone", SECCOMP_RET_ALLOW); /* with what its arguments may be: see below */
    return result < 0 ? result : ct__filter_check(filter, "unshare", &cgroup);
}

static int refuse_bits(scmp_filter_ctx ctx, int call, unsigned arg, uint64_t bits) {
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 1, SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, bits, bits));
}

static int refuse_namespaces(scmp_filter_ctx ctx, unsigned but) {
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof NAMESPACES / sizeof NAMESPACES[0]; i++)
        if ((NAMESPACES[i] & but) == 0)
            result = refuse_bits(ctx, SCMP_SYS(clone), CLONE_FLAGS_ARG, NAMESPACES[i]);
    return result;
}

/* The 32 bits of a command or request that the kernel reads; what is above them can not disguise one. */
static int refuse_commands(scmp_filter_ctx ctx, int call, const unsigned *commands, size_t count) {
    int result = 0;
    for (size_t i = 0; result == 0 && i < count; i++)
        result = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 1,
                                  SCMP_A1_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, commands[i]));
    return result;
}

/* Huge pages come from what the host has set aside for its own programs, and the memory group does not count them. */
static int refuse_huge_pages(scmp_filter_ctx ctx) {
    int result = refuse_bits(ctx, SCMP_SYS(memfd_create), 1, MFD_HUGETLB);
    if (result == 0)
        result = refuse_bits(ctx, SCMP_SYS(shmget), 2, SHM_HUGETLB);
#ifndef __s390x__ /* its mmap takes a pointer to the flags, which no filter can follow */
    if (result == 0)
        result = refuse_bits(ctx, SCMP_SYS(mmap), 3, MAP_HUGETLB);
#endif
    return result;
}

static int build_arguments(scmp_filter_ctx ctx) {
    int result = refuse_commands(ctx, SCMP_SYS(ioctl), TERMINAL_REQUESTS, sizeof TERMINAL_REQUESTS / sizeof TERMINAL_REQUESTS[0]);
    if (result == 0)
        result = refuse_commands(ctx, SCMP_SYS(fcntl), FILE_COMMANDS, sizeof FILE_COMMANDS / sizeof FILE_COMMANDS[0]);
    if (result == 0)
        result = refuse_huge_pages(ctx);
    if (result < 0)
        return result;
    /* A child that forgets its parent's death would outlive the platform; to set one's own SIGKILL stays allowed. */
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 2,
                            SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, PR_SET_PDEATHSIG), SCMP_A1_64(SCMP_CMP_NE, SIGKILL));
}

/* Fresh namespaces all at once or none of them: a child in part of them would share the rest with the nursery. */
static int build_nursery_clone(scmp_filter_ctx ctx) {
    const uint64_t all = CT__BRANCH_NAMESPACES;
    int result = refuse_namespaces(ctx, CT__BRANCH_NAMESPACES);
    for (uint64_t some = (all - 1) & all; result == 0 && some != 0; some = (some - 1) & all)
        result = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_CMP64(CLONE_FLAGS_ARG, SCMP_CMP_MASKED_EQ, all, some));
    return result;
}

static int build_shared_memory(scmp_filter_ctx ctx) {
    const int result = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(shmget), 0);
    return result < 0 ? result : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(memfd_create), 0);
}

/* libseccomp writes a program only to a descriptor (seccomp_export_bpf_mem came with 2.6). */
static int export(scmp_filter_ctx ctx, ct__program *out) {
    ct_autofd fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return ct__errno();
    const int result = seccomp_export_bpf(ctx, fd);
    if (result < 0)
        return result;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ct__errno();
    const size_t size = (size_t)st.st_size;
    if (size == 0 || size > BPF_MAXINSNS * sizeof(struct sock_filter))
        return -E2BIG;
    struct sock_filter *code = malloc(size);
    if (code == NULL)
        return -ENOMEM;
    if (pread(fd, code, size, 0) != (ssize_t)size) {
        free(code);
        return -EIO;
    }
    *out = (ct__program){.len = (unsigned short)(size / sizeof *code), .code = code};
    return 0;
}

static void release(scmp_filter_ctx *ctx) {
    if (*ctx != NULL)
        seccomp_release(*ctx);
}

static int build(int (*rules)(scmp_filter_ctx), ct__program *out) {
    __attribute__((cleanup(release))) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (ctx == NULL)
        return -ENOMEM;
    int result = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = rules(ctx);
    return result < 0 ? result : export(ctx, out);
}

static int build_listed(int (*list)(ct__filter *), ct__program *out) {
    ct__filter filter;
    ct__filter_init(&filter, refusal(ENOSYS));
    const int result = list(&filter);
    return result < 0 ? result : ct__filter_build(&filter, out);
}

int ct__seccomp_init(ct__seccomp *s) {
    *s = (ct__seccomp){0};
    int result = build_listed(build_calls, &s->calls);
    if (result == 0)
        result = build(build_arguments, &s->arguments);
    if (result == 0)
        result = build(build_shared_memory, &s->shared_memory);
    if (result == 0)
        result = build_listed(build_nursery_calls, &s->nursery_calls);
    if (result == 0)
        result = build(build_nursery_clone, &s->nursery_clone);
    if (result < 0)
        ct__seccomp_fini(s);
    return result;
}

void ct__seccomp_fini(ct__seccomp *s) {
    free(s->calls.code);
    free(s->arguments.code);
    free(s->shared_memory.code);
    free(s->nursery_calls.code);
    free(s->nursery_clone.code);
    *s = (ct__seccomp){0};
}

static int load(const ct__program *program) {
    const struct sock_fprog prog = {.len = program->len, .filter = program->code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0U, &prog) != 0 ? ct__errno() : 0;
}

void ct__seccomp_inherit(ct__seccomp *s) {
    if (!s->is_inherited)
        s->is_inherited = load(&s->arguments) == 0;
}

int ct__seccomp_load(const ct__seccomp *s, uint32_t plan_flags, ct__failure *why) {
    const bool is_nursery = (plan_flags & CT_PLAN_NURSERY) != 0;
    int result = s->is_inherited ? 0 : load(&s->arguments);
    if (result == 0 && is_nursery)
        result = load(&s->nursery_clone);
    if (result == 0 && (plan_flags & CT_PLAN_NO_SHARED_MEMORY) != 0)
        result = load(&s->shared_memory);
    if (result == 0)
        result = load(is_nursery ? &s->nursery_calls : &s->calls);
    return result < 0 ? ct__fail(why, CT_STEP_SECCOMP, result, NULL) : 0;
}
