/* A link that shares a page with its worker: the test is the worker. */
#define _GNU_SOURCE
#include "link_rig.h"

#include "link/mail.h"

#include <linux/falloc.h>
#include <sys/mman.h>

typedef struct desk_rig {
    rig g;
    ct__page *page; /* the worker's own mapping */
    int bell_fd;
    uint32_t said; /* frames given to the socket */
} desk_rig;

static void open_desk(desk_rig *d) {
    *d = (desk_rig){0};
    CHECK_INT(try_open(&d->g, true), 0);
    ct_mail *mail = NULL;
    CHECK_INT(ct_mail_new(&mail), 0);
    void *mapped = mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ct_mail_page_fd(mail), 0);
    CHECK(mapped != MAP_FAILED);
    d->page = mapped;
    d->bell_fd = dup(ct_mail_bell_fd(mail));
    CHECK_INT(ct_mail_seal(mail), 0);
    CHECK_INT(ct_mail_page_fd(mail), -1);
    CHECK_INT(ct_link_share(d->g.link, mail), 0);
}

static void close_desk(desk_rig *d) {
    close_rig(&d->g);
    CHECK_INT(munmap(d->page, CT__PAGE_BYTES), 0);
    (void)close(d->bell_fd);
}

static void ring(const desk_rig *d) {
    const uint64_t once = 1;
    CHECK_INT(write(d->bell_fd, &once, sizeof once), sizeof once);
}

static bool try_answer(const desk_rig *d, uint8_t kind, uint32_t id, const char *body) {
    uint8_t frame[512];
    const size_t len = strlen(body);
    CHECK_INT(ct_frame_put(frame, kind, 0, id, len), 0);
    memcpy(frame + CT_FRAME_HEADER_BYTES, body, len);
    const bool is_put = ct__page_put(&d->page->to_host, frame, CT_FRAME_HEADER_BYTES + len, d->said);
    ring(d);
    return is_put;
}

static void say_by_socket(desk_rig *d, uint8_t kind, uint32_t id, const char *body) {
    say(&d->g, kind, id, body);
    d->said++;
}

static int ended_as(const desk_rig *d) {
    const ct_event *end = event_of(&d->g, CT_LINK_ENDED);
    return end != NULL ? (int)end->number : 0;
}

static void a_call_and_its_answer_go_by_the_page(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    uint8_t out[CT__PAGE_FRAME_BYTES];
    CHECK_INT(heard(&d.g, out, sizeof out), 0);
    CHECK_INT(atomic_load(&d.page->bell), 1);
    CHECK_INT(ct__page_take(&d.page->to_worker, 0, out), CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES + 1);
    CHECK_INT(out[4], CT_FRAME_EXEC);
    CHECK(try_answer(&d, CT_FRAME_RESULT, 1, "[1]"));
    turn(&d.g);
    CHECK_INT(ended_as(&d), CT_END_RESULT);
    CHECK_INT(ct_link_in_hand(d.g.link), 0);
    close_desk(&d);
}

static void what_finds_the_page_taken_goes_by_the_socket_and_is_announced(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    CHECK_INT(ask(&d.g, false), 2);
    uint8_t out[CT__PAGE_FRAME_BYTES];
    CHECK_INT(atomic_load(&d.page->announced), 1);
    CHECK_INT(heard(&d.g, out, sizeof out), CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES + 1);
    CHECK_INT(ct__be32(out + 8), 2);
    CHECK(ct__page_take(&d.page->to_worker, 0, out) > 0);
    CHECK_INT(ask(&d.g, false), 3); /* behind the one in the socket */
    CHECK_INT(ct__page_take(&d.page->to_worker, 0, out), 0);
    CHECK(ct__page_take(&d.page->to_worker, 1, out) > 0);
    CHECK_INT(ct__be32(out + 8), 3);
    close_desk(&d);
}

static void a_long_call_goes_by_the_socket(void) {
    desk_rig d;
    open_desk(&d);
    static uint8_t payload[CT__PAGE_FRAME_BYTES];
    static uint8_t out[2 * CT__PAGE_FRAME_BYTES];
    CHECK_INT(ct_link_call(d.g.link, ZEROS, ZEROS, ZEROS, payload, sizeof payload, UINT64_MAX, 0), 1);
    CHECK_INT(atomic_load(&d.page->announced), 1);
    CHECK_INT(heard(&d.g, out, sizeof out), CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES + sizeof payload);
    close_desk(&d);
}

