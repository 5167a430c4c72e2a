/* The shell of a gateway on the models, as gateway/gateway.c is on the real servers. The HTTP server below the room is model_http.c;
 * the reader that a retry needs to fetch an old record stands here, in the place of common/io/kafka_replay.c. */
#include "tests/sim/sim_gateway.h"

#include "common/io/kafka.h"
#include "gateway/service.h"
#include <assert.h>

enum { TICK_MS = 1000, STOP_TICK_MS = 20, STOP_MS = 3000, HISTORY_MAX = 1 << 20, SCRATCH_MAX = 16 << 20 };

struct sim_gateway {
    struct plant *plant;
    struct proc *proc;
    struct service s;
    struct model_conn *commands, *reads, *doorbells;
    struct model_producer *kafka;
    struct model_web *web; /* NULL: not running */
    struct timer tick;
    int64_t stop_ms;
    uint64_t resets;
    bool was_up;
    unsigned life;
};

/* --- the link to Redis ---------------------------------------------------------------------------------------------------- */
static void look_at_link(struct sim_gateway *g)
{
    const struct redis_port *port = fn_port(g->s.fn);
    bool is_up = port->is_up(port->self);

    if (is_up == g->was_up) return;
    g->was_up = is_up;
    service_link(&g->s, is_up);
}

static void on_link(void *arg)
{
    struct sim_gateway *g = arg;

    g->was_up = false; /* it went and came between two looks */
    look_at_link(g);
}

static void on_no_message(void *arg, struct view channel, struct view payload)
{
    (void)arg;
    (void)channel;
    (void)payload;
}

/* --- time ------------------------------------------------------------------------------------------------------------------ */
static void end(struct sim_gateway *g)
{
    g->resets += tails_counts(g->s.tails).resets;
    timerq_cancel(g->s.timers, &g->tick);
    model_web_free(g->web);
    g->web = NULL;
    proc_kill(g->proc);
    model_producer_free(g->kafka);
    service_close_redis(&g->s);
    model_conn_free(g->commands);
    model_conn_free(g->reads);
    model_conn_free(g->doorbells);
    service_close(&g->s);
    log_free(g->s.log);
    assert(timerq_next_ms(proc_timers(g->proc)) == INT64_MAX); /* what is freed leaves no timer behind */
}

static void exit_now(void *arg)
{
    struct sim_gateway *g = arg;

    if (!g->web) return;
    world_trace(g->plant->world, "%s exits", proc_name(g->proc));
    model_producer_flush(g->kafka);
    end(g);
}

static void on_tick(void *arg)
{
    struct sim_gateway *g = arg;
    struct service *s = &g->s;

    if (s->is_stopping && (!service_is_busy(s) || s->clock->mono_ms >= g->stop_ms)) {
        world_after(g->plant->world, 0, exit_now, NULL, g);
        return;
    }
    look_at_link(g);
    service_tick(s);
    if (!producer_is_well(s->producer) && !model_kafka_is_paused(g->plant->kafka)) producer_trust(s->producer);
    timerq_set(s->timers, &g->tick, s->clock->mono_ms + (s->is_stopping ? STOP_TICK_MS : TICK_MS), on_tick, g);
}

static void turn(void *arg)
{
    look_at_link(arg);
}

/* --- building --------------------------------------------------------------------------------------------------------------- */
static void make(struct sim_gateway *g)
{
    static const struct kafka_options nowhere;
    struct plant *p = g->plant;
    struct service *s = &g->s;
    struct err err;
    enum err_code code;

    memset(s, 0, sizeof *s);
    g->commands = model_conn_new(p->redis, g->proc);
    g->reads = model_conn_new(p->redis, g->proc);
    g->doorbells = model_conn_new(p->redis, g->proc);
    g->kafka = model_producer_new(p->kafka, g->proc);
    const struct service_options o = {
        .config = p->config,
        .loop = (struct loop *)(void *)g, /* only handed on to kafka_replay_new */
        .log = world_is_traced(p->world) ? log_new("gateway", LOG_INFO, proc_clock(g->proc), plant_log_line, g->proc) : NULL,
        .clock = proc_clock(g->proc),
        .timers = proc_timers(g->proc),
        .rng = proc_rng(g->proc),
        .commands = model_conn_port(g->commands),
        .reads = model_conn_port(g->reads),
        .doorbells = model_conn_sub_port(g->doorbells),
        .kafka = model_producer_port(g->kafka),
        .kafka_options = &nowhere,
        .under_way_max = 500,
        .folds_max = 4,
        .folds_waiting_max = 1000,
        .watchers_max = 1000,
        .history_bytes_max = HISTORY_MAX,
        .scratch_max = SCRATCH_MAX};

    code = service_begin(s, &o, &err);
    assert(code == ERR_OK);
    s->auth = auth_new(p->config->tenants, p->config->tenant_count);
    s->workflows = (struct workflows *)(uintptr_t)p->workflows; /* never reloaded here */
    s->is_kafka_ready = true;
    must(s->auth && token_key_of(VIEW_LIT("a secret of every gateway"), &s->token_key));
    code = service_open(s, &o, &err);
    assert(code == ERR_OK);
}

