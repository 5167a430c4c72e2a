/* The end of a job: dead letter where one is due -> terminal record -> its report -> (proof) ->
 * Redis -> the offset.
 *
 * What is hard: exactly one end, though a paused worker may write a second one late. The record
 * decides by its place in the log. Who held the lease without a break from before `started` until
 * the report knows that nobody else can have started; everybody else reads the log up to his own
 * record and acts on what stands there: his own end, another's (which he then tells Redis under its
 * recorded id), or neither (a higher epoch runs the job: not his business any more). */
#include "consumer/jobrun.h"

#include "consumer/home.h"
#include <assert.h>

enum { JOBRUN_ERROR_MAX = 1024, JOBRUN_CROWD = 16, JOBRUN_DEFER_MS = 25 };

/* --- writing it ------------------------------------------------------------------------------ */
static void jobrun_on_terminal(void *arg, const struct err *e, int64_t offset);

static void jobrun_send_end(struct jobrun *r)
{
    jobrun_set(r, JOBRUN_CLOSING);
    if (r->w->run_list.count > JOBRUN_CROWD) /* one call instead of two, at the price of a moment */
        mirror_defer(&r->mirror, r->w->ports.clock->mono_ms + JOBRUN_DEFER_MS);
    jobrun_send_state(r, state_kind_of_status(r->end.status), (int64_t)r->end.id.seq,
                      buf_view(&r->end_view), jobrun_on_terminal);
}

static void jobrun_on_buried(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun *r = arg;
    (void)offset;
    if (r->state == JOBRUN_GONE) return;
    if (e)
        log_event(r->w->ports.log, LOG_ERROR, view_of(r->id.text), "dead_letter_refused",
                  LOG_S("error", e->text));
    metric_add(r->w->meters.dead_letters, 1);
    jobrun_send_end(r);
}

static void jobrun_bury(struct jobrun *r)
{
    int32_t partition = topic_policy(TOPIC_DLQ).one_partition ? 0 : jobrun_partition(r);
    struct outbox_ask ask = {.topic = TOPIC_DLQ,
                             .partition = partition,
                             .head = r->job.head,
                             .epoch = r->epoch,
                             .seq = (int64_t)r->end.id.seq,
                             .attempt = r->attempt,
                             .since = r->since,
                             .err_code = r->err_code,
                             .err_msg = r->err_msg,
                             .value = r->item->value};
    jobrun_set(r, JOBRUN_BURYING);
    outbox_send(r->w->outbox, &r->out, &ask, jobrun_on_buried, r);
}

/* Ends the view and makes the bytes of the record and of the event. False: no memory. */
static bool jobrun_seal(struct jobrun *r, const struct jobrun_close *c)
{
    int64_t now = r->w->ports.clock->wall_ms;
    buf_reset(&r->end_view);
    buf_reset(&r->end_data);
    if (!jobview_end(r->mirror.view, c->status, now, c->output, c->error)) return false;
    r->end = (struct mirror_end){
        .id = {(uint64_t)r->epoch, r->mirror.seq + 1}, .status = c->status, .ended_ms = now};
    if (!jobview_put(r->mirror.view, &r->end_view, false) ||
        !jobview_put_terminal(r->mirror.view, &r->end_data, r->end.id.seq))
        return false;
    r->end.view = buf_view(&r->end_view);
    r->end.data = buf_view(&r->end_data);
    return true;
}

static void jobrun_note_error(struct jobrun *r, struct view error)
{
    struct view part;
    struct buf text;
    buf_init(&text, JOBRUN_ERROR_MAX);
    r->err_code[0] = r->err_msg[0] = '\0';
    if (json_raw_member(error, VIEW_LIT("code"), &part) && json_raw_string(part, &text))
        (void)view_copy(view_make(text.data, text.len), r->err_code, sizeof r->err_code);
    buf_reset(&text);
    if (json_raw_member(error, VIEW_LIT("message"), &part) && json_raw_string(part, &text)) {
        size_t len = text.len < sizeof r->err_msg ? text.len : sizeof r->err_msg - 1;
        (void)view_copy(view_make(text.data, len), r->err_msg, sizeof r->err_msg);
    }
    buf_fini(&text);
}

