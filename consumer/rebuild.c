/* What is hard: a wiped Redis must be given back everything the log knows, at a pace both sides
 * bear, while the fleet runs on; and the jobs that others run right now must not be taken from them
 * because they could not yet say so; and Redis may be wiped again while all this goes on, which its
 * boot id does not tell: so a rebuild leaves a token where the mark will stand, and the mark is
 * refused where the token is gone.
 *
 *   LOG ------> JOBS ---> ENDS ------> TOPICS ------> GRACE ------> MARK --> built
 *   state[p]    unended   where the    unread intake  others'       built:{p} = boot
 *   back to     ones      topics end;  records        live jobs
 *   retention             records in
 *   (ends are             memory
 *   told here)
 *
 * The log is replayed through the same ledgers as everywhere. An end goes to Redis the moment it is
 * met and is forgotten but for its id; at most REBUILD_OUT calls are under way: when there are more
 * the replay is stopped and later resumed at its offset. Any failure begins the whole thing anew:
 * every step may be repeated. Nobody acquires a job of p before the mark stands, and the mark waits
 * one lease time where the log shows jobs begun by others, so that they can re-assert first. */
#include "consumer/rebuild.h"

#include <assert.h>

enum {
    REBUILD_OUT = 256,
    REBUILD_JOBS_MAX = 500000,
    REBUILD_ENDED_MAX = 200000,
    REBUILD_AGAIN_MS = 500,
    REBUILD_BYTES_MAX = 8 << 20
};
enum rebuild_phase {
    REBUILD_LOG,
    REBUILD_JOBS,
    REBUILD_ENDS,
    REBUILD_TOPICS,
    REBUILD_GRACE,
    REBUILD_MARK,
    REBUILD_WAIT
};

struct rebuild {
    struct list_link link; /* in w->rebuilds when stopped */
    struct home *home;     /* NULL: stopped, waits for its answers */
    struct worker *w;
    uint32_t partition;
    enum rebuild_phase phase;
    struct known *known;
    struct timer timer;
    void *replay;
    enum topic topic;          /* TOPICS: being read */
    int64_t resume;            /* LOG, TOPICS: offset to go on from; -1 = from the start */
    int64_t from[TOPIC_STATE]; /* TOPICS: what was unread when the records in memory were told; -1 =
                                  nothing */
    int64_t noticed_ms;
    size_t out, cursor;
    bool is_enough, has_failed, has_others;
    bool is_log_asked, is_log_known, is_log_empty;
    uint64_t ended, unended;
    char boot[64], token[FN_TOKEN_MAX];
};

static void rebuild_begin(struct rebuild *b);

static void rebuild_free(struct rebuild *b)
{
    known_free(b->known);
    free(b);
}

void rebuild_drop_stopped(struct worker *w)
{
    struct list_link *k;
    while ((k = list_first(&w->rebuilds)) != NULL) {
        list_remove(&w->rebuilds, k);
        rebuild_free(LIST_ITEM(k, struct rebuild, link));
    }
}

static void rebuild_stop_replay(struct rebuild *b)
{
    if (b->replay) b->w->ports.replay.cancel(b->w->ports.replay.self, b->replay);
    b->replay = NULL;
}

void rebuild_stop(struct home *h)
{
    struct rebuild *b = h->rebuild;
    if (!b) return;
    h->rebuild = NULL;
    rebuild_stop_replay(b);
    timerq_cancel(b->w->ports.timers, &b->timer);
    b->home = NULL;
    if (b->out == 0) {
        rebuild_free(b);
    } else {
        list_push(&b->w->rebuilds, &b->link);
    }
}

static void rebuild_on_timer(void *arg)
{
    struct rebuild *b = arg;
    worker_kick(b->w);
    if (b->phase == REBUILD_WAIT) rebuild_begin(b);
}

/* Something went wrong: anew, in a moment, when all answers are in. */
static void rebuild_fail(struct rebuild *b, const char *what, const struct err *e)
{
    if (!b->has_failed)
        log_event(b->w->ports.log, LOG_WARN, VIEW_NONE, "rebuild_retried",
                  LOG_N("partition", b->partition), LOG_S("at", what),
                  LOG_S("error", e ? e->text : ""));
    b->has_failed = true;
}

