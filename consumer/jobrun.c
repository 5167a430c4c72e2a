/* The life of one running job, from the lease to the moment nobody is owed an answer.
 *
 *   ACQUIRING --lease--> STARTING --acked--> (CATCHING_UP) --> (INHERITING) --> RUNNING
 *      |                    |                      |                             |   |
 *      | busy, unbuilt      '----- home lost ------'     paused, told to drain   |   | its end
 *      v                                           v                             |   v
 *    GONE               HANDING: cont, then yielded <----------------------------' (BURYING)
 *      ^                (delay, then parked) --> RELEASING --> GONE                  |
 *      |                                                                             v
 *      |                GONE <-- FINISHING <--it counts-- (PROVING) <------------- CLOSING
 *      '-- from any state, in silence: fenced, or overtaken by a higher epoch
 *
 * What is hard is not the road but that anything may be taken away at any moment: the lease by a
 * pause, the home by a rebalance, Redis by a wipe. Three rules keep it simple. Facts go to Kafka
 * first, Redis second. Whoever cannot be sure that nobody else may have written in between (a
 * takeover, a lease that was not held without a break) reads the log up to his own record before he
 * acts on it. And a run that is over hands its item back at once, then only waits until no callback
 * can reach it. */
#include "consumer/jobrun.h"

#include "consumer/foreign.h"
#include "consumer/home.h"
#include <assert.h>

enum { JOBRUN_AGAIN_MS = 200 };

#define TO(s) (1u << JOBRUN_##s)
static const unsigned jobrun_moves[JOBRUN_STATE_COUNT] = {
    [JOBRUN_ACQUIRING] = TO(STARTING) | TO(BURYING) | TO(CLOSING) | TO(FINISHING) | TO(GONE),
    [JOBRUN_STARTING] = TO(CATCHING_UP) | TO(INHERITING) | TO(RUNNING) | TO(HANDING) | TO(BURYING) |
                        TO(CLOSING) | TO(GONE),
    [JOBRUN_CATCHING_UP] = TO(INHERITING) | TO(RUNNING) | TO(HANDING) | TO(BURYING) | TO(CLOSING) |
                           TO(FINISHING) | TO(GONE),
    [JOBRUN_INHERITING] = TO(RUNNING) | TO(HANDING) | TO(BURYING) | TO(CLOSING) | TO(GONE),
    [JOBRUN_RUNNING] = TO(HANDING) | TO(BURYING) | TO(CLOSING) | TO(GONE),
    [JOBRUN_HANDING] = TO(RELEASING) | TO(GONE),
    [JOBRUN_RELEASING] = TO(GONE),
    [JOBRUN_BURYING] = TO(CLOSING) | TO(GONE),
    [JOBRUN_CLOSING] = TO(CLOSING) | TO(PROVING) | TO(FINISHING) | TO(GONE),
    [JOBRUN_PROVING] = TO(FINISHING) | TO(GONE),
    [JOBRUN_FINISHING] = TO(GONE),
    [JOBRUN_GONE] = 0,
};

static const char *const jobrun_states[JOBRUN_STATE_COUNT] = {
    "acquiring", "starting", "catching_up", "inheriting", "running",   "handing",
    "releasing", "burying",  "closing",     "proving",    "finishing", "gone",
};

const char *jobrun_state_name(enum jobrun_state s)
{
    return jobrun_states[s];
}

void jobrun_set(struct jobrun *r, enum jobrun_state s)
{
    assert(jobrun_moves[r->state] & (1u << s));
    r->state = s;
}

int32_t jobrun_partition(const struct jobrun *r)
{
    return (int32_t)id_partition(&r->id);
}

struct known_job *jobrun_known(const struct jobrun *r)
{
    struct home *h = worker_home(r->w, (uint32_t)jobrun_partition(r));
    return h ? home_known(h, &r->id) : NULL;
}

/* --- asking for the lease -------------------------------------------------------------------- */
static void jobrun_on_lease(void *arg, const struct err *e, const struct fn_lease *l);
static void jobrun_on_timer(void *arg);

