#define _GNU_SOURCE
#include "sandbox/userns.h"

#include "base/err.h"
#include "base/sysx.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int write_map(pid_t child, const char *file, const char *text, ct__failure *why) {
    char path[64];
    int result = ct__format(path, sizeof path, "/proc/%d/%s", (int)child, file);
    if (result == 0)
        result = ct__write_file(path, text);
    return result < 0 ? ct__fail(why, CT_STEP_IDMAP, result, file) : 0;
}

static int write_ids(pid_t child, const char *file, uint32_t inside, uint32_t host, ct__failure *why) {
    char text[64];
    const int result = ct__format(text, sizeof text, "%u %u 1\n", inside, host);
    return result < 0 ? ct__fail(why, CT_STEP_IDMAP, result, file) : write_map(child, file, text, why);
}

int ct__userns_map(pid_t child, const ct_plan *plan, bool is_privileged, ct__failure *why) {
    int result = 0;
    if (!is_privileged)
        result = write_map(child, "setgroups", "deny", why);
    if (result == 0)
        result = write_ids(child, "gid_map", plan->inside_gid, plan->host_gid, why);
    if (result == 0)
        result = write_ids(child, "uid_map", plan->inside_uid, plan->host_uid, why);
    return result;
}

int ct__userns_become(const ct_plan *plan, bool is_privileged, ct__failure *why) {
    if (is_privileged && setgroups(0, NULL) != 0)
        return ct__fail(why, CT_STEP_IDENTITY, ct__errno(), "groups");
    if (setresgid(plan->inside_gid, plan->inside_gid, plan->inside_gid) != 0)
        return ct__fail(why, CT_STEP_IDENTITY, ct__errno(), "gid");
    if (setresuid(plan->inside_uid, plan->inside_uid, plan->inside_uid) != 0)
        return ct__fail(why, CT_STEP_IDENTITY, ct__errno(), "uid");
    return 0;
}

/* What a fork server needs to furnish a sandbox of its own (claim.c): its powers end with its namespaces. */
static int keep_across_exec(ct__failure *why) {
    static const unsigned long kept[] = {CAP_SYS_ADMIN, CAP_SYS_CHROOT};
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}, {0}};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const uint32_t bit = UINT32_C(1) << kept[i]; /* both lie in the first word */
        sets[0].effective |= bit;
        sets[0].permitted |= bit;
        sets[0].inheritable |= bit;
    }
    if (syscall(SYS_capset, &head, sets) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "capset");
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) != 0)
            return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "ambient");
    return 0;
}

int ct__userns_confine(ct__failure *why) {
    const uint32_t uid = geteuid();
    const uint32_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0)
        return ct__fail(why, CT_STEP_CLONE, ct__errno(), NULL);
    int result = write_map(getpid(), "setgroups", "deny", why);
    if (result == 0)
        result = write_ids(getpid(), "gid_map", gid, gid, why);
    if (result == 0)
        result = write_ids(getpid(), "uid_map", uid, uid, why);
    if (result < 0)
        return result;
    result = ct__mount_restrict_all("/", MOUNT_ATTR_RDONLY);
    if (result == 0) /* where the children's ids are mapped */
        result = ct__mount_release("/proc", MOUNT_ATTR_RDONLY);
    return result < 0 ? ct__fail(why, CT_STEP_ROOT, result, "read-only") : keep_across_exec(why);
}
