/* The fold of a watched job.
 *
 * What is hard: text may turn out void. A worker dies in the middle of a sentence, the next one
 * begins the call again, and what was shown of the first attempt is not part of the answer. So a
 * text belongs to an attempt: an event of a higher one empties it, a delta of a lower one is
 * dropped. A snapshot takes the place of everything: it comes where history is gone.
 *
 * The server's own fold (schemas/jobview) answers with a JSON object; a screen that is drawn twenty
 * times a second wants fields, and the end of a text rather than all of it. */
#include "producer/cli_job.h"

#include "producer/cli_json.h"
#include <assert.h>

enum { TEXT_MAX = 64 << 20 };

struct cli_job *cli_job_new(const char *id)
{
    struct cli_job *j = calloc(1, sizeof *j);

    if (!j) return NULL;
    view_copy(view_of(id), j->id, sizeof j->id);
    buf_init(&j->end, TEXT_MAX);
    for (size_t i = 0; i < CLI_STREAMS_MAX; i++) buf_init(&j->streams[i].text, TEXT_MAX);
    return j;
}

void cli_job_free(struct cli_job *j)
{
    if (!j) return;
    buf_fini(&j->end);
    for (size_t i = 0; i < CLI_STREAMS_MAX; i++) buf_fini(&j->streams[i].text);
    free(j);
}

const char *cli_step_status_name(enum cli_step_status s)
{
    static const char *const names[] = {"running", "retrying", "completed", "failed", "skipped"};

    return names[s];
}

enum cli_exit cli_job_exit(enum job_status status)
{
    if (status == JOB_SUCCEEDED) return CLI_EXIT_OK;
    return status == JOB_FAILED ? CLI_EXIT_FAILED : CLI_EXIT_STOPPED;
}

size_t cli_job_step(const struct cli_job *j, const char *id)
{
    for (size_t i = 0; i < j->step_count; i++)
        if (strcmp(j->steps[i].id, id) == 0) return i;
    return SIZE_MAX;
}

static size_t job_add_step(struct cli_job *j, const char *id)
{
    size_t at = cli_job_step(j, id);

    if (at != SIZE_MAX || !id[0] || j->step_count == CLI_STEPS_MAX) return at;
    struct cli_step *s = &j->steps[j->step_count];
    *s = (struct cli_step){.status = CLI_STEP_RUNNING};
    view_copy(view_of(id), s->id, sizeof s->id);
    return j->step_count++;
}

/* --- running texts --- */

struct cli_stream *cli_job_stream(struct cli_job *j, size_t step, int64_t item)
{
    for (size_t i = 0; i < CLI_STREAMS_MAX; i++) {
        struct cli_stream *s = &j->streams[i];
        if (s->is_open && s->step == step && s->item == item) return s;
    }
    return NULL;
}

const struct cli_stream *cli_job_focus(const struct cli_job *j)
{
    const struct cli_stream *best = NULL;

    for (size_t i = 0; i < CLI_STREAMS_MAX; i++) {
        const struct cli_stream *s = &j->streams[i];
        if (s->is_open && s->text.len > 0 && (!best || s->order < best->order)) best = s;
    }
    return best;
}

static void stream_close(struct cli_stream *s)
{
    if (!s) return;
    buf_fini(&s->text);
    s->is_open = false;
    s->shown = 0;
}

static void job_close_streams(struct cli_job *j)
{
    for (size_t i = 0; i < CLI_STREAMS_MAX; i++)
        if (j->streams[i].is_open) stream_close(&j->streams[i]);
}

/* A free place, or that of the oldest text. */
static struct cli_stream *job_open_stream(struct cli_job *j, size_t step, int64_t item,
                                          int64_t attempt)
{
    struct cli_stream *place = &j->streams[0];

    for (size_t i = 0; i < CLI_STREAMS_MAX && place->is_open; i++)
        if (!j->streams[i].is_open || j->streams[i].order < place->order) place = &j->streams[i];
    stream_close(place);
    place->is_open = true;
    place->step = step;
    place->item = item;
    place->attempt = attempt;
    place->order = ++j->opened;
    return place;
}

/* The text of this attempt, emptied when it held that of a lower one; NULL: this attempt is void.
 */
static struct cli_stream *job_stream_of(struct cli_job *j, size_t step, int64_t item,
                                        int64_t attempt)
{
    struct cli_stream *s = cli_job_stream(j, step, item);

    if (!s) return job_open_stream(j, step, item, attempt);
    if (attempt < s->attempt) return NULL;
    if (attempt > s->attempt) {
        buf_reset(&s->text);
        s->shown = 0;
        s->attempt = attempt;
    }
    return s;
}

