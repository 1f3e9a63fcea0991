/* The lane's parts, for the files of this directory alone. */
#ifndef CT_LANE_STATE_H
#define CT_LANE_STATE_H

#include "h2/server.h"
#include "lane/invoke.h"
#include "link/link.h"
#include "reactor/reactor.h"

#include <stdbool.h>

enum { CT__LANE_HANDLE_SHIFT = 32 }; /* index below, generation above */

enum ct__lane_state {
    CT__LANE_FREE,
    CT__LANE_WAITS,
    CT__LANE_RUNS,
    CT__LANE_WORDED /* Python looks for the words of its refusal */
};

typedef struct ct__lane_call {
    ct__link_call link_call;
    ct_lane *lane;
    enum ct__lane_state state;
    uint32_t index, generation, next_free;
    ct__h2_stream stream;
    uint64_t call, function, started_ns, until_ns, given_ns, timeout_ns;
    int64_t started_at_us;
    uint64_t handler_timeout_ns; /* of the function's row when the call was let in */
    ct_grant grant;
    bool has_place;   /* an event is reserved for it: Python can be asked for words */
    bool is_entered;  /* counted in by the node */
    bool is_recorded; /* let in: its end stands in the log */
    ct__alarm patience;
    ct__invoke invoke;
    ct__origin origin; /* of what its handler asks for */
    uint32_t status; /* of one that is to be refused */
    uint64_t ended_ns;
    ct__log log; /* of one that is to be refused */
    /* Of one that is answered in pieces: */
    bool is_stream;
    uint64_t sent_bytes;
    ct_link *held;   /* its worker is not read, as the client is slower; NULL: it is */
    ct__task go_on;  /* reads it again */
} ct__lane_call;

struct ct_lane {
    ct_reactor *reactor;
    ct_table *table;
    ct_links *links;
    uint64_t drawn; /* where the sequence of the numbers that are drawn stands */
    ct__h2_server *server;
    ct__task effects;   /* of the table, to be taken by us */
    ct__task tell;      /* Python: the table has effects for you */
    bool has_told_records;
    struct ct__lane_place {
        ct__lane_call *call;
    } *calls; /* by index */
    uint32_t count, room, first_free, in_hand;
    uint32_t secret_len;
    uint8_t secret[];
};

uint64_t ct__lane_handle(const ct__lane_call *call);

/* From the guard chain on: every way ends with the call at rest. */
void ct__lane_admit(ct__lane_call *call, const ct_identity *who);
void ct__lane_granted(ct__lane_call *call, const ct_grant *grant);
void ct__lane_refuse(ct__lane_call *call, const ct_verdict *verdict, uint64_t member);

/* The words are here. */
void ct__lane_word(ct__lane_call *call, uint32_t grpc_status, ct__h2_span message, ct__h2_span problem);

/* Nobody waits for it any more. Its instance gets no new calls: what it says next is the answer to this one. */
void ct__lane_give_up(ct__lane_call *call);

/* ---- stream.c ---- */

/* What the link calls with a piece of a call's answer. */
int ct__lane_piece(ct__link_call *link_call, const uint8_t *data, size_t len);

/* The client takes again. */
void ct__lane_drained(ct__lane_call *call);

/* Its worker's link is its own affair again. Returns what is to be released, at the end of all that is done with the call; or NULL. */
ct_link *ct__lane_let_go(ct__lane_call *call);

/* A waiter looks whether it is past its time. */
void ct__lane_impatient(ct__alarm *alarm);

#endif
