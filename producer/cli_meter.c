/* limits, usage.
 *
 * `limits` in a terminal is asked again each second and drawn over itself; an answer that does not
 * come leaves the picture of the one before, with a line that says so. In a pipe, with --once or
 * --json it is asked once. `usage` reads all pages before it prints, as its columns are as wide as
 * what stands in them. */
#include "producer/cli_app.h"

#include "producer/cli_json.h"
#include "producer/cli_limits.h"
#include "producer/cli_problem.h"
#include "producer/cli_request.h"
#include "producer/cli_sum.h"
#include "producer/cli_term.h"
#include "producer/cli_text.h"

enum {
    METER_ANSWER_MAX = 16 << 20,
    METER_PATH_MAX = 4096,
    METER_PAGES_MAX = 1000,
    METER_EACH_MS = 1000,
    METER_NOTE_MAX = 256,
    METER_COLUMNS = 200, /* of lines in a pipe */
};

static bool meter_is_answer(struct view body)
{
    if (json_check(body, cli_json_answer_limits(), NULL) == ERR_OK &&
        json_raw_kind(cli_json_raw(body, "data")) == JSON_RAW_ARRAY)
        return true;
    cli_term_say("the answer is not of that call: is SLUICE_URL (or --url) the address of a "
                 "gateway?");
    return false;
}

static enum cli_exit meter_put_json(struct view body)
{
    bool ends = body.len > 0 && body.ptr[body.len - 1] == '\n';
    bool ok =
        cli_term_write(CLI_STDOUT, body) && (ends || cli_term_write(CLI_STDOUT, VIEW_LIT("\n")));
    return ok ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* --- usage --------------------------------------------------------------------------------------
 */

static bool meter_ask_usage(struct cli_app *app, const struct cli_args *a, struct buf *answer,
                            enum cli_exit *ret)
{
    struct buf path;
    buf_reset(answer);
    buf_init(&path, METER_PATH_MAX);
    cli_path_usage(&path, a);
    const struct cli_ask ask = {
        .method = "GET", .path = buf_view(&path), .tries = CLI_TRIES_TO_READ};
    bool ok = cli_app_ask(app, &ask, answer, ret);
    buf_fini(&path);
    return ok;
}

static enum cli_exit meter_usage_table(struct cli_app *app, struct buf *answer)
{
    struct cli_args a = *app->args;
    struct cli_sum sum;
    struct buf out;
    char next[CLI_AMOUNT + 64] = "";
    enum cli_exit code = CLI_EXIT_FAILED;
    bool more = true;

    cli_sum_init(&sum);
    buf_init(&out, METER_ANSWER_MAX);
    for (int pages = 0; more && pages < METER_PAGES_MAX; pages++) {
        if (!meter_ask_usage(app, &a, answer, &code)) goto out;
        code = CLI_EXIT_FAILED;
        if (!meter_is_answer(buf_view(answer)) || !cli_sum_add(&sum, buf_view(answer))) goto out;
        more = json_raw_kind(cli_json_raw(buf_view(answer), "has_more")) == JSON_RAW_TRUE &&
               cli_json_text(buf_view(answer), "next", next, sizeof next);
        a.option[CLI_OPT_AFTER] = next;
    }
    if (cli_sum_put(&sum, &out) && cli_term_write(CLI_STDOUT, buf_view(&out))) code = CLI_EXIT_OK;
    if (more) cli_term_say("there are more tenants than were asked for");
out:
    cli_sum_fini(&sum);
    buf_fini(&out);
    return code;
}

enum cli_exit cli_usage(struct cli_app *app)
{
    enum cli_exit code;
    struct buf answer;

    buf_init(&answer, METER_ANSWER_MAX);
    if (!app->args->option[CLI_OPT_JSON])
        code = meter_usage_table(app, &answer);
    else if (meter_ask_usage(app, app->args, &answer, &code))
        code = meter_put_json(buf_view(&answer));
    buf_fini(&answer);
    return code;
}

/* --- limits, once -------------------------------------------------------------------------------
 */

static enum cli_exit meter_limits_once(struct cli_app *app, struct view path)
{
    const struct cli_ask ask = {.method = "GET", .path = path, .tries = CLI_TRIES_TO_READ};
    struct cli_limits_look look = {.columns = METER_COLUMNS,
                                   .now_ms = app->server.clock->wall_ms,
                                   .has_color = cli_term_has_color(CLI_STDOUT)};
    enum cli_exit code;
    struct buf answer, out;
    unsigned rows;

