#include "sandbox/plan.h"

#include "base/cursor.h"

#include <stdbool.h>

static const char *take_text(ct__reader *r) {
    const size_t len = ct__read_u16(r);
    const uint8_t *span = ct__read_span(r, len + 1);
    if (span == NULL)
        return NULL;
    /* The NUL at the end must be the only one, or a reader of C strings would see another text. */
    if (memchr(span, '\0', len + 1) != span + len)
        return NULL;
    return (const char *)span;
}

static void put_text(ct__writer *w, const char *text) {
    const char *value = text != NULL ? text : "";
    const size_t len = strnlen(value, UINT16_MAX + 1);
    if (len > UINT16_MAX) {
        w->overran = true;
        return;
    }
    ct__write_u16(w, (uint16_t)len);
    ct__write_bytes(w, value, len + 1);
}

bool ct__is_path(const char *path) {
    const size_t len = strnlen(path, CT_PATH_BYTES);
    if (len < 2 || len == CT_PATH_BYTES || path[0] != '/')
        return false;
    for (const char *part = path; *part == '/';) {
        part++;
        const size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += n;
    }
    return true;
}

static bool is_entry(const ct_entry *e) {
    const uint32_t known_flags = CT_ENTRY_OPTIONAL | CT_ENTRY_NOEXEC | CT_ENTRY_WRITABLE;
    if (!ct__is_path(e->target) || (e->flags & ~known_flags) != 0 || e->mode > 07777)
        return false;
    switch (e->kind) {
    case CT_ENTRY_BIND:
    case CT_ENTRY_DEVICE:
        return (e->flags & CT_ENTRY_WRITABLE) == 0 && ct__is_path(e->source);
    case CT_ENTRY_VOLUME:
        return (e->flags & ~(uint32_t)CT_ENTRY_WRITABLE) == 0 && ct__is_path(e->source);
    case CT_ENTRY_LINK:
        return e->source[0] != '\0' && strnlen(e->source, CT_PATH_BYTES) < CT_PATH_BYTES;
    case CT_ENTRY_TMPFS:
        return e->size_bytes > 0 && e->inodes > 0; /* 0 would mean "no limit" to the kernel */
    case CT_ENTRY_FILE:
    case CT_ENTRY_DIR:
    case CT_ENTRY_PROC:
    case CT_ENTRY_PTS:
        return true;
    default:
        return false;
    }
}

static int check(const ct_plan *p) {
    if (p->host_uid == 0 || p->inside_uid == 0 || p->inside_uid > CT__INSIDE_ID_MAX || p->inside_gid == 0 ||
        p->inside_gid > CT__INSIDE_ID_MAX)
        return CT_E_RANGE;
    if ((p->flags & ~(uint32_t)(CT_PLAN_NO_SHARED_MEMORY | CT_PLAN_NURSERY | CT_PLAN_ALONE)) != 0)
        return CT_E_RANGE;
    if (p->setup_ms == 0 || p->setup_ms > CT__SETUP_MS_MAX)
        return CT_E_RANGE;
    if (strnlen(p->hostname, CT__HOSTNAME_MAX + 1) > CT__HOSTNAME_MAX)
        return CT_E_RANGE;
    if ((strcmp(p->workdir, "/") != 0 && !ct__is_path(p->workdir)) || (p->cgroup_dir[0] != '\0' && !ct__is_path(p->cgroup_dir)))
        return CT_E_RANGE;
    for (uint32_t i = 0; i < p->task_file_count; i++)
        if (!ct__is_path(p->task_files[i]))
            return CT_E_RANGE;
    for (uint32_t i = 0; i < p->entry_count; i++)
        if (!is_entry(&p->entries[i]))
            return CT_E_RANGE;
    if (p->argc > 0 && !ct__is_path(p->argv[0]))
        return CT_E_RANGE;
    for (uint32_t i = 0; i < p->envc; i++) {
        const char *equals = strchr(p->env[i], '=');
        if (equals == NULL || equals == p->env[i])
            return CT_E_RANGE;
    }
    return 0;
}

static bool fits(const ct_plan *p) {
    return p->task_file_count <= CT_PLAN_CGROUPS_MAX && p->entry_count <= CT_PLAN_ENTRIES_MAX &&
           p->argc <= CT_PLAN_ARGS_MAX && p->envc <= CT_PLAN_ENV_MAX;
}

