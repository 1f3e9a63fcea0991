#define _GNU_SOURCE
#include "wasm/engine.h"

#include "base/scope.h"
#include "base/sysx.h"
#include "wasm/imports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    SLOTS = 512, /* chosen: instances that run at a time in one process; each reserves addresses, not memory */
    TABLES = 4 * SLOTS,
    TABLE_ELEMENTS = 64 << 10,
    /* chosen: what is zeroed in place when a slot is used again; giving pages back to the kernel and faulting them in again costs
     * more than writing over as many (bench/wasm.py) */
    RESIDENT_BYTES = 128 << 10,
    SOURCE_MAX = 64 << 20,
    QUIET_TICKS = 200, /* without a call, before the clock stands still */
    MAGIC_BYTES = 8
};

static const char MODULE_FILE[] = "module.cwasm", COMPONENT_FILE[] = "component.cwasm";
static const uint64_t MEMORY_MAX = 4ULL << 30;

void ct__wasm_told(wasm_error *error, char *out) {
    wasm_bytes text = {0};
    ct__wasm.wasmtime_error_message(error, &text);
    (void)snprintf(out, CT__WASM_TEXT, "%.*s", text.size < CT__WASM_TEXT ? (int)text.size : CT__WASM_TEXT - 1, text.data);
    ct__wasm.wasm_byte_vec_delete(&text);
    ct__wasm.wasmtime_error_delete(error);
}

static int check(wasm_error *error, char *why) {
    if (error == NULL)
        return 0;
    ct__wasm_told(error, why);
    return -1;
}

static int failed(char *why, const char *what) {
    (void)snprintf(why, CT__WASM_TEXT, "%s: %s", what, strerror(errno));
    return -1;
}

static void set_up_pool(wasm_config *config) {
    wasm_pooling *pool = ct__wasm.wasmtime_pooling_allocation_config_new();
    ct__wasm.wasmtime_pooling_allocation_config_total_memories_set(pool, SLOTS);
    ct__wasm.wasmtime_pooling_allocation_config_total_core_instances_set(pool, 2 * SLOTS);
    ct__wasm.wasmtime_pooling_allocation_config_total_component_instances_set(pool, SLOTS);
    ct__wasm.wasmtime_pooling_allocation_config_total_tables_set(pool, TABLES);
    ct__wasm.wasmtime_pooling_allocation_config_table_elements_set(pool, TABLE_ELEMENTS);
    ct__wasm.wasmtime_pooling_allocation_config_max_memory_size_set(pool, MEMORY_MAX);
    ct__wasm.wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, RESIDENT_BYTES);
    ct__wasm.wasmtime_pooling_allocation_config_table_keep_resident_set(pool, RESIDENT_BYTES);
    ct__wasm.wasmtime_pooling_allocation_strategy_set(config, pool);
    ct__wasm.wasmtime_pooling_allocation_config_delete(pool);
}

int ct__wasm_engine_init(ct__wasm_engine *engine, char *why) {
    wasm_config *config = ct__wasm.wasm_config_new();
    ct__wasm.wasmtime_config_consume_fuel_set(config, true);
    ct__wasm.wasmtime_config_epoch_interruption_set(config, true);
    ct__wasm.wasmtime_config_wasm_threads_set(config, false); /* waiting on an atomic heeds no epoch */
    ct__wasm.wasmtime_config_wasm_multi_memory_set(config, false); /* the limit is one memory's */
    set_up_pool(config);
    *engine = (ct__wasm_engine){.engine = ct__wasm.wasm_engine_new_with_config(config), .lock = PTHREAD_MUTEX_INITIALIZER};
    if (engine->engine == NULL) {
        (void)snprintf(why, CT__WASM_TEXT, "the engine can not be made here");
        return -1;
    }
    engine->linker = ct__wasm.wasmtime_linker_new(engine->engine);
    ct__wasm.wasmtime_linker_allow_shadowing(engine->linker, true);
    const int result = check(ct__wasm.wasmtime_linker_define_wasi(engine->linker), why);
    return result < 0 ? result : check(ct__wasm_imports_define(engine->linker), why);
}

static int components_init(ct__wasm_engine *engine, char *why) {
    int result = 0;
    (void)pthread_mutex_lock(&engine->lock);
    if (engine->components == NULL) {
        wasm_component_linker *made = ct__wasm.wasmtime_component_linker_new(engine->engine);
        result = check(ct__wasm.wasmtime_component_linker_add_wasip2(made), why);
        engine->components = result < 0 ? NULL : made;
    }
    (void)pthread_mutex_unlock(&engine->lock);
    return result;
}

/* ---- compiling ---- */

static int read_source(const char *path, wasm_bytes *out, char *why) {
    ct_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat found;
    if (fd < 0 || fstat(fd, &found) < 0)
        return failed(why, path);
    if (!S_ISREG(found.st_mode) || found.st_size > SOURCE_MAX) {
        (void)snprintf(why, CT__WASM_TEXT, "%s: not a file of at most %d bytes", path, SOURCE_MAX);
        return -1;
    }
    const size_t len = (size_t)found.st_size;
    ct_automem char *text = malloc(len + 1);
    size_t got = 0;
    while (text != NULL && got < len) {
        const ssize_t more = read(fd, text + got, len - got);
        if (more == 0 || (more < 0 && errno != EINTR))
            break;
        got += more > 0 ? (size_t)more : 0;
    }
    if (text == NULL || got < len)
        return failed(why, path);
    static const char magic[4] = "\0asm";
    if (len >= sizeof magic && memcmp(text, magic, sizeof magic) == 0)
        ct__wasm.wasm_byte_vec_new(out, len, text);
    else
        return check(ct__wasm.wasmtime_wat2wasm(text, len, out), why);
    return 0;
}

