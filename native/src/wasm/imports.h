/* Functions of WASI preview 1 that are ours, in the place of the library's. Stores that use them have a ct__wasm_call as their data. */
#ifndef CT_WASM_IMPORTS_H
#define CT_WASM_IMPORTS_H

#include "wasm/call.h"

enum { CT__WASI_INVAL = 28, CT__WASI_FAULT = 21 };
enum { CT__WASI_REALTIME = 0, CT__WASI_MONOTONIC, CT__WASI_PROCESS_CPU, CT__WASI_THREAD_CPU };

/* Puts them all into a linker. Returns NULL or the error. */
wasm_error *ct__wasm_imports_define(wasm_linker *linker);

/* `len` bytes of the guest's memory, or NULL when they are not all in it. Valid until the guest runs again. */
uint8_t *ct__wasm_span(wasm_caller *caller, uint64_t at, uint64_t len);

/* What a clock shows to a call. False: there is no such clock. */
bool ct__wasm_clock(const ct__wasm_call *call, uint32_t id, uint64_t *out_ns);

/* poll.c: the library's would sleep in the kernel for as long as the guest says, deaf to the end of its time. */
raw_callback ct__wasm_poll_oneoff;

/* clock.c: the library has no clocks of CPU time, and does not tell when its monotonic one began. */
raw_callback ct__wasm_clock_res_get;
raw_callback ct__wasm_clock_time_get;

#endif
