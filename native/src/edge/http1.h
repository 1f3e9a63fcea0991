/* HTTP/1.1 as bytes: heads and the framing of bodies, read strictly. One reading of a message or a refusal; no I/O, no
 * allocation. Everything that is found borrows the input. */
#ifndef CT_EDGE_HTTP1_H
#define CT_EDGE_HTTP1_H

#include "base/abi.h"

#include <stdbool.h>

enum {
    CT__HTTP1_FIELDS = 100,            /* of a request; chosen: browsers send about 20 */
    CT__HTTP1_HEAD_BYTES = 32 << 10,   /* of a request */
    CT__HTTP1_TARGET_BYTES = 8 << 10,
    CT__HTTP1_ANSWER_FIELDS = 256,     /* of our own server's answers: a function may set 100, and more stand around them */
    CT__HTTP1_ANSWER_HEAD_BYTES = 64 << 10,
    CT__HTTP1_METHOD_BYTES = 32,
    CT__HTTP1_CHUNK_LINE_BYTES = 256,  /* size and extensions */
    CT__HTTP1_TRAILER_BYTES = 8 << 10, /* all of them */
};

typedef struct ct__span {
    const uint8_t *at;
    size_t len;
} ct__span;

/* Whether a span is this text; the second ignores ASCII case, `text` being in lower case. */
bool ct__span_is(ct__span span, const char *text);
bool ct__span_like(ct__span span, const char *text);
bool ct__span_begins(ct__span span, const char *text); /* ignores case too */
bool ct__span_same(ct__span a, ct__span b);               /* likewise */

typedef struct ct__http1_field {
    ct__span name, value; /* the value without the blanks around it */
} ct__http1_field;

enum ct__http1_framing {
    CT__HTTP1_NO_BODY,
    CT__HTTP1_LENGTH,
    CT__HTTP1_CHUNKED,
    CT__HTTP1_UNTIL_CLOSE, /* answers only */
};

typedef struct ct__http1_head {
    ct__span method;
    ct__span target;  /* in origin form, or "*" */
    ct__span host;    /* NULL: none, as HTTP/1.0 allows */
    uint32_t status;  /* of an answer */
    uint32_t minor;   /* of the version: 0 or 1 */
    enum ct__http1_framing framing;
    uint64_t length;  /* CT__HTTP1_LENGTH */
    bool closes;      /* the connection ends with this message */
    bool upgrades;    /* Connection names Upgrade, and there is one */
    bool expects;     /* Expect: 100-continue */
    size_t used;      /* bytes of the head */
    size_t count;
    ct__http1_field fields[CT__HTTP1_ANSWER_FIELDS];
} ct__http1_head;

/* How far an unfinished head was looked at, so that one that comes byte by byte costs no more. Zeroed for a new message;
 * the bytes it has seen stay at the begin of the input of the next call. */
typedef struct ct__http1_scan {
    size_t seen;
    size_t line; /* where the current line begins */
    size_t lines;
} ct__http1_scan;

/* Returns 0 (the head is whole), CT_E_MORE, or the status of the refusal: 400, 413, 414, 417, 431, 501 or 505. *out is written
 * on any but CT_E_MORE, and of meaning on 0. One empty line may stand before the request line. */
int ct__http1_request(ct__http1_scan *scan, const uint8_t *buf, size_t len, ct__http1_head *out);

/* The same for an answer; `of_head`: to a HEAD request, so without body. Returns 0, CT_E_MORE or 502. */
int ct__http1_answer(ct__http1_scan *scan, const uint8_t *buf, size_t len, bool of_head, ct__http1_head *out);

enum ct__http1_place {
    CT__HTTP1_AT_DATA,
    CT__HTTP1_AT_SIZE,       /* first digit of a chunk size */
    CT__HTTP1_AT_DIGITS,
    CT__HTTP1_AT_EXTENSION,
    CT__HTTP1_AT_SIZE_LF,
    CT__HTTP1_AT_DATA_CR,    /* behind the data of a chunk */
    CT__HTTP1_AT_DATA_LF,
    CT__HTTP1_AT_TRAILER,    /* first byte of a trailer line */
    CT__HTTP1_AT_TRAILER_NAME,
    CT__HTTP1_AT_TRAILER_VALUE,
    CT__HTTP1_AT_TRAILER_LF,
    CT__HTTP1_AT_LAST_LF,
    CT__HTTP1_AT_END,
};

typedef struct ct__http1_body {
    enum ct__http1_framing framing;
    enum ct__http1_place place;
    uint64_t left;  /* of the announced length, or of the chunk */
    uint32_t line;  /* bytes of the current size line, or of all trailers */
} ct__http1_body;

/* Where a body is that nothing was read of. */
ct__http1_body ct__http1_body_of(const ct__http1_head *head);

static inline bool ct__http1_body_done(const ct__http1_body *body) {
    return body->place == CT__HTTP1_AT_END;
}

/* Reads on until a piece of data is found, or the body or the input ends. *used is the bytes taken, *data what of them is
 * the body's (perhaps nothing). Returns 0 or CT_E_MALFORMED; after that the body can not be read any more. */
int ct__http1_body_next(ct__http1_body *body, const uint8_t *buf, size_t len, size_t *used, ct__span *data);

#endif
