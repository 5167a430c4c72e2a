/* Bad days: bursts, outages, storms, a Redis that is away or forgets, money, and everything at once. */
#include "tests/sim/pace_play.h"

enum { QUIET = 20 };

/* --- a burst of one tenant ----------------------------------------------------------------------------------------- */
static void fair_plan(struct pace_plan *p, struct rng *rng)
{
    p->tenants = QUIET + 1;
    p->workers = (size_t)play_draw(rng, 4, 1, 6);
    p->backlog = 0;
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = play_log(rng, 1200, 500, 900);
    p->exact[PACE_MAIN].algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
}

static void fair_run(struct pace_stage *s)
{
    int64_t ms = play_is_named(s) ? 300000 : 45000;
    double alone;

    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    for (size_t i = 1; i <= QUIET; i++) pace_load_source(s, i, 6, CLASS_BULK, 2 * ms + 30000);
    pace_run(s, 10000);
    pace_mark(s);
    pace_run(s, ms);
    alone = (double)pace_p99(s, 1, QUIET);
    s->plan.backlog = 200; /* the burst: always so many of tenant 0 in every worker */
    pace_run(s, 20000);
    pace_mark(s);
    pace_run(s, ms);
    pace_figure(s, "p99 alone, ms", alone);
    play_at_most(s, "p99 beside a burst, ms", (double)pace_p99(s, 1, QUIET), play_is_named(s) ? 300 : 1000);
    s->plan.backlog_tenants = QUIET + 1; /* now everybody has one */
    pace_run(s, 60000);
    pace_mark(s);
    pace_run(s, ms);
    play_at_least(s, "Jain, all with a backlog", pace_jain(s, 0, QUIET + 1), play_is_named(s) ? 0.98 : 0.97);
}

/* --- outages and storms -------------------------------------------------------------------------------------------- */
static void outage_plan(struct pace_plan *p, struct rng *rng)
{
    p->routes = 2;
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->took_mean_ms = play_log(rng, 1000, 300, 2000);
    for (size_t i = 0; i < 2; i++) {
        p->exact[i].limits[PACE_REQUESTS] = play_log(rng, 1200, 500, 900);
        p->exact[i].algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
    }
}

static void out(struct pace_stage *s, size_t route, bool is_out)
{
    s->is_out[route] = is_out;
    s->out_since_ms[route] = pace_now(s);
    s->last_probe_ms[route] = 0;
}

static void outage_run(struct pace_stage *s)
{
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 60000);
    pace_mark(s);
    for (size_t i = 0; i < 2; i++) out(s, i, true);
    pace_run(s, 30000);
    for (size_t i = 0; i < 2; i++) out(s, i, false);
    for (size_t i = 0; i < 2; i++) play_at_least(s, "ms between probes", (double)s->probe_gap_ms[i], 4900);
    s->slow_until_ms = pace_now(s) + 10000;
    pace_mark(s);
    pace_run(s, 20000);
    play_at_most(s, "rejected after the return, %", 100 * (double)(s->refused + s->failed) / (double)(s->granted + 1), 1);
    pace_mark(s);
    pace_run(s, 30000);
    play_at_least(s, "use after 20 s", exact_use(s->exacts[PACE_MAIN]), 0.95);
}

static void storm_run(struct pace_stage *s)
{
    s->plan.routes = 1;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    s->is_storm[PACE_MAIN] = true;
    pace_run(s, pace_between(s, 500, 5000));
    s->is_storm[PACE_MAIN] = false;
    pace_run(s, 25000);
    play_at_most(s, "refused in the storm, by a second's calls", s->storm_refused / (play_calls_a_minute(s) / 60), 2);
    pace_mark(s);
    pace_run(s, 30000);
    play_at_least(s, "use after 25 s", exact_use(s->exacts[PACE_MAIN]), 0.95);
    play_at_most(s, "refused afterwards", (double)s->refused, 0);
}

static void storm_plan(struct pace_plan *p, struct rng *rng)
{
    outage_plan(p, rng);
    p->routes = 1;
}

/* --- Redis --------------------------------------------------------------------------------------------------------- */
static void redis_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->exact[PACE_MAIN].headers = (enum exact_headers)play_draw(rng, EXACT_SILENT, EXACT_SILENT, EXACT_TRUE);
    play_limits(p, rng, play_log(rng, 1200, 300, 800));
}

static void redis_trouble(struct pace_stage *s)
{
    int64_t kind = pace_between(s, 0, 4), ms = pace_between(s, 1000, 20000);
    size_t i = (size_t)pace_between(s, 0, (int64_t)s->plan.workers - 1);

    world_trace(s->world, "trouble %lld for %lld ms", (long long)kind, (long long)ms);
    if (kind == 0) model_redis_down(s->redis);
    if (kind == 1) model_redis_flush(s->redis);
    if (kind == 2) model_redis_step_clock(s->redis, pace_between(s, 0, 1) ? 3600000 : -pace_between(s, 1000, 400000));
    if (kind == 3) model_redis_pause(s->redis);
    if (kind == 4) s->workers[i].redis_ms = pace_between(s, 20, 300);
    pace_run(s, ms);
    if (kind == 0) model_redis_up(s->redis, false);
    if (kind == 3) model_redis_resume(s->redis);
    s->workers[i].redis_ms = 0;
}

