/* The /tmp of a call: empty at first, and all that was made in it gone with the call. The next of the same thread may have it. */
#ifndef CT_WASM_SCRATCH_H
#define CT_WASM_SCRATCH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ct__wasm_scratch {
    char path[32];
    bool is_there;
    int64_t empty_bytes;
} ct__wasm_scratch;

/* Makes it, unless it is there. Returns 0 or -errno. */
int ct__wasm_scratch_init(ct__wasm_scratch *scratch);

/* After a call. */
void ct__wasm_scratch_clear(ct__wasm_scratch *scratch);

void ct__wasm_scratch_fini(ct__wasm_scratch *scratch);

#endif
