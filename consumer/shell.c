/* Building, turning and ending a consumer process.
 *
 * Hard: any order of starting, and an end that leaves nothing behind. Kafka or Redis may be away: the process is up, says on /readyz what
 * it waits for and goes on trying. It joins the group only when the topics are there. On SIGTERM the worker drains; when it says so, the records
 * still under way are flushed, and then everything goes in the reverse order of its making. The worker is freed first, when the
 * loop turns no more: whoever might still answer it is ended right after, without calling back. */
#include "common/io/httpc.h"
#include "common/io/kafka.h"
#include "common/io/life.h"
#include "common/io/redis.h"
#include "consumer/adapt_kafka.h"
#include "consumer/jq_pool.h"
#include "consumer/secrets.h"
#include "consumer/shell.h"
#include "consumer/worker.h"
#include "producer/install.h"
#include "producer/program.h"
#include "schemas/fn.h"
#include <signal.h>
#include <unistd.h>

enum {
    SHELL_REDIS_TIMEOUT_MS = 5000,
    SHELL_REDIS_PENDING_MAX = 200000,
    SHELL_REDIS_OUTPUT_MAX = 128 << 20,
    SHELL_KAFKA_MESSAGES_MAX = 100000,
    SHELL_KAFKA_KBYTES_MAX = 256 << 10,
    SHELL_PREFETCH = 100,
    SHELL_JQ_WAITING_MAX = 10000,
    SHELL_JQ_TIMEOUT_MS = 2000,
    SHELL_ERRORS_MAX = 1 << 20,
    SHELL_FLUSH_MS = 5000
};

struct shell {
    const struct config *config;
    struct loop *loop;
    struct log *log;
    struct metrics *metrics;
    struct topics topics;
    struct workflows *workflows;
    struct secrets *secrets;
    struct redis_conn *commands, *doorbell;
    struct fn *fn;
    struct kafka_setting *settings;
    struct kafka_producer *producer;
    struct adapt_kafka kafka;
    struct install *install;
    struct httpc *httpc;
    struct jq_pool *jq;
    struct life *life;
    struct worker *worker;
    char name[96], boot[16];
    bool is_ending, is_flushing;
    struct err failure;
};

/* --- from the group ------------------------------------------------------------------------------------------------ */
static void shell_on_assigned(void *arg, const int32_t *partitions, size_t count)
{
    struct shell *s = arg;

    worker_on_assigned(s->worker, partitions, count);
}

static void shell_on_revoked(void *arg, const int32_t *partitions, size_t count, bool lost)
{
    struct shell *s = arg;

    worker_on_revoked(s->worker, partitions, count, lost);
}

static void shell_on_readable(void *arg)
{
    struct shell *s = arg;

    worker_on_readable(s->worker);
}

static void shell_on_commit(void *arg, const char *topic, int32_t partition, int64_t offset, const struct err *e)
{
    struct shell *s = arg;
    enum topic t;

    if (topics_parse(&s->topics, view_of(topic), &t)) worker_on_commit(s->worker, t, partition, offset, e);
}

static void shell_on_kafka_error(void *arg, const struct err *e)
{
    struct shell *s = arg;

    log_event(s->log, LOG_WARN, VIEW_NONE, "kafka_error", LOG_S("error", e->text));
}

static const struct kafka_consumer_events shell_events = {.on_assigned = shell_on_assigned,
                                                          .on_revoked = shell_on_revoked,
                                                          .on_readable = shell_on_readable,
                                                          .on_commit = shell_on_commit,
                                                          .on_error = shell_on_kafka_error};

