/* ct-load HOST PORT CONNECTIONS DURATION_S WARM_UP_S RATE TIMEOUT_S < REQUEST: load on an HTTP/1.1 server, one thread.
 *
 * RATE 0: closed loops, each connection asks again when it is answered, and a call's time begins when it is sent. Above
 * 0: an open loop of so many calls a second, whose time begins when they are due, so that a server that stalls is charged
 * for everybody who would have waited; what finds no free connection at the end is "not sent". Prints JSON:
 * the seconds counted, the CPU used, how late the generator was, and a histogram for each kind of answer. */

#define _GNU_SOURCE
#include "base/abi.h"
#include "base/scope.h"
#include "load/answer.h"
#include "load/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { USAGE = 64, FAILED = 70, BATCH = 256, FIRST_BUFFER = 4096, REQUEST_MAX = 16 << 20, CONNECTIONS_MAX = 60000 };

#define SECOND UINT64_C(1000000000)
#define RECONNECT_NS (SECOND / 20) /* a server that is away is asked twenty times a second, not in a busy loop */
#define SWEEP_NS (SECOND / 20)

enum state { CLOSED, CONNECTING, IDLE, WAITING };

typedef struct conn {
    enum state state;
    int fd;
    uint64_t start_ns; /* of the call in hand; of a closed one: when to connect again */
    uint64_t limit_ns; /* when it is given up */
    size_t sent;       /* bytes of the request */
    uint8_t *buf;
    size_t len, cap;
} conn;

typedef struct load {
    struct sockaddr_storage address;
    socklen_t address_len;
    uint8_t *request;
    size_t request_len;
    conn *conns;
    uint32_t *idle; /* a stack of those without a call, open loop only */
    uint32_t idle_count, count, busy;
    int epoll_fd;
    double rate;
    uint64_t timeout_ns, start_ns, begin_ns, until_ns, last_ns, sweep_ns, now_ns;
    uint64_t due; /* calls of the schedule that were sent */
    bool is_over; /* nothing more is begun */
    ct__outcomes outcomes;
    ct__histogram *late_us;
} load;

static uint64_t clock_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t due_ns(const load *l, uint64_t number) {
    return l->start_ns + (uint64_t)((double)number * (double)SECOND / l->rate);
}

static int watch(const load *l, const conn *c, int op, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(c - l->conns)};
    return epoll_ctl(l->epoll_fd, op, c->fd, &event) < 0 ? -errno : 0;
}

static int finish(load *l, const conn *c, const char *what) {
    l->busy--;
    if (c->start_ns < l->begin_ns)
        return 0;
    l->last_ns = l->now_ns;
    return ct__outcomes_add(&l->outcomes, what, (l->now_ns - c->start_ns) / 1000);
}

static void leave_idle(load *l, const conn *c) {
    for (uint32_t i = 0; i < l->idle_count; i++)
        if (l->idle[i] == (uint32_t)(c - l->conns)) {
            l->idle[i] = l->idle[--l->idle_count];
            return;
        }
}

/* Closes; the call in hand, if any, came to `what`. */
static int drop(load *l, conn *c, const char *what, uint64_t again_ns) {
    const bool is_asked = c->state == WAITING;
    if (c->state == IDLE)
        leave_idle(l, c);
    (void)close(c->fd);
    c->fd = -1;
    const int result = is_asked ? finish(l, c, what) : 0;
    c->state = CLOSED;
    c->start_ns = again_ns;
    c->len = 0;
    if (again_ns < l->sweep_ns)
        l->sweep_ns = again_ns;
    return result;
}

