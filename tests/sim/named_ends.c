/* Named cases of ends: a job has exactly one, and everybody is told the same, though a worker that slept may write another one late. */
#include "tests/sim/named_priv.h"

/* --- 1, 2: late terminals ------------------------------------------------------------------------------------------------------- */
/* w1 sleeps between its last checkpoint's arrival at the broker and the report of it; w2 takes the job over and ends it. */
static void sleep_before_the_end(struct named *n)
{
    model_kafka_set_timeouts(named_plant_of(n)->kafka, NAMED_SOON_MS, PLANT_SESSION_MS); /* w1 shall hear its report, not a time-out */
    sim_worker_start(named_worker(n, "w1"));
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->want = 2;
    UNTIL(n, named_has_checkpoints);
    sim_worker_pause(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w2"));
    UNTIL(n, named_is_ended);
}

static void each_step_was_paid_once(struct named *n)
{
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, named_whole_calls(n, "first") == 1 && named_whole_calls(n, "second") == 1);
}

/* w1 wakes and writes its end, which comes to nothing. */
static void wake_and_end_in_vain(struct named *n)
{
    sim_worker_resume(named_worker(n, "w1"));
    n->want = 1;
    UNTIL(n, named_has_void_records);
    named_finish(n);
    each_step_was_paid_once(n);
}

static void late_terminal(struct named *n)
{
    sleep_before_the_end(n);
    stage_run_for(&n->s, 2000);
    wake_and_end_in_vain(n);
    EXPECT(n, judged_starts(named_judged_job(n)) == 2);
}

static void wipe_between_terminals(struct named *n)
{
    sleep_before_the_end(n);
    model_redis_flush(named_plant_of(n)->redis); /* perhaps before Redis was told of the end, perhaps after */
    stage_run_for(&n->s, 5);
    wake_and_end_in_vain(n);
}

/* w1 sleeps in its last call; w2 has taken over and is in the same call; w1 wakes without Redis, which alone could tell it so: its checkpoint
 * and its terminal reach the log behind w2's `started`. */
static void late_terminal_too_early(struct named *n)
{
    model_provider_fix(named_plant_of(n)->provider, 50, 200, 40);
    sim_worker_start(named_worker(n, "w1"));
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->step = "second";
    UNTIL(n, named_is_calling);
    sim_worker_pause(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w2"));
    n->want = 2;
    UNTIL(n, named_is_started);
    sim_worker_cut_redis(named_worker(n, "w1"), true);
    sim_worker_resume(named_worker(n, "w1"));
    n->want = 2; /* its checkpoint and its terminal */
    UNTIL(n, named_has_void_records);
    EXPECT(n, !named_is_ended(n));
    sim_worker_cut_redis(named_worker(n, "w1"), false);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, named_whole_calls(n, "first") == 1 && named_whole_calls(n, "second") == 2); /* the checkpoint was not there when w2 began */
}

/* --- ends that stay in a sleeping process -------------------------------------------------------------------------------------------- */
static bool redis_says_ended(struct named *n)
{
    char key[80];
    const char *const argv[] = {"HGET", key, "st"};
    struct view st;

    snprintf(key, sizeof key, "j:{%s}:m", n->job->id);
    st = reply_str(model_redis_ask(named_plant_of(n)->redis, argv, 3));
    return view_eq_str(st, "succeeded") || view_eq_str(st, "failed") || view_eq_str(st, "canceled");
}

