/* The pipe behind a worker's raw fd 1 and 2: read in bursts, and with rests once what comes is thrown away. */
#ifndef CT_LINK_STDIO_H
#define CT_LINK_STDIO_H

#include "reactor/reactor.h"

typedef struct ct__stdio ct__stdio;

struct ct__stdio {
    int fd; /* -1 once closed */
    ct__watch watch;
    ct__alarm rest;
    ct_reactor *reactor;
    bool (*take)(ct__stdio *stdio, const uint8_t *data, size_t len); /* says whether the bytes were of use to anybody */
};

/* Takes over fd, the non-blocking reading end; `take` is set by the caller. Returns 0 or -errno, with fd closed. */
int ct__stdio_open(ct__stdio *stdio, ct_reactor *reactor, int fd);

/* Takes what is there, up to a burst. False when some of it was of no use. */
bool ct__stdio_read(ct__stdio *stdio);
void ct__stdio_close(ct__stdio *stdio); /* may be repeated */

#endif