static void jobrun_acquire(struct jobrun *r)
{
    struct worker *w = r->w;
    const struct known_job *k = jobrun_known(r);
    const struct ledger_job *ledger = k ? k->ledger : NULL;
    struct fn_lease_ask ask = {.job = &r->job,
                               .incarnation = view_of(w->incarnation),
                               .boot = lease_boot(w->lease),
                               .epoch_floor = ledger ? ledger_epoch(ledger) : 0,
                               .seq_floor = ledger ? ledger_seq(ledger) : 0,
                               .attempt = ledger ? ledger_attempts(ledger) + 1 : 1};
    if (r->item->head.epoch > ask.epoch_floor) ask.epoch_floor = r->item->head.epoch;
    if (r->item->head.seq > ask.seq_floor) ask.seq_floor = r->item->head.seq;
    r->acquired_ms = w->ports.clock->mono_ms;
    r->ops++;
    fn_acquire(w->ports.fn, &ask, jobrun_on_lease, r);
}

bool jobrun_begin(struct worker *w, struct item *item, size_t group)
{
    struct jobrun *r = calloc(1, sizeof *r);
    if (!r) return false;
    if (!map_put(w->runs, view_of(item->head.id.text), r)) {
        free(r);
        return false;
    }
    r->w = w;
    r->id = item->head.id;
    r->item = item;
    r->state = JOBRUN_ACQUIRING;
    r->awaited = -1;
    r->wake_ms = INT64_MAX;
    r->group = group;
    pacer_begun(w->pacer, group);
    r->begun_ms = w->ports.clock->mono_ms;
    r->job = (struct fn_job){.head = &item->head,
                             .queued_ts_ms = item->head.created_ms,
                             .index_ms = w->ports.config->retention.results_ms};
    mirror_init(&r->mirror, &w->mirrors, &r->job, jobrun_on_news, r);
    list_init(&r->calls);
    list_init(&r->records);
    list_init(&r->evals);
    buf_init(&r->end_view, JOB_BYTES_MAX * 2);
    buf_init(&r->end_data, JOB_BYTES_MAX * 2);
    list_push(&w->run_list, &r->link);
    item->state = ITEM_RUNNING;
    if (item->job) item->job->run = r;
    metric_observe(w->meters.queue_seconds, (double)(r->begun_ms - item->read_ms) / 1000);
    jobrun_acquire(r);
    return true;
}

/* Ends that need no run. Nothing of the value is looked at: it may be what kills workers. */
static bool jobrun_is_due_to_close(struct jobrun *r, int64_t attempts)
{
    const struct job_head *head = &r->item->head;
    int64_t max =
        head->max_attempts > 0 ? head->max_attempts : r->w->ports.config->consumer.max_attempts;
    if (r->item->is_poison) {
        r->ending = (struct jobrun_ending){JOB_FAILED, PROBLEM_POISON,
                                           "the job's record cannot be read", false};
    } else if (r->is_canceled) {
        r->ending =
            (struct jobrun_ending){JOB_CANCELED, PROBLEM_CANCELED, "the job was canceled", false};
    } else if (head->deadline_ms > 0 && head->deadline_ms <= r->w->ports.clock->wall_ms) {
        r->ending =
            (struct jobrun_ending){JOB_EXPIRED, PROBLEM_DEADLINE, "the deadline passed", false};
    } else if (attempts >= max) {
        r->ending = (struct jobrun_ending){JOB_FAILED, PROBLEM_ATTEMPTS_EXHAUSTED,
                                           "the job's attempts are used up", true};
    } else {
        return false;
    }
    return true;
}

/* The metadata of a job that ends unread comes from Redis, if it is there. */
static void jobrun_on_meta(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct jobrun *r = arg;
    r->ops--;
    if (r->state == JOBRUN_GONE) return;
    if (e && worker_is_admitting(r->w)) {
        (void)timerq_set(r->w->ports.timers, &r->timer, worker_retry_ms(r->w, JOBRUN_AGAIN_MS),
                         jobrun_on_timer, r);
        return;
    }
    if (e) {
        jobrun_let_go(r, JOBRUN_RETURNED);
        return;
    }
    if (m->found && m->metadata.len) r->metadata = view_dup(m->metadata);
    jobrun_close_as(r, r->ending.status, r->ending.why, r->ending.message, r->ending.bury);
}

static void jobrun_close_unread(struct jobrun *r)
{
    r->ops++;
    fn_meta(r->w->ports.fn, &r->id, VIEW_NONE, jobrun_on_meta, r);
}

