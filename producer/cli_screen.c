/* The terminal's picture of a job.
 *
 * What is hard: it is drawn over itself many times a second, so the number of lines must be known
 * exactly. Every line is cut to the terminal's width by our own measure, nothing is left to the
 * terminal's wrapping, and the picture never takes all rows: what does not fit is left out, first
 * steps that are long done, then the beginning of the text. */
#include "producer/cli_screen.h"

#include "producer/cli_text.h"
#include "producer/cli_wait.h"

enum {
    COLUMNS_MIN = 20,
    COLUMNS_MAX = 400,
    ROWS_MIN = 4,
    LINE_MAX = 8192,
    NAME_COLUMNS_MAX = 28,
    TEXT_ROWS_MAX = 12,
    TEXT_ROWS_MIN = 3,
};

struct drawing {
    struct buf *out;
    struct buf line, text; /* scratch */
    const struct cli_job *job;
    const struct cli_screen *screen;
    unsigned columns, rows_left, rows;
};

static const struct {
    const char *sign, *color;
} step_signs[] = {
    [CLI_STEP_RUNNING] = {"\xE2\x80\xBA", "\x1b[36m"},   /* a small arrow */
    [CLI_STEP_RETRYING] = {"\xE2\x86\xBB", "\x1b[33m"},  /* an arrow round */
    [CLI_STEP_COMPLETED] = {"\xE2\x9C\x93", "\x1b[32m"}, /* a tick */
    [CLI_STEP_FAILED] = {"\xE2\x9C\x97", "\x1b[31m"},    /* a cross */
    [CLI_STEP_SKIPPED] = {"-", "\x1b[2m"},
};

static void screen_color(struct drawing *d, const char *code)
{
    if (d->screen->has_color) buf_put_str(d->out, code);
}

/* The scratch line, cut to what is left of the row, and its end. */
static void screen_end_line(struct drawing *d, unsigned used)
{
    struct view row, rest = buf_view(&d->line);

    if (cli_text_width(rest) > d->columns - used)
        cli_text_put_cell(d->out, rest, d->columns - used);
    else if (cli_text_take_row(&rest, d->columns - used, &row))
        buf_put_view(d->out, row);
    screen_color(d, "\x1b[0m");
    buf_put_char(d->out, '\n');
    buf_reset(&d->line);
    d->rows++;
    if (d->rows_left > 0) d->rows_left--;
}

static void screen_put_took(struct drawing *d, int64_t from_ms, int64_t to_ms)
{
    char text[CLI_DURATION_TEXT];

    if (from_ms <= 0) return;
    cli_text_duration(to_ms > 0 ? to_ms - from_ms : d->screen->now_ms - from_ms, text);
    buf_printf(&d->line, "  %s", text);
}

static void screen_put_head(struct drawing *d)
{
    const struct cli_job *j = d->job;

    screen_color(d, "\x1b[1m");
    cli_text_put(&d->line, view_of(j->workflow[0] ? j->workflow : "job"), CLI_ONE_LINE);
    if (j->version > 0 && !strchr(j->workflow, '@'))
        buf_printf(&d->line, "@%lld", (long long)j->version);
    buf_printf(&d->line, "  %s", job_status_name(j->status));
    if (j->status == JOB_WAITING || (j->status == JOB_QUEUED && j->reason[0])) {
        buf_put_str(&d->line, j->status == JOB_WAITING ? " for " : ", waiting for ");
        cli_wait_put(&d->line, j->reason, j->on);
        cli_wait_put_left(&d->line, j->until_ms, d->screen->now_ms);
    }
    screen_put_took(d, j->created_ms, j->ended_ms);
    if (j->attempt > 1) buf_printf(&d->line, "  attempt %lld", (long long)j->attempt);
    if (j->output_tokens > 0 || j->input_tokens > 0)
        buf_printf(&d->line, "  %lld+%lld tokens", (long long)j->input_tokens,
                   (long long)j->output_tokens);
    if (j->cost[0]) buf_printf(&d->line, "  $%s", j->cost);
    screen_end_line(d, 0);
}

static unsigned screen_name_columns(const struct cli_job *j)
{
    unsigned widest = 4;

    for (size_t i = 0; i < j->step_count; i++) {
        unsigned width = cli_text_width(view_of(j->steps[i].id));
        if (width > widest) widest = width;
    }
    return widest < NAME_COLUMNS_MAX ? widest : NAME_COLUMNS_MAX;
}

