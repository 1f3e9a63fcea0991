/* Where a request comes from: the client's address, or the one that a proxy of ours tells in X-Forwarded-For. Pure. */
#ifndef CT_EDGE_PROXIES_H
#define CT_EDGE_PROXIES_H

#include "base/abi.h"
#include "edge/http1.h"

#include <stdbool.h>

/* An IPv4 address in its mapped form. */
typedef struct ct__address {
    uint8_t bytes[CT_ADDRESS_BYTES];
} ct__address;

/* Reads an address in text, with a port or brackets perhaps. Returns whether it is one; writes *out only then. */
bool ct__address_read(ct__span text, ct__address *out);

/* What it is on the wire: 4 bytes of IPv4, or 16. Borrows. */
ct__span ct__address_packed(const ct__address *address);

bool ct__address_in(const ct__address *address, const ct_edge_net *nets, size_t count);

/* From the address of a proxy of ours to that of its client: X-Forwarded-For is read from its end, and the first address that is no
 * proxy's of ours is the client's. At what is no address nobody further out is believed. */
void ct__address_behind(const ct__http1_head *head, const ct_edge_net *nets, size_t count, ct__address *address);

#endif
