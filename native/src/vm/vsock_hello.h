/* The host's side of a connection to a port in the guest: Firecracker listens on a unix socket, is told the port in a line of text
 * and answers in another, behind which the connection is the guest's. No I/O, no allocation. */
#ifndef CT_VM_VSOCK_HELLO_H
#define CT_VM_VSOCK_HELLO_H

#include "base/abi.h"

enum { CT__VSOCK_HELLO_BYTES = 19 }; /* "CONNECT 4294967295\n" */

/* Writes the line that asks for a port; `out` holds CT__VSOCK_HELLO_BYTES. Returns its length, or CT_E_RANGE: VMADDR_PORT_ANY, which
 * stands for no port. */
int ct__vsock_hello_put(uint8_t *out, uint32_t port);

/* How far the answer was read. Zeroed for a new connection. */
typedef struct ct__vsock_hello {
    size_t seen;
    uint64_t port; /* of the host's end, as Firecracker chose it */
} ct__vsock_hello;

/* Reads on in what came since. Returns 0 (*used bytes are the answer's; the rest is of the guest), CT_E_MORE (all were taken), or what
 * is final: CT_E_MALFORMED or CT_E_RANGE (no number of 32 bits). A refusal has no answer: Firecracker closes. */
int ct__vsock_hello_read(ct__vsock_hello *hello, const uint8_t *buf, size_t len, size_t *used);

#endif
