/* Limits that change, are not known, are shared with strangers, or are told wrongly. */
#include "tests/sim/pace_play.h"

/* --- a limit changes without notice -------------------------------------------------------------------------------- */
static void change_plan(struct pace_plan *p, struct rng *rng)
{
    double known = (double)play_draw(rng, 0, 0, 1);

    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->took_mean_ms = play_log(rng, 1000, 300, 3000);
    p->exact[PACE_MAIN].headers = EXACT_TRUE;
    p->configured[0] = p->configured[1] = known;
    play_limits(p, rng, play_log(rng, 1200, 400, 700));
}

static void change_run(struct pace_stage *s)
{
    struct exact *x = s->exacts[PACE_MAIN];
    double most, margin = play_is_named(s) ? 0 : 0.02;

    pace_workers_start(s, s->plan.workers);
    pace_run(s, play_is_named(s) ? 180000 : 70000);
    most = (double)s->plan.workers + play_calls_a_minute(s) / 60000 * (double)(50 + s->plan.took_mean_ms / 4 + 50 + 60);
    pace_mark(s);
    exact_scale(x, 0.5);
    pace_run(s, 60000);
    play_at_most(s, "429s for each allowed, halved", (double)s->refused / most, 1);
    pace_mark(s);
    pace_run(s, 60000);
    play_at_least(s, "use a minute after halving", exact_use(x), 0.95 - margin);
    exact_scale(x, 2);
    pace_mark(s);
    pace_run(s, 60000);
    play_at_most(s, "429s after doubling", (double)s->refused, 0);
    pace_mark(s);
    pace_run(s, 60000);
    play_at_least(s, "use a minute after doubling", exact_use(x), 0.95 - margin);
}

/* --- limits are not known ------------------------------------------------------------------------------------------ */
static void unknown_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->took_mean_ms = play_log(rng, 1000, 300, 3000);
    p->exact[PACE_MAIN].headers = EXACT_TRUE;
    p->configured[0] = p->configured[1] = 0;
    play_limits(p, rng, play_log(rng, 900, 300, 700));
}

static void unknown_run(struct pace_stage *s)
{
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 180000);
    play_at_most(s, "429s", (double)s->refused, 5);
    pace_mark(s);
    pace_run(s, 60000);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), 0.9);
}

static void silent_plan(struct pace_plan *p, struct rng *rng)
{
    unknown_plan(p, rng);
    p->exact[PACE_MAIN].headers = EXACT_SILENT;
    play_limits(p, rng, play_log(rng, 900, 200, 500));
}

/* A minute that begins at full hours is not what a fleet sees that counts sliding ones: of such a provider a refusal
 * teaches too much, and the next one comes sooner. */
static void silent_run(struct pace_stage *s)
{
    bool is_fixed = s->plan.exact[PACE_MAIN].algorithm == EXACT_FIXED, is_named = play_is_named(s);

    pace_workers_start(s, s->plan.workers);
    pace_run(s, 600000);
    play_at_most(s, is_fixed ? "429s, whole minutes" : "429s", (double)s->refused, is_fixed ? 20 : is_named ? 5 : 8);
    pace_mark(s);
    pace_run(s, is_named ? 180000 : 60000);
    play_at_least(s, is_fixed ? "use, whole minutes" : "use", exact_use(s->exacts[PACE_MAIN]),
                  is_fixed ? 0.7 : is_named ? 0.9 : 0.8);
}

/* --- strangers on the same key ------------------------------------------------------------------------------------- */
static void strangers_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->exact[PACE_MAIN].headers = EXACT_TRUE;
    play_limits(p, rng, play_log(rng, 1200, 300, 900));
}

static void strangers_run(struct pace_stage *s)
{
    struct exact *x = s->exacts[PACE_MAIN];
    double share = play_is_named(s) ? 0.3 : 0.1 + 0.4 * rng_unit(world_rng(s->world));

    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    exact_set_strangers(x, share);
    pace_run(s, 60000);
    pace_mark(s);
    pace_run(s, 120000);
    play_at_least(s, "use of what strangers leave", exact_use(x) / (1 - share), 0.85);
    play_at_most(s, "429s of a hundred calls", 100 * (double)s->refused / (double)(s->granted ? s->granted : 1), 2);
}

/* --- two fleets are configured differently ------------------------------------------------------------------------- */
static void fleets_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 2, 8);
    p->configured[1] = (double)play_draw(rng, 50, 30, 300) / 100;
    p->exact[PACE_MAIN].headers = (enum exact_headers)play_draw(rng, EXACT_SILENT, EXACT_SILENT, EXACT_TRUE);
    play_limits(p, rng, play_log(rng, 1200, 300, 900));
}

static void fleets_run(struct pace_stage *s)
{
    double holds = s->plan.configured[1] < 1 ? s->plan.configured[1] : 1;

    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    s->is_strict = true;
    pace_mark(s);
    pace_run(s, 120000);
    play_judge_limits(s);
    play_at_most(s, "peak, of the smaller limit", (double)exact_peak(s->exacts[PACE_MAIN]) / 1000 / holds, 1.01);
    play_at_least(s, "use, of the smaller limit", exact_use(s->exacts[PACE_MAIN]) / holds, 0.9);
}

/* --- headers that are nonsense ------------------------------------------------------------------------------------- */
static void absurd_plan(struct pace_plan *p, struct rng *rng)
{
    p->workers = (size_t)play_draw(rng, 4, 1, 8);
    p->exact[PACE_MAIN].headers = (enum exact_headers)play_draw(rng, EXACT_MALFORMED, EXACT_MALFORMED, EXACT_LYING);
    play_limits(p, rng, play_log(rng, 600, 300, 1200));
}

static void absurd_run(struct pace_stage *s)
{
    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    pace_mark(s);
    pace_run(s, 120000);
    play_judge_limits(s);
    play_at_least(s, "use", exact_use(s->exacts[PACE_MAIN]), 0.01);
}

static void year_plan(struct pace_plan *p, struct rng *rng)
{
    absurd_plan(p, rng);
    p->exact[PACE_MAIN].headers = EXACT_TRUE;
}

/* Now and then a reply that says that nothing is left for a year. */
static void year_run(struct pace_stage *s)
{
    struct exact *x = s->exacts[PACE_MAIN];

    s->is_strict = true;
    pace_workers_start(s, s->plan.workers);
    pace_run(s, 70000);
    exact_set_headers(x, EXACT_YEAR);
    pace_run(s, 1000);
    exact_set_headers(x, EXACT_TRUE);
    pace_run(s, 60000);
    pace_mark(s);
    pace_run(s, 60000);
    play_judge_limits(s);
    play_at_least(s, "use a minute later", exact_use(x), 0.9);
}

const struct play play_change = {"change", change_plan, change_run, 5, false};
const struct play play_unknown = {"unknown", unknown_plan, unknown_run, 5, false};
const struct play play_silent = {"silent", silent_plan, silent_run, 2, false};
const struct play play_strangers = {"strangers", strangers_plan, strangers_run, 4, false};
const struct play play_fleets = {"fleets", fleets_plan, fleets_run, 4, false};
const struct play play_absurd = {"absurd", absurd_plan, absurd_run, 5, false};
const struct play play_year = {"year", year_plan, year_run, 3, false};
