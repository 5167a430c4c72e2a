/* How long it will take, and who is told. Twice a second everybody who waits is looked at; what is
 * told is what has changed enough to matter to whoever watches: the first time a wait is seen to be
 * longer than a second, and then when its end moves by more than 5 s and a fifth, or its reason
 * changes.
 *
 * The end is the limiter's word for whoever is next, and for those behind it the pace at which this
 * worker was granted calls lately, shared among the flows by their weights. Before anything was
 * granted it is the limit's, over the workers that share it. */
#include "consumer/pacer_priv.h"

#include <assert.h>

enum {
    PACER_TELL_MS = 1000, /* shorter waits are nobody's business */
    PACER_SWEEP_MS = 500,
    PACER_MOVED_MS = 5000,
    PACER_COUNT_MS = 5000, /* the pace is counted over so long, longer where it is slow */
    PACER_COUNT_MAX_MS = 30000,
    PACER_COUNT_LEAST = 10,
    PACER_FAR_MS = 86400000
};
static const double pacer_pace_min = 1.0 / 3600000; /* a call an hour */

/* --- the pace -------------------------------------------------------------------------------- */
/* Called at every sweep while somebody waits; a gap between them is a pause, and what was granted
 * then says nothing of the pace. */
static void pacer_pace_close(struct pacer_group *g, double by_limits)
{
    int64_t now = pacer_now(g->pacer), took = now - g->counted_ms;
    bool is_new = now - g->swept_ms > 2 * PACER_SWEEP_MS || !g->swept_ms;
    g->swept_ms = now;
    if (is_new) g->calls_per_ms = by_limits;
    if (g->close != PACE_CLOSE_NONE) { /* nothing is granted now: that is not how fast it will go */
        g->counted = 0;
        g->counted_ms = now;
        return;
    }
    if (!is_new &&
        (took < PACER_COUNT_MS || (g->counted < PACER_COUNT_LEAST && took < PACER_COUNT_MAX_MS)))
        return;
    if (!is_new) {
        double pace = (double)g->counted / (double)took;
        g->calls_per_ms = g->calls_per_ms > 0 ? (g->calls_per_ms + pace) / 2 : pace;
    }
    g->counted = 0;
    g->counted_ms = now;
}

/* Seconds that passed without a grant are empty. */
static void pacer_lately_roll(struct pacer_group *g)
{
    int64_t now_s = pacer_now(g->pacer) / 1000;
    if (now_s - g->lately_s > PACER_LATELY) g->lately_s = now_s - PACER_LATELY;
    while (g->lately_s < now_s) g->lately[++g->lately_s % PACER_LATELY] = 0;
}

void pacer_count_grant(struct pacer_group *g)
{
    pacer_lately_roll(g);
    g->lately[g->lately_s % PACER_LATELY]++;
    g->counted++;
}

/* --- how long a line is ---------------------------------------------------------------------- */
size_t pacer_groups(const struct pacer *p)
{
    return p->group_count;
}

/* Spent tenants' calls are in nobody's way. */
bool pacer_is_long(const struct pacer *p, size_t group)
{
    struct pacer_group *g = &p->groups[group];
    int64_t most = 0;
    if (!g->provider) return false; /* its jobs fail, and say why */
    pacer_lately_roll(g);
    for (size_t i = 0; i < PACER_LATELY; i++) most += g->lately[i];
    if (most < (int64_t)p->o.line_least) most = (int64_t)p->o.line_least;
    return (int64_t)(pacer_line_offered(g->line) + g->jobs) >= most;
}

void pacer_held(struct pacer *p, size_t group, size_t count)
{
    p->groups[group].held = count;
}

void pacer_begun(struct pacer *p, size_t group)
{
    if (group != PACER_NO_GROUP) p->groups[group].jobs++;
}

void pacer_over(struct pacer *p, size_t group)
{
    if (group == PACER_NO_GROUP) return;
    assert(p->groups[group].jobs > 0);
    p->groups[group].jobs--;
}

/* Of one dimension: so many calls a ms that the limit allows this worker. */
static double pacer_pace_of(const struct limiter_state *s, enum pace_dim d, double a_call)
{
    double workers = s->workers > 0 ? (double)s->workers : 1;
    if (s->limit[d] <= 0 || a_call <= 0) return 0;
    return (double)s->limit[d] / a_call / 60000 / workers;
}

static double pacer_pace_by_limits(const struct pacer_group *g, const struct limiter_ask *ask)
{
    double pace = 0;
    for (size_t i = 0; i < g->key_count; i++) {
        struct limiter_state s;
        double least = 0;
        limiter_state(g->keys[i].limiter, &s);
        for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
            double calls = 0, sum = 0;
            for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) {
                calls += (double)ask->demand[r].calls;
                sum += (double)ask->demand[r].all.n[d];
            }
            double x = calls > 0 ? pacer_pace_of(&s, d, sum / calls) : 0;
            if (x > 0 && (least <= 0 || x < least)) least = x;
        }
        pace += least;
    }
    return pace;
}

