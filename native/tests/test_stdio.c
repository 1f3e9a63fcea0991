#define _GNU_SOURCE
#include "link/stdio.h"

#include "ct_test.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static size_t taken;
static bool is_useful = true;

static bool take(ct__stdio *stdio, const uint8_t *data, size_t len) {
    CHECK(stdio->fd >= 0 && data != NULL);
    taken += len;
    return is_useful;
}

static int open_pipe(ct__stdio *stdio, ct_reactor *r) {
    int pipes[2];
    CHECK_INT(pipe2(pipes, O_NONBLOCK), 0);
    *stdio = (ct__stdio){.take = take};
    CHECK_INT(ct__stdio_open(stdio, r, pipes[0]), 0);
    taken = 0;
    is_useful = true;
    return pipes[1];
}

static void turn(ct_reactor *r) {
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK_INT(poll(&door, 1, 5000), 1);
    CHECK_INT(ct_reactor_drain(r), 0);
}

static void a_pipe_whose_bytes_are_of_no_use_rests_and_is_looked_at_again(void) {
    ct_reactor *r = ct_reactor_new();
    ct__stdio stdio;
    const int peer = open_pipe(&stdio, r);
    CHECK_INT(write(peer, "useful", 6), 6);
    turn(r);
    CHECK_INT(taken, 6);
    is_useful = false;
    CHECK_INT(write(peer, "x", 1), 1);
    turn(r);
    CHECK_INT(taken, 7);
    CHECK_INT(stdio.watch.fd, -1);
    CHECK(stdio.rest.place != 0);
    CHECK_INT(write(peer, "waits", 5), 5);
    CHECK(!ct__stdio_read(&stdio)); /* who asks is told, rest or not */
    CHECK_INT(taken, 12);
    CHECK_INT(write(peer, "later", 5), 5);
    while (taken < 17)
        turn(r); /* the rest ends by itself */
    ct__stdio_close(&stdio);
    ct__stdio_close(&stdio);
    ct_reactor_free(r);
    (void)close(peer);
}

static void the_end_of_the_pipe_closes_it(void) {
    ct_reactor *r = ct_reactor_new();
    ct__stdio stdio;
    const int peer = open_pipe(&stdio, r);
    CHECK_INT(write(peer, "last", 4), 4);
    (void)close(peer);
    while (stdio.fd >= 0)
        turn(r);
    CHECK_INT(taken, 4);
    CHECK(ct__stdio_read(&stdio));
    ct_reactor_free(r);
}

static void a_flood_is_taken_in_bursts(void) {
    ct_reactor *r = ct_reactor_new();
    ct__stdio stdio;
    const int peer = open_pipe(&stdio, r);
    static char block[65536];
    CHECK_INT(write(peer, block, sizeof block), (long long)sizeof block);
    turn(r);
    CHECK_INT(taken, sizeof block);
    ct__stdio_close(&stdio);
    ct_reactor_free(r);
    (void)close(peer);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_pipe_whose_bytes_are_of_no_use_rests_and_is_looked_at_again),
                                    CASE(the_end_of_the_pipe_closes_it), CASE(a_flood_is_taken_in_bursts)};
    return RUN("stdio", cases);
}
