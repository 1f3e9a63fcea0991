/* What is done by a path. A path is resolved by the kernel and never leads out of the directory that it begins in, whatever links lie
 * on its way; of what an act changes, only the last part is left to the act itself, which follows no link. */

#define _GNU_SOURCE
#include "wasm/files.h"

#include "base/scope.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

enum { PATH_BYTES = 4096, RETRIES = 16, DIR_MODE = 0777, FILE_MODE = 0666 };

static const uint64_t WRITES = CT__WASI_FD_WRITE | CT__WASI_FD_ALLOCATE | CT__WASI_FD_FILESTAT_SET_SIZE;

/* Returns a descriptor, or minus the error of WASI. */
static int open_beneath(int dir, const char *path, uint64_t flags) {
    const struct open_how how = {.flags = flags | O_CLOEXEC,
                                 .mode = (flags & O_CREAT) != 0 ? FILE_MODE : 0,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = -1;
    for (int i = 0; i < RETRIES; i++) {
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) /* it was not sure, as something was moved meanwhile */
            break;
    }
    if (fd >= 0)
        return fd;
    return errno == EXDEV ? -CT__WASI_NOTCAPABLE : -ct__wasi_errno();
}

static int32_t copy_path(ct__wasi_memory memory, uint32_t at, uint32_t len, char *out) {
    const uint8_t *text = ct__wasi_span(memory, at, len);
    if (text == NULL)
        return CT__WASI_FAULT;
    if (len >= PATH_BYTES)
        return CT__WASI_NAMETOOLONG;
    if (memchr(text, 0, len) != NULL)
        return CT__WASI_INVAL;
    memcpy(out, text, len);
    out[len] = 0;
    return len == 0 ? CT__WASI_NOENT : out[0] == '/' ? CT__WASI_NOTCAPABLE : 0;
}

/* Where a path of the guest's begins, and how it goes on. */
typedef struct route {
    ct__wasi_file *from;
    char path[PATH_BYTES];
} route;

static int32_t find(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *fd, const wasm_raw *path, uint64_t right, route *out) {
    const int32_t failed = ct__wasi_files_take(files, (uint32_t)fd->i32, CT__WASI_DIR, right, &out->from);
    return failed != 0 ? failed : copy_path(memory, (uint32_t)path[0].i32, (uint32_t)path[1].i32, out->path);
}

/* The directory in which the last part of a path lies, and that part, with the slashes that end it: they say that it is a directory. */
typedef struct place {
    int dir;
    int own;
    const char *name;
} place;

static void leave(place *at) {
    ct__fd_cleanup(&at->own);
}

#define autoplace __attribute__((cleanup(leave))) place
#define NOWHERE {.dir = -1, .own = -1, .name = NULL}

/* Cuts the route's path. */
static int32_t go(route *way, place *out) {
    size_t end = strlen(way->path);
    while (end > 0 && way->path[end - 1] == '/')
        end--;
    char *slash = memrchr(way->path, '/', end);
    out->name = slash != NULL ? slash + 1 : way->path;
    out->dir = way->from->fd;
    if (slash == NULL)
        return 0;
    *slash = 0;
    out->own = open_beneath(way->from->fd, way->path, O_PATH | O_DIRECTORY);
    out->dir = out->own;
    return out->own < 0 ? -out->own : 0;
}

/* The way to what an act changes. */
static int32_t reach(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *fd, const wasm_raw *path, uint64_t right, route *way,
                     place *out) {
    const int32_t failed = find(files, memory, fd, path, right, way);
    if (failed != 0)
        return failed;
    return way->from->is_fixed ? CT__WASI_ROFS : go(way, out);
}

static int32_t told(int result) {
    return result < 0 ? ct__wasi_errno() : 0;
}

int32_t ct__wasi_path_create_directory(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    autoplace at = NOWHERE;
    const int32_t failed = reach(files, memory, &in[0], &in[1], CT__WASI_PATH_CREATE_DIRECTORY, &way, &at);
    return failed != 0 ? failed : told(mkdirat(at.dir, at.name, DIR_MODE));
}

int32_t ct__wasi_path_remove_directory(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    autoplace at = NOWHERE;
    const int32_t failed = reach(files, memory, &in[0], &in[1], CT__WASI_PATH_REMOVE_DIRECTORY, &way, &at);
    return failed != 0 ? failed : told(unlinkat(at.dir, at.name, AT_REMOVEDIR));
}

int32_t ct__wasi_path_unlink_file(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    autoplace at = NOWHERE;
    const int32_t failed = reach(files, memory, &in[0], &in[1], CT__WASI_PATH_UNLINK_FILE, &way, &at);
    return failed != 0 ? failed : told(unlinkat(at.dir, at.name, 0));
}

