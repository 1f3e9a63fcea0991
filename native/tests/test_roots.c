/* Common parts of roots, by a process with mounts of its own: only root makes them. */
#define _GNU_SOURCE
#include "sandbox/roots.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "ct_test.h"
#include "sandbox/mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, FAILED = 99 };

static ct__roots roots;
static ct__root_key keys[CT__ROOTS_KEPT + 1];
static ct__home home;
static ct__failure why;

static int ended(pid_t child) {
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static int inside(int (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || ct__mount_restrict_all("/", 0) != 0 || ct__home_init(&home) != 0)
            _exit(CANNOT);
        ct__roots_init(&roots, &home, keys);
        _exit(body());
    }
    return ended(child);
}

static ct_plan sample(void) {
    ct_plan plan = {.entry_count = 7};
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/usr", .source = "/usr"};
    plan.entries[1] = (ct_entry){.kind = CT_ENTRY_FILE, .target = "/etc/one", .source = "text", .mode = 0444};
    plan.entries[2] = (ct_entry){.kind = CT_ENTRY_DEVICE, .target = "/dev/null", .source = "/dev/null"};
    plan.entries[3] = (ct_entry){.kind = CT_ENTRY_LINK, .target = "/bin", .source = "usr/bin"};
    plan.entries[4] = (ct_entry){.kind = CT_ENTRY_PROC, .target = "/proc", .source = ""};
    plan.entries[5] =
        (ct_entry){.kind = CT_ENTRY_TMPFS, .target = "/tmp", .source = "", .mode = 01777, .size_bytes = 8192, .inodes = 5};
    plan.entries[6] = (ct_entry){.kind = CT_ENTRY_DIR, .target = "/code", .source = "", .mode = 0755};
    return plan;
}

/* What look() finds in a process that has such a root; FAILED when there is none. */
static int in_clone(const ct_plan *plan, int (*look)(const ct_plan *)) {
    const int mounts = ct__roots_get(&roots, &home, plan);
    if (mounts < 0)
        return FAILED;
    const pid_t child = fork();
    if (child == 0) {
        ct__sources sources;
        ct__sources_init(&sources);
        if (ct__sources_open(plan, CT__PART_OWN, &sources, &why) < 0 || setns(mounts, CLONE_NEWNS) != 0 ||
            unshare(CLONE_NEWNS) != 0 || ct__sources_add_procs(plan, &sources, &why) < 0 || ct__root_fill(plan, CT__PART_OWN, &sources, &why) < 0) {
            (void)fprintf(stderr, "%s: %s\n", why.path, ct_strerror(why.status));
            _exit(FAILED - 1);
        }
        _exit(look(plan));
    }
    return ended(child);
}

static int is_whole(const ct_plan *plan) {
    (void)plan;
    struct stat st;
    struct statvfs fs;
    if (access("/usr/bin", F_OK) != 0 || access("/bin/sh", X_OK) != 0 || access("/proc/self/status", R_OK) != 0)
        return 1;
    if (stat("/etc/one", &st) != 0 || st.st_mode != (S_IFREG | 0444) || access("/etc/passwd", F_OK) == 0)
        return 2;
    if (open("/etc/one", O_WRONLY | O_CLOEXEC) >= 0 || mkdir("/new", 0755) == 0 || mkdir("/code/new", 0755) == 0)
        return 3;
    const unsigned long safe = ST_RDONLY | ST_NOSUID | ST_NODEV;
    if (statvfs("/usr", &fs) != 0 || (fs.f_flag & safe) != safe || statvfs("/", &fs) != 0 || (fs.f_flag & safe) != safe)
        return 4;
    if (stat("/tmp", &st) != 0 || st.st_mode != (S_IFDIR | 01777) || mkdir("/tmp/new", 0755) != 0)
        return 5;
    if (stat("/proc/kcore", &st) == 0 && st.st_size != 0) /* covered */
        return 6;
    for (int i = 0; i < 64; i++)
        if (chdir("..") != 0)
            return 7;
    return access("root", F_OK) == 0 ? 8 : 0;
}

static ino_t id_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static int a_clone_is_a_whole_root(void) {
    const ct_plan plan = sample();
    const ino_t mounts = id_of("/proc/self/ns/mnt");
    const ino_t root = id_of("/");
    for (int i = 0; i < 3; i++) { /* what one has written in its /tmp is not in the next */
        const int found = in_clone(&plan, is_whole);
        if (found != 0)
            return found;
    }
    return id_of("/proc/self/ns/mnt") == mounts && id_of("/") == root ? 0 : 20;
}

