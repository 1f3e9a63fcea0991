/* Answers in pieces, from the worker's frames to the messages of a client of ours. */
#define _GNU_SOURCE
#include "lane_rig.h"

#include "proto/pbwire.h"

enum { PIECE_BYTES = 60000 };

typedef struct reader {
    caller call;
    char text[256]; /* of the first bytes */
    size_t text_len, len;
    uint32_t sum;
    int pieces, ends;
    char error[64], version[8];
    bool is_slow; /* takes one piece, then waits to be asked */
} reader;

static void take_end(reader *r, const uint8_t *data, size_t len) {
    ct__reader in = {.at = data, .left = len};
    ct__pb_field field;
    r->ends++;
    while (ct__pb_next(&in, &field) == 1) {
        if (field.number == 2)
            keep(r->error, (ct__h2_span){field.data, field.len});
        if (field.number == 5 && field.len < sizeof r->version)
            memcpy(r->version, field.data, field.len);
    }
}

static void piece(ct__h2_call *call, ct__h2_span message) {
    reader *r = (reader *)call;
    ct__reader in = {.at = message.data, .left = message.len};
    ct__pb_field field;
    CHECK_INT(r->call.done, 0);
    while (ct__pb_next(&in, &field) == 1) {
        if (field.number == 2) {
            take_end(r, field.data, field.len);
            continue;
        }
        CHECK_INT(r->ends, 0);
        r->pieces++;
        for (size_t i = 0; i < field.len; i++) {
            if (r->text_len + 1 < sizeof r->text)
                r->text[r->text_len++] = (char)field.data[i];
            r->sum = r->sum * 31 + field.data[i];
        }
        r->len += field.len;
    }
    if (r->is_slow)
        ct__h2_hold(call);
}

static int ask_stream(rig *g, reader *r, const char *payload) {
    *r = (reader){.call = {.call = {.done = done, .piece = piece}}};
    return ask_by(g, &r->call, "/nova.v1.NovaService/InvokeStream", payload);
}

static void until_pieces(rig *g, const reader *r, int count) {
    for (int i = 0; i < 200 && r->pieces < count; i++)
        turn(g, 50);
    CHECK_INT(r->pieces, count);
}

static void pieces_come_as_they_are_made(void) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "[1]"), 0);
    const uint32_t id = hear(&g, 0, payload);
    CHECK_TEXT(payload, "[1]");
    say(&g, 0, CT_FRAME_CHUNK, id, "one");
    until_pieces(&g, &r, 1); /* the first is there while the handler still runs */
    say(&g, 0, CT_FRAME_LOG, id, "said");
    say(&g, 0, CT_FRAME_CHUNK, id, "two");
    say(&g, 0, CT_FRAME_RESULT, id, "");
    until(&g, &r.call.done);
    CHECK_INT(r.call.status, 0);
    CHECK_INT(r.call.len, 0);
    CHECK_TEXT(r.text, "onetwo");
    CHECK_INT(r.ends, 1);
    CHECK_TEXT(r.version, "7");
    CHECK_TEXT(r.error, "");
    const ct_record record = record_of(&g, 0);
    CHECK_INT(record.status, CT_STATUS_OK);
    CHECK_INT(record.input_bytes, 3);
    CHECK_INT(record.output_bytes, 6);
    CHECK_INT(memcmp(record.log, "said", 4), 0);
    CHECK_INT(ask_stream(&g, &r, ""), 0);
    say(&g, 0, CT_FRAME_RESULT, hear(&g, 0, payload), "");
    until(&g, &r.call.done);
    CHECK_INT(r.pieces, 0);
    CHECK_INT(r.ends, 1);
    close_rig(&g);
}

static void what_a_handler_raises_stands_behind_its_pieces(void) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    const uint32_t id = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_CHUNK, id, "one");
    say(&g, 0, CT_FRAME_ERROR, id, "{\"type\":\"E\",\"message\":\"m\"}");
    until(&g, &r.call.done);
    CHECK_INT(r.call.status, 0);
    CHECK_TEXT(r.error, "{\"type\":\"E\",\"message\":\"m\"}");
    const ct_record record = record_of(&g, 0);
    CHECK_INT(record.status, CT_STATUS_FUNCTION_ERROR);
    CHECK_INT(record.output_bytes, 3);
    CHECK_INT(record.error_len, 26);
    close_rig(&g);
}

