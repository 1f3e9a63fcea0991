#define _GNU_SOURCE
#include "link_rig.h"

static void ended(ct__link_call *call, const ct__link_end *end, ct_link *link) {
    (void)call;
    (void)end;
    (void)link;
}

static ct_link_asked head_of(const ct_event *event) {
    ct_link_asked head;
    CHECK(event->len >= sizeof head);
    memcpy(&head, event->data, sizeof head);
    CHECK(event->len >= sizeof head + head.chain_len);
    return head;
}

static void an_ask_says_whence_its_call_came_and_is_replied_to(void) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    const ct__origin origin = {
        .chain = (const uint8_t *)"a,b", .chain_len = 3, .depth = 2, .trace_id = (const uint8_t *)"trace of 16 byte", .span_id = ZEROS};
    ct__link_call call = {.done = ended};
    const ct__exec exec = {.request_id = ZEROS, .timeout_ns = UINT64_MAX, .origin = &origin};
    CHECK_INT(ct__link_begin(g.link, &call, &exec), 0);
    CHECK_INT(ask(&g, false), 2);
    say(&g, CT_FRAME_ASK, 1, "what");
    say(&g, CT_FRAME_ASK, 2, "who");
    say(&g, CT_FRAME_RESULT, 2, "1");
    say(&g, CT_FRAME_ASK, 2, "late"); /* something of it runs on */
    turn(&g);
    CHECK_INT(g.count, 4);
    ct_link_asked head = head_of(&g.events[0]);
    CHECK(g.events[0].kind == CT_LINK_ASKED && g.events[0].subject == 1 && g.events[0].flags == 1);
    CHECK(head.until_ns == UINT64_MAX && head.depth == 2 && memcmp(head.trace_id, "trace of 16 byte", 16) == 0);
    CHECK_INT(g.events[0].len, sizeof head + 7);
    CHECK_INT(memcmp(g.events[0].data + sizeof head, "a,bwhat", 7), 0);
    head = head_of(&g.events[1]);
    CHECK(head.until_ns == UINT64_MAX && head.depth == 0 && head.chain_len == 0);
    head = head_of(&g.events[3]);
    CHECK(g.events[3].flags == 0 && head.until_ns == 0);
    uint8_t out[512];
    (void)heard(&g, out, sizeof out);
    ct_link_reply(g.link, 1, (const uint8_t *)"this", 4, 4);
    CHECK_INT(heard(&g, out, sizeof out), CT_FRAME_HEADER_BYTES + 4);
    CHECK(out[4] == CT_FRAME_REPLY && ct__be32(out + 8) == 1 && memcmp(out + CT_FRAME_HEADER_BYTES, "this", 4) == 0);
    ct_link_reply(g.link, 2, NULL, 0, 3);
    ct_link_reply(g.link, 2, NULL, 0, 4);
    (void)heard(&g, out, sizeof out);
    ct_link_reply(g.link, 2, NULL, 0, 0); /* nothing waits any more */
    CHECK_INT(heard(&g, out, sizeof out), 0);
    close_rig(&g);
}

static void a_worker_with_too_many_asks_is_not_read_on(void) {
    rig g;
    CHECK_INT(try_open(&g, false), 0);
    CHECK_INT(ask(&g, false), 1);
    for (int i = 0; i < CT_LINK_ASKS_MAX + 2; i++)
        say(&g, CT_FRAME_ASK, 1, "x");
    say(&g, CT_FRAME_RESULT, 1, "1");
    size_t asked = 0;
    for (int i = 0; i < 4; i++) {
        turn(&g);
        asked += g.count;
        CHECK(event_of(&g, CT_LINK_ENDED) == NULL);
        forget(&g);
    }
    CHECK_INT(asked, CT_LINK_ASKS_MAX);
    ct_link_reply(g.link, 1, NULL, 0, 1); /* each reply lets one more in */
    turn(&g);
    CHECK_INT(g.count, 1);
    ct_link_reply(g.link, 1, NULL, 0, 1);
    turn(&g);
    CHECK_INT(g.count, 2);
    CHECK(event_of(&g, CT_LINK_ENDED) == NULL);
    ct_link_reply(g.link, 1, NULL, 0, 1);
    turn(&g);
    CHECK(event_of(&g, CT_LINK_ENDED) != NULL);
    close_rig(&g);
}

int main(void) {
    static const ct_case cases[] = {CASE(an_ask_says_whence_its_call_came_and_is_replied_to),
                                    CASE(a_worker_with_too_many_asks_is_not_read_on)};
    return RUN("asks", cases);
}
