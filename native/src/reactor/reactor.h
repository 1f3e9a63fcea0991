/* One epoll set that is a guest in somebody else's loop: the loop watches one descriptor and calls `ct_reactor_drain`,
 * which never blocks. Single-threaded. */
#ifndef CT_REACTOR_REACTOR_H
#define CT_REACTOR_REACTOR_H

#include "base/abi.h"

#include <stdbool.h>

/* It lives until it was freed once more: for who is freed in no certain order with it. */
void ct__reactor_keep(ct_reactor *reactor);

/* A descriptor and what to do when it is ready. The owner embeds it and owns the descriptor. */
typedef struct ct__watch {
    void (*ready)(struct ct__watch *watch, uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP */
    int fd;                                                  /* -1: not watched */
    uint32_t events;
} ct__watch;

/* `watch->ready` is set by the caller. Returns 0 or -errno. */
int ct__watch_add(ct_reactor *reactor, ct__watch *watch, int fd, uint32_t events);
int ct__watch_set(ct_reactor *reactor, ct__watch *watch, uint32_t events);

/* After this `ready` is not called any more, not even for what the current batch holds; the watch may be freed and the
 * descriptor closed. */
void ct__watch_drop(ct_reactor *reactor, ct__watch *watch);

/* A deadline. Zeroed is unset. The owner embeds it and clears it before it goes. */
typedef struct ct__alarm {
    void (*due)(struct ct__alarm *alarm);
    uint64_t at_ns;
    uint32_t place; /* in the heap, from 1; 0: unset */
} ct__alarm;

/* Sets or moves it. Returns 0 or -ENOMEM. */
int ct__alarm_set(ct_reactor *reactor, ct__alarm *alarm, uint64_t at_ns);
void ct__alarm_clear(ct_reactor *reactor, ct__alarm *alarm);

/* Work for the end of the current batch (outside of one: of the next): flushes, frees. Zeroed is not queued. */
typedef struct ct__task {
    void (*run)(struct ct__task *task);
    struct ct__task *next;
    struct ct__task **link; /* what points to it; NULL: not queued */
} ct__task;

/* Queues it; nothing when it is queued already. */
void ct__task_defer(ct_reactor *reactor, ct__task *task);
void ct__task_drop(ct_reactor *reactor, ct__task *task);

/* CLOCK_MONOTONIC at the begin of the current batch; outside of one, of now. */
uint64_t ct__reactor_now_ns(const ct_reactor *reactor);

/* Within a batch; outside of one Python has called, and nothing is gained by waiting for others' bytes. */
bool ct__reactor_is_turning(const ct_reactor *reactor);

/* Tells Python. Takes over event->data (malloc'd or NULL), whatever it returns: 0 or -ENOMEM. */
int ct__emit(ct_reactor *reactor, const ct_event *event);

/* For events that must not get lost: room is reserved while failing is still possible (0 or -ENOMEM), and each place is
 * then used by one ct__emit_reserved or given back. */
int ct__emit_reserve(ct_reactor *reactor, size_t places);
void ct__emit_give_back(ct_reactor *reactor, size_t places);
void ct__emit_reserved(ct_reactor *reactor, const ct_event *event);

#endif
