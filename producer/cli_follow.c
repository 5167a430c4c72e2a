/* A job followed on standard output.
 *
 * Three ways to show the same events: NDJSON for programs, plain lines for a pipe, a picture drawn
 * over itself for a terminal. The picture is drawn at most every FRAME_MS, and once a second while
 * nothing comes, so that its times go on; lines leave at the end of the turn in which they were
 * made. Trouble with the connection goes into the picture, or to standard error. */
#include "producer/cli_app.h"

#include "producer/cli_json.h"
#include "producer/cli_lines.h"
#include "producer/cli_problem.h"
#include "producer/cli_request.h"
#include "producer/cli_screen.h"
#include "producer/cli_term.h"
#include "producer/cli_text.h"
#include "producer/cli_wait.h"
#include "producer/cli_watch.h"
#include <assert.h>

enum {
    FRAME_MS = 50,
    IDLE_FRAME_MS = 1000,
    OUT_MAX = 256 << 20,
    OUT_FLUSH = 64 << 10,
    NOTE_MAX = 256,
    TEXT_MAX = 16 << 10,
    LOOK_FIRST_MS = 1500, /* a queued job has no events: it is asked for */
    LOOK_MS = 5000,
};

enum follow_way { FOLLOW_JSON, FOLLOW_LINES, FOLLOW_SCREEN };

struct follow {
    struct cli_app *app;
    struct cli_job *job;
    struct cli_watch *watch;
    enum follow_way way;
    struct buf out;
    struct timer frame;
    struct timer look;
    struct cli_call *looking;
    unsigned drawn;      /* lines of the picture that stand there */
    char note[NOTE_MAX]; /* "" = the connection is well */
    bool is_over, has_no_reader;
    enum cli_exit exit;
    bool asks_for_end; /* the stream had nothing more: the job itself says how it ended */
};

static void follow_stop(struct follow *f, enum cli_exit code)
{
    f->is_over = true;
    f->exit = code;
    loop_stop(f->app->loop);
}

static void follow_flush(void *arg)
{
    struct follow *f = arg;
    bool ok = f->out.len == 0 || cli_term_write(CLI_STDOUT, buf_view(&f->out));

    buf_reset(&f->out);
    if (ok || f->is_over) return;
    f->has_no_reader = true;
    follow_stop(f, CLI_EXIT_FAILED);
}

/* --- the picture --- */

/* Up to where the last picture began, its lines replaced one by one, the rest cleared. */
static void follow_put_picture(struct follow *f, struct view picture, unsigned lines)
{
    struct view line;

    if (f->drawn > 0) buf_printf(&f->out, "\x1b[%uA\r", f->drawn);
    while (view_cut(picture, '\n', &line, &picture)) {
        buf_put_view(&f->out, line);
        buf_put_str(&f->out, "\x1b[K\n");
    }
    buf_put_str(&f->out, "\x1b[J");
    f->drawn = lines;
}

static void follow_draw(struct follow *f, bool is_last)
{
    struct cli_screen s = {.now_ms = f->app->server.clock->wall_ms,
                           .note = f->note[0] ? f->note : NULL,
                           .has_color = cli_term_has_color(CLI_STDOUT),
                           .is_last = is_last};
    struct buf picture;

    cli_term_size(CLI_STDOUT, &s.columns, &s.rows);
    buf_init(&picture, OUT_MAX);
    unsigned lines = cli_screen_put(&picture, f->job, &s);
    follow_put_picture(f, buf_view(&picture), lines);
    buf_fini(&picture);
    follow_flush(f);
}

static void follow_frame(void *arg)
{
    struct follow *f = arg;

    follow_draw(f, false);
    (void)timerq_set(f->app->server.timers, &f->frame,
                     f->app->server.clock->mono_ms + IDLE_FRAME_MS, follow_frame, f);
}

/* Something changed: drawn soon, with what else changes until then. */
static void follow_touch(struct follow *f)
{
    int64_t due_ms = f->app->server.clock->mono_ms + FRAME_MS;

    if (f->way != FOLLOW_SCREEN) return;
    if (timerq_pending(&f->frame) && f->frame.when_ms <= due_ms) return;
    (void)timerq_set(f->app->server.timers, &f->frame, due_ms, follow_frame, f);
}

/* --- queued ---
 * Nobody can put an event into the stream of a job that no worker has started; what it waits for is
 * the gateway's guess, in the job itself. */

static void follow_say_wait(const struct follow *f)
{
    struct buf text;

    buf_init(&text, TEXT_MAX);
    cli_wait_put(&text, f->job->reason, f->job->on);
    cli_wait_put_left(&text, f->job->until_ms, f->app->server.clock->wall_ms);
    if (!text.failed) cli_term_say("queued, waiting for %.*s", (int)text.len, text.data);
    buf_fini(&text);
}

