/* Tenants, providers and models: maps in lists and maps of maps.
 *
 * The fields of each kind of map stand in one table, from which come the check for unknown keys and
 * the documentation. Reading goes on after a fault with the next entry, so that one run tells
 * everything; what was half read stays in the struct only to be freed. Walls hang on this file: a
 * key belongs to exactly one tenant, so a hash that stands twice is refused. */
#include "common/base/map.h"
#include "schemas/config_priv.h"
#include "schemas/suggest.h"
#include <assert.h>
#include <jansson.h>

/* --- the fields ------------------------------------------------------------------------------- */

static const struct config_field config_tenant_fields[] = {
    {"id", "1 to 63 of a-z 0-9 _ -", NULL, "Name of the tenant"},
    {"keys", "list", "[]", "API keys of the tenant"},
    {"weight", "integer 1 to 1000", "1", "Share of the fleet relative to other tenants"},
    {"max_queued", "integer 1 to 1000000000", "100000", "Unfinished jobs the tenant may have"},
};
static const struct config_field config_key_fields[] = {
    {"sha256", "64 hex digits", NULL,
     "Lower-case hex of SHA-256 of the bare key; `sluice key new` prints both"},
    {"scopes", "list of submit, read, admin", "[submit, read]", "What the key may do"},
};
static const struct config_field config_provider_fields[] = {
    {"kind", "openai, azure, anthropic, gemini or vllm", NULL, "Protocol it speaks"},
    {"base_url", "http(s) URL", "the public service of the kind",
     "Where it is; required for azure and vllm"},
    {"api_key_env", "name of a variable", "", "Environment variable that holds the key"},
    {"api_key_file", "path", "", "File that holds the key; relative to this file"},
};
static const struct config_field config_model_fields[] = {
    {"route", "list", NULL, "Providers to try, the first one first"},
    {"budget", "map", "{}", "What the whole fleet may use"},
    {"price", "map", "{}", "US dollars, for cost"},
};
static const struct config_field config_route_fields[] = {
    {"provider", "name", NULL, "One of providers"},
    {"model", "text", NULL, "The provider's name of the model"},
};
static const struct config_field config_budget_fields[] = {
    {"requests_per_minute", "integer", "0", "0 means no limit of our own"},
    {"input_tokens_per_minute", "integer", "0", "0 means no limit of our own"},
    {"output_tokens_per_minute", "integer", "0", "0 means no limit of our own"},
    {"tokens_per_minute", "integer", "0", "Input and output together; 0 means no limit of our own"},
    {"requests_per_day", "integer", "0", "0 means no limit of our own"},
    {"concurrency", "integer", "0", "Calls open at once; 0 means no limit of our own"},
};
static const struct config_field config_price_fields[] = {
    {"input_per_million", "number", "0", "US dollars per million input tokens"},
    {"output_per_million", "number", "0", "US dollars per million output tokens"},
};

struct config_map_row {
    const char *name;
    const struct config_field *fields;
    size_t count;
};
#define MAP_ROW(name, fields)                                                                      \
    {                                                                                              \
        name, fields, sizeof(fields) / sizeof(fields)[0]                                           \
    }
static const struct config_map_row config_map_rows[CONFIG_MAP_COUNT] = {
    [CONFIG_MAP_TENANT] = MAP_ROW("tenants[]", config_tenant_fields),
    [CONFIG_MAP_KEY] = MAP_ROW("tenants[].keys[]", config_key_fields),
    [CONFIG_MAP_PROVIDER] = MAP_ROW("providers.NAME", config_provider_fields),
    [CONFIG_MAP_MODEL] = MAP_ROW("models.NAME", config_model_fields),
    [CONFIG_MAP_ROUTE] = MAP_ROW("models.NAME.route[]", config_route_fields),
    [CONFIG_MAP_BUDGET] = MAP_ROW("models.NAME.budget", config_budget_fields),
    [CONFIG_MAP_PRICE] = MAP_ROW("models.NAME.price", config_price_fields),
};

const char *config_map_name(enum config_map m)
{
    return config_map_rows[m].name;
}

const struct config_field *config_map_fields(enum config_map m, size_t *ret_count)
{
    *ret_count = config_map_rows[m].count;
    return config_map_rows[m].fields;
}

