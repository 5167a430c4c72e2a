/* Wiring a worker to the world, and ending it.
 *
 * What is hard is the order. The worker is there first, without homes: its heartbeat begins when
 * Redis answers, and it joins the group when Kafka's topics are verified; either may take hours and
 * is said on /readyz. The end is the other way round: the worker drains while everything still
 * works, then the producer is flushed, then whoever may still call back is freed before the worker,
 * and whatever the worker may still cancel after it. */
#include "consumer/shell.h"

#include "common/io/httpc.h"
#include "common/io/life.h"
#include "common/io/redis.h"
#include "consumer/adapt.h"
#include "consumer/jq_pool.h"
#include "producer/install.h"
#include "producer/program.h"
#include "schemas/fn.h"
#include <signal.h>

enum {
    SHELL_REDIS_TIMEOUT_MS = 5000,
    SHELL_REDIS_PENDING_MAX = 200000,
    SHELL_REDIS_OUTPUT_MAX = 128 << 20,
    SHELL_KAFKA_MESSAGES_MAX = 200000,
    SHELL_KAFKA_KBYTES_MAX = 256 << 10,
    SHELL_FLUSH_MS = 3000,
    SHELL_JQ_WAITING_MAX = 20000,
    SHELL_JQ_TIMEOUT_MS = 5000,
    SHELL_ERRORS_MAX = 65536,
    SHELL_STATUS_MAX = 4096,
    SHELL_JOIN_MS = 15000 /* without a share by then there are more workers than partitions */
};

struct shell {
    struct config *config;
    struct loop *loop;
    struct log *log;
    struct metrics *metrics;
    struct topics topics;
    struct workflows *workflows;
    struct secrets *secrets;
    struct kafka_setting *kafka_settings;
    struct kafka_producer *producer;
    struct install *install;
    struct adapt adapt;
    struct redis_conn *commands, *doorbell;
    struct fn *fn;
    struct httpc *httpc;
    struct jq_pool *jq;
    struct life *life;
    struct worker *worker;
    char boot[12];
    bool is_kafka_ready, is_closing;
    struct err failure;
};

/* --- the end --------------------------------------------------------------------------------- */
static void shell_on_flushed(void *arg)
{
    struct shell *s = arg;
    s->producer = NULL;
    loop_stop(s->loop);
}

static void shell_end(struct shell *s)
{
    if (s->is_closing) return;
    s->is_closing = true;
    kafka_producer_close(s->producer, SHELL_FLUSH_MS, shell_on_flushed, s);
}

static void shell_after_turn(void *arg)
{
    struct shell *s = arg;
    worker_turn(s->worker);
    if (worker_is_drained(s->worker)) shell_end(s);
}

static void shell_on_signal(void *arg, int signum)
{
    struct shell *s = arg;
    struct worker_stats stats;
    worker_stats(s->worker, &stats);
    log_event(s->log, LOG_INFO, VIEW_NONE, "signal", LOG_N("signal", signum),
              LOG_N("running", stats.running));
    if (stats.state == WORKER_ACTIVE) {
        worker_drain(s->worker);
    } else {
        shell_end(s);
    }
}

/* --- the admin port -------------------------------------------------------------------------- */
static bool shell_is_ready(void *arg, struct buf *reason)
{
    const struct shell *s = arg;
    if (!s->is_kafka_ready) {
        (void)buf_put_str(reason, "waiting for Kafka and its topics");
    } else if (!s->adapt.was_assigned && s->adapt.consumer &&
               loop_clock(s->loop)->mono_ms < s->adapt.joined_ms + SHELL_JOIN_MS) {
        (void)buf_put_str(reason, "waiting for its share of the partitions");
    } else if (!worker_is_ready(s->worker, reason)) {
        return false;
    } else {
        return true;
    }
    return false;
}

static void shell_before_metrics(void *arg)
{
    worker_refresh_metrics(((struct shell *)arg)->worker);
}