/* w1 has written its end, but its client has not sent it when it falls asleep. */
static void sleep_with_the_end(struct named *n)
{
    model_kafka_set_timeouts(named_plant_of(n)->kafka, NAMED_SOON_MS, PLANT_SESSION_MS);
    sim_worker_start(named_worker(n, "w1"));
    n->job = named_submit(n, "chat", NAMED_CHAT);
    n->want = 2;
    UNTIL(n, named_has_checkpoints);
    sim_worker_hold_records(named_worker(n, "w1"), true);
    stage_run_for(&n->s, 20);
    EXPECT(n, !named_is_ended(n));
    sim_worker_pause(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w2"));
}

/* w2 has begun and stands still; w1 wakes without Redis, and its end comes to nothing behind w2's `started`. */
static void void_end_lands(struct named *n)
{
    sleep_with_the_end(n);
    n->want = 2;
    UNTIL(n, named_is_started);
    sim_worker_hold_records(named_worker(n, "w2"), true);
    sim_worker_pause(named_worker(n, "w2"));
    sim_worker_cut_redis(named_worker(n, "w1"), true);
    sim_worker_resume(named_worker(n, "w1"));
    n->want = 1;
    UNTIL(n, named_has_void_records);
    stage_run_for(&n->s, 50);
}

/* w1 has Redis again and tells it nothing of its end; w2 wakes and ends the job. */
static void w2_ends_it(struct named *n)
{
    sim_worker_cut_redis(named_worker(n, "w1"), false);
    stage_run_for(&n->s, 300);
    EXPECT(n, !redis_says_ended(n));
    sim_worker_resume(named_worker(n, "w2"));
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
}

static void void_end(struct named *n)
{
    void_end_lands(n);
    w2_ends_it(n);
    each_step_was_paid_once(n);
}

static void void_end_then_wipe(struct named *n)
{
    void_end_lands(n);
    model_redis_flush(named_plant_of(n)->redis); /* now nothing but the log knows of w2 */
    w2_ends_it(n);
}

/* w2 ends the job and dies before it has told Redis; then w1's end comes, too. Whoever reads both acts on the first. */
static void two_ends(struct named *n)
{
    sleep_with_the_end(n);
    UNTIL(n, named_is_ended);
    sim_worker_kill(named_worker(n, "w2"));
    EXPECT(n, !redis_says_ended(n));
    sim_worker_cut_redis(named_worker(n, "w1"), true);
    sim_worker_resume(named_worker(n, "w1"));
    n->want = 1;
    UNTIL(n, named_has_void_records);
    stage_run_for(&n->s, 50);
    sim_worker_kill(named_worker(n, "w1"));
    sim_worker_start(named_worker(n, "w3"));
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 2);
}

/* w1 ends the job and dies untold; w2, whose reading lags, takes it over: what it does not know yet stands before its own `started`. */
static void end_not_read_yet(struct named *n)
{
    model_kafka_set_timeouts(named_plant_of(n)->kafka, NAMED_SOON_MS, PLANT_SESSION_MS);
    model_provider_fix(named_plant_of(n)->provider, 50, 100, 20);
    named_run_away_from_home(n);
    n->step = "second";
    UNTIL(n, named_is_calling);
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_COUNT, 20000); /* w2 owns the home, and reads late */
    sim_worker_cut_redis(named_worker(n, "w1"), true);
    UNTIL(n, named_is_ended);
    sim_worker_kill(named_worker(n, "w1"));
    stage_run_for(&n->s, 8000);
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_COUNT, 0);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, named_whole_calls(n, "first") == 1 && named_whole_calls(n, "second") == 1);
}

/* --- a retry before its home has read what it repeats ---------------------------------------------------------------------------------- */
static bool is_repeated(void *arg)
{
    const struct named *n = arg;

    return n->job->repeated && n->job->repeated->is_accepted;
}

static void retry_before_reading(struct named *n)
{
    const struct crowd_wish w = {.workflow = "chat", .input = NAMED_CHAT, .watchers = 1, .cancel_after_ms = -1, .repeat_after_ms = 0};

    sim_worker_start(named_worker(n, "w1"));
    stage_run_for(&n->s, 2000);
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_STATE, 1000000);
    n->job = crowd_submit(n->s.crowd, &w);
    UNTIL(n, is_repeated);
    n->job = n->job->repeated;
    UNTIL(n, named_is_ended);
    EXPECT(n, model_provider_calls(named_plant_of(n)->provider) == 2); /* of the first */
    model_kafka_slow_fetch(named_plant_of(n)->kafka, TOPIC_COUNT, 0);
    named_finish(n);
}

const struct named_case *named_cases_ends(void)
{
    static const struct named_case cases[] = {
        {"late-terminal", 1, 2, 1, late_terminal, 0},
        {"late-terminal-too-early", 1, 2, 1, late_terminal_too_early, 0},
        {"wipe-between-terminals", 1, 2, 1, wipe_between_terminals, 0},
        {"void-end", 1, 2, 1, void_end, 0},
        {"void-end-then-wipe", 1, 2, 1, void_end_then_wipe, 0},
        {"two-ends", 1, 3, 1, two_ends, 0},
        {"end-not-read-yet", 4, 2, 1, end_not_read_yet, 0},
        {"retry-before-reading", 1, 2, 1, retry_before_reading, 0},
        {NULL, 0, 0, 0, NULL, 0},
    };
    return cases;
}
