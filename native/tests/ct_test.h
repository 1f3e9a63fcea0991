/* Tests without a framework: each case is a function, each check prints both sides and the line when it fails. */
#ifndef CT_TEST_H
#define CT_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ct_case {
    const char *name;
    void (*run)(void);
} ct_case;

#define CASE(function) {#function, function}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CHECK_INT(got, want)                                                                                           \
    do {                                                                                                               \
        const long long got_ = (long long)(got);                                                                       \
        const long long want_ = (long long)(want);                                                                     \
        if (got_ != want_) {                                                                                           \
            (void)fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #got, got_, want_);             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CHECK_TEXT(got, want)                                                                                          \
    do {                                                                                                               \
        const char *got_ = (got);                                                                                      \
        const char *want_ = (want);                                                                                    \
        if (strcmp(got_, want_) != 0) {                                                                                \
            (void)fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #got, got_, want_);         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline int ct_run(const char *unit, const ct_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++)
        cases[i].run();
    (void)printf("%s: %zu passed\n", unit, count);
    return 0;
}

#define RUN(unit, cases) ct_run(unit, cases, sizeof(cases) / sizeof((cases)[0]))

#endif
