/* From a seed: who is there, what they submit, and what is done to them. Faults come for about forty seconds of virtual time, then everything
 * is healed and the world must come to rest. One world in twelve is left alone: there every job runs undisturbed, and the judge is
 * stricter. */
#include "tests/sim/scenario.h"

#include <assert.h>

enum { FAULTS_FROM_MS = 1500, FAULTS_UNTIL_MS = 40000, SUBMITS_UNTIL_MS = 34000, FAULTS_MAX = 14 };

struct scenario {
    struct stage stage;
    bool is_calm, is_fair; /* is_fair: small windows, keys, priorities */
    struct rng own;        /* of what came later: the other seeds keep their story */
    char poison[CROWD_JOBS_MAX]; /* by index of the crowd's job */
    unsigned kills;
};

static int64_t chance(struct scenario *s, int64_t below)
{
    return (int64_t)rng_below(world_rng(s->stage.plant.world), (uint64_t)below);
}

static void after(struct scenario *s, int64_t ms, sim_fn *fn, void *arg)
{
    world_after(s->stage.plant.world, ms, fn, NULL, arg);
}

/* --- what comes and goes: workers ------------------------------------------------------------------------------------------ */
struct act { /* a fault on one process, and its end */
    struct scenario *s;
    struct sim_worker *worker;
    struct sim_gateway *gateway;
};

static void act_later(const struct act *a, int64_t ms, sim_fn *fn)
{
    struct act *copy = malloc(sizeof *copy);

    assert(copy);
    *copy = *a;
    world_after(a->s->stage.plant.world, ms, fn, free, copy);
}

static void worker_back(void *arg)
{
    struct act *a = arg;

    if (!a->s->stage.is_healed && !sim_worker_is_running(a->worker)) sim_worker_start(a->worker);
    free(a);
}

static void worker_goes_on(void *arg)
{
    struct act *a = arg;

    sim_worker_resume(a->worker);
    free(a);
}

static void worker_reaches(void *arg)
{
    struct act *a = arg;

    sim_worker_cut_redis(a->worker, false);
    free(a);
}

static void worker_replaced(void *arg)
{
    struct act *a = arg;

    if (sim_worker_is_draining(a->worker) && !a->s->stage.is_healed)
        act_later(a, 500, worker_replaced);
    else if (!sim_worker_is_running(a->worker) && !a->s->stage.is_healed)
        sim_worker_start(a->worker);
    free(a);
}

static struct act worker_act(struct scenario *s)
{
    return (struct act){.s = s, .worker = s->stage.workers[chance(s, (int64_t)s->stage.worker_count)]};
}

static void kill_worker(struct scenario *s)
{
    const struct act a = worker_act(s);

    sim_worker_kill(a.worker);
    act_later(&a, chance(s, 9000), worker_back);
}

static void pause_worker(struct scenario *s)
{
    const struct act a = worker_act(s);

    if (chance(s, 2)) sim_worker_hold_records(a.worker, true);
    sim_worker_pause(a.worker);
    act_later(&a, 300 + chance(s, chance(s, 2) ? 4000 : 16000), worker_goes_on);
}

static void drain_worker(struct scenario *s)
{
    const struct act a = worker_act(s);

    sim_worker_drain(a.worker);
    act_later(&a, 500 + chance(s, 3000), worker_replaced);
}

static void cut_worker(struct scenario *s)
{
    const struct act a = worker_act(s);

    sim_worker_cut_redis(a.worker, true);
    act_later(&a, 200 + chance(s, 8000), worker_reaches);
}

/* Sleeps, and wakes without Redis: only the log can tell it what happened meanwhile. */
static void worker_stumbles_on(void *arg)
{
    struct act *a = arg;

    sim_worker_resume(a->worker);
    act_later(a, chance(a->s, 3000), worker_reaches);
    free(a);
}

