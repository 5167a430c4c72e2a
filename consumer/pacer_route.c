/* Which route a call takes: the first one in the operator's order that can hold the request, has
 * not failed this call just now, and whose budget is not closed for a reason the model fails over
 * for. When none is left it waits for the one that opens first.
 *
 * Hard: if everybody goes elsewhere while a budget is closed, nobody finds out that it is open
 * again; if everybody comes back, all wait for one probe. Chosen: when the time of a close is over
 * one waiter volunteers and stands in its line; the others follow when its group is open. */
#include "consumer/pacer_priv.h"

#include <assert.h>

static unsigned pacer_bit_of_close(enum pace_close c)
{
    switch (c) {
    case PACE_CLOSE_NONE:
        return 0;
    case PACE_CLOSE_THROTTLE:
        return FAILOVER_THROTTLE;
    case PACE_CLOSE_OUTAGE:
        return FAILOVER_OUTAGE | FAILOVER_OVERLOAD;
    case PACE_CLOSE_EXHAUSTED:
        return FAILOVER_EXHAUSTED;
    }
    return 0;
}

/* --- a group's state ------------------------------------------------------------------------- */
static enum pace_close pacer_key_close(const struct pacer_key *k, int64_t now_ms,
                                       int64_t *ret_until)
{
    struct limiter_state s;
    limiter_state(k->limiter, &s);
    *ret_until = s.state == PACE_CLOSED ? s.until_ms : now_ms;
    if (s.state != PACE_CLOSED && s.state != PACE_PROBING) return PACE_CLOSE_NONE;
    return s.close;
}

/* The one of its keys that opens first speaks for it. */
static enum pace_close pacer_group_close(const struct pacer_group *g, int64_t *ret_until)
{
    enum pace_close close = PACE_CLOSE_NONE;
    int64_t now = pacer_now(g->pacer);
    *ret_until = INT64_MAX;
    for (size_t i = 0; i < g->key_count; i++) {
        int64_t until;
        enum pace_close c = pacer_key_close(&g->keys[i], now, &until);
        if (c == PACE_CLOSE_NONE) {
            *ret_until = now;
            return PACE_CLOSE_NONE;
        }
        if (until >= *ret_until) continue;
        *ret_until = until;
        close = c;
    }
    return close;
}

void pacer_group_wait(const struct pacer_group *g, struct limiter_wait *ret)
{
    *ret = (struct limiter_wait){.until_ms = INT64_MAX, .why = LIMITER_WHY_NONE};
    for (size_t i = 0; i < g->key_count; i++) {
        struct limiter_wait w;
        limiter_wait(g->keys[i].limiter, pacer_now(g->pacer), &w);
        if (w.until_ms < ret->until_ms || i == 0) *ret = w;
    }
}

/* --- which route ----------------------------------------------------------------------------- */
static bool pacer_is_skipped(const struct pacer_wait *w, size_t i)
{
    return w->skipped & (1u << i);
}

static bool pacer_is_shut(const struct pacer_wait *w, const struct pacer_group *g)
{
    int64_t until;
    if (g->volunteer == w) return false;
    return pacer_bit_of_close(pacer_group_close(g, &until)) & w->model->config->failover;
}

static const struct pacer_route *pacer_soonest(const struct pacer_wait *w)
{
    const struct pacer_route *best = NULL;
    int64_t soonest = INT64_MAX;
    for (size_t i = 0; i < w->model->route_count; i++) {
        const struct pacer_route *r = &w->model->routes[i];
        int64_t until;
        if (pacer_is_skipped(w, i)) continue;
        (void)pacer_group_close(r->group, &until);
        if (best && until >= soonest) continue;
        best = r;
        soonest = until;
    }
    return best;
}

static const struct pacer_route *pacer_choose(const struct pacer_wait *w)
{
    const struct pacer_model *m = w->model;
    for (size_t i = 0; i < m->route_count; i++) {
        if (pacer_is_skipped(w, i) || (w->avoid & (1u << i))) continue;
        if (!pacer_is_shut(w, m->routes[i].group)) return &m->routes[i];
    }
    return pacer_soonest(w);
}

