/* One installation: its servers and what its configuration says. Times are short, so that a minute of virtual time sees many of
 * every kind of waiting. */
#include "tests/sim/plant.h"

#include "common/base/hash.h"
#include <assert.h>
#include <stdarg.h>

const char *const plant_tenants[PLANT_TENANTS] = {"acme", "bolt", "core"};
const char *const plant_keys[PLANT_TENANTS] = {"key-of-acme-0001", "key-of-bolt-0002", "key-of-core-0003"};

static void put_tenants(struct buf *out)
{
    buf_put_str(out, "tenants:\n");
    for (size_t i = 0; i < PLANT_TENANTS; i++) {
        unsigned char sum[SHA256_BYTES];
        char hex[2 * SHA256_BYTES + 1];

        hash_sha256(view_of(plant_keys[i]), sum);
        hash_hex(sum, sizeof sum, hex);
        buf_printf(out, "  - {id: %s, keys: [{sha256: \"%s\", scopes: [submit, read]}], weight: %zu, max_queued: 1000}\n",
                   plant_tenants[i], hex, i + 1);
    }
}

static void put_config(struct buf *out, const struct plant_options *o)
{
    buf_printf(out, "kafka: {topic_prefix: \"sim.\", partitions: %d, replication_factor: 1, session_timeout: %dms, message_timeout: %dms}\n", (int)o->partitions,
               PLANT_SESSION_MS, PLANT_MESSAGE_MS);
    buf_printf(out, "gateway: {heartbeat: %lldms, retry: 100ms, watcher_bytes_max: 4096}\n", (long long)o->heartbeat_ms);
    buf_printf(out, "consumer: {lease_ttl: %dms, drain_timeout: 5s, max_attempts: 3, max_jobs: %lld, window: %lld}\n", PLANT_LEASE_MS,
               (long long)o->max_jobs, (long long)(o->window ? o->window : 1000));
    buf_printf(out, "keys: [{match: \"one:*\", concurrency: %d}, {match: \"two:*\", concurrency: %d, per_minute: 120}]\n", PLANT_KEY_ONE,
               PLANT_KEY_TWO);
    buf_printf(out, "retention: {results: 7d, events: %lldms}\n", (long long)(o->events_ms ? o->events_ms : 24 * 3600 * 1000));
    buf_put_str(out, "providers: {main: {kind: openai, base_url: \"http://provider.example/v1\"}}\n");
    char rate[64] = "";

    if (o->requests_per_minute) snprintf(rate, sizeof rate, "requests_per_minute: %lld", (long long)o->requests_per_minute);
    buf_put_str(out, "models:\n");
    for (int i = 0; i < 2; i++)
        buf_printf(out,
                   "  %s: {route: [{provider: main, model: m-%d}], budget: {%s%slearn: %s}, price: {input_per_million: 1.0, "
                   "output_per_million: 2.0}}\n",
                   i ? "smart" : "fast", i, rate, o->requests_per_minute ? ", " : "", o->learns ? "true" : "false");
    put_tenants(out);
}

static struct config *read_config(const struct plant_options *o)
{
    struct buf text, errors;
    struct config *c = NULL;
    struct err err;

    buf_init(&text, 1 << 16);
    buf_init(&errors, 1 << 16);
    put_config(&text, o);
    const struct config_input in = {.text = buf_view(&text), .name = "sim.yaml", .dir = "/", .cwd = "/", .worker_name = "w"};
    if (config_build(&in, &c, &errors, &err) != ERR_OK) {
        fprintf(stderr, "%.*s%s\n", (int)errors.len, errors.data ? errors.data : "", err.text);
        abort();
    }
    buf_fini(&text);
    buf_fini(&errors);
    return c;
}

struct workflows *plant_read_workflows(void)
{
    struct workflows *ws = NULL;
    struct buf errors;
    struct err err;

    buf_init(&errors, 1 << 16);
    if (workflows_load_dir("tests/sim/workflows", &ws, &errors, &err) != ERR_OK) {
        fprintf(stderr, "%.*s%s\n", (int)errors.len, errors.data ? errors.data : "", err.text);
        abort();
    }
    buf_fini(&errors);
    return ws;
}

void plant_init(struct plant *p, const struct plant_options *o)
{
    memset(p, 0, sizeof *p);
    p->world = world_new(o->seed, o->trace);
    p->config = read_config(o);
    p->workflows = o->workflows;
    if (!topics_init(&p->topics, "sim.")) abort();
    p->kafka = model_kafka_new(p->world, &p->topics, o->partitions);
    model_kafka_set_timeouts(p->kafka, PLANT_MESSAGE_MS, PLANT_SESSION_MS);
    p->redis = model_redis_new(p->world);
    p->provider = model_provider_new(p->world);
}

void plant_fini(struct plant *p)
{
    world_free(p->world); /* drops what is on its way; the servers must still be there */
    model_provider_free(p->provider);
    model_redis_free(p->redis);
    model_kafka_free(p->kafka);
    config_free(p->config);
}

void plant_blame(struct plant *p, const char *fmt, ...)
{
    va_list ap;

    if (p->fault_count < PLANT_FAULTS_MAX) {
        va_start(ap, fmt);
        vsnprintf(p->faults[p->fault_count], sizeof p->faults[0], fmt, ap);
        va_end(ap);
        world_trace(p->world, "BROKEN %s", p->faults[p->fault_count]);
    }
    p->fault_count++;
}

void plant_log_line(void *proc, struct view line)
{
    struct proc *p = proc;
    struct view text = view_trim(line);

    world_trace(proc_world(p), "%s says %.*s", proc_name(p), (int)text.len, text.ptr);
}
