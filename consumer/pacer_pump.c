/* Grants, and the trades that make them possible. A group is looked at when something about it has
 * changed: somebody asked, a call ended, an answer came, its time is up. Most grants come out of
 * the lease in hand and cost a few heap steps; only when that is used up is Redis asked, once for
 * everybody who waits. */
#include "consumer/pacer_priv.h"

#include <assert.h>

enum { PACER_DAY_MS = 86400000 };

/* --- tenants whose day is spent -------------------------------------------------------------- */
/* True: nothing more of this tenant today (or for as long as nobody knows what it has spent). */
static bool pacer_is_spent(const struct pacer *p, const struct pacer_wait *w)
{
    const struct config_tenant *t = w->cap;
    int64_t tokens = 0, microusd = 0;
    if (!t || !p->o.usage) return false;
    if (!usage_today(p->o.usage, w->tenant, &tokens, &microusd))
        return t->spend_per_day_microusd > 0;
    return (t->tokens_per_day > 0 && tokens >= t->tokens_per_day) ||
           (t->spend_per_day_microusd > 0 && microusd >= t->spend_per_day_microusd);
}

static void pacer_recheck_group(struct pacer_group *g)
{
    for (struct pacer_flow *f = pacer_line_next_flow(g->line, NULL); f;
         f = pacer_line_next_flow(g->line, f)) {
        const struct list *places = pacer_flow_places(f);
        if (!pacer_flow_is_blocked(f)) continue;
        if (places->count &&
            pacer_is_spent(g->pacer, LIST_ITEM(list_first(places), struct pacer_wait, place.link)))
            continue;
        pacer_flow_block(f, false);
        pacer_dirty(g);
    }
}

void pacer_recheck_tenants(struct pacer *p)
{
    for (size_t i = 0; i < p->group_count; i++)
        if (p->groups[i].provider) pacer_recheck_group(&p->groups[i]);
}

static void pacer_on_midnight(void *arg)
{
    pacer_recheck_tenants(arg);
}

int64_t pacer_midnight_ms(const struct pacer *p)
{
    int64_t left = PACER_DAY_MS - p->o.clock->wall_ms % PACER_DAY_MS;
    return pacer_now(p) + left;
}

static void pacer_block(struct pacer *p, struct pacer_flow *f)
{
    pacer_flow_block(f, true);
    if (!timerq_pending(&p->midnight_timer))
        (void)timerq_set(p->o.timers, &p->midnight_timer, pacer_midnight_ms(p) + 1,
                         pacer_on_midnight, p);
    pacer_tell_soon(p);
}

/* --- grants ---------------------------------------------------------------------------------- */
/* Of several keys the one with the least in flight that has room. */
static struct pacer_key *pacer_take(struct pacer_group *g, const struct limiter_cost *c,
                                    struct limiter_ticket *ret)
{
    struct pacer_key *least = &g->keys[0];
    int64_t now = pacer_now(g->pacer);
    for (size_t i = 1; i < g->key_count; i++)
        if (g->keys[i].in_flight < least->in_flight) least = &g->keys[i];
    for (size_t i = 0; i < g->key_count; i++) {
        struct pacer_key *k = &g->keys[(least->index + i) % g->key_count];
        if (limiter_take(k->limiter, c, now, ret)) return k;
    }
    return NULL;
}

static void pacer_tell_skips(struct pacer_wait *w)
{
    if (w->is_told_skip || !w->skipped) return;
    w->is_told_skip = true;
    for (size_t i = 0; i < w->model->route_count; i++)
        if (w->skipped & (1u << i)) w->sink->on_skip(w->arg, w->model->routes[i].config);
}

static void pacer_hand_out(struct pacer_group *g, struct pacer_wait *w, struct pacer_key *k)
{
    struct pacer *p = g->pacer;
    const struct pacer_grant grant = {
        .route = w->route->config, .provider = g->provider, .key_index = k->index};
    w->flow = pacer_line_take(g->line, &w->place, pacer_now(p));
    w->key = k;
    w->state = PACER_GRANTED;
    w->granted_ms = pacer_now(p);
    list_remove(&p->waits, &w->link);
    k->in_flight++;
    p->in_flight++;
    metric_observe(g->meters.wait_seconds, (double)(w->granted_ms - w->asked_ms) / 1000);
    pacer_count_grant(g);
    pacer_tell_skips(w);
    w->sink->on_grant(w->arg, &grant);
}

