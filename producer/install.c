/* The topics of an installation, made if they are missing.
 *
 * Hard: gateway and consumers start in any order, with Kafka not yet there, and an attempt under
 * way cannot be called back. Chosen: one attempt at a time; a free while one is under way only
 * marks it, and the attempt's end frees it. */
#include "producer/install.h"

enum { RETRY_MS = 1000, SETTINGS_PER_TOPIC = 4 };

struct install {
    struct install_options options;
    struct kafka_setting *common;
    struct kafka_topic_spec specs[TOPIC_COUNT];
    struct kafka_setting settings[TOPIC_COUNT][SETTINGS_PER_TOPIC];
    char numbers[TOPIC_COUNT][2][24];
    struct timer retry;
    bool trying, done, told_away, freed;
};

struct kafka_options install_kafka_options(const struct config *config, const char *client_id,
                                           struct kafka_setting *settings)
{
    for (size_t i = 0; i < config->kafka.setting_count; i++)
        settings[i] =
            (struct kafka_setting){config->kafka.settings[i].name, config->kafka.settings[i].value};
    return (struct kafka_options){.brokers = config->kafka.brokers,
                                  .client_id = client_id,
                                  .settings = settings,
                                  .setting_count = config->kafka.setting_count};
}

static void describe(struct install *i, enum topic t)
{
    const struct topic_policy policy = topic_policy(t);
    struct kafka_setting *s = i->settings[t];
    size_t n = 0;

    s[n++] = (struct kafka_setting){"cleanup.policy", policy.cleanup};
    if (policy.retention_ms > 0) {
        snprintf(i->numbers[t][0], sizeof i->numbers[t][0], "%lld", (long long)policy.retention_ms);
        s[n++] = (struct kafka_setting){"retention.ms", i->numbers[t][0]};
    }
    s[n++] = (struct kafka_setting){"retention.bytes", "-1"};
    if (i->options.config->kafka.replication_factor >= 3)
        s[n++] = (struct kafka_setting){"min.insync.replicas", "2"};
    i->specs[t] = (struct kafka_topic_spec){
        .name = i->options.topics->names[t],
        .partitions = policy.one_partition ? 1 : (int)i->options.config->kafka.partitions,
        .replication = (int)i->options.config->kafka.replication_factor,
        .settings = s,
        .setting_count = n};
}

static void release(struct install *i)
{
    free(i->common);
    free(i);
}

static void attempt(void *arg);

static void attempt_done(void *arg, const struct err *e)
{
    struct install *i = arg;
    const struct clock *clock = loop_clock(i->options.loop);

    i->trying = false;
    if (i->freed) {
        release(i);
        return;
    }
    if (!e || e->code == ERR_CONFLICT) {
        i->done = !e;
        if (e)
            log_event(i->options.log, LOG_ERROR, VIEW_NONE, "topics_mismatch",
                      LOG_S("error", e->text));
        i->options.done(i->options.arg, e);
        return;
    }
    if (!i->told_away)
        log_event(i->options.log, LOG_WARN, VIEW_NONE, "waiting_for_kafka",
                  LOG_S("error", e->text));
    i->told_away = true;
    timerq_set(loop_timers(i->options.loop), &i->retry, clock->mono_ms + RETRY_MS, attempt, i);
}

static void attempt(void *arg)
{
    struct install *i = arg;
    const struct kafka_options o =
        install_kafka_options(i->options.config, "sluice-install", i->common);

    i->trying = true;
    kafka_topics_ensure(i->options.loop, &o, i->specs, TOPIC_COUNT, i->options.warm, attempt_done,
                        i);
}

struct install *install_new(const struct install_options *o, struct err *err)
{
    struct install *i = calloc(1, sizeof *i);

    if (i) i->common = calloc(o->config->kafka.setting_count + 1, sizeof *i->common);
    if (!i || !i->common) {
        free(i);
        (void)err_set(err, ERR_NOMEM, "no memory for the topics");
        return NULL;
    }
    i->options = *o;
    for (int t = 0; t < TOPIC_COUNT; t++) describe(i, (enum topic)t);
    attempt(i);
    return i;
}

void install_free(struct install *i)
{
    if (!i) return;
    timerq_cancel(loop_timers(i->options.loop), &i->retry);
    i->freed = true;
    if (!i->trying) release(i);
}

bool install_is_done(const struct install *i)
{
    return i->done;
}
