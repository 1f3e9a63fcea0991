#define _GNU_SOURCE
#include "sandbox/mounts.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

/* Any directory serves: what it held is not looked up again, since the sources are open by then. */
#define MOUNT_POINT "/tmp"
/* Chosen: the root holds links, mount points and a few small files. */
#define ROOT_OPTIONS "size=1m,nr_inodes=4096,mode=755"
#define MASK_FILE "/run/masked"
#define MASK_DIR "/run/masked.d"

static const uint64_t SAFE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;

/* What /proc tells of the host rather than of the sandbox, or would let root do to it. */
static const char *const MASKED_FILES[] = {"kcore",      "keys",        "key-users",     "kallsyms", "kmsg",      "sysrq-trigger",
                                           "timer_list", "sched_debug", "latency_stats", "config.gz", "interrupts"};
static const char *const MASKED_DIRS[] = {"acpi", "asound", "scsi"};

int ct__proc_make(void) {
    return ct__proc_mount(SAFE | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

static int open_source(const ct_entry *e) {
    ct_autofd fd = ct__open_tree(e->source);
    if (fd < 0)
        return fd;
    const bool is_device = e->kind == CT_ENTRY_DEVICE;
    const bool is_noexec = is_device || (e->flags & CT_ENTRY_NOEXEC) != 0;
    const int result = ct__mount_restrict(
        fd, NULL, SAFE | (is_device ? 0 : MOUNT_ATTR_NODEV) | (is_noexec ? (uint64_t)MOUNT_ATTR_NOEXEC : 0));
    return result < 0 ? result : ct_take_fd(&fd);
}

bool ct__entry_is_own(const ct_entry *e) {
    const bool is_dir = e->kind == CT_ENTRY_BIND || e->kind == CT_ENTRY_DIR;
    const bool is_place = strcmp(e->target, CT__CODE_DIR) == 0 || strcmp(e->target, CT__LAYERS_DIR) == 0;
    return e->kind == CT_ENTRY_PROC || e->kind == CT_ENTRY_TMPFS || e->kind == CT_ENTRY_PTS || (is_dir && is_place);
}

static bool is_in(const ct_entry *e, enum ct__part part) {
    return (part & (ct__entry_is_own(e) ? CT__PART_OWN : CT__PART_COMMON)) != 0;
}

void ct__sources_init(ct__sources *out) {
    for (uint32_t i = 0; i < CT_PLAN_ENTRIES_MAX; i++)
        out->fd[i] = -1;
}

int ct__sources_open(const ct_plan *plan, enum ct__part part, ct__sources *out, ct__failure *why) {
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const ct_entry *e = &plan->entries[i];
        if (!is_in(e, part))
            continue;
        if (e->kind != CT_ENTRY_BIND && e->kind != CT_ENTRY_DEVICE)
            continue;
        const int fd = open_source(e);
        if (fd == -ENOENT && (e->flags & CT_ENTRY_OPTIONAL) != 0)
            continue;
        if (fd < 0)
            return ct__fail(why, CT_STEP_SOURCE, fd, e->source);
        out->fd[i] = fd;
    }
    return 0;
}

int ct__sources_add_procs(const ct_plan *plan, ct__sources *sources, ct__failure *why) {
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        if (plan->entries[i].kind != CT_ENTRY_PROC)
            continue;
        const int fd = ct__proc_make();
        if (fd < 0)
            return ct__fail(why, CT_STEP_SOURCE, fd, plan->entries[i].target);
        sources->fd[i] = fd;
    }
    return 0;
}

void ct__sources_close(ct__sources *sources) {
    for (uint32_t i = 0; i < CT_PLAN_ENTRIES_MAX; i++)
        ct_drop_fd(&sources->fd[i]);
}

int ct__root_make(ct__failure *why) {
    int result = ct__mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (result < 0)
        return ct__fail(why, CT_STEP_ROOT, result, "private");
    result = ct__mount("tmpfs", MOUNT_POINT, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS);
    if (result < 0)
        return ct__fail(why, CT_STEP_ROOT, result, "tmpfs");
    if (chdir(MOUNT_POINT) != 0)
        return ct__fail(why, CT_STEP_ROOT, ct__errno(), "chdir");
    result = ct__pivot_root(".", "."); /* the old root now lies on top of the new one */
    if (result < 0)
        return ct__fail(why, CT_STEP_ROOT, result, "pivot_root");
    result = ct__detach(".");
    if (result < 0)
        return ct__fail(why, CT_STEP_ROOT, result, "detach");
    if (chdir("/") != 0)
        return ct__fail(why, CT_STEP_ROOT, ct__errno(), "chdir");
    return 0;
}

/* Makes every directory above path. path fits CT_PATH_BYTES: the plan's decoder saw to that. */
static int make_parents(const char *path) {
    char partial[CT_PATH_BYTES];
    for (size_t i = 1; path[i] != '\0'; i++) {
        if (path[i] != '/')
            continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return ct__errno();
    }
    return 0;
}

static int make_dir(const char *path, mode_t mode) {
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return ct__errno();
    return chmod(path, mode) != 0 ? ct__errno() : 0; /* whatever the umask */
}

static int make_file(const char *path, mode_t mode, const char *text) {
    ct_autofd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return ct__errno();
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t wrote = write(fd, text, left);
        if (wrote < 0)
            return ct__errno();
        text += wrote;
        left -= (size_t)wrote;
    }
    return fchmod(fd, mode) != 0 ? ct__errno() : 0;
}

