#define _GNU_SOURCE
#include "link/pipes.h"

#include "base/err.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 64 << 10, /* what a pipe holds, unless its writer had it enlarged */
    LOOKS = 64,             /* pipes of one look; the others are ready at the next */
    STACK_BYTES = 256 << 10, /* chosen: the sanitizers need most of it */
};

/* Chosen. Until a pipe that waits for a thread gets one more, unless one has come free; for the start of a thread on a
 * busy host; for one reading that nobody holds up, which takes microseconds; for the threads at the end. */
static const uint64_t CROWDED_NS = 2000000, START_NS = 20000000, READ_NS = 2000000, LEAVE_NS = 1000000000;

typedef enum place { IN_LINE, WITH_THREAD, DONE } place;

struct ct__pipe {
    ct__pipes *pipes;
    int fd;      /* closed by a thread, when it is in the set no more: until then the number is not another's */
    bool is_out; /* a thread's, with what follows but `is_left`, from send_out to come_home */
    bool closes; /* to be closed, not read */
    bool has_ended;
    uint8_t *data; /* room for a piece */
    size_t len;
    bool is_left; /* by its owner */
    place place;  /* by the lock, like `next` */
    ct__pipe *next;
    ct__pipe_came *came;
    void *of;
};

struct ct__pipes {
    ct_reactor *reactor;
    int set;  /* the pipes, each for one event, and `bell`: a set of its own, so that one call looks at all of them */
    int bell; /* rung when something is done */
    ct__watch watch;
    ct__alarm crowded;
    unsigned out; /* pipes */
    uint64_t taken_before; /* at the last look of the alarm */
    pthread_mutex_t lock; /* of all that follows; held for a few instructions */
    pthread_cond_t work, moved;
    ct__pipe *first, **last; /* the line */
    ct__pipe *done;
    bool waits; /* the loop, for `moved` */
    uint64_t taken;
    unsigned threads, idle;
    bool is_over, is_orphan; /* no more work comes; the last thread frees all */
};

static void release(ct__pipes *p) {
    while (p->done != NULL) { /* of a thread that was held beyond the end */
        ct__pipe *pipe = p->done;
        p->done = pipe->next;
        if (!pipe->closes)
            (void)close(pipe->fd);
        free(pipe->data);
        free(pipe);
    }
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_cond_destroy(&p->moved);
    (void)pthread_mutex_destroy(&p->lock);
    if (p->set >= 0)
        (void)close(p->set);
    if (p->bell >= 0)
        (void)close(p->bell);
    free(p);
}

/* ---- in a thread ---- */

static void serve(ct__pipe *pipe) {
    if (pipe->closes) {
        static const struct linger at_once = {.l_onoff = 0};
        (void)setsockopt(pipe->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* where it is a socket */
        (void)close(pipe->fd);
        return;
    }
    ssize_t got;
    do
        got = read(pipe->fd, pipe->data, PIECE_BYTES);
    while (got < 0 && errno == EINTR);
    pipe->has_ended = got == 0 || (got < 0 && errno != EAGAIN);
    pipe->len = got > 0 ? (size_t)got : 0;
}

static void moves(ct__pipes *p, ct__pipe *pipe, place to) {
    pipe->place = to;
    if (p->waits)
        (void)pthread_cond_broadcast(&p->moved);
}

static void hand_back(ct__pipes *p, ct__pipe *pipe) {
    pipe->next = p->done;
    p->done = pipe;
    moves(p, pipe, DONE);
    if (pipe->next == NULL)
        (void)eventfd_write(p->bell, 1);
}

/* One thread waits for work; another that has none ends. */
static void *work(void *of) {
    ct__pipes *p = of;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        ct__pipe *pipe = p->first;
        if (pipe == NULL) {
            if (p->is_over || p->idle > 0)
                break;
            p->idle++;
            (void)pthread_cond_wait(&p->work, &p->lock);
            p->idle--;
            continue;
        }
        p->first = pipe->next;
        if (p->first == NULL)
            p->last = &p->first;
        p->taken++;
        moves(p, pipe, WITH_THREAD);
        (void)pthread_mutex_unlock(&p->lock);
        serve(pipe);
        (void)pthread_mutex_lock(&p->lock);
        hand_back(p, pipe);
    }
    const bool is_last = --p->threads == 0;
    const bool frees = is_last && p->is_orphan;
    (void)pthread_cond_broadcast(&p->moved);
    (void)pthread_mutex_unlock(&p->lock);
    if (frees)
        release(p);
    return NULL;
}

