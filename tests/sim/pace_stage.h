#ifndef SIM_PACE_STAGE_H
#define SIM_PACE_STAGE_H
#include "common/base/metrics.h"
#include "consumer/pacer.h"
#include "tests/sim/model_redis.h"
#include "tests/sim/pace_provider.h"

/* A world for pacing: workers with the product's own pacer each (pacer, limiters, estimates, line, usage), the
 * product's functions in the model Redis, exact providers, and calls that come from nowhere. Inside of pacesim: shared
 * by pace_*.c. */
enum {
    PACE_WORKERS_MAX = 8,
    PACE_ROUTES_MAX = 2,
    PACE_TENANTS_MAX = 24,
    PACE_BLAMES_MAX = 8,
    PACE_FIGURES_MAX = 12,
    PACE_MAIN = 0, /* routes */
    PACE_SPARE = 1
};

struct pace_plan {
    uint64_t seed;
    bool trace, is_named;
    size_t workers, tenants, routes;
    struct exact_options exact[PACE_ROUTES_MAX];
    double configured[2]; /* part of the limits that workers know, of even and odd ones; 0: nothing */
    bool learns;
    int64_t concurrency, requests_per_day, spend_per_day_usd, context_tokens[PACE_ROUTES_MAX];
    int64_t tenant_tokens_per_day, tenant_spend_per_day_usd; /* of tenant 0 */
    int64_t start, output_max; /* requests a minute where nothing is known; max_tokens, 0 = not told */
    int64_t input_mean, output_mean, took_mean_ms;
    int64_t backlog;        /* calls that always wait in every worker; 0: they arrive */
    size_t backlog_tenants; /* whose those are, in turn */
    bool failover_throttle;
    unsigned broken_permille, silent_permille; /* calls cut before their usage; whole ones without it */
    bool hides_input, tells_input_early;
};

struct pace_stage;

struct pace_blames {
    char text[PACE_BLAMES_MAX][200];
    size_t count;
};
struct pace_figure {
    const char *name; /* static */
    double value;
};

/* Time spent in the product's code for pacing. */
struct stopwatch {
    int64_t since_ns, ns;
    size_t entries;
};

struct pace_worker {
    struct pace_stage *stage;
    size_t index;
    unsigned boots;
    char incarnation[32];
    struct proc *proc;
    struct timerq *timers; /* the pacer's, so that its work can be told from ours */
    struct timer wake;
    struct model_conn *conn;
    struct metrics *metrics;
    struct fn *fn;
    struct usage *usage;
    struct pacer *pacer; /* NULL: not running */
    struct list calls;
    size_t turn_tenant, backlog_held;
    int64_t redis_ms; /* more on the way to Redis */
    bool wants_turn;
};

enum pace_ending { PACE_ENDS_WHOLE, PACE_ENDS_REFUSED, PACE_ENDS_AWAY, PACE_ENDS_EXHAUSTED, PACE_ENDS_BROKEN, PACE_ENDS_TOO_LONG };

struct pace_call {
    struct pacer_wait wait;
    struct list_link link; /* in its worker's, while that lives */
    struct pace_stage *stage;
    struct pace_worker *worker; /* NULL: it died */
    size_t refs, tenant, route;
    int64_t asked_ms, counted, input, output, first_ms, took_ms, microusd;
    char step[8];
    enum job_class cls;
    enum pace_ending ending;
    struct llm_limits told;
    int64_t retry_after_ms;
    bool is_backlog, is_told;
    unsigned tries;
};

/* Arrivals of one tenant, by chance. */
struct pace_source {
    struct pace_stage *stage;
    size_t tenant;
    enum job_class cls;
    double per_minute;
    int64_t until_ms;
    bool is_on;
};

/* A bucket that knows every size beforehand, fed the same calls in their order. */
struct pace_oracle {
    double level[PACE_DIM_COUNT];
    int64_t at_ms, used[PACE_DIM_COUNT], mark_ms, until_ms;
};

struct pace_tenant {
    int64_t tokens, calls; /* since the mark */
    int64_t *waits;        /* ms, of calls that were granted since the mark */
    size_t wait_count, wait_room;
    int64_t ended_microusd, ended_tokens, over_since_ms; /* today */
};

