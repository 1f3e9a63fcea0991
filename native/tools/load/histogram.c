#include "histogram.h"

#include <inttypes.h>

static uint32_t index_of(uint32_t value) {
    const uint32_t bits = value != 0 ? 32U - (uint32_t)__builtin_clz(value) : 0;
    const uint32_t shift = bits > CT__HISTOGRAM_SUB_BITS + 1 ? bits - CT__HISTOGRAM_SUB_BITS - 1 : 0;
    return (shift << CT__HISTOGRAM_SUB_BITS) + (value >> shift);
}

/* The largest value that falls into a bucket. */
static uint32_t highest_of(uint32_t index) {
    const uint32_t shift = index < 2U << CT__HISTOGRAM_SUB_BITS ? 0 : (index >> CT__HISTOGRAM_SUB_BITS) - 1;
    const uint64_t sub = index - (shift << CT__HISTOGRAM_SUB_BITS);
    return (uint32_t)(((sub + 1) << shift) - 1);
}

void ct__histogram_add(ct__histogram *h, uint64_t value) {
    const uint32_t kept = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    h->counts[index_of(kept)]++;
    if (h->count == 0 || kept < h->min)
        h->min = kept;
    if (kept > h->max)
        h->max = kept;
    h->sum += kept;
    h->count++;
}

uint32_t ct__histogram_at(const ct__histogram *h, uint32_t permille) {
    const uint64_t share = (h->count * permille + 999) / 1000;
    const uint64_t wanted = share > 0 ? share : 1;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < CT__HISTOGRAM_BUCKETS && h->count > 0; i++) {
        seen += h->counts[i];
        if (seen >= wanted) {
            const uint32_t value = highest_of(i);
            return value > h->max ? h->max : value;
        }
    }
    return h->max;
}

void ct__histogram_print(const ct__histogram *h, FILE *out) {
    (void)fprintf(out, "{\"count\":%" PRIu64 ",\"sum_us\":%" PRIu64 ",\"min_us\":%" PRIu32, h->count, h->sum, h->min);
    (void)fprintf(out, ",\"p50_us\":%" PRIu32 ",\"p90_us\":%" PRIu32 ",\"p99_us\":%" PRIu32 ",\"p999_us\":%" PRIu32,
                  ct__histogram_at(h, 500), ct__histogram_at(h, 900), ct__histogram_at(h, 990), ct__histogram_at(h, 999));
    (void)fprintf(out, ",\"max_us\":%" PRIu32 ",\"buckets\":[", h->max);
    const char *comma = "";
    for (uint32_t i = 0; i < CT__HISTOGRAM_BUCKETS; i++)
        if (h->counts[i] > 0) {
            const uint32_t value = highest_of(i);
            (void)fprintf(out, "%s[%" PRIu32 ",%" PRIu32 "]", comma, value > h->max ? h->max : value, h->counts[i]);
            comma = ",";
        }
    (void)fputs("]}", out);
}
