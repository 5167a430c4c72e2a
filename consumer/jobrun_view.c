/* The view of a job that somebody else began: made from what the log knows, because the stream in
 * Redis is a view itself and may be gone. Every checkpoint becomes the event that was told when it
 * was written, without its number and with the time of the first start: the fold is the same as
 * everywhere. */
#include "consumer/jobrun.h"

enum { JOBRUN_VIEW_EVENT_MAX = 1 << 20 };

static enum event_type jobrun_view_type(struct view value)
{
    struct view status;
    if (!json_raw_member(value, VIEW_LIT("status"), &status)) return EVENT_STEP_COMPLETED;
    if (view_eq_str(status, "\"failed\"")) return EVENT_STEP_FAILED;
    return view_eq_str(status, "\"skipped\"") ? EVENT_STEP_SKIPPED : EVENT_STEP_COMPLETED;
}

static bool jobrun_view_fold(struct jobview *v, const struct known_job *k,
                             const struct ledger_checkpoint *c, struct buf *b)
{
    struct view attempts;
    struct jw w;
    int64_t attempt = 1;
    enum event_type type = jobrun_view_type(c->value);
    if (json_raw_member(c->value, VIEW_LIT("attempts"), &attempts))
        (void)view_i64(attempts, &attempt);
    buf_reset(b);
    event_begin_step(&w, b, type, &k->id, (uint64_t)c->seq, k->started_ms, c->step, c->item,
                     attempt);
    if (c->value.len > 2) { /* {"status":..} -> ,"status":.. */
        (void)buf_put_char(b, ',');
        (void)buf_put_view(b, view_make(c->value.ptr + 1, c->value.len - 2));
    }
    event_end(&w);
    return !b->failed && jobview_fold(v, type, buf_view(b), NULL) != ERR_NOMEM;
}

static bool jobrun_view_begin(struct jobview *v, const struct known_job *k, struct buf *b)
{
    struct jw w;
    if (!k->started_ms) return true;
    event_begin(&w, b, EVENT_JOB_STARTED, &k->id, 2, k->started_ms);
    jw_kint(&w, "attempt", 1);
    event_end(&w);
    return !b->failed && jobview_fold(v, EVENT_JOB_STARTED, buf_view(b), NULL) != ERR_NOMEM;
}

struct jobview *jobrun_view_new(const struct job_head *head, const struct known_job *known,
                                struct view metadata)
{
    struct jobview_seed seed = {.id = head->id,
                                .workflow = head->workflow,
                                .version = head->version,
                                .cls = head->cls,
                                .created_ms = head->created_ms,
                                .metadata = metadata,
                                .retry_of = head->redrive_of[0] ? head->redrive_of : NULL};
    struct jobview *v = jobview_new(&seed);
    struct buf b;
    size_t cursor = 0;
    const struct ledger_checkpoint *c;
    if (!v || !known || !known->ledger) return v;
    buf_init(&b, JOBRUN_VIEW_EVENT_MAX * 2);
    bool ok = jobrun_view_begin(v, known, &b);
    while (ok && (c = ledger_checkpoint_each(known->ledger, &cursor)) != NULL) {
        if (c->value.len) ok = jobrun_view_fold(v, known, c, &b);
    }
    buf_fini(&b);
    if (ok) return v;
    jobview_free(v);
    return NULL;
}
