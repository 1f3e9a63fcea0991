/* Records of the calls that the lane ran, in a ring until their rows are written; a call never waits for its own. */
#include "table/state.h"

#include <stdlib.h>

/* Chosen: a thousand logs as long as they may be by default. The rest of the table has its size from the start. */
static const size_t BYTES_MAX = (size_t)64 << 20;

struct ct__records {
    ct_record *slots;
    size_t bytes; /* of all logs and errors */
    uint8_t **owned; /* log and error of each */
    uint64_t dropped;
    uint32_t cap;
    uint32_t first; /* the oldest */
    uint32_t count;
};

ct__records *ct__records_new(uint32_t cap) {
    ct__records *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return NULL;
    *ring = (ct__records){.slots = calloc(cap, sizeof(ct_record)), .owned = calloc(cap, sizeof(uint8_t *)), .cap = cap};
    if (ring->slots == NULL || ring->owned == NULL) {
        ct__records_free(ring);
        return NULL;
    }
    return ring;
}

void ct__records_free(ct__records *ring) {
    if (ring == NULL)
        return;
    for (uint32_t i = 0; ring->owned != NULL && i < ring->cap; i++)
        free(ring->owned[i]);
    free((void *)ring->owned);
    free(ring->slots);
    free(ring);
}

int ct_record_append(ct_table *t, const ct_record *record) {
    ct__records *ring = t->records;
    ct__function *f = ct__function_at(t, record->function);
    if (f == NULL)
        return -ESTALE;
    const size_t len = (size_t)record->log_len + record->error_len;
    if (ring->count == ring->cap || len > BYTES_MAX - ring->bytes) {
        ring->dropped++;
        return CT_E_FULL;
    }
    uint8_t *bytes = NULL;
    if (len > 0) {
        bytes = malloc(len);
        if (bytes == NULL) {
            ring->dropped++;
            return -ENOMEM;
        }
        if (record->log_len > 0)
            memcpy(bytes, record->log, record->log_len);
        if (record->error_len > 0)
            memcpy(bytes + record->log_len, record->error, record->error_len);
    }
    const uint32_t at = (ring->first + ring->count) % ring->cap;
    ring->slots[at] = *record;
    ring->slots[at].log = bytes;
    ring->slots[at].error = bytes != NULL ? bytes + record->log_len : NULL;
    ring->owned[at] = bytes;
    ring->bytes += len;
    ring->count++;
    f->records++;
    return 0;
}

const ct_record *ct__record_at(const ct_table *t, uint32_t place) {
    const ct__records *ring = t->records;
    return place < ring->count ? &ring->slots[(ring->first + place) % ring->cap] : NULL;
}

void ct_record_forget(ct_table *t, uint32_t count) {
    ct__records *ring = t->records;
    for (; count > 0 && ring->count > 0; count--) {
        const ct_record *oldest = &ring->slots[ring->first];
        ct__function *f = ct__function_at(t, oldest->function);
        assert(f != NULL && f->records > 0);
        ring->bytes -= (size_t)oldest->log_len + oldest->error_len;
        if (f->row_head == NULL) /* it was in no row */
            ring->dropped++;
        if (--f->records == 0)
            ct__function_settle(t, f);
        free(ring->owned[ring->first]);
        ring->owned[ring->first] = NULL;
        ring->first = (ring->first + 1) % ring->cap;
        ring->count--;
    }
    if (ring->count == 0)
        ring->first = 0; /* the same pages again: going round would at last have touched all of them */
}

uint64_t ct_record_dropped(const ct_table *t) {
    return t->records->dropped;
}

uint32_t ct_record_count(const ct_table *t) {
    return t->records->count;
}
