#define _GNU_SOURCE
#include "link/stdio.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct rig {
    ct_reactor *reactor;
    ct__pipes *pipes;
    ct__stdio stdio;
    int peer;
} rig;

static size_t taken, settled, stuck;
static bool is_useful;

static bool take(ct__stdio *stdio, const uint8_t *data, size_t len) {
    CHECK(stdio->pipe != NULL && data != NULL);
    taken += len;
    return is_useful;
}

static void note_settled(ct__stdio *stdio) {
    CHECK(stdio != NULL);
    settled++;
}

static void note_stuck(ct__stdio *stdio) {
    CHECK(stdio != NULL);
    stuck++;
}

static int add_pipe(const rig *g, ct__stdio *stdio) {
    int pipes[2];
    CHECK_INT(pipe2(pipes, O_NONBLOCK), 0);
    *stdio = (ct__stdio){.take = take, .settled = note_settled, .stuck = note_stuck};
    CHECK_INT(ct__stdio_open(stdio, g->pipes, g->reactor, pipes[0]), 0);
    return pipes[1];
}

static void open_rig(rig *g) {
    g->reactor = ct_reactor_new();
    g->pipes = ct__pipes_new(g->reactor);
    CHECK(g->pipes != NULL);
    taken = settled = stuck = 0;
    is_useful = true;
    g->peer = add_pipe(g, &g->stdio);
}

static void close_rig(rig *g) {
    ct__stdio_close(&g->stdio);
    ct__stdio_close(&g->stdio);
    ct__pipes_free(g->pipes);
    ct_reactor_free(g->reactor);
    if (g->peer >= 0)
        (void)close(g->peer);
}

static void turn(const rig *g) {
    struct pollfd door = {.fd = ct_reactor_fd(g->reactor), .events = POLLIN};
    CHECK_INT(poll(&door, 1, 5000), 1);
    CHECK_INT(ct_reactor_drain(g->reactor), 0);
}

static void turn_until(const rig *g, const size_t *count, size_t wanted) {
    while (*count < wanted)
        turn(g);
    CHECK_INT(*count, wanted);
}

/* ---- a writer that holds its pipe: splice(2) keeps the lock while it waits for its socket ---- */

typedef struct holder {
    pthread_t thread;
    int source[2], pipe;
} holder;

static void *hold(void *of) {
    const holder *h = of;
    CHECK_INT(write(h->pipe, "before", 6), 6);
    CHECK_INT(splice(h->source[0], NULL, h->pipe, NULL, 5, 0), 5);
    return NULL;
}

static bool is_held(const holder *h) {
    int unread = 0;
    CHECK_INT(recv(h->source[0], &unread, sizeof unread, MSG_PEEK | MSG_DONTWAIT), -1);
    CHECK_INT(errno, EAGAIN);
    return h->pipe >= 0;
}

static void begin_hold(holder *h, int pipe) {
    h->pipe = pipe;
    CHECK_INT(fcntl(pipe, F_SETFL, 0), 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, h->source), 0);
    CHECK_INT(pthread_create(&h->thread, NULL, hold, h), 0);
    struct timespec moment = {.tv_nsec = 20000000};
    (void)nanosleep(&moment, NULL); /* until it waits: then the lock is its own */
    CHECK(is_held(h));
}

static void end_hold(holder *h) {
    CHECK_INT(write(h->source[1], "after", 5), 5);
    CHECK_INT(pthread_join(h->thread, NULL), 0);
    (void)close(h->source[0]);
    (void)close(h->source[1]);
}

/* ---- */

static void a_pipe_whose_bytes_are_of_no_use_rests_and_is_looked_at_again(void) {
    rig g;
    open_rig(&g);
    CHECK_INT(write(g.peer, "useful", 6), 6);
    turn_until(&g, &taken, 6);
    is_useful = false;
    CHECK_INT(write(g.peer, "x", 1), 1);
    turn_until(&g, &taken, 7);
    CHECK(g.stdio.rest.place != 0);
    CHECK_INT(write(g.peer, "waits", 5), 5);
    CHECK(!ct__stdio_settle(&g.stdio)); /* who asks is told, rest or not */
    turn_until(&g, &settled, 1);
    CHECK_INT(taken, 12);
    CHECK_INT(write(g.peer, "later", 5), 5);
    turn_until(&g, &taken, 17); /* the rest ends by itself */
    close_rig(&g);
}

