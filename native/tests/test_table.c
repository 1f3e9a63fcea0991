/* The table's units, one rule a case; histories are the simulation's. */
#include "ct_test.h"
#include "table/state.h"

static uint32_t fails_in; /* allocations until one fails; 0: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);

static bool is_to_fail(void) {
    return fails_in > 0 && --fails_in == 0;
}

void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
    return is_to_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return is_to_fail() ? NULL : __real_calloc(count, size);
}

static const uint64_t SECOND = 1000000000;
static const uint64_t BOUNDS[] = {1000, 1000000};

static ct_table_options options(void) {
    return (ct_table_options){.idle_ttl_ns = 60 * SECOND, .recheck_ns = SECOND / 4, .max_functions = 4,
                              .max_instances = 4, .max_boots = 2, .max_calls = 8, .max_buckets = 2,
                              .max_identities = 2, .max_records = 3, .max_meters = 2, .bucket_count = 2,
                              .bucket_ns = BOUNDS};
}

static ct_table *table(void) {
    const ct_table_options made = options();
    ct_table *t = ct_table_new(&made);
    CHECK(t != NULL);
    ct_table_open(t, 1, 0);
    return t;
}

static ct_function_row row(const char *name) {
    return (ct_function_row){.tenant = (const uint8_t *)"t", .tenant_len = 1, .space = (const uint8_t *)"n",
                             .space_len = 1, .name = (const uint8_t *)name, .name_len = (uint32_t)strlen(name),
                             .flags = CT_FUNCTION_KEPT, .version = 7, .max_payload_bytes = 100,
                             .max_queue_wait_ns = 30 * SECOND, .max_replicas = 2, .instance_concurrency = 1,
                             .max_queue_depth = 100, .shed_status = 429, .retry_after_s = 3, .meter = 1};
}

static uint64_t put(ct_table *t, const ct_function_row *r) {
    uint64_t handle = 0;
    CHECK_INT(ct_function_put(t, r, 0, &handle), 0);
    return handle;
}

static uint64_t find(const ct_table *t, const char *name) {
    return ct_function_find(t, (const uint8_t *)"t", 1, (const uint8_t *)"n", 1, (const uint8_t *)name,
                            (uint32_t)strlen(name));
}

static uint64_t admit(ct_table *t, uint64_t function, uint64_t now) {
    uint64_t call = 0;
    ct_verdict verdict;
    CHECK_INT(ct_admit(t, function, &(ct_ask){.owner = 99}, now, &call, &verdict), 0);
    return call;
}

static ct_effect effect(ct_table *t, uint32_t kind) {
    ct_effect e;
    CHECK_INT(ct_effect_next(t, CT_TAKER_PYTHON, &e), 1);
    CHECK_INT(e.kind, kind);
    return e;
}

static uint64_t booted(ct_table *t) {
    const uint64_t member = effect(t, CT_EFFECT_BOOT).member;
    CHECK_INT(ct_member_booted(t, member, 5), 0);
    return member;
}

static int lease(ct_table *t, uint64_t call, uint64_t now, ct_grant *grant) {
    ct_verdict verdict;
    return ct_lease(t, call, UINT64_MAX, now, grant, &verdict);
}

static void a_call_waits_for_its_boot_and_the_next_finds_it_warm(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    const uint64_t first = admit(t, f, 1);
    ct_grant grant;
    CHECK_INT(lease(t, first, 1, &grant), CT_LEASE_WAITS);
    const uint64_t member = booted(t);
    CHECK_INT(ct_member_set_link(t, member, 4711), 0);
    const ct_effect e = effect(t, CT_EFFECT_GRANT);
    CHECK(e.call == first && e.member == member && e.owner == 99);
    CHECK(e.grant.is_cold && e.grant.waited_ns == 4 && e.grant.version == 7 && e.grant.link == 4711);
    CHECK_INT(ct_call_end(t, first, CT_STATUS_OK, 0, 2001), 0);
    CHECK_INT(ct_call_end(t, first, CT_STATUS_OK, 0, 2001), -ESTALE);
    const uint64_t second = admit(t, f, 3000);
    CHECK_INT(lease(t, second, 3000, &grant), CT_LEASE_GRANTED);
    CHECK(grant.member == member && grant.link == 4711 && !grant.is_cold);
    CHECK_INT(ct_call_end(t, second, CT_STATUS_FUNCTION_ERROR, 0, 3500), 0);
    ct_meter meter;
    CHECK_INT(ct_meter_get(t, 1, &meter), 0);
    CHECK(meter.statuses[CT_STATUS_OK] == 1 && meter.statuses[CT_STATUS_FUNCTION_ERROR] == 1);
    CHECK(meter.buckets[0] == 1 && meter.buckets[1] == 1 && meter.duration_ns == 2500 && meter.cold_starts == 1);
    ct_totals totals;
    ct_totals_get(t, &totals);
    CHECK(totals.calls == 2 && totals.wait_ns == 4 && totals.wait_buckets[0] == 1);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void the_member_that_served_last_serves_next(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    const uint64_t a = admit(t, f, 1);
    const uint64_t b = admit(t, f, 1);
    ct_grant grant;
    CHECK_INT(lease(t, a, 1, &grant), CT_LEASE_WAITS);
    CHECK_INT(lease(t, b, 1, &grant), CT_LEASE_WAITS);
    const uint64_t first = effect(t, CT_EFFECT_BOOT).member;
    const uint64_t second = effect(t, CT_EFFECT_BOOT).member;
    CHECK_INT(ct_member_booted(t, second, 2), 0);
    CHECK_INT(ct_member_booted(t, first, 2), 0);
    CHECK(effect(t, CT_EFFECT_GRANT).member == second); /* the first that is ready serves the oldest */
    CHECK(effect(t, CT_EFFECT_GRANT).member == first);
    CHECK_INT(ct_call_end(t, b, CT_STATUS_OK, 0, 3), 0);
    CHECK_INT(ct_call_end(t, a, CT_STATUS_OK, 0, 4), 0);
    const uint64_t c = admit(t, f, 5);
    CHECK_INT(lease(t, c, 5, &grant), CT_LEASE_GRANTED);
    CHECK(grant.member == second);
    ct_table_free(t);
}

