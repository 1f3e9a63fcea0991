/* Comet's lane: what ties the port, the table and the links together. Its interface is Python's (ct_abi.h). */
#ifndef CT_LANE_LANE_H
#define CT_LANE_LANE_H

#include "h2/server.h"
#include "link/link.h"
#include "reactor/reactor.h"

#endif
