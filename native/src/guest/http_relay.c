#define _GNU_SOURCE
#include "guest/http_relay.h"

#include "base/cursor.h"
#include "base/err.h"
#include "base/scope.h"
#include "guest/host.h"
#include "guest/http_call.h"
#include "guest/lambda_error.h"
#include "guest/program.h"
#include "guest/setup.h"
#include "proto/json_member.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CALLS = 1000,           /* as many as an instance may be given at a time */
    IN_BYTES = CT__HTTP1_ANSWER_HEAD_BYTES,
    ERROR_BYTES = 64 << 10, /* of the body of an answer that tells of a failure; what is longer is cut */
    READY_POLL_MS = 10,     /* chosen: a server that starts in 100 ms is met a tenth later */
    END_NOTE_MS = 50,       /* chosen: the kernel takes some milliseconds; what breaks an answer off and lives is rare */
    STREAM = 1,             /* flag of an exec head */
};

typedef struct call {
    int fd;
    uint32_t id;
    bool is_stream; /* its caller takes pieces */
    bool is_cut;    /* more of the answer came than is kept */
    uint8_t *event; /* the frame's body; its head of CT_EXEC_HEAD_BYTES is not sent */
    size_t event_len;
    char head[CT__HTTP_CALL_BYTES];
    size_t head_len, sent; /* of both together */
    ct__http_answer answer;
    uint8_t *kept;
    size_t kept_len, kept_cap, in_len;
    uint8_t in[IN_BYTES];
} call;

enum phase { BOOTING, STARTING, SERVING, FAILED };

typedef struct relay {
    ct__host host;
    int signals;
    enum phase phase;
    bool stops; /* the host wants no more than the calls in hand */
    pid_t program;
    char **argv;
    ct__http_function function;
    size_t count;
    call *calls[CALLS];
} relay;

/* ---- calls ---- */

static void forget(relay *r, size_t place) {
    call *c = r->calls[place];
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->event);
    free(c->kept);
    free(c);
    r->calls[place] = r->calls[--r->count];
    if (r->stops && r->count == 0)
        ct__host_end(&r->host, CT__HOST_GONE);
}

static void say_error(relay *r, uint32_t id, const char *type, const char *message) {
    uint8_t error[CT__LAMBDA_ERROR_BYTES];
    ct__host_say(&r->host, CT_FRAME_ERROR, id, error, ct__error_of(type, message, error));
}

