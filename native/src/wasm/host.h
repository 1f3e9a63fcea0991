/* The worker of a tenant: a process in which each of its function versions is an instance. */
#ifndef CT_WASM_HOST_H
#define CT_WASM_HOST_H

#include "wasm/engine.h"

enum { CT__WASM_OPENING_BYTES = 256 };

/* Serves what comes over a stream socket until its other end is closed: openings of CT__WASM_OPENING_BYTES, each a u32 (thousandths
 * of a core, big-endian) and a path below /tenant ended by NUL, with two descriptors: the instance's channel, and one that is closed
 * when nothing of the instance is left. */
void ct__wasm_host(ct__wasm_engine *engine, int fd);

#endif
