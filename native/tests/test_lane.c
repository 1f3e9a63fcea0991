#define _GNU_SOURCE
#include "lane_rig.h"

static void a_call_is_answered_and_written_down(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "[1]"), 0);
    const uint32_t id = hear(&g, 0, payload);
    CHECK_TEXT(payload, "[1]");
    say(&g, 0, CT_FRAME_LOG, id, "said");
    say(&g, 0, CT_FRAME_RESULT, id, "{\"a\":1}");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    CHECK(holds(&c, "{\"a\":1}"));
    CHECK(event_of(&g, CT_LANE_RECORDS) != NULL);
    const ct_record record = record_of(&g, 0);
    CHECK_INT(record.status, CT_STATUS_OK);
    CHECK_INT(record.flags, CT_RECORD_COLD);
    CHECK_INT(record.version, 7);
    CHECK_INT(record.input_bytes, 3);
    CHECK_INT(record.output_bytes, 7);
    CHECK_INT(memcmp(record.log, "said", 4), 0);
    forget(&g);
    CHECK_INT(ask(&g, &c, ""), 0); /* warm: the instance is on the shelf */
    const uint32_t next = hear(&g, 0, payload);
    CHECK_TEXT(payload, "{}");
    say(&g, 0, CT_FRAME_ERROR, next, "{\"type\":\"E\",\"message\":\"m\"}");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    CHECK(holds(&c, "\"E\""));
    CHECK_INT(g.member_count, 1);
    close_rig(&g);
}

static void calls_in_line_are_served_in_order(void) {
    rig g;
    open_rig(&g, 1);
    caller c[3];
    char payload[64];
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(ask(&g, &c[i], i == 0 ? "0" : i == 1 ? "1" : "2"), 0);
    for (size_t i = 0; i < 3; i++) {
        const uint32_t id = hear(&g, 0, payload);
        CHECK_INT(payload[0], '0' + (int)i);
        say(&g, 0, CT_FRAME_RESULT, id, payload);
        until(&g, &c[i].done);
        CHECK_INT(c[i].status, 0);
    }
    close_rig(&g);
}

static void a_refusal_has_words_of_the_function_or_of_python(void) {
    rig g;
    open_rig(&g, 1);
    caller c[5];
    char payload[64];
    CHECK_INT(ct_function_set_refusal(g.table, g.function, CT_STATUS_QUEUE_FULL, 0, 8, (const uint8_t *)"full", 4,
                                      (const uint8_t *)"{}", 2),
              0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(ask(&g, &c[i], "1"), 0); /* one runs, two wait */
    until(&g, &c[3].done);
    CHECK_INT(c[3].status, 8);
    CHECK_TEXT(c[3].message, "full");
    CHECK_TEXT(c[3].problem, "{}");
    forget(&g);
    CHECK_INT(ask(&g, &c[4], "{"), 0);
    until_event(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event_of(&g, CT_LANE_REFUSES)->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_INVALID_REQUEST);
    CHECK(told.function == g.function);
    const uint64_t call = event_of(&g, CT_LANE_REFUSES)->target;
    CHECK_INT(ct_lane_refuse(g.lane, call, 3, (const uint8_t *)"bad", 3, NULL, 0), 0);
    CHECK_INT(ct_lane_refuse(g.lane, call, 3, (const uint8_t *)"bad", 3, NULL, 0), -ESTALE);
    until(&g, &c[4].done);
    CHECK_INT(c[4].status, 3);
    CHECK_TEXT(c[4].message, "bad");
    (void)hear(&g, 0, payload);
    close_rig(&g); /* with one that runs and two in line */
    CHECK_INT(c[0].done, 1);
}

static void a_caller_that_hangs_up_ends_its_call_wherever_it_is(void) {
    rig g;
    open_rig(&g, 1);
    caller c[2];
    char payload[64];
    CHECK_INT(ask(&g, &c[0], "1"), 0);
    CHECK_INT(ask(&g, &c[1], "2"), 0);
    (void)hear(&g, 0, payload);
    ct__h2_cancel(&c[1].call);
    for (int i = 0; i < 200 && ct_lane_in_hand(g.lane) != 1; i++)
        turn(&g, 50);
    CHECK_INT(record_of(&g, 0).status, CT_STATUS_CANCELLED);
    ct__h2_cancel(&c[0].call);
    until_event(&g, CT_LINK_GIVEN_UP);
    CHECK_INT(ct_lane_in_hand(g.lane), 0);
    CHECK_INT(record_of(&g, 1).status, CT_STATUS_CANCELLED);
    CHECK_INT(ask(&g, &c[0], "3"), 0); /* it gets another instance: the first one has its call still */
    const uint32_t id = hear(&g, 1, payload);
    CHECK_TEXT(payload, "3");
    say(&g, 1, CT_FRAME_RESULT, id, "3");
    until(&g, &c[0].done);
    close_rig(&g);
}

static void an_instance_that_dies_tells_why(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "1"), 0);
    const uint32_t id = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_LOG, id, "last words");
    turn(&g, 50);
    ct_link_free(g.members[0].link, (const uint8_t *)"out of memory", 13);
    g.members[0].link = NULL;
    until_event(&g, CT_LANE_REFUSES);
    const ct_event *event = event_of(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_INSTANCE_DIED);
    CHECK_INT(told.text_len, 13);
    CHECK_INT(memcmp(event->data + sizeof told, "out of memory", 13), 0);
    CHECK_INT(ct_lane_refuse(g.lane, event->target, 10, NULL, 0, (const uint8_t *)"{}", 2), 0);
    until(&g, &c.done);
    const ct_record record = record_of(&g, 0);
    CHECK_INT(record.log_len, 10);
    CHECK_INT(record.error_len, 2);
    close_rig(&g);
}

static void a_dead_instance_on_the_shelf_costs_no_call(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "1"), 0);
    say(&g, 0, CT_FRAME_RESULT, hear(&g, 0, payload), "1");
    until(&g, &c.done);
    ct_link_free(g.members[0].link, NULL, 0); /* and nobody has told the table */
    g.members[0].link = NULL;
    CHECK_INT(ask(&g, &c, "2"), 0);
    say(&g, 1, CT_FRAME_RESULT, hear(&g, 1, payload), "2");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    close_rig(&g);
}

static void a_call_past_its_time_in_line_is_refused(void) {
    rig g;
    open_rig(&g, 1);
    ct_function_row row = row_of(1);
    row.max_queue_wait_ns = SECOND / 50;
    CHECK_INT(ct_function_update(g.table, g.function, &row, 1, now_ns()), 0);
    caller c[2];
    char payload[64];
    CHECK_INT(ask(&g, &c[0], "1"), 0);
    (void)hear(&g, 0, payload);
    CHECK_INT(ask(&g, &c[1], "2"), 0);
    until_event(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event_of(&g, CT_LANE_REFUSES)->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_QUEUE_WAIT_TIMEOUT);
    CHECK_INT(ct_lane_in_hand(g.lane), 2);
    close_rig(&g);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_is_answered_and_written_down),
                                    CASE(calls_in_line_are_served_in_order),
                                    CASE(a_refusal_has_words_of_the_function_or_of_python),
                                    CASE(a_caller_that_hangs_up_ends_its_call_wherever_it_is),
                                    CASE(an_instance_that_dies_tells_why),
                                    CASE(a_dead_instance_on_the_shelf_costs_no_call),
                                    CASE(a_call_past_its_time_in_line_is_refused)};
    return RUN("lane", cases);
}