/* An address on loopback where the program listens, or is to. */
static int connect_near(const relay *r, int flags) {
    ct_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    const struct sockaddr_in near = {
        .sin_family = AF_INET, .sin_port = htons(r->function.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || (connect(fd, (const struct sockaddr *)&near, sizeof near) != 0 && errno != EINPROGRESS))
        return ct__errno();
    return ct_take_fd(&fd);
}

/* Keeps what there is room for; false: there is no memory for it. */
static bool keep(call *c, ct__span data) {
    const size_t cap = ct__http_answer_is_good(&c->answer) ? CT_LINK_FRAME_MAX : ERROR_BYTES;
    const size_t len = data.len < cap - c->kept_len ? data.len : cap - c->kept_len;
    c->is_cut |= len < data.len;
    if (c->kept_len + len > c->kept_cap) {
        const size_t wanted = 2 * (c->kept_len + len);
        uint8_t *more = realloc(c->kept, wanted);
        if (more == NULL)
            return false;
        c->kept = more;
        c->kept_cap = wanted;
    }
    if (len > 0)
        memcpy(c->kept + c->kept_len, data.at, len);
    c->kept_len += len;
    return true;
}

static bool take_data(relay *r, call *c, ct__span data) {
    if (!c->is_stream || !ct__http_answer_is_good(&c->answer))
        return keep(c, data);
    if (data.len > 0)
        ct__host_say(&r->host, CT_FRAME_CHUNK, c->id, data.at, data.len);
    return true;
}

/* A server may answer with a text that is no JSON: it is told as the text that it is, unless it says that it is JSON. */
static void say_output(relay *r, const call *c) {
    static const uint8_t NOTHING[] = "null";
    const bool is_empty = c->kept_len == 0;
    const uint8_t *output = is_empty ? NOTHING : c->kept;
    const size_t len = is_empty ? sizeof NOTHING - 1 : c->kept_len;
    if (c->answer.says_json || ct_json_check(output, len, CT_LINK_JSON_DEPTH) == 0) {
        ct__host_say(&r->host, CT_FRAME_RESULT, c->id, output, len);
        return;
    }
    ct_automem uint8_t *quoted = malloc(6 * len + 2);
    const size_t quoted_len = quoted == NULL ? SIZE_MAX : ct__json_quote(quoted, output, len);
    if (quoted_len > CT_LINK_FRAME_MAX)
        say_error(r, c->id, "Function.ResponseSizeTooLarge", "the output is too long: at most 6291456 bytes are carried");
    else
        ct__host_say(&r->host, CT_FRAME_RESULT, c->id, quoted, quoted_len);
}

/* Statuses below 200 never get here; from 300 on the function has failed, in the words of its body. */
static void say_failure(relay *r, const call *c) {
    char type[32], message[96];
    uint8_t error[CT__LAMBDA_ERROR_BYTES];
    (void)snprintf(type, sizeof type, "HTTP.%u", c->answer.status);
    (void)snprintf(message, sizeof message, "the function answered with status %u and an empty body", c->answer.status);
    const bool is_empty = c->kept_len == 0;
    const size_t count = ct__lambda_error(is_empty ? (const uint8_t *)message : c->kept, is_empty ? strlen(message) : c->kept_len,
                                          (ct__span){(const uint8_t *)type, strlen(type)}, error);
    ct__host_say(&r->host, CT_FRAME_ERROR, c->id, error, count);
}

static void say_end(relay *r, const call *c) {
    if (!ct__http_answer_is_good(&c->answer))
        say_failure(r, c);
    else if (c->is_cut)
        say_error(r, c->id, "Function.ResponseSizeTooLarge", "the output is too long: at most 6291456 bytes are carried");
    else if (c->is_stream)
        ct__host_say(&r->host, CT_FRAME_RESULT, c->id, NULL, 0);
    else
        say_output(r, c);
}

/* Reads what is there of the answer; true once the call is over and told. */
static bool understand(relay *r, call *c) {
    size_t at = 0;
    int result = 0;
    while (result == 0 && at < c->in_len && !ct__http_answer_done(&c->answer)) {
        size_t used = 0;
        ct__span data = {0};
        result = ct__http_answer_next(&c->answer, c->in + at, c->in_len - at, &used, &data);
        if (result == 0 && !take_data(r, c, data)) {
            say_error(r, c->id, "Function.ResponseSizeTooLarge", "the output has no room in the memory of this function");
            return true;
        }
        at += used;
    }
    if (result == CT_E_MALFORMED || (result == CT_E_MORE && at == 0 && c->in_len == sizeof c->in)) {
        say_error(r, c->id, "Runtime.InvalidResponse", "the function's server answered with something that is not HTTP/1.1");
        return true;
    }
    c->in_len -= at;
    memmove(c->in, c->in + at, c->in_len);
    if (!ct__http_answer_done(&c->answer))
        return false;
    say_end(r, c);
    return true;
}

/* A program that ends closes its connections before the kernel reports its end: that is then what became of the call. */
static bool is_programs_end(relay *r) {
    struct pollfd news = {r->signals, POLLIN, 0};
    if (poll(&news, 1, END_NOTE_MS) > 0)
        ct__host_bury(&r->host, r->signals, r->program);
    return r->host.ended;
}

static bool has_ended(relay *r, call *c) {
    if (!ct__http_answer_may_end(&c->answer) && is_programs_end(r))
        return true;
    if (ct__http_answer_may_end(&c->answer))
        say_end(r, c);
    else if (c->answer.status == 0 && c->in_len == 0)
        say_error(r, c->id, "Runtime.NoResponse", "the function's server closed the connection without an answer");
    else
        say_error(r, c->id, "Runtime.TruncatedResponse", "the function's server broke its answer off");
    return true;
}

/* True once the call is over and told. One read a turn, so that one answer holds no other up. */
static bool hear_answer(relay *r, call *c) {
    const ssize_t got = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0)
        return has_ended(r, c);
    c->in_len += (size_t)got;
    return understand(r, c);
}

/* A server may answer before it has heard everything, and hear no more: what it says counts, so no error here is one. */
static void put_question(call *c) {
    const size_t total = c->head_len + c->event_len;
    while (c->sent < total) {
        const bool is_head = c->sent < c->head_len;
        const void *at = is_head ? (const void *)(c->head + c->sent) : c->event + CT_EXEC_HEAD_BYTES + (c->sent - c->head_len);
        const size_t left = is_head ? c->head_len - c->sent : total - c->sent;
        const ssize_t sent = send(c->fd, at, left, MSG_NOSIGNAL | (is_head && c->event_len > 0 ? MSG_MORE : 0));
        if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return;
        if (sent < 0 && errno != EINTR)
            break;
        c->sent += sent > 0 ? (size_t)sent : 0;
    }
    c->sent = total;
    free(c->event); /* the function may need the room */
    c->event = NULL;
}

