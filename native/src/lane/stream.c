/* Answers in pieces: each goes to the client as one message, and a worker whose client is slower is not read. */

#include "base/cursor.h"
#include "lane/state.h"
#include "proto/pbwire.h"

enum { DATA = 1 /* InvokeChunk */, FRONT_BYTES = 16 };

static void go_on(ct__task *task) {
    ct__lane_call *c = (ct__lane_call *)((char *)task - offsetof(ct__lane_call, go_on));
    ct_link *held = ct__lane_let_go(c);
    if (held != NULL)
        ct__link_release(held);
}

ct_link *ct__lane_let_go(ct__lane_call *c) {
    ct_link *held = c->held;
    c->held = NULL;
    if (held != NULL)
        ct__task_drop(c->lane->reactor, &c->go_on);
    return held;
}

void ct__lane_drained(ct__lane_call *c) {
    if (c->held != NULL)
        ct__task_defer(c->lane->reactor, &c->go_on);
}

int ct__lane_piece(ct__link_call *link_call, const uint8_t *data, size_t len) {
    ct__lane_call *c = (ct__lane_call *)link_call;
    uint8_t front[FRONT_BYTES];
    ct__writer w = {.at = front, .left = sizeof front};
    ct__pb_put_bytes_head(&w, DATA, len);
    const ct__h2_span pieces[] = {{front, sizeof front - w.left}, {data, len}};
    const int result = ct__h2_say(c->lane->server, c->stream, pieces, sizeof pieces / sizeof *pieces);
    if (result < 0) {
        ct__lane_give_up(c); /* it has been told, or can not be */
        return 0;
    }
    c->sent_bytes += len;
    if (result == 1 && c->held == NULL) {
        c->held = link_call->link;
        c->go_on.run = go_on;
        ct__link_hold(c->held);
    }
    return 0;
}
