#define _GNU_SOURCE
#include "guest/asker.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

void ct__asker_open(ct__asker *asker, int fd) {
    memset(asker, 0, offsetof(ct__asker, trailers));
    asker->fd = fd;
    asker->at = CT__ASKER_HEAD;
    asker->in_len = 0;
}

void ct__asker_close(ct__asker *asker, const ct__asker_owner *tell, void *owner) {
    if (asker->at == CT__ASKER_FREE)
        return;
    tell->closed(owner, asker);
    (void)close(asker->fd);
    free(asker->gathered);
    asker->gathered = NULL;
    asker->fd = -1;
    asker->at = CT__ASKER_FREE;
}

/* ---- out ---- */

void ct__asker_answer(ct__asker *asker, size_t head_len, const uint8_t *payload, size_t payload_len) {
    asker->at = CT__ASKER_REPLY;
    asker->head_len = head_len;
    asker->payload = payload;
    asker->out_at = 0;
    asker->out_len = head_len + payload_len;
}

void ct__asker_refuse(ct__asker *asker, int status, const char *type, const char *message) {
    ct__asker_answer(asker, ct__api_put_refusal(asker->head, status, type, message, asker->closes), NULL, 0);
}

/* Returns what of the answer was taken, 0 for later, or -errno. */
static ssize_t write_some(const ct__asker *asker) {
    struct iovec parts[2];
    size_t count = 0;
    size_t behind_head = 0;
    if (asker->out_at < asker->head_len)
        parts[count++] = (struct iovec){(char *)(uintptr_t)asker->head + asker->out_at, asker->head_len - asker->out_at};
    else
        behind_head = asker->out_at - asker->head_len;
    const size_t left = asker->out_len - asker->head_len - behind_head;
    if (left > 0)
        parts[count++] = (struct iovec){(uint8_t *)(uintptr_t)asker->payload + behind_head, left};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    const ssize_t wrote = sendmsg(asker->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return wrote >= 0 ? wrote : errno == EAGAIN || errno == EINTR ? 0 : ct__errno();
}

void ct__asker_write(ct__asker *asker, const ct__asker_owner *tell, void *owner) {
    while (asker->at == CT__ASKER_REPLY && asker->out_at < asker->out_len) {
        const ssize_t wrote = write_some(asker);
        if (wrote < 0)
            ct__asker_close(asker, tell, owner);
        if (wrote <= 0)
            return;
        asker->out_at += (size_t)wrote;
    }
    if (asker->at != CT__ASKER_REPLY)
        return;
    tell->written(owner, asker);
    if (asker->closes) {
        ct__asker_close(asker, tell, owner);
        return;
    }
    asker->scan = (ct__http1_scan){0};
    asker->at = CT__ASKER_HEAD;
}

/* ---- in ---- */

static void forget(ct__asker *asker, size_t count) {
    asker->in_len -= count;
    memmove(asker->in, asker->in + count, asker->in_len);
}

static const char *meaning_of(int status) {
    switch (status) {
    case 413: return "the body is longer than any this API takes";
    case 414: return "the target of the request is too long";
    case 417: return "the request expects what this API does not know";
    case 431: return "the head of the request is too long";
    case 501: return "the request uses a method or a transfer coding that this API does not know";
    case 505: return "this API speaks HTTP/1.1";
    default: return "the request is no HTTP/1.1";
    }
}

static void take_head(ct__asker *asker, const ct__http1_head *head, const ct__asker_owner *tell, void *owner) {
    const ct__api_ask ask = ct__api_read(head);
    asker->at = CT__ASKER_BODY;
    asker->asked = ask.kind;
    asker->sink = CT__SINK_NONE;
    asker->closes = head->closes;
    asker->refusal = 0;
    asker->is_raw = ask.is_raw;
    asker->body = ct__http1_body_of(head);
    asker->body_bytes = asker->gathered_len = asker->trailers_len = 0;
    const size_t len = ask.error_type.len < sizeof asker->error_type - 1 ? ask.error_type.len : sizeof asker->error_type - 1;
    if (len > 0)
        memcpy(asker->error_type, ask.error_type.at, len);
    asker->error_type[len] = '\0';
    tell->head(owner, asker, head, &ask);
    /* Where the socket has no room for so little, the program waits a second by itself and goes on */
    static const char GO_ON[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (head->expects && asker->at == CT__ASKER_BODY)
        (void)!send(asker->fd, GO_ON, sizeof GO_ON - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    forget(asker, head->used);
}

static void gather(ct__asker *asker, ct__span data) {
    if (asker->body_bytes > CT__ASKER_BODY_MAX)
        return;
    const size_t wanted = asker->gathered_len + data.len;
    if (wanted > asker->gathered_cap) {
        size_t cap = asker->gathered_cap * 2 > wanted ? asker->gathered_cap * 2 : wanted;
        if (asker->body.framing == CT__HTTP1_LENGTH && cap < wanted + asker->body.left && asker->body.left <= CT__ASKER_BODY_MAX)
            cap = wanted + (size_t)asker->body.left; /* once, where the length is known */
        uint8_t *more = realloc(asker->gathered, cap);
        if (more == NULL) {
            asker->body_bytes = UINT64_MAX / 2; /* as too long, which it is for this sandbox */
            return;
        }
        asker->gathered = more;
        asker->gathered_cap = cap;
    }
    memcpy(asker->gathered + asker->gathered_len, data.at, data.len);
    asker->gathered_len = wanted;
}

static void take_data(ct__asker *asker, ct__span data, const ct__asker_owner *tell, void *owner) {
    asker->body_bytes += data.len;
    if (asker->sink == CT__SINK_GATHER)
        gather(asker, data);
    else if (asker->sink == CT__SINK_PASS)
        tell->pass(owner, asker, data);
}

/* The parser passes trailers over, so the bytes that stand in one are kept here, one by one. */
static void note_trailer(ct__asker *asker, uint8_t byte) {
    const enum ct__http1_place place = asker->body.place;
    const bool is_in = place > CT__HTTP1_AT_TRAILER && place <= CT__HTTP1_AT_TRAILER_LF;
    if ((is_in || (place == CT__HTTP1_AT_TRAILER && byte != '\r')) && asker->trailers_len < sizeof asker->trailers)
        asker->trailers[asker->trailers_len++] = byte;
}

/* Takes what there is of the body. Returns 0 or CT_E_MALFORMED. */
static int take_body(ct__asker *asker, const ct__asker_owner *tell, void *owner) {
    size_t at = 0;
    while (at < asker->in_len && !ct__http1_body_done(&asker->body)) {
        const bool is_data = asker->body.place == CT__HTTP1_AT_DATA;
        if (!is_data)
            note_trailer(asker, asker->in[at]);
        size_t used = 0;
        ct__span data;
        const int result = ct__http1_body_next(&asker->body, asker->in + at, is_data ? asker->in_len - at : 1, &used, &data);
        if (result < 0)
            return result;
        if (data.len > 0)
            take_data(asker, data, tell, owner);
        at += used;
    }
    forget(asker, at);
    return 0;
}

/* Nothing that follows on this connection can be read. */
static void give_up(ct__asker *asker, int status, const ct__asker_owner *tell, void *owner) {
    asker->closes = true;
    ct__asker_refuse(asker, status, "InvalidRequest", meaning_of(status));
    ct__asker_write(asker, tell, owner);
}

/* Goes as far as what has been read allows. Returns whether more is to be read. */
static bool advance(ct__asker *asker, const ct__asker_owner *tell, void *owner) {
    ct__http1_head head;
    for (;;) {
        if (asker->at == CT__ASKER_HEAD) {
            const int result = asker->in_len > 0 ? ct__http1_request(&asker->scan, asker->in, asker->in_len, &head) : CT_E_MORE;
            if (result == CT_E_MORE)
                return true;
            if (result != 0) {
                give_up(asker, result, tell, owner);
                return false;
            }
            take_head(asker, &head, tell, owner);
        }
        if (asker->at == CT__ASKER_BODY) {
            if (take_body(asker, tell, owner) < 0) {
                give_up(asker, 400, tell, owner);
                return false;
            }
            if (!ct__http1_body_done(&asker->body))
                return true;
            tell->end(owner, asker);
            free(asker->gathered);
            asker->gathered = NULL;
            asker->gathered_cap = 0;
        }
        ct__asker_write(asker, tell, owner);
        if (asker->at != CT__ASKER_HEAD)
            return false; /* waits, is written to, or has gone */
    }
}

void ct__asker_read(ct__asker *asker, const ct__asker_owner *tell, void *owner) {
    while (asker->at == CT__ASKER_HEAD || asker->at == CT__ASKER_BODY) {
        if (!advance(asker, tell, owner))
            return;
        const ssize_t got = recv(asker->fd, asker->in + asker->in_len, sizeof asker->in - asker->in_len, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            ct__asker_close(asker, tell, owner);
            return;
        }
        asker->in_len += (size_t)got;
    }
}
