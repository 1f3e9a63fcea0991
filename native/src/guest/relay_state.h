/* What the two halves of the relay share: the host's side (relay.c) and the program's (relay_calls.c). */
#ifndef CT_GUEST_RELAY_STATE_H
#define CT_GUEST_RELAY_STATE_H

#include "guest/asker.h"
#include "guest/host.h"

#include <sys/types.h>

enum {
    CT__ASKERS = 16, /* chosen: a runtime client has one or two; others wait in line */
};

enum ct__phase {
    CT__BOOTING,  /* waits for the host's init frame */
    CT__STARTING, /* the program runs and has not asked for a call */
    CT__SERVING,
    CT__FAILED,   /* the host knows that the program can not be used */
};

enum ct__progress {
    CT__NO_CALL,
    CT__HELD,  /* came from the host; the program has not asked for it */
    CT__OUT,   /* it has it */
};

typedef struct ct__relay_state {
    ct__host host;
    int listener, signals;
    const char *runtime;
    enum ct__phase phase;
    bool stops; /* the host wants no more than the call in hand */
    pid_t program;
    char arn[CT__API_ARN_CHARS];
    enum ct__progress progress;
    uint32_t call_id;
    bool is_stream; /* its caller takes pieces */
    ct__api_call call;
    uint8_t *body; /* of the exec frame */
    size_t body_len;
    ct__asker *asking;    /* waits for a call */
    ct__asker *answering; /* sends the response of the call */
    ct__asker askers[CT__ASKERS];
} ct__relay_state;

/* Tells the host that the program can not be used, and why: the body of an error frame. */
void ct__relay_not_ready(ct__relay_state *r, const uint8_t *error, size_t len);

/* Gives the call that is held to the connection that asks for one. */
void ct__relay_hand_over(ct__relay_state *r, ct__asker *asker);

extern const ct__asker_owner ct__relay_tell; /* what becomes of requests; the owner is the state */

#endif