int32_t ct__wasi_path_rename(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route old_way, new_way;
    autoplace old = NOWHERE;
    autoplace new = NOWHERE;
    int32_t failed = reach(files, memory, &in[0], &in[1], CT__WASI_PATH_RENAME_SOURCE, &old_way, &old);
    if (failed == 0)
        failed = reach(files, memory, &in[3], &in[4], CT__WASI_PATH_RENAME_TARGET, &new_way, &new);
    return failed != 0 ? failed : told(renameat(old.dir, old.name, new.dir, new.name));
}

/* The kernel follows a link that a slash comes after, wherever it leads. What can be linked is no directory, and has none. */
static int32_t refuse_directory(const route *way) {
    ct_autofd fd = -1;
    if (way->path[strlen(way->path) - 1] != '/')
        return 0;
    fd = open_beneath(way->from->fd, way->path, O_PATH);
    return fd < 0 ? -fd : CT__WASI_PERM;
}

int32_t ct__wasi_path_link(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route old_way, new_way;
    autoplace old = NOWHERE;
    autoplace new = NOWHERE;
    if (in[1].i32 != 0) /* a link is linked, not what it leads to */
        return CT__WASI_INVAL;
    int32_t failed = find(files, memory, &in[0], &in[2], CT__WASI_PATH_LINK_SOURCE, &old_way);
    if (failed == 0)
        failed = refuse_directory(&old_way);
    if (failed == 0)
        failed = old_way.from->is_fixed ? CT__WASI_ROFS : go(&old_way, &old);
    if (failed == 0)
        failed = reach(files, memory, &in[4], &in[5], CT__WASI_PATH_LINK_TARGET, &new_way, &new);
    return failed != 0 ? failed : told(linkat(old.dir, old.name, new.dir, new.name, 0));
}

int32_t ct__wasi_path_symlink(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    char target[PATH_BYTES];
    autoplace at = NOWHERE;
    int32_t failed = copy_path(memory, (uint32_t)in[0].i32, (uint32_t)in[1].i32, target);
    if (failed == 0)
        failed = reach(files, memory, &in[2], &in[3], CT__WASI_PATH_SYMLINK, &way, &at);
    return failed != 0 ? failed : told(symlinkat(target, at.dir, at.name));
}