/* --- reading maps ----------------------------------------------------------------------------- */

/* What a secret that was written into the file is answered with. */
static const char *config_secret_hint(const char *key)
{
    bool is_secret =
        strcmp(key, "api_key") == 0 || strcmp(key, "key") == 0 || strcmp(key, "secret") == 0;
    return is_secret ? "a secret does not belong in this file; use api_key_env or api_key_file (a "
                       "tenant's key: sha256)"
                     : NULL;
}

static const char *config_field_names(const struct config_map_row *row, char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < row->count && used < size; i++)
        used +=
            (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", row->fields[i].name);
    return ret;
}

static void config_unknown_field(struct config_ctx *x, enum config_map m, const char *key,
                                 const struct place *at)
{
    struct place here = place_key(at, key);
    const struct config_map_row *row = &config_map_rows[m];
    struct suggest s;
    suggest_init(&s, view_of(key));
    for (size_t i = 0; i < row->count; i++) suggest_offer(&s, view_of(row->fields[i].name));
    const char *hint = config_secret_hint(key);
    char names[256];
    if (hint)
        config_complain(x, &here, "%s", hint);
    else if (s.best.ptr)
        config_complain(x, &here, "unknown key; did you mean %.*s?", (int)s.best.len, s.best.ptr);
    else
        config_complain(x, &here, "unknown key; known are %s",
                        config_field_names(row, names, sizeof names));
}

/* True when value is a map; its unknown and missing keys were told then, and what is there can be
 * read. */
static bool config_check_map(struct config_ctx *x, enum config_map m, json_t *value,
                             const struct place *at)
{
    const struct config_map_row *row = &config_map_rows[m];
    const char *key;
    json_t *member;
    if (!json_is_object(value)) {
        config_complain(x, at, "must be a map with the keys of %s", row->name);
        return false;
    }
    json_object_foreach(value, key, member)
    {
        size_t i = 0;
        while (i < row->count && strcmp(row->fields[i].name, key) != 0) i++;
        if (i == row->count) config_unknown_field(x, m, key, at);
    }
    for (size_t i = 0; i < row->count; i++)
        if (!row->fields[i].fallback && !json_object_get(value, row->fields[i].name))
            config_complain(x, at, "%s is missing (%s)", row->fields[i].name, row->fields[i].type);
    return true;
}

static size_t config_check_list(struct config_ctx *x, const json_t *list, size_t max,
                                const struct place *at)
{
    if (json_is_null(list) || !list) return 0;
    if (!json_is_array(list)) {
        config_complain(x, at, "must be a list");
        return 0;
    }
    if (json_array_size(list) > max) {
        config_complain(x, at, "has %zu entries; at most %zu are allowed", json_array_size(list),
                        max);
        return 0;
    }
    return json_array_size(list);
}

static size_t config_check_names(struct config_ctx *x, const json_t *map, size_t max,
                                 const struct place *at)
{
    if (json_is_null(map)) return 0;
    if (!json_is_object(map)) {
        config_complain(x, at, "must be a map from names, such as `%s: {NAME: {...}}`", at->path);
        return 0;
    }
    if (json_object_size(map) > max) {
        config_complain(x, at, "has %zu entries; at most %zu are allowed", json_object_size(map),
                        max);
        return 0;
    }
    return json_object_size(map);
}

struct config_member {
    const char *key;
    int64_t min, max;
    int64_t *slot;
};

static void config_read_int(struct config_ctx *x, const json_t *map, const struct place *at,
                            const struct config_member *m)
{
    const json_t *value = json_object_get(map, m->key);
    if (!value) return;
    int64_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    struct place here = place_key(at, m->key);
    if (!json_is_integer(value) || n < m->min || n > m->max)
        config_complain(x, &here, "must be an integer from %lld to %lld", (long long)m->min,
                        (long long)m->max);
    else
        *m->slot = n;
}

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

/* A text member of at most max bytes; NULL when it is absent or refused (and then told). */
static const char *config_read_text(struct config_ctx *x, const json_t *map, const struct place *at,
                                    const char *key, size_t max)
{
    const json_t *value = json_object_get(map, key);
    if (!value) return NULL;
    struct place here = place_key(at, key);
    const char *text = json_string_value(value);
    size_t len = text ? strlen(text) : 0;
    if (len > 0 && len <= max && strcspn(text, "\n\r\t\x7f") == len) return text;
    config_complain(x, &here, "must be text of 1 to %zu characters", max);
    return NULL;
}

