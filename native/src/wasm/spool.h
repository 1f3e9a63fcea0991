/* What a guest writes to a standard stream: a file in memory that a command, or for a component the library, writes and the worker
 * reads behind it. The library's own callbacks pass through threads of its runtime, which costs a call 330 us (cpu-clock, two cores);
 * this costs 15. */
#ifndef CT_WASM_SPOOL_H
#define CT_WASM_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CT__WASM_PIECE_BYTES = 64 << 10 };

typedef struct ct__wasm_spool {
    int fd;
    uint64_t taken;
    char path[32]; /* to be opened and truncated by who writes */
} ct__wasm_spool;

/* Returns 0 or -errno. */
int ct__wasm_spool_init(ct__wasm_spool *spool);
void ct__wasm_spool_fini(const ct__wasm_spool *spool);

/* Makes it empty for the next writer on its descriptor. Returns 0 or -errno. */
int ct__wasm_spool_clear(ct__wasm_spool *spool);

/* Bytes that are there and not yet taken. */
uint64_t ct__wasm_spool_left(const ct__wasm_spool *spool);

/* Takes at most CT__WASM_PIECE_BYTES. Returns how many; 0: there is nothing now. */
size_t ct__wasm_spool_take(ct__wasm_spool *spool, uint8_t *out);

/* Gives back the memory of what was taken. */
void ct__wasm_spool_trim(const ct__wasm_spool *spool);

#endif