static void stumble_worker(struct scenario *s)
{
    const struct act a = worker_act(s);

    if (chance(s, 2)) sim_worker_hold_records(a.worker, true);
    sim_worker_pause(a.worker);
    sim_worker_cut_redis(a.worker, true);
    act_later(&a, 2000 + chance(s, 12000), worker_stumbles_on);
}

/* --- gateways ---------------------------------------------------------------------------------------------------------------- */
static void gateway_back(void *arg)
{
    struct act *a = arg;

    sim_gateway_resume(a->gateway);
    if (!a->s->stage.is_healed && !sim_gateway_is_running(a->gateway)) sim_gateway_start(a->gateway);
    free(a);
}

static void disturb_gateway(struct scenario *s)
{
    const struct act a = {.s = s, .gateway = s->stage.gateways[chance(s, (int64_t)s->stage.gateway_count)]};
    int64_t how = chance(s, 4);

    if (how == 0) sim_gateway_wind_up(a.gateway);
    if (how == 1) sim_gateway_pause(a.gateway);
    if (how >= 2) sim_gateway_kill(a.gateway);
    act_later(&a, (how == 0 ? 3500 : 100) + chance(s, 5000), gateway_back);
}

/* --- servers ------------------------------------------------------------------------------------------------------------------- */
static void redis_back(void *arg)
{
    struct scenario *s = arg;

    if (s->stage.is_healed || model_redis_is_up(s->stage.plant.redis)) return;
    world_trace(s->stage.plant.world, "Redis is there again");
    model_redis_up(s->stage.plant.redis, false);
}

static void redis_back_without_tail(void *arg)
{
    struct scenario *s = arg;

    if (s->stage.is_healed || model_redis_is_up(s->stage.plant.redis)) return;
    world_trace(s->stage.plant.world, "Redis is there again, as of its last save");
    model_redis_up(s->stage.plant.redis, true);
}

static void redis_goes(struct scenario *s)
{
    world_trace(s->stage.plant.world, "Redis goes down");
    model_redis_resume(s->stage.plant.redis);
    model_redis_down(s->stage.plant.redis);
}

static void redis_loses_now(void *arg)
{
    struct scenario *s = arg;

    if (s->stage.is_healed || !model_redis_is_up(s->stage.plant.redis)) return;
    redis_goes(s);
    after(s, 100 + chance(s, 4000), redis_back_without_tail, s);
}

static void redis_resumes(void *arg)
{
    struct scenario *s = arg;

    world_trace(s->stage.plant.world, "Redis goes on");
    model_redis_resume(s->stage.plant.redis);
}

static void redis_writes_again(void *arg)
{
    struct scenario *s = arg;

    world_trace(s->stage.plant.world, "Redis has memory again");
    model_redis_refuse(s->stage.plant.redis, false);
}

static void disturb_redis(struct scenario *s)
{
    struct model_redis *redis = s->stage.plant.redis;
    int64_t how = chance(s, 8);

    if (!model_redis_is_up(redis)) return;
    if (how < 2) {
        redis_goes(s);
        after(s, 50 + chance(s, 8000), redis_back, s);
    } else if (how < 4) {
        model_redis_save(redis);
        after(s, 50 + chance(s, 1500), redis_loses_now, s);
    } else if (how < 6) {
        world_trace(s->stage.plant.world, "Redis is wiped");
        model_redis_flush(redis);
    } else if (how < 7) {
        world_trace(s->stage.plant.world, "Redis has no memory left");
        model_redis_refuse(redis, true);
        after(s, 100 + chance(s, 6000), redis_writes_again, s);
    } else {
        world_trace(s->stage.plant.world, "Redis is paused");
        model_redis_pause(redis);
        after(s, 100 + chance(s, 8000), redis_resumes, s);
    }
}

static void kafka_resumes(void *arg)
{
    struct scenario *s = arg;

    if (model_kafka_is_paused(s->stage.plant.kafka)) world_trace(s->stage.plant.world, "Kafka goes on");
    model_kafka_resume(s->stage.plant.kafka);
}

