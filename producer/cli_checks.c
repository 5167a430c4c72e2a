/* Judgements.
 *
 * A failure is what keeps jobs from running or lets them be lost; a warning is what an operator
 * should know and may have chosen. Every one says what to do, with the name of the setting. */
#include "producer/cli_checks.h"

#include "producer/cli_json.h"
#include "producer/cli_problem.h"
#include "producer/cli_text.h"

enum {
    CLOCK_WARN_MS = 500,
    CLOCK_FAIL_MS = 5000,
    NODE_BYTES = 1024,
    REDIS_MAJOR_MIN = 7,
};

/* --- kafka --- */

static void check_topics(struct cli_report *r, const struct config *c,
                         const struct kafka_look *look)
{
    size_t missing = 0, wrong = 0, leaderless = 0;

    for (size_t i = 0; i < look->topic_count; i++) {
        const struct kafka_look_topic *k = &look->topics[i];
        int64_t wanted = topic_policy((enum topic)i).one_partition ? 1 : c->kafka.partitions;

        missing += k->partitions == 0;
        leaderless += k->leaderless > 0;
        if (k->partitions == 0 || k->partitions == wanted) continue;
        wrong++;
        cli_report_put(r, CLI_FAIL, "topics",
                       "kafka.partitions is fixed for the life of an installation: set it to what "
                       "the topics have, or "
                       "choose another kafka.topic_prefix",
                       "%s has %d partitions, not %lld", k->name, k->partitions, (long long)wanted);
    }
    if (leaderless > 0)
        cli_report_put(r, CLI_FAIL, "topics", "look at the brokers: some are down",
                       "%zu topics have partitions without a leader", leaderless);
    if (missing == look->topic_count)
        cli_report_put(r, CLI_WARN, "topics",
                       "they are made when the first gateway or consumer starts",
                       "none is there yet (prefix %s)", c->kafka.topic_prefix);
    else if (missing > 0)
        cli_report_put(r, CLI_WARN, "topics", "the next start of a gateway or consumer makes them",
                       "%zu of %zu are missing", missing, look->topic_count);
    else if (wrong == 0 && leaderless == 0)
        cli_report_put(r, CLI_OK, "topics", NULL, "%zu, with %lld partitions (prefix %s)",
                       look->topic_count, (long long)c->kafka.partitions, c->kafka.topic_prefix);
}

static void check_replicas(struct cli_report *r, const struct config *c,
                           const struct kafka_look *look)
{
    const struct kafka_look_topic *state = &look->topics[TOPIC_STATE];

    if (c->kafka.replication_factor > look->brokers)
        cli_report_put(
            r, CLI_FAIL, "replicas",
            "start more brokers, or lower kafka.replication_factor before the first start",
            "kafka.replication_factor is %lld, but there are %d brokers",
            (long long)c->kafka.replication_factor, look->brokers);
    else if (state->partitions > 0 && state->replicas < c->kafka.replication_factor)
        cli_report_put(
            r, CLI_WARN, "replicas",
            "topics keep what they were made with: add replicas with kafka-reassign-partitions",
            "topics have %d replicas, kafka.replication_factor says %lld", state->replicas,
            (long long)c->kafka.replication_factor);
    else if (c->kafka.replication_factor < 3)
        cli_report_put(r, CLI_WARN, "replicas",
                       "with three brokers set kafka.replication_factor: 3; fine on one machine",
                       "%lld: a lost disk is a lost queue", (long long)c->kafka.replication_factor);
    else
        cli_report_put(r, CLI_OK, "replicas", NULL, "%lld", (long long)c->kafka.replication_factor);
}

