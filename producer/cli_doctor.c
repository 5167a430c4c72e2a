/* doctor: looks at an installation from where it runs.
 *
 *   configuration -> providers, tenants, workflows -> Kafka -> Redis -> gateway
 *
 * What is hard: everything asked may be away, and the answer must still come soon and say which. So
 * each question has a limit of its own, they are asked one after the other, and each line is
 * printed as soon as it is known. Nothing is changed: no topic is made, no group joined, nothing
 * written. Without a readable configuration Kafka and Redis are left out, for they would be
 * guesses. */
#include "producer/cli_app.h"

#include "common/base/json.h"
#include "common/io/redis.h"
#include "producer/cli_checks.h"
#include "producer/cli_request.h"
#include "producer/cli_term.h"
#include "producer/install.h"
#include "schemas/workflow.h"
#include <unistd.h>

extern char **environ;

enum {
    LOOK_MS = 5000,
    REDIS_MS = 4000,
    ERRORS_MAX = 64 << 10,
    INFO_MAX = 64 << 10,
    BODY_MAX = 64 << 10,
    REASON_MAX = 256,
};

struct doctor {
    struct cli_app *app;
    struct cli_report report;
    struct config *config; /* NULL: it cannot be read */
    struct topics topics;
    bool is_done; /* the question that is out was answered */
    /* redis */
    struct redis_conn *redis;
    struct timer limit;
    bool is_up;
    char reason[REASON_MAX]; /* why it is not */
    int64_t sent_ms;
};

static void doctor_print(struct doctor *d)
{
    (void)cli_term_write(CLI_STDOUT, buf_view(&d->report.out));
    buf_reset(&d->report.out);
}

/* Turns the loop until the question is answered. */
static void doctor_wait(struct doctor *d)
{
    while (!d->is_done && !d->app->is_interrupted) loop_run(d->app->loop);
    d->is_done = false;
    doctor_print(d);
}

static void doctor_answered(struct doctor *d)
{
    d->is_done = true;
    loop_stop(d->app->loop);
}

/* --- configuration and what it names --- */

static bool doctor_has_variable(void *arg, const char *name)
{
    const char *value = getenv(name);

    (void)arg;
    return value && value[0];
}

static bool doctor_can_read(void *arg, const char *path)
{
    (void)arg;
    return access(path, R_OK) == 0;
}

static void doctor_put_errors(struct doctor *d, const char *subject, struct view errors,
                              const char *advice)
{
    struct view line;

    while (view_cut(errors, '\n', &line, &errors))
        cli_report_put(&d->report, CLI_FAIL, subject, errors.len > 0 ? NULL : advice, "%.*s",
                       (int)line.len, line.ptr);
}

static void doctor_check_config(struct doctor *d)
{
    const char *path = d->app->args->option[CLI_OPT_CONFIG],
               *from = path ? path : getenv("SLUICE_CONFIG");
    struct buf errors;
    struct err err;

    buf_init(&errors, ERRORS_MAX);
    if (config_load(path, environ, NULL, 0, &d->config, &errors, &err) != ERR_OK) {
        if (errors.len == 0) buf_printf(&errors, "%s\n", err.text);
        doctor_put_errors(
            d, "config", buf_view(&errors),
            "correct it; gateway --check says the same; schemas/CONFIG.md lists all keys");
    } else if (!topics_init(&d->topics, d->config->kafka.topic_prefix)) {
        cli_report_put(&d->report, CLI_FAIL, "config", "choose another kafka.topic_prefix",
                       "the topic prefix is no topic name");
    } else if (from && from[0]) {
        cli_report_put(&d->report, CLI_OK, "config", NULL, "%s", from);
    } else {
        cli_report_put(&d->report, CLI_WARN, "config", "give it with --config or SLUICE_CONFIG",
                       "none given: built-in defaults");
    }
    buf_fini(&errors);
    doctor_print(d);
}

static void doctor_check_workflows(struct doctor *d)
{
    struct workflows *ws = NULL;
    struct buf errors;
    struct err err;

    buf_init(&errors, ERRORS_MAX);
    if (workflows_load_dir(d->config->workflows_dir, &ws, &errors, &err) != ERR_OK) {
        if (errors.len == 0) buf_printf(&errors, "%s\n", err.text);
        doctor_put_errors(
            d, "workflows", buf_view(&errors),
            "correct them: gateway and consumers refuse such a folder (workflows.dir)");
    } else if (workflows_count(ws) == 0) {
        cli_report_put(&d->report, CLI_WARN, "workflows",
                       "put a .yaml file there, or set workflows.dir", "none in %s",
                       d->config->workflows_dir);
    } else {
        cli_report_put(&d->report, CLI_OK, "workflows", NULL, "%zu in %s", workflows_count(ws),
                       d->config->workflows_dir);
    }
    workflows_free(ws);
    buf_fini(&errors);
    doctor_print(d);
}

