#define _GNU_SOURCE
#include "tls_rig.h"

static void two_ends_talk_and_part_in_good_order(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    g.server.is_echoing = true;
    CHECK(!ct__conn_is_secured(&g.client.conn));
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0); /* waits for the handshake */
    UNTIL(g.r, g.client.bytes == 5);
    CHECK(ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    CHECK_TEXT(ct__conn_alpn(&g.client.conn), "h2");
    CHECK_TEXT(ct__conn_alpn(&g.server.conn), "h2");
    CHECK_TEXT(ct__conn_server_name(&g.server.conn), "comet.example.org");
    ct__conn_finish(&g.client.conn);
    UNTIL(g.r, g.server.ends == 1);
    CHECK_INT(g.server.error, 0);
    CHECK_INT(ct__conn_write(&g.server.conn, "bye", 3), 0); /* the other way is open still */
    UNTIL(g.r, g.client.bytes == 8);
    ct__conn_finish(&g.server.conn);
    UNTIL(g.r, g.client.ends == 1);
    CHECK_INT(g.client.error, 0);
    for (int i = 0; i < 8 && turned(g.r, 0); i++) {}
    CHECK(!turned(g.r, 0)); /* an ended connection keeps nobody busy */
    CHECK_TEXT(ct__conn_tls_reason(&g.client.conn), "");
    close_rig(&g);
}

static void what_is_cut_off_looks_cut_off(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    CHECK_INT(ct__conn_write(&g.client.conn, "half", 4), 0);
    UNTIL(g.r, g.server.bytes == 4);
    while (turned(g.r, 20)) {} /* it has read the session ticket; with that unread the kernel would reset */
    ct__conn_close(&g.client.conn);
    UNTIL(g.r, g.server.ends == 1);
    CHECK_INT(g.server.error, CT_E_TLS_CUT);
    CHECK_INT(ct__conn_write(&g.server.conn, "x", 1), 0); /* taken and forgotten */
    CHECK(!turned(g.r, 0));
    close_rig(&g);
}

