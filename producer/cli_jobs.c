/* submit, get, list, cancel, retry, key new.
 *
 * What goes to standard output is what a script wants: an id, JSON, a table. What a person is told
 * beside it goes to standard error, and only where a terminal reads it. */
#include "producer/cli_app.h"

#include "producer/cli_json.h"
#include "producer/cli_request.h"
#include "producer/cli_table.h"
#include "producer/cli_term.h"
#include "producer/cli_wait.h"
#include "schemas/job.h"

enum {
    ANSWER_MAX = 64 << 20,
    PATH_BYTES = 4096,
    LIST_PAGES_MAX = 50,
    LIST_LIMIT = 20,
    TABLE_MAX = 16 << 20,
};

static bool jobs_put(struct view text)
{
    return cli_term_write(CLI_STDOUT, text);
}

/* A server's JSON as it came, with a line end. */
static enum cli_exit jobs_put_json(struct view body)
{
    bool ends = body.len > 0 && body.ptr[body.len - 1] == '\n';

    return jobs_put(body) && (ends || jobs_put(VIEW_LIT("\n"))) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* The job an answer is about; false: it is not an answer of ours. */
static bool jobs_take_id(struct view body, struct job_id *ret, char status[16])
{
    char id[JOB_ID_LEN + 1];

    status[0] = '\0';
    if (json_check(body, cli_json_answer_limits(), NULL) == ERR_OK &&
        cli_json_text(body, "id", id, sizeof id) && id_parse(view_of(id), ret)) {
        cli_json_text(body, "status", status, 16);
        return true;
    }
    cli_term_say("the answer is no job: is SLUICE_URL (or --url) the address of a gateway?");
    return false;
}

/* What came of a call that answers with a job: its id, watched or printed. */
static enum cli_exit jobs_go_on(struct cli_app *app, struct view body, const char *hint)
{
    const struct cli_args *a = app->args;
    struct job_id id;
    char status[16];
    bool watches = a->option[CLI_OPT_WATCH] != NULL;

    if (!watches && a->option[CLI_OPT_JSON]) return jobs_put_json(body);
    if (!jobs_take_id(body, &id, status)) return CLI_EXIT_FAILED;
    if (watches) {
        cli_term_say("job %s", id.text);
        return cli_follow(app, id.text, NULL, true);
    }
    if (!jobs_put(view_of(id.text)) || !jobs_put(VIEW_LIT("\n"))) return CLI_EXIT_FAILED;
    if (hint && cli_term_is_terminal(CLI_STDERR)) cli_term_say("%s; %s %s", status, hint, id.text);
    return CLI_EXIT_OK;
}

/* --- submit --- */

/* JSON as an option gives it: itself, @FILE, or - for standard input. Without the option:
 * VIEW_NONE. */
static enum err_code jobs_load(const struct cli_args *a, enum cli_option o, const char *name,
                               struct buf *text, struct view *ret, struct err *err)
{
    const char *value = a->option[o];
    enum err_code code = ERR_OK;

    *ret = VIEW_NONE;
    if (!value) return ERR_OK;
    if (strcmp(value, "-") == 0)
        code = cli_term_read(NULL, text, err);
    else if (value[0] == '@')
        code = cli_term_read(value + 1, text, err);
    else if (!buf_put_str(text, value))
        code = err_set(err, ERR_TOO_LARGE, "more than %zu bytes", text->max);
    if (code != ERR_OK) return err_wrap(err, "%s", name);
    *ret = buf_view(text);
    return cli_json_check(name, *ret, err);
}

static enum err_code jobs_make_body(const struct cli_args *a, struct buf *body, struct err *err)
{
    struct buf input_text, metadata_text;
    struct view input, metadata;
    enum err_code code;

    if (strcmp(a->operand, "-") == 0) {
        code = cli_term_read(NULL, body, err);
        return code == ERR_OK ? cli_json_check("standard input", buf_view(body), err) : code;
    }
    buf_init(&input_text, JOB_BYTES_MAX);
    buf_init(&metadata_text, JOB_BYTES_MAX);
    code = jobs_load(a, CLI_OPT_INPUT, "--input", &input_text, &input, err);
    if (code == ERR_OK)
        code = jobs_load(a, CLI_OPT_METADATA, "--metadata", &metadata_text, &metadata, err);
    if (code == ERR_OK && !cli_body_put(body, a, input, metadata))
        code = err_set(err, ERR_TOO_LARGE, "the request is larger than %d bytes", JOB_BYTES_MAX);
    buf_fini(&input_text);
    buf_fini(&metadata_text);
    return code;
}

enum cli_exit cli_submit(struct cli_app *app)
{
    const char *given = app->args->option[CLI_OPT_IDEMPOTENCY_KEY];
    unsigned char bytes[CLI_RANDOM_KEY_BYTES];
    char random[CLI_RANDOM_KEY_TEXT];
    enum cli_exit code = CLI_EXIT_USAGE;
    struct buf body, answer;
    struct err err;

