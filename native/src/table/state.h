/* What the units of table/ share: the slots and their lists. Everything is allocated with the table, so pointers stay. */
#ifndef CT_TABLE_STATE_H
#define CT_TABLE_STATE_H

#include "table/table.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
    CT__BREAKER_PARTS = 10, /* a breaker's window slides in tenths */
    CT__MEMBER_STATES = 5
};

static const uint64_t CT__SECOND_NS = 1000000000;

/* A doubly linked list through one pair of pointers in each element. */
typedef struct ct__node {
    struct ct__node *next;
    struct ct__node *prev;
} ct__node;

static inline void ct__list_init(ct__node *head) {
    head->next = head;
    head->prev = head;
}

static inline bool ct__list_empty(const ct__node *head) {
    return head->next == head;
}

static inline bool ct__linked(const ct__node *node) {
    return node->next != NULL;
}

static inline void ct__list_insert(ct__node *before, ct__node *node) {
    node->next = before;
    node->prev = before->prev;
    before->prev->next = node;
    before->prev = node;
}

static inline void ct__list_remove(ct__node *node) {
    if (node->next == NULL)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = NULL;
    node->prev = NULL;
}

#define CT__OF(type, member, node) ((type *)(void *)((char *)(node) - offsetof(type, member)))
#define CT__CONST_OF(type, member, node) ((const type *)(const void *)((const char *)(node) - offsetof(type, member)))

/* What is to be done, queued where the thing it is about lives. */
typedef struct ct__effect {
    ct__node node;
    uint32_t kind;
} ct__effect;

/* A slot's generation is above 0 while it is in use, and higher each time. */
typedef struct ct__slot {
    uint64_t generation;
    uint32_t index;
    uint32_t next_free;
    bool is_used;
} ct__slot;

typedef struct ct__breaker {
    uint32_t state; /* enum ct_breaker_state */
    uint32_t probes; /* out, while it is half open */
    uint64_t epoch;  /* moves with the state: an end counts only in the epoch its call was let in */
    uint64_t until_ns; /* open: then probes are let through */
    uint64_t part;   /* of time, the newest in the window */
    uint64_t opened; /* times in all */
    uint32_t good[CT__BREAKER_PARTS];
    uint32_t bad[CT__BREAKER_PARTS];
} ct__breaker;

typedef struct ct__saying { /* a refusal, ready to be sent */
    struct ct__saying *next;
    uint32_t code;
    uint32_t detail;
    uint32_t grpc_status;
    uint32_t message_len;
    uint32_t problem_len;
    uint8_t bytes[];
} ct__saying;

typedef struct ct__alias ct__alias;

typedef struct ct__tenant {
    ct__slot slot;
    struct ct__tenant *hash_next;
    uint8_t *name;
    uint64_t hash;
    uint32_t name_len;
    uint32_t functions; /* of it; it stays while there are any, while it holds something, or while Python has told of it */
    bool is_told;
    bool is_limited; /* there is something that a call is to be checked against */
    uint32_t inflight;
    uint32_t dead; /* of its members, those that are not gone yet */
    uint64_t memory_mb; /* of its members, and what it holds beside them */
    uint64_t cpu_millis;
    uint64_t held_memory_mb; /* beside them */
    uint64_t held_cpu_millis;
    uint64_t calls;  /* let in, since it was made */
    uint64_t listed; /* of them, those that were told to whoever keeps the count */
    uint64_t call_full_at_ns;
    uint64_t call_interval_ns; /* what the call that was just checked will cost; 0: nothing */
    uint64_t publish_full_at_ns;
    ct_tenant_row row;
} ct__tenant;

typedef struct ct__function {
    ct__slot slot;
    ct_function_row row; /* its names point into key */
    ct__tenant *tenant;
    uint8_t *key;
    uint64_t hash;
    struct ct__function *hash_next;
    bool is_indexed;
    bool is_removed;
    uint64_t sandbox; /* moves when the sandbox changes: members of an older one get no calls */
    ct__node active;  /* in the table's list, while it has members, calls or replicas to keep warm */
    ct__node asking;  /* its calls ask for boots; in the order in which they get them */
    ct__node members; /* heads of its lists */
    ct__node shelf;   /* members with room; the last one used is taken first */
    ct__node line;
    uint32_t by_state[CT__MEMBER_STATES];
    uint32_t booting; /* of the live sandbox */
    uint32_t current; /* members of the live sandbox, dead ones until they are gone */
    uint32_t leases;
    uint32_t waiting;
    uint32_t calls;   /* handles, whatever their state */
    uint32_t records; /* in the ring */
    uint32_t boot_failures; /* in a row */
    uint64_t prewarm_after_ns;
    ct__breaker breaker;
    ct__saying *sayings;
    ct__alias *aliases;
    uint8_t *row_head; /* how its rows of the log begin; NULL: nobody said yet */
    uint32_t row_head_len;
    ct__effect drop;
} ct__function;

