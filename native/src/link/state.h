/* A link's parts, for the files of this directory alone. */
#ifndef CT_LINK_STATE_H
#define CT_LINK_STATE_H

#include "link/calls.h"
#include "link/link.h"
#include "link/mail.h"
#include "link/stdio.h"
#include "reactor/conn.h"

enum {
    /* Chosen: log that a worker may send and calls have not asked for, as before its init; what silent calls leave of
     * their share is kept for this many calls besides those in hand, for tasks that outlive their call. */
    CT__CHATTER_BYTES = 64 << 10,
    CT__CHATTER_CALLS = 8
};

struct ct_link {
    ct_links *links;
    ct_reactor *reactor;
    uint64_t handle;
    ct__conn conn;
    ct_mail *mail;  /* NULL: every frame goes through the socket */
    ct__watch bell; /* of it */
    ct__stdio stdio;
    ct_link_settings settings;
    ct__calls calls;
    uint32_t last_id;
    uint32_t holds;
    uint32_t asks; /* that wait for their reply */
    size_t ask_bytes;
    int64_t chatter_bytes; /* that may still come without a call that asked for it */
    ct__log ambient;       /* printed by no call; goes to the next one */
    uint8_t *parked; /* a frame of the page that is still to be taken, or NULL */
    size_t parked_len;
    bool has_greeted;
    bool awaits_ready;
    bool is_asked_out; /* a hold is ours: as many asks wait as may */
    bool awaits_stdio; /* a hold is ours: an answer waits for what was printed before it */
    bool has_settled;  /* it has waited */
    bool is_reading;  /* frames are being taken: no second round inside */
    bool is_at_end;   /* nothing more comes than what is in hand */
    bool has_hung_up; /* the worker is not spoken to any more */
    bool has_ended;
};

/* Closes the way to the worker, who finds its end wherever it waits; may be repeated. */
void ct__link_close(ct_link *link);

/* Nothing is sent or taken any more; Python is told once. */
void ct__link_hang_up(ct_link *link, uint32_t cause, uint64_t about, int status);

/* Ends a call that is not in its seat any more. */
void ct__link_deliver(ct_link *link, ct__link_call *call, uint32_t kind, const uint8_t *body, size_t len);

/* The only call in hand, if it has a caller. */
ct__link_call *ct__link_only_call(const ct_link *link);

/* An ask of the worker; see asks.c. */
void ct__link_take_ask(ct_link *link, const ct_frame *frame);

/* Queues a frame. Returns 0, also to one that has hung up, or -ENOMEM or CT_E_TOOBIG. */
int ct__link_send(ct_link *link, uint8_t kind, uint32_t call_id, const uint8_t *body, size_t len);

/* The worker has rung. */
void ct__link_rang(ct__watch *bell, uint32_t events);

/* Bytes on the raw fd 1 or 2, and what becomes of waiting for them; the connection of the socket. */
bool ct__link_take_stdio(ct__stdio *stdio, const uint8_t *data, size_t len);
void ct__link_stdio_settled(ct__stdio *stdio);
void ct__link_stdio_stuck(ct__stdio *stdio);
/* Descriptors that it sent, and its own. */
void ct__link_discard(ct__conn *conn, int fd);
extern const ct__conn_calls ct__link_conn_calls;

#endif
