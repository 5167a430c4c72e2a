/* Plain lines.
 *
 * What is hard: text arrives in crumbs of a few bytes, from several calls at once. A line a crumb
 * is unreadable and a line a call comes too late, so each running text is put out whenever it has a
 * whole line, or more than a terminal is wide. Text that turns out void cannot be taken back from a
 * pipe: it is said. */
#include "producer/cli_lines.h"

#include "producer/cli_json.h"
#include "producer/cli_text.h"
#include "producer/cli_wait.h"

enum { LINE_BYTES = 100 };

static void lines_begin(struct buf *out, const struct cli_event *e, struct view type)
{
    char ts[CLOCK_TEXT];

    clock_format(e->ts_ms, ts);
    buf_printf(out, "%.12s  ", e->ts_ms > 0 ? ts + 11 : "--:--:--.---");
    cli_text_put(out, type, CLI_ONE_LINE);
}

static void lines_put_step(struct buf *out, const char *id, int64_t item)
{
    buf_put_char(out, ' ');
    cli_text_put(out, view_of(id), CLI_ONE_LINE);
    if (item >= 0) buf_printf(out, "[%lld]", (long long)item);
}

/* --- running text --- */

static void lines_put_text(struct buf *out, const struct cli_job *j, const struct cli_event *e,
                           const struct cli_stream *s, struct view text)
{
    lines_begin(out, e, VIEW_LIT("step.delta"));
    lines_put_step(out, j->steps[s->step].id, s->item);
    buf_put_str(out, " | ");
    cli_text_put(out, text, CLI_ONE_LINE);
    buf_put_char(out, '\n');
}

/* How much of text is worth a line now: up to a line end, or a line's width. 0: wait for more. */
static size_t lines_cut(struct view text)
{
    const char *end = text.len ? memchr(text.ptr, '\n', text.len) : NULL;
    size_t cut = LINE_BYTES;

    if (end && (size_t)(end - text.ptr) <= LINE_BYTES) return (size_t)(end - text.ptr) + 1;
    if (text.len <= LINE_BYTES) return 0;
    while (cut > LINE_BYTES / 2 && text.ptr[cut - 1] != ' ') cut--;
    if (cut > LINE_BYTES / 2) return cut;
    cut = LINE_BYTES;
    while ((text.ptr[cut] & 0xC0) == 0x80) cut--; /* not inside a character */
    return cut;
}

static struct view lines_left(const struct cli_stream *s)
{
    struct view text = buf_view(&s->text);

    return view_make(text.ptr + s->shown, text.len - s->shown);
}

static struct view lines_without_end(struct view line)
{
    while (line.len > 0 && strchr(" \r\n", line.ptr[line.len - 1])) line.len--;
    return line;
}

static void lines_put_whole(struct buf *out, const struct cli_job *j, const struct cli_event *e,
                            struct cli_stream *s)
{
    size_t cut;

    while ((cut = lines_cut(lines_left(s))) > 0) {
        lines_put_text(out, j, e, s, lines_without_end(view_make(lines_left(s).ptr, cut)));
        s->shown += cut;
    }
}

static void lines_flush(struct buf *out, const struct cli_job *j, const struct cli_event *e,
                        struct cli_stream *s)
{
    if (!s || !s->text.len) return;
    lines_put_whole(out, j, e, s);
    if (s->shown < s->text.len) lines_put_text(out, j, e, s, lines_without_end(lines_left(s)));
    s->shown = s->text.len;
}

static void lines_each(struct buf *out, struct cli_job *j, const struct cli_event *e,
                       void (*put)(struct buf *out, const struct cli_job *j,
                                   const struct cli_event *e, struct cli_stream *s))
{
    for (size_t i = 0; i < CLI_STREAMS_MAX; i++)
        if (j->streams[i].is_open && j->streams[i].text.len > 0) put(out, j, e, &j->streams[i]);
}

/* What must be out before e is told. True: e voids text that was out already. */
static bool lines_before(struct buf *out, struct cli_job *j, const struct cli_event *e)
{
    struct cli_stream *s = cli_job_stream(j, cli_job_step(j, e->step), e->item);

    if (event_type_is_terminal(e->type) || e->type == EVENT_JOB_SNAPSHOT) {
        lines_each(out, j, e, lines_flush);
        return false;
    }
    if (!s || !s->text.len) return false;
    if (e->attempt > s->attempt || (e->type != EVENT_STEP_DELTA && e->type != EVENT_STEP_PROGRESS))
        lines_flush(out, j, e, s);
    return e->attempt > s->attempt && s->shown > 0;
}

/* --- what an event says --- */

static void lines_put_member(struct buf *out, struct view object, const char *key,
                             const char *before)
{
    struct buf text;

    buf_init(&text, out->max);
    if (cli_json_member(object, key, &text) && text.len > 0) {
        buf_put_str(out, before);
        cli_text_put(out, buf_view(&text), CLI_ONE_LINE);
    }
    buf_fini(&text);
}

static void lines_put_error(struct buf *out, struct view data)
{
    struct view error = cli_json_raw(data, "error");

    lines_put_member(out, error, "code", " ");
    lines_put_member(out, error, "message", ": ");
}

static void lines_put_took(struct buf *out, int64_t from_ms, int64_t to_ms)
{
    char text[CLI_DURATION_TEXT];

    if (from_ms <= 0 || to_ms < from_ms) return;
    cli_text_duration(to_ms - from_ms, text);
    buf_printf(out, " %s", text);
}

