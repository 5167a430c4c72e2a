/* Providers: what each speaks, where it is, and where its keys come from.
 *
 * Hard: a key must reach its own server and nobody else. So a key never stands in the file (only
 * the name of a variable or of a file does), the address can hold no user, query or fragment that
 * would make two programs read two hosts out of it, and a key travels without TLS only to this very
 * machine or where the operator wrote `insecure: true`. Versions and protocols that a kind does not
 * have are refused here, so that the dialects need not doubt what they are given. */
#include "schemas/config_priv.h"
#include <jansson.h>

static const struct {
    const char *name, *url, *version;
} config_kinds[] = {
    [PROVIDER_OPENAI] = {"openai", "https://api.openai.com/v1", NULL},
    [PROVIDER_AZURE] = {"azure", NULL, "2024-10-21"},
    [PROVIDER_ANTHROPIC] = {"anthropic", "https://api.anthropic.com", "2023-06-01"},
    [PROVIDER_GEMINI] = {"gemini", "https://generativelanguage.googleapis.com", "v1beta"},
    [PROVIDER_VLLM] = {"vllm", NULL, NULL},
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

/* --- the address ------------------------------------------------------------------------------ */

/* Host and port of a base_url that was accepted. */
static struct view config_url_host(const char *url)
{
    struct view v = view_of(strstr(url, "://") + 3), head, rest;
    return view_cut(v, '/', &head, &rest) ? head : v;
}

static bool config_is_loopback(struct view host)
{
    struct view name, port;
    if (view_starts(host, "[::1]")) return host.len == 5 || host.ptr[5] == ':';
    if (!view_cut(host, ':', &name, &port)) name = host;
    if (view_ieq_str(name, "localhost")) return true;
    char text[16];
    if (!view_starts(name, "127.") || !view_copy(name, text, sizeof text)) return false;
    return strspn(text, "0123456789.") == name.len;
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
    if (!is_http || strcspn(url, " @?#\\") != v.len || config_url_host(url).len == 0) {
        config_complain(x, &here,
                        "must start with http:// or https:// and hold no user, query or blank");
        return;
    }
    while (v.len > 8 && v.ptr[v.len - 1] == '/') v.len--;
    p->base_url = config_dup(x, v);
}

static void config_check_cover(struct config_ctx *x, const struct place *at,
                               const struct config_provider *p)
{
    struct place here = place_key(at, "base_url");
    if (!p->base_url || !p->key_count || p->is_insecure) return;
    if (view_starts(view_of(p->base_url), "https://")) return;
    if (config_is_loopback(config_url_host(p->base_url))) return;
    config_complain(x, &here,
                    "must be https://, for its key travels there; over a network that is safe "
                    "without TLS, add `insecure: true`");
}

/* --- keys ------------------------------------------------------------------------------------- */

/* A bare key in the place of a name would be printed as one: long, mixed, and in one piece is no
 * name that a person gives a variable. */
static bool config_looks_secret(const char *text)
{
    return strlen(text) >= 20 && !strchr(text, '_') &&
           strpbrk(text, "abcdefghijklmnopqrstuvwxyz") && strpbrk(text, "0123456789");
}

static bool config_is_variable(const char *text)
{
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
               strlen(text) &&
           !config_looks_secret(text);
}

/* One of the two members; their names differ between a single key and a pool. */
struct config_source {
    const char *env_key, *file_key, *name;
};

/* False: nothing usable was said (and then told, when it was said wrongly). */
static bool config_read_source(struct config_ctx *x, const json_t *map, const struct place *at,
                               const struct config_source *s, struct config_provider_key *ret)
{
    const char *env = config_read_text(x, map, at, s->env_key, 128);
    const char *file = config_read_text(x, map, at, s->file_key, 4096);
    struct place here = place_key(at, s->env_key);
    if (env && file)
        config_complain(x, &here, "%s and %s exclude one another", s->env_key, s->file_key);
    if (env && !config_is_variable(env)) {
        config_complain(x, &here,
                        "must be the name of an environment variable, not the key itself");
        return false;
    }
    if (env) ret->env = config_dup(x, view_of(env));
    if (file && !env) ret->file = config_join(x, x->in->dir, view_of(file));
    return env || file;
}

/* The name a key has when it was given none: its variable, or the last part of its path. */
static struct view config_source_name(const struct config_provider_key *k)
{
    const char *slash = k->file ? strrchr(k->file, '/') : NULL;
    return view_of(k->env ? k->env : slash ? slash + 1 : k->file);
}

static void config_read_pool_key(struct config_ctx *x, json_t *map, const struct place *at,
                                 struct config_provider *p)
{
    static const struct config_source source = {"env", "file", NULL};
    struct config_provider_key *k = &p->keys[p->key_count++];
    struct place here = place_key(at, "name");
    if (!config_check_map(x, CONFIG_MAP_PROVIDER_KEY, map, at)) return;
    const char *name = config_read_text(x, map, at, "name", CONFIG_NAME_MAX - 1);
    bool is_said = json_object_get(map, "env") || json_object_get(map, "file");
    if (!is_said) config_complain(x, at, "env or file is missing");
    if (!config_read_source(x, map, at, &source, k)) return;
    k->name = config_dup(x, name ? view_of(name) : config_source_name(k));
    if (!k->name) return;
    if (!config_is_name(k->name, false))
        config_complain(x, name ? &here : at,
                        "a key's name is 1 to 63 of the characters A-Z a-z 0-9 . _ -; give it one");
    bool is_twice = false;
    for (size_t i = 0; i + 1 < p->key_count; i++)
        is_twice = is_twice || (p->keys[i].name && strcmp(p->keys[i].name, k->name) == 0);
    if (is_twice) config_complain(x, name ? &here : at, "key %s stands twice", k->name);
}

static void config_read_provider_keys(struct config_ctx *x, const json_t *map,
                                      const struct place *at, struct config_provider *p)
{
    static const struct config_source source = {"api_key_env", "api_key_file", "default"};
    struct place pool = place_key(at, "api_keys");
    const json_t *list = json_object_get(map, "api_keys");
    size_t count = config_check_list(x, list, CONFIG_PROVIDER_KEYS_MAX, &pool);
    bool is_single = json_object_get(map, "api_key_env") || json_object_get(map, "api_key_file");
    if (is_single && count) {
        config_complain(x, &pool,
                        "api_keys and a single api_key_env or api_key_file exclude one "
                        "another");
        return;
    }
    p->keys = config_room(x, is_single ? 1 : count, sizeof *p->keys);
    if (!p->keys) return;
    for (size_t i = 0; i < count; i++) {
        struct place here = place_index(&pool, i);
        config_read_pool_key(x, json_array_get(list, i), &here, p);
    }
    if (!is_single || !config_read_source(x, map, at, &source, &p->keys[0])) return;
    p->keys[0].name = config_dup(x, view_of(source.name));
    p->key_count = 1;
}

/* --- protocol and version --------------------------------------------------------------------- */

static bool config_is_one_of(const char *text, const char *a, const char *b, const char *c)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || (c && strcmp(text, c) == 0);
}