static void kafka_is_quick(void *arg)
{
    model_kafka_slow_fetch(((struct scenario *)arg)->stage.plant.kafka, TOPIC_COUNT, 0);
}

static void disturb_kafka(struct scenario *s)
{
    if (chance(s, 2)) {
        int64_t lag = 20 + chance(s, 600);

        world_trace(s->stage.plant.world, "Kafka's fetches take up to %lld ms", (long long)lag);
        model_kafka_slow_fetch(s->stage.plant.kafka, TOPIC_COUNT, lag);
        after(s, 500 + chance(s, 9000), kafka_is_quick, s);
        return;
    }
    if (model_kafka_is_paused(s->stage.plant.kafka)) return;
    world_trace(s->stage.plant.world, "Kafka is paused");
    model_kafka_pause(s->stage.plant.kafka);
    after(s, 100 + chance(s, 9000), kafka_resumes, s);
}

static void step_clock(struct scenario *s)
{
    int64_t by = (chance(s, 2) ? 1 : -1) * (1 + chance(s, 60000));

    world_trace(s->stage.plant.world, "every clock steps by %lld ms", (long long)by);
    world_step_clock(s->stage.plant.world, by);
}

static void provider_is_well(void *arg)
{
    static const struct provider_faults none;
    struct scenario *s = arg;

    world_trace(s->stage.plant.world, "the provider is well");
    model_provider_set(s->stage.plant.provider, &none);
}

static void disturb_provider(struct scenario *s)
{
    unsigned *shares[7];
    struct provider_faults f = {0};
    size_t n = 0;

    shares[n++] = &f.throttle;
    shares[n++] = &f.error;
    shares[n++] = &f.outage;
    shares[n++] = &f.cut;
    shares[n++] = &f.garbage;
    shares[n++] = &f.stall;
    shares[n++] = &f.refuse;
    for (int i = 0; i < 3; i++) *shares[chance(s, 7)] = (unsigned)chance(s, 33);
    f.long_wait = chance(s, 4) == 0 ? 40 : 0;
    world_trace(s->stage.plant.world, "the provider is unwell: 429 %u, 500 %u, 503 %u, cut %u, garbage %u, stall %u, refused %u", f.throttle,
                f.error, f.outage, f.cut, f.garbage, f.stall, f.refuse);
    model_provider_set(s->stage.plant.provider, &f);
    after(s, 500 + chance(s, 10000), provider_is_well, s);
}

static void fault(void *arg)
{
    static void (*const kinds[])(struct scenario *) = {
        kill_worker,   kill_worker,   kill_worker,     pause_worker,    pause_worker,  pause_worker,  drain_worker, drain_worker,    cut_worker,
        stumble_worker, disturb_redis, disturb_redis, disturb_gateway, disturb_gateway, disturb_kafka, disturb_kafka, step_clock, disturb_provider};
    struct scenario *s = arg;

    if (s->stage.is_healed) return;
    kinds[chance(s, sizeof kinds / sizeof *kinds)](s);
}

/* --- a job that kills whoever runs it ------------------------------------------------------------------------------------------- */
static void poisoned(void *arg)
{
    struct act *a = arg;

    a->s->kills++;
    sim_worker_kill(a->worker);
    if (a->s->stage.is_healed)
        sim_worker_start(a->worker);
    else
        act_later(a, 100 + chance(a->s, 3000), worker_back);
    free(a);
}

static void on_call(void *arg, const struct call_entry *e)
{
    struct scenario *s = arg;
    const struct crowd_job *j = crowd_find(s->stage.crowd, view_make(e->identity, JOB_ID_LEN));
    const struct act a = {.s = s, .worker = stage_worker(&s->stage, e->client)};

    if (j && s->poison[j->index] && a.worker) act_later(&a, 0, poisoned);
}

/* --- what is submitted ------------------------------------------------------------------------------------------------------------- */
struct wish {
    struct scenario *s;
    struct crowd_wish w;
    char input[120], members[180], key[32];
    bool is_poison;
    unsigned copies; /* at once, under one key; the last with another payload */
    bool is_other;
};