static void jobrun_on_started(void *arg, const struct err *e, int64_t offset);

static void jobrun_acquired(struct jobrun *r, const struct fn_lease *l)
{
    const struct known_job *k = jobrun_known(r);
    int64_t attempts = k && k->ledger ? ledger_attempts(k->ledger) : 0;
    r->epoch = l->epoch;
    r->lease_seq = l->seq;
    r->is_takeover = l->takeover;
    if (!k || !worker_is_admitting(r->w)) {
        jobrun_let_go(r, JOBRUN_RETURNED);
        return;
    }
    r->is_canceled = r->is_canceled || l->cancel || known_is_canceled(k, r->job.head->tenant);
    r->attempt = attempts + 1;
    r->starts = k->starts + 1;
    r->since = k->first_offset;
    r->started_wall_ms = k->started_ms;
    r->must_prove = true; /* an end without a `started` of ours is proven by reading it back */
    if (known_phase(k) == LEDGER_ENDED) {
        jobrun_adopt(r, ledger_terminal(k->ledger));
        return;
    }
    if (jobrun_is_due_to_close(r, attempts)) {
        jobrun_close_unread(r);
        return;
    }
    r->must_prove = false;
    jobrun_set(r, JOBRUN_STARTING);
    jobrun_send_state(r, STATE_STARTED, r->lease_seq, VIEW_NONE, jobrun_on_started);
}

static void jobrun_on_lease(void *arg, const struct err *e, const struct fn_lease *l)
{
    struct jobrun *r = arg;
    struct home *h;
    r->ops--;
    if (r->state == JOBRUN_GONE) {
        if (!e && l->kind == FN_LEASE_OK)
            fn_release(r->w->ports.fn, &r->id, l->epoch, "queued", worker_ignore_done, NULL);
        return;
    }
    if (e) { /* it may be ours or not: asking again tells */
        if (!worker_is_admitting(r->w)) {
            jobrun_over(r, JOBRUN_RETURNED);
            return;
        }
        (void)timerq_set(r->w->ports.timers, &r->timer, worker_retry_ms(r->w, JOBRUN_AGAIN_MS),
                         jobrun_on_timer, r);
        return;
    }
    h = worker_home(r->w, (uint32_t)jobrun_partition(r));
    if (l->kind != FN_LEASE_UNBUILT) item_told(r->item);
    switch (l->kind) {
    case FN_LEASE_OK:
        jobrun_acquired(r, l);
        return;
    case FN_LEASE_BUSY:
        r->busy_owner = l->owner;
        jobrun_over(r, JOBRUN_BUSY);
        return;
    case FN_LEASE_ENDED:
        if (h) home_ended_elsewhere(h, &r->id);
        jobrun_over(r, JOBRUN_ENDED);
        return;
    case FN_LEASE_UNBUILT:
        if (h) home_unbuilt(h);
        jobrun_over(r, JOBRUN_RETURNED);
        return;
    }
}

/* --- records --------------------------------------------------------------------------------- */
void jobrun_send_state(struct jobrun *r, enum state_kind kind, int64_t seq, struct view value,
                       outbox_done_fn *done)
{
    struct outbox_ask ask = {.topic = TOPIC_STATE,
                             .partition = jobrun_partition(r),
                             .head = r->job.head,
                             .epoch = r->epoch,
                             .seq = seq,
                             .attempt = r->attempt,
                             .due_ms = kind == STATE_PARKED ? r->due_ms : 0,
                             .since = r->since,
                             .is_state = true,
                             .kind = kind,
                             .item = -1,
                             .worker = kind == STATE_STARTED ? r->w->incarnation : NULL,
                             .value = value};
    outbox_send(r->w->outbox, &r->out, &ask, done, r);
}

static void jobrun_on_started(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun *r = arg;
    const struct known_job *k;
    if (r->state == JOBRUN_GONE) return;
    assert(!e); /* no value, bounded headers: never too large */
    if (r->since < 0) r->since = offset;
    if (!r->started_wall_ms) r->started_wall_ms = r->w->ports.clock->wall_ms;
    r->w->started++;
    metric_add(r->w->meters.started, 1);
    k = jobrun_known(r);
    if (!k) {
        jobrun_hand(r);
        return;
    }
    bool is_first =
        !r->is_takeover && r->starts == 1 && lease_held_since(r->w->lease, r->acquired_ms);
    if (is_first) {
        jobrun_start(r);
        return;
    }
    jobrun_set(r, JOBRUN_CATCHING_UP);
    if (!jobrun_await(r, offset)) jobrun_hand(r);
}