/* --- calls ----------------------------------------------------------------------------------- */
/* True: b is still wanted. */
static bool rebuild_answered(struct rebuild *b, const struct err *e)
{
    assert(b->out > 0);
    b->out--;
    if (!b->home) {
        if (b->out == 0) {
            list_remove(&b->w->rebuilds, &b->link);
            rebuild_free(b);
        }
        return false;
    }
    if (e) rebuild_fail(b, "an answer", e);
    worker_kick(b->w);
    return true;
}

/* The view is whole, by our work or before it. */
static void rebuild_over(struct rebuild *b)
{
    struct home *h = b->home;
    bool is_current = view_eq_str(lease_boot(b->w->lease), b->boot);
    rebuild_stop(h);
    if (is_current) home_set_built(h, true);
}

static void rebuild_on_begun(void *arg, const struct err *e, struct view verdict)
{
    struct rebuild *b = arg;
    if (rebuild_answered(b, e) && !e && view_eq_str(verdict, "built")) rebuild_over(b);
}

static void rebuild_on_finish(void *arg, const struct err *e, const struct fn_appended *a)
{
    (void)a;
    (void)rebuild_answered(arg, e);
}

static void rebuild_on_done(void *arg, const struct err *e, struct view verdict)
{
    (void)verdict;
    (void)rebuild_answered(arg, e);
}

static void rebuild_send_end(struct rebuild *b, const struct known_job *j,
                             const struct state_record *t, int64_t wall_ms)
{
    struct jobview *view = NULL;
    struct buf data, snapshot;
    const struct config *c = b->w->ports.config;
    if (wall_ms + c->retention.results_ms <= b->w->ports.clock->wall_ms)
        return; /* its time is over */
    buf_init(&data, REBUILD_BYTES_MAX);
    buf_init(&snapshot, REBUILD_BYTES_MAX);
    struct fn_job job = {
        .head = &t->head, .queued_ts_ms = t->head.created_ms, .index_ms = c->retention.results_ms};
    (void)json_raw_member(t->value, VIEW_LIT("metadata"), &job.metadata);
    if (jobview_read(t->value, &view, NULL) == ERR_OK &&
        jobview_put_terminal(view, &data, (uint64_t)t->head.seq) &&
        jobview_put_snapshot(view, &snapshot, (uint64_t)t->head.seq - 1, wall_ms)) {
        struct fn_finish f = {.job = &job,
                              .lease_epoch = INT64_MAX, /* the log is above any lease */
                              .id = {(uint64_t)t->head.epoch, (uint64_t)t->head.seq},
                              .status = state_kind_status(t->kind),
                              .data = buf_view(&data),
                              .view = t->value,
                              .snapshot = buf_view(&snapshot),
                              .started_ms = j->started_ms,
                              .ended_ms = wall_ms,
                              .attempt = t->head.attempt,
                              .results_ms = c->retention.results_ms,
                              .events_ms = c->retention.events_ms};
        b->out++;
        b->ended++;
        fn_finish(b->w->ports.fn, &f, rebuild_on_finish, b);
    }
    jobview_free(view);
    buf_fini(&data);
    buf_fini(&snapshot);
}

static void rebuild_send_job(struct rebuild *b, const struct job_head *head, struct view value,
                             int64_t epoch, const char *status)
{
    struct job_body body;
    struct fn_job job = {.head = head,
                         .queued_ts_ms = head->created_ms,
                         .index_ms = b->w->ports.config->retention.results_ms};
    if (value.len && job_body_read(value, &body, NULL) == ERR_OK) job.metadata = body.metadata;
    b->out++;
    b->unended++;
    fn_rebuild(b->w->ports.fn, &job, epoch, status, rebuild_on_done, b);
}

/* --- LOG ------------------------------------------------------------------------------------- */
static void rebuild_on_state(void *arg, const struct record_in *rec)
{
    struct rebuild *b = arg;
    struct state_record s;
    enum ledger_verdict verdict;
    if (b->is_enough) return; /* read again later */
    b->resume = rec->offset + 1;
    if (state_record_read(rec, &s, NULL) != ERR_OK) return;
    struct known_job *j = known_fold(b->known, &s, rec->offset, rec->timestamp_ms, &verdict);
    if (!j || verdict != LEDGER_COUNTED || known_phase(j) != LEDGER_ENDED || j->is_settled) return;
    rebuild_send_end(b, j, ledger_terminal(j->ledger), rec->timestamp_ms);
    known_reopen(b->known, j); /* settled entries keep no ledger */
    known_settle(b->known, j);
    b->is_enough = b->out >= REBUILD_OUT;
}

