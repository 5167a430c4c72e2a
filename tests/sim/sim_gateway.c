/* The shell of a gateway on the models, as gateway/gateway.c is on the real servers. The HTTP server below the room is model_http.c;
 * the reader that a retry needs to fetch an old record stands here, in the place of common/io/kafka_replay.c. */
#include "tests/sim/sim_gateway.h"

#include "common/io/kafka.h"
#include "gateway/exchange.h"
#include <assert.h>

enum { TICK_MS = 1000, STOP_TICK_MS = 20, STOP_MS = 3000, UNDER_WAY_MAX = 500, HISTORY_MAX = 1 << 20, SCRATCH_MAX = 16 << 20 };

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

/* --- Redis' boot id ------------------------------------------------------------------------------------------------------ */
static void on_boot(void *arg, const struct err *e, struct view verdict)
{
    struct sim_gateway *g = arg;

    if (e || !view_copy(verdict, g->s.boot, sizeof g->s.boot)) g->s.boot[0] = '\0';
}

static void look_at_link(struct sim_gateway *g)
{
    const struct redis_port *port = fn_port(g->s.fn);
    bool is_up = port->is_up(port->self);

    if (is_up == g->was_up) return;
    g->was_up = is_up;
    g->s.boot[0] = '\0';
    if (is_up) fn_boot(g->s.fn, on_boot, g);
}

static void on_link(void *arg)
{
    struct sim_gateway *g = arg;

    g->was_up = false;
    g->s.sure_ms = g->s.clock->mono_ms + g->plant->config->consumer.lease_ttl_ms;
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
    fn_free(g->s.fn);
    model_conn_free(g->commands);
    model_conn_free(g->reads);
    model_conn_free(g->doorbells);
    exchanges_drop(&g->s);
    tails_free(g->s.tails);
    submit_free(g->s.submit);
    folds_free(g->s.folds);
    quota_free(g->s.quota);
    producer_free(g->s.producer);
    auth_free(g->s.auth);
    buf_fini(&g->s.scratch);
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
    bool is_idle = s->exchanges.count == 0 && submit_under_way(s->submit) == 0;

    if (s->is_stopping && (is_idle || s->clock->mono_ms >= g->stop_ms)) {
        world_after(g->plant->world, 0, exit_now, NULL, g);
        return;
    }
    look_at_link(g);
    if (g->was_up && !s->boot[0]) fn_boot(s->fn, on_boot, g);
    if (!producer_is_well(s->producer) && !model_kafka_is_paused(g->plant->kafka)) producer_trust(s->producer);
    timerq_set(s->timers, &g->tick, s->clock->mono_ms + (s->is_stopping ? STOP_TICK_MS : TICK_MS), on_tick, g);
}

static void turn(void *arg)
{
    look_at_link(arg);
}

/* --- building --------------------------------------------------------------------------------------------------------------- */
static void make_parts(struct sim_gateway *g)
{
    struct service *s = &g->s;
    const struct config *c = g->plant->config;
    const struct producer_options po = {.port = model_producer_port(g->kafka),
                                        .topics = &s->topics,
                                        .partitions = (uint32_t)c->kafka.partitions,
                                        .outstanding_max = UNDER_WAY_MAX};
    const struct folds_options fo = {.fn = s->fn, .reads = s->reads, .boot = s->boot, .active_max = 4, .waiting_max = 1000};

    s->producer = producer_new(&po);
    s->quota = quota_new(s->reads, s->clock);
    s->folds = folds_new(&fo);
    const struct submit_options so = {.producer = s->producer,
                                      .boot = s->boot,
                                      .topics = &s->topics,
                                      .fn = s->fn,
                                      .quota = s->quota,
                                      .clock = s->clock,
                                      .timers = s->timers,
                                      .rng = s->rng,
                                      .space = s->space,
                                      .results_ms = c->retention.results_ms,
                                      .value_max = JOB_BYTES_MAX,
                                      .under_way_max = UNDER_WAY_MAX};
    s->submit = submit_new(&so, s->workflows);
    const struct tails_options to = {.reads = s->reads,
                                     .doorbells = model_conn_sub_port(g->doorbells),
                                     .folds = s->folds,
                                     .clock = s->clock,
                                     .timers = s->timers,
                                     .heartbeat_ms = c->gateway.heartbeat_ms,
                                     .retry_ms = c->gateway.retry_ms,
                                     .watcher_bytes_max = (size_t)c->gateway.watcher_bytes_max,
                                     .watchers_max = 1000,
                                     .history_bytes_max = HISTORY_MAX};
    s->tails = tails_new(&to);
    assert(s->producer && s->quota && s->folds && s->submit && s->tails);
}

static void make(struct sim_gateway *g)
{
    struct plant *p = g->plant;
    struct service *s = &g->s;

    memset(s, 0, sizeof *s);
    list_init(&s->exchanges);
    buf_init(&s->scratch, SCRATCH_MAX);
    g->commands = model_conn_new(p->redis, g->proc);
    g->reads = model_conn_new(p->redis, g->proc);
    g->doorbells = model_conn_new(p->redis, g->proc);
    g->kafka = model_producer_new(p->kafka, g->proc);
    s->config = p->config;
    s->loop = (struct loop *)(void *)g; /* only handed on to kafka_replay_new */
    s->log = world_is_traced(p->world) ? log_new("gateway", LOG_INFO, proc_clock(g->proc), plant_log_line, g->proc) : NULL;
    s->clock = proc_clock(g->proc);
    s->timers = proc_timers(g->proc);
    s->rng = proc_rng(g->proc);
    s->fn = fn_new(model_conn_port(g->commands));
    s->reads = model_conn_port(g->reads);
    s->topics = p->topics;
    s->space = (struct id_space){(uint32_t)p->config->kafka.partitions, (uint32_t)p->config->kafka.lanes};
    s->auth = auth_new(p->config->tenants, p->config->tenant_count);
    s->workflows = (struct workflows *)(uintptr_t)p->workflows; /* never reloaded here */
    s->is_kafka_ready = true;
    assert(s->fn && s->auth && token_key_of(VIEW_LIT("a secret of every gateway"), &s->token_key));
    static const struct kafka_options nowhere;
    s->kafka = &nowhere;
    make_parts(g);
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
    g->s.sure_ms = g->s.clock->mono_ms + g->plant->config->consumer.lease_ttl_ms;
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
    assert(r && topics_parse(&g->plant->topics, view_of(o->topic), &r->topic));
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
