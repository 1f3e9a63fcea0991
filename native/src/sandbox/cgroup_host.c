/* Finding out where this host lets us make control groups: v1 hierarchies one by one, then the v2 tree. */
#define _GNU_SOURCE
#include "sandbox/cgroup.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = 256 * 1024 }; /* mountinfo of a host with some thousand mounts */

#define HOST_LEAF "host" /* where we and our neighbours move, so that their group can have children with controllers */

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
        if (ct__cgroup_join(dir, point, group) < 0 || ct__cgroup_make_group(dir) < 0 || access(dir, W_OK) != 0)
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
    if (ct__cgroup_read_pids(from, pids, sizeof pids) < 0)
        return;
    char *next = NULL;
    for (char *pid = strtok_r(pids, "\n", &next); pid != NULL; pid = strtok_r(NULL, "\n", &next))
        (void)ct__cgroup_write(to, "cgroup.procs", pid); /* one that ended meanwhile needs no moving */
}

static int enable(const char *dir, const char *name) {
    char text[CT__CGROUP_NAME_BYTES];
    const int result = ct__format(text, sizeof text, "+%s", name);
    return result < 0 ? result : ct__cgroup_write(dir, "cgroup.subtree_control", text);
}

/* Lets the children of base have a controller. A group with processes can not: they move to its leaf first. */
static int enable_below(const char *base, const char *name) {
    int result = enable(base, name);
    if (result != -EBUSY)
        return result;
    char leaf[CT_PATH_BYTES];
    if ((result = ct__cgroup_join(leaf, base, HOST_LEAF)) < 0 || (result = ct__cgroup_make_group(leaf)) < 0)
        return result;
    move_processes(base, leaf);
    return enable(base, name);
}

static int use_base(const char *base, const char *group, ct_cgroup_host *out) {
    char dir[CT_PATH_BYTES];
    char offered[1024];
    int result = ct__cgroup_join(dir, base, group);
    if (result < 0 || (result = ct__cgroup_make_group(dir)) < 0 ||
        (result = ct__cgroup_read(base, "cgroup.controllers", offered, sizeof offered)) < 0)
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
    (void)ct__format(out, CT_PATH_BYTES, "/");
    char *next = NULL;
    for (char *line = strtok_r(text, "\n", &next); line != NULL; line = strtok_r(NULL, "\n", &next))
        if (strncmp(line, "0::", 3) == 0 && ct__format(out, CT_PATH_BYTES, "%s", line + 3) == 0)
            return;
}

int ct_cgroup_detect(const char *group, ct_cgroup_host *out) {
    if (!ct__cgroup_is_name(group) || strcmp(group, HOST_LEAF) == 0)
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
