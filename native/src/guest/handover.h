/* How a process in a container comes to the descriptors that one in a namespace sandbox inherits: it connects to a unix socket that the
 * host listens on, the connection becomes its channel, and the host passes the pipe for its output over it. */
#ifndef CT_GUEST_HANDOVER_H
#define CT_GUEST_HANDOVER_H

#include "base/abi.h"

enum { CT__HANDOVER_WAIT_S = 10 }; /* chosen: the host answers at once; one that does not has gone */

/* Connects to the socket at `path` and takes one byte with one descriptor from it. Returns 0 with both, close-on-exec and above the
 * standard three; -errno; CT_E_TOOBIG: no socket can have that name; CT_E_MALFORMED: the host said something else. */
int ct__handover(const char *path, int *channel, int *stdio);

/* Makes the channel descriptor 3 and the pipe 1 and 2, inherited over exec, as what both were made of is not. Returns 0 or -errno. */
int ct__handover_settle(int channel, int stdio);

#endif
