#ifndef SCHEMAS_JOBVIEW_H
#define SCHEMAS_JOBVIEW_H
#include "schemas/event.h"

/* The job as GET /v1/jobs/{id} shows it, folded from its events: the one fold, used by the gateway (answers), the worker (snapshots,
 * terminal records) and the rebuild. Pure; bounded (JOBVIEW_BYTES_MAX of outputs and text; beyond it outputs of steps are left out and
 * marked "output_omitted").
 * {id, status, workflow, version, class, attempt, created_at, started_at, ended_at, steps[{id,status,attempt,items?{total,done,failed},
 *  started_at,ended_at,output?,text?,usage?,error?}], usage{input_tokens,output_tokens,calls}, cost, output, error{code,message,step?}, metadata?,
 *  waiting{reason,until}?, retry_of?, retried_as?} */
struct jobview;
enum { JOBVIEW_BYTES_MAX = 4 << 20 };

struct jobview_seed { /* what is known before the first event */
    struct job_id id;
    const char *workflow;
    int64_t version;
    enum job_class cls;
    int64_t created_ms;
    struct view metadata; /* raw JSON or VIEW_NONE */
    const char *retry_of;
};
struct jobview *jobview_new(const struct jobview_seed *seed);
void jobview_free(struct jobview *v);
/* Folds one event. A job.snapshot replaces everything. Unknown types are ignored; malformed data is ERR_INVALID and changes nothing. */
MUST_CHECK enum err_code jobview_fold(struct jobview *v, enum event_type type, struct view data, struct err *err);
enum job_status jobview_status(const struct jobview *v);
/* The job object. with_steps false leaves the outputs and text of steps out (terminal records, lists). */
bool jobview_put(const struct jobview *v, struct buf *out, bool with_step_outputs);
/* A view from a job object that jobview_put wrote (snapshots, terminal records, meta). */
MUST_CHECK enum err_code jobview_read(struct view json, struct jobview **ret, struct err *err);
/* Data of a job.snapshot event with this seq: {"type","job_id","seq","ts","job":{...}}. */
bool jobview_put_snapshot(const struct jobview *v, struct buf *out, uint64_t seq, int64_t wall_ms);
/* Data of the terminal event, derived from a finished view alone, so that every writer makes the same bytes:
 * {"type":"job.succeeded","job_id","seq","ts":ended_at,"status","output","error","usage","cost"}. */
bool jobview_put_terminal(const struct jobview *v, struct buf *out, uint64_t seq);
/* Ends the view (the worker, before it writes the terminal record). output raw JSON or VIEW_NONE; error VIEW_NONE or {"code","message","step"?}. */
bool jobview_end(struct jobview *v, enum job_status terminal, int64_t wall_ms, struct view output, struct view error);
/* Adds a call's usage and cost. */
void jobview_charge(struct jobview *v, int64_t input_tokens, int64_t output_tokens, double cost);

#endif
