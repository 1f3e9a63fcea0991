#include "wasm/poll.h"

#include "wasm/call.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As wasi_snapshot_preview1 lays them out, little-endian. */
enum {
    SUBSCRIPTION_BYTES = 48,
    EVENT_BYTES = 32,
    SUBSCRIPTIONS_MAX = 4096,
    CLOCK = 0, /* tags; 1 and 2 are reading and writing */
    WRITE = 2,
    REALTIME = 0,
    MONOTONIC = 1,
    ABSTIME = 1,
    INVAL = 28,
    FAULT = 21,
    READY_BYTES = 1
};

typedef struct request {
    uint64_t userdata;
    uint64_t left_ns; /* of a clock */
    uint8_t tag;
} request;

static uint64_t number(const uint8_t *at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = bytes; i > 0; i--)
        value = value << 8 | at[i - 1];
    return value;
}

static void put(uint8_t *at, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Returns false for a subscription that means nothing. */
static bool take(const uint8_t *at, uint64_t born_ns, request *out) {
    *out = (request){.userdata = number(at, 8), .tag = at[8]};
    if (out->tag > WRITE)
        return false;
    if (out->tag != CLOCK)
        return true;
    const uint64_t id = number(at + 16, 4), timeout = number(at + 24, 8);
    if (id != REALTIME && id != MONOTONIC)
        return false;
    uint64_t now = 0;
    if ((number(at + 40, 2) & ABSTIME) != 0) /* the guest's monotonic clock begins with its call */
        now = id == REALTIME ? now_ns(CLOCK_REALTIME) : now_ns(CLOCK_MONOTONIC) - born_ns;
    out->left_ns = timeout > now ? timeout - now : 0;
    return true;
}

static uint32_t answer(uint8_t *events, const request *asked, size_t count, uint64_t passed_ns) {
    uint32_t told = 0;
    for (size_t i = 0; i < count; i++) {
        if (asked[i].tag == CLOCK && asked[i].left_ns > passed_ns)
            continue;
        uint8_t *event = events + (size_t)told++ * EVENT_BYTES;
        memset(event, 0, EVENT_BYTES);
        put(event, asked[i].userdata, 8);
        event[10] = asked[i].tag;
        if (asked[i].tag != CLOCK) /* files, and what is in memory already, never wait */
            put(event + 16, READY_BYTES, 8);
    }
    return told;
}

/* (subscriptions, events, count, count of events) -> errno */
static wasm_trap *poll_oneoff(void *self, wasm_caller *caller, wasm_raw *values, size_t count) {
    (void)self;
    (void)count;
    wasm_context *context = ct__wasm.wasmtime_caller_context(caller);
    ct__wasm_call *call = ct__wasm.wasmtime_context_get_data(context);
    wasm_extern found;
    const uint64_t in = (uint32_t)values[0].i32, out = (uint32_t)values[1].i32, told = (uint32_t)values[3].i32;
    const uint64_t asked_count = (uint32_t)values[2].i32;
    values[0].i32 = INVAL;
    if (asked_count == 0 || asked_count > SUBSCRIPTIONS_MAX)
        return NULL;
    if (!ct__wasm.wasmtime_caller_export_get(caller, "memory", strlen("memory"), &found) || found.kind != EXTERN_MEMORY)
        return NULL;
    uint8_t *memory = ct__wasm.wasmtime_memory_data(context, &found.of.memory);
    const uint64_t size = ct__wasm.wasmtime_memory_data_size(context, &found.of.memory);
    values[0].i32 = FAULT;
    if (in + asked_count * SUBSCRIPTION_BYTES > size || out + asked_count * EVENT_BYTES > size || told + 4 > size)
        return NULL;
    request *asked = calloc((size_t)asked_count, sizeof *asked);
    if (asked == NULL)
        return NULL;
    uint64_t wait_ns = UINT64_MAX;
    bool is_sound = true;
    for (size_t i = 0; i < asked_count && is_sound; i++) {
        is_sound = take(memory + in + i * SUBSCRIPTION_BYTES, call->born_ns, &asked[i]);
        const uint64_t left_ns = asked[i].tag == CLOCK ? asked[i].left_ns : 0;
        wait_ns = left_ns < wait_ns ? left_ns : wait_ns;
    }
    wasm_trap *trap = NULL;
    if (!is_sound) {
        values[0].i32 = INVAL;
    } else if (!ct__wasm_call_sleep(call, wait_ns)) {
        static const char late[] = "the call has no time left";
        trap = ct__wasm.wasmtime_trap_new(late, sizeof late - 1);
    } else {
        values[0].i32 = 0;
        put(memory + told, answer(memory + out, asked, (size_t)asked_count, wait_ns), 4);
    }
    free(asked);
    return trap;
}

wasm_error *ct__wasm_poll_define(wasm_linker *linker) {
    static const char module[] = "wasi_snapshot_preview1", name[] = "poll_oneoff";
    wasm_valtype *in[4], *out[1] = {ct__wasm.wasm_valtype_new(WASM_I32)};
    for (size_t i = 0; i < 4; i++)
        in[i] = ct__wasm.wasm_valtype_new(WASM_I32);
    wasm_valtypes parameters, results;
    ct__wasm.wasm_valtype_vec_new(&parameters, 4, in);
    ct__wasm.wasm_valtype_vec_new(&results, 1, out);
    wasm_functype *type = ct__wasm.wasm_functype_new(&parameters, &results);
    wasm_error *error = ct__wasm.wasmtime_linker_define_func_unchecked(linker, module, sizeof module - 1, name, sizeof name - 1, type,
                                                                       poll_oneoff, NULL, NULL);
    ct__wasm.wasm_functype_delete(type);
    return error;
}
