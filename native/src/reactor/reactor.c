#define _GNU_SOURCE
#include "reactor/reactor.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 128,    /* chosen: descriptors a turn */
    TURNS = 8,      /* chosen: of ours before Python has its own */
    FIRST_ROOM = 64 /* of the growing arrays */
};

static const uint64_t NEVER = UINT64_MAX;

struct ct_reactor {
    unsigned keepers;
    int epoll_fd;
    int timer_fd;
    bool is_draining;
    uint64_t now_ns;
    uint64_t armed_ns; /* what the timer is set to */
    struct epoll_event *batch;
    int batch_at, batch_count;
    ct__task *tasks;
    ct__task **tasks_end;
    ct__alarm **heap;
    uint32_t alarms, heap_room;
    ct_event *events; /* a ring */
    size_t event_first, event_count, event_room;
    size_t event_reserved; /* places that are promised */
    int bell_fd;           /* rings while events wait */
    bool has_rung;
    int failure;
};

static uint64_t clock_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

ct_reactor *ct_reactor_new(void) {
    ct_reactor *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->tasks_end = &r->tasks;
    r->armed_ns = NEVER;
    r->timer_fd = r->bell_fd = -1;
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r->batch = calloc(BATCH, sizeof *r->batch);
    if (r->epoll_fd >= 0 && r->batch != NULL)
        r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    r->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event interest = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (r->timer_fd < 0 || r->bell_fd < 0 || epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->timer_fd, &interest) != 0) {
        ct_reactor_free(r);
        return NULL;
    }
    return r;
}

void ct__reactor_keep(ct_reactor *r) {
    r->keepers++;
}

void ct_reactor_free(ct_reactor *r) {
    if (r == NULL || r->keepers-- > 0)
        return;
    if (r->timer_fd >= 0)
        (void)close(r->timer_fd);
    if (r->bell_fd >= 0)
        (void)close(r->bell_fd);
    if (r->epoll_fd >= 0)
        (void)close(r->epoll_fd);
    for (size_t i = 0; i < r->event_count; i++)
        free(r->events[(r->event_first + i) % r->event_room].data);
    free(r->events);
    free((void *)r->heap);
    free(r->batch);
    free(r);
}

int ct_reactor_fd(const ct_reactor *r) {
    return r->epoll_fd;
}

int ct_reactor_bell_fd(const ct_reactor *r) {
    return r->bell_fd;
}

uint64_t ct__reactor_now_ns(const ct_reactor *r) {
    return r->is_draining ? r->now_ns : clock_ns();
}

bool ct__reactor_is_turning(const ct_reactor *r) {
    return r->is_draining;
}

/* ---- descriptors ---- */

static int control(ct_reactor *r, ct__watch *watch, int operation, uint32_t events) {
    struct epoll_event interest = {.events = events, .data = {.ptr = watch}};
    return epoll_ctl(r->epoll_fd, operation, watch->fd, &interest) == 0 ? 0 : ct__errno();
}

int ct__watch_add(ct_reactor *r, ct__watch *watch, int fd, uint32_t events) {
    watch->fd = fd;
    watch->events = events;
    const int result = control(r, watch, EPOLL_CTL_ADD, events);
    if (result < 0)
        watch->fd = -1;
    return result;
}

int ct__watch_set(ct_reactor *r, ct__watch *watch, uint32_t events) {
    if (events == watch->events)
        return 0;
    const int result = control(r, watch, EPOLL_CTL_MOD, events);
    if (result == 0)
        watch->events = events;
    return result;
}

void ct__watch_drop(ct_reactor *r, ct__watch *watch) {
    if (watch->fd < 0)
        return;
    (void)control(r, watch, EPOLL_CTL_DEL, 0);
    watch->fd = -1;
    for (int i = r->batch_at; i < r->batch_count; i++)
        if (r->batch[i].data.ptr == watch)
            r->batch[i] = (struct epoll_event){0};
}