static void lines_put_usage(struct buf *out, int64_t input_tokens, int64_t output_tokens,
                            const char *cost)
{
    if (input_tokens > 0 || output_tokens > 0)
        buf_printf(out, " tokens %lld in %lld out", (long long)input_tokens,
                   (long long)output_tokens);
    if (cost[0]) buf_printf(out, " cost $%s", cost);
}

static void lines_put_items(struct buf *out, const struct cli_step *s)
{
    if (s->total > 0)
        buf_printf(out, " items %lld of %lld", (long long)s->done, (long long)s->total);
    if (s->failed > 0) buf_printf(out, " failed %lld", (long long)s->failed);
}

static void lines_put_step_event(struct buf *out, const struct cli_job *j,
                                 const struct cli_event *e, bool voids)
{
    size_t at = cli_job_step(j, e->step);

    lines_put_step(out, e->step, e->item);
    if (e->attempt > 1) buf_printf(out, " attempt %lld", (long long)e->attempt);
    if (voids) buf_put_str(out, " (the text of the attempt before is void)");
    if (at == SIZE_MAX) return;
    const struct cli_step *s = &j->steps[at];
    if (e->item < 0 && (e->type == EVENT_STEP_COMPLETED || e->type == EVENT_STEP_FAILED))
        lines_put_took(out, s->started_ms, e->ts_ms);
    if (e->item < 0) lines_put_items(out, s);
    struct view usage = cli_json_raw(e->data, "usage");
    lines_put_usage(out, cli_json_int(usage, "input_tokens", 0),
                    cli_json_int(usage, "output_tokens", 0), "");
    lines_put_error(out, e->data);
    if (e->type == EVENT_STEP_RETRYING) {
        char text[CLI_DURATION_TEXT];
        cli_text_duration(cli_json_int(e->data, "delay_ms", 0), text);
        buf_printf(out, " again in %s", text);
    }
}

static void lines_put_queued(struct buf *out, const struct cli_job *j)
{
    buf_printf(out, " %s ", j->id);
    cli_text_put(out, view_of(j->workflow), CLI_ONE_LINE);
    buf_put_char(out, ' ');
    cli_text_put(out, view_of(j->class_name), CLI_ONE_LINE);
}

static void lines_put_waiting(struct buf *out, const struct cli_job *j, int64_t now_ms)
{
    char until[CLOCK_TEXT];

    buf_put_str(out, " for ");
    cli_wait_put(out, j->reason, j->on);
    cli_wait_put_left(out, j->until_ms, now_ms);
    if (j->until_ms <= 0) return;
    clock_format(j->until_ms, until);
    buf_printf(out, ", until %s", until);
}

static void lines_put_snapshot(struct buf *out, const struct cli_job *j)
{
    size_t done = 0;

    for (size_t i = 0; i < j->step_count; i++)
        done += j->steps[i].status == CLI_STEP_COMPLETED || j->steps[i].status == CLI_STEP_SKIPPED;
    buf_printf(out, " %s attempt %lld, %zu of %zu steps completed", job_status_name(j->status),
               (long long)j->attempt, done, j->step_count);
}

static void lines_put_end(struct buf *out, const struct cli_job *j, const struct cli_event *e)
{
    lines_put_took(out, j->created_ms, e->ts_ms);
    lines_put_usage(out, j->input_tokens, j->output_tokens, j->cost);
    lines_put_error(out, e->data);
    if (e->type != EVENT_JOB_SUCCEEDED) return;
    buf_put_char(out, '\n');
    lines_begin(out, e, VIEW_LIT("output"));
    buf_put_char(out, ' ');
    cli_text_put(out, cli_json_raw(e->data, "output"), CLI_ONE_LINE);
}

static void lines_put_event(struct buf *out, const struct cli_job *j, const struct cli_event *e,
                            bool voids)
{
    lines_begin(out, e, e->name);
    if (!e->is_known)
        ;
    else if (e->type == EVENT_JOB_QUEUED)
        lines_put_queued(out, j);
    else if (e->type == EVENT_JOB_STARTED || e->type == EVENT_JOB_RESUMED)
        buf_printf(out, " attempt %lld", (long long)j->attempt);
    else if (e->type == EVENT_JOB_WAITING)
        lines_put_waiting(out, j, e->ts_ms);
    else if (e->type == EVENT_RESET)
        buf_put_str(out, " history is gone; the job so far follows");
    else if (e->type == EVENT_JOB_SNAPSHOT)
        lines_put_snapshot(out, j);
    else if (event_type_is_terminal(e->type))
        lines_put_end(out, j, e);
    else
        lines_put_step_event(out, j, e, voids);
    buf_put_char(out, '\n');
}

bool cli_lines_put(struct buf *out, struct cli_job *j, const struct cli_event *e)
{
    bool voids = e->is_known && lines_before(out, j, e);

    if (!cli_job_fold(j, e)) return false;
    if (e->is_known && e->type == EVENT_STEP_DELTA) {
        struct cli_stream *s = cli_job_stream(j, cli_job_step(j, e->step), e->item);
        if (voids) lines_put_event(out, j, e, voids);
        if (s) lines_put_whole(out, j, e, s);
        return !out->failed;
    }
    lines_put_event(out, j, e, voids);
    if (e->is_known && e->type == EVENT_JOB_SNAPSHOT) lines_each(out, j, e, lines_put_whole);
    return !out->failed;
}