static void rebuild_on_log(void *arg, const struct err *e, int64_t next_offset)
{
    struct rebuild *b = arg;
    (void)next_offset;
    b->replay = NULL;
    if (e && e->code != ERR_NOT_FOUND) {
        rebuild_fail(b, "state", e);
    } else if (!b->is_enough) {
        b->phase = REBUILD_JOBS;
        b->cursor = 0;
    }
    worker_kick(b->w);
}

static void rebuild_replay(struct rebuild *b, const struct replay_ask *ask)
{
    struct err err;
    b->replay = b->w->ports.replay.start(b->w->ports.replay.self, ask, &err);
    if (!b->replay) rebuild_fail(b, "replay", &err);
}

static void rebuild_on_log_ends(void *arg, const struct err *e, const struct intake_position *list,
                                size_t count)
{
    struct rebuild *b = arg;
    if (!rebuild_answered(b, e) || e) return;
    b->is_log_known = true;
    b->is_log_empty = count == 1 && list[0].high <= list[0].low;
}

/* Nothing of it was read yet: it may be empty, or its fetches lag. */
static void rebuild_ask_log(struct rebuild *b)
{
    const struct intake_port *intake = &b->w->ports.intake;
    const struct intake_tp tp = {
        .topic = TOPIC_STATE, .partition = (int32_t)b->partition, .offset = -1};
    if (b->is_log_asked) return;
    b->is_log_asked = true;
    b->out++;
    intake->positions(intake->self, &tp, 1, rebuild_on_log_ends, b);
}

static void rebuild_turn_log(struct rebuild *b)
{
    if (b->replay) {
        if (b->is_enough) rebuild_stop_replay(b);
        return;
    }
    if (b->out >= REBUILD_OUT / 2) return;
    b->is_enough = false;
    if (b->home->tail == b->home->state_low && !b->is_log_known) {
        rebuild_ask_log(b);
        return;
    }
    if (b->is_log_empty) {
        b->phase = REBUILD_JOBS;
        return;
    }
    int64_t from_ms = b->w->ports.clock->wall_ms - b->w->ports.config->retention.results_ms;
    struct replay_ask ask = {.topic = TOPIC_STATE,
                             .partition = (int32_t)b->partition,
                             .from = b->resume,
                             .to = -1,
                             .from_ms = b->resume < 0 && from_ms > 0 ? from_ms : 0,
                             .handle = rebuild_on_state,
                             .done = rebuild_on_log,
                             .arg = b};
    rebuild_replay(b, &ask);
}

/* --- JOBS ------------------------------------------------------------------------------------ */
static const char *rebuild_status(enum ledger_phase phase)
{
    switch (phase) {
    case LEDGER_STARTED:
        return "running";
    case LEDGER_PARKED:
        return "waiting";
    case LEDGER_NEW:
    case LEDGER_YIELDED:
    case LEDGER_ENDED:
        break;
    }
    return "queued";
}

/* Jobs that run here too: their runs put them back by themselves, but perhaps after the mark. */
static void rebuild_known_job(struct rebuild *b, const struct known_job *j)
{
    const struct state_record *started = j->ledger ? ledger_started(j->ledger) : NULL;
    if (!started || known_phase(j) == LEDGER_ENDED || j->is_settled) return;
    if (known_phase(j) == LEDGER_STARTED && strcmp(started->worker, b->w->incarnation) != 0)
        b->has_others = true;
    rebuild_send_job(b, &started->head, VIEW_NONE, ledger_epoch(j->ledger),
                     rebuild_status(known_phase(j)));
}

/* Records in memory: jobs that were never begun. In one go, for the map changes between turns; what
 * is read later counts as unread. */