static void follow_on_look(void *arg, const struct cli_answer *a)
{
    struct follow *f = arg;
    char before[sizeof f->job->reason];

    if (a->away || a->status != 200 || f->job->status != JOB_QUEUED ||
        json_check(a->body, cli_json_answer_limits(), NULL) != ERR_OK)
        return;
    memcpy(before, f->job->reason, sizeof before);
    cli_job_take_waiting(f->job, cli_json_raw(a->body, "waiting"));
    if (f->way == FOLLOW_LINES && f->job->reason[0] && strcmp(before, f->job->reason) != 0)
        follow_say_wait(f);
    follow_touch(f);
}

static void follow_look(void *arg)
{
    struct follow *f = arg;
    struct err err;
    struct buf path;

    cli_call_free(f->looking);
    f->looking = NULL;
    if (f->job->status != JOB_QUEUED) return;
    buf_init(&path, TEXT_MAX);
    const struct cli_call_options o = {.server = &f->app->server,
                                       .method = "GET",
                                       .path = cli_path_job(&path, f->job->id, "") ? buf_view(&path)
                                                                                   : VIEW_NONE,
                                       .tries = 1,
                                       .on_answer = follow_on_look,
                                       .arg = f};
    if (o.path.len) f->looking = cli_call_new(&o, &err);
    buf_fini(&path);
    (void)timerq_set(f->app->server.timers, &f->look, f->app->server.clock->mono_ms + LOOK_MS,
                     follow_look, f);
}

/* --- the end --- */

/* What the job came to, for people: its text as text, anything else as JSON. */
static void follow_put_result(struct follow *f)
{
    struct view end = buf_view(&f->job->end), output = cli_json_raw(end, "output"),
                error = cli_json_raw(end, "error");
    struct buf text;

    buf_init(&text, OUT_MAX);
    if (json_raw_kind(error) == JSON_RAW_OBJECT) {
        buf_put_str(&f->out, "\n");
        if (cli_json_member(error, "message", &text))
            cli_text_put(&f->out, buf_view(&text), CLI_MANY_LINES);
        buf_put_str(&f->out, "\n");
    } else if (json_raw_kind(output) == JSON_RAW_STRING && json_raw_string(output, &text)) {
        buf_put_char(&f->out, '\n');
        cli_text_put(&f->out, buf_view(&text), CLI_MANY_LINES);
        buf_put_char(&f->out, '\n');
    } else if (output.ptr && json_raw_kind(output) != JSON_RAW_NULL) {
        buf_put_char(&f->out, '\n');
        cli_json_put_pretty(&f->out, output);
        buf_put_char(&f->out, '\n');
    }
    buf_fini(&text);
}

static void follow_show_end(struct follow *f)
{
    f->note[0] = '\0';
    if (f->way == FOLLOW_SCREEN) {
        timerq_cancel(f->app->server.timers, &f->frame);
        follow_draw(f, true);
        follow_put_result(f);
    }
    follow_flush(f);
}

static void follow_tell_refusal(struct follow *f, const struct cli_watch_end *end)
{
    const struct cli_refusal r = {.status = end->status, .body = end->body, .url = f->app->base};
    struct buf text;

    buf_init(&text, TEXT_MAX);
    if (end->kind == CLI_WATCH_REFUSED)
        cli_problem_put(&text, &r);
    else
        cli_away_put(&text, f->app->base, end->away->text);
    (void)cli_term_write(CLI_STDERR, buf_view(&text));
    buf_fini(&text);
}

static void follow_on_end(void *arg, const struct cli_watch_end *end)
{
    struct follow *f = arg;

    switch (end->kind) {
    case CLI_WATCH_TERMINAL:
        follow_show_end(f);
        follow_stop(f, f->has_no_reader ? CLI_EXIT_FAILED : cli_job_exit(f->job->status));
        return;
    case CLI_WATCH_OVER:
        f->asks_for_end = true;
        follow_stop(f, CLI_EXIT_FAILED);
        return;
    case CLI_WATCH_REFUSED:
    case CLI_WATCH_AWAY:
        follow_flush(f);
        follow_tell_refusal(f, end);
        follow_stop(f, end->kind == CLI_WATCH_AWAY ? CLI_EXIT_AWAY : CLI_EXIT_FAILED);
        return;
    }
    assert(false);
}

/* --- events --- */

static void follow_on_event(void *arg, const struct cli_event *e)
{
    struct follow *f = arg;
    bool ok = true;

    if (f->way == FOLLOW_LINES)
        ok = cli_lines_put(&f->out, f->job, e);
    else
        ok = cli_job_fold(f->job, e);
    if (f->way == FOLLOW_JSON) ok = ok && event_put_ndjson(&f->out, e->id, e->data);
    if (!ok) {
        cli_term_say("no memory for the job's events");
        follow_stop(f, CLI_EXIT_FAILED);
        return;
    }
    if (f->out.len >= OUT_FLUSH && f->way != FOLLOW_SCREEN) follow_flush(f);
    follow_touch(f);
}

