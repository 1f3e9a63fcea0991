/* One HTTP/2 connection: nghttp2 over a reactor's connection. Frames go out once a batch. What a stream means is its owner's business. */
#ifndef CT_H2_WIRE_H
#define CT_H2_WIRE_H

#include "h2/limits.h"
#include "h2/memory.h"
#include "reactor/conn.h"

#include <nghttp2/nghttp2.h>

typedef struct ct__h2_wire ct__h2_wire;

/* One side of one stream. The owner embeds it. */
typedef struct ct__h2_leg {
    ct__h2_wire *wire; /* NULL: the stream is gone */
    int32_t id;
    ct__bytes out;     /* to be sent as DATA; add, then ct__h2_leg_go */
    ct__bytes trailer; /* packed by ct__h2_pack; sent behind `out` where there is one */
    bool is_fine;      /* the trailer is `grpc-status: 0` */
    bool is_last;      /* nothing will be added to `out` */
    bool is_waiting;   /* nghttp2 has asked for more than there was */
    bool has_ended;    /* the peer has sent all of its side */
    bool has_sent;     /* we have sent all of ours */
    struct ct__h2_leg *next, **link;
} ct__h2_leg;

enum { CT__H2_LOST = 0x7FFFFFFF }; /* no code of HTTP/2: the connection ended under the stream */

/* Called from within nghttp2 but for `closed` of a lost connection, `rested` and `gone`. */
typedef struct ct__h2_wire_calls {
    ct__h2_leg *(*opened)(ct__h2_wire *wire, int32_t id); /* by the peer; NULL: refused. Server only */
    void (*field)(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value);
    void (*headed)(ct__h2_leg *leg); /* one block of fields is complete, before `ended` */
    void (*data)(ct__h2_leg *leg, const uint8_t *data, size_t len);
    void (*ended)(ct__h2_leg *leg);                      /* the peer has sent all of it */
    void (*sent)(ct__h2_leg *leg, size_t len);           /* that much of `out` went to the connection. May be NULL */
    void (*closed)(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code); /* leg->wire is NULL already */
    void (*rested)(ct__h2_wire *wire);                   /* the last stream is gone. May be NULL */
    void (*gone)(ct__h2_wire *wire, int error);          /* no stream can begin here; 0: in good order. Once */
    void (*freed)(ct__h2_wire *wire);                    /* nothing refers to it any more: free what embeds it */
} ct__h2_wire_calls;

struct ct__h2_wire {
    ct__conn conn;
    nghttp2_session *session;
    const ct__h2_wire_calls *calls;
    const ct__h2_limits *limits;
    ct__h2_budget budget;
    ct__task pull; /* frames from nghttp2 into conn.out, at the end of the batch */
    ct__task bury;
    ct__alarm tick;
    ct__h2_leg *legs;
    uint32_t leg_count;
    ct__h2_leg *heading; /* whose fields are coming in */
    int32_t last_id, gap_first, gap_last; /* streams that the peer opened; the last ids that it left out */
    uint64_t opened_ns, heard_ns, rested_ns, pinged_ns, heading_ns, moved_ns;
    uint64_t pulled_bytes, moved_bytes;
    uint32_t peer_streams; /* how many the peer allows at a time */
    bool is_server;
    bool is_greeted;  /* the peer's first SETTINGS are here */
    bool is_leaving;  /* GOAWAY: nothing begins here any more */
    bool is_over;     /* `gone` was called */
    bool is_faulty;   /* by the peer's fault */
    bool is_doomed;   /* something could not be said for want of memory: it is cut at the end of the batch */
};

/* Takes over fd. The wire is zeroed; `tls` may be NULL: in the clear. Returns 0 or -errno, with fd closed and nothing called. */
int ct__h2_wire_open(ct__h2_wire *wire, ct_reactor *reactor, ct__h2_pool *pool, int fd, bool is_connecting, bool is_server,
                     const ct__h2_limits *limits, const ct__h2_wire_calls *calls, ct_tls *tls);

/* A field of two literals, which are not copied. */
#define CT__H2_NV(key, text)                                                                                           \
    {(uint8_t *)(key), (uint8_t *)(text), sizeof(key) - 1, sizeof(text) - 1,                                           \
     NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

/* Says GOAWAY and closes, whatever streams are left. */
void ct__h2_wire_end(ct__h2_wire *wire);

/* Begins nothing new; says GOAWAY and closes when its last stream has ended. */
void ct__h2_wire_leave(ct__h2_wire *wire);

/* Ends it now: every leg is closed, `gone` called with `error`; `freed` at the end of the batch. */
void ct__h2_wire_cut(ct__h2_wire *wire, int error);

/* Frees it now, without a call but `freed`: outside of the reactor's turn. */
void ct__h2_wire_free(ct__h2_wire *wire);

/* Makes a leg a stream of the wire; for a request of ours, submits it. The pairs are copied. Returns 0 or -errno. */
int ct__h2_leg_request(ct__h2_leg *leg, ct__h2_wire *wire, const nghttp2_nv *pairs, size_t count);
int ct__h2_leg_respond(ct__h2_leg *leg, const nghttp2_nv *pairs, size_t count, bool has_body);

/* `out`, `is_last` or `trailer` have changed. */
void ct__h2_leg_go(ct__h2_leg *leg);

/* Resets the stream; `closed` follows, at the end of the batch. */
void ct__h2_leg_reset(ct__h2_leg *leg, uint32_t code);

/* Gives windows back to the peer. */
void ct__h2_leg_consume(ct__h2_leg *leg, size_t len);
void ct__h2_wire_consume(ct__h2_wire *wire, size_t len);

/* Lets the peer send so much of the stream before we have taken any. */
void ct__h2_leg_widen(ct__h2_leg *leg, int32_t bytes);

/* Forgets the leg: no call is made for it any more. The stream, if it is still there, ends by itself or was reset before. */
void ct__h2_leg_drop(ct__h2_leg *leg);

/* Adds one field to a packed block; 0 or -ENOMEM. */
int ct__h2_pack(ct__bytes *block, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len);

enum { CT__H2_FIELDS_MAX = 64, CT__H2_HEAD_BYTES_MAX = 32 << 10 };

/* Reads a packed block; the pairs borrow it. Returns how many. */
size_t ct__h2_unpack(const ct__bytes *block, nghttp2_nv out[CT__H2_FIELDS_MAX]);

#endif
