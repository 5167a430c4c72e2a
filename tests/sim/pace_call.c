/* One call: it asks the pacer as consumer/call.c does, travels to the provider, and comes back with what that said.
 *
 * The provider goes on with a call whose worker has died, and counts it; only its answer goes nowhere. */
#include "tests/sim/pace_stage.h"

enum { WAY_MIN_MS = 1, WAY_MAX_MS = 30, SPEND_LATE_MS = 3000, DAY_MS = 86400000, DOLLARS = 1000000 };
enum { INPUT_MICROUSD = 1000, OUTPUT_MICROUSD = 4000 }; /* as the configuration says */

static int64_t way(struct pace_stage *s)
{
    return pace_between(s, WAY_MIN_MS, WAY_MAX_MS);
}

struct pace_call *pace_call_new(struct pace_stage *s, size_t tenant, enum job_class cls)
{
    const struct pace_plan *p = &s->plan;
    struct pace_call *c = calloc(1, sizeof *c);
    double off = -0.5 + 2.5 * rng_unit(world_rng(s->world));

    must(c);
    c->stage = s;
    c->refs = 1;
    c->tenant = tenant;
    c->cls = cls;
    c->asked_ms = pace_now(s);
    c->counted = pace_between(s, p->input_mean / 2 + 1, p->input_mean * 3 / 2 + 1);
    c->input = (int64_t)((double)c->counted / (1 + off)) + 1;
    c->output = pace_between(s, p->output_mean / 2 + 1, p->output_mean * 3 / 2 + 1);
    if (p->output_max && c->output > p->output_max) c->output = p->output_max;
    c->first_ms = pace_between(s, 50, 50 + p->took_mean_ms / 4);
    c->took_ms = c->first_ms + pace_between(s, p->took_mean_ms / 4, p->took_mean_ms * 5 / 4);
    snprintf(c->step, sizeof c->step, "s");
    s->asked_all++;
    s->asked++;
    return c;
}

void pace_call_unref(void *call)
{
    struct pace_call *c = call;

    if (--c->refs == 0) free(c);
}

static void finish(struct pace_call *c)
{
    struct pace_stage *s = c->stage;

    list_remove(&c->worker->calls, &c->link);
    c->worker = NULL;
    s->ended++;
    s->ended_all++;
    pace_call_unref(c);
}

/* What did not end is somebody else's now; what was out may have been done, and is done again. */
void pace_calls_orphan(struct pace_worker *k)
{
    struct pace_stage *s = k->stage;

    while (list_first(&k->calls)) {
        struct pace_call *c = LIST_ITEM(list_first(&k->calls), struct pace_call, link);

        if (!c->is_backlog && !s->is_closing) list_push(&s->lost, &pace_call_new(s, c->tenant, c->cls)->link);
        finish(c);
    }
}

/* --- money --------------------------------------------------------------------------------------------------------- */
static void new_day(struct pace_stage *s)
{
    int64_t day = world_wall_ms(s->world) / DAY_MS;

    if (day == s->day) return;
    s->day = day;
    s->ended_microusd = s->over_since_ms = 0;
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++)
        s->tenants[i].ended_microusd = s->tenants[i].ended_tokens = s->tenants[i].over_since_ms = 0;
}

static bool is_late(const struct pace_stage *s, int64_t since_ms)
{
    return since_ms > 0 && pace_now(s) - since_ms > SPEND_LATE_MS;
}

/* Nothing may begin once what ended has reached a cap, and the worker had time to hear of it. */
static void judge_money(struct pace_stage *s, const struct pace_call *c)
{
    new_day(s);
    if (world_wall_ms(s->world) % DAY_MS < 60000) return;
    if (is_late(s, s->over_since_ms)) pace_blame(s, "a call begins though what ended cost all of the day's money");
    if (is_late(s, s->tenants[c->tenant].over_since_ms)) pace_blame(s, "a call begins though its tenant's day is spent");
}

static void count_money(struct pace_call *c, int64_t output)
{
    struct pace_stage *s = c->stage;
    const struct pace_plan *p = &s->plan;
    struct pace_tenant *t = &s->tenants[c->tenant];
    bool is_over;

    new_day(s);
    c->microusd = c->input * INPUT_MICROUSD + output * OUTPUT_MICROUSD;
    s->ended_microusd += c->microusd;
    t->ended_microusd += c->microusd;
    t->ended_tokens += c->input + output;
    t->tokens += c->input + output;
    t->calls++;
    if (p->spend_per_day_usd && !s->over_since_ms && s->ended_microusd >= p->spend_per_day_usd * DOLLARS)
        s->over_since_ms = pace_now(s);
    is_over = (p->tenant_tokens_per_day && t->ended_tokens >= p->tenant_tokens_per_day) ||
              (p->tenant_spend_per_day_usd && t->ended_microusd >= p->tenant_spend_per_day_usd * DOLLARS);
    if (c->tenant == 0 && is_over && !t->over_since_ms) t->over_since_ms = pace_now(s);
}