static int write_out(const char *dir, const char *name, const wasm_bytes *code, char *why) {
    char path[4096];
    if (ct__format(path, sizeof path, "%s/%s", dir, name) < 0)
        return failed(why, dir);
    ct_autofd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    for (size_t done = 0; fd >= 0 && done < code->size;) {
        const ssize_t wrote = write(fd, code->data + done, code->size - done);
        if (wrote < 0 && errno != EINTR)
            return failed(why, path);
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return fd < 0 ? failed(why, path) : 0;
}

static int compile(const ct__wasm_engine *engine, const wasm_bytes *binary, const char *out, char *why) {
    const uint8_t *data = (const uint8_t *)binary->data;
    const bool is_component = binary->size >= MAGIC_BYTES && data[6] == 1; /* the layer */
    wasm_bytes code = {0};
    int result = 0;
    if (is_component) {
        wasm_component *component = NULL;
        result = check(ct__wasm.wasmtime_component_new(engine->engine, data, binary->size, &component), why);
        if (result == 0) {
            result = check(ct__wasm.wasmtime_component_serialize(component, &code), why);
            ct__wasm.wasmtime_component_delete(component);
        }
    } else {
        wasm_module *module = NULL;
        result = check(ct__wasm.wasmtime_module_new(engine->engine, data, binary->size, &module), why);
        if (result == 0) {
            result = check(ct__wasm.wasmtime_module_serialize(module, &code), why);
            ct__wasm.wasmtime_module_delete(module);
        }
    }
    if (result == 0) {
        result = write_out(out, is_component ? COMPONENT_FILE : MODULE_FILE, &code, why);
        ct__wasm.wasm_byte_vec_delete(&code);
    }
    return result;
}

int ct__wasm_compile(const ct__wasm_engine *engine, const char *path, const char *out, char *why) {
    wasm_bytes binary = {0};
    if (read_source(path, &binary, why) < 0)
        return -1;
    const int result = compile(engine, &binary, out, why);
    ct__wasm.wasm_byte_vec_delete(&binary);
    return result;
}

/* ---- loading ---- */

static int load_component(ct__wasm_engine *engine, const char *path, const char *name, ct__wasm_code *out, char *why) {
    if (components_init(engine, why) < 0 ||
        check(ct__wasm.wasmtime_component_deserialize_file(engine->engine, path, &out->component), why) < 0)
        return -1;
    out->export = ct__wasm.wasmtime_component_get_export_index(out->component, NULL, name, strlen(name));
    if (out->export != NULL)
        return 0;
    (void)snprintf(why, CT__WASM_TEXT, "the component exports no function %s(string) -> result<string, string>", name);
    return -1;
}

int ct__wasm_load(ct__wasm_engine *engine, const char *dir, const char *name, ct__wasm_code *out, char *why) {
    char path[4096];
    *out = (ct__wasm_code){0};
    int result = ct__format(path, sizeof path, "%s/%s", dir, COMPONENT_FILE);
    if (result == 0 && access(path, F_OK) == 0)
        result = load_component(engine, path, name, out, why);
    else if (result == 0 && (result = ct__format(path, sizeof path, "%s/%s", dir, MODULE_FILE)) == 0)
        result = check(ct__wasm.wasmtime_module_deserialize_file(engine->engine, path, &out->module), why) < 0
                     ? -1
                     : check(ct__wasm.wasmtime_linker_instantiate_pre(engine->linker, out->module, &out->pre), why);
    else
        result = failed(why, dir);
    if (result < 0)
        ct__wasm_unload(out);
    return result;
}

void ct__wasm_unload(ct__wasm_code *code) {
    if (code->pre != NULL)
        ct__wasm.wasmtime_instance_pre_delete(code->pre);
    if (code->module != NULL)
        ct__wasm.wasmtime_module_delete(code->module);
    if (code->export != NULL)
        ct__wasm.wasmtime_component_export_index_delete(code->export);
    if (code->component != NULL)
        ct__wasm.wasmtime_component_delete(code->component);
    *code = (ct__wasm_code){0};
}

/* ---- time ---- */

static atomic_int running;
static atomic_bool is_standing = true; /* the clock: it stands when no call has run for a while */
static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t clock_starts = PTHREAD_COND_INITIALIZER;
static bool has_clock;

static void *tick(void *arg) {
    ct__wasm_engine *engine = arg;
    int quiet = 0;
    for (;;) {
        const struct timespec pause = {.tv_nsec = CT__WASM_TICK_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        ct__wasm.wasmtime_engine_increment_epoch(engine->engine);
        quiet = atomic_load(&running) > 0 ? 0 : quiet + 1;
        if (quiet < QUIET_TICKS)
            continue;
        (void)pthread_mutex_lock(&clock_lock);
        atomic_store(&is_standing, true);
        while (atomic_load(&running) == 0)
            (void)pthread_cond_wait(&clock_starts, &clock_lock);
        atomic_store(&is_standing, false);
        (void)pthread_mutex_unlock(&clock_lock);
        quiet = 0;
    }
    return NULL;
}

void ct__wasm_begin(ct__wasm_engine *engine) {
    (void)atomic_fetch_add(&running, 1);
    if (!atomic_load(&is_standing))
        return;
    (void)pthread_mutex_lock(&clock_lock);
    pthread_t thread;
    if (!has_clock) {
        has_clock = pthread_create(&thread, NULL, tick, engine) == 0;
        if (!has_clock)
            _exit(1); /* without time no call would ever be ended */
        (void)pthread_detach(thread);
        atomic_store(&is_standing, false);
    }
    (void)pthread_cond_signal(&clock_starts);
    (void)pthread_mutex_unlock(&clock_lock);
}

void ct__wasm_end(void) {
    (void)atomic_fetch_sub(&running, 1);
}
