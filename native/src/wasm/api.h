/* The part of wasmtime's C API that the worker uses. The package `wasmtime` brings the library without its headers, so what
 * is used of them is declared here, for the version that comet looks for (runtimes/wasm/recipe.py), and found by name. */
#ifndef CT_WASM_API_H
#define CT_WASM_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WASM_I32 = 0, EXTERN_FUNC = 0, EXTERN_MEMORY = 3 };
enum { COMPONENT_STRING = 12, COMPONENT_RESULT = 19 };
enum { TRAP_STACK_OVERFLOW = 0, TRAP_INTERRUPT = 10, TRAP_OUT_OF_FUEL = 11 };
enum { DEADLINE_CONTINUE = 0 };

typedef struct wasm_config wasm_config;
typedef struct wasm_engine wasm_engine;
typedef struct wasm_pooling wasm_pooling;
typedef struct wasm_module wasm_module;
typedef struct wasm_store wasm_store;
typedef struct wasm_context wasm_context;
typedef struct wasm_linker wasm_linker;
typedef struct wasm_pre wasm_pre;
typedef struct wasm_caller wasm_caller;
typedef struct wasm_error wasm_error;
typedef struct wasm_trap wasm_trap;
typedef struct wasm_frame wasm_frame;
typedef struct wasm_functype wasm_functype;
typedef struct wasm_valtype wasm_valtype;
typedef struct wasi_config wasi_config;
typedef struct wasm_component wasm_component;
typedef struct wasm_component_linker wasm_component_linker;
typedef struct wasm_export_index wasm_export_index;

typedef struct wasm_bytes {
    size_t size;
    char *data;
} wasm_bytes;

typedef struct wasm_frames {
    size_t size;
    wasm_frame **data;
} wasm_frames;

typedef struct wasm_valtypes {
    size_t size;
    wasm_valtype **data;
} wasm_valtypes;

typedef struct wasm_instance {
    uint64_t store_id;
    size_t own;
} wasm_instance;

typedef struct wasm_func {
    uint64_t store_id;
    void *own;
} wasm_func;

typedef struct wasm_memory {
    struct {
        uint64_t store_id;
        uint32_t own;
    } of;
    uint32_t own;
} wasm_memory;

typedef struct wasm_extern {
    uint8_t kind;
    union {
        wasm_func func;
        wasm_memory memory;
    } of;
} wasm_extern;

typedef union wasm_raw {
    int32_t i32;
    int64_t i64;
    uint8_t v128[16];
} wasm_raw;

typedef struct component_val component_val;
struct component_val {
    uint8_t kind;
    union {
        wasm_bytes string;
        struct {
            bool is_ok;
            component_val *val;
        } result;
        size_t room[3];
    } of;
};

typedef struct component_func {
    struct {
        uint64_t store_id;
        uint32_t own;
    } of;
    uint32_t own;
    void *more;
} component_func;

typedef struct component_instance {
    uint64_t store_id;
    uint32_t own;
} component_instance;

_Static_assert(sizeof(wasm_extern) == 32 && sizeof(wasm_raw) == 16 && sizeof(component_val) == 32, "as the library has them");

typedef wasm_error *deadline_callback(wasm_context *context, void *self, uint64_t *delta, uint8_t *kind);
typedef wasm_trap *raw_callback(void *self, wasm_caller *caller, wasm_raw *values, size_t count);
typedef void finalizer(void *self);