int32_t ct__wasi_path_readlink(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    ct_autofd fd = -1;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[3].i32, (uint32_t)in[4].i32);
    uint8_t *len = ct__wasi_span(memory, (uint32_t)in[5].i32, 4);
    const int32_t failed = find(files, memory, &in[0], &in[1], CT__WASI_PATH_READLINK, &way);
    if (failed != 0 || out == NULL || len == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    fd = open_beneath(way.from->fd, way.path, O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return -fd;
    struct stat found;
    if (fstat(fd, &found) < 0)
        return ct__wasi_errno();
    if (!S_ISLNK(found.st_mode))
        return CT__WASI_INVAL;
    const size_t cap = (uint32_t)in[4].i32;
    const ssize_t got = cap == 0 ? 0 : readlinkat(fd, "", (char *)out, cap);
    if (got < 0)
        return ct__wasi_errno();
    ct__wasi_put(len, (uint64_t)got, 4);
    return 0;
}

static uint64_t nofollow(uint32_t lookup) {
    return (lookup & CT__WASI_FOLLOW) != 0 ? 0 : O_NOFOLLOW;
}

int32_t ct__wasi_path_filestat_get(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    ct_autofd fd = -1;
    struct stat found;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[4].i32, CT__WASI_FILESTAT_BYTES);
    const int32_t failed = find(files, memory, &in[0], &in[2], CT__WASI_PATH_FILESTAT_GET, &way);
    if (failed != 0 || out == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    fd = open_beneath(way.from->fd, way.path, O_PATH | nofollow((uint32_t)in[1].i32));
    if (fd < 0)
        return -fd;
    if (fstat(fd, &found) < 0)
        return ct__wasi_errno();
    ct__wasi_put_stat(out, &found);
    return 0;
}

int32_t ct__wasi_path_filestat_set_times(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    ct_autofd fd = -1;
    struct timespec times[2];
    int32_t failed = find(files, memory, &in[0], &in[2], CT__WASI_PATH_FILESTAT_SET_TIMES, &way);
    if (failed == 0)
        failed = ct__wasi_times((uint64_t)in[4].i64, (uint64_t)in[5].i64, (uint32_t)in[6].i32, times);
    if (failed != 0)
        return failed;
    if (way.from->is_fixed)
        return CT__WASI_ROFS;
    fd = open_beneath(way.from->fd, way.path, O_PATH | nofollow((uint32_t)in[1].i32));
    return fd < 0 ? -fd : told(utimensat(fd, "", times, AT_EMPTY_PATH));
}

/* ---- opening ---- */

typedef struct wish {
    uint32_t lookup, open, flags;
    bool reads, writes;
} wish;

static uint64_t flags_of(const wish *asked) {
    uint64_t flags = nofollow(asked->lookup) | O_NONBLOCK | O_NOCTTY; /* whatever it is, nobody waits for it */
    flags |= asked->writes ? asked->reads ? O_RDWR : O_WRONLY : O_RDONLY;
    flags |= (asked->open & CT__WASI_CREAT) != 0 ? O_CREAT : 0;
    flags |= (asked->open & CT__WASI_DIRECTORY) != 0 ? O_DIRECTORY : 0;
    flags |= (asked->open & CT__WASI_EXCL) != 0 ? O_EXCL : 0;
    flags |= (asked->open & CT__WASI_TRUNC) != 0 ? O_TRUNC : 0;
    flags |= (asked->flags & CT__WASI_APPEND) != 0 ? O_APPEND : 0;
    flags |= (asked->flags & CT__WASI_DSYNC) != 0 ? O_DSYNC : 0;
    flags |= (asked->flags & (CT__WASI_RSYNC | CT__WASI_SYNC)) != 0 ? O_SYNC : 0;
    return flags;
}

/* In a directory that is fixed, a file that is there can be opened with leave to make one. */
static int open_file(const route *way, const wish *asked) {
    const uint64_t flags = flags_of(asked);
    if (!way->from->is_fixed)
        return open_beneath(way->from->fd, way->path, flags);
    if (asked->writes || (flags & (O_TRUNC | O_EXCL)) != 0)
        return -CT__WASI_ROFS;
    const int fd = open_beneath(way->from->fd, way->path, flags & ~(uint64_t)O_CREAT);
    return fd == -CT__WASI_NOENT && (flags & O_CREAT) != 0 ? -CT__WASI_ROFS : fd;
}

static uint64_t rights_for(const wish *asked) {
    uint64_t rights = CT__WASI_PATH_OPEN;
    rights |= (asked->open & CT__WASI_CREAT) != 0 ? CT__WASI_PATH_CREATE_FILE : 0;
    return rights | ((asked->open & CT__WASI_TRUNC) != 0 ? CT__WASI_PATH_FILESTAT_SET_SIZE : 0);
}

static int32_t settle(ct__wasi_file *slot, const ct__wasi_file *from, const wish *asked, int fd) {
    struct stat found;
    if (fstat(fd, &found) < 0)
        return ct__wasi_errno();
    if (!S_ISDIR(found.st_mode) && !S_ISREG(found.st_mode))
        return CT__WASI_NOTSUP;
    const ct__wasi_kind kind = S_ISDIR(found.st_mode) ? CT__WASI_DIR : CT__WASI_FILE;
    const uint64_t refused = (asked->writes ? 0 : WRITES) | (asked->writes && !asked->reads ? CT__WASI_FD_READ : 0);
    *slot = (ct__wasi_file){.fd = fd,
                            .kind = (uint8_t)kind,
                            .flags = (uint8_t)asked->flags,
                            .base = ct__wasi_rights(kind) & from->inheriting & ~(kind == CT__WASI_FILE ? refused : 0),
                            .inheriting = kind == CT__WASI_DIR ? from->inheriting : 0,
                            .is_fixed = from->is_fixed};
    return 0;
}

int32_t ct__wasi_path_open(ct__wasi_files *files, ct__wasi_memory memory, const wasm_raw *in) {
    route way;
    ct_autofd fd = -1;
    uint32_t number = 0;
    const uint64_t base = (uint64_t)in[5].i64;
    const wish asked = {.lookup = (uint32_t)in[1].i32, .open = (uint32_t)in[4].i32, .flags = (uint32_t)in[7].i32,
                        .reads = (base & (CT__WASI_FD_READ | CT__WASI_FD_READDIR)) != 0, .writes = (base & WRITES) != 0};
    if (asked.open > 2 * CT__WASI_TRUNC - 1 || asked.flags > 2 * CT__WASI_SYNC - 1)
        return CT__WASI_INVAL;
    uint8_t *out = ct__wasi_span(memory, (uint32_t)in[8].i32, 4);
    int32_t failed = find(files, memory, &in[0], &in[2], rights_for(&asked), &way);
    if (failed != 0 || out == NULL)
        return failed != 0 ? failed : CT__WASI_FAULT;
    ct__wasi_file *slot = ct__wasi_files_free(files, &number);
    if (slot == NULL)
        return CT__WASI_MFILE;
    fd = open_file(&way, &asked);
    if (fd < 0)
        return -fd;
    failed = settle(slot, way.from, &asked, fd);
    if (failed != 0)
        return failed;
    (void)ct_take_fd(&fd);
    ct__wasi_put(out, number, 4);
    return 0;
}
