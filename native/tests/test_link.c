#define _GNU_SOURCE
#include "link_rig.h"

#include "link/state.h"

#include <pthread.h>

/* Every allocation of the core goes through these (see the Makefile): the one that is chosen fails. */
static long allocations_left = -1; /* -1: none fails */

static bool fails(void) {
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fails() ? NULL : __real_reallocarray(old, count, size);
}

static void a_call_of_python_ends_with_one_event(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    CHECK_INT(ask(&g, false), 1);
    uint8_t out[256];
    CHECK_INT(heard(&g, out, sizeof out), CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES + 1); /* sent at once */
    CHECK_INT(out[4], CT_FRAME_EXEC);
    CHECK_INT(ct__be32(out + CT_FRAME_HEADER_BYTES + 40), UINT32_MAX);
    CHECK_INT(write(g.stdio, "raw", 3), 3);
    say(&g, CT_FRAME_LOG, 1, "log");
    say(&g, CT_FRAME_RESULT, 1, "[1]");
    const ct_event *end = turn_until(&g, CT_LINK_ENDED);
    CHECK(end != NULL && end->target == ct_link_handle(g.link) && end->subject == 1 && end->number == CT_END_RESULT);
    ct_link_answer answer;
    memcpy(&answer, end->data, sizeof answer);
    CHECK_INT(answer.log_len, 6);
    CHECK_INT(answer.body_len, 3);
    CHECK_INT(memcmp(end->data + sizeof answer, "lograw[1]", 9) == 0 ||
                  memcmp(end->data + sizeof answer, "rawlog[1]", 9) == 0, 1);
    CHECK_INT(ct_link_in_hand(g.link), 0);
    close_rig(&g);
}

static void a_call_given_up_is_kept_until_its_frame(void) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    CHECK_INT(ask(&g, false), 1);
    uint8_t out[256];
    (void)heard(&g, out, sizeof out);
    CHECK_INT(ct_link_cancel(g.link, 1), 1);
    CHECK_INT(ct_link_cancel(g.link, 1), 0);
    CHECK_INT(heard(&g, out, sizeof out), CT_FRAME_HEADER_BYTES);
    CHECK_INT(out[4], CT_FRAME_CANCEL);
    CHECK_INT(ct_link_in_hand(g.link), 1);
    say(&g, CT_FRAME_LOG, 1, "late");
    say(&g, CT_FRAME_RESULT, 1, "1");
    turn(&g);
    CHECK_INT(ct_link_in_hand(g.link), 0);
    CHECK_INT(g.count, 0);
    say(&g, CT_FRAME_RESULT, 1, "1"); /* twice is once too often */
    turn(&g);
    CHECK(event_of(&g, CT_LINK_HUNG_UP) != NULL);
    CHECK_INT(event_of(&g, CT_LINK_HUNG_UP)->number, CT_CAUSE_ANSWER);
    close_rig(&g);
}

static void an_overdue_call_is_given_up_first_and_then_ends(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    CHECK_INT(ct_link_call(g.link, ZEROS, ZEROS, ZEROS, NULL, 0, 0, 0), 1);
    while (g.count < 2)
        turn(&g);
    CHECK_INT(g.events[0].kind, CT_LINK_GIVEN_UP);
    CHECK_INT(g.events[1].kind, CT_LINK_ENDED);
    CHECK_INT(g.events[1].number, CT_END_TIMEOUT);
    close_rig(&g);
}

static void pieces_wait_and_the_rest_comes_with_the_end(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    CHECK_INT(ask(&g, true), 1);
    const uint8_t *piece = NULL;
    CHECK_INT(ct_link_take(g.link, 1, &piece), 0);
    say(&g, CT_FRAME_CHUNK, 1, "ab");
    say(&g, CT_FRAME_CHUNK, 1, "c");
    turn(&g);
    CHECK_INT(g.count, 1); /* told once */
    CHECK_INT(g.events[0].kind, CT_LINK_PIECE);
    CHECK_INT(ct_link_take(g.link, 1, &piece), 2);
    CHECK_INT(memcmp(piece, "ab", 2), 0);
    say(&g, CT_FRAME_RESULT, 1, "");
    turn(&g);
    const ct_event *end = event_of(&g, CT_LINK_ENDED);
    CHECK(end != NULL && end->number == CT_END_RESULT);
    CHECK_INT(end->len, sizeof(ct_link_answer) + sizeof(uint32_t) + 1);
    CHECK_INT(end->data[end->len - 1], 'c');
    CHECK_INT(ct_link_take(g.link, 1, &piece), 0);
    close_rig(&g);
}

