/* Named cases of Redis: wiped, put back without its tail, standing still, not reached. It is a view; whatever it loses, no promise goes with it. */
#include "tests/sim/named_priv.h"

/* --- 3: a wipe plus a clock step back --------------------------------------------------------------------------------------------- */
static void wipe_and_step_back(struct named *n)
{
    model_provider_fix(named_plant_of(n)->provider, 50, 100, 20);
    sim_worker_start(named_worker(n, "w1"));
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->step = "second";
    UNTIL(n, named_is_calling);
    model_redis_flush(named_plant_of(n)->redis);
    world_step_clock(named_plant_of(n)->world, -60000);
    stage_run_for(&n->s, 20);
    sim_worker_kill(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w2"));
    UNTIL(n, named_is_ended);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 2); /* counted only if its epoch is the higher one, whatever the clock says */
    EXPECT(n, named_whole_calls(n, "first") == 1);
}

/* --- 4: a lost tail ----------------------------------------------------------------------------------------------------------------- */
static void lost_tail(struct named *n)
{
    struct crowd_job *early;
    int64_t before;

    model_provider_fix(named_plant_of(n)->provider, 20, 100, 30);
    stage_start_workers(&n->s);
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->want = 6;
    UNTIL(n, named_has_seen);
    model_redis_save(named_plant_of(n)->redis);
    early = named_submit(n, "noop", "{\"n\":1}"); /* begins and ends within the lost second */
    stage_run_for(&n->s, 1000);
    before = named_stream_length(n);
    model_redis_down(named_plant_of(n)->redis);
    model_redis_up(named_plant_of(n)->redis, true);
    EXPECT(n, named_stream_length(n) < before);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 1);
    EXPECT(n, early->is_accepted && judged_starts(judge_find(n->s.judge, early->id)) == 1);
}

/* --- sure again ---------------------------------------------------------------------------------------------------------------------- */
/* Up to when the owner of the only home said last that it lacks no job; wall ms. */
static int64_t told_until(struct named *n)
{
    static const char *const argv[] = {"GET", "told:{0}"};

    return reply_int(model_redis_ask(named_plant_of(n)->redis, argv, 2), 0);
}

/* New jobs come all the time, and wait behind their key. Redis is away for a while; soon after it is back its gateway may call an id unknown. */
static void sure_again(struct named *n)
{
    const struct crowd_wish wish = {
        .workflow = "chat", .input = NAMED_CHAT, .members = ",\"key\":\"one:a\"", .cancel_after_ms = -1, .repeat_after_ms = -1};
    int64_t up_ms = 0, sure_ms = 0;

    model_provider_fix(named_plant_of(n)->provider, 300, 40, 10);
    stage_start_workers(&n->s);
    for (int tick = 0; tick < 120; tick++) {
        (void)crowd_submit(n->s.crowd, &wish);
        if (tick == 50) model_redis_down(named_plant_of(n)->redis);
        if (tick == 60) {
            model_redis_up(named_plant_of(n)->redis, false);
            up_ms = world_wall_ms(named_plant_of(n)->world);
        }
        stage_run_for(&n->s, 100);
        if (up_ms && !sure_ms && told_until(n) > up_ms) sure_ms = world_wall_ms(named_plant_of(n)->world);
    }
    EXPECT(n, sure_ms > 0 && sure_ms - up_ms <= 4000);
    named_finish(n);
}

/* --- 7: cancel, then wipe --------------------------------------------------------------------------------------------------------------------- */
static bool is_canceled(void *arg)
{
    const struct named *n = arg;

    return n->job->canceled_ms >= 0;
}

static struct crowd_job *submit_and_cancel(struct named *n, int64_t after_ms)
{
    const struct crowd_wish w = {
        .workflow = "chat", .input = NAMED_CHAT, .watchers = 2, .cancel_after_ms = after_ms, .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

/* Nobody runs it yet: the cancel stands in the log alone. */
static void cancel_then_wipe(struct named *n)
{
    n->job = submit_and_cancel(n, 100);
    UNTIL(n, is_canceled);
    model_redis_flush(named_plant_of(n)->redis);
    stage_start_workers(&n->s);
    UNTIL(n, named_is_ended);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_CANCELED));
    EXPECT(n, model_provider_calls(named_plant_of(n)->provider) == 0);
}

/* It runs on w1, and its home went to another worker; the flag is wiped before w1 has heard of it. */
static void cancel_then_wipe_elsewhere(struct named *n)
{
    int64_t began;

    named_run_away_from_home(n);
    sim_worker_cut_redis(named_worker(n, "w1"), true); /* the doorbell does not reach it */
    n->job->has_asked_cancel = true;
    EXPECT(n, named_ask(n, "POST", "/cancel") == 202);
    model_redis_flush(named_plant_of(n)->redis);
    sim_worker_cut_redis(named_worker(n, "w1"), false);
    began = world_now_ms(named_plant_of(n)->world);
    UNTIL(n, named_is_ended);
    EXPECT(n, named_ended_as(n, JOB_CANCELED));
    EXPECT(n, world_now_ms(named_plant_of(n)->world) - began < 5000);
    EXPECT(n, named_whole_calls(n, "second") == 0);
    named_finish(n);
}