static void rebuild_items(struct rebuild *b)
{
    struct known_job *j;
    size_t cursor = 0;
    while ((j = known_each(b->home->known, &cursor)) != NULL) {
        struct list_link *k = list_first(&j->items);
        if (!k || j->is_settled || known_phase(j) == LEDGER_ENDED) continue;
        const struct item *it = LIST_ITEM(k, struct item, link);
        if (it->topic != TOPIC_COUNT && !it->is_poison)
            rebuild_send_job(b, &it->head, it->value, j->ledger ? ledger_epoch(j->ledger) : 0,
                             rebuild_status(known_phase(j)));
    }
}

/* --- ENDS ------------------------------------------------------------------------------------ */
static void rebuild_on_ends(void *arg, const struct err *e, const struct intake_position *list,
                            size_t count)
{
    struct rebuild *b = arg;
    if (!rebuild_answered(b, e) || e || b->has_failed) return;
    for (size_t i = 0; i < count; i++) {
        enum topic t = list[i].topic;
        if (t >= TOPIC_STATE || list[i].partition != (int32_t)b->partition) continue;
        b->from[t] = b->home->next[t] >= list[i].high ? -1 : b->home->next[t];
    }
    rebuild_items(b);
    b->phase = REBUILD_TOPICS;
    b->topic = 0;
    b->resume = -1;
}

/* What the home knows of the ends is as old as its assignment, and what was fetched since proves
 * nothing either: an owner that slept may be far behind. */
static void rebuild_ask_ends(struct rebuild *b)
{
    struct intake_tp tps[TOPIC_STATE];
    const struct intake_port *intake = &b->w->ports.intake;
    for (enum topic t = 0; t < TOPIC_STATE; t++) {
        tps[t] = (struct intake_tp){.topic = t, .partition = (int32_t)b->partition, .offset = -1};
        b->from[t] = b->home->next[t];
    }
    b->phase = REBUILD_ENDS;
    b->out++;
    intake->positions(intake->self, tps, TOPIC_STATE, rebuild_on_ends, b);
}

/* --- JOBS, their turn ------------------------------------------------------------------------ */
static void rebuild_turn_jobs(struct rebuild *b)
{
    const struct known_job *j = NULL;
    while (b->out < REBUILD_OUT && (j = known_each(b->known, &b->cursor)) != NULL)
        rebuild_known_job(b, j);
    if (!j && b->out < REBUILD_OUT) rebuild_ask_ends(b);
}

/* --- TOPICS ---------------------------------------------------------------------------------- */
static void rebuild_on_record(void *arg, const struct record_in *rec)
{
    struct rebuild *b = arg;
    struct job_head head;
    if (b->is_enough) return;
    b->resume = rec->offset + 1;
    if (!window_is_open(b->home->windows[b->topic], rec->offset)) return;
    if (job_head_read(rec, &head, NULL) != ERR_OK || id_partition(&head.id) != b->partition) return;
    const struct known_job *j = known_find(b->known, &head.id);
    if (j && (j->is_settled || known_phase(j) == LEDGER_ENDED)) return;
    if (!head.origin[0])
        snprintf(head.origin, sizeof head.origin, "%s/%d/%lld", rec->topic, (int)rec->partition,
                 (long long)rec->offset);
    rebuild_send_job(b, &head, rec->value, head.epoch, head.epoch > 0 ? "waiting" : "queued");
    b->is_enough = b->out >= REBUILD_OUT;
}

static void rebuild_on_topic(void *arg, const struct err *e, int64_t next_offset)
{
    struct rebuild *b = arg;
    (void)next_offset;
    b->replay = NULL;
    if (e && e->code != ERR_NOT_FOUND) {
        rebuild_fail(b, "intake", e);
    } else if (!b->is_enough) {
        b->topic++;
        b->resume = -1;
    }
    worker_kick(b->w);
}

static void rebuild_turn_topics(struct rebuild *b)
{
    if (b->replay) {
        if (b->is_enough) rebuild_stop_replay(b);
        return;
    }
    if (b->out >= REBUILD_OUT / 2) return;
    b->is_enough = false;
    while (b->topic < TOPIC_STATE && b->resume < 0 && b->from[b->topic] < 0) b->topic++;
    if (b->topic == TOPIC_STATE) {
        b->phase = REBUILD_GRACE;
        return;
    }
    struct replay_ask ask = {.topic = b->topic,
                             .partition = (int32_t)b->partition,
                             .from = b->resume < 0 ? b->from[b->topic] : b->resume,
                             .to = -1,
                             .handle = rebuild_on_record,
                             .done = rebuild_on_topic,
                             .arg = b};
    rebuild_replay(b, &ask);
}