static int made(void) {
    int count = 0;
    for (int i = 0; i < CT__ROOTS_KEPT; i++)
        count += roots.mounts_fd[i] >= 0;
    return count;
}

static int says(const ct_plan *plan) {
    char text[64];
    return ct__read_file("/etc/one", text, sizeof text) > 0 && strcmp(text, plan->entries[1].source) == 0 ? 0 : 1;
}

static int the_same_is_made_once(void) {
    ct_plan plan = sample();
    if (in_clone(&plan, says) != 0 || made() != 1)
        return 1;
    plan.entries[5].size_bytes = 16384; /* each has its own */
    plan.entries[6] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/code", .source = "/usr"};
    if (in_clone(&plan, says) != 0 || made() != 1)
        return 2;
    static const char *const texts[] = {"a", "b", "c", "d", "e", "f", "a"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        plan.entries[1].source = texts[i];
        if (in_clone(&plan, says) != 0)
            return 3;
    }
    return made() == CT__ROOTS_KEPT ? 0 : 4;
}

static int has_new(const ct_plan *plan) {
    (void)plan;
    char text[8];
    return ct__read_file("/etc/one", text, sizeof text) > 0 && strcmp(text, "new") == 0 ? 0 : 1;
}

static int what_was_replaced_is_found_anew(void) {
    char dir[] = "/tmp/ct-roots-XXXXXX";
    char path[64];
    char other[64];
    if (mkdtemp(dir) == NULL || ct__format(path, sizeof path, "%s/one", dir) < 0 ||
        ct__format(other, sizeof other, "%s/two", dir) < 0)
        return 1;
    (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ct_plan plan = sample();
    plan.entries[1] = (ct_entry){.kind = CT_ENTRY_BIND, .target = "/etc/one", .source = path};
    int result = in_clone(&plan, has_new) == 1 ? 0 : 2;
    (void)close(open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (ct__write_file(other, "new") != 0 || rename(other, path) != 0)
        result = 3;
    if (result == 0 && in_clone(&plan, has_new) != 0)
        result = 4;
    (void)unlink(path);
    (void)rmdir(dir);
    return result;
}

static int some_are_made_whole(void) {
    ct_plan plan = sample();
    plan.entries[0] = (ct_entry){.kind = CT_ENTRY_FILE, .target = "/tmp/below", .source = "", .mode = 0444};
    if (ct__roots_get(&roots, &home, &plan) != -1)
        return 1;
    plan = sample();
    plan.entries[1].mode = 0440; /* its owner is nobody inside */
    if (ct__roots_get(&roots, &home, &plan) != -1)
        return 2;
    plan = sample();
    plan.entries[0].source = "/no/such";
    if (ct__roots_get(&roots, &home, &plan) != -1 || made() != 0) /* the child will say what is missing */
        return 3;
    plan = sample();
    plan.flags = CT_PLAN_ALONE;
    if (ct__roots_get(&roots, &home, &plan) != -1 || made() != 0)
        return 4;
    plan = sample();
    return in_clone(&plan, is_whole);
}

static int others_make_none(void) {
    const ct_plan plan = sample();
    ct__roots_fini(&roots);
    if (setresuid(65534, 65534, 65534) != 0)
        return CANNOT;
    ct__roots_init(&roots, &home, keys);
    return ct__roots_get(&roots, &home, &plan) == -1 ? 0 : 1;
}

static int without_room_there_are_none(void) {
    const ct_plan plan = sample();
    ct__roots_fini(&roots);
    ct__roots_init(&roots, &home, NULL);
    return ct__roots_get(&roots, &home, &plan) == -1 ? 0 : 1;
}

static void clones(void) {
    CHECK_INT(inside(a_clone_is_a_whole_root), 0);
    CHECK_INT(inside(the_same_is_made_once), 0);
    CHECK_INT(inside(what_was_replaced_is_found_anew), 0);
}

static void exceptions(void) {
    CHECK_INT(inside(some_are_made_whole), 0);
    CHECK_INT(inside(others_make_none), 0);
    CHECK_INT(inside(without_room_there_are_none), 0);
}

int main(void) {
    static const ct_case cases[] = {CASE(clones), CASE(exceptions)};
    if (geteuid() != 0) {
        (void)printf("roots: only root makes them\n");
        return CANNOT;
    }
    return RUN("roots", cases);
}