    if (cli_term_is_screen(CLI_STDOUT)) {
        cli_term_size(CLI_STDOUT, &look.columns, &rows);
        look.has_bars = true;
    }
    buf_init(&answer, METER_ANSWER_MAX);
    buf_init(&out, METER_ANSWER_MAX);
    if (cli_app_ask(app, &ask, &answer, &code)) {
        code = CLI_EXIT_FAILED;
        if (app->args->option[CLI_OPT_JSON]) {
            code = meter_put_json(buf_view(&answer));
        } else if (meter_is_answer(buf_view(&answer))) {
            look.now_ms = app->server.clock->wall_ms;
            (void)cli_limits_put(&out, buf_view(&answer), &look);
            if (cli_term_write(CLI_STDOUT, buf_view(&out))) code = CLI_EXIT_OK;
        }
    }
    buf_fini(&answer);
    buf_fini(&out);
    return code;
}

/* --- limits, live -------------------------------------------------------------------------------
 */

struct meter {
    struct cli_app *app;
    struct view path;
    struct cli_call *call;
    struct timer timer;
    struct buf answer; /* the last good one */
    unsigned drawn;    /* lines of the picture that stand there */
    char note[METER_NOTE_MAX];
    bool was_answered, is_over;
    enum cli_exit exit;
};

static void meter_ask(void *arg);

static void meter_stop(struct meter *m, enum cli_exit code)
{
    m->is_over = true;
    m->exit = code;
    loop_stop(m->app->loop);
}

/* Up to where the last picture began, its lines replaced one by one, the rest cleared: nothing
 * flickers. */
static void meter_draw(struct meter *m)
{
    struct cli_limits_look look = {.now_ms = m->app->server.clock->wall_ms,
                                   .note = m->note[0] ? m->note : NULL,
                                   .has_color = cli_term_has_color(CLI_STDOUT),
                                   .has_bars = true};
    struct buf picture, out;
    struct view line, rest;

    cli_term_size(CLI_STDOUT, &look.columns, &look.rows);
    buf_init(&picture, METER_ANSWER_MAX);
    buf_init(&out, METER_ANSWER_MAX);
    unsigned lines = cli_limits_put(&picture, buf_view(&m->answer), &look);
    if (m->drawn > 0) buf_printf(&out, "\x1b[%uA\r", m->drawn);
    for (rest = buf_view(&picture); view_cut(rest, '\n', &line, &rest);) {
        buf_put_view(&out, line);
        buf_put_str(&out, "\x1b[K\n");
    }
    buf_put_str(&out, "\x1b[J");
    m->drawn = lines;
    if (!cli_term_write(CLI_STDOUT, buf_view(&out))) meter_stop(m, CLI_EXIT_FAILED);
    buf_fini(&picture);
    buf_fini(&out);
}

static void meter_tell_refusal(struct meter *m, const struct cli_answer *a)
{
    const struct cli_refusal r = {.status = a->status, .body = a->body, .url = m->app->base};
    struct buf text;

    buf_init(&text, METER_ANSWER_MAX);
    cli_problem_put(&text, &r);
    (void)cli_term_write(CLI_STDERR, buf_view(&text));
    buf_fini(&text);
    meter_stop(m, cli_problem_exit(a->status));
}

static void meter_take(struct meter *m, struct view body)
{
    buf_reset(&m->answer);
    m->note[0] = '\0';
    m->was_answered = true;
    if (!meter_is_answer(body) || !buf_put_view(&m->answer, body))
        meter_stop(m, CLI_EXIT_FAILED);
    else
        meter_draw(m);
}

static void meter_on_answer(void *arg, const struct cli_answer *a)
{
    struct meter *m = arg;
    bool is_passing = a->away || cli_problem_is_passing(a->status) || a->status == 429;

    if (!is_passing && (a->status < 200 || a->status > 299)) {
        meter_tell_refusal(m, a);
        return;
    }
    if (!is_passing) {
        meter_take(m, a->body);
    } else if (m->was_answered) {
        if (a->away)
            snprintf(m->note, sizeof m->note, "not connected: %.200s", cli_reason(a->away->text));
        else
            snprintf(m->note, sizeof m->note, "the gateway answers %d for now", a->status);
        meter_draw(m);
    } else {
        cli_term_say("%s", a->away ? cli_reason(a->away->text) : "the gateway cannot tell for now");
    }
    int64_t due_ms = m->app->server.clock->mono_ms + METER_EACH_MS;
    if (!timerq_set(m->app->server.timers, &m->timer, due_ms, meter_ask, m))
        meter_stop(m, CLI_EXIT_FAILED);
}

static void meter_ask(void *arg)
{
    struct meter *m = arg;
    const struct cli_call_options o = {.server = &m->app->server,
                                       .method = "GET",
                                       .path = m->path,
                                       .tries = 1,
                                       .on_answer = meter_on_answer,
                                       .arg = m};
    struct err err;

    cli_call_free(m->call);
    m->call = cli_call_new(&o, &err);
    if (m->call) return;
    cli_term_say("%s", err.text);
    meter_stop(m, CLI_EXIT_FAILED);
}

static enum cli_exit meter_limits_live(struct cli_app *app, struct view path)
{
    struct meter m = {.app = app, .path = path, .exit = CLI_EXIT_SIGNAL};

    buf_init(&m.answer, METER_ANSWER_MAX);
    meter_ask(&m);
    while (!m.is_over && !app->is_interrupted) loop_run(app->loop);
    timerq_cancel(app->server.timers, &m.timer);
    cli_call_free(m.call);
    buf_fini(&m.answer);
    return m.exit == CLI_EXIT_SIGNAL ? CLI_EXIT_OK : m.exit; /* Ctrl-C is how one leaves it */
}

enum cli_exit cli_limits(struct cli_app *app)
{
    const struct cli_args *a = app->args;
    bool is_once =
        a->option[CLI_OPT_ONCE] || a->option[CLI_OPT_JSON] || !cli_term_is_screen(CLI_STDOUT);
    struct buf path;

    buf_init(&path, METER_PATH_MAX);
    cli_path_limits(&path, a);
    enum cli_exit code =
        is_once ? meter_limits_once(app, buf_view(&path)) : meter_limits_live(app, buf_view(&path));
    buf_fini(&path);
    return code;
}
