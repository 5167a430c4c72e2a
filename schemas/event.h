#ifndef SCHEMAS_EVENT_H
#define SCHEMAS_EVENT_H
#include "common/base/json.h"
#include "schemas/job.h"

/* Events of a job's stream. In Redis: XADD j:{id}:e <epoch>-<seq> t <type> d <data>. seq is per job, starts at 1
 * (job.queued, always 0-1) and never restarts; contiguous means seq + 1 in whatever epoch. Outside the id is
 * %016llu-%010llu: sorts as text. */
enum event_type {
    EVENT_JOB_QUEUED, EVENT_JOB_STARTED, EVENT_JOB_WAITING, EVENT_JOB_RESUMED,
    EVENT_STEP_STARTED, EVENT_STEP_PROGRESS, EVENT_STEP_DELTA, EVENT_STEP_RETRYING, EVENT_STEP_COMPLETED,
    EVENT_STEP_FAILED, EVENT_STEP_SKIPPED, EVENT_JOB_SNAPSHOT, EVENT_RESET,
    EVENT_JOB_SUCCEEDED, EVENT_JOB_FAILED, EVENT_JOB_CANCELED, EVENT_JOB_EXPIRED,
    EVENT_TYPE_COUNT
};
const char *event_type_name(enum event_type t);
bool event_type_parse(struct view name, enum event_type *ret);
bool event_type_is_terminal(enum event_type t);
enum event_type event_type_of_status(enum job_status terminal);

struct event_id {
    uint64_t epoch, seq;
};
enum { EVENT_ID_TEXT = 28, EVENT_ID_REDIS = 42 };
void event_id_format(struct event_id id, char ret[EVENT_ID_TEXT]);        /* outside form */
bool event_id_parse(struct view text, struct event_id *ret);              /* outside form, strict */
void event_id_format_redis(struct event_id id, char ret[EVENT_ID_REDIS]); /* <epoch>-<seq> */
bool event_id_parse_redis(struct view text, struct event_id *ret);

/* What a watcher may conclude from the next id it is handed. A job.snapshot is always taken after a reset. DUPLICATE
 * only at or below the cursor in the order of ids; a repeated seq under a higher epoch is another history (a lost
 * tail), so it is a GAP. */
enum event_order { EVENT_NEXT, EVENT_DUPLICATE, EVENT_GAP };
enum event_order event_order(struct event_id cursor, struct event_id next);

/* Writes {"type","job_id","seq","ts" (ts: RFC 3339) and leaves the object open for the members of the type; close
 * with event_end. */
void event_begin(struct jw *w, struct buf *out, enum event_type t, const struct job_id *job, uint64_t seq,
                 int64_t wall_ms);
void event_begin_step(struct jw *w, struct buf *out, enum event_type t, const struct job_id *job, uint64_t seq,
                      int64_t wall_ms, const char *step, int64_t item, int64_t attempt);
void event_end(struct jw *w);

/* SSE and NDJSON forms of one event (id VIEW_NONE: not durable, no id line). SSE: "id:..\nevent: ..\ndata: ..\n\n",
 * payload split at CR, LF, CRLF. */
bool event_put_sse(struct buf *out, struct view id, struct view type, struct view data);
/* One line: the data with its "id" member put in front. data must be an object. */
bool event_put_ndjson(struct buf *out, struct view id, struct view data);

#endif