/* --- GRACE, MARK ----------------------------------------------------------------------------- */
static void rebuild_on_mark(void *arg, const struct err *e, struct view verdict)
{
    struct rebuild *b = arg;
    if (!rebuild_answered(b, e) || e) return;
    if (view_eq_str(verdict, "lost")) {
        rebuild_fail(b, "mark", NULL);
        b->noticed_ms = b->w->ports.clock->mono_ms; /* others' time to re-assert begins anew */
        return;
    }
    log_event(b->w->ports.log, LOG_INFO, VIEW_NONE, "rebuild_done",
              LOG_N("partition", b->partition), LOG_N("ended", b->ended),
              LOG_N("unended", b->unended),
              LOG_N("ms", b->w->ports.clock->mono_ms - b->noticed_ms));
    metric_add(b->w->meters.rebuilds, 1);
    rebuild_over(b);
}

static void rebuild_turn_grace(struct rebuild *b)
{
    int64_t until = b->noticed_ms + b->w->ports.config->consumer.lease_ttl_ms;
    if (b->out) return;
    if (b->has_others && b->w->ports.clock->mono_ms < until) {
        if (!timerq_pending(&b->timer))
            (void)timerq_set(b->w->ports.timers, &b->timer, until, rebuild_on_timer, b);
        return;
    }
    b->phase = REBUILD_MARK;
    b->out++;
    fn_build_end(b->w->ports.fn, b->partition, view_of(b->boot), view_of(b->token), rebuild_on_mark,
                 b);
}

/* --- the whole ------------------------------------------------------------------------------- */
static void rebuild_begin(struct rebuild *b)
{
    known_free(b->known);
    b->known = known_new(REBUILD_JOBS_MAX, REBUILD_ENDED_MAX);
    b->phase = b->known ? REBUILD_LOG : REBUILD_WAIT;
    b->resume = -1;
    b->cursor = 0;
    b->ended = b->unended = 0;
    b->is_enough = b->has_failed = b->has_others = false;
    b->is_log_asked = b->is_log_known = b->is_log_empty = false;
    worker_kick(b->w);
    if (!b->known) {
        (void)timerq_set(b->w->ports.timers, &b->timer, worker_retry_ms(b->w, REBUILD_AGAIN_MS),
                         rebuild_on_timer, b);
        return;
    }
    snprintf(b->token, sizeof b->token, "%s/%016llx", b->w->incarnation,
             (unsigned long long)rng_next(b->w->ports.rng));
    b->out++; /* what is written from here on goes behind it on the same connection */
    fn_build_begin(b->w->ports.fn, b->partition, view_of(b->boot), view_of(b->token),
                   rebuild_on_begun, b);
}

void rebuild_start(struct home *h)
{
    struct rebuild *b = h->rebuild;
    struct view boot = lease_boot(h->w->lease);
    if (b && view_eq_str(boot, b->boot)) return;
    rebuild_stop(h);
    b = calloc(1, sizeof *b);
    if (!b) return; /* the next beat asks again */
    b->home = h;
    b->w = h->w;
    b->partition = h->partition;
    b->noticed_ms = h->w->ports.clock->mono_ms;
    (void)view_copy(boot, b->boot, sizeof b->boot);
    h->rebuild = b;
    rebuild_begin(b);
}

void rebuild_turn(struct home *h)
{
    struct rebuild *b = h->rebuild;
    if (!b || h->state != HOME_READY) return;
    if (b->has_failed && b->phase != REBUILD_WAIT) {
        rebuild_stop_replay(b);
        if (b->out) return;
        b->phase = REBUILD_WAIT;
        (void)timerq_set(b->w->ports.timers, &b->timer, worker_retry_ms(b->w, REBUILD_AGAIN_MS),
                         rebuild_on_timer, b);
        return;
    }
    if (b->phase == REBUILD_LOG) rebuild_turn_log(b);
    if (b->phase == REBUILD_JOBS) rebuild_turn_jobs(b);
    if (b->phase == REBUILD_TOPICS) rebuild_turn_topics(b);
    if (b->phase == REBUILD_GRACE) rebuild_turn_grace(b);
}