typedef struct ct__member {
    ct__slot slot;
    ct__function *function;
    ct__node of_function;
    ct__node shelf;
    uint64_t number;
    uint64_t sandbox;
    uint64_t version;
    uint64_t idle_since_ns;
    uint64_t link;
    uint32_t seats;
    uint32_t leases;
    uint32_t memory_mb;
    uint32_t cpu_millis;
    bool has_served;
    uint32_t state; /* enum ct_member_state */
    ct__effect boot;
    ct__effect retire;
} ct__member;

enum ct__call_state { CT__CALL_ADMITTED, CT__CALL_WAITING, CT__CALL_LEASED, CT__CALL_REFUSED };

typedef struct ct__call {
    ct__slot slot;
    ct__function *function;
    ct__node line;
    uint64_t member; /* a handle: it may be gone before the call that it served is ended */
    uint64_t number; /* of its place in line */
    uint64_t admitted_ns;
    uint64_t since_ns; /* in line */
    uint64_t deadline_ns;
    uint64_t patience_ns; /* when it gives up, or looks again */
    uint64_t waited_ns;
    uint64_t owner;
    ct_breaker_pass pass;
    uint32_t state; /* enum ct__call_state */
    uint32_t taker;
    uint32_t refusal; /* status of the boot that failed for it */
    bool is_cold;
    bool has_waited;
    uint64_t failed_member;
    ct_verdict verdict;
    ct__effect effect;
} ct__call;

typedef struct ct__slab {
    uint32_t free; /* first; UINT32_MAX: none */
    uint32_t fresh; /* slots from here on were never used */
    uint32_t count; /* in use */
    uint32_t cap;
} ct__slab;

typedef struct ct__taker {
    ct__node effects;
    uint32_t waits;
    ct__wake *wake;
    void *context;
} ct__taker;

typedef struct ct__word {
    uint32_t len;
    uint8_t text[CT_STATUS_NAME_BYTES_MAX];
} ct__word;

typedef struct ct__buckets ct__buckets;
typedef struct ct__identities ct__identities;
typedef struct ct__tenants ct__tenants;
typedef struct ct__records ct__records;

struct ct_table {
    ct_table_options options;
    uint64_t bucket_ns[CT_METER_BUCKETS_MAX];
    ct__function *functions;
    ct__member *members;
    ct__call *calls;
    ct__slab function_slab;
    ct__slab member_slab;
    ct__slab call_slab;
    ct__function **index; /* by name */
    uint32_t index_mask;
    ct__node active;
    ct__node asking;
    uint64_t next_number;
    uint32_t by_state[CT__MEMBER_STATES];
    uint32_t inflight;
    uint32_t waiting;
    uint32_t leases;
    bool is_open;
    bool is_draining;
    ct__effect drained;
    ct__taker takers[2];
    ct__buckets *buckets;
    ct__identities *identities;
    ct__tenants *tenants;
    ct__records *records;
    ct__word status_names[CT_STATUS_MAX];
    ct_meter *meters;
    ct_totals totals;
};

/* table.c */
void *ct__slab_take(ct__slab *slab, void *slots, size_t stride); /* zeroed but for its slot; NULL: every one is used */
void ct__slab_give(ct__slab *slab, ct__slot *slot);
uint64_t ct__hash(uint64_t seed, const uint8_t *bytes, size_t len);

static inline uint64_t ct__handle(const ct__slot *slot) {
    return slot->generation << CT_HANDLE_INDEX_BITS | slot->index;
}

static inline ct__function *ct__function_at(const ct_table *t, uint64_t handle) {
    const uint32_t index = ct__handle_index(handle);
    if (index >= t->function_slab.fresh)
        return NULL;
    ct__function *f = &t->functions[index];
    return f->slot.is_used && f->slot.generation == handle >> CT_HANDLE_INDEX_BITS ? f : NULL;
}

static inline ct__member *ct__member_at(const ct_table *t, uint64_t handle) {
    const uint32_t index = ct__handle_index(handle);
    if (index >= t->member_slab.fresh)
        return NULL;
    ct__member *m = &t->members[index];
    return m->slot.is_used && m->slot.generation == handle >> CT_HANDLE_INDEX_BITS ? m : NULL;
}

static inline ct__call *ct__call_at(const ct_table *t, uint64_t handle) {
    const uint32_t index = ct__handle_index(handle);
    if (index >= t->call_slab.fresh)
        return NULL;
    ct__call *c = &t->calls[index];
    return c->slot.is_used && c->slot.generation == handle >> CT_HANDLE_INDEX_BITS ? c : NULL;
}

/* effects.c */
void ct__effect_put(ct_table *t, uint32_t taker, ct__effect *effect, uint32_t kind);
void ct__effect_cancel(ct_table *t, uint32_t taker, ct__effect *effect);

/* functions.c */
bool ct__function_is_idle(const ct__function *f);
void ct__function_settle(ct_table *t, ct__function *f); /* in or out of the active list; dropped when nothing is left */
void ct__function_free(ct_table *t, ct__function *f);

/* aliases.c */
void ct__aliases_free(ct__function *f);

