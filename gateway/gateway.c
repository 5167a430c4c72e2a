/* Building, running and stopping a gateway.
 *
 * What is hard:
 * - Any order of starting. Kafka or Redis may be away for hours: the process is up, says on /readyz
 * what it waits for, answers 503, and goes on trying. Only what no waiting can mend (configuration,
 * topics of another shape, an address in use) ends it.
 * - Ending without a lie. On SIGTERM the listener closes, streams end between two events with a
 * `retry:`, submissions that Kafka has not yet acknowledged are waited for, and only then the
 * producer is flushed and the rest is torn down in the reverse of its order of building.
 * - Callbacks into freed parts. fn is freed first (its calls in flight are dropped), then the
 * connections (they answer everybody that is still waiting), and only then the parts that those
 * answers go to. */
#include "gateway/gateway_priv.h"
#include "producer/program.h"

#include <assert.h>
#include <signal.h>

enum {
    GATEWAY_TICK_MS = 1000,
    GATEWAY_STOP_TICK_MS = 20,
    GATEWAY_STOP_MS = 10000,
    GATEWAY_REDIS_TIMEOUT_MS = 5000,
    GATEWAY_REDIS_PENDING_MAX = 200000,
    GATEWAY_REDIS_OUTPUT_MAX = 64 << 20,
    GATEWAY_KAFKA_MESSAGES_MAX = 100000,
    GATEWAY_KAFKA_KBYTES_MAX = 256 << 10,
    GATEWAY_UNDER_WAY_MAX = 50000,
    GATEWAY_BODIES_MAX = 256 << 20,
    GATEWAY_FOLDS_MAX = 16,
    GATEWAY_FOLDS_WAITING_MAX = 20000,
    GATEWAY_HISTORY_MAX = 128 << 20,
    GATEWAY_SCRATCH_MAX = 16 << 20,
    GATEWAY_HEAD_TIMEOUT_MS = 10000,
    GATEWAY_BODY_TIMEOUT_MS = 30000,
    GATEWAY_IDLE_TIMEOUT_MS = 75000
};

/* --- readiness --- */

static bool gateway_is_ready(void *arg, struct buf *reason)
{
    const struct gateway *g = arg;
    bool is_redis_up = g->s.reads.is_up(g->s.reads.self) && g->s.boot[0];
    if (g->s.is_stopping)
        buf_put_str(reason, "stopping");
    else if (!g->s.is_kafka_ready)
        buf_put_str(reason, "waiting for Kafka and its topics");
    else if (!producer_is_well(g->s.producer))
        buf_put_str(reason, "Kafka does not acknowledge records");
    else if (!g->s.has_met_redis)
        buf_put_str(reason, "waiting for Redis");
    else {
        if (!is_redis_up)
            buf_put_str(reason,
                        "Redis is away: jobs without a key are accepted, nothing can be read");
        return true;
    }
    return false;
}

/* --- Redis --- */

static void gateway_on_redis(void *arg, bool is_up)
{
    struct gateway *g = arg;
    service_link(&g->s, is_up);
}

static enum err_code gateway_open_redis(struct gateway *g, struct err *err)
{
    struct redis_options o = {.url = g->config->redis_url,
                              .timeout_ms = GATEWAY_REDIS_TIMEOUT_MS,
                              .pending_max = GATEWAY_REDIS_PENDING_MAX,
                              .output_max = GATEWAY_REDIS_OUTPUT_MAX,
                              .arg = g};
    o.name = "commands";
    o.on_state = gateway_on_redis;
    g->commands = redis_conn_new(g->loop, g->log, &o, err);
    if (!g->commands) return err->code;
    o.name = "reads";
    o.on_state = NULL;
    g->reads = redis_conn_new(g->loop, g->log, &o, err);
    if (!g->reads) return err->code;
    o.name = "doorbells";
    g->doorbells = redis_conn_new(g->loop, g->log, &o, err);
    return g->doorbells ? ERR_OK : err->code;
}

/* --- Kafka --- */

static void gateway_on_installed(void *arg, const struct err *e)
{
    struct gateway *g = arg;
    if (!e) {
        g->s.is_kafka_ready = true;
        producer_trust(g->s.producer);
        log_event(g->log, LOG_INFO, VIEW_NONE, "kafka_ready");
        return;
    }
    g->failure = *e; /* no waiting mends it */
    loop_stop(g->loop);
}

static enum err_code gateway_look_for_kafka(struct gateway *g, struct err *err)
{
    const struct install_options o = {.loop = g->loop,
                                      .log = g->log,
                                      .config = g->config,
                                      .topics = &g->s.topics,
                                      .warm = g->kafka,
                                      .done = gateway_on_installed,
                                      .arg = g};
    install_free(g->install);
    g->install = install_new(&o, err);
    return g->install ? ERR_OK : err->code;
}

