/* Reading: the log first and always, the intake only as far as there is room.
 *
 * The tail of state[p] is never held back: it completes what others end, wakes runs that wait for
 * it, and carries cancels. Intake topics are read in the order in which work should start (what was
 * begun before, then new work); each stops at its own bound: a full window, enough waiting in its
 * lane, bytes in memory, a delay tier's head that waits for its time, a spill topic's that waits
 * for its tenant's line. New work is read past one tenant's surplus, which goes to the spill topic.
 */
#include "consumer/home.h"

#include "consumer/foreign.h"
#include "consumer/gate.h"
#include <assert.h>

enum {
    HOME_HELD_MS = 60000,
    HOME_FETCH_MS = 60000 /* a record may take so long from the log to us */
};

/* --- the log --------------------------------------------------------------------------------- */
/* What a record means for a job that runs here. */
static void home_state_of_run(struct home *h, struct known_job *j, struct jobrun *r,
                              const struct state_record *s)
{
    (void)h;
    if (s->kind == STATE_CANCEL) {
        if (known_is_canceled(j, r->job.head->tenant) && !r->is_canceled) jobrun_cancel(r);
        return;
    }
    bool is_higher = s->kind == STATE_STARTED && s->head.epoch > r->epoch;
    bool is_others = state_kind_is_terminal(s->kind) && s->head.epoch != r->epoch;
    if (r->epoch > 0 && (is_higher || is_others)) jobrun_overtaken(r);
}

static void home_state_of_job(struct home *h, struct known_job *j, const struct state_record *s)
{
    switch (s->kind) {
    case STATE_CANCEL:
        home_canceled(h, j);
        break;
    case STATE_STARTED:
    case STATE_PARKED:
    case STATE_YIELDED:
    case STATE_SUCCEEDED:
    case STATE_FAILED:
    case STATE_CANCELED:
    case STATE_EXPIRED:
        home_judge_all(h, j);
        break;
    case STATE_CHECKPOINT:
    case STATE_SIGNAL:
    case STATE_KIND_COUNT:
        break;
    }
}

static void home_on_state_record(void *arg, const struct record_in *rec)
{
    struct home *h = arg;
    struct state_record s;
    struct err err;
    enum ledger_verdict verdict;
    h->tail = rec->offset + 1;
    metric_add(h->w->meters.state_in, 1);
    if (state_record_read(rec, &s, &err) != ERR_OK) {
        log_event(h->w->ports.log, LOG_ERROR, VIEW_NONE, "state_record_unreadable",
                  LOG_N("partition", rec->partition), LOG_N("offset", rec->offset),
                  LOG_S("error", err.text));
        return;
    }
    struct known_job *j = known_fold(h->known, &s, rec->offset, rec->timestamp_ms, &verdict);
    if (!j) {
        log_event(h->w->ports.log, LOG_ERROR, view_of(s.head.id.text), "state_record_not_kept",
                  LOG_N("offset", rec->offset));
        return;
    }
    if (verdict == LEDGER_COUNTED) home_key_note(h, j, &s, rec->timestamp_ms);
    if (h->state != HOME_READY || verdict != LEDGER_COUNTED || j->place == KNOWN_ENDED) return;
    struct jobrun *r = worker_run_find(h->w, &s.head.id);
    j->run = r;
    if (r) {
        home_state_of_run(h, j, r, &s);
    } else {
        home_state_of_job(h, j, &s);
    }
}

static void home_tell_awaiting(struct home *h)
{
    for (size_t left = h->awaiting.count; left && h->awaiting.count; left--) {
        struct jobrun *r = LIST_ITEM(list_first(&h->awaiting), struct jobrun, awaiting);
        list_remove(&h->awaiting, &r->awaiting);
        if (r->awaited >= h->tail) {
            list_push(&h->awaiting, &r->awaiting);
            continue;
        }
        r->awaiting_home = NULL;
        jobrun_on_tail(r);
    }
}

