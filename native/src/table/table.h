/* The table for C callers: the rest is in ct_abi.h. Nothing here is of any use to Python. */
#ifndef CT_TABLE_TABLE_H
#define CT_TABLE_TABLE_H

#include "base/abi.h"

/* The place of a handle's thing: below max_instances for a member, max_calls for a call, max_functions for a function. */
static inline uint32_t ct__handle_index(uint64_t handle) {
    return (uint32_t)(handle & (((uint64_t)1 << CT_HANDLE_INDEX_BITS) - 1));
}

/* Called when a taker's list of effects was empty and is not any more. It may not call into the table. */
typedef void ct__wake(void *context);
void ct__table_on_effect(ct_table *table, uint32_t taker, ct__wake *wake, void *context);

/* A refusal as ct_function_set_refusal stored it, borrowed until the function is next changed: 1; 0: none; -ESTALE. */
typedef struct ct__refusal {
    uint32_t grpc_status;
    uint32_t message_len;
    uint32_t problem_len;
    const uint8_t *message;
    const uint8_t *problem;
} ct__refusal;

int ct__function_refusal(const ct_table *table, uint64_t function, uint32_t code, uint32_t detail, ct__refusal *out);

/* What the lane needs of a function to run a call; -ESTALE else. Names are borrowed while the handle is good. */
typedef struct ct__function_facts {
    const uint8_t *name;
    uint32_t name_len;
    uint32_t flags;
    uint64_t version;
    uint64_t timeout_ns;
    uint64_t max_payload_bytes;
} ct__function_facts;

int ct__function_get(const ct_table *table, uint64_t function, ct__function_facts *out);

/* The record at a place of the ring, the oldest at 0, borrowed until it is forgotten; NULL: there are not so many. */
const ct_record *ct__record_at(const ct_table *table, uint32_t place);

/* A call's owner word; lets the lane go from a handle to its own state. -ESTALE else. */
int ct__call_owner(const ct_table *table, uint64_t call, uint64_t *out);

#endif