static void take_exec(relay *r, uint32_t id, uint8_t **body, size_t len) {
    ct_exec_head head;
    if (r->phase != SERVING || r->count == CALLS || ct_exec_head_get(*body, len, &head) < 0) {
        ct__host_end(&r->host, CT__HOST_WRONG);
        return;
    }
    call *c = malloc(sizeof *c);
    if (c == NULL) {
        say_error(r, id, "Runtime.OutOfMemory", "no memory is left for the call");
        return;
    }
    memset(c, 0, offsetof(call, in));
    c->fd = connect_near(r, SOCK_NONBLOCK);
    if (c->fd < 0) {
        free(c);
        say_error(r, id, "Runtime.NoServer", "nothing listens on the function's port any more");
        return;
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    c->id = id;
    c->is_stream = (head.flags & STREAM) != 0;
    c->event = *body;
    c->event_len = len - CT_EXEC_HEAD_BYTES;
    *body = NULL;
    c->head_len = ct__http_call_put(c->head, &head, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, &r->function,
                                    c->event_len);
    r->calls[r->count++] = c;
    put_question(c);
}

static void take_cancel(relay *r, uint32_t id) {
    for (size_t i = 0; i < r->count; i++)
        if (r->calls[i]->id == id) {
            forget(r, i);
            return;
        }
}

/* ---- the program ---- */

static int export_setup(const ct__setup *setup, unsigned number) {
    char port[8];
    (void)snprintf(port, sizeof port, "%u", number);
    int result = ct__setup_export_env(setup);
    return result == 0 && setenv("PORT", port, 1) != 0 ? ct__errno() : result;
}

static void take_init(relay *r, const uint8_t *body, size_t len) {
    ct__setup setup;
    if (r->phase != BOOTING || ct__setup_read(body, len, &setup) < 0) {
        ct__host_end(&r->host, CT__HOST_WRONG);
        return;
    }
    (void)snprintf(r->function.name, sizeof r->function.name, "%s", setup.function);
    (void)snprintf(r->function.version, sizeof r->function.version, "%s", setup.version);
    int result = export_setup(&setup, r->function.port);
    ct__setup_free(&setup);
    if (result == 0)
        result = ct__program_run(r->argv, &r->program);
    r->phase = result < 0 ? FAILED : STARTING;
    if (result < 0) {
        char message[CT_PATH_BYTES + 256];
        uint8_t error[CT__LAMBDA_ERROR_BYTES];
        (void)snprintf(message, sizeof message, "the image's entrypoint %s can not be run: %s", r->argv[0], ct_strerror(result));
        ct__host_not_ready(&r->host, error, ct__error_of("Runtime.InvalidEntrypoint", message, error));
    }
}

/* Nothing is asked: that it accepts a connection is what every server does when it is up. */
static void look_if_ready(relay *r) {
    static const uint8_t OK[] = {8, 1};
    ct_autofd fd = connect_near(r, 0);
    if (fd < 0)
        return;
    r->phase = SERVING;
    ct__host_say(&r->host, CT_FRAME_READY, 0, OK, sizeof OK);
}

/* ---- the loop ---- */

static void take_frame(relay *r) {
    ct__host_frame frame;
    if (!ct__host_take(&r->host, &frame))
        return;
    ct_automem uint8_t *body = frame.body;
    switch (frame.kind) {
    case CT_FRAME_INIT: take_init(r, body, frame.len); break;
    case CT_FRAME_EXEC: take_exec(r, frame.call_id, &body, frame.len); break;
    case CT_FRAME_CANCEL: take_cancel(r, frame.call_id); break;
    case CT_FRAME_STOP:
        r->stops = true;
        if (r->count == 0)
            ct__host_end(&r->host, CT__HOST_GONE);
        break;
    default: ct__host_end(&r->host, CT__HOST_WRONG);
    }
}

static void serve(relay *r, size_t place, short events) {
    call *c = r->calls[place];
    if ((events & POLLOUT) != 0)
        put_question(c);
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && hear_answer(r, c))
        forget(r, place);
}

static void turn(relay *r) {
    enum { CHANNEL, SIGNALS, FIXED };
    struct pollfd fds[FIXED + CALLS] = {{r->host.fd, POLLIN, 0}, {r->signals, POLLIN, 0}};
    const size_t count = r->count;
    for (size_t i = 0; i < count; i++) {
        const call *c = r->calls[i];
        const short out = c->sent < c->head_len + c->event_len ? POLLOUT : 0;
        fds[FIXED + i] = (struct pollfd){c->fd, (short)(POLLIN | out), 0};
    }
    if (poll(fds, (nfds_t)(FIXED + count), r->phase == STARTING ? READY_POLL_MS : -1) < 0)
        return; /* interrupted */
    if (r->phase == STARTING)
        look_if_ready(r);
    /* What the program said comes before the news of its end. Backwards, for the last takes the place of one that is over */
    for (size_t i = count; i-- > 0 && !r->host.ended;)
        if (fds[FIXED + i].revents != 0)
            serve(r, i, fds[FIXED + i].revents);
    if (fds[CHANNEL].revents != 0 && !r->host.ended)
        take_frame(r);
    if (fds[SIGNALS].revents != 0 && !r->host.ended)
        ct__host_bury(&r->host, r->signals, r->program);
}

int ct__http_relay(int channel, uint16_t port, char **argv) {
    relay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return CT__CANNOT;
    r->host.fd = channel;
    r->function.port = port;
    r->argv = argv;
    r->signals = ct__host_signals();
    if (r->signals < 0)
        ct__host_end(&r->host, CT__CANNOT);
    ct__host_greet(&r->host, "image");
    while (!r->host.ended)
        turn(r);
    const int status = r->host.status;
    while (r->count > 0)
        forget(r, r->count - 1);
    if (r->signals >= 0)
        (void)close(r->signals);
    free(r);
    return status;
}