static void shell_put_status(const struct shell *s, struct buf *out)
{
    struct worker_stats t;
    struct jw w;
    worker_stats(s->worker, &t);
    jw_init(&w, out);
    jw_object(&w);
    jw_kcstr(&w, "worker", s->config->consumer.name);
    jw_kcstr(&w, "build", s->config->consumer.build);
    jw_kcstr(&w, "color", s->config->consumer.color);
    jw_kcstr(&w, "state", worker_state_name(t.state));
    jw_kint(&w, "homes", (int64_t)t.homes);
    jw_kint(&w, "homes_ready", (int64_t)t.homes_ready);
    jw_kint(&w, "running", (int64_t)t.running);
    jw_kint(&w, "queued", (int64_t)t.queued);
    jw_kint(&w, "foreign", (int64_t)t.foreign);
    jw_kint(&w, "sleeping", (int64_t)t.sleeping);
    jw_kint(&w, "calls", (int64_t)t.calls);
    jw_kint(&w, "calls_waiting", (int64_t)t.calls_waiting);
    jw_kint(&w, "started", (int64_t)t.started);
    jw_kint(&w, "ended", (int64_t)t.ended);
    jw_kint(&w, "handed_over", (int64_t)t.handed);
    jw_kint(&w, "dropped", (int64_t)t.dropped);
    jw_kbool(&w, "fenced", t.is_fenced);
    jw_end_object(&w);
}

static void shell_answer(const struct shell *s, struct httpd_request *r, int status)
{
    struct buf body;
    buf_init(&body, SHELL_STATUS_MAX);
    shell_put_status(s, &body);
    const struct httpd_answer a = {
        .status = status, .content_type = "application/json", .body = buf_view(&body)};
    httpd_reply(r, &a);
    buf_fini(&body);
}

/* POST /drain, POST /undrain, GET /status. */
static bool shell_on_request(void *arg, struct httpd_request *r)
{
    struct shell *s = arg;
    bool is_post = view_eq_str(httpd_method(r), "POST");
    if (view_eq_str(httpd_path(r), "/status") && !is_post) {
        shell_answer(s, r, 200);
        return true;
    }
    if (view_eq_str(httpd_path(r), "/drain") && is_post) {
        worker_drain(s->worker);
        shell_answer(s, r, 202);
        return true;
    }
    if (!view_eq_str(httpd_path(r), "/undrain") || !is_post) return false;
    struct err err;
    struct worker_stats t;
    worker_stats(s->worker, &t);
    bool can = t.state == WORKER_DRAINING && !s->is_closing && !s->adapt.consumer;
    if (can && adapt_join(&s->adapt, s->config, &err) == ERR_OK) worker_undrain(s->worker);
    shell_answer(s, r, can ? 202 : 409);
    return true;
}

/* --- building -------------------------------------------------------------------------------- */
static void shell_on_installed(void *arg, const struct err *e)
{
    struct shell *s = arg;
    struct worker_stats t;
    if (e) { /* no waiting mends it */
        s->failure = *e;
        loop_stop(s->loop);
        return;
    }
    s->is_kafka_ready = true;
    log_event(s->log, LOG_INFO, VIEW_NONE, "kafka_ready");
    worker_stats(s->worker, &t);
    struct err err; /* filled or not when all is well */
    if (t.state == WORKER_ACTIVE && adapt_join(&s->adapt, s->config, &err) != ERR_OK) {
        s->failure = err;
        loop_stop(s->loop);
    }
}

static void shell_kick(void *arg)
{
    loop_kick(((struct shell *)arg)->loop);
}

static enum err_code shell_open_kafka(struct shell *s, struct err *err)
{
    const struct config *c = s->config;
    s->kafka_settings = calloc(c->kafka.setting_count + 1, sizeof *s->kafka_settings);
    if (!s->kafka_settings) return err_set(err, ERR_NOMEM, "out of memory");
    s->adapt =
        (struct adapt){.loop = s->loop,
                       .log = s->log,
                       .topics = &s->topics,
                       .kafka = install_kafka_options(c, "sluice-consumer", s->kafka_settings)};
    const struct kafka_producer_options o = {.common = s->adapt.kafka,
                                             .linger_ms = c->kafka.linger_ms,
                                             .message_timeout_ms = c->kafka.message_timeout_ms,
                                             .queue_messages_max = SHELL_KAFKA_MESSAGES_MAX,
                                             .queue_kbytes_max = SHELL_KAFKA_KBYTES_MAX};
    s->producer = kafka_producer_new(s->loop, s->log, &o, err);
    return s->producer ? ERR_OK : err->code;
}

