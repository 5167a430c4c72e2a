/* In and out: a call asks, is granted elsewhere (pacer_pump.c), says what became of it, and perhaps
 * asks again.
 *
 * Hard: a provider's refusal or outage is nobody's failure, so a call may come back any number of
 * times, and must neither hammer a provider that is away nor sleep through its return. Chosen: what
 * is fleet-wide (closed budgets, probes, ramps) is the limiter's; here each call only remembers
 * which routes have just failed it, takes the next one, and rests for a while, longer each time,
 * when all have. Those that have not gone out yet do not rest: they stand in line and go as soon as
 * the budget is open. */
#include "consumer/pacer_priv.h"

#include "consumer/backoff.h"
#include <assert.h>

enum { PACER_REST_MS = 250, PACER_REST_MAX_MS = 8000 };

int64_t pacer_now(const struct pacer *p)
{
    return p->o.clock->mono_ms;
}

void pacer_dirty(struct pacer_group *g)
{
    if (list_linked(&g->dirty)) return;
    list_push(&g->pacer->dirty, &g->dirty);
    if (!g->pacer->is_pumping) g->pacer->o.kick(g->pacer->o.arg);
}

void pacer_dirty_all(struct pacer *p)
{
    for (size_t i = 0; i < p->group_count; i++)
        if (p->groups[i].provider && pacer_line_count(p->groups[i].line))
            pacer_dirty(&p->groups[i]);
}

struct pacer *pacer_new(const struct pacer_options *o)
{
    struct pacer *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->o = *o;
    list_init(&p->waits);
    list_init(&p->dirty);
    if (pacer_make(p)) return p;
    pacer_free(p);
    return NULL;
}

void pacer_free(struct pacer *p)
{
    if (!p) return;
    for (struct list_link *k = list_first(&p->waits); k; k = list_next(&p->waits, k))
        timerq_cancel(p->o.timers, &LIST_ITEM(k, struct pacer_wait, link)->timer);
    timerq_cancel(p->o.timers, &p->tell_timer);
    timerq_cancel(p->o.timers, &p->midnight_timer);
    pacer_unmake(p);
    free(p);
}

/* --- asking ---------------------------------------------------------------------------------- */
const struct pacer_model *pacer_find(const struct pacer *p, struct view name)
{
    for (size_t i = 0; i < p->model_count; i++)
        if (view_eq_str(name, p->models[i].config->name)) return &p->models[i];
    return NULL;
}

static enum err_code pacer_check(const struct pacer *p, const struct pacer_model *m,
                                 struct view name, struct err *err)
{
    if (!m || m->route_count == 0)
        return err_set(err, ERR_NOT_FOUND, "model %.*s is not configured on this worker",
                       (int)name.len, name.ptr);
    for (size_t i = 0; i < m->route_count; i++)
        if (!m->routes[i].group->provider)
            return err_set(err, ERR_NOT_FOUND, "provider %s is not configured",
                           m->routes[i].config->provider);
    if (p->waits.count >= PACER_WAITERS_MAX)
        return err_set(err, ERR_FULL, "%d calls wait already", PACER_WAITERS_MAX);
    return ERR_OK;
}

static void pacer_wake(void *arg)
{
    struct pacer_wait *w = arg;
    pacer_aim(w);
    if (!pacer_line_up(w)) pacer_rest(w, PACER_AWAY_MS);
    w->pacer->o.kick(w->pacer->o.arg);
}

/* Whoever does not stand in line tries nothing. */
static void pacer_unvolunteer(struct pacer_wait *w)
{
    for (size_t i = 0; i < w->model->route_count; i++)
        if (w->model->routes[i].group->volunteer == w) w->model->routes[i].group->volunteer = NULL;
}

void pacer_rest(struct pacer_wait *w, int64_t ms)
{
    struct pacer *p = w->pacer;
    pacer_unvolunteer(w);
    w->state = PACER_RESTING;
    (void)timerq_set(p->o.timers, &w->timer, pacer_now(p) + ms, pacer_wake, w);
}

