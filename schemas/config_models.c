/* Models: what they are routed to, what the fleet may use of it, and what it costs.
 *
 * A budget belongs to what is called at the provider, not to our name for it: two models may lead
 * to one budget, and then there is one set of limits. So limits are looked at once more when all
 * was read: whoever gives none takes over those that another route gives for the same provider and
 * model, and whoever gives others is told. A cap in money needs a price on every route it covers,
 * in both directions: a gap would be spending that nobody counts. */
#include "common/base/clock.h"
#include "schemas/config_priv.h"
#include "schemas/suggest.h"
#include <assert.h>
#include <jansson.h>

enum { CONFIG_START_DEFAULT = 60, CONFIG_QUANTUM_MIN_MS = 100, CONFIG_QUANTUM_MAX_MS = 60000 };

/* --- numbers ---------------------------------------------------------------------------------- */

static void config_read_price(struct config_ctx *x, const json_t *map, const struct place *at,
                              const char *key, double *slot)
{
    const json_t *value = json_object_get(map, key);
    if (!value) return;
    struct place here = place_key(at, key);
    if (!json_is_number(value) || json_number_value(value) < 0 || json_number_value(value) > 1e6)
        config_complain(x, &here, "must be a number from 0 to 1000000");
    else
        *slot = json_number_value(value);
}

void config_read_money(struct config_ctx *x, const json_t *map, const struct place *at,
                       const char *key, int64_t *slot)
{
    const json_t *value = json_object_get(map, key);
    if (!value) return;
    struct place here = place_key(at, key);
    double dollars = json_is_number(value) ? json_number_value(value) : 0;
    if (dollars < 0.000001 || dollars > 1e9)
        config_complain(x, &here,
                        "must be US dollars, a number from 0.000001 to 1000000000; leave it out "
                        "for no cap");
    else
        *slot = (int64_t)(dollars * 1e6 + 0.5);
}

/* --- budgets and prices ----------------------------------------------------------------------- */

static void config_read_quantum(struct config_ctx *x, const json_t *map, const struct place *at,
                                struct config_budget *b)
{
    const json_t *value = json_object_get(map, "quantum");
    if (!value) return;
    struct place here = place_key(at, "quantum");
    const char *text = json_string_value(value);
    int64_t ms = 0;
    if (!text || !clock_duration(view_of(text), &ms) || ms < CONFIG_QUANTUM_MIN_MS ||
        ms > CONFIG_QUANTUM_MAX_MS) {
        config_complain(x, &here, "must be a duration from 100ms to 1m, such as 1s");
        return;
    }
    if (b->requests_per_minute && b->requests_per_minute * ms < 60000) {
        config_complain(x, &here,
                        "%lld requests a minute are less than one in this time; at least %lldms is "
                        "needed",
                        (long long)b->requests_per_minute,
                        (long long)((60000 + b->requests_per_minute - 1) / b->requests_per_minute));
        return;
    }
    b->quantum_ms = ms;
}

static void config_check_budget(struct config_ctx *x, const struct place *at,
                                const struct config_budget *b)
{
    struct place day = place_key(at, "requests_per_day"),
                 input = place_key(at, "input_tokens_per_minute"),
                 output = place_key(at, "output_tokens_per_minute");
    if (b->requests_per_day && b->requests_per_day < b->requests_per_minute)
        config_complain(x, &day, "is less than requests_per_minute; were they swapped?");
    if (b->tokens_per_minute && b->input_tokens_per_minute > b->tokens_per_minute)
        config_complain(x, &input, "is more than tokens_per_minute, which counts input as well");
    if (b->tokens_per_minute && b->output_tokens_per_minute > b->tokens_per_minute)
        config_complain(x, &output, "is more than tokens_per_minute, which counts output as well");
}

static void config_init_budget(struct config_budget *b)
{
    memset(b, 0, sizeof *b);
    b->start = CONFIG_START_DEFAULT;
    b->learn = true;
}

