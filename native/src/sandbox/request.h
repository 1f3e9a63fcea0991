/* One message to the fork server, with the descriptors that came with it. */
#ifndef CT_SANDBOX_REQUEST_H
#define CT_SANDBOX_REQUEST_H

#include "base/abi.h"

#include <sys/types.h>

enum { CT__REQUEST_FDS = 4 }; /* channel, stdio; of a child that has a page, that and the bell */

/* Receives a message that is there; -1 stands for each descriptor that is not, the others are the caller's. Returns its
 * length, 0 at the end of the stream, -EAGAIN, CT_E_TOOBIG with as much as had room, or -errno. */
ssize_t ct__request_receive(int control_fd, uint8_t *buf, size_t cap, int fds[CT__REQUEST_FDS]);

void ct__request_close(int (*fds)[CT__REQUEST_FDS]);

#endif