static void submit_wish(void *arg)
{
    struct wish *q = arg;
    char other[160];

    for (unsigned i = 0; i < q->copies; i++) {
        struct crowd_wish w = q->w;

        if (q->is_other && i + 1 == q->copies) {
            snprintf(other, sizeof other, " %s", q->input); /* other bytes: another payload */
            w.input = other;
        }
        struct crowd_job *j = crowd_submit(q->s->stage.crowd, &w);
        if (q->is_poison) q->s->poison[j->index] = 1;
    }
    free(q);
}

static void fill_workflow(struct scenario *s, struct wish *q)
{
    size_t n = 0;
    int64_t items;

    switch (chance(s, 5)) {
    case 0:
        q->w.workflow = "noop";
        snprintf(q->input, sizeof q->input, "{\"n\":%lld}", (long long)chance(s, 100));
        break;
    case 1:
        q->w.workflow = "each";
        items = chance(s, 5);
        n += (size_t)snprintf(q->input, sizeof q->input, "{\"items\":[");
        for (int64_t i = 0; i < items; i++)
            n += (size_t)snprintf(q->input + n, sizeof q->input - n, "%s\"i%lld\"", i ? "," : "", (long long)i);
        snprintf(q->input + n, sizeof q->input - n, "]}");
        break;
    case 2:
        q->w.workflow = "maybe";
        snprintf(q->input, sizeof q->input, "{\"go\":%s,\"text\":\"t%lld\"}", chance(s, 3) ? "true" : "false", (long long)chance(s, 100));
        break;
    default:
        q->w.workflow = "chat";
        snprintf(q->input, sizeof q->input, "{\"text\":\"t%lld\"}", (long long)chance(s, 100));
        break;
    }
}

static void fill_members(struct scenario *s, struct wish *q)
{
    struct buf out;

    buf_init(&out, sizeof q->members - 1);
    if (chance(s, 4) == 0) buf_put_str(&out, ",\"class\":\"bulk\"");
    if (chance(s, 12) == 0)
        buf_printf(&out, ",\"run_at\":\"%llds\"", (long long)(4 + chance(s, 10)));
    else if (chance(s, 12) == 0)
        buf_printf(&out, ",\"deadline\":\"%llds\"", (long long)(1 + chance(s, 20)));
    if (chance(s, 6) == 0) buf_printf(&out, ",\"metadata\":{\"m\":%lld}", (long long)chance(s, 9));
    if (s->is_fair && rng_below(&s->own, 2))
        buf_printf(&out, ",\"key\":\"%s:%d\"", rng_below(&s->own, 2) ? "one" : "two", (int)rng_below(&s->own, 2));
    if (s->is_fair && rng_below(&s->own, 3) == 0) buf_printf(&out, ",\"priority\":%d", (int)rng_below(&s->own, 10));
    (void)view_copy(buf_view(&out), q->members, sizeof q->members);
    buf_fini(&out);
}

static void plan_wish(struct scenario *s, size_t index)
{
    struct wish *q = calloc(1, sizeof *q);

    assert(q);
    q->s = s;
    q->copies = 1;
    fill_workflow(s, q);
    fill_members(s, q);
    q->w.tenant = (size_t)chance(s, PLANT_TENANTS);
    q->w.input = q->input;
    q->w.members = q->members;
    q->w.watchers = (unsigned)chance(s, 4);
    q->w.mode = chance(s, 8) == 0 ? CROWD_WAIT : chance(s, 8) == 0 ? CROWD_STREAM : CROWD_PLAIN;
    q->w.cancel_after_ms = chance(s, 10) == 0 ? chance(s, 6000) : -1;
    q->w.repeat_after_ms = chance(s, 14) == 0 ? chance(s, 2000) : -1;
    q->w.peeks = chance(s, 8) == 0;
    if (chance(s, 3) == 0) {
        snprintf(q->key, sizeof q->key, "key-%zu", index);
        q->w.key = q->key;
        if (chance(s, 4) == 0) {
            q->copies = 2 + (unsigned)chance(s, 2);
            q->is_other = chance(s, 2) == 0;
        }
    }
    q->is_poison = !s->is_calm && chance(s, 40) == 0 && q->w.cancel_after_ms < 0;
    if (q->is_poison) q->w.mode = CROWD_PLAIN;
    world_after(s->stage.plant.world, chance(s, SUBMITS_UNTIL_MS), submit_wish, free, q);
}

