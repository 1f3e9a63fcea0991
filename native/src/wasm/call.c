#define _GNU_SOURCE
#include "wasm/call.h"

#include "base/scope.h"
#include "base/sysx.h"
#include "wasm/answer.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LATE_MS = 100, /* the host says when a call is late; the worker only sees to it that it ends */
    SLICE_MS = 50,
    INSTANCES = 64,
    FUEL_PER_MS = 5000000, /* chosen: more than a core of today does in a millisecond, about one an instruction of WebAssembly */
    TABLE_ELEMENTS = 64 << 10,
    TABLES = 16,
    MEMORIES = 1,
    DASHES = 4
};
static const uint64_t MS = 1000000;

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

static bool is_over(const ct__wasm_call *call) {
    return atomic_load(&call->is_given_up) || clock_ns(CLOCK_MONOTONIC) > call->until_ns || ct__wasm_is_hung_up(call->port);
}

/* ---- what the guest writes ---- */

static bool pass_log(ct__wasm_call *call, const uint8_t *data, size_t len) {
    uint8_t flags = CT__WASM_LOG_STDERR;
    if (call->log_left < 0)
        return true;
    if ((int64_t)len > call->log_left) {
        len = (size_t)call->log_left;
        while (len > 0 && (data[len] & 0xc0) == 0x80)
            len--; /* not in the middle of a character */
        flags |= CT__WASM_LOG_CUT;
        call->log_left = -1;
    } else {
        call->log_left -= (int64_t)len;
    }
    return ct__wasm_send(call->port, CT_FRAME_LOG, flags, call->id, data, len);
}

/* Passes on what can go now: the log, and the pieces of a stream; waits while the host does not read. */
static bool pass_on(ct__wasm_call *call) {
    uint8_t piece[CT__WASM_PIECE_BYTES];
    bool is_heard = true;
    size_t len = 0;
    while (is_heard && (len = ct__wasm_spool_take(&call->err, piece)) > 0)
        is_heard = pass_log(call, piece, len);
    while (is_heard && call->is_stream && (len = ct__wasm_spool_take(&call->out, piece)) > 0)
        is_heard = ct__wasm_send(call->port, CT_FRAME_CHUNK, 0, call->id, piece, len);
    call->is_too_large = call->is_too_large || (!call->is_stream && ct__wasm_spool_left(&call->out) > CT__WASM_BODY_MAX);
    return is_heard && !call->is_too_large;
}

static void take_output(ct__wasm_call *call) {
    const uint64_t len = ct__wasm_spool_left(&call->out);
    if (call->is_stream || call->is_too_large || len == 0)
        return;
    call->output = malloc(len + CT__WASM_PIECE_BYTES);
    for (size_t got = 0; call->output != NULL && (got = ct__wasm_spool_take(&call->out, (uint8_t *)call->output + call->len)) > 0;)
        call->len += got;
}

static bool goes_on(ct__wasm_call *call) {
    const bool is_heard = pass_on(call);
    ct__wasm_spool_trim(&call->err);
    if (call->is_stream)
        ct__wasm_spool_trim(&call->out);
    return is_heard && !is_over(call);
}

bool ct__wasm_call_sleep(ct__wasm_call *call, uint64_t wait_ns) {
    const uint64_t begun = clock_ns(CLOCK_MONOTONIC);
    for (uint64_t passed = 0; passed < wait_ns;) {
        if (!goes_on(call))
            return false;
        const uint64_t left = wait_ns - passed, slice = left < SLICE_MS * MS ? left : SLICE_MS * MS;
        const struct timespec pause = {.tv_nsec = (long)slice};
        struct pollfd end = {.fd = call->port->fd, .events = POLLRDHUP};
        (void)ppoll(&end, 1, &pause, NULL);
        passed = clock_ns(CLOCK_MONOTONIC) - begun;
    }
    return true;
}

static wasm_error *at_epoch(wasm_context *context, void *self, uint64_t *delta, uint8_t *kind) {
    (void)context;
    if (!goes_on(self))
        return ct__wasm.wasmtime_error_new("the call has no time left");
    *delta = 1;
    *kind = DEADLINE_CONTINUE;
    return NULL;
}

/* ---- the store ---- */

typedef struct bytes {
    size_t len;
    const char *data;
} bytes;

static void hex(char *out, const uint8_t *data, size_t count, const char *dashes) {
    for (size_t i = 0; i < count; i++) {
        if (strchr(dashes, (int)('a' + i)) != NULL)
            *out++ = '-';
        out += sprintf(out, "%02x", data[i]);
    }
}

static bytes event_of(const ct_frame *exec) {
    return exec->len > CT_EXEC_HEAD_BYTES ? (bytes){exec->len - CT_EXEC_HEAD_BYTES, (const char *)exec->body + CT_EXEC_HEAD_BYTES}
                                          : (bytes){4, "null"};
}