static void jobrun_caught_up(struct jobrun *r)
{
    const struct known_job *k = jobrun_known(r);
    assert(k && k->ledger);
    if (known_phase(k) == LEDGER_ENDED) {
        jobrun_adopt(r, ledger_terminal(k->ledger));
    } else if (ledger_epoch(k->ledger) != r->epoch) {
        jobrun_over(r, JOBRUN_DROPPED);
    } else {
        r->starts = k->starts;
        r->attempt = ledger_attempts(k->ledger);
        r->is_canceled = r->is_canceled || known_is_canceled(k, r->job.head->tenant);
        jobrun_start(r);
    }
}

bool jobrun_await(struct jobrun *r, int64_t offset)
{
    struct home *h = worker_home(r->w, (uint32_t)jobrun_partition(r));
    if (!h) return false;
    r->awaited = offset;
    home_await(h, r);
    return true;
}

void jobrun_on_tail(struct jobrun *r)
{
    r->awaited = -1;
    if (r->state == JOBRUN_CATCHING_UP) {
        jobrun_caught_up(r);
    } else {
        assert(r->state == JOBRUN_PROVING);
        jobrun_prove(r);
    }
}

/* --- time ------------------------------------------------------------------------------------ */
void jobrun_arm(struct jobrun *r)
{
    const struct clock *clock = r->w->ports.clock;
    int64_t at = r->wake_ms, deadline = r->job.head->deadline_ms;
    if (deadline > 0) {
        int64_t left = deadline > clock->wall_ms ? deadline - clock->wall_ms : 0;
        if (clock->mono_ms + left < at) at = clock->mono_ms + left;
    }
    if (at == INT64_MAX) {
        timerq_cancel(r->w->ports.timers, &r->timer);
    } else if (!timerq_pending(&r->timer) || r->timer.when_ms != at) {
        (void)timerq_set(r->w->ports.timers, &r->timer, at, jobrun_on_timer, r);
    }
}

static void jobrun_on_timer(void *arg)
{
    struct jobrun *r = arg;
    const struct clock *clock = r->w->ports.clock;
    int64_t deadline = r->job.head->deadline_ms;
    if (r->state == JOBRUN_ACQUIRING) {
        if (worker_may_start(r->w) && r->ending.message) {
            jobrun_close_unread(r);
        } else if (worker_may_start(r->w)) {
            jobrun_acquire(r);
        } else if (worker_is_admitting(r->w)) {
            (void)timerq_set(r->w->ports.timers, &r->timer, worker_retry_ms(r->w, JOBRUN_AGAIN_MS),
                             jobrun_on_timer, r);
        } else {
            jobrun_over(r, JOBRUN_RETURNED);
        }
        return;
    }
    if (r->state != JOBRUN_RUNNING) return;
    if (deadline > 0 && deadline <= clock->wall_ms) {
        task_close(r->task, JOB_EXPIRED, clock->mono_ms);
    } else if (r->wake_ms <= clock->mono_ms) {
        r->wake_ms = INT64_MAX;
        task_tick(r->task, clock->mono_ms);
    }
    jobrun_pump(r);
}

/* --- from outside ---------------------------------------------------------------------------- */
void jobrun_event(struct jobrun *r, enum event_type type, struct view members)
{
    struct mirror_note note = {.type = type, .item = -1, .members = members};
    mirror_put(&r->mirror, &note);
}

void jobrun_cancel(struct jobrun *r)
{
    r->is_canceled = true;
    if (r->state == JOBRUN_INHERITING) {
        jobrun_inherit_stop(r);
        jobrun_close_as(r, JOB_CANCELED, PROBLEM_CANCELED, "the job was canceled", false);
    } else if (r->state == JOBRUN_RUNNING) {
        task_close(r->task, JOB_CANCELED, r->w->ports.clock->mono_ms);
        jobrun_pump(r);
    }
}

void jobrun_drain(struct jobrun *r)
{
    if (r->state == JOBRUN_INHERITING) {
        jobrun_inherit_stop(r);
        jobrun_hand(r);
    } else if (r->state == JOBRUN_RUNNING) {
        task_drain(r->task, r->w->ports.clock->mono_ms);
        jobrun_pump(r);
    }
}

