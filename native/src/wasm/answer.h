/* How a call ended, in the words of an error frame. */
#ifndef CT_WASM_ANSWER_H
#define CT_WASM_ANSWER_H

#include "wasm/engine.h"

typedef struct ct__wasm_outcome {
    wasm_error *error;
    wasm_trap *trap;
    const char *refusal; /* the platform's own */
    char *type;          /* what the guest said: its type and message */
    char *message;
} ct__wasm_outcome;

/* What the guest itself says went wrong. */
void ct__wasm_outcome_say(ct__wasm_outcome *outcome, const char *type, const char *message, size_t len);

/* The body of an error frame, the caller's to free; NULL: it went well. */
char *ct__wasm_outcome_error(const ct__wasm_outcome *outcome, size_t *len);

void ct__wasm_outcome_fini(ct__wasm_outcome *outcome);

/* For an error that can not be. */
void ct__wasm_outcome_drop(wasm_error *error);

/* {type, message, stack}, the caller's to free; NULL: no memory. */
char *ct__wasm_error_body(const char *type, const char *message, const char *stack, size_t *len);

#endif