static enum err_code gateway_open_kafka(struct gateway *g, struct err *err)
{
    const struct config *c = g->config;
    g->kafka_settings = calloc(c->kafka.setting_count + 1, sizeof *g->kafka_settings);
    if (!g->kafka_settings) return err_set(err, ERR_NOMEM, "out of memory");
    g->kafka_options = install_kafka_options(c, "sluice-gateway", g->kafka_settings);
    const struct kafka_producer_options o = {.common = g->kafka_options,
                                             .linger_ms = c->kafka.linger_ms,
                                             .message_timeout_ms = c->kafka.message_timeout_ms,
                                             .queue_messages_max = GATEWAY_KAFKA_MESSAGES_MAX,
                                             .queue_kbytes_max = GATEWAY_KAFKA_KBYTES_MAX};
    g->kafka = kafka_producer_new(g->loop, g->log, &o, err);
    return g->kafka ? ERR_OK : err->code;
}

/* --- the parts between --- */

static enum err_code gateway_make_parts(struct gateway *g, struct service_options *o,
                                        struct err *err)
{
    o->commands = redis_conn_port(g->commands);
    o->reads = redis_conn_port(g->reads);
    o->doorbells = redis_conn_sub_port(g->doorbells);
    o->kafka = kafka_producer_port(g->kafka);
    o->kafka_options = &g->kafka_options;
    return service_open(&g->s, o, err);
}

static enum err_code gateway_listen(struct gateway *g, struct err *err)
{
    const struct config *c = g->config;
    const struct httpd_options ho = {.listen = c->gateway.listen,
                                     .reuse_port = c->gateway.reuse_port,
                                     .connections_max = (size_t)c->gateway.connections_max,
                                     .head_max = (size_t)c->gateway.head_max,
                                     .body_max = (size_t)c->gateway.body_max,
                                     .body_total_max = GATEWAY_BODIES_MAX,
                                     .head_timeout_ms = GATEWAY_HEAD_TIMEOUT_MS,
                                     .body_timeout_ms = GATEWAY_BODY_TIMEOUT_MS,
                                     .idle_timeout_ms = GATEWAY_IDLE_TIMEOUT_MS,
                                     .on_request = exchange_on_request,
                                     .on_refuse = exchange_on_refuse,
                                     .arg = &g->s};
    const struct life_options lo = {.admin_listen = c->gateway.admin,
                                    .metrics = g->metrics,
                                    .is_ready = gateway_is_ready,
                                    .before_metrics = gateway_before_metrics,
                                    .arg = g};
    g->life = life_new(g->loop, g->log, &lo, err);
    if (!g->life) return err->code;
    g->httpd = httpd_new(g->loop, g->log, &ho, err);
    if (!g->httpd) return err->code;
    log_event(g->log, LOG_INFO, VIEW_NONE, "listening", LOG_N("port", httpd_port(g->httpd)),
              LOG_N("admin_port", life_port(g->life)),
              LOG_N("workflows", workflows_count(g->s.workflows)),
              LOG_N("tenants", c->tenant_count), LOG_S("version", SLUICE_VERSION));
    return ERR_OK;
}

/* --- time, and the end --- */

static void gateway_tick_at(struct gateway *g, int64_t in_ms);

static void gateway_kafka_closed(void *arg)
{
    struct gateway *g = arg;
    g->kafka = NULL;
    loop_stop(g->loop);
}

static void gateway_close_kafka(struct gateway *g)
{
    if (g->is_closing_kafka) return;
    g->is_closing_kafka = true;
    httpd_free(g->httpd);
    g->httpd = NULL;
    submit_stop(g->s.submit);
    install_free(g->install);
    g->install = NULL;
    kafka_producer_close(g->kafka, g->config->kafka.message_timeout_ms, gateway_kafka_closed, g);
}

static void gateway_tick(void *arg)
{
    struct gateway *g = arg;
    struct err err;
    const struct service *s = &g->s;
    if (s->is_stopping) {
        if (!service_is_busy(s) || s->clock->mono_ms >= g->stop_ms)
            gateway_close_kafka(g);
        else
            gateway_tick_at(g, GATEWAY_STOP_TICK_MS);
        return;
    }
    service_tick(&g->s);
    bool is_looking = g->install && !install_is_done(g->install);
    if (!producer_is_well(s->producer) && !is_looking && gateway_look_for_kafka(g, &err) != ERR_OK)
        log_event(g->log, LOG_WARN, VIEW_NONE, "kafka_probe_failed", LOG_S("error", err.text));
    gateway_tick_at(g, GATEWAY_TICK_MS);
}