/* name, result, parameters */
#define CT__WASM_API(F)                                                                                                          \
    F(wasm_config_new, wasm_config *, (void))                                                                                    \
    F(wasm_engine_new_with_config, wasm_engine *, (wasm_config *))                                                               \
    F(wasm_byte_vec_new, void, (wasm_bytes *, size_t, const char *))                                                             \
    F(wasm_byte_vec_delete, void, (wasm_bytes *))                                                                                \
    F(wasm_valtype_new, wasm_valtype *, (uint8_t))                                                                               \
    F(wasm_valtype_vec_new, void, (wasm_valtypes *, size_t, wasm_valtype *const[]))                                              \
    F(wasm_functype_new, wasm_functype *, (wasm_valtypes *, wasm_valtypes *))                                                    \
    F(wasm_functype_delete, void, (wasm_functype *))                                                                             \
    F(wasm_trap_message, void, (const wasm_trap *, wasm_bytes *))                                                                \
    F(wasm_trap_trace, void, (const wasm_trap *, wasm_frames *))                                                                 \
    F(wasm_trap_delete, void, (wasm_trap *))                                                                                     \
    F(wasm_frame_func_index, uint32_t, (const wasm_frame *))                                                                     \
    F(wasm_frame_module_offset, size_t, (const wasm_frame *))                                                                    \
    F(wasm_frame_vec_delete, void, (wasm_frames *))                                                                              \
    F(wasmtime_frame_func_name, const wasm_bytes *, (const wasm_frame *))                                                        \
    F(wasmtime_trap_new, wasm_trap *, (const char *, size_t))                                                                    \
    F(wasmtime_trap_code, bool, (const wasm_trap *, uint8_t *))                                                                  \
    F(wasmtime_error_new, wasm_error *, (const char *))                                                                          \
    F(wasmtime_error_message, void, (const wasm_error *, wasm_bytes *))                                                          \
    F(wasmtime_error_exit_status, bool, (const wasm_error *, int *))                                                             \
    F(wasmtime_error_wasm_trace, void, (const wasm_error *, wasm_frames *))                                                      \
    F(wasmtime_error_delete, void, (wasm_error *))                                                                               \
    F(wasmtime_config_consume_fuel_set, void, (wasm_config *, bool))                                                             \
    F(wasmtime_config_epoch_interruption_set, void, (wasm_config *, bool))                                                       \
    F(wasmtime_config_wasm_threads_set, void, (wasm_config *, bool))                                                             \
    F(wasmtime_config_wasm_multi_memory_set, void, (wasm_config *, bool))                                                        \
    F(wasmtime_pooling_allocation_config_new, wasm_pooling *, (void))                                                            \
    F(wasmtime_pooling_allocation_config_delete, void, (wasm_pooling *))                                                         \
    F(wasmtime_pooling_allocation_config_total_memories_set, void, (wasm_pooling *, uint32_t))                                   \
    F(wasmtime_pooling_allocation_config_total_core_instances_set, void, (wasm_pooling *, uint32_t))                             \
    F(wasmtime_pooling_allocation_config_total_component_instances_set, void, (wasm_pooling *, uint32_t))                        \
    F(wasmtime_pooling_allocation_config_total_tables_set, void, (wasm_pooling *, uint32_t))                                     \
    F(wasmtime_pooling_allocation_config_table_elements_set, void, (wasm_pooling *, size_t))                                     \
    F(wasmtime_pooling_allocation_config_max_memory_size_set, void, (wasm_pooling *, size_t))                                    \
    F(wasmtime_pooling_allocation_config_linear_memory_keep_resident_set, void, (wasm_pooling *, size_t))                        \
    F(wasmtime_pooling_allocation_config_table_keep_resident_set, void, (wasm_pooling *, size_t))                                \
    F(wasmtime_pooling_allocation_strategy_set, void, (wasm_config *, const wasm_pooling *))                                     \
    F(wasmtime_engine_increment_epoch, void, (wasm_engine *))                                                                    \
    F(wasmtime_wat2wasm, wasm_error *, (const char *, size_t, wasm_bytes *))                                                     \
    F(wasmtime_module_new, wasm_error *, (wasm_engine *, const uint8_t *, size_t, wasm_module **))                               \
    F(wasmtime_module_serialize, wasm_error *, (wasm_module *, wasm_bytes *))                                                    \
    F(wasmtime_module_deserialize_file, wasm_error *, (wasm_engine *, const char *, wasm_module **))                             \
    F(wasmtime_module_delete, void, (wasm_module *))                                                                             \
    F(wasmtime_linker_new, wasm_linker *, (wasm_engine *))                                                                       \
    F(wasmtime_linker_allow_shadowing, void, (wasm_linker *, bool))                                                              \
    F(wasmtime_linker_define_wasi, wasm_error *, (wasm_linker *))                                                                \
    F(wasmtime_linker_define_func_unchecked, wasm_error *,                                                                       \
      (wasm_linker *, const char *, size_t, const char *, size_t, const wasm_functype *, raw_callback *, void *, finalizer *))   \
    F(wasmtime_linker_instantiate_pre, wasm_error *, (const wasm_linker *, const wasm_module *, wasm_pre **))                    \
    F(wasmtime_instance_pre_instantiate, wasm_error *, (const wasm_pre *, wasm_context *, wasm_instance *, wasm_trap **))        \
    F(wasmtime_instance_pre_delete, void, (wasm_pre *))                                                                          \
    F(wasmtime_instance_export_get, bool, (wasm_context *, const wasm_instance *, const char *, size_t, wasm_extern *))          \
    F(wasmtime_func_call, wasm_error *,                                                                                          \
      (wasm_context *, const wasm_func *, const void *, size_t, void *, size_t, wasm_trap **))                                   \
    F(wasmtime_caller_context, wasm_context *, (wasm_caller *))                                                                  \
    F(wasmtime_caller_export_get, bool, (wasm_caller *, const char *, size_t, wasm_extern *))                                    \
    F(wasmtime_memory_data, uint8_t *, (const wasm_context *, const wasm_memory *))                                              \
    F(wasmtime_memory_data_size, size_t, (const wasm_context *, const wasm_memory *))                                            \
    F(wasmtime_store_new, wasm_store *, (wasm_engine *, void *, finalizer *))                                                    \
    F(wasmtime_store_context, wasm_context *, (wasm_store *))                                                                    \
    F(wasmtime_store_limiter, void, (wasm_store *, int64_t, int64_t, int64_t, int64_t, int64_t))                                 \
    F(wasmtime_store_epoch_deadline_callback, void, (wasm_store *, deadline_callback *, void *, finalizer *))                    \
    F(wasmtime_store_delete, void, (wasm_store *))                                                                               \
    F(wasmtime_context_get_data, void *, (const wasm_context *))                                                                 \
    F(wasmtime_context_set_wasi, wasm_error *, (wasm_context *, wasi_config *))                                                  \
    F(wasmtime_context_set_fuel, wasm_error *, (wasm_context *, uint64_t))                                                       \
    F(wasmtime_context_set_epoch_deadline, void, (wasm_context *, uint64_t))                                                     \
    F(wasi_config_new, wasi_config *, (void))                                                                                    \
    F(wasi_config_delete, void, (wasi_config *))                                                                                 \
    F(wasi_config_set_argv, bool, (wasi_config *, size_t, const char *const[]))                                                  \
    F(wasi_config_set_env, bool, (wasi_config *, size_t, const char *const[], const char *const[]))                              \
    F(wasi_config_set_stdin_bytes, void, (wasi_config *, wasm_bytes *))                                                          \
    F(wasi_config_set_stdout_file, bool, (wasi_config *, const char *))                                                          \
    F(wasi_config_set_stderr_file, bool, (wasi_config *, const char *))                                                          \
    F(wasi_config_preopen_dir, bool, (wasi_config *, const char *, const char *, bool))                                          \
    F(wasmtime_component_new, wasm_error *, (const wasm_engine *, const uint8_t *, size_t, wasm_component **))                   \
    F(wasmtime_component_serialize, wasm_error *, (const wasm_component *, wasm_bytes *))                                        \
    F(wasmtime_component_deserialize_file, wasm_error *, (const wasm_engine *, const char *, wasm_component **))                 \
    F(wasmtime_component_delete, void, (wasm_component *))                                                                       \
    F(wasmtime_component_linker_new, wasm_component_linker *, (const wasm_engine *))                                             \
    F(wasmtime_component_linker_add_wasip2, wasm_error *, (wasm_component_linker *))                                             \
    F(wasmtime_component_linker_instantiate, wasm_error *,                                                                       \
      (const wasm_component_linker *, wasm_context *, const wasm_component *, component_instance *))                             \
    F(wasmtime_component_get_export_index, wasm_export_index *,                                                                  \
      (const wasm_component *, const wasm_export_index *, const char *, size_t))                                                 \
    F(wasmtime_component_export_index_delete, void, (wasm_export_index *))                                                       \
    F(wasmtime_component_instance_get_func, bool,                                                                                \
      (const component_instance *, wasm_context *, const wasm_export_index *, component_func *))                                 \
    F(wasmtime_component_func_call, wasm_error *,                                                                                \
      (const component_func *, wasm_context *, const component_val *, size_t, component_val *, size_t))                          \
    F(wasmtime_component_val_delete, void, (component_val *))

typedef struct ct__wasm_api {
#define FIELD(name, result, parameters) result(*name) parameters;
    CT__WASM_API(FIELD)
#undef FIELD
} ct__wasm_api;

extern ct__wasm_api ct__wasm; /* the library's functions, once it was opened */

/* Opens the library. Returns NULL, or what is wrong with it. */
const char *ct__wasm_open(const char *path);

#endif