/* --- back in the worker -------------------------------------------------------------------------------------------- */
static void outcome_of(const struct pace_call *c, struct pacer_outcome *ret)
{
    static const enum limiter_end ends[] = {[PACE_ENDS_WHOLE] = LIMITER_OK,           [PACE_ENDS_REFUSED] = LIMITER_REFUSED,
                                            [PACE_ENDS_AWAY] = LIMITER_FAILED,        [PACE_ENDS_EXHAUSTED] = LIMITER_EXHAUSTED,
                                            [PACE_ENDS_BROKEN] = LIMITER_BROKEN,      [PACE_ENDS_TOO_LONG] = LIMITER_BROKEN};
    const struct pace_plan *p = &c->stage->plan;
    bool is_silent = rng_below(world_rng(c->stage->world), 1000) < p->silent_permille;

    *ret = (struct pacer_outcome){
        .end = ends[c->ending], .input = -1, .output = -1, .retry_after_ms = c->retry_after_ms, .is_whole = c->ending == PACE_ENDS_WHOLE};
    if (c->ending != PACE_ENDS_WHOLE || is_silent) return;
    if (!p->hides_input) ret->input = c->input;
    ret->output = c->output;
}

/* True: it waits again. */
static bool again(struct pace_call *c)
{
    static const enum task_fault faults[] = {[PACE_ENDS_REFUSED] = TASK_FAULT_THROTTLE,
                                             [PACE_ENDS_AWAY] = TASK_FAULT_OUTAGE,
                                             [PACE_ENDS_EXHAUSTED] = TASK_FAULT_EXHAUSTED};

    if (c->ending == PACE_ENDS_TOO_LONG) {
        if (pacer_again_longer(&c->wait)) return true;
        pace_blame(c->stage, "a request that a longer model could hold fails");
        return false;
    }
    if (c->ending == PACE_ENDS_WHOLE || c->ending == PACE_ENDS_BROKEN) return false;
    if (!pacer_again(&c->wait, faults[c->ending])) pace_blame(c->stage, "a refusal or an outage burns an attempt");
    return c->wait.state != PACER_IDLE;
}

static void end_comes(void *arg)
{
    struct pace_call *c = arg;
    struct pace_stage *s = c->stage;
    struct pacer_outcome o;
    bool is_over;

    outcome_of(c, &o);
    pace_watch_in(s);
    if (c->ending == PACE_ENDS_REFUSED) pacer_told(&c->wait, &c->told, false);
    pacer_done(&c->wait, &o);
    is_over = !again(c);
    pace_watch_out(s);
    c->tries++;
    if (is_over) finish(c);
    pace_call_unref(c);
}

static void head_comes(void *arg)
{
    struct pace_call *c = arg;
    struct pace_stage *s = c->stage;

    pace_watch_in(s);
    pacer_told(&c->wait, &c->told, true);
    if (s->plan.tells_input_early && !s->plan.hides_input) pacer_input_known(&c->wait, c->input);
    pace_watch_out(s);
    pace_call_unref(c);
}

static void answer(struct pace_call *c, int64_t delay_ms, sim_fn *fn)
{
    if (!c->worker) return;
    c->refs++;
    proc_post(c->worker->proc, delay_ms, fn, pace_call_unref, c);
}

/* --- at the provider ----------------------------------------------------------------------------------------------- */
static void made(void *arg)
{
    struct pace_call *c = arg;
    struct pace_stage *s = c->stage;
    bool is_cut = rng_below(world_rng(s->world), 1000) < s->plan.broken_permille;

    exact_output(s->exacts[c->route], c->output);
    count_money(c, c->output);
    c->ending = is_cut ? PACE_ENDS_BROKEN : PACE_ENDS_WHOLE;
    s->broken += is_cut;
    answer(c, way(s), end_comes);
    pace_call_unref(c);
}

static void refuse(struct pace_call *c, const int64_t need[PACE_DIM_COUNT])
{
    struct pace_stage *s = c->stage;

    s->refused++;
    c->ending = PACE_ENDS_REFUSED;
    exact_tell(s->exacts[c->route], &c->told);
    c->retry_after_ms = exact_retry_after(s->exacts[c->route], need);
    world_trace(s->world, "refused: %lld tokens, route %zu", (long long)c->input, c->route);
    if (s->is_strict) pace_blame(s, "refused while the limits are known and unchanged");
    answer(c, pace_between(s, 20, 100), end_comes);
}

