#include "link/stdio.h"

#include "base/err.h"

enum { ROUNDS = 16 /* 1 MiB of a noisy process, then its call's answer has its turn */ };

/* Chosen: a process that floods has the pipe's 64 KiB taken a hundred times a second, which costs under 1 %; read as fast
 * as it writes, a few of them would fill a core. */
static const uint64_t REST_NS = 10000000;

/* Chosen. A reading that nobody holds up takes microseconds, and on a busy host the milliseconds until its thread runs:
 * so long an answer waits for what was printed before it. One that takes seconds is held on purpose, or by a worker
 * whose memory does not suffice for anything. */
static const uint64_t LATE_NS = 100000000, STUCK_NS = 10000000000;

static ct__stdio *of(void *part, size_t offset) {
    return (ct__stdio *)((char *)part - offset);
}

static int set(ct__stdio *s, ct__alarm *alarm, uint64_t after_ns) {
    return ct__alarm_set(s->reactor, alarm, ct__reactor_now_ns(s->reactor) + after_ns);
}

static void arm(ct__stdio *s) {
    ct__alarm_clear(s->reactor, &s->rest);
    ct__pipe_arm(s->pipe);
}

static bool is_out(const ct__stdio *s) {
    return s->pipe != NULL && ct__pipe_is_out(s->pipe);
}

/* Whether a thread has something of it to read, which is asked now, rest or not. */
static bool is_behind(ct__stdio *s) {
    if (s->pipe == NULL)
        return false;
    if (s->rest.place != 0)
        arm(s);
    ct__pipes_look(s->pipes);
    return is_out(s);
}

static void let_go(ct__stdio *s) {
    ct__alarm_clear(s->reactor, &s->rest);
    ct__pipe_close(s->pipe);
    s->pipe = NULL;
}

static void came(void *owner, const uint8_t *data, size_t len, bool has_ended) {
    ct__stdio *s = owner;
    s->is_late = false;
    if (s->rounds > 0)
        ct__task_defer(s->reactor, &s->settling);
    else
        ct__alarm_clear(s->reactor, &s->late);
    const bool is_useful = len > 0 && s->take(s, data, len);
    if (has_ended)
        let_go(s);
    else if (is_useful || set(s, &s->rest, REST_NS) < 0)
        ct__pipe_arm(s->pipe);
}

static void rested(ct__alarm *alarm) {
    arm(of(alarm, offsetof(ct__stdio, rest)));
}

static void settle(ct__stdio *s) {
    s->rounds = 0;
    ct__task_drop(s->reactor, &s->settling);
    s->settled(s);
}

static void look_again(ct__task *task) {
    ct__stdio *s = of(task, offsetof(ct__stdio, settling));
    if (--s->rounds > 0 && is_behind(s))
        return;
    ct__alarm_clear(s->reactor, &s->late);
    settle(s);
}

static void late(ct__alarm *alarm) {
    ct__stdio *s = of(alarm, offsetof(ct__stdio, late));
    if (s->rounds == 0) {
        s->stuck(s);
        return;
    }
    s->is_late = true;
    (void)set(s, alarm, STUCK_NS);
    settle(s);
}

bool ct__stdio_settle(ct__stdio *s) {
    if (s->is_late || !is_behind(s) || set(s, &s->late, LATE_NS) < 0)
        return true;
    s->rounds = ROUNDS;
    return false;
}

void ct__stdio_finish(ct__stdio *s) {
    if (s->is_late || s->was_awaited)
        return;
    for (int round = 0; round < ROUNDS && is_behind(s); round++) {
        ct__pipe_await(s->pipe);
        s->was_awaited = is_out(s);
        if (s->was_awaited)
            return;
    }
}

int ct__stdio_open(ct__stdio *s, ct__pipes *pipes, ct_reactor *reactor, int fd) {
    s->pipes = pipes;
    s->reactor = reactor;
    s->rest.due = rested;
    s->late.due = late;
    s->settling.run = look_again;
    return ct__pipe_open(pipes, fd, came, s, &s->pipe);
}

void ct__stdio_close(ct__stdio *s) {
    ct__alarm_clear(s->reactor, &s->late);
    ct__task_drop(s->reactor, &s->settling);
    if (s->pipe != NULL)
        let_go(s);
}
