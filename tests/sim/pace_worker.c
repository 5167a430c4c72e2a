/* A worker that does nothing but pace: the product's pacer between the model Redis and our calls.
 *
 * Hard: the cost of pacing is to be told from that of the simulation, which calls it and is called by it. Chosen: the
 * pacer has a timer queue of its own, and a watch runs from every way in to every way out. */
#include "tests/sim/pace_stage.h"

#include "schemas/fn.h"
#include <time.h>

enum { TIMERS_MAX = 1 << 14, TURNS_MAX = 100 };

/* --- the watch ----------------------------------------------------------------------------------------------------- */
static int64_t nanoseconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void pace_watch_in(struct pace_stage *s)
{
    s->watch.since_ns = nanoseconds();
    s->watch.entries++;
}

void pace_watch_out(struct pace_stage *s)
{
    s->watch.ns += nanoseconds() - s->watch.since_ns;
}

/* --- its way to Redis ---------------------------------------------------------------------------------------------- */
struct question {
    struct pace_worker *worker;
    redis_reply_fn *on_reply;
    void *arg;
};

static void on_reply(void *arg, const struct reply *r, const struct err *e)
{
    struct question *q = arg;
    struct pace_stage *s = q->worker->stage;

    pace_watch_in(s);
    q->on_reply(q->arg, r, e);
    pace_watch_out(s);
    free(q);
}

struct letter { /* a command that takes its time */
    struct question *question;
    struct view *argv;
    size_t argc;
};

static void letter_drop(void *arg)
{
    struct letter *l = arg;

    for (size_t i = 0; i < l->argc; i++) free((void *)(uintptr_t)l->argv[i].ptr);
    free(l->argv);
    free(l);
}

static void letter_lost(void *arg)
{
    free(((struct letter *)arg)->question);
    letter_drop(arg);
}

static void letter_send(void *arg)
{
    struct letter *l = arg;
    const struct redis_port port = model_conn_port(l->question->worker->conn);

    port.call(port.self, l->argv, l->argc, on_reply, l->question);
    letter_drop(l);
}

static void slow_call(struct question *q, const struct view *argv, size_t argc)
{
    struct letter *l = calloc(1, sizeof *l);

    must(l);
    *l = (struct letter){.question = q, .argv = calloc(argc, sizeof *argv), .argc = argc};
    must(l->argv);
    for (size_t i = 0; i < argc; i++)
        l->argv[i] = view_make(view_dup(argv[i].ptr ? argv[i] : VIEW_LIT("")), argv[i].len);
    proc_post(q->worker->proc, q->worker->redis_ms, letter_send, letter_lost, l);
}

static void port_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *reply, void *arg)
{
    struct pace_worker *k = self;
    struct question *q = calloc(1, sizeof *q);
    const struct redis_port port = model_conn_port(k->conn);

    must(q);
    pace_watch_out(k->stage);
    *q = (struct question){k, reply, arg};
    if (k->redis_ms)
        slow_call(q, argv, argc);
    else
        port.call(port.self, argv, argc, on_reply, q);
    k->stage->trades += argc > 1 && view_eq_str(argv[1], "sluice_pace_v1_trade");
    k->stage->watch.since_ns = nanoseconds();
}

static bool port_is_up(void *self)
{
    const struct redis_port port = model_conn_port(((struct pace_worker *)self)->conn);

    return port.is_up(port.self);
}

/* --- turning ------------------------------------------------------------------------------------------------------- */
static bool may_start(void *arg)
{
    (void)arg;
    return true;
}

static void kick(void *arg)
{
    ((struct pace_worker *)arg)->wants_turn = true;
}

static void on_wake(void *arg)
{
    (void)arg; /* its turn comes */
}

static void on_heard(void *arg)
{
    struct pace_worker *k = arg;

    pacer_recheck_tenants(k->pacer);
}

static void turn(void *arg)
{
    struct pace_worker *k = arg;
    struct pace_stage *s = k->stage;
    int left = TURNS_MAX;

    if (!k->pacer) return;
    do {
        k->wants_turn = false;
        pace_watch_in(s);
        (void)timerq_run(k->timers, pace_now(s), TIMERS_MAX);
        pace_watch_out(s);
        pace_load_backlog(k);
        pace_watch_in(s);
        pacer_pump(k->pacer);
        pace_watch_out(s);
    } while (k->wants_turn && --left);
    if (k->wants_turn) proc_kick(k->proc);
    int64_t next = timerq_next_ms(k->timers);
    if (next != INT64_MAX) must(timerq_set(proc_timers(k->proc), &k->wake, next, on_wake, k));
}

