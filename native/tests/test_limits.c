#define _GNU_SOURCE
#include "sandbox/limits.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void in_child(void (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

static void apply_some(void) {
    ct__failure why;
    const ct_plan plan = {.open_files = 64, .file_bytes = 4096};
    struct rlimit before;
    struct rlimit now;
    CHECK_INT(getrlimit(RLIMIT_NPROC, &before), 0);
    CHECK_INT(ct__limits_apply(&plan, &why), 0);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &now), 0);
    CHECK_INT(now.rlim_cur, 64);
    CHECK_INT(now.rlim_max, 64);
    CHECK_INT(getrlimit(RLIMIT_CORE, &now), 0);
    CHECK_INT(now.rlim_max, 0);
    CHECK_INT(getrlimit(RLIMIT_NPROC, &now), 0);
    CHECK(now.rlim_max == before.rlim_max); /* not asked for */
    const ct_plan higher = {.open_files = 1 << 20};
    CHECK_INT(ct__limits_apply(&higher, &why), 0);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &now), 0);
    CHECK(now.rlim_max == 64 || geteuid() == 0);
}

static void drop_all(void) {
    ct__failure why;
    char status[8192];
    if (geteuid() != 0 && unshare(CLONE_NEWUSER) != 0)
        return; /* nothing to drop, and no way to get something */
    CHECK_INT(ct__privileges_drop(0, &why), 0);
    CHECK(ct__read_file("/proc/self/status", status, sizeof status) > 0);
    static const char *const sets[] = {"CapInh:\t", "CapPrm:\t", "CapEff:\t", "CapBnd:\t", "CapAmb:\t"};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        const char *line = strstr(status, sets[i]);
        CHECK(line != NULL);
        CHECK_INT(strtoull(line + strlen(sets[i]), NULL, 16), 0);
    }
    CHECK(strstr(status, "NoNewPrivs:\t1") != NULL);
}

static void limits_are_hard(void) {
    in_child(apply_some);
}

static void no_capability_is_left(void) {
    in_child(drop_all);
}

int main(void) {
    static const ct_case cases[] = {CASE(limits_are_hard), CASE(no_capability_is_left)};
    return RUN("limits", cases);
}
