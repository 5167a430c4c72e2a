#ifndef TESTS_PACE_WORLD_H
#define TESTS_PACE_WORLD_H
/* A world for pacing in virtual time: workers (a limiter and a backlog each), the pacing functions in a real redis-server
 * whose clock is set by hand, and an exact provider that counts every sliding minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/base/timerq.h"
#include "consumer/limiter.h"
#include "redis_server.h"

enum { PW_WORKERS_MAX = 8, PW_CALLS_MAX = 8192, PW_LINE = 64, PW_LOG_MAX = 1 << 17, PW_START = 1000000 };
enum pw_algorithm { PW_BUCKET, PW_SLIDING, PW_FIXED };
enum pw_call_state { PW_FREE, PW_SENT, PW_RUNNING, PW_REFUSED, PW_LOST };

struct pw_size { /* of one call */
    int64_t input, output, duration_ms;
    struct limiter_cost cost;
};

struct pw_call {
    struct timer timer;
    struct pw *world;
    size_t worker;
    uint64_t life; /* of the worker that sent it */
    enum pw_call_state state;
    int64_t at_ms; /* arrival at the provider */
    struct pw_size size;
    struct limiter_ticket ticket;
};

struct pw_worker {
    struct pw *world;
    size_t index;
    uint64_t life;
    char incarnation[32];
    struct limiter *limiter;
    struct timer timer, answer;
    int64_t paused_until_ms, load_at_ms; /* next arrival where the load is not a backlog */
    struct pw_size line[PW_LINE];
    size_t waiting; /* of line; a backlog keeps it full */
    bool is_dead, is_cut, answer_failed;
    struct pace_traded traded;
    size_t trades;
};

struct pw_entry {
    int64_t at_ms, n;
};
struct pw_dim { /* what the provider counts */
    int64_t limit, sum, peak_permille;
    double level;
    int64_t level_ms, minute, in_minute;
    struct pw_entry *log;
    size_t first, count;
    int64_t used; /* since the last pw_mark */
};

struct pw {
    struct rs rs;
    struct fn *fn;
    struct buf text;
    struct timerq *timers;
    struct rng rng;
    int64_t now_ms, skew_ms, mark_ms, changed_ms;
    struct pw_worker workers[PW_WORKERS_MAX];
    size_t worker_count;
    struct pw_call *calls;
    enum pw_algorithm algorithm;
    struct pw_dim dims[PACE_DIM_COUNT];
    struct pace_limits limits; /* configured */
    bool tells_headers, is_out, is_storm, hides_input;
    double strangers; /* share of the limits */
    int64_t input_mean, output_mean, duration_mean_ms, arrivals_per_minute; /* 0: a backlog */
    size_t accepted, refused, failed, granted, probes_seen, trades;
    int64_t last_arrival_ms, arrival_gap_min_ms; /* while it is out */
    int64_t redis_ms; /* CPU of the trades, as wall time */
    int64_t free_hint;
};

/* --- the provider ----------------------------------------------------------------------------- */
static inline void pw_forget(struct pw *w, struct pw_dim *d)
{
    while (d->count && d->log[d->first].at_ms <= w->now_ms - 60000) {
        d->sum -= d->log[d->first].n;
        d->first = (d->first + 1) % PW_LOG_MAX;
        d->count--;
    }
}

static inline void pw_count(struct pw *w, enum pace_dim dim, int64_t n)
{
    struct pw_dim *d = &w->dims[dim];
    int64_t minute = w->now_ms / 60000;
    pw_forget(w, d);
    if (d->count == PW_LOG_MAX) rs_die("provider's log is full");
    d->log[(d->first + d->count++) % PW_LOG_MAX] = (struct pw_entry){w->now_ms, n};
    d->sum += n;
    d->used += n;
    if (d->minute != minute) d->in_minute = 0;
    d->minute = minute;
    d->in_minute += n;
    d->level -= (double)n;
    if (d->limit > 0 && w->now_ms - w->changed_ms > 60000 && d->sum * 1000 / d->limit > d->peak_permille)
        d->peak_permille = d->sum * 1000 / d->limit + (d->sum * 1000 % d->limit > 0);
}

