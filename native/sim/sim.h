/* One history of the table under seeded events: what its driver knows of it. */
#ifndef CT_SIM_SIM_H
#define CT_SIM_SIM_H

#include "table/state.h"

enum { FUNCTIONS = 4, CALLS = 24, MEMBERS = 8, HOLDS = 3 };

enum event {
    EV_ADMIT,
    EV_LEASE,
    EV_END_OK,
    EV_END_FAILED,
    EV_END_BROKEN,
    EV_CANCEL,
    EV_OVERDUE,
    EV_RETURN,
    EV_BOOTED,
    EV_BOOT_FAILED,
    EV_DIED,
    EV_GONE,
    EV_POLICY,
    EV_DEPLOY,
    EV_REMOVE,
    EV_SWEEP,
    EV_DOOR,
    EV_HOLD,
    EV_COUNT
};

enum { ROW_BOOTING, ROW_IDLE, ROW_ROOM, ROW_FULL, ROW_DRAINING, ROW_DEAD, ROW_ADMITTED, ROW_WAITING, ROW_LEASED, ROW_REFUSED, ROWS };

extern uint64_t sim_matrix[ROWS][EV_COUNT]; /* how often a member or call in that state met that event */

typedef struct sim_call {
    uint64_t handle;
    uint64_t ticket;
    uint64_t version;
    uint32_t function;
    uint32_t taker;
    bool is_answered; /* by an effect that was taken */
} sim_call;

typedef struct sim_function {
    uint64_t handle;
    ct_function_row row;
    uint64_t most; /* replicas it was ever allowed */
} sim_function;

typedef struct sim_hold { /* what a tenant holds beside its members; taken in parts and given back in parts */
    uint64_t tenant;
    uint32_t memory_mb;
    uint32_t cpu_millis;
} sim_hold;

typedef struct sim {
    ct_table *t;
    uint64_t rng;
    uint64_t now_ns;
    uint64_t tickets;
    sim_function functions[FUNCTIONS];
    sim_call calls[CALLS];
    sim_hold holds[HOLDS];
    bool is_prompt; /* effects are taken at once */
    bool is_calm;   /* no faults any more */
    const char *broken;
    int line;
} sim;

#define DEMAND(s, condition, text)                                                                                     \
    do {                                                                                                               \
        if (!(condition) && (s)->broken == NULL) {                                                                     \
            (s)->broken = text;                                                                                        \
            (s)->line = __LINE__;                                                                                      \
        }                                                                                                              \
    } while (0)

/* events.c */
uint32_t sim_below(sim *s, uint32_t n);
uint32_t sim_one_of(sim *s, uint32_t a, uint32_t b, uint32_t c);
void sim_put_function(sim *s, uint32_t i);
sim_call *sim_call_in(sim *s, uint32_t state);       /* NULL: none is */
ct__member *sim_member_in(sim *s, uint32_t state);   /* CT__MEMBER_STATES: in any */
void sim_end(sim *s, sim_call *c, uint32_t status, uint32_t flags);
void sim_take_effects(sim *s);
void sim_let_go(sim *s, sim_hold *hold, uint32_t memory_mb, uint32_t cpu_millis);
void sim_step(sim *s);

#endif