static ct__link_call next_call;
static int lane_ends;

static void lane_done(ct__link_call *call, const ct__link_end *end, ct_link *link) {
    lane_ends++;
    CHECK(call->link == NULL);
    if (end->kind != CT_END_RESULT || call == &next_call)
        return;
    next_call.done = lane_done;
    const ct__exec exec = {.request_id = ZEROS, .timeout_ns = 1000000000};
    CHECK_INT(ct__link_begin(link, &next_call, &exec), 0);
}

static void a_call_may_begin_where_another_ends(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    ct__link_call first = {.done = lane_done};
    const ct__exec exec = {.request_id = ZEROS, .payload = (const uint8_t *)"{}", .len = 2, .timeout_ns = 1000000000};
    lane_ends = 0;
    CHECK_INT(ct__link_begin(g.link, &first, &exec), 0);
    say(&g, CT_FRAME_RESULT, 1, "1");
    turn(&g);
    CHECK_INT(lane_ends, 1);
    CHECK_INT(next_call.id, 2);
    ct__link_give_up(&next_call, true);
    ct__link_give_up(&next_call, true);
    turn(&g);
    CHECK_INT(g.count, 1);
    CHECK_INT(g.events[0].kind, CT_LINK_GIVEN_UP);
    ct__link_call last = {.done = lane_done};
    CHECK_INT(ct__link_begin(g.link, &last, &exec), 0);
    close_rig(&g);
    CHECK_INT(lane_ends, 2); /* the last one died; the one that was given up did not end again */
}

/* A whole life with the nth allocation failing: every call that was begun ends once, nothing leaks (ASan), nothing hangs. */
static long live(long nth) {
    allocations_left = nth;
    rig g;
    if (try_open(&g, false) < 0) {
        allocations_left = -1;
        close_rig(&g);
        return 1;
    }
    int begun = 0, ended = 0, cancelled = 0;
    (void)ct_link_init(g.link, (const uint8_t *)"init", 4);
    for (int i = 0; i < 6; i++)
        begun += ask(&g, i == 3) > 0;
    say(&g, CT_FRAME_HELLO, 0, "hello");
    say(&g, CT_FRAME_READY, 0, "ready");
    turn(&g);
    CHECK_INT(write(g.stdio, "said", 4), 4);
    for (uint32_t id = 1; id <= (uint32_t)begun; id++)
        say(&g, CT_FRAME_LOG, id, "log");
    turn(&g);
    if (begun == 6) {
        say(&g, CT_FRAME_RESULT, 2, "[]");
        say(&g, CT_FRAME_CHUNK, 4, "piece");
        say(&g, CT_FRAME_ASK, 3, "ask");
    }
    turn(&g);
    cancelled = ct_link_cancel(g.link, 1);
    turn(&g);
    ct_link_free(g.link, NULL, 0);
    g.link = NULL;
    turn(&g);
    const bool was_used_up = allocations_left >= 0;
    allocations_left = -1;
    for (size_t i = 0; i < g.count; i++)
        ended += g.events[i].kind == CT_LINK_ENDED;
    CHECK_INT(begun, ended + cancelled);
    close_rig(&g);
    return was_used_up ? 0 : 1;
}

static void no_allocation_that_fails_loses_a_call(void) {
    long nth = 0;
    while (live(nth) != 0)
        nth++;
    CHECK(nth > 15);
}

