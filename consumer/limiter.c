/* One budget in one worker: what may go, and what became of it. The trades are in limiter_trade.c.
 *
 * What is hard is to be exact while being asked only now and then. A lease is credit under a slot
 * of the budget's window, good for some 100 ms; a call takes all its dimensions from one lease and
 * keeps the slot in its ticket, so that whatever it turns out to have cost can be corrected where
 * it was counted. Corrections are summed per slot and told with the next trade. Time is counted
 * from when a trade was sent: a slow answer or a process that stood still only shortens a lease.
 *
 * Without Redis a share of what was last known holds (limit x 0.8 / workers), in a bucket of this
 * process alone; it is told when Redis is back. Money is not spent on trust: with a cap on it
 * nothing goes. */
#include "consumer/limiter_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const double limiter_away_part = 0.8, limiter_burst_ms = 1200;

struct limiter *limiter_new(const struct limiter_options *o)
{
    struct limiter *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    if (!view_copy(o->budget, l->budget, sizeof l->budget) ||
        !view_copy(o->incarnation, l->incarnation, sizeof l->incarnation)) {
        free(l);
        return NULL;
    }
    l->limits = o->limits;
    l->unsent_ms = INT64_MAX;
    l->asked_rank = PACE_RANK_COUNT;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        l->next.told[d] = (struct pace_told){.limit = -1, .remaining = -1, .reset_ms = -1};
    return l;
}

void limiter_free(struct limiter *l)
{
    free(l);
}

/* --- amounts ---------------------------------------------------------------------------------- */

void limiter_amount_add(struct pace_amount *into, const struct pace_amount *a, int64_t sign)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) into->n[d] += sign * a->n[d];
    into->input_var += sign * a->input_var;
    into->output_var += sign * a->output_var;
    into->microusd += sign * a->microusd;
}

struct pace_amount limiter_amount(const struct limiter_cost *c)
{
    return (struct pace_amount){.n = {1, c->input, c->output, c->tokens},
                                .input_var = c->input_var,
                                .output_var = c->output_var,
                                .microusd = c->microusd};
}

void limiter_demand_add(struct pace_demand *d, const struct limiter_cost *c)
{
    const struct pace_amount a = limiter_amount(c);
    if (d->calls++ == 0) d->first = a;
    limiter_amount_add(&d->all, &a, 1);
}

/* --- news ------------------------------------------------------------------------------------- */

void limiter_news_at(struct limiter *l, int64_t now_ms)
{
    if (l->unsent_ms == INT64_MAX) l->unsent_ms = now_ms;
}

void limiter_settle(struct limiter *l, const struct pace_settle *s, int64_t now_ms)
{
    limiter_news_at(l, now_ms);
    for (size_t i = l->settle_count; i-- > 0;) {
        struct pace_settle *k = &l->settles[i];
        if (k->slot != s->slot || k->output_slot != s->output_slot) continue;
        limiter_amount_add(&k->delta, &s->delta, 1);
        return;
    }
    if (l->settle_count == LIMITER_SETTLES_MAX) {
        memmove(l->settles, l->settles + 1, (LIMITER_SETTLES_MAX - 1) * sizeof *l->settles);
        l->settle_count--;
    }
    l->settles[l->settle_count++] = *s;
}

void limiter_lots_return(struct limiter *l, bool all, int64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->lot_count; i++) {
        const struct limiter_lot *lot = &l->lots[i];
        if (!all && now_ms < lot->until_ms && lot->left.n[PACE_REQUESTS] > 0) {
            l->lots[kept++] = *lot;
            continue;
        }
        struct pace_settle s = {.slot = lot->slot, .output_slot = lot->output_slot};
        limiter_amount_add(&s.delta, &lot->left, -1);
        limiter_settle(l, &s, now_ms);
        if (lot->is_probe && lot->left.n[PACE_REQUESTS] > 0)
            limiter_verdict_probe(l, lot->gen, PACE_PROBE_UNUSED);
    }
    l->lot_count = kept;
}

/* Verdicts are told under the present gen: those of another one are void anyway. After a wipe it
 * begins anew, below what was told last. */
static bool limiter_verdict(struct limiter *l, int64_t gen)
{
    struct limiter_news *n = &l->next;
    if (gen != l->last.gen) return false;
    if (gen != n->gen) {
        n->gen = gen;
        n->oks = n->fails = n->close_ms = 0;
        n->close = PACE_CLOSE_NONE;
        n->probe = PACE_PROBE_NONE;
    }
    return true;
}

void limiter_verdict_probe(struct limiter *l, int64_t gen, enum pace_probe how)
{
    if (!limiter_verdict(l, gen)) return;
    l->next.probe = how;
    l->is_urgent = true;
}

