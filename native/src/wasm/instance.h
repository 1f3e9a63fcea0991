/* One function version in this process: its channel, its code, and the threads of its calls. */
#ifndef CT_WASM_INSTANCE_H
#define CT_WASM_INSTANCE_H

#include "wasm/engine.h"

/* Serves a channel until its host hangs up, then closes it. `dir` is where its built code is. */
void ct__wasm_serve(ct__wasm_engine *engine, int fd, const char *dir, uint64_t cpu_millis);

#endif