void jobrun_undrain(struct jobrun *r)
{
    if (r->state != JOBRUN_RUNNING || r->is_parking) return;
    task_undrain(r->task, r->w->ports.clock->mono_ms);
    jobrun_pump(r);
}

void jobrun_on_home_lost(struct jobrun *r)
{
    if (list_linked(&r->awaiting)) home_unawait(r);
    r->item->home = NULL;
    r->item->job = NULL;
    if (r->state == JOBRUN_CATCHING_UP) {
        jobrun_hand(r);
    } else if (r->state == JOBRUN_PROVING) {
        jobrun_let_go(r, JOBRUN_DROPPED); /* the log has the end; the new owner sees to Redis */
    }
}

void jobrun_overtaken(struct jobrun *r)
{
    if (r->state == JOBRUN_FINISHING || r->state == JOBRUN_ACQUIRING) return;
    log_event(r->w->ports.log, LOG_WARN, view_of(r->id.text), "job_overtaken",
              LOG_S("state", jobrun_states[r->state]), LOG_N("epoch", r->epoch));
    jobrun_over(r, JOBRUN_DROPPED);
}

void jobrun_probe(struct jobrun *r)
{
    if (r->state == JOBRUN_GONE || r->state == JOBRUN_ACQUIRING) return;
    mirror_probe(&r->mirror);
}

void jobrun_doubt(struct jobrun *r, bool has_gap)
{
    if (!r->mirror.view) return; /* has no call yet */
    r->is_unsure = true;
    r->must_hear = r->must_hear || has_gap;
    mirror_probe(&r->mirror);
}

void jobrun_sure(struct jobrun *r)
{
    struct call *c;
    if (r->must_hear && !r->w->marked[jobrun_partition(r)])
        return; /* asked again when the view is whole */
    r->is_unsure = r->must_hear = false;
    while (r->state == JOBRUN_RUNNING && (c = call_first_held(&r->calls)) != NULL) call_go(c);
}

/* --- the way out ----------------------------------------------------------------------------- */
void jobrun_let_go(struct jobrun *r, enum jobrun_outcome outcome)
{
    fn_release(r->w->ports.fn, &r->id, r->epoch, outcome == JOBRUN_RETURNED ? "queued" : "running",
               worker_ignore_done, NULL);
    jobrun_over(r, outcome);
}

static void jobrun_stop(struct jobrun *r)
{
    jobrun_inherit_stop(r);
    jobrun_drop_task(r);
    timerq_cancel(r->w->ports.timers, &r->timer);
    if (list_linked(&r->awaiting)) home_unawait(r);
    mirror_close(&r->mirror);
    (void)outbox_cancel(&r->out);
}

void jobrun_over(struct jobrun *r, enum jobrun_outcome outcome)
{
    struct worker *w = r->w;
    jobrun_set(r, JOBRUN_GONE);
    jobrun_stop(r);
    (void)map_remove(w->runs, view_of(r->id.text));
    if (outcome == JOBRUN_HANDED) w->handed++;
    if (outcome == JOBRUN_DROPPED) {
        w->dropped++;
        metric_add(w->meters.dropped, 1);
    }
    list_remove(&w->run_list, &r->link);
    list_push(&w->gone_list, &r->link);
    home_run_over(r, outcome);
    drain_check(w);
}

void jobrun_free(struct jobrun *r)
{
    struct worker *w = r->w;
    if (r->state != JOBRUN_GONE) jobrun_stop(r);
    if (r->item) item_free_of(w, r->item);
    mirror_fini(&r->mirror);
    buf_fini(&r->end_view);
    buf_fini(&r->end_data);
    jobrun_drop_records(r);
    free(r->metadata);
    free(r);
}

void jobrun_reap(struct worker *w)
{
    for (struct list_link *k = list_first(&w->gone_list), *next; k; k = next) {
        struct jobrun *r = LIST_ITEM(k, struct jobrun, link);
        next = list_next(&w->gone_list, k);
        if (r->ops || r->out.is_busy || r->records.count || r->mirror.calls) continue;
        list_remove(&w->gone_list, k);
        jobrun_free(r);
    }
}