static inline double pw_left(struct pw *w, enum pace_dim dim)
{
    struct pw_dim *d = &w->dims[dim];
    double strangers = w->strangers * (double)d->limit;
    pw_forget(w, d);
    d->level += (double)(w->now_ms - d->level_ms) * ((double)d->limit - strangers) / 60000;
    d->level_ms = w->now_ms;
    if (d->level > (double)d->limit) d->level = (double)d->limit;
    if (w->algorithm == PW_BUCKET) return d->level;
    if (w->algorithm == PW_SLIDING) return (double)(d->limit - d->sum) - strangers;
    return (double)(d->limit - (d->minute == w->now_ms / 60000 ? d->in_minute : 0)) - strangers;
}

static inline bool pw_accepts(struct pw *w, const struct pw_size *s)
{
    int64_t need[PACE_DIM_COUNT] = {1, s->input, 1, s->cost.tokens};
    bool ok = true;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
        if (w->dims[d].limit > 0 && pw_left(w, d) < (double)need[d]) ok = false;
    return ok;
}

static inline void pw_headers(struct pw *w, struct limiter *l)
{
    struct pace_told told[PACE_DIM_COUNT];
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        double left = w->dims[d].limit > 0 ? pw_left(w, d) : -1;
        told[d] = (struct pace_told){-1, -1, -1};
        if (w->dims[d].limit > 0) told[d] = (struct pace_told){w->dims[d].limit, left > 0 ? (int64_t)left : 0, 1000};
    }
    limiter_told(l, told, w->now_ms);
}

/* --- calls ------------------------------------------------------------------------------------ */
static void pw_pump(struct pw_worker *k);
static void pw_call_step(void *arg);

static inline void pw_after(struct pw *w, struct timer *t, int64_t at_ms, timer_fn *fn, void *arg)
{
    if (!timerq_set(w->timers, t, at_ms, fn, arg)) rs_die("too many timers");
}

static inline int64_t pw_between(struct pw *w, int64_t low, int64_t high)
{
    return low + (int64_t)rng_below(&w->rng, (uint64_t)(high - low + 1));
}

/* A step's calls: the prompt's estimate is off by -50 .. +200 %, which the estimator has learnt to expect. */
static inline struct pw_size pw_size(struct pw *w)
{
    struct pw_size s = {.input = 0};
    double estimate = (double)pw_between(w, w->input_mean / 2, w->input_mean * 3 / 2);
    double off = 1 / (0.5 + 2.5 * rng_unit(&w->rng));
    s.input = (int64_t)(estimate * off) + 1;
    s.output = pw_between(w, w->output_mean / 2, w->output_mean * 3 / 2);
    s.duration_ms = pw_between(w, w->duration_mean_ms / 2, w->duration_mean_ms * 3 / 2);
    s.cost = (struct limiter_cost){.input = (int64_t)(estimate * 0.7167) + 1,
                                   .input_var = (int64_t)(estimate * estimate * 0.153),
                                   .output = w->output_mean,
                                   .output_var = w->output_mean * w->output_mean / 12,
                                   .tokens = w->dims[PACE_TOKENS].limit ? (int64_t)(estimate * 2) : 0,
                                   .expect_ms = w->duration_mean_ms,
                                   .least_ms = w->duration_mean_ms * 7 / 10};
    return s;
}

static inline void pw_call_end(struct pw_call *c, const struct limiter_outcome *o)
{
    struct pw *w = c->world;
    struct pw_worker *k = &w->workers[c->worker];
    c->state = PW_FREE;
    if (c->life != k->life || k->is_dead) return;
    limiter_done(k->limiter, &c->ticket, o, w->now_ms);
    pw_pump(k);
}

static inline void pw_call_arrive(struct pw_call *c)
{
    struct pw *w = c->world;
    if (w->is_out) {
        if (w->last_arrival_ms && w->now_ms - w->last_arrival_ms < w->arrival_gap_min_ms)
            w->arrival_gap_min_ms = w->now_ms - w->last_arrival_ms;
        w->last_arrival_ms = w->now_ms;
        w->failed++;
        c->state = PW_LOST;
    } else if (w->is_storm || !pw_accepts(w, &c->size)) {
        w->refused++;
        c->state = PW_REFUSED;
    } else {
        w->accepted++;
        pw_count(w, PACE_REQUESTS, 1);
        pw_count(w, PACE_INPUT, c->size.input);
        pw_count(w, PACE_TOKENS, c->size.cost.tokens);
        c->state = PW_RUNNING;
    }
    pw_after(w, &c->timer, w->now_ms + (c->state == PW_RUNNING ? c->size.duration_ms : 100), pw_call_step, c);
}