static void an_instance_that_dies_ends_the_answer_with_a_status(void) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    say(&g, 0, CT_FRAME_CHUNK, hear(&g, 0, payload), "one");
    until_pieces(&g, &r, 1);
    ct_link_free(g.members[0].link, (const uint8_t *)"killed", 6);
    g.members[0].link = NULL;
    until_event(&g, CT_LANE_REFUSES);
    CHECK_INT(ct_lane_refuse(g.lane, event_of(&g, CT_LANE_REFUSES)->target, 10, (const uint8_t *)"it died", 7,
                             (const uint8_t *)"{\"code\":1}", 10),
              0);
    until(&g, &r.call.done);
    CHECK_INT(r.call.status, 10);
    CHECK_TEXT(r.call.message, "it died");
    CHECK_TEXT(r.call.problem, "{\"code\":1}");
    CHECK_TEXT(r.text, "one");
    CHECK_INT(r.ends, 0);
    CHECK_INT(record_of(&g, 0).error_len, 10);
    close_rig(&g);
}

/* ---- back-pressure ---- */

static uint8_t frame[CT_FRAME_HEADER_BYTES + PIECE_BYTES];

/* Sends as much of one frame as the socket takes. */
static size_t push(const rig *g, size_t from) {
    const ssize_t sent = send(g->members[0].peer, frame + from, sizeof frame - from, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? (size_t)sent : 0;
}

static void make_frame(uint32_t id, uint8_t fill) {
    (void)ct_frame_put(frame, CT_FRAME_CHUNK, 0, id, PIECE_BYTES);
    memset(frame + CT_FRAME_HEADER_BYTES, fill, PIECE_BYTES);
}

/* Sends pieces until nobody takes any for a while. Returns how many were begun; *at: sent of the last. */
static int flood(rig *g, uint32_t id, size_t *at) {
    int begun = 0, quiet = 0;
    *at = sizeof frame;
    while (quiet < 20 && begun < 200) {
        if (*at == sizeof frame) {
            make_frame(id, (uint8_t)begun++);
            *at = 0;
        }
        const size_t sent = push(g, *at);
        *at += sent;
        quiet = sent > 0 ? 0 : quiet + 1;
        turn(g, sent > 0 ? 0 : 5);
    }
    return begun;
}

static void who_takes_nothing_stops_the_worker_and_misses_nothing(void) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    r.is_slow = true;
    const uint32_t id = hear(&g, 0, payload);
    size_t at;
    const int begun = flood(&g, id, &at);
    CHECK(begun < 60); /* a window, what each end may hold, and the sockets: 60 pieces are 3.6 MB */
    CHECK_INT(r.pieces, 1);
    ct_h2_counts held;
    ct_h2_server_count(g.port, &held);
    CHECK(held.held_bytes < (256 << 10) + 2 * PIECE_BYTES);
    CHECK(at < sizeof frame);
    r.is_slow = false;
    ct__h2_release(&r.call.call);
    while (at < sizeof frame) {
        at += push(&g, at);
        turn(&g, 5);
    }
    say(&g, 0, CT_FRAME_RESULT, id, "");
    until(&g, &r.call.done);
    uint32_t sum = 0;
    for (int i = 0; i < begun; i++)
        for (int j = 0; j < PIECE_BYTES; j++)
            sum = sum * 31 + (uint8_t)i;
    CHECK_INT(r.len, (size_t)begun * PIECE_BYTES);
    CHECK(r.sum == sum);
    CHECK_INT(record_of(&g, 0).output_bytes, (size_t)begun * PIECE_BYTES);
    ct_h2_server_count(g.port, &held);
    CHECK_INT(held.held_bytes, 0);
    close_rig(&g);
}

