#include "reactor/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Chosen: a plain request or answer fits into the first; there are thousands of queues, and what they keep at rest would be most of
 * the heap. */
enum { FIRST_BYTES = 512, KEEP_BYTES = 4096 };

uint8_t *ct__bytes_room(ct__bytes *b, size_t more) {
    if (more <= b->cap - b->at - b->len)
        return b->base + b->at + b->len;
    if (more <= b->cap - b->len && b->at >= b->len) { /* what is moved is no more than what was taken */
        memmove(b->base, b->base + b->at, b->len);
        b->at = 0;
        return b->base + b->len;
    }
    if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
        return NULL;
    size_t cap = b->cap == 0 ? FIRST_BYTES : b->cap;
    while (cap < b->len + more)
        cap *= 2;
    uint8_t *grown = malloc(cap);
    if (grown == NULL)
        return NULL;
    if (b->len > 0)
        memcpy(grown, b->base + b->at, b->len);
    free(b->base);
    b->base = grown;
    b->cap = cap;
    b->at = 0;
    return b->base + b->len;
}

int ct__bytes_add(ct__bytes *b, const void *data, size_t len) {
    if (len == 0)
        return 0;
    uint8_t *room = ct__bytes_room(b, len);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, data, len);
    b->len += len;
    return 0;
}

void ct__bytes_skip(ct__bytes *b, size_t count) {
    b->at += count;
    b->len -= count;
    if (b->len > 0)
        return;
    b->at = 0;
    if (b->cap > (b->keep_bytes > 0 ? b->keep_bytes : KEEP_BYTES))
        ct__bytes_free(b);
}

void ct__bytes_free(ct__bytes *b) {
    free(b->base);
    *b = (ct__bytes){.keep_bytes = b->keep_bytes};
}

void ct__bytes_keep(ct__bytes *b, size_t keep_bytes) {
    b->keep_bytes = keep_bytes;
    if (b->len == 0)
        ct__bytes_skip(b, 0);
}
