/* The named cases. Each is a story told step by step: wait for a moment that is seen from outside (a record in the log, a call at the
 * provider), do the harm, and let it come to rest. Then two things are asked: did the story happen at all (a case whose harm missed proves
 * nothing), and do the promises hold (the judge, and the case's own assertion). */
#include "tests/sim/named.h"

#include <assert.h>

enum { SOON_MS = 60000 };

struct named {
    struct stage s;
    struct crowd_job *job; /* the one the story is about */
    const char *step;      /* what a wait looks for */
    size_t want;
    const char *worker;
    int32_t home;
};

#define EXPECT(n, what)                                                                                                                     \
    do {                                                                                                                                    \
        if (!(what)) plant_blame(&(n)->s.plant, "named: not so: %s (line %d)", #what, __LINE__);                                            \
    } while (0)

/* --- telling ----------------------------------------------------------------------------------------------------------------- */
static struct plant *plant_of(struct named *n)
{
    return &n->s.plant;
}

static struct judged *judged_job(struct named *n)
{
    return n->job && n->job->id[0] ? judge_find(n->s.judge, n->job->id) : NULL;
}

static void until(struct named *n, bool (*moment)(void *arg), const char *what)
{
    if (!stage_run_until(&n->s, SOON_MS, moment, n)) plant_blame(plant_of(n), "named: the story stands still: %s", what);
}

#define UNTIL(n, moment) until((n), (moment), #moment)

static const char chat_input[] = "{\"text\":\"hello\"}";

static struct crowd_job *submit(struct named *n, const char *workflow, const char *input)
{
    const struct crowd_wish w = {
        .workflow = workflow, .input = input, .watchers = 2, .cancel_after_ms = -1, .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

static void finish(struct named *n)
{
    const struct judge_expect e = {.is_calm = false};

    if (plant_of(n)->fault_count == 0) (void)stage_finish(&n->s, &e);
}

static struct sim_worker *worker(struct named *n, const char *name)
{
    struct sim_worker *w = stage_worker(&n->s, name);

    assert(w);
    return w;
}

static struct sim_worker *runner(struct named *n)
{
    static const char nobody[] = "";
    char name[32];
    struct judged *d = judged_job(n);

    if (d && judged_runner(d, name)) return worker(n, name);
    plant_blame(plant_of(n), "named: nobody runs the job%s", nobody);
    return n->s.workers[0];
}

/* --- moments ------------------------------------------------------------------------------------------------------------------- */
static bool is_accepted(void *arg)
{
    const struct named *n = arg;

    return n->job->is_accepted;
}

static bool is_settled(void *arg)
{
    const struct named *n = arg;

    return n->job->is_settled;
}

static bool is_started(void *arg)
{
    struct judged *d = judged_job(arg);
    const struct named *n = arg;

    return d && judged_starts(d) >= n->want;
}

static bool has_checkpoints(void *arg)
{
    struct judged *d = judged_job(arg);
    const struct named *n = arg;

    return d && judged_checkpoints(d) >= n->want;
}

static bool is_ended(void *arg)
{
    struct judged *d = judged_job(arg);

    return d && judged_end(d) != JOB_STATUS_COUNT;
}

static bool has_void_records(void *arg)
{
    struct judged *d = judged_job(arg);
    const struct named *n = arg;

    return d && judged_void(d) >= n->want;
}

static bool is_calling(void *arg)
{
    struct named *n = arg;
    struct judged *d = judged_job(n);

    return d && judged_calls(d, plant_of(n), n->step, CALL_OPEN) > 0;
}

static bool is_home_of(void *arg)
{
    struct named *n = arg;
    const char *owner = model_kafka_owner(n->s.plant.kafka, n->home);

    return owner && strcmp(owner, n->worker) == 0;
}

static bool is_home_elsewhere(void *arg)
{
    struct named *n = arg;
    const char *owner = model_kafka_owner(n->s.plant.kafka, n->home);

    return owner && strcmp(owner, n->worker) != 0;
}

static bool has_seen(void *arg)
{
    const struct named *n = arg;
    const struct crowd_watch *w = n->job->first_watch;

    return w && w->seen_count >= n->want;
}

static size_t whole_calls(struct named *n, const char *step)
{
    struct judged *d = judged_job(n);

    return d ? judged_calls(d, plant_of(n), step, CALL_WHOLE) : 0;
}

static bool ended_as(struct named *n, enum job_status status)
{
    struct judged *d = judged_job(n);

    return d && judged_end(d) == status;
}

/* --- 1, 2: late terminals ------------------------------------------------------------------------------------------------------- */
/* w1 sleeps between its last checkpoint's arrival at the broker and the report of it; w2 takes the job over and ends it. */
static void sleep_before_the_end(struct named *n)
{
    model_kafka_set_timeouts(plant_of(n)->kafka, SOON_MS, PLANT_SESSION_MS); /* w1 shall hear its report, not a time-out */
    sim_worker_start(worker(n, "w1"));
    n->job = submit(n, "chat", chat_input);
    n->want = 2;
    UNTIL(n, has_checkpoints);
    sim_worker_pause(worker(n, "w1"));
    sim_worker_start(worker(n, "w2"));
    UNTIL(n, is_ended);
}

static void late_terminal(struct named *n)
{
    sleep_before_the_end(n);
    stage_run_for(&n->s, 2000);
    sim_worker_resume(worker(n, "w1"));
    n->want = 1;
    UNTIL(n, has_void_records);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(judged_job(n)) == 2);
    EXPECT(n, whole_calls(n, "first") == 1 && whole_calls(n, "second") == 1);
}

static void wipe_between_terminals(struct named *n)
{
    sleep_before_the_end(n);
    model_redis_flush(plant_of(n)->redis); /* perhaps before Redis was told of the end, perhaps after */
    stage_run_for(&n->s, 5);
    sim_worker_resume(worker(n, "w1"));
    n->want = 1;
    UNTIL(n, has_void_records);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, whole_calls(n, "first") == 1 && whole_calls(n, "second") == 1);
}

/* w1 sleeps in its last call; w2 has taken over and is in the same call; w1 wakes without Redis, which alone could tell it so: its checkpoint
 * and its terminal reach the log behind w2's `started`. */
static void late_terminal_too_early(struct named *n)
{
    model_provider_fix(plant_of(n)->provider, 50, 200, 40);
    sim_worker_start(worker(n, "w1"));
    n->job = submit(n, "chat", chat_input);
    n->step = "second";
    UNTIL(n, is_calling);
    sim_worker_pause(worker(n, "w1"));
    sim_worker_start(worker(n, "w2"));
    n->want = 2;
    UNTIL(n, is_started);
    sim_worker_cut_redis(worker(n, "w1"), true);
    sim_worker_resume(worker(n, "w1"));
    n->want = 2; /* its checkpoint and its terminal */
    UNTIL(n, has_void_records);
    EXPECT(n, !is_ended(n));
    sim_worker_cut_redis(worker(n, "w1"), false);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, whole_calls(n, "first") == 1 && whole_calls(n, "second") == 2); /* the checkpoint was not there when w2 began */
}

