/* Handing a job over: to any worker now (cont), or to its future (delay).
 *
 * The order is what makes it safe: the record that carries the job on is acknowledged, then
 * `yielded` or `parked` with the same identity (epoch, seq), then the lease goes back and the old
 * offset is complete. Die in between and the old record is still there: whoever takes it starts a
 * higher epoch, and the half-made copy is void. */
#include "consumer/jobrun.h"

#include <assert.h>

static void jobrun_on_yielded(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun *r = arg;
    (void)offset;
    if (r->state == JOBRUN_GONE) return;
    assert(!e);
    jobrun_set(r, JOBRUN_RELEASING);
    if (!r->mirror.view || mirror_is_clean(&r->mirror)) jobrun_release(r);
}

static void jobrun_on_copied(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun *r = arg;
    (void)offset;
    if (r->state == JOBRUN_GONE) return;
    if (e) { /* it was small enough once; whoever reads the old record again goes on from its
                checkpoints */
        jobrun_let_go(r, JOBRUN_DROPPED);
        return;
    }
    jobrun_send_state(r, r->is_parking ? STATE_PARKED : STATE_YIELDED, r->hand_seq, VIEW_NONE,
                      jobrun_on_yielded);
}

static enum topic jobrun_tier(const struct jobrun *r)
{
    enum topic t = topic_delay_tier(r->due_ms - r->w->ports.clock->wall_ms);
    return t == TOPIC_COUNT ? TOPIC_CONT : t;
}

/* One that waited for its turn was told why and until when already. */
static void jobrun_tell_parked(struct jobrun *r)
{
    if (r->is_paced) return;
    r->wait = (struct call_wait){.reason = "retry", .until_wall_ms = r->due_ms};
    jobrun_tell_waiting(r);
}

void jobrun_hand(struct jobrun *r)
{
    int64_t deadline = r->job.head->deadline_ms;
    jobrun_drop_task(r);
    timerq_cancel(r->w->ports.timers, &r->timer);
    jobrun_set(r, JOBRUN_HANDING);
    if (r->is_parking && deadline > 0 && deadline < r->due_ms) r->due_ms = deadline;
    if (r->is_parking) jobrun_tell_parked(r);
    r->hand_seq = r->mirror.view ? (int64_t)r->mirror.seq : r->lease_seq;
    struct outbox_ask ask = {.topic = r->is_parking ? jobrun_tier(r) : TOPIC_CONT,
                             .partition = jobrun_partition(r),
                             .head = r->job.head,
                             .epoch = r->epoch,
                             .seq = r->hand_seq,
                             .attempt = r->attempt,
                             .due_ms = r->is_parking ? r->due_ms : 0,
                             .since = r->since,
                             .value = r->item->value};
    outbox_send(r->w->outbox, &r->out, &ask, jobrun_on_copied, r);
}

void jobrun_release(struct jobrun *r)
{
    fn_release(r->w->ports.fn, &r->id, r->epoch, r->is_parking ? "waiting" : "queued",
               worker_ignore_done, NULL);
    metric_add(r->is_parking ? r->w->meters.parked : r->w->meters.handed, 1);
    jobrun_over(r, JOBRUN_HANDED);
}
