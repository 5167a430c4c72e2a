/* What is hard: a record must outlive any trouble of the broker without being kept as bytes in
 * several places. So an entry keeps what the record is made of (the job's head, borrowed, and a few
 * numbers) and composes it anew for every try; the producer below copies what it queues. Retries
 * are one list and one timer for all entries. */
#include "consumer/outbox.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/port.h"
#include "consumer/backoff.h"
#include <assert.h>

enum { OUTBOX_FIRST_MS = 50, OUTBOX_MAX_MS = 2000 };

struct outbox {
    struct outbox_options opts;
    struct list again; /* in no order */
    struct timer timer;
};

struct outbox *outbox_new(const struct outbox_options *opts)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o) return NULL;
    o->opts = *opts;
    list_init(&o->again);
    return o;
}

void outbox_free(struct outbox *o)
{
    if (!o) return;
    timerq_cancel(o->opts.timers, &o->timer);
    free(o);
}

static void outbox_on_timer(void *arg);

static void outbox_arm(struct outbox *o)
{
    int64_t soonest = INT64_MAX;
    for (struct list_link *k = list_first(&o->again); k; k = list_next(&o->again, k)) {
        int64_t at = LIST_ITEM(k, struct outbox_entry, link)->again_ms;
        if (at < soonest) soonest = at;
    }
    if (soonest == INT64_MAX) {
        timerq_cancel(o->opts.timers, &o->timer);
    } else {
        (void)timerq_set(o->opts.timers, &o->timer, soonest, outbox_on_timer, o);
    }
}

static void outbox_later(struct outbox_entry *e)
{
    struct outbox *o = e->box;
    e->failures++;
    e->again_ms = o->opts.clock->mono_ms +
                  backoff_delay_ms(OUTBOX_FIRST_MS, OUTBOX_MAX_MS, true, e->failures, o->opts.rng);
    list_push(&o->again, &e->link);
    metric_add(o->opts.retries, 1);
    if (!timerq_pending(&o->timer) || o->timer.when_ms > e->again_ms)
        (void)timerq_set(o->opts.timers, &o->timer, e->again_ms, outbox_on_timer, o);
}

static void outbox_finish(struct outbox_entry *e, const struct err *err, int64_t offset)
{
    outbox_done_fn *done = e->done;
    e->is_busy = false;
    e->done = NULL;
    done(e->arg, err, offset);
}

static void outbox_on_report(void *arg, const struct err *err, int64_t offset)
{
    struct outbox_entry *e = arg;
    assert(e->is_busy);
    if (!err) {
        outbox_finish(e, NULL, offset);
    } else if (e->is_cancelled) {
        struct err closed;
        (void)err_set(&closed, ERR_CLOSED, "given up");
        outbox_finish(e, &closed, -1);
    } else if (err->code == ERR_TOO_LARGE || err->code == ERR_INVALID) {
        outbox_finish(e, err, -1);
    } else {
        log_event(e->box->opts.log, LOG_WARN, view_of(e->ask.head->id.text), "publish_retried",
                  LOG_S("error", err->text), LOG_N("failures", e->failures + 1));
        outbox_later(e);
    }
}

/* The head with this record's own numbers over it. */
static void outbox_head(const struct outbox_entry *e, struct job_head *ret)
{
    *ret = *e->ask.head;
    ret->epoch = e->ask.epoch;
    ret->seq = e->ask.seq;
    ret->attempt = e->ask.attempt;
    ret->due_ms = e->ask.due_ms;
    ret->since = e->ask.since;
    ret->err_code[0] = ret->err_msg[0] = '\0';
    if (e->ask.err_code)
        (void)view_copy(view_of(e->ask.err_code), ret->err_code, sizeof ret->err_code);
    if (e->ask.err_msg) (void)view_copy(view_of(e->ask.err_msg), ret->err_msg, sizeof ret->err_msg);
}

static enum err_code outbox_publish(struct outbox_entry *e, struct err *err)
{
    const struct outbox_options *opts = &e->box->opts;
    struct record_out rec;
    rec.topic = opts->topics->names[e->ask.topic];
    rec.header_count = 0;
    if (e->ask.is_state) {
        struct state_record s;
        struct state_scratch scratch;
        outbox_head(e, &s.head);
        s.kind = e->ask.kind;
        s.item = e->ask.item;
        s.value = e->ask.value;
        s.step[0] = s.worker[0] = '\0';
        if (e->ask.step) (void)view_copy(view_of(e->ask.step), s.step, sizeof s.step);
        if (e->ask.worker) (void)view_copy(view_of(e->ask.worker), s.worker, sizeof s.worker);
        scratch.job.used = 0;
        state_record_write(&s, &rec, &scratch);
        rec.partition = e->ask.partition;
        return opts->publish->publish(opts->publish->self, &rec, outbox_on_report, e, err);
    }
    struct job_head head;
    struct job_scratch scratch;
    outbox_head(e, &head);
    scratch.used = 0;
    job_head_write(&head, &rec, &scratch);
    rec.partition = e->ask.partition;
    rec.value = e->ask.value;
    return opts->publish->publish(opts->publish->self, &rec, outbox_on_report, e, err);
}

/* A record refused for good is reported on the next turn, like every other answer. */
static void outbox_try(struct outbox_entry *e)
{
    struct err err;
    enum err_code code = outbox_publish(e, &err);
    if (code == ERR_OK) return;
    if ((code == ERR_TOO_LARGE || code == ERR_INVALID) && e->failures >= 0)
        e->failures = -1 - e->failures;
    if (e->failures < 0) {
        e->again_ms = e->box->opts.clock->mono_ms;
        list_push(&e->box->again, &e->link);
        (void)timerq_set(e->box->opts.timers, &e->box->timer, e->again_ms, outbox_on_timer, e->box);
    } else {
        outbox_later(e);
    }
}

static void outbox_on_timer(void *arg)
{
    struct outbox *o = arg;
    int64_t now = o->opts.clock->mono_ms;
    for (size_t left = o->again.count; left && o->again.count;
         left--) { /* one pass; answers may cancel others */
        struct outbox_entry *e = LIST_ITEM(list_first(&o->again), struct outbox_entry, link);
        list_remove(&o->again, &e->link);
        if (e->again_ms > now) {
            list_push(&o->again, &e->link);
        } else if (e->failures < 0) {
            struct err err;
            (void)err_set(&err, ERR_TOO_LARGE, "the record is over the message limit");
            outbox_finish(e, &err, -1);
        } else {
            outbox_try(e);
        }
    }
    outbox_arm(o);
}

void outbox_send(struct outbox *o, struct outbox_entry *e, const struct outbox_ask *ask,
                 outbox_done_fn *done, void *arg)
{
    assert(!e->is_busy && !list_linked(&e->link));
    *e = (struct outbox_entry){.box = o, .ask = *ask, .done = done, .arg = arg, .is_busy = true};
    outbox_try(e);
}

bool outbox_cancel(struct outbox_entry *e)
{
    if (!e->is_busy) return true;
    if (!list_linked(&e->link)) {
        e->is_cancelled = true;
        return false;
    }
    list_remove(&e->box->again, &e->link);
    e->is_busy = false;
    e->done = NULL;
    return true;
}
