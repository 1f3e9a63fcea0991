/* A microVM brought back from its snapshot, as decisions: what is connected, what is sent, and when the machine is ready or why it never
 * will be. No I/O, no clock, no allocation: the caller does what it is told and tells what happened.
 *
 *     load     PUT /snapshot/load
 *     resume   PATCH /vm, unless the load resumes by itself
 *     hello    a connection to the port where the guest's agent listens
 */
#ifndef CT_VM_RESTORE_H
#define CT_VM_RESTORE_H

#include "vm/fc_http.h"
#include "vm/vsock_hello.h"

enum {
    CT__RESTORE_PATH_BYTES = 512,      /* chosen; a jailed Firecracker sees short ones */
    CT__RESTORE_SENT_BYTES = 8 << 10,  /* both paths, each byte of them escaped in six, and what stands around them */
    CT__RESTORE_INPUT_BYTES = 8 << 10, /* of one answer: that of an error is a line of text */
    CT__RESTORE_FAULT_BYTES = 512,
};

typedef struct ct__restore_plan {
    const char *snapshot;    /* the state file, as Firecracker sees it */
    const char *memory;      /* the memory file, or the socket of the process that serves its pages */
    bool memory_is_served;   /* the second: "Uffd" */
    bool load_resumes;       /* one request less; without it the machine can be changed between load and resume */
    uint32_t port;           /* of the agent */
} ct__restore_plan;

enum ct__restore_step { CT__RESTORE_LOAD, CT__RESTORE_RESUME, CT__RESTORE_HELLO, CT__RESTORE_DONE };

enum ct__restore_event {
    CT__RESTORE_CONNECTED,
    CT__RESTORE_BYTES,
    CT__RESTORE_CLOSED,  /* by the other end, or the connection failed */
    CT__RESTORE_TIMEOUT, /* the caller's deadline passed */
};

/* What is to be done next. */
enum ct__restore_order {
    CT__RESTORE_CONNECT_API,   /* anew: an older connection is to be closed */
    CT__RESTORE_CONNECT_VSOCK, /* the API's connection is no longer needed: what happens to it is no event */
    CT__RESTORE_SEND,          /* `bytes`, on the newest connection */
    CT__RESTORE_WAIT,
    CT__RESTORE_READY,         /* `bytes` came behind the greeting and are the agent's; the connection is, too */
    CT__RESTORE_FAILED,        /* see step, code, status and fault; the microVM is to be destroyed */
};

typedef struct ct__restore_action {
    enum ct__restore_order order;
    ct__span bytes;
} ct__restore_action;

typedef struct ct__restore {
    enum ct__restore_step step; /* the current, or the one that failed */
    enum ct__restore_order last;
    bool is_connected, load_resumes;
    uint32_t port;
    int code;        /* of a failure: CT_E_TIMEOUT, CT_E_DIED (closed), -ECONNREFUSED (no agent listens), -EREMOTEIO (Firecracker refused),
                      * CT_E_MALFORMED, CT_E_UNSUPPORTED, CT_E_TOOBIG, CT_E_RANGE (the event fits no connection) */
    uint32_t status; /* of the answer that refused; else 0 */
    char fault[CT__RESTORE_FAULT_BYTES + 1]; /* Firecracker's own words */
    ct__fc_scan scan;
    ct__vsock_hello hello;
    size_t sent_len, input_len;
    uint8_t sent[CT__RESTORE_SENT_BYTES];
    uint8_t input[CT__RESTORE_INPUT_BYTES];
} ct__restore;

/* Begins; *first is what to do first. Returns 0, or CT_E_TOOBIG (a path is too long), CT_E_MALFORMED (a path that is no UTF-8) or
 * CT_E_RANGE (an empty path, or a port that is none). */
int ct__restore_init(ct__restore *r, const ct__restore_plan *plan, ct__restore_action *first);

/* Takes what happened; `data` only with CT__RESTORE_BYTES. The action's bytes are valid until the next call; once ready or failed
 * nothing changes any more. */
ct__restore_action ct__restore_take(ct__restore *r, enum ct__restore_event event, const uint8_t *data, size_t len);

#endif