static void a_handle_never_means_another_thing(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    uint64_t before = 0;
    for (int i = 0; i < 1000; i++) {
        const uint64_t call = admit(t, f, 1);
        CHECK(call > before);
        CHECK_INT(ct__handle_index(call), 0);
        CHECK_INT(ct_call_end(t, call, CT_STATUS_CANCELLED, 0, 1), 0);
        CHECK_INT(ct_call_end(t, before, CT_STATUS_CANCELLED, 0, 1), -ESTALE);
        before = call;
    }
    ct_grant grant;
    ct_verdict verdict;
    uint64_t next;
    CHECK_INT(ct_lease(t, 0, 0, 0, &grant, &verdict), -ESTALE);
    CHECK_INT(ct_call_overdue(t, UINT64_MAX, 0, &next, &verdict), -ESTALE);
    CHECK_INT(ct_call_return(t, before, 0), -ESTALE);
    CHECK_INT(ct_member_booted(t, 5, 0), -ESTALE);
    CHECK_INT(ct_member_boot_failed(t, 5, CT_STATUS_OTHER, 0), -ESTALE);
    CHECK_INT(ct_member_died(t, 5, 0), -ESTALE);
    CHECK_INT(ct_member_gone(t, 5, 0), -ESTALE);
    CHECK_INT(ct_member_set_link(t, 5, 0), -ESTALE);
    CHECK_INT(ct_function_update(t, 5, &r, 1, 0), -ESTALE);
    CHECK_INT(ct_function_remove(t, 5, 0), -ESTALE);
    ct_table_free(t);
}