/* What a worker sends that no correct one would, each on a link of its own with call 1 in hand. */
static uint32_t cause_of(const uint8_t *data, size_t len, size_t times) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    CHECK_INT(ask(&g, false), 1);
    for (size_t i = 0; i < times && event_of(&g, CT_LINK_HUNG_UP) == NULL; i++) {
        (void)!send(g.peer, data, len, MSG_NOSIGNAL);
        turn(&g);
    }
    const ct_event *end = event_of(&g, CT_LINK_HUNG_UP);
    CHECK(end != NULL);
    const uint32_t cause = end->number;
    close_rig(&g);
    return cause;
}

static uint32_t cause_of_frame(uint8_t kind, uint32_t id, size_t len, size_t times) {
    static uint8_t frame[CT_FRAME_HEADER_BYTES + 65536];
    CHECK(len <= 65536);
    CHECK_INT(ct_frame_put(frame, kind, 0, id, len), 0);
    return cause_of(frame, CT_FRAME_HEADER_BYTES + len, times);
}

static void a_worker_that_breaks_the_protocol_is_not_spoken_to(void) {
    CHECK_INT(cause_of_frame(CT_FRAME_LOG, 2, 1, 1), CT_CAUSE_LOG);
    CHECK_INT(cause_of_frame(CT_FRAME_CHUNK, 1, 1, 1), CT_CAUSE_PIECE);
    CHECK_INT(cause_of_frame(CT_FRAME_PONG, 0, 0, 1), CT_CAUSE_KIND);
    CHECK_INT(cause_of_frame(CT_FRAME_REPLY, 1, 0, 1), CT_CAUSE_KIND); /* ours to say */
    CHECK_INT(cause_of_frame(CT_FRAME_ASK, 2, 1, 1), CT_CAUSE_ASK);
    CHECK_INT(cause_of_frame(CT_FRAME_ASK, 0, 1, 1), CT_CAUSE_ASK);
    CHECK_INT(cause_of_frame(CT_FRAME_READY, 0, 0, 1), CT_CAUSE_KIND); /* nobody has sent it an init */
    CHECK_INT(cause_of_frame(CT_FRAME_LOG, 1, 4096, 100000), CT_CAUSE_CHATTER);
    CHECK_INT(cause_of_frame(CT_FRAME_LOG, 0, 0, 1000000), CT_CAUSE_CHATTER); /* an empty one costs us as much */
    const uint8_t bad[CT_FRAME_HEADER_BYTES] = {0, 0, 0, 0, CT_FRAME_RESULT, 0, 1, 0, 0, 0, 0, 1};
    CHECK_INT(cause_of(bad, sizeof bad, 1), CT_CAUSE_FRAME);
}

/* Closing such a pipe waits for its lock, which splice(2) keeps while it waits for a socket. */
typedef struct held_pipe {
    pthread_t thread;
    int ends[2], source[2];
} held_pipe;

static void *hold(void *of) {
    const held_pipe *held = of;
    CHECK_INT(splice(held->source[0], NULL, held->ends[1], NULL, 1, 0), 1);
    return NULL;
}

static void send_held(const rig *g, held_pipe *held) {
    CHECK_INT(pipe2(held->ends, O_CLOEXEC), 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, held->source), 0);
    CHECK_INT(pthread_create(&held->thread, NULL, hold, held), 0);
    const struct timespec moment = {.tv_nsec = 20000000};
    (void)nanosleep(&moment, NULL); /* until it waits */
    union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &held->ends[0], sizeof(int));
    struct iovec part = {.iov_base = (void *)(uintptr_t)"x", .iov_len = 1};
    const struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    CHECK_INT(sendmsg(g->peer, &message, 0), 1);
    (void)close(held->ends[0]);
}

static void let_go(held_pipe *held) {
    CHECK_INT(write(held->source[1], "y", 1), 1);
    CHECK_INT(pthread_join(held->thread, NULL), 0);
    (void)close(held->ends[1]);
    (void)close(held->source[0]);
    (void)close(held->source[1]);
}