static void follow_on_line(void *arg, const char *lost, int64_t pause_ms)
{
    struct follow *f = arg;
    char pause[CLI_DURATION_TEXT];
    bool was_lost = f->note[0] != '\0';

    cli_text_duration(pause_ms, pause);
    if (lost)
        snprintf(f->note, sizeof f->note, "not connected: %s; again in %s", cli_reason(lost),
                 pause);
    else
        f->note[0] = '\0';
    if (f->way != FOLLOW_SCREEN && lost)
        cli_term_say("%s", f->note);
    else if (f->way != FOLLOW_SCREEN && was_lost)
        cli_term_say("connected again");
    follow_touch(f);
}

static void follow_on_hole(void *arg, int64_t last, int64_t next)
{
    ((struct follow *)arg)->drawn = 0; /* the picture goes on below */
    cli_term_say("the stream went from event %lld to %lld without a reset: something is missing",
                 (long long)last, (long long)next);
}

/* --- the whole --- */

/* The stream ended before our cursor: the job itself says how. */
static enum cli_exit follow_ask_end(struct cli_app *app, const char *id)
{
    enum cli_exit code;
    enum job_status status;
    char text[16];
    struct buf path, answer;

    buf_init(&path, TEXT_MAX);
    buf_init(&answer, OUT_MAX);
    cli_path_job(&path, id, "");
    const struct cli_ask ask = {.method = "GET", .path = buf_view(&path)};
    if (cli_app_ask(app, &ask, &answer, &code)) {
        code = CLI_EXIT_FAILED;
        bool is_job = json_check(buf_view(&answer), cli_json_answer_limits(), NULL) == ERR_OK &&
                      cli_json_text(buf_view(&answer), "status", text, sizeof text) &&
                      job_status_parse(view_of(text), &status);
        if (is_job && job_status_is_terminal(status)) code = cli_job_exit(status);
        if (is_job) cli_term_say("no events after this one: the job has %s", text);
    }
    buf_fini(&path);
    buf_fini(&answer);
    return code;
}

static void follow_tell_signal(struct follow *f)
{
    const char *cursor = cli_watch_cursor(f->watch);

    follow_flush(f);
    if (cursor[0])
        cli_term_say("the job goes on; so does: sluice watch %s --after %s", f->job->id, cursor);
    else
        cli_term_say("the job goes on; so does: sluice watch %s", f->job->id);
}

static void follow_run(struct follow *f, const char *after, bool was_reached)
{
    const struct cli_watch_options o = {.server = &f->app->server,
                                        .id = f->job->id,
                                        .after = after,
                                        .was_reached = was_reached,
                                        .on_event = follow_on_event,
                                        .on_line = follow_on_line,
                                        .on_hole = follow_on_hole,
                                        .on_end = follow_on_end,
                                        .arg = f};
    struct err err;

    f->watch = cli_watch_new(&o, &err);
    if (!f->watch) {
        cli_term_say("%s", err.text);
        f->exit = CLI_EXIT_FAILED;
        return;
    }
    loop_after_turn(f->app->loop, follow_flush, f);
    (void)timerq_set(f->app->server.timers, &f->look, f->app->server.clock->mono_ms + LOOK_FIRST_MS,
                     follow_look, f);
    follow_touch(f);
    while (!f->is_over && !f->app->is_interrupted) loop_run(f->app->loop);
    loop_after_turn_remove(f->app->loop, follow_flush, f);
    timerq_cancel(f->app->server.timers, &f->frame);
    timerq_cancel(f->app->server.timers, &f->look);
    cli_call_free(f->looking);
    if (!f->is_over) {
        f->exit = CLI_EXIT_SIGNAL;
        follow_tell_signal(f);
    }
    cli_watch_free(f->watch);
}

enum cli_exit cli_follow(struct cli_app *app, const char *id, const char *after, bool was_reached)
{
    struct follow f = {.app = app, .job = cli_job_new(id), .exit = CLI_EXIT_FAILED};

    if (!f.job) {
        cli_term_say("no memory");
        return CLI_EXIT_FAILED;
    }
    if (app->args->option[CLI_OPT_JSON])
        f.way = FOLLOW_JSON;
    else
        f.way = cli_term_is_screen(CLI_STDOUT) ? FOLLOW_SCREEN : FOLLOW_LINES;
    buf_init(&f.out, OUT_MAX);
    follow_run(&f, after, was_reached);
    if (f.asks_for_end) f.exit = follow_ask_end(app, id);
    buf_fini(&f.out);
    cli_job_free(f.job);
    return f.exit;
}
