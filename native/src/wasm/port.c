#define _GNU_SOURCE
#include "wasm/port.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "base/sysx.h"

#include <poll.h>
#include <sys/socket.h>

void ct__wasm_port_init(ct__wasm_port *port, int fd) {
    port->fd = fd;
    port->from = port->to = 0;
    (void)pthread_mutex_init(&port->sending, NULL);
}

static bool read_all(ct__wasm_port *port, uint8_t *out, size_t len) {
    while (len > 0) {
        if (port->from == port->to) {
            const bool is_large = len >= sizeof port->held;
            const ssize_t got = ct__recv(port->fd, is_large ? out : port->held, is_large ? len : sizeof port->held, 0);
            if (got <= 0)
                return false;
            if (is_large) {
                out += got;
                len -= (size_t)got;
                continue;
            }
            port->from = 0;
            port->to = (size_t)got;
        }
        const size_t left = port->to - port->from, taken = len < left ? len : left;
        memcpy(out, port->held + port->from, taken);
        port->from += taken;
        out += taken;
        len -= taken;
    }
    return true;
}

int ct__wasm_receive(ct__wasm_port *port, ct_frame *out) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    if (!read_all(port, head, sizeof head))
        return 0;
    const size_t len = ct__be32(head);
    if (len > CT__WASM_BODY_MAX + CT_EXEC_HEAD_BYTES)
        return 0;
    ct_automem uint8_t *body = malloc(len + 1);
    if (body == NULL || !read_all(port, body, len))
        return 0;
    body[len] = 0;
    *out = (ct_frame){.kind = head[4], .flags = head[5], .call_id = ct__be32(head + 8), .body = body, .len = len};
    body = NULL;
    return 1;
}

static bool write_all(int fd, const uint8_t *at, size_t len) {
    while (len > 0) {
        const ssize_t sent = ct__send(fd, at, len, 0);
        if (sent < 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

bool ct__wasm_send(ct__wasm_port *port, uint8_t kind, uint8_t flags, uint32_t call_id, const void *body, size_t len) {
    enum { TOGETHER = 8 << 10 };
    uint8_t whole[CT_FRAME_HEADER_BYTES + TOGETHER];
    if (ct_frame_put(whole, kind, flags, call_id, len) < 0)
        return false;
    const size_t with = len <= TOGETHER ? len : 0; /* a small frame is one write, so one wake-up of its reader */
    if (with > 0)
        memcpy(whole + CT_FRAME_HEADER_BYTES, body, with);
    (void)pthread_mutex_lock(&port->sending);
    const bool is_sent = write_all(port->fd, whole, CT_FRAME_HEADER_BYTES + with) && (with == len || write_all(port->fd, body, len));
    (void)pthread_mutex_unlock(&port->sending);
    return is_sent;
}

bool ct__wasm_is_hung_up(const ct__wasm_port *port) {
    struct pollfd end = {.fd = port->fd, .events = POLLRDHUP};
    return poll(&end, 1, 0) > 0 && (end.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}