static void a_name_belongs_to_its_newest_function(void) {
    ct_table *t = table();
    ct_function_row r = row("f");
    const uint64_t old = put(t, &r);
    CHECK(find(t, "f") == old && find(t, "g") == 0);
    const uint64_t young = put(t, &r);
    CHECK(find(t, "f") == young);
    CHECK_INT(ct_function_remove(t, old, 0), 0);
    CHECK(find(t, "f") == young);
    CHECK(effect(t, CT_EFFECT_DROP).function == old);
    r.flags = 0; /* not kept any more, and nothing is left of it */
    CHECK_INT(ct_function_update(t, young, &r, 1, 0), 0);
    CHECK(find(t, "f") == 0);
    r.flags = CT_FUNCTION_KEPT; /* kept again before anybody dropped it */
    CHECK_INT(ct_function_update(t, young, &r, 1, 0), 0);
    CHECK(find(t, "f") == young);
    CHECK_INT(ct_effect_waits(t, CT_TAKER_PYTHON), 0);
    const ct_function_row others[] = {row("a"), row("b"), row("c")};
    for (int i = 0; i < 3; i++)
        (void)put(t, &others[i]);
    uint64_t handle;
    CHECK_INT(ct_function_put(t, &r, 0, &handle), CT_E_FULL);
    r.instance_concurrency = 0;
    CHECK_INT(ct_function_put(t, &r, 0, &handle), CT_E_RANGE);
    r.name_len = CT_KEY_BYTES_MAX + 1;
    CHECK_INT(ct_function_put(t, &r, 0, &handle), CT_E_TOOBIG);
    CHECK_INT(ct_table_check(t), 0);
    ct_table_free(t);
}

static void a_refusal_is_kept_as_it_was_said(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    ct__refusal said;
    CHECK_INT(ct__function_refusal(t, f, CT_STATUS_RECURSION, CT_DETAIL_CYCLE, &said), 0);
    const uint8_t *text = (const uint8_t *)"no{}";
    CHECK_INT(ct_function_set_refusal(t, f, CT_STATUS_RECURSION, 0, 8, text, 2, text + 2, 2), 0);
    CHECK_INT(ct__function_refusal(t, f, CT_STATUS_RECURSION, CT_DETAIL_CYCLE, &said), 1);
    CHECK(said.grpc_status == 8 && memcmp(said.message, "no", 2) == 0 && memcmp(said.problem, "{}", 2) == 0);
    CHECK_INT(ct_function_set_refusal(t, f, CT_STATUS_RECURSION, CT_DETAIL_CYCLE, 9, text, 2, NULL, 0), 0);
    CHECK_INT(ct__function_refusal(t, f, CT_STATUS_RECURSION, CT_DETAIL_CYCLE, &said), 1);
    CHECK(said.grpc_status == 9 && said.problem_len == 0);
    CHECK_INT(ct_function_set_refusal(t, f, CT_STATUS_RECURSION, 0, 0, NULL, 0, NULL, 0), 0);
    CHECK_INT(ct__function_refusal(t, f, CT_STATUS_RECURSION, 0, &said), 0);
    CHECK_INT(ct_function_set_refusal(t, f, CT_STATUS_MAX, 0, 0, text, 1, NULL, 0), CT_E_RANGE);
    CHECK_INT(ct_function_set_refusal(t, f, 1, 0, 0, text, CT_REFUSAL_BYTES_MAX + 1, NULL, 0), CT_E_TOOBIG);
    CHECK_INT(ct_function_set_refusal(t, 0, 1, 0, 0, text, 1, NULL, 0), -ESTALE);
    ct_table_free(t);
}

