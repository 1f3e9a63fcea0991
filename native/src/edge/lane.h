/* Calls that the edge takes to comet itself: what whole answers (call.c) and answers in pieces (stream.c) share. */
#ifndef CT_EDGE_LANE_H
#define CT_EDGE_LANE_H

#include "edge/domains.h"
#include "edge/edge.h"

enum { CT__JSON_DEPTH = 512 /* as constellation.native.json_check */ };

struct ct__lane {
    ct__h2_client *client;
    char *authorization;
    uint64_t max_timeout_ns, stream_ns, grace_ns, read_ns, body_max;
    uint64_t bounds_ns[CT_EDGE_SLOTS];
    uint32_t bound_count;
    ct__principals principals;
    ct__domains domains;
    bool has_domains; /* one compare for a platform that has none */
    ct_edge_code codes[CT_EDGE_CODES];
    size_t code_count;
    ct_edge_note notes[CT_EDGE_NOTES];
    uint64_t note_of[CT_EDGE_NOTES]; /* the hash of whose they are */
    size_t note_count;
    uint64_t notes_lost;
};

/* Notes a refusal of comet's for the audit, if it is one for who asked or how often. `code` is as ct__call_code left it. */
void ct__note(ct__caller *caller, uint32_t status, const char *code);

/* Counts the end of a call; status 0: the client left before. */
void ct__call_count(ct__caller *caller, uint32_t status);
void ct__call_count_code(ct__lane *lane, const char *code);

/* The code of a problem of comet's, or "". `code` holds CT_EDGE_CODE_BYTES. */
void ct__call_code(const uint8_t *problem, size_t len, char *code);

/* What a refusal without a problem of comet's is called. */
enum ct_edge_refusal ct__call_refusal(const ct__h2_reply *reply);

/* Answers a call that nothing of an answer was sent to: comet refused it, or could not be reached. */
void ct__call_fail(ct__caller *caller, const ct__h2_reply *reply);
void ct__call_refuse(ct__caller *caller, enum ct_edge_refusal refusal);

/* ---- stream.c ---- */

void ct__stream_piece(ct__h2_call *call, ct__h2_span message);
void ct__stream_done(ct__h2_call *call, const ct__h2_reply *reply);

#endif