static void logs_of_the_socket_come_before_the_answer_of_the_page(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    d.said = 1; /* it is on its way still */
    CHECK(try_answer(&d, CT_FRAME_RESULT, 1, "[1]"));
    turn(&d.g);
    CHECK_INT(ended_as(&d), 0);
    say(&d.g, CT_FRAME_LOG, 1, "log");
    turn(&d.g);
    CHECK_INT(ended_as(&d), CT_END_RESULT);
    ct_link_answer answer;
    memcpy(&answer, event_of(&d.g, CT_LINK_ENDED)->data, sizeof answer);
    CHECK_INT(answer.log_len, 3);
    CHECK_INT(answer.body_len, 3);
    close_desk(&d);
}

static void an_answer_on_the_page_is_heard_after_its_worker(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    CHECK(try_answer(&d, CT_FRAME_ERROR, 1, "{\"type\":\"E\",\"message\":\"m\",\"stack\":\"\"}"));
    CHECK_INT(shutdown(d.g.peer, SHUT_RDWR), 0);
    turn(&d.g);
    CHECK_INT(ended_as(&d), CT_END_ERROR);
    turn(&d.g);
    CHECK(event_of(&d.g, CT_LINK_HUNG_UP) != NULL);
    CHECK_INT(event_of(&d.g, CT_LINK_HUNG_UP)->number, CT_CAUSE_CLOSED);
    close_desk(&d);
}

static void output_comes_before_the_answer_of_the_page(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    CHECK_INT(write(d.g.stdio, "raw", 3), 3);
    CHECK(try_answer(&d, CT_FRAME_RESULT, 1, "[1]"));
    turn(&d.g);
    const ct_event *end = turn_until(&d.g, CT_LINK_ENDED);
    CHECK(end != NULL && end->number == CT_END_RESULT);
    ct_link_answer answer;
    memcpy(&answer, end->data, sizeof answer);
    CHECK_INT(answer.log_len, 3);
    CHECK_INT(memcmp(end->data + sizeof answer, "raw[1]", 6), 0);
    forget(&d.g);
    CHECK_INT(ask(&d.g, false), 2);
    CHECK_INT(write(d.g.stdio, "raw", 3), 3);
    CHECK(try_answer(&d, CT_FRAME_RESULT, 2, "[2]"));
    turn(&d.g);
    ct_link_free(d.g.link, NULL, 0); /* which waits for it, too */
    d.g.link = NULL;
    CHECK_INT(turn_until(&d.g, CT_LINK_ENDED)->number, CT_END_RESULT);
    close_desk(&d);
}

static void a_page_is_not_read_while_the_link_is_held(void) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    ct__link_hold(d.g.link);
    CHECK(try_answer(&d, CT_FRAME_RESULT, 1, "1"));
    turn(&d.g);
    CHECK_INT(ended_as(&d), 0);
    ct__link_release(d.g.link);
    turn(&d.g);
    CHECK_INT(ended_as(&d), CT_END_RESULT);
    close_desk(&d);
}

/* Spoils the page; the link must not be spoken to any more, for that cause. */
static void ends_for(void (*spoil)(desk_rig *), uint32_t cause) {
    desk_rig d;
    open_desk(&d);
    CHECK_INT(ask(&d.g, false), 1);
    spoil(&d);
    for (int i = 0; i < 4; i++)
        turn(&d.g);
    CHECK(event_of(&d.g, CT_LINK_HUNG_UP) != NULL);
    CHECK_INT(event_of(&d.g, CT_LINK_HUNG_UP)->number, cause);
    ring(&d); /* nobody hears it */
    turn(&d.g);
    CHECK_INT(ask(&d.g, false), 2); /* waits for the link's end */
    close_desk(&d);
}

static void too_long(desk_rig *d) {
    atomic_store(&d->page->to_host.len, UINT32_MAX);
    ring(d);
}

static void cut(desk_rig *d) {
    CHECK(ct__page_put(&d->page->to_host, (const uint8_t *)"\0\0", 2, 0));
    ring(d);
}

