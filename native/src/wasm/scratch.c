#define _GNU_SOURCE
#include "wasm/scratch.h"

#include "base/err.h"
#include "base/scope.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

enum { RETRIES = 64 };

/* What a directory's size is while nothing is in it, where the size tells: in memory each entry adds to it. */
static int64_t size_of_empty(const char *path) {
    struct statfs system;
    struct stat found;
    return statfs(path, &system) == 0 && system.f_type == TMPFS_MAGIC && stat(path, &found) == 0 ? found.st_size : -1;
}

int ct__wasm_scratch_init(ct__wasm_scratch *scratch) {
    static atomic_uint next;
    if (scratch->is_there)
        return 0;
    for (int i = 0; i < RETRIES; i++) {
        (void)snprintf(scratch->path, sizeof scratch->path, "/tmp/.call-%u", atomic_fetch_add(&next, 1));
        if (mkdir(scratch->path, 0700) == 0) {
            scratch->is_there = true;
            scratch->empty_bytes = size_of_empty(scratch->path);
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    return ct__errno();
}

typedef bool each(int dir, const char *name, void *self);

static bool walk(int dir, each *act, void *self) {
    const int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = own < 0 ? NULL : fdopendir(own);
    bool has_acted = false;
    if (list == NULL && own >= 0)
        (void)close(own);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            has_acted = act(dir, entry->d_name, self) || has_acted;
    if (list != NULL)
        (void)closedir(list);
    return has_acted;
}

static bool remove_one(int dir, const char *name) {
    return unlinkat(dir, name, 0) == 0 || unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

typedef struct top {
    int dir;
    unsigned next;
} top;

static bool lift(int dir, const char *name, void *self) {
    top *to = self;
    char as[32];
    if (remove_one(dir, name))
        return true;
    (void)snprintf(as, sizeof as, "\001%u", to->next++);
    return renameat2(dir, name, to->dir, as, RENAME_NOREPLACE) == 0;
}

static bool flatten(int dir, const char *name, void *self) {
    if (remove_one(dir, name))
        return true;
    ct_autofd below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return below >= 0 && walk(below, lift, self);
}

/* Directories may be nested deeper than a path is long or a stack is high: what is in one is moved up instead. */
void ct__wasm_scratch_fini(ct__wasm_scratch *scratch) {
    const bool was_there = scratch->is_there;
    scratch->is_there = false;
    if (!was_there || rmdir(scratch->path) == 0)
        return;
    ct_autofd dir = open(scratch->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    top to = {.dir = dir};
    while (dir >= 0 && walk(dir, flatten, &to))
        continue;
    (void)rmdir(scratch->path);
}

/* A directory that is seen to be empty is kept: to make and remove one a call costs 15 us and a lock that all calls of the tenant
 * share. Its times are the last thing that a guest could have left. */
void ct__wasm_scratch_clear(ct__wasm_scratch *scratch) {
    struct stat found;
    if (!scratch->is_there || stat(scratch->path, &found) != 0 || found.st_size != scratch->empty_bytes ||
        utimensat(AT_FDCWD, scratch->path, NULL, 0) != 0)
        ct__wasm_scratch_fini(scratch);
}