/* The log is known up to where it ended when we came: runs of ours from an earlier time are ours
 * again, cancels are heard. */
static void home_become_ready(struct home *h)
{
    struct known_job *j;
    size_t cursor = 0;
    h->state = HOME_READY;
    h->ready_ms = h->w->ports.clock->mono_ms;
    log_event(h->w->ports.log, LOG_INFO, VIEW_NONE, "home_ready", LOG_N("partition", h->partition),
              LOG_N("jobs", known_open(h->known)), LOG_N("state_offset", h->tail));
    while ((j = known_each(h->known, &cursor)) != NULL) {
        j->run = worker_run_find(h->w, &j->id);
        if (!j->run && j->place == KNOWN_OPEN) home_canceled(h, j);
    }
}

size_t home_read_tail(struct home *h, size_t budget)
{
    const struct intake_port *intake = &h->w->ports.intake;
    size_t n = 0;
    if (h->state != HOME_REPLAYING && h->state != HOME_READY) return 0;
    while (n < budget &&
           intake->read(intake->self, TOPIC_STATE, (int32_t)h->partition, home_on_state_record, h))
        n++;
    if (h->state == HOME_REPLAYING && h->tail >= h->tail_target) home_become_ready(h);
    if (h->state == HOME_READY) home_tell_awaiting(h);
    return n;
}

/* --- intake ---------------------------------------------------------------------------------- */
static bool home_may_read(const struct home *h, enum topic t)
{
    const struct worker *w = h->w;
    size_t max = (size_t)w->ports.config->consumer.window;
    if (window_is_full(h->windows[t]) || w->item_bytes > WORKER_ITEM_BYTES_MAX) return false;
    switch (t) {
    case TOPIC_JOBS_INTERACTIVE:
        return gate_lane_count(w, SCHED_INTERACTIVE) < max;
    case TOPIC_JOBS_BULK:
        return gate_lane_count(w, SCHED_BULK) < max;
    case TOPIC_SPILL_INTERACTIVE:
        return h->aside[CLASS_INTERACTIVE].count < HOME_ASIDE_MAX &&
               gate_lane_count(w, SCHED_INTERACTIVE) < max;
    case TOPIC_SPILL_BULK:
        return h->aside[CLASS_BULK].count < HOME_ASIDE_MAX && gate_lane_count(w, SCHED_BULK) < max;
    case TOPIC_CONT:
        return gate_due_count(w) < max;
    case TOPIC_DELAY_5S:
    case TOPIC_DELAY_30S:
    case TOPIC_DELAY_2M:
    case TOPIC_DELAY_10M:
    case TOPIC_DELAY_1H:
    case TOPIC_DELAY_6H:
        return !h->heads[t - TOPIC_DELAY_5S] && gate_due_count(w) < max;
    case TOPIC_STATE:
    case TOPIC_DLQ:
    case TOPIC_CONTROL:
    case TOPIC_COUNT:
        break;
    }
    return false;
}

bool home_has_read_since(const struct home *h, int64_t mono_ms)
{
    for (enum topic t = 0; t < TOPIC_STATE; t++)
        if (h->next[t] < h->high[t] || h->empty_ms[t] < mono_ms + HOME_FETCH_MS) return false;
    return true;
}

static enum topic home_topic_of(const struct home *h, const struct record_in *rec)
{
    enum topic t = TOPIC_COUNT;
    (void)topics_parse(h->w->ports.topics, view_of(rec->topic), &t);
    return t;
}

static void home_take_in(struct home *h, enum topic t, const struct record_in *rec,
                         struct job_head *head)
{
    struct item *it;
    if (!head->origin[0])
        snprintf(head->origin, sizeof head->origin, "%s/%d/%lld", rec->topic, (int)rec->partition,
                 (long long)rec->offset);
    it = item_new(head, t, rec);
    if (!it) return; /* no memory: the offset stays open */
    it->home = h;
    it->read_ms = h->w->ports.clock->mono_ms;
    if (t == TOPIC_SPILL_INTERACTIVE || t == TOPIC_SPILL_BULK)
        spill_note_back(h->w->spill, item_lane(it), view_of(it->head.tenant));
    h->w->item_bytes += item_bytes(it);
    if (!home_place(h, it)) item_free_of(h->w, it);
}