static void two_in_one(desk_rig *d) {
    uint8_t frames[2 * CT_FRAME_HEADER_BYTES];
    CHECK_INT(ct_frame_put(frames, CT_FRAME_LOG, 0, 1, 0), 0);
    CHECK_INT(ct_frame_put(frames + CT_FRAME_HEADER_BYTES, CT_FRAME_LOG, 0, 1, 0), 0);
    CHECK(ct__page_put(&d->page->to_host, frames, sizeof frames, 0));
    ring(d);
}

static void no_frame(desk_rig *d) {
    CHECK(ct__page_put(&d->page->to_host, (const uint8_t *)"\0\0\0\0\5\0\7\7\0\0\0\1", CT_FRAME_HEADER_BYTES, 0));
    ring(d);
}

static void answers_nothing(desk_rig *d) {
    CHECK(try_answer(d, CT_FRAME_RESULT, 9, "1"));
}

static void rings_for_ever(desk_rig *d) {
    for (int i = 0; i < 4000; i++) { /* CT__CHATTER_BYTES of 64 each, and what the call and its log allow */
        ring(d);
        turn(&d->g);
    }
}

static void a_spoiled_page_ends_its_link_alone(void) {
    ends_for(too_long, CT_CAUSE_FRAME);
    ends_for(cut, CT_CAUSE_FRAME);
    ends_for(two_in_one, CT_CAUSE_FRAME);
    ends_for(no_frame, CT_CAUSE_FRAME);
    ends_for(answers_nothing, CT_CAUSE_ANSWER);
    ends_for(rings_for_ever, CT_CAUSE_CHATTER);
}

static void honest_rings_are_free(void) {
    desk_rig d;
    open_desk(&d);
    uint8_t out[CT__PAGE_FRAME_BYTES];
    for (uint32_t id = 1; id <= 5000; id++) {
        CHECK_INT(ask(&d.g, false), id);
        CHECK(ct__page_take(&d.page->to_worker, 0, out) > 0);
        CHECK(try_answer(&d, CT_FRAME_RESULT, id, "1"));
        say_by_socket(&d, CT_FRAME_LOG, 0, ""); /* whose event takes the answer along, before its ring is heard */
        turn(&d.g);
        CHECK_INT(ended_as(&d), CT_END_RESULT);
        CHECK(event_of(&d.g, CT_LINK_HUNG_UP) == NULL);
        forget(&d.g);
    }
    close_desk(&d);
}

static void a_sealed_page_stays_where_it_is(void) {
    ct_mail *mail = NULL;
    CHECK_INT(ct_mail_new(&mail), 0);
    const int fd = dup(ct_mail_page_fd(mail));
    void *own = mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(own != MAP_FAILED);
    CHECK_INT(ct_mail_seal(mail), 0);
    CHECK_INT(ftruncate(fd, 0), -1);
    CHECK_INT(ftruncate(fd, 2 * CT__PAGE_BYTES), -1);
    CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CT__PAGE_BYTES), -1);
    CHECK_INT(madvise(own, CT__PAGE_BYTES, MADV_REMOVE), -1);
    CHECK(mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_INT(munmap(own, CT__PAGE_BYTES), 0);
    (void)close(fd);
    ct_mail_free(mail);
    ct_mail_free(NULL);
}

static void the_end_of_the_link_wakes_the_worker(void) {
    desk_rig d;
    open_desk(&d);
    const uint32_t before = atomic_load(&d.page->announced);
    ct_link_free(d.g.link, NULL, 0);
    d.g.link = NULL;
    CHECK_INT(atomic_load(&d.page->announced), before + 1);
    CHECK_INT(atomic_load(&d.page->bell), 1);
    char byte;
    CHECK_INT(recv(d.g.peer, &byte, 1, MSG_DONTWAIT), 0);
    close_desk(&d);
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_call_and_its_answer_go_by_the_page),
        CASE(what_finds_the_page_taken_goes_by_the_socket_and_is_announced),
        CASE(a_long_call_goes_by_the_socket),
        CASE(logs_of_the_socket_come_before_the_answer_of_the_page),
        CASE(an_answer_on_the_page_is_heard_after_its_worker),
        CASE(output_comes_before_the_answer_of_the_page),
        CASE(a_page_is_not_read_while_the_link_is_held),
        CASE(a_spoiled_page_ends_its_link_alone),
        CASE(honest_rings_are_free),
        CASE(a_sealed_page_stays_where_it_is),
        CASE(the_end_of_the_link_wakes_the_worker),
    };
    return RUN("mail", cases);
}
