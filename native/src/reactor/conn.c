#define _GNU_SOURCE
#include "reactor/conn.h"

#include "base/err.h"
#include "base/sysx.h"
#include "reactor/tls.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    READ_BYTES = 16 << 10,  /* chosen: of one read; a full one is followed by larger ones */
    BULK_BYTES = 64 << 10,
    BYTES_A_TURN = 128 << 10,
    ACCEPTS_A_TURN = 64,
    RIGHTS_MAX = 253, /* the kernel's SCM_MAX_FD */
};

static const uint64_t REST_NS = 100000000; /* chosen: until descriptors may be free again */

static bool takes(const ct__conn *c) {
    return !c->is_connecting && !c->is_paused && !c->has_ended && c->in.len < c->in_limit;
}

/* What TLS waits for is not always what we wait for. */
static uint32_t secured_interest(ct__conn *c) {
    ct__tls_end *tls = c->tls;
    if (tls->is_shaking)
        return tls->read_waits;
    uint32_t events = 0;
    if (!c->is_broken && (c->out.len > 0 || c->closes_after))
        events |= tls->write_waits;
    if (takes(c)) {
        events |= tls->read_waits;
        if (ct__tls_holds(tls) && ct__alarm_set(c->reactor, &tls->alarm, ct__reactor_now_ns(c->reactor) + 1) != 0)
            events |= EPOLLOUT; /* without memory for an alarm this wakes us soon, too */
    }
    return events;
}

static void interest(ct__conn *c) {
    if (c->watch.fd < 0)
        return;
    uint32_t events = 0;
    /* What a flush will send needs no watching: mostly it sends it all. */
    if (c->is_connecting || (c->out.len > 0 && !c->is_broken && c->flush.link == NULL))
        events |= EPOLLOUT;
    if (takes(c))
        events |= EPOLLIN;
    if (c->tls != NULL && !c->is_connecting)
        events = secured_interest(c);
    (void)ct__watch_set(c->reactor, &c->watch, events);
}

static void end(ct__conn *c, int error) {
    if (error != 0) {
        c->is_broken = true;
        ct__bytes_free(&c->out);
    }
    if (c->has_ended) {
        /* The owner heard of the end of the input already; one that is broken as well is of no use to anybody. */
        if (error != 0)
            ct__watch_drop(c->reactor, &c->watch);
        return;
    }
    c->has_ended = true;
    if (error != 0)
        ct__watch_drop(c->reactor, &c->watch); /* an error is reported for ever; the descriptor stays open until close */
    c->calls->ended(c, error);
}

/* What we are sent, with the descriptors that came along. Room for all that one message can have: what finds none the
 * kernel closes on our time. */
static ssize_t receive(ct__conn *c, uint8_t *room, size_t most) {
    if (c->discards == NULL)
        return ct__recv(c->fd, room, most, MSG_DONTWAIT);
    union {
        struct cmsghdr aligned;
        uint8_t bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = room, .iov_len = most};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return ct__errno();
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= head->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + at, sizeof fd);
            c->discards(c, fd);
        }
    }
    return got;
}

/* A connection holds what it received, and not what it might have: that is read elsewhere first. Bulk goes straight to its place. */
static void take(ct__conn *c) {
    uint8_t block[READ_BYTES];
    bool has_new = false, is_bulk = false;
    int error = 0;
    bool is_over = false;
    for (size_t taken = 0; taken < BYTES_A_TURN && c->in.len < c->in_limit;) {
        const size_t left = c->in.cap - c->in.at - c->in.len;
        const bool is_direct = is_bulk || left >= READ_BYTES;
        const size_t most = (is_bulk || left >= BULK_BYTES) && c->tls == NULL ? BULK_BYTES : READ_BYTES;
        uint8_t *room = is_direct ? ct__bytes_room(&c->in, most) : block;
        if (room == NULL) {
            error = -ENOMEM;
            break;
        }
        const ssize_t got = c->tls != NULL ? ct__tls_recv(c->tls, room, most) : receive(c, room, most);
        if (c->fd < 0) /* closed for what came along */
            return;
        if (got == -EAGAIN)
            break;
        if (got <= 0) {
            error = (int)got;
            is_over = got == 0;
            break;
        }
        if (is_direct)
            ct__bytes_grow(&c->in, (size_t)got);
        else
            error = ct__bytes_add(&c->in, block, (size_t)got);
        if (error != 0)
            break;
        is_bulk = (size_t)got == most;
        has_new = true;
        taken += (size_t)got;
        if (!is_bulk && c->tls == NULL)
            break;
    }
    if (has_new)
        c->calls->received(c);
    if ((error != 0 || is_over) && c->watch.fd >= 0)
        end(c, error);
}