/* The topics are there: join. */
static void shell_on_installed(void *arg, const struct err *e)
{
    struct shell *s = arg;
    char group[TOPIC_NAME_MAX + 16];
    struct kafka_consumer_options o = {.common = s->kafka.options,
                                       .group = group,
                                       .subscribe = s->topics.names[TOPIC_JOBS_INTERACTIVE],
                                       .session_timeout_ms = s->config->kafka.session_timeout_ms,
                                       .queued_messages_min = SHELL_PREFETCH,
                                       .events = &shell_events,
                                       .arg = s};

    if (e) {
        s->failure = *e;
        loop_stop(s->loop);
        return;
    }
    if (s->is_ending) return;
    snprintf(group, sizeof group, "%sworkers", s->config->kafka.topic_prefix);
    s->kafka.consumer = kafka_consumer_new(s->loop, s->log, &o, &s->failure);
    if (!s->kafka.consumer)
        loop_stop(s->loop);
    else
        log_event(s->log, LOG_INFO, VIEW_NONE, "joining", LOG_S("group", group));
}

/* --- readiness, drain, end ------------------------------------------------------------------------------------------- */
static bool shell_is_ready(void *arg, struct buf *reason)
{
    struct shell *s = arg;

    if (!s->kafka.consumer) {
        buf_put_str(reason, "waiting for Kafka and its topics");
        return false;
    }
    return worker_is_ready(s->worker, reason);
}

static void shell_before_metrics(void *arg)
{
    struct shell *s = arg;

    worker_refresh_metrics(s->worker);
}

static void shell_drain(struct shell *s)
{
    s->is_ending = true;
    worker_drain(s->worker);
    loop_kick(s->loop);
}

static void shell_on_signal(void *arg, int signum)
{
    (void)signum;
    shell_drain(arg);
}

static void shell_put_state(struct shell *s, struct buf *out)
{
    struct worker_stats now;

    worker_stats(s->worker, &now);
    buf_printf(out, "{\"worker\":\"%s\",\"build\":\"%s\",\"state\":\"%s\",\"running\":%zu,\"queued\":%zu,\"calls\":%zu}\n", s->name,
               s->config->consumer.build, worker_state_name(now.state), now.running, now.queued, now.calls);
}

static bool shell_on_request(void *arg, struct httpd_request *r)
{
    struct shell *s = arg;
    struct httpd_answer a = {.status = 200, .content_type = "application/json"};
    bool drain = view_eq_str(httpd_path(r), "/drain");
    struct buf body;

    if (!drain && !view_eq_str(httpd_path(r), "/state")) return false;
    if (drain && !view_eq_str(httpd_method(r), "POST")) return false;
    if (drain) shell_drain(s);
    buf_init(&body, 4096);
    shell_put_state(s, &body);
    a.status = drain ? 202 : 200;
    a.body = buf_view(&body);
    httpd_reply(r, &a);
    buf_fini(&body);
    return true;
}

static void shell_stop(void *arg)
{
    struct shell *s = arg;

    s->producer = NULL;
    loop_stop(s->loop);
}

/* Once the worker is drained, what it published last is flushed, then the loop ends. */
static void shell_turn(void *arg)
{
    struct shell *s = arg;

    worker_turn(s->worker);
    if (!s->is_ending || s->is_flushing || !worker_is_drained(s->worker)) return;
    log_event(s->log, LOG_INFO, VIEW_NONE, "drained");
    s->is_flushing = true;
    kafka_producer_close(s->producer, SHELL_FLUSH_MS, shell_stop, s);
}

static void shell_kick(void *arg)
{
    loop_kick(arg);
}

/* --- making ------------------------------------------------------------------------------------------------------------ */
static enum err_code shell_read_workflows(const struct config *config, struct workflows **ret, struct err *err)
{
    struct buf errors;
    enum err_code rc;

    buf_init(&errors, SHELL_ERRORS_MAX);
    rc = workflows_load_dir(config->workflows_dir, ret, &errors, err);
    if (errors.len) fwrite(errors.data, 1, errors.len, stderr);
    buf_fini(&errors);
    return rc;
}

static enum err_code shell_open_loop(struct shell *s, struct err *err)
{
    enum log_level level = LOG_INFO;
    char host[48] = "worker";

