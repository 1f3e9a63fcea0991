/* Both ends against each other, and the server as a relay in front of another one. */
#define _GNU_SOURCE
#include "h2_rig.h"

#include "h2/exchange.h"

static void a_call_is_answered(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/echo", "hello", 5, 5LL * SECOND), 0);
    CHECK_INT(c.done, 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK(c.reply.is_answered);
    CHECK_TEXT(c.body, "hello");
    CHECK_INT(begin(client, &c, "/c/echo", "", 0, 5LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(c.body_len, 0);
    CHECK_INT(begin(client, &c, "/c/head", "", 0, 5LL * SECOND), 0);
    finish(&c);
    CHECK_TEXT(c.body, "Bearer tokenwho42");
    CHECK_INT(ct__h2_client_calls(client), 0);
    close_rig();
}

static void a_refusal_carries_its_problem(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/refuse", "x", 1, 5LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 8);
    CHECK(c.reply.is_answered && c.reply.may_have_begun);
    CHECK_TEXT(c.message, "too m\xC3\xA4ny");
    CHECK_TEXT(c.problem, "{\"code\":\"x\"}");
    close_rig();
}

static void many_calls_share_a_connection(void) {
    open_rig(&PLAIN, &PLAIN);
    static caller many[1000];
    CHECK_INT(begin(client, &many[0], "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&many[0]); /* from now on it is known how many it takes */
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++) {
            char text[16];
            const int len = snprintf(text, sizeof text, "call %d", i);
            CHECK_INT(begin(client, &many[i], i % 2 ? "/c/echo" : "/c/wait", text, (size_t)len, 60LL * SECOND), 0);
        }
        for (int i = 0; i < 1000; i++)
            if (i % 2)
                finish(&many[i]);
        while (front.waits < 500)
            turn_for(1000);
        for (int i = 0; i < 500; i++)
            CHECK_INT(ct__h2_answer(front.server, front.waiting[i], &(ct__h2_span){(const uint8_t *)"later", 5}, 1), 0);
        front.waits = 0;
        for (int i = 0; i < 1000; i++) {
            finish(&many[i]);
            char text[16];
            (void)snprintf(text, sizeof text, i % 2 ? "call %d" : "later", i);
            CHECK_TEXT(many[i].body, text);
        }
    }
    CHECK_INT(ct__h2_server_counts(front.server).connections, 1);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    close_rig();
}

/* Of what a thousand calls at once needed, hundreds are kept for the next: without what their messages needed. */
static void calls_at_rest_hold_little(void) {
    enum { CALLS_AT_ONCE = 1000, LITTLE = 2048 };
    open_rig(&PLAIN, &PLAIN);
    static caller many[CALLS_AT_ONCE];
    for (int i = 0; i < CALLS_AT_ONCE; i++)
        CHECK_INT(begin(client, &many[i], i % 2 ? "/c/echo" : "/c/refuse", "small", 5, 60LL * SECOND), 0);
    for (int i = 0; i < CALLS_AT_ONCE; i++)
        finish(&many[i]);
    CHECK(client->kept_count > 0);
    for (const ct__h2_exchange *x = client->kept; x != NULL; x = x->next)
        CHECK(x->leg.out.cap + x->body.cap + x->message.cap + x->problem.cap <= LITTLE);
    close_rig();
}

/* Of which it is not known yet how many it takes. */
static void calls_do_not_crowd_a_connection_that_is_being_made(void) {
    for (uint32_t connections = 1; connections <= 3; connections += 2) {
        open_rig(&PLAIN, &(ct__h2_limits){.connections = connections});
        static caller many[350];
        for (int i = 0; i < 350; i++)
            CHECK_INT(begin(client, &many[i], "/c/echo", "x", 1, 60LL * SECOND), 0);
        for (int i = 0; i < 350; i++) {
            finish(&many[i]);
            CHECK_TEXT(many[i].body, "x");
        }
        CHECK_INT(ct__h2_server_counts(front.server).connections, connections);
        close_rig();
    }
}

static void large_messages_pass_both_ways(void) {
    open_rig(&PLAIN, &PLAIN);
    const size_t len = 6 << 20;
    uint8_t *big = malloc(len);
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        big[i] = (uint8_t)(i * 2654435761U >> 13);
        sum = sum * 31 + big[i];
    }
    static const char *const paths[] = {"/c/echo", "/b/echo", "/c/forward"};
    for (size_t i = 0; i < 3; i++) {
        caller c;
        CHECK_INT(begin(client, &c, paths[i], big, len, 60LL * SECOND), 0);
        if (i == 2)
            while (back.waits == 0)
                turn_for(1000);
        if (i == 2)
            CHECK_INT(ct__h2_answer(back.server, back.waiting[0], &(ct__h2_span){big, len}, 1), 0);
        finish(&c);
        CHECK_INT(c.reply.status, 0);
        CHECK_INT(c.body_len, len);
        CHECK(c.sum == sum);
    }
    CHECK_INT(ct__h2_begin(client, &(ct__h2_call){0}, &(ct__h2_request){.pieces = (ct__h2_span[]){{big, 7 << 20}}, .piece_count = 1}),
              CT_E_TOOBIG);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    free(big);
    close_rig();
}

static void other_streams_pass_through(void) {
    open_rig(&PLAIN, &PLAIN);
    static caller many[300];
    for (int i = 0; i < 300; i++)
        CHECK_INT(begin(client, &many[i], "/b/echo", "through", 7, 60LL * SECOND), 0);
    for (int i = 0; i < 300; i++) {
        finish(&many[i]);
        CHECK_INT(many[i].reply.status, 0);
        CHECK_TEXT(many[i].body, "through");
    }
    CHECK_INT(front.requests, 0);
    CHECK_INT(back.requests, 300);
    CHECK_INT(ct__h2_server_counts(front.server).forwarded, 300);
    caller c;
    CHECK_INT(begin(client, &c, "/b/refuse", "", 0, 60LL * SECOND), 0); /* waits there, then is refused */
    while (back.waits == 0)
        turn_for(1000);
    CHECK_INT(ct__h2_refuse(back.server, back.waiting[0], 5, span("no"), span("{}")), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 5);
    CHECK_TEXT(c.problem, "{}");
    close_rig();
}

static void a_cancelled_call_ends_on_every_hop(void) {
    open_rig(&PLAIN, &PLAIN);
    static const char *const paths[] = {"/c/wait", "/b/wait", "/c/forward"};
    owner *const owners[] = {&front, &back, &back};
    for (size_t i = 0; i < 3; i++) {
        owners[i]->waits = owners[i]->cancels = 0;
        caller c;
        CHECK_INT(begin(client, &c, paths[i], "x", 1, 60LL * SECOND), 0);
        while (owners[i]->waits == 0)
            turn_for(1000);
        ct__h2_cancel(&c.call);
        ct__h2_cancel(&c.call);
        while (owners[i]->cancels == 0)
            turn_for(1000);
        CHECK_INT(c.done, 0);
        owners[i]->waits = owners[i]->cancels = 0;
        CHECK_INT(begin(client, &c, paths[i], "x", 1, 30000000), 0); /* the deadline does the same */
        finish(&c);
        CHECK_INT(c.reply.status, 4);
        CHECK(c.reply.may_have_begun && !c.reply.is_answered);
        while (owners[i]->cancels == 0)
            turn_for(1000);
    }
    caller c;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    ct__h2_cancel(&c.call); /* before a byte was sent */
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(ct__h2_server_counts(front.server).streams, 0);
    close_rig();
}

static void nothing_has_begun_where_nobody_listens(void) {
    open_rig(&PLAIN, &PLAIN);
    ct__h2_client *lost = ct__h2_client_new_unix(r, "/nowhere/at/all", &PLAIN);
    caller c;
    CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ENOENT);
    CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ENOENT);
    ct__h2_client_free(lost);
    const int probe = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    CHECK_INT(bind(probe, (const struct sockaddr *)&address, sizeof address), 0); /* taken, and nobody listens */
    CHECK_INT(getsockname(probe, (struct sockaddr *)&address, &len), 0);
    lost = ct__h2_client_new(r, "127.0.0.1", ntohs(address.sin_port), &PLAIN);
    const int result = begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND);
    if (result == 0) {
        finish(&c);
        CHECK_INT(c.reply.status, 14);
        CHECK(!c.reply.may_have_begun && !c.reply.is_answered);
        CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ECONNREFUSED);
    }
    ct__h2_client_free(lost);
    (void)close(probe);
    close_rig();
}

