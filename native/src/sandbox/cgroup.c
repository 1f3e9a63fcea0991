#define _GNU_SOURCE
#include "sandbox/cgroup.h"

#include "base/err.h"
#include "base/sysx.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    DIRS_MAX = 4,
    KILL_BATCH = 64,
    CPU_PERIOD_US = 100000, /* the kernel's own default */
    US_PER_MILLI = CPU_PERIOD_US / 1000,
    SOCKET_SHARE = 4 /* chosen: a v1 group's socket buffers may take a quarter of its memory, on top of it */
};

bool ct__cgroup_is_name(const char *name) {
    const size_t len = strnlen(name, CT__CGROUP_NAME_BYTES);
    return len > 0 && len < CT__CGROUP_NAME_BYTES && name[0] != '.' && strchr(name, '/') == NULL;
}

int ct__cgroup_join(char out[CT_PATH_BYTES], const char *dir, const char *name) {
    return ct__format(out, CT_PATH_BYTES, "%s/%s", dir, name);
}

int ct__cgroup_make_group(const char *dir) {
    return mkdir(dir, 0755) != 0 && errno != EEXIST ? ct__errno() : 0;
}

int ct__cgroup_write(const char *dir, const char *file, const char *text) {
    char path[CT_PATH_BYTES];
    const int result = ct__cgroup_join(path, dir, file);
    return result < 0 ? result : ct__write_file(path, text);
}

int ct__cgroup_read(const char *dir, const char *file, char *out, size_t cap) {
    char path[CT_PATH_BYTES];
    const int result = ct__cgroup_join(path, dir, file);
    return result < 0 ? result : ct__read_file(path, out, cap);
}

/* Reads a list of pids; one that the buffer's end cuts in two would be another process's, so it is left out. */
int ct__cgroup_read_pids(const char *dir, char *out, size_t cap) {
    const int len = ct__cgroup_read(dir, "cgroup.procs", out, cap);
    if (len < 0)
        return len;
    char *last = strrchr(out, '\n');
    if (last != NULL)
        last[1] = '\0';
    else
        out[0] = '\0';
    return 0;
}

static int write_limit(const char *dir, const char *file, uint64_t value, const char *unlimited) {
    char text[32];
    if (value == 0)
        return ct__cgroup_write(dir, file, unlimited);
    const int result = ct__format(text, sizeof text, "%llu", (unsigned long long)value);
    return result < 0 ? result : ct__cgroup_write(dir, file, text);
}

static int number_in(const char *dir, const char *file, uint64_t *out) {
    char path[CT_PATH_BYTES];
    const int result = ct__cgroup_join(path, dir, file);
    return result < 0 ? result : ct__read_number(path, out);
}

