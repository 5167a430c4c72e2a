/* One world for pacing: what it is made of, and what its judges share. */
#include "tests/sim/pace_stage.h"

#include "common/base/hash.h"
#include "schemas/config.h"
#include <stdarg.h>

enum { FIRST_GAP = 1 << 30 };

struct pace_plan pace_plan_default(uint64_t seed)
{
    return (struct pace_plan){.seed = seed,
                              .workers = 4,
                              .tenants = 1,
                              .routes = 1,
                              .configured = {1, 1},
                              .learns = true,
                              .start = 60,
                              .input_mean = 500,
                              .output_mean = 100,
                              .took_mean_ms = 2000,
                              .backlog = 24,
                              .backlog_tenants = 1};
}

/* --- configuration ------------------------------------------------------------------------------------------------- */
static void put_budget(struct buf *out, const struct pace_plan *p, size_t route, size_t fleet)
{
    static const char *const names[PACE_DIM_COUNT] = {"requests_per_minute", "input_tokens_per_minute",
                                                      "output_tokens_per_minute", "tokens_per_minute"};
    const struct exact_options *x = &p->exact[route];

    buf_put_str(out, "budget: {");
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        int64_t n = (int64_t)((double)x->limits[d] * p->configured[fleet]);

        if (n > 0) buf_printf(out, "%s: %lld, ", names[d], (long long)n);
    }
    if (x->algorithm == EXACT_QUANTUM && p->configured[fleet] > 0) buf_printf(out, "quantum: %lldms, ", (long long)x->quantum_ms);
    if (p->concurrency) buf_printf(out, "concurrency: %lld, ", (long long)p->concurrency);
    if (p->requests_per_day) buf_printf(out, "requests_per_day: %lld, ", (long long)p->requests_per_day);
    if (p->spend_per_day_usd) buf_printf(out, "spend_per_day: %lld, ", (long long)p->spend_per_day_usd);
    buf_printf(out, "start: %lld, learn: %s}", (long long)p->start, p->learns ? "true" : "false");
}

static void put_tenants(struct buf *out, const struct pace_plan *p)
{
    buf_put_str(out, "tenants:\n");
    for (size_t i = 0; i < p->tenants; i++) {
        unsigned char sum[SHA256_BYTES];
        char name[32], hex[2 * SHA256_BYTES + 1];

        snprintf(name, sizeof name, "t%zu", i);
        hash_sha256(view_of(name), sum);
        hash_hex(sum, sizeof sum, hex);
        buf_printf(out, "  - {id: %s, keys: [{sha256: \"%s\", scopes: [submit]}], weight: 1", name, hex);
        if (i == 0 && p->tenant_tokens_per_day) buf_printf(out, ", tokens_per_day: %lld", (long long)p->tenant_tokens_per_day);
        if (i == 0 && p->tenant_spend_per_day_usd)
            buf_printf(out, ", spend_per_day: %lld", (long long)p->tenant_spend_per_day_usd);
        buf_put_str(out, "}\n");
    }
}

static void put_config(struct buf *out, const struct pace_plan *p, size_t fleet)
{
    static const char *const names[PACE_ROUTES_MAX] = {"main", "spare"};

    buf_put_str(out, "consumer: {max_calls: 2000}\nproviders:\n");
    for (size_t i = 0; i < p->routes; i++)
        buf_printf(out, "  %s: {kind: openai, base_url: \"http://%s.example/v1\"}\n", names[i], names[i]);
    buf_put_str(out, "models:\n  fast:\n    route:\n");
    for (size_t i = 0; i < p->routes; i++) {
        buf_printf(out, "      - {provider: %s, model: m, ", names[i]);
        if (p->context_tokens[i]) buf_printf(out, "context_tokens: %lld, ", (long long)p->context_tokens[i]);
        put_budget(out, p, i, fleet);
        buf_put_str(out, ", price: {input_per_million: 1000, output_per_million: 4000}}\n");
    }
    buf_printf(out, "    failover: [outage, exhausted%s]\n", p->failover_throttle ? ", throttle" : "");
    put_tenants(out, p);
}

static struct config *read_config(const struct pace_plan *p, size_t fleet)
{
    struct buf text, errors;
    struct config *c = NULL;
    struct err err;

