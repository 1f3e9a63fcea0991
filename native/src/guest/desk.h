/* The worker's end of its channel: frames of one blocking socket and, where there is one, of the page that it shares with
 * its host. For an interpreter that was forked with this core in it. */
#ifndef CT_GUEST_DESK_H
#define CT_GUEST_DESK_H

#include "base/abi.h"
#include "proto/page.h"

#include <pthread.h>

typedef struct ct__desk {
    int fd;        /* -1: it has none */
    int bell_fd;   /* that rings the host */
    ct__page *page; /* NULL: all goes through the socket */
    uint32_t heard;        /* frames taken from the socket */
    _Atomic uint32_t said; /* frames given to it */
    uint8_t *base; /* what was read ahead */
    size_t at, len, cap;
    pthread_mutex_t saying; /* held while a frame goes into the socket */
} ct__desk;

/* The descriptors and the page stay the caller's. Returns 0 or -ENOMEM. */
int ct__desk_init(ct__desk *desk);
void ct__desk_open(ct__desk *desk, int fd, ct__page *page, int bell_fd);
void ct__desk_fini(ct__desk *desk);

/* Waits for the next frame, whose body is good until the next call; for one thread at a time. `block` is where one of the
 * page is put. Returns 0, -EPIPE at the end of the stream, -EINTR after a signal, or another failure, after which nothing
 * more can be had. */
int ct__desk_receive(ct__desk *desk, ct_frame *out, uint8_t block[CT__PAGE_FRAME_BYTES]);

/* Puts a frame on the page, behind all that the calling thread sent before, and waits for nobody. Returns 0, CT_E_FULL when
 * it is for the socket (too long, or the one before is still there), or -errno: the host can not be rung. */
int ct__desk_page(ct__desk *desk, const ct_frame *frame);

/* Sends a frame by the socket, however long that takes; any thread. Returns 0 or -errno. */
int ct__desk_send(ct__desk *desk, const ct_frame *frame);

#endif