static int send_more(load *l, conn *c) {
    const ssize_t sent = send(c->fd, l->request + c->sent, l->request_len - c->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return drop(l, c, "connection: broken", l->now_ns + RECONNECT_NS);
    const bool was_whole = c->sent == 0;
    c->sent += sent > 0 ? (size_t)sent : 0;
    if (c->sent < l->request_len)
        return watch(l, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return was_whole ? 0 : watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
}

static int begin_call(load *l, conn *c, uint64_t start_ns) {
    c->state = WAITING;
    c->start_ns = start_ns;
    c->limit_ns = l->now_ns + l->timeout_ns;
    c->sent = 0;
    l->busy++;
    return send_more(l, c);
}

/* A connection that may ask: at once in a closed loop, when a call is due in an open one. */
static int ready(load *l, conn *c) {
    c->state = IDLE;
    if (l->rate > 0) {
        l->idle[l->idle_count++] = (uint32_t)(c - l->conns);
        return 0;
    }
    return l->now_ns < l->until_ns ? begin_call(l, c, l->now_ns) : 0;
}

static int send_due(load *l) {
    while (l->idle_count > 0) {
        const uint64_t due = due_ns(l, l->due);
        if (l->is_over || due > l->now_ns || due >= l->until_ns)
            return 0;
        l->due++;
        if (due >= l->begin_ns)
            ct__histogram_add(l->late_us, (l->now_ns - due) / 1000);
        const int result = begin_call(l, &l->conns[l->idle[--l->idle_count]], due);
        if (result < 0)
            return result;
    }
    return 0;
}

static int open_one(load *l, conn *c) {
    c->fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    const int on = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->limit_ns = l->now_ns + l->timeout_ns;
    c->state = CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)&l->address, l->address_len) < 0 && errno != EINPROGRESS) {
        (void)drop(l, c, "", l->now_ns + RECONNECT_NS);
        return ct__outcomes_add(&l->outcomes, "connection: refused", 0);
    }
    return watch(l, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static int connected(load *l, conn *c) {
    int error = 0;
    socklen_t size = sizeof error;
    (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        (void)drop(l, c, "", l->now_ns + RECONNECT_NS);
        return ct__outcomes_add(&l->outcomes, "connection: refused", 0);
    }
    const int result = watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
    return result < 0 ? result : ready(l, c);
}

static int answered(load *l, conn *c, const ct__answer *answer) {
    char what[CT__OUTCOME_TEXT];
    ct__outcome_of(answer, what);
    l->now_ns = clock_ns();
    if (answer->used != c->len)
        return drop(l, c, "bad answer: bytes behind it", l->now_ns);
    if (!answer->is_kept)
        return drop(l, c, what, l->now_ns);
    const int result = finish(l, c, what);
    c->len = 0;
    return result < 0 ? result : ready(l, c);
}

static int readable(load *l, conn *c) {
    if (c->len == c->cap) {
        const size_t cap = c->cap > 0 ? c->cap * 2 : FIRST_BUFFER;
        uint8_t *buf = realloc(c->buf, cap);
        if (buf == NULL)
            return -ENOMEM;
        c->buf = buf;
        c->cap = cap;
    }
    const ssize_t got = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return drop(l, c, "connection: closed", l->now_ns + (c->state == WAITING ? RECONNECT_NS : 0));
    c->len += (size_t)got;
    if (c->state != WAITING)
        return drop(l, c, "", l->now_ns + RECONNECT_NS); /* an answer to no question */
    ct__answer answer;
    const int result = ct__answer_split(c->buf, c->len, &answer);
    if (result == CT_E_MORE)
        return 0;
    return result < 0 ? drop(l, c, "bad answer", l->now_ns + RECONNECT_NS) : answered(l, c, &answer);
}

/* Gives up what is too late, and connects again what is closed. */
static int sweep(load *l) {
    for (uint32_t i = 0; i < l->count; i++) {
        conn *c = &l->conns[i];
        int result = 0;
        if ((c->state == WAITING || c->state == CONNECTING) && l->now_ns >= c->limit_ns)
            result = drop(l, c, "timeout", l->now_ns);
        if (result == 0 && c->state == CLOSED && l->now_ns >= c->start_ns && l->now_ns < l->until_ns)
            result = open_one(l, c);
        if (result < 0)
            return result;
    }
    return 0;
}

static int wait_batch(load *l, struct epoll_event *events) {
    uint64_t wake_ns = l->sweep_ns;
    if (l->rate > 0 && l->idle_count > 0 && due_ns(l, l->due) < wake_ns)
        wake_ns = due_ns(l, l->due);
    const uint64_t wait_ns = wake_ns > l->now_ns ? wake_ns - l->now_ns : 0;
    const struct timespec limit = {.tv_sec = (time_t)(wait_ns / SECOND), .tv_nsec = (long)(wait_ns % SECOND)};
    const int count = epoll_pwait2(l->epoll_fd, events, BATCH, &limit, NULL);
    return count < 0 && errno != EINTR ? -errno : count;
}

static int run(load *l) {
    struct epoll_event events[BATCH];
    while (!l->is_over || l->busy > 0) {
        int result = 0;
        if (l->now_ns >= l->sweep_ns) {
            l->sweep_ns = l->now_ns + SWEEP_NS;
            result = sweep(l);
        }
        if (result == 0 && l->rate > 0)
            result = send_due(l); /* at the end too, of what was due before it */
        l->is_over |= l->now_ns >= l->until_ns;
        const int count = result < 0 ? result : l->is_over && l->busy == 0 ? 0 : wait_batch(l, events);
        l->now_ns = clock_ns();
        for (int i = 0; i < count && result == 0; i++) {
            conn *c = &l->conns[events[i].data.u32];
            if (c->state == CONNECTING)
                result = connected(l, c);
            else if (c->state != CLOSED && (events[i].events & EPOLLOUT) != 0)
                result = send_more(l, c);
            if (result == 0 && (c->state == WAITING || c->state == IDLE) && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
                result = readable(l, c);
        }
        if (result < 0)
            return result;
        if (count < 0)
            return count;
    }
    return 0;
}

/* Whatever was due and never found a connection, as calls that took until the end. */
static int count_unsent(load *l) {
    for (; l->rate > 0 && due_ns(l, l->due) < l->until_ns; l->due++)
        if (due_ns(l, l->due) >= l->begin_ns) {
            const int result = ct__outcomes_add(&l->outcomes, "not sent", (l->until_ns - due_ns(l, l->due)) / 1000);
            if (result < 0)
                return result;
        }
    return 0;
}

static void report(const load *l) {
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    const double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    const uint64_t end_ns = l->last_ns > l->until_ns ? l->last_ns : l->until_ns;
    (void)printf("{\"elapsed_s\":%.6f,\"cpu_s\":%.3f,\"late\":", (double)(end_ns - l->begin_ns) / 1e9, cpu_s);
    ct__histogram_print(l->late_us, stdout);
    (void)printf(",\"outcomes\":");
    ct__outcomes_print(&l->outcomes, stdout);
    (void)printf("}\n");
}

static int read_request(load *l) {
    l->request = malloc(REQUEST_MAX);
    if (l->request == NULL)
        return -ENOMEM;
    l->request_len = fread(l->request, 1, REQUEST_MAX, stdin);
    return l->request_len > 0 && l->request_len < REQUEST_MAX ? 0 : -EINVAL;
}

static int resolve(load *l, const char *host, const char *port) {
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &wanted, &found) != 0)
        return -EADDRNOTAVAIL;
    memcpy(&l->address, found->ai_addr, found->ai_addrlen);
    l->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int number(const char *text, double low, double high, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= low && *out <= high ? 0 : -EINVAL;
}

static int prepare(load *l, char **argv) {
    double count = 0, duration_s = 0, warm_up_s = 0, timeout_s = 0;
    if (number(argv[3], 1, CONNECTIONS_MAX, &count) < 0 || number(argv[4], 0.01, 86400, &duration_s) < 0 ||
        number(argv[5], 0, 86400, &warm_up_s) < 0 || number(argv[6], 0, 10e6, &l->rate) < 0 ||
        number(argv[7], 0.01, 86400, &timeout_s) < 0)
        return -EINVAL;
    l->count = (uint32_t)count;
    l->conns = calloc(l->count, sizeof *l->conns);
    l->idle = calloc(l->count, sizeof *l->idle);
    l->late_us = calloc(1, sizeof *l->late_us);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->conns == NULL || l->idle == NULL || l->late_us == NULL || l->epoll_fd < 0)
        return -ENOMEM;
    const int result = read_request(l);
    l->timeout_ns = (uint64_t)(timeout_s * 1e9);
    l->start_ns = l->now_ns = clock_ns();
    l->begin_ns = l->start_ns + (uint64_t)(warm_up_s * 1e9);
    l->until_ns = l->begin_ns + (uint64_t)(duration_s * 1e9);
    return result < 0 ? result : resolve(l, argv[1], argv[2]);
}

int main(int argc, char **argv) {
    if (argc != 8) {
        (void)fputs("usage: ct-load HOST PORT CONNECTIONS DURATION_S WARM_UP_S RATE TIMEOUT_S < REQUEST\n", stderr);
        return USAGE;
    }
    load l = {.epoll_fd = -1};
    int result = prepare(&l, argv);
    if (result == 0)
        result = run(&l);
    if (result == 0)
        result = count_unsent(&l);
    if (result == 0)
        report(&l);
    else
        (void)fprintf(stderr, "ct-load: %s\n", ct_strerror(result));
    for (uint32_t i = 0; l.conns != NULL && i < l.count; i++) {
        if (l.conns[i].state != CLOSED)
            (void)close(l.conns[i].fd);
        free(l.conns[i].buf);
    }
    ct__outcomes_fini(&l.outcomes);
    free(l.conns);
    free(l.idle);
    free(l.late_us);
    free(l.request);
    ct_drop_fd(&l.epoll_fd);
    return result == 0 ? 0 : FAILED;
}