static void send_out(ct__conn *c) {
    if (c->tls != NULL && c->tls->is_shaking)
        return;
    while (c->out.len > 0 && !c->is_broken && !c->is_connecting && c->watch.fd >= 0) {
        const ssize_t sent =
            c->tls != NULL ? ct__tls_send(c->tls, ct__bytes_front(&c->out), c->out.len)
                           : ct__send(c->watch.fd, ct__bytes_front(&c->out), c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == -EAGAIN)
            break;
        if (sent < 0 && c->reads_to_end && !c->has_ended) {
            c->is_broken = true;
            ct__bytes_free(&c->out);
            break;
        }
        if (sent < 0) {
            end(c, (int)sent);
            return;
        }
        ct__bytes_skip(&c->out, (size_t)sent);
    }
    if (c->out.len == 0 && c->closes_after && !c->is_broken && !c->is_connecting && c->watch.fd >= 0
        && (c->tls == NULL || ct__tls_finish(c->tls) == 0)) {
        c->closes_after = false;
        c->is_broken = true;
        (void)shutdown(c->watch.fd, SHUT_WR);
    }
    if (c->is_full && c->out.len <= CT__OUT_LOW_BYTES) {
        c->is_full = false;
        if (c->calls->drained != NULL && c->watch.fd >= 0)
            c->calls->drained(c);
    }
    interest(c);
}

static void flush(ct__task *task) {
    send_out((ct__conn *)((char *)task - offsetof(ct__conn, flush)));
}

static void shake(ct__conn *c) {
    const int result = ct__tls_shake(c->tls);
    if (result != 0 && result != -EAGAIN) {
        ct__tls_tell(c->tls, result);
        ct__alarm_clear(c->reactor, &c->tls->alarm);
        end(c, result);
        return;
    }
    if (result == 0) {
        ct__alarm_clear(c->reactor, &c->tls->alarm);
        send_out(c);
        if (c->watch.fd >= 0 && takes(c)) /* the first bytes may have come with the last of the handshake */
            take(c);
    }
    interest(c);
}

static void alarmed(ct__alarm *alarm) {
    ct__conn *c = ((ct__tls_end *)((char *)alarm - offsetof(ct__tls_end, alarm)))->conn;
    if (c->tls->is_shaking) {
        end(c, -ETIMEDOUT);
        return;
    }
    if (c->watch.fd >= 0 && takes(c))
        take(c);
    interest(c);
}

int ct__conn_shakes(ct__conn *c, uint64_t until_ns) {
    c->tls->alarm.due = alarmed;
    const int result = ct__alarm_set(c->reactor, &c->tls->alarm, until_ns);
    if (result == 0)
        interest(c);
    return result;
}

/* What the events mean for the bytes above TLS. */
static uint32_t translated(const ct__conn *c, uint32_t events) {
    uint32_t meant = events & (EPOLLHUP | EPOLLERR);
    if (takes(c) && ((events & c->tls->read_waits) != 0 || ct__tls_holds(c->tls)))
        meant |= EPOLLIN;
    if ((events & c->tls->write_waits) != 0)
        meant |= EPOLLOUT;
    return meant;
}

static void ready(ct__watch *watch, uint32_t events) {
    ct__conn *c = (ct__conn *)((char *)watch - offsetof(ct__conn, watch));
    if (c->is_connecting && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
        if (error != 0) {
            end(c, -error); /* is_connecting stays: nothing can have been sent */
            return;
        }
        c->is_connecting = false;
        if (c->tls != NULL)
            shake(c);
        else
            send_out(c);
        return;
    }
    if (c->tls != NULL) {
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
            c->tls->is_short = false;
        if (c->tls->is_shaking) {
            shake(c);
            return;
        }
        events = translated(c, events);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !c->has_ended) {
        if (c->is_paused && (events & EPOLLIN) == 0) {
            if (c->reads_to_end)
                ct__watch_drop(c->reactor, watch); /* it would be reported for ever; resume watches again */
            else
                end(c, -EPIPE); /* both ways are shut; what was not read is nobody's any more */
            return;
        }
        take(c);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        end(c, -EPIPE);
        return;
    }
    if (watch->fd >= 0 && (events & EPOLLOUT) != 0)
        send_out(c);
    else
        interest(c);
}

int ct__conn_open(ct__conn *c, ct_reactor *reactor, int fd, bool is_connecting, const ct__conn_calls *calls) {
    c->reactor = reactor;
    c->calls = calls;
    c->watch.ready = ready;
    c->flush.run = flush;
    c->is_connecting = is_connecting;
    if (c->in_limit == 0)
        c->in_limit = CT__IN_LIMIT_BYTES;
    const int result = ct__watch_add(reactor, &c->watch, fd, is_connecting ? EPOLLOUT : EPOLLIN);
    if (result < 0)
        (void)close(fd);
    else
        c->fd = fd;
    return result;
}

