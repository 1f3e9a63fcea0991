/* A breaker of its own: the windows, rests and probes are those of a function's, of which tests/native has a model. */
#include "base/abi.h"
#include "ct_test.h"

#define SECONDS(count) ((uint64_t)(count) * 1000000000U)

static const ct_breaker_rule RULE = {
    .window_ns = SECONDS(10), .open_ns = SECONDS(5), .error_percent = 50, .min_samples = 4, .probes = 2};

static ct_breaker *breaker(void) {
    ct_breaker *b = NULL;
    CHECK_INT(ct_breaker_new(&RULE, &b), 0);
    return b;
}

static void call(ct_breaker *b, uint32_t status, uint64_t now_ns) {
    ct_breaker_pass pass;
    CHECK_INT(ct_breaker_admit(b, now_ns, &pass), 0);
    ct_breaker_end(b, &pass, status, now_ns);
}

static ct_breaker_stats stats(const ct_breaker *b, uint64_t now_ns) {
    ct_breaker_stats out;
    ct_breaker_stats_get(b, now_ns, &out);
    return out;
}

static ct_breaker *opened_at(uint64_t now_ns) {
    ct_breaker *b = breaker();
    for (int i = 0; i < 4; i++)
        call(b, CT_STATUS_FUNCTION_ERROR, now_ns);
    CHECK_INT(stats(b, now_ns).state, CT_BREAKER_OPEN);
    return b;
}

static void it_opens_when_enough_of_a_window_failed(void) {
    ct_breaker *b = breaker();
    call(b, CT_STATUS_OK, 1);
    call(b, CT_STATUS_FUNCTION_ERROR, 1);
    call(b, CT_STATUS_QUEUE_FULL, 1); /* says nothing */
    call(b, CT_STATUS_TIMEOUT, 2);
    CHECK_INT(stats(b, 2).state, CT_BREAKER_CLOSED);
    CHECK(stats(b, 2).good == 1 && stats(b, 2).bad == 2);
    CHECK(stats(b, SECONDS(11)).bad == 0); /* they have left the window */
    call(b, CT_STATUS_OUTPUT_INVALID, 3);
    const ct_breaker_stats open = stats(b, 3);
    CHECK_INT(open.state, CT_BREAKER_OPEN);
    CHECK(open.left_ns == RULE.open_ns && open.opened == 1 && open.good == 0 && open.bad == 0);
    ct_breaker_pass pass;
    CHECK_INT(ct_breaker_admit(b, 3 + SECONDS(1), &pass), 1);
    CHECK(pass.left_ns == SECONDS(4));
    ct_breaker_free(b);
}

static void probes_close_it_or_open_it_anew(void) {
    ct_breaker *b = opened_at(0);
    const uint64_t rested_ns = SECONDS(5);
    ct_breaker_pass first, second, third;
    CHECK_INT(ct_breaker_admit(b, rested_ns, &first), 0);
    CHECK_INT(ct_breaker_admit(b, rested_ns, &second), 0);
    CHECK_INT(ct_breaker_admit(b, rested_ns, &third), 1);
    CHECK(first.is_probe && second.is_probe && third.left_ns == 0);
    CHECK(stats(b, rested_ns).state == CT_BREAKER_HALF_OPEN && stats(b, rested_ns).probes == 2);
    ct_breaker_end(b, &first, CT_STATUS_CANCELLED, rested_ns); /* gives its place back */
    CHECK_INT(ct_breaker_admit(b, rested_ns, &third), 0);
    ct_breaker_end(b, &third, CT_STATUS_INSTANCE_DIED, rested_ns);
    CHECK(stats(b, rested_ns).state == CT_BREAKER_OPEN && stats(b, rested_ns).opened == 2);
    ct_breaker_end(b, &second, CT_STATUS_OK, rested_ns); /* too late: of an epoch that is over */
    CHECK_INT(stats(b, rested_ns).state, CT_BREAKER_OPEN);
    call(b, CT_STATUS_OK, 2 * rested_ns);
    CHECK_INT(stats(b, 2 * rested_ns).state, CT_BREAKER_CLOSED);
    ct_breaker_free(b);
}

static void a_rule_out_of_range_makes_none(void) {
    ct_breaker *b = NULL;
    ct_breaker_rule rule = RULE;
    rule.error_percent = 101;
    CHECK_INT(ct_breaker_new(&rule, &b), CT_E_RANGE);
    rule.error_percent = 1;
    rule.probes = 0;
    CHECK_INT(ct_breaker_new(&rule, &b), CT_E_RANGE);
    rule.probes = 1;
    rule.window_ns = 9;
    CHECK_INT(ct_breaker_new(&rule, &b), CT_E_RANGE);
    CHECK(b == NULL);
}

static void one_that_never_opens_counts_nothing(void) {
    const ct_breaker_rule rule = {.error_percent = 0};
    ct_breaker *b = NULL;
    CHECK_INT(ct_breaker_new(&rule, &b), 0);
    for (int i = 0; i < 100; i++)
        call(b, CT_STATUS_FUNCTION_ERROR, 1);
    CHECK(stats(b, 1).state == CT_BREAKER_CLOSED && stats(b, 1).bad == 0);
    ct_breaker_free(b);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(it_opens_when_enough_of_a_window_failed),
        CASE(probes_close_it_or_open_it_anew),
        CASE(a_rule_out_of_range_makes_none),
        CASE(one_that_never_opens_counts_nothing),
    };
    return RUN("breaker", cases);
}
