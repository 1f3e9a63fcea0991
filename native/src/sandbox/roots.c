#define _GNU_SOURCE
#include "sandbox/roots.h"

#include "base/cursor.h"
#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/mounts.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_below(const char *path, const char *dir) {
    const size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* It belongs to nobody inside, so what its owner may, everybody must: to write is up to the mount, which nobody may. */
static bool is_for_all(const ct_entry *e) {
    return (e->kind != CT_ENTRY_FILE && e->kind != CT_ENTRY_DIR) || (e->mode >> 6 & 05 & ~e->mode) == 0;
}

/* Whether the order in which the two parts are made changes nothing: no common entry lies on what is mounted for one. */
static bool can_be_parted(const ct_plan *plan) {
    for (uint32_t i = 0; i < plan->entry_count; i++)
        if (!ct__entry_is_own(&plan->entries[i]) && !is_for_all(&plan->entries[i]))
            return false;
    for (uint32_t i = 0; i < plan->entry_count; i++)
        for (uint32_t k = 0; ct__entry_is_own(&plan->entries[i]) && k < plan->entry_count; k++)
            if (k != i && is_below(plan->entries[k].target, plan->entries[i].target))
                return false;
    return true;
}

/* A name may stand for another file by now: what is mounted is the file. */
static void put_source(ct__writer *w, const ct_entry *e) {
    struct stat st;
    if (e->kind != CT_ENTRY_BIND && e->kind != CT_ENTRY_DEVICE)
        return;
    if (stat(e->source, &st) != 0)
        memset(&st, 0, sizeof st);
    ct__write_u64(w, (uint64_t)st.st_dev);
    ct__write_u64(w, (uint64_t)st.st_ino);
}

static bool describe(const ct_plan *plan, ct__root_key *out) {
    ct__writer w = {.at = out->bytes, .left = sizeof out->bytes};
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const ct_entry *e = &plan->entries[i];
        const bool is_own = ct__entry_is_own(e);
        ct__write_u32(&w, is_own && e->kind != CT_ENTRY_PROC ? CT_ENTRY_DIR : e->kind);
        ct__write_bytes(&w, e->target, strlen(e->target) + 1);
        if (is_own)
            continue;
        ct__write_u32(&w, e->flags);
        ct__write_u32(&w, e->mode);
        ct__write_bytes(&w, e->source, strlen(e->source) + 1);
        put_source(&w, e);
    }
    out->len = (size_t)(w.at - out->bytes);
    return !w.overran;
}

/* The kernel lets a user namespace mount a /proc only where a whole one is mounted already. This one's pid namespace ends
 * with the helper that mounts it, so it shows no process; each sandbox mounts its own on top. */
static int mount_dead_proc(const char *target) {
    struct clone_args args = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
    /* SAFETY: as in spawn.c; the child makes system calls and ends */
    const pid_t helper = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (helper == 0) {
        const int proc = ct__proc_make();
        _exit(proc >= 0 && ct__move_mount(proc, target) == 0 ? 0 : 1);
    }
    int status = 0;
    if (helper < 0)
        return ct__errno();
    while (waitpid(helper, &status, 0) < 0)
        if (errno != EINTR)
            return ct__errno();
    return status == 0 ? 0 : -EPERM;
}

static int mount_dead_procs(const ct_plan *plan) {
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < plan->entry_count; i++)
        if (plan->entries[i].kind == CT_ENTRY_PROC)
            result = mount_dead_proc(plan->entries[i].target);
    return result;
}

/* In a mount namespace that nobody is in afterwards; its descriptor, or -errno. */
static int make(const ct__home *home, const ct_plan *plan) {
    ct__sources sources;
    ct__failure why;
    ct__sources_init(&sources);
    const mode_t before = umask(022);
    int result = ct__sources_open(plan, CT__PART_COMMON, &sources, &why);
    if (result == 0 && unshare(CLONE_NEWNS) != 0)
        result = ct__errno();
    ct_autofd mounts = result < 0 ? -1 : open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (result == 0 && mounts < 0)
        result = ct__errno();
    if (result == 0 && (result = ct__root_make(&why)) == 0 &&
        (result = ct__root_fill(plan, CT__PART_COMMON, &sources, &why)) == 0)
        result = mount_dead_procs(plan);
    (void)umask(before);
    ct__sources_close(&sources);
    if (ct__home_return(home) < 0)
        return -ENOTRECOVERABLE;
    return result < 0 ? result : ct_take_fd(&mounts);
}

void ct__roots_init(ct__roots *roots, const ct__home *home, ct__root_key *keys) {
    *roots = (ct__roots){0};
    for (size_t i = 0; i < CT__ROOTS_KEPT; i++)
        roots->mounts_fd[i] = -1;
    if (geteuid() == 0 && home->mounts_fd >= 0) /* others have no power over mounts outside a sandbox */
        roots->keys = keys;
}

static int find(const ct__roots *roots) {
    const ct__root_key *wanted = &roots->keys[CT__ROOTS_KEPT];
    for (int i = 0; i < CT__ROOTS_KEPT; i++)
        if (roots->mounts_fd[i] >= 0 && roots->keys[i].len == wanted->len &&
            memcmp(roots->keys[i].bytes, wanted->bytes, wanted->len) == 0)
            return i;
    return -1;
}

/* Returns its place, -1 when there is none, or -ENOTRECOVERABLE. */
static int add(ct__roots *roots, const ct__home *home, const ct_plan *plan) {
    const int mounts = make(home, plan);
    if (mounts < 0)
        return mounts == -ENOTRECOVERABLE ? mounts : -1;
    const uint32_t at = roots->next;
    const ct__root_key *wanted = &roots->keys[CT__ROOTS_KEPT];
    ct_drop_fd(&roots->mounts_fd[at]);
    roots->mounts_fd[at] = mounts;
    roots->keys[at].len = wanted->len;
    memcpy(roots->keys[at].bytes, wanted->bytes, wanted->len);
    roots->next = (at + 1) % CT__ROOTS_KEPT;
    return (int)at;
}

int ct__roots_get(ct__roots *roots, const ct__home *home, const ct_plan *plan) {
    if (roots->keys == NULL || (plan->flags & CT_PLAN_ALONE) != 0 || !can_be_parted(plan) || !describe(plan, &roots->keys[CT__ROOTS_KEPT]))
        return -1;
    int at = find(roots);
    if (at < 0)
        at = add(roots, home, plan);
    return at < 0 ? at : roots->mounts_fd[at];
}

void ct__roots_fini(ct__roots *roots) {
    for (size_t i = 0; i < CT__ROOTS_KEPT; i++)
        ct_drop_fd(&roots->mounts_fd[i]);
    roots->keys = NULL;
}
