/* The page that a worker and its host share: a small frame each way goes through it instead of their socket, which costs
 * each side some microseconds more for the same bytes.
 *
 * The worker sleeps on `bell` (a futex), the host on a descriptor that the worker writes to. What is on the page is
 * part of the same stream as what is in the socket: `after` says how many frames the socket had before it.
 *
 * Either side may write anything anywhere at any time. So a side reads each number once, takes a frame's bytes before it
 * looks at them, and keeps its own counts to itself. */
#ifndef CT_PROTO_PAGE_H
#define CT_PROTO_PAGE_H

#include "base/abi.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { CT__PAGE_BYTES = 4096, CT__PAGE_FRAME_BYTES = 2008 };

typedef struct ct__page_side {
    _Atomic uint32_t len; /* 0: empty, and the writer's; else the reader's */
    _Atomic uint32_t after;
    uint8_t frame[CT__PAGE_FRAME_BYTES];
} ct__page_side;

typedef struct ct__page {
    _Atomic uint32_t bell;      /* grows with each frame for the worker, wherever it is */
    _Atomic uint32_t announced; /* frames that the host has given to the socket */
    uint8_t apart[56];          /* what is waited for lies in a cache line of its own */
    ct__page_side to_worker, to_host;
} ct__page;

_Static_assert(sizeof(ct__page) == CT__PAGE_BYTES, "it fills its page");

/* Puts a frame; false when it is too long, or the one before is not taken yet. */
bool ct__page_put(ct__page_side *side, const uint8_t *frame, size_t len, uint32_t after);

/* Takes the frame there is, unless more than the `seen` frames that were read of the socket go before it; returns its length,
 * 0 when there is none, or CT_E_TOOBIG. Who looks here before each frame of the socket, at what he knew of the socket before,
 * keeps the order. */
int ct__page_take(ct__page_side *side, uint32_t seen, uint8_t out[CT__PAGE_FRAME_BYTES]);

/* Finds the one frame that was taken, or not, by that length. Returns 0; CT_E_MORE for 0, which is none; or what is wrong. */
int ct__page_split(const uint8_t block[CT__PAGE_FRAME_BYTES], int len, ct_frame *out);

#endif
