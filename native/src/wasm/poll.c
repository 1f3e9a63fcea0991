#include "wasm/imports.h"

#include <stdlib.h>
#include <string.h>

/* As wasi_snapshot_preview1 lays them out. */
enum {
    SUBSCRIPTION_BYTES = 48,
    EVENT_BYTES = 32,
    SUBSCRIPTIONS_MAX = 4096,
    CLOCK = 0, /* tags */
    READ = 1,
    WRITE = 2,
    ABSTIME = 1,
    HANGUP = 1,
    STDIN = 0,
    READY_BYTES = 1
};

typedef struct request {
    uint64_t userdata;
    uint64_t left_ns; /* of a clock */
    uint32_t fd;
    uint8_t tag;
} request;

/* Returns false for a subscription that means nothing. */
static bool take(const ct__wasm_call *call, const uint8_t *at, request *out) {
    const uint32_t what = (uint32_t)ct__wasi_get(at + 16, 4);
    *out = (request){.userdata = ct__wasi_get(at, 8), .tag = at[8], .fd = what};
    if (out->tag != CLOCK)
        return out->tag <= WRITE;
    const uint64_t timeout = ct__wasi_get(at + 24, 8);
    uint64_t now = 0;
    if (!ct__wasm_clock(call, what, &now))
        return false;
    const uint64_t from = (ct__wasi_get(at + 40, 2) & ABSTIME) != 0 ? now : 0;
    out->left_ns = timeout > from ? timeout - from : 0;
    return true;
}

static uint32_t answer(ct__wasm_call *call, uint8_t *events, const request *asked, size_t count, uint64_t passed_ns) {
    ct__wasi_file *file = NULL;
    uint32_t told = 0;
    for (size_t i = 0; i < count; i++) {
        if (asked[i].tag == CLOCK && asked[i].left_ns > passed_ns)
            continue;
        uint8_t *event = events + (size_t)told++ * EVENT_BYTES;
        memset(event, 0, EVENT_BYTES);
        ct__wasi_put(event, asked[i].userdata, 8);
        event[10] = asked[i].tag;
        if (asked[i].tag == CLOCK)
            continue;
        ct__wasi_put(event + 8, (uint64_t)ct__wasi_files_take(&call->files, asked[i].fd, CT__WASI_ANY, 0, &file), 2);
        ct__wasi_put(event + 16, READY_BYTES, 8); /* files, and what is in memory already, never wait */
        if (asked[i].tag == READ && asked[i].fd == STDIN)
            event[24] = HANGUP; /* all of the event is there */
    }
    return told;
}

static wasm_trap *wait_for(ct__wasm_call *call, const uint8_t *in, uint8_t *out, uint8_t *told, size_t count, int32_t *failed) {
    wasm_trap *trap = NULL;
    uint64_t wait_ns = UINT64_MAX;
    request *asked = calloc(count, sizeof *asked);
    bool is_sound = asked != NULL;
    for (size_t i = 0; is_sound && i < count; i++) {
        is_sound = take(call, in + i * SUBSCRIPTION_BYTES, &asked[i]);
        const uint64_t left_ns = asked[i].tag == CLOCK ? asked[i].left_ns : 0;
        wait_ns = left_ns < wait_ns ? left_ns : wait_ns;
    }
    if (!is_sound) {
        *failed = CT__WASI_INVAL;
    } else if (!ct__wasm_call_sleep(call, wait_ns)) {
        static const char late[] = "the call has no time left";
        trap = ct__wasm.wasmtime_trap_new(late, sizeof late - 1);
    } else {
        *failed = 0;
        ct__wasi_put(told, answer(call, out, asked, count, wait_ns), 4);
    }
    free(asked);
    return trap;
}

/* (subscriptions, events, count, count of events) -> errno */
wasm_trap *ct__wasm_poll_oneoff(void *self, wasm_caller *caller, wasm_raw *values, size_t count) {
    (void)self;
    (void)count;
    const size_t asked = (uint32_t)values[2].i32;
    ct__wasm_call *call = ct__wasm.wasmtime_context_get_data(ct__wasm.wasmtime_caller_context(caller));
    if (asked == 0 || asked > SUBSCRIPTIONS_MAX) {
        values[0].i32 = CT__WASI_INVAL;
        return NULL;
    }
    const ct__wasi_memory memory = ct__wasm_memory(caller);
    const uint8_t *in = ct__wasi_span(memory, (uint32_t)values[0].i32, asked * SUBSCRIPTION_BYTES);
    uint8_t *out = ct__wasi_span(memory, (uint32_t)values[1].i32, asked * EVENT_BYTES);
    uint8_t *told = ct__wasi_span(memory, (uint32_t)values[3].i32, 4);
    values[0].i32 = CT__WASI_FAULT;
    if (in == NULL || out == NULL || told == NULL)
        return NULL;
    return wait_for(call, in, out, told, asked, &values[0].i32);
}