/* What is wrong with this version for this kind; NULL: nothing. */
static const char *config_version_fault(enum provider_kind kind, const char *v)
{
    switch (kind) {
    case PROVIDER_OPENAI:
    case PROVIDER_VLLM:
        return "this kind has no versions but the one in its base_url";
    case PROVIDER_AZURE:
        return strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(v)
                   ? NULL
                   : "must be like 2024-10-21 or 2025-04-01-preview";
    case PROVIDER_ANTHROPIC:
        return config_is_one_of(v, "2023-06-01", "2026-10-21", NULL)
                   ? NULL
                   : "must be 2023-06-01 or 2026-10-21";
    case PROVIDER_GEMINI:
        return config_is_one_of(v, "v1", "v1beta", "v1alpha") ? NULL
                                                              : "must be v1, v1beta or v1alpha";
    }
    return NULL;
}

/* Azure's newer form: the version is in the path and the deployment in the body. */
static bool config_is_azure_v1(const struct config_provider *p)
{
    size_t len = p->base_url ? strlen(p->base_url) : 0;
    return p->kind == PROVIDER_AZURE && len >= 10 &&
           strcmp(p->base_url + len - 10, "/openai/v1") == 0;
}

static void config_read_protocol(struct config_ctx *x, const json_t *map, const struct place *at,
                                 struct config_provider *p)
{
    struct place api_at = place_key(at, "api"), version_at = place_key(at, "api_version"),
                 insecure_at = place_key(at, "insecure");
    const char *api = config_read_text(x, map, at, "api", 32);
    const char *version = config_read_text(x, map, at, "api_version", 63);
    const json_t *insecure = json_object_get(map, "insecure");
    bool is_responses = api && strcmp(api, "responses") == 0, is_v1 = config_is_azure_v1(p);
    const char *fault = version ? config_version_fault(p->kind, version) : NULL;
    if (api && !is_responses && strcmp(api, "chat") != 0)
        config_complain(x, &api_at, "must be chat or responses");
    if (api && (p->kind == PROVIDER_ANTHROPIC || p->kind == PROVIDER_GEMINI))
        config_complain(x, &api_at, "only openai, azure and vllm have a choice here");
    if (is_responses && p->kind == PROVIDER_AZURE && !is_v1 && !version)
        config_complain(x, &api_at,
                        "responses needs a base_url that ends in /openai/v1, or an "
                        "api_version such as 2025-04-01-preview");
    if (fault) config_complain(x, &version_at, "%s", fault);
    if (insecure && !json_is_boolean(insecure))
        config_complain(x, &insecure_at, "must be true or false");
    p->is_insecure = json_is_true(insecure);
    p->api = is_responses ? PROVIDER_RESPONSES : PROVIDER_CHAT;
    if (!version && !is_v1) version = config_kinds[p->kind].version;
    if (version && !fault) p->api_version = config_dup(x, view_of(version));
}

/* --- all of them ------------------------------------------------------------------------------ */

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
        config_read_provider_keys(x, value, &here, p);
        config_read_protocol(x, value, &here, p);
        config_check_cover(x, &here, p);
    }
}

void config_free_providers(struct config *c)
{
    for (size_t i = 0; i < c->provider_count; i++) {
        struct config_provider *p = &c->providers[i];
        free(p->base_url);
        free(p->api_version);
        for (size_t k = 0; k < p->key_count; k++) {
            free(p->keys[k].name);
            free(p->keys[k].env);
            free(p->keys[k].file);
        }
        free(p->keys);
    }
    free(c->providers);
}
