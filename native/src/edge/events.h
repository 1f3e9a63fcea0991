/* Server-sent events of text that arrives in pieces, byte for byte as zenith/stream.py makes them. Pure. */
#ifndef CT_EDGE_EVENTS_H
#define CT_EDGE_EVENTS_H

#include "edge/http1.h"

/* The begin of a character that ended with its piece; zeroed: none. */
typedef struct ct__cut {
    uint8_t bytes[4];
    uint32_t len;
} ct__cut;

/* Writes one event with the text of `piece`: what is no UTF-8 becomes U+FFFD, each line end begins a line of data. With `out` NULL it
 * only counts. Returns its length; 0: the piece has no whole character, so there is no event. `cut` is left for the next piece.
 * `is_last`: none follows. */
size_t ct__event_text(uint8_t *out, ct__cut *cut, ct__span piece, bool is_last);

/* The same with a name, of text that is whole. */
size_t ct__event_named(uint8_t *out, const char *name, ct__span text);

#endif
