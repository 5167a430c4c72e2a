/* Named cases of who goes first: a burst and a quiet tenant behind it, a worker that dies while it sets records aside, keys. */
#include "tests/sim/named_priv.h"

static struct crowd_job *submit_as(struct named *n, size_t tenant, const char *workflow, const char *members)
{
    const struct crowd_wish w = {.tenant = tenant, .workflow = workflow, .input = NAMED_CHAT, .members = members, .cancel_after_ms = -1,
                                 .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

static int64_t spilled(const struct named *n)
{
    return model_kafka_end(n->s.plant.kafka, TOPIC_SPILL_INTERACTIVE, 0);
}

static bool has_spilled_some(void *arg)
{
    return spilled(arg) >= 20;
}

/* --- a burst ----------------------------------------------------------------------------------------------------------------- */
/* 350 jobs of one tenant in a window of 20; the one job of another is read past them and starts at once. */
static void quiet_behind_a_burst(struct named *n)
{
    enum { BURST = 350 };
    int64_t accepted_ms;

    model_provider_fix(named_plant_of(n)->provider, 300, 40, 10);
    stage_start_workers(&n->s);
    for (size_t i = 0; i < BURST; i++) (void)submit_as(n, 0, "chat", NULL);
    UNTIL(n, has_spilled_some);
    n->job = submit_as(n, 2, "chat", NULL);
    UNTIL(n, named_is_accepted);
    accepted_ms = n->job->accepted_ms;
    n->want = 1;
    UNTIL(n, named_is_started);
    EXPECT(n, judge_starts_between(n->s.judge, accepted_ms, judged_first_start_ms(named_judged_job(n))) <= 25);
    named_finish(n);
    EXPECT(n, spilled(n) >= 100);
    EXPECT(n, spilled(n) <= BURST); /* each at most once */
}

/* Records stand in both topics when the worker dies between the copy and the commit: each job ends once all the same. */
static void dies_while_spilling(struct named *n)
{
    model_provider_fix(named_plant_of(n)->provider, 100, 40, 10);
    stage_start_workers(&n->s);
    for (size_t i = 0; i < 150; i++) (void)submit_as(n, 0, i % 3 ? "noop" : "chat", NULL);
    UNTIL(n, has_spilled_some);
    for (size_t i = 0; i < n->s.worker_count; i++) {
        sim_worker_kill(n->s.workers[i]);
        sim_worker_start(n->s.workers[i]);
    }
    stage_run_for(&n->s, 8000);
    EXPECT(n, spilled(n) > 20);
    named_finish(n);
}

/* It dies with the copies in its own memory: no offset may have been committed for them, and the next owner reads every record again. */
static void dies_before_its_copies(struct named *n)
{
    struct sim_worker *w = n->s.workers[0];

    model_kafka_set_timeouts(named_plant_of(n)->kafka, NAMED_SOON_MS, PLANT_SESSION_MS); /* no copy is given up */
    stage_start_workers(&n->s);
    n->worker = sim_worker_name(w);
    UNTIL(n, named_is_home_of);
    sim_worker_hold_records(w, true);
    for (size_t i = 0; i < 150; i++) (void)submit_as(n, 0, "noop", NULL);
    stage_run_for(&n->s, 6000); /* it has read what it may, and committed what it could */
    EXPECT(n, spilled(n) == 0);
    sim_worker_kill(w);
    sim_worker_start(w);
    named_finish(n);
    EXPECT(n, spilled(n) > 20);
}

/* --- keys -------------------------------------------------------------------------------------------------------------------- */
static size_t told_of_key(const struct crowd_job *j)
{
    size_t told = 0;

    for (const struct crowd_watch *w = j->first_watch; w; w = w->next)
        for (size_t i = 0; i < w->seen_count; i++)
            told += w->seen[i].type == EVENT_JOB_WAITING && strstr(w->seen[i].data, "\"reason\":\"key\"") != NULL;
    return told;
}

/* Twelve jobs of one key, of which one may run at a time; the owners die in turn, while jobs run elsewhere or not. */
static void one_at_a_time(struct named *n)
{
    struct crowd_job *jobs[12], *free_one;

    model_provider_fix(named_plant_of(n)->provider, 300, 40, 10);
    stage_start_workers(&n->s);
    for (size_t i = 0; i < 12; i++) {
        const struct crowd_wish w = {.workflow = "chat", .input = NAMED_CHAT, .members = ",\"key\":\"one:a\"", .watchers = 1,
                                     .cancel_after_ms = -1, .repeat_after_ms = -1};

        jobs[i] = crowd_submit(n->s.crowd, &w);
        n->job = jobs[i];
        UNTIL(n, named_is_accepted);
    }
    for (int round = 0; round < 3; round++) {
        const char *owner;

        stage_run_for(&n->s, 1500);
        n->home = judged_home(named_judged_job(n));
        owner = model_kafka_owner(n->s.plant.kafka, n->home);
        if (!owner) continue;
        n->worker = owner;
        sim_worker_kill(named_worker(n, owner));
        UNTIL(n, named_is_home_elsewhere);
        sim_worker_start(named_worker(n, n->worker));
    }
    free_one = n->job = submit_as(n, 0, "noop", ",\"key\":\"other\"");
    UNTIL(n, named_is_ended); /* jobs of other keys pass */
    named_finish(n);
    EXPECT(n, named_ended_as(n, JOB_SUCCEEDED));
    EXPECT(n, judge_key_most(n->s.judge, "one:") == PLANT_KEY_ONE);
    EXPECT(n, told_of_key(jobs[11]) >= 1); /* each owner tells it once */
    EXPECT(n, told_of_key(free_one) == 0);
}

const struct named_case *named_cases_fair(void)
{
    static const struct named_case cases[] = {
        {"quiet-behind-a-burst", 1, 1, 1, quiet_behind_a_burst, 20},
        {"dies-while-spilling", 1, 2, 1, dies_while_spilling, 20},
        {"dies-before-its-copies", 1, 1, 1, dies_before_its_copies, 20},
        {"one-at-a-time", 2, 2, 1, one_at_a_time, 0},
        {NULL, 0, 0, 0, NULL, 0},
    };
    return cases;
}
