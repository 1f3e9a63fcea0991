#define _GNU_SOURCE
#include "sandbox/userns.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77 };

static bool can_unshare(void) {
    const pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return status == 0;
}

static int status_of(pid_t child) {
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return status;
}

static void a_mapped_child_becomes_the_inside_ids(void) {
    const bool is_privileged = geteuid() == 0;
    const ct_plan plan = {.host_uid = is_privileged ? 1900002 : (uint32_t)geteuid(),
                          .host_gid = is_privileged ? 1900002 : (uint32_t)getegid(),
                          .inside_uid = 1234,
                          .inside_gid = 1235};
    int to_child[2];
    int to_parent[2];
    char byte = 0;
    CHECK_INT(pipe(to_child), 0);
    CHECK_INT(pipe(to_parent), 0);
    const pid_t child = fork();
    if (child == 0) {
        ct__failure why;
        if (unshare(CLONE_NEWUSER) != 0 || write(to_parent[1], "u", 1) != 1 || read(to_child[0], &byte, 1) != 1)
            _exit(1);
        if (ct__userns_become(&plan, is_privileged, &why) < 0)
            _exit(2);
        _exit(getuid() == 1234 && geteuid() == 1234 && getgid() == 1235 && unshare(CLONE_NEWNS) == 0 ? 0 : 3);
    }
    ct__failure why;
    CHECK_INT(read(to_parent[0], &byte, 1), 1);
    CHECK_INT(ct__userns_map(child, &plan, is_privileged, &why), 0);
    CHECK_INT(write(to_child[1], "m", 1), 1);
    CHECK_INT(status_of(child), 0); /* and it has kept its capabilities: unshare worked */
    for (size_t i = 0; i < 2; i++) {
        (void)close(to_child[i]);
        (void)close(to_parent[i]);
    }
}

static void a_process_without_a_namespace_of_its_own_can_not_be_mapped(void) {
    const ct_plan plan = {.host_uid = 1, .host_gid = 1, .inside_uid = 1000, .inside_gid = 1000};
    ct__failure why = {0};
    CHECK(ct__userns_map(getpid(), &plan, true, &why) < 0);
    CHECK_INT(why.step, CT_STEP_IDMAP);
    CHECK_TEXT(why.path, "gid_map");
}

static void a_confined_process_changes_nothing_on_the_host(void) {
    char path[] = "/tmp/ct-userns-XXXXXX";
    const int fd = mkstemp(path);
    CHECK(fd >= 0);
    (void)close(fd);
    const pid_t child = fork();
    if (child == 0) {
        ct__failure why;
        if (ct__userns_confine(&why) < 0)
            _exit(1);
        if (open(path, O_WRONLY) >= 0 || errno != EROFS)
            _exit(2);
        if (chmod(path, 0600) == 0 || errno != EROFS)
            _exit(3);
        _exit(ct__write_file("/proc/self/oom_score_adj", "500") == 0 ? 0 : 4); /* /proc is needed for its children */
    }
    CHECK_INT(status_of(child), 0);
    CHECK_INT(unlink(path), 0);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_mapped_child_becomes_the_inside_ids),
                                    CASE(a_process_without_a_namespace_of_its_own_can_not_be_mapped),
                                    CASE(a_confined_process_changes_nothing_on_the_host)};
    if (!can_unshare()) {
        (void)puts("userns: no user namespaces here");
        return CANNOT;
    }
    return RUN("userns", cases);
}