    buf_init(&body, JOB_BYTES_MAX);
    buf_init(&answer, ANSWER_MAX);
    if (jobs_make_body(app->args, &body, &err) != ERR_OK ||
        cli_term_random(bytes, sizeof bytes, &err) != ERR_OK) {
        cli_term_say("%s", err.text);
        goto out;
    }
    cli_idempotency_random(bytes, random);
    const struct cli_ask ask = {.method = "POST",
                                .path = VIEW_LIT("/v1/jobs"),
                                .body = buf_view(&body),
                                .idempotency = given ? given : random};
    if (cli_app_ask(app, &ask, &answer, &code))
        code = jobs_go_on(app, buf_view(&answer), "follow it with: sluice watch");
out:
    buf_fini(&body);
    buf_fini(&answer);
    return code;
}

/* --- one job --- */

static bool jobs_ask(struct cli_app *app, const char *method, const char *rest, struct buf *answer,
                     enum cli_exit *ret)
{
    struct buf path;

    buf_init(&path, PATH_BYTES);
    cli_path_job(&path, app->args->operand, rest);
    bool reads = strcmp(method, "GET") == 0;
    const struct cli_ask ask = {
        .method = method, .path = buf_view(&path), .tries = reads ? CLI_TRIES_TO_READ : CLI_TRIES};
    bool ok = cli_app_ask(app, &ask, answer, ret);
    buf_fini(&path);
    return ok;
}

/* A person who reads a job that waits is told in a sentence. */
static void jobs_tell_waiting(const struct cli_app *app, struct view body)
{
    char reason[64], on[200];
    struct view waiting = cli_json_raw(body, "waiting");
    struct buf text;

    if (json_raw_kind(waiting) != JSON_RAW_OBJECT ||
        !cli_json_text(waiting, "reason", reason, sizeof reason))
        return;
    cli_json_text(waiting, "on", on, sizeof on);
    buf_init(&text, PATH_BYTES);
    cli_wait_put(&text, reason, on);
    cli_wait_put_left(&text, cli_json_int(waiting, "until", 0), app->server.clock->wall_ms);
    if (!text.failed) cli_term_say("waiting: %.*s", (int)text.len, text.data);
    buf_fini(&text);
}

enum cli_exit cli_get(struct cli_app *app)
{
    enum cli_exit code;
    struct buf answer, pretty;

    buf_init(&answer, ANSWER_MAX);
    buf_init(&pretty, 2 * (size_t)ANSWER_MAX);
    if (jobs_ask(app, "GET", "", &answer, &code)) {
        bool is_raw = app->args->option[CLI_OPT_JSON] || !cli_term_is_terminal(CLI_STDOUT);

        if (is_raw || !cli_json_put_pretty(&pretty, buf_view(&answer)))
            code = jobs_put_json(buf_view(&answer));
        else
            code = jobs_put_json(buf_view(&pretty));
        if (!is_raw) jobs_tell_waiting(app, buf_view(&answer));
    }
    buf_fini(&answer);
    buf_fini(&pretty);
    return code;
}

enum cli_exit cli_cancel(struct cli_app *app)
{
    enum cli_exit code;
    struct job_id id;
    char status[16], line[96];
    struct buf answer;

    buf_init(&answer, ANSWER_MAX);
    if (jobs_ask(app, "POST", "/cancel", &answer, &code)) {
        if (app->args->option[CLI_OPT_JSON]) {
            code = jobs_put_json(buf_view(&answer));
        } else if (jobs_take_id(buf_view(&answer), &id, status)) {
            snprintf(line, sizeof line, "%s %s\n", id.text, status);
            code = jobs_put(view_of(line)) ? CLI_EXIT_OK : CLI_EXIT_FAILED;
        } else {
            code = CLI_EXIT_FAILED;
        }
    }
    buf_fini(&answer);
    return code;
}

enum cli_exit cli_retry(struct cli_app *app)
{
    enum cli_exit code;
    struct buf answer;

