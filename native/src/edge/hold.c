/* Many calls of a caller who is not known, or not any more: the first goes to Python, which learns who it is; those that come
 * meanwhile wait for that word a moment instead of asking the same once more each. */
#include "edge/edge.h"

static const uint64_t HOLD_NS = 500000000; /* chosen: Python asks nova within milliseconds; who heard nothing by then asks all the same */

void ct__hold_leave(ct__caller *c) {
    if (!c->is_held)
        return;
    c->is_held = false;
    c->edge->held_count--;
}

void ct__hold_heard(ct_edge *edge) {
    for (ct__caller *c = edge->callers; c != NULL && edge->held_count > 0; c = c->next)
        if (c->is_held) {
            ct__hold_leave(c);
            c->phase = CT__HEADING;
            ct__task_defer(edge->reactor, &c->task);
        }
}

static ct__asked *place(ct_edge *edge, uint64_t hash) {
    return &edge->asked[hash % CT__ASKED];
}

bool ct__hold(ct__caller *c, uint64_t hash, uint64_t now_ns) {
    ct_edge *edge = c->edge;
    ct__asked *asked = place(edge, hash);
    if (asked->asker == 0 || asked->hash != hash || now_ns >= asked->until_ns) {
        *asked = (ct__asked){.hash = hash, .asker = c->handle, .until_ns = now_ns + HOLD_NS};
        c->asked_hash = hash;
        c->is_asking = true;
        return false;
    }
    if (c->hold_ns == 0)
        c->hold_ns = now_ns + HOLD_NS;
    if (asked->asker == c->handle || now_ns >= c->hold_ns)
        return false;
    c->phase = CT__WAITING; /* the head stays in `in`, and is read again */
    c->is_held = true;
    edge->held_count++;
    ct__caller_deadline(c, c->hold_ns);
    return true;
}

void ct__hold_end(ct__caller *c) {
    ct_edge *edge = c->edge;
    c->hold_ns = 0;
    ct__hold_leave(c);
    if (!c->is_asking)
        return;
    c->is_asking = false;
    ct__asked *asked = place(edge, c->asked_hash);
    if (asked->asker != c->handle)
        return;
    asked->asker = 0;
    ct__hold_heard(edge);
}