/* --- life ---------------------------------------------------------------------------------------------------------- */
static void make(struct pace_worker *k)
{
    struct pace_stage *s = k->stage;
    const struct redis_port port = {.self = k, .call = port_call, .is_up = port_is_up};

    k->timers = timerq_new(TIMERS_MAX);
    k->conn = model_conn_new(s->redis, k->proc);
    k->metrics = metrics_new();
    k->fn = fn_new(port);
    const struct usage_options usage = {.fn = k->fn,
                                        .clock = proc_clock(k->proc),
                                        .timers = k->timers,
                                        .incarnation = view_of(k->incarnation),
                                        .retention_ms = 40 * 86400000LL,
                                        .on_heard = on_heard,
                                        .arg = k};
    k->usage = usage_new(&usage);
    const struct pacer_options pacer = {.fn = k->fn,
                                        .config = s->configs[k->index % 2],
                                        .clock = proc_clock(k->proc),
                                        .timers = k->timers,
                                        .rng = proc_rng(k->proc),
                                        .metrics = k->metrics,
                                        .usage = s->plan.tenant_tokens_per_day || s->plan.tenant_spend_per_day_usd
                                                     ? k->usage : NULL,
                                        .incarnation = view_of(k->incarnation),
                                        .calls_max = 2000,
                                        .may_start = may_start,
                                        .kick = kick,
                                        .arg = k};
    k->pacer = pacer_new(&pacer);
    must(k->timers && k->metrics && k->fn && k->usage && k->pacer);
}

void pace_worker_start(struct pace_stage *s, size_t i)
{
    struct pace_worker *k = &s->workers[i];
    char name[32];

    if (k->pacer) return;
    snprintf(name, sizeof name, "w%zu", i);
    snprintf(k->incarnation, sizeof k->incarnation, "w%zu:%u", i, ++k->boots);
    if (k->proc) {
        proc_revive(k->proc);
    } else {
        k->proc = proc_new(s->world, name, turn, k);
        list_init(&k->calls);
    }
    k->wake = (struct timer){.slot = 0};
    k->backlog_held = 0;
    k->redis_ms = 0;
    world_trace(s->world, "%s starts", k->incarnation);
    make(k);
    proc_kick(k->proc);
    pace_load_lost(s);
}

void pace_worker_kill(struct pace_stage *s, size_t i)
{
    struct pace_worker *k = &s->workers[i];

    if (!k->pacer) return;
    world_trace(s->world, "%s is killed", k->incarnation);
    pacer_free(k->pacer);
    k->pacer = NULL;
    pace_calls_orphan(k);
    fn_free(k->fn);
    usage_free(k->usage);
    model_conn_free(k->conn);
    metrics_free(k->metrics);
    timerq_free(k->timers);
    proc_kill(k->proc);
}

void pace_worker_resume(struct pace_stage *s, size_t i)
{
    struct pace_worker *k = &s->workers[i];

    if (!k->pacer || !proc_is_paused(k->proc)) return;
    world_trace(s->world, "%s goes on", k->incarnation);
    proc_resume(k->proc);
}

static void goes_on(void *arg)
{
    struct pace_worker *k = arg;

    pace_worker_resume(k->stage, k->index);
}

void pace_worker_pause(struct pace_stage *s, size_t i, int64_t ms)
{
    struct pace_worker *k = &s->workers[i];

    if (!k->pacer || proc_is_paused(k->proc)) return;
    world_trace(s->world, "%s is paused", k->incarnation);
    proc_pause(k->proc);
    world_after(s->world, ms, goes_on, NULL, k);
}

void pace_workers_start(struct pace_stage *s, size_t count)
{
    for (size_t i = 0; i < count; i++) pace_worker_start(s, i);
}

size_t pace_workers_alive(const struct pace_stage *s)
{
    size_t n = 0;

    for (size_t i = 0; i < PACE_WORKERS_MAX; i++) n += s->workers[i].pacer != NULL;
    return n;
}
