#define _GNU_SOURCE
#include "sandbox/cgroup.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NAME_BYTES = 128,
    FILE_BYTES = 256 * 1024, /* mountinfo of a host with some thousand mounts */
    KILL_BATCH = 64,
    CPU_PERIOD_US = 100000, /* the kernel's own default */
    US_PER_MILLI = CPU_PERIOD_US / 1000
};

#define HOST_LEAF "host" /* where we and our neighbours move, so that their group can have children with controllers */

static bool is_name(const char *name) {
    const size_t len = strnlen(name, NAME_BYTES);
    return len > 0 && len < NAME_BYTES && name[0] != '.' && strchr(name, '/') == NULL;
}

static int join(char out[CT_PATH_BYTES], const char *dir, const char *name) {
    return ct__format(out, CT_PATH_BYTES, "%s/%s", dir, name);
}

static int write_in(const char *dir, const char *file, const char *text) {
    char path[CT_PATH_BYTES];
    const int result = join(path, dir, file);
    return result < 0 ? result : ct__write_file(path, text);
}

static int write_limit(const char *dir, const char *file, uint64_t value, const char *unlimited) {
    char text[32];
    if (value == 0)
        return write_in(dir, file, unlimited);
    const int result = ct__format(text, sizeof text, "%llu", (unsigned long long)value);
    return result < 0 ? result : write_in(dir, file, text);
}

static int read_in(const char *dir, const char *file, char *out, size_t cap) {
    char path[CT_PATH_BYTES];
    const int result = join(path, dir, file);
    return result < 0 ? result : ct__read_file(path, out, cap);
}

static int number_in(const char *dir, const char *file, uint64_t *out) {
    char path[CT_PATH_BYTES];
    const int result = join(path, dir, file);
    return result < 0 ? result : ct__read_number(path, out);
}

/* The number after `key` and a space at the start of a line; 0 without such a line. */
static int keyed_number_in(const char *dir, const char *file, const char *key, uint64_t *out) {
    char text[4096];
    const int len = read_in(dir, file, text, sizeof text);
    if (len < 0)
        return len;
    const size_t n = strlen(key);
    *out = 0;
    for (const char *line = text; *line != '\0';) {
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            *out = strtoull(line + n + 1, NULL, 10);
        const char *end = strchr(line, '\n');
        if (end == NULL)
            break;
        line = end + 1;
    }
    return 0;
}

/* Reads a list of pids; one that the buffer's end cuts in two would be another process's, so it is left out. */
static int read_pids(const char *dir, char *out, size_t cap) {
    const int len = read_in(dir, "cgroup.procs", out, cap);
    if (len < 0)
        return len;
    char *last = strrchr(out, '\n');
    if (last != NULL)
        last[1] = '\0';
    else
        out[0] = '\0';
    return 0;
}

static bool has_word(const char *text, const char *word, const char *separators) {
    const size_t n = strlen(word);
    for (const char *at = text; *at != '\0';) {
        const size_t len = strcspn(at, separators);
        if (len == n && memcmp(at, word, n) == 0)
            return true;
        at += len;
        at += strspn(at, separators);
    }
    return false;
}

static int make_group(const char *dir) {
    return mkdir(dir, 0755) != 0 && errno != EEXIST ? ct__errno() : 0;
}

/* ---- finding ---- */

typedef struct controller {
    const char *name;
    size_t version_at;
    size_t dir_at;
} controller;

static const controller CONTROLLERS[] = {
    {"memory", offsetof(ct_cgroup_host, memory), offsetof(ct_cgroup_host, memory_dir)},
    {"cpu", offsetof(ct_cgroup_host, cpu), offsetof(ct_cgroup_host, cpu_dir)},
    {"cpuacct", offsetof(ct_cgroup_host, cpu_account), offsetof(ct_cgroup_host, cpu_account_dir)},
    {"pids", offsetof(ct_cgroup_host, pids), offsetof(ct_cgroup_host, pids_dir)},
};

enum { CONTROLLER_COUNT = sizeof CONTROLLERS / sizeof CONTROLLERS[0] };

static uint32_t *version_of(ct_cgroup_host *host, const controller *c) {
    /* SAFETY: version_at is the offset of a uint32_t of this very struct. */
    return (uint32_t *)(void *)((char *)host + c->version_at);
}

static char *dir_of(ct_cgroup_host *host, const controller *c) {
    return (char *)host + c->dir_at;
}