static uint64_t left(ct__buckets *b, const char *subject, double rate, uint32_t burst, uint64_t now) {
    const ct_ask ask = {.rate_per_s = rate, .burst = burst, .tenant = (const uint8_t *)"t", .tenant_len = 1,
                        .subject = (const uint8_t *)subject, .subject_len = (uint32_t)strlen(subject)};
    return ct__bucket_take(b, &ask, now);
}

static void a_bucket_gives_its_burst_and_then_its_rate(void) {
    ct__buckets *b = ct__buckets_new(2, 1);
    CHECK(b != NULL);
    for (int i = 0; i < 3; i++)
        CHECK_INT(left(b, "a", 2.0, 3, 1000), 0);
    CHECK_INT(left(b, "a", 2.0, 3, 1000), SECOND / 2);
    CHECK_INT(left(b, "a", 2.0, 3, 1000 + SECOND / 2), 0);
    CHECK_INT(left(b, "a", 2.0, 3, 1000 + SECOND / 2), SECOND / 2);
    CHECK_INT(left(b, "b", 0.5, 0, 1000), 0); /* one second's worth is less than one call: one */
    CHECK_INT(left(b, "b", 0.5, 0, 1000), 2 * SECOND);
    CHECK_INT(left(b, "c", 1.0, 0, 2000), 0); /* "a" was used longest ago, so it is forgotten */
    CHECK_INT(left(b, "b", 0.5, 0, 2000), 2 * SECOND - 1000);
    CHECK_INT(left(b, "a", 2.0, 3, 2000), 0);
    CHECK_INT(ct__buckets_check(b), 0);
    CHECK_INT(left(b, "d", 1e-300, 4000000000u, 1), 0); /* no sum runs over */
    CHECK_INT(left(b, "d", 1e300, 0, UINT64_MAX / 4), 0);
    CHECK_INT(left(b, "d", 1e-300, 1, UINT64_MAX / 4), 1); /* until what was taken at the other rate is back */
    ct__buckets_free(b);
}

static void identities_are_known_by_their_bytes_and_the_oldest_goes(void) {
    ct_table *t = table();
    ct_identity found;
    const ct_identity one = {.tenant = (const uint8_t *)"acme", .tenant_len = 4, .space = (const uint8_t *)"prod",
                             .space_len = 4, .subject = (const uint8_t *)"apikey:ci", .subject_len = 9, .may_invoke = 1,
                             .expires_at_s = 100, .rate_per_s = 2.5, .burst = 4};
    const uint8_t *tokens[] = {(const uint8_t *)"one", (const uint8_t *)"two", (const uint8_t *)"six"};
    for (int i = 0; i < 2; i++)
        CHECK_INT(ct_identity_put(t, tokens[i], 3, &one), 0);
    CHECK_INT(ct_identity_put(t, tokens[1], 3, &one), 0); /* again: no second place */
    CHECK_INT(ct_identity_find(t, tokens[0], 3, 99, &found), 1);
    CHECK(found.tenant_len == 4 && memcmp(found.tenant, "acme", 4) == 0 && memcmp(found.subject, "apikey:ci", 9) == 0);
    CHECK(found.may_invoke == 1 && found.burst == 4);
    CHECK_INT(ct_identity_find(t, tokens[0], 3, 100, &found), 0); /* its time is over */
    CHECK_INT(ct_identity_find(t, tokens[0], 2, 1, &found), 0);
    CHECK_INT(ct_identity_put(t, tokens[2], 3, &one), 0);
    CHECK_INT(ct_identity_find(t, tokens[0], 3, 1, &found), 0);
    CHECK_INT(ct_identity_find(t, tokens[1], 3, 1, &found), 1);
    CHECK_INT(ct_identity_put(t, tokens[0], 0, &one), CT_E_TOOBIG);
    CHECK_INT(ct_identity_put(t, tokens[0], CT_TOKEN_BYTES_MAX + 1, &one), CT_E_TOOBIG);
    ct_identity_clear(t);
    CHECK_INT(ct_identity_find(t, tokens[2], 3, 1, &found), 0);
    ct_table_free(t);
}

