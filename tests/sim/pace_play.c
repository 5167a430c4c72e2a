/* The table of plays, and how one is played. */
#include "tests/sim/pace_play.h"

#include <math.h>

const struct play *const pace_plays[] = {
    &play_steady, &play_output,  &play_arrivals, &play_change, &play_unknown, &play_silent, &play_strangers, &play_fair,
    &play_outage, &play_storm,   &play_churn,    &play_redis,  &play_cut,    &play_fleets,  &play_absurd, &play_year,      &play_usage,
    &play_slow,   &play_quantum, &play_money,    &play_tenant, &play_short,   &play_cost,   &play_weather};

size_t pace_play_count(void)
{
    return sizeof pace_plays / sizeof *pace_plays;
}

const struct play *pace_play_of_seed(uint64_t seed)
{
    struct rng rng;
    uint64_t all = 0, at;

    for (size_t i = 0; i < pace_play_count(); i++) all += pace_plays[i]->weight;
    rng_seed(&rng, seed * 2654435761u + 17);
    at = rng_below(&rng, all);
    for (size_t i = 0; i < pace_play_count(); i++) {
        if (at < pace_plays[i]->weight) return pace_plays[i];
        at -= pace_plays[i]->weight;
    }
    return pace_plays[0];
}

/* Nothing waits for ever: with all well again what waits is served, in the time that the limit needs for it and two
 * minutes (a close that was told to last is part of that). */
static void finish(struct pace_stage *s, const struct play *play)
{
    double calls = play_calls_a_minute(s);

    if (play->stays) return;
    pace_heal(s);
    (void)pace_drain(s, s->drain_ms + 420000 + (int64_t)((double)(s->asked_all - s->ended_all) / (calls > 0 ? calls : 60) * 90000));
}

bool pace_play(const struct play *play, uint64_t seed, bool is_named, bool trace, struct play_result *ret)
{
    struct pace_plan plan = pace_plan_default(seed);
    struct pace_stage *s;
    struct rng rng;

    rng_seed(&rng, seed + 1);
    plan.trace = trace;
    plan.is_named = is_named;
    play->plan(&plan, is_named ? NULL : &rng);
    s = pace_stage_new(&plan);
    play->run(s);
    finish(s, play);
    *ret = (struct play_result){.play = play,
                                .hash = world_hash(s->world),
                                .virtual_ms = pace_now(s),
                                .calls = s->calls_all,
                                .trades = s->trades,
                                .cpu_us = s->granted ? (double)s->watch.ns / 1000 / (double)s->granted : 0,
                                .blames = s->blames,
                                .figure_count = s->figure_count};
    memcpy(ret->figures, s->figures, sizeof ret->figures);
    pace_stage_free(s);
    return ret->blames.count == 0;
}

/* --- for plays ----------------------------------------------------------------------------------------------------- */
int64_t play_draw(struct rng *rng, int64_t named, int64_t low, int64_t high)
{
    return rng ? low + (int64_t)rng_below(rng, (uint64_t)(high - low + 1)) : named;
}

int64_t play_log(struct rng *rng, int64_t named, int64_t low, int64_t high)
{
    return rng ? (int64_t)((double)low * pow((double)high / (double)low, rng_unit(rng))) : named;
}

bool play_is_named(const struct pace_stage *s)
{
    return s->plan.is_named;
}

void play_limits(struct pace_plan *p, struct rng *rng, int64_t rpm)
{
    struct exact_options *x = &p->exact[PACE_MAIN];

    x->limits[PACE_REQUESTS] = rpm;
    if (play_draw(rng, 1, 0, 1)) x->limits[PACE_INPUT] = rpm * p->input_mean * 8 / 10;
    if (play_draw(rng, 0, 0, 3) == 1) x->limits[PACE_OUTPUT] = rpm * p->output_mean * 12 / 10;
    x->algorithm = (enum exact_algorithm)play_draw(rng, EXACT_SLIDING, EXACT_BUCKET, EXACT_FIXED);
}

double play_calls_a_minute(const struct pace_stage *s)
{
    const double need[PACE_DIM_COUNT] = {1, (double)s->plan.input_mean * 0.72, (double)s->plan.output_mean,
                                         (double)(s->plan.output_max > s->plan.input_mean ? s->plan.output_max : s->plan.input_mean)};
    double least = 1e9;

    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        double limit = (double)exact_limit(s->exacts[PACE_MAIN], d);

        if (limit > 0 && limit / need[d] < least) least = limit / need[d];
    }
    return least;
}

void play_at_least(struct pace_stage *s, const char *what, double is, double least)
{
    pace_figure(s, what, is);
    if (is < least) pace_blame(s, "%s is %.4f, less than %.4f", what, is, least);
}

void play_at_most(struct pace_stage *s, const char *what, double is, double most)
{
    pace_figure(s, what, is);
    if (is > most) pace_blame(s, "%s is %.4f, more than %.4f", what, is, most);
}

void play_judge_limits(struct pace_stage *s)
{
    int64_t peak = 0;

    for (size_t i = 0; i < s->plan.routes; i++)
        if (exact_peak(s->exacts[i]) > peak) peak = exact_peak(s->exacts[i]);
    play_at_most(s, "refused", (double)s->refused, 0);
    play_at_most(s, "peak of a sliding minute", (double)peak / 1000, 1);
}
