/* Functions of WASI preview 1 that are ours, in the place of the library's. Stores that use them have a ct__wasm_call as their data. */
#ifndef CT_WASM_IMPORTS_H
#define CT_WASM_IMPORTS_H

#include "wasm/call.h"

/* Puts them all into a linker. Returns NULL or the error. */
wasm_error *ct__wasm_imports_define(wasm_linker *linker);

/* All of the guest's memory; nothing where it exports none. */
ct__wasi_memory ct__wasm_memory(wasm_caller *caller);

/* What a clock shows to a call. False: there is no such clock. */
bool ct__wasm_clock(const ct__wasm_call *call, uint32_t id, uint64_t *out_ns);

/* poll.c: the library's would sleep in the kernel for as long as the guest says, deaf to the end of its time. */
raw_callback ct__wasm_poll_oneoff;

/* clock.c: the library has no clocks of CPU time, and does not tell when its monotonic one began. */
raw_callback ct__wasm_clock_res_get;
raw_callback ct__wasm_clock_time_get;

#endif
