/* A waiting sandbox becomes one function's: its limits, its sizes, its code and layers.
 *
 * The files come as mounts that are cloned here and moved there, so that no descriptor of a host directory ever enters
 * a sandbox. The names that are looked up inside are safe: nobody's code has run there yet. */

#define _GNU_SOURCE
#include "sandbox/claim.h"

#include "base/err.h"
#include "base/scope.h"
#include "base/sysx.h"
#include "sandbox/limits.h"
#include "sandbox/mounts.h"
#include "sandbox/plan.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

int ct__home_return(const ct__home *home) {
    if (setns(home->mounts_fd, CLONE_NEWNS) != 0 || fchdir(home->root_fd) != 0 || chroot(".") != 0)
        return -ENOTRECOVERABLE;
    return 0;
}

int ct__home_init(ct__home *home) {
    *home = (ct__home){.mounts_fd = -1, .root_fd = -1};
    ct_autofd mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    ct_autofd root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (mounts < 0 || root < 0)
        return ct__errno();
    const ct__home found = {.mounts_fd = mounts, .root_fd = root};
    if (ct__home_return(&found) < 0) /* tried while we are there, so that nothing is lost by it */
        return -EPERM;
    *home = (ct__home){.mounts_fd = ct_take_fd(&mounts), .root_fd = ct_take_fd(&root)};
    return 0;
}

static int clone_tree(const char *dir, uint64_t attributes) {
    ct_autofd tree = ct__open_tree(dir);
    if (tree < 0)
        return tree;
    const int result =
        ct__mount_restrict(tree, NULL, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes);
    return result < 0 ? result : ct_take_fd(&tree);
}

static int resize(const char *target, unsigned long flags, uint64_t bytes) {
    char options[48];
    if (bytes == 0)
        return 0;
    const int result = ct__format(options, sizeof options, "size=%llu", (unsigned long long)bytes);
    return result < 0 ? result : ct__mount("tmpfs", target, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | flags, options);
}

/* layers, sockets: -1 for none. */
static int furnish(const ct_claim *claim, int layers, int sockets, int tree, ct__failure *why) {
    int result = resize("/tmp", 0, claim->tmp_bytes);
    if (result < 0)
        return ct__fail(why, CT_STEP_ENTRY, result, "/tmp");
    if ((result = resize("/dev/shm", MS_NOEXEC, claim->shm_bytes)) < 0)
        return ct__fail(why, CT_STEP_ENTRY, result, "/dev/shm");
    if (layers >= 0 && (result = ct__move_mount(layers, CT__LAYERS_DIR)) < 0)
        return ct__fail(why, CT_STEP_CODE, result, CT__LAYERS_DIR);
    if (sockets >= 0 && (result = ct__move_mount(sockets, CT__SOCKETS_DIR)) < 0)
        return ct__fail(why, CT_STEP_ENTRY, result, CT__SOCKETS_DIR);
    /* Last: a program that waits for its code starts at once (guest_main.c) */
    result = ct__move_mount(tree, CT__CODE_DIR);
    return result < 0 ? ct__fail(why, CT_STEP_CODE, result, CT__CODE_DIR) : 0;
}

/* 0: as it is. */
static int lower(const ct_claim *claim, ct__resource what, uint64_t value) {
    return value == 0 ? 0 : ct__limit_set(claim->pid, what, value);
}

static int set_limits(const ct_claim *claim, ct__failure *why) {
    int result = lower(claim, RLIMIT_NPROC, claim->processes);
    if (result < 0)
        return ct__fail(why, CT_STEP_LIMITS, result, "nproc");
    result = lower(claim, RLIMIT_AS, claim->address_space_bytes);
    return result < 0 ? ct__fail(why, CT_STEP_LIMITS, result, "as") : 0;
}

static bool is_dir(const char path[CT_PATH_BYTES]) {
    return strnlen(path, CT_PATH_BYTES) < CT_PATH_BYTES && ct__is_path(path);
}

int ct__claim(const ct_claim *claim, const ct__home *home, ct__failure *why) {
    char path[64];
    const bool has_layers = claim->layers_dir[0] != '\0', has_sockets = claim->sockets_dir[0] != '\0';
    if (claim->pid <= 0 || !is_dir(claim->code_dir) || (has_layers && !is_dir(claim->layers_dir)) ||
        (has_sockets && !is_dir(claim->sockets_dir)))
        return ct__fail(why, CT_STEP_REQUEST, CT_E_RANGE, NULL);
    if (home->mounts_fd < 0)
        return ct__fail(why, CT_STEP_CODE, -EPERM, "home");
    int result = ct__format(path, sizeof path, "/proc/%d/ns/mnt", (int)claim->pid);
    ct_autofd mounts = result < 0 ? result : open(path, O_RDONLY | O_CLOEXEC);
    if (mounts < 0)
        return ct__fail(why, CT_STEP_CODE, ct__errno(), path);
    ct_autofd tree = clone_tree(claim->code_dir, 0);
    if (tree < 0)
        return ct__fail(why, CT_STEP_SOURCE, tree, claim->code_dir);
    ct_autofd layers = has_layers ? clone_tree(claim->layers_dir, 0) : -1;
    if (has_layers && layers < 0)
        return ct__fail(why, CT_STEP_SOURCE, layers, claim->layers_dir);
    ct_autofd sockets = has_sockets ? clone_tree(claim->sockets_dir, MOUNT_ATTR_NOEXEC) : -1;
    if (has_sockets && sockets < 0)
        return ct__fail(why, CT_STEP_SOURCE, sockets, claim->sockets_dir);
    if ((result = set_limits(claim, why)) < 0)
        return result;
    if (setns(mounts, CLONE_NEWNS) != 0)
        return ct__fail(why, CT_STEP_CODE, ct__errno(), "setns");
    result = furnish(claim, layers, sockets, tree, why);
    return ct__home_return(home) < 0 ? ct__fail(why, CT_STEP_CODE, -ENOTRECOVERABLE, "home") : result;
}

void ct__home_fini(ct__home *home) {
    ct_drop_fd(&home->mounts_fd);
    ct_drop_fd(&home->root_fd);
}
