/* What calls came to: a histogram for each kind of answer. */
#ifndef CT_LOAD_OUTCOME_H
#define CT_LOAD_OUTCOME_H

#include "answer.h"
#include "histogram.h"

enum { CT__OUTCOMES_MAX = 24, CT__OUTCOME_TEXT = 64 };

/* Zeroed is empty; the first is "ok", the last stands for all that found no room. */
typedef struct ct__outcomes {
    size_t count;
    char what[CT__OUTCOMES_MAX][CT__OUTCOME_TEXT];
    ct__histogram *took_us[CT__OUTCOMES_MAX];
} ct__outcomes;

/* The name of an answer's kind, as bench/load.py names it: "ok", "the function raised", "429 queue_full". */
void ct__outcome_of(const ct__answer *answer, char out[CT__OUTCOME_TEXT]);

/* Counts one call. Returns 0 or -ENOMEM. */
int ct__outcomes_add(ct__outcomes *all, const char *what, uint64_t took_us);

/* Writes {"ok": {...}, "429 queue_full": {...}}. */
void ct__outcomes_print(const ct__outcomes *all, FILE *out);

void ct__outcomes_fini(ct__outcomes *all);

#endif
