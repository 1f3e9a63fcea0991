#define _GNU_SOURCE
#include "outcome.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *find(const ct__answer *answer, const char *text) {
    return memmem(answer->body, answer->body_len, text, strlen(text));
}

/* The platform and its peers write their answers without spaces, so a whole parse would tell no more. */
void ct__outcome_of(const ct__answer *answer, char out[CT__OUTCOME_TEXT]) {
    if (answer->status >= 200 && answer->status <= 299) {
        const bool has_raised = find(answer, "\"error\":") != NULL && find(answer, "\"error\":null") == NULL;
        (void)snprintf(out, CT__OUTCOME_TEXT, "%s", has_raised ? "the function raised" : "ok");
        return;
    }
    int at = snprintf(out, CT__OUTCOME_TEXT, "%d", answer->status);
    const uint8_t *code = find(answer, "\"code\":\"");
    if (code == NULL)
        return;
    code += strlen("\"code\":\"");
    out[at++] = ' ';
    const uint8_t *end = answer->body + answer->body_len;
    while (code < end && at < CT__OUTCOME_TEXT - 1 && ((*code >= 'a' && *code <= 'z') || *code == '_'))
        out[at++] = (char)*code++;
    out[at] = '\0';
}

int ct__outcomes_add(ct__outcomes *all, const char *what, uint64_t took_us) {
    size_t i = 0;
    while (i < all->count && strcmp(all->what[i], what) != 0)
        i++;
    if (i == CT__OUTCOMES_MAX)
        i--;
    if (i == all->count) {
        all->took_us[i] = calloc(1, sizeof *all->took_us[i]);
        if (all->took_us[i] == NULL)
            return -ENOMEM;
        (void)snprintf(all->what[i], CT__OUTCOME_TEXT, "%s", i == CT__OUTCOMES_MAX - 1 ? "others" : what);
        all->count++;
    }
    ct__histogram_add(all->took_us[i], took_us);
    return 0;
}

void ct__outcomes_print(const ct__outcomes *all, FILE *out) {
    (void)fputc('{', out);
    for (size_t i = 0; i < all->count; i++) {
        (void)fprintf(out, "%s\"%s\":", i > 0 ? "," : "", all->what[i]);
        ct__histogram_print(all->took_us[i], out);
    }
    (void)fputc('}', out);
}

void ct__outcomes_fini(ct__outcomes *all) {
    for (size_t i = 0; i < all->count; i++)
        free(all->took_us[i]);
    *all = (ct__outcomes){0};
}