/* --- kafka --- */

static void doctor_on_look(void *arg, const struct err *e, const struct kafka_look *look)
{
    struct doctor *d = arg;

    cli_check_kafka(&d->report, d->config, e, look);
    doctor_answered(d);
}

static void doctor_check_kafka(struct doctor *d)
{
    const char *names[TOPIC_COUNT];
    char group[TOPIC_NAME_MAX];
    struct kafka_setting *settings = calloc(d->config->kafka.setting_count + 1, sizeof *settings);
    struct err err;

    if (!settings) return;
    for (size_t i = 0; i < TOPIC_COUNT; i++) names[i] = d->topics.names[i];
    snprintf(group, sizeof group, "%sworkers", d->config->kafka.topic_prefix);
    const struct kafka_options common = install_kafka_options(d->config, "sluice-doctor", settings);
    const struct kafka_look_ask ask = {.common = &common,
                                       .topics = names,
                                       .topic_count = TOPIC_COUNT,
                                       .group = group,
                                       .look_ms = LOOK_MS,
                                       .done = doctor_on_look,
                                       .arg = d};
    if (kafka_look_start(d->app->loop, &ask, &err) == ERR_OK)
        while (!d->is_done) loop_run(d->app->loop); /* it cannot be called back, and it is short */
    else
        cli_report_put(&d->report, CLI_FAIL, "kafka", "check kafka.security", "%s", err.text);
    d->is_done = false;
    doctor_print(d);
    free(settings);
}

/* --- redis --- */

static void doctor_on_redis(void *arg, bool up)
{
    struct doctor *d = arg;

    if (d->is_up || !up) return;
    d->is_up = true;
    doctor_answered(d);
}

static void doctor_on_limit(void *arg)
{
    doctor_answered(arg);
}

/* The connection tells only its log why it fails. */
static void doctor_on_log(void *arg, struct view line)
{
    struct doctor *d = arg;
    struct view reason;
    struct buf text;

    buf_init(&text, REASON_MAX);
    if (json_raw_member(line, VIEW_LIT("reason"), &reason) && json_raw_string(reason, &text))
        (void)view_copy(buf_view(&text), d->reason, sizeof d->reason);
    buf_fini(&text);
}

static void doctor_on_info(void *arg, const struct reply *r, const struct err *e)
{
    struct doctor *d = arg;

    if (!d->redis) return; /* the connection is being given back */
    cli_check_redis_info(&d->report, e || r->kind != REPLY_STR ? VIEW_NONE : r->str);
}

static void doctor_on_nodes(void *arg, const struct reply *r, const struct err *e)
{
    static const struct reply refused = {.kind = REPLY_NIL};
    struct doctor *d = arg;

    if (d->redis) cli_check_redis_nodes(&d->report, e ? &refused : r);
}

static void doctor_on_time(void *arg, const struct reply *r, const struct err *e)
{
    static const struct reply refused = {.kind = REPLY_NIL};
    struct doctor *d = arg;

    if (!d->redis) return;
    cli_check_clock(&d->report, e ? &refused : r, d->sent_ms, loop_clock(d->app->loop)->wall_ms);
    doctor_answered(d);
}

static void doctor_ask_redis(struct doctor *d)
{
    const struct view info[] = {VIEW_LIT("INFO")};
    const struct view nodes[] = {VIEW_LIT("CONFIG"), VIEW_LIT("GET"),
                                 VIEW_LIT("stream-node-max-bytes")};
    const struct view time[] = {VIEW_LIT("TIME")};
    struct redis_port port = redis_conn_port(d->redis);

    port.call(port.self, info, 1, doctor_on_info, d);
    port.call(port.self, nodes, 3, doctor_on_nodes, d);
    port.call(port.self, time, 1, doctor_on_time, d);
    d->sent_ms = loop_clock(d->app->loop)->wall_ms;
    doctor_wait(d);
}

/* Where it is, without the password. */
static const char *doctor_redis_place(const char *url)
{
    const char *at = strrchr(url, '@');

    return at ? at + 1 : url;
}

