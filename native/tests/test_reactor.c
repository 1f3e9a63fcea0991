#define _GNU_SOURCE
#include "reactor/reactor.h"

#include "ct_test.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int count;

static int drain_when_ready(ct_reactor *r, int ms) {
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK(poll(&door, 1, ms) >= 0);
    return ct_reactor_drain(r);
}

static void counts(ct__watch *watch, uint32_t events) {
    char byte;
    CHECK((events & EPOLLIN) != 0);
    CHECK_INT(read(watch->fd, &byte, 1), 1);
    count++;
}

static void the_loop_sees_what_is_ready_and_drains_it(void) {
    ct_reactor *r = ct_reactor_new();
    int ends[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ct__watch watch = {.ready = counts};
    CHECK_INT(ct__watch_add(r, &watch, ends[0], EPOLLIN), 0);
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK_INT(poll(&door, 1, 0), 0);
    CHECK_INT(write(ends[1], "x", 1), 1);
    CHECK_INT(poll(&door, 1, 1000), 1);
    count = 0;
    CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(count, 1);
    CHECK_INT(poll(&door, 1, 0), 0);
    ct__watch_drop(r, &watch);
    CHECK_INT(write(ends[1], "x", 1), 1);
    CHECK_INT(poll(&door, 1, 0), 0);
    ct_reactor_free(r);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static ct_reactor *shared;
static ct__watch twins[2];

static void drops_the_other(ct__watch *watch, uint32_t events) {
    (void)events;
    char byte;
    CHECK_INT(read(watch->fd, &byte, 1), 1);
    ct__watch_drop(shared, &twins[watch == &twins[0]]);
    count++;
}

static void a_dropped_watch_is_not_called_by_the_batch_in_hand(void) {
    shared = ct_reactor_new();
    int ends[2][2];
    for (int i = 0; i < 2; i++) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), 0);
        twins[i] = (ct__watch){.ready = drops_the_other};
        CHECK_INT(ct__watch_add(shared, &twins[i], ends[i][0], EPOLLIN), 0);
        CHECK_INT(write(ends[i][1], "x", 1), 1);
    }
    count = 0;
    CHECK_INT(ct_reactor_drain(shared), 0);
    CHECK_INT(count, 1);
    ct_reactor_free(shared);
    for (int i = 0; i < 4; i++)
        (void)close(ends[i / 2][i % 2]);
}

enum { ALARMS = 500 };
static ct__alarm alarms[ALARMS];
static uint64_t last_ns;

static void rings(ct__alarm *alarm) {
    CHECK(alarm->at_ns >= last_ns);
    CHECK_INT(alarm->place, 0);
    last_ns = alarm->at_ns;
    count++;
}

static void alarms_ring_in_their_order(void) {
    ct_reactor *r = ct_reactor_new();
    const uint64_t now = ct__reactor_now_ns(r);
    uint32_t seed = 7;
    for (int i = 0; i < ALARMS; i++) {
        seed = seed * 1103515245U + 12345U;
        alarms[i] = (ct__alarm){.due = rings};
        CHECK_INT(ct__alarm_set(r, &alarms[i], now + seed % 20000000U), 0);
    }
    for (int i = 0; i < ALARMS; i += 5) {
        if (i % 2 == 0)
            ct__alarm_clear(r, &alarms[i]);
        else
            CHECK_INT(ct__alarm_set(r, &alarms[i], now + (uint64_t)(ALARMS - i) * 1000U), 0);
    }
    ct__alarm_clear(r, &alarms[0]); /* twice does nothing */
    count = 0;
    last_ns = 0;
    while (count < ALARMS - ALARMS / 10)
        CHECK_INT(drain_when_ready(r, 1000), 0);
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    CHECK_INT(poll(&door, 1, 40), 0);
    CHECK_INT(count, ALARMS - ALARMS / 10);
    ct_reactor_free(r);
}

static ct__task first, second;

static void runs_first(ct__task *task) {
    CHECK(task == &first);
    ct__task_defer(shared, &second); /* in the same batch still */
    count++;
}

static void runs_second(ct__task *task) {
    CHECK(task == &second);
    count += 10;
}