    s->loop = loop_new(err);
    if (!s->loop) return err->code;
    (void)log_level_parse(view_of(s->config->log.level), &level);
    s->log = log_new("consumer", level, loop_clock(s->loop), life_log_sink, NULL);
    s->metrics = metrics_new();
    if (!s->log || !s->metrics) return err_set(err, ERR_NOMEM, "out of memory");
    snprintf(s->boot, sizeof s->boot, "%08x", (unsigned)(rng_next(loop_rng(s->loop)) & 0xffffffffU));
    (void)gethostname(host, sizeof host - 1);
    if (s->config->consumer.name && s->config->consumer.name[0])
        snprintf(s->name, sizeof s->name, "%s", s->config->consumer.name);
    else
        snprintf(s->name, sizeof s->name, "%.47s-%ld", host, (long)getpid());
    if (!topics_init(&s->topics, s->config->kafka.topic_prefix)) return err_set(err, ERR_INVALID, "kafka.topic_prefix: no topic name");
    if (shell_read_workflows(s->config, &s->workflows, err) != ERR_OK) return err->code;
    s->secrets = secrets_new(s->config, err);
    return s->secrets ? ERR_OK : err->code;
}

static enum err_code shell_open_redis(struct shell *s, struct err *err)
{
    struct redis_options o = {.url = s->config->redis_url,
                              .name = "commands",
                              .timeout_ms = SHELL_REDIS_TIMEOUT_MS,
                              .pending_max = SHELL_REDIS_PENDING_MAX,
                              .output_max = SHELL_REDIS_OUTPUT_MAX};

    s->commands = redis_conn_new(s->loop, s->log, &o, err);
    if (!s->commands) return err->code;
    o.name = "doorbell";
    s->doorbell = redis_conn_new(s->loop, s->log, &o, err);
    if (!s->doorbell) return err->code;
    s->fn = fn_new(redis_conn_port(s->commands));
    return s->fn ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
}

static enum err_code shell_open_kafka(struct shell *s, struct err *err)
{
    const struct config *c = s->config;
    struct kafka_producer_options o = {.linger_ms = c->kafka.linger_ms,
                                       .message_timeout_ms = c->kafka.message_timeout_ms,
                                       .queue_messages_max = SHELL_KAFKA_MESSAGES_MAX,
                                       .queue_kbytes_max = SHELL_KAFKA_KBYTES_MAX};

    s->settings = calloc(c->kafka.setting_count + 1, sizeof *s->settings);
    if (!s->settings) return err_set(err, ERR_NOMEM, "out of memory");
    s->kafka = (struct adapt_kafka){.loop = s->loop, .log = s->log, .topics = &s->topics};
    s->kafka.options = install_kafka_options(c, s->name, s->settings);
    o.common = s->kafka.options;
    s->producer = kafka_producer_new(s->loop, s->log, &o, err);
    return s->producer ? ERR_OK : err->code;
}

static enum err_code shell_open_calls(struct shell *s, struct err *err)
{
    const struct httpc_options ho = {.calls_max = (size_t)s->config->consumer.max_calls,
                                     .connections_max = (size_t)s->config->consumer.max_calls,
                                     .user_agent = "sluice/" SLUICE_VERSION};
    const struct jq_pool_options jo = {.program = "/proc/self/exe",
                                       .helpers = (size_t)s->config->consumer.jq_helpers,
                                       .waiting_max = SHELL_JQ_WAITING_MAX,
                                       .timeout_ms = SHELL_JQ_TIMEOUT_MS};

    s->httpc = httpc_new(s->loop, &ho, err);
    if (!s->httpc) return err->code;
    s->jq = jq_pool_new(s->loop, &jo, err);
    return s->jq ? ERR_OK : err->code;
}

