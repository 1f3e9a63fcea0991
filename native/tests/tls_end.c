/* One end of a TLS connection on an inherited socket: sends back what it gets until the peer is done, then says how it ended.
 * For tests with another implementation at the other end.
 * usage: tls_end server|client h2|http1 FD CERT KEY AUTHORITIES NAME ("-" for none) */
#define _GNU_SOURCE
#include "reactor/tls.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 64 << 10 };

typedef struct text {
    uint8_t bytes[FILE_BYTES];
    size_t len;
} text;

static bool is_over;
static int outcome;

static bool read_text(const char *path, text *out) {
    if (strcmp(path, "-") == 0)
        return false;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    out->len = fread(out->bytes, 1, FILE_BYTES, file);
    (void)fclose(file);
    return true;
}

static void received(ct__conn *conn) {
    if (ct__conn_write(conn, ct__bytes_front(&conn->in), conn->in.len) != 0)
        exit(2);
    ct__bytes_skip(&conn->in, conn->in.len);
    if (conn->is_full)
        ct__conn_pause(conn);
}

static void drained(ct__conn *conn) {
    ct__conn_resume(conn);
}

static void ended(ct__conn *conn, int error) {
    outcome = error;
    if (error == 0)
        ct__conn_finish(conn);
    else
        is_over = true;
}

int main(int argc, char **argv) {
    if (argc != 8)
        return 2;
    static text cert, key, authorities;
    const bool is_server = strcmp(argv[1], "server") == 0, has_identity = read_text(argv[4], &cert) && read_text(argv[5], &key);
    const ct_tls_identity identity = {
        .host = "", .chain = cert.bytes, .chain_len = cert.len, .key = key.bytes, .key_len = key.len};
    ct_tls_settings settings = {
        .role = is_server ? CT_TLS_SERVER : CT_TLS_CLIENT,
        .protocol = strcmp(argv[2], "h2") == 0 ? CT_TLS_H2 : CT_TLS_HTTP1,
        .handshake_ms = 20000,
        .ticket_s = 3600,
        .identities = &identity,
        .identity_count = has_identity ? 1 : 0,
        .server_name = argv[7],
    };
    if (read_text(argv[6], &authorities)) {
        settings.authorities = authorities.bytes;
        settings.authorities_len = authorities.len;
    }
    ct_tls *tls = NULL;
    ct_tls_fault fault;
    const int result = ct_tls_new(&settings, &tls, &fault);
    if (result != 0) {
        (void)fprintf(stderr, "%d: part %u flaw %u %s\n", result, fault.part, fault.flaw, fault.reason);
        return 2;
    }
    static const ct__conn_calls CALLS = {.received = received, .drained = drained, .ended = ended};
    ct_reactor *r = ct_reactor_new();
    ct__conn conn = {0};
    if (r == NULL || ct__conn_open(&conn, r, atoi(argv[3]), false, &CALLS) != 0 || ct__conn_secure(&conn, tls) != 0)
        return 2;
    while (!is_over && !conn.is_broken) {
        struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
        if (poll(&door, 1, 30000) != 1 || ct_reactor_drain(r) < 0)
            return 2;
    }
    (void)printf("%d|%s|%s|%s\n", outcome, ct__conn_alpn(&conn), ct__conn_server_name(&conn), ct__conn_tls_reason(&conn));
    ct__conn_close(&conn);
    ct_tls_free(tls);
    ct_reactor_free(r);
    return 0;
}
