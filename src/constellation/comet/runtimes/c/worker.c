/* The worker of functions in C, compiled together with one: reads the frames of proto/agent.proto on descriptor 3, calls
 * the handler, answers each exec frame with exactly one result or error frame. With one call at a time the handler runs in
 * the main thread, with more each call has a thread. */

#define _GNU_SOURCE
#include "worker.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 1, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP };
enum {
    CHANNEL_FD = 3,
    HEADER_BYTES = 12,
    HEAD_BYTES = 48,
    MAX_BODY_BYTES = 6 << 20, /* of an event and of an output; the platform's limit for a synchronous call */
    CHUNK_BYTES = 1 << 20,
    STREAM = 1,
    LOG_STDERR = 1,
    LOG_CUT = 2,
    MESSAGE_BYTES = 8 << 10,
    LOG_LIMIT_BYTES = 64 << 10
};

typedef struct frame {
    uint8_t kind;
    uint32_t call_id;
    uint32_t len;
    uint8_t *body; /* with a NUL behind it */
} frame;

struct ct_call {
    frame exec;
    int64_t log_left; /* below 0 once it was cut */
};

static struct {
    char *handler, *name, *version, *tenant, *namespace_name;
    uint64_t memory_limit_mb, concurrency, log_limit_bytes;
} init = {.concurrency = 1, .log_limit_bytes = LOG_LIMIT_BYTES};

static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;
static struct ct_call ambient = {.log_left = LOG_LIMIT_BYTES};
static _Thread_local struct ct_call *own_call;
static struct ct_call *only_call;
static int in_hand;

/* ---- frames ---- */