/* The number after `key` and a space at the start of a line; 0 without such a line. */
static int keyed_number_in(const char *dir, const char *file, const char *key, uint64_t *out) {
    char text[4096];
    const int len = ct__cgroup_read(dir, file, text, sizeof text);
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

typedef struct dirs {
    char path[DIRS_MAX][CT_PATH_BYTES];
    size_t count;
} dirs;

/* The leaf's directories, each once: v1 controllers may share a mount, v2 ones always do. */
static int leaf_dirs(const ct_cgroup_host *host, const char *name, dirs *out) {
    const char *parents[] = {host->memory_dir, host->cpu_dir, host->cpu_account_dir, host->pids_dir};
    if (!ct__cgroup_is_name(name))
        return CT_E_RANGE;
    out->count = 0;
    for (size_t i = 0; i < sizeof parents / sizeof parents[0]; i++) {
        if (parents[i][0] == '\0')
            continue;
        char *path = out->path[out->count];
        const int result = ct__cgroup_join(path, parents[i], name);
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
        result = ct__cgroup_make_group(all.path[i]);
    return result;
}

static int limit_memory(uint32_t version, const char *dir, uint64_t bytes) {
    if (version == CT_CGROUP_V2) {
        (void)ct__cgroup_write(dir, "memory.swap.max", "0");   /* absent without swap accounting */
        (void)ct__cgroup_write(dir, "memory.oom.group", "1"); /* all or nothing: half a function is of no use */
        return write_limit(dir, "memory.max", bytes, "max");
    }
    /* memory may not exceed memory + swap, neither on the way up nor down: lift the sum first, set it last */
    (void)ct__cgroup_write(dir, "memory.memsw.limit_in_bytes", "-1");
    const int result = write_limit(dir, "memory.limit_in_bytes", bytes, "-1");
    /* v1 counts socket buffers apart, and only if told to; what all TCP of the host may hold is one number, so one
     * function could take it from every other. EBUSY while the last user's buffers are freed: its limit stays. */
    (void)write_limit(dir, "memory.kmem.tcp.limit_in_bytes", bytes / SOCKET_SHARE, "-1");
    if (result == 0)
        (void)write_limit(dir, "memory.memsw.limit_in_bytes", bytes, "-1"); /* absent without swap accounting */
    return result;
}

static int limit_cpu(uint32_t version, const char *dir, uint32_t millis) {
    char text[64];
    int result = 0;
    if (version == CT_CGROUP_V2) {
        if (millis == 0)
            return ct__cgroup_write(dir, "cpu.max", "max");
        result = ct__format(text, sizeof text, "%llu %d", (unsigned long long)millis * US_PER_MILLI, CPU_PERIOD_US);
        return result < 0 ? result : ct__cgroup_write(dir, "cpu.max", text);
    }
    return write_limit(dir, "cpu.cfs_quota_us", (uint64_t)millis * US_PER_MILLI, "-1");
}

int ct_leaf_limit(const ct_cgroup_host *host, const char *name, const ct_cgroup_limits *limits) {
    char dir[CT_PATH_BYTES];
    int result = ct__cgroup_is_name(name) ? 0 : CT_E_RANGE;
    if (result == 0 && host->memory != CT_CGROUP_NONE && (result = ct__cgroup_join(dir, host->memory_dir, name)) == 0)
        result = limit_memory(host->memory, dir, limits->memory_bytes);
    if (result == 0 && host->cpu != CT_CGROUP_NONE && (result = ct__cgroup_join(dir, host->cpu_dir, name)) == 0)
        result = limit_cpu(host->cpu, dir, limits->cpu_millis);
    if (result == 0 && host->pids != CT_CGROUP_NONE && (result = ct__cgroup_join(dir, host->pids_dir, name)) == 0)
        result = write_limit(dir, "pids.max", limits->processes, "max");
    return result;
}

static int oom_kills_in(uint32_t version, const char *dir, uint64_t *out) {
    return keyed_number_in(dir, version == CT_CGROUP_V2 ? "memory.events" : "memory.oom_control", "oom_kill", out);
}

int ct_leaf_oom_kills(const ct_cgroup_host *host, const char *name, uint64_t *out) {
    char dir[CT_PATH_BYTES];
    *out = 0;
    if (!ct__cgroup_is_name(name))
        return CT_E_RANGE;
    if (host->memory == CT_CGROUP_NONE)
        return 0;
    const int result = ct__cgroup_join(dir, host->memory_dir, name);
    return result < 0 ? result : oom_kills_in(host->memory, dir, out);
}

static int memory_usage(uint32_t version, const char *dir, ct_cgroup_usage *out) {
    const bool is_v2 = version == CT_CGROUP_V2;
    int result = number_in(dir, is_v2 ? "memory.current" : "memory.usage_in_bytes", &out->memory_bytes);
    if (result == 0 && number_in(dir, is_v2 ? "memory.peak" : "memory.max_usage_in_bytes", &out->memory_peak_bytes) < 0)
        out->memory_peak_bytes = out->memory_bytes; /* memory.peak came with Linux 5.19 */
    return result == 0 ? oom_kills_in(version, dir, &out->oom_kills) : result;
}

int ct_leaf_usage(const ct_cgroup_host *host, const char *name, ct_cgroup_usage *out) {
    char dir[CT_PATH_BYTES];
    ct_cgroup_usage usage = {0};
    int result = ct__cgroup_is_name(name) ? 0 : CT_E_RANGE;
    if (result == 0 && host->memory != CT_CGROUP_NONE && (result = ct__cgroup_join(dir, host->memory_dir, name)) == 0)
        result = memory_usage(host->memory, dir, &usage);
    if (result == 0 && host->cpu == CT_CGROUP_V2 && (result = ct__cgroup_join(dir, host->cpu_dir, name)) == 0)
        result = keyed_number_in(dir, "cpu.stat", "usage_usec", &usage.cpu_us);
    else if (result == 0 && host->cpu_account == CT_CGROUP_V1 && (result = ct__cgroup_join(dir, host->cpu_account_dir, name)) == 0) {
        result = number_in(dir, "cpuacct.usage", &usage.cpu_us);
        usage.cpu_us /= 1000;
    }
    if (result == 0 && host->pids != CT_CGROUP_NONE && (result = ct__cgroup_join(dir, host->pids_dir, name)) == 0)
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
    const int result = ct__cgroup_read_pids(dir, text, sizeof text);
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
    if (result < 0 || first.count == 0)
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
            (void)ct__cgroup_write(all.path[i], "cgroup.kill", "1"); /* v2 since 5.14: also what was forked meanwhile */
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
