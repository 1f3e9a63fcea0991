/* What the parts of the edge share: a caller is a client's connection, an upstream one to our own HTTP server. */
#ifndef CT_EDGE_EDGE_H
#define CT_EDGE_EDGE_H

#include "edge/events.h"
#include "edge/http1.h"
#include "edge/plain.h"
#include "edge/principals.h"
#include "edge/proxies.h"
#include "h2/client.h"
#include "reactor/conn.h"

#include <time.h>

enum { CT__LISTENERS = 8, CT__PEER_BYTES = 160, CT__NOISE_BYTES = 1024, CT__HOST_BYTES = 64, CT__LOCAL_HOSTS = 4, CT__ASKED = 64 };

static const uint64_t CT__STALL_NS = 60000000000; /* chosen: a client that takes nothing of its answer for so long is gone */

typedef struct ct__caller ct__caller;
typedef struct ct__lane ct__lane;
typedef struct ct__upstream ct__upstream;

enum ct__phase {
    CT__HEADING,    /* waits for a request's head */
    CT__WAITING,    /* has one, and no connection to forward it on: the server's backlog is full */
    CT__FORWARDING,
    CT__TUNNELLING, /* behind an upgrade, or in HTTP/2 */
    CT__GATHERING,  /* a call's body is not whole yet; it stays in `in`, with its head */
    CT__CALLING,    /* comet has the call */
    CT__STREAMING,  /* and answers it in pieces; something was sent */
    CT__LINGERING,  /* its last answer is on the way; what still comes is forgotten, so that no reset overtakes the answer */
    CT__GONE,
};

typedef struct ct__host {
    size_t len; /* 0: none */
    char text[CT__HOST_BYTES];
} ct__host;

/* A caller that Python is being asked about. */
typedef struct ct__asked {
    uint64_t hash;  /* of what it presented */
    uint64_t asker; /* whose call asks; 0: none */
    uint64_t until_ns;
} ct__asked;

/* Who is let in without a credential. */
typedef struct ct__local {
    int netlink; /* to ask the kernel whose a connection is; below 0: Python alone says */
    uint32_t uid;
    uint32_t sequence;
    uint32_t next_host; /* the oldest makes room */
    ct__host hosts[CT__LOCAL_HOSTS];
} ct__local;

/* An answer in pieces. */
typedef struct ct__stream {
    bool is_wanted;
    bool is_events;
    bool has_begun; /* its head was sent */
    bool has_ended; /* comet has said how the call ended */
    bool is_whole;  /* and that was an answer of its own: nothing is to follow */
    bool is_cut;    /* it ended badly, or what comet said makes no sense: the client must not take it for the whole */
    ct__cut cut;
} ct__stream;

struct ct__caller {
    ct__conn conn;
    ct_edge *edge;
    ct__caller *next, *previous;
    uint64_t handle;
    ct__alarm alarm;      /* always set, at the deadline or before */
    uint64_t deadline_ns; /* UINT64_MAX: none */
    ct__task task;        /* looks at the input again; at last, frees */
    enum ct__phase phase;
    bool is_counted; /* among the requests in hand */
    bool is_h2;      /* its server has it whole; and counted among the tunnels */
    bool is_held;    /* until Python has told who this is */
    bool is_asking;  /* and others wait for that */
    uint64_t asked_hash;
    uint64_t hold_ns; /* how long this request was to be held at most; 0: it was not */
    bool has_begun;  /* a head */
    bool is_answered; /* bytes of the answer in hand were sent */
    bool was_empty;  /* while lingering: nothing was left to send at the last look */
    uint32_t quiet;  /* looks at an output that did not move */
    size_t out_seen;
    uint64_t patience_ns; /* while waiting for an upstream */
    ct__http1_scan scan;
    ct__http1_body body; /* of the request in hand */
    ct__upstream *upstream;
    size_t gather_bytes;  /* what there must be before it is looked at again: head and body, or 0: any more of its chunks */
    size_t gather_seen;   /* of head and chunks, looked at */
    size_t gather_data;   /* in these chunks */
    uint64_t held_bytes;  /* of the body, counted */
    uint64_t began_ns;
    uint64_t who; /* the hash of whoever calls */
    char function[CT_EDGE_FUNCTION_BYTES]; /* that is called */
    ct__h2_call call;
    ct__stream stream;
    char request_id[CT__UUID_BYTES];
    ct__host host; /* what Host said when the peer was found to be trusted */
    ct__address address; /* of the connection's other end */
    bool is_proxy;       /* of ours: it tells for whom it speaks */
    size_t peer_len;
    char peer[CT__PEER_BYTES]; /* value of Constellation-Peer up to its last word */
};

typedef struct ct__problem {
    uint32_t status;
    uint8_t *body; /* without its closing brace */
    size_t body_len;
    char *fields;
} ct__problem;

typedef struct ct__door {
    ct__listener listener;
    ct_edge *edge;
} ct__door;

