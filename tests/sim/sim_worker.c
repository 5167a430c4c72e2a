/* The shell of a worker on the models, as consumer/shell.c is on the real servers: what it owns, in which order it ends. */
#include "tests/sim/sim_worker.h"

#include "schemas/fn.h"
#include "tests/sim/model_eval.h"
#include <assert.h>

struct sim_worker {
    struct plant *plant;
    struct proc *proc;
    struct log *log;
    struct model_conn *commands, *doorbell;
    struct model_producer *producer;
    struct model_consumer *consumer;
    struct model_client *client;
    struct model_eval *eval;
    struct fn *fn;
    struct worker *worker; /* NULL: not running */
    unsigned boots;
    char boot[16];
    bool is_draining, is_cut;
};

/* --- from the group --------------------------------------------------------------------------------------------------- */
static void on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    const struct sim_worker *w = arg;

    for (size_t i = 0; i < count; i++) world_trace(w->plant->world, "%s owns home %d", proc_name(w->proc), (int)partitions[i]);
    worker_on_assigned(w->worker, partitions, count);
}

static void on_revoked(void *arg, const int32_t *partitions, size_t count, bool lost)
{
    const struct sim_worker *w = arg;

    for (size_t i = 0; i < count; i++)
        world_trace(w->plant->world, "%s %s home %d", proc_name(w->proc), lost ? "lost" : "gave back", (int)partitions[i]);
    worker_on_revoked(w->worker, partitions, count, lost);
}

static void on_readable(void *arg)
{
    worker_on_readable(((const struct sim_worker *)arg)->worker);
}

static void on_commit(void *arg, enum topic topic, int32_t partition, int64_t offset, const struct err *e)
{
    worker_on_commit(((const struct sim_worker *)arg)->worker, topic, partition, offset, e);
}

static const struct model_consumer_events group_events = {
    .on_assigned = on_assigned, .on_revoked = on_revoked, .on_readable = on_readable, .on_commit = on_commit};

/* --- turning ------------------------------------------------------------------------------------------------------------ */
static void kick(void *arg)
{
    proc_kick(((const struct sim_worker *)arg)->proc);
}

static struct view no_secret(void *arg, const struct config_provider *p, size_t key_index)
{
    (void)arg;
    (void)p;
    (void)key_index;
    return VIEW_LIT("secret");
}

/* What the process held is gone; what it sent may arrive. */
static void end(struct sim_worker *w)
{
    worker_free(w->worker);
    w->worker = NULL;
    proc_kill(w->proc);
    model_consumer_free(w->consumer);
    model_producer_free(w->producer);
    model_eval_free(w->eval);
    model_client_free(w->client);
    fn_free(w->fn);
    model_conn_free(w->commands);
    model_conn_free(w->doorbell);
    log_free(w->log);
    assert(timerq_next_ms(proc_timers(w->proc)) == INT64_MAX); /* what is freed leaves no timer behind */
}

static void exit_now(void *arg)
{
    struct sim_worker *w = arg;

    if (!w->worker) return;
    world_trace(w->plant->world, "%s is drained and exits", proc_name(w->proc));
    model_producer_flush(w->producer);
    end(w);
}

static void turn(void *arg)
{
    struct sim_worker *w = arg;

    worker_turn(w->worker);
    if (w->is_draining && worker_is_drained(w->worker)) world_after(w->plant->world, 0, exit_now, NULL, w);
}

/* --- life ---------------------------------------------------------------------------------------------------------------- */
struct sim_worker *sim_worker_new(struct plant *p, const char *name)
{
    struct sim_worker *w = calloc(1, sizeof *w);

    assert(w);
    w->plant = p;
    w->proc = proc_new(p->world, name, turn, w);
    proc_kill(w->proc);
    return w;
}

void sim_worker_free(struct sim_worker *w)
{
    if (w->worker) end(w);
    free(w);
}