static void doctor_check_redis(struct doctor *d)
{
    const struct clock *clock = loop_clock(d->app->loop);
    struct log *log = log_new("sluice", LOG_WARN, clock, doctor_on_log, d);
    const struct redis_options o = {.url = d->config->redis_url,
                                    .name = "doctor",
                                    .timeout_ms = REDIS_MS,
                                    .pending_max = 8,
                                    .output_max = INFO_MAX,
                                    .on_state = doctor_on_redis,
                                    .arg = d};
    const char *place = doctor_redis_place(d->config->redis_url);
    struct err err;

    d->redis = redis_conn_new(d->app->loop, log, &o, &err);
    if (!d->redis) {
        cli_report_put(&d->report, CLI_FAIL, "redis", "correct redis.url", "%s", err.text);
    } else {
        (void)timerq_set(loop_timers(d->app->loop), &d->limit, clock->mono_ms + REDIS_MS,
                         doctor_on_limit, d);
        doctor_wait(d);
        timerq_cancel(loop_timers(d->app->loop), &d->limit);
        if (d->is_up) {
            cli_report_put(&d->report, CLI_OK, "redis", NULL, "%s answers", place);
            doctor_ask_redis(d);
        } else {
            cli_report_put(&d->report, CLI_FAIL, "redis",
                           "check redis.url and its password, and that the server runs", "%s: %s",
                           place, d->reason[0] ? d->reason : "no answer");
        }
    }
    struct redis_conn *redis = d->redis;
    d->redis = NULL;
    if (redis) redis_conn_free(redis);
    log_free(log);
    doctor_print(d);
}

/* --- gateway --- */

struct doctor_question {
    struct doctor *doctor;
    struct cli_heard heard;
    void (*check)(struct cli_report *r, const struct cli_heard *h);
};

static void doctor_on_answer(void *arg, const struct cli_answer *a)
{
    struct doctor_question *q = arg;

    q->heard.e = a->away;
    q->heard.status = a->status;
    q->heard.body = a->body;
    q->check(&q->doctor->report, &q->heard);
    doctor_answered(q->doctor);
}

static void doctor_ask_gateway(struct doctor *d, const struct cli_server *s, const char *path,
                               struct doctor_question *q)
{
    const struct cli_call_options o = {.server = s,
                                       .method = "GET",
                                       .path = view_of(path),
                                       .tries = 1,
                                       .on_answer = doctor_on_answer,
                                       .arg = q};
    struct err err;
    struct cli_call *call = cli_call_new(&o, &err);

    q->heard.url = s->base;
    q->heard.has_key = s->key != NULL;
    if (call) {
        doctor_wait(d);
    } else {
        q->heard.e = &err;
        q->check(&d->report, &q->heard);
    }
    cli_call_free(call);
    doctor_print(d);
}

static void doctor_check_gateway(struct doctor *d)
{
    const char *admin = getenv("SLUICE_ADMIN_URL");
    struct cli_server s = d->app->server;
    struct doctor_question q = {.doctor = d, .check = cli_check_ready};
    struct view base;
    struct err err;

    if (!admin || !admin[0]) {
        cli_report_put(&d->report, CLI_SKIP, "gateway", NULL,
                       "readiness is not asked for: SLUICE_ADMIN_URL is not set");
    } else if (cli_url_check(admin, &base, &err) != ERR_OK) {
        cli_report_put(&d->report, CLI_FAIL, "gateway", "correct SLUICE_ADMIN_URL", "%s", err.text);
    } else {
        char *text = view_dup(base);

        s.base = text;
        s.key = NULL; /* an admin port has no use for it */
        if (text) doctor_ask_gateway(d, &s, "/readyz", &q);
        free(text);
    }
    q = (struct doctor_question){.doctor = d, .check = cli_check_api};
    if (d->app->is_base_given)
        doctor_ask_gateway(d, &d->app->server, "/v1/jobs?limit=1", &q);
    else
        cli_report_put(&d->report, CLI_SKIP, "api", NULL, "not asked: SLUICE_URL is not set");
}

/* --- the whole --- */

enum cli_exit cli_doctor(struct cli_app *app)
{
    const struct cli_secrets secrets = {.has_variable = doctor_has_variable,
                                        .can_read = doctor_can_read};
    struct doctor d = {.app = app};

    cli_report_init(&d.report, cli_term_has_color(CLI_STDOUT));
    doctor_check_config(&d);
    if (d.config && d.report.fails == 0) {
        cli_check_tenants(&d.report, d.config);
        cli_check_providers(&d.report, d.config, &secrets);
        doctor_check_workflows(&d);
        if (!app->is_interrupted) doctor_check_kafka(&d);
        if (!app->is_interrupted) doctor_check_redis(&d);
    } else {
        cli_report_put(&d.report, CLI_SKIP, "kafka", NULL,
                       "not asked: the configuration cannot be used");
        cli_report_put(&d.report, CLI_SKIP, "redis", NULL,
                       "not asked: the configuration cannot be used");
    }
    if (!app->is_interrupted) doctor_check_gateway(&d);
    cli_report_put_sum(&d.report);
    doctor_print(&d);
    enum cli_exit code = app->is_interrupted  ? CLI_EXIT_SIGNAL
                         : d.report.fails > 0 ? CLI_EXIT_FAILED
                                              : CLI_EXIT_OK;
    config_free(d.config);
    cli_report_fini(&d.report);
    return code;
}
