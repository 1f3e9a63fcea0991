/* One call: a store of its own, in which nothing was before and of which nothing stays. */
#ifndef CT_WASM_CALL_H
#define CT_WASM_CALL_H

#include "wasm/engine.h"
#include "wasm/files.h"
#include "wasm/port.h"
#include "wasm/scratch.h"
#include "wasm/spool.h"

#include <stdatomic.h>

/* What the calls of an instance have in common. */
typedef struct ct__wasm_setting {
    ct__wasm_engine *engine;
    const ct__wasm_code *code;
    const char *files;           /* the directory that guests see as /code */
    uint64_t memory_limit_bytes; /* of its linear memory */
    uint64_t cpu_millis;         /* its fuel: what it may do in the time that it has */
    int64_t log_limit_bytes;
    size_t arg_count, env_count;
    const char **args;
    const char **names, **values;
} ct__wasm_setting;

enum { CT__WASM_OWN_ENV = 3 }; /* the last of the variables are each call's own: request id, deadline, trace */

typedef struct ct__wasm_call {
    ct__wasm_port *port;
    uint32_t id;
    bool is_stream;
    uint64_t born_ns, until_ns; /* of the monotonic clock */
    uint64_t born_cpu_ns;       /* of its thread's */
    int64_t log_left; /* below 0 once it was cut */
    char *output;
    size_t len;
    bool is_too_large;
    ct__wasm_spool out, err;
    ct__wasm_scratch scratch;
    ct__wasi_files files; /* of a command; the library has a component's */
    atomic_bool is_given_up;
} ct__wasm_call;

/* What serves one call after the other. Returns 0 or -errno. */
int ct__wasm_call_init(ct__wasm_call *call, ct__wasm_port *port);
void ct__wasm_call_fini(ct__wasm_call *call);

/* Runs what an exec frame asks for, and answers it. */
void ct__wasm_run(const ct__wasm_setting *setting, ct__wasm_call *call, const ct_frame *exec);

/* Waits in a call, after all that it has written was passed on; false when its time is over, or its caller gone. */
bool ct__wasm_call_sleep(ct__wasm_call *call, uint64_t wait_ns);

#endif
