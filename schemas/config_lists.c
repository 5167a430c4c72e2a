/* The fields of every map, and tenants; providers, models and keys stand in files of their own.
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
    {"tokens_per_day", "integer", "0", "Tokens a day (UTC); more work waits; 0 means no limit"},
    {"spend_per_day", "US dollars", "no cap", "Money a day (UTC), by price; more work waits"},
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
    {"api_keys", "list", "[]", "Several keys, each with a budget of its own"},
    {"api", "chat or responses", "chat", "Which of OpenAI's two protocols; openai, azure and vllm"},
    {"api_version", "date or version", "by kind",
     "azure: `2024-10-21`; anthropic: `2023-06-01` or `2026-10-21`; gemini: `v1beta`"},
    {"insecure", "true or false", "false",
     "Allows a key to travel over http:// to a host that is not this machine"},
};
static const struct config_field config_provider_key_fields[] = {
    {"name", "1 to 63 of A-Z a-z 0-9 . _ -", "the variable, or the last part of the path",
     "What budgets and `sluice limits` call it"},
    {"env", "name of a variable", "", "Environment variable that holds the key"},
    {"file", "path", "", "File that holds the key; relative to this file"},
};
static const struct config_field config_model_fields[] = {
    {"route", "list", NULL, "Providers to try, the first one first"},
    {"failover", "list of outage, exhausted, throttle, overload", "[outage, exhausted]",
     "Reasons to go on to the next of the route"},
    {"budget", "map", "another model's with the same provider and model",
     "What the whole fleet may use, of each (provider, model, key) of the route"},
    {"price", "map", "another model's with the same provider and model", "US dollars, for cost"},
};
static const struct config_field config_route_fields[] = {
    {"provider", "name", NULL, "One of providers"},
    {"model", "text", NULL, "The provider's name of the model"},
    {"context_tokens", "integer", "0", "Longest prompt and answer together; 0 means unknown"},
    {"budget", "map", "the model's", "Limits of this provider and model alone"},
    {"price", "map", "the model's", "Price of this provider and model alone"},
};
static const struct config_field config_budget_fields[] = {
    {"requests_per_minute", "integer", "0", "0 means no limit of our own"},
    {"input_tokens_per_minute", "integer", "0", "0 means no limit of our own"},
    {"output_tokens_per_minute", "integer", "0", "0 means no limit of our own"},
    {"tokens_per_minute", "integer", "0", "Input and output together; 0 means no limit of our own"},
    {"requests_per_day", "integer", "0", "0 means no limit of our own"},
    {"concurrency", "integer", "0", "Calls open at once; 0 means no limit of our own"},
    {"spend_per_day", "US dollars", "no cap",
     "Money a day (UTC), by price; every route needs one then"},
    {"quantum", "duration 100ms to 1m", "none",
     "The provider counts in steps of this: 60 a minute as one a second"},
    {"start", "integer 1 to 1000000", "60",
     "Requests a minute to begin with while no limit is known"},
    {"learn", "true or false", "true", "Headers and refusals of the provider correct the limits"},
};
static const struct config_field config_price_fields[] = {
    {"input_per_million", "number", "0", "US dollars per million input tokens"},
    {"output_per_million", "number", "0", "US dollars per million output tokens"},
    {"cached_input_per_million", "number", "input_per_million",
     "US dollars per million input tokens that the provider had in its cache"},
};
static const struct config_field config_key_limit_fields[] = {
    {"match", "text", NULL, "A job's key; `*` at its end stands for any rest; first match holds"},
    {"concurrency", "integer", "0",
     "Jobs of one tenant and key that run at once; 0 means no limit"},
    {"per_minute", "integer", "0", "Starts a minute of one tenant and key; 0 means no limit"},
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
    [CONFIG_MAP_PROVIDER_KEY] = MAP_ROW("providers.NAME.api_keys[]", config_provider_key_fields),
    [CONFIG_MAP_MODEL] = MAP_ROW("models.NAME", config_model_fields),
    [CONFIG_MAP_ROUTE] = MAP_ROW("models.NAME.route[]", config_route_fields),
    [CONFIG_MAP_BUDGET] = MAP_ROW("models.NAME.budget", config_budget_fields),
    [CONFIG_MAP_PRICE] = MAP_ROW("models.NAME.price", config_price_fields),
    [CONFIG_MAP_KEY_LIMIT] = MAP_ROW("keys[]", config_key_limit_fields),
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
bool config_check_map(struct config_ctx *x, enum config_map m, json_t *value,
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

size_t config_check_list(struct config_ctx *x, const json_t *list, size_t max,
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

size_t config_check_names(struct config_ctx *x, const json_t *map, size_t max,
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

void config_read_int(struct config_ctx *x, const json_t *map, const struct place *at,
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

/* A text member of at most max bytes; NULL when it is absent or refused (and then told). */
const char *config_read_text(struct config_ctx *x, const json_t *map, const struct place *at,
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

bool config_is_name(const char *text, bool is_tenant)
{
    size_t len = strlen(text);
    size_t good = strspn(
        text, is_tenant ? "abcdefghijklmnopqrstuvwxyz0123456789_-"
                        : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len > 0 && len == good && len < CONFIG_NAME_MAX;
}

void config_copy(const char *text, char *ret, size_t size)
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
    const struct config_member tokens = {"tokens_per_day", 0, INT64_C(1000000000000000),
                                         &t->tokens_per_day};
    config_read_int(x, map, at, &weight);
    config_read_int(x, map, at, &max_queued);
    config_read_int(x, map, at, &tokens);
    config_read_money(x, map, at, "spend_per_day", &t->spend_per_day_microusd);
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