static void records_are_bounded_and_hold_their_function(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    ct_record made = {.function = f, .log = (const uint8_t *)"printed", .log_len = 7, .error = (const uint8_t *)"{}",
                      .error_len = 2};
    CHECK_INT(ct_record_append(t, &made), 0);
    const ct_record *const first = ct__record_at(t, 0);
    ct_record_forget(t, 1);
    for (int i = 0; i < 4; i++) {
        made.status = (uint32_t)i;
        CHECK_INT(ct_record_append(t, &made), i < 3 ? 0 : CT_E_FULL);
    }
    CHECK(ct__record_at(t, 0) == first); /* the place that was free all along, not the next of many */
    CHECK_INT(ct_record_dropped(t), 1 + 1);
    CHECK_INT(ct_function_remove(t, f, 0), 0);
    CHECK_INT(ct_effect_waits(t, CT_TAKER_PYTHON), 0); /* its name is still needed */
    const ct_record *second = ct__record_at(t, 1);
    CHECK(second->status == 1 && memcmp(second->log, "printed", 7) == 0 && memcmp(second->error, "{}", 2) == 0);
    ct_record_forget(t, 2);
    CHECK_INT(ct_record_count(t), 1);
    CHECK_INT(ct__record_at(t, 0)->status, 2);
    CHECK(ct__record_at(t, 1) == NULL);
    CHECK_INT(ct_effect_waits(t, CT_TAKER_PYTHON), 0);
    ct_record_forget(t, 9);
    CHECK(effect(t, CT_EFFECT_DROP).function == f);
    CHECK_INT(ct_record_append(t, &made), -ESTALE);
    CHECK_INT(ct_record_count(t), 0);
    CHECK_INT(ct_record_dropped(t), 1 + 4); /* nobody had said how the function's rows begin */
    ct_table_free(t);
}

static uint32_t wakes;

static void woken(void *context) {
    CHECK(context == &wakes);
    wakes++;
}

static void each_taker_gets_its_own_effects_and_is_woken_once(void) {
    ct_table *t = table();
    ct__table_on_effect(t, CT_TAKER_LANE, woken, &wakes);
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    uint64_t calls[2];
    ct_verdict verdict;
    ct_grant grant;
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_INT(ct_admit(t, f, &(ct_ask){.taker = CT_TAKER_LANE, .owner = i}, 1, &calls[i], &verdict), 0);
        CHECK_INT(lease(t, calls[i], 1, &grant), CT_LEASE_WAITS);
    }
    const uint64_t members[] = {effect(t, CT_EFFECT_BOOT).member, effect(t, CT_EFFECT_BOOT).member};
    for (int i = 0; i < 2; i++)
        CHECK_INT(ct_member_booted(t, members[i], 2), 0);
    CHECK_INT(wakes, 1);
    CHECK_INT(ct_effect_waits(t, CT_TAKER_PYTHON), 0);
    CHECK_INT(ct_effect_waits(t, CT_TAKER_LANE), 2);
    CHECK_INT(ct_call_end(t, calls[0], CT_STATUS_CANCELLED, 0, 3), 0); /* before it heard of its lease */
    ct_effect e;
    CHECK_INT(ct_effect_next(t, CT_TAKER_LANE, &e), 1);
    CHECK(e.call == calls[1] && e.owner == 1);
    uint64_t owner;
    CHECK_INT(ct__call_owner(t, calls[1], &owner), 0);
    CHECK_INT(owner, 1);
    CHECK_INT(ct_effect_next(t, CT_TAKER_LANE, &e), 0);
    ct_table_free(t);
}

