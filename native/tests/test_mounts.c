#define _GNU_SOURCE
#include "sandbox/mounts.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"
#include "sandbox/userns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77, FAILED = 99 };

/* Each case runs in a child that has become its own user in fresh user and mount namespaces. */
static int inside(int (*body)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        char map[64];
        const uint32_t uid = geteuid();
        const uint32_t gid = getegid();
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || ct__write_file("/proc/self/setgroups", "deny") != 0 ||
            ct__format(map, sizeof map, "%u %u 1", gid, gid) != 0 || ct__write_file("/proc/self/gid_map", map) != 0 ||
            ct__format(map, sizeof map, "%u %u 1", uid, uid) != 0 || ct__write_file("/proc/self/uid_map", map) != 0)
            _exit(CANNOT);
        _exit(body());
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

static ct__failure why;

static int build(const ct_plan *plan) {
    ct__sources sources;
    ct__sources_init(&sources);
    int result = ct__sources_open(plan, CT__PART_WHOLE, &sources, &why);
    if (result == 0)
        result = ct__sources_add_procs(plan, &sources, &why);
    if (result == 0)
        result = ct__root_make(&why);
    return result == 0 ? ct__root_fill(plan, CT__PART_WHOLE, &sources, &why) : result;
}

static unsigned long mount_flags(const char *path) {
    struct statvfs st;
    return statvfs(path, &st) == 0 ? st.f_flag : 0;
}

static bool is_mode(const char *path, mode_t type_and_mode) {
    struct stat st;
    return lstat(path, &st) == 0 && st.st_mode == type_and_mode;
}

static int whole_root(void) {
    const ct_plan plan = {
        .entry_count = 6,
        .entries = {{.kind = CT_ENTRY_BIND, .target = "/a/b/usr", .source = "/usr", .flags = CT_ENTRY_NOEXEC},
                    {.kind = CT_ENTRY_BIND, .target = "/etc/one", .source = "/etc/passwd"},
                    {.kind = CT_ENTRY_LINK, .target = "/link", .source = "/a/b"},
                    {.kind = CT_ENTRY_FILE, .target = "/file", .source = "text", .mode = 0440},
                    {.kind = CT_ENTRY_DIR, .target = "/dir", .source = "", .mode = 0711},
                    {.kind = CT_ENTRY_TMPFS, .target = "/tmp", .source = "", .mode = 01777, .size_bytes = 8192, .inodes = 5}}};
    if (build(&plan) < 0)
        return 1;
    const unsigned long safe = ST_RDONLY | ST_NOSUID | ST_NODEV;
    if ((mount_flags("/a/b/usr") & (safe | ST_NOEXEC)) != (safe | ST_NOEXEC) || (mount_flags("/etc/one") & safe) != safe)
        return 2;
    if ((mount_flags("/") & safe) != safe || (mount_flags("/tmp") & safe) != (ST_NOSUID | ST_NODEV))
        return 3;
    if (!is_mode("/file", S_IFREG | 0440) || !is_mode("/dir", S_IFDIR | 0711) || !is_mode("/tmp", S_IFDIR | 01777))
        return 4;
    if (access("/link/usr/bin", F_OK) != 0 || access("/etc/shadow", F_OK) == 0 || access("/proc", F_OK) == 0)
        return 5;
    if (mkdir("/new", 0755) == 0 || errno != EROFS)
        return 6;
    for (int i = 0; i < 5; i++) { /* the fifth file is one inode too many: the directory itself is one */
        char path[32];
        if (ct__format(path, sizeof path, "/tmp/%d", i) < 0)
            return 7;
        const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if ((fd < 0) != (i == 4))
            return 8;
        (void)close(fd);
    }
    return 0;
}

static int no_way_up(void) {
    const ct_plan plan = {.entry_count = 1, .entries = {{.kind = CT_ENTRY_DIR, .target = "/x", .source = "", .mode = 0755}}};
    if (build(&plan) < 0)
        return 1;
    for (int i = 0; i < 64; i++)
        if (chdir("..") != 0)
            return 2;
    return access("usr", F_OK) == 0 || access("etc", F_OK) == 0 ? 3 : 0;
}