/* --- a world ----------------------------------------------------------------------------------------------------------------------------- */
static void start_worker(void *arg)
{
    struct act *a = arg;

    if (!sim_worker_is_running(a->worker)) sim_worker_start(a->worker);
    free(a);
}

static void plan(struct scenario *s)
{
    size_t jobs = 20 + (size_t)chance(s, 41), faults = 1 + (size_t)chance(s, FAULTS_MAX);

    model_provider_on_call(s->stage.plant.provider, on_call, s);
    model_provider_speed(s->stage.plant.provider, 1 + chance(s, 300), 1 + chance(s, chance(s, 3) ? 40 : 300), 1 + chance(s, 20));
    for (size_t i = 0; i < s->stage.worker_count; i++) {
        const struct act a = {.s = s, .worker = s->stage.workers[i]};

        act_later(&a, chance(s, s->is_calm || chance(s, 4) ? 500 : 20000), start_worker);
    }
    for (size_t i = 0; i < jobs; i++) plan_wish(s, i);
    for (size_t i = 0; !s->is_calm && i < faults; i++)
        after(s, FAULTS_FROM_MS + chance(s, FAULTS_UNTIL_MS - FAULTS_FROM_MS), fault, s);
}

bool scenario_run(uint64_t seed, bool trace, const struct workflows *ws, struct scenario_result *ret)
{
    struct scenario *s = calloc(1, sizeof *s);
    struct rng rng;
    bool is_good;

    assert(s);
    rng_seed(&rng, seed ^ 0x5eed);
    struct stage_options o = {.plant = {.seed = seed, .trace = trace, .workflows = ws}};
    o.plant.partitions = 4 + (int32_t)rng_below(&rng, 5);
    o.plant.requests_per_minute = rng_below(&rng, 8) == 0 ? 600 : 0;
    o.plant.learns = seed % 4 == 0;
    o.plant.max_jobs = rng_below(&rng, 4) == 0 ? 4 : 100;
    o.plant.heartbeat_ms = 1000 + (int64_t)rng_below(&rng, 5000);
    o.plant.events_ms = rng_below(&rng, 6) == 0 ? 2000 : 0;
    o.workers = 2 + (size_t)rng_below(&rng, 3);
    o.gateways = 1 + (size_t)rng_below(&rng, 2);
    s->is_calm = rng_below(&rng, 12) == 0;
    rng_seed(&s->own, seed ^ 0xfa17);
    s->is_fair = seed % 3 == 1;
    if (s->is_fair && rng_below(&s->own, 4)) o.plant.window = 8 + (int64_t)rng_below(&s->own, 24);
    stage_init(&s->stage, &o);
    plan(s);
    stage_run_for(&s->stage, FAULTS_UNTIL_MS);
    const struct judge_expect expect = {.is_calm = s->is_calm, .are_streams_short = o.plant.events_ms > 0};
    is_good = stage_finish(&s->stage, &expect);
    ret->hash = world_hash(s->stage.plant.world);
    ret->virtual_ms = world_now_ms(s->stage.plant.world);
    ret->jobs = crowd_count(s->stage.crowd);
    ret->calls = model_provider_calls(s->stage.plant.provider);
    ret->resets = crowd_resets(s->stage.crowd);
    ret->fault_count = s->stage.plant.fault_count;
    memcpy(ret->faults, s->stage.plant.faults, sizeof ret->faults);
    stage_fini(&s->stage);
    free(s);
    return is_good;
}
