/* Exact counts, whichever way a call came in; read when somebody scrapes. */
#include "table/state.h"

/* Refused before it ran: counted as shed, and its time says nothing. */
static bool is_shed(uint32_t status) {
    return status >= CT_STATUS_DRAINING && status < CT_STATUS_FIRST_FREE;
}

static uint32_t bucket_at(const ct_table *t, uint64_t took_ns) {
    uint32_t low = 0;
    uint32_t high = t->options.bucket_count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (took_ns <= t->bucket_ns[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void ct_shed(ct_table *t, uint32_t status) {
    t->totals.shed[status < CT_STATUS_MAX ? status : CT_STATUS_OTHER]++;
}

void ct__meter_refused(ct_table *t, const ct__function *f, uint32_t status) {
    t->meters[f->row.meter].statuses[status]++;
    t->totals.calls++;
    ct_shed(t, status);
}

void ct__meter_ended(ct_table *t, const ct__call *c, uint32_t status, uint64_t now_ns) {
    if (c->has_waited && c->state == CT__CALL_LEASED) {
        t->totals.wait_buckets[bucket_at(t, c->waited_ns)]++;
        t->totals.wait_ns += c->waited_ns;
    }
    if (is_shed(status)) {
        ct__meter_refused(t, c->function, status);
        return;
    }
    ct_meter *meter = &t->meters[c->function->row.meter];
    meter->statuses[status]++;
    t->totals.calls++;
    if (status == CT_STATUS_CANCELLED) /* its time is its caller's */
        return;
    const uint64_t took_ns = now_ns - c->admitted_ns;
    meter->buckets[bucket_at(t, took_ns)]++;
    meter->duration_ns += took_ns;
    if (c->is_cold) {
        meter->cold_starts++;
        t->totals.cold_starts++;
    }
}

int ct_meter_get(const ct_table *t, uint32_t meter, ct_meter *out) {
    if (meter >= t->options.max_meters)
        return CT_E_RANGE;
    *out = t->meters[meter];
    return 0;
}

void ct_totals_get(const ct_table *t, ct_totals *out) {
    *out = t->totals;
}
