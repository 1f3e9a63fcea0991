/* Programs by number: run here as the kernel runs them, for every number. */
#define _GNU_SOURCE
#include "sandbox/filter.h"

#include "ct_test.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/syscall.h>

enum { ENDLESS = 2 };

static const uint32_t NO_CALL = SECCOMP_RET_ERRNO | ENOSYS;
static const uint32_t REFUSED = SECCOMP_RET_ERRNO | EPERM;

static ct__filter filter;
static ct__program program;

static uint32_t decide(const struct seccomp_data *data) {
    uint32_t value = 0;
    for (size_t at = 0, steps = 0; at < program.len && steps < program.len; steps++) {
        const struct sock_filter *one = &program.code[at++];
        switch (one->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&value, (const uint8_t *)data + one->k, sizeof value);
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += value >= one->k ? one->jt : one->jf;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += value == one->k ? one->jt : one->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            at += (value & one->k) != 0 ? one->jt : one->jf;
            break;
        case BPF_RET | BPF_K:
            return one->k;
        default:
            return ENDLESS;
        }
    }
    return ENDLESS;
}

static uint32_t verdict_of(uint32_t number, uint64_t argument) {
    return decide(&(struct seccomp_data){.nr = (int)number, .arch = seccomp_arch_native(), .args = {0, argument}});
}

static void start(void) {
    ct__filter_init(&filter, NO_CALL);
}

static void build(void) {
    free(program.code);
    program = (ct__program){0};
    CHECK_INT(ct__filter_build(&filter, &program), 0);
}

static void each_number_has_its_verdict(void) {
    start();
    for (uint32_t i = 0; i < CT__FILTER_CALLS; i++) /* ranges of all lengths, the last number among them */
        filter.verdicts[i] = (i * i / 7) % 3 == 0 ? SECCOMP_RET_ALLOW : (i / 5) % 2 == 0 ? REFUSED : NO_CALL;
    filter.verdicts[CT__FILTER_CALLS - 1] = SECCOMP_RET_ALLOW;
    free(program.code);
    program = (ct__program){0};
    CHECK_INT(ct__filter_build(&filter, &program), -E2BIG); /* more ranges than a jump can pass over */
    for (uint32_t i = 200; i < CT__FILTER_CALLS - 1; i++)
        filter.verdicts[i] = i < 600 ? REFUSED : NO_CALL;
    build();
    for (uint32_t i = 0; i < CT__FILTER_CALLS; i++)
        CHECK(verdict_of(i, 0) == filter.verdicts[i]);
    CHECK(verdict_of(CT__FILTER_CALLS, 0) == NO_CALL);
    CHECK(verdict_of(UINT32_MAX, 0) == NO_CALL);
}

static void an_argument_counts_with_all_its_bits(void) {
    static const ct__check check = {.arg = 1, .values = {2, 0xFFFFFFFF, 7}, .count = 3, .otherwise = SECCOMP_RET_ERRNO | EPERM};
    start();
    CHECK_INT(ct__filter_check(&filter, "socket", &check), 0);
    build();
    CHECK(verdict_of(SYS_socket, 2) == SECCOMP_RET_ALLOW);
    CHECK(verdict_of(SYS_socket, 7) == SECCOMP_RET_ALLOW);
    CHECK(verdict_of(SYS_socket, 0xFFFFFFFF) == SECCOMP_RET_ALLOW);
    CHECK(verdict_of(SYS_socket, 3) == REFUSED);
    CHECK(verdict_of(SYS_socket, UINT64_C(1) << 32 | 2) == REFUSED);
    CHECK(verdict_of(SYS_socket, UINT64_MAX) == REFUSED);
    CHECK(verdict_of(SYS_socket + 1, 2) == NO_CALL);
}

static void each_refused_bit_refuses(void) {
    static const ct__check check = {.arg = 1, .refused_bits = 0x20000080, .otherwise = SECCOMP_RET_ERRNO | EPERM};
    start();
    CHECK_INT(ct__filter_check(&filter, "clone", &check), 0);
    build();
    CHECK(verdict_of(SYS_clone, 17) == SECCOMP_RET_ALLOW);
    CHECK(verdict_of(SYS_clone, 0x80) == REFUSED);
    CHECK(verdict_of(SYS_clone, 0x20000000) == REFUSED);
    CHECK(verdict_of(SYS_clone, UINT64_MAX) == REFUSED);
    CHECK(verdict_of(SYS_clone, UINT64_C(0x20000080) << 32) == SECCOMP_RET_ALLOW); /* the kernel reads the lower half */
}

static void another_architecture_kills(void) {
    start();
    CHECK_INT(ct__filter_set(&filter, "read", SECCOMP_RET_ALLOW), 0);
    build();
    const struct seccomp_data other = {.nr = SYS_read, .arch = AUDIT_ARCH_ALPHA};
    CHECK(decide(&other) == SECCOMP_RET_KILL_PROCESS);
#ifdef __x86_64__
    CHECK(verdict_of(0x40000000U | SYS_read, 0) == SECCOMP_RET_KILL_PROCESS);
    CHECK(verdict_of(UINT32_MAX - 1, 0) == SECCOMP_RET_KILL_PROCESS);
#endif
}

static void what_can_not_be_said_is_an_error(void) {
    static const ct__check many = {.count = CT__FILTER_VALUES + 1};
    static const ct__check one = {.count = 1};
    start();
    CHECK_INT(ct__filter_set(&filter, "no such call", SECCOMP_RET_ALLOW), 0);
    CHECK_INT(ct__filter_set(&filter, "read", SECCOMP_RET_ALLOW), 0);
    CHECK_INT(ct__filter_set(&filter, "read", REFUSED), -EEXIST);
    CHECK_INT(ct__filter_check(&filter, "write", &many), -E2BIG);
    for (int i = 0; i < CT__FILTER_CHECKS; i++)
        CHECK_INT(ct__filter_check(&filter, "no such call", &one), 0);
    CHECK_INT(ct__filter_check(&filter, "write", &one), -E2BIG);
}

int main(void) {
    static const ct_case cases[] = {CASE(each_number_has_its_verdict), CASE(an_argument_counts_with_all_its_bits),
                                    CASE(each_refused_bit_refuses), CASE(another_architecture_kills),
                                    CASE(what_can_not_be_said_is_an_error)};
    const int result = RUN("filter", cases);
    free(program.code);
    return result;
}