void jobrun_close(struct jobrun *r, const struct jobrun_close *c)
{
    if (!r->mirror.view && !jobrun_begin_mirror(r, view_of(r->metadata))) {
        jobrun_let_go(r, JOBRUN_DROPPED);
        return;
    }
    if (c->error.ptr) jobrun_note_error(r, c->error);
    if (!jobrun_seal(r, c)) {
        jobrun_let_go(r, JOBRUN_DROPPED); /* no memory: another worker ends it */
        return;
    }
    bool bury = c->bury && r->item->value.len;
    jobrun_drop_task(r); /* c's views may point into it: last use was above */
    timerq_cancel(r->w->ports.timers, &r->timer);
    if (bury) {
        jobrun_bury(r);
    } else {
        jobrun_send_end(r);
    }
}

void jobrun_close_as(struct jobrun *r, enum job_status status, enum problem why,
                     const char *message, bool bury)
{
    struct buf b;
    struct jw w;
    buf_init(&b, JOBRUN_ERROR_MAX);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kcstr(&w, "code", problem_code(why));
    jw_kcstr(&w, "message", message);
    jw_end_object(&w);
    struct jobrun_close c = {
        .status = status, .error = b.failed ? VIEW_NONE : buf_view(&b), .bury = bury};
    jobrun_close(r, &c);
    buf_fini(&b);
}

/* The record is over the limit after all: the same end without what is large. */
static void jobrun_shrink_end(struct jobrun *r)
{
    struct jobview *small = jobrun_view_new(r->job.head, NULL, VIEW_NONE);
    if (!small || r->end_tries++ > 0) {
        jobview_free(small);
        jobrun_let_go(r, JOBRUN_DROPPED);
        return;
    }
    jobview_free(r->mirror.view);
    r->mirror.view = small;
    jobrun_close_as(r, JOB_FAILED, PROBLEM_OUTPUT_TOO_LARGE,
                    "the job's record is over the message limit", false);
}

/* --- knowing that it counts ------------------------------------------------------------------ */
static void jobrun_finish(struct jobrun *r)
{
    jobrun_set(r, JOBRUN_FINISHING);
    mirror_finish(&r->mirror, &r->end);
}

static void jobrun_on_terminal(void *arg, const struct err *e, int64_t offset)
{
    struct jobrun *r = arg;
    if (r->state == JOBRUN_GONE) return;
    if (e) {
        jobrun_shrink_end(r);
        return;
    }
    if (!r->must_prove && lease_held_since(r->w->lease, r->acquired_ms)) {
        jobrun_finish(r);
        return;
    }
    jobrun_set(r, JOBRUN_PROVING);
    if (!jobrun_await(r, offset))
        jobrun_let_go(r, JOBRUN_DROPPED); /* the home's owner finds it in the log */
}

void jobrun_prove(struct jobrun *r)
{
    const struct known_job *k = jobrun_known(r);
    const struct state_record *t = k && k->ledger ? ledger_terminal(k->ledger) : NULL;
    if (!t) {
        metric_add(r->w->meters.void_ends, 1);
        jobrun_over(r, JOBRUN_DROPPED); /* void: a higher epoch stands before it */
    } else if (t->head.epoch == r->epoch && t->head.seq == (int64_t)r->end.id.seq) {
        jobrun_finish(r);
    } else {
        metric_add(r->w->meters.void_ends, 1);
        jobrun_adopt(r, t);
    }
}

