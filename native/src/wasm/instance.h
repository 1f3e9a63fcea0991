/* One function version in this process: its channel, its code, and the threads of its calls. */
#ifndef CT_WASM_INSTANCE_H
#define CT_WASM_INSTANCE_H

#include "wasm/engine.h"

/* Serves a channel until its host hangs up, then closes it. `dir` is where its built code is, `memory_percent` what a guest may have of
 * the function's memory: less than all where the worker lives on the same. */
void ct__wasm_serve(ct__wasm_engine *engine, int fd, const char *dir, uint64_t cpu_millis, uint64_t memory_percent);

#endif
