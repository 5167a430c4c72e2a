/* Named cases of the fleet and of Kafka: poison, drains, a broker that stands still, an owner that dies. */
#include "tests/sim/named_priv.h"

/* --- 5: poison --------------------------------------------------------------------------------------------------------------------------- */
static void kills_its_worker(struct named *n)
{
    stage_start_workers(&n->s);
    n->job = named_submit(n, "chat", NAMED_CHAT);
    for (size_t i = 1; i <= 3; i++) {
        struct sim_worker *w;

        n->want = i;
        UNTIL(n, named_is_started);
        w = named_runner(n);
        sim_worker_kill(w); /* its `started` stands in the log, nothing else does */
        stage_run_for(&n->s, 500);
        if (!sim_worker_is_running(w)) sim_worker_start(w);
    }
    UNTIL(n, named_is_ended);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_FAILED));
    EXPECT(n, strcmp(judged_error(named_judged_job(n)), "attempts_exhausted") == 0);
    EXPECT(n, judged_starts(named_judged_job(n)) == 3);
    EXPECT(n, judge_dead_letters(n->s.judge, n->job->id) >= 1);
    EXPECT(n, named_whole_calls(n, "first") == 0);
}

/* --- 6: ten drains --------------------------------------------------------------------------------------------------------------------------- */
static void ten_drains(struct named *n)
{
    static const char items[] = "{\"items\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\",\"o\",\"p\","
                                "\"q\",\"r\",\"s\",\"t\",\"u\",\"v\",\"w\",\"x\"]}";

    model_provider_fix(named_plant_of(n)->provider, 10, 30, 10);
    stage_start_workers(&n->s);
    n->job = named_submit(n, "each", items);
    for (size_t i = 1; i <= 10; i++) {
        struct sim_worker *w;

        n->want = i;
        UNTIL(n, named_is_started);
        stage_run_for(&n->s, 30);
        w = named_runner(n);
        sim_worker_drain(w);
        n->want = i + 1;
        UNTIL(n, named_is_started);
        if (!sim_worker_is_running(w)) sim_worker_start(w);
    }
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_handoffs(named_judged_job(n)) >= 10);
    EXPECT(n, judged_lost_starts(named_judged_job(n)) == 1); /* ten drains cost no attempt */
    EXPECT(n, named_whole_calls(n, "item") == 24);
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
        UNTIL(n, named_is_settled);
        n->job = b;
        UNTIL(n, named_is_settled);
        EXPECT(n, a->is_accepted != b->is_accepted);
        EXPECT(n, a->is_mismatch != b->is_mismatch);
    }
    named_finish(n);
}

/* --- 9: a broker pause --------------------------------------------------------------------------------------------------------------------------- */
static void broker_pause(struct named *n)
{
    const struct crowd_wish keyed = {
        .workflow = "chat", .input = NAMED_CHAT, .key = "paused", .watchers = 1, .cancel_after_ms = -1, .repeat_after_ms = -1};
    struct crowd_job *running, *bare;

    model_provider_fix(named_plant_of(n)->provider, 50, 50, 10);
    stage_start_workers(&n->s);
    running = n->job = named_submit(n, "chat", NAMED_CHAT);
    n->step = "first";
    UNTIL(n, named_is_calling);
    model_kafka_pause(named_plant_of(n)->kafka);
    n->job = crowd_submit(n->s.crowd, &keyed);
    bare = named_submit(n, "noop", "{\"n\":1}");
    stage_run_for(&n->s, PLANT_MESSAGE_MS + 3000);
    EXPECT(n, !n->job->is_accepted && !bare->is_accepted); /* nothing is accepted that no broker has acknowledged */
    EXPECT(n, bare->is_settled && bare->status == 503 && bare->id[0]);
    model_kafka_resume(named_plant_of(n)->kafka);
    UNTIL(n, named_is_accepted);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 1);
    n->job = running;
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, named_whole_calls(n, "first") == 1 && named_whole_calls(n, "second") == 1);
}

/* --- 10: an owner killed while its jobs run elsewhere ---------------------------------------------------------------------------------------------- */
static void owner_killed(struct named *n)
{
    named_run_away_from_home(n);
    stage_run_for(&n->s, 500);
    sim_worker_kill(named_worker(n, "w2"));
    UNTIL(n, named_is_home_elsewhere);
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judged_starts(named_judged_job(n)) == 1); /* it was never disturbed */
    EXPECT(n, named_whole_calls(n, "first") == 1 && named_whole_calls(n, "second") == 1);
}

const struct named_case *named_cases_life(void)
{
    static const struct named_case cases[] = {
        {"kills-its-worker", 1, 2, 1, kills_its_worker, 0},
        {"ten-drains", 1, 3, 1, ten_drains, 0},
        {"same-key-other-payload", 4, 2, 2, same_key, 0},
        {"broker-pause", 4, 2, 2, broker_pause, 0},
        {"owner-killed", 4, 2, 1, owner_killed, 0},
        {NULL, 0, 0, 0, NULL, 0},
    };
    return cases;
}