    buf_init(&text, 1 << 16);
    buf_init(&errors, 1 << 16);
    put_config(&text, p, fleet);
    const struct config_input in = {
        .text = buf_view(&text), .name = "pacesim.yaml", .dir = "/", .cwd = "/", .worker_name = "w"};
    if (config_build(&in, &c, &errors, &err) != ERR_OK) {
        fprintf(stderr, "%.*s%s\n", (int)errors.len, errors.data ? errors.data : "", err.text);
        abort();
    }
    buf_fini(&text);
    buf_fini(&errors);
    return c;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */
static void tell_plan(const struct pace_stage *s)
{
    const struct pace_plan *p = &s->plan;

    world_trace(s->world, "%zu workers, %zu tenants; input %lld, output %lld (max %lld), %lld ms; backlog %lld; knows %.2f %.2f",
                p->workers, p->tenants, (long long)p->input_mean, (long long)p->output_mean, (long long)p->output_max,
                (long long)p->took_mean_ms, (long long)p->backlog, p->configured[0], p->configured[1]);
    for (size_t i = 0; i < p->routes; i++) {
        const struct exact_options *x = &p->exact[i];

        world_trace(s->world, "route %zu: algorithm %d, headers %d, requests %lld, input %lld, output %lld, tokens %lld", i,
                    (int)x->algorithm, (int)x->headers, (long long)x->limits[0], (long long)x->limits[1],
                    (long long)x->limits[2], (long long)x->limits[3]);
    }
}

/* What the budget thinks of itself: state, why, until, share, day; then of each dimension limit, configured, told, learnt,
 * used, strangers, available, next. */
static void tell_view(struct pace_stage *s)
{
    static const char *const argv[] = {"FCALL", "sluice_pace_v1_view", "4", "rl:{main/m/default}", "rl:{main/m/default}:s",
                                       "rl:{main/m/default}:f", "rl:{main/m/default}:w"};
    const struct reply *r = model_redis_ask(s->redis, argv, 7);
    char text[600];
    size_t n = 0;

    for (size_t i = 0; r->kind == REPLY_ARRAY && i < r->count && n + 24 < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld", i >= 17 && (i - 17) % 8 == 0 ? " | " : " ",
                              (long long)r->items[i].num);
    if (n) world_trace(s->world, "budget%s", text);
}

/* Every five seconds, while the world is told. */
static void tell_state(struct pace_stage *s)
{
    char text[160];
    size_t n = 0;

    for (size_t i = 0; i < s->plan.routes; i++)
        for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++)
            if (exact_limit(s->exacts[i], d) > 0 && n < sizeof text)
                n += (size_t)snprintf(text + n, sizeof text - n, " %.3f", exact_share(s->exacts[i], d));
    world_trace(s->world, "use of the minute%s; %zu granted, %zu refused, %zu failed, %zu trades", text, s->granted, s->refused,
                s->failed, s->trades);
    tell_view(s);
}

struct pace_stage *pace_stage_new(const struct pace_plan *plan)
{
    struct pace_stage *s = calloc(1, sizeof *s);

    must(s && plan->workers <= PACE_WORKERS_MAX && plan->routes <= PACE_ROUTES_MAX && plan->tenants <= PACE_TENANTS_MAX);
    s->plan = *plan;
    s->world = world_new(plan->seed, plan->trace);
    s->redis = model_redis_new(s->world);
    list_init(&s->lost);
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++) snprintf(s->tenant_names[i], sizeof s->tenant_names[i], "t%u", (unsigned)i);
    for (size_t i = 0; i < 2; i++) s->configs[i] = read_config(plan, i);
    for (size_t i = 0; i < plan->routes; i++) s->exacts[i] = exact_new(s->world, &plan->exact[i]);
    for (size_t i = 0; i < PACE_WORKERS_MAX; i++) s->workers[i] = (struct pace_worker){.stage = s, .index = i};
    pace_run(s, 1000 + pace_between(s, 0, 60000)); /* wherever in the provider's minute */
    pace_mark(s);
    tell_plan(s);
    return s;
}

void pace_stage_free(struct pace_stage *s)
{
    s->is_closing = true;
    for (size_t i = 0; i < PACE_WORKERS_MAX; i++) pace_worker_kill(s, i);
    world_free(s->world);
    while (list_first(&s->lost)) {
        struct pace_call *c = LIST_ITEM(list_first(&s->lost), struct pace_call, link);

        list_remove(&s->lost, &c->link);
        pace_call_unref(c);
    }
    model_redis_free(s->redis);
    for (size_t i = 0; i < PACE_ROUTES_MAX; i++) exact_free(s->exacts[i]);
    for (size_t i = 0; i < 2; i++) config_free(s->configs[i]);
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++) free(s->tenants[i].waits);
    free(s);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void pace_run(struct pace_stage *s, int64_t ms)
{
    int64_t end = pace_now(s) + ms;

    while (s->plan.trace && pace_now(s) + 5000 < end) { /* between events: a world that is told is the same world */
        (void)world_run(s->world, pace_now(s) + 5000, never, NULL);
        tell_state(s);
    }
    (void)world_run(s->world, end, never, NULL);
}