static void pacer_enter(struct pacer_wait *w)
{
    list_push(&w->pacer->waits, &w->link);
    w->told_ms = 0;
    w->told_reason = NULL;
    pacer_tell_soon(w->pacer);
}

enum err_code pacer_ask(struct pacer *p, struct pacer_wait *w, const struct pacer_ask *a,
                        struct err *err)
{
    const struct pacer_model *m = pacer_find(p, a->model);
    const struct config_tenant *t = config_tenant_find(p->o.config, a->tenant);
    enum err_code code = pacer_check(p, m, a->model, err);
    assert(w->state == PACER_IDLE && w->sink);
    if (code != ERR_OK) return code;
    w->pacer = p;
    w->model = m;
    w->route = NULL;
    w->tenant = a->tenant;
    w->workflow = a->workflow;
    w->step = a->step;
    w->cls = a->cls;
    w->cap = t && (t->tokens_per_day || t->spend_per_day_microusd) ? t : NULL;
    w->weight = t ? t->weight : 1;
    w->counted = a->counted;
    w->max_tokens = a->max_tokens;
    w->asked_ms = pacer_now(p);
    w->avoid = w->skipped = w->tries = 0;
    w->is_told_skip = false;
    w->place.priority = a->priority;
    w->place.age_ms = a->age_ms;
    pacer_aim(w);
    if (!pacer_line_up(w)) {
        pacer_unvolunteer(w);
        return err_set(err, ERR_NOMEM, "no memory for a call");
    }
    pacer_enter(w);
    return ERR_OK;
}

void pacer_cancel(struct pacer_wait *w)
{
    assert(w->state != PACER_GRANTED);
    if (w->state == PACER_IDLE) return;
    list_remove(&w->pacer->waits, &w->link);
    if (w->state == PACER_RESTING) timerq_cancel(w->pacer->o.timers, &w->timer);
    if (w->state == PACER_LINED) pacer_leave_line(w);
    pacer_unvolunteer(w);
    w->state = PACER_IDLE;
}

/* --- a granted call -------------------------------------------------------------------------- */
void pacer_told(struct pacer_wait *w, const struct llm_limits *limits, bool is_good)
{
    const struct llm_limit *const from[PACE_DIM_COUNT] = {[PACE_REQUESTS] = &limits->requests,
                                                          [PACE_INPUT] = &limits->input,
                                                          [PACE_OUTPUT] = &limits->output,
                                                          [PACE_TOKENS] = &limits->tokens};
    struct limiter *l = w->key->limiter;
    struct pace_told told[PACE_DIM_COUNT];
    assert(w->state == PACER_GRANTED);
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        told[d] = (struct pace_told){from[d]->limit, from[d]->remaining, from[d]->reset_ms};
        if (from[d]->remaining >= 0) w->key->group->told_remaining[d] = from[d]->remaining;
    }
    if (limits->is_any) limiter_told(l, told, pacer_now(w->pacer));
    if (is_good) limiter_begun(l, &w->ticket, pacer_now(w->pacer));
    pacer_dirty(w->key->group);
}

void pacer_input_known(struct pacer_wait *w, int64_t input)
{
    assert(w->state == PACER_GRANTED);
    limiter_input_known(w->key->limiter, &w->ticket, input, pacer_now(w->pacer));
}

int64_t pacer_cost(const struct pacer_wait *w, const struct pacer_outcome *o)
{
    const struct config_price *price = &w->route->config->price;
    double in = o->input > 0 ? (double)o->input : 0, out = o->output > 0 ? (double)o->output : 0;
    double cached = o->cached > 0 && o->cached <= o->input ? (double)o->cached : 0;
    if (!price->is_complete) return -1;
    return (int64_t)((in - cached) * price->input_per_million +
                     cached * price->cached_input_per_million + out * price->output_per_million +
                     0.5);
}

