/* One connection of the program to the Runtime API: requests in, answers out, whatever they mean. Never blocks. */
#ifndef CT_GUEST_ASKER_H
#define CT_GUEST_ASKER_H

#include "guest/runtime_api.h"

enum {
    CT__ASKER_IN_BYTES = 64 << 10, /* more than the longest head */
    CT__ASKER_BODY_MAX = CT_LINK_FRAME_MAX,
};

enum ct__asker_at {
    CT__ASKER_FREE,
    CT__ASKER_HEAD,  /* reads a request */
    CT__ASKER_BODY,  /* likewise */
    CT__ASKER_WAITS, /* has asked for a call */
    CT__ASKER_REPLY, /* is written to */
};

enum ct__sink {
    CT__SINK_NONE,   /* the body is read and forgotten */
    CT__SINK_GATHER, /* kept, up to CT__ASKER_BODY_MAX; what is longer is counted and forgotten */
    CT__SINK_PASS,   /* passed on as it comes */
};

typedef struct ct__asker {
    int fd;
    enum ct__asker_at at;
    enum ct__api_kind asked;
    enum ct__sink sink;
    bool closes;  /* behind the answer */
    bool carries; /* the answer is a call, not all of it written */
    bool is_raw;  /* the response need not be JSON */
    int refusal;  /* status of the answer that is due behind the body; 0: none yet */
    const char *refusal_type, *refusal_message;
    char error_type[256];
    ct__http1_scan scan;
    ct__http1_body body;
    uint64_t body_bytes; /* of the data */
    uint8_t *gathered;
    size_t gathered_len, gathered_cap;
    size_t trailers_len;
    uint8_t trailers[CT__HTTP1_TRAILER_BYTES];
    size_t out_len, out_at; /* of head and payload together */
    size_t head_len;
    char head[CT__API_HEAD_BYTES];
    const uint8_t *payload; /* borrowed */
    size_t in_len;
    uint8_t in[CT__ASKER_IN_BYTES];
} ct__asker;

/* What a connection tells its owner, who may answer within, or close it. */
typedef struct ct__asker_owner {
    void (*head)(void *owner, ct__asker *asker, const ct__http1_head *head, const ct__api_ask *ask);
    void (*pass)(void *owner, ct__asker *asker, ct__span data); /* of CT__SINK_PASS */
    void (*end)(void *owner, ct__asker *asker);                 /* the body is whole */
    void (*written)(void *owner, ct__asker *asker);             /* the answer is */
    void (*closed)(void *owner, ct__asker *asker);              /* `at` is where it was; freed behind this */
} ct__asker_owner;

void ct__asker_open(ct__asker *asker, int fd); /* takes the descriptor, which must not block */
void ct__asker_close(ct__asker *asker, const ct__asker_owner *tell, void *owner);

/* These go on until the connection would block, ends, or waits for a call. */
void ct__asker_read(ct__asker *asker, const ct__asker_owner *tell, void *owner);
void ct__asker_write(ct__asker *asker, const ct__asker_owner *tell, void *owner);

/* An answer, which begins to be written at once. The payload is borrowed until it is. */
void ct__asker_answer(ct__asker *asker, size_t head_len, const uint8_t *payload, size_t payload_len);
void ct__asker_refuse(ct__asker *asker, int status, const char *type, const char *message);

#endif