static void pw_call_step(void *arg)
{
    struct pw_call *c = arg;
    struct pw *w = c->world;
    struct pw_worker *k = &w->workers[c->worker];
    if (c->state == PW_RUNNING && c->at_ms >= 0) { /* made, whether anybody listens or not */
        pw_count(w, PACE_OUTPUT, c->size.output);
        c->at_ms = -1;
    }
    if (c->state != PW_SENT && c->life == k->life && k->paused_until_ms > w->now_ms) {
        pw_after(w, &c->timer, k->paused_until_ms, pw_call_step, c);
        return;
    }
    bool is_heard = c->life == k->life && !k->is_dead;
    if (is_heard && w->tells_headers && (c->state == PW_RUNNING || (c->state == PW_REFUSED && !w->is_storm)))
        pw_headers(w, k->limiter);
    switch (c->state) {
    case PW_SENT:
        pw_call_arrive(c);
        break;
    case PW_RUNNING:
        pw_call_end(c, &(struct limiter_outcome){LIMITER_OK, w->hides_input ? -1 : c->size.input, c->size.output, -1, 0, false});
        break;
    case PW_REFUSED:
        pw_call_end(c, &(struct limiter_outcome){LIMITER_REFUSED, -1, -1, -1, 0, false});
        break;
    case PW_LOST:
        pw_call_end(c, &(struct limiter_outcome){LIMITER_FAILED, -1, -1, -1, 0, false});
        break;
    case PW_FREE:
        break;
    }
}

static inline void pw_send(struct pw_worker *k, const struct pw_size *s, const struct limiter_ticket *t)
{
    struct pw *w = k->world;
    size_t i = 0;
    for (; i < PW_CALLS_MAX; i++)
        if (w->calls[(size_t)(w->free_hint + (int64_t)i) % PW_CALLS_MAX].state == PW_FREE) break;
    if (i == PW_CALLS_MAX) rs_die("too many calls");
    size_t at = (size_t)(w->free_hint + (int64_t)i) % PW_CALLS_MAX;
    struct pw_call *c = &w->calls[at];
    w->free_hint = (int64_t)at + 1;
    w->granted++;
    c->world = w;
    c->worker = k->index;
    c->life = k->life;
    c->state = PW_SENT;
    c->size = *s;
    c->ticket = *t;
    c->at_ms = w->now_ms + pw_between(w, 1, 30);
    pw_after(w, &c->timer, c->at_ms, pw_call_step, c);
}

/* --- workers ---------------------------------------------------------------------------------- */
static inline void pw_load(struct pw_worker *k)
{
    struct pw *w = k->world;
    if (!w->arrivals_per_minute) {
        while (k->waiting < PW_LINE) k->line[k->waiting++] = pw_size(w);
        return;
    }
    int64_t mean = 60000 * (int64_t)w->worker_count / w->arrivals_per_minute;
    while (k->load_at_ms <= w->now_ms && k->waiting < PW_LINE) {
        k->line[k->waiting++] = pw_size(w);
        k->load_at_ms += pw_between(w, 1, 2 * mean);
    }
}

static void pw_on_answer(void *arg)
{
    struct pw_worker *k = arg;
    struct pw *w = k->world;
    struct err e;
    if (k->paused_until_ms > w->now_ms) {
        pw_after(w, &k->answer, k->paused_until_ms, pw_on_answer, k);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "cut");
    limiter_traded(k->limiter, k->answer_failed ? &e : NULL, k->answer_failed ? NULL : &k->traded, w->now_ms);
    pw_pump(k);
}

static void pw_on_traded(void *arg, const struct err *e, const struct pace_traded *t)
{
    struct pw_worker *k = arg;
    struct pw *w = k->world;
    if (e) rs_die(e->text);
    k->traded = *t;
    if (t->is_probe && t->lease.n[PACE_REQUESTS]) w->probes_seen++;
}

static inline void pw_clock(struct pw *w)
{
    rs_set_clock(&w->rs, &w->text, 1700000000000 + w->now_ms + w->skew_ms);
}

