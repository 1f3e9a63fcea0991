#define _GNU_SOURCE
#include "sandbox/probe.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/spawn.h"

#include <sys/wait.h>
#include <unistd.h>

int ct__probe(uint32_t host_uid, uint32_t host_gid, ct__failure *why) {
    ct_plan plan = {.host_uid = host_uid,
                    .host_gid = host_gid,
                    .inside_uid = 1000,
                    .inside_gid = 1000,
                    .setup_ms = 5000,
                    .hostname = "probe",
                    .workdir = "/tmp",
                    .cgroup_dir = "",
                    .entry_count = 4};
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/usr", .source = "/usr"};
    plan.entries[1] = (ct_entry){.kind = CT_ENTRY_DEVICE, .target = "/dev/null", .source = "/dev/null"};
    plan.entries[2] = (ct_entry){.kind = CT_ENTRY_PROC, .target = "/proc", .source = ""};
    plan.entries[3] =
        (ct_entry){.kind = CT_ENTRY_TMPFS, .target = "/tmp", .source = "", .mode = 01777, .size_bytes = 4096, .inodes = 16};
    ct__seccomp filters;
    int result = ct__seccomp_init(&filters);
    if (result < 0)
        return ct__fail(why, CT_STEP_SECCOMP, result, NULL);
    const ct__spawn_request request = {.plan = &plan,
                                       .channel_fd = STDOUT_FILENO,
                                       .stdio_fd = STDOUT_FILENO,
                                       .page_fd = -1,
                                       .bell_fd = -1,
                                       .net_fd = -1,
                                       .root_mounts_fd = -1,
                                       .filters = &filters};
    ct__child child;
    result = ct__spawn(&request, &child, why);
    if (result == CT__IN_CHILD)
        _exit(0);
    ct__seccomp_fini(&filters);
    if (result < 0)
        return result;
    ct_autofd sync = child.sync_fd;
    ct_autofd pidfd = child.pidfd;
    if (ct__recv(sync, why, sizeof *why, 0) != (ssize_t)sizeof *why)
        result = ct__fail(why, CT_STEP_NONE, CT_E_DIED, NULL);
    while (waitpid(child.pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return result < 0 ? result : why->status;
}
