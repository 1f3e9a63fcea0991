#define _GNU_SOURCE
#include "wasm/instance.h"

#include "base/scope.h"
#include "base/sysx.h"
#include "proto/pbwire.h"
#include "wasm/answer.h"
#include "wasm/call.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { CALLS_MAX = 1024, VARIABLES_MAX = 512, ARGS_MAX = 64, PATH_BYTES = 4096, LOG_LIMIT_BYTES = 64 << 10, STACK_BYTES = 2 << 20 };

static const char ARGS_VARIABLE[] = "WASM_ARGS";

typedef struct running {
    struct instance *instance;
    ct__wasm_call call;
    ct_frame exec;
    struct running *next;
} running;

typedef struct instance {
    ct__wasm_engine *engine;
    ct__wasm_port port;
    ct__wasm_setting setting;
    ct__wasm_code code;
    const char *dir;
    char *handler, *args;
    char *facts[4]; /* name, version, tenant, namespace */
    char memory_text[24];
    uint64_t memory_limit_mb, memory_percent, concurrency;
    char files[PATH_BYTES];
    const char *names[VARIABLES_MAX], *values[VARIABLES_MAX], *arguments[ARGS_MAX];
    bool is_ready;
    pthread_mutex_t lock;
    pthread_cond_t is_idle;
    running *running; /* of calls that overlap */
    ct__wasm_call only; /* of calls that do not */
} instance;

static char *copy(const ct__pb_field *field) {
    char *text = strndup((const char *)field->data, field->len);
    return text != NULL ? text : strdup("");
}

static void set_variable(instance *i, const char *name, const char *value) {
    if (i->setting.env_count < VARIABLES_MAX) {
        i->names[i->setting.env_count] = name;
        i->values[i->setting.env_count++] = value;
    }
}

static void take_variable(instance *i, const ct__pb_field *entry) {
    ct__reader reader = {.at = entry->data, .left = entry->len};
    ct__pb_field part;
    char *name = NULL, *value = NULL;
    while (ct__pb_next(&reader, &part) == 1)
        if (part.type == CT__PB_BYTES && part.number <= 2)
            *(part.number == 1 ? &name : &value) = copy(&part);
    if (name != NULL && strcmp(name, ARGS_VARIABLE) == 0)
        i->args = value;
    else if (name != NULL && i->setting.env_count < VARIABLES_MAX - 16) /* leaves room for the platform's */
        set_variable(i, name, value != NULL ? value : strdup(""));
}

static void take_init(instance *i, const ct_frame *frame) {
    ct__reader reader = {.at = frame->body, .left = frame->len};
    ct__pb_field field;
    while (ct__pb_next(&reader, &field) == 1) {
        const bool is_text = field.type == CT__PB_BYTES;
        switch (field.number) {
        case 1: i->handler = is_text ? copy(&field) : NULL; break;
        case 2: case 3: case 4: case 5: i->facts[field.number - 2] = is_text ? copy(&field) : NULL; break;
        case 6: i->memory_limit_mb = field.value; break;
        case 7: i->concurrency = field.value; break;
        case 8: if (is_text) take_variable(i, &field); break;
        case 10: i->setting.log_limit_bytes = (int64_t)field.value; break;
        default: break;
        }
    }
}

/* argv[0] is the module's name; what WASM_ARGS holds follows, word by word. */
static void set_arguments(instance *i) {
    char *name = strdup(i->handler);
    char *dot = name != NULL ? strrchr(name, '.') : NULL;
    if (dot != NULL)
        *dot = 0;
    i->arguments[i->setting.arg_count++] = name != NULL ? name : "";
    char *rest = NULL;
    for (char *word = i->args != NULL ? strtok_r(i->args, " \t\n", &rest) : NULL; word != NULL && i->setting.arg_count < ARGS_MAX;
         word = strtok_r(NULL, " \t\n", &rest))
        i->arguments[i->setting.arg_count++] = word;
}

static void set_facts(instance *i) {
    static const char *const names[] = {"CONSTELLATION_FUNCTION_NAME", "CONSTELLATION_FUNCTION_VERSION", "CONSTELLATION_TENANT",
                                        "CONSTELLATION_NAMESPACE"};
    for (size_t n = 0; n < 4; n++)
        set_variable(i, names[n], i->facts[n] != NULL ? i->facts[n] : "");
    (void)snprintf(i->memory_text, sizeof i->memory_text, "%llu", (unsigned long long)i->memory_limit_mb);
    set_variable(i, "CONSTELLATION_MEMORY_LIMIT_MB", i->memory_text);
    set_variable(i, "CONSTELLATION_REQUEST_ID", ""); /* these are each call's own: see CT__WASM_OWN_ENV */
    set_variable(i, "CONSTELLATION_DEADLINE", "");
    set_variable(i, "TRACEPARENT", "");
}