static void a_draining_node_says_when_the_last_one_left(void) {
    ct_table *t = table();
    ct_verdict verdict;
    for (int i = 0; i < 8; i++)
        CHECK_INT(ct_node_enter(t, &verdict), 0);
    CHECK_INT(ct_node_enter(t, &verdict), 1);
    CHECK(verdict.code == CT_STATUS_OVERLOADED && verdict.limit == 8);
    ct_node_drain(t);
    CHECK_INT(ct_node_enter(t, &verdict), 1);
    CHECK_INT(verdict.code, CT_STATUS_DRAINING);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(ct_effect_waits(t, CT_TAKER_PYTHON), 0);
        ct_node_leave(t);
    }
    (void)effect(t, CT_EFFECT_DRAINED);
    ct_totals totals;
    ct_totals_get(t, &totals);
    CHECK(totals.shed[CT_STATUS_OVERLOADED] == 1 && totals.shed[CT_STATUS_DRAINING] == 1);
    ct_table_free(t);
}

static void every_failed_allocation_is_survived(void) {
    const ct_table_options made = options();
    const ct_function_row r = row("f");
    const ct_identity who = {.may_invoke = 1, .expires_at_s = 9};
    uint32_t failed = 0;
    for (uint32_t at = 1; at < 100; at++) {
        fails_in = at;
        ct_table *t = ct_table_new(&made);
        if (t == NULL) {
            failed++;
            continue;
        }
        uint64_t f = 0;
        const int put_result = ct_function_put(t, &r, 0, &f);
        CHECK(put_result == 0 || put_result == -ENOMEM);
        const int said = ct_function_set_refusal(t, f, 1, 0, 1, (const uint8_t *)"x", 1, NULL, 0);
        CHECK(said == 0 || said == (put_result == 0 ? -ENOMEM : -ESTALE));
        const int known = ct_identity_put(t, (const uint8_t *)"x", 1, &who);
        CHECK(known == 0 || known == -ENOMEM);
        const int kept =
            ct_record_append(t, &(ct_record){.function = f, .log = (const uint8_t *)"x", .log_len = 1});
        CHECK(kept == 0 || kept == (put_result == 0 ? -ENOMEM : -ESTALE));
        failed += (uint32_t)((put_result != 0) + (said == -ENOMEM) + (known != 0) + (kept == -ENOMEM));
        CHECK_INT(ct_table_check(t), 0);
        if (fails_in > 0) { /* it was not reached any more */
            fails_in = 0;
            ct_table_free(t);
            break;
        }
        ct_table_free(t);
    }
    CHECK(failed >= 18);
}

static void a_call_on_the_way_needs_no_memory(void) {
    ct_table *t = table();
    const ct_function_row r = row("f");
    const uint64_t f = put(t, &r);
    fails_in = 1;
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t call;
        ct_verdict verdict;
        ct_grant grant;
        const uint8_t subject = (uint8_t)i;
        const ct_ask ask = {.rate_per_s = 1, .subject = &subject, .subject_len = 1};
        CHECK_INT(ct_admit(t, f, &ask, 1, &call, &verdict), 0);
        CHECK_INT(lease(t, call, 1, &grant), CT_LEASE_WAITS);
    }
    CHECK_INT(fails_in, 1);
    fails_in = 0;
    ct_table_free(t);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_call_waits_for_its_boot_and_the_next_finds_it_warm),
        CASE(the_member_that_served_last_serves_next),
        CASE(a_handle_never_means_another_thing),
        CASE(a_name_belongs_to_its_newest_function),
        CASE(a_refusal_is_kept_as_it_was_said),
        CASE(a_bucket_gives_its_burst_and_then_its_rate),
        CASE(identities_are_known_by_their_bytes_and_the_oldest_goes),
        CASE(records_are_bounded_and_hold_their_function),
        CASE(each_taker_gets_its_own_effects_and_is_woken_once),
        CASE(a_draining_node_says_when_the_last_one_left),
        CASE(every_failed_allocation_is_survived),
        CASE(a_call_on_the_way_needs_no_memory),
    };
    return RUN("table", cases);
}