static void check_group(struct cli_report *r, const struct config *c, const struct kafka_look *look)
{
    if (!look->is_known)
        cli_report_put(r, CLI_WARN, "workers",
                       "allow this client to describe groups, or look at the consumers' /readyz",
                       "the group cannot be asked: %s", look->reason);
    else if (look->members == 0)
        cli_report_put(r, CLI_WARN, "workers",
                       "start a consumer: until then jobs are accepted and wait",
                       "none in group %sworkers (%s)", c->kafka.topic_prefix, look->state);
    else if (look->owned < (size_t)c->kafka.partitions)
        cli_report_put(r, CLI_WARN, "workers", "if it stays so, look at the consumers' logs",
                       "%zu, holding %zu of %lld homes (%s): a rebalance is under way",
                       look->members, look->owned, (long long)c->kafka.partitions, look->state);
    else
        cli_report_put(r, CLI_OK, "workers", NULL, "%zu, holding all %lld homes", look->members,
                       (long long)c->kafka.partitions);
}

void cli_check_kafka(struct cli_report *r, const struct config *c, const struct err *e,
                     const struct kafka_look *look)
{
    if (e) {
        cli_report_put(r, CLI_FAIL, "kafka",
                       "check kafka.brokers and kafka.security, and that the brokers run", "%s: %s",
                       c->kafka.brokers, e->text);
        return;
    }
    cli_report_put(r, CLI_OK, "kafka", NULL, "%s: %d broker%s", c->kafka.brokers, look->brokers,
                   look->brokers == 1 ? "" : "s");
    check_topics(r, c, look);
    check_replicas(r, c, look);
    check_group(r, c, look);
}

/* --- redis --- */

/* The value of a line `name:value` of INFO; VIEW_NONE: not there. */
static struct view check_info(struct view info, const char *name)
{
    struct view line, key, value;

    while (view_cut(info, '\n', &line, &info))
        if (view_cut(line, ':', &key, &value) && view_eq_str(key, name)) return view_trim(value);
    return VIEW_NONE;
}

static void check_version(struct cli_report *r, struct view info)
{
    struct view version = check_info(info, "redis_version"), major, rest;
    uint64_t n = 0;
    bool is_known = view_cut(version, '.', &major, &rest) && view_u64(major, &n);

    if (is_known && n >= REDIS_MAJOR_MIN)
        cli_report_put(r, CLI_OK, "redis", NULL, "version %.*s", (int)version.len, version.ptr);
    else
        cli_report_put(r, CLI_FAIL, "redis", "functions are needed: use Redis 7 or newer",
                       "version %.*s", is_known ? (int)version.len : 7,
                       is_known ? version.ptr : "unknown");
    if (!view_eq_str(check_info(info, "role"), "master"))
        cli_report_put(r, CLI_FAIL, "redis", "redis.url must name the primary",
                       "this server is a replica");
    if (view_eq_str(check_info(info, "loading"), "1"))
        cli_report_put(r, CLI_WARN, "redis", "wait until it has read its data", "it is loading");
}

static void check_persistence(struct cli_report *r, struct view info)
{
    if (view_eq_str(check_info(info, "aof_enabled"), "0"))
        cli_report_put(r, CLI_WARN, "redis", "set appendonly yes and appendfsync everysec",
                       "no append-only file: after a restart the view is rebuilt from Kafka, text "
                       "of running streams is lost");
    else if (view_eq_str(check_info(info, "aof_last_write_status"), "err"))
        cli_report_put(r, CLI_FAIL, "redis", "is its disk full?",
                       "the append-only file cannot be written");
    else
        cli_report_put(r, CLI_OK, "redis", NULL, "append-only file is on");
}

static void check_eviction(struct cli_report *r, struct view info)
{
    struct view policy = check_info(info, "maxmemory_policy");
    uint64_t max = 0;

    (void)view_u64(check_info(info, "maxmemory"), &max);
    if (view_eq_str(policy, "noeviction"))
        cli_report_put(r, CLI_OK, "redis", NULL, "maxmemory-policy noeviction");
    else
        cli_report_put(
            r, max > 0 ? CLI_FAIL : CLI_WARN, "redis", "set maxmemory-policy noeviction",
            "maxmemory-policy %.*s: streams and leases would be thrown away when memory is short",
            (int)policy.len, policy.ptr ? policy.ptr : "");
}