static bool stream_add(struct cli_stream *s, struct view literal)
{
    if (s->text.len > CLI_TAIL_MAX) { /* what was shown long ago */
        size_t gone = s->text.len - CLI_TAIL_MAX / 2;

        buf_consume(&s->text, gone);
        s->shown = s->shown > gone ? s->shown - gone : 0;
    }
    return json_raw_kind(literal) != JSON_RAW_STRING || json_raw_string(literal, &s->text);
}

/* --- events of steps --- */

static void step_take_usage(struct cli_step *s, struct view data)
{
    s->output_tokens += cli_json_int(cli_json_raw(data, "usage"), "output_tokens", 0);
}

static void step_take_items(struct cli_step *s, struct view data)
{
    struct view items = cli_json_raw(data, "items");

    if (json_raw_kind(items) != JSON_RAW_OBJECT) return;
    s->total = cli_json_int(items, "total", s->total);
    s->done = cli_json_int(items, "done", s->done);
    s->failed = cli_json_int(items, "failed", s->failed);
}

static void step_take_error(struct cli_step *s, struct view data)
{
    cli_json_text(cli_json_raw(data, "error"), "code", s->error, sizeof s->error);
}

static void step_end(struct cli_step *s, const struct cli_event *e, enum cli_step_status status)
{
    s->status = status;
    s->ended_ms = e->ts_ms;
    if (e->attempt > s->attempt) s->attempt = e->attempt;
    step_take_items(s, e->data);
}

static bool job_fold_end_of_step(struct cli_job *j, size_t at, const struct cli_event *e)
{
    struct cli_step *s = &j->steps[at];
    bool failed = e->type == EVENT_STEP_FAILED;

    stream_close(cli_job_stream(j, at, e->item));
    step_take_usage(s, e->data);
    if (failed) step_take_error(s, e->data);
    if (e->item >= 0) {
        s->done += !failed;
        s->failed += failed;
        return true;
    }
    step_end(s, e,
             failed                          ? CLI_STEP_FAILED
             : e->type == EVENT_STEP_SKIPPED ? CLI_STEP_SKIPPED
                                             : CLI_STEP_COMPLETED);
    return true;
}

static bool job_fold_step(struct cli_job *j, const struct cli_event *e)
{
    size_t at = job_add_step(j, e->step);
    struct cli_stream *stream;

    if (at == SIZE_MAX) return true;
    struct cli_step *s = &j->steps[at];
    if (!s->started_ms) s->started_ms = e->ts_ms;
    if (e->type == EVENT_STEP_COMPLETED || e->type == EVENT_STEP_FAILED ||
        e->type == EVENT_STEP_SKIPPED)
        return job_fold_end_of_step(j, at, e);
    if (e->item < 0 && e->attempt > s->attempt) s->attempt = e->attempt;
    if (e->item < 0)
        s->status = e->type == EVENT_STEP_RETRYING ? CLI_STEP_RETRYING : CLI_STEP_RUNNING;
    step_take_items(s, e->data);
    if (e->type == EVENT_STEP_RETRYING) {
        step_take_error(s, e->data);
        return true;
    }
    stream = job_stream_of(j, at, e->item, e->attempt);
    if (!stream || e->type != EVENT_STEP_DELTA) return true;
    return stream_add(stream, cli_json_raw(e->data, "text"));
}

/* --- snapshots: a whole job object --- */

static int64_t time_of(struct view object, const char *key)
{
    char text[40];
    int64_t ms;

    return cli_json_text(object, key, text, sizeof text) && clock_parse(view_of(text), &ms) ? ms
                                                                                            : 0;
}

static enum cli_step_status step_status_of(const char *name)
{
    for (int s = CLI_STEP_RUNNING; s <= CLI_STEP_SKIPPED; s++)
        if (strcmp(name, cli_step_status_name((enum cli_step_status)s)) == 0)
            return (enum cli_step_status)s;
    return CLI_STEP_RUNNING;
}

static bool job_snapshot_texts(struct cli_job *j, size_t at, struct view row)
{
    struct view text = cli_json_raw(row, "text"), item, key;
    struct view running = cli_json_raw(cli_json_raw(row, "items"), "running");
    size_t cursor = 0;

    if (json_raw_kind(text) == JSON_RAW_STRING &&
        !stream_add(job_open_stream(j, at, -1, j->steps[at].attempt), text))
        return false;
    while (json_raw_kind(running) == JSON_RAW_ARRAY &&
           json_raw_each(running, &cursor, &key, &item)) {
        struct cli_stream *s = job_open_stream(j, at, cli_json_int(item, "item", -1),
                                               cli_json_int(item, "attempt", 0));

        if (!stream_add(s, cli_json_raw(item, "text"))) return false;
    }
    return true;
}