static void a_descriptor_that_a_worker_sends_is_not_closed_by_the_loop(void) {
    rig g;
    held_pipe held;
    CHECK_INT(try_open(&g, true), 0);
    CHECK_INT(ask(&g, false), 1);
    send_held(&g, &held);
    turn(&g);
    CHECK_INT(event_of(&g, CT_LINK_HUNG_UP)->number, CT_CAUSE_RIGHTS);
    ct_link_free(g.link, NULL, 0);
    g.link = NULL;
    let_go(&held);
    close_rig(&g);
}

static void a_worker_that_holds_its_output_is_not_spoken_to(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    ct__link_stdio_stuck(&g.link->stdio);
    ct__link_stdio_stuck(&g.link->stdio);
    turn(&g);
    CHECK_INT(event_of(&g, CT_LINK_HUNG_UP)->number, CT_CAUSE_STDIO);
    CHECK_INT(g.count, 1);
    close_rig(&g);
}

static void nor_is_one_that_was_not_read(void) {
    rig g;
    held_pipe held;
    CHECK_INT(try_open(&g, true), 0);
    send_held(&g, &held);
    ct_link_free(g.link, NULL, 0);
    g.link = NULL;
    let_go(&held);
    close_rig(&g);
}

static void empty_pieces_of_a_stream_are_charged(void) {
    rig g;
    CHECK_INT(try_open(&g, true), 0);
    CHECK_INT(ask(&g, true), 1);
    for (int i = 0; i < 100000 && event_of(&g, CT_LINK_HUNG_UP) == NULL; i++) {
        say(&g, CT_FRAME_CHUNK, 1, "");
        turn(&g);
    }
    CHECK_INT(event_of(&g, CT_LINK_HUNG_UP)->number, CT_CAUSE_CHATTER);
    close_rig(&g);
}

static void what_a_handler_raised_is_checked_too(void) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    CHECK_INT(ask(&g, false), 1);
    CHECK_INT(ask(&g, false), 2);
    say(&g, CT_FRAME_ERROR, 1, "{\"type\":\"E\",\"message\":\"m\",\"stack\":\"\"}");
    say(&g, CT_FRAME_ERROR, 2, "{}");
    say(&g, CT_FRAME_LOG, 1, "an afterthought"); /* of a call that has ended: goes to the next one */
    turn(&g);
    CHECK_INT(g.count, 2);
    CHECK_INT(g.events[0].number, CT_END_ERROR);
    CHECK_INT(g.events[1].number, CT_END_INVALID);
    CHECK_INT(ask(&g, false), 3);
    say(&g, CT_FRAME_RESULT, 3, "3");
    turn(&g);
    ct_link_answer answer;
    memcpy(&answer, g.events[2].data, sizeof answer);
    CHECK_INT(answer.log_len, strlen("an afterthought"));
    close_rig(&g);
}

static void nothing_is_read_while_somebody_holds_the_link(void) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    CHECK_INT(ask(&g, false), 1);
    ct__link_hold(g.link);
    ct__link_hold(g.link);
    say(&g, CT_FRAME_RESULT, 1, "1");
    turn(&g);
    ct__link_release(g.link);
    turn(&g);
    CHECK_INT(g.count, 0);
    ct__link_release(g.link);
    turn(&g);
    turn(&g);
    CHECK(event_of(&g, CT_LINK_ENDED) != NULL);
    close_rig(&g);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_of_python_ends_with_one_event),
                                    CASE(a_call_given_up_is_kept_until_its_frame),
                                    CASE(an_overdue_call_is_given_up_first_and_then_ends),
                                    CASE(pieces_wait_and_the_rest_comes_with_the_end),
                                    CASE(a_call_may_begin_where_another_ends),
                                    CASE(a_worker_that_breaks_the_protocol_is_not_spoken_to),
                                    CASE(a_descriptor_that_a_worker_sends_is_not_closed_by_the_loop),
                                    CASE(nor_is_one_that_was_not_read),
                                    CASE(a_worker_that_holds_its_output_is_not_spoken_to), CASE(empty_pieces_of_a_stream_are_charged),
                                    CASE(what_a_handler_raised_is_checked_too),
                                    CASE(nothing_is_read_while_somebody_holds_the_link),
                                    CASE(no_allocation_that_fails_loses_a_call)};
    return RUN("link", cases);
}