static int attach(int fd, const char *target) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ct__errno();
    int result = S_ISDIR(st.st_mode) ? make_dir(target, 0755) : make_file(target, 0444, "");
    if (result == -EEXIST)
        result = 0; /* a mount over a file that an earlier entry made */
    return result < 0 ? result : ct__move_mount(fd, target);
}

static int make_mask(const char *mask) {
    ct_autofd fd = ct__open_tree(mask);
    if (fd < 0)
        return fd;
    const int result = ct__mount_restrict(fd, NULL, SAFE | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return result < 0 ? result : ct_take_fd(&fd);
}

/* Names that this kernel does not have are left out. To look for one first would be to look it up twice: a cover that
 * has found nothing to lie on serves the next. */
static int cover(const char *proc, const char *const *names, size_t count, const char *mask) {
    ct_autofd fd = -1;
    for (size_t i = 0; i < count; i++) {
        char path[CT_PATH_BYTES];
        if (fd < 0 && (fd = make_mask(mask)) < 0)
            return fd;
        int result = ct__format(path, sizeof path, "%s/%s", proc, names[i]);
        if (result < 0)
            return result;
        result = ct__move_mount(fd, path);
        if (result == 0)
            ct_drop_fd(&fd);
        else if (result != -ENOENT)
            return result;
    }
    return 0;
}

static int make_masks(void) {
    int result = make_parents(MASK_FILE);
    if (result == 0)
        result = make_file(MASK_FILE, 0444, "");
    return result < 0 ? result : make_dir(MASK_DIR, 0555);
}

int ct__proc_cover(const char *proc) {
    const int result = cover(proc, MASKED_FILES, sizeof MASKED_FILES / sizeof MASKED_FILES[0], MASK_FILE);
    return result < 0 ? result : cover(proc, MASKED_DIRS, sizeof MASKED_DIRS / sizeof MASKED_DIRS[0], MASK_DIR);
}

static int mount_tmpfs(const ct_entry *e) {
    char options[96];
    const int result = ct__format(options, sizeof options, "size=%llu,nr_inodes=%u,mode=%o",
                                  (unsigned long long)e->size_bytes, e->inodes, e->mode);
    const unsigned long noexec = (e->flags & CT_ENTRY_NOEXEC) != 0 ? MS_NOEXEC : 0;
    return result < 0 ? result : ct__mount("tmpfs", e->target, "tmpfs", MS_NOSUID | MS_NODEV | noexec, options);
}

/* Everybody inside may open a terminal: they all are one user. The nodev of other mounts would make it useless. */
static int mount_pts(const ct_entry *e) {
    return ct__mount("devpts", e->target, "devpts", MS_NOSUID | MS_NOEXEC, "ptmxmode=666,mode=620");
}

static int make_common(const ct_entry *e, int source) {
    switch (e->kind) {
    case CT_ENTRY_BIND:
    case CT_ENTRY_DEVICE:
        return source < 0 ? 0 : attach(source, e->target);
    case CT_ENTRY_VOLUME:
        return source < 0 ? CT_E_RANGE : attach(source, e->target);
    case CT_ENTRY_LINK:
        return symlink(e->source, e->target) != 0 ? ct__errno() : 0;
    case CT_ENTRY_FILE:
        return make_file(e->target, e->mode, e->source);
    case CT_ENTRY_DIR:
        return make_dir(e->target, e->mode);
    default:
        return CT_E_RANGE; /* the plan's decoder lets no other kind through */
    }
}

static int make_place(const ct_entry *e) {
    const int result = make_dir(e->target, e->kind == CT_ENTRY_DIR ? e->mode : 0755);
    return result < 0 || e->kind != CT_ENTRY_PROC ? result : make_masks();
}

static int mount_own(const ct_entry *e, int source) {
    int result;
    switch (e->kind) {
    case CT_ENTRY_PROC:
        result = ct__move_mount(source, e->target);
        return result < 0 ? result : ct__proc_cover(e->target);
    case CT_ENTRY_TMPFS:
        return mount_tmpfs(e);
    case CT_ENTRY_PTS:
        return mount_pts(e);
    case CT_ENTRY_BIND:
        return source < 0 ? 0 : ct__move_mount(source, e->target);
    default:
        return 0; /* the place itself is all there is */
    }
}

static int make_entry(const ct_entry *e, enum ct__part part, int source) {
    int result = 0;
    const bool is_own = ct__entry_is_own(e);
    if ((part & CT__PART_COMMON) != 0) {
        result = make_parents(e->target);
        if (result == 0)
            result = is_own ? make_place(e) : make_common(e, source);
    }
    return result == 0 && is_own && (part & CT__PART_OWN) != 0 ? mount_own(e, source) : result;
}

int ct__root_fill(const ct_plan *plan, enum ct__part part, ct__sources *sources, ct__failure *why) {
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        ct_autofd source = ct_take_fd(&sources->fd[i]);
        const int result = make_entry(&plan->entries[i], part, source);
        if (result < 0)
            return ct__fail(why, CT_STEP_ENTRY, result, plan->entries[i].target);
    }
    if (part == CT__PART_OWN)
        return 0;
    const int result = ct__mount_restrict(-1, "/", SAFE | MOUNT_ATTR_NODEV);
    return result < 0 ? ct__fail(why, CT_STEP_ROOT, result, "read-only") : 0;
}
