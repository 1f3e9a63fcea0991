/* From fork to exec, with the parts it is made of: userns.c, mounts.c, limits.c, seccomp.c. */
#define _GNU_SOURCE
#include "sandbox/probe.h"
#include "sandbox/spawn.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77 };

static ct__seccomp filters;

static uint32_t host_id(void) {
    return geteuid() == 0 ? 1900000 : (uint32_t)geteuid();
}

static ct_plan sample(const char *script) {
    ct_plan plan = {.host_uid = host_id(),
                    .host_gid = geteuid() == 0 ? 1900000 : (uint32_t)getegid(),
                    .inside_uid = 1000,
                    .inside_gid = 1000,
                    .setup_ms = 5000,
                    .hostname = "test",
                    .workdir = "/tmp",
                    .cgroup_dir = "",
                    .argc = 3};
    static const ct_entry entries[] = {
        {.kind = CT_ENTRY_BIND, .target = "/usr", .source = "/usr"},
        {.kind = CT_ENTRY_LINK, .target = "/bin", .source = "usr/bin"},
        {.kind = CT_ENTRY_LINK, .target = "/lib", .source = "usr/lib"},
        {.kind = CT_ENTRY_LINK, .target = "/lib64", .source = "usr/lib64"},
        {.kind = CT_ENTRY_DEVICE, .target = "/dev/null", .source = "/dev/null"},
        {.kind = CT_ENTRY_PROC, .target = "/proc", .source = ""},
        {.kind = CT_ENTRY_FILE, .target = "/etc/deep/er/file", .source = "text\n", .mode = 0444},
        {.kind = CT_ENTRY_BIND, .target = "/opt/none", .source = "/no/such", .flags = CT_ENTRY_OPTIONAL},
        {.kind = CT_ENTRY_TMPFS, .target = "/tmp", .source = "", .mode = 01777, .size_bytes = 65536, .inodes = 16},
    };
    memcpy(plan.entries, entries, sizeof entries);
    plan.entry_count = sizeof entries / sizeof entries[0];
    plan.argv[0] = "/bin/sh";
    plan.argv[1] = "-c";
    plan.argv[2] = script;
    return plan;
}

typedef struct outcome {
    ct__failure word;
    int exit_code;
    char output[4096];
} outcome;

static outcome run(const ct_plan *plan) {
    int channel[2];
    int stdio[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
    CHECK_INT(pipe2(stdio, O_CLOEXEC), 0);
    const ct__spawn_request request = {.plan = plan, .channel_fd = channel[1], .stdio_fd = stdio[1], .page_fd = -1, .bell_fd = -1, .net_fd = -1, .root_mounts_fd = -1, .filters = &filters};
    outcome out = {.exit_code = -1};
    ct__child child;
    const int result = ct__spawn(&request, &child, &out.word);
    (void)close(channel[1]);
    (void)close(stdio[1]);
    if (result == 0) {
        ct__failure word;
        while (ct__recv(child.sync_fd, &word, sizeof word, 0) == (ssize_t)sizeof word)
            out.word = word;
        size_t len = 0;
        ssize_t got;
        while ((got = read(stdio[0], out.output + len, sizeof out.output - 1 - len)) > 0)
            len += (size_t)got;
        int status = 0;
        CHECK_INT(waitpid(child.pid, &status, 0), child.pid);
        out.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        (void)close(child.pidfd);
        (void)close(child.sync_fd);
    }
    (void)close(channel[0]);
    (void)close(stdio[0]);
    return out;
}

static void a_program_runs_inside(void) {
    const ct_plan plan = sample("id -u; cat /etc/deep/er/file; ls -A /; pwd; exit 7");
    const outcome out = run(&plan);
    CHECK_INT(out.word.status, 0);
    CHECK_TEXT(out.output, "1000\ntext\nbin\ndev\netc\nlib\nlib64\nopt\nproc\nrun\ntmp\nusr\n/tmp\n");
    CHECK_INT(out.exit_code, 7);
}

static void a_missing_source_is_named(void) {
    ct_plan plan = sample("true");
    plan.entries[7].flags = 0;
    const outcome out = run(&plan);
    CHECK_INT(out.word.status, -ENOENT);
    CHECK_INT(out.word.step, CT_STEP_SOURCE);
    CHECK_TEXT(out.word.path, "/no/such");
    CHECK_INT(out.exit_code, 125);
}

static void an_entry_that_can_not_be_made_is_named(void) {
    ct_plan plan = sample("true");
    plan.entries[6].target = "/usr/share/below-a-read-only-bind";
    const outcome out = run(&plan);
    CHECK_INT(out.word.status, -EROFS);
    CHECK_INT(out.word.step, CT_STEP_ENTRY);
    CHECK_TEXT(out.word.path, "/usr/share/below-a-read-only-bind");
}

static void a_program_that_is_not_there_is_named(void) {
    ct_plan plan = sample("true");
    plan.argv[0] = "/bin/no-such";
    const outcome out = run(&plan);
    CHECK_INT(out.word.status, -ENOENT);
    CHECK_INT(out.word.step, CT_STEP_EXEC);
}

static void an_id_that_is_not_ours_to_map_is_refused(void) {
    if (geteuid() == 0)
        return;
    ct_plan plan = sample("true");
    plan.host_uid = host_id() + 1;
    const outcome out = run(&plan);
    CHECK_INT(out.word.step, CT_STEP_IDMAP);
    CHECK_INT(out.exit_code, -1);
}

static int refuse_fork(void) {
    return CT_E_THREADS;
}

static void must_not_run(void) {
    CHECK(0);
}

static void a_hook_can_refuse(void) {
    static const ct__fork_hooks hooks = {.before = refuse_fork, .after = must_not_run};
    const ct_plan plan = sample("true");
    const ct__spawn_request request = {.plan = &plan, .channel_fd = 0, .stdio_fd = 0, .page_fd = -1, .bell_fd = -1, .net_fd = -1, .root_mounts_fd = -1, .filters = &filters, .hooks = &hooks};
    ct__child child;
    ct__failure why;
    CHECK_INT(ct__spawn(&request, &child, &why), CT_E_THREADS);
    CHECK_INT(why.step, CT_STEP_CLONE);
}

static void no_descriptor_is_left(void) {
    const int next = dup(0);
    (void)close(next);
    const ct_plan plan = sample("true");
    (void)run(&plan);
    const int after = dup(0);
    (void)close(after);
    CHECK_INT(after, next);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_program_runs_inside),
                                    CASE(a_missing_source_is_named),
                                    CASE(an_entry_that_can_not_be_made_is_named),
                                    CASE(a_program_that_is_not_there_is_named),
                                    CASE(an_id_that_is_not_ours_to_map_is_refused),
                                    CASE(a_hook_can_refuse),
                                    CASE(no_descriptor_is_left)};
    ct__failure why;
    if (ct__probe(host_id(), geteuid() == 0 ? 1900000 : (uint32_t)getegid(), &why) < 0) {
        (void)printf("spawn: no sandboxes here: %s: %s\n", ct_step_name(why.step), ct_strerror(why.status));
        return CANNOT;
    }
    CHECK_INT(ct__seccomp_init(&filters), 0);
    const int result = RUN("spawn", cases);
    ct__seccomp_fini(&filters);
    return result;
}
