/* What a connection does to its streams. */
#ifndef CT_H2_LEG_H
#define CT_H2_LEG_H

#include "h2/wire.h"

/* What nghttp2 could not even queue would be waited for in vain: the connection is cut at the end of the batch. */
void ct__h2_said(ct__h2_wire *wire, int result);

void ct__h2_leg_attach(ct__h2_leg *leg, ct__h2_wire *wire, int32_t id);
void ct__h2_leg_detach(ct__h2_leg *leg);
void ct__h2_leg_close(ct__h2_leg *leg, uint32_t code); /* detaches, then calls `closed` */

ct__h2_leg *ct__h2_leg_at(ct__h2_wire *wire, int32_t id); /* NULL: none, or it was dropped */

/* nghttp2's call: one DATA frame, straight into the connection's buffer. */
int ct__h2_leg_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                         nghttp2_data_source *source, void *user);

int ct__h2_error_of(ssize_t result); /* nghttp2's failures as -errno */

#endif
