#define _GNU_SOURCE
#include "reactor/conn.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static size_t received_bytes;
static int ends, last_error, drains;
static bool is_hungry = true, closes_at_once;

static void on_received(ct__conn *conn) {
    if (!is_hungry)
        return;
    received_bytes += conn->in.len;
    ct__bytes_skip(&conn->in, conn->in.len);
    if (closes_at_once)
        ct__conn_close(conn);
}

static void on_drained(ct__conn *conn) {
    CHECK(conn->out.len <= CT__OUT_LOW_BYTES);
    drains++;
}

static void on_ended(ct__conn *conn, int error) {
    CHECK(conn->has_ended);
    ends++;
    last_error = error;
}

static const ct__conn_calls CALLS = {.received = on_received, .drained = on_drained, .ended = on_ended};

static ct_reactor *open_pair(ct__conn *conn, int *peer) {
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    ct_reactor *r = ct_reactor_new();
    *conn = (ct__conn){0};
    CHECK_INT(ct__conn_open(conn, r, pair[0], false, &CALLS), 0);
    *peer = pair[1];
    received_bytes = 0;
    ends = drains = last_error = 0;
    is_hungry = true;
    closes_at_once = false;
    return r;
}

static void turn(ct_reactor *r) {
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK(poll(&door, 1, 1000) == 1);
    CHECK_INT(ct_reactor_drain(r), 0);
}

static void more_than_the_socket_holds_is_sent_as_the_peer_takes_it(void) {
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    static uint8_t block[1 << 20];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (uint8_t)(i * 31);
    CHECK_INT(ct__conn_write(&conn, block, sizeof block), 0);
    CHECK(conn.is_full);
    ct__conn_finish(&conn);
    static uint8_t got[sizeof block];
    size_t at = 0;
    for (ssize_t n = 1; n != 0;) {
        struct pollfd doors[2] = {{.fd = ct_reactor_fd(r), .events = POLLIN}, {.fd = peer, .events = POLLIN}};
        CHECK(poll(doors, 2, 1000) > 0);
        CHECK_INT(ct_reactor_drain(r), 0);
        while ((n = read(peer, got + at, sizeof got - at)) > 0)
            at += (size_t)n;
        if (at == sizeof got && n < 0 && errno == EAGAIN)
            continue;
        if (at == sizeof got)
            n = read(peer, got, 1); /* the end follows */
    }
    CHECK_INT(at, sizeof block);
    CHECK_INT(memcmp(got + 1, block + 1, sizeof block - 1), 0);
    CHECK_INT(drains, 1);
    CHECK_INT(ends, 0); /* the other way is open still */
    ct__conn_close(&conn);
    ct__conn_close(&conn);
    ct_reactor_free(r);
    (void)close(peer);
}

static void reading_rests_at_the_limit_and_while_paused(void) {
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    conn.in_limit = 4;
    is_hungry = false;
    CHECK_INT(write(peer, "12345", 5), 5);
    turn(r);
    CHECK_INT(conn.in.len, 5);
    CHECK_INT(write(peer, "6", 1), 1);
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK_INT(poll(&door, 1, 0), 0);
    ct__bytes_skip(&conn.in, 5);
    ct__conn_resume(&conn);
    is_hungry = true;
    turn(r);
    CHECK_INT(received_bytes, 1);
    ct__conn_pause(&conn);
    CHECK_INT(write(peer, "7", 1), 1);
    CHECK_INT(poll(&door, 1, 0), 0);
    ct__conn_resume(&conn);
    turn(r);
    CHECK_INT(received_bytes, 2);
    ct__conn_close(&conn);
    ct_reactor_free(r);
    (void)close(peer);
}

/* There are thousands of them: what each keeps is what the process can not give back. */
static void a_connection_at_rest_holds_little(void) {
    enum { LITTLE = 1024, MUCH = 40000 };
    static const uint8_t block[MUCH];
    static uint8_t got[MUCH];
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    is_hungry = false;
    CHECK_INT(write(peer, block, 300), 300);
    turn(r);
    CHECK_INT(conn.in.len, 300);
    CHECK(conn.in.cap <= LITTLE); /* a request that is not whole yet */
    is_hungry = true;
    CHECK_INT(write(peer, block, sizeof block), sizeof block);
    while (received_bytes < 300 + sizeof block)
        turn(r);
    CHECK_INT(received_bytes, 300 + sizeof block);
    CHECK(conn.in.cap <= LITTLE);
    CHECK_INT(ct__conn_write(&conn, block, sizeof block), 0);
    CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(read(peer, got, sizeof got), sizeof got);
    CHECK_INT(conn.out.len, 0);
    CHECK(conn.out.cap <= LITTLE);
    ct__conn_close(&conn);
    ct_reactor_free(r);
    (void)close(peer);
}

static void the_last_bytes_come_before_the_end(void) {
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    CHECK_INT(write(peer, "abc", 3), 3);
    (void)close(peer);
    while (ends == 0)
        turn(r);
    CHECK_INT(received_bytes, 3);
    CHECK_INT(last_error, 0);
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    for (int i = 0; i < 4 && poll(&door, 1, 0) == 1; i++)
        CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(poll(&door, 1, 0), 0); /* a dead peer does not keep the loop busy */
    CHECK_INT(ends, 1);
    CHECK_INT(ct__conn_write(&conn, "x", 1), 0); /* taken and forgotten, or refused by the kernel */
    ct__conn_close(&conn);
    ct_reactor_free(r);
}