struct sim_gateway *sim_gateway_new(struct plant *p, const char *name)
{
    struct sim_gateway *g = calloc(1, sizeof *g);

    assert(g);
    g->plant = p;
    g->proc = proc_new(p->world, name, turn, g);
    proc_kill(g->proc);
    return g;
}

void sim_gateway_free(struct sim_gateway *g)
{
    if (g->web) end(g);
    free(g);
}

void sim_gateway_start(struct sim_gateway *g)
{
    struct redis_sub_port link;

    assert(!g->web);
    world_trace(g->plant->world, "%s starts", proc_name(g->proc));
    proc_revive(g->proc);
    memset(&g->tick, 0, sizeof g->tick);
    g->was_up = false;
    g->life++;
    make(g);
    link = model_conn_sub_port(g->commands);
    link.listen(link.self, on_no_message, on_link, g);
    g->web = model_web_new(g->proc, exchange_on_request, &g->s);
    timerq_set(g->s.timers, &g->tick, g->s.clock->mono_ms + TICK_MS, on_tick, g);
    proc_kick(g->proc);
}

void sim_gateway_kill(struct sim_gateway *g)
{
    if (!g->web) return;
    world_trace(g->plant->world, "%s is killed", proc_name(g->proc));
    end(g);
}

void sim_gateway_pause(struct sim_gateway *g)
{
    if (!g->web) return;
    world_trace(g->plant->world, "%s is paused", proc_name(g->proc));
    proc_pause(g->proc);
}

void sim_gateway_resume(struct sim_gateway *g)
{
    if (!g->web || !proc_is_paused(g->proc)) return;
    world_trace(g->plant->world, "%s goes on", proc_name(g->proc));
    proc_resume(g->proc);
}

void sim_gateway_slow_doorbells(struct sim_gateway *g, int64_t by_ms)
{
    if (g->web) model_conn_slow(g->doorbells, by_ms);
}

static void wind_up_now(void *arg)
{
    struct sim_gateway *g = arg;

    g->s.is_stopping = true;
    g->stop_ms = g->s.clock->mono_ms + STOP_MS;
    tails_wind_up(g->s.tails);
    timerq_set(g->s.timers, &g->tick, g->s.clock->mono_ms + STOP_TICK_MS, on_tick, g);
}

void sim_gateway_wind_up(struct sim_gateway *g)
{
    if (!g->web) return;
    world_trace(g->plant->world, "%s is told to end", proc_name(g->proc));
    g->life++;
    proc_post(g->proc, 0, wind_up_now, NULL, g);
}

unsigned sim_gateway_life(const struct sim_gateway *g)
{
    return g->life;
}

bool sim_gateway_is_running(const struct sim_gateway *g)
{
    return g->web != NULL;
}

const char *sim_gateway_name(const struct sim_gateway *g)
{
    return proc_name(g->proc);
}

struct model_web *sim_gateway_web(const struct sim_gateway *g)
{
    return g->web;
}

uint64_t sim_gateway_resets(const struct sim_gateway *g)
{
    return g->resets + (g->web ? tails_counts(g->s.tails).resets : 0);
}

/* --- reading one record back ----------------------------------------------------------------------------------------------------- */
struct kafka_replay {
    struct sim_gateway *g;
    enum topic topic;
    int32_t partition;
    int64_t from, to;
    kafka_record_fn *handle;
    void (*done)(void *arg, const struct err *e, int64_t next_offset);
    void *arg;
};

static void replay_read(void *arg)
{
    struct kafka_replay *r = arg;
    struct record_in rec;

    if (model_kafka_is_paused(r->g->plant->kafka)) {
        proc_post(r->g->proc, 100, replay_read, free, r);
        return;
    }
    for (int64_t at = r->from; at < r->to; at++)
        if (model_kafka_record(r->g->plant->kafka, r->topic, r->partition, at, &rec)) r->handle(r->arg, &rec);
    r->done(r->arg, NULL, r->to);
    free(r);
}

struct kafka_replay *kafka_replay_new(struct loop *l, struct log *log, const struct kafka_replay_options *o, struct err *err)
{
    struct sim_gateway *g = (struct sim_gateway *)(void *)l;
    struct kafka_replay *r = calloc(1, sizeof *r);

    (void)log;
    (void)err;
    must(r && topics_parse(&g->plant->topics, view_of(o->topic), &r->topic));
    r->g = g;
    r->partition = o->partition;
    r->from = o->from;
    r->to = o->to;
    r->handle = o->handle;
    r->done = o->done;
    r->arg = o->arg;
    proc_post(g->proc, 5 + (int64_t)rng_below(world_rng(g->plant->world), 20), replay_read, free, r);
    return r;
}
