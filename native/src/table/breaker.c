/* A breaker. Closed, it looks at the ends of the last window; when enough of them failed it opens, and lets no call in; after
 * a rest it is half open and lets a few probes in at a time: the first that ends well closes it, the first that fails opens
 * it anew. Every function has one, in its row; a gateway makes others for its routes.
 *
 * A failure is an end that the function's code or its instance is to blame for: function_error, timeout, instance_died,
 * output_invalid, handler_load_failed, sandbox_start_failed, runtime_unavailable, of a call that had an instance or whose
 * boot failed. Only an `ok` is a success. What ended otherwise (given up by its caller, shed, refused, timed out in line)
 * says nothing about the function, and only gives its probe back. */
#include "table/state.h"

#include <stdlib.h>

struct ct_breaker {
    ct_breaker_rule rule;
    ct__breaker own;
};

static bool is_failure(uint32_t status) {
    return status == CT_STATUS_FUNCTION_ERROR ||
           (status >= CT_STATUS_TIMEOUT && status <= CT_STATUS_RUNTIME_UNAVAILABLE);
}

bool ct__breaker_in_range(const ct_breaker_rule *rule) {
    return rule->error_percent <= 100 &&
           (rule->error_percent == 0 || (rule->window_ns >= CT__BREAKER_PARTS && rule->probes > 0));
}

void ct__breaker_reset(ct__breaker *b) {
    *b = (ct__breaker){.epoch = b->epoch + 1, .opened = b->opened};
}

static void become(ct__breaker *b, uint32_t state, uint64_t until_ns) {
    ct__breaker_reset(b);
    b->state = state;
    b->until_ns = until_ns;
    b->opened += state == CT_BREAKER_OPEN;
}

bool ct__breaker_admit(ct__breaker *b, const ct_breaker_rule *rule, uint64_t now_ns, ct_breaker_pass *out) {
    *out = (ct_breaker_pass){.epoch = b->epoch};
    if (b->state == CT_BREAKER_CLOSED)
        return true;
    if (b->state == CT_BREAKER_OPEN) {
        if (now_ns < b->until_ns) {
            out->left_ns = b->until_ns - now_ns;
            return false;
        }
        become(b, CT_BREAKER_HALF_OPEN, 0);
    }
    if (b->probes >= rule->probes)
        return false;
    b->probes++;
    *out = (ct_breaker_pass){.epoch = b->epoch, .is_probe = 1};
    return true;
}

/* Moves the window to now: parts that left it are empty again. */
static void slide(ct__breaker *b, uint64_t part) {
    uint64_t passed = part - b->part;
    if (passed > CT__BREAKER_PARTS)
        passed = CT__BREAKER_PARTS;
    for (uint64_t i = 0; i < passed; i++) {
        const uint64_t at = (part - i) % CT__BREAKER_PARTS;
        b->good[at] = 0;
        b->bad[at] = 0;
    }
    b->part = part;
}

static void count(const ct__breaker *b, uint64_t *good, uint64_t *bad) {
    *good = 0;
    *bad = 0;
    for (int i = 0; i < CT__BREAKER_PARTS; i++) {
        *good += b->good[i];
        *bad += b->bad[i];
    }
}

static bool is_too_bad(const ct__breaker *b, const ct_breaker_rule *rule) {
    uint64_t good;
    uint64_t bad;
    count(b, &good, &bad);
    return good + bad >= rule->min_samples && bad * 100 >= rule->error_percent * (good + bad);
}

static uint64_t part_of(const ct_breaker_rule *rule, uint64_t now_ns) {
    return now_ns / (rule->window_ns / CT__BREAKER_PARTS);
}

void ct__breaker_end(ct__breaker *b, const ct_breaker_rule *rule, const ct_breaker_pass *pass, uint32_t status,
                     bool had_instance, uint64_t now_ns) {
    if (rule->error_percent == 0 || pass->epoch != b->epoch)
        return;
    const bool is_bad = had_instance && is_failure(status);
    const bool is_good = status == CT_STATUS_OK;
    if (b->state == CT_BREAKER_HALF_OPEN) {
        assert(pass->is_probe && b->probes > 0);
        b->probes--;
        if (is_bad)
            become(b, CT_BREAKER_OPEN, now_ns + rule->open_ns);
        else if (is_good)
            become(b, CT_BREAKER_CLOSED, 0);
        return;
    }
    if (!is_bad && !is_good)
        return;
    slide(b, part_of(rule, now_ns));
    (is_bad ? b->bad : b->good)[b->part % CT__BREAKER_PARTS]++;
    if (is_bad && is_too_bad(b, rule))
        become(b, CT_BREAKER_OPEN, now_ns + rule->open_ns);
}

int ct_breaker_new(const ct_breaker_rule *rule, ct_breaker **out) {
    if (!ct__breaker_in_range(rule))
        return CT_E_RANGE;
    ct_breaker *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->rule = *rule;
    *out = made;
    return 0;
}

void ct_breaker_free(ct_breaker *breaker) {
    free(breaker);
}

int ct_breaker_admit(ct_breaker *breaker, uint64_t now_ns, ct_breaker_pass *out) {
    return ct__breaker_admit(&breaker->own, &breaker->rule, now_ns, out) ? 0 : 1;
}

void ct_breaker_end(ct_breaker *breaker, const ct_breaker_pass *pass, uint32_t status, uint64_t now_ns) {
    ct__breaker_end(&breaker->own, &breaker->rule, pass, status, true, now_ns);
}

void ct_breaker_stats_get(const ct_breaker *breaker, uint64_t now_ns, ct_breaker_stats *out) {
    ct__breaker seen = breaker->own;
    const bool is_open = seen.state == CT_BREAKER_OPEN;
    *out = (ct_breaker_stats){.state = seen.state, .probes = seen.probes, .opened = seen.opened,
                              .left_ns = is_open && seen.until_ns > now_ns ? seen.until_ns - now_ns : 0};
    if (breaker->rule.error_percent > 0)
        slide(&seen, part_of(&breaker->rule, now_ns));
    count(&seen, &out->good, &out->bad);
}