void cli_check_redis_info(struct cli_report *r, struct view info)
{
    if (!info.ptr) {
        cli_report_put(r, CLI_WARN, "redis", "allow INFO to this user",
                       "INFO is refused: version and persistence are unknown");
        return;
    }
    check_version(r, info);
    check_persistence(r, info);
    check_eviction(r, info);
}

void cli_check_redis_nodes(struct cli_report *r, const struct reply *reply)
{
    int64_t bytes = reply_int(reply_at(reply, 1), -1);

    if (bytes < 0)
        cli_report_put(r, CLI_WARN, "redis", "have stream-node-max-bytes set to 1024",
                       "CONFIG GET is refused: stream-node-max-bytes is unknown");
    else if (bytes == NODE_BYTES)
        cli_report_put(r, CLI_OK, "redis", NULL, "stream-node-max-bytes %lld", (long long)bytes);
    else
        cli_report_put(r, CLI_WARN, "redis", "set stream-node-max-bytes 1024",
                       "stream-node-max-bytes %lld: watching costs more", (long long)bytes);
}

void cli_check_clock(struct cli_report *r, const struct reply *reply, int64_t sent_ms,
                     int64_t got_ms)
{
    int64_t s = reply_int(reply_at(reply, 0), -1), us = reply_int(reply_at(reply, 1), 0);
    int64_t ahead_ms = sent_ms + (got_ms - sent_ms) / 2 - (s * 1000 + us / 1000);
    int64_t off_ms = ahead_ms < 0 ? -ahead_ms : ahead_ms;
    char text[CLI_DURATION_TEXT];

    if (s < 0) {
        cli_report_put(r, CLI_WARN, "clock", "allow TIME to this user", "Redis' clock is unknown");
        return;
    }
    cli_text_duration(off_ms, text);
    const char *side = ahead_ms < 0 ? "behind" : "ahead of";
    if (off_ms <= CLOCK_WARN_MS)
        cli_report_put(r, CLI_OK, "clock", NULL, "%s %s Redis'", text, side);
    else
        cli_report_put(
            r, off_ms > CLOCK_FAIL_MS ? CLI_FAIL : CLI_WARN, "clock",
            "run a time service on both machines: deadlines and times of events hang on it",
            "this machine's is %s %s Redis'", text, side);
}

/* --- configuration --- */

static bool check_is_used(const struct config *c, const char *provider)
{
    for (size_t i = 0; i < c->model_count; i++)
        for (size_t k = 0; k < c->models[i].route_count; k++)
            if (strcmp(c->models[i].routes[k].provider, provider) == 0) return true;
    return false;
}

/* A pool's keys are told by provider/name, a single one by the provider. */
static void check_provider_key(struct cli_report *r, const char *provider,
                               const struct config_provider_key *k,
                               const struct cli_secrets *secrets)
{
    char who[2 * CONFIG_NAME_MAX + 8];
    bool is_single = strcmp(k->name, "default") == 0;

    snprintf(who, sizeof who, "%s%s%s", provider, is_single ? "" : "/", is_single ? "" : k->name);
    if (k->env && secrets->has_variable(secrets->arg, k->env))
        cli_report_put(r, CLI_OK, "provider", NULL, "%s: key in %s", who, k->env);
    else if (k->env)
        cli_report_put(r, CLI_WARN, "provider", "consumers need it: set it where they run",
                       "%s: %s is not set here", who, k->env);
    else if (secrets->can_read(secrets->arg, k->file))
        cli_report_put(r, CLI_OK, "provider", NULL, "%s: key in %s", who, k->file);
    else
        cli_report_put(r, CLI_FAIL, "provider", "consumers need it: check the path and its rights",
                       "%s: cannot read %s", who, k->file);
}

