/* What all functions of a tenant may in all, one rule a case; histories are the simulation's. */
#include "ct_test.h"
#include "table/state.h"

static const uint64_t SECOND = 1000000000;

static ct_table *table(void) {
    const ct_table_options made = {.idle_ttl_ns = 60 * SECOND, .recheck_ns = SECOND / 4, .max_functions = 3,
                                   .max_instances = 4, .max_boots = 2, .max_calls = 16, .max_buckets = 2,
                                   .max_identities = 2, .max_records = 3, .max_meters = 1};
    ct_table *t = ct_table_new(&made);
    CHECK(t != NULL);
    return t;
}

static uint64_t function_of(ct_table *t, const char *tenant, const char *name) {
    const ct_function_row row = {.tenant = (const uint8_t *)tenant, .tenant_len = (uint32_t)strlen(tenant),
                                 .space = (const uint8_t *)"n", .space_len = 1, .name = (const uint8_t *)name,
                                 .name_len = (uint32_t)strlen(name), .flags = CT_FUNCTION_KEPT,
                                 .max_payload_bytes = 100, .max_replicas = 2, .instance_concurrency = 1,
                                 .max_queue_depth = 100};
    uint64_t handle = 0;
    CHECK_INT(ct_function_put(t, &row, 0, &handle), 0);
    return handle;
}

static uint64_t limited(ct_table *t, const char *name, ct_tenant_row row) {
    uint64_t handle = 0;
    if (row.calls_until == 0)
        row.calls_until = UINT64_MAX;
    CHECK_INT(ct_tenant_put(t, (const uint8_t *)name, (uint32_t)strlen(name), &row, &handle), 0);
    return handle;
}

/* 0 and the call, or the code of the refusal. */
static uint32_t call(ct_table *t, uint64_t function, uint64_t now, uint64_t *out, ct_verdict *why) {
    uint64_t handle = 0;
    const int result = ct_admit(t, function, &(ct_ask){.taker = CT_TAKER_PYTHON}, now, &handle, why);
    CHECK(result == 0 || result == 1);
    if (out != NULL)
        *out = handle;
    CHECK_INT(ct_table_check(t), 0);
    return result == 0 ? 0 : why->code;
}

static void a_rate_is_shared_by_all_functions_of_a_tenant_and_by_no_other(void) {
    ct_table *t = table();
    const uint64_t f = function_of(t, "a", "f");
    const uint64_t g = function_of(t, "a", "g");
    const uint64_t other = function_of(t, "b", "f");
    (void)limited(t, "a", (ct_tenant_row){.calls_per_s = 2, .calls_burst = 3});
    ct_verdict why;
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, g, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, g, SECOND, NULL, &why), CT_STATUS_TENANT_RATE_LIMITED);
    CHECK_INT(why.limit, SECOND / 2);
    CHECK_INT(why.retry_after_s, 1);
    CHECK_INT(call(t, other, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, f, SECOND + SECOND / 2, NULL, &why), 0);
    CHECK_INT(call(t, f, SECOND + SECOND / 2, NULL, &why), CT_STATUS_TENANT_RATE_LIMITED);
    ct_table_free(t);
}

static void what_is_refused_by_others_takes_no_token(void) {
    ct_table *t = table();
    const uint64_t f = function_of(t, "a", "f");
    const uint64_t a = limited(t, "a", (ct_tenant_row){.calls_per_s = 1, .calls_burst = 1});
    ct_verdict why;
    uint64_t out = 0;
    CHECK_INT(ct_admit(t, f, &(ct_ask){.payload_bytes = 101}, SECOND, &out, &why), 1);
    CHECK_INT(why.code, CT_STATUS_PAYLOAD_TOO_LARGE);
    CHECK_INT(ct_check_job(t, f, &(ct_ask){.payload_bytes = 1}, 100, SECOND, &why), 0); /* a job is no call yet */
    ct_tenant_stats stats;
    CHECK_INT(ct_tenant_stats_get(t, a, &stats), 0);
    CHECK_INT(stats.calls, 0);
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    ct_table_free(t);
}

