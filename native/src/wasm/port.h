/* The worker's end of one instance's channel: the frames of proto/agent.proto, read by one thread, written by many. */
#ifndef CT_WASM_PORT_H
#define CT_WASM_PORT_H

#include "base/abi.h"

#include <pthread.h>
#include <stdbool.h>

enum { CT__WASM_LOG_STDERR = 1, CT__WASM_LOG_CUT = 2, CT__WASM_STREAM = 1, CT__WASM_BODY_MAX = 6 << 20 };

typedef struct ct__wasm_port {
    int fd; /* blocking */
    pthread_mutex_t sending;
    uint8_t held[32 << 10]; /* read and not yet taken: most frames come whole with one read */
    size_t from, to;
} ct__wasm_port;

void ct__wasm_port_init(ct__wasm_port *port, int fd);

/* Returns 1 and a frame whose body, ended by NUL, is the caller's to free; 0: the host is gone, or says what no host says. */
int ct__wasm_receive(ct__wasm_port *port, ct_frame *out);

/* Returns false when the host is gone. Waits while the host does not read. */
bool ct__wasm_send(ct__wasm_port *port, uint8_t kind, uint8_t flags, uint32_t call_id, const void *body, size_t len);

bool ct__wasm_is_hung_up(const ct__wasm_port *port);

#endif
