/* Firecracker's API as bytes: one HTTP/1.1 client that asks one thing at a time and reads the answer strictly. No I/O, no
 * allocation. Everything that is found borrows the input. */
#ifndef CT_VM_FC_HTTP_H
#define CT_VM_FC_HTTP_H

#include "edge/http1.h"

enum {
    CT__FC_TARGET_BYTES = 256,        /* chosen: the longest is /network-interfaces/ and an id */
    CT__FC_REQUEST_BODY_BYTES = 51200,/* Firecracker's own default limit: --http-api-max-payload-size */
    CT__FC_REQUEST_HEAD_BYTES = 512,  /* what a request has before its body, at most */
    CT__FC_FIELDS = 16,               /* of an answer; Firecracker writes at most seven */
    CT__FC_HEAD_BYTES = 4 << 10,      /* of an answer, with all "100 Continue" before it */
    CT__FC_BODY_BYTES = 64 << 10,     /* of an answer; the whole configuration of a machine has a few KiB */
};

enum ct__fc_method { CT__FC_GET, CT__FC_PUT, CT__FC_PATCH };

/* Writes a request; `body` is JSON, and none of a GET. Returns its length, or CT_E_RANGE (a target that is no path of visible
 * characters, a GET with a body, another without), CT_E_TOOBIG (target or body above its limit) or CT_E_NOSPACE. */
int ct__fc_request(uint8_t *out, size_t cap, enum ct__fc_method method, const char *target, ct__span body);

typedef struct ct__fc_answer {
    uint32_t status;
    ct__span body;
    bool closes;  /* the connection takes no further request */
    size_t used;  /* bytes up to the end of the answer */
} ct__fc_answer;

/* How far an unfinished answer was looked at. Zeroed for a new answer; the bytes it has seen stay at the begin of the input of
 * the next call. */
typedef struct ct__fc_scan {
    ct__http1_scan line;
    size_t head;     /* where the head begins: behind what was only "100 Continue" */
    size_t body;     /* where the body begins; 0: the head is not whole */
    size_t length;
    uint32_t status;
    bool closes;
} ct__fc_scan;

/* Returns 0 (the answer is whole), CT_E_MORE, or what is final: CT_E_MALFORMED (also: a field that stands twice, a body whose end is
 * not told, a 204 with a body, an interim answer other than 100), CT_E_UNSUPPORTED (Transfer-Encoding, or HTTP/1.0) or CT_E_TOOBIG
 * (head, fields or body above their limits). Writes *out only on 0. */
int ct__fc_answer_read(ct__fc_scan *scan, const uint8_t *buf, size_t len, ct__fc_answer *out);

/* What Firecracker says is wrong: the fault_message of an answer's body, as ASCII. Writes at most `cap` characters. Returns how many;
 * 0: the body says nothing. */
size_t ct__fc_fault(ct__span body, char *out, size_t cap);

#endif