static void screen_put_step(struct drawing *d, const struct cli_step *s, unsigned name_columns)
{
    struct buf *line = &d->line;

    buf_put_str(d->out, "  ");
    screen_color(d, step_signs[s->status].color);
    buf_put_str(d->out, step_signs[s->status].sign);
    screen_color(d, "\x1b[0m");
    buf_put_char(line, ' ');
    cli_text_put(&d->text, view_of(s->id), CLI_ONE_LINE);
    cli_text_put_cell(line, buf_view(&d->text), name_columns);
    buf_reset(&d->text);
    buf_printf(line, "  %-9s", cli_step_status_name(s->status));
    if (s->total > 0) buf_printf(line, "  %lld/%lld", (long long)s->done, (long long)s->total);
    if (s->failed > 0) buf_printf(line, "  %lld failed", (long long)s->failed);
    if (s->status != CLI_STEP_SKIPPED) screen_put_took(d, s->started_ms, s->ended_ms);
    if (s->attempt > 1) buf_printf(line, "  attempt %lld", (long long)s->attempt);
    if (s->output_tokens > 0) buf_printf(line, "  %lld tokens", (long long)s->output_tokens);
    if (s->error[0] && (s->status == CLI_STEP_FAILED || s->status == CLI_STEP_RETRYING)) {
        buf_put_str(line, "  ");
        cli_text_put(line, view_of(s->error), CLI_ONE_LINE);
    }
    screen_end_line(d, 3);
}

/* Steps that do not fit are left out from the front; they are the oldest. */
static void screen_put_steps(struct drawing *d, unsigned room)
{
    const struct cli_job *j = d->job;
    unsigned name_columns = screen_name_columns(j);
    size_t first = 0;

    if (j->step_count > room) {
        first = j->step_count - (room > 0 ? room - 1 : 0);
        buf_printf(&d->line, "    %zu steps before these", first);
        if (room > 0) screen_end_line(d, 0);
        buf_reset(&d->line);
        if (room == 0) return;
    }
    for (size_t i = first; i < j->step_count; i++) screen_put_step(d, &j->steps[i], name_columns);
}

static void screen_put_text(struct drawing *d, const struct cli_stream *s, unsigned room)
{
    struct view rest, row;
    unsigned columns = d->columns - 4, total = 0, skip;

    struct view text = buf_view(&s->text);

    if (text.len > CLI_TAIL_MAX) text = view_make(text.ptr + text.len - CLI_TAIL_MAX, CLI_TAIL_MAX);
    while (text.len > 0 && (text.ptr[0] & 0xC0) == 0x80)
        text = view_make(text.ptr + 1, text.len - 1);
    buf_reset(&d->text);
    cli_text_put(&d->text, text, CLI_MANY_LINES);
    for (rest = buf_view(&d->text); cli_text_take_row(&rest, columns, &row);) total++;
    skip = total > room ? total - room : 0;
    for (rest = buf_view(&d->text); cli_text_take_row(&rest, columns, &row);) {
        if (skip > 0) {
            skip--;
            continue;
        }
        buf_put_str(d->out, "    ");
        buf_put_view(&d->line, row);
        screen_end_line(d, 4);
    }
}

unsigned cli_screen_put(struct buf *out, const struct cli_job *j, const struct cli_screen *s)
{
    struct drawing d = {.out = out, .job = j, .screen = s};
    const struct cli_stream *focus = s->is_last ? NULL : cli_job_focus(j);
    unsigned rows = s->rows > ROWS_MIN ? s->rows - 1 : ROWS_MIN - 1;

    d.columns = s->columns < COLUMNS_MIN   ? COLUMNS_MIN
                : s->columns > COLUMNS_MAX ? COLUMNS_MAX
                                           : s->columns;
    d.columns--; /* a full row would make some terminals wrap */
    d.rows_left = rows;
    buf_init(&d.line, LINE_MAX);
    buf_init(&d.text, 8 * (size_t)CLI_TAIL_MAX);
    screen_put_head(&d);
    unsigned kept =
        (s->note ? 1 : 0) + (focus && d.rows_left > TEXT_ROWS_MIN + 1 ? TEXT_ROWS_MIN : 0);
    screen_put_steps(&d, s->is_last ? CLI_STEPS_MAX : d.rows_left > kept ? d.rows_left - kept : 0);
    unsigned room = d.rows_left - (s->note && d.rows_left > 0 ? 1 : 0);
    if (focus && room > 0) screen_put_text(&d, focus, room < TEXT_ROWS_MAX ? room : TEXT_ROWS_MAX);
    if (s->note && d.rows_left > 0) {
        buf_put_str(&d.line, "  ");
        cli_text_put(&d.line, view_of(s->note), CLI_ONE_LINE);
        screen_end_line(&d, 0);
    }
    buf_fini(&d.line);
    buf_fini(&d.text);
    return d.rows;
}
