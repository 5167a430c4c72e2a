/* What all commands that speak HTTP share: the address, the key, the loop, one exchange.
 *
 * The key comes from the environment or a file and goes into one header; it is never printed, and
 * wiped when it is done with. */
#include "producer/cli_app.h"

#include "producer/cli_problem.h"
#include "producer/cli_request.h"
#include "producer/cli_term.h"
#include <assert.h>
#include <signal.h>

enum { KEY_FILE_MAX = 4096, TEXT_MAX = 16 << 10 };

static void app_on_signal(void *arg, int signum)
{
    struct cli_app *app = arg;

    (void)signum;
    app->is_interrupted = true;
    loop_stop(app->loop);
}

static enum err_code app_take_base(struct cli_app *app, struct err *err)
{
    const char *url = app->args->option[CLI_OPT_URL];
    const char *from = "--url";
    struct view base;

    if (!url) {
        url = getenv("SLUICE_URL");
        from = "SLUICE_URL";
    }
    app->is_base_given = url && url[0];
    if (!app->is_base_given) url = "http://127.0.0.1:8080";
    if (cli_url_check(url, &base, err) != ERR_OK) return err_wrap(err, "%s", from);
    app->base = view_dup(base);
    return app->base ? ERR_OK : err_set(err, ERR_NOMEM, "no memory");
}

static enum err_code app_take_key(struct cli_app *app, struct err *err)
{
    const char *path = app->args->option[CLI_OPT_KEY_FILE], *env = getenv("SLUICE_KEY");
    enum err_code code = ERR_OK;
    struct view key = VIEW_NONE;
    struct buf text;

    buf_init(&text, KEY_FILE_MAX);
    if (path)
        code = cli_term_read(path, &text, err);
    else if (env)
        buf_put_str(&text, env);
    if (code == ERR_OK && (path || text.len > 0)) {
        code = cli_key_check(buf_view(&text), &key, err);
        if (code != ERR_OK) code = err_wrap(err, "%s", path ? "--key-file" : "SLUICE_KEY");
    }
    if (code == ERR_OK && key.ptr) {
        app->key = view_dup(key);
        if (!app->key) code = err_set(err, ERR_NOMEM, "no memory");
    }
    if (text.data) explicit_bzero(text.data, text.len);
    buf_fini(&text);
    return code;
}

enum err_code cli_app_init(struct cli_app *app, const struct cli_args *args, struct err *err)
{
    const struct httpc_options o = {.calls_max = 8, .connections_max = 4, .user_agent = "sluice"};

    *app = (struct cli_app){.args = args};
    enum err_code code = app_take_base(app, err);
    if (code == ERR_OK) code = app_take_key(app, err);
    if (code != ERR_OK) return code;
    app->loop = loop_new(err);
    if (app->loop) app->httpc = httpc_new(app->loop, &o, err);
    if (!app->httpc) return err ? err->code : ERR_NOMEM;
    loop_on_signal(app->loop, SIGINT, app_on_signal, app);
    loop_on_signal(app->loop, SIGTERM, app_on_signal, app);
    app->server = (struct cli_server){.http = httpc_port(app->httpc),
                                      .clock = loop_clock(app->loop),
                                      .timers = loop_timers(app->loop),
                                      .rng = loop_rng(app->loop),
                                      .base = app->base,
                                      .key = app->key};
    return ERR_OK;
}

void cli_app_fini(struct cli_app *app)
{
    httpc_free(app->httpc);
    if (app->loop) loop_free(app->loop);
    if (app->key) explicit_bzero(app->key, strlen(app->key));
    free(app->key);
    free(app->base);
}

/* --- an exchange --- */

struct app_exchange {
    struct cli_app *app;
    struct buf *body;
    bool is_answered;
    int status;
    int64_t retry_after_s;
    struct err away; /* code ERR_OK: an answer came */
};

static void app_on_again(void *arg, const char *why, int64_t pause_ms)
{
    (void)arg;
    cli_term_say("%s; again in %lld.%llds", cli_reason(why), (long long)pause_ms / 1000,
                 (long long)pause_ms / 100 % 10);
}

static void app_on_answer(void *arg, const struct cli_answer *a)
{
    struct app_exchange *x = arg;

    x->is_answered = true;
    x->status = a->status;
    x->retry_after_s = a->retry_after_s;
    if (a->away)
        x->away = *a->away;
    else if (!buf_put_view(x->body, a->body))
        (void)err_set(&x->away, ERR_NOMEM, "no memory for the answer");
    loop_stop(x->app->loop);
}

static enum cli_exit app_tell_fault(const struct cli_app *app, const struct app_exchange *x,
                                    const struct cli_ask *ask)
{
    const struct cli_refusal refusal = {.status = x->status,
                                        .body = buf_view(x->body),
                                        .url = app->base,
                                        .retry_after_s = x->retry_after_s,
                                        .idempotency = ask->idempotency};
    struct buf text;
    enum cli_exit code = CLI_EXIT_AWAY;

    buf_init(&text, TEXT_MAX);
    if (x->away.code != ERR_OK) {
        cli_away_put(&text, app->base, x->away.text);
        cli_maybe_landed_put(&text, ask->idempotency);
    } else {
        cli_problem_put(&text, &refusal);
        code = cli_problem_exit(x->status);
    }
    (void)cli_term_write(CLI_STDERR, buf_view(&text));
    buf_fini(&text);
    return code;
}

static enum cli_exit app_tell_signal(const struct cli_ask *ask)
{
    struct buf text;

    buf_init(&text, TEXT_MAX);
    cli_maybe_landed_put(&text, ask->idempotency);
    (void)cli_term_write(CLI_STDERR, buf_view(&text));
    buf_fini(&text);
    return CLI_EXIT_SIGNAL;
}

/* Turns the loop until the answer is there. */
static bool app_exchange(struct cli_app *app, struct app_exchange *x,
                         const struct cli_call_options *o)
{
    struct cli_call *call = cli_call_new(o, &x->away);

    if (!call) return true;
    while (!x->is_answered && !app->is_interrupted) loop_run(app->loop);
    cli_call_free(call);
    return x->is_answered;
}

bool cli_app_ask(struct cli_app *app, const struct cli_ask *ask, struct buf *body,
                 enum cli_exit *ret_exit)
{
    struct app_exchange x = {.app = app, .body = body};
    struct buf field;
    struct err err;

    buf_init(&field, TEXT_MAX);
    if (ask->idempotency && cli_idempotency_put(&field, ask->idempotency, &err) != ERR_OK) {
        cli_term_say("%s", err.text);
        *ret_exit = CLI_EXIT_USAGE;
        buf_fini(&field);
        return false;
    }
    const struct cli_call_options o = {.server = &app->server,
                                       .method = ask->method,
                                       .path = ask->path,
                                       .body = ask->body,
                                       .idempotency =
                                           ask->idempotency ? buf_view(&field) : VIEW_NONE,
                                       .tries = ask->tries ? ask->tries : CLI_TRIES,
                                       .on_again = app_on_again,
                                       .on_answer = app_on_answer,
                                       .arg = &x};
    bool answered = app_exchange(app, &x, &o);
    buf_fini(&field);
    if (answered && x.away.code == ERR_OK && x.status >= 200 && x.status < 300) return true;
    *ret_exit = answered ? app_tell_fault(app, &x, ask) : app_tell_signal(ask);
    return false;
}
