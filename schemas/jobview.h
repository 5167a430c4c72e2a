#ifndef SCHEMAS_JOBVIEW_H
#define SCHEMAS_JOBVIEW_H
#include "schemas/event.h"

/* The job as GET /v1/jobs/{id} shows it, folded from its events: the one fold, used by the gateway (answers), the
 * worker (snapshots, terminal records) and the rebuild. Pure; bounded (JOBVIEW_BYTES_MAX of step outputs, errors and
 * text; beyond it they are left out and marked "output_omitted" / "text_omitted").
 * {id, status, workflow, version, class, attempt, created_at, started_at, ended_at,
 *  steps[{id, status, attempt, items?{total, done, failed, running?[{item, attempt, text?, text_omitted?}]},
 *         started_at, ended_at, output?, output_omitted?, text?, text_omitted?, usage?, error?}],
 *  usage{input_tokens, output_tokens, calls}, cost, output, error{code, message, step?}, metadata?,
 *  waiting{reason, on?, until}?, retry_of?, retried_as?}
 * A step's status: running | retrying | completed | failed | skipped.
 *
 * Members of events that the fold reads, beside type, ts, step, item and attempt:
 *   job.started attempt · job.waiting reason, on?, until · step.started items{total}? · step.delta text · step.retrying
 *     usage?
 *   step.completed output | output_omitted, usage?, items{total, done, failed}? · step.failed error, usage?
 *   job.snapshot job · the four ends: output, error, usage, cost
 * usage{input_tokens, output_tokens, calls? (default 1), cost?} of step events adds to the step and to the job. What
 * jobview_charge adds is counted apart, and the job shows the larger of the two: who charges every call (the worker)
 * and folds its own events counts nothing twice, who only folds still shows what the events tell.
 * Text belongs to the step's attempt: any event of a higher attempt voids it, deltas of a lower one are ignored, and
 * an output takes its place. A foreach step keeps text only of its running items. After an end only a job.snapshot
 * counts. */
struct jobview;
enum { JOBVIEW_BYTES_MAX = 4 << 20, JOBVIEW_STEPS_MAX = 256, JOBVIEW_RUNNING_MAX = 1024 };

struct jobview_seed { /* what is known before the first event */
    struct job_id id;
    const char *workflow;
    int64_t version;
    enum job_class cls;
    int64_t created_ms;
    struct view metadata; /* raw JSON or VIEW_NONE */
    const char *retry_of; /* job id or NULL */
};
struct jobview *jobview_new(const struct jobview_seed *seed); /* copies; NULL: no memory */
void jobview_free(struct jobview *v);
/* Folds one event. A job.snapshot replaces everything. Unknown members and reset are ignored; malformed data is
 * ERR_INVALID and changes nothing. ERR_NOMEM. */
MUST_CHECK enum err_code jobview_fold(struct jobview *v, enum event_type type, struct view data, struct err *err);
enum job_status jobview_status(const struct jobview *v);
/* The job object. with_step_outputs false leaves the outputs and text of steps out (terminal records, lists). False:
 * out is full. */
bool jobview_put(const struct jobview *v, struct buf *out, bool with_step_outputs);
/* A view from a job object that jobview_put wrote (snapshots, terminal records, meta): put again it is the same
 * bytes. */
MUST_CHECK enum err_code jobview_read(struct view json, struct jobview **ret, struct err *err);
/* Data of a job.snapshot event with this seq: {"type","job_id","seq","ts","job":{...}}. */
bool jobview_put_snapshot(const struct jobview *v, struct buf *out, uint64_t seq, int64_t wall_ms);
/* Data of the terminal event, derived from a finished view alone, so that every writer makes the same bytes:
 * {"type":"job.succeeded","job_id","seq","ts":ended_at,"status","output","error","usage","cost"}. */
bool jobview_put_terminal(const struct jobview *v, struct buf *out, uint64_t seq);
/* Ends the view (the worker, before it writes the terminal record). output raw JSON or VIEW_NONE; error VIEW_NONE or
 * {"code","message","step"?}. False: no memory (nothing changed). Running steps stay as they were. */
bool jobview_end(struct jobview *v, enum job_status terminal, int64_t wall_ms, struct view output, struct view error);
/* Adds a call's usage (negative: unknown, counts 0) and cost. */
void jobview_charge(struct jobview *v, int64_t input_tokens, int64_t output_tokens, double cost);
/* The job that repeats this one. */
void jobview_set_retried_as(struct jobview *v, const struct job_id *id);

#endif
