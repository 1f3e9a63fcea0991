/* What the host says once of the function that this sandbox is for, and the environment that its program finds. */
#ifndef CT_GUEST_SETUP_H
#define CT_GUEST_SETUP_H

#include "base/abi.h"

typedef struct ct__setup {
    char *handler, *function, *version, *tenant, *space, *code_dir; /* none is NULL; "" is none */
    uint64_t memory_mb;
    char **env; /* "NAME=value" each */
    size_t env_count;
} ct__setup;

/* Reads the body of an init frame (Init of proto/agent.proto); unknown fields are passed over. Returns 0 with *out, which is then to
 * be freed; CT_E_MALFORMED, CT_E_MORE, or -ENOMEM. */
int ct__setup_read(const uint8_t *body, size_t len, ct__setup *out);
void ct__setup_free(ct__setup *setup);

/* Makes our own environment the program's: what Lambda sets where the function does not, then the function's, then what is not
 * the function's to say. `api`: host and port. Returns 0 or -ENOMEM. */
int ct__setup_export(const ct__setup *setup, const char *api);

/* The function's own variables alone. Returns 0 or -ENOMEM. */
int ct__setup_export_env(const ct__setup *setup);

/* Splits a command at its blanks, in place. Returns how many words there are, at most `cap` with the NULL behind them. */
size_t ct__setup_words(char *command, char **words, size_t cap);

#endif
