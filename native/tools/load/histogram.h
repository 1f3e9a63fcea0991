/* Latencies in log-linear buckets, the same as bench/histogram.py has: bounded memory, values to 0.05 %. */
#ifndef CT_LOAD_HISTOGRAM_H
#define CT_LOAD_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum {
    CT__HISTOGRAM_SUB_BITS = 11, /* 2,048 buckets an octave */
    CT__HISTOGRAM_BUCKETS = (32 - CT__HISTOGRAM_SUB_BITS + 1) << CT__HISTOGRAM_SUB_BITS
};

/* Zeroed is empty. */
typedef struct ct__histogram {
    uint64_t count;
    uint64_t sum;
    uint32_t min;
    uint32_t max;
    uint32_t counts[CT__HISTOGRAM_BUCKETS];
} ct__histogram;

/* Counts one value; above 32 bits (71 minutes of microseconds) it is the largest of them. */
void ct__histogram_add(ct__histogram *h, uint64_t value);

/* The smallest value that at least `permille` thousandths of all do not exceed; 0 when there are none. */
uint32_t ct__histogram_at(const ct__histogram *h, uint32_t permille);

/* Writes {"count", "sum_us", "min_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", "buckets": [[value, times]]}. */
void ct__histogram_print(const ct__histogram *h, FILE *out);

#endif