static void pacer_learn(struct pacer_wait *w, const struct pacer_outcome *o)
{
    const struct pacer_group_meters *m = &w->key->group->meters;
    const struct estimate_key key = {
        .workflow = w->workflow, .step = w->step, .model = view_of(w->route->config->model)};
    const struct estimate_actual a = {.counted = w->counted,
                                      .input = o->input,
                                      .output = o->output,
                                      .took_ms = pacer_now(w->pacer) - w->granted_ms};
    if (o->input >= 0 && w->guess.input > 0)
        metric_observe(m->ratio_input, (double)o->input / (double)w->guess.input);
    if (o->output >= 0 && w->guess.output > 0)
        metric_observe(m->ratio_output, (double)o->output / (double)w->guess.output);
    estimate_learn(w->pacer->estimate, &key, &a);
}

/* A reply that was cut after its input was told: what was made is billed, and only the estimate
 * says how much. */
static bool pacer_is_output_open(const struct pacer_outcome *o)
{
    return o->output < 0 && (o->end == LIMITER_BROKEN || o->end == LIMITER_OK);
}

static void pacer_count_use(const struct pacer_wait *w, const struct pacer_outcome *o)
{
    struct pacer_outcome whole = *o;
    if (pacer_is_output_open(o)) whole.output = w->place.cost.output;
    int64_t cost = pacer_cost(w, &whole);
    const struct fn_usage_counts c = {.calls = 1,
                                      .input = o->input > 0 ? o->input : 0,
                                      .cached_input = o->cached > 0 ? o->cached : 0,
                                      .output = whole.output > 0 ? whole.output : 0,
                                      .microusd = cost > 0 ? cost : 0,
                                      .unpriced = cost < 0};
    if (w->pacer->o.usage)
        usage_count(w->pacer->o.usage, w->tenant, w->workflow, view_of(w->model->config->name), &c);
}

/* What the flow was charged at the grant is put right. */
static void pacer_correct(struct pacer_wait *w, const struct pacer_outcome *o)
{
    const struct limiter_cost *c = &w->place.cost;
    bool is_back = o->end == LIMITER_UNSENT || o->end == LIMITER_REFUSED ||
                   o->end == LIMITER_FAILED || o->end == LIMITER_EXHAUSTED;
    int64_t input = o->input >= 0 ? o->input : is_back ? 0 : c->input;
    int64_t output = o->output >= 0 ? o->output : is_back ? 0 : c->output;
    pacer_flow_correct(w->flow, input + output - c->input - c->output);
    pacer_flow_unref(w->flow);
    w->flow = NULL;
}

void pacer_done(struct pacer_wait *w, const struct pacer_outcome *o)
{
    struct pacer *p = w->pacer;
    struct pacer_group *g = w->key->group;
    bool is_priced =
        w->route->config->price.is_complete && o->input >= 0 && !pacer_is_output_open(o);
    const struct limiter_outcome out = {.end = o->end,
                                        .input = o->input,
                                        .output = o->output,
                                        .microusd = is_priced ? pacer_cost(w, o) : -1,
                                        .retry_after_ms =
                                            o->retry_after_ms > 0 ? o->retry_after_ms : 0};
    assert(w->state == PACER_GRANTED && p->in_flight > 0);
    if (o->is_whole) pacer_learn(w, o);
    if (o->input >= 0 || o->output >= 0) pacer_count_use(w, o);
    if (o->end == LIMITER_REFUSED) metric_add(g->meters.throttled, 1);
    pacer_correct(w, o);
    limiter_done(w->key->limiter, &w->ticket, &out, pacer_now(p));
    w->state = PACER_IDLE;
    w->key->in_flight--;
    pacer_unvolunteer(w);
    if (p->in_flight-- >= p->o.calls_max) pacer_dirty_all(p);
    pacer_group_check(g);
    pacer_dirty(g);
}

/* --- once more ------------------------------------------------------------------------------- */
static unsigned pacer_bit_of_fault(enum task_fault f)
{
    switch (f) {
    case TASK_FAULT_THROTTLE:
        return FAILOVER_THROTTLE;
    case TASK_FAULT_OUTAGE:
        return FAILOVER_OUTAGE;
    case TASK_FAULT_OVERLOAD:
        return FAILOVER_OVERLOAD;
    case TASK_FAULT_EXHAUSTED:
        return FAILOVER_EXHAUSTED;
    case TASK_FAULT_FATAL:
    case TASK_FAULT_BROKEN:
        break;
    }
    return 0;
}