    buf_init(&answer, ANSWER_MAX);
    if (jobs_ask(app, "POST", "/retry", &answer, &code))
        code = jobs_go_on(app, buf_view(&answer), "follow it with: sluice watch");
    buf_fini(&answer);
    return code;
}

/* --- list --- */

static bool jobs_ask_page(struct cli_app *app, const struct cli_args *a, struct buf *answer,
                          enum cli_exit *ret)
{
    struct buf path;

    buf_reset(answer);
    buf_init(&path, PATH_BYTES);
    cli_path_list(&path, a);
    const struct cli_ask ask = {
        .method = "GET", .path = buf_view(&path), .tries = CLI_TRIES_TO_READ};
    bool ok = cli_app_ask(app, &ask, answer, ret);
    buf_fini(&path);
    if (!ok || a->option[CLI_OPT_JSON]) return ok;
    if (json_check(buf_view(answer), cli_json_answer_limits(), NULL) == ERR_OK &&
        json_raw_kind(cli_json_raw(buf_view(answer), "data")) == JSON_RAW_ARRAY)
        return true;
    cli_term_say("the answer is no list: is SLUICE_URL (or --url) the address of a gateway?");
    *ret = CLI_EXIT_FAILED;
    return false;
}

/* A filter looks at so many jobs a call and may find none of them: pages are asked for until the
 * table has its rows. */
static enum cli_exit jobs_list_table(struct cli_app *app, struct buf *answer)
{
    struct cli_args a = *app->args;
    uint64_t wanted = LIST_LIMIT;
    char limit[24], next[1024] = "";
    enum cli_exit code = CLI_EXIT_OK;
    struct cli_table table;
    bool more = true;

    (void)view_u64(view_of(a.option[CLI_OPT_LIMIT]), &wanted);
    cli_table_init(&table, TABLE_MAX);
    for (int pages = 0; more && table.rows < wanted && pages < LIST_PAGES_MAX; pages++) {
        snprintf(limit, sizeof limit, "%llu", (unsigned long long)(wanted - table.rows));
        a.option[CLI_OPT_LIMIT] = limit;
        if (!jobs_ask_page(app, &a, answer, &code)) goto out;
        cli_table_add(&table, buf_view(answer), app->server.clock->wall_ms);
        more = cli_json_text(buf_view(answer), "next", next, sizeof next) &&
               json_raw_kind(cli_json_raw(buf_view(answer), "has_more")) == JSON_RAW_TRUE;
        a.option[CLI_OPT_AFTER] = next;
    }
    if (!jobs_put(cli_table_text(&table))) code = CLI_EXIT_FAILED;
    if (more && next[0] && cli_term_is_terminal(CLI_STDERR))
        cli_term_say("there are more: --after %s", next);
out:
    cli_table_fini(&table);
    return code;
}

enum cli_exit cli_list(struct cli_app *app)
{
    enum cli_exit code;
    struct buf answer;

    buf_init(&answer, ANSWER_MAX);
    if (!app->args->option[CLI_OPT_JSON])
        code = jobs_list_table(app, &answer);
    else if (jobs_ask_page(app, app->args, &answer, &code))
        code = jobs_put_json(buf_view(&answer));
    buf_fini(&answer);
    return code;
}

/* --- keys --- */

enum cli_exit cli_key_new(const struct cli_args *args)
{
    unsigned char bytes[CLI_API_KEY_BYTES];
    char key[CLI_API_KEY_TEXT];
    enum cli_exit code = CLI_EXIT_FAILED;
    struct buf out;
    struct err err;

    buf_init(&out, PATH_BYTES);
    if (cli_term_random(bytes, sizeof bytes, &err) != ERR_OK) {
        cli_term_say("%s", err.text);
    } else if (cli_api_key(bytes, key)) {
        buf_printf(&out, "%s\n", key);
        cli_api_key_put_yaml(&out, key, args->option[CLI_OPT_TENANT], args->option[CLI_OPT_SCOPES]);
        if (!out.failed && jobs_put(buf_view(&out))) code = CLI_EXIT_OK;
        if (cli_term_is_terminal(CLI_STDERR))
            cli_term_say("the first line is the key: it is kept nowhere. The second goes under %s "
                         "in sluice.yaml; "
                         "gateways take it in on SIGHUP",
                         args->option[CLI_OPT_TENANT] ? "tenants" : "keys of a tenant");
    }
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(key, sizeof key);
    if (out.data) explicit_bzero(out.data, out.len);
    buf_fini(&out);
    return code;
}