static bool job_snapshot_step(struct cli_job *j, struct view row)
{
    char id[STEP_ID_MAX], status[16];

    if (!cli_json_text(row, "id", id, sizeof id)) return true;
    size_t at = job_add_step(j, id);
    if (at == SIZE_MAX) return true;
    struct cli_step *s = &j->steps[at];
    cli_json_text(row, "status", status, sizeof status);
    s->status = step_status_of(status);
    s->attempt = cli_json_int(row, "attempt", 0);
    s->started_ms = time_of(row, "started_at");
    s->ended_ms = time_of(row, "ended_at");
    step_take_items(s, row);
    step_take_usage(s, row);
    step_take_error(s, row);
    return job_snapshot_texts(j, at, row);
}

static void job_take_totals(struct cli_job *j, struct view object)
{
    struct view usage = cli_json_raw(object, "usage"), cost = cli_json_raw(object, "cost");

    j->input_tokens = cli_json_int(usage, "input_tokens", j->input_tokens);
    j->output_tokens = cli_json_int(usage, "output_tokens", j->output_tokens);
    if (json_raw_kind(cost) == JSON_RAW_NUMBER) (void)view_copy(cost, j->cost, sizeof j->cost);
}

void cli_job_take_waiting(struct cli_job *j, struct view object)
{
    cli_json_text(object, "reason", j->reason, sizeof j->reason);
    cli_json_text(object, "on", j->on, sizeof j->on);
    j->until_ms = cli_json_int(object, "until", 0);
}

static bool job_fold_snapshot(struct cli_job *j, const struct cli_event *e)
{
    struct view job = cli_json_raw(e->data, "job"), steps = cli_json_raw(job, "steps"), key, row;
    char status[16];
    size_t cursor = 0;

    job_close_streams(j);
    j->step_count = 0;
    cli_json_text(job, "workflow", j->workflow, sizeof j->workflow);
    cli_json_text(job, "class", j->class_name, sizeof j->class_name);
    cli_json_text(job, "status", status, sizeof status);
    (void)job_status_parse(view_of(status), &j->status);
    j->version = cli_json_int(job, "version", 0);
    j->attempt = cli_json_int(job, "attempt", 0);
    j->created_ms = time_of(job, "created_at");
    job_take_totals(j, job);
    cli_job_take_waiting(j, cli_json_raw(job, "waiting"));
    while (json_raw_kind(steps) == JSON_RAW_ARRAY && json_raw_each(steps, &cursor, &key, &row))
        if (!job_snapshot_step(j, row)) return false;
    return true;
}

/* --- events of the job --- */

static bool job_fold_terminal(struct cli_job *j, const struct cli_event *e)
{
    j->status = (enum job_status)(JOB_SUCCEEDED + (e->type - EVENT_JOB_SUCCEEDED));
    j->ended_ms = e->ts_ms;
    job_close_streams(j);
    job_take_totals(j, e->data);
    buf_reset(&j->end);
    return buf_put_view(&j->end, e->data);
}

static void job_fold_queued(struct cli_job *j, const struct cli_event *e)
{
    j->created_ms = e->ts_ms;
    cli_json_text(e->data, "class", j->class_name, sizeof j->class_name);
    cli_json_text(e->data, "workflow", j->workflow, sizeof j->workflow);
}

static void job_fold_waiting(struct cli_job *j, const struct cli_event *e)
{
    j->status = JOB_WAITING;
    cli_job_take_waiting(j, e->data);
}

bool cli_job_fold(struct cli_job *j, const struct cli_event *e)
{
    if (!e->is_known) return true;
    switch (e->type) {
    case EVENT_JOB_QUEUED:
        job_fold_queued(j, e);
        return true;
    case EVENT_JOB_STARTED:
    case EVENT_JOB_RESUMED:
        j->status = JOB_RUNNING;
        if (e->attempt > 0) j->attempt = e->attempt;
        return true;
    case EVENT_JOB_WAITING:
        job_fold_waiting(j, e);
        return true;
    case EVENT_STEP_STARTED:
    case EVENT_STEP_PROGRESS:
    case EVENT_STEP_DELTA:
    case EVENT_STEP_RETRYING:
    case EVENT_STEP_COMPLETED:
    case EVENT_STEP_FAILED:
    case EVENT_STEP_SKIPPED:
        return job_fold_step(j, e);
    case EVENT_JOB_SNAPSHOT:
        return job_fold_snapshot(j, e);
    case EVENT_JOB_SUCCEEDED:
    case EVENT_JOB_FAILED:
    case EVENT_JOB_CANCELED:
    case EVENT_JOB_EXPIRED:
        return job_fold_terminal(j, e);
    case EVENT_RESET:
    case EVENT_TYPE_COUNT:
        break;
    }
    return true;
}
