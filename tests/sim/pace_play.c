/* The table of plays, and how one is played. */
#include "tests/sim/pace_play.h"

#include <math.h>

const struct play *const pace_plays[] = {&play_steady};

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
