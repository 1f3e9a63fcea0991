/* The /tmp of one call: empty at first, and gone with it, whatever the guest made of it. */
#ifndef CT_WASM_SCRATCH_H
#define CT_WASM_SCRATCH_H

typedef struct ct__wasm_scratch {
    char path[32];
} ct__wasm_scratch;

/* Returns 0 or -errno. */
int ct__wasm_scratch_init(ct__wasm_scratch *scratch);
void ct__wasm_scratch_fini(const ct__wasm_scratch *scratch);

#endif
