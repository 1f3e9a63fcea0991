#define _GNU_SOURCE
#include "guest/host.h"

#include "base/cursor.h"
#include "base/err.h"
#include "base/scope.h"
#include "proto/pbwire.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROTOCOL = 1 };

void ct__host_end(ct__host *h, int status) {
    if (!h->ended)
        h->status = status;
    h->ended = true;
}

void ct__host_say(ct__host *h, uint8_t kind, uint32_t call_id, const void *body, size_t len) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    (void)ct_frame_put(head, kind, 0, call_id, len);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)(uintptr_t)body, len}};
    while (!h->ended && parts[0].iov_len + parts[1].iov_len > 0) {
        const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        const ssize_t sent = sendmsg(h->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            ct__host_end(h, CT__HOST_GONE);
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

bool ct__host_hear(ct__host *h, void *out, size_t len) {
    for (uint8_t *at = out; len > 0;) {
        const ssize_t got = recv(h->fd, at, len, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            ct__host_end(h, CT__HOST_GONE);
            return false;
        }
        at += got;
        len -= (size_t)got;
    }
    return true;
}

bool ct__host_take(ct__host *h, ct__host_frame *out) {
    uint8_t header[CT_FRAME_HEADER_BYTES];
    if (!ct__host_hear(h, header, sizeof header))
        return false;
    const size_t len = ct__be32(header);
    ct_automem uint8_t *body = len <= CT_LINK_PAYLOAD_MAX + CT_EXEC_HEAD_BYTES ? malloc(len + 1) : NULL;
    if (body == NULL) {
        ct__host_end(h, CT__HOST_WRONG);
        return false;
    }
    if (!ct__host_hear(h, body, len))
        return false;
    *out = (ct__host_frame){.kind = header[4], .call_id = ct__be32(header + 8), .len = len};
    if (out->kind == CT_FRAME_PING) {
        ct__host_say(h, CT_FRAME_PONG, out->call_id, body, len);
        return false;
    }
    out->body = body;
    body = NULL;
    return true;
}

void ct__host_not_ready(ct__host *h, const uint8_t *error, size_t len) {
    uint8_t *body = malloc(len + 16);
    if (body == NULL) {
        ct__host_end(h, CT__CANNOT);
        return;
    }
    ct__writer w = {.at = body, .left = len + 16};
    ct__pb_put_bytes(&w, 2, error, len);
    ct__host_say(h, CT_FRAME_READY, 0, body, len + 16 - w.left);
    free(body);
}

int ct__host_signals(void) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return ct__errno();
    const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? ct__errno() : fd;
}

/* Everybody who ends is ours to bury; with the program it is over. */
void ct__host_bury(ct__host *h, int signals, pid_t program) {
    struct signalfd_siginfo news;
    (void)!read(signals, &news, sizeof news);
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;)
        if (ended == program)
            ct__host_end(h, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void ct__host_greet(ct__host *h, const char *runtime) {
    uint8_t body[64];
    ct__writer w = {.at = body, .left = sizeof body};
    ct__pb_put_varint(&w, 1, PROTOCOL);
    ct__pb_put_bytes(&w, 2, runtime, strlen(runtime));
    ct__host_say(h, CT_FRAME_HELLO, 0, body, sizeof body - w.left);
}
