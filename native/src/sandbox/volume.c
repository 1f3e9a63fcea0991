/* A volume's files belong to one id on the disk, whoever wrote them, and each sandbox has an id of its own. So each gets
 * a mount of its own of the same files, through which it sees them as its own. A mount takes the mapping from a user
 * namespace, which needs no process once it has a descriptor. */

#define _GNU_SOURCE
#include "sandbox/volume.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_map(pid_t pid, const char *file, uint32_t host) {
    char path[64], text[64];
    int result = ct__format(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    if (result == 0)
        result = ct__format(text, sizeof text, "%u %u 1\n", (uint32_t)CT_VOLUME_ID, host);
    return result < 0 ? result : ct__write_file(path, text);
}

static int map_and_open(pid_t pid, const ct_plan *plan) {
    char path[64];
    int result = write_map(pid, "gid_map", plan->host_gid);
    if (result == 0)
        result = write_map(pid, "uid_map", plan->host_uid);
    if (result == 0)
        result = ct__format(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    if (result < 0)
        return result;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? ct__errno() : fd;
}

/* A user namespace in which CT_VOLUME_ID stands for the sandbox's host ids; its descriptor, or -errno. */
static int make_mapping(const ct_plan *plan) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return ct__errno();
    ct_autofd ours = pair[0];
    ct_autofd theirs = pair[1];
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    /* SAFETY: as in spawn.c; the child makes system calls and ends */
    const pid_t holder = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (holder == 0) {
        char byte;
        ct_drop_fd(&ours);
        (void)ct__recv(theirs, &byte, 1, 0); /* until the parent lets go, or ends */
        _exit(0);
    }
    if (holder < 0)
        return ct__errno();
    const int mapping = map_and_open(holder, plan);
    ct_drop_fd(&ours);
    ct_drop_fd(&theirs);
    while (waitpid(holder, NULL, 0) < 0 && errno == EINTR)
        continue;
    return mapping;
}

static int open_volume(const ct_entry *e, int mapping) {
    ct_autofd fd = ct__open_tree(e->source);
    if (fd < 0)
        return fd;
    const bool is_writable = (e->flags & CT_ENTRY_WRITABLE) != 0;
    int result = ct__mount_restrict(
        fd, NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (is_writable ? 0 : (uint64_t)MOUNT_ATTR_RDONLY));
    if (result == 0 && mapping >= 0)
        result = ct__mount_map_ids(fd, mapping);
    return result < 0 ? result : ct_take_fd(&fd);
}

int ct__volumes_open(const ct_plan *plan, ct__sources *out, ct__failure *why) {
    ct_autofd mapping = -1;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const ct_entry *e = &plan->entries[i];
        if (e->kind != CT_ENTRY_VOLUME)
            continue;
        if (mapping < 0 && geteuid() == 0 && (mapping = make_mapping(plan)) < 0)
            return ct__fail(why, CT_STEP_IDMAP, mapping, e->target);
        out->fd[i] = open_volume(e, mapping);
        if (out->fd[i] < 0)
            return ct__fail(why, CT_STEP_SOURCE, out->fd[i], e->source);
    }
    return 0;
}
