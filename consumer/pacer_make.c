/* The pacer's parts from the configuration. A group is what is called at a provider, whatever our
 * models call it; two models that lead to one (provider, model) stand in one line and share its
 * budgets, one for each key of the provider. */
#include "consumer/pacer_priv.h"

#include <stdio.h>

static const double pacer_seconds[] = {0.001, 0.005, 0.025, 0.1, 0.5, 1,   2.5,
                                       5,     10,    30,    60,  300, 1800};
static const double pacer_ratios[] = {0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10};
enum {
    PACER_SECONDS = sizeof pacer_seconds / sizeof *pacer_seconds,
    PACER_RATIOS = sizeof pacer_ratios / sizeof *pacer_ratios
};

static const struct metric_spec pacer_meter_wait = {.name = "sluice_ratelimit_wait_seconds",
                                                    .help = "From asking to the grant of a call",
                                                    .kind = METRIC_HISTOGRAM,
                                                    .labels = {"provider", "model"},
                                                    .buckets = pacer_seconds,
                                                    .bucket_count = PACER_SECONDS};
static const struct metric_spec pacer_meter_trades = {.name = "sluice_ratelimit_trades_total",
                                                      .help = "Round trips of pacing to Redis",
                                                      .labels = {"provider", "model"}};
static const struct metric_spec pacer_meter_throttled = {.name = "sluice_ratelimit_throttled_total",
                                                         .help =
                                                             "Calls the provider refused for speed",
                                                         .labels = {"provider", "model"}};
static const struct metric_spec pacer_meter_closed = {
    .name = "sluice_ratelimit_closed_total",
    .help = "How often this worker found a budget closed, by reason",
    .labels = {"provider", "model", "reason"},
    .series_max = 256};
static const struct metric_spec pacer_meter_failovers = {
    .name = "sluice_ratelimit_failovers_total",
    .help = "Calls that left a route for a later one, by reason",
    .labels = {"provider", "model", "reason"},
    .series_max = 256};
static const struct metric_spec pacer_meter_limit = {.name = "sluice_ratelimit_limit",
                                                     .help =
                                                         "Limit a minute in force, 0 = none known",
                                                     .kind = METRIC_GAUGE,
                                                     .labels = {"provider", "model", "dim"},
                                                     .series_max = 256};
static const struct metric_spec pacer_meter_remaining = {.name = "sluice_ratelimit_remaining",
                                                         .help =
                                                             "What the provider last said is left",
                                                         .kind = METRIC_GAUGE,
                                                         .labels = {"provider", "model", "dim"},
                                                         .series_max = 256};
static const struct metric_spec pacer_meter_ratio = {.name = "sluice_ratelimit_estimate_ratio",
                                                     .help = "Billed tokens by estimated ones",
                                                     .kind = METRIC_HISTOGRAM,
                                                     .labels = {"provider", "model", "dim"},
                                                     .buckets = pacer_ratios,
                                                     .bucket_count = PACER_RATIOS};

struct pacer_families {
    struct metric *wait, *trades, *throttled, *closed, *failovers, *limit, *remaining, *ratio;
};

static struct metric_series *pacer_series(struct metric *family, const struct pacer_group *g,
                                          const char *third)
{
    const char *labels[] = {g->route->provider, g->route->model, third};
    return metric_series(family, labels);
}

static void pacer_make_meters(struct pacer_group *g, const struct pacer_families *f)
{
    static const char *const closes[] = {NULL, "throttle", "outage", "exhausted"};
    static const char *const dims[] = {"requests", "input", "output", "tokens"};
    struct pacer_group_meters *m = &g->meters;
    m->wait_seconds = pacer_series(f->wait, g, NULL);
    m->trades = pacer_series(f->trades, g, NULL);
    m->throttled = pacer_series(f->throttled, g, NULL);
    for (size_t i = 1; i < 4; i++) {
        m->closed[i] = pacer_series(f->closed, g, closes[i]);
        m->failovers[i] = pacer_series(f->failovers, g, closes[i]);
    }
    for (size_t i = 0; i < PACE_DIM_COUNT; i++) {
        m->limit[i] = pacer_series(f->limit, g, dims[i]);
        m->remaining[i] = pacer_series(f->remaining, g, dims[i]);
        g->told_remaining[i] = -1;
    }
    m->ratio_input = pacer_series(f->ratio, g, "input");
    m->ratio_output = pacer_series(f->ratio, g, "output");
}

/* --- budgets --------------------------------------------------------------------------------- */
static struct pace_limits pacer_limits(const struct config_budget *b)
{
    return (struct pace_limits){.per_minute = {b->requests_per_minute, b->input_tokens_per_minute,
                                               b->output_tokens_per_minute, b->tokens_per_minute},
                                .requests_per_day = b->requests_per_day,
                                .concurrency = b->concurrency,
                                .spend_per_day_microusd = b->spend_per_day_microusd,
                                .quantum_ms = b->quantum_ms,
                                .start = b->start,
                                .learns = b->learn};
}

