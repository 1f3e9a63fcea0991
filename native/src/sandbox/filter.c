#define _GNU_SOURCE
#include "sandbox/filter.h"

#include <endian.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

enum {
    INSTRUCTIONS_MAX = 2048,
    JUMP_MAX = 255,               /* what a conditional jump has room for */
    FIRST_VERDICT = 1 << 16,      /* below are the numbers of checks */
    OTHER_WAY = 0x40000000        /* x32 on x86_64: the same architecture by name, other calls by number */
};

typedef struct range {
    uint32_t first;
    uint32_t verdict;
} range;

typedef struct draft {
    const ct__filter *filter;
    range ranges[CT__FILTER_CALLS + 1];
    struct sock_filter code[INSTRUCTIONS_MAX];
    size_t len; /* counts on beyond the room there is */
} draft;

void ct__filter_init(ct__filter *filter, uint32_t otherwise) {
    *filter = (ct__filter){.otherwise = otherwise};
    for (size_t i = 0; i < CT__FILTER_CALLS; i++)
        filter->verdicts[i] = otherwise;
}

int ct__filter_set(ct__filter *filter, const char *name, uint32_t verdict) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number < 0 || number >= CT__FILTER_CALLS)
        return 0;
    if (filter->verdicts[number] != filter->otherwise)
        return -EEXIST;
    filter->verdicts[number] = verdict;
    return 0;
}

int ct__filter_check(ct__filter *filter, const char *name, const ct__check *check) {
    if (filter->check_count == CT__FILTER_CHECKS || check->count > CT__FILTER_VALUES)
        return -E2BIG;
    filter->checks[filter->check_count] = *check;
    return ct__filter_set(filter, name, (uint32_t)filter->check_count++);
}

static void put(draft *d, uint16_t code, uint32_t k, size_t jt, size_t jf) {
    if (d->len < INSTRUCTIONS_MAX)
        d->code[d->len] = (struct sock_filter){.code = code, .jt = (uint8_t)jt, .jf = (uint8_t)jf, .k = k};
    d->len++;
}

static void put_load(draft *d, size_t offset) {
    put(d, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void put_return(draft *d, uint32_t verdict) {
    put(d, BPF_RET | BPF_K, verdict, 0, 0);
}

/* The kernel's own byte order in each half, the halves in that order too. */
static size_t offset_of(unsigned arg, bool is_high) {
    const bool is_second = is_high == (__BYTE_ORDER == __LITTLE_ENDIAN);
    return offsetof(struct seccomp_data, args) + 8 * (size_t)arg + (is_second ? 4 : 0);
}

static void put_check(draft *d, const ct__check *check) {
    if (check->refused_bits != 0) {
        put_load(d, offset_of(check->arg, false));
        put(d, BPF_JMP | BPF_JSET | BPF_K, check->refused_bits, 1, 0);
    } else {
        put_load(d, offset_of(check->arg, true));
        put(d, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, check->count + 1); /* to the refusal */
        put_load(d, offset_of(check->arg, false));
        for (size_t i = 0; i < check->count; i++) /* to the permission */
            put(d, BPF_JMP | BPF_JEQ | BPF_K, check->values[i], check->count - i, 0);
        put_return(d, check->otherwise);
        put_return(d, SECCOMP_RET_ALLOW);
        return;
    }
    put_return(d, SECCOMP_RET_ALLOW);
    put_return(d, check->otherwise);
}

static int put_tree(draft *d, size_t from, size_t to) {
    if (to - from == 1) {
        const uint32_t verdict = d->ranges[from].verdict;
        if (verdict < FIRST_VERDICT)
            put_check(d, &d->filter->checks[verdict]);
        else
            put_return(d, verdict);
        return 0;
    }
    const size_t middle = from + (to - from) / 2;
    const size_t at = d->len;
    put(d, BPF_JMP | BPF_JGE | BPF_K, d->ranges[middle].first, 0, 0);
    int result = put_tree(d, from, middle);
    const size_t below = d->len - at - 1;
    if (result < 0 || below > JUMP_MAX || at >= INSTRUCTIONS_MAX)
        return result < 0 ? result : -E2BIG;
    d->code[at].jt = (uint8_t)below;
    return put_tree(d, middle, to);
}

static size_t find_ranges(draft *d) {
    const ct__filter *f = d->filter;
    size_t count = 0;
    for (uint32_t i = 0; i <= CT__FILTER_CALLS; i++) {
        const uint32_t verdict = i < CT__FILTER_CALLS ? f->verdicts[i] : f->otherwise;
        if (count == 0 || d->ranges[count - 1].verdict != verdict)
            d->ranges[count++] = (range){.first = i, .verdict = verdict};
    }
    return count;
}

static int write_code(draft *d) {
    put_load(d, offsetof(struct seccomp_data, arch));
    put(d, BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 1, 0);
    put_return(d, SECCOMP_RET_KILL_PROCESS);
    put_load(d, offsetof(struct seccomp_data, nr));
    if (seccomp_arch_native() == AUDIT_ARCH_X86_64) {
        put(d, BPF_JMP | BPF_JGE | BPF_K, OTHER_WAY, 0, 2);
        put(d, BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 1, 0); /* no call at all */
        put_return(d, SECCOMP_RET_KILL_PROCESS);
    }
    return put_tree(d, 0, find_ranges(d));
}

int ct__filter_build(const ct__filter *filter, ct__program *out) {
    draft *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->filter = filter;
    int result = write_code(d);
    if (result == 0 && d->len > INSTRUCTIONS_MAX)
        result = -E2BIG;
    struct sock_filter *code = result == 0 ? calloc(d->len, sizeof *code) : NULL;
    if (code != NULL) {
        memcpy(code, d->code, d->len * sizeof *code);
        *out = (ct__program){.len = (unsigned short)d->len, .code = code};
    } else if (result == 0) {
        result = -ENOMEM;
    }
    free(d);
    return result;
}