/* --- 3: a wipe plus a clock step back --------------------------------------------------------------------------------------------- */
static void wipe_and_step_back(struct named *n)
{
    model_provider_fix(plant_of(n)->provider, 50, 100, 20);
    sim_worker_start(worker(n, "w1"));
    n->job = submit(n, "chat", chat_input);
    n->step = "second";
    UNTIL(n, is_calling);
    model_redis_flush(plant_of(n)->redis);
    world_step_clock(plant_of(n)->world, -60000);
    stage_run_for(&n->s, 20);
    sim_worker_kill(worker(n, "w1"));
    sim_worker_start(worker(n, "w2"));
    UNTIL(n, is_ended);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(judged_job(n)) == 2); /* counted only if its epoch is the higher one, whatever the clock says */
    EXPECT(n, whole_calls(n, "first") == 1);
}

/* --- 4: a lost tail ----------------------------------------------------------------------------------------------------------------- */
static int64_t stream_length(struct named *n)
{
    char key[80];
    const char *const argv[] = {"XLEN", key};

    snprintf(key, sizeof key, "j:{%s}:e", n->job->id);
    return reply_int(model_redis_ask(plant_of(n)->redis, argv, 2), -1);
}

static void lost_tail(struct named *n)
{
    struct crowd_job *early;
    int64_t before;

    model_provider_fix(plant_of(n)->provider, 20, 100, 30);
    stage_start_workers(&n->s);
    n->job = submit(n, "chat", chat_input);
    n->want = 6;
    UNTIL(n, has_seen);
    model_redis_save(plant_of(n)->redis);
    early = submit(n, "noop", "{\"n\":1}"); /* begins and ends within the lost second */
    stage_run_for(&n->s, 1000);
    before = stream_length(n);
    model_redis_down(plant_of(n)->redis);
    model_redis_up(plant_of(n)->redis, true);
    EXPECT(n, stream_length(n) < before);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(judged_job(n)) == 1);
    EXPECT(n, early->is_accepted && judged_starts(judge_find(n->s.judge, early->id)) == 1);
}