static enum err_code shell_open_others(struct shell *s, const struct shell_options *o,
                                       struct err *err)
{
    const struct config *c = s->config;
    struct redis_options r = {.url = c->redis_url,
                              .name = "commands",
                              .timeout_ms = SHELL_REDIS_TIMEOUT_MS,
                              .pending_max = SHELL_REDIS_PENDING_MAX,
                              .output_max = SHELL_REDIS_OUTPUT_MAX};
    const struct httpc_options h = {.calls_max = (size_t)c->consumer.max_calls * 2,
                                    .connections_max = (size_t)c->consumer.max_calls,
                                    .user_agent = "sluice/" SLUICE_VERSION};
    const struct jq_pool_options j = {.program = o->program,
                                      .helpers = (size_t)c->consumer.jq_helpers,
                                      .waiting_max = SHELL_JQ_WAITING_MAX,
                                      .timeout_ms = SHELL_JQ_TIMEOUT_MS};
    s->commands = redis_conn_new(s->loop, s->log, &r, err);
    if (!s->commands) return err->code;
    r.name = "doorbell";
    s->doorbell = redis_conn_new(s->loop, s->log, &r, err);
    if (!s->doorbell) return err->code;
    s->fn = fn_new(redis_conn_port(s->commands));
    if (!s->fn) return err_set(err, ERR_NOMEM, "out of memory");
    s->httpc = httpc_new(s->loop, &h, err);
    if (!s->httpc) return err->code;
    s->jq = jq_pool_new(s->loop, &j, err);
    return s->jq ? ERR_OK : err->code;
}

static enum err_code shell_make_worker(struct shell *s, struct err *err)
{
    snprintf(s->boot, sizeof s->boot, "%08llx",
             (unsigned long long)(rng_next(loop_rng(s->loop)) & 0xffffffffu));
    const struct worker_ports p = {.config = s->config,
                                   .topics = &s->topics,
                                   .workflows = s->workflows,
                                   .clock = loop_clock(s->loop),
                                   .timers = loop_timers(s->loop),
                                   .rng = loop_rng(s->loop),
                                   .log = s->log,
                                   .metrics = s->metrics,
                                   .publish = kafka_producer_port(s->producer),
                                   .fn = s->fn,
                                   .redis = redis_conn_port(s->commands),
                                   .doorbell = redis_conn_sub_port(s->doorbell),
                                   .intake = adapt_intake_port(&s->adapt),
                                   .replay = adapt_replay_port(&s->adapt),
                                   .http = httpc_port(s->httpc),
                                   .eval = jq_pool_port(s->jq),
                                   .provider_key = secrets_find,
                                   .provider_key_arg = s->secrets,
                                   .kick = shell_kick,
                                   .kick_arg = s,
                                   .worker_name = view_of(s->config->consumer.name),
                                   .boot = view_of(s->boot)};
    s->worker = worker_new(&p, err);
    if (!s->worker) return err->code;
    s->adapt.worker = s->worker;
    loop_after_turn(s->loop, shell_after_turn, s);
    return ERR_OK;
}

static enum err_code shell_open_ports(struct shell *s, struct err *err)
{
    const struct life_options l = {.admin_listen = s->config->consumer.admin,
                                   .metrics = s->metrics,
                                   .is_ready = shell_is_ready,
                                   .before_metrics = shell_before_metrics,
                                   .on_request = shell_on_request,
                                   .arg = s};
    const struct install_options i = {.loop = s->loop,
                                      .log = s->log,
                                      .config = s->config,
                                      .topics = &s->topics,
                                      .warm = s->producer,
                                      .done = shell_on_installed,
                                      .arg = s};
    s->life = life_new(s->loop, s->log, &l, err);
    if (!s->life) return err->code;
    s->install = install_new(&i, err);
    if (!s->install) return err->code;
    log_event(s->log, LOG_INFO, VIEW_NONE, "worker_up", LOG_S("worker", s->config->consumer.name),
              LOG_S("boot", s->boot), LOG_N("admin_port", life_port(s->life)),
              LOG_N("workflows", workflows_count(s->workflows)),
              LOG_S("build", s->config->consumer.build), LOG_S("version", SLUICE_VERSION));
    return ERR_OK;
}

