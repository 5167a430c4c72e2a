/* Setting up a world and bringing it to its end. */
#include "tests/sim/stage.h"

#include <assert.h>

void stage_init(struct stage *s, const struct stage_options *o)
{
    char name[24];

    memset(s, 0, sizeof *s);
    assert(o->workers <= STAGE_WORKERS_MAX && o->gateways <= STAGE_GATEWAYS_MAX && o->gateways > 0);
    plant_init(&s->plant, &o->plant);
    for (size_t i = 0; i < o->workers; i++) {
        snprintf(name, sizeof name, "w%zu", i + 1);
        s->workers[s->worker_count++] = sim_worker_new(&s->plant, name);
    }
    for (size_t i = 0; i < o->gateways; i++) {
        snprintf(name, sizeof name, "g%zu", i + 1);
        s->gateways[s->gateway_count] = sim_gateway_new(&s->plant, name);
        sim_gateway_start(s->gateways[s->gateway_count++]);
    }
    s->judge = judge_new(&s->plant);
    s->crowd = crowd_new(&s->plant, s->gateways, s->gateway_count);
}

void stage_fini(struct stage *s)
{
    crowd_free(s->crowd);
    for (size_t i = 0; i < s->worker_count; i++) sim_worker_free(s->workers[i]);
    for (size_t i = 0; i < s->gateway_count; i++) sim_gateway_free(s->gateways[i]);
    plant_fini(&s->plant);
    judge_free(s->judge);
}

void stage_start_workers(struct stage *s)
{
    for (size_t i = 0; i < s->worker_count; i++)
        if (!sim_worker_is_running(s->workers[i])) sim_worker_start(s->workers[i]);
}

struct sim_worker *stage_worker(struct stage *s, const char *name)
{
    for (size_t i = 0; i < s->worker_count; i++)
        if (strcmp(sim_worker_name(s->workers[i]), name) == 0) return s->workers[i];
    return NULL;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void stage_run_for(struct stage *s, int64_t ms)
{
    (void)world_run(s->plant.world, world_now_ms(s->plant.world) + ms, never, NULL);
}

bool stage_run_until(struct stage *s, int64_t limit_ms, bool (*is_done)(void *arg), void *arg)
{
    return world_run(s->plant.world, world_now_ms(s->plant.world) + limit_ms, is_done, arg);
}

/* --- the end ----------------------------------------------------------------------------------------------------------- */
static void heal_processes(struct stage *s)
{
    for (size_t i = 0; i < s->worker_count; i++) {
        sim_worker_resume(s->workers[i]);
        sim_worker_cut_redis(s->workers[i], false);
        if (!sim_worker_is_running(s->workers[i])) sim_worker_start(s->workers[i]);
    }
    for (size_t i = 0; i < s->gateway_count; i++) {
        sim_gateway_resume(s->gateways[i]);
        if (!sim_gateway_is_running(s->gateways[i])) sim_gateway_start(s->gateways[i]);
    }
}

/* Who was told to drain before all was well ends after it: a fleet starts another in its place. */
static void heal_again(void *arg)
{
    heal_processes(arg);
}

void stage_heal(struct stage *s)
{
    static const struct provider_faults none;

    world_trace(s->plant.world, "--- all is well again");
    s->is_healed = true;
    model_redis_resume(s->plant.redis);
    model_redis_refuse(s->plant.redis, false);
    if (!model_redis_is_up(s->plant.redis)) model_redis_up(s->plant.redis, false);
    model_kafka_resume(s->plant.kafka);
    model_kafka_slow_fetch(s->plant.kafka, TOPIC_COUNT, 0);
    model_provider_set(s->plant.provider, &none);
    heal_processes(s);
    for (int64_t s_later = 5; s_later <= 80; s_later *= 2) world_after(s->plant.world, s_later * 1000, heal_again, NULL, s);
    crowd_calm(s->crowd);
}

/* Redis' view of every home is whole. */
static bool is_built(struct stage *s)
{
    static const char *const info[] = {"INFO"};
    struct view text = reply_str(model_redis_ask(s->plant.redis, info, 1)), line, boot = VIEW_NONE;
    char run_id[64] = "", key[24];
    const char *const get[] = {"GET", key};

    while (text.len > 0 && !boot.ptr) {
        if (!view_cut(text, '\n', &line, &text)) line = text, text = VIEW_NONE;
        if (view_starts(line, "run_id:")) boot = view_trim(view_make(line.ptr + 7, line.len - 7));
    }
    (void)view_copy(boot, run_id, sizeof run_id);
    for (int32_t p = 0; p < model_kafka_partitions(s->plant.kafka); p++) {
        snprintf(key, sizeof key, "built:{%d}", (int)p);
        if (!view_eq_str(reply_str(model_redis_ask(s->plant.redis, get, 2)), run_id)) return false;
    }
    return true;
}

static bool is_over(void *arg)
{
    struct stage *s = arg;

    if (!crowd_is_done(s->crowd) || !judge_all_ended(s->judge) || !judge_all_committed(s->judge)) return false;
    for (size_t i = 0; i < s->worker_count; i++)
        if (!sim_worker_is_idle(s->workers[i])) return false;
    return is_built(s);
}

static bool has_all(void *arg)
{
    return crowd_has_all(((const struct stage *)arg)->crowd);
}

/* Looked at once a virtual moment, not once an envelope: looking costs more than most envelopes. */
static bool run_to_the_end(struct stage *s)
{
    int64_t until = world_now_ms(s->plant.world) + STAGE_LIMIT_MS;

    while (!is_over(s)) {
        if (world_now_ms(s->plant.world) >= until) return false;
        stage_run_for(s, 100);
        if (s->plant.fault_count > 0) return false;
    }
    return true;
}

static void blame_watchers(struct stage *s)
{
    for (size_t i = 0; i < crowd_count(s->crowd); i++) {
        const struct crowd_job *j = crowd_job(s->crowd, i);

        if (!j->is_settled) plant_blame(&s->plant, "A: client %zu never had an answer that counts", i);
        for (const struct crowd_watch *w = j->first_watch; w; w = w->next)
            if (!w->is_done)
                plant_blame(&s->plant, "B: job %s: a watcher never saw the end; it stands at %llu-%llu", j->id,
                            (unsigned long long)w->cursor.epoch, (unsigned long long)w->cursor.seq);
    }
}

bool stage_finish(struct stage *s, const struct judge_expect *e)
{
    bool is_at_end;

    if (!s->is_healed) stage_heal(s);
    is_at_end = run_to_the_end(s);
    if (!is_at_end && s->plant.fault_count == 0) {
        judge_blame_unended(s->judge);
        blame_watchers(s);
    }
    if (is_at_end) {
        crowd_ask_all(s->crowd);
        if (!stage_run_until(s, 60000, has_all, s)) plant_blame(&s->plant, "A: a GET was never answered");
        (void)run_to_the_end(s); /* a record that its producer had given up may have landed meanwhile */
    }
    if (is_at_end) judge_all(s->judge, s->crowd, e);
    return s->plant.fault_count == 0;
}
