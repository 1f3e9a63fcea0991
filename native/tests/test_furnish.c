/* Furnishing, as root, a child in namespaces of its own; in a mount namespace of this test, where nothing spreads. */
#define _GNU_SOURCE
#include "sandbox/furnish.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, FAILED = 99 };

static const ct_furnish WANTED = {.magic = CT_FURNISH_MAGIC, .inodes = 64, .tmp_bytes = 1 << 20, .shm_bytes = 1 << 16};

static int on_its_own(int (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || ct__mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
            _exit(CANNOT);
        if (ct__mount("tmpfs", "/run", "tmpfs", 0, "size=64k") != 0 || mkdir("/run/masked.d", 0555) != 0 ||
            mknod("/run/masked", S_IFREG | 0444, 0) != 0)
            _exit(FAILED);
        _exit(body());
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

/* A child that waits for a byte and then ends with what look() says. */
static pid_t make(int (*look)(void), int *pidfd, int *go) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    struct clone_args args = {.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_PIDFD,
                              .pidfd = (uint64_t)(uintptr_t)pidfd,
                              .exit_signal = SIGCHLD};
    const pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        char byte;
        (void)close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(look());
    }
    (void)close(ends[0]);
    *go = ends[1];
    return pid;
}

static int is_furnished(void) {
    struct statfs tmp;
    struct statfs shm;
    char own[32] = {0};
    if (statfs("/tmp", &tmp) != 0 || tmp.f_type != TMPFS_MAGIC || tmp.f_files != WANTED.inodes ||
        tmp.f_blocks * (uint64_t)tmp.f_bsize != WANTED.tmp_bytes)
        return 1;
    if (statfs("/dev/shm", &shm) != 0 || shm.f_blocks * (uint64_t)shm.f_bsize != WANTED.shm_bytes || access("/dev/shm", R_OK) != 0)
        return 2;
    if (readlink("/proc/self", own, sizeof own - 1) != 1 || own[0] != '1' || access("/proc/3", F_OK) == 0)
        return 3;
    struct stat keys;
    if (stat("/proc/kallsyms", &keys) == 0 && keys.st_size == 0 && open("/proc/kallsyms", O_WRONLY | O_CLOEXEC) >= 0)
        return 4;
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq lo = {.ifr_name = "lo"};
    return fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0 && (lo.ifr_flags & IFF_UP) != 0 ? 0 : 5;
}

static int ended_with(pid_t pid) {
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int all_is_there(void) {
    int pidfd = -1;
    int go = -1;
    ct__failure why;
    const pid_t pid = make(is_furnished, &pidfd, &go);
    if (pid < 0)
        return CANNOT;
    const int result = ct__furnish(pidfd, &WANTED, &why);
    if (result < 0) {
        (void)fprintf(stderr, "%s %d %s\n", ct_step_name(why.step), result, why.path);
        return 10;
    }
    return write(go, "g", 1) == 1 ? ended_with(pid) : 11;
}

static int one_that_has_ended_is_told(void) {
    int pidfd = -1;
    int go = -1;
    ct__failure why = {0};
    const pid_t pid = make(is_furnished, &pidfd, &go);
    if (pid < 0)
        return CANNOT;
    (void)close(go);
    (void)ended_with(pid);
    const int result = ct__furnish(pidfd, &WANTED, &why);
    return result < 0 && why.status == result ? 0 : 1;
}

static int no_limit_is_no_answer(void) {
    ct_furnish wanted = WANTED;
    ct__failure why;
    wanted.shm_bytes = 0;
    return ct__furnish(-1, &wanted, &why) == CT_E_RANGE && why.step == CT_STEP_REQUEST ? 0 : 1;
}

static void furnishing(void) {
    static int (*const bodies[])(void) = {all_is_there, one_that_has_ended_is_told, no_limit_is_no_answer};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        const int ended = on_its_own(bodies[i]);
        if (ended != CANNOT)
            CHECK_INT(ended, 0);
    }
}

int main(void) {
    static const ct_case cases[] = {CASE(furnishing)};
    return RUN("furnish", cases);
}