static enum err_code shell_load(const struct config *c, struct workflows **ret,
                                struct secrets **ret_secrets, struct err *err)
{
    struct buf errors;
    buf_init(&errors, SHELL_ERRORS_MAX);
    enum err_code code = workflows_load_dir(c->workflows_dir, ret, &errors, err);
    if (errors.len) fwrite(errors.data, 1, errors.len, stderr);
    buf_fini(&errors);
    return code == ERR_OK ? secrets_load(c, ret_secrets, err) : code;
}

static enum err_code shell_build(struct shell *s, const struct shell_options *o, struct err *err)
{
    enum log_level level = LOG_INFO;
    enum err_code code = shell_load(s->config, &s->workflows, &s->secrets, err);
    if (code != ERR_OK) return code;
    s->loop = loop_new(err);
    if (!s->loop) return err->code;
    (void)log_level_parse(view_of(s->config->log.level), &level);
    s->log = log_new("consumer", level, loop_clock(s->loop), life_log_sink, NULL);
    s->metrics = metrics_new();
    if (!s->log || !s->metrics) return err_set(err, ERR_NOMEM, "out of memory");
    if (!topics_init(&s->topics, s->config->kafka.topic_prefix))
        return err_set(err, ERR_INVALID, "kafka.topic_prefix");
    code = shell_open_kafka(s, err);
    if (code == ERR_OK) code = shell_open_others(s, o, err);
    if (code == ERR_OK) code = shell_make_worker(s, err);
    if (code == ERR_OK) code = shell_open_ports(s, err);
    return code;
}

static void shell_drop(struct shell *s)
{
    life_free(s->life);
    install_free(s->install);
    if (s->adapt.consumer) kafka_consumer_free(s->adapt.consumer);
    if (s->producer) kafka_producer_close(s->producer, 0, NULL, NULL);
    fn_free(s->fn);
    redis_conn_free(s->commands);
    redis_conn_free(s->doorbell);
    if (s->loop && s->worker) loop_after_turn_remove(s->loop, shell_after_turn, s);
    worker_free(s->worker);
    jq_pool_free(s->jq);
    httpc_free(s->httpc);
    log_free(s->log);
    loop_free(s->loop);
    metrics_free(s->metrics);
    secrets_free(s->secrets);
    workflows_free(s->workflows);
    free(s->kafka_settings);
    config_free(s->config);
    free(s);
}

enum err_code shell_run(struct config *config, const struct shell_options *o, struct err *err)
{
    struct shell *s = calloc(1, sizeof *s);
    if (!s) {
        config_free(config);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    s->config = config;
    enum err_code code = shell_build(s, o, err);
    if (code == ERR_OK) {
        loop_on_signal(s->loop, SIGTERM, shell_on_signal, s);
        loop_on_signal(s->loop, SIGINT, shell_on_signal, s);
        loop_run(s->loop);
        if (s->failure.code != ERR_OK) *err = s->failure;
        code = s->failure.code;
        log_event(s->log, LOG_INFO, VIEW_NONE, "stopped");
    }
    shell_drop(s);
    return code;
}

int shell_check(const struct config *config)
{
    struct workflows *workflows = NULL;
    struct secrets *secrets = NULL;
    struct err err = {.code = ERR_OK};
    enum err_code code = shell_load(config, &workflows, &secrets, &err);
    if (code == ERR_OK) {
        printf("ok: %zu workflows, %zu models\n", workflows_count(workflows), config->model_count);
    } else {
        fprintf(stderr, "%s%s%s\n", err.text, err.where[0] ? " at " : "", err.where);
    }
    workflows_free(workflows);
    secrets_free(secrets);
    return code == ERR_OK ? 0 : 2;
}
