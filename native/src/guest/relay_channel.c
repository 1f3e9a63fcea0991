#define _GNU_SOURCE
#include "guest/relay_state.h"

#include "base/cursor.h"
#include "base/err.h"
#include "proto/pbwire.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

void ct__relay_end(ct__relay_state *r, int status) {
    if (!r->ended)
        r->status = status;
    r->ended = true;
}

void ct__relay_say(ct__relay_state *r, uint8_t kind, uint32_t call_id, const void *body, size_t len) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    (void)ct_frame_put(head, kind, 0, call_id, len);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)body, len}};
    while (!r->ended && parts[0].iov_len + parts[1].iov_len > 0) {
        const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        const ssize_t sent = sendmsg(r->channel, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            ct__relay_end(r, CT__HOST_GONE);
        size_t left = sent > 0 ? (size_t)sent : 0;
        for (int i = 0; i < 2; i++) {
            const size_t part = left < parts[i].iov_len ? left : parts[i].iov_len;
            if (part > 0)
                parts[i].iov_base = (uint8_t *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            left -= part;
        }
    }
}

bool ct__relay_hear(ct__relay_state *r, void *out, size_t len) {
    for (uint8_t *at = out; len > 0;) {
        const ssize_t got = recv(r->channel, at, len, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            ct__relay_end(r, CT__HOST_GONE);
            return false;
        }
        at += got;
        len -= (size_t)got;
    }
    return true;
}

void ct__relay_not_ready(ct__relay_state *r, const uint8_t *error, size_t len) {
    uint8_t *body = malloc(len + 16);
    if (body == NULL) {
        ct__relay_end(r, CT__CANNOT);
        return;
    }
    ct__writer w = {.at = body, .left = len + 16};
    ct__pb_put_bytes(&w, 2, error, len);
    r->phase = CT__FAILED;
    ct__relay_say(r, CT_FRAME_READY, 0, body, len + 16 - w.left);
    free(body);
}
