/* Limits that are known and do not change: all of them is used, nothing is refused, no minute is over.
 *
 * What no pacer can know is what the calls under way will cost: four deviations of that are left free, and the judge
 * knows how much this is. */
#include "tests/sim/pace_play.h"

#include <math.h>

enum { WARM_MS = 75000 };

static void steady_plan(struct pace_plan *p, struct rng *rng)
{
    int64_t rpm = play_log(rng, 1200, 300, 1000);
    struct exact_options *x = &p->exact[PACE_MAIN];

    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    x->algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
    x->headers = (enum exact_headers)play_draw(rng, EXACT_TRUE, EXACT_SILENT, EXACT_TRUE);
    p->input_mean = play_log(rng, 500, 100, 4000);
    p->output_mean = play_log(rng, 100, 20, 800);
    p->took_mean_ms = play_log(rng, 2000, 300, 4000);
    x->limits[PACE_REQUESTS] = rpm * play_draw(rng, 12, 10, 20) / 10;
    x->limits[PACE_INPUT] = rpm * p->input_mean * 7 / 10 * play_draw(rng, 10, 10, 20) / 10;
    x->limits[PACE_OUTPUT] = rpm * p->output_mean * play_draw(rng, 14, 13, 20) / 10;
}

/* Four deviations of what is under way, as a share of the minute; 0 where requests bind. */
static double margin(const struct pace_stage *s, double cv)
{
    double calls = play_calls_a_minute(s), out = calls * ((double)s->plan.took_mean_ms + 500) / 60000;

    return exact_binding(s->exacts[PACE_MAIN]) == PACE_REQUESTS ? 0 : 4.3 * cv * sqrt(out) / calls;
}

static void steady(struct pace_stage *s, double least, double cv)
{
    double free;

    pace_workers_start(s, s->plan.workers);
    pace_run(s, WARM_MS);
    s->is_strict = true;
    pace_mark(s);
    pace_run(s, play_is_named(s) ? 600000 : 90000);
    play_judge_limits(s);
    free = play_is_named(s) ? 0 : margin(s, cv);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), free > 0.01 ? least - free : least);
    play_at_least(s, "use, and what has to be free", exact_use(s->exacts[PACE_MAIN]) + free, least);
    pace_figure(s, "calls a trade", (double)s->granted / (double)(s->trades ? s->trades : 1));
}

static void steady_run(struct pace_stage *s)
{
    s->is_strict = true; /* from the first call on */
    steady(s, 0.97, 0.57);
}

static void output_plan(struct pace_plan *p, struct rng *rng)
{
    struct exact_options *x = &p->exact[PACE_MAIN];

    steady_plan(p, rng);
    x->limits[PACE_OUTPUT] = x->limits[PACE_REQUESTS] * p->output_mean / 2;
    x->limits[PACE_INPUT] = x->limits[PACE_REQUESTS] * p->input_mean;
}

static void output_run(struct pace_stage *s)
{
    steady(s, 0.955, 0.33);
}

/* --- arrivals, beside an oracle ------------------------------------------------------------------------------------ */
static void arrivals_plan(struct pace_plan *p, struct rng *rng)
{
    steady_plan(p, rng);
    p->backlog = 0;
    p->tenants = 3;
}

static void arrivals_run(struct pace_stage *s)
{
    struct exact *x = s->exacts[PACE_MAIN];
    double calls = play_calls_a_minute(s), load = 0.5 + 0.6 * rng_unit(world_rng(s->world)), oracle;
    int64_t ms = play_is_named(s) ? 600000 : 90000;
    enum pace_dim d;

    if (play_is_named(s)) load = 0.95;
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_oracle_start(s);
    for (size_t i = 0; i < 3; i++) pace_load_source(s, i, calls * load / 3, i ? CLASS_BULK : CLASS_INTERACTIVE, WARM_MS + ms);
    s->oracle.mark_ms = pace_now(s) + WARM_MS;
    s->oracle.until_ms = s->oracle.mark_ms + ms;
    pace_run(s, WARM_MS);
    pace_mark(s);
    pace_run(s, ms);
    play_judge_limits(s);
    d = exact_binding(x);
    oracle = pace_oracle_use(s, d);
    pace_figure(s, "use", exact_use(x));
    pace_figure(s, "use of an oracle", oracle);
    play_at_least(s, "of the oracle's", exact_use(x) / oracle, play_is_named(s) ? 0.97 : 0.95 - margin(s, 0.57));
    pace_figure(s, "p99 wait, ms", (double)pace_p99(s, 0, 3));
}

/* --- workers come and go ------------------------------------------------------------------------------------------- */
/* Without a limit of output: what paused workers do not tell of theirs can be a permille too much. */
static void churn_plan(struct pace_plan *p, struct rng *rng)
{
    steady_plan(p, rng);
    p->exact[PACE_MAIN].limits[PACE_OUTPUT] = 0;
}

static void churn_run(struct pace_stage *s)
{
    s->is_strict = play_is_named(s);
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 30000);
    pace_mark(s);
    for (int64_t end = pace_now(s) + (play_is_named(s) ? 600000 : 120000); pace_now(s) < end;) {
        size_t i = (size_t)pace_between(s, 0, PACE_WORKERS_MAX - 1);

        pace_run(s, pace_between(s, 2000, 10000));
        if (!s->workers[i].pacer)
            pace_worker_start(s, i);
        else if (pace_between(s, 0, 1) && pace_workers_alive(s) > 1)
            pace_worker_kill(s, i);
        else
            pace_worker_pause(s, i, 10000);
    }
    play_at_most(s, "429s of a hundred calls", 100 * (double)s->refused / (double)(s->granted + 1), play_is_named(s) ? 0 : 0.5);
    play_at_most(s, "peak of a sliding minute", (double)exact_peak(s->exacts[PACE_MAIN]) / 1000, play_is_named(s) ? 1 : 1.01);
    pace_figure(s, "use", exact_use(s->exacts[PACE_MAIN]));
}

/* --- what it costs ------------------------------------------------------------------------------------------------- */
static void cost_plan(struct pace_plan *p, struct rng *rng)
{
    p->exact[PACE_MAIN].limits[PACE_REQUESTS] = 24000;
    p->exact[PACE_MAIN].algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
    p->backlog = 0;
    p->took_mean_ms = play_draw(rng, 1000, 300, 2000);
}

static void cost_run(struct pace_stage *s)
{
    int64_t ms = play_is_named(s) ? 60000 : 8000;

    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_load_source(s, 0, 12000, CLASS_BULK, ms + 4000);
    pace_run(s, 4000);
    pace_mark(s);
    pace_run(s, ms);
    play_judge_limits(s);
    play_at_least(s, "calls a trade", (double)s->granted / (double)(s->trades ? s->trades : 1), 5);
    pace_figure(s, "us of the pacer a call", (double)s->watch.ns / 1000 / (double)s->granted);
    pace_figure(s, "p99 wait, ms", (double)pace_p99(s, 0, 1));
}

const struct play play_steady = {"steady", steady_plan, steady_run, 8, false};
const struct play play_output = {"output", output_plan, output_run, 4, false};
const struct play play_arrivals = {"arrivals", arrivals_plan, arrivals_run, 6, false};
const struct play play_churn = {"churn", churn_plan, churn_run, 8, false};
const struct play play_cost = {"cost", cost_plan, cost_run, 1, false};