static enum pace_close pacer_close_of_fault(enum task_fault f)
{
    if (f == TASK_FAULT_THROTTLE) return PACE_CLOSE_THROTTLE;
    return f == TASK_FAULT_EXHAUSTED ? PACE_CLOSE_EXHAUSTED : PACE_CLOSE_OUTAGE;
}

static bool pacer_enter_line(struct pacer_wait *w)
{
    if (!pacer_line_up(w)) {
        pacer_unvolunteer(w);
        return false;
    }
    pacer_enter(w);
    return true;
}

/* A refusal for speed closes the budget: the line waits for it, nobody rests. An outage closes it
 * only when the fleet has seen enough of it, so the call itself holds back meanwhile. */
bool pacer_again(struct pacer_wait *w, enum task_fault fault)
{
    const struct pacer_route *from = w->route;
    size_t index = (size_t)(from - w->model->routes);
    unsigned all = (1u << w->model->route_count) - 1;
    assert(w->state == PACER_IDLE && from);
    w->fault = fault;
    w->tries++;
    w->asked_ms = pacer_now(w->pacer);
    if (w->model->config->failover & pacer_bit_of_fault(fault)) w->avoid |= 1u << index;
    bool have_all = ((w->avoid | w->skipped) & all) == all;
    if (have_all) w->avoid = 0;
    pacer_aim(w);
    if (w->route > from) metric_add(from->group->meters.failovers[pacer_close_of_fault(fault)], 1);
    if (w->route != from && !have_all) return pacer_enter_line(w);
    if (w->route->group->close != PACE_CLOSE_NONE) return pacer_enter_line(w);
    pacer_rest(w,
               backoff_delay_ms(PACER_REST_MS, PACER_REST_MAX_MS, true, w->tries, w->pacer->o.rng));
    pacer_enter(w);
    return true;
}

bool pacer_again_elsewhere(struct pacer_wait *w, enum task_fault fault)
{
    const struct pacer_route *from = w->route;
    unsigned all = (1u << w->model->route_count) - 1;
    assert(w->state == PACER_IDLE && from);
    if (!(w->model->config->failover & pacer_bit_of_fault(fault))) return false;
    w->avoid |= 1u << (from - w->model->routes);
    if (((w->avoid | w->skipped) & all) == all) return false;
    w->fault = fault;
    w->asked_ms = pacer_now(w->pacer);
    pacer_aim(w);
    if (w->route == from) return false;
    metric_add(from->group->meters.failovers[pacer_close_of_fault(fault)], 1);
    return pacer_enter_line(w);
}

bool pacer_again_longer(struct pacer_wait *w)
{
    size_t index = (size_t)(w->route - w->model->routes);
    int64_t had = w->route->config->context_tokens;
    assert(w->state == PACER_IDLE);
    w->skipped |= 1u << index;
    for (size_t i = 0; i < w->model->route_count; i++) {
        int64_t has = w->model->routes[i].config->context_tokens;
        if ((w->skipped & (1u << i)) || (had > 0 && has > 0 && has <= had)) continue;
        pacer_aim(w);
        return pacer_enter_line(w);
    }
    return false;
}

/* --- to see ---------------------------------------------------------------------------------- */
size_t pacer_in_flight(const struct pacer *p)
{
    return p->in_flight;
}

size_t pacer_waiting(const struct pacer *p)
{
    return p->waits.count;
}

void pacer_refresh_metrics(struct pacer *p)
{
    for (size_t i = 0; i < p->group_count; i++) {
        struct pacer_group *g = &p->groups[i];
        int64_t limits[PACE_DIM_COUNT] = {0};
        for (size_t k = 0; k < g->key_count; k++) {
            struct limiter_state s;
            limiter_state(g->keys[k].limiter, &s);
            for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) limits[d] += s.limit[d];
        }
        for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
            metric_set(g->meters.limit[d], (double)limits[d]);
            if (g->told_remaining[d] >= 0)
                metric_set(g->meters.remaining[d], (double)g->told_remaining[d]);
        }
    }
}