static bool pacer_make_key(struct pacer_group *g, size_t index)
{
    struct pacer_key *k = &g->keys[index];
    char name[2 * CONFIG_NAME_MAX + 256];
    const char *key = index < g->provider->key_count ? g->provider->keys[index].name : "default";
    int n = snprintf(name, sizeof name, "%s/%s/%s", g->route->provider, g->route->model, key);
    const struct limiter_options o = {
        .budget = view_make(name, n < (int)sizeof name ? (size_t)n : sizeof name - 1),
        .incarnation = g->pacer->o.incarnation,
        .limits = pacer_limits(&g->route->budget)};
    k->group = g;
    k->index = index;
    k->limiter = limiter_new(&o);
    return k->limiter != NULL;
}

static bool pacer_make_group(struct pacer *p, struct pacer_group *g, const struct config_route *r)
{
    const struct config *c = p->o.config;
    struct pacer_line_options line = {
        .flows_max = PACER_FLOWS_MAX,
        .class_weights = {[CLASS_INTERACTIVE] = c->consumer.interactive_weight,
                          [CLASS_BULK] = c->consumer.bulk_weight}};
    g->pacer = p;
    g->route = r;
    g->provider = config_provider_find(c, view_of(r->provider));
    if (!g->provider) return true; /* asked for, it is an error of its own */
    g->key_count = g->provider->key_count ? g->provider->key_count : 1;
    g->keys = calloc(g->key_count, sizeof *g->keys);
    g->line = pacer_line_new(&line);
    if (!g->keys || !g->line) return false;
    for (size_t i = 0; i < g->key_count; i++)
        if (!pacer_make_key(g, i)) return false;
    return true;
}

static struct pacer_group *pacer_find_group(struct pacer *p, const struct config_route *r)
{
    for (size_t i = 0; i < p->group_count; i++) {
        const struct config_route *have = p->groups[i].route;
        if (strcmp(have->provider, r->provider) == 0 && strcmp(have->model, r->model) == 0)
            return &p->groups[i];
    }
    return NULL;
}

static bool pacer_make_model(struct pacer *p, struct pacer_model *m, const struct config_model *c)
{
    m->config = c;
    m->route_count = c->route_count < PACER_ROUTES_MAX ? c->route_count : PACER_ROUTES_MAX;
    m->routes = calloc(m->route_count + 1, sizeof *m->routes);
    if (!m->routes) return false;
    for (size_t i = 0; i < m->route_count; i++) {
        struct pacer_group *g = pacer_find_group(p, &c->routes[i]);
        if (!g) {
            g = &p->groups[p->group_count++];
            if (!pacer_make_group(p, g, &c->routes[i])) return false;
        }
        m->routes[i] = (struct pacer_route){.config = &c->routes[i], .group = g};
    }
    return true;
}

bool pacer_make(struct pacer *p)
{
    const struct config *c = p->o.config;
    struct metrics *m = p->o.metrics;
    size_t routes = 0;
    for (size_t i = 0; i < c->model_count; i++) routes += c->models[i].route_count;
    p->model_count = c->model_count;
    p->models = calloc(p->model_count + 1, sizeof *p->models);
    p->groups = calloc(routes + 1, sizeof *p->groups);
    p->estimate = estimate_new(PACER_ESTIMATES_MAX);
    if (!p->models || !p->groups || !p->estimate) return false;
    for (size_t i = 0; i < p->model_count; i++)
        if (!pacer_make_model(p, &p->models[i], &c->models[i])) return false;
    const struct pacer_families f = {.wait = metrics_family(m, &pacer_meter_wait),
                                     .trades = metrics_family(m, &pacer_meter_trades),
                                     .throttled = metrics_family(m, &pacer_meter_throttled),
                                     .closed = metrics_family(m, &pacer_meter_closed),
                                     .failovers = metrics_family(m, &pacer_meter_failovers),
                                     .limit = metrics_family(m, &pacer_meter_limit),
                                     .remaining = metrics_family(m, &pacer_meter_remaining),
                                     .ratio = metrics_family(m, &pacer_meter_ratio)};
    for (size_t i = 0; i < p->group_count; i++) pacer_make_meters(&p->groups[i], &f);
    return true;
}

void pacer_unmake(struct pacer *p)
{
    for (size_t i = 0; i < p->group_count; i++) {
        struct pacer_group *g = &p->groups[i];
        timerq_cancel(p->o.timers, &g->timer);
        for (size_t k = 0; g->keys && k < g->key_count; k++) limiter_free(g->keys[k].limiter);
        free(g->keys);
        pacer_line_free(g->line);
    }
    for (size_t i = 0; p->models && i < p->model_count; i++) free(p->models[i].routes);
    estimate_free(p->estimate);
    free(p->groups);
    free(p->models);
}
