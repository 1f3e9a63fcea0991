/* A call in hand at the client: what goes out, what comes back, and how it ends. */
#ifndef CT_H2_EXCHANGE_H
#define CT_H2_EXCHANGE_H

#include "h2/client.h"
#include "h2/wire.h"

typedef struct ct__h2_exchange {
    ct__h2_leg leg;
    ct__h2_client *client;
    ct__h2_call *call;
    ct__alarm deadline;
    ct__bytes body, message, problem; /* of the reply; the last two as they came */
    uint32_t http_status, status;
    size_t head_bytes;
    bool has_status, is_broken;
    bool is_in_pieces;
    bool is_held;    /* the owner takes nothing for now */
    bool is_giving;  /* inside a call to `piece` */
    bool is_over;    /* the whole answer is here */
    bool is_wide;    /* its window has grown */
    size_t passed;   /* given to the owner, counted until it is wide */
    size_t debt;     /* of the stream's window: received, and not given back yet */
    struct ct__h2_exchange *next, **link; /* of the kept; of those that are over and held */
} ct__h2_exchange;

typedef struct ct__h2_route {
    ct__h2_wire wire;
    ct__h2_client *client;
    struct ct__h2_route *next, **link;
} ct__h2_route;

struct ct__h2_client {
    ct_reactor *reactor;
    ct_tls *tls; /* NULL: in the clear */
    ct__h2_limits limits;
    ct__h2_pool pool;
    ct__h2_route *routes;
    uint32_t route_count, calls, wide_count;
    ct__h2_exchange *kept, *waiting;
    uint32_t kept_count;
    size_t held_bytes;
    uint64_t backoff_ns, next_ns; /* the next attempt to connect */
    int last_error;
    bool is_closing;
    bool is_unix;
    uint16_t port;
    char address[108];
    char near[108]; /* a unix socket that comes before the address; "": none */
    char authority[128];
};

/* NULL: no memory. Rest gives it back, part takes it from its call and its connection first. */
ct__h2_exchange *ct__h2_exchange_new(ct__h2_client *client);
void ct__h2_exchange_part(ct__h2_exchange *exchange);
void ct__h2_exchange_rest(ct__h2_exchange *exchange);
void ct__h2_exchange_free(ct__h2_exchange *exchange); /* its memory alone */

/* The calls of a connection to its streams (see ct__h2_wire_calls). */
void ct__h2_reply_field(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value);
void ct__h2_reply_headed(ct__h2_leg *leg);
void ct__h2_reply_data(ct__h2_leg *leg, const uint8_t *bytes, size_t len);
void ct__h2_reply_ended(ct__h2_leg *leg);
void ct__h2_exchange_go_on(ct__h2_exchange *exchange); /* gives pieces, then the end */
void ct__h2_exchange_lose(ct__h2_exchange *exchange);  /* ends one that waits for its owner */
void ct__h2_reply_closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code);

#endif