/* Another's end stands in the log: ours is to tell Redis about it, under its own id. */
void jobrun_adopt(struct jobrun *r, const struct state_record *t)
{
    struct jobview *view = NULL;
    struct err err;
    enum job_status status = state_kind_status(t->kind);
    jobrun_drop_task(r);
    if (jobview_read(t->value, &view, &err) != ERR_OK) {
        log_event(r->w->ports.log, LOG_ERROR, view_of(r->id.text), "terminal_unreadable",
                  LOG_S("error", err.text));
        view = jobrun_view_new(r->job.head, jobrun_known(r), VIEW_NONE);
        if (view) (void)jobview_end(view, status, r->w->ports.clock->wall_ms, VIEW_NONE, VIEW_NONE);
    }
    if (!view) {
        jobrun_let_go(r, JOBRUN_DROPPED);
        return;
    }
    jobview_free(r->mirror.view);
    mirror_begin(&r->mirror, view, r->epoch, (uint64_t)t->head.seq - 1, t->head.attempt,
                 r->started_wall_ms);
    buf_reset(&r->end_view);
    buf_reset(&r->end_data);
    if (!jobview_put(view, &r->end_view, false) ||
        !jobview_put_terminal(view, &r->end_data, (uint64_t)t->head.seq)) {
        jobrun_let_go(r, JOBRUN_DROPPED);
        return;
    }
    (void)json_raw_member(buf_view(&r->end_view), VIEW_LIT("metadata"), &r->mirror.job.metadata);
    r->end = (struct mirror_end){.id = {(uint64_t)t->head.epoch, (uint64_t)t->head.seq},
                                 .status = status,
                                 .data = buf_view(&r->end_data),
                                 .view = buf_view(&r->end_view),
                                 .ended_ms = r->w->ports.clock->wall_ms};
    jobrun_finish(r);
}

/* --- telling --------------------------------------------------------------------------------- */
static void jobrun_log_done(const struct jobrun *r)
{
    const struct job_head *h = r->job.head;
    int64_t ms = r->w->ports.clock->wall_ms - h->created_ms;
    log_event(r->w->ports.log, LOG_INFO, view_of(r->id.text), "job_done",
              LOG_S("tenant", h->tenant), LOG_S("workflow", h->workflow),
              LOG_S("status", job_status_name(r->end.status)), LOG_N("attempt", r->attempt),
              LOG_N("ms", ms), LOG_N("input_tokens", r->input_tokens),
              LOG_N("output_tokens", r->output_tokens), LOG_N("calls", r->call_count),
              LOG_S("error", r->err_code));
}

static void jobrun_finished(struct jobrun *r)
{
    struct worker *w = r->w;
    jobrun_log_done(r);
    w->ended++;
    metric_add(w->meters.ended[r->end.status], 1);
    metric_observe(w->meters.job_seconds, (double)(w->ports.clock->mono_ms - r->begun_ms) / 1000);
    jobrun_over(r, JOBRUN_ENDED);
}

void jobrun_on_news(void *arg, enum mirror_news news)
{
    struct jobrun *r = arg;
    assert(r->state != JOBRUN_GONE);
    switch (news) {
    case MIRROR_CANCEL:
        if (!r->is_canceled) jobrun_cancel(r);
        break;
    case MIRROR_GONE:
        lease_hurry(r->w->lease);
        break;
    case MIRROR_HELD:
        jobrun_sure(r);
        break;
    case MIRROR_CLEAN:
        if (r->state == JOBRUN_RELEASING) jobrun_release(r);
        break;
    case MIRROR_FINISHED:
        jobrun_finished(r);
        break;
    case MIRROR_FENCED:
    case MIRROR_ENDED:
        log_event(r->w->ports.log, LOG_WARN, view_of(r->id.text), "job_fenced",
                  LOG_S("state", jobrun_state_name(r->state)), LOG_N("epoch", r->epoch));
        jobrun_over(r, r->state == JOBRUN_RELEASING ? JOBRUN_HANDED : JOBRUN_DROPPED);
        break;
    }
}