static void the_end_waits_for_who_takes_nothing(void) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    r.is_slow = true;
    const uint32_t id = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_CHUNK, id, "one");
    say(&g, 0, CT_FRAME_CHUNK, id, "two");
    say(&g, 0, CT_FRAME_RESULT, id, "");
    for (int i = 0; i < 200 && ct_lane_in_hand(g.lane) > 0; i++)
        turn(&g, 20);
    CHECK_INT(record_of(&g, 0).output_bytes, 6);
    turn(&g, 20);
    CHECK_INT(r.call.done, 0);
    CHECK_TEXT(r.text, "one");
    ct__h2_release(&r.call.call); /* it holds again at the next piece */
    CHECK_TEXT(r.text, "onetwo");
    ct__h2_release(&r.call.call);
    CHECK_INT(r.ends, 1);
    CHECK_INT(r.call.done, 0);
    ct__h2_release(&r.call.call);
    CHECK_INT(r.call.done, 1);
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    r.is_slow = true;
    const uint32_t next = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_CHUNK, next, "one");
    say(&g, 0, CT_FRAME_RESULT, next, "");
    for (int i = 0; i < 200 && ct_lane_in_hand(g.lane) > 0; i++)
        turn(&g, 20);
    turn(&g, 20);
    close_rig(&g); /* with an end that nobody has taken */
    CHECK_INT(r.call.done, 1);
    CHECK_INT(r.call.status, 14);
}

static void who_hangs_up_stops_the_worker(bool is_slow) {
    rig g;
    open_rig(&g, 1);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    r.is_slow = is_slow;
    const uint32_t id = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_CHUNK, id, "one");
    until_pieces(&g, &r, 1);
    size_t at = 0;
    if (is_slow)
        CHECK(flood(&g, id, &at) > 1);
    ct__h2_cancel(&r.call.call);
    until_event(&g, CT_LINK_GIVEN_UP);
    CHECK_INT(ct_lane_in_hand(g.lane), 0);
    CHECK_INT(record_of(&g, 0).status, CT_STATUS_CANCELLED);
    CHECK_INT(r.call.done, 0);
    close_rig(&g);
}

static void a_client_that_hangs_up_stops_its_function(void) {
    who_hangs_up_stops_the_worker(false);
    who_hangs_up_stops_the_worker(true);
}

/* The deadline passes while nobody takes anything: the call ends at the worker, and its end waits behind what was made. */
static void a_slow_reader_has_the_functions_time(void) {
    rig g;
    open_rig(&g, 1);
    ct_function_row row = row_of(1);
    row.timeout_ns = SECOND / 5;
    CHECK_INT(ct_function_put(g.table, &row, now_ns(), &g.function), 0);
    reader r;
    char payload[64];
    CHECK_INT(ask_stream(&g, &r, "1"), 0);
    r.is_slow = true;
    const uint32_t id = hear(&g, 0, payload);
    size_t at;
    const int begun = flood(&g, id, &at);
    until_event(&g, CT_LANE_REFUSES);
    CHECK_INT(ct_lane_refuse(g.lane, event_of(&g, CT_LANE_REFUSES)->target, 4, (const uint8_t *)"late", 4, NULL, 0), 0);
    turn(&g, 5);
    r.is_slow = false;
    ct__h2_release(&r.call.call);
    until(&g, &r.call.done);
    CHECK_INT(r.call.status, 4);
    CHECK(r.pieces > 1 && r.pieces <= begun);
    close_rig(&g);
}

int main(void) {
    static const ct_case cases[] = {CASE(pieces_come_as_they_are_made), CASE(what_a_handler_raises_stands_behind_its_pieces),
                                    CASE(an_instance_that_dies_ends_the_answer_with_a_status),
                                    CASE(who_takes_nothing_stops_the_worker_and_misses_nothing),
                                    CASE(the_end_waits_for_who_takes_nothing), CASE(a_client_that_hangs_up_stops_its_function),
                                    CASE(a_slow_reader_has_the_functions_time)};
    return RUN("lane_stream", cases);
}
