#ifndef SIM_PACE_PLAY_H
#define SIM_PACE_PLAY_H
#include "tests/sim/pace_stage.h"

/* The plays: each is a kind of world, what happens in it, and what is judged at its end. */
struct play {
    const char *name;
    /* rng NULL: as the table of promises has it; else drawn. */
    void (*plan)(struct pace_plan *p, struct rng *rng);
    void (*run)(struct pace_stage *s);
    unsigned weight; /* how often a seed draws it */
    bool stays;      /* its end is an end: what waits then is not judged */
};
extern const struct play *const pace_plays[];
size_t pace_play_count(void);

struct play_result {
    const struct play *play;
    uint64_t hash;
    int64_t virtual_ms;
    size_t calls, trades;
    double cpu_us; /* of the pacer */
    struct pace_blames blames;
    struct pace_figure figures[PACE_FIGURES_MAX];
    size_t figure_count;
};
/* rng_seed 0: the named form. True: no blame. */
bool pace_play(const struct play *play, uint64_t seed, bool is_named, bool trace, struct play_result *ret);
const struct play *pace_play_of_seed(uint64_t seed);

/* --- for plays ------------------------------------------------------------------------------------------------- */
int64_t play_draw(struct rng *rng, int64_t named, int64_t low, int64_t high); /* named where rng is NULL */
int64_t play_log(struct rng *rng, int64_t named, int64_t low, int64_t high);  /* the same, even by factors */
bool play_is_named(const struct pace_stage *s);
/* No refusal, no window over, since the mark. */
void play_judge_limits(struct pace_stage *s);
void play_at_least(struct pace_stage *s, const char *what, double is, double least);
void play_at_most(struct pace_stage *s, const char *what, double is, double most);

/* Its limits: requests, and tokens in keeping with them. */
void play_limits(struct pace_plan *p, struct rng *rng, int64_t rpm);
/* A number of calls a minute: what the limit that binds allows. */
double play_calls_a_minute(const struct pace_stage *s);

extern const struct play play_steady, play_output, play_arrivals, play_churn, play_cost;
extern const struct play play_change, play_unknown, play_silent, play_strangers, play_fleets, play_absurd, play_year;
extern const struct play play_fair, play_outage, play_storm, play_redis, play_cut, play_usage, play_slow, play_money, play_tenant;
extern const struct play play_short, play_quantum, play_weather;

#endif