static enum err_code shell_make_worker(struct shell *s, struct err *err)
{
    const struct worker_ports ports = {.config = s->config,
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
                                       .intake = adapt_kafka_intake(&s->kafka),
                                       .replay = adapt_kafka_replay(&s->kafka),
                                       .http = httpc_port(s->httpc),
                                       .eval = jq_pool_port(s->jq),
                                       .provider_key = secrets_of,
                                       .provider_key_arg = s->secrets,
                                       .kick = shell_kick,
                                       .kick_arg = s->loop,
                                       .worker_name = view_of(s->name),
                                       .boot = view_of(s->boot)};

    s->worker = worker_new(&ports, err);
    return s->worker ? ERR_OK : err->code;
}

static enum err_code shell_begin(struct shell *s, struct err *err)
{
    const struct life_options lo = {.admin_listen = s->config->consumer.admin,
                                    .metrics = s->metrics,
                                    .is_ready = shell_is_ready,
                                    .before_metrics = shell_before_metrics,
                                    .on_request = shell_on_request,
                                    .arg = s};
    const struct install_options io = {.loop = s->loop,
                                       .log = s->log,
                                       .config = s->config,
                                       .topics = &s->topics,
                                       .warm = s->producer,
                                       .done = shell_on_installed,
                                       .arg = s};

    s->life = life_new(s->loop, s->log, &lo, err);
    if (!s->life) return err->code;
    s->install = install_new(&io, err);
    if (!s->install) return err->code;
    loop_on_signal(s->loop, SIGTERM, shell_on_signal, s);
    loop_on_signal(s->loop, SIGINT, shell_on_signal, s);
    loop_after_turn(s->loop, shell_turn, s);
    log_event(s->log, LOG_INFO, VIEW_NONE, "started", LOG_S("worker", s->name), LOG_S("boot", s->boot),
              LOG_S("build", s->config->consumer.build), LOG_N("admin_port", life_port(s->life)),
              LOG_N("workflows", workflows_count(s->workflows)), LOG_S("version", SLUICE_VERSION));
    return ERR_OK;
}

/* --- ending -------------------------------------------------------------------------------------------------------------- */
static void shell_fini(struct shell *s)
{
    worker_free(s->worker);
    install_free(s->install);
    if (s->life) life_free(s->life);
    if (s->kafka.consumer) kafka_consumer_free(s->kafka.consumer);
    if (s->producer) kafka_producer_close(s->producer, 0, NULL, NULL);
    jq_pool_free(s->jq);
    if (s->httpc) httpc_free(s->httpc);
    if (s->fn) fn_free(s->fn);
    if (s->commands) redis_conn_free(s->commands);
    if (s->doorbell) redis_conn_free(s->doorbell);
    secrets_free(s->secrets);
    workflows_free(s->workflows);
    free(s->settings);
    metrics_free(s->metrics);
    log_free(s->log);
    if (s->loop) loop_free(s->loop);
}

enum err_code shell_run(const struct config *config, struct err *err)
{
    static enum err_code (*const steps[])(struct shell *, struct err *) = {
        shell_open_loop, shell_open_redis, shell_open_kafka, shell_open_calls, shell_make_worker, shell_begin};
    struct shell s = {.config = config};
    enum err_code rc = ERR_OK;

    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && rc == ERR_OK; i++) rc = steps[i](&s, err);
    if (rc == ERR_OK) {
        loop_run(s.loop);
        rc = s.failure.code;
        if (rc != ERR_OK) *err = s.failure;
    }
    shell_fini(&s);
    return rc;
}

int shell_check(const struct config *config)
{
    struct workflows *ws = NULL;
    struct err err = {.code = ERR_OK};

    if (shell_read_workflows(config, &ws, &err) != ERR_OK) {
        fprintf(stderr, "consumer: %s\n", err.text);
        return 1;
    }
    printf("ok: %zu workflows\n", workflows_count(ws));
    workflows_free(ws);
    return 0;
}
