/* Connections that chose HTTP/2: handed over whole, told whose they are by us alone. */
#define _GNU_SOURCE
#include "edge_rig.h"

#include "reactor/tls.h"
#include "tls_issued.h"

static issued ca, identity;
static ct_tls *server_tls;

static ct_tls *tls_of(uint32_t role, uint32_t protocol) {
    const ct_tls_identity own = identity_of(&identity, "");
    const bool is_server = role == CT_TLS_SERVER;
    const ct_tls_settings settings = {.role = role,
                                      .protocol = protocol,
                                      .handshake_ms = 10000,
                                      .identities = &own,
                                      .identity_count = is_server ? 1 : 0,
                                      .authorities = is_server ? NULL : ca.chain,
                                      .authorities_len = is_server ? 0 : ca.chain_len,
                                      .server_name = "127.0.0.1"};
    ct_tls *tls = NULL;
    ct_tls_fault fault;
    CHECK_INT(ct_tls_new(&settings, &tls, &fault), 0);
    return tls;
}

static void open_secured(void) {
    open_rig(2);
    server_tls = tls_of(CT_TLS_SERVER, CT_TLS_EITHER);
    ct_edge_secure(edge, server_tls);
}

static void close_secured(void) {
    close_rig();
    ct_tls_free(server_tls);
}

typedef struct end {
    ct__conn conn;
    int ends, error;
} end;

static void end_received(ct__conn *conn) {
    (void)conn; /* it stays in `in` */
}

static void end_ended(ct__conn *conn, int error) {
    ((end *)conn)->ends++;
    ((end *)conn)->error = error;
}

static void secured_client(end *e, uint32_t protocol) {
    static const ct__conn_calls CALLS = {.received = end_received, .ended = end_ended};
    *e = (end){0};
    CHECK_INT(ct__conn_open(&e->conn, reactor, client(), false, &CALLS), 0);
    ct_tls *tls = tls_of(CT_TLS_CLIENT, protocol);
    CHECK_INT(ct__conn_secure(&e->conn, tls), 0);
    ct_tls_free(tls); /* what it secured outlives it */
    UNTIL(ct__conn_is_secured(&e->conn));
}

static bool got(end *e, const char *text) {
    return e->conn.in.len == strlen(text) && memcmp(ct__bytes_front(&e->conn.in), text, strlen(text)) == 0;
}

static void the_whole_connection_goes_to_the_server_for_it(void) {
    open_secured();
    end c;
    secured_client(&c, CT_TLS_H2);
    CHECK_TEXT(ct__conn_alpn(&c.conn), "h2");
    CHECK_INT(ct__conn_write(&c.conn, "PRI 9.9.9.9 1 forged\n", 21), 0);
    const int s = server_at(h2_door);
    const char *seen = hear(s, "forged\n");
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    CHECK_INT(getsockname(c.conn.fd, (struct sockaddr *)&own, &len), 0);
    char line[CT__PEER_BYTES];
    (void)snprintf(line, sizeof line, "127.0.0.1 %u 127.0.0.1 %u ", ntohs(own.sin_port), port);
    CHECK(strncmp(seen, line, strlen(line)) == 0 && has(seen, " tls\nPRI 9.9.9.9 1 forged\n"));
    CHECK_INT(accept4(back_door, NULL, NULL, SOCK_NONBLOCK), -1);
    CHECK_INT(counts().tunnels, 1);
    CHECK_INT(counts().inflight, 0); /* its requests are counted one by one */
    say(s, "frames");
    UNTIL(got(&c, "frames"));
    (void)close(s); /* the server's last word ends it, though the client says nothing */
    UNTIL(c.ends == 1);
    CHECK_INT(c.error, 0);
    ct__conn_close(&c.conn);
    UNTIL(counts().connections == 0);
    CHECK_INT(counts().tunnels, 0);
    close_secured();
}

static void http_1_is_read_as_ever(void) {
    open_secured();
    end c;
    secured_client(&c, CT_TLS_HTTP1);
    CHECK_TEXT(ct__conn_alpn(&c.conn), "http/1.1");
    CHECK_INT(ct__conn_write(&c.conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 27), 0);
    const int s = server();
    CHECK(has(hear(s, "\r\n\r\n"), " tls direct\r\n\r\n"));
    say(s, "HTTP/1.1 204 \r\n\r\n");
    UNTIL(got(&c, "HTTP/1.1 204 \r\n\r\n"));
    CHECK_INT(counts().tunnels, 0);
    ct__conn_close(&c.conn);
    (void)close(s);
    close_secured();
}

