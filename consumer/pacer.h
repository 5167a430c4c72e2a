#ifndef CONSUMER_PACER_H
#define CONSUMER_PACER_H
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/rng.h"
#include "common/base/timerq.h"
#include "consumer/estimate.h"
#include "consumer/llm_limits.h"
#include "consumer/pacer_line.h"
#include "consumer/task.h"
#include "consumer/usage.h"
#include "schemas/config.h"

/* Pacing: every call of a model waits here for its turn and for room in the budget of a route.
 *
 *   IDLE --ask--> LINED --granted--> GRANTED --done--> IDLE (asked data kept) --again--> LINED
 *                   ^                                                           '------> RESTING
 *                   '------------------------- its back-off is over ----------------------'
 *
 * A call that was granted is given back with pacer_done exactly once. Callbacks come from
 * pacer_pump, from timers and from answers, never from inside the other functions here. */
struct pacer;
struct pacer_options { /* all borrowed */
    struct fn *fn;
    const struct config *config;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct log *log;
    struct metrics *metrics;
    struct usage *usage; /* may be NULL: nothing is counted, tenants have no daily caps */
    struct view incarnation;
    size_t calls_max;             /* granted at once, in this process */
    size_t line_least;            /* no line is long that is shorter */
    bool (*may_start)(void *arg); /* false: fenced; nothing is granted meanwhile */
    void (*kick)(void *arg);      /* pacer_pump is wanted soon */
    void *arg;
};
struct pacer *pacer_new(const struct pacer_options *o); /* NULL: no memory */
void pacer_free(struct pacer *p);                       /* who waits is forgotten */

struct pacer_grant {
    const struct config_route *route;
    const struct config_provider *provider;
    size_t key_index; /* of the provider's keys */
};
struct pacer_sink { /* only on_grant may use the pacer from inside */
    void (*on_grant)(void *arg, const struct pacer_grant *g);
    /* The wait will be long (over a second), or what was said of it has changed: its end by the
     * wall clock, and why: budget closed outage exhausted concurrency spend tenant_budget. */
    void (*on_wait)(void *arg, int64_t until_wall_ms, const char *reason);
    /* A route was left out: its model cannot hold the request. Before the grant. */
    void (*on_skip)(void *arg, const struct config_route *route);
};

enum pacer_state { PACER_IDLE, PACER_LINED, PACER_RESTING, PACER_GRANTED };
struct pacer_wait { /* embed; zeroed = idle, never asked. Only state and the numbers are for reading
                     */
    struct pacer_place place;
    struct list_link link; /* in the pacer's list of those that wait */
    enum pacer_state state;
    struct pacer *pacer;
    const struct pacer_model *model;
    const struct pacer_route *route;
    struct pacer_key *key;
    struct pacer_flow *flow; /* GRANTED */
    struct timer timer;      /* RESTING */
    struct limiter_ticket ticket;
    struct estimate_guess guess;
    struct view tenant, workflow, step;
    enum job_class cls;
    enum task_fault fault;           /* of the last try, while tries > 0 */
    const struct config_tenant *cap; /* its tenant has a daily one; else NULL */
    int64_t weight, counted, max_tokens, asked_ms, guessed_ms, granted_ms;
    int64_t told_ms; /* the end that was told, monotonic; 0: none */
    const char *told_reason;
    bool is_told_tenant; /* the reason is the tenant's day */
    unsigned avoid;      /* routes that failed it, by bit, until all have */
    unsigned skipped;    /* routes that cannot hold it, by bit */
    unsigned tries;
    bool is_told_skip;
    const struct pacer_sink *sink;
    void *arg;
};

struct pacer_ask {
    struct view model; /* the workflow's name of it */
    /* These live as long as the wait is not idle. */
    struct view tenant, workflow, step;
    enum job_class cls;
    int64_t priority, age_ms; /* of the job */
    int64_t counted;          /* input tokens, as llm_count.h counts them */
    int64_t max_tokens;       /* 0: the request names none */
};
/* Gets in line; the wait's sink and arg are set. ERR_NOT_FOUND: no such model, or its provider is
 * not there; ERR_NOMEM; ERR_FULL. */
MUST_CHECK enum err_code pacer_ask(struct pacer *p, struct pacer_wait *w, const struct pacer_ask *a,
                                   struct err *err);
void pacer_cancel(struct pacer_wait *w); /* not granted: leaves; idle: nothing */

/* The route whose budget it was told to wait for; NULL: it waits for its tenant's next day. */
const struct config_route *pacer_waits_on(const struct pacer_wait *w);

/* --- of a granted call ----------------------------------------------------------------------- */
/* The head of the reply is there. limits: what it said of them. */
void pacer_told(struct pacer_wait *w, const struct llm_limits *limits, bool is_good);
void pacer_input_known(struct pacer_wait *w, int64_t input); /* before the end; once */
struct pacer_outcome {
    enum limiter_end end;
    int64_t input, cached, output; /* tokens as billed; -1 unknown */
    int64_t retry_after_ms;        /* -1: not told */
    bool is_whole;                 /* the reply came whole: it teaches and is counted */
};
void pacer_done(struct pacer_wait *w, const struct pacer_outcome *o);
/* After pacer_done: the same call once more, by another route or later. */
MUST_CHECK bool pacer_again(struct pacer_wait *w, enum task_fault fault);
/* After pacer_done: by another route only, at once. False: the model does not fail over for this,
 * or all others have failed it, too. */
MUST_CHECK bool pacer_again_elsewhere(struct pacer_wait *w, enum task_fault fault);
/* After pacer_done: this route's model cannot hold the request. False: no other one might. */
MUST_CHECK bool pacer_again_longer(struct pacer_wait *w);
/* What a finished call cost by the price of its route, micro-dollars; -1: it has no price. */
int64_t pacer_cost(const struct pacer_wait *w, const struct pacer_outcome *o);

/* --- how long the lines are ------------------------------------------------------------------ */
/* A group is a model of a provider with its line. */
#define PACER_NO_GROUP SIZE_MAX
size_t pacer_groups(const struct pacer *p);
/* In whose line a call of this model would stand now. */
size_t pacer_group_of(const struct pacer *p, struct view model);
/* Enough jobs stand before their call there: another one would only wait. */
bool pacer_is_long(const struct pacer *p, size_t group);
/* So many more would stand there if they were started: told to the fleet, to be seen. */
void pacer_held(struct pacer *p, size_t group, size_t count);
/* A job that will call there was begun; it has asked for its first call, or is over without one.
 * PACER_NO_GROUP: nothing. */
void pacer_begun(struct pacer *p, size_t group);
void pacer_over(struct pacer *p, size_t group);

/* What tenants have used today was heard: on_heard of the usage. */
void pacer_recheck_tenants(struct pacer *p);
/* Grants what can be granted, sends what is to be told. Once a turn. */
void pacer_pump(struct pacer *p);
size_t pacer_in_flight(const struct pacer *p);
size_t pacer_waiting(const struct pacer *p);
void pacer_refresh_metrics(struct pacer *p); /* gauges; before a scrape */

#endif