static void use_v1_mount(const char *point, const char *options, const char *group, ct_cgroup_host *out) {
    for (size_t i = 0; i < CONTROLLER_COUNT; i++) {
        const controller *c = &CONTROLLERS[i];
        char dir[CT_PATH_BYTES];
        if (!has_word(options, c->name, ",\n") || *version_of(out, c) != CT_CGROUP_NONE)
            continue;
        if (join(dir, point, group) < 0 || make_group(dir) < 0 || access(dir, W_OK) != 0)
            continue; /* not ours to use: reported as none */
        *version_of(out, c) = CT_CGROUP_V1;
        memcpy(dir_of(out, c), dir, sizeof dir);
    }
}

/* A mountinfo line: id parent major:minor root POINT options [tags] - TYPE source SUPEROPTIONS */
int ct__cgroup_use_v1(char *mountinfo, const char *group, ct_cgroup_host *out, char unified[CT_PATH_BYTES]) {
    char *next_line = NULL;
    unified[0] = '\0';
    for (char *line = strtok_r(mountinfo, "\n", &next_line); line != NULL; line = strtok_r(NULL, "\n", &next_line)) {
        char *tail = strstr(line, " - ");
        char point[CT_PATH_BYTES];
        char type[32];
        char options[512];
        if (tail == NULL || sscanf(line, "%*s %*s %*s %*s %1023s", point) != 1 ||
            sscanf(tail, " - %31s %*s %511s", type, options) != 2)
            continue;
        if (strcmp(type, "cgroup") == 0)
            use_v1_mount(point, options, group, out);
        else if (strcmp(type, "cgroup2") == 0 && unified[0] == '\0')
            memcpy(unified, point, sizeof point);
    }
    return 0;
}

static void move_processes(const char *from, const char *to) {
    char pids[4096];
    if (read_pids(from, pids, sizeof pids) < 0)
        return;
    char *next = NULL;
    for (char *pid = strtok_r(pids, "\n", &next); pid != NULL; pid = strtok_r(NULL, "\n", &next))
        (void)write_in(to, "cgroup.procs", pid); /* one that ended meanwhile needs no moving */
}

static int enable(const char *dir, const char *name) {
    char text[NAME_BYTES];
    const int result = ct__format(text, sizeof text, "+%s", name);
    return result < 0 ? result : write_in(dir, "cgroup.subtree_control", text);
}

/* Lets the children of base have a controller. A group with processes can not: they move to its leaf first. */
static int enable_below(const char *base, const char *name) {
    int result = enable(base, name);
    if (result != -EBUSY)
        return result;
    char leaf[CT_PATH_BYTES];
    if ((result = join(leaf, base, HOST_LEAF)) < 0 || (result = make_group(leaf)) < 0)
        return result;
    move_processes(base, leaf);
    return enable(base, name);
}

static int use_base(const char *base, const char *group, ct_cgroup_host *out) {
    char dir[CT_PATH_BYTES];
    char offered[1024];
    int result = join(dir, base, group);
    if (result < 0 || (result = make_group(dir)) < 0 ||
        (result = read_in(base, "cgroup.controllers", offered, sizeof offered)) < 0)
        return result;
    bool is_used = false;
    for (size_t i = 0; i < CONTROLLER_COUNT; i++) {
        const controller *c = &CONTROLLERS[i];
        if (*version_of(out, c) != CT_CGROUP_NONE || !has_word(offered, c->name, " \n"))
            continue;
        if (enable_below(base, c->name) < 0 || enable(dir, c->name) < 0)
            continue;
        *version_of(out, c) = CT_CGROUP_V2;
        memcpy(dir_of(out, c), dir, sizeof dir);
        is_used = true;
    }
    if (is_used)
        memcpy(out->unified_dir, dir, sizeof dir);
    else
        (void)rmdir(dir); /* nothing to hold leaves for; a group that somebody uses stays */
    return is_used ? 0 : CT_E_UNSUPPORTED;
}

int ct__cgroup_use_unified(const char *mount, const char *own, const char *group, ct_cgroup_host *out) {
    int result = use_base(mount, group, out); /* at the top where we may: then its place does not depend on ours */
    if (result == 0 || strcmp(own, "/") == 0)
        return result;
    char base[CT_PATH_BYTES];
    result = ct__format(base, sizeof base, "%s%s", mount, own);
    if (result < 0)
        return result;
    char *last = strrchr(base, '/');
    if (last != NULL && strcmp(last + 1, HOST_LEAF) == 0)
        *last = '\0'; /* an earlier start has moved us */
    return use_base(base, group, out);
}

/* The path of "0::/path" in /proc/self/cgroup; "/" without. */
static void own_unified_group(char *text, char out[CT_PATH_BYTES]) {
    (void)strcpy(out, "/");
    char *next = NULL;
    for (char *line = strtok_r(text, "\n", &next); line != NULL; line = strtok_r(NULL, "\n", &next))
        if (strncmp(line, "0::", 3) == 0 && strnlen(line + 3, CT_PATH_BYTES) < CT_PATH_BYTES)
            (void)strcpy(out, line + 3);
}

