/* What the server's parts share: streams and their handles (stream.c), what comes in (server.c), answers (answer.c), streams
 * that pass through (forward.c). */
#ifndef CT_H2_STREAM_H
#define CT_H2_STREAM_H

#include "h2/server.h"
#include "h2/wire.h"

enum ct__h2_state {
    CT__H2_HEADING,   /* its headers are coming in */
    CT__H2_GATHERING, /* taken; its message is coming in */
    CT__H2_STRANGE,   /* speaks no gRPC; what it sends is dropped */
    CT__H2_ASKED,     /* the owner has it */
    CT__H2_PASSING,   /* forwarded */
    CT__H2_ENDING     /* answered; what still comes in is dropped */
};

/* Streams that have the same time for something, oldest first. */
typedef struct ct__h2_line {
    struct ct__h2_served *oldest, *newest;
    ct__alarm alarm; /* for the oldest */
    uint64_t wait_ns;
} ct__h2_line;

typedef struct ct__h2_field {
    nghttp2_rcbuf *name, *value;
} ct__h2_field;

/* The other side of a stream that passes through. */
typedef struct ct__h2_up {
    ct__h2_leg leg;
    struct ct__h2_served *down; /* NULL: it has ended */
    ct__bytes block;            /* fields that are coming in */
    size_t field_count;         /* in it */
    size_t debt;                /* received, not yet given back to the connection's window */
    bool has_status;            /* the block has one: it is a response's head, and not its trailer */
    bool is_interim;
    bool has_head;
    bool is_bad;
    struct ct__h2_up *next; /* of the kept */
} ct__h2_up;

typedef struct ct__h2_served {
    ct__h2_leg leg;
    ct__h2_server *server;
    uint32_t index; /* in the table of handles */
    enum ct__h2_state state;
    ct__h2_head head;
    size_t field_count, head_bytes;
    ct__bytes body;     /* gathered */
    size_t held_bytes;  /* of server->held_bytes: body, leg.out, up->leg.out */
    size_t debt;        /* as in ct__h2_up */
    size_t prepaid;     /* bytes of the way up whose window was given back when they were gathered */
    ct__h2_up *up;
    void *owner;
    uint64_t began_ns;
    ct__h2_line *line; /* it stands in; NULL: none */
    struct ct__h2_served *older, *newer;
    bool is_too_large;
    bool has_begun;  /* the answer's head was given out: its end is a trailer */
    bool is_pressed; /* the owner waits for `drained` */
    ct__h2_field fields[CT__H2_FIELDS_MAX];
} ct__h2_served;

/* A connection, of either side. */
typedef struct ct__h2_link {
    ct__h2_wire wire;
    ct__h2_server *server;
    struct ct__h2_link *next, **link;
} ct__h2_link;

/* Where connections come from. */
typedef struct ct__h2_door {
    ct__listener listener;
    ct__h2_server *server;
    bool is_near; /* a unix socket: its callers are on this machine */
} ct__h2_door;

typedef struct ct__h2_slot {
    ct__h2_served *stream;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
} ct__h2_slot;

struct ct_h2_server {
    ct_reactor *reactor;
    ct_tls *tls; /* NULL: in the clear */
    ct__h2_limits limits, up_limits;
    const ct__h2_server_calls *calls;
    void *ctx;
    uint64_t target; /* of the event that Python waits for */
    ct__h2_door doors[CT__H2_DOORS];
    uint32_t door_count;
    ct__h2_pool pool;
    ct__h2_link *downs, *ups;
    ct__h2_slot *slots;
    uint32_t slot_count, slot_room, free_slot;
    ct__h2_served *kept; /* chained by `newer` */
    uint32_t kept_count;
    ct__h2_up *kept_ups;
    uint32_t kept_up_count;
    ct__h2_line gathering, strange;
    ct__alarm deadline; /* of stopping */
    ct__task finish;
    ct__bytes scratch;
    ct_h2_counts counts;
    bool is_stopping, has_stopped;
    char upstream[108];
};

static inline ct__h2_span ct__h2_text(const char *text) {
    return (ct__h2_span){(const uint8_t *)text, __builtin_strlen(text)};
}

static inline void ct__h2_hold(ct__h2_served *stream, size_t len) {
    stream->held_bytes += len;
    stream->server->counts.held_bytes += len;
}

static inline void ct__h2_unhold(ct__h2_served *stream, size_t len) {
    stream->held_bytes -= len;
    stream->server->counts.held_bytes -= len;
}

/* Of an answer of several messages: the owner is told to go on when this little waits. */
enum { CT__H2_SAID_LOW_BYTES = 16 << 10 };

/* NULL: no memory. Rest gives it back, and lets go of all it holds. */
ct__h2_served *ct__h2_stream_new(ct__h2_server *server);
void ct__h2_stream_rest(ct__h2_served *stream);
void ct__h2_stream_free(ct__h2_served *stream); /* its memory alone */
void ct__h2_fields_drop(ct__h2_served *stream);

ct__h2_stream ct__h2_handle_of(const ct__h2_served *stream);
ct__h2_served *ct__h2_asked(ct__h2_server *server, ct__h2_stream handle); /* NULL: the owner does not have it */

void ct__h2_line_join(ct__h2_line *line, ct__h2_served *stream);
void ct__h2_line_leave(ct__h2_served *stream); /* nothing when it stands in none */
void ct__h2_line_serve(ct__h2_server *server, ct__h2_line *line, void (*serve)(ct__h2_served *stream)); /* takes them off */

/* Answers who speaks no gRPC. */
void ct__h2_tell_stranger(ct__h2_served *stream);

/* Ends a stream that nobody has answered. */
void ct__h2_turn_away(ct__h2_served *stream, uint32_t status, const char *message);

/* Sends what is gathered, and all that follows, upstream. */
void ct__h2_pass(ct__h2_served *stream);

/* Of a stream that passes. */
void ct__h2_pass_data(ct__h2_served *stream, const uint8_t *data, size_t len);
void ct__h2_pass_end(ct__h2_served *stream);
void ct__h2_pass_sent(ct__h2_served *stream, size_t len);
void ct__h2_pass_closed(ct__h2_served *stream, ct__h2_wire *wire); /* wire: what it came on */

void ct__h2_forget_ups(ct__h2_server *server); /* frees connections and what is kept */

void ct__h2_link_add(ct__h2_link **list, ct__h2_link *link);
void ct__h2_link_remove(ct__h2_link *link);

#endif