static void a_client_that_leaves_ends_its_tunnel(void) {
    open_secured();
    end c;
    secured_client(&c, CT_TLS_H2);
    CHECK_INT(ct__conn_write(&c.conn, "x", 1), 0);
    const int s = server_at(h2_door);
    (void)hear(s, "\nx");
    ct__conn_close(&c.conn); /* without a word */
    CHECK_TEXT(hear(s, NULL), "");
    (void)close(s);
    UNTIL(counts().connections == 0 && counts().tunnels == 0);
    close_secured();
}

static void there_are_so_many_and_no_more(void) {
    open_secured();
    end kept[2], over;
    int ends[2];
    for (int i = 0; i < 2; i++) {
        secured_client(&kept[i], CT_TLS_H2);
        CHECK_INT(ct__conn_write(&kept[i].conn, "x", 1), 0);
        ends[i] = server_at(h2_door);
    }
    secured_client(&over, CT_TLS_H2);
    CHECK_INT(ct__conn_write(&over.conn, "x", 1), 0);
    UNTIL(over.ends == 1);
    ct__conn_close(&over.conn);
    CHECK_INT(accept4(h2_door, NULL, NULL, SOCK_NONBLOCK), -1);
    ct__conn_close(&kept[0].conn);
    UNTIL(counts().tunnels == 1);
    secured_client(&over, CT_TLS_H2); /* there is room again */
    CHECK_INT(ct__conn_write(&over.conn, "x", 1), 0);
    const int s = server_at(h2_door);
    ct__conn_close(&over.conn);
    ct__conn_close(&kept[1].conn);
    (void)close(s);
    (void)close(ends[0]);
    (void)close(ends[1]);
    close_secured();
}

static void without_a_server_it_ends(void) {
    open_secured();
    (void)unlink(h2_path);
    end c;
    secured_client(&c, CT_TLS_H2);
    CHECK_INT(ct__conn_write(&c.conn, "x", 1), 0);
    UNTIL(c.ends == 1);
    CHECK_INT(c.conn.in.len, 0); /* no problem in HTTP/1.1 */
    ct__conn_close(&c.conn);
    close_secured();
}

/* And the edge can go in the middle of it. */
static void a_client_that_takes_nothing_stops_the_server(void) {
    open_secured();
    static char block[65536];
    end c;
    secured_client(&c, CT_TLS_H2);
    CHECK_INT(ct__conn_write(&c.conn, "x", 1), 0);
    const int s = server_at(h2_door);
    (void)hear(s, "\nx");
    ct__conn_pause(&c.conn);
    size_t sent = 0;
    for (int quiet = 0; quiet < 20;) {
        const ssize_t n = send(s, block, sizeof block, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        turn(1);
    }
    CHECK(sent < 50000000);
    ct_edge_stop(edge);
    CHECK_INT(counts().tunnels, 1); /* its server says when it is over */
    ct__conn_close(&c.conn);
    (void)close(s);
    close_secured();
}

static void requests_within_count_among_all(void) {
    open_secured();
    CHECK_INT(ct_edge_enter(edge), 0);
    CHECK_INT(ct_edge_enter(edge), 0);
    CHECK_INT(ct_edge_enter(edge), CT_E_FULL);
    CHECK_INT(counts().inflight, 2);
    ct_edge_leave(edge);
    CHECK_INT(ct_edge_enter(edge), 0);
    ct_edge_leave(edge);
    ct_edge_leave(edge);
    close_secured();
}

int main(void) {
    static const ct_case cases[] = {
        CASE(the_whole_connection_goes_to_the_server_for_it), CASE(http_1_is_read_as_ever), CASE(a_client_that_leaves_ends_its_tunnel),
        CASE(there_are_so_many_and_no_more), CASE(without_a_server_it_ends), CASE(a_client_that_takes_nothing_stops_the_server),
        CASE(requests_within_count_among_all)};
    issue(&ca, "Test CA", NULL, NULL, 86400);
    issue(&identity, "edge", "IP:127.0.0.1", &ca, 3600);
    const int result = RUN("edge_tunnel", cases);
    forget(&ca);
    forget(&identity);
    return result;
}