/* ---- in the loop ---- */

/* With the lock. Without the means for a thread the line waits for those that are there. */
static void add_thread(ct__pipes *p) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work, p) == 0)
        p->threads++;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
}

static void send_out(ct__pipe *pipe) {
    ct__pipes *p = pipe->pipes;
    p->out++;
    pipe->is_out = true;
    (void)pthread_mutex_lock(&p->lock);
    pipe->place = IN_LINE;
    pipe->next = NULL;
    *p->last = pipe;
    p->last = &pipe->next;
    if (p->idle > 0)
        (void)pthread_cond_signal(&p->work);
    else if (p->threads == 0)
        add_thread(p);
    (void)pthread_mutex_unlock(&p->lock);
    if (p->crowded.place == 0)
        (void)ct__alarm_set(p->reactor, &p->crowded, ct__reactor_now_ns(p->reactor) + CROWDED_NS);
}

static void fetch(ct__pipe *pipe) {
    pipe->data = malloc(PIECE_BYTES);
    if (pipe->data != NULL)
        send_out(pipe);
    else
        pipe->came(pipe->of, NULL, 0, false);
}

static void crowded(ct__alarm *alarm) {
    ct__pipes *p = (ct__pipes *)((char *)alarm - offsetof(ct__pipes, crowded));
    (void)pthread_mutex_lock(&p->lock);
    const bool waits = p->first != NULL;
    if (waits && p->taken == p->taken_before)
        add_thread(p);
    p->taken_before = p->taken;
    (void)pthread_mutex_unlock(&p->lock);
    if (waits)
        (void)ct__alarm_set(p->reactor, alarm, ct__reactor_now_ns(p->reactor) + CROWDED_NS);
}

static void come_home(ct__pipe *pipe) {
    uint8_t *data = pipe->data;
    pipe->data = NULL;
    pipe->is_out = false;
    pipe->pipes->out--;
    if (pipe->closes) {
        free(pipe);
    } else if (pipe->is_left) {
        pipe->closes = true;
        send_out(pipe);
    } else {
        pipe->came(pipe->of, data, pipe->len, pipe->has_ended);
    }
    free(data);
}

static void collect(ct__pipes *p) {
    eventfd_t rung;
    (void)eventfd_read(p->bell, &rung);
    (void)pthread_mutex_lock(&p->lock);
    ct__pipe *done = p->done;
    p->done = NULL;
    (void)pthread_mutex_unlock(&p->lock);
    while (done != NULL) {
        ct__pipe *pipe = done;
        done = pipe->next;
        come_home(pipe);
    }
}

void ct__pipes_look(ct__pipes *p) {
    struct epoll_event events[LOOKS];
    const int count = epoll_wait(p->set, events, LOOKS, 0);
    bool is_rung = false;
    for (int i = 0; i < count; i++) {
        ct__pipe *pipe = events[i].data.ptr;
        if (pipe != NULL)
            fetch(pipe);
        else
            is_rung = true;
    }
    if (is_rung) /* last: it may close pipes */
        collect(p);
}

static void ready(ct__watch *watch, uint32_t events) {
    (void)events;
    ct__pipes_look((ct__pipes *)((char *)watch - offsetof(ct__pipes, watch)));
}

static bool make_sync(ct__pipes *p) {
    pthread_condattr_t steady;
    if (pthread_condattr_init(&steady) != 0)
        return false;
    (void)pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    const bool is_made = pthread_mutex_init(&p->lock, NULL) == 0 && pthread_cond_init(&p->work, NULL) == 0 &&
                         pthread_cond_init(&p->moved, &steady) == 0; /* of glibc and musl none can fail */
    (void)pthread_condattr_destroy(&steady);
    return is_made;
}