static inline void pw_trade(struct pw_worker *k)
{
    struct pw *w = k->world;
    struct limiter_ask ask = {.expect_ms = w->duration_mean_ms, .least_ms = w->duration_mean_ms * 7 / 10};
    struct pace_trade t;
    struct timespec a, b;
    for (size_t i = 0; i < k->waiting; i++) limiter_demand_add(&ask.demand[PACE_QUIET], &k->line[i].cost);
    limiter_trade(k->limiter, &ask, w->now_ms, &t);
    k->trades++;
    w->trades++;
    k->answer_failed = k->is_cut;
    if (!k->is_cut) {
        pw_clock(w);
        fn_pace_trade(w->fn, &t, pw_on_traded, k);
        clock_gettime(CLOCK_MONOTONIC, &a);
        rs_pump(&w->rs);
        clock_gettime(CLOCK_MONOTONIC, &b);
        w->redis_ms += (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
        if (rng_below(&w->rng, 500) == 0) k->answer_failed = true; /* executed, but the answer is lost */
    }
    int64_t way = rng_below(&w->rng, 100) == 0 ? pw_between(w, 5, 60) : pw_between(w, 0, 2);
    pw_after(w, &k->answer, w->now_ms + way, pw_on_answer, k);
}

static void pw_on_timer(void *arg)
{
    pw_pump(arg);
}

static void pw_pump(struct pw_worker *k)
{
    struct pw *w = k->world;
    size_t used = 0;
    if (k->is_dead) return;
    if (k->paused_until_ms > w->now_ms) {
        pw_after(w, &k->timer, k->paused_until_ms, pw_on_timer, k);
        return;
    }
    pw_load(k);
    while (used < k->waiting) {
        struct limiter_ticket t = {0};
        if (!limiter_take(k->limiter, &k->line[used].cost, w->now_ms, &t)) break;
        pw_send(k, &k->line[used++], &t);
    }
    memmove(k->line, k->line + used, (k->waiting - used) * sizeof *k->line);
    k->waiting -= used;
    enum pace_rank best = k->waiting ? PACE_QUIET : PACE_RANK_COUNT;
    if (!w->arrivals_per_minute && !k->waiting) {
        pw_load(k);
        best = PACE_QUIET;
    }
    if (limiter_is_due(k->limiter, best, w->now_ms)) pw_trade(k);
    int64_t at = limiter_due_ms(k->limiter, best, w->now_ms);
    if (w->arrivals_per_minute && k->load_at_ms < at) at = k->load_at_ms;
    if (at <= w->now_ms) at = w->now_ms + 1;
    if (at != INT64_MAX) pw_after(w, &k->timer, at, pw_on_timer, k);
}

static inline void pw_worker_start(struct pw *w, size_t i)
{
    struct pw_worker *k = &w->workers[i];
    uint64_t life = k->life + 1;
    timerq_cancel(w->timers, &k->timer);
    timerq_cancel(w->timers, &k->answer);
    limiter_free(k->limiter);
    memset(k, 0, sizeof *k);
    k->world = w;
    k->index = i;
    k->life = life;
    k->load_at_ms = w->now_ms;
    snprintf(k->incarnation, sizeof k->incarnation, "w%zu:%llu", i, (unsigned long long)life);
    const struct limiter_options o = {
        .budget = VIEW_LIT("main/m/default"), .incarnation = view_of(k->incarnation), .limits = w->limits};
    k->limiter = limiter_new(&o);
    if (!k->limiter) rs_die("no memory");
    pw_after(w, &k->timer, w->now_ms + pw_between(w, 1, 20), pw_on_timer, k);
}

static inline void pw_kill(struct pw *w, size_t i)
{
    struct pw_worker *k = &w->workers[i];
    k->is_dead = true;
    timerq_cancel(w->timers, &k->timer);
    timerq_cancel(w->timers, &k->answer);
}

/* --- the world -------------------------------------------------------------------------------- */
static inline struct pw *pw_new(void)
{
    struct pw *w = calloc(1, sizeof *w);
    rs_start(&w->rs);
    buf_init(&w->text, 1 << 20);
    w->fn = fn_new(rs_port(&w->rs));
    rs_load_library(&w->rs, &w->text, "sluice_pace_v1");
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) w->dims[d].log = calloc(PW_LOG_MAX, sizeof *w->dims[d].log);
    w->calls = calloc(PW_CALLS_MAX, sizeof *w->calls);
    return w;
}

