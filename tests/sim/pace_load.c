/* Where calls come from: a backlog that never ends, or arrivals by chance; and an oracle that is fed the same arrivals. */
#include "tests/sim/pace_stage.h"

#include <math.h>

enum { MINUTE = 60000 };

void pace_load_backlog(struct pace_worker *k)
{
    struct pace_stage *s = k->stage;

    if (s->is_closing) return;
    while ((int64_t)pacer_waiting(k->pacer) < s->plan.backlog) {
        struct pace_call *c = pace_call_new(s, k->turn_tenant++ % s->plan.backlog_tenants, CLASS_BULK);

        c->is_backlog = true;
        pace_call_ask(k, c);
    }
}

/* --- arrivals ------------------------------------------------------------------------------------------------------ */
static struct pace_worker *anybody(struct pace_stage *s)
{
    size_t first = (size_t)rng_below(world_rng(s->world), PACE_WORKERS_MAX);

    for (size_t i = 0; i < PACE_WORKERS_MAX; i++) {
        struct pace_worker *k = &s->workers[(first + i) % PACE_WORKERS_MAX];

        if (k->pacer) return k;
    }
    return NULL;
}

static void call_comes(void *arg)
{
    struct pace_call *c = arg;

    pace_call_ask(c->worker, c);
}

static void call_lost(void *arg)
{
    struct pace_call *c = arg;

    c->worker = NULL;
    list_push(&c->stage->lost, &c->link);
}

static void send(struct pace_stage *s, struct pace_call *c)
{
    c->worker = anybody(s);
    if (!c->worker) {
        call_lost(c);
        return;
    }
    proc_post(c->worker->proc, 0, call_comes, call_lost, c);
}

void pace_load_lost(struct pace_stage *s)
{
    if (!pace_workers_alive(s)) return;
    while (list_first(&s->lost)) {
        struct pace_call *c = LIST_ITEM(list_first(&s->lost), struct pace_call, link);

        list_remove(&s->lost, &c->link);
        send(s, c);
    }
}

static void source_on(void *arg);

static void source_wait(struct pace_source *f)
{
    double mean = MINUTE / f->per_minute;
    int64_t ms = (int64_t)(-mean * log(1 - rng_unit(world_rng(f->stage->world)))) + 1;

    f->is_on = pace_now(f->stage) + ms < f->until_ms;
    if (f->is_on) world_after(f->stage->world, ms, source_on, NULL, f);
}

static void source_on(void *arg)
{
    struct pace_source *f = arg;
    struct pace_call *c;

    if (!f->is_on) return;
    c = pace_call_new(f->stage, f->tenant, f->cls);
    pace_oracle_feed(f->stage, c);
    send(f->stage, c);
    source_wait(f);
}

void pace_load_source(struct pace_stage *s, size_t i, double per_minute, enum job_class cls, int64_t for_ms)
{
    s->sources[i] = (struct pace_source){
        .stage = s, .tenant = i, .cls = cls, .per_minute = per_minute, .until_ms = pace_now(s) + for_ms, .is_on = true};
    source_wait(&s->sources[i]);
}

/* --- the oracle ---------------------------------------------------------------------------------------------------- */
static double depth(int64_t limit)
{
    double deep = (double)limit * 0.02;

    return deep < 1 ? 1 : deep;
}

void pace_oracle_start(struct pace_stage *s)
{
    s->oracle = (struct pace_oracle){.at_ms = pace_now(s), .mark_ms = INT64_MAX};
    s->has_oracle = true;
}

/* In order: a call goes when all it needs is there, none before the one ahead of it. */
void pace_oracle_feed(struct pace_stage *s, const struct pace_call *c)
{
    struct pace_oracle *o = &s->oracle;
    const int64_t need[PACE_DIM_COUNT] = {1, c->input, c->output, c->counted};
    int64_t at = pace_now(s) > o->at_ms ? pace_now(s) : o->at_ms;

    if (!s->has_oracle) return;
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        int64_t limit = exact_limit(s->exacts[PACE_MAIN], d);
        double lacks = fmin((double)need[d], depth(limit)) - o->level[d];
        int64_t when = o->at_ms + (int64_t)ceil(lacks * MINUTE / (double)(limit ? limit : 1));

        if (limit > 0 && when > at) at = when;
    }
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) {
        double limit = (double)exact_limit(s->exacts[PACE_MAIN], d);

        if (limit <= 0) continue;
        o->level[d] = fmin(depth((int64_t)limit), o->level[d] + limit * (double)(at - o->at_ms) / MINUTE) - (double)need[d];
        if (at >= o->mark_ms && at < o->until_ms) o->used[d] += need[d];
    }
    o->at_ms = at;
}

/* Of the limit, between its mark and its end. */
double pace_oracle_use(const struct pace_stage *s, enum pace_dim d)
{
    double minutes = (double)(s->oracle.until_ms - s->oracle.mark_ms) / MINUTE;

    return (double)s->oracle.used[d] / minutes / (double)exact_limit(s->exacts[PACE_MAIN], d);
}