/* True: there is one. */
static bool config_read_budget(struct config_ctx *x, json_t *map, const struct place *at,
                               struct config_budget *b)
{
    const struct config_member members[] = {
        {"requests_per_minute", 0, 1000000000, &b->requests_per_minute},
        {"input_tokens_per_minute", 0, INT64_C(1000000000000), &b->input_tokens_per_minute},
        {"output_tokens_per_minute", 0, INT64_C(1000000000000), &b->output_tokens_per_minute},
        {"tokens_per_minute", 0, INT64_C(1000000000000), &b->tokens_per_minute},
        {"requests_per_day", 0, INT64_C(1000000000000), &b->requests_per_day},
        {"concurrency", 0, 1000000, &b->concurrency},
        {"start", 1, 1000000, &b->start},
    };
    config_init_budget(b);
    if (!map || !config_check_map(x, CONFIG_MAP_BUDGET, map, at)) return false;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        config_read_int(x, map, at, &members[i]);
    config_read_money(x, map, at, "spend_per_day", &b->spend_per_day_microusd);
    config_read_quantum(x, map, at, b);
    const json_t *learn = json_object_get(map, "learn");
    struct place here = place_key(at, "learn");
    if (learn && !json_is_boolean(learn)) config_complain(x, &here, "must be true or false");
    if (json_is_boolean(learn)) b->learn = json_is_true(learn);
    config_check_budget(x, at, b);
    return true;
}

static bool config_read_prices(struct config_ctx *x, json_t *map, const struct place *at,
                               struct config_price *p)
{
    if (!map || !config_check_map(x, CONFIG_MAP_PRICE, map, at)) return false;
    struct place here = place_key(at, "cached_input_per_million");
    config_read_price(x, map, at, "input_per_million", &p->input_per_million);
    config_read_price(x, map, at, "output_per_million", &p->output_per_million);
    p->cached_input_per_million = p->input_per_million;
    config_read_price(x, map, at, "cached_input_per_million", &p->cached_input_per_million);
    p->is_complete = json_object_get(map, "input_per_million") != NULL &&
                     json_object_get(map, "output_per_million") != NULL;
    if (p->cached_input_per_million > p->input_per_million)
        config_complain(x, &here, "is more than input_per_million; were they swapped?");
    return true;
}

