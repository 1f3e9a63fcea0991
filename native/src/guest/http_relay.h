/* Between the host and a function that is a server: it is started once the host has told of the function, is ready when it accepts
 * connections on a port of loopback, and is asked each call by HTTP, on a connection of its own. */
#ifndef CT_GUEST_HTTP_RELAY_H
#define CT_GUEST_HTTP_RELAY_H

#include <stdint.h>

enum { CT__HTTP_PORT = 8080 }; /* by the contract with functions' images */

/* Serves the host's channel until either ends, and returns the status to exit with. `argv` is the program. */
int ct__http_relay(int channel, uint16_t port, char **argv);

#endif