/* --- 5: poison --------------------------------------------------------------------------------------------------------------------------- */
static void kills_its_worker(struct named *n)
{
    stage_start_workers(&n->s);
    n->job = submit(n, "chat", chat_input);
    for (size_t i = 1; i <= 3; i++) {
        struct sim_worker *w;

        n->want = i;
        UNTIL(n, is_started);
        w = runner(n);
        sim_worker_kill(w); /* its `started` stands in the log, nothing else does */
        stage_run_for(&n->s, 500);
        if (!sim_worker_is_running(w)) sim_worker_start(w);
    }
    UNTIL(n, is_ended);
    finish(n);
    EXPECT(n, ended_as(n, JOB_FAILED));
    EXPECT(n, strcmp(judged_error(judged_job(n)), "attempts_exhausted") == 0);
    EXPECT(n, judged_starts(judged_job(n)) == 3);
    EXPECT(n, judge_dead_letters(n->s.judge, n->job->id) >= 1);
    EXPECT(n, whole_calls(n, "first") == 0);
}

/* --- 6: ten drains --------------------------------------------------------------------------------------------------------------------------- */
static void ten_drains(struct named *n)
{
    static const char items[] = "{\"items\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\",\"o\",\"p\","
                                "\"q\",\"r\",\"s\",\"t\",\"u\",\"v\",\"w\",\"x\"]}";

    model_provider_fix(plant_of(n)->provider, 10, 30, 10);
    stage_start_workers(&n->s);
    n->job = submit(n, "each", items);
    for (size_t i = 1; i <= 10; i++) {
        struct sim_worker *w;

        n->want = i;
        UNTIL(n, is_started);
        stage_run_for(&n->s, 30);
        w = runner(n);
        sim_worker_drain(w);
        n->want = i + 1;
        UNTIL(n, is_started);
        if (!sim_worker_is_running(w)) sim_worker_start(w);
    }
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_handoffs(judged_job(n)) >= 10);
    EXPECT(n, judged_lost_starts(judged_job(n)) == 1); /* ten drains cost no attempt */
    EXPECT(n, whole_calls(n, "item") == 24);
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
        .workflow = "chat", .input = chat_input, .watchers = 2, .cancel_after_ms = after_ms, .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

/* Nobody runs it yet: the cancel stands in the log alone. */
static void cancel_then_wipe(struct named *n)
{
    n->job = submit_and_cancel(n, 100);
    UNTIL(n, is_canceled);
    model_redis_flush(plant_of(n)->redis);
    stage_start_workers(&n->s);
    UNTIL(n, is_ended);
    finish(n);
    EXPECT(n, ended_as(n, JOB_CANCELED));
    EXPECT(n, model_provider_calls(plant_of(n)->provider) == 0);
}