void ct__conn_close(ct__conn *c) {
    if (c->reactor == NULL || c->fd < 0)
        return;
    ct__watch_drop(c->reactor, &c->watch);
    ct__task_drop(c->reactor, &c->flush);
    ct__tls_close(c);
    const int fd = c->fd;
    c->fd = -1;
    if (c->discards != NULL) {
        (void)shutdown(fd, SHUT_RDWR); /* the peer sees the end now */
        c->discards(c, fd);
    } else {
        (void)close(fd);
    }
    c->has_ended = c->is_broken = true;
    ct__bytes_free(&c->in);
    ct__bytes_free(&c->out);
}

uint8_t *ct__conn_room(ct__conn *c, size_t len) {
    return ct__bytes_room(&c->out, len);
}

void ct__conn_wrote(ct__conn *c, size_t len) {
    if (c->is_broken || len == 0)
        return;
    ct__bytes_grow(&c->out, len);
    if (c->out.len >= CT__OUT_HIGH_BYTES)
        c->is_full = true;
    ct__task_defer(c->reactor, &c->flush);
}

void ct__conn_wrote_now(ct__conn *c, size_t len) {
    if (c->is_broken || len == 0)
        return;
    ct__bytes_grow(&c->out, len);
    if (c->out.len >= CT__OUT_HIGH_BYTES)
        c->is_full = true;
    send_out(c);
}

int ct__conn_write(ct__conn *c, const void *data, size_t len) {
    if (c->is_broken || len == 0)
        return 0;
    uint8_t *room = ct__conn_room(c, len);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, data, len);
    ct__conn_wrote(c, len);
    return 0;
}

void ct__conn_finish(ct__conn *c) {
    c->closes_after = true;
    ct__task_defer(c->reactor, &c->flush);
}

void ct__conn_pause(ct__conn *c) {
    c->is_paused = true;
    interest(c);
}

void ct__conn_resume(ct__conn *c) {
    c->is_paused = false;
    if (c->watch.fd < 0 && c->fd >= 0 && !c->has_ended)
        (void)ct__watch_add(c->reactor, &c->watch, c->fd, EPOLLIN);
    interest(c);
}

/* ---- connecting and listening ---- */

static int begin(int fd, const struct sockaddr *address, socklen_t len, bool *is_connecting) {
    *is_connecting = false;
    int result;
    do
        result = connect(fd, address, len);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return fd;
    if (errno == EINPROGRESS) {
        *is_connecting = true;
        return fd;
    }
    const int error = ct__errno();
    (void)close(fd);
    return error;
}

int ct__connect_unix(const char *path, bool *is_connecting) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? ct__errno() : begin(fd, (const struct sockaddr *)&address, sizeof address, is_connecting);
}

int ct__connect_tcp(const char *address, uint16_t port, bool *is_connecting) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
        return -EINVAL;
    const int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ct__errno();
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return is_v4 ? begin(fd, (const struct sockaddr *)&v4, sizeof v4, is_connecting)
                 : begin(fd, (const struct sockaddr *)&v6, sizeof v6, is_connecting);
}

static ct__listener *listener_of(void *part, size_t offset) {
    return (ct__listener *)((char *)part - offset);
}

static void listener_rested(ct__alarm *alarm) {
    ct__listener *l = listener_of(alarm, offsetof(ct__listener, rest));
    (void)ct__watch_set(l->reactor, &l->watch, EPOLLIN);
}

static void listener_ready(ct__watch *watch, uint32_t events) {
    (void)events;
    ct__listener *l = listener_of(watch, offsetof(ct__listener, watch));
    for (int i = 0; i < ACCEPTS_A_TURN && watch->fd >= 0; i++) {
        const int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->accepted(l, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (ct__alarm_set(l->reactor, &l->rest, ct__reactor_now_ns(l->reactor) + REST_NS) == 0)
                (void)ct__watch_set(l->reactor, watch, 0);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

int ct__listener_open(ct__listener *l, ct_reactor *reactor, int fd) {
    l->reactor = reactor;
    l->watch.ready = listener_ready;
    l->rest.due = listener_rested;
    return ct__watch_add(reactor, &l->watch, fd, EPOLLIN);
}

void ct__listener_close(ct__listener *l) {
    if (l->reactor == NULL)
        return;
    ct__alarm_clear(l->reactor, &l->rest);
    ct__watch_drop(l->reactor, &l->watch);
}
