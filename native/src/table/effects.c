/* What is to be done, oldest first, one list a taker. An effect lives in what it is about, so none is ever lost for
 * want of memory, and none outlives its subject. */
#include "table/state.h"

void ct__table_on_effect(ct_table *t, uint32_t taker, ct__wake *wake, void *context) {
    t->takers[taker].wake = wake;
    t->takers[taker].context = context;
}

void ct__effect_put(ct_table *t, uint32_t taker, ct__effect *effect, uint32_t kind) {
    assert(!ct__linked(&effect->node));
    ct__taker *to = &t->takers[taker];
    effect->kind = kind;
    ct__list_insert(&to->effects, &effect->node);
    if (to->waits++ == 0 && to->wake != NULL)
        to->wake(to->context);
}

void ct__effect_cancel(ct_table *t, uint32_t taker, ct__effect *effect) {
    if (!ct__linked(&effect->node))
        return;
    ct__list_remove(&effect->node);
    t->takers[taker].waits--;
}

uint32_t ct_effect_waits(const ct_table *t, uint32_t taker) {
    return taker <= CT_TAKER_LANE ? t->takers[taker].waits : 0;
}

static void of_member(const ct__member *m, ct_effect *out) {
    out->function = ct__handle(&m->function->slot);
    out->member = ct__handle(&m->slot);
}

static void of_call(const ct_table *t, const ct__call *c, ct_effect *out) {
    out->function = ct__handle(&c->function->slot);
    out->call = ct__handle(&c->slot);
    out->owner = c->owner;
    if (out->kind == CT_EFFECT_REFUSE) {
        out->member = c->failed_member;
        out->verdict = c->verdict;
        return;
    }
    out->member = c->member;
    ct__lease_facts(t, c, &out->grant);
}

int ct_effect_next(ct_table *t, uint32_t taker, ct_effect *out) {
    if (taker > CT_TAKER_LANE || ct__list_empty(&t->takers[taker].effects))
        return 0;
    ct__effect *effect = CT__OF(ct__effect, node, t->takers[taker].effects.next);
    ct__effect_cancel(t, taker, effect);
    *out = (ct_effect){.kind = effect->kind};
    switch ((enum ct_effect_kind)effect->kind) {
    case CT_EFFECT_BOOT:
        of_member(CT__OF(ct__member, boot, effect), out);
        break;
    case CT_EFFECT_RETIRE:
        of_member(CT__OF(ct__member, retire, effect), out);
        break;
    case CT_EFFECT_GRANT:
    case CT_EFFECT_REFUSE:
        of_call(t, CT__OF(ct__call, effect, effect), out);
        break;
    case CT_EFFECT_DROP: {
        ct__function *f = CT__OF(ct__function, drop, effect);
        out->function = ct__handle(&f->slot);
        ct__function_free(t, f);
        break;
    }
    case CT_EFFECT_DRAINED:
        break;
    }
    return 1;
}
