/* The host's end of one worker's channel: calls out, answers in, everything bounded. One link an instance.
 *
 * A worker that breaks the protocol is not spoken to any more: Python hears CT_LINK_HUNG_UP and ends the instance. */
#ifndef CT_LINK_LINK_H
#define CT_LINK_LINK_H

#include "link/log.h"
#include "reactor/reactor.h"

typedef struct ct__link_call ct__link_call;

/* How a call ended; body and log are borrowed until `done` returns. */
typedef struct ct__link_end {
    uint32_t kind; /* enum ct_end */
    bool is_log_cut;
    const uint8_t *body; /* CT_END_RESULT: JSON, checked; CT_END_ERROR: {type, message, stack}, checked */
    size_t len;
    const uint8_t *log;
    size_t log_len;
    uint64_t duration_ns; /* exec frame written to end */
} ct__link_end;

/* Whence a call comes; its owner keeps it in place until `done`. */
typedef struct ct__origin {
    const uint8_t *chain; /* names joined by commas */
    uint32_t chain_len, depth;
    const uint8_t *trace_id; /* 16 bytes */
    const uint8_t *span_id;  /* 8 bytes */
} ct__origin;

/* One call in hand; its owner embeds it and keeps it in place until `done`, or until it gives the call up. */
struct ct__link_call {
    /* Called once. The call is not the link's any more: it may be freed, and another one begun on the same link. */
    void (*done)(ct__link_call *call, const ct__link_end *end, ct_link *link);
    /* A piece of a streamed answer; NULL: the answer comes whole. Returns 0 or -ENOMEM, which ends the link. */
    int (*piece)(ct__link_call *call, const uint8_t *data, size_t len);
    /* The link's own: */
    ct_link *link; /* NULL: not in hand */
    uint32_t id;
    const ct__origin *origin; /* NULL: Python's, which knows */
    uint64_t started_ns;
    ct__alarm overdue;
    ct__log log;
};

typedef struct ct__exec {
    const uint8_t *request_id; /* 16 bytes */
    const uint8_t *trace_id;   /* 16 bytes, or NULL: zeros */
    const uint8_t *span_id;    /* 8 bytes, or NULL: zeros */
    const uint8_t *payload;
    size_t len;
    uint64_t timeout_ns;
    const ct__origin *origin;
} ct__exec;

/* Sends a call; `done` and `piece` are set by the owner. Never calls back before it returns. A call on a link that has hung up waits
 * for the link's end. Returns 0 or -ENOMEM, -EMSGSIZE (payload above CT_LINK_PAYLOAD_MAX): nothing was sent. */
int ct__link_begin(ct_link *link, ct__link_call *call, const ct__exec *exec);

/* Nobody waits for the call any more: `done` is not called. The worker has it still, and Python is told so by
 * CT_LINK_GIVEN_UP unless it is Python that says so. Nothing when the call is not in hand. */
void ct__link_give_up(ct__link_call *call, bool tells);

/* Back-pressure: the worker is not read while anybody holds the link. */
void ct__link_hold(ct_link *link);
void ct__link_release(ct_link *link);

/* The call that has this id; NULL: none, or nobody waits for it. */
ct__link_call *ct__link_find(const ct_link *link, uint32_t call_id);
ct_reactor *ct__link_reactor(const ct_link *link);

/* NULL: it has ended. */
ct_link *ct__links_get(const ct_links *links, uint64_t handle);

#endif