/* ---- deadlines: a binary heap, the next one on top; the timer is set again only when that must ring earlier ---- */

static void arm(ct_reactor *r, uint64_t at_ns) {
    if (at_ns >= r->armed_ns)
        return; /* it rings before, and is set anew then */
    const uint64_t at = at_ns == 0 ? 1 : at_ns;
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000U), .tv_nsec = (long)(at % 1000000000U)}};
    (void)timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    r->armed_ns = at_ns;
}

static void put(ct_reactor *r, uint32_t place, ct__alarm *alarm) {
    r->heap[place - 1] = alarm;
    alarm->place = place;
}

static void rise(ct_reactor *r, uint32_t place, ct__alarm *alarm) {
    while (place > 1 && r->heap[place / 2 - 1]->at_ns > alarm->at_ns) {
        put(r, place, r->heap[place / 2 - 1]);
        place /= 2;
    }
    put(r, place, alarm);
}

static void sink(ct_reactor *r, uint32_t place, ct__alarm *alarm) {
    while (2 * place <= r->alarms) {
        uint32_t child = 2 * place;
        if (child < r->alarms && r->heap[child]->at_ns < r->heap[child - 1]->at_ns)
            child++;
        if (r->heap[child - 1]->at_ns >= alarm->at_ns)
            break;
        put(r, place, r->heap[child - 1]);
        place = child;
    }
    put(r, place, alarm);
}

int ct__alarm_set(ct_reactor *r, ct__alarm *alarm, uint64_t at_ns) {
    if (alarm->place == 0) {
        if (r->alarms == r->heap_room) {
            const uint32_t room = r->heap_room == 0 ? FIRST_ROOM : 2 * r->heap_room;
            ct__alarm **grown = reallocarray((void *)r->heap, room, sizeof(ct__alarm *));
            if (grown == NULL)
                return -ENOMEM;
            r->heap = grown;
            r->heap_room = room;
        }
        alarm->place = ++r->alarms;
        alarm->at_ns = at_ns;
        rise(r, alarm->place, alarm);
    } else {
        const bool is_earlier = at_ns < alarm->at_ns;
        alarm->at_ns = at_ns;
        if (is_earlier)
            rise(r, alarm->place, alarm);
        else
            sink(r, alarm->place, alarm);
    }
    arm(r, r->heap[0]->at_ns);
    return 0;
}

void ct__alarm_clear(ct_reactor *r, ct__alarm *alarm) {
    const uint32_t place = alarm->place;
    if (place == 0)
        return;
    alarm->place = 0;
    ct__alarm *last = r->heap[--r->alarms];
    if (last == alarm)
        return;
    if (place > 1 && r->heap[place / 2 - 1]->at_ns > last->at_ns)
        rise(r, place, last);
    else
        sink(r, place, last);
}

static void ring(ct_reactor *r) {
    while (r->alarms > 0 && r->heap[0]->at_ns <= r->now_ns) {
        ct__alarm *alarm = r->heap[0];
        ct__alarm_clear(r, alarm);
        alarm->due(alarm);
    }
}

/* ---- work for the end of a batch ---- */

void ct__task_defer(ct_reactor *r, ct__task *task) {
    if (task->link != NULL)
        return;
    task->next = NULL;
    task->link = r->tasks_end;
    *r->tasks_end = task;
    r->tasks_end = &task->next;
    if (!r->is_draining)
        arm(r, 0);
}

void ct__task_drop(ct_reactor *r, ct__task *task) {
    if (task->link == NULL)
        return;
    *task->link = task->next;
    if (task->next != NULL)
        task->next->link = task->link;
    else
        r->tasks_end = task->link;
    task->link = NULL;
}

static void run_tasks(ct_reactor *r) {
    while (r->tasks != NULL) {
        ct__task *task = r->tasks;
        ct__task_drop(r, task);
        task->run(task);
    }
}

/* ---- what Python is told ---- */