static void make(struct sim_worker *w)
{
    struct plant *p = w->plant;
    struct err err;

    w->log = world_is_traced(p->world) ? log_new("consumer", LOG_DEBUG, proc_clock(w->proc), plant_log_line, w->proc) : NULL;
    w->commands = model_conn_new(p->redis, w->proc);
    w->doorbell = model_conn_new(p->redis, w->proc);
    w->producer = model_producer_new(p->kafka, w->proc);
    w->client = model_client_new(p->provider, w->proc);
    w->eval = model_eval_new(w->proc);
    w->fn = fn_new(model_conn_port(w->commands));
    w->consumer = model_consumer_new(p->kafka, w->proc, &group_events, w);
    const struct worker_ports ports = {.config = p->config,
                                       .topics = &p->topics,
                                       .workflows = p->workflows,
                                       .clock = proc_clock(w->proc),
                                       .timers = proc_timers(w->proc),
                                       .rng = proc_rng(w->proc),
                                       .log = w->log,
                                       .publish = model_producer_port(w->producer),
                                       .fn = w->fn,
                                       .redis = model_conn_port(w->commands),
                                       .doorbell = model_conn_sub_port(w->doorbell),
                                       .intake = model_consumer_port(w->consumer),
                                       .replay = model_consumer_replay_port(w->consumer),
                                       .http = model_client_port(w->client),
                                       .eval = model_eval_port(w->eval),
                                       .provider_key = no_secret,
                                       .kick = kick,
                                       .kick_arg = w,
                                       .worker_name = view_of(proc_name(w->proc)),
                                       .boot = view_of(w->boot)};
    w->worker = worker_new(&ports, &err);
    assert(w->worker);
}

void sim_worker_start(struct sim_worker *w)
{
    assert(!w->worker);
    snprintf(w->boot, sizeof w->boot, "boot%04u", ++w->boots);
    world_trace(w->plant->world, "%s starts, %s", proc_name(w->proc), w->boot);
    proc_revive(w->proc);
    w->is_draining = w->is_cut = false;
    make(w);
    proc_kick(w->proc);
}

void sim_worker_kill(struct sim_worker *w)
{
    if (!w->worker) return;
    world_trace(w->plant->world, "%s is killed", proc_name(w->proc));
    end(w);
}

void sim_worker_pause(struct sim_worker *w)
{
    if (!w->worker) return;
    world_trace(w->plant->world, "%s is paused", proc_name(w->proc));
    proc_pause(w->proc);
}

void sim_worker_resume(struct sim_worker *w)
{
    if (!w->worker || !proc_is_paused(w->proc)) return;
    world_trace(w->plant->world, "%s goes on", proc_name(w->proc));
    model_producer_hold(w->producer, false);
    proc_resume(w->proc);
}

void sim_worker_hold_records(struct sim_worker *w, bool on)
{
    if (!w->worker) return;
    world_trace(w->plant->world, "%s %s its records", proc_name(w->proc), on ? "holds" : "lets go of");
    model_producer_hold(w->producer, on);
}

static void drain_now(void *arg)
{
    struct sim_worker *w = arg;

    worker_drain(w->worker);
}

void sim_worker_drain(struct sim_worker *w)
{
    if (!w->worker || w->is_draining) return;
    world_trace(w->plant->world, "%s is told to drain", proc_name(w->proc));
    w->is_draining = true;
    proc_post(w->proc, 0, drain_now, NULL, w);
}

void sim_worker_cut_redis(struct sim_worker *w, bool is_cut)
{
    if (!w->worker || w->is_cut == is_cut) return;
    world_trace(w->plant->world, "%s %s", proc_name(w->proc), is_cut ? "does not reach Redis" : "reaches Redis again");
    w->is_cut = is_cut;
    (is_cut ? model_conn_cut : model_conn_mend)(w->commands);
    (is_cut ? model_conn_cut : model_conn_mend)(w->doorbell);
}

/* --- looking ---------------------------------------------------------------------------------------------------------------- */
bool sim_worker_is_running(const struct sim_worker *w)
{
    return w->worker != NULL;
}

bool sim_worker_is_paused(const struct sim_worker *w)
{
    return w->worker && proc_is_paused(w->proc);
}

bool sim_worker_is_draining(const struct sim_worker *w)
{
    return w->worker && w->is_draining;
}

const char *sim_worker_name(const struct sim_worker *w)
{
    return proc_name(w->proc);
}

struct worker_stats sim_worker_stats(const struct sim_worker *w)
{
    struct worker_stats s;

    assert(w->worker);
    worker_stats(w->worker, &s);
    return s;
}

bool sim_worker_is_idle(const struct sim_worker *w)
{
    struct worker_stats s;

    if (!w->worker) return true;
    s = sim_worker_stats(w);
    return s.running == 0 && s.queued == 0 && s.foreign == 0 && s.sleeping == 0 && s.calls == 0;
}
