/* A breaker a function. Closed, it looks at the ends of the last window; when enough of them failed it opens, and lets no
 * call in; after a rest it is half open and lets a few probes in at a time: the first that ends well closes it, the first
 * that fails opens it anew.
 *
 * A failure is an end that the function's code or its instance is to blame for: function_error, timeout, instance_died,
 * output_invalid, handler_load_failed, sandbox_start_failed, runtime_unavailable, of a call that had an instance or whose
 * boot failed. Only an `ok` is a success. What ended otherwise (given up by its caller, shed, refused, timed out in line)
 * says nothing about the function, and only gives its probe back. */
#include "table/state.h"

static bool is_failure(uint32_t status) {
    return status == CT_STATUS_FUNCTION_ERROR ||
           (status >= CT_STATUS_TIMEOUT && status <= CT_STATUS_RUNTIME_UNAVAILABLE);
}

void ct__breaker_reset(ct__breaker *b) {
    *b = (ct__breaker){.epoch = b->epoch + 1};
}

static void become(ct__breaker *b, uint32_t state, uint64_t until_ns) {
    ct__breaker_reset(b);
    b->state = state;
    b->until_ns = until_ns;
}

bool ct__breaker_admit(ct__function *f, uint64_t now_ns, bool *is_probe, uint64_t *left_ns) {
    ct__breaker *b = &f->breaker;
    if (b->state == CT_BREAKER_CLOSED)
        return true;
    if (b->state == CT_BREAKER_OPEN) {
        if (now_ns < b->until_ns) {
            *left_ns = b->until_ns - now_ns;
            return false;
        }
        become(b, CT_BREAKER_HALF_OPEN, 0);
    }
    if (b->probes >= f->row.breaker_probes)
        return false;
    b->probes++;
    *is_probe = true;
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

static bool is_too_bad(const ct__function *f) {
    uint64_t good = 0;
    uint64_t bad = 0;
    for (int i = 0; i < CT__BREAKER_PARTS; i++) {
        good += f->breaker.good[i];
        bad += f->breaker.bad[i];
    }
    return good + bad >= f->row.breaker_min_samples && bad * 100 >= f->row.breaker_error_percent * (good + bad);
}

void ct__breaker_end(ct__function *f, const ct__call *c, uint32_t status, bool had_instance, uint64_t now_ns) {
    ct__breaker *b = &f->breaker;
    if (f->row.breaker_error_percent == 0 || c->breaker_epoch != b->epoch)
        return;
    const bool is_bad = had_instance && is_failure(status);
    const bool is_good = status == CT_STATUS_OK;
    if (b->state == CT_BREAKER_HALF_OPEN) {
        assert(c->is_probe && b->probes > 0);
        b->probes--;
        if (is_bad)
            become(b, CT_BREAKER_OPEN, now_ns + f->row.breaker_open_ns);
        else if (is_good)
            become(b, CT_BREAKER_CLOSED, 0);
        return;
    }
    if (!is_bad && !is_good)
        return;
    slide(b, now_ns / (f->row.breaker_window_ns / CT__BREAKER_PARTS));
    (is_bad ? b->bad : b->good)[b->part % CT__BREAKER_PARTS]++;
    if (is_bad && is_too_bad(f))
        become(b, CT_BREAKER_OPEN, now_ns + f->row.breaker_open_ns);
}
