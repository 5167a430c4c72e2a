/* Telling a named case: what is waited for, and what is asked afterwards. */
#include "tests/sim/named_priv.h"

#include <assert.h>

/* --- telling ----------------------------------------------------------------------------------------------------------------- */
struct plant *named_plant_of(struct named *n)
{
    return &n->s.plant;
}

struct judged *named_judged_job(struct named *n)
{
    return n->job && n->job->id[0] ? judge_find(n->s.judge, n->job->id) : NULL;
}

void named_until(struct named *n, bool (*moment)(void *arg), const char *what)
{
    if (!stage_run_until(&n->s, NAMED_SOON_MS, moment, n)) plant_blame(named_plant_of(n), "named: the story stands still: %s", what);
}

struct crowd_job *named_submit(struct named *n, const char *workflow, const char *input)
{
    const struct crowd_wish w = {
        .workflow = workflow, .input = input, .watchers = 2, .cancel_after_ms = -1, .repeat_after_ms = -1};

    return crowd_submit(n->s.crowd, &w);
}

void named_finish(struct named *n)
{
    const struct judge_expect e = {.is_calm = false};

    if (named_plant_of(n)->fault_count == 0) (void)stage_finish(&n->s, &e);
}

struct sim_worker *named_worker(struct named *n, const char *name)
{
    struct sim_worker *w = stage_worker(&n->s, name);

    assert(w);
    return w;
}

struct sim_worker *named_runner(struct named *n)
{
    static const char nobody[] = "";
    char name[32];
    struct judged *d = named_judged_job(n);

    if (d && judged_runner(d, name)) return named_worker(n, name);
    plant_blame(named_plant_of(n), "named: nobody runs the job%s", nobody);
    return n->s.workers[0];
}

/* --- moments ------------------------------------------------------------------------------------------------------------------- */
bool named_is_accepted(void *arg)
{
    const struct named *n = arg;

    return n->job->is_accepted;
}

bool named_is_settled(void *arg)
{
    const struct named *n = arg;

    return n->job->is_settled;
}

bool named_is_started(void *arg)
{
    struct judged *d = named_judged_job(arg);
    const struct named *n = arg;

    return d && judged_starts(d) >= n->want;
}

bool named_has_checkpoints(void *arg)
{
    struct judged *d = named_judged_job(arg);
    const struct named *n = arg;

    return d && judged_checkpoints(d) >= n->want;
}

bool named_is_ended(void *arg)
{
    struct judged *d = named_judged_job(arg);

    return d && judged_end(d) != JOB_STATUS_COUNT;
}

bool named_has_void_records(void *arg)
{
    struct judged *d = named_judged_job(arg);
    const struct named *n = arg;

    return d && judged_void(d) >= n->want;
}

bool named_is_calling(void *arg)
{
    struct named *n = arg;
    struct judged *d = named_judged_job(n);

    return d && judged_calls(d, named_plant_of(n), n->step, CALL_OPEN) > 0;
}

bool named_is_home_of(void *arg)
{
    struct named *n = arg;
    const char *owner = model_kafka_owner(n->s.plant.kafka, n->home);

    return owner && strcmp(owner, n->worker) == 0;
}

bool named_is_home_elsewhere(void *arg)
{
    struct named *n = arg;
    const char *owner = model_kafka_owner(n->s.plant.kafka, n->home);

    return owner && strcmp(owner, n->worker) != 0;
}

bool named_has_seen(void *arg)
{
    const struct named *n = arg;
    const struct crowd_watch *w = n->job->first_watch;

    return w && w->seen_count >= n->want;
}

size_t named_whole_calls(struct named *n, const char *step)
{
    struct judged *d = named_judged_job(n);

    return d ? judged_calls(d, named_plant_of(n), step, CALL_WHOLE) : 0;
}

bool named_ended_as(struct named *n, enum job_status status)
{
    struct judged *d = named_judged_job(n);

    return d && judged_end(d) == status;
}

/* --- a stage for several cases --------------------------------------------------------------------------------------------------- */
/* A job that w1 runs while its home, the lowest, went to w2. */
void named_run_away_from_home(struct named *n)
{
    struct crowd_job *jobs[8];

    model_provider_fix(named_plant_of(n)->provider, 50, 200, 40);
    sim_worker_start(named_worker(n, "w1"));
    for (size_t i = 0; i < 8; i++) { /* spaced out: a burst would go into one home */
        jobs[i] = named_submit(n, "chat", NAMED_CHAT);
        stage_run_for(&n->s, 5);
    }
    n->step = "first";
    for (size_t i = 0; i < 8; i++) {
        n->job = jobs[i];
        UNTIL(n, named_is_calling);
    }
    sim_worker_start(named_worker(n, "w2")); /* takes homes from w1, the lowest first */
    n->worker = "w2";
    n->home = 0;
    UNTIL(n, named_is_home_of);
    for (size_t i = 0; i < 8; i++) {
        n->job = jobs[i];
        if (judged_home(named_judged_job(n)) == 0) return;
    }
    plant_blame(named_plant_of(n), "named: no job of home 0");
}

int64_t named_stream_length(struct named *n)
{
    char key[80];
    const char *const argv[] = {"XLEN", key};

    snprintf(key, sizeof key, "j:{%s}:e", n->job->id);
    return reply_int(model_redis_ask(named_plant_of(n)->redis, argv, 2), -1);
}

/* --- asking ----------------------------------------------------------------------------------------------------------------- */
static void ask_head(void *arg, const struct model_answer *a)
{
    *(int *)arg = a->status;
}

static void ask_body(void *arg, struct view bytes)
{
    (void)arg;
    (void)bytes;
}

static void ask_end(void *arg, bool is_whole)
{
    (void)arg;
    (void)is_whole;
}

static bool is_asked(void *arg)
{
    return *(const int *)arg >= 0;
}

int named_ask(struct named *n, const char *method, const char *what)
{
    static const struct model_client_sink sink = {.on_head = ask_head, .on_body = ask_body, .on_end = ask_end};
    struct model_request *r;
    char path[160];
    int status = -1;
    const struct model_ask ask = {.method = method, .path = path, .key = plant_keys[0]};

    snprintf(path, sizeof path, "/v1/jobs/%s%s", n->job->id, what);
    r = model_request_new(named_plant_of(n)->world, sim_gateway_web(n->s.gateways[0]), &ask, &sink, &status);
    (void)stage_run_until(&n->s, NAMED_SOON_MS, is_asked, &status);
    if (status > 0) model_request_leave(r); /* whatever else would come */
    return status;
}