static bool show_to_command(const ct__wasm_setting *setting, ct__wasm_call *call, bytes event) {
    ct__wasi_files_init(&call->files, event.data, event.len, call->out.fd, call->err.fd);
    return ct__wasm_spool_clear(&call->out) == 0 && ct__wasm_spool_clear(&call->err) == 0 &&
           ct__wasi_files_show(&call->files, setting->files, "/code", false) == 0 &&
           ct__wasi_files_show(&call->files, call->scratch.path, "/tmp", true) == 0;
}

static bool show_to_component(const ct__wasm_setting *setting, ct__wasm_call *call, bytes event, wasi_config *wasi) {
    wasm_bytes in;
    ct__wasm.wasm_byte_vec_new(&in, event.len, event.data);
    ct__wasm.wasi_config_set_stdin_bytes(wasi, &in);
    call->out.taken = call->err.taken = 0; /* the library empties them */
    return ct__wasm.wasi_config_set_stdout_file(wasi, call->out.path) && ct__wasm.wasi_config_set_stderr_file(wasi, call->err.path) &&
           ct__wasm.wasi_config_preopen_dir(wasi, setting->files, "/code", false) &&
           ct__wasm.wasi_config_preopen_dir(wasi, call->scratch.path, "/tmp", true);
}

static wasi_config *wasi_of(const ct__wasm_setting *setting, ct__wasm_call *call, bytes event, const ct_exec_head *head) {
    char request_id[16 * 2 + DASHES + 1], trace_id[33], span_id[17], traceparent[64], deadline[32];
    hex(request_id, head->request_id, 16, "egik");
    hex(trace_id, head->trace_id, 16, "_");
    hex(span_id, head->span_id, 8, "_");
    (void)snprintf(traceparent, sizeof traceparent, "00-%s-%s-01", trace_id, span_id);
    (void)snprintf(deadline, sizeof deadline, "%.3f", (double)clock_ns(CLOCK_REALTIME) / 1e9 + head->remaining_ms / 1e3);
    const size_t count = setting->env_count;
    ct_automem const char **values = calloc(count, sizeof *values); /* a table of the call's own: others run beside it */
    if (values == NULL)
        return NULL;
    memcpy(values, setting->values, (count - CT__WASM_OWN_ENV) * sizeof *values);
    values[count - 3] = request_id;
    values[count - 2] = deadline;
    values[count - 1] = traceparent;
    wasi_config *wasi = ct__wasm.wasi_config_new();
    if (ct__wasm.wasi_config_set_argv(wasi, setting->arg_count, setting->args) &&
        ct__wasm.wasi_config_set_env(wasi, count, setting->names, values) &&
        (setting->code->pre != NULL || show_to_component(setting, call, event, wasi)))
        return wasi;
    ct__wasm.wasi_config_delete(wasi);
    return NULL;
}

static wasm_store *store_of(const ct__wasm_setting *setting, ct__wasm_call *call, uint32_t remaining_ms) {
    wasm_store *store = ct__wasm.wasmtime_store_new(setting->engine->engine, call, NULL);
    wasm_context *context = ct__wasm.wasmtime_store_context(store);
    ct__wasm.wasmtime_store_limiter(store, (int64_t)setting->memory_limit_bytes, TABLE_ELEMENTS, INSTANCES, TABLES, MEMORIES);
    ct__wasm.wasmtime_store_epoch_deadline_callback(store, at_epoch, call, NULL);
    ct__wasm.wasmtime_context_set_epoch_deadline(context, 1);
    const uint64_t fuel = (uint64_t)remaining_ms * FUEL_PER_MS / 1000 * setting->cpu_millis;
    ct__wasm_outcome_drop(ct__wasm.wasmtime_context_set_fuel(context, fuel > 0 ? fuel : FUEL_PER_MS));
    return store;
}

static void run_command(const ct__wasm_setting *setting, wasm_context *context, ct__wasm_outcome *outcome) {
    wasm_instance instance;
    wasm_extern start;
    outcome->error = ct__wasm.wasmtime_instance_pre_instantiate(setting->code->pre, context, &instance, &outcome->trap);
    if (outcome->error != NULL || outcome->trap != NULL)
        return;
    if (!ct__wasm.wasmtime_instance_export_get(context, &instance, "_start", strlen("_start"), &start) || start.kind != EXTERN_FUNC)
        outcome->refusal = "the module is no command: it exports no function _start";
    else
        outcome->error = ct__wasm.wasmtime_func_call(context, &start.of.func, NULL, 0, NULL, 0, &outcome->trap);
}

/* A component's answer is what it returns; what it prints is the log. */
static void answer_with(ct__wasm_call *call, const wasm_bytes *text) {
    call->is_too_large = text->size > CT__WASM_BODY_MAX;
    if (call->is_too_large)
        return;
    if (call->is_stream) {
        (void)ct__wasm_send(call->port, CT_FRAME_CHUNK, 0, call->id, text->data, text->size);
    } else if ((call->output = malloc(text->size + 1)) != NULL) {
        memcpy(call->output, text->data, text->size);
        call->len = text->size;
    }
}