static int missing_source(void) {
    const ct_plan plan = {.entry_count = 1, .entries = {{.kind = CT_ENTRY_BIND, .target = "/x", .source = "/no/such"}}};
    if (build(&plan) != -ENOENT || why.step != CT_STEP_SOURCE)
        return 1;
    return strcmp(why.path, "/no/such") == 0 ? 0 : 2;
}

static int optional_source(void) {
    const ct_plan plan = {
        .entry_count = 1,
        .entries = {{.kind = CT_ENTRY_BIND, .target = "/x/y", .source = "/no/such", .flags = CT_ENTRY_OPTIONAL}}};
    return build(&plan) == 0 && access("/x/y", F_OK) != 0 ? 0 : 1;
}

static int link_to_the_root(void) {
    /* An absolute link leads nowhere but into the new root, even for later entries */
    const ct_plan plan = {.entry_count = 2,
                          .entries = {{.kind = CT_ENTRY_LINK, .target = "/up", .source = "/etc"},
                                      {.kind = CT_ENTRY_FILE, .target = "/up/file", .source = "x", .mode = 0444}}};
    return build(&plan) == -ENOENT && why.step == CT_STEP_ENTRY && strcmp(why.path, "/up/file") == 0 ? 0 : 1;
}

static bool make_file(const char *path, const char *text) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    const bool is_made = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && is_made;
}

static bool is_covered(const char *path) {
    struct stat st;
    const unsigned long want = ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC;
    return stat(path, &st) == 0 && (S_ISDIR(st.st_mode) || st.st_size == 0) && (mount_flags(path) & want) == want;
}

/* Some names are missing, first and last ones among them. */
static int some_to_cover(void) {
    if (ct__mount("tmpfs", "/run", "tmpfs", 0, "size=64k") != 0 || ct__mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k") != 0)
        return CANNOT;
    if (mkdir("/tmp/acpi", 0755) != 0 || !make_file("/tmp/acpi/event", "host") || !make_file("/tmp/keys", "host") ||
        !make_file("/tmp/kmsg", "host") || !make_file("/tmp/config.gz", "host") || !make_file("/tmp/stat", "host"))
        return 1;
    if (ct__proc_cover("/tmp") != -ENOENT) /* there is nothing to cover them with */
        return 2;
    if (!make_file("/run/masked", "") || mkdir("/run/masked.d", 0555) != 0 || ct__proc_cover("/tmp") != 0)
        return 3;
    if (!is_covered("/tmp/keys") || !is_covered("/tmp/kmsg") || !is_covered("/tmp/config.gz") || !is_covered("/tmp/acpi"))
        return 4;
    if (access("/tmp/acpi/event", F_OK) == 0 || is_covered("/tmp/stat") || access("/tmp/kcore", F_OK) == 0)
        return 5;
    return 0;
}

static void whatever_is_there_is_covered(void) {
    CHECK_INT(inside(some_to_cover), 0);
}

static void a_root_is_as_its_plan_says(void) {
    CHECK_INT(inside(whole_root), 0);
}

static void nothing_of_the_host_is_above_it(void) {
    CHECK_INT(inside(no_way_up), 0);
}

static void what_fails_is_named(void) {
    CHECK_INT(inside(missing_source), 0);
    CHECK_INT(inside(optional_source), 0);
    CHECK_INT(inside(link_to_the_root), 0);
}

static int nothing(void) {
    const ct_plan plan = {0};
    return build(&plan) == 0 ? 0 : CANNOT;
}

int main(void) {
    static const ct_case cases[] = {CASE(a_root_is_as_its_plan_says), CASE(nothing_of_the_host_is_above_it),
                                    CASE(what_fails_is_named), CASE(whatever_is_there_is_covered)};
    if (inside(nothing) == CANNOT) {
        (void)puts("mounts: no mounts in user namespaces here");
        return CANNOT;
    }
    return RUN("mounts", cases);
}