static bool config_is_name(const char *text, bool is_tenant)
{
    size_t len = strlen(text);
    size_t good = strspn(
        text, is_tenant ? "abcdefghijklmnopqrstuvwxyz0123456789_-"
                        : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len > 0 && len == good && len < CONFIG_NAME_MAX;
}

static void config_copy(const char *text, char *ret, size_t size)
{
    bool fits = view_copy(view_of(text), ret, size);
    assert(fits);
    (void)fits;
}

/* --- tenants ---------------------------------------------------------------------------------- */

static bool config_parse_hash(const char *text, unsigned char ret[32])
{
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64) return false;
    for (size_t i = 0; i < 64; i++) {
        unsigned digit = (unsigned)(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
        ret[i / 2] = (unsigned char)(i % 2 ? ret[i / 2] | digit : digit << 4);
    }
    return true;
}

static unsigned config_read_scopes(struct config_ctx *x, const json_t *list, const struct place *at)
{
    static const char *const names[] = {"submit", "read", "admin"};
    unsigned scopes = 0;
    size_t count = config_check_list(x, list, 3, at);
    for (size_t i = 0; i < count; i++) {
        struct place here = place_index(at, i);
        const char *text = json_string_value(json_array_get(list, i));
        size_t n = 0;
        while (text && n < 3 && strcmp(text, names[n]) != 0) n++;
        if (text && n < 3)
            scopes |= 1U << n;
        else
            config_complain(x, &here, "must be submit, read or admin");
    }
    return scopes;
}

static void config_read_key(struct config_ctx *x, json_t *map, const struct place *at,
                            struct config_key *ret, struct map *seen)
{
    if (!config_check_map(x, CONFIG_MAP_KEY, map, at)) return;
    struct place scopes = place_key(at, "scopes"), here = place_key(at, "sha256");
    const json_t *list = json_object_get(map, "scopes");
    const char *text = json_string_value(json_object_get(map, "sha256"));
    ret->scopes = list ? config_read_scopes(x, list, &scopes) : SCOPE_SUBMIT | SCOPE_READ;
    if (!json_object_get(map, "sha256")) return;
    if (!text || !config_parse_hash(text, ret->sha256)) {
        config_complain(x, &here,
                        "must be 64 lower-case hex digits, the SHA-256 of the bare key (`sluice "
                        "key new` prints it)");
        return;
    }
    if (map_get(seen, view_of(text)))
        config_complain(x, &here, "this key stands twice; a key belongs to one tenant");
    else if (!map_put(seen, view_of(text), ret))
        x->no_memory = true;
}

static void config_read_keys(struct config_ctx *x, const json_t *list, const struct place *at,
                             struct config_tenant *t, struct map *seen)
{
    size_t count = config_check_list(x, list, CONFIG_KEYS_MAX, at);
    t->keys = config_room(x, count, sizeof *t->keys);
    if (!t->keys) return;
    t->key_count = count;
    for (size_t i = 0; i < count; i++) {
        struct place here = place_index(at, i);
        config_read_key(x, json_array_get(list, i), &here, &t->keys[i], seen);
    }
}

static void config_read_tenant(struct config_ctx *x, json_t *map, const struct place *at,
                               struct config_tenant *t, struct map *seen)
{
    t->weight = 1;
    t->max_queued = 100000;
    if (!config_check_map(x, CONFIG_MAP_TENANT, map, at)) return;
    struct place keys = place_key(at, "keys"), here = place_key(at, "id");
    config_read_keys(x, json_object_get(map, "keys"), &keys, t, seen);
    const struct config_member weight = {"weight", 1, 1000, &t->weight};
    const struct config_member max_queued = {"max_queued", 1, 1000000000, &t->max_queued};
    config_read_int(x, map, at, &weight);
    config_read_int(x, map, at, &max_queued);
    const char *id = json_string_value(json_object_get(map, "id"));
    if (!json_object_get(map, "id")) return;
    if (!id || !config_is_name(id, true))
        config_complain(x, &here, "must be 1 to 63 of the characters a-z 0-9 _ -");
    else if (map_get(seen, view_of(id)))
        config_complain(x, &here, "tenant %s stands twice", id);
    else if (!map_put(seen, view_of(id), t))
        x->no_memory = true;
    else
        config_copy(id, t->id, sizeof t->id);
}

void config_read_tenants(struct config_ctx *x, const struct json_t *list, const struct place *at)
{
    size_t count = config_check_list(x, list, CONFIG_TENANTS_MAX, at);
    /* ids are at most 63 characters and hashes 64, so one map holds both */
    struct map *seen = map_new(CONFIG_TENANTS_MAX * (size_t)(CONFIG_KEYS_MAX + 1));
    if (!seen) x->no_memory = true;
    x->c->tenants = seen ? config_room(x, count, sizeof *x->c->tenants) : NULL;
    if (x->c->tenants) x->c->tenant_count = count;
    for (size_t i = 0; i < x->c->tenant_count && !x->no_memory; i++) {
        struct place here = place_index(at, i);
        config_read_tenant(x, json_array_get(list, i), &here, &x->c->tenants[i], seen);
    }
    map_free(seen);
}

/* --- providers -------------------------------------------------------------------------------- */

static const struct {
    const char *name, *url;
} config_kinds[] = {
    [PROVIDER_OPENAI] = {"openai", "https://api.openai.com/v1"},
    [PROVIDER_AZURE] = {"azure", NULL},
    [PROVIDER_ANTHROPIC] = {"anthropic", "https://api.anthropic.com"},
    [PROVIDER_GEMINI] = {"gemini", "https://generativelanguage.googleapis.com"},
    [PROVIDER_VLLM] = {"vllm", NULL},
};
enum { CONFIG_KIND_COUNT = sizeof config_kinds / sizeof config_kinds[0] };

const char *config_provider_kind_name(enum provider_kind k)
{
    return config_kinds[k].name;
}

static bool config_parse_kind(const char *text, enum provider_kind *ret)
{
    for (int i = 0; text && i < CONFIG_KIND_COUNT; i++)
        if (strcmp(text, config_kinds[i].name) == 0) {
            *ret = (enum provider_kind)i;
            return true;
        }
    return false;
}

static void config_read_url(struct config_ctx *x, const json_t *map, const struct place *at,
                            struct config_provider *p)
{
    struct place here = place_key(at, "base_url");
    bool is_given = json_object_get(map, "base_url") != NULL;
    const char *url = config_read_text(x, map, at, "base_url", 1024);
    if (is_given && !url) return;
    if (!is_given) url = config_kinds[p->kind].url;
    if (!url) {
        config_complain(x, at, "base_url is missing; kind %s has no public address",
                        config_kinds[p->kind].name);
        return;
    }
    struct view v = view_of(url);
    bool is_http =
        (view_starts(v, "http://") && v.len > 7) || (view_starts(v, "https://") && v.len > 8);
    if (!is_http || strcspn(url, " @?#") != v.len) {
        config_complain(x, &here,
                        "must start with http:// or https:// and hold no user, query or blank");
        return;
    }
    while (v.len > 8 && v.ptr[v.len - 1] == '/') v.len--;
    p->base_url = config_dup(x, v);
}

static void config_read_secret(struct config_ctx *x, const json_t *map, const struct place *at,
                               struct config_provider *p)
{
    const char *env = config_read_text(x, map, at, "api_key_env", 128);
    const char *file = config_read_text(x, map, at, "api_key_file", 4096);
    struct place here = place_key(at, "api_key_env");
    bool is_variable =
        env && strspn(env, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
                   strlen(env);
    if (env && file) config_complain(x, &here, "api_key_env and api_key_file exclude one another");
    if (env && !is_variable)
        config_complain(x, &here,
                        "must be the name of an environment variable, not the key itself");
    if (env && is_variable) p->api_key_env = config_dup(x, view_of(env));
    if (file) p->api_key_file = config_join(x, x->in->dir, view_of(file));
}

void config_read_providers(struct config_ctx *x, const struct json_t *map, const struct place *at)
{
    size_t count = config_check_names(x, map, CONFIG_PROVIDERS_MAX, at);
    x->c->providers = config_room(x, count, sizeof *x->c->providers);
    if (!x->c->providers) return;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        struct config_provider *p = &x->c->providers[x->c->provider_count++];
        struct place here = place_key(at, name), kind = place_key(&here, "kind");
        if (config_is_name(name, false))
            config_copy(name, p->name, sizeof p->name);
        else
            config_complain(x, &here, "a name is 1 to 63 of the characters A-Z a-z 0-9 . _ -");
        if (!config_check_map(x, CONFIG_MAP_PROVIDER, value, &here) ||
            !json_object_get(value, "kind"))
            continue;
        if (!config_parse_kind(json_string_value(json_object_get(value, "kind")), &p->kind)) {
            config_complain(x, &kind, "must be openai, azure, anthropic, gemini or vllm");
            continue;
        }
        config_read_url(x, value, &here, p);
        config_read_secret(x, value, &here, p);
    }
}

/* --- models ----------------------------------------------------------------------------------- */

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
        json_t *map = json_array_get(list, i);
        if (!config_check_map(x, CONFIG_MAP_ROUTE, map, &here)) continue;
        const char *provider = config_read_text(x, map, &here, "provider", CONFIG_NAME_MAX - 1);
        const char *model = config_read_text(x, map, &here, "model", sizeof m->routes[i].model - 1);
        if (provider) config_copy(provider, m->routes[i].provider, sizeof m->routes[i].provider);
        if (model) config_copy(model, m->routes[i].model, sizeof m->routes[i].model);
    }
}

