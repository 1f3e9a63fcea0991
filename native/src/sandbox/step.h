/* Where the making of a sandbox stands, and how it failed. */
#ifndef CT_SANDBOX_STEP_H
#define CT_SANDBOX_STEP_H

#include "base/abi.h"

#include <string.h>

/* status 0 is the child's word that its sandbox is complete. Plain data: it crosses a socket as it is. */
typedef struct ct__failure {
    int32_t status;
    uint32_t step;
    char path[CT_NOTE_PATH_BYTES];
} ct__failure;

/* Fills *why and returns status. The path may be NULL, and is cut when it is too long. */
static inline int ct__fail(ct__failure *why, enum ct_step step, int status, const char *path) {
    memset(why, 0, sizeof *why);
    why->status = status;
    why->step = (uint32_t)step;
    for (size_t i = 0; path != NULL && path[i] != '\0' && i < sizeof why->path - 1; i++)
        why->path[i] = path[i];
    return status;
}

#endif
