/* nghttp2's memory: blocks kept for the next call, counted and bounded for each connection. */
#ifndef CT_H2_MEMORY_H
#define CT_H2_MEMORY_H

#include "base/abi.h"

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

enum { CT__H2_SIZES = 8 }; /* 64 bytes, doubling, to 8 KiB; what is larger is not kept */

/* Shared by the connections of one server or client. Zeroed is empty. */
typedef struct ct__h2_pool {
    void *kept[CT__H2_SIZES];
    size_t kept_bytes, used_bytes;
    size_t limit_bytes; /* of all connections together; 0: none */
} ct__h2_pool;

typedef struct ct__h2_budget {
    ct__h2_pool *pool;
    size_t used_bytes;
    size_t limit_bytes;
} ct__h2_budget;

/* nghttp2 gets NULL above a limit; it ends that connection then. `budget` outlives what was allocated with it. */
nghttp2_mem ct__h2_memory(ct__h2_budget *budget);

/* Frees what is kept. */
void ct__h2_pool_fini(ct__h2_pool *pool);

#endif
