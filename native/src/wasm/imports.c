#include "wasm/imports.h"

#include <string.h>

enum { PARAMETERS_MAX = 9, WASM_I64 = 1 };

static const char MODULE[] = "wasi_snapshot_preview1";

typedef struct import {
    const char *name;
    const char *parameters; /* i: 32 bits, I: 64; the result is an errno */
    raw_callback *function;
    ct__wasi_function *of_files;
} import;

static raw_callback ask_files;

#define OF_FILES(name, parameters) {#name, parameters, ask_files, ct__wasi_##name},
static const import IMPORTS[] = {
    {"poll_oneoff", "iiii", ct__wasm_poll_oneoff, NULL},
    {"clock_res_get", "ii", ct__wasm_clock_res_get, NULL},
    {"clock_time_get", "iIi", ct__wasm_clock_time_get, NULL},
    CT__WASI_FILE_FUNCTIONS(OF_FILES)
};
#undef OF_FILES

ct__wasi_memory ct__wasm_memory(wasm_caller *caller) {
    wasm_extern found;
    wasm_context *context = ct__wasm.wasmtime_caller_context(caller);
    if (!ct__wasm.wasmtime_caller_export_get(caller, "memory", strlen("memory"), &found) || found.kind != EXTERN_MEMORY)
        return (ct__wasi_memory){0};
    return (ct__wasi_memory){.base = ct__wasm.wasmtime_memory_data(context, &found.of.memory),
                             .size = ct__wasm.wasmtime_memory_data_size(context, &found.of.memory)};
}

static wasm_trap *ask_files(void *self, wasm_caller *caller, wasm_raw *values, size_t count) {
    (void)count;
    const import *own = self;
    ct__wasm_call *call = ct__wasm.wasmtime_context_get_data(ct__wasm.wasmtime_caller_context(caller));
    values[0].i32 = own->of_files(&call->files, ct__wasm_memory(caller), values);
    return NULL;
}

static wasm_error *define(wasm_linker *linker, const import *own) {
    wasm_valtype *in[PARAMETERS_MAX], *out[1] = {ct__wasm.wasm_valtype_new(WASM_I32)};
    const size_t count = strlen(own->parameters);
    for (size_t i = 0; i < count; i++)
        in[i] = ct__wasm.wasm_valtype_new(own->parameters[i] == 'I' ? WASM_I64 : WASM_I32);
    wasm_valtypes parameters, results;
    ct__wasm.wasm_valtype_vec_new(&parameters, count, in);
    ct__wasm.wasm_valtype_vec_new(&results, 1, out);
    wasm_functype *type = ct__wasm.wasm_functype_new(&parameters, &results);
    wasm_error *error = ct__wasm.wasmtime_linker_define_func_unchecked(linker, MODULE, sizeof MODULE - 1, own->name, strlen(own->name),
                                                                       type, own->function, (void *)(uintptr_t)own, NULL);
    ct__wasm.wasm_functype_delete(type);
    return error;
}

wasm_error *ct__wasm_imports_define(wasm_linker *linker) {
    wasm_error *error = NULL;
    for (size_t i = 0; i < sizeof IMPORTS / sizeof *IMPORTS && error == NULL; i++)
        error = define(linker, &IMPORTS[i]);
    return error;
}
