#include "link/stdio.h"

#include "base/err.h"

#include <sys/epoll.h>
#include <unistd.h>

enum {
    READ_BYTES = 16 << 10,
    BURST_READS = 64, /* 1 MiB from the pipe of a noisy process, then others get their turn */
};

/* Chosen: a process that floods has the pipe's 64 KiB taken a hundred times a second, which costs the loop under 1 %;
 * read as fast as it writes, a few of them would fill a core. */
static const uint64_t REST_NS = 10000000;

static ct__stdio *of(void *part, size_t offset) {
    return (ct__stdio *)((char *)part - offset);
}

bool ct__stdio_read(ct__stdio *s) {
    bool is_useful = true;
    uint8_t data[READ_BYTES];
    for (int i = 0; i < BURST_READS && s->fd >= 0; i++) {
        const ssize_t got = read(s->fd, data, sizeof data);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0) {
            ct__stdio_close(s);
            break;
        }
        is_useful &= s->take(s, data, (size_t)got);
        if ((size_t)got < sizeof data)
            break;
    }
    return is_useful;
}

static void ready(ct__watch *watch, uint32_t events) {
    (void)events;
    ct__stdio *s = of(watch, offsetof(ct__stdio, watch));
    if (ct__stdio_read(s) || s->fd < 0)
        return;
    if (ct__alarm_set(s->reactor, &s->rest, ct__reactor_now_ns(s->reactor) + REST_NS) == 0)
        ct__watch_drop(s->reactor, watch);
}

static void rested(ct__alarm *alarm) {
    ct__stdio *s = of(alarm, offsetof(ct__stdio, rest));
    if (s->fd >= 0 && s->watch.fd < 0)
        (void)ct__watch_add(s->reactor, &s->watch, s->fd, EPOLLIN);
}

int ct__stdio_open(ct__stdio *s, ct_reactor *reactor, int fd) {
    s->reactor = reactor;
    s->watch.ready = ready;
    s->rest.due = rested;
    s->fd = fd;
    const int result = ct__watch_add(reactor, &s->watch, fd, EPOLLIN);
    if (result < 0)
        ct__stdio_close(s);
    return result;
}

void ct__stdio_close(ct__stdio *s) {
    if (s->fd < 0)
        return;
    ct__alarm_clear(s->reactor, &s->rest);
    ct__watch_drop(s->reactor, &s->watch);
    (void)close(s->fd);
    s->fd = -1;
}