/* --- a lease that nobody uses ------------------------------------------------------------------------------------------------------------------ */
static bool has_just_beaten(void *arg)
{
    const struct named *n = arg;
    static const char *const argv[] = {"PTTL", "w:w1:boot0001"};

    return reply_int(model_redis_ask(n->s.plant.redis, argv, 2), 0) > PLANT_LEASE_MS - 50;
}

/* w1 ends a job whose home is w2's while it does not reach Redis: it cannot prove its end, lets go of the job, and the release is lost. It is
 * back before its heartbeat has run out. */
static void release_lost(struct named *n)
{
    named_run_away_from_home(n);
    sim_worker_hold_records(named_worker(n, "w1"), true);
    stage_run_for(&n->s, 12000); /* the first call is over, its checkpoint held */
    sim_worker_hold_records(named_worker(n, "w1"), false);
    n->step = "second";
    UNTIL(n, named_is_calling);
    sim_worker_hold_records(named_worker(n, "w1"), true);
    stage_run_for(&n->s, 12000);
    UNTIL(n, has_just_beaten);
    sim_worker_cut_redis(named_worker(n, "w1"), true);
    stage_run_for(&n->s, PLANT_LEASE_MS * 7 / 10 + 100);
    sim_worker_hold_records(named_worker(n, "w1"), false);
    UNTIL(n, named_is_ended);
    stage_run_for(&n->s, 20);
    sim_worker_cut_redis(named_worker(n, "w1"), false);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 1);
}

/* --- a zombie in a Redis that knows nothing -------------------------------------------------------------------------------------------------------- */
/* w1 sleeps so long after the beginning of its first call; w2 takes the job over and ends it. */
static void sleep_in_a_call(struct named *n, int64_t after_ms)
{
    model_provider_fix(named_plant_of(n)->provider, 50, 30, 10);
    sim_worker_start(named_worker(n, "w1"));
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->step = "first";
    UNTIL(n, named_is_calling);
    stage_run_for(&n->s, after_ms);
    sim_worker_pause(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w2"));
    UNTIL(n, named_is_ended);
    stage_run_for(&n->s, 100);
}

static void zombie_is_not_believed(struct named *n)
{
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_void(named_judged_job(n)) >= 1); /* its first call came to its end */
    EXPECT(n, named_whole_calls(n, "second") == 1);
}

static void zombie_wakes_in_a_wiped_redis(struct named *n)
{
    sleep_in_a_call(n, 300);
    model_redis_flush(named_plant_of(n)->redis);
    sim_worker_resume(named_worker(n, "w1")); /* Redis believes whatever it says */
    zombie_is_not_believed(n);
}

static bool has_beaten(void *arg)
{
    const struct named *n = arg;
    static const char *const argv[] = {"EXISTS", "w:w1:boot0001"};

    return reply_int(model_redis_ask(n->s.plant.redis, argv, 2), 0) == 1;
}

/* The wipe comes between its beat, which found the view whole, and its question whose the job is. */
static void zombie_meets_a_wipe(struct named *n)
{
    sleep_in_a_call(n, 20); /* it has nothing to say when it wakes */
    EXPECT(n, !has_beaten(n));
    sim_worker_resume(named_worker(n, "w1"));
    UNTIL(n, has_beaten);
    model_redis_flush(named_plant_of(n)->redis);
    zombie_is_not_believed(n);
}

