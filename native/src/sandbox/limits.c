#define _GNU_SOURCE
#include "sandbox/limits.h"

#include "base/err.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int ct__limit_set(pid_t pid, ct__resource what, uint64_t value) {
    struct rlimit now;
    if (prlimit(pid, what, NULL, &now) != 0)
        return ct__errno();
    const rlim_t wanted = now.rlim_max != RLIM_INFINITY && value > now.rlim_max ? now.rlim_max : (rlim_t)value;
    const struct rlimit both = {.rlim_cur = wanted, .rlim_max = wanted};
    return prlimit(pid, what, &both, NULL) != 0 ? ct__errno() : 0;
}

int ct__limits_apply(const ct_plan *plan, ct__failure *why) {
    const struct {
        ct__resource what;
        uint64_t value;
        bool is_set;
        const char *name;
    } all[] = {
        {RLIMIT_CORE, 0, true, "core"},
        {RLIMIT_RTPRIO, 0, true, "rtprio"},
        {RLIMIT_NICE, 0, true, "nice"},
        {RLIMIT_NOFILE, plan->open_files, plan->open_files != 0, "nofile"},
        {RLIMIT_NPROC, plan->processes, plan->processes != 0, "nproc"},
        {RLIMIT_FSIZE, plan->file_bytes, plan->file_bytes != 0, "fsize"},
        {RLIMIT_AS, plan->address_space_bytes, plan->address_space_bytes != 0, "as"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const int result = all[i].is_set ? ct__limit_set(0, all[i].what, all[i].value) : 0;
        if (result < 0)
            return ct__fail(why, CT_STEP_LIMITS, result, all[i].name);
    }
    return 0;
}

/* With these a change of uid grants nothing, uid 0 is nobody special, and neither can be undone. */
static const unsigned long SECURE = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

int ct__privileges_drop(uint64_t kept, ct__failure *why) {
    if (prctl(PR_SET_SECUREBITS, SECURE, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "securebits");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "ambient");
    for (unsigned long cap = 0; cap < 64; cap++) {
        if ((kept >> cap & 1) != 0 || prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
            continue;
        if (errno == EINVAL)
            break; /* past the last capability of this kernel */
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "bounding");
    }
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}, {0}};
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].effective = sets[i].permitted = (uint32_t)(kept >> 32 * i);
    if (syscall(SYS_capset, &head, sets) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "capset");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return ct__fail(why, CT_STEP_PRIVILEGES, ct__errno(), "no_new_privs");
    return 0;
}