static void gateway_tick_at(struct gateway *g, int64_t in_ms)
{
    (void)timerq_set(g->s.timers, &g->tick, g->s.clock->mono_ms + in_ms, gateway_tick, g);
}

static void gateway_on_stop(void *arg, int signum)
{
    struct gateway *g = arg;
    if (g->s.is_stopping) {
        g->stop_ms = 0; /* asked twice: no more patience */
        return;
    }
    log_event(g->log, LOG_INFO, VIEW_NONE, "stopping", LOG_N("signal", signum),
              LOG_N("streams", tails_counts(g->s.tails).watchers));
    g->s.is_stopping = true;
    g->stop_ms = g->s.clock->mono_ms + GATEWAY_STOP_MS;
    httpd_stop_accepting(g->httpd);
    tails_wind_up(g->s.tails);
    gateway_tick_at(g, GATEWAY_STOP_TICK_MS);
}

/* --- one life --- */

static enum err_code gateway_begin(struct gateway *g, struct service_options *ret, struct err *err)
{
    const struct config *c = g->config;
    enum log_level level = LOG_INFO;
    g->loop = loop_new(err);
    if (!g->loop) return err->code;
    (void)log_level_parse(view_of(c->log.level), &level);
    g->log = log_new("gateway", level, loop_clock(g->loop), life_log_sink, NULL);
    if (!g->log) return err_set(err, ERR_NOMEM, "out of memory");
    *ret = (struct service_options){.config = c,
                                    .loop = g->loop,
                                    .log = g->log,
                                    .clock = loop_clock(g->loop),
                                    .timers = loop_timers(g->loop),
                                    .rng = loop_rng(g->loop),
                                    .under_way_max = GATEWAY_UNDER_WAY_MAX,
                                    .folds_max = GATEWAY_FOLDS_MAX,
                                    .folds_waiting_max = GATEWAY_FOLDS_WAITING_MAX,
                                    .watchers_max = (size_t)c->gateway.connections_max,
                                    .history_bytes_max = GATEWAY_HISTORY_MAX,
                                    .scratch_max = GATEWAY_SCRATCH_MAX};
    return service_begin(&g->s, ret, err);
}

static enum err_code gateway_build(struct gateway *g, struct err *err)
{
    struct service_options o;
    enum err_code code = gateway_begin(g, &o, err);
    if (code == ERR_OK) code = gateway_load(g, err);
    if (code == ERR_OK && !gateway_gauges(g)) code = err_set(err, ERR_NOMEM, "out of memory");
    if (code == ERR_OK) code = gateway_open_redis(g, err);
    if (code == ERR_OK) code = gateway_open_kafka(g, err);
    if (code == ERR_OK) code = gateway_make_parts(g, &o, err);
    if (code == ERR_OK) code = gateway_listen(g, err);
    if (code == ERR_OK) code = gateway_look_for_kafka(g, err);
    return code;
}

static void gateway_drop(struct gateway *g)
{
    struct service *s = &g->s;
    httpd_free(g->httpd);
    life_free(g->life);
    install_free(g->install);
    kafka_producer_close(g->kafka, 0, NULL, NULL);
    service_close_redis(s);
    redis_conn_free(g->commands);
    redis_conn_free(g->reads);
    redis_conn_free(g->doorbells);
    service_close(s);
    workflows_free(s->workflows);
    metrics_free(g->metrics);
    if (g->loop) timerq_cancel(s->timers, &g->tick);
    log_free(g->log);
    loop_free(g->loop);
    free(g->kafka_settings);
    config_free(g->config);
    config_free(g->reloaded);
    free(g);
}

enum err_code gateway_run(struct config *config, const struct gateway_options *o, struct err *err)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (!g) {
        config_free(config);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    g->config = config;
    g->o = *o;
    enum err_code code = gateway_build(g, err);
    if (code == ERR_OK) {
        loop_on_signal(g->loop, SIGTERM, gateway_on_stop, g);
        loop_on_signal(g->loop, SIGINT, gateway_on_stop, g);
        loop_on_signal(g->loop, SIGHUP, gateway_reload, g);
        gateway_tick_at(g, GATEWAY_TICK_MS);
        loop_run(g->loop);
        if (g->failure.code != ERR_OK) *err = g->failure;
        code = g->failure.code;
        log_event(g->log, LOG_INFO, VIEW_NONE, "stopped");
    }
    gateway_drop(g);
    return code;
}