int ct_plan_encode(const ct_plan *p, uint8_t *out, size_t cap) {
    if (!fits(p))
        return CT_E_TOOBIG;
    const int bad = check(p);
    if (bad < 0)
        return bad;
    ct__writer w = {.at = out, .left = cap < CT_PLAN_BYTES_MAX ? cap : CT_PLAN_BYTES_MAX};
    const uint32_t words[] = {CT__PLAN_MAGIC,     p->flags,       p->host_uid, p->host_gid, p->inside_uid, p->inside_gid,
                              p->setup_ms, p->task_file_count, p->entry_count, p->argc,     p->envc};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        ct__write_u32(&w, words[i]);
    ct__write_u64(&w, p->open_files);
    ct__write_u64(&w, p->processes);
    ct__write_u64(&w, p->file_bytes);
    ct__write_u64(&w, p->address_space_bytes);
    put_text(&w, p->hostname);
    put_text(&w, p->workdir);
    put_text(&w, p->cgroup_dir);
    for (uint32_t i = 0; i < p->task_file_count; i++)
        put_text(&w, p->task_files[i]);
    for (uint32_t i = 0; i < p->entry_count; i++) {
        const ct_entry *e = &p->entries[i];
        ct__write_u32(&w, e->kind);
        ct__write_u32(&w, e->flags);
        ct__write_u32(&w, e->mode);
        ct__write_u32(&w, e->inodes);
        ct__write_u64(&w, e->size_bytes);
        put_text(&w, e->target);
        put_text(&w, e->source);
    }
    for (uint32_t i = 0; i < p->argc; i++)
        put_text(&w, p->argv[i]);
    for (uint32_t i = 0; i < p->envc; i++)
        put_text(&w, p->env[i]);
    return w.overran ? CT_E_NOSPACE : (int)(w.at - out);
}

/* Reads count texts into slots; false when one is missing or holds a NUL. */
static bool take_texts(ct__reader *r, const char **slots, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = take_text(r);
        if (slots[i] == NULL)
            return false;
    }
    return true;
}

static bool take_entry(ct__reader *r, ct_entry *e) {
    e->kind = ct__read_u32(r);
    e->flags = ct__read_u32(r);
    e->mode = ct__read_u32(r);
    e->inodes = ct__read_u32(r);
    e->size_bytes = ct__read_u64(r);
    const char *texts[2] = {NULL, NULL};
    if (!take_texts(r, texts, 2))
        return false;
    e->target = texts[0];
    e->source = texts[1];
    return true;
}

int ct_plan_decode(const uint8_t *buf, size_t len, ct_plan *out) {
    if (len > CT_PLAN_BYTES_MAX)
        return CT_E_TOOBIG;
    ct__reader r = {.at = buf, .left = len};
    if (ct__read_u32(&r) != CT__PLAN_MAGIC)
        return r.overran ? CT_E_MORE : CT_E_MALFORMED;
    ct_plan p = {0};
    p.flags = ct__read_u32(&r);
    p.host_uid = ct__read_u32(&r);
    p.host_gid = ct__read_u32(&r);
    p.inside_uid = ct__read_u32(&r);
    p.inside_gid = ct__read_u32(&r);
    p.setup_ms = ct__read_u32(&r);
    p.task_file_count = ct__read_u32(&r);
    p.entry_count = ct__read_u32(&r);
    p.argc = ct__read_u32(&r);
    p.envc = ct__read_u32(&r);
    p.open_files = ct__read_u64(&r);
    p.processes = ct__read_u64(&r);
    p.file_bytes = ct__read_u64(&r);
    p.address_space_bytes = ct__read_u64(&r);
    if (r.overran)
        return CT_E_MORE;
    if (!fits(&p))
        return CT_E_TOOBIG;
    const char *heads[3] = {NULL, NULL, NULL};
    bool whole = take_texts(&r, heads, 3) && take_texts(&r, p.task_files, p.task_file_count);
    for (uint32_t i = 0; whole && i < p.entry_count; i++)
        whole = take_entry(&r, &p.entries[i]);
    whole = whole && take_texts(&r, p.argv, p.argc) && take_texts(&r, p.env, p.envc);
    if (!whole)
        return r.overran ? CT_E_MORE : CT_E_MALFORMED;
    if (r.left != 0)
        return CT_E_MALFORMED;
    p.hostname = heads[0];
    p.workdir = heads[1];
    p.cgroup_dir = heads[2];
    const int bad = check(&p);
    if (bad < 0)
        return bad;
    *out = p;
    return 0;
}

const char *ct_step_name(uint32_t step) {
    static const char *const names[] = {
        [CT_STEP_NONE] = "none",         [CT_STEP_REQUEST] = "request",         [CT_STEP_CLONE] = "clone",
        [CT_STEP_IDMAP] = "idmap",       [CT_STEP_SESSION] = "session",         [CT_STEP_CGROUP] = "cgroup",
        [CT_STEP_SOURCE] = "source",     [CT_STEP_IDENTITY] = "identity",       [CT_STEP_ROOT] = "root",
        [CT_STEP_ENTRY] = "entry",       [CT_STEP_NETWORK] = "network",         [CT_STEP_HOSTNAME] = "hostname",
        [CT_STEP_DESCRIPTORS] = "descriptors", [CT_STEP_LIMITS] = "limits",     [CT_STEP_PRIVILEGES] = "privileges",
        [CT_STEP_SECCOMP] = "seccomp",   [CT_STEP_EXEC] = "exec",
        [CT_STEP_CODE] = "code",
    };
    return step < sizeof names / sizeof names[0] ? names[step] : "unknown";
}