/* pool.c */
uint32_t ct__kept_warm(const ct__function *f);
uint32_t ct__boots_for_calls(const ct__function *f);
void ct__pool_pump(ct_table *t, ct__function *grown);
void ct__pool_renew(ct_table *t, ct__function *f); /* a new sandbox begins: useless members go */
void ct__pool_refuse_line(ct_table *t, ct__function *f, const ct_verdict *verdict);
void ct__pool_keep_warm(ct_table *t, uint64_t now_ns);
void ct__pool_trim(ct_table *t, const ct__tenant *tenant); /* as far as its limits were lowered below what it has */
/* Ends idle members of a tenant that has more than it may, as many as it takes; of none if all of them were not enough: then it
 * returns what it has too little of. Only what is asked for is looked at. */
uint32_t ct__pool_yield(ct_table *t, const ct__tenant *tenant, bool is_memory, bool is_cpu);

/* lease.c */
void ct__serve(ct_table *t, ct__function *f, const ct__member *booted, uint64_t now_ns);
void ct__lease_facts(const ct_table *t, const ct__call *c, ct_grant *out);
void ct__refuse(ct_table *t, ct__call *c, const ct_verdict *verdict);

/* member.c: the state machine of one instance */
ct__member *ct__member_add(ct_table *t, ct__function *f);
void ct__members_are(ct__function *f, uint64_t version); /* those of the live sandbox */
void ct__member_lease(ct_table *t, ct__member *m);
void ct__member_release(ct_table *t, ct__member *m, bool is_broken, uint64_t now_ns);
void ct__member_bury(ct_table *t, ct__member *m);
void ct__member_become(ct_table *t, ct__member *m, uint32_t state);

/* breaker.c */
void ct__breaker_reset(ct__breaker *b);
bool ct__breaker_in_range(const ct_breaker_rule *rule);
bool ct__breaker_admit(ct__breaker *b, const ct_breaker_rule *rule, uint64_t now_ns, ct_breaker_pass *out);
void ct__breaker_end(ct__breaker *b, const ct_breaker_rule *rule, const ct_breaker_pass *pass, uint32_t status,
                     bool had_instance, uint64_t now_ns);

/* bucket.c */
ct__buckets *ct__buckets_new(uint32_t cap, uint64_t seed);
void ct__buckets_free(ct__buckets *b);
uint64_t ct__bucket_take(ct__buckets *b, const ct_ask *ask, uint64_t now_ns); /* 0, or ns until it may be tried again */
int ct__buckets_check(const ct__buckets *b);

typedef struct ct__rate { /* a token bucket: what one token takes to come, and what all of them take */
    uint64_t interval_ns;
    uint64_t depth_ns;
} ct__rate;

ct__rate ct__rate_of(double per_s, uint32_t burst); /* burst 0: one second's worth, at least 1 */
/* 0: there are so many tokens, and full_at_ns may be moved by what they take; else ns until there are. */
uint64_t ct__rate_left(const ct__rate *rate, uint64_t *full_at_ns, uint32_t tokens, uint64_t now_ns);

/* guard.c */
ct_verdict ct__later(uint32_t code, uint64_t left_ns);

/* tenants.c */
ct__tenants *ct__tenants_new(uint32_t cap, uint64_t seed);
void ct__tenants_free(ct__tenants *all);
int ct__tenants_check(const ct_table *t);
int ct__tenant_join(ct_table *t, const uint8_t *name, uint32_t len, ct__tenant **out); /* one more function of it */
void ct__tenant_leave(ct_table *t, ct__tenant *tenant);
/* What it may not have so much of in all: enum ct_detail, CT_DETAIL_NONE: it may. */
uint32_t ct__tenant_beyond(const ct__tenant *tenant, uint64_t memory_mb, uint64_t cpu_millis);

/* What it has too little of for one more instance of f. */
static inline uint32_t ct__tenant_lacks(const ct__function *f) {
    return ct__tenant_beyond(f->tenant, f->tenant->memory_mb + f->row.memory_mb, f->tenant->cpu_millis + f->row.cpu_millis);
}

bool ct__tenant_refuses(ct__tenant *tenant, bool is_job, uint64_t now_ns, ct_verdict *out); /* of a limited one */

/* A call is let in, after ct__tenant_refuses if the tenant is limited. */
static inline void ct__tenant_enter(ct__tenant *tenant) {
    tenant->calls++;
    tenant->inflight++;
    if (tenant->is_limited)
        tenant->call_full_at_ns += tenant->call_interval_ns;
}

/* identities.c, records.c */
ct__identities *ct__identities_new(uint32_t cap, uint64_t seed);
void ct__identities_free(ct__identities *ids);
ct__records *ct__records_new(uint32_t cap);
void ct__records_free(ct__records *ring);

/* meters.c */
void ct__meter_refused(ct_table *t, const ct__function *f, uint32_t status);
void ct__meter_ended(ct_table *t, const ct__call *c, uint32_t status, uint64_t now_ns);

#endif