static void who_reads_to_end_hears_what_was_sent_before_the_end(void) {
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    conn.reads_to_end = true;
    ct__conn_pause(&conn);
    CHECK_INT(write(peer, "abc", 3), 3);
    (void)close(peer);
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    for (int i = 0; i < 8 && poll(&door, 1, 0) == 1; i++)
        CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(poll(&door, 1, 0), 0); /* the end is told once, not for ever */
    CHECK_INT(ends, 0);
    CHECK_INT(ct__conn_write(&conn, "lost", 4), 0); /* a write that fails does not end the reading either */
    for (int i = 0; i < 8 && poll(&door, 1, 0) == 1; i++)
        CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(ends, 0);
    ct__conn_resume(&conn);
    while (ends == 0)
        turn(r);
    CHECK_INT(received_bytes, 3);
    CHECK_INT(last_error, 0);
    ct__conn_close(&conn);
    ct_reactor_free(r);
}

static void a_connection_may_be_closed_by_what_it_received(void) {
    ct__conn conn;
    int peer;
    ct_reactor *r = open_pair(&conn, &peer);
    closes_at_once = true;
    CHECK_INT(write(peer, "abc", 3), 3);
    (void)close(peer);
    turn(r);
    CHECK_INT(ends, 0);
    CHECK_INT(conn.fd, -1);
    ct_reactor_free(r);
}

/* A worker that answers and dies: what it said counts, though nothing can be sent to it any more. */
static void input_is_read_to_its_end_whatever_became_of_the_peer(void) {
    for (int is_paused = 0; is_paused < 2; is_paused++) {
        int pair[2];
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        ct_reactor *r = ct_reactor_new();
        ct__conn conn = {.reads_to_end = true};
        CHECK_INT(ct__conn_open(&conn, r, pair[0], false, &CALLS), 0);
        received_bytes = 0;
        ends = 0;
        is_hungry = true;
        closes_at_once = false;
        if (is_paused)
            ct__conn_pause(&conn);
        CHECK_INT(write(pair[1], "abc", 3), 3);
        (void)close(pair[1]);
        uint8_t *room = ct__conn_room(&conn, 1);
        CHECK(room != NULL);
        *room = 'x';
        ct__conn_wrote_now(&conn, 1);
        CHECK(conn.is_broken);
        struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
        for (int i = 0; is_paused && i < 4 && poll(&door, 1, 0) == 1; i++)
            CHECK_INT(ct_reactor_drain(r), 0);
        if (is_paused) {
            CHECK_INT(poll(&door, 1, 0), 0); /* and it does not keep the loop busy meanwhile */
            CHECK_INT(ends, 0);
            ct__conn_resume(&conn);
        }
        while (ends == 0)
            turn(r);
        CHECK_INT(received_bytes, 3);
        ct__conn_close(&conn);
        ct_reactor_free(r);
    }
}

static int accepted_fd = -1;

static void keeps(ct__listener *listener, int fd) {
    (void)listener;
    accepted_fd = fd;
}

static void what_is_written_while_connecting_arrives(void) {
    char path[] = "/tmp/ct-conn-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    const int door = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(door, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(door, 1), 0);
    ct_reactor *r = ct_reactor_new();
    ct__listener listener = {.accepted = keeps};
    CHECK_INT(ct__listener_open(&listener, r, door), 0);
    bool is_connecting;
    const int fd = ct__connect_unix(address.sun_path, &is_connecting);
    CHECK(fd >= 0);
    ct__conn conn = {0};
    CHECK_INT(ct__conn_open(&conn, r, fd, is_connecting, &CALLS), 0);
    CHECK_INT(ct__conn_write(&conn, "hi", 2), 0);
    while (accepted_fd < 0 || conn.out.len > 0)
        turn(r);
    char got[2];
    CHECK_INT(read(accepted_fd, got, 2), 2);
    ct__listener_close(&listener);
    ct__conn_close(&conn);
    ct_reactor_free(r);
    (void)close(accepted_fd);
    (void)close(door);
    (void)unlink(address.sun_path);
    (void)rmdir(path);
    CHECK_INT(ct__connect_unix(address.sun_path, &is_connecting), -ENOENT);
    CHECK_INT(ct__connect_tcp("localhost", 1, &is_connecting), -EINVAL);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(more_than_the_socket_holds_is_sent_as_the_peer_takes_it), CASE(reading_rests_at_the_limit_and_while_paused),
        CASE(a_connection_at_rest_holds_little),
        CASE(the_last_bytes_come_before_the_end), CASE(a_connection_may_be_closed_by_what_it_received),
        CASE(who_reads_to_end_hears_what_was_sent_before_the_end),
        CASE(input_is_read_to_its_end_whatever_became_of_the_peer),
        CASE(what_is_written_while_connecting_arrives)};
    return RUN("conn", cases);
}