static void a_lost_upstream_is_said(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/b/wait", "x", 1, 60LL * SECOND), 0);
    while (back.waits == 0)
        turn_for(1000);
    ct__h2_server_free(back.server);
    back.server = NULL;
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK(c.reply.is_answered);
    (void)unlink(back_path);
    CHECK_INT(begin(client, &c, "/b/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK_TEXT(c.message, "the server behind this port can not be reached");
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    close_rig();
}

static void a_lost_connection_ends_its_calls(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    while (front.waits == 0)
        turn_for(1000);
    ct__h2_server_free(front.server);
    front.server = NULL;
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK(c.reply.may_have_begun && !c.reply.is_answered);
    front = (owner){0};
    front.server = ct__h2_server_new(r, door, back_path, &PLAIN, &CALLS, &front);
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0); /* a new connection, at once */
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    while (front.waits == 0)
        turn_for(1000);
    ct__h2_client_free(client); /* ends what is in hand */
    client = NULL;
    CHECK_INT(c.done, 1);
    while (front.cancels == 0)
        turn_for(1000);
    close_rig();
}

static void stopping_finishes_what_is_in_hand(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c, late;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    CHECK_INT(begin(client, &late, "/c/wait", "y", 1, 60LL * SECOND), 0);
    while (front.waits < 2)
        turn_for(1000);
    ct__h2_server_stop(front.server, ct__reactor_now_ns(r) + SECOND / 10);
    CHECK_INT(ct__h2_answer(front.server, front.waiting[0], &(ct__h2_span){(const uint8_t *)"yes", 3}, 1), 0);
    finish(&c);
    CHECK_TEXT(c.body, "yes");
    CHECK_INT(late.done, 0);
    while (front.stops == 0)
        turn_for(1000);
    CHECK_INT(front.cancels, 1);
    finish(&late);
    CHECK_INT(late.reply.status, 14);
    close_rig();
}

static void bounds_are_kept(void) {
    const ct__h2_limits tight = {.streams = 4, .connections = 1, .held_bytes = 1000, .message_bytes = 600};
    open_rig(&tight, &(ct__h2_limits){.connections = 1});
    static caller many[4];
    caller c;
    CHECK_INT(begin(client, &many[0], "/c/echo", "", 0, 60LL * SECOND), 0); /* until the bound is told, nobody keeps it */
    finish(&many[0]);
    for (int i = 0; i < 4; i++)
        CHECK_INT(begin(client, &many[i], "/c/wait", "0123456789", 10, 60LL * SECOND), 0);
    while (front.waits < 4)
        turn_for(1000);
    CHECK_INT(begin(client, &c, "/c/wait", "", 0, 60LL * SECOND), CT_E_FULL);
    ct__h2_client *second = ct__h2_client_new_unix(r, path, &PLAIN);
    CHECK_INT(begin(second, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c); /* one connection too many */
    CHECK_INT(c.reply.status, 14);
    CHECK_INT(ct__h2_server_counts(front.server).turned_away, 1);
    ct__h2_client_free(second);
    for (int i = 0; i < 4; i++)
        CHECK_INT(ct__h2_answer(front.server, front.waiting[i], NULL, 0), 0);
    for (int i = 0; i < 4; i++)
        finish(&many[i]);
    front.waits = 0;
    char body[900] = {0};
    CHECK_INT(begin(client, &many[0], "/c/wait", body, 500, 60LL * SECOND), 0);
    while (front.waits < 1)
        turn_for(1000);
    CHECK_INT(begin(client, &c, "/c/wait", body, 500, 60LL * SECOND), 0); /* together above held_bytes */
    finish(&c);
    CHECK_INT(c.reply.status, 8);
    CHECK_INT(ct__h2_answer(front.server, front.waiting[0], &(ct__h2_span){(const uint8_t *)body, 900}, 1), 0);
    finish(&many[0]);
    CHECK_INT(many[0].body_len, 900);
    CHECK_INT(begin(client, &c, "/c/forward", body, 700, 60LL * SECOND), 0); /* above message_bytes: for the one behind */
    while (back.waits < 1)
        turn_for(1000);
    CHECK_INT(front.requests, 6);
    CHECK_INT(ct__h2_answer(back.server, back.waiting[0], NULL, 0), 0);
    finish(&c);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    close_rig();
}

/* Passes bytes between a client's connection and an adopted one, `step` at a time; both ends see every cut. */
static void relay(size_t step, const char *to, size_t len) {
    open_rig(&PLAIN, &PLAIN);
    char relay_path[64];
    const int relay_door = listen_at(relay_path, "relay");
    ct__h2_client *near = ct__h2_client_new_unix(r, relay_path, &PLAIN);
    char *body = malloc(len + 1);
    memset(body, 'b', len);
    caller c;
    CHECK_INT(begin(near, &c, to, body, len, 600LL * SECOND), 0);
    const int left = accept4(relay_door, NULL, NULL, SOCK_NONBLOCK);
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_INT(ct__h2_server_adopt(front.server, pair[0]), 0);
    while (c.done == 0) {
        char bytes[64];
        CHECK(step <= sizeof bytes);
        ssize_t n = read(left, bytes, step);
        if (n > 0)
            CHECK_INT(write(pair[1], bytes, (size_t)n), n);
        const ssize_t m = read(pair[1], bytes, step);
        if (m > 0)
            CHECK_INT(write(left, bytes, (size_t)m), m);
        CHECK(n != 0 && m != 0);
        turn_for(n < 0 && m < 0 ? 10 : 0);
    }
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(c.body_len, len);
    ct__h2_client_free(near);
    (void)close(left);
    (void)close(pair[1]);
    (void)close(relay_door);
    (void)unlink(relay_path);
    free(body);
    close_rig();
}

static void every_cut_of_the_bytes_is_the_same_call(void) {
    for (size_t step = 1; step < 16; step += 2)
        relay(step, step % 4 == 1 ? "/c/echo" : "/b/echo", 300);
}

static void bodies_pass_where_nothing_more_may_wait(void) {
    open_rig(&(ct__h2_limits){.held_bytes = 1000}, &PLAIN);
    const size_t len = 5 << 20;
    char *big = malloc(len);
    memset(big, 'b', len);
    static caller many[8];
    for (int i = 0; i < 8; i++)
        CHECK_INT(begin(client, &many[i], "/b/echo", big, len, 60LL * SECOND), 0);
    for (int i = 0; i < 8; i++) {
        finish(&many[i]);
        CHECK_INT(many[i].reply.status, 0);
        CHECK_INT(many[i].body_len, len);
    }
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    caller c; /* the windows are whole again */
    CHECK_INT(begin(client, &c, "/b/echo", big, len, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.body_len, len);
    free(big);
    close_rig();
}

static void the_next_connection_follows_a_goaway(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c, d;
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    ct__h2_server_stop(front.server, ct__reactor_now_ns(r) + SECOND);
    owner next = {0};
    next.server = ct__h2_server_new(r, door, back_path, &PLAIN, &CALLS, &next);
    while (front.stops == 0)
        turn_for(1000);
    CHECK_INT(begin(client, &d, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&d);
    CHECK_INT(d.reply.status, 0);
    CHECK_INT(next.requests, 1);
    ct__h2_server_free(next.server);
    close_rig();
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_is_answered),
                                    CASE(a_refusal_carries_its_problem),
                                    CASE(many_calls_share_a_connection),
                                    CASE(calls_at_rest_hold_little),
                                    CASE(calls_do_not_crowd_a_connection_that_is_being_made),
                                    CASE(large_messages_pass_both_ways),
                                    CASE(other_streams_pass_through),
                                    CASE(a_cancelled_call_ends_on_every_hop),
                                    CASE(nothing_has_begun_where_nobody_listens),
                                    CASE(a_lost_upstream_is_said),
                                    CASE(a_lost_connection_ends_its_calls),
                                    CASE(stopping_finishes_what_is_in_hand),
                                    CASE(bounds_are_kept),
                                    CASE(every_cut_of_the_bytes_is_the_same_call),
                                    CASE(bodies_pass_where_nothing_more_may_wait),
                                    CASE(the_next_connection_follows_a_goaway)};
    return RUN("h2", cases);
}