/* Much more than the sockets hold, both ways at once, and neither end holds more than it may. */
static void much_passes_both_ways_at_once(void) {
    enum { BLOCK = 3 << 20 };
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    const int tiny = 2048;
    (void)setsockopt(g.server.conn.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    (void)setsockopt(g.client.conn.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    uint8_t *block = malloc(BLOCK);
    CHECK(block != NULL);
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (uint8_t)(i * 2654435761U >> 13);
    for (size_t at = 0; at < BLOCK; at += BLOCK / 3) {
        CHECK_INT(ct__conn_write(&g.client.conn, block + at, BLOCK / 3), 0);
        CHECK_INT(ct__conn_write(&g.server.conn, block + at, BLOCK / 3), 0);
        for (int i = 0; i < 5; i++)
            (void)turned(g.r, 0);
    }
    CHECK(g.client.conn.is_full && g.server.conn.is_full);
    ct__conn_finish(&g.client.conn);
    ct__conn_finish(&g.server.conn);
    UNTIL(g.r, g.client.ends == 1 && g.server.ends == 1);
    CHECK_INT(g.client.error, 0);
    CHECK_INT(g.server.error, 0);
    const uint32_t sum = sum_of(0, block, BLOCK);
    CHECK_INT(g.client.bytes, BLOCK);
    CHECK_INT(g.client.sum, sum);
    CHECK_INT(g.server.bytes, BLOCK);
    CHECK_INT(g.server.sum, sum);
    CHECK_INT(g.client.drains, 1);
    CHECK_INT(g.server.drains, 1);
    free(block);
    close_rig(&g);
}

static void who_takes_nothing_is_sent_nothing(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    UNTIL(g.r, ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    g.server.is_hungry = false;
    g.server.conn.in_limit = 1000;
    static uint8_t block[4 << 20];
    CHECK_INT(ct__conn_write(&g.client.conn, block, sizeof block), 0);
    while (turned(g.r, 20)) {}
    CHECK(g.server.most_held >= 1000 && g.server.most_held < 1000 + (16 << 10));
    CHECK(g.client.conn.out.len > 3 << 20);
    g.server.is_hungry = true;
    on_received(&g.server.conn);
    ct__conn_pause(&g.server.conn);
    const size_t before = g.server.bytes;
    while (turned(g.r, 20)) {}
    CHECK_INT(g.server.bytes, before);
    ct__conn_resume(&g.server.conn);
    UNTIL(g.r, g.server.bytes == sizeof block);
    close_rig(&g);
}

/* What OpenSSL has taken off the socket is delivered without another word of the socket. */
static void records_that_came_together_are_all_delivered(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    UNTIL(g.r, ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    while (turned(g.r, 20)) {}
    ct__conn_pause(&g.server.conn);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(ct__conn_write(&g.client.conn, "record", 6), 0);
        CHECK(turned(g.r, 1000)); /* one record each */
    }
    CHECK_INT(g.server.bytes, 0);
    g.server.conn.in_limit = 1;
    g.server.is_hungry = false;
    ct__conn_resume(&g.server.conn);
    size_t got = 0;
    while (got < 600) {
        UNTIL(g.r, g.server.conn.in.len > 0);
        got += g.server.conn.in.len;
        CHECK_INT(g.server.conn.in.len, 6);
        ct__bytes_skip(&g.server.conn.in, g.server.conn.in.len);
        ct__conn_resume(&g.server.conn);
    }
    CHECK(!turned(g.r, 20));
    close_rig(&g);
}

/* ---- a relay between the ends ---- */

typedef struct relay {
    rig g;
    int near[2]; /* our ends of both sockets: the server's, the client's */
    size_t carried;
} relay;

static void open_relay(relay *y, wish server, wish client) {
    int left[2], right[2];
    two_sockets(left);
    two_sockets(right);
    y->g.r = ct_reactor_new();
    y->g.server_tls = tls_of(CT_TLS_SERVER, server);
    y->g.client_tls = tls_of(CT_TLS_CLIENT, client);
    begin(&y->g.server, y->g.r, left[0], y->g.server_tls);
    begin(&y->g.client, y->g.r, right[0], y->g.client_tls);
    y->near[0] = left[1];
    y->near[1] = right[1];
    y->carried = 0;
}

static void close_relay(relay *y) {
    close_rig(&y->g);
    for (int i = 0; i < 2; i++)
        if (y->near[i] >= 0)
            (void)close(y->near[i]);
}

/* Carries up to `step` bytes each way; false when there were none. */
static bool carry(relay *y, size_t step) {
    bool has_carried = false;
    for (int i = 0; i < 2; i++) {
        uint8_t piece[4096];
        const ssize_t got = y->near[i] < 0 ? -1 : recv(y->near[i], piece, step, MSG_DONTWAIT);
        if (got > 0) {
            CHECK_INT(send(y->near[1 - i], piece, (size_t)got, MSG_NOSIGNAL), got);
            y->carried += (size_t)got;
            has_carried = true;
        }
    }
    while (turned(y->g.r, 0)) {
        has_carried = true;
    }
    return has_carried;
}

static size_t carried_in_a_whole_talk;

static void it_works_byte_by_byte(void) {
    relay y;
    open_relay(&y, (wish){.trusts = &ca}, (wish){.shows = &client_identity});
    y.g.server.is_echoing = true;
    CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
    while (carry(&y, 1)) {}
    CHECK_INT(y.g.client.bytes, 5);
    ct__conn_finish(&y.g.client.conn);
    while (carry(&y, 1)) {}
    CHECK_INT(y.g.server.ends, 1);
    CHECK_INT(y.g.server.error, 0);
    carried_in_a_whole_talk = y.carried;
    close_relay(&y);
}

static void a_peer_that_vanishes_at_any_byte_is_noticed(void) {
    for (size_t until = 0; until <= carried_in_a_whole_talk; until += until < 64 ? 1 : 37) {
        relay y;
        open_relay(&y, (wish){.trusts = &ca}, (wish){.shows = &client_identity});
        y.g.server.is_echoing = true;
        CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
        while (y.carried < until && carry(&y, 1)) {}
        for (int i = 0; i < 2; i++) {
            (void)close(y.near[i]);
            y.near[i] = -1;
        }
        UNTIL(y.g.r, y.g.server.ends == 1 && y.g.client.ends == 1);
        CHECK(y.g.server.error == CT_E_TLS_CUT || y.g.server.error == -EPIPE || y.g.server.error == -ECONNRESET);
        CHECK(y.g.client.error == CT_E_TLS_CUT || y.g.client.error == -EPIPE || y.g.client.error == -ECONNRESET);
        for (int i = 0; i < 8 && turned(y.g.r, 0); i++) {}
        CHECK(!turned(y.g.r, 0));
        close_relay(&y);
    }
}

static void a_changed_byte_is_no_genuine_record(void) {
    relay y;
    open_relay(&y, (wish){0}, (wish){0});
    while (carry(&y, 4096)) {}
    CHECK(ct__conn_is_secured(&y.g.server.conn));
    CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
    while (turned(y.g.r, 0)) {}
    uint8_t record[4096];
    const ssize_t len = recv(y.near[1], record, sizeof record, MSG_DONTWAIT);
    CHECK(len > 5);
    record[len - 1] ^= 1;
    CHECK_INT(send(y.near[0], record, (size_t)len, 0), len);
    UNTIL(y.g.r, y.g.server.ends == 1);
    CHECK_INT(y.g.server.error, CT_E_TLS);
    CHECK_INT(y.g.server.bytes, 0);
    CHECK(ct__conn_tls_reason(&y.g.server.conn)[0] != 0);
    close_relay(&y);
}

static void garbage_and_silence_are_no_handshake(void) {
    static const char *const TEXTS[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x40\x00 not a hello at all, and long enough",
                                        "\x80\x2e\x01\x03\x01 an old hello of SSL 2 which nobody speaks any more ......", ""};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        int pair[2];
        two_sockets(pair);
        ct_reactor *r = ct_reactor_new();
        ct_tls *tls = tls_of(CT_TLS_SERVER, (wish){.handshake_ms = 100});
        heard server;
        begin(&server, r, pair[0], tls);
        const size_t len = strlen(TEXTS[i]);
        CHECK_INT(write(pair[1], TEXTS[i], len), len);
        UNTIL(r, server.ends == 1);
        CHECK(server.error == CT_E_TLS || server.error == -ETIMEDOUT);
        CHECK(len > 0 || server.error == -ETIMEDOUT);
        CHECK(!turned(r, 0));
        ct__conn_close(&server.conn);
        ct_tls_free(tls);
        ct_reactor_free(r);
        (void)close(pair[1]);
    }
}

int main(void) {
    issue_all();
    static const ct_case cases[] = {
        CASE(two_ends_talk_and_part_in_good_order), CASE(what_is_cut_off_looks_cut_off),
        CASE(much_passes_both_ways_at_once), CASE(who_takes_nothing_is_sent_nothing),
        CASE(records_that_came_together_are_all_delivered), CASE(it_works_byte_by_byte),
        CASE(a_peer_that_vanishes_at_any_byte_is_noticed), CASE(a_changed_byte_is_no_genuine_record),
        CASE(garbage_and_silence_are_no_handshake)};
    const int result = RUN("tls", cases);
    forget_all();
    return result;
}