static void limiter_verdict_close(struct limiter *l, int64_t gen, enum pace_close how, int64_t ms)
{
    if (!limiter_verdict(l, gen)) return;
    if (l->next.close == PACE_CLOSE_NONE || how > l->next.close) l->next.close = how;
    if (ms > l->next.close_ms) l->next.close_ms = ms;
    l->is_urgent = true;
}

/* --- taking ----------------------------------------------------------------------------------- */

static struct limiter_use *limiter_use_now(struct limiter *l, int64_t now_ms)
{
    int64_t bucket = now_ms / PACE_HISTORY_MS;
    struct limiter_use *u = &l->uses[bucket % LIMITER_USES_MAX];
    if (u->bucket != bucket) *u = (struct limiter_use){.bucket = bucket};
    return u;
}

static bool limiter_lot_holds(const struct limiter *l, const struct limiter_lot *lot,
                              const struct pace_amount *a)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (a->n[d] > lot->left.n[d] && (d == PACE_REQUESTS || l->last.limit[d])) return false;
    return true;
}

static bool limiter_take_lease(struct limiter *l, const struct pace_amount *a, int64_t now_ms,
                               struct limiter_ticket *t)
{
    for (size_t i = 0; i < l->lot_count; i++) {
        struct limiter_lot *lot = &l->lots[i];
        if (now_ms >= lot->until_ms || !limiter_lot_holds(l, lot, a)) continue;
        limiter_amount_add(&lot->left, a, -1);
        limiter_amount_add(&limiter_use_now(l, now_ms)->leased, a, 1);
        t->slot = lot->slot;
        t->output_slot = lot->output_slot;
        t->gen = lot->gen;
        t->is_probe = lot->is_probe;
        return true;
    }
    return false;
}

bool limiter_is_away(const struct limiter *l, int64_t now_ms)
{
    int64_t since = l->is_failing ? l->failed_ms : l->sent_ms;
    return (l->is_failing || l->is_trading) && now_ms - since > LIMITER_LATE_MS;
}

/* What this process used in the last minute. */
static int64_t limiter_used(const struct limiter *l, size_t d, int64_t now_ms)
{
    int64_t sum = 0, first = now_ms / PACE_HISTORY_MS - PACE_HISTORY_COUNT + 1;
    for (size_t i = 0; i < LIMITER_USES_MAX; i++)
        if (l->uses[i].bucket >= first) sum += l->uses[i].leased.n[d] + l->uses[i].local.n[d];
    return sum;
}

/* The share of this process, while nobody can be asked: of the rate, and of the minute, which may
 * have been full when Redis went. */
static bool limiter_take_local(struct limiter *l, const struct pace_amount *a, int64_t now_ms)
{
    double passed = (double)(now_ms - l->level_ms), level[PACE_DIM_COUNT];
    bool ok = l->limits.spend_per_day_microusd == 0 && l->answered_ms > 0 &&
              now_ms >= l->closed_ms && l->last.state != PACE_PROBING && !l->is_urgent;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        double share =
            (double)l->last.limit[d] / (double)(l->last.workers > 0 ? l->last.workers : 1);
        double rate = share * limiter_away_part / 60000;
        double used = ok && share > 0 ? (double)limiter_used(l, d, now_ms) : 0;
        double full = rate * limiter_burst_ms > 1 ? rate * limiter_burst_ms : 1;
        double need = (double)a->n[d] < full ? (double)a->n[d] : full;
        level[d] = l->level_ms ? l->level[d] + passed * rate : 0;
        if (level[d] > full) level[d] = full;
        if (l->last.limit[d] > 0 && level[d] < need) ok = false;
        if (used > 0 && used + (double)a->n[d] > share) ok = false;
    }
    l->level_ms = now_ms;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        l->level[d] = level[d] - (ok && l->last.limit[d] > 0 ? (double)a->n[d] : 0);
    if (ok) limiter_amount_add(&limiter_use_now(l, now_ms)->local, a, 1);
    return ok;
}

bool limiter_take(struct limiter *l, const struct limiter_cost *c, int64_t now_ms,
                  struct limiter_ticket *ret)
{
    const struct pace_amount a = limiter_amount(c);
    struct limiter_ticket t = {.cost = *c, .is_held = true};
    assert(!ret->is_held);
    if (!limiter_take_lease(l, &a, now_ms, &t)) {
        if (!limiter_is_away(l, now_ms) || !limiter_take_local(l, &a, now_ms)) return false;
        t.is_local = true;
        t.gen = l->last.gen;
    }
    limiter_amount_add(&l->since, &a, 1);
    l->in_flight++;
    *ret = t;
    return true;
}

/* --- what becomes of a call ------------------------------------------------------------------- */