static void calls_in_hand_are_bounded_and_come_free_with_their_end(void) {
    ct_table *t = table();
    const uint64_t f = function_of(t, "a", "f");
    const uint64_t g = function_of(t, "a", "g");
    (void)limited(t, "a", (ct_tenant_row){.max_inflight = 2});
    ct_verdict why;
    uint64_t first = 0;
    CHECK_INT(call(t, f, SECOND, &first, &why), 0);
    CHECK_INT(call(t, g, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, g, SECOND, NULL, &why), CT_STATUS_TENANT_INFLIGHT_LIMIT);
    CHECK_INT(why.limit, 2);
    CHECK_INT(why.retry_after_s, 1);
    CHECK_INT(ct_call_end(t, first, CT_STATUS_CANCELLED, 0, SECOND), 0);
    CHECK_INT(call(t, g, SECOND, NULL, &why), 0);
    ct_table_free(t);
}

static void a_quota_ends_calls_and_jobs_until_there_is_more(void) {
    ct_table *t = table();
    const uint64_t f = function_of(t, "a", "f");
    ct_verdict why;
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0); /* counted before anybody told of the tenant */
    (void)limited(t, "a", (ct_tenant_row){.calls_until = 2, .quota_ends_ns = 11 * SECOND + 1});
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, f, SECOND, NULL, &why), CT_STATUS_QUOTA_EXCEEDED);
    CHECK_INT(why.retry_after_s, 11);
    CHECK_INT(ct_check_job(t, f, &(ct_ask){.payload_bytes = 1}, 100, SECOND, &why), 1);
    CHECK_INT(why.code, CT_STATUS_QUOTA_EXCEEDED);
    CHECK_INT(call(t, f, 12 * SECOND, NULL, &why), CT_STATUS_QUOTA_EXCEEDED); /* whoever keeps the count says when */
    CHECK_INT(why.retry_after_s, 1);
    (void)limited(t, "a", (ct_tenant_row){.calls_until = 3, .quota_ends_ns = 20 * SECOND});
    CHECK_INT(call(t, f, 12 * SECOND, NULL, &why), 0);
    CHECK_INT(call(t, f, 12 * SECOND, NULL, &why), CT_STATUS_QUOTA_EXCEEDED);
    ct_table_free(t);
}

static void messages_are_taken_out_of_a_bucket_all_or_none(void) {
    ct_table *t = table();
    const uint64_t a = limited(t, "a", (ct_tenant_row){.publishes_per_s = 2, .publishes_burst = 4});
    CHECK_INT(ct_tenant_publish(t, a, 5, SECOND), UINT64_MAX);
    CHECK_INT(ct_tenant_publish(t, a, UINT32_MAX, SECOND), UINT64_MAX);
    CHECK_INT(ct_tenant_publish(t, a, 3, SECOND), 0);
    CHECK_INT(ct_tenant_publish(t, a, 2, SECOND), SECOND / 2);
    CHECK_INT(ct_tenant_publish(t, a, 1, SECOND), 0);
    CHECK_INT(ct_tenant_publish(t, a, 4, 3 * SECOND), 0);
    (void)limited(t, "a", (ct_tenant_row){.calls_per_s = 1});
    CHECK_INT(ct_tenant_publish(t, a, 9, 3 * SECOND), 0);
    CHECK_INT(ct_tenant_drop(t, a), 0);
    CHECK_INT(ct_tenant_publish(t, a, 9, 3 * SECOND), 0);
    ct_table_free(t);
}