int ct_cgroup_detect(const char *group, ct_cgroup_host *out) {
    if (!is_name(group) || strcmp(group, HOST_LEAF) == 0)
        return CT_E_RANGE;
    ct_automem char *text = malloc(FILE_BYTES);
    if (text == NULL)
        return -ENOMEM;
    ct_cgroup_host host = {0};
    char unified[CT_PATH_BYTES];
    int result = ct__read_file("/proc/self/mountinfo", text, FILE_BYTES);
    if (result < 0)
        return result;
    (void)ct__cgroup_use_v1(text, group, &host, unified);
    if (unified[0] != '\0') {
        char own[CT_PATH_BYTES];
        result = ct__read_file("/proc/self/cgroup", text, FILE_BYTES);
        if (result < 0)
            return result;
        own_unified_group(text, own);
        (void)ct__cgroup_use_unified(unified, own, group, &host); /* unusable is an answer: none */
    }
    *out = host;
    return 0;
}

/* ---- leaves ---- */

typedef struct dirs {
    char path[CONTROLLER_COUNT][CT_PATH_BYTES];
    size_t count;
} dirs;

/* The leaf's directories, each once: v1 controllers may share a mount, v2 ones always do. */
static int leaf_dirs(const ct_cgroup_host *host, const char *name, dirs *out) {
    const char *parents[] = {host->memory_dir, host->cpu_dir, host->cpu_account_dir, host->pids_dir};
    if (!is_name(name))
        return CT_E_RANGE;
    out->count = 0;
    for (size_t i = 0; i < sizeof parents / sizeof parents[0]; i++) {
        if (parents[i][0] == '\0')
            continue;
        char *path = out->path[out->count];
        const int result = join(path, parents[i], name);
        if (result < 0)
            return result;
        bool is_new = true;
        for (size_t k = 0; k < out->count; k++)
            is_new = is_new && strcmp(out->path[k], path) != 0;
        out->count += is_new ? 1 : 0;
    }
    return 0;
}

int ct_leaf_create(const ct_cgroup_host *host, const char *name) {
    dirs all;
    int result = leaf_dirs(host, name, &all);
    for (size_t i = 0; result == 0 && i < all.count; i++)
        result = make_group(all.path[i]);
    return result;
}

static int limit_memory(uint32_t version, const char *dir, uint64_t bytes) {
    if (version == CT_CGROUP_V2) {
        (void)write_in(dir, "memory.swap.max", "0");   /* absent without swap accounting */
        (void)write_in(dir, "memory.oom.group", "1"); /* all or nothing: half a function is of no use */
        return write_limit(dir, "memory.max", bytes, "max");
    }
    /* memory may not exceed memory + swap, neither on the way up nor down: lift the sum first, set it last */
    (void)write_in(dir, "memory.memsw.limit_in_bytes", "-1");
    const int result = write_limit(dir, "memory.limit_in_bytes", bytes, "-1");
    if (result == 0)
        (void)write_limit(dir, "memory.memsw.limit_in_bytes", bytes, "-1"); /* absent without swap accounting */
    return result;
}

static int limit_cpu(uint32_t version, const char *dir, uint32_t millis) {
    char text[64];
    int result = 0;
    if (version == CT_CGROUP_V2) {
        if (millis == 0)
            return write_in(dir, "cpu.max", "max");
        result = ct__format(text, sizeof text, "%llu %d", (unsigned long long)millis * US_PER_MILLI, CPU_PERIOD_US);
        return result < 0 ? result : write_in(dir, "cpu.max", text);
    }
    return write_limit(dir, "cpu.cfs_quota_us", (uint64_t)millis * US_PER_MILLI, "-1");
}

int ct_leaf_limit(const ct_cgroup_host *host, const char *name, const ct_cgroup_limits *limits) {
    char dir[CT_PATH_BYTES];
    int result = is_name(name) ? 0 : CT_E_RANGE;
    if (result == 0 && host->memory != CT_CGROUP_NONE && (result = join(dir, host->memory_dir, name)) == 0)
        result = limit_memory(host->memory, dir, limits->memory_bytes);
    if (result == 0 && host->cpu != CT_CGROUP_NONE && (result = join(dir, host->cpu_dir, name)) == 0)
        result = limit_cpu(host->cpu, dir, limits->cpu_millis);
    if (result == 0 && host->pids != CT_CGROUP_NONE && (result = join(dir, host->pids_dir, name)) == 0)
        result = write_limit(dir, "pids.max", limits->processes, "max");
    return result;
}