static void write_all(const void *data, size_t len) {
    const uint8_t *at = data;
    while (len > 0) {
        const ssize_t wrote = write(CHANNEL_FD, at, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            _exit(1); /* nobody is left to talk to */
        at += wrote;
        len -= (size_t)wrote;
    }
}

static void send_frame(uint8_t kind, uint8_t flags, uint32_t call_id, const void *body, size_t len) {
    enum { TOGETHER = 16 << 10 };
    uint8_t whole[HEADER_BYTES + TOGETHER];
    const uint32_t wire_len = htobe32((uint32_t)len), wire_id = htobe32(call_id);
    memset(whole, 0, HEADER_BYTES);
    memcpy(whole, &wire_len, 4);
    whole[4] = kind;
    whole[5] = flags;
    memcpy(whole + 8, &wire_id, 4);
    const size_t with = len <= TOGETHER ? len : 0; /* a small frame is one write, so one wake-up of its reader */
    if (with > 0)
        memcpy(whole + HEADER_BYTES, body, with);
    pthread_mutex_lock(&sending);
    write_all(whole, HEADER_BYTES + with);
    if (with < len)
        write_all(body, len);
    pthread_mutex_unlock(&sending);
}

/* What has been read and not yet used: most frames come whole with one read. */
static uint8_t held[64 << 10];
static size_t held_from, held_to;

/* Who sleeps in read() of a unix socket is also woken when the host has taken what was written; in poll() for what it asks for only. */
static ssize_t read_news(void *out, size_t len) {
    struct pollfd news = {CHANNEL_FD, POLLIN, 0};
    (void)poll(&news, 1, -1);
    return read(CHANNEL_FD, out, len);
}

static void read_all(uint8_t *out, size_t len) {
    while (len > 0) {
        if (held_from == held_to) {
            const bool is_large = len >= sizeof held;
            const ssize_t got = read_news(is_large ? out : held, is_large ? len : sizeof held);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                _exit(got < 0); /* the host is gone */
            if (is_large) {
                out += got;
                len -= (size_t)got;
                continue;
            }
            held_from = 0;
            held_to = (size_t)got;
        }
        const size_t taken = len < held_to - held_from ? len : held_to - held_from;
        memcpy(out, held + held_from, taken);
        held_from += taken;
        out += taken;
        len -= taken;
    }
}

static frame receive(void) {
    uint8_t head[HEADER_BYTES];
    read_all(head, sizeof head);
    frame f = {.kind = head[4]};
    memcpy(&f.len, head, 4);
    memcpy(&f.call_id, head + 8, 4);
    f.len = be32toh(f.len);
    f.call_id = be32toh(f.call_id);
    if (f.len > MAX_BODY_BYTES + HEAD_BYTES || (f.body = malloc((size_t)f.len + 1)) == NULL)
        _exit(1);
    read_all(f.body, f.len);
    f.body[f.len] = 0;
    return f;
}

/* ---- control messages: as much of protobuf as Hello, Init and Ready need ---- */

typedef struct span {
    const uint8_t *at, *end;
} span;

static uint64_t varint(span *s) {
    uint64_t value = 0;
    for (unsigned shift = 0; s->at < s->end && shift < 64; shift += 7) {
        const uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    return value;
}

/* The next field: its number, 0 at the end. */
static unsigned field(span *s, span *text, uint64_t *number) {
    if (s->at >= s->end)
        return 0;
    const uint64_t tag = varint(s);
    const uint64_t value = varint(s);
    *number = value;
    *text = (span){s->at, s->at};
    if ((tag & 7) == 2 && value <= (uint64_t)(s->end - s->at))
        s->at = text->end = s->at + value;
    return (unsigned)(tag >> 3);
}

static char *copy(span text) {
    char *out = strndup((const char *)text.at, (size_t)(text.end - text.at));
    return out != NULL ? out : "";
}

static void take_variable(span entry) {
    span text, name = {0}, value = {0};
    uint64_t number;
    for (unsigned key; (key = field(&entry, &text, &number)) != 0;)
        *(key == 1 ? &name : &value) = text;
    if (name.at != NULL)
        setenv(copy(name), value.at != NULL ? copy(value) : "", 1);
}

static void take_init(const frame *f) {
    span all = {f->body, f->body + f->len}, text;
    uint64_t number;
    for (unsigned key; (key = field(&all, &text, &number)) != 0;)
        switch (key) {
        case 1: init.handler = copy(text); break;
        case 2: init.name = copy(text); break;
        case 3: init.version = copy(text); break;
        case 4: init.tenant = copy(text); break;
        case 5: init.namespace_name = copy(text); break;
        case 6: init.memory_limit_mb = number; break;
        case 7: init.concurrency = number; break;
        case 8: take_variable(text); break;
        case 10: init.log_limit_bytes = number; break;
        default: break;
        }
    tzset();
}

/* ---- logs ---- */

static void send_log(struct ct_call *call, uint8_t flags, const char *data, size_t len) {
    if (call->log_left < 0 || len == 0)
        return;
    if (len > (size_t)call->log_left) {
        len = (size_t)call->log_left;
        while (len > 0 && ((uint8_t)data[len] & 0xc0) == 0x80)
            len--; /* not in the middle of a character */
        flags |= LOG_CUT;
        call->log_left = -1;
    } else {
        call->log_left -= (int64_t)len;
    }
    send_frame(LOG, flags, call->exec.call_id, data, len);
}

static struct ct_call *speaker(void) {
    return own_call != NULL ? own_call : only_call != NULL ? only_call : &ambient;
}

static ssize_t print_out(void *cookie, const char *data, size_t len) {
    send_log(speaker(), cookie != NULL ? LOG_STDERR : 0, data, len);
    return (ssize_t)len;
}

static void catch_output(void) {
    static char is_stderr;
    static const cookie_io_functions_t io = {.write = print_out};
    FILE *out = fopencookie(NULL, "w", io), *err = fopencookie(&is_stderr, "w", io);
    if (out == NULL || err == NULL)
        _exit(1);
    setvbuf(out, NULL, _IOLBF, 4096);
    setvbuf(err, NULL, _IOLBF, 4096);
    stdout = out;
    stderr = err;
}

void ct_log(const ct_context *context, const char *level, const char *format, ...) {
    char line[MESSAGE_BYTES];
    va_list values;
    int len = snprintf(line, sizeof line, "%s ", level);
    va_start(values, format);
    len += vsnprintf(line + len, sizeof line - (size_t)len - 1, format, values);
    va_end(values);
    if (len > (int)sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    fflush(stdout);
    send_log(context->call, LOG_STDERR, line, (size_t)len);
}

/* ---- calls ---- */

static void now_ms(uint64_t *now) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint32_t ct_remaining_ms(const ct_context *context) {
    uint64_t now;
    now_ms(&now);
    return now < context->until_ms ? (uint32_t)(context->until_ms - now) : 0;
}

static void hex(char *out, const uint8_t *data, size_t count, const char *dashes) {
    for (size_t i = 0; i < count; i++) {
        if (dashes != NULL && strchr(dashes, (int)('a' + i)) != NULL)
            *out++ = '-';
        out += sprintf(out, "%02x", data[i]);
    }
}

static void send_answer(struct ct_call *call, ct_answer *answer, bool is_stream, int failed) {
    const uint32_t id = call->exec.call_id;
    if (failed == 0 && !answer->is_failed && answer->output.len > MAX_BODY_BYTES)
        failed = ct_fail(answer, "OutputTooLarge", "the output has %zu bytes; at most %d are carried", answer->output.len,
                         MAX_BODY_BYTES);
    if (failed != 0 && !answer->is_failed)
        (void)ct_fail(answer, "Error", "the handler returned %d", failed);
    if (answer->is_failed)
        send_frame(ERROR, 0, id, answer->error.data, answer->error.len);
    else if (!is_stream)
        send_frame(RESULT, 0, id, answer->output.len > 0 ? answer->output.data : "null", answer->output.len > 0 ? answer->output.len : 4);
    else
        send_frame(RESULT, 0, id, NULL, 0);
}

/* A piece that is put out at once; called by ct_chunk where the caller wants a stream. */
void ct__send_chunk(struct ct_call *call, const void *data, size_t len) {
    const uint8_t *at = data;
    for (size_t part; len > 0; at += part, len -= part) {
        part = len < CHUNK_BYTES ? len : CHUNK_BYTES;
        send_frame(CHUNK, 0, call->exec.call_id, at, part);
    }
}

static void execute(struct ct_call *call) {
    const uint8_t *body = call->exec.body;
    uint32_t remaining, flags;
    memcpy(&remaining, body + 40, 4);
    memcpy(&flags, body + 44, 4);
    remaining = be32toh(remaining);
    const bool is_stream = (be32toh(flags) & STREAM) != 0;
    char request_id[40] = "", trace_id[40] = "", span_id[20] = "", traceparent[64];
    hex(request_id, body, 16, "egik");
    hex(trace_id, body + 16, 16, NULL);
    hex(span_id, body + 32, 8, NULL);
    snprintf(traceparent, sizeof traceparent, "00-%s-%s-01", trace_id, span_id);
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    ct_context context = {.request_id = request_id,
                          .function_name = init.name,
                          .function_version = init.version,
                          .tenant = init.tenant,
                          .namespace_name = init.namespace_name,
                          .memory_limit_mb = (uint32_t)init.memory_limit_mb,
                          .deadline = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9 + remaining / 1e3,
                          .trace_id = trace_id,
                          .span_id = span_id,
                          .traceparent = traceparent,
                          .call = call};
    now_ms(&context.until_ms);
    context.until_ms += remaining;
    ct_answer answer = {.stream_to = is_stream ? call : NULL};
    const bool has_event = call->exec.len > HEAD_BYTES;
    const int failed = CT_HANDLER(has_event ? (const char *)body + HEAD_BYTES : "null", has_event ? call->exec.len - HEAD_BYTES : 4,
                                  &context, &answer);
    ct__answer_close(&answer);
    if (is_stream && failed == 0 && !answer.is_failed && !answer.has_chunks)
        ct__send_chunk(call, answer.output.len > 0 ? answer.output.data : "null", answer.output.len > 0 ? answer.output.len : 4);
    fflush(stdout);
    fflush(stderr);
    send_answer(call, &answer, is_stream, failed);
    free(answer.output.data);
    free(answer.error.data);
    free(call->exec.body);
    free(call);
}

static void *run_call(void *call) {
    own_call = call;
    execute(call);
    __atomic_sub_fetch(&in_hand, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void begin(const frame *exec) {
    struct ct_call *call = malloc(sizeof *call);
    if (call == NULL || exec->len < HEAD_BYTES)
        _exit(1);
    *call = (struct ct_call){.exec = *exec, .log_left = (int64_t)init.log_limit_bytes};
    ambient.log_left = (int64_t)init.log_limit_bytes;
    if (init.concurrency <= 1) {
        only_call = call;
        execute(call);
        only_call = NULL;
        return;
    }
    pthread_t thread;
    __atomic_add_fetch(&in_hand, 1, __ATOMIC_SEQ_CST);
    if (pthread_create(&thread, NULL, run_call, call) != 0)
        (void)run_call(call); /* the limits leave no room for another */
    else
        pthread_detach(thread);
}

int main(void) {
    static const uint8_t hello[] = {8, 1, 18, sizeof CT_LANGUAGE - 1};
    uint8_t greeting[64];
    memcpy(greeting, hello, sizeof hello);
    memcpy(greeting + sizeof hello, CT_LANGUAGE, sizeof CT_LANGUAGE - 1);
    send_frame(HELLO, 0, 0, greeting, sizeof hello + sizeof CT_LANGUAGE - 1);
    catch_output();
    for (;;) {
        const frame f = receive();
        switch (f.kind) {
        case EXEC: begin(&f); continue; /* the body is the call's */
        case INIT:
            take_init(&f);
            ambient.log_left = (int64_t)init.log_limit_bytes;
            send_frame(READY, 0, 0, "\x08\x01", 2);
            break;
        case PING: send_frame(PONG, 0, f.call_id, f.body, f.len); break;
        case CANCEL: break;
        case STOP:
            while (__atomic_load_n(&in_hand, __ATOMIC_SEQ_CST) > 0)
                usleep(1000);
            exit(0);
        default: _exit(1);
        }
        free(f.body);
    }
}
