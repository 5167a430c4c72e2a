/* A retry goes on where the job it repeats stopped: the completed steps of the old job are read
 * back from state[p] (both live in the same home), written as checkpoints of the new one, told as
 * its events, and never run again. The new job then stands on its own: should it be taken over, its
 * own records count first, and what was not yet copied is read again. */
#include "consumer/jobrun.h"

#include "consumer/home.h"

enum {
    JOBRUN_INHERIT_AGAIN_MS = 6000,
    JOBRUN_INHERIT_SLACK_MS = 600000, /* clocks may have stepped back since it was created */
    JOBRUN_INHERIT_EVENT_MAX = 64 << 10
};

bool jobrun_is_completed(struct view checkpoint)
{
    struct view status;
    return json_raw_member(checkpoint, VIEW_LIT("status"), &status) &&
           view_eq_str(status, "\"completed\"");
}

void jobrun_inherit_stop(struct jobrun *r)
{
    if (r->inherit) r->w->ports.replay.cancel(r->w->ports.replay.self, r->inherit);
    r->inherit = NULL;
    ledger_job_free(r->inherited);
    r->inherited = NULL;
}

/* Not possible now: the job waits a moment in a delay topic. */
static void jobrun_inherit_later(struct jobrun *r)
{
    jobrun_inherit_stop(r);
    r->is_parking = true;
    r->due_ms = r->w->ports.clock->wall_ms + JOBRUN_INHERIT_AGAIN_MS;
    jobrun_hand(r);
}

static void jobrun_inherit_tell(struct jobrun *r, const struct ledger_checkpoint *c)
{
    struct buf b;
    struct mirror_note note = {
        .type = EVENT_STEP_COMPLETED, .step = c->step, .item = c->item, .attempt = 1};
    buf_init(&b, JOBRUN_INHERIT_EVENT_MAX);
    (void)buf_put_char(&b, ',');
    (void)buf_put_view(&b, view_make(c->value.ptr + 1, c->value.len - 2));
    note.members = b.failed ? VIEW_LIT(",\"output_omitted\":true") : buf_view(&b);
    mirror_put(&r->mirror, &note);
    buf_fini(&b);
}

static void jobrun_inherit_copy(struct jobrun *r)
{
    const struct known_job *k = jobrun_known(r);
    const struct ledger_checkpoint *c;
    size_t cursor = 0;
    while ((c = ledger_checkpoint_each(r->inherited, &cursor)) != NULL) {
        struct jobrun_step step = {.id = c->step, .item = c->item};
        if (!c->value.len || !jobrun_is_completed(c->value)) continue;
        if (k && k->ledger && ledger_checkpoint(k->ledger, view_of(c->step), c->item)) continue;
        if (!jobrun_checkpoint(r, &step, c->value)) {
            jobrun_let_go(r, JOBRUN_DROPPED);
            return;
        }
        jobrun_inherit_tell(r, c);
    }
    if (r->records.count == 0) jobrun_inherited(r);
}

static void jobrun_on_old_record(void *arg, const struct record_in *rec)
{
    struct jobrun *r = arg;
    struct state_record s;
    enum ledger_verdict verdict;
    if (!view_eq_str(rec->key, r->job.head->redrive_of)) return;
    if (state_record_read(rec, &s, NULL) != ERR_OK ||
        strcmp(s.head.tenant, r->job.head->tenant) != 0)
        return;
    if (state_kind_is_terminal(s.kind))
        return; /* nothing counts after it, and its value is of no use here */
    if (ledger_job_fold(r->inherited, &s, rec->offset, &verdict, NULL) != ERR_OK)
        log_event(r->w->ports.log, LOG_ERROR, view_of(r->id.text), "inherit_lost",
                  LOG_N("offset", rec->offset));
}

static void jobrun_on_old_read(void *arg, const struct err *e, int64_t next_offset)
{
    struct jobrun *r = arg;
    (void)next_offset;
    r->inherit = NULL;
    if (e && e->code != ERR_NOT_FOUND) {
        jobrun_inherit_later(r);
    } else {
        jobrun_inherit_copy(r);
    }
}

static void jobrun_on_old_meta(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct jobrun *r = arg;
    struct err err;
    r->ops--;
    if (r->state != JOBRUN_INHERITING) return;
    struct replay_ask ask = {.topic = TOPIC_STATE,
                             .partition = jobrun_partition(r),
                             .from = -1,
                             .to = -1, /* what our own tail has read is not all of it */
                             .from_ms = !e && m->found && m->created_ms > 0
                                            ? m->created_ms - JOBRUN_INHERIT_SLACK_MS
                                            : 0,
                             .handle = jobrun_on_old_record,
                             .done = jobrun_on_old_read,
                             .arg = r};
    r->inherited = ledger_job_new();
    if (r->inherited) r->inherit = r->w->ports.replay.start(r->w->ports.replay.self, &ask, &err);
    if (!r->inherit) jobrun_inherit_later(r);
}

bool jobrun_inherit(struct jobrun *r)
{
    struct job_id old;
    if (!id_parse(view_of(r->job.head->redrive_of), &old)) return false;
    jobrun_set(r, JOBRUN_INHERITING);
    r->ops++;
    fn_meta(r->w->ports.fn, &old, VIEW_NONE, jobrun_on_old_meta, r);
    return true;
}