static void home_on_intake_record(void *arg, const struct record_in *rec)
{
    struct home *h = arg;
    struct job_head head;
    struct err err;
    enum topic t = home_topic_of(h, rec);
    assert(t < TOPIC_STATE);
    h->next[t] = rec->offset + 1;
    if (!window_add(h->windows[t], rec->offset)) return;
    metric_add(h->w->meters.records_in, 1);
    enum err_code code = job_head_read(rec, &head, &err);
    if (code == ERR_CONFLICT) { /* a newer worker's: it stays open until one owns this home */
        log_event(h->w->ports.log, LOG_WARN, VIEW_NONE, "record_of_newer_version",
                  LOG_S("topic", rec->topic), LOG_N("partition", rec->partition),
                  LOG_N("offset", rec->offset));
        return;
    }
    if (code == ERR_OK && id_partition(&head.id) == h->partition) {
        home_take_in(h, t, rec, &head);
        return;
    }
    if (code == ERR_OK)
        (void)err_set(&err, ERR_INVALID, "the job's id belongs to another partition");
    home_poison(h, t, rec, &err);
}

/* The head of a delay tier waits for its own time: timestamp + tier. */
static void home_wake_heads(struct home *h)
{
    int64_t soonest = INT64_MAX, now = h->w->ports.clock->wall_ms;
    for (size_t i = 0; i < HOME_DELAYS; i++) {
        struct item *it = h->heads[i];
        if (!it) continue;
        int64_t at = it->timestamp_ms + item_tier_ms(it);
        if (at <= now) {
            h->heads[i] = NULL;
            home_line_up(h, it);
        } else if (at < soonest) {
            soonest = at;
        }
    }
    if (soonest != INT64_MAX) home_wake_at(h, h->w->ports.clock->mono_ms + (soonest - now));
}

/* What the log has not decided for a long while is taken: Redis and the lease arbitrate. */
static void home_wake_held(struct home *h)
{
    int64_t now = h->w->ports.clock->mono_ms;
    struct list_link *k;
    while ((k = list_first(&h->held)) != NULL) {
        struct item *it = LIST_ITEM(k, struct item, waiting);
        if (it->read_ms + HOME_HELD_MS > now) { /* in order of reading */
            home_wake_at(h, it->read_ms + HOME_HELD_MS);
            return;
        }
        list_remove(&h->held, k);
        home_line_up(h, it);
    }
}

size_t home_read_intake(struct home *h, size_t budget)
{
    static const enum topic order[] = {
        TOPIC_CONT,      TOPIC_DELAY_5S,          TOPIC_DELAY_30S, TOPIC_DELAY_2M,
        TOPIC_DELAY_10M, TOPIC_DELAY_1H,          TOPIC_DELAY_6H,  TOPIC_JOBS_INTERACTIVE,
        TOPIC_JOBS_BULK, TOPIC_SPILL_INTERACTIVE, TOPIC_SPILL_BULK};
    const struct intake_port *intake = &h->w->ports.intake;
    size_t n = 0;
    if (h->state != HOME_READY) return 0;
    home_wake_heads(h);
    home_wake_held(h);
    home_wake_aside(h);
    for (size_t i = 0; i < sizeof order / sizeof *order && n < budget; i++) {
        while (n < budget && home_may_read(h, order[i])) {
            if (!intake->read(intake->self, order[i], (int32_t)h->partition, home_on_intake_record,
                              h)) {
                h->empty_ms[order[i]] = h->w->ports.clock->mono_ms;
                break;
            }
            n++;
            home_wake_heads(h);
        }
    }
    return n;
}
