#include "wasm/imports.h"

#include <string.h>

enum { PARAMETERS_MAX = 4, WASM_I64 = 1 };

static const char MODULE[] = "wasi_snapshot_preview1";

typedef struct import {
    const char *name;
    const char *parameters; /* i: 32 bits, I: 64; the result is an errno */
    raw_callback *function;
} import;

static const import IMPORTS[] = {
    {"poll_oneoff", "iiii", ct__wasm_poll_oneoff},
    {"clock_res_get", "ii", ct__wasm_clock_res_get},
    {"clock_time_get", "iIi", ct__wasm_clock_time_get},
};

uint8_t *ct__wasm_span(wasm_caller *caller, uint64_t at, uint64_t len) {
    wasm_extern found;
    wasm_context *context = ct__wasm.wasmtime_caller_context(caller);
    if (!ct__wasm.wasmtime_caller_export_get(caller, "memory", strlen("memory"), &found) || found.kind != EXTERN_MEMORY)
        return NULL;
    const uint64_t size = ct__wasm.wasmtime_memory_data_size(context, &found.of.memory);
    return at <= size && len <= size - at ? ct__wasm.wasmtime_memory_data(context, &found.of.memory) + at : NULL;
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
                                                                       type, own->function, NULL, NULL);
    ct__wasm.wasm_functype_delete(type);
    return error;
}

wasm_error *ct__wasm_imports_define(wasm_linker *linker) {
    wasm_error *error = NULL;
    for (size_t i = 0; i < sizeof IMPORTS / sizeof *IMPORTS && error == NULL; i++)
        error = define(linker, &IMPORTS[i]);
    return error;
}
