/* What a worker asks of the host in a call: handed to Python as it is, within bounds, and answered once. */

#include "base/err.h"
#include "link/state.h"

#include <stdlib.h>
#include <string.h>

/* At its bound the worker is not read on: only it waits, and each reply frees a place. */
static void keep_bound(ct_link *l) {
    const bool is_full = l->asks >= CT_LINK_ASKS_MAX || l->ask_bytes >= CT_LINK_ASK_BYTES_MAX;
    if (is_full == l->is_asked_out)
        return;
    l->is_asked_out = is_full;
    if (is_full)
        ct__link_hold(l);
    else
        ct__link_release(l);
}

void ct__link_take_ask(ct_link *l, const ct_frame *frame) {
    const ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    if (frame->call_id == 0 || (seat == NULL && frame->call_id > l->last_id)) {
        ct__link_hang_up(l, CT_CAUSE_ASK, frame->call_id, 0);
        return;
    }
    const ct__link_call *call = seat != NULL ? seat->call : NULL;
    const ct__origin *origin = call != NULL ? call->origin : NULL;
    ct_link_asked head = {.until_ns = call != NULL ? call->overdue.at_ns : 0};
    if (origin != NULL) {
        head.depth = origin->depth;
        head.chain_len = origin->chain_len;
        memcpy(head.trace_id, origin->trace_id, sizeof head.trace_id);
        memcpy(head.span_id, origin->span_id, sizeof head.span_id);
    }
    ct_event event = {.kind = CT_LINK_ASKED,
                      .target = l->handle,
                      .subject = frame->call_id,
                      .flags = call != NULL,
                      .len = sizeof head + head.chain_len + frame->len};
    event.data = malloc(event.len);
    if (event.data == NULL) {
        ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
        return;
    }
    memcpy(event.data, &head, sizeof head);
    if (head.chain_len > 0)
        memcpy(event.data + sizeof head, origin->chain, head.chain_len);
    if (frame->len > 0)
        memcpy(event.data + sizeof head + head.chain_len, frame->body, frame->len);
    if (ct__emit(l->reactor, &event) < 0) {
        ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
        return;
    }
    l->asks++;
    l->ask_bytes += frame->len;
    keep_bound(l);
}

void ct_link_reply(ct_link *l, uint32_t call_id, const uint8_t *body, size_t len, size_t asked_len) {
    if (l->asks == 0 || asked_len > l->ask_bytes)
        return; /* to nothing that was asked */
    if (ct__link_send(l, CT_FRAME_REPLY, call_id, body, len) < 0)
        ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
    l->asks--;
    l->ask_bytes -= asked_len;
    keep_bound(l);
}
