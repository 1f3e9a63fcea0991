/* One engine a process: what compiles modules, and what runs them. Both must be made the same way, or the one's files are
 * no use to the other. */
#ifndef CT_WASM_ENGINE_H
#define CT_WASM_ENGINE_H

#include "wasm/api.h"

#include <pthread.h>

enum { CT__WASM_TICK_MS = 10, CT__WASM_TEXT = 8 << 10 };

typedef struct ct__wasm_engine {
    wasm_engine *engine;
    wasm_linker *linker; /* of commands; holds WASI preview 1 */
    wasm_component_linker *components; /* of components; made with the first of them */
    pthread_mutex_t lock;
} ct__wasm_engine;

/* What runs, as it was loaded: a command or a component. */
typedef struct ct__wasm_code {
    wasm_module *module;
    wasm_pre *pre;
    wasm_component *component;
    wasm_export_index *export;
} ct__wasm_code;

/* Returns 0, or -1 with the reason in `why` (CT__WASM_TEXT bytes), as all of these do. */
int ct__wasm_engine_init(ct__wasm_engine *engine, char *why);

/* Compiles a module or component, in binary or in text, to a file below the directory `out`. */
int ct__wasm_compile(const ct__wasm_engine *engine, const char *path, const char *out, char *why);

/* Loads what ct__wasm_compile left in a directory. `name` is what a component exports.
 *
 * What is loaded becomes code of this process: the directory must be one that no guest could ever write to. */
int ct__wasm_load(ct__wasm_engine *engine, const char *dir, const char *name, ct__wasm_code *out, char *why);
void ct__wasm_unload(ct__wasm_code *code);

/* Between these two, epochs pass: each running store's callback is asked every CT__WASM_TICK_MS. */
void ct__wasm_begin(ct__wasm_engine *engine);
void ct__wasm_end(void);

/* Takes an error's text, and frees it. */
void ct__wasm_told(wasm_error *error, char *out);

#endif