void limiter_input_known(struct limiter *l, struct limiter_ticket *t, int64_t input, int64_t now_ms)
{
    if (!t->is_held || input < 0 || input > PACE_NUMBER_MAX) return;
    struct pace_settle s = {.slot = t->slot, .output_slot = t->output_slot};
    s.delta.n[PACE_INPUT] = input - t->cost.input;
    s.delta.input_var = -t->cost.input_var;
    t->cost.input = input;
    t->cost.input_var = 0;
    if (!t->is_local) limiter_settle(l, &s, now_ms);
}

void limiter_told(struct limiter *l, const struct pace_told told[PACE_DIM_COUNT], int64_t now_ms)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        struct pace_told *to = &l->next.told[d];
        if (told[d].limit > 0) to->limit = told[d].limit;
        if (told[d].remaining >= 0) {
            to->remaining = told[d].remaining;
            to->reset_ms = told[d].reset_ms;
        }
        if (told[d].limit > 0 || told[d].remaining >= 0) {
            l->next.told_ms = now_ms;
            limiter_news_at(l, now_ms);
        }
    }
}

void limiter_begun(struct limiter *l, struct limiter_ticket *t, int64_t now_ms)
{
    if (!t->is_held || t->is_begun) return;
    t->is_begun = true;
    if (!limiter_verdict(l, t->gen)) return;
    l->next.oks++;
    limiter_news_at(l, now_ms);
    if (t->is_probe) limiter_verdict_probe(l, t->gen, PACE_PROBE_OK);
}

static void limiter_judge(struct limiter *l, struct limiter_ticket *t,
                          const struct limiter_outcome *o, int64_t now_ms)
{
    bool is_probe = t->is_probe && !t->is_begun;
    switch (o->end) {
    case LIMITER_OK:
        limiter_begun(l, t, now_ms);
        break;
    case LIMITER_REFUSED:
        limiter_verdict_close(l, t->gen, PACE_CLOSE_THROTTLE, o->retry_after_ms);
        break;
    case LIMITER_EXHAUSTED:
        limiter_verdict_close(l, t->gen, PACE_CLOSE_EXHAUSTED, o->retry_after_ms);
        break;
    case LIMITER_FAILED:
        if (!limiter_verdict(l, t->gen)) break;
        l->next.fails++;
        if (o->retry_after_ms > l->next.close_ms) l->next.close_ms = o->retry_after_ms;
        if (is_probe) limiter_verdict_probe(l, t->gen, PACE_PROBE_FAILED);
        break;
    case LIMITER_UNSENT:
    case LIMITER_BROKEN:
        if (is_probe) limiter_verdict_probe(l, t->gen, PACE_PROBE_UNUSED);
        break;
    }
    if (l->next.close != PACE_CLOSE_NONE) limiter_lots_return(l, true, now_ms);
}

/* What was reserved and is not used. Combined tokens are charged when the request is sent; a
 * request that failed may have been counted by the provider. */
static struct pace_amount limiter_delta(const struct limiter_ticket *t,
                                        const struct limiter_outcome *o)
{
    struct pace_amount d = {.n[PACE_OUTPUT] = -t->cost.output,
                            .input_var = -t->cost.input_var,
                            .output_var = -t->cost.output_var};
    if (o->end == LIMITER_UNSENT || o->end == LIMITER_REFUSED || o->end == LIMITER_EXHAUSTED) {
        d.n[PACE_REQUESTS] = o->is_counted && o->end != LIMITER_UNSENT ? 0 : -1;
        d.n[PACE_INPUT] = -t->cost.input;
        d.n[PACE_TOKENS] = -t->cost.tokens;
        d.microusd = -t->cost.microusd;
        return d;
    }
    if (o->input >= 0 && o->input <= PACE_NUMBER_MAX) d.n[PACE_INPUT] = o->input - t->cost.input;
    if (o->microusd >= 0)
        d.microusd = o->microusd - t->cost.microusd;
    else if (o->end == LIMITER_FAILED)
        d.microusd = -t->cost.microusd;
    return d;
}

static int64_t limiter_made(const struct limiter_ticket *t, const struct limiter_outcome *o)
{
    if (o->end != LIMITER_OK && o->end != LIMITER_BROKEN && o->output < 0) return 0;
    return o->output >= 0 && o->output <= PACE_NUMBER_MAX ? o->output : t->cost.output;
}

void limiter_done(struct limiter *l, struct limiter_ticket *t, const struct limiter_outcome *o,
                  int64_t now_ms)
{
    assert(t->is_held && l->in_flight > 0);
    const struct pace_settle s = {
        .slot = t->slot, .output_slot = t->output_slot, .delta = limiter_delta(t, o)};
    l->in_flight--;
    l->next.output_made += limiter_made(t, o);
    limiter_news_at(l, now_ms);
    if (!t->is_local) limiter_settle(l, &s, now_ms);
    limiter_judge(l, t, o, now_ms);
    if (l->last.reason == PACE_REASON_CONCURRENCY) l->not_before_ms = now_ms;
    *t = (struct limiter_ticket){.is_held = false};
}
