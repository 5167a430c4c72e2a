/* POST /v1/jobs/{id}/cancel. The truth is a record in the job's home, acknowledged before the
 * answer; the flag in Redis only makes it quick. So a cancel is taken while Redis is away as well:
 * then nobody can say here whether the job is the tenant's or has ended, but the record carries the
 * tenant, and its home decides. */
#include "gateway/exchange.h"

static void cancel_answer_blind(struct exchange *x)
{
    struct buf *out = &x->s->scratch;
    struct answer a = {.status = 202};
    buf_reset(out);
    buf_printf(
        out,
        "{\"id\":\"%s\",\"links\":{\"self\":\"/v1/jobs/%s\",\"events\":\"/v1/jobs/%s/events\"}}",
        x->job.text, x->job.text, x->job.text);
    a.body = buf_view(out);
    exchange_answer(x, &a);
}

static void cancel_flagged(void *arg, const struct err *e, const struct fn_canceled *c)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (e || !c->found)
        cancel_answer_blind(x);
    else
        get_answer(x, 202);
}

/* True: it stands in the log. */
static bool cancel_is_written(struct exchange *x, const struct producer_report *r)
{
    if (!exchange_held(x)) return false;
    if (r->e) exchange_refuse(x, PROBLEM_UNAVAILABLE, "Kafka did not acknowledge the cancel in time");
    return !r->e;
}

static void cancel_written(void *arg, const struct producer_report *r)
{
    struct exchange *x = arg;
    if (!cancel_is_written(x, r)) return;
    exchange_hold(x);
    fn_cancel(x->s->fn, &x->job, cancel_flagged, x);
}

/* Whose job it is was not seen: the flag, which names no tenant, must not be set from here. */
static void cancel_written_unseen(void *arg, const struct producer_report *r)
{
    struct exchange *x = arg;
    if (cancel_is_written(x, r)) cancel_answer_blind(x);
}

static void cancel_write(struct exchange *x, producer_done_fn *written)
{
    struct err err;
    struct state_record record = {
        .kind = STATE_CANCEL, .item = -1, .value = VIEW_LIT("{\"reason\":\"requested\"}")};
    const struct producer_done done = {written, x};
    record.head.id = x->job;
    record.head.since = -1;
    record.head.created_ms = x->s->clock->wall_ms;
    memcpy(record.head.tenant, x->who.tenant, sizeof record.head.tenant);
    if (!x->s->is_kafka_ready) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Kafka is away");
        return;
    }
    exchange_hold(x);
    if (producer_state(x->s->producer, &record, &done, &err) != ERR_OK && exchange_held(x))
        exchange_refuse(x, PROBLEM_UNAVAILABLE, err.text);
}

static void cancel_found(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (e)
        cancel_write(x, cancel_written_unseen);
    else if (!exchange_may_see(x, m))
        exchange_unknown(x, m->built);
    else if (job_status_is_terminal(m->status))
        get_answer(x, 200);
    else
        cancel_write(x, cancel_written);
}

void cancel_job(struct exchange *x)
{
    exchange_hold(x);
    fn_meta(x->s->fn, &x->job, view_of(x->s->boot), cancel_found, x);
}
