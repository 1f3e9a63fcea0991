/* Every allocation fails once, then all from there on: a call ends with an answer or a refusal, and nothing is left behind. */
#define _GNU_SOURCE
#include "h2/client.h"
#include "h2/server.h"

#include "ct_test.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CALLS = 6, TURN_MS = 2000 };
static const uint64_t SECOND_NS = 1000000000;

/* ---- allocation that fails: the linker puts these in front of libc's ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_reallocarray(void *memory, size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes);

static long countdown; /* 0: never */
static bool stays_empty, has_failed;

static bool fails(void) {
    if (countdown == 0)
        return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (!stays_empty)
        countdown = 0;
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes) {
    return fails() ? NULL : __real_reallocarray(memory, count, bytes);
}

/* ---- a gateway's client, a server that answers or passes on, and one behind it ---- */

static ct_reactor *r;
static char dir[32], front_path[64], back_path[64];
static int front_door, back_door;

typedef struct owner {
    ct__h2_server *server;
    bool is_back;
} owner;

static bool wanted(void *ctx, const ct__h2_head *head) {
    const owner *o = ctx;
    return o->is_back || (head->path.len > 1 && head->path.data[1] != 'p');
}

static void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    const owner *o = ctx;
    const ct__h2_span pieces[] = {{message, len}, {message, len}};
    if (ct__h2_is(head->path, "/refuse", 7))
        (void)ct__h2_refuse(o->server, stream, 8, pieces[0], pieces[1]);
    else if (ct__h2_is(head->path, "/forward", 8) && !o->is_back)
        (void)ct__h2_forward(o->server, stream);
    else
        (void)ct__h2_answer(o->server, stream, pieces, 2);
}

static const ct__h2_server_calls SERVER_CALLS = {.wanted = wanted, .request = request};

typedef struct caller {
    ct__h2_call call;
    bool is_done;
} caller;

static void done(ct__h2_call *call, const ct__h2_reply *reply) {
    caller *c = (caller *)call;
    CHECK(!c->is_done);
    c->is_done = true;
    CHECK(reply->status != 4); /* the deadline is for what hangs */
}

static ct__h2_span span(const char *text) {
    return (ct__h2_span){(const uint8_t *)text, strlen(text)};
}

static int listen_at(char *where, const char *name) {
    (void)snprintf(where, 64, "%s/%s", dir, name);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", where);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(fd, 16), 0);
    return fd;
}

static void call_all(ct__h2_client *client) {
    static const char *const paths[CALLS] = {"/answer", "/refuse", "/forward", "/pass", "/answer", "/pass"};
    static char body[20000];
    caller callers[CALLS];
    for (size_t i = 0; i < CALLS; i++) {
        callers[i] = (caller){.call = {.done = done}};
        const ct__h2_span piece = {(const uint8_t *)body, i < 4 ? 10 : sizeof body};
        const ct__h2_pair pair = {span("nova-identity"), span("somebody"), true};
        const ct__h2_request call = {.path = span(paths[i]),
                                     .pairs = &pair,
                                     .pair_count = 1,
                                     .pieces = &piece,
                                     .piece_count = 1,
                                     .deadline_ns = ct__reactor_now_ns(r) + 10 * SECOND_NS};
        const int result = ct__h2_begin(client, &callers[i].call, &call);
        CHECK(result <= 0);
        callers[i].is_done = result < 0;
    }
    for (size_t i = 0; i < CALLS; i++) {
        while (!callers[i].is_done) {
            struct pollfd wait = {.fd = ct_reactor_fd(r), .events = POLLIN};
            CHECK(poll(&wait, 1, TURN_MS) >= 0);
            CHECK(ct_reactor_drain(r) >= 0);
        }
    }
}

static bool run_with(long nth, bool stays) {
    owner front = {0}, back = {.is_back = true};
    const ct__h2_limits limits = {.backoff_ns = 1, .backoff_max_ns = 1};
    has_failed = false;
    stays_empty = stays;
    r = ct_reactor_new();
    CHECK(r != NULL);
    countdown = nth;
    front.server = ct__h2_server_new(r, front_door, back_path, &limits, &SERVER_CALLS, &front);
    back.server = ct__h2_server_new(r, back_door, "/nowhere", &limits, &SERVER_CALLS, &back);
    ct__h2_client *client = ct__h2_client_new_unix(r, front_path, &limits);
    if (front.server != NULL && back.server != NULL && client != NULL) {
        call_all(client);
        countdown = 0;
        call_all(client); /* and it works again */
    }
    countdown = 0;
    ct__h2_client_free(client);
    ct__h2_server_free(front.server);
    ct__h2_server_free(back.server);
    ct_reactor_free(r);
    return has_failed;
}

static void calls_end_whatever_allocation_fails(void) {
    (void)snprintf(dir, sizeof dir, "/tmp/ct-h2-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    front_door = listen_at(front_path, "front");
    back_door = listen_at(back_path, "back");
    long count = 1;
    for (int stays = 0; stays < 2; stays++)
        for (count = 1; run_with(count, stays != 0); count++)
            continue;
    CHECK(count > 50);
    (void)close(front_door);
    (void)close(back_door);
    (void)unlink(front_path);
    (void)unlink(back_path);
    CHECK_INT(rmdir(dir), 0);
}

int main(void) {
    static const ct_case cases[] = {CASE(calls_end_whatever_allocation_fails)};
    return RUN("h2_nomem", cases);
}