/* False: nobody is there, or whoever is next has to wait. */
static bool pacer_grant_next(struct pacer_group *g)
{
    for (;;) { /* ends: every round blocks a flow */
        struct pacer_place *first = pacer_line_first(g->line);
        struct limiter_ticket ticket = {0};
        if (!first) return false;
        struct pacer_wait *w = LIST_ITEM(first, struct pacer_wait, place);
        if (pacer_is_spent(g->pacer, w)) {
            pacer_block(g->pacer, first->flow);
            continue;
        }
        if (pacer_now(g->pacer) - w->guessed_ms > PACER_GUESS_MS) pacer_guess_again(w);
        struct pacer_key *k = pacer_take(g, &first->cost, &ticket);
        if (!k) return false;
        w->ticket = ticket;
        pacer_hand_out(g, w, k);
        return true;
    }
}

/* --- trades ---------------------------------------------------------------------------------- */
static size_t pacer_tell_classes(struct pacer_key *k, struct pace_flow *flows)
{
    const struct pacer_group *g = k->group;
    size_t n = 0;
    for (enum job_class c = 0; c < CLASS_COUNT; c++) {
        int64_t served = pacer_class_report(g->line, c);
        bool is_waiting = pacer_class_has(g->line, c);
        if (!served && !is_waiting) continue;
        k->told[n] = NULL;
        k->told_class[n] = c;
        flows[n++] = (struct pace_flow){.name = view_of(job_class_name(c)),
                                        .weight = pacer_class_weight(g->line, c),
                                        .served = served,
                                        .is_waiting = is_waiting};
    }
    return n;
}

/* Each trade tells of as many flows as fit; the next one goes on with the others. */
static size_t pacer_tell_flows(struct pacer_key *k, struct pace_flow flows[PACE_FLOWS_MAX])
{
    struct pacer_line *line = k->group->line;
    size_t n = pacer_tell_classes(k, flows), left = pacer_line_flows(line);
    for (; n < PACE_FLOWS_MAX && left > 0; left--) {
        struct pacer_flow *f = pacer_line_next_flow(line, NULL);
        int64_t served = pacer_flow_report(f);
        bool is_waiting = pacer_flow_places(f)->count > 0 && !pacer_flow_is_blocked(f);
        pacer_line_rotate(line, f);
        if (!served && !is_waiting) continue;
        k->told[n] = pacer_flow_ref(f);
        k->told_class[n] = pacer_flow_class(f);
        flows[n++] = (struct pace_flow){.name = pacer_flow_tenant(f),
                                        .group = 1 + (int64_t)pacer_flow_class(f),
                                        .weight = pacer_flow_weight(f),
                                        .served = served,
                                        .is_waiting = is_waiting};
    }
    return n;
}

static void pacer_hear_ranks(struct pacer_key *k, const struct pace_traded *r)
{
    for (size_t i = 0; i < k->told_count; i++) {
        if (r && k->told[i]) pacer_flow_set_rank(k->told[i], r->ranks[i]);
        if (r && !k->told[i]) pacer_class_set_rank(k->group->line, k->told_class[i], r->ranks[i]);
        if (k->told[i]) pacer_flow_unref(k->told[i]);
    }
    k->told_count = 0;
}

static void pacer_on_traded(void *arg, const struct err *e, const struct pace_traded *r)
{
    struct pacer_key *k = arg;
    struct pacer_group *g = k->group;
    k->is_trading = false;
    limiter_traded(k->limiter, e, e ? NULL : r, pacer_now(g->pacer));
    pacer_hear_ranks(k, e ? NULL : r);
    pacer_group_check(g);
    pacer_dirty(g);
}

/* Those that are not even started wait, too: as many calls like the last ones in line. */
static void pacer_add_held(struct limiter_ask *ask, int64_t held)
{
    for (enum pace_rank r = PACE_RANK_COUNT; held > 0 && r > 0; r--) {
        struct pace_demand *d = &ask->demand[r - 1];
        if (!d->calls) continue;
        for (enum pace_dim i = 0; i < PACE_DIM_COUNT; i++)
            d->all.n[i] += d->all.n[i] / d->calls * held;
        d->all.input_var += d->all.input_var / d->calls * held;
        d->all.output_var += d->all.output_var / d->calls * held;
        d->all.microusd += d->all.microusd / d->calls * held;
        d->calls += held;
        return;
    }
}

