/* The pipe behind a worker's raw fd 1 and 2: read in pieces, and with rests once what comes is thrown away. */
#ifndef CT_LINK_STDIO_H
#define CT_LINK_STDIO_H

#include "link/pipes.h"

typedef struct ct__stdio ct__stdio;

struct ct__stdio {
    ct__pipe *pipe; /* NULL once closed */
    ct__pipes *pipes;
    ct_reactor *reactor;
    ct__alarm rest, late;
    ct__task settling;
    unsigned rounds;  /* that may still be waited for; 0: nobody waits */
    bool is_late;     /* its reading takes so long that nobody waits for it */
    bool was_awaited; /* in vain, by a loop that stood still for it: that is not done again */
    bool (*take)(ct__stdio *stdio, const uint8_t *data, size_t len); /* says whether the bytes were of use to anybody */
    void (*settled)(ct__stdio *stdio);                               /* what ct__stdio_settle began is over */
    void (*stuck)(ct__stdio *stdio); /* its writer holds it; may be called again */
};

/* Takes over fd, the non-blocking reading end; the calls are set by the caller. Returns 0 or -errno, with fd closed. */
int ct__stdio_open(ct__stdio *stdio, ct__pipes *pipes, ct_reactor *reactor, int fd);

/* True when what was written before was taken. Else `settled` is called when it was, or after a bound. */
bool ct__stdio_settle(ct__stdio *stdio);

/* The same by standing still, for who can not wait otherwise: no longer than reading takes that nobody holds up. */
void ct__stdio_finish(ct__stdio *stdio);
void ct__stdio_close(ct__stdio *stdio); /* may be repeated */

#endif