size_t pacer_group_of(const struct pacer *p, struct view model)
{
    struct pacer_wait any = {.model = pacer_find(p, model)};
    const struct pacer_route *r = any.model ? pacer_choose(&any) : NULL;
    return r ? (size_t)(r->group - p->groups) : PACER_NO_GROUP;
}

static void pacer_guess(struct pacer_wait *w, struct limiter_cost *c)
{
    const struct config_route *r = w->route->config;
    const struct estimate_key key = {
        .workflow = w->workflow, .step = w->step, .model = view_of(r->model)};
    w->guessed_ms = pacer_now(w->pacer);
    estimate_expect(w->pacer->estimate, &key, w->counted, w->max_tokens, &w->guess);
    *c = (struct limiter_cost){.input = w->guess.input,
                               .input_var = w->guess.input_var,
                               .output = w->guess.output,
                               .output_var = w->guess.output_var,
                               .expect_ms = w->guess.expect_ms,
                               .least_ms = w->guess.least_ms};
    /* the providers that count both together take the larger of the two, before the call */
    c->tokens = w->max_tokens > c->input ? w->max_tokens : c->input;
    c->microusd = (int64_t)((double)c->input * r->price.input_per_million +
                            (double)c->output * r->price.output_per_million + 0.5);
}

static void pacer_expect(struct pacer_wait *w)
{
    pacer_guess(w, &w->place.cost);
}

void pacer_guess_again(struct pacer_wait *w)
{
    struct limiter_cost c;
    assert(w->state == PACER_LINED);
    pacer_guess(w, &c);
    pacer_line_recost(&w->place, &c);
}

/* The largest is always tried: our count may be wrong, and only the provider knows. */
static void pacer_skip_short(struct pacer_wait *w)
{
    const struct pacer_model *m = w->model;
    int64_t need = w->guess.input + (w->max_tokens > 0 ? w->max_tokens : w->guess.output);
    size_t largest = 0;
    for (size_t i = 0; i < m->route_count; i++) {
        int64_t size = m->routes[i].config->context_tokens;
        int64_t best = m->routes[largest].config->context_tokens;
        if (best > 0 && (size == 0 || size > best)) largest = i;
    }
    for (size_t i = 0; i < m->route_count; i++) {
        int64_t size = m->routes[i].config->context_tokens;
        if (size > 0 && size < need && i != largest) w->skipped |= 1u << i;
    }
}

/* The time of a close is over and nobody has tried yet: this one does. When calls come seldom it is
 * the only way to find out; otherwise see pacer_call_volunteer. */
static void pacer_volunteer(struct pacer_wait *w)
{
    const struct pacer_model *m = w->model;
    int64_t until, now = pacer_now(w->pacer);
    for (size_t i = 0; i < m->route_count; i++) {
        struct pacer_group *g = m->routes[i].group;
        if (pacer_is_skipped(w, i) || (w->avoid & (1u << i))) continue;
        if (!pacer_is_shut(w, g)) return;
        (void)pacer_group_close(g, &until);
        if (until > now || g->volunteer || now < g->volunteer_ms || pacer_line_count(g->line))
            continue;
        g->volunteer = w;
        g->volunteer_ms = now + PACER_VOLUNTEER_MS;
        return;
    }
}

void pacer_aim(struct pacer_wait *w)
{
    if (!w->route) { /* of a first guess, whichever route it is */
        w->route = &w->model->routes[0];
        pacer_expect(w);
        pacer_skip_short(w);
    }
    pacer_volunteer(w);
    w->route = pacer_choose(w);
    if (!w->route) { /* all were found too short: the provider shall say so */
        w->skipped = 0;
        w->route = &w->model->routes[0];
    }
    pacer_expect(w);
}

/* --- in line --------------------------------------------------------------------------------- */
bool pacer_line_up(struct pacer_wait *w)
{
    struct pacer_group *g = w->route->group;
    const struct pacer_line_ask ask = {
        .cls = w->cls, .tenant = w->tenant, .weight = w->weight, .now_ms = pacer_now(w->pacer)};
    if (!pacer_line_put(g->line, &w->place, &ask)) return false;
    w->state = PACER_LINED;
    pacer_dirty(g);
    return true;
}

