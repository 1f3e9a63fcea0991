/* The table under a seeded stream of events and faults, with every invariant checked after each one; a failing seed replays
 * exactly. `table FIRST COUNT EVENTS` runs COUNT seeds from FIRST; exit 1 tells the first that failed.
 *
 * What it demands beyond ct_table_check: calls in line are served oldest first, no function is ever given more instances
 * than it may have, a call never gets code older than was live when it came, and when all faults end every call that
 * waits is answered and nothing is left. */
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const EVENT_NAMES[EV_COUNT] = {"admit",  "lease",  "end ok",      "end failed", "end broken", "cancel",
                                                  "overdue", "return", "booted",      "boot failed", "died",     "gone",
                                                  "policy", "deploy", "remove",      "sweep",       "open/close", "hold"};

static const char *const ROW_NAMES[ROWS] = {"booting",  "idle",     "busy, room", "busy, full", "draining",
                                            "dead",     "admitted", "waiting",    "leased",     "refused"};

static void check(sim *s) {
    const int result = ct_table_check(s->t);
    if (result != 0 && s->broken == NULL) {
        s->broken = "check.c";
        s->line = -result;
    }
}

/* All faults end: every boot succeeds, every call returns, what is dead goes away. Then nobody may wait for ever. */
static void calm(sim *s) {
    s->is_calm = true;
    for (uint32_t i = 0; i < HOLDS && s->broken == NULL; i++)
        if (s->holds[i].tenant != 0)
            sim_let_go(s, &s->holds[i], s->holds[i].memory_mb, s->holds[i].cpu_millis);
    ct_table_open(s->t, 1, s->now_ns);
    for (uint32_t round = 0; round < 400 && s->broken == NULL; round++) {
        sim_take_effects(s);
        ct__member *m;
        while ((m = sim_member_in(s, CT_MEMBER_DEAD)) != NULL)
            (void)ct_member_gone(s->t, ct__handle(&m->slot), s->now_ns);
        if ((m = sim_member_in(s, CT_MEMBER_BOOTING)) != NULL)
            (void)ct_member_booted(s->t, ct__handle(&m->slot), s->now_ns);
        sim_call *c;
        while ((c = sim_call_in(s, CT__CALL_REFUSED)) != NULL || (c = sim_call_in(s, CT__CALL_ADMITTED)) != NULL)
            sim_end(s, c, CT_STATUS_CANCELLED, 0);
        if ((c = sim_call_in(s, CT__CALL_LEASED)) != NULL)
            sim_end(s, c, CT_STATUS_OK, 0);
        check(s);
    }
    DEMAND(s, s->t->call_slab.count == 0, "a call that nobody will ever answer");
    for (uint32_t i = 0; i < FUNCTIONS && s->broken == NULL; i++)
        (void)ct_function_remove(s->t, s->functions[i].handle, s->now_ns);
    sim_take_effects(s);
    ct__member *m;
    while (s->broken == NULL && (m = sim_member_in(s, CT__MEMBER_STATES)) != NULL)
        (void)ct_member_gone(s->t, ct__handle(&m->slot), s->now_ns);
    sim_take_effects(s);
    check(s);
    DEMAND(s, s->t->member_slab.count == 0 && s->t->function_slab.count == 0, "something is left");
}

static bool run_seed(uint64_t seed, uint32_t events) {
    sim s = {.rng = seed, .now_ns = CT__SECOND_NS};
    const ct_table_options options = {.idle_ttl_ns = 5 * CT__SECOND_NS, .recheck_ns = CT__SECOND_NS / 4,
                                      .max_functions = 64, .max_instances = sim_one_of(&s, 2, 4, MEMBERS),
                                      .max_boots = sim_one_of(&s, 1, 2, 4), .max_calls = CALLS, .max_buckets = 4,
                                      .max_identities = 4, .max_records = 4, .max_meters = 1};
    s.t = ct_table_new(&options);
    if (s.t == NULL)
        return false;
    s.is_prompt = sim_below(&s, 4) > 0;
    for (uint32_t i = 0; i < FUNCTIONS; i++)
        sim_put_function(&s, i);
    ct_table_open(s.t, 1, s.now_ns);
    uint32_t at = 0;
    for (; at < events && s.broken == NULL; at++) {
        sim_step(&s);
        if (s.is_prompt || sim_below(&s, 4) == 0)
            sim_take_effects(&s);
        check(&s);
    }
    if (s.broken == NULL)
        calm(&s);
    if (s.broken != NULL)
        (void)printf("seed %llu, event %u: %s (line %d)\n", (unsigned long long)seed, at, s.broken, s.line);
    ct_table_free(s.t);
    return s.broken == NULL;
}

/* What no member or call in that state can meet. */
static bool is_possible(uint32_t row, uint32_t event) {
    switch (event) {
    case EV_END_OK:
    case EV_END_FAILED:
    case EV_END_BROKEN:
    case EV_CANCEL:
    case EV_OVERDUE:
    case EV_RETURN:
        return row >= ROW_ROOM; /* of a call; it has no member that boots or is idle */
    case EV_BOOTED:
    case EV_BOOT_FAILED:
    case EV_DIED:
    case EV_GONE:
        return row < ROW_ADMITTED; /* of a member */
    default:
        return true;
    }
}

static uint32_t print_matrix(void) {
    uint32_t missing = 0;
    (void)printf("%-12s", "");
    for (uint32_t event = 0; event < EV_COUNT; event++)
        (void)printf(" %11s", EVENT_NAMES[event]);
    (void)printf("\n");
    for (uint32_t row = 0; row < ROWS; row++) {
        (void)printf("%-12s", ROW_NAMES[row]);
        for (uint32_t event = 0; event < EV_COUNT; event++) {
            if (!is_possible(row, event)) {
                (void)printf(" %11s", "-");
                continue;
            }
            missing += sim_matrix[row][event] == 0;
            (void)printf(" %11llu", (unsigned long long)sim_matrix[row][event]);
        }
        (void)printf("\n");
    }
    return missing;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        (void)fprintf(stderr, "usage: %s FIRST COUNT EVENTS\n", argv[0]);
        return 2;
    }
    const uint64_t first = strtoull(argv[1], NULL, 10);
    const uint64_t count = strtoull(argv[2], NULL, 10);
    const uint32_t events = (uint32_t)strtoul(argv[3], NULL, 10);
    for (uint64_t seed = first; seed < first + count; seed++)
        if (!run_seed(seed, events))
            return 1;
    const uint32_t missing = print_matrix();
    (void)printf("%llu seeds of %u events from %llu: clean; %u pairs of state and event not met\n",
                 (unsigned long long)count, events, (unsigned long long)first, missing);
    return missing > 0 && count >= 1000 ? 1 : 0;
}
