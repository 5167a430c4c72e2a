/* Limits that are known and do not change: all of them is used, nothing is refused, no minute is over. */
#include "tests/sim/pace_play.h"

enum { WARM_MS = 90000 };

static void steady_plan(struct pace_plan *p, struct rng *rng)
{
    int64_t rpm = play_log(rng, 600, 240, 1500);
    struct exact_options *x = &p->exact[PACE_MAIN];

    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    x->algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
    x->headers = (enum exact_headers)play_draw(rng, EXACT_TRUE, EXACT_SILENT, EXACT_TRUE);
    p->input_mean = play_log(rng, 500, 100, 4000);
    p->output_mean = play_log(rng, 100, 20, 800);
    p->took_mean_ms = play_log(rng, 2000, 300, 8000);
    x->limits[PACE_REQUESTS] = rpm * play_draw(rng, 12, 10, 20) / 10;
    x->limits[PACE_INPUT] = rpm * p->input_mean * 7 / 10 * play_draw(rng, 10, 10, 20) / 10;
    x->limits[PACE_OUTPUT] = rpm * p->output_mean * play_draw(rng, 12, 10, 20) / 10;
}

static void steady_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, WARM_MS);
    pace_mark(s);
    pace_run(s, play_is_named(s) ? 600000 : 180000);
    play_judge_limits(s);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), 0.97);
    pace_figure(s, "calls a trade", (double)s->granted / (double)(s->trades ? s->trades : 1));
}

const struct play play_steady = {"steady", steady_plan, steady_run, 1};