static void config_read_budget(struct config_ctx *x, json_t *map, const struct place *at,
                               struct config_budget *b)
{
    int64_t *slots[] = {&b->requests_per_minute,      &b->input_tokens_per_minute,
                        &b->output_tokens_per_minute, &b->tokens_per_minute,
                        &b->requests_per_day,         &b->concurrency};
    _Static_assert(sizeof slots / sizeof slots[0] ==
                       sizeof config_budget_fields / sizeof config_budget_fields[0],
                   "a field of the budget without a slot");
    if (!map || !config_check_map(x, CONFIG_MAP_BUDGET, map, at)) return;
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        const struct config_member m = {config_budget_fields[i].name, 0, INT64_C(1000000000000),
                                        slots[i]};
        config_read_int(x, map, at, &m);
    }
}

static void config_read_model(struct config_ctx *x, json_t *map, const struct place *at,
                              struct config_model *m)
{
    if (!config_check_map(x, CONFIG_MAP_MODEL, map, at)) return;
    struct place route = place_key(at, "route"), budget = place_key(at, "budget"),
                 price = place_key(at, "price");
    json_t *prices = json_object_get(map, "price");
    json_t *routes = json_object_get(map, "route");
    if (routes) config_read_routes(x, routes, &route, m);
    config_read_budget(x, json_object_get(map, "budget"), &budget, &m->budget);
    if (!prices || !config_check_map(x, CONFIG_MAP_PRICE, prices, &price)) return;
    config_read_price(x, prices, &price, "input_per_million", &m->input_per_million);
    config_read_price(x, prices, &price, "output_per_million", &m->output_per_million);
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

void config_check_routes(struct config_ctx *x)
{
    struct place top = place_key(NULL, "models");
    for (size_t i = 0; i < x->c->model_count; i++) {
        const struct config_model *m = &x->c->models[i];
        struct place model = place_key(&top, m->name), route = place_key(&model, "route");
        for (size_t k = 0; k < m->route_count; k++) {
            const char *name = m->routes[k].provider;
            if (!*name || config_provider_find(x->c, view_of(name))) continue;
            struct place item = place_index(&route, k), here = place_key(&item, "provider");
            struct suggest s;
            suggest_init(&s, view_of(name));
            for (size_t p = 0; p < x->c->provider_count; p++)
                suggest_offer(&s, view_of(x->c->providers[p].name));
            if (s.best.ptr)
                config_complain(x, &here, "no provider of this name; did you mean %.*s?",
                                (int)s.best.len, s.best.ptr);
            else
                config_complain(x, &here, "no provider of this name; add it under providers");
        }
    }
}