struct pace_stage {
    struct pace_plan plan;
    struct world *world;
    struct model_redis *redis;
    struct config *configs[2]; /* of even and odd workers */
    struct exact *exacts[PACE_ROUTES_MAX];
    struct pace_worker workers[PACE_WORKERS_MAX];
    struct pace_tenant tenants[PACE_TENANTS_MAX];
    struct pace_source sources[PACE_TENANTS_MAX];
    struct pace_oracle oracle;
    bool has_oracle;
    struct stopwatch watch;
    struct list lost; /* calls whose worker died and that nobody has taken yet */
    /* the provider's own troubles */
    bool is_out[PACE_ROUTES_MAX], is_storm[PACE_ROUTES_MAX], is_spent[PACE_ROUTES_MAX];
    bool is_strict; /* limits are known and unchanged: a refusal is a fault */
    /* what happened; since the mark where it says so */
    size_t refused, failed, granted, ended, broken, trades, skipped, asked; /* since the mark */
    size_t asked_all, ended_all, calls_all;
    int64_t out_since_ms[PACE_ROUTES_MAX], last_probe_ms[PACE_ROUTES_MAX], probe_gap_ms[PACE_ROUTES_MAX];
    int64_t mark_ms, day, ended_microusd, over_since_ms;
    bool is_closing; /* no more backlog */
    char tenant_names[PACE_TENANTS_MAX][8];
    int64_t slow_until_ms; /* a provider that comes back is slow */
    unsigned storm_refused;
    int64_t drain_ms; /* more time for what waits at the end: something was closed for long */
    struct pace_blames blames;
    struct pace_figure figures[PACE_FIGURES_MAX];
    size_t figure_count;
};

/* --- pace_stage.c ---------------------------------------------------------------------------------------------- */
struct pace_plan pace_plan_default(uint64_t seed);
struct pace_stage *pace_stage_new(const struct pace_plan *plan); /* no worker runs yet */
void pace_stage_free(struct pace_stage *s);
void pace_run(struct pace_stage *s, int64_t ms);
void pace_mark(struct pace_stage *s); /* figures count from now */
void pace_blame(struct pace_stage *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pace_figure(struct pace_stage *s, const char *name, double value);
int64_t pace_now(const struct pace_stage *s);
int64_t pace_between(struct pace_stage *s, int64_t low, int64_t high);
/* Everything works, nothing new comes: every call must end. False, and a blame: some do not. */
void pace_heal(struct pace_stage *s);
bool pace_drain(struct pace_stage *s, int64_t limit_ms);
double pace_jain(const struct pace_stage *s, size_t first, size_t count); /* of tokens since the mark */
int64_t pace_p99(const struct pace_stage *s, size_t first, size_t count); /* of waits since the mark */

/* --- pace_worker.c --------------------------------------------------------------------------------------------- */
void pace_worker_start(struct pace_stage *s, size_t i);
void pace_worker_kill(struct pace_stage *s, size_t i);
void pace_worker_pause(struct pace_stage *s, size_t i, int64_t ms);
void pace_worker_resume(struct pace_stage *s, size_t i);
void pace_workers_start(struct pace_stage *s, size_t count);
size_t pace_workers_alive(const struct pace_stage *s);
void pace_watch_in(struct pace_stage *s);
void pace_watch_out(struct pace_stage *s);

/* --- pace_call.c ----------------------------------------------------------------------------------------------- */
void pace_call_ask(struct pace_worker *k, struct pace_call *c);
struct pace_call *pace_call_new(struct pace_stage *s, size_t tenant, enum job_class cls);
void pace_call_unref(void *call);
void pace_calls_orphan(struct pace_worker *k); /* the worker died */

/* --- pace_load.c ----------------------------------------------------------------------------------------------- */
void pace_load_backlog(struct pace_worker *k);
void pace_load_source(struct pace_stage *s, size_t i, double per_minute, enum job_class cls, int64_t for_ms);
void pace_load_lost(struct pace_stage *s); /* calls of the dead go to the living */
void pace_oracle_start(struct pace_stage *s);
double pace_oracle_use(const struct pace_stage *s, enum pace_dim d);
void pace_oracle_feed(struct pace_stage *s, const struct pace_call *c);

#endif