static int memory_usage(uint32_t version, const char *dir, ct_cgroup_usage *out) {
    const bool is_v2 = version == CT_CGROUP_V2;
    int result = number_in(dir, is_v2 ? "memory.current" : "memory.usage_in_bytes", &out->memory_bytes);
    if (result == 0 && number_in(dir, is_v2 ? "memory.peak" : "memory.max_usage_in_bytes", &out->memory_peak_bytes) < 0)
        out->memory_peak_bytes = out->memory_bytes; /* memory.peak came with Linux 5.19 */
    return result == 0 ? keyed_number_in(dir, is_v2 ? "memory.events" : "memory.oom_control", "oom_kill", &out->oom_kills)
                       : result;
}

int ct_leaf_usage(const ct_cgroup_host *host, const char *name, ct_cgroup_usage *out) {
    char dir[CT_PATH_BYTES];
    ct_cgroup_usage usage = {0};
    int result = is_name(name) ? 0 : CT_E_RANGE;
    if (result == 0 && host->memory != CT_CGROUP_NONE && (result = join(dir, host->memory_dir, name)) == 0)
        result = memory_usage(host->memory, dir, &usage);
    if (result == 0 && host->cpu == CT_CGROUP_V2 && (result = join(dir, host->cpu_dir, name)) == 0)
        result = keyed_number_in(dir, "cpu.stat", "usage_usec", &usage.cpu_us);
    else if (result == 0 && host->cpu_account == CT_CGROUP_V1 && (result = join(dir, host->cpu_account_dir, name)) == 0) {
        result = number_in(dir, "cpuacct.usage", &usage.cpu_us);
        usage.cpu_us /= 1000;
    }
    if (result == 0 && host->pids != CT_CGROUP_NONE && (result = join(dir, host->pids_dir, name)) == 0)
        result = number_in(dir, "pids.current", &usage.processes);
    if (result == 0)
        *out = usage;
    return result;
}

typedef struct pid_list {
    int pid[KILL_BATCH];
    size_t count;
} pid_list;

static int list_processes(const char *dir, pid_list *out) {
    char text[KILL_BATCH * 16];
    const int result = read_pids(dir, text, sizeof text);
    if (result < 0)
        return result;
    out->count = 0;
    char *next = NULL;
    for (char *line = strtok_r(text, "\n", &next); line != NULL && out->count < KILL_BATCH;
         line = strtok_r(NULL, "\n", &next)) {
        const long pid = strtol(line, NULL, 10);
        if (pid > 1 && pid <= INT32_MAX) /* 0 stands for a process that our pid namespace can not name */
            out->pid[out->count++] = (int)pid;
    }
    return 0;
}

static bool lists(const pid_list *list, int pid) {
    for (size_t i = 0; i < list->count; i++)
        if (list->pid[i] == pid)
            return true;
    return false;
}

/* A pid may be another process's by the time it is signalled. One that is held by a descriptor and still listed after
 * that is the one that was listed. */
static int kill_listed(const char *dir) {
    pid_list first;
    pid_list second;
    int held[KILL_BATCH];
    int result = list_processes(dir, &first);
    if (result < 0)
        return result;
    for (size_t i = 0; i < first.count; i++)
        held[i] = (int)syscall(SYS_pidfd_open, first.pid[i], 0U);
    result = list_processes(dir, &second);
    for (size_t i = 0; i < first.count; i++) {
        if (held[i] < 0)
            continue;
        if (result == 0 && lists(&second, first.pid[i]))
            (void)ct__pidfd_kill(held[i]);
        (void)close(held[i]);
    }
    return result < 0 ? result : (int)first.count;
}

int ct_leaf_kill(const ct_cgroup_host *host, const char *name) {
    dirs all;
    int most = 0;
    int result = leaf_dirs(host, name, &all);
    for (size_t i = 0; result == 0 && i < all.count; i++) {
        const int seen = kill_listed(all.path[i]);
        if (seen == -ENOENT)
            continue; /* removed already */
        if (seen < 0)
            return seen;
        if (seen > 0)
            (void)write_in(all.path[i], "cgroup.kill", "1"); /* v2 since 5.14: also what was forked meanwhile */
        most = seen > most ? seen : most;
    }
    return result < 0 ? result : most;
}

int ct_leaf_remove(const ct_cgroup_host *host, const char *name) {
    dirs all;
    const int result = leaf_dirs(host, name, &all);
    if (result < 0)
        return result;
    int worst = 0;
    for (size_t i = 0; i < all.count; i++)
        if (rmdir(all.path[i]) != 0 && errno != ENOENT)
            worst = ct__errno();
    return worst;
}
