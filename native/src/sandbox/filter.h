/* A seccomp program that decides by the number of a call: a tree over ranges of numbers with the same verdict, which is
 * a third of what a rule a number takes (measured: 490 instructions, and 180 us to load; every sandbox loads one). */
#ifndef CT_SANDBOX_FILTER_H
#define CT_SANDBOX_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CT__FILTER_CALLS = 1024, /* numbers from here on have the verdict for what is not listed */
    CT__FILTER_CHECKS = 8,
    CT__FILTER_VALUES = 4
};

typedef struct ct__program {
    unsigned short len;
    struct sock_filter *code;
} ct__program;

/* What an argument must be, all its 64 bits; or which of its lower 32 bits must not be set. */
typedef struct ct__check {
    unsigned arg;
    uint32_t refused_bits; /* 0: it must be one of the values */
    uint32_t values[CT__FILTER_VALUES];
    size_t count;
    uint32_t otherwise; /* SECCOMP_RET_... */
} ct__check;

typedef struct ct__filter {
    uint32_t verdicts[CT__FILTER_CALLS]; /* SECCOMP_RET_..., or a check's number, which is below every one of those */
    ct__check checks[CT__FILTER_CHECKS];
    size_t check_count;
    uint32_t otherwise;
} ct__filter;

void ct__filter_init(ct__filter *filter, uint32_t otherwise);

/* Sets the verdict of a call by its name. Names that this architecture, or libseccomp, does not know keep the verdict for
 * what is not listed. -EEXIST when it has one. */
int ct__filter_set(ct__filter *filter, const char *name, uint32_t verdict);

/* Lets a call pass that stands the check. */
int ct__filter_check(ct__filter *filter, const char *name, const ct__check *check);

/* Returns 0 with a program whose code is to be freed, or -errno. A call that comes by another architecture's way kills. */
int ct__filter_build(const ct__filter *filter, ct__program *out);

#endif
