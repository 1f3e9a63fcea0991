/* The v2 side on a tree of plain files, since few hosts have both; the v1 side and real limits: tests/native. */
#define _GNU_SOURCE
#include "sandbox/cgroup.h"

#include "base/err.h"
#include "base/sysx.h"
#include "ct_test.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char tree[] = "/tmp/ct-cgroup-XXXXXX";

static const char *at(const char *path) {
    static char full[4][CT_PATH_BYTES];
    static unsigned next;
    char *out = full[next++ % 4];
    CHECK_INT(ct__format(out, CT_PATH_BYTES, "%s/%s", tree, path), 0);
    return out;
}

static void put(const char *path, const char *text) {
    const int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static const char *get(const char *path) {
    static char text[4096];
    CHECK(ct__read_file(at(path), text, sizeof text) >= 0);
    return text;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_tree(void) {
    (void)nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    (void)memcpy(tree + strlen(tree) - 6, "XXXXXX", 6);
}

static void fresh_tree(const char *controllers) {
    CHECK(mkdtemp(tree) != NULL);
    put("cgroup.controllers", controllers);
    put("cgroup.subtree_control", "");
    CHECK_INT(mkdir(at("grp"), 0755), 0);
    put("grp/cgroup.subtree_control", "");
}

static void v2_controllers_are_taken_and_switched_on(void) {
    ct_cgroup_host host = {0};
    fresh_tree("cpuset cpu io memory hugetlb pids\n");
    CHECK_INT(ct__cgroup_use_unified(tree, "/", "grp", &host), 0);
    CHECK_INT(host.memory, CT_CGROUP_V2);
    CHECK_INT(host.cpu, CT_CGROUP_V2);
    CHECK_INT(host.pids, CT_CGROUP_V2);
    CHECK_INT(host.cpu_account, CT_CGROUP_NONE);
    CHECK_TEXT(host.unified_dir, at("grp"));
    CHECK(get("grp/cgroup.subtree_control")[0] == '+');
    remove_tree();
}

static void a_controller_of_v1_is_left_to_v1(void) {
    ct_cgroup_host host = {.memory = CT_CGROUP_V1};
    fresh_tree("memory pids");
    CHECK_INT(ct__cgroup_use_unified(tree, "/", "grp", &host), 0);
    CHECK_INT(host.memory, CT_CGROUP_V1);
    CHECK_INT(host.pids, CT_CGROUP_V2);
    remove_tree();
}

static void a_tree_without_useful_controllers_is_not_used(void) {
    ct_cgroup_host host = {0};
    fresh_tree("hugetlb misc\n");
    CHECK_INT(ct__cgroup_use_unified(tree, "/", "grp", &host), CT_E_UNSUPPORTED);
    CHECK_TEXT(host.unified_dir, "");
    remove_tree();
}

static void a_delegated_group_is_used_when_the_top_is_not_ours(void) {
    ct_cgroup_host host = {0};
    CHECK(mkdtemp(tree) != NULL);
    put("cgroup.controllers", "\n");
    CHECK_INT(mkdir(at("mine"), 0755), 0);
    CHECK_INT(mkdir(at("mine/grp"), 0755), 0);
    put("mine/cgroup.controllers", "memory pids\n");
    put("mine/cgroup.subtree_control", "");
    put("mine/grp/cgroup.subtree_control", "");
    CHECK_INT(ct__cgroup_use_unified(tree, "/mine/host", "grp", &host), 0); /* moved to /host by an earlier start */
    CHECK_TEXT(host.unified_dir, at("mine/grp"));
    CHECK_INT(host.cpu, CT_CGROUP_NONE);
    remove_tree();
}

static ct_cgroup_host v2_host(void) {
    ct_cgroup_host host = {.memory = CT_CGROUP_V2, .cpu = CT_CGROUP_V2, .pids = CT_CGROUP_V2};
    memcpy(host.memory_dir, tree, sizeof tree);
    memcpy(host.cpu_dir, tree, sizeof tree);
    memcpy(host.pids_dir, tree, sizeof tree);
    memcpy(host.unified_dir, tree, sizeof tree);
    return host;
}

static void v2_limits_are_written_in_its_words(void) {
    CHECK(mkdtemp(tree) != NULL);
    const ct_cgroup_host host = v2_host();
    CHECK_INT(ct_leaf_create(&host, "a"), 0);
    CHECK_INT(ct_leaf_create(&host, "a"), 0); /* taken over */
    for (size_t i = 0; i < 3; i++)
        put((const char *[]){"a/memory.max", "a/cpu.max", "a/pids.max"}[i], "");
    const ct_cgroup_limits some = {.memory_bytes = 1 << 20, .processes = 7, .cpu_millis = 250};
    CHECK_INT(ct_leaf_limit(&host, "a", &some), 0);
    CHECK_TEXT(get("a/memory.max"), "1048576");
    CHECK_TEXT(get("a/cpu.max"), "25000 100000");
    CHECK_TEXT(get("a/pids.max"), "7");
    CHECK_INT(truncate(at("a/memory.max"), 0), 0);
    CHECK_INT(truncate(at("a/cpu.max"), 0), 0);
    CHECK_INT(truncate(at("a/pids.max"), 0), 0);
    CHECK_INT(ct_leaf_limit(&host, "a", &(ct_cgroup_limits){0}), 0);
    CHECK_TEXT(get("a/memory.max"), "max");
    CHECK_TEXT(get("a/cpu.max"), "max");
    CHECK_TEXT(get("a/pids.max"), "max");
    remove_tree();
}

static void v2_usage_is_read(void) {
    CHECK(mkdtemp(tree) != NULL);
    const ct_cgroup_host host = v2_host();
    CHECK_INT(ct_leaf_create(&host, "a"), 0);
    ct_cgroup_usage usage = {.processes = 99};
    CHECK_INT(ct_leaf_usage(&host, "a", &usage), -ENOENT);
    CHECK_INT(usage.processes, 99);
    put("a/memory.current", "4096\n");
    put("a/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 9\n");
    put("a/cpu.stat", "usage_usec 1234\nuser_usec 1\n");
    put("a/pids.current", "5\n");
    CHECK_INT(ct_leaf_usage(&host, "a", &usage), 0);
    CHECK_INT(usage.memory_bytes, 4096);
    CHECK_INT(usage.memory_peak_bytes, 4096); /* no memory.peak before 5.19 */
    CHECK_INT(usage.oom_kills, 2);
    CHECK_INT(usage.cpu_us, 1234);
    CHECK_INT(usage.processes, 5);
    uint64_t kills = 99;
    CHECK_INT(ct_leaf_oom_kills(&host, "a", &kills), 0);
    CHECK_INT(kills, 2);
    CHECK_INT(ct_leaf_oom_kills(&host, "gone", &kills), -ENOENT);
    CHECK_INT(ct_leaf_oom_kills(&host, "a/b", &kills), CT_E_RANGE);
    const ct_cgroup_host none = {0};
    CHECK_INT(ct_leaf_oom_kills(&none, "a", &kills), 0); /* nobody counts */
    CHECK_INT(kills, 0);
    remove_tree();
}

static void kill_signals_whom_the_leaf_lists(void) {
    CHECK(mkdtemp(tree) != NULL);
    const ct_cgroup_host host = v2_host();
    CHECK_INT(ct_leaf_create(&host, "a"), 0);
    const pid_t child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    char pids[64];
    CHECK_INT(ct__format(pids, sizeof pids, "0\n%d\n1\n", (int)child), 0); /* 0 and 1 are not for us to kill */
    put("a/cgroup.procs", pids);
    put("a/cgroup.kill", "");
    CHECK_INT(ct_leaf_kill(&host, "a"), 1);
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_TEXT(get("a/cgroup.kill"), "1");
    put("a/cgroup.procs", "");
    CHECK_INT(ct_leaf_kill(&host, "a"), 0);
    CHECK_INT(ct_leaf_kill(&host, "gone"), 0);
    remove_tree();
}

static void names_are_one_component(void) {
    const ct_cgroup_host host = {0};
    CHECK_INT(ct_leaf_create(&host, ""), CT_E_RANGE);
    CHECK_INT(ct_leaf_create(&host, ".."), CT_E_RANGE);
    CHECK_INT(ct_leaf_remove(&host, "a/b"), CT_E_RANGE);
    CHECK_INT(ct_leaf_kill(&host, "a/b"), CT_E_RANGE);
    ct_cgroup_host out;
    CHECK_INT(ct_cgroup_detect("host", &out), CT_E_RANGE); /* the name of our own leaf */
    CHECK_INT(ct_leaf_create(&host, "fine"), 0);           /* no controllers: nothing to make */
    CHECK_INT(ct_leaf_remove(&host, "fine"), 0);
}

static void mountinfo_is_read_by_its_separator(void) {
    CHECK(mkdtemp(tree) != NULL);
    char text[2048];
    char unified[CT_PATH_BYTES];
    ct_cgroup_host host = {0};
    CHECK_INT(mkdir(at("mem"), 0755), 0);
    CHECK_INT(mkdir(at("cpu"), 0755), 0);
    CHECK_INT(ct__format(text, sizeof text,
                         "30 25 0:26 / %s/mem rw,relatime shared:9 master:1 - cgroup cgroup rw,memory\n"
                         "31 25 0:27 / %s/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                         "32 25 0:28 / /proc rw - proc proc rw\n"
                         "rubbish\n"
                         "33 25 0:29 / %s/none rw - cgroup cgroup rw,pids\n"
                         "34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
                         tree, tree, tree),
              0);
    CHECK_INT(ct__cgroup_use_v1(text, "grp", &host, unified), 0);
    CHECK_INT(host.memory, CT_CGROUP_V1);
    CHECK_TEXT(host.memory_dir, at("mem/grp"));
    CHECK_TEXT(host.cpu_dir, at("cpu/grp"));
    CHECK_TEXT(host.cpu_account_dir, at("cpu/grp"));
    CHECK_INT(host.pids, CT_CGROUP_NONE); /* its directory can not be made */
    CHECK_TEXT(unified, "/sys/fs/cgroup/unified");
    remove_tree();
}

int main(void) {
    static const ct_case cases[] = {CASE(v2_controllers_are_taken_and_switched_on),
                                    CASE(a_controller_of_v1_is_left_to_v1),
                                    CASE(a_tree_without_useful_controllers_is_not_used),
                                    CASE(a_delegated_group_is_used_when_the_top_is_not_ours),
                                    CASE(v2_limits_are_written_in_its_words),
                                    CASE(v2_usage_is_read),
                                    CASE(kill_signals_whom_the_leaf_lists),
                                    CASE(names_are_one_component),
                                    CASE(mountinfo_is_read_by_its_separator)};
    return RUN("cgroup", cases);
}