/* It runs on w1, and its home went to another worker; the flag is wiped before w1 has heard of it. */
static void run_away_from_home(struct named *n)
{
    struct crowd_job *jobs[8];

    model_provider_fix(plant_of(n)->provider, 50, 200, 40);
    sim_worker_start(worker(n, "w1"));
    for (size_t i = 0; i < 8; i++) { /* spaced out: a burst would go into one home */
        jobs[i] = submit(n, "chat", chat_input);
        stage_run_for(&n->s, 5);
    }
    n->step = "first";
    for (size_t i = 0; i < 8; i++) {
        n->job = jobs[i];
        UNTIL(n, is_calling);
    }
    sim_worker_start(worker(n, "w2")); /* takes homes from w1, the lowest first */
    n->worker = "w2";
    n->home = 0;
    UNTIL(n, is_home_of);
    for (size_t i = 0; i < 8; i++) {
        n->job = jobs[i];
        if (judged_home(judged_job(n)) == 0) return;
    }
    plant_blame(plant_of(n), "named: no job of home 0");
}

static void cancel_done(void *arg, const struct model_answer *a)
{
    ((struct named *)arg)->want = (size_t)a->status;
}

static void cancel_body(void *arg, struct view bytes)
{
    (void)arg;
    (void)bytes;
}

static void cancel_end(void *arg, bool is_whole)
{
    (void)arg;
    (void)is_whole;
}

static bool is_answered(void *arg)
{
    return ((const struct named *)arg)->want != 0;
}

static void cancel_now(struct named *n)
{
    static const struct model_client_sink sink = {.on_head = cancel_done, .on_body = cancel_body, .on_end = cancel_end};
    char path[80];
    const struct model_ask ask = {.method = "POST", .path = path, .key = plant_keys[0]};

    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", n->job->id);
    n->want = 0;
    n->job->has_asked_cancel = true;
    (void)model_request_new(plant_of(n)->world, sim_gateway_web(n->s.gateways[0]), &ask, &sink, n);
}

static void cancel_then_wipe_elsewhere(struct named *n)
{
    int64_t began;

    run_away_from_home(n);
    sim_worker_cut_redis(worker(n, "w1"), true); /* the doorbell does not reach it */
    cancel_now(n);
    UNTIL(n, is_answered);
    EXPECT(n, n->want == 202);
    model_redis_flush(plant_of(n)->redis);
    sim_worker_cut_redis(worker(n, "w1"), false);
    began = world_now_ms(plant_of(n)->world);
    UNTIL(n, is_ended);
    EXPECT(n, ended_as(n, JOB_CANCELED));
    EXPECT(n, world_now_ms(plant_of(n)->world) - began < 5000);
    EXPECT(n, whole_calls(n, "second") == 0);
    finish(n);
}

/* --- 8: same key, other payload, at once --------------------------------------------------------------------------------------------------------- */
static void same_key(struct named *n)
{
    struct crowd_wish w = {.workflow = "noop", .input = "{\"n\":1}", .key = "one key", .watchers = 1, .cancel_after_ms = -1, .repeat_after_ms = -1};
    struct crowd_job *a, *b;

    stage_start_workers(&n->s);
    for (size_t i = 0; i < 20; i++) {
        char key[24];

        snprintf(key, sizeof key, "key-%zu", i);
        w.key = key;
        w.input = "{\"n\":1}";
        a = crowd_submit(n->s.crowd, &w);
        w.input = "{\"n\":2}";
        b = crowd_submit(n->s.crowd, &w);
        n->job = a;
        UNTIL(n, is_settled);
        n->job = b;
        UNTIL(n, is_settled);
        EXPECT(n, a->is_accepted != b->is_accepted);
        EXPECT(n, a->is_mismatch != b->is_mismatch);
    }
    finish(n);
}