static void calls_are_listed_once_with_what_they_grew_to(void) {
    ct_table *t = table();
    const uint64_t f = function_of(t, "a", "f");
    const uint64_t a = limited(t, "a", (ct_tenant_row){.max_inflight = 0});
    (void)limited(t, "b", (ct_tenant_row){.max_inflight = 0});
    (void)function_of(t, "c", "f"); /* nobody told of it */
    ct_verdict why;
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0);
    ct_tenant_stats found[4];
    uint64_t cursor = 0;
    CHECK_INT(ct_tenant_stats_list(t, &cursor, found, 4), 1);
    CHECK_INT(found[0].tenant, a);
    CHECK_INT(found[0].calls, 2);
    CHECK_INT(found[0].inflight, 2);
    CHECK_INT(found[0].functions, 1);
    CHECK_INT(ct_tenant_stats_list(t, &cursor, found, 4), 0);
    cursor = 0;
    CHECK_INT(ct_tenant_stats_list(t, &cursor, found, 4), 0);
    ct_table_free(t);
}

static void a_tenant_stays_while_it_is_told_of_or_has_functions(void) {
    ct_table *t = table();
    const uint64_t a = limited(t, "a", (ct_tenant_row){.calls_per_s = 1, .calls_burst = 1});
    const uint64_t f = function_of(t, "a", "f");
    ct_verdict why;
    uint64_t c = 0;
    CHECK_INT(call(t, f, SECOND, &c, &why), 0);
    CHECK_INT(ct_tenant_drop(t, a), 0);
    CHECK_INT(call(t, f, SECOND, NULL, &why), 0); /* no limits any more */
    CHECK_INT(limited(t, "a", (ct_tenant_row){.calls_per_s = 1, .calls_burst = 1}), a);
    CHECK_INT(call(t, f, SECOND, NULL, &why), CT_STATUS_TENANT_RATE_LIMITED); /* the bucket was not forgotten */
    CHECK_INT(ct_tenant_drop(t, a), 0);
    CHECK_INT(ct_function_remove(t, f, SECOND), 0);
    ct_tenant_stats stats;
    CHECK_INT(ct_tenant_stats_get(t, a, &stats), 0); /* its calls are not over */
    CHECK_INT(stats.inflight, 2);
    const uint64_t b = limited(t, "b", (ct_tenant_row){.max_inflight = 1});
    CHECK_INT(ct_tenant_drop(t, b), 0);
    CHECK_INT(ct_tenant_stats_get(t, b, &stats), -ESTALE);
    CHECK_INT(ct_tenant_drop(t, b), -ESTALE);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void tenants_are_as_bounded_as_functions(void) {
    ct_table *t = table();
    for (const char *name = "abc"; *name != 0; name++) {
        uint64_t handle = 0;
        CHECK_INT(ct_tenant_put(t, (const uint8_t *)name, 1, &(ct_tenant_row){.calls_until = UINT64_MAX}, &handle), 0);
    }
    const ct_tenant_row row = {.calls_until = UINT64_MAX};
    uint64_t handle = 0;
    CHECK_INT(ct_tenant_put(t, (const uint8_t *)"d", 1, &row, &handle), CT_E_FULL);
    CHECK_INT(ct_tenant_put(t, (const uint8_t *)"d", CT_KEY_BYTES_MAX + 1, &row, &handle), CT_E_TOOBIG);
    const ct_function_row function = {.tenant = (const uint8_t *)"d", .tenant_len = 1, .max_replicas = 1,
                                      .instance_concurrency = 1};
    CHECK_INT(ct_function_put(t, &function, 0, &handle), CT_E_FULL);
    CHECK_INT(ct_table_check(t), 0);
    (void)function_of(t, "a", "f");
    ct_table_free(t);
}

/* A function of 100 MiB and half a core, and one call of it that must wait. */
static uint64_t heavy(ct_table *t, const char *name) {
    const uint64_t handle = function_of(t, "a", name);
    ct_function_row row = ct__function_at(t, handle)->row;
    row.memory_mb = 100;
    row.cpu_millis = 500;
    row.max_queue_wait_ns = 30 * SECOND;
    CHECK_INT(ct_function_update(t, handle, &row, 1, 0), 0);
    return handle;
}

static int lease(ct_table *t, uint64_t function, uint64_t now, uint64_t *out, ct_verdict *why) {
    ct_grant grant;
    CHECK_INT(call(t, function, now, out, why), 0);
    const int result = ct_lease(t, *out, now + 60 * SECOND, now, &grant, why);
    CHECK_INT(ct_table_check(t), 0);
    return result;
}

static uint64_t next_of(ct_table *t, uint32_t kind) {
    ct_effect effect;
    while (ct_effect_next(t, CT_TAKER_PYTHON, &effect) == 1)
        if (effect.kind == kind)
            return effect.member;
    return 0;
}

static void instances_are_as_many_as_the_tenant_has_memory_for(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f"), g = heavy(t, "g");
    const uint64_t tenant = limited(t, "a", (ct_tenant_row){.max_memory_mb = 199, .max_cpu_millis = 5000});
    ct_verdict why;
    uint64_t one, two;
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    const uint64_t of_f = next_of(t, CT_EFFECT_BOOT);
    CHECK_INT(ct_member_booted(t, of_f, SECOND), 0);
    CHECK_INT(lease(t, g, SECOND, &two, &why), CT_LEASE_WAITS);
    CHECK_INT(next_of(t, CT_EFFECT_BOOT), 0); /* its boot must wait: the other one is busy */
    ct_tenant_stats stats;
    CHECK_INT(ct_tenant_stats_get(t, tenant, &stats), 0);
    CHECK_INT(stats.memory_mb, 100);
    CHECK_INT(ct_call_end(t, one, CT_STATUS_OK, 0, 2 * SECOND), 0);
    CHECK_INT(ct_table_check(t), 0);
    CHECK_INT(next_of(t, CT_EFFECT_RETIRE), of_f); /* it is idle, and gives its place up */
    CHECK_INT(ct_member_gone(t, of_f, 2 * SECOND), 0);
    CHECK(next_of(t, CT_EFFECT_BOOT) != 0);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void who_waits_for_a_quota_in_vain_is_told_so(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f"), g = heavy(t, "g");
    (void)limited(t, "a", (ct_tenant_row){.max_cpu_millis = 999});
    ct_verdict why;
    uint64_t one, two, next_ns;
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    CHECK_INT(lease(t, g, SECOND, &two, &why), CT_LEASE_WAITS);
    CHECK_INT(ct_call_overdue(t, two, 31 * SECOND, &next_ns, &why), 1);
    CHECK_INT(why.code, CT_STATUS_QUOTA_EXCEEDED);
    CHECK_INT(why.detail, CT_DETAIL_CPU);
    (void)limited(t, "a", (ct_tenant_row){.max_memory_mb = 99});
    uint64_t three;
    CHECK_INT(lease(t, g, 32 * SECOND, &three, &why), CT_LEASE_REFUSED); /* it would wait for ever */
    CHECK_INT(why.detail, CT_DETAIL_MEMORY);
    ct_table_free(t);
}

static void a_limit_that_is_lowered_ends_what_is_idle_and_what_is_done(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f");
    ct_verdict why;
    uint64_t one, two;
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    const uint64_t first = next_of(t, CT_EFFECT_BOOT);
    CHECK_INT(lease(t, f, SECOND, &two, &why), CT_LEASE_WAITS);
    const uint64_t second = next_of(t, CT_EFFECT_BOOT);
    CHECK_INT(ct_member_booted(t, first, SECOND), 0);
    CHECK_INT(ct_member_booted(t, second, SECOND), 0);
    CHECK_INT(ct_call_end(t, one, CT_STATUS_OK, 0, SECOND), 0);
    (void)limited(t, "a", (ct_tenant_row){.max_memory_mb = 100});
    CHECK_INT(next_of(t, CT_EFFECT_RETIRE), first);
    (void)limited(t, "a", (ct_tenant_row){.max_memory_mb = 50});
    CHECK_INT(ct_table_check(t), 0);
    CHECK_INT(ct_call_end(t, two, CT_STATUS_OK, 0, 2 * SECOND), 0);
    CHECK_INT(next_of(t, CT_EFFECT_RETIRE), second);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static uint64_t memory_of(const ct_table *t, uint64_t tenant) {
    ct_tenant_stats stats;
    CHECK_INT(ct_tenant_stats_get(t, tenant, &stats), 0);
    return stats.memory_mb;
}

static void what_is_held_beside_instances_counts_with_them(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f");
    const uint64_t tenant = limited(t, "a", (ct_tenant_row){.max_memory_mb = 300, .max_cpu_millis = 1000});
    ct_verdict why;
    uint64_t one, two;
    CHECK_INT(ct_tenant_hold(t, tenant, 150, 500, 0, &why), CT_HOLD_TAKEN);
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    CHECK(next_of(t, CT_EFFECT_BOOT) != 0);
    CHECK_INT(memory_of(t, tenant), 250);
    CHECK_INT(lease(t, f, SECOND, &two, &why), CT_LEASE_WAITS);
    CHECK_INT(next_of(t, CT_EFFECT_BOOT), 0); /* there would be room beside one instance, not beside what is held too */
    CHECK_INT(ct_tenant_hold(t, tenant, 51, 0, 0, &why), CT_HOLD_REFUSED);
    CHECK_INT(why.code, CT_STATUS_QUOTA_EXCEEDED);
    CHECK_INT(why.detail, CT_DETAIL_MEMORY);
    CHECK_INT(why.limit, 300);
    CHECK_INT(ct_tenant_hold(t, tenant, 50, 1, 0, &why), CT_HOLD_REFUSED);
    CHECK_INT(why.detail, CT_DETAIL_CPU);
    CHECK_INT(why.limit, 1000);
    CHECK_INT(memory_of(t, tenant), 250); /* what is refused takes nothing */
    CHECK_INT(ct_tenant_hold(t, tenant, 50, 0, 0, &why), CT_HOLD_TAKEN);
    CHECK_INT(ct_table_check(t), 0);
    CHECK_INT(ct_tenant_unhold(t, tenant, 201, 0), -EINVAL);
    CHECK_INT(ct_tenant_unhold(t, tenant, 200, 501), -EINVAL);
    CHECK_INT(ct_tenant_unhold(t, tenant, 200, 500), 0);
    CHECK(next_of(t, CT_EFFECT_BOOT) != 0); /* who waited for room gets it */
    CHECK_INT(memory_of(t, tenant), 200);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void a_call_that_can_have_no_instance_beside_what_is_held_is_told_at_once(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f");
    const uint64_t tenant = limited(t, "a", (ct_tenant_row){.max_memory_mb = 300});
    ct_verdict why;
    uint64_t one;
    CHECK_INT(ct_tenant_hold(t, tenant, 201, 0, 0, &why), CT_HOLD_TAKEN);
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_REFUSED);
    CHECK_INT(why.code, CT_STATUS_QUOTA_EXCEEDED);
    CHECK_INT(why.detail, CT_DETAIL_MEMORY);
    CHECK_INT(ct_call_end(t, one, CT_STATUS_QUOTA_EXCEEDED, 0, SECOND), 0);
    CHECK_INT(ct_tenant_unhold(t, tenant, 201, 0), 0);
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    ct_table_free(t);
}

static void idle_instances_make_room_for_what_is_held(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t f = heavy(t, "f");
    const uint64_t tenant = limited(t, "a", (ct_tenant_row){.max_memory_mb = 200});
    ct_verdict why;
    uint64_t one, two;
    CHECK_INT(lease(t, f, SECOND, &one, &why), CT_LEASE_WAITS);
    const uint64_t first = next_of(t, CT_EFFECT_BOOT);
    CHECK_INT(ct_member_booted(t, first, SECOND), 0);
    CHECK_INT(ct_tenant_hold(t, tenant, 101, 0, 0, &why), CT_HOLD_REFUSED); /* it is busy */
    CHECK_INT(ct_call_end(t, one, CT_STATUS_OK, 0, SECOND), 0);
    CHECK_INT(ct_tenant_hold(t, tenant, 201, 0, 0, &why), CT_HOLD_REFUSED); /* that would not do, so nothing ends for it */
    CHECK_INT(next_of(t, CT_EFFECT_RETIRE), 0);
    CHECK_INT(ct_tenant_hold(t, tenant, 150, 0, 0, &why), CT_HOLD_WAITS);
    CHECK_INT(ct_tenant_hold_waits(t, tenant, 150, 0), CT_DETAIL_MEMORY);
    CHECK_INT(ct_tenant_hold_waits(t, tenant, 0, 1), 0); /* of CPU there is any amount */
    CHECK_INT(next_of(t, CT_EFFECT_RETIRE), first);
    CHECK_INT(ct_table_check(t), 0);
    CHECK_INT(lease(t, f, SECOND, &two, &why), CT_LEASE_WAITS); /* the place that comes free is not its */
    CHECK_INT(ct_member_gone(t, first, SECOND), 0);
    CHECK_INT(next_of(t, CT_EFFECT_BOOT), 0);
    CHECK_INT(ct_tenant_hold_waits(t, tenant, 150, 0), 0);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void what_is_there_already_is_held_whatever_the_limits_are(void) {
    ct_table *t = table();
    ct_table_open(t, 1, 0);
    const uint64_t tenant = limited(t, "a", (ct_tenant_row){.max_memory_mb = 100, .max_cpu_millis = 100});
    ct_verdict why;
    CHECK_INT(ct_tenant_hold(t, tenant, 500, 0, 1, &why), CT_HOLD_WAITS);
    CHECK_INT(memory_of(t, tenant), 500);
    CHECK_INT(ct_tenant_hold(t, tenant, 1, 0, 0, &why), CT_HOLD_REFUSED);
    CHECK_INT(ct_tenant_hold(t, tenant, 0, 100, 0, &why), CT_HOLD_TAKEN); /* of CPU there is enough */
    CHECK_INT(ct_tenant_drop(t, tenant), 0);
    CHECK_INT(memory_of(t, tenant), 500); /* it stays for what it holds */
    CHECK_INT(ct_table_check(t), 0);
    CHECK_INT(limited(t, "a", (ct_tenant_row){.max_memory_mb = 600}), tenant);
    CHECK_INT(ct_tenant_hold_waits(t, tenant, 500, 0), 0);
    CHECK_INT(ct_tenant_drop(t, tenant), 0);
    CHECK_INT(ct_tenant_unhold(t, tenant, 500, 0), 0);
    CHECK_INT(ct_tenant_unhold(t, tenant, 0, 100), 0);
    CHECK_INT(ct_tenant_unhold(t, tenant, 0, 0), -ESTALE);
    CHECK_INT(ct_tenant_hold(t, tenant, 1, 1, 0, &why), -ESTALE);
    CHECK_INT(ct_tenant_hold_waits(t, tenant, 1, 1), -ESTALE);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_rate_is_shared_by_all_functions_of_a_tenant_and_by_no_other),
        CASE(what_is_refused_by_others_takes_no_token),
        CASE(calls_in_hand_are_bounded_and_come_free_with_their_end),
        CASE(a_quota_ends_calls_and_jobs_until_there_is_more),
        CASE(messages_are_taken_out_of_a_bucket_all_or_none),
        CASE(calls_are_listed_once_with_what_they_grew_to),
        CASE(a_tenant_stays_while_it_is_told_of_or_has_functions),
        CASE(tenants_are_as_bounded_as_functions),
        CASE(instances_are_as_many_as_the_tenant_has_memory_for),
        CASE(who_waits_for_a_quota_in_vain_is_told_so),
        CASE(a_limit_that_is_lowered_ends_what_is_idle_and_what_is_done),
        CASE(what_is_held_beside_instances_counts_with_them),
        CASE(a_call_that_can_have_no_instance_beside_what_is_held_is_told_at_once),
        CASE(idle_instances_make_room_for_what_is_held),
        CASE(what_is_there_already_is_held_whatever_the_limits_are),
    };
    return RUN("tenants", cases);
}
