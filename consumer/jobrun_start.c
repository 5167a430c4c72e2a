/* From a `started` that stands in the log to a running task. Only here is the job's value decoded:
 * a value that kills its worker has then left its mark in the log and runs out of attempts. */
#include "consumer/jobrun.h"

#include "consumer/home.h"

static struct view jobrun_metadata(const struct jobrun *r, struct job_body *ret_body,
                                   enum err_code *ret_code, struct err *err)
{
    *ret_code = job_body_read(r->item->value, ret_body, err);
    return *ret_code == ERR_OK ? ret_body->metadata : VIEW_NONE;
}

static void jobrun_tell_started(struct jobrun *r)
{
    struct buf b;
    struct jw w;
    buf_init(&b, 1024);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kint(&w, "attempt", r->attempt);
    jw_kstr(&w, "worker", r->w->ports.worker_name);
    if (!b.failed) b.data[0] = ','; /* members to append: without braces */
    jobrun_event(r, EVENT_JOB_STARTED, b.failed ? VIEW_NONE : buf_view(&b));
    buf_fini(&b);
}

bool jobrun_begin_mirror(struct jobrun *r, struct view metadata)
{
    const struct known_job *k = jobrun_known(r);
    int64_t seq = r->lease_seq;
    if (k && k->ledger && ledger_seq(k->ledger) > seq) seq = ledger_seq(k->ledger);
    if (seq < 1) seq = 1; /* job.queued */
    struct jobview *view = jobrun_view_new(r->job.head, k, metadata);
    if (!view) return false;
    r->mirror.held_ms = r->acquired_ms;
    r->mirror.job.metadata = metadata; /* lives in the item, or in r */
    mirror_begin(&r->mirror, view, r->epoch, (uint64_t)seq, r->attempt, r->started_wall_ms);
    return true;
}

static void jobrun_run(struct jobrun *r, const struct job_body *body)
{
    const struct job_head *head = r->job.head;
    const struct workflow *wf =
        workflows_find(r->w->ports.workflows, view_of(head->workflow), head->version);
    struct err err;
    if (!wf) {
        jobrun_close_as(r, JOB_FAILED, PROBLEM_WORKFLOW_MISSING,
                        "this worker does not have that workflow version", true);
        return;
    }
    if (!jobrun_task_new(r, wf, body->input, &err)) {
        if (err.code == ERR_NOMEM) {
            jobrun_hand(r);
            return;
        }
        jobrun_close_as(r, JOB_FAILED, PROBLEM_POISON, err.text, true);
        return;
    }
    jobrun_set(r, JOBRUN_RUNNING);
    jobrun_arm(r);
    task_start(r->task, r->w->ports.clock->mono_ms);
    if (r->w->state != WORKER_ACTIVE) task_drain(r->task, r->w->ports.clock->mono_ms);
    jobrun_pump(r);
}

void jobrun_inherited(struct jobrun *r)
{
    struct job_body body;
    struct err err;
    if (job_body_read(r->item->value, &body, &err) == ERR_OK) {
        jobrun_run(r, &body);
    } else {
        jobrun_close_as(r, JOB_FAILED, PROBLEM_POISON, "the job's record cannot be read", true);
    }
}

/* Steps of an earlier owner, whose end perhaps nobody was told. */
static bool jobrun_has_checkpoints(const struct jobrun *r)
{
    const struct known_job *k = jobrun_known(r);
    size_t cursor = 0;
    return k && k->ledger && ledger_checkpoint_each(k->ledger, &cursor);
}

void jobrun_start(struct jobrun *r)
{
    struct job_body body;
    struct err err;
    enum err_code code;
    struct view metadata = jobrun_metadata(r, &body, &code, &err);
    if (!jobrun_begin_mirror(r, metadata)) {
        jobrun_hand(r);
        return;
    }
    jobrun_tell_started(r);
    if (r->is_takeover && jobrun_has_checkpoints(r)) mirror_put_view(&r->mirror);
    if (!lease_held_since(r->w->lease, r->acquired_ms)) jobrun_doubt(r, true);
    if (r->is_canceled) {
        jobrun_close_as(r, JOB_CANCELED, PROBLEM_CANCELED, "the job was canceled", false);
    } else if (code == ERR_NOMEM) {
        jobrun_hand(r);
    } else if (code != ERR_OK) {
        jobrun_close_as(r, JOB_FAILED, PROBLEM_POISON, "the job's record cannot be read", true);
    } else if (!jobrun_inherit(r)) {
        jobrun_run(r, &body);
    }
}
