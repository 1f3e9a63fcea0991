/* Pid 1 of a sandbox whose program speaks the Lambda Runtime API: calls come as frames from the host and go on as its answers. */
#ifndef CT_GUEST_RELAY_H
#define CT_GUEST_RELAY_H

#include "base/abi.h"

/* Serves the host on `channel` until it hangs up or the program ends. `runtime` is what the host is told; "custom" means that the
 * handler is the command, else the program is `bootstrap` of the code. Returns the status to exit with: the program's, 128 and the
 * number of the signal that ended it, or one of ours below 3. */
int ct__relay(int channel, const char *runtime);

#endif