/* Everything as on the first day, but the server and what it has loaded. */
static inline void pw_reset(struct pw *w, uint64_t seed)
{
    rs_ask(&w->rs, &w->text, "FLUSHALL");
    for (size_t i = 0; i < PW_WORKERS_MAX; i++) {
        limiter_free(w->workers[i].limiter);
        memset(&w->workers[i], 0, sizeof w->workers[i]);
    }
    timerq_free(w->timers);
    memset(w->calls, 0, PW_CALLS_MAX * sizeof *w->calls);
    struct pw old = *w;
    memset(w, 0, sizeof *w);
    w->rs = old.rs;
    w->text = old.text;
    w->fn = fn_new(rs_port(&w->rs));
    fn_free(old.fn);
    w->calls = old.calls;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) w->dims[d].log = old.dims[d].log;
    w->timers = timerq_new(PW_CALLS_MAX + 64);
    w->now_ms = PW_START;
    w->changed_ms = -60001;
    w->arrival_gap_min_ms = INT64_MAX;
    w->limits.learns = true;
    w->input_mean = 500;
    w->output_mean = 100;
    w->duration_mean_ms = 2000;
    rng_seed(&w->rng, seed);
}

static inline void pw_free(struct pw *w)
{
    for (size_t i = 0; i < PW_WORKERS_MAX; i++) limiter_free(w->workers[i].limiter);
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) free(w->dims[d].log);
    timerq_free(w->timers);
    fn_free(w->fn);
    rs_stop(&w->rs);
    buf_fini(&w->text);
    free(w->calls);
    free(w);
}

static inline void pw_provider(struct pw *w, enum pw_algorithm a, int64_t requests, int64_t input, int64_t output,
                               int64_t tokens)
{
    const int64_t limits[PACE_DIM_COUNT] = {requests, input, output, tokens};
    w->algorithm = a;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        w->dims[d].limit = limits[d];
        w->dims[d].level = (double)limits[d];
        w->dims[d].level_ms = w->now_ms;
    }
}

static inline void pw_configure(struct pw *w)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) w->limits.per_minute[d] = w->dims[d].limit;
}

static inline void pw_start(struct pw *w, size_t workers)
{
    w->worker_count = workers;
    for (size_t i = 0; i < workers; i++) pw_worker_start(w, i);
}

static inline void pw_run(struct pw *w, int64_t ms)
{
    int64_t end = w->now_ms + ms;
    for (;;) {
        int64_t next = timerq_next_ms(w->timers);
        if (next > end) break;
        w->now_ms = next > w->now_ms ? next : w->now_ms;
        timerq_run(w->timers, w->now_ms, 64);
    }
    w->now_ms = end;
}

static inline void pw_mark(struct pw *w)
{
    w->mark_ms = w->now_ms;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) w->dims[d].used = 0;
}

/* Share of the binding limit used since the mark. */
static inline double pw_use(struct pw *w)
{
    double most = 0, minutes = (double)(w->now_ms - w->mark_ms) / 60000;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        double part = w->dims[d].limit ? (double)w->dims[d].used / minutes / (double)w->dims[d].limit : 0;
        if (part > most) most = part;
    }
    return most;
}

static inline int64_t pw_peak(struct pw *w)
{
    int64_t most = 0;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (w->dims[d].peak_permille > most) most = w->dims[d].peak_permille;
    return most;
}

static void pw_on_view(void *arg, const struct err *e, const struct pace_view *v)
{
    if (e) rs_die(e->text);
    *(struct pace_view *)arg = *v;
}

static inline struct pace_view pw_look(struct pw *w)
{
    struct pace_view v = {.is_found = false};
    pw_clock(w);
    fn_pace_view(w->fn, VIEW_LIT("main/m/default"), pw_on_view, &v);
    rs_pump(&w->rs);
    return v;
}

static inline void pw_print(struct pw *w, const char *what)
{
    if (!getenv("PACE_FIGURES")) return;
    print_message("  %-28s use %.4f peak %.3f refused %zu failed %zu calls %zu trades %zu (%.1f calls a trade, %.0f us)\n", what,
                  pw_use(w), (double)pw_peak(w) / 1000, w->refused, w->failed, w->granted, w->trades,
                  w->trades ? (double)w->granted / (double)w->trades : 0.0,
                  w->trades ? (double)w->redis_ms / (double)w->trades : 0.0);
}

#endif