static int make_event_room(ct_reactor *r, size_t more) {
    const size_t needed = r->event_count + r->event_reserved + more;
    if (needed <= r->event_room)
        return 0;
    size_t room = r->event_room == 0 ? FIRST_ROOM : r->event_room;
    while (room < needed)
        room *= 2;
    ct_event *grown = calloc(room, sizeof *grown);
    if (grown == NULL)
        return -ENOMEM;
    for (size_t i = 0; r->event_room > 0 && i < r->event_count; i++)
        grown[i] = r->events[(r->event_first + i) % r->event_room];
    free(r->events);
    r->events = grown;
    r->event_room = room;
    r->event_first = 0;
    return 0;
}

static void add_event(ct_reactor *r, const ct_event *event) {
    r->events[(r->event_first + r->event_count++) % r->event_room] = *event;
    if (!r->is_draining)
        arm(r, 0);
}

int ct__emit(ct_reactor *r, const ct_event *event) {
    const int result = make_event_room(r, 1);
    if (result < 0)
        free(event->data);
    else
        add_event(r, event);
    return result;
}

int ct__emit_reserve(ct_reactor *r, size_t places) {
    const int result = make_event_room(r, places);
    if (result == 0)
        r->event_reserved += places;
    return result;
}

void ct__emit_give_back(ct_reactor *r, size_t places) {
    r->event_reserved -= places;
}

void ct__emit_reserved(ct_reactor *r, const ct_event *event) {
    r->event_reserved--;
    add_event(r, event);
}

size_t ct_reactor_take(ct_reactor *r, ct_event *out, size_t cap) {
    size_t taken = 0;
    for (; taken < cap && r->event_count > 0; taken++, r->event_count--) {
        out[taken] = r->events[r->event_first];
        r->event_first = (r->event_first + 1) % r->event_room;
    }
    if (r->has_rung && r->event_count == 0) {
        uint64_t rings;
        (void)!read(r->bell_fd, &rings, sizeof rings);
        r->has_rung = false;
    }
    return taken;
}

void ct_event_done(ct_event *event) {
    free(event->data);
    event->data = NULL;
}

/* Wakes whoever takes the events. What fails for good is told so, too: he asks. */
static void ring_bell(ct_reactor *r) {
    const uint64_t once = 1;
    if (!r->has_rung)
        r->has_rung = write(r->bell_fd, &once, sizeof once) == sizeof once;
}

int ct_reactor_failure(const ct_reactor *r) {
    return r->failure;
}

/* ---- one turn ---- */

/* Handles one batch. Returns how many descriptors were ready, or -errno. */
static int turn(ct_reactor *r) {
    int count;
    do
        count = epoll_wait(r->epoll_fd, r->batch, BATCH, 0);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return ct__errno();
    r->now_ns = clock_ns();
    r->batch_count = count;
    for (r->batch_at = 0; r->batch_at < r->batch_count;) {
        const struct epoll_event ready = r->batch[r->batch_at++];
        ct__watch *watch = ready.data.ptr;
        if (watch != NULL) {
            watch->ready(watch, ready.events);
        } else if (ready.events != 0) { /* 0: dropped within this batch */
            uint64_t rings;
            (void)!read(r->timer_fd, &rings, sizeof rings);
            r->armed_ns = NEVER;
        }
    }
    r->batch_count = r->batch_at = 0;
    ring(r);
    run_tasks(r);
    return count;
}

int ct_reactor_drain(ct_reactor *r) {
    r->is_draining = true;
    int count = turn(r);
    /* Under load something is ready again by now: another look is cheaper than a turn of the loop around us. */
    for (int turns = 1; count > 0 && turns < TURNS && r->event_count == 0; turns++)
        count = turn(r);
    r->is_draining = false;
    if (count < 0)
        r->failure = count;
    if (count < 0 || r->event_count > 0)
        ring_bell(r);
    if (count < 0)
        return count;
    if (r->alarms > 0)
        arm(r, r->heap[0]->at_ns);
    return r->event_count > INT32_MAX ? INT32_MAX : (int)r->event_count;
}
