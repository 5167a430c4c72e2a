#ifndef CONSUMER_PACER_PRIV_H
#define CONSUMER_PACER_PRIV_H
#include "consumer/pacer.h"

#include "common/base/clock.h"

/* The inside of the pacer, shared by pacer.c (in and out), pacer_route.c (which route a call
 * takes), pacer_pump.c (grants and trades), pacer_tell.c (how long it will take) and pacer_make.c.
 */
enum {
    PACER_FLOWS_MAX = 8192,
    PACER_WAITERS_MAX = 200000,
    PACER_ROUTES_MAX = 16,
    PACER_TURN = 64, /* grants of a group before the next one has its turn */
    PACER_ESTIMATES_MAX = 4096,
    PACER_VOLUNTEER_MS = 1000,
    PACER_GUESS_MS = 1000, /* how old a guess may be when its call goes */
    PACER_LATELY = 5,      /* seconds whose grants make a line's length */
    PACER_AWAY_MS = 500    /* how long a call rests for want of memory */
};

struct pacer_group;
struct pacer_key { /* a budget: one credential of a group */
    struct pacer_group *group;
    struct limiter *limiter;
    size_t index;
    size_t in_flight;
    bool is_trading;
    struct pacer_flow *told[PACE_FLOWS_MAX]; /* of the trade under way; NULL: a class */
    enum job_class told_class[PACE_FLOWS_MAX];
    size_t told_count;
};

struct pacer_group_meters {
    struct metric_series *wait_seconds, *trades, *throttled;
    struct metric_series *closed[4], *failovers[4]; /* by enum pace_close */
    struct metric_series *limit[PACE_DIM_COUNT], *remaining[PACE_DIM_COUNT];
    struct metric_series *ratio_input, *ratio_output;
};

/* A model of a provider: its line, and the budgets that serve it. */
struct pacer_group {
    struct list_link dirty; /* in p->dirty */
    struct pacer *pacer;
    const struct config_provider *provider;
    const struct config_route *route; /* any that leads here: all have one budget and price */
    struct pacer_key *keys;
    size_t key_count;
    struct pacer_line *line;
    struct timer timer;
    enum pace_close close;        /* all keys are closed, for this */
    struct pacer_wait *volunteer; /* the one that tries whether it is open again */
    int64_t volunteer_ms;         /* it may stay till then; the next one comes then */
    int64_t told_remaining[PACE_DIM_COUNT];
    double calls_per_ms;                   /* granted lately, while somebody waited */
    int64_t counted_ms, counted, swept_ms; /* since when, how many; the last sweep */
    size_t held;                           /* jobs that are kept from its line */
    size_t jobs;                           /* begun, and not in line yet */
    int64_t lately[PACER_LATELY];          /* grants by second */
    int64_t lately_s;                      /* the newest one's */
    struct pacer_group_meters meters;
};

struct pacer_route {
    const struct config_route *config;
    struct pacer_group *group;
};

struct pacer_model {
    const struct config_model *config;
    struct pacer_route *routes;
    size_t route_count;
};

struct pacer {
    struct pacer_options o;
    struct pacer_model *models;
    size_t model_count;
    struct pacer_group *groups;
    size_t group_count;
    struct estimate *estimate;
    struct list waits; /* LINED and RESTING, oldest first */
    struct list dirty;
    size_t in_flight;
    bool is_pumping, was_fenced;
    struct timer tell_timer, midnight_timer;
};

int64_t pacer_now(const struct pacer *p);
void pacer_dirty(struct pacer_group *g);
void pacer_dirty_all(struct pacer *p);
const struct pacer_model *pacer_find(const struct pacer *p, struct view name); /* NULL: none */

/* pacer_make.c */
bool pacer_make(struct pacer *p);
void pacer_unmake(struct pacer *p);

/* pacer_route.c */
/* Sets route, guess and cost of a wait for the route it should take now. */
void pacer_aim(struct pacer_wait *w);
/* In line: what was learnt since it was aimed counts for it, too. */
void pacer_guess_again(struct pacer_wait *w);
MUST_CHECK bool pacer_line_up(struct pacer_wait *w);
void pacer_leave_line(struct pacer_wait *w);
void pacer_rest(struct pacer_wait *w, int64_t ms);
/* A group may have been closed or opened: whoever should go elsewhere does. */
void pacer_group_check(struct pacer_group *g);
void pacer_call_volunteer(struct pacer_group *g);
/* When and why the next call of the group waits. */
void pacer_group_wait(const struct pacer_group *g, struct limiter_wait *ret);

/* pacer_pump.c */
void pacer_group_pump(struct pacer_group *g);
int64_t pacer_midnight_ms(const struct pacer *p); /* UTC, in monotonic time */

/* pacer_tell.c */
void pacer_tell_soon(struct pacer *p);
void pacer_count_grant(struct pacer_group *g);

#endif