/* --- ids that nobody may call unknown ---------------------------------------------------------------------------------------------------------------- */
static struct crowd_job *submit_for_later(struct named *n)
{
    const struct crowd_wish w = {
        .workflow = "noop", .input = "{\"n\":1}", .members = ",\"run_at\":\"40s\"", .watchers = 2, .cancel_after_ms = -1, .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

/* Its gateway dies with the admit; long before its time the owner of its home has told Redis. */
static void admit_lost(struct named *n)
{
    stage_start_workers(&n->s);
    stage_run_for(&n->s, 5000);
    model_redis_pause(named_plant_of(n)->redis);
    n->job = submit_for_later(n);
    UNTIL(n, named_is_accepted);
    sim_gateway_kill(n->s.gateways[0]);
    model_redis_resume(named_plant_of(n)->redis);
    sim_gateway_start(n->s.gateways[0]);
    n->want = 1;
    EXPECT(n, stage_run_until(&n->s, 8000, named_has_seen, n));
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
}

/* The same without anybody who could: nobody calls it unknown. */
static void admit_lost_without_workers(struct named *n)
{
    stage_start_workers(&n->s);
    stage_run_for(&n->s, 5000);
    for (size_t i = 0; i < n->s.worker_count; i++) sim_worker_kill(n->s.workers[i]);
    model_redis_pause(named_plant_of(n)->redis);
    n->job = named_submit(n, "noop", "{\"n\":1}");
    UNTIL(n, named_is_accepted);
    sim_gateway_kill(n->s.gateways[0]);
    model_redis_resume(named_plant_of(n)->redis);
    sim_gateway_start(n->s.gateways[0]);
    stage_run_for(&n->s, 30000);
    EXPECT(n, named_ask(n, "GET", "") == 503);
    stage_start_workers(&n->s);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
}

/* A record that its owner has not read yet when the view is built anew. */
static void rebuild_before_reading(struct named *n)
{
    stage_start_workers(&n->s);
    stage_run_for(&n->s, 5000);
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_COUNT, 100000);
    n->job = named_submit(n, "noop", "{\"n\":1}");
    UNTIL(n, named_is_accepted);
    stage_run_for(&n->s, 100);
    model_redis_flush(named_plant_of(n)->redis);
    stage_run_for(&n->s, 10000);
    EXPECT(n, named_ask(n, "GET", "") == 200);
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_COUNT, 0);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
}

/* --- a doorbell that comes late ------------------------------------------------------------------------------------------------------------------------ */
/* The job runs and ends while its watchers' subscription is on its way: nobody rings for them. */
static void late_doorbell(struct named *n)
{
    crowd_calm(n->s.crowd); /* nobody leaves and comes back */
    sim_gateway_slow_doorbells(n->s.gateways[0], 3000);
    n->job = named_submit(n, "noop", "{\"n\":1}");
    UNTIL(n, named_is_accepted);
    stage_run_for(&n->s, 1000);
    stage_start_workers(&n->s);
    UNTIL(n, named_is_ended);
    stage_run_for(&n->s, 3000); /* read behind the subscription, not when somebody happens to look again */
    for (const struct crowd_watch *w = n->job->first_watch; w; w = w->next) EXPECT(n, w->has_end);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
}

/* --- cursors ------------------------------------------------------------------------------------------------------------------------------------------ */
/* A client may hold the id of an event that was lost with Redis' tail, of the number that the end had later. It has not seen the end. */
static void cursor_like_the_end(struct named *n)
{
    char what[80];
    const char *const argv[] = {"HMGET", what, "ep", "sq"};
    const struct reply *r;
    uint64_t epoch = 0, seq = 0;

    stage_start_workers(&n->s);
    n->job = named_submit(n, "noop", "{\"n\":1}");
    UNTIL(n, named_is_ended);
    stage_run_for(&n->s, 100);
    snprintf(what, sizeof what, "j:{%s}:m", n->job->id);
    r = model_redis_ask(named_plant_of(n)->redis, argv, 4);
    EXPECT(n, view_u64(reply_str(reply_at(r, 0)), &epoch) && view_u64(reply_str(reply_at(r, 1)), &seq));
    snprintf(what, sizeof what, "/events?after=%016llu-%010llu", (unsigned long long)epoch, (unsigned long long)seq);
    EXPECT(n, named_ask(n, "GET", what) == 204);
    snprintf(what, sizeof what, "/events?after=%016llu-%010llu", (unsigned long long)epoch - 1, (unsigned long long)seq);
    EXPECT(n, named_ask(n, "GET", what) == 200);
    named_finish(n);
}

const struct named_case *named_cases_loss(void)
{
    static const struct named_case cases[] = {
        {"wipe-and-clock-back", 1, 2, 1, wipe_and_step_back, 0},
        {"lost-tail", 4, 2, 2, lost_tail, 0},
        {"sure-again", 1, 1, 1, sure_again, 0},
        {"cancel-then-wipe", 4, 2, 1, cancel_then_wipe, 0},
        {"cancel-then-wipe-elsewhere", 4, 2, 1, cancel_then_wipe_elsewhere, 0},
        {"release-lost", 4, 2, 1, release_lost, 0},
        {"zombie-wakes-in-a-wiped-redis", 1, 2, 1, zombie_wakes_in_a_wiped_redis, 0},
        {"zombie-meets-a-wipe", 1, 2, 1, zombie_meets_a_wipe, 0},
        {"admit-lost", 4, 2, 1, admit_lost, 0},
        {"admit-lost-without-workers", 4, 2, 1, admit_lost_without_workers, 0},
        {"rebuild-before-reading", 4, 2, 1, rebuild_before_reading, 0},
        {"late-doorbell", 4, 2, 1, late_doorbell, 0},
        {"cursor-like-the-end", 4, 2, 1, cursor_like_the_end, 0},
        {NULL, 0, 0, 0, NULL, 0},
    };
    return cases;
}
