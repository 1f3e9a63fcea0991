/* The reading ends of guests' pipes, and the threads that touch them.
 *
 * Whoever reads or closes a pipe waits for its lock, whatever O_NONBLOCK says, and a writer may hold that lock for as
 * long as it likes: by splice(2) or sendfile(2) from a socket to which nothing comes, or by a write whose memory the
 * kernel has to find first. No signal ends the wait. So the loop only ever asks whether a pipe is ready, which needs no
 * lock; threads read and close. A thread that is held keeps to its one pipe, and another takes the rest. */
#ifndef CT_LINK_PIPES_H
#define CT_LINK_PIPES_H

#include "reactor/reactor.h"

typedef struct ct__pipes ct__pipes;
typedef struct ct__pipe ct__pipe;

/* What a thread has read; `has_ended`: there are no writers, and no more is called. Called in the loop, from
 * ct__pipes_look alone. May close the pipe. */
typedef void ct__pipe_came(void *of, const uint8_t *data, size_t len, bool has_ended);

ct__pipes *ct__pipes_new(ct_reactor *reactor); /* NULL: out of memory or descriptors */

/* After every pipe was closed. Waits a moment for the threads; one that is held then ends by itself. */
void ct__pipes_free(ct__pipes *pipes);

/* Takes over fd, which is non-blocking, and arms the pipe. Returns 0 or -errno, with fd closed. */
int ct__pipe_open(ct__pipes *pipes, int fd, ct__pipe_came *came, void *of, ct__pipe **out);
void ct__pipe_close(ct__pipe *pipe);

/* Closes a descriptor of what a guest may hold in the same way. */
void ct__pipes_discard(ct__pipes *pipes, int fd);

/* Has it read once more as soon as it is ready: each reading disarms it. */
void ct__pipe_arm(ct__pipe *pipe);

/* Whether a thread has it, or is to. */
bool ct__pipe_is_out(const ct__pipe *pipe);

/* Sends threads for the armed pipes that are ready, and hands on what threads have read. */
void ct__pipes_look(ct__pipes *pipes);

/* Waits until a pipe that is out was read, and no longer than a thread needs that nobody holds; then looks. */
void ct__pipe_await(ct__pipe *pipe);

#endif