static double pacer_pace(struct pacer_group *g)
{
    struct limiter_ask ask;
    pacer_line_demand(g->line, &ask);
    pacer_pace_close(g, pacer_pace_by_limits(g, &ask));
    return g->calls_per_ms;
}

const struct config_route *pacer_waits_on(const struct pacer_wait *w)
{
    return w->is_told_tenant ? NULL : w->route->config;
}

/* --- telling --------------------------------------------------------------------------------- */
static void pacer_tell(struct pacer_wait *w, int64_t until_ms, const char *reason)
{
    const struct clock *clock = w->pacer->o.clock;
    int64_t left = until_ms - clock->mono_ms, moved = until_ms - w->told_ms;
    if (!w->told_ms && left <= PACER_TELL_MS) return;
    if (moved < 0) moved = -moved;
    if (w->told_ms && w->told_reason == reason &&
        (moved <= PACER_MOVED_MS || moved * 5 <= (left > 0 ? left : 0)))
        return;
    w->told_ms = until_ms;
    w->told_reason = reason;
    w->sink->on_wait(w->arg, clock->wall_ms + (left > 0 ? left : 0), reason);
}

static const char *pacer_reason(const struct pacer_group *g, const struct limiter_wait *wait)
{
    const struct pacer *p = g->pacer;
    if (wait->why != LIMITER_WHY_NONE) return limiter_why_name(wait->why);
    return limiter_why_name(p->in_flight >= p->o.calls_max ? LIMITER_WHY_CONCURRENCY
                                                           : LIMITER_WHY_BUDGET);
}

static void pacer_tell_flow(struct pacer_group *g, struct pacer_flow *f, double pace)
{
    int64_t now = pacer_now(g->pacer), n = 0;
    struct limiter_wait wait;
    double mine = pace * pacer_flow_share(f);
    pacer_group_wait(g, &wait);
    int64_t base = wait.until_ms > now && wait.until_ms < now + PACER_FAR_MS ? wait.until_ms : now;
    const char *reason = pacer_flow_is_blocked(f) ? "tenant_budget" : pacer_reason(g, &wait);
    for (struct list_link *k = list_first(pacer_flow_places(f)), *next; k; k = next, n++) {
        struct pacer_wait *w = LIST_ITEM(k, struct pacer_wait, place.link);
        int64_t until = base;
        next = list_next(pacer_flow_places(f), k);
        w->is_told_tenant = pacer_flow_is_blocked(f);
        if (w->is_told_tenant)
            until = pacer_midnight_ms(g->pacer);
        else if (mine > pacer_pace_min)
            until += (int64_t)((double)n / mine);
        pacer_tell(w, until, reason);
    }
}

static void pacer_tell_group(struct pacer_group *g)
{
    double pace = pacer_pace(g);
    for (struct pacer_flow *f = pacer_line_next_flow(g->line, NULL), *next; f; f = next) {
        next = pacer_line_next_flow(g->line, f);
        pacer_tell_flow(g, f, pace);
    }
}

static const char *pacer_reason_of_fault(enum task_fault f)
{
    if (f == TASK_FAULT_THROTTLE) return limiter_why_name(LIMITER_WHY_CLOSED);
    return limiter_why_name(f == TASK_FAULT_EXHAUSTED ? LIMITER_WHY_EXHAUSTED : LIMITER_WHY_OUTAGE);
}

static void pacer_on_sweep(void *arg)
{
    struct pacer *p = arg;
    for (size_t i = 0; i < p->group_count; i++)
        if (p->groups[i].provider && pacer_line_count(p->groups[i].line))
            pacer_tell_group(&p->groups[i]);
    for (struct list_link *k = list_first(&p->waits), *next; k; k = next) {
        struct pacer_wait *w = LIST_ITEM(k, struct pacer_wait, link);
        next = list_next(&p->waits, k);
        if (w->state == PACER_LINED && !w->guess.is_learnt) pacer_guess_again(w);
        if (w->state == PACER_RESTING)
            pacer_tell(w, w->timer.when_ms, pacer_reason_of_fault(w->fault));
    }
    pacer_tell_soon(p);
}

void pacer_tell_soon(struct pacer *p)
{
    if (!p->waits.count || timerq_pending(&p->tell_timer)) return;
    (void)timerq_set(p->o.timers, &p->tell_timer, pacer_now(p) + PACER_SWEEP_MS, pacer_on_sweep, p);
}