static void redis_run(struct pace_stage *s)
{
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 30000);
    pace_mark(s);
    for (int i = 0; i < (play_is_named(s) ? 20 : 3); i++) {
        redis_trouble(s);
        pace_run(s, pace_between(s, 10000, 50000));
    }
    play_at_most(s, "peak of a sliding minute", (double)exact_peak(s->exacts[PACE_MAIN]) / 1000, 1.005);
    play_at_most(s, "429s of a hundred calls", 100 * (double)s->refused / (double)(s->granted + 1), 1);
    pace_figure(s, "use", exact_use(s->exacts[PACE_MAIN]));
}

/* One worker alone does not reach Redis: it goes on by its local share, of which the others know nothing. */
static void cut_run(struct pace_stage *s)
{
    double share = 0.8 / (double)s->plan.workers;

    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    pace_mark(s);
    for (int i = 0; i < (play_is_named(s) ? 5 : 1); i++) {
        model_conn_cut(s->workers[0].conn);
        pace_run(s, pace_between(s, 1000, 20000));
        model_conn_mend(s->workers[0].conn);
        pace_run(s, 70000);
    }
    play_at_most(s, "peak of a sliding minute", (double)exact_peak(s->exacts[PACE_MAIN]) / 1000, 1 + share / 3 + 0.02);
    play_at_most(s, "429s of a hundred calls", 100 * (double)s->refused / (double)(s->granted + 1), 1);
}

/* --- usage that is missing ----------------------------------------------------------------------------------------- */
static void usage_plan(struct pace_plan *p, struct rng *rng)
{
    redis_plan(p, rng);
    p->exact[PACE_MAIN].headers = EXACT_SILENT;
    p->silent_permille = (unsigned)play_draw(rng, 100, 0, 300);
    p->broken_permille = (unsigned)play_draw(rng, 50, 0, 100);
    p->hides_input = play_draw(rng, 0, 0, 3) == 1;
    p->tells_input_early = play_draw(rng, 0, 0, 1);
}

static void usage_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    pace_mark(s);
    pace_run(s, 60000);
    play_judge_limits(s);
    pace_figure(s, "use", exact_use(s->exacts[PACE_MAIN]));
}

/* --- few calls, and quanta ----------------------------------------------------------------------------------------- */
static void slow_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->backlog = 2;
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = play_draw(rng, 1, 1, 6);
    p->exact[PACE_MAIN].algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
}

static void slow_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 120000);
    pace_mark(s);
    pace_run(s, play_is_named(s) ? 3 * 3600000 : 2400000);
    play_judge_limits(s);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), 0.9);
}

static void quantum_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 6);
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = play_log(rng, 60, 60, 600);
    p->exact[PACE_MAIN].algorithm = EXACT_QUANTUM;
    p->exact[PACE_MAIN].quantum_ms = play_draw(rng, 1000, 0, 1) ? 1000 : 10000;
}

static void quantum_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    pace_mark(s);
    pace_run(s, play_is_named(s) ? 600000 : 120000);
    play_judge_limits(s);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), 0.85);
}

/* --- money --------------------------------------------------------------------------------------------------------- */
static void money_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->spend_per_day_usd = play_draw(rng, 200, 20, 400);
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = play_log(rng, 600, 120, 1200);
}

static void money_run(struct pace_stage *s)
{
    int64_t left = 86400000 - world_wall_ms(s->world) % 86400000;

    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 300000);
    if (play_is_named(s)) pace_worker_kill(s, 0);
    play_at_least(s, "spent, of the day's", (double)s->ended_microusd / 1e6 / (double)s->plan.spend_per_day_usd, 0.3);
    play_at_most(s, "spent, above it", (double)s->ended_microusd / 1e6 - (double)s->plan.spend_per_day_usd, 40);
    if (!play_is_named(s)) return;
    pace_run(s, left - 300000 + 60000); /* on to the next day */
    pace_mark(s);
    pace_run(s, 120000);
    play_at_least(s, "spent the next day, of the day's", (double)s->ended_microusd / 1e6 / (double)s->plan.spend_per_day_usd, 0.5);
}

static void tenant_plan(struct pace_plan *p, struct rng *rng)
{
    money_plan(p, rng);
    p->spend_per_day_usd = 0;
    p->tenants = p->backlog_tenants = 3;
    if (play_draw(rng, 1, 0, 1))
        p->tenant_tokens_per_day = play_log(rng, 50000, 10000, 100000);
    else
        p->tenant_spend_per_day_usd = play_draw(rng, 50, 10, 100);
}