static bool make_ready(instance *i, const ct_frame *frame) {
    char why[CT__WASM_TEXT] = "";
    take_init(i, frame);
    if (i->handler == NULL)
        i->handler = strdup("main.handler");
    set_arguments(i);
    set_facts(i);
    const char *dot = strrchr(i->handler, '.');
    int result = ct__format(i->files, sizeof i->files, "%s/files", i->dir);
    if (result == 0)
        result = ct__wasm_load(i->engine, i->dir, dot != NULL ? dot + 1 : i->handler, &i->code, why);
    i->setting.code = &i->code;
    i->setting.files = i->files;
    i->setting.memory_limit_bytes = (i->memory_limit_mb << 20) * i->memory_percent / 100;
    i->setting.args = i->arguments;
    i->setting.names = i->names;
    i->setting.values = i->values;
    i->is_ready = result == 0;
    if (i->is_ready)
        return ct__wasm_send(&i->port, CT_FRAME_READY, 0, 0, "\x08\x01", 2);
    size_t len = 0;
    ct_automem char *error = ct__wasm_error_body("LoadError", why, "", &len);
    uint8_t head[16];
    ct__writer writer = {.at = head, .left = sizeof head};
    ct__pb_put_bytes_head(&writer, 2, len);
    const size_t head_len = sizeof head - writer.left;
    ct_automem uint8_t *body = malloc(head_len + len);
    if (error == NULL || body == NULL)
        return false;
    memcpy(body, head, head_len);
    memcpy(body + head_len, error, len);
    return ct__wasm_send(&i->port, CT_FRAME_READY, 0, 0, body, head_len + len);
}

/* ---- calls ---- */

static void *run_beside(void *arg) {
    running *own = arg;
    instance *i = own->instance;
    ct__wasm_run(&i->setting, &own->call, &own->exec);
    ct__wasm_call_fini(&own->call);
    (void)pthread_mutex_lock(&i->lock);
    running **at = &i->running;
    while (*at != own)
        at = &(*at)->next;
    *at = own->next;
    if (i->running == NULL)
        (void)pthread_cond_signal(&i->is_idle);
    (void)pthread_mutex_unlock(&i->lock);
    free((void *)(uintptr_t)own->exec.body);
    free(own);
    return NULL;
}

static bool start_beside(instance *i, const ct_frame *exec) {
    running *own = calloc(1, sizeof *own);
    if (own == NULL || ct__wasm_call_init(&own->call, &i->port) < 0) {
        free(own);
        return false;
    }
    own->instance = i;
    own->exec = *exec;
    own->call.id = exec->call_id;
    (void)pthread_mutex_lock(&i->lock);
    own->next = i->running;
    i->running = own;
    (void)pthread_mutex_unlock(&i->lock);
    pthread_attr_t attributes;
    pthread_t thread;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(&thread, &attributes, run_beside, own) != 0)
        (void)run_beside(own); /* the limits leave no room for another */
    (void)pthread_attr_destroy(&attributes);
    return true;
}

static void give_up(instance *i, uint32_t call_id) {
    (void)pthread_mutex_lock(&i->lock);
    for (running *each = i->running; each != NULL; each = each->next)
        if (each->call.id == call_id)
            atomic_store(&each->call.is_given_up, true);
    (void)pthread_mutex_unlock(&i->lock);
}

static void wait_for_calls(instance *i) {
    (void)pthread_mutex_lock(&i->lock);
    while (i->running != NULL)
        (void)pthread_cond_wait(&i->is_idle, &i->lock);
    (void)pthread_mutex_unlock(&i->lock);
}

/* Returns false when nothing more is to be read. */
static bool act_on(instance *i, ct_frame *frame) {
    switch (frame->kind) {
    case CT_FRAME_INIT: return !i->is_ready && i->handler == NULL && make_ready(i, frame);
    case CT_FRAME_EXEC:
        if (!i->is_ready || frame->len < CT_EXEC_HEAD_BYTES)
            return false;
        if (i->concurrency > 1) {
            const ct_frame own = *frame;
            frame->body = NULL; /* the call's own now */
            return start_beside(i, &own);
        }
        ct__wasm_run(&i->setting, &i->only, frame);
        return true;
    case CT_FRAME_CANCEL: give_up(i, frame->call_id); return true;
    case CT_FRAME_PING: return ct__wasm_send(&i->port, CT_FRAME_PONG, 0, frame->call_id, frame->body, frame->len);
    default: return false;
    }
}

void ct__wasm_serve(ct__wasm_engine *engine, int fd, const char *dir, uint64_t cpu_millis, uint64_t memory_percent) {
    static const uint8_t hello[] = {8, 1, 18, 4, 'w', 'a', 's', 'm'};
    instance *i = calloc(1, sizeof *i);
    if (i == NULL)
        return (void)close(fd);
    i->engine = engine;
    i->dir = dir;
    i->concurrency = 1;
    i->memory_percent = memory_percent;
    i->setting = (ct__wasm_setting){.engine = engine, .cpu_millis = cpu_millis, .log_limit_bytes = LOG_LIMIT_BYTES};
    ct__wasm_port_init(&i->port, fd);
    (void)pthread_mutex_init(&i->lock, NULL);
    (void)pthread_cond_init(&i->is_idle, NULL);
    bool goes_on = ct__wasm_call_init(&i->only, &i->port) == 0 && ct__wasm_send(&i->port, CT_FRAME_HELLO, 0, 0, hello, sizeof hello);
    for (ct_frame frame; goes_on && ct__wasm_receive(&i->port, &frame) == 1; free((void *)(uintptr_t)frame.body))
        goes_on = act_on(i, &frame);
    (void)shutdown(fd, SHUT_RDWR); /* what still runs notices */
    wait_for_calls(i);
    ct__wasm_call_fini(&i->only);
    ct__wasm_unload(&i->code);
    /* names that the platform gave are constants; the guest's own come before them */
    for (size_t n = 0; n + 8 < i->setting.env_count; n++) {
        free((void *)(uintptr_t)i->names[n]);
        free((void *)(uintptr_t)i->values[n]);
    }
    for (size_t n = 0; n < 4; n++)
        free(i->facts[n]);
    if (i->setting.arg_count > 0)
        free((void *)(uintptr_t)i->arguments[0]);
    free(i->args);
    free(i->handler);
    free(i);
    (void)close(fd);
}