ct__pipes *ct__pipes_new(ct_reactor *reactor) {
    ct__pipes *p = calloc(1, sizeof *p);
    if (p == NULL || !make_sync(p)) {
        free(p);
        return NULL;
    }
    p->reactor = reactor;
    p->last = &p->first;
    p->crowded.due = crowded;
    p->watch.ready = ready;
    p->set = epoll_create1(EPOLL_CLOEXEC);
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (p->set < 0 || p->bell < 0 || epoll_ctl(p->set, EPOLL_CTL_ADD, p->bell, &event) != 0 ||
        ct__watch_add(reactor, &p->watch, p->set, EPOLLIN) < 0) {
        release(p);
        return NULL;
    }
    ct__reactor_keep(reactor);
    return p;
}

/* With the lock. False when the time is over. */
static bool sleep_until(ct__pipes *p, uint64_t until_ns) {
    const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    return pthread_cond_timedwait(&p->moved, &p->lock, &until) != ETIMEDOUT;
}

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The loop's own wait for the threads. False when the time is over. */
static bool wait_until(ct__pipes *p, uint64_t until_ns) {
    p->waits = true;
    const bool has_time = sleep_until(p, until_ns);
    p->waits = false;
    return has_time;
}

void ct__pipes_free(ct__pipes *p) {
    if (p == NULL)
        return;
    ct__watch_drop(p->reactor, &p->watch);
    const uint64_t until_ns = now_ns() + LEAVE_NS;
    bool has_time = true;
    while (collect(p), p->out > 0 && has_time) { /* one that was being read when it was left is to be closed yet */
        (void)pthread_mutex_lock(&p->lock);
        while (has_time && p->done == NULL)
            has_time = wait_until(p, until_ns);
        (void)pthread_mutex_unlock(&p->lock);
    }
    ct__alarm_clear(p->reactor, &p->crowded);
    ct_reactor_free(p->reactor);
    (void)pthread_mutex_lock(&p->lock);
    p->is_over = true;
    (void)pthread_cond_broadcast(&p->work);
    while (p->threads > 0 && wait_until(p, until_ns))
        ;
    const bool is_free = p->threads == 0;
    p->is_orphan = !is_free;
    (void)pthread_mutex_unlock(&p->lock);
    if (is_free)
        release(p);
}

static bool arm(ct__pipe *pipe, int how) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = pipe};
    return epoll_ctl(pipe->pipes->set, how, pipe->fd, &event) == 0;
}

int ct__pipe_open(ct__pipes *p, int fd, ct__pipe_came *came, void *of, ct__pipe **out) {
    ct__pipe *pipe = calloc(1, sizeof *pipe);
    int result = pipe != NULL ? 0 : -ENOMEM;
    if (result == 0) {
        *pipe = (ct__pipe){.pipes = p, .fd = fd, .came = came, .of = of};
        if (!arm(pipe, EPOLL_CTL_ADD))
            result = ct__errno();
    }
    if (result < 0) {
        free(pipe);
        (void)close(fd);
        return result;
    }
    *out = pipe;
    return 0;
}

void ct__pipe_close(ct__pipe *pipe) {
    (void)epoll_ctl(pipe->pipes->set, EPOLL_CTL_DEL, pipe->fd, NULL);
    pipe->is_left = true;
    if (pipe->is_out)
        return;
    pipe->closes = true;
    send_out(pipe);
}

void ct__pipes_discard(ct__pipes *p, int fd) {
    ct__pipe *pipe = calloc(1, sizeof *pipe);
    if (pipe == NULL) {
        (void)close(fd);
        return;
    }
    *pipe = (ct__pipe){.pipes = p, .fd = fd, .is_left = true, .closes = true};
    send_out(pipe);
}

void ct__pipe_arm(ct__pipe *pipe) {
    if (!pipe->is_out)
        (void)arm(pipe, EPOLL_CTL_MOD);
}

bool ct__pipe_is_out(const ct__pipe *pipe) {
    return pipe->is_out;
}

void ct__pipe_await(ct__pipe *pipe) {
    ct__pipes *p = pipe->pipes;
    (void)pthread_mutex_lock(&p->lock);
    if (pipe->place == IN_LINE && p->idle == 0)
        add_thread(p);
    uint64_t until_ns = now_ns() + START_NS;
    while (pipe->place == IN_LINE && wait_until(p, until_ns))
        ;
    until_ns = now_ns() + READ_NS;
    while (pipe->place == WITH_THREAD && wait_until(p, until_ns))
        ;
    (void)pthread_mutex_unlock(&p->lock);
    ct__pipes_look(p);
}