struct ct_edge {
    ct_reactor *reactor;
    uint64_t idle_ns;
    uint32_t inflight_max;
    uint64_t bodies_max;
    char *upstream_path;
    char *h2_path; /* NULL: HTTP/2 is not spoken */
    uint32_t tunnels_max;
    ct_tls *tls; /* NULL: in the clear */
    bool is_stopping;
    uint32_t listener_count;
    ct__door doors[CT__LISTENERS];
    ct__caller *callers;
    ct__upstream *idle;  /* most recently used first */
    ct__alarm trim;      /* idle connections go after a while */
    uint64_t handles;    /* given out */
    ct_edge_counts counts;
    ct__problem problems[CT_EDGE_REFUSALS];
    ct__lane *lane; /* NULL: every call is forwarded */
    ct__local local;
    ct_edge_net proxies[CT_EDGE_PROXIES_MAX];
    size_t proxy_count;
    bool is_other_header; /* what proxies tell is not in X-Forwarded-For */
    ct__asked asked[CT__ASKED]; /* by hash; a newer one takes the place, and nobody waits for the older any more than its time */
    uint32_t held_count;
    ct__caller **slots;    /* by the low half of a handle */
    uint32_t *free_slots;
    uint32_t free_count, slot_count;
    time_t date_s; /* of `date` */
    char date[48];
    uint8_t noise[CT__NOISE_BYTES];
    size_t noise_left;
};

/* ---- caller.c ---- */

/* Begins with an accepted socket, which it takes over. Returns 0 or a negative number, with fd closed. */
int ct__caller_start(ct__caller *caller, ct_edge *edge, int fd);

/* The answer in hand is complete: the connection's next request, or its end. */
void ct__caller_next(ct__caller *caller);

/* Sends what is queued, then the end; forgets what still comes. */
void ct__caller_finish(ct__caller *caller);

/* Ends the connection now. `is_cut`: by a reset, so that no answer without a length is taken for a whole one. */
void ct__caller_close(ct__caller *caller, bool is_cut);

void ct__caller_deadline(ct__caller *caller, uint64_t at_ns);

/* ---- answer.c ---- */

/* Answers with a problem; the connection ends unless `stays` (and nothing of the request is left unread). */
void ct__caller_refuse(ct__caller *caller, enum ct_edge_refusal refusal, bool stays);

/* The length of an object without its closing brace. */
size_t ct__problem_open(const uint8_t *problem, size_t len);

/* Writes such a problem and the id of the request. `out` holds ct__problem_room. Returns its length. */
size_t ct__problem_room(size_t len);
size_t ct__problem_write(uint8_t *out, const uint8_t *problem, size_t len, const char *request_id);

/* The same with a problem of comet's. */
void ct__caller_pass_problem(ct__caller *caller, const uint8_t *problem, size_t len, uint32_t status, long retry_s);

/* Random bytes; `len` is at most CT__NOISE_BYTES. */
void ct__edge_noise(ct_edge *edge, uint8_t *out, size_t len);

/* A fresh UUIDv7 as text; `out` holds CT__UUID_BYTES. */
void ct__edge_uuid(ct_edge *edge, char *out);

/* "date: ...\r\n" of now. */
const char *ct__edge_date(ct_edge *edge);

/* ---- call.c ---- */

/* Takes the request when it is a plain call of a known caller: from then on it is answered here. */
bool ct__call(ct__caller *caller, const ct__http1_head *head);
void ct__call_cancel(ct__caller *caller);
void ct__call_drained(ct__caller *caller); /* the client took what was queued of an answer in pieces */
void ct__lane_free(ct_edge *edge);

/* ---- trust.c ---- */

/* Whether the peer is the trusted local user, for requests with this Host. */
bool ct__trusts(ct__caller *caller, ct__span host);

/* ---- hold.c ---- */

/* Whether a call of an unknown caller is held: by `hash`, of what it presents, another one's is asked about already. */
bool ct__hold(ct__caller *caller, uint64_t hash, uint64_t now_ns);
void ct__hold_leave(ct__caller *caller); /* it looks again */
void ct__hold_heard(ct_edge *edge);      /* Python has told of somebody: all look again */
void ct__hold_end(ct__caller *caller);   /* its request is over */

/* ---- forward.c ---- */

/* Sends the request on. Returns 0 (its head is no longer needed) or -EAGAIN: try again soon; else it was refused. */
int ct__forward(ct__caller *caller, const ct__http1_head *head);

/* Hands the whole connection over to the server for HTTP/2. Returns 0, -EAGAIN as above, or another error: it must end. */
int ct__tunnel(ct__caller *caller);

void ct__forward_received(ct__caller *caller); /* more of the request, or of the tunnel */
void ct__forward_drained(ct__caller *caller);  /* the client took what was queued */
void ct__forward_ended(ct__caller *caller);    /* the client half-closed a tunnel */
void ct__forward_drop(ct__caller *caller);     /* the connection to the server is of no use any more */

/* ---- upstream.c ---- */

void ct__upstreams_close(ct_edge *edge); /* frees them at once: not from within a turn of the reactor */

#endif
