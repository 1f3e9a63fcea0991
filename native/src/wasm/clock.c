#include "wasm/imports.h"

#include <time.h>

enum { COUNT = 4 };

static const clockid_t CLOCKS[COUNT] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};

static uint64_t ns_of(const struct timespec *t) {
    return (uint64_t)t->tv_sec * 1000000000U + (uint64_t)t->tv_nsec;
}

/* But for the time of day, they begin with the call: a guest learns nothing of those before it. A call has one thread, so the process
 * that it sees has that thread's time. */
bool ct__wasm_clock(const ct__wasm_call *call, uint32_t id, uint64_t *out_ns) {
    const uint64_t begun[COUNT] = {0, call->born_ns, call->born_cpu_ns, call->born_cpu_ns};
    struct timespec now;
    if (id >= COUNT || clock_gettime(CLOCKS[id], &now) != 0)
        return false;
    *out_ns = ns_of(&now) - begun[id];
    return true;
}

static int32_t tell(wasm_caller *caller, uint32_t at, uint64_t value) {
    uint8_t *out = ct__wasi_span(ct__wasm_memory(caller), at, sizeof value);
    if (out == NULL)
        return CT__WASI_FAULT;
    ct__wasi_put(out, value, sizeof value);
    return 0;
}

/* (clock, out) -> errno */
wasm_trap *ct__wasm_clock_res_get(void *self, wasm_caller *caller, wasm_raw *values, size_t count) {
    (void)self;
    (void)count;
    const uint32_t id = (uint32_t)values[0].i32;
    struct timespec step;
    const bool is_known = id < COUNT && clock_getres(CLOCKS[id], &step) == 0;
    values[0].i32 = is_known ? tell(caller, (uint32_t)values[1].i32, ns_of(&step)) : CT__WASI_INVAL;
    return NULL;
}

/* (clock, precision, out) -> errno */
wasm_trap *ct__wasm_clock_time_get(void *self, wasm_caller *caller, wasm_raw *values, size_t count) {
    (void)self;
    (void)count;
    const ct__wasm_call *call = ct__wasm.wasmtime_context_get_data(ct__wasm.wasmtime_caller_context(caller));
    uint64_t now = 0;
    const bool is_known = ct__wasm_clock(call, (uint32_t)values[0].i32, &now);
    values[0].i32 = is_known ? tell(caller, (uint32_t)values[2].i32, now) : CT__WASI_INVAL;
    return NULL;
}
