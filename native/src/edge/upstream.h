/* Connections to our own HTTP servers; those for HTTP/1.1 are kept for a while when they are not used. */
#ifndef CT_EDGE_UPSTREAM_H
#define CT_EDGE_UPSTREAM_H

#include "edge/edge.h"

struct ct__upstream {
    ct__conn conn;
    ct_edge *edge;
    ct__caller *caller; /* NULL: at rest */
    ct__upstream *next, *previous; /* at rest */
    ct__task task; /* frees */
    uint64_t rests_since_ns;
    ct__http1_scan scan;
    ct__http1_body answer;
    bool of_head;     /* the request is a HEAD */
    bool has_head;    /* of its final answer */
    bool closes;      /* after this answer */
    bool is_upgrading;
    bool is_tunnel;
};

/* Begins to connect. Returns NULL with *error: -EAGAIN (its backlog is full), -ENOMEM or what connect(2) says. */
ct__upstream *ct__upstream_new(ct_edge *edge, const char *path, const ct__conn_calls *calls, int *error);

/* Returns one that rests, the last used, or NULL. */
ct__upstream *ct__upstream_rested(ct_edge *edge);

/* Nobody's from now on, until it is used again or has rested too long. */
void ct__upstream_rest(ct__upstream *u);

/* Closes it and takes it from its caller. It is freed at the end of the batch. */
void ct__upstream_drop(ct__upstream *u);

#endif