static void check_provider(struct cli_report *r, const struct config *c,
                           const struct config_provider *p, const struct cli_secrets *secrets)
{
    if (!check_is_used(c, p->name)) {
        cli_report_put(r, CLI_WARN, "provider", "name it in the route of a model, or remove it",
                       "%s is used by no model", p->name);
        return;
    }
    if (p->key_count == 0)
        cli_report_put(r, CLI_OK, "provider", NULL, "%s: without a key", p->name);
    for (size_t i = 0; i < p->key_count; i++) check_provider_key(r, p->name, &p->keys[i], secrets);
}

void cli_check_providers(struct cli_report *r, const struct config *c,
                         const struct cli_secrets *secrets)
{
    if (c->model_count == 0)
        cli_report_put(r, CLI_WARN, "models", "add models and providers to sluice.yaml",
                       "none: steps that call a model will fail");
    for (size_t i = 0; i < c->provider_count; i++) check_provider(r, c, &c->providers[i], secrets);
}

void cli_check_tenants(struct cli_report *r, const struct config *c)
{
    size_t keys = 0;

    for (size_t i = 0; i < c->tenant_count; i++) keys += c->tenants[i].key_count;
    if (keys == 0)
        cli_report_put(r, CLI_WARN, "tenants", "make one with sluice key new --tenant NAME",
                       "%zu, without a key: nobody can submit", c->tenant_count);
    else
        cli_report_put(r, CLI_OK, "tenants", NULL, "%zu, with %zu keys", c->tenant_count, keys);
}

/* --- gateway --- */

void cli_check_ready(struct cli_report *r, const struct cli_heard *h)
{
    struct view why = view_trim(h->body);

    if (h->e)
        cli_report_put(r, CLI_FAIL, "gateway",
                       "start it, or set SLUICE_ADMIN_URL to its admin port", "%s: %s", h->url,
                       cli_reason(h->e->text));
    else if (h->status == 200)
        cli_report_put(r, CLI_OK, "gateway", NULL, "%s: ready", h->url);
    else if (h->status == 404)
        cli_report_put(r, CLI_FAIL, "gateway",
                       "SLUICE_ADMIN_URL must name the admin port (gateway.admin)",
                       "%s: no /readyz there", h->url);
    else
        cli_report_put(r, CLI_FAIL, "gateway", "it says what it waits for; its log says more",
                       "%s: not ready (%d) %.*s", h->url, h->status,
                       (int)(why.len < 200 ? why.len : 200), why.ptr ? why.ptr : "");
}

/* Whatever else was answered: with the gateway's own sentence, when it is one. */
static void check_refusal(struct cli_report *r, const struct cli_heard *h)
{
    bool passes = cli_problem_is_passing(h->status);
    bool is_json = h->body.len > 0 && json_check(h->body, cli_json_answer_limits(), NULL) == ERR_OK;
    char detail[256] = "";

    if (is_json) cli_json_text(h->body, "detail", detail, sizeof detail);
    cli_report_put(r, passes ? CLI_WARN : CLI_FAIL, "api",
                   passes ? "if it stays so, the lines above and the gateway's log say why"
                          : "is it a gateway? its log says more",
                   "%s: status %d%s%s", h->url, h->status, detail[0] ? ": " : "", detail);
}

void cli_check_api(struct cli_report *r, const struct cli_heard *h)
{
    if (h->e)
        cli_report_put(r, CLI_FAIL, "api", "start the gateway, or correct SLUICE_URL", "%s: %s",
                       h->url, cli_reason(h->e->text));
    else if (h->status == 200)
        cli_report_put(r, CLI_OK, "api", NULL, "%s: the key is good", h->url);
    else if (h->status == 401 && !h->has_key)
        cli_report_put(r, CLI_OK, "api", NULL, "%s answers (no SLUICE_KEY to try)", h->url);
    else if (h->status == 401)
        cli_report_put(r, CLI_FAIL, "api",
                       "put the key's SHA-256 under tenants (sluice key new), SIGHUP the gateways",
                       "%s: the key is not known", h->url);
    else if (h->status == 403)
        cli_report_put(r, CLI_WARN, "api", "reading needs the scope read",
                       "%s: the key may not read", h->url);
    else
        check_refusal(r, h);
}
