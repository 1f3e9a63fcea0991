#define _GNU_SOURCE
#include "base/sysx.h"

#include "base/err.h"
#include "base/scope.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* sys/mount.h and linux/mount.h can not both be included with glibc 2.36, so mount calls go straight to the kernel. */
enum { MNT_DETACH_FLAG = 2 };

static int result_of(long value) {
    return value < 0 ? ct__errno() : (int)value;
}

int ct__write_file(const char *path, const char *text) {
    ct_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return ct__errno();
    const size_t len = strlen(text);
    ssize_t wrote;
    do
        wrote = write(fd, text, len);
    while (wrote < 0 && errno == EINTR);
    if (wrote < 0)
        return ct__errno();
    return (size_t)wrote == len ? 0 : -EIO;
}

int ct__read_file(const char *path, char *out, size_t cap) {
    ct_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ct__errno();
    size_t len = 0;
    while (len < cap - 1) {
        const ssize_t got = read(fd, out + len, cap - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ct__errno();
        if (got == 0)
            break;
        len += (size_t)got;
    }
    out[len] = '\0';
    return (int)len;
}

int ct__read_number(const char *path, uint64_t *out) {
    char text[64];
    const int len = ct__read_file(path, text, sizeof text);
    if (len < 0)
        return len;
    if (strncmp(text, "max", 3) == 0) {
        *out = UINT64_MAX;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno != 0)
        return CT_E_MALFORMED;
    *out = value;
    return 0;
}

int ct__format(char *out, size_t cap, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(out, cap, format, args);
    va_end(args);
    return len < 0 || (size_t)len >= cap ? CT_E_TOOBIG : 0;
}

ssize_t ct__recv(int fd, void *buf, size_t len, int flags) {
    ssize_t got;
    do
        got = recv(fd, buf, len, flags);
    while (got < 0 && errno == EINTR);
    return got < 0 ? ct__errno() : got;
}

ssize_t ct__send(int fd, const void *buf, size_t len, int flags) {
    ssize_t sent;
    do
        sent = send(fd, buf, len, flags | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? ct__errno() : sent;
}

int ct__pidfd_kill(int pidfd) {
    return result_of(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U));
}

int ct__close_from(unsigned first) {
    return result_of(syscall(SYS_close_range, first, ~0U, 0U));
}

int ct__mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options) {
    return result_of(syscall(SYS_mount, source, target, type, flags, options));
}

int ct__detach(const char *target) {
    return result_of(syscall(SYS_umount2, target, MNT_DETACH_FLAG));
}

int ct__pivot_root(const char *new_root, const char *put_old) {
    return result_of(syscall(SYS_pivot_root, new_root, put_old));
}

int ct__open_tree(const char *path) {
    return result_of(
        syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)CT__AT_RECURSIVE));
}

int ct__move_mount(int mount_fd, const char *target) {
    return result_of(syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
}

int ct__proc_mount(uint64_t attributes) {
    ct_autofd fs = result_of(syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC));
    if (fs < 0)
        return fs;
    const int made = result_of(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    if (made < 0)
        return made;
    return result_of(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, (unsigned)attributes));
}

static int set_attributes(int dir_fd, const char *path, unsigned flags, const struct mount_attr *attr) {
    return result_of(syscall(SYS_mount_setattr, dir_fd, path, flags, attr, sizeof *attr));
}

int ct__mount_restrict(int mount_fd, const char *path, uint64_t attributes) {
    const struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
    return mount_fd >= 0 ? set_attributes(mount_fd, "", CT__AT_EMPTY_PATH | CT__AT_RECURSIVE, &attr)
                         : set_attributes(AT_FDCWD, path, 0, &attr);
}

int ct__mount_restrict_all(const char *path, uint64_t attributes) {
    const struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};
    return set_attributes(AT_FDCWD, path, CT__AT_RECURSIVE, &attr);
}

int ct__mount_release(const char *path, uint64_t attributes) {
    const struct mount_attr attr = {.attr_clr = attributes};
    return set_attributes(AT_FDCWD, path, 0, &attr);
}

int ct__mount_map_ids(int mount_fd, int userns_fd) {
    const struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns_fd};
    return set_attributes(mount_fd, "", CT__AT_EMPTY_PATH, &attr);
}

int ct__thread_count(void) {
    /* The link count of the task directory is two and one a thread: cheaper than listing it. */
    struct stat st;
    if (stat("/proc/self/task", &st) != 0)
        return ct__errno();
    return (int)st.st_nlink - 2;
}

uint64_t ct__now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* can not fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