int64_t pace_now(const struct pace_stage *s)
{
    return world_now_ms(s->world);
}

int64_t pace_between(struct pace_stage *s, int64_t low, int64_t high)
{
    return low + (int64_t)rng_below(world_rng(s->world), (uint64_t)(high - low + 1));
}

void pace_mark(struct pace_stage *s)
{
    for (size_t i = 0; i < s->plan.routes; i++) exact_mark(s->exacts[i]);
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++) s->tenants[i].tokens = s->tenants[i].calls = 0;
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++) s->tenants[i].wait_count = 0;
    for (size_t i = 0; i < PACE_ROUTES_MAX; i++) s->probe_gap_ms[i] = FIRST_GAP;
    s->refused = s->failed = s->granted = s->ended = s->broken = s->trades = s->skipped = s->asked = 0;
    s->watch = (struct stopwatch){.ns = 0};
    s->mark_ms = pace_now(s);
}

/* --- judging ------------------------------------------------------------------------------------------------------- */
void pace_blame(struct pace_stage *s, const char *fmt, ...)
{
    va_list ap;

    if (s->blames.count < PACE_BLAMES_MAX) {
        char *text = s->blames.text[s->blames.count];
        int n = snprintf(text, sizeof s->blames.text[0], "at %.3f s: ", (double)pace_now(s) / 1000);

        va_start(ap, fmt);
        vsnprintf(text + n, sizeof s->blames.text[0] - (size_t)n, fmt, ap);
        va_end(ap);
        world_trace(s->world, "BROKEN %s", text);
    }
    s->blames.count++;
}

void pace_figure(struct pace_stage *s, const char *name, double value)
{
    must(s->figure_count < PACE_FIGURES_MAX);
    s->figures[s->figure_count++] = (struct pace_figure){name, value};
    world_trace(s->world, "%s: %.4f", name, value);
}

static bool is_drained(void *arg)
{
    const struct pace_stage *s = arg;

    return s->ended_all == s->asked_all;
}

void pace_heal(struct pace_stage *s)
{
    model_redis_resume(s->redis);
    if (!model_redis_is_up(s->redis)) model_redis_up(s->redis, false);
    for (size_t i = 0; i < s->plan.routes; i++) {
        s->is_out[i] = s->is_storm[i] = s->is_spent[i] = false;
        exact_set_strangers(s->exacts[i], 0);
        if (s->plan.exact[i].headers != EXACT_SILENT) exact_set_headers(s->exacts[i], EXACT_TRUE);
    }
    for (size_t i = 0; i < PACE_WORKERS_MAX; i++) {
        struct pace_worker *k = &s->workers[i];

        if (!k->pacer) continue;
        model_conn_mend(k->conn);
        k->redis_ms = 0;
        pace_worker_resume(s, i);
    }
    if (!pace_workers_alive(s)) pace_worker_start(s, 0);
}

bool pace_drain(struct pace_stage *s, int64_t limit_ms)
{
    s->is_closing = true;
    for (size_t i = 0; i < PACE_TENANTS_MAX; i++) s->sources[i].is_on = false;
    pace_load_lost(s);
    if (world_run(s->world, pace_now(s) + limit_ms, is_drained, s)) return true;
    pace_blame(s, "%zu of %zu calls have not ended %lld s after all was well", s->asked_all - s->ended_all, s->asked_all,
               (long long)(limit_ms / 1000));
    return false;
}

double pace_jain(const struct pace_stage *s, size_t first, size_t count)
{
    double sum = 0, squares = 0;

    for (size_t i = first; i < first + count; i++) {
        double x = (double)s->tenants[i].tokens;

        sum += x;
        squares += x * x;
    }
    return squares > 0 ? sum * sum / ((double)count * squares) : 0;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int64_t pace_p99(const struct pace_stage *s, size_t first, size_t count)
{
    size_t n = 0;
    int64_t *all, p99;

    for (size_t i = first; i < first + count; i++) n += s->tenants[i].wait_count;
    if (n == 0) return -1;
    all = calloc(n, sizeof *all);
    must(all);
    n = 0;
    for (size_t i = first; i < first + count; i++)
        for (size_t k = 0; k < s->tenants[i].wait_count; k++) all[n++] = s->tenants[i].waits[k];
    qsort(all, n, sizeof *all, by_size);
    p99 = all[(n - 1) * 99 / 100];
    free(all);
    return p99;
}
