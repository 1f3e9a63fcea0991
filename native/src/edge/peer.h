/* Whose socket is at the other end of a connection of this host: one exact question to the kernel (sock_diag(7)), which answers in
 * the send. */
#ifndef CT_EDGE_PEER_H
#define CT_EDGE_PEER_H

#include <stdint.h>

/* Returns a netlink socket for questions, or -errno. */
int ct__peer_open(void);

/* The uid that owns the client's end of the accepted connection `fd`. Returns 0 and *uid, or -ENOENT: it is not an established TCP
 * socket of this network namespace, its owner has no name in our user namespace, or the kernel did not say. */
int ct__peer_uid(int netlink, uint32_t sequence, int fd, uint32_t *uid);

#endif