/* --- models ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum config_failover bit;
} config_failovers[] = {{"outage", FAILOVER_OUTAGE},
                        {"exhausted", FAILOVER_EXHAUSTED},
                        {"throttle", FAILOVER_THROTTLE},
                        {"overload", FAILOVER_OVERLOAD}};
enum { CONFIG_FAILOVER_COUNT = sizeof config_failovers / sizeof config_failovers[0] };

bool config_put_failover(struct buf *out, unsigned failover)
{
    bool is_first = true, ok = buf_put_char(out, '[');
    for (size_t i = 0; i < CONFIG_FAILOVER_COUNT; i++) {
        if (!(failover & (unsigned)config_failovers[i].bit)) continue;
        ok = ok && buf_printf(out, "%s%s", is_first ? "" : ", ", config_failovers[i].name);
        is_first = false;
    }
    return ok && buf_put_char(out, ']');
}

static void config_read_failover(struct config_ctx *x, const json_t *list, const struct place *at,
                                 unsigned *ret)
{
    size_t count = config_check_list(x, list, CONFIG_FAILOVER_COUNT, at);
    *ret = 0;
    for (size_t i = 0; i < count; i++) {
        struct place here = place_index(at, i);
        const char *text = json_string_value(json_array_get(list, i));
        size_t n = 0;
        while (text && n < CONFIG_FAILOVER_COUNT && strcmp(text, config_failovers[n].name) != 0)
            n++;
        if (text && n < CONFIG_FAILOVER_COUNT)
            *ret |= (unsigned)config_failovers[n].bit;
        else
            config_complain(x, &here, "must be outage, exhausted, throttle or overload");
    }
}

static void config_read_route(struct config_ctx *x, json_t *map, const struct place *at,
                              struct config_route *r)
{
    struct place budget = place_key(at, "budget"), price = place_key(at, "price");
    if (!config_check_map(x, CONFIG_MAP_ROUTE, map, at)) return;
    const char *provider = config_read_text(x, map, at, "provider", CONFIG_NAME_MAX - 1);
    const char *model = config_read_text(x, map, at, "model", sizeof r->model - 1);
    const struct config_member context = {"context_tokens", 0, 1000000000, &r->context_tokens};
    if (provider) config_copy(provider, r->provider, sizeof r->provider);
    if (model) config_copy(model, r->model, sizeof r->model);
    config_read_int(x, map, at, &context);
    r->has_budget = config_read_budget(x, json_object_get(map, "budget"), &budget, &r->budget);
    r->has_price = config_read_prices(x, json_object_get(map, "price"), &price, &r->price);
}

static void config_read_routes(struct config_ctx *x, const json_t *list, const struct place *at,
                               struct config_model *m)
{
    size_t count = config_check_list(x, list, CONFIG_ROUTES_MAX, at);
    if (count == 0) config_complain(x, at, "must be a list of at least one {provider, model}");
    m->routes = config_room(x, count, sizeof *m->routes);
    if (!m->routes) return;
    m->route_count = count;
    for (size_t i = 0; i < count; i++) {
        struct place here = place_index(at, i);
        config_read_route(x, json_array_get(list, i), &here, &m->routes[i]);
    }
}

static void config_read_model(struct config_ctx *x, json_t *map, const struct place *at,
                              struct config_model *m)
{
    m->failover = FAILOVER_OUTAGE | FAILOVER_EXHAUSTED;
    if (!config_check_map(x, CONFIG_MAP_MODEL, map, at)) return;
    struct place route = place_key(at, "route"), budget = place_key(at, "budget"),
                 price = place_key(at, "price"), failover = place_key(at, "failover");
    json_t *routes = json_object_get(map, "route"), *names = json_object_get(map, "failover");
    if (routes) config_read_routes(x, routes, &route, m);
    if (names) config_read_failover(x, names, &failover, &m->failover);
    m->has_budget = config_read_budget(x, json_object_get(map, "budget"), &budget, &m->budget);
    m->has_price = config_read_prices(x, json_object_get(map, "price"), &price, &m->price);
    for (size_t i = 0; i < m->route_count; i++) {
        if (!m->routes[i].has_budget) m->routes[i].budget = m->budget;
        if (!m->routes[i].has_price) m->routes[i].price = m->price;
    }
}

void config_read_models(struct config_ctx *x, const struct json_t *map, const struct place *at)
{
    size_t count = config_check_names(x, map, CONFIG_MODELS_MAX, at);
    x->c->models = config_room(x, count, sizeof *x->c->models);
    if (!x->c->models) return;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        struct config_model *m = &x->c->models[x->c->model_count++];
        struct place here = place_key(at, name);
        if (config_is_name(name, false))
            config_copy(name, m->name, sizeof m->name);
        else
            config_complain(x, &here, "a name is 1 to 63 of the characters A-Z a-z 0-9 . _ -");
        config_read_model(x, value, &here, m);
    }
}

/* --- what only the whole can tell ------------------------------------------------------------- */

/* One route of one model. */
struct config_spot {
    struct config_model *model;
    struct config_route *route;
};

static bool config_spot_next(struct config *c, struct config_spot *s)
{
    if (!s->model) {
        if (!c->model_count) return false;
        s->model = c->models;
        s->route = s->model->routes;
    } else if (s->route) {
        s->route++;
    }
    while (!s->route || s->route == s->model->routes + s->model->route_count) {
        if (++s->model == c->models + c->model_count) return false;
        s->route = s->model->routes;
    }
    return true;
}

static struct place config_spot_place(const struct config_spot *s)
{
    struct place top = place_key(NULL, "models"), name = place_key(&top, s->model->name),
                 list = place_key(&name, "route");
    return place_index(&list, (size_t)(s->route - s->model->routes));
}

static void config_check_provider(struct config_ctx *x, const struct config_spot *s)
{
    const char *name = s->route->provider;
    if (!*name || config_provider_find(x->c, view_of(name))) return;
    struct place at = config_spot_place(s), here = place_key(&at, "provider");
    struct suggest near;
    suggest_init(&near, view_of(name));
    for (size_t p = 0; p < x->c->provider_count; p++)
        suggest_offer(&near, view_of(x->c->providers[p].name));
    if (near.best.ptr)
        config_complain(x, &here, "no provider of this name; did you mean %.*s?",
                        (int)near.best.len, near.best.ptr);
    else
        config_complain(x, &here, "no provider of this name; add it under providers");
}