static void what_was_written_before_is_taken_before_it_has_settled(void) {
    rig g;
    open_rig(&g);
    CHECK(ct__stdio_settle(&g.stdio)); /* nothing is there */
    static char block[65536];
    CHECK_INT(fcntl(g.peer, F_SETPIPE_SZ, 4 * sizeof block), (long long)(4 * sizeof block));
    for (int i = 0; i < 3; i++)
        CHECK_INT(write(g.peer, block, sizeof block), (long long)sizeof block);
    CHECK(!ct__stdio_settle(&g.stdio));
    turn_until(&g, &settled, 1);
    CHECK_INT(taken, 3 * sizeof block);
    CHECK_INT(write(g.peer, "end", 3), 3);
    (void)close(g.peer);
    g.peer = -1;
    CHECK(!ct__stdio_settle(&g.stdio));
    turn_until(&g, &settled, 2);
    CHECK_INT(taken, 3 * sizeof block + 3);
    CHECK(ct__stdio_settle(&g.stdio) || g.stdio.pipe != NULL);
    close_rig(&g);
}

static void the_end_of_the_pipe_closes_it(void) {
    rig g;
    open_rig(&g);
    CHECK_INT(write(g.peer, "last", 4), 4);
    (void)close(g.peer);
    g.peer = -1;
    while (g.stdio.pipe != NULL)
        turn(&g);
    CHECK_INT(taken, 4);
    CHECK(ct__stdio_settle(&g.stdio));
    ct__stdio_finish(&g.stdio);
    close_rig(&g);
}

static void last_words_are_taken_at_once(void) {
    rig g;
    open_rig(&g);
    static char block[65536];
    CHECK_INT(write(g.peer, block, sizeof block), (long long)sizeof block);
    (void)close(g.peer);
    g.peer = -1;
    ct__stdio_finish(&g.stdio);
    CHECK_INT(taken, sizeof block);
    close_rig(&g);
}

static void a_writer_that_holds_its_pipe_holds_nobody_else(void) {
    rig g;
    open_rig(&g);
    ct__stdio others[3];
    int peers[3];
    for (int i = 0; i < 3; i++)
        peers[i] = add_pipe(&g, &others[i]);
    holder held[2];
    begin_hold(&held[0], g.peer);
    begin_hold(&held[1], peers[0]);
    CHECK(!ct__stdio_settle(&g.stdio));
    turn_until(&g, &settled, 1); /* in vain */
    CHECK(g.stdio.is_late && stuck == 0);
    CHECK(ct__stdio_settle(&g.stdio)); /* it is not waited for again */
    ct__stdio_finish(&g.stdio);
    for (size_t i = 1; i < 3; i++) {
        CHECK_INT(write(peers[i], "words", 5), 5);
        CHECK(!ct__stdio_settle(&others[i]));
        turn_until(&g, &settled, 1 + i);
        CHECK_INT(taken, 5 * i);
        ct__stdio_finish(&others[i]);
    }
    ct__stdio_finish(&others[0]); /* stands still for a moment, once */
    CHECK(others[0].was_awaited);
    end_hold(&held[0]);
    turn_until(&g, &taken, 10 + 6 + 5);
    CHECK(!g.stdio.is_late);
    for (int i = 0; i < 3; i++)
        ct__stdio_close(&others[i]); /* one is held still */
    end_hold(&held[1]);
    for (int i = 0; i < 3; i++)
        (void)close(peers[i]);
    close_rig(&g);
}

static void threads_that_are_held_at_the_end_free_what_is_left(void) {
    rig g;
    open_rig(&g);
    holder held;
    begin_hold(&held, g.peer);
    CHECK(!ct__stdio_settle(&g.stdio));
    turn_until(&g, &settled, 1);
    ct__stdio_close(&g.stdio);
    ct__pipes_free(g.pipes);
    ct_reactor_free(g.reactor);
    end_hold(&held);
    struct pollfd end = {.fd = g.peer};
    while (poll(&end, 1, 10) == 0) /* until nobody reads it */
        ;
    CHECK((end.revents & POLLERR) != 0);
    (void)close(g.peer);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_pipe_whose_bytes_are_of_no_use_rests_and_is_looked_at_again),
                                    CASE(what_was_written_before_is_taken_before_it_has_settled),
                                    CASE(the_end_of_the_pipe_closes_it),
                                    CASE(last_words_are_taken_at_once),
                                    CASE(a_writer_that_holds_its_pipe_holds_nobody_else),
                                    CASE(threads_that_are_held_at_the_end_free_what_is_left)};
    return RUN("stdio", cases);
}