static void run_component(const ct__wasm_setting *setting, ct__wasm_call *call, wasm_context *context, bytes payload,
                          ct__wasm_outcome *outcome) {
    component_instance instance;
    component_func handle;
    const ct__wasm_code *code = setting->code;
    outcome->error = ct__wasm.wasmtime_component_linker_instantiate(setting->engine->components, context, code->component, &instance);
    if (outcome->error != NULL)
        return;
    if (!ct__wasm.wasmtime_component_instance_get_func(&instance, context, code->export, &handle)) {
        outcome->refusal = "what the component exports by the handler's name is no function";
        return;
    }
    component_val event = {.kind = COMPONENT_STRING}, answer = {0};
    event.of.string = (wasm_bytes){payload.len, (char *)(uintptr_t)payload.data};
    outcome->error = ct__wasm.wasmtime_component_func_call(&handle, context, &event, 1, &answer, 1);
    if (outcome->error != NULL)
        return;
    const component_val *inner = answer.kind == COMPONENT_RESULT ? answer.of.result.val : NULL;
    if (inner == NULL || inner->kind != COMPONENT_STRING) {
        outcome->refusal = "the handler's type is not func(event: string) -> result<string, string>";
    } else if (answer.of.result.is_ok) {
        answer_with(call, &inner->of.string);
    } else {
        ct__wasm_outcome_say(outcome, "Error", inner->of.string.data, inner->of.string.size);
    }
    ct__wasm.wasmtime_component_val_delete(&answer);
}

static void answer_to(ct__wasm_call *call, ct__wasm_outcome *outcome) {
    if (call->is_too_large)
        outcome->refusal = "the output has more than 6 MiB, the most that is carried";
    size_t len = 0;
    char *error = ct__wasm_outcome_error(outcome, &len);
    if (error != NULL)
        (void)ct__wasm_send(call->port, CT_FRAME_ERROR, 0, call->id, error, len);
    else if (call->is_stream)
        (void)ct__wasm_send(call->port, CT_FRAME_RESULT, 0, call->id, NULL, 0);
    else
        (void)ct__wasm_send(call->port, CT_FRAME_RESULT, 0, call->id, call->len > 0 ? call->output : "null", call->len > 0 ? call->len : 4);
    free(error);
}

static void run(const ct__wasm_setting *setting, ct__wasm_call *call, const ct_frame *exec, const ct_exec_head *head,
                ct__wasm_outcome *outcome) {
    const bool is_command = setting->code->pre != NULL;
    const bytes event = event_of(exec);
    wasi_config *wasi = is_command && !show_to_command(setting, call, event) ? NULL : wasi_of(setting, call, event, head);
    if (wasi == NULL) {
        outcome->refusal = "its files can not be opened";
        return;
    }
    wasm_store *store = store_of(setting, call, head->remaining_ms);
    wasm_context *context = ct__wasm.wasmtime_store_context(store);
    outcome->error = ct__wasm.wasmtime_context_set_wasi(context, wasi);
    call->born_ns = clock_ns(CLOCK_MONOTONIC);
    call->born_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (outcome->error == NULL && is_command)
        run_command(setting, context, outcome);
    else if (outcome->error == NULL)
        run_component(setting, call, context, event, outcome);
    ct__wasm.wasmtime_store_delete(store);
    (void)pass_on(call);
    if (is_command)
        take_output(call);
}

int ct__wasm_call_init(ct__wasm_call *call, ct__wasm_port *port) {
    *call = (ct__wasm_call){.port = port, .out.fd = -1, .err.fd = -1};
    const int result = ct__wasm_spool_init(&call->out);
    return result < 0 ? result : ct__wasm_spool_init(&call->err);
}

void ct__wasm_call_fini(ct__wasm_call *call) {
    ct__wasm_spool_fini(&call->out);
    ct__wasm_spool_fini(&call->err);
    ct__wasm_scratch_fini(&call->scratch);
}

void ct__wasm_run(const ct__wasm_setting *setting, ct__wasm_call *call, const ct_frame *exec) {
    ct_exec_head head = {0};
    (void)ct_exec_head_get(exec->body, exec->len, &head); /* the reader has seen that it is there */
    call->id = exec->call_id;
    call->is_stream = (head.flags & CT__WASM_STREAM) != 0;
    call->log_left = setting->log_limit_bytes;
    call->until_ns = clock_ns(CLOCK_MONOTONIC) + (head.remaining_ms + (uint64_t)LATE_MS) * MS;
    call->output = NULL;
    call->len = 0;
    call->is_too_large = false;
    ct__wasm_outcome outcome = {0};
    ct__wasm_begin(setting->engine);
    if (ct__wasm_scratch_init(&call->scratch) < 0) {
        outcome.refusal = "there is no room for its /tmp";
    } else {
        call->files = (ct__wasi_files){0};
        run(setting, call, exec, &head, &outcome);
        ct__wasi_files_fini(&call->files);
        ct__wasm_scratch_clear(&call->scratch);
    }
    ct__wasm_end();
    answer_to(call, &outcome);
    ct__wasm_outcome_fini(&outcome);
    free(call->output);
}