static bool config_is_budget_same(const struct config_budget *a, const struct config_budget *b)
{
    return a->requests_per_minute == b->requests_per_minute &&
           a->input_tokens_per_minute == b->input_tokens_per_minute &&
           a->output_tokens_per_minute == b->output_tokens_per_minute &&
           a->tokens_per_minute == b->tokens_per_minute &&
           a->requests_per_day == b->requests_per_day && a->concurrency == b->concurrency &&
           a->spend_per_day_microusd == b->spend_per_day_microusd &&
           a->quantum_ms == b->quantum_ms && a->start == b->start && a->learn == b->learn;
}

static bool config_is_price_same(const struct config_price *a, const struct config_price *b)
{
    double d[] = {a->input_per_million - b->input_per_million,
                  a->output_per_million - b->output_per_million,
                  a->cached_input_per_million - b->cached_input_per_million};
    for (size_t i = 0; i < sizeof d / sizeof d[0]; i++)
        if (d[i] < 0 || d[i] > 0) return false;
    return true;
}

/* The first route before this one that gives limits (or prices) for the same provider and model. */
static bool config_find_giver(struct config *c, const struct config_spot *s, bool is_price,
                              struct config_spot *ret)
{
    memset(ret, 0, sizeof *ret);
    while (config_spot_next(c, ret)) {
        const struct config_route *r = ret->route;
        bool gives = is_price ? r->has_price || ret->model->has_price
                              : r->has_budget || ret->model->has_budget;
        if (gives && strcmp(r->provider, s->route->provider) == 0 &&
            strcmp(r->model, s->route->model) == 0)
            return true;
    }
    return false;
}

static void config_complain_share(struct config_ctx *x, const struct config_spot *s,
                                  const struct config_spot *giver, const char *what)
{
    struct place at = config_spot_place(s), other = config_spot_place(giver);
    config_complain(x, &at,
                    "gives %s of provider %s another %s than %s does; a provider's model has one: "
                    "write it once and leave it out elsewhere",
                    s->route->model, s->route->provider, what, other.path);
}

static void config_share_budget(struct config_ctx *x, const struct config_spot *s)
{
    struct config_spot giver;
    if (!config_find_giver(x->c, s, false, &giver) || giver.route == s->route) return;
    if (!s->route->has_budget && !s->model->has_budget)
        s->route->budget = giver.route->budget;
    else if (!config_is_budget_same(&s->route->budget, &giver.route->budget))
        config_complain_share(x, s, &giver, "budget");
}

static void config_share_price(struct config_ctx *x, const struct config_spot *s)
{
    struct config_spot giver;
    if (!config_find_giver(x->c, s, true, &giver) || giver.route == s->route) return;
    if (!s->route->has_price && !s->model->has_price)
        s->route->price = giver.route->price;
    else if (!config_is_price_same(&s->route->price, &giver.route->price))
        config_complain_share(x, s, &giver, "price");
}

static void config_check_twice(struct config_ctx *x, const struct config_spot *s)
{
    for (const struct config_route *r = s->model->routes; r < s->route; r++) {
        if (!*r->provider || strcmp(r->provider, s->route->provider) != 0 ||
            strcmp(r->model, s->route->model) != 0)
            continue;
        struct place at = config_spot_place(s);
        config_complain(x, &at, "stands twice in this route; remove one of them");
        return;
    }
}

static void config_check_caps(struct config_ctx *x, const struct config_spot *s, size_t payer)
{
    if (s->route->price.is_complete) return;
    struct place at = config_spot_place(s);
    if (s->route->budget.spend_per_day_microusd)
        config_complain(x, &at,
                        "has spend_per_day but no whole price to count it with; add price: "
                        "{input_per_million, output_per_million}");
    else if (payer < x->c->tenant_count)
        config_complain(x, &at,
                        "has no whole price, which tenants[%zu].spend_per_day is counted with; add "
                        "price: {input_per_million, output_per_million}",
                        payer);
}

void config_check_models(struct config_ctx *x)
{
    struct config_spot s = {.model = NULL};
    size_t payer = 0;
    while (payer < x->c->tenant_count && !x->c->tenants[payer].spend_per_day_microusd) payer++;
    while (config_spot_next(x->c, &s)) {
        config_check_provider(x, &s);
        config_check_twice(x, &s);
        config_share_budget(x, &s);
        config_share_price(x, &s);
    }
    s.model = NULL;
    while (config_spot_next(x->c, &s)) config_check_caps(x, &s, payer);
}