static void deferred_work_wakes_the_loop_and_runs_once(void) {
    shared = ct_reactor_new();
    first = (ct__task){.run = runs_first};
    second = (ct__task){.run = runs_second};
    ct__task dropped = {.run = runs_second};
    ct__task_defer(shared, &first);
    ct__task_defer(shared, &dropped);
    ct__task_defer(shared, &first);
    ct__task_drop(shared, &dropped);
    count = 0;
    CHECK_INT(drain_when_ready(shared, 1000), 0);
    CHECK_INT(count, 11);
    CHECK_INT(drain_when_ready(shared, 0), 0);
    CHECK_INT(count, 11);
    ct_reactor_free(shared);
}

static void events_keep_their_order_while_the_ring_grows(void) {
    ct_reactor *r = ct_reactor_new();
    uint32_t taken = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t *data = malloc(1);
        CHECK(data != NULL);
        *data = (uint8_t)i;
        const ct_event event = {.kind = i, .data = data, .len = 1};
        CHECK_INT(ct__emit(r, &event), 0);
        if (i % 3 == 0) {
            ct_event out[1];
            CHECK_INT(ct_reactor_take(r, out, 1), 1);
            CHECK_INT(out[0].kind, taken++);
            ct_event_done(&out[0]);
        }
    }
    CHECK_INT(drain_when_ready(r, 1000), (int)(300 - taken));
    ct_event out[64];
    for (size_t got; (got = ct_reactor_take(r, out, 64)) > 0;)
        for (size_t i = 0; i < got; i++) {
            CHECK_INT(out[i].kind, taken);
            CHECK_INT(*out[i].data, (uint8_t)taken++);
            ct_event_done(&out[i]);
        }
    CHECK_INT(taken, 300);
    const ct_event left = {.kind = 1, .data = malloc(8), .len = 8};
    CHECK_INT(ct__emit(r, &left), 0);
    ct_reactor_free(r); /* and its data */
}

static void the_bell_rings_until_all_events_are_taken(void) {
    ct_reactor *r = ct_reactor_new();
    struct pollfd bell = {.fd = ct_reactor_bell_fd(r), .events = POLLIN};
    ct_event taken[2];
    for (int round = 0; round < 2; round++) {
        CHECK_INT(ct__emit(r, &(ct_event){.kind = 1}), 0);
        CHECK_INT(ct__emit(r, &(ct_event){.kind = 2}), 0);
        CHECK_INT(drain_when_ready(r, 1000), 2);
        CHECK_INT(ct_reactor_drain(r), 2);
        CHECK_INT(poll(&bell, 1, 0), 1);
        CHECK_INT(ct_reactor_take(r, taken, 1), 1);
        CHECK_INT(poll(&bell, 1, 0), 1);
        CHECK_INT(ct_reactor_take(r, taken, 2), 1);
        CHECK_INT(poll(&bell, 1, 0), 0);
    }
    CHECK_INT(ct_reactor_drain(r), 0);
    CHECK_INT(poll(&bell, 1, 0), 0);
    CHECK_INT(ct_reactor_failure(r), 0);
    ct_reactor_free(r);
}

static void a_reserved_event_has_its_place(void) {
    ct_reactor *r = ct_reactor_new();
    CHECK_INT(ct__emit_reserve(r, 100), 0);
    const ct_event event = {.kind = 7};
    for (int i = 0; i < 200; i++)
        CHECK_INT(ct__emit(r, &event), 0);
    for (uint32_t i = 0; i < 99; i++)
        ct__emit_reserved(r, &(ct_event){.kind = 8, .number = i});
    ct__emit_give_back(r, 1);
    CHECK_INT(ct_reactor_drain(r), 299);
    ct_event taken[300];
    CHECK_INT(ct_reactor_take(r, taken, 300), 299);
    CHECK_INT(taken[0].kind, 7);
    CHECK_INT(taken[200].kind, 8);
    CHECK_INT(taken[298].number, 98);
    ct_reactor_free(r);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(the_loop_sees_what_is_ready_and_drains_it), CASE(a_dropped_watch_is_not_called_by_the_batch_in_hand),
        CASE(alarms_ring_in_their_order), CASE(deferred_work_wakes_the_loop_and_runs_once),
        CASE(events_keep_their_order_while_the_ring_grows),
        CASE(the_bell_rings_until_all_events_are_taken), CASE(a_reserved_event_has_its_place)};
    return RUN("reactor", cases);
}