/* Several keys share what waits: each asks for its part, and for the first one at least. */
static void pacer_split(struct limiter_ask *ask, size_t parts)
{
    if (parts <= 1) return;
    for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) {
        struct pace_demand *d = &ask->demand[r];
        int64_t calls = (d->calls + (int64_t)parts - 1) / (int64_t)parts;
        if (!d->calls) continue;
        for (enum pace_dim i = 0; i < PACE_DIM_COUNT; i++)
            d->all.n[i] = d->all.n[i] / d->calls * calls;
        d->all.input_var = d->all.input_var / d->calls * calls;
        d->all.output_var = d->all.output_var / d->calls * calls;
        d->all.microusd = d->all.microusd / d->calls * calls;
        d->calls = calls;
        if (calls == 1) d->all = d->first;
    }
}

static void pacer_trade(struct pacer_key *k, enum pace_rank best)
{
    struct pacer_group *g = k->group;
    struct pace_flow flows[PACE_FLOWS_MAX];
    struct limiter_ask ask = {.expect_ms = 0};
    struct pace_trade trade;
    int64_t now = pacer_now(g->pacer);
    if (k->is_trading || !limiter_is_due(k->limiter, best, now)) return;
    if (best < PACE_RANK_COUNT) pacer_line_demand(g->line, &ask);
    pacer_add_held(&ask, (int64_t)g->held);
    pacer_split(&ask, g->key_count);
    k->told_count = pacer_tell_flows(k, flows);
    ask.flows = flows;
    ask.flow_count = k->told_count;
    limiter_trade(k->limiter, &ask, now, &trade);
    k->is_trading = true;
    metric_add(g->meters.trades, 1);
    fn_pace_trade(g->pacer->o.fn, &trade, pacer_on_traded, k);
}

/* --- a group's turn -------------------------------------------------------------------------- */
static bool pacer_may_grant(const struct pacer *p)
{
    return p->in_flight < p->o.calls_max && p->o.may_start(p->o.arg);
}

static void pacer_on_timer(void *arg)
{
    pacer_dirty(arg);
}

static void pacer_arm(struct pacer_group *g, enum pace_rank best)
{
    int64_t now = pacer_now(g->pacer), at = INT64_MAX;
    for (size_t i = 0; i < g->key_count; i++) {
        const struct pacer_key *k = &g->keys[i];
        int64_t due = limiter_due_ms(k->limiter, best, now);
        struct limiter_wait w;
        if (due < at) at = due;
        if (best == PACE_RANK_COUNT && g->close == PACE_CLOSE_NONE) continue;
        limiter_wait(k->limiter, now, &w);
        if (!k->is_trading && w.until_ms > now && w.until_ms < at) at = w.until_ms;
    }
    if (g->close != PACE_CLOSE_NONE && g->volunteer_ms > now && g->volunteer_ms < at)
        at = g->volunteer_ms;
    if (at == INT64_MAX) {
        timerq_cancel(g->pacer->o.timers, &g->timer);
    } else if (!timerq_pending(&g->timer) || g->timer.when_ms != at) {
        (void)timerq_set(g->pacer->o.timers, &g->timer, at > now ? at : now + 1, pacer_on_timer, g);
    }
}

void pacer_group_pump(struct pacer_group *g)
{
    struct pacer *p = g->pacer;
    size_t left = PACER_TURN;
    bool is_stuck = false;
    while (left && !is_stuck && pacer_may_grant(p)) {
        is_stuck = !pacer_grant_next(g);
        left--;
    }
    if (!left) pacer_dirty(g);
    enum pace_rank best = is_stuck ? pacer_line_rank(g->line) : PACE_RANK_COUNT;
    for (size_t i = 0; i < g->key_count; i++) pacer_trade(&g->keys[i], best);
    pacer_call_volunteer(g);
    pacer_arm(g, best);
}

void pacer_pump(struct pacer *p)
{
    size_t left = 2 * p->group_count + 1;
    struct list_link *k;
    if (p->is_pumping) return;
    if (p->was_fenced && p->o.may_start(p->o.arg)) pacer_dirty_all(p);
    p->was_fenced = !p->o.may_start(p->o.arg);
    p->is_pumping = true;
    while (left-- && (k = list_first(&p->dirty)) != NULL) {
        list_remove(&p->dirty, k);
        pacer_group_pump(LIST_ITEM(k, struct pacer_group, dirty));
    }
    p->is_pumping = false;
    if (list_first(&p->dirty)) p->o.kick(p->o.arg);
}