static void tenant_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 240000);
    pace_figure(s, "tokens of the capped tenant", (double)s->tenants[0].ended_tokens);
    s->plan.backlog = 0;
    pace_mark(s);
    for (size_t i = 1; i < 3; i++) pace_load_source(s, i, 20, CLASS_BULK, 60000);
    pace_run(s, 60000);
    play_at_least(s, "calls of others afterwards", (double)(s->tenants[1].calls + s->tenants[2].calls), 10);
}

/* --- a route whose second model is too short ----------------------------------------------------------------------- */
static void short_plan(struct pace_plan *p, struct rng *rng)
{
    outage_plan(p, rng);
    p->context_tokens[PACE_MAIN] = 100000;
    p->context_tokens[PACE_SPARE] = 700;
    p->output_max = 300;
}

static void short_run(struct pace_stage *s)
{
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 30000);
    out(s, PACE_MAIN, true);
    pace_mark(s);
    pace_run(s, 30000);
    out(s, PACE_MAIN, false);
    play_at_least(s, "calls that left a route out", (double)s->skipped, 1);
    play_at_least(s, "use of the spare", exact_use(s->exacts[PACE_SPARE]), 0.01);
}

/* --- everything at once -------------------------------------------------------------------------------------------- */
static void weather_plan(struct pace_plan *p, struct rng *rng)
{
    outage_plan(p, rng);
    p->workers = (size_t)play_draw(rng, 4, 2, 8);
    p->backlog = 0;
    p->tenants = 4;
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = play_log(rng, 60, 20, 120);
    p->exact[PACE_SPARE].limits[PACE_REQUESTS] = play_log(rng, 60, 20, 120);
    p->exact[PACE_MAIN].headers = (enum exact_headers)play_draw(rng, EXACT_TRUE, 0, EXACT_LYING);
    p->failover_throttle = play_draw(rng, 1, 0, 1);
    p->silent_permille = 50;
    p->broken_permille = 20;
}

static void weather_change(struct pace_stage *s)
{
    size_t i = (size_t)pace_between(s, 0, (int64_t)s->plan.workers - 1), r = (size_t)pace_between(s, 0, 1);

    switch (pace_between(s, 0, 8)) {
    case 0:
        out(s, r, !s->is_out[r]);
        break;
    case 1:
        s->is_storm[r] = !s->is_storm[r];
        break;
    case 2:
        exact_scale(s->exacts[r], exact_limit(s->exacts[r], PACE_REQUESTS) < 60 ? 2 : 0.5);
        break;
    case 3:
        exact_set_strangers(s->exacts[r], pace_between(s, 0, 1) ? 0.3 : 0);
        break;
    case 4:
        if (s->workers[i].pacer && pace_workers_alive(s) > 1)
            pace_worker_kill(s, i);
        else
            pace_worker_start(s, i);
        break;
    case 5:
        pace_worker_pause(s, i, 10000);
        break;
    case 6:
        s->is_spent[r] = pace_between(s, 0, 2) == 0;
        break;
    default:
        redis_trouble(s);
        break;
    }
}

static void weather_run(struct pace_stage *s)
{
    int64_t ms = play_is_named(s) ? 3 * 3600000 : 900000;

    pace_workers_start(s, s->plan.workers);
    for (size_t i = 0; i < 4; i++) pace_load_source(s, i, 8, i ? CLASS_BULK : CLASS_INTERACTIVE, ms);
    for (int64_t end = pace_now(s) + ms; pace_now(s) < end;) {
        pace_run(s, pace_between(s, 5000, 60000));
        weather_change(s);
    }
    s->drain_ms = 2 * 3600000; /* a quota that is used up closes for up to an hour */
    pace_figure(s, "ended before all was well, of those asked", (double)s->ended_all / (double)s->asked_all);
}

const struct play play_fair = {"fair", fair_plan, fair_run, 4, false};
const struct play play_outage = {"outage", outage_plan, outage_run, 6, false};
const struct play play_storm = {"storm", storm_plan, storm_run, 4, false};
const struct play play_redis = {"redis", redis_plan, redis_run, 8, false};
const struct play play_cut = {"cut", redis_plan, cut_run, 2, false};
const struct play play_usage = {"usage", usage_plan, usage_run, 5, false};
const struct play play_slow = {"slow", slow_plan, slow_run, 3, false};
const struct play play_quantum = {"quantum", quantum_plan, quantum_run, 3, false};
const struct play play_money = {"money", money_plan, money_run, 4, true};
const struct play play_tenant = {"tenant", tenant_plan, tenant_run, 3, true};
const struct play play_short = {"short", short_plan, short_run, 3, false};
const struct play play_weather = {"weather", weather_plan, weather_run, 6, false};