/* --- 9: a broker pause --------------------------------------------------------------------------------------------------------------------------- */
static void broker_pause(struct named *n)
{
    const struct crowd_wish keyed = {
        .workflow = "chat", .input = chat_input, .key = "paused", .watchers = 1, .cancel_after_ms = -1, .repeat_after_ms = -1};
    struct crowd_job *running, *bare;

    model_provider_fix(plant_of(n)->provider, 50, 50, 10);
    stage_start_workers(&n->s);
    running = n->job = submit(n, "chat", chat_input);
    n->step = "first";
    UNTIL(n, is_calling);
    model_kafka_pause(plant_of(n)->kafka);
    n->job = crowd_submit(n->s.crowd, &keyed);
    bare = submit(n, "noop", "{\"n\":1}");
    stage_run_for(&n->s, PLANT_MESSAGE_MS + 3000);
    EXPECT(n, !n->job->is_accepted && !bare->is_accepted); /* nothing is accepted that no broker has acknowledged */
    EXPECT(n, bare->is_settled && bare->status == 503 && bare->id[0]);
    model_kafka_resume(plant_of(n)->kafka);
    UNTIL(n, is_accepted);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(judged_job(n)) == 1);
    n->job = running;
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, whole_calls(n, "first") == 1 && whole_calls(n, "second") == 1);
}

/* --- 10: an owner killed while its jobs run elsewhere ---------------------------------------------------------------------------------------------- */
static void owner_killed(struct named *n)
{
    run_away_from_home(n);
    stage_run_for(&n->s, 500);
    sim_worker_kill(worker(n, "w2"));
    UNTIL(n, is_home_elsewhere);
    finish(n);
    EXPECT(n, ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(judged_job(n)) == 1); /* it was never disturbed */
    EXPECT(n, whole_calls(n, "first") == 1 && whole_calls(n, "second") == 1);
}

/* --- all of them ------------------------------------------------------------------------------------------------------------------------------------ */
static const struct {
    const char *name;
    int32_t partitions;
    size_t workers, gateways;
    void (*play)(struct named *n);
} cases[] = {
    {"late-terminal", 1, 2, 1, late_terminal},
    {"late-terminal-too-early", 1, 2, 1, late_terminal_too_early},
    {"wipe-between-terminals", 1, 2, 1, wipe_between_terminals},
    {"wipe-and-clock-back", 1, 2, 1, wipe_and_step_back},
    {"lost-tail", 4, 2, 2, lost_tail},
    {"kills-its-worker", 1, 2, 1, kills_its_worker},
    {"ten-drains", 1, 3, 1, ten_drains},
    {"cancel-then-wipe", 4, 2, 1, cancel_then_wipe},
    {"cancel-then-wipe-elsewhere", 4, 2, 1, cancel_then_wipe_elsewhere},
    {"same-key-other-payload", 4, 2, 2, same_key},
    {"broker-pause", 4, 2, 2, broker_pause},
    {"owner-killed", 4, 2, 1, owner_killed},
};

size_t named_count(void)
{
    return sizeof cases / sizeof *cases;
}

const char *named_name(size_t index)
{
    return cases[index].name;
}

bool named_run(size_t index, bool trace, const struct workflows *ws, struct plant *ret_faults)
{
    struct stage_options o = {.plant = {.seed = 1000003 * (index + 1), .trace = trace, .workflows = ws}};
    struct named *n = calloc(1, sizeof *n);
    bool is_good;

    assert(n);
    o.plant.partitions = cases[index].partitions;
    o.plant.max_jobs = 100;
    o.plant.heartbeat_ms = 5000;
    o.workers = cases[index].workers;
    o.gateways = cases[index].gateways;
    stage_init(&n->s, &o);
    cases[index].play(n);
    is_good = plant_of(n)->fault_count == 0;
    memcpy(ret_faults->faults, plant_of(n)->faults, sizeof ret_faults->faults);
    ret_faults->fault_count = plant_of(n)->fault_count;
    stage_fini(&n->s);
    free(n);
    return is_good;
}