static void is_away(struct pace_call *c)
{
    struct pace_stage *s = c->stage;
    size_t r = c->route;
    int64_t gap = pace_now(s) - s->last_probe_ms[r];

    if (s->last_probe_ms[r] > s->out_since_ms[r] && gap < s->probe_gap_ms[r] && s->is_out[r]) s->probe_gap_ms[r] = gap;
    if (pace_now(s) - s->out_since_ms[r] > 5000) s->last_probe_ms[r] = pace_now(s);
    s->failed++;
    c->ending = PACE_ENDS_AWAY;
    answer(c, pace_between(s, 1, 300), end_comes);
}

static void take(struct pace_call *c)
{
    struct pace_stage *s = c->stage;
    int64_t slow = pace_now(s) < s->slow_until_ms ? 4 : 1;

    exact_tell(s->exacts[c->route], &c->told);
    c->refs++;
    world_after(s->world, c->took_ms * slow, made, pace_call_unref, c);
    answer(c, c->first_ms * slow + way(s) / 2, head_comes);
}

static bool is_too_long(const struct pace_call *c)
{
    int64_t size = c->stage->plan.context_tokens[c->route];

    return size > 0 && c->input + c->stage->plan.output_max > size;
}

static void arrive(void *arg)
{
    struct pace_call *c = arg;
    struct pace_stage *s = c->stage;
    int64_t up_front = s->plan.output_max > c->counted ? s->plan.output_max : c->counted;
    const int64_t need[PACE_DIM_COUNT] = {1, c->input, 0, up_front};

    c->retry_after_ms = -1;
    s->calls_all++;
    if (s->is_out[c->route]) {
        is_away(c);
    } else if (s->is_storm[c->route]) {
        bool was_strict = s->is_strict;

        s->is_strict = false;
        s->storm_refused++;
        refuse(c, need);
        s->is_strict = was_strict;
    } else if (s->is_spent[c->route]) {
        c->ending = PACE_ENDS_EXHAUSTED;
        answer(c, pace_between(s, 20, 100), end_comes);
    } else if (is_too_long(c)) {
        c->ending = PACE_ENDS_TOO_LONG;
        answer(c, pace_between(s, 20, 100), end_comes);
    } else if (exact_take(s->exacts[c->route], need)) {
        take(c);
    } else {
        refuse(c, need);
    }
    pace_call_unref(c);
}

/* --- the pacer's word ---------------------------------------------------------------------------------------------- */
static void note_wait(struct pace_stage *s, struct pace_tenant *t, int64_t wait_ms)
{
    if (t->wait_count == t->wait_room) {
        t->wait_room = t->wait_room ? 2 * t->wait_room : 256;
        t->waits = realloc(t->waits, t->wait_room * sizeof *t->waits);
        must(t->waits);
    }
    (void)s;
    t->waits[t->wait_count++] = wait_ms;
}

static void on_grant(void *arg, const struct pacer_grant *g)
{
    struct pace_call *c = arg;
    struct pace_stage *s = c->stage;

    pace_watch_out(s);
    c->route = strcmp(g->route->provider, "main") == 0 ? PACE_MAIN : PACE_SPARE;
    s->granted++;
    judge_money(s, c);
    if (!c->tries) note_wait(s, &s->tenants[c->tenant], pace_now(s) - c->asked_ms);
    c->refs++;
    world_after(s->world, way(s), arrive, pace_call_unref, c);
    pace_watch_in(s);
    s->watch.entries--;
}

static void on_wait(void *arg, int64_t until_wall_ms, const char *reason)
{
    struct pace_call *c = arg;

    c->is_told = true;
    if (until_wall_ms < proc_clock(c->worker->proc)->wall_ms) pace_blame(c->stage, "a wait (%s) that ends in the past", reason);
}

static void on_skip(void *arg, const struct config_route *route)
{
    (void)route;
    ((struct pace_call *)arg)->stage->skipped++;
}

void pace_call_ask(struct pace_worker *k, struct pace_call *c)
{
    static const struct pacer_sink sink = {.on_grant = on_grant, .on_wait = on_wait, .on_skip = on_skip};
    struct pace_stage *s = k->stage;
    const struct pacer_ask ask = {.model = VIEW_LIT("fast"),
                                  .tenant = view_of(s->tenant_names[c->tenant]),
                                  .workflow = VIEW_LIT("flow"),
                                  .step = view_of(c->step),
                                  .cls = c->cls,
                                  .age_ms = c->asked_ms,
                                  .counted = c->counted,
                                  .max_tokens = s->plan.output_max};
    struct err err;

    c->worker = k;
    c->wait.sink = &sink;
    c->wait.arg = c;
    list_push(&k->calls, &c->link);
    pace_watch_in(s);
    must(pacer_ask(k->pacer, &c->wait, &ask, &err) == ERR_OK);
    pace_watch_out(s);
}