void pacer_leave_line(struct pacer_wait *w)
{
    struct pacer_group *g = w->route->group;
    assert(w->state == PACER_LINED);
    pacer_line_remove(g->line, &w->place);
    if (g->volunteer == w) g->volunteer = NULL;
    w->state = PACER_IDLE;
    pacer_dirty(g);
}

static void pacer_count_failover(const struct pacer_wait *w, const struct pacer_route *from)
{
    enum pace_close why = from->group->close;
    if (w->route > from && why != PACE_CLOSE_NONE)
        metric_add(from->group->meters.failovers[why], 1);
}

static void pacer_re_aim(struct pacer_wait *w)
{
    const struct pacer_route *from = w->route;
    if (w->state != PACER_LINED || pacer_choose(w) == from) return;
    pacer_leave_line(w);
    pacer_aim(w);
    pacer_count_failover(w, from);
    if (pacer_line_up(w)) return;
    w->route = from; /* no memory over there: where it was there was room just now */
    if (!pacer_line_up(w)) pacer_rest(w, PACER_AWAY_MS);
}

static bool pacer_leads_to(const struct pacer_wait *w, const struct pacer_group *g)
{
    for (size_t i = 0; i < w->model->route_count; i++)
        if (w->model->routes[i].group == g) return !pacer_is_skipped(w, i);
    return false;
}

static void pacer_re_aim_all(struct pacer_group *g)
{
    for (struct list_link *k = list_first(&g->pacer->waits), *next; k; k = next) {
        struct pacer_wait *w = LIST_ITEM(k, struct pacer_wait, link);
        next = list_next(&g->pacer->waits, k);
        if (w->model->route_count > 1 && pacer_leads_to(w, g)) pacer_re_aim(w);
    }
}

void pacer_group_check(struct pacer_group *g)
{
    int64_t until;
    enum pace_close close = pacer_group_close(g, &until);
    if (close == g->close) return;
    if (close != PACE_CLOSE_NONE) metric_add(g->meters.closed[close], 1);
    log_event(g->pacer->o.log, close ? LOG_WARN : LOG_INFO, VIEW_NONE,
              close ? "budget_closed" : "budget_open", LOG_S("provider", g->route->provider),
              LOG_S("model", g->route->model), LOG_N("close", close),
              LOG_N("for_ms", close && until < INT64_MAX ? until - pacer_now(g->pacer) : 0));
    g->close = close;
    if (close == PACE_CLOSE_NONE) g->volunteer = NULL;
    pacer_re_aim_all(g);
}

/* The probe is another worker's: its volunteer goes back to where it can be served. */
static void pacer_dismiss_volunteer(struct pacer_group *g)
{
    struct pacer_wait *w = g->volunteer;
    if (!w || w->state != PACER_LINED || pacer_now(g->pacer) < g->volunteer_ms) return;
    g->volunteer = NULL;
    g->volunteer_ms = pacer_now(g->pacer) + PACER_VOLUNTEER_MS;
    pacer_re_aim(w);
}

/* The close's time is over: somebody who fled from it tries. */
void pacer_call_volunteer(struct pacer_group *g)
{
    int64_t until, now = pacer_now(g->pacer);
    if (g->close == PACE_CLOSE_NONE) return;
    pacer_dismiss_volunteer(g);
    if (g->volunteer || pacer_line_count(g->line) || now < g->volunteer_ms) return;
    if (pacer_group_close(g, &until) == PACE_CLOSE_NONE || until > now) return;
    for (struct list_link *k = list_first(&g->pacer->waits); k;
         k = list_next(&g->pacer->waits, k)) {
        struct pacer_wait *w = LIST_ITEM(k, struct pacer_wait, link);
        if (w->state != PACER_LINED || w->route->group == g || !pacer_leads_to(w, g)) continue;
        g->volunteer = w;
        g->volunteer_ms = now + PACER_VOLUNTEER_MS;
        pacer_re_aim(w);
        if (w->route->group == g) return;
        g->volunteer = NULL; /* an earlier route of its is open */
    }
}
