/* The configuration told back: effective values as YAML, and the keys as a page or as --help.
 *
 * What is printed can be read again as a configuration of the same meaning (a test does it), a
 * password in the URL of Redis apart, which is masked. Other secrets are never in the struct's
 * printable part: only the name of their source is. */
#include "common/base/json.h"
#include "schemas/config_priv.h"
#include <assert.h>

/* --- scalars ---------------------------------------------------------------------------------- */

static bool config_put_quoted(struct buf *out, const char *text)
{
    struct jw w;
    jw_init(&w, out);
    jw_cstr(&w, text ? text : "");
    return !out->failed;
}

/* redis://user:***@host: what stands between the colon and the last @. */
static bool config_put_url(struct buf *out, const char *url)
{
    const char *start = strstr(url, "://"), *at = strrchr(url, '@');
    if (!start || !at || at < start) return config_put_quoted(out, url);
    start += 3;
    const char *colon = memchr(start, ':', (size_t)(at - start));
    size_t keep = (size_t)((colon ? colon + 1 : start) - url);
    struct buf masked;
    buf_init(&masked, 4096);
    bool ok = buf_put(&masked, url, keep) && buf_put_str(&masked, "***") &&
              buf_put_str(&masked, at) && buf_put_char(&masked, '\0') &&
              config_put_quoted(out, masked.data);
    buf_fini(&masked);
    return ok;
}

static bool config_put_origins(struct buf *out, const struct config *c)
{
    bool ok = buf_put_char(out, '[');
    for (size_t i = 0; ok && i < c->gateway.cors_origin_count; i++)
        ok = (i == 0 || buf_put_str(out, ", ")) &&
             config_put_quoted(out, c->gateway.cors_origins[i]);
    return ok && buf_put_char(out, ']');
}

static bool config_put_value(struct buf *out, const struct config *c, const struct config_entry *e)
{
    const void *slot = config_slot(c, e);
    switch (e->type) {
    case CONFIG_TEXT:
    case CONFIG_WORD:
    case CONFIG_PATH:
    case CONFIG_ADDRESS:
    case CONFIG_BROKERS:
    case CONFIG_CHOICE:
        return config_put_quoted(out, *(char *const *)slot);
    case CONFIG_URL:
        return config_put_url(out, *(char *const *)slot);
    case CONFIG_LIST:
        return config_put_origins(out, c);
    case CONFIG_INT:
    case CONFIG_SIZE:
        return buf_put_i64(out, *(const int64_t *)slot);
    case CONFIG_REAL:
        return buf_printf(out, "%.10g", *(const double *)slot);
    case CONFIG_DURATION:
        return config_put_duration(out, *(const int64_t *)slot);
    case CONFIG_BOOL:
        return buf_put_str(out, *(const bool *)slot ? "true" : "false");
    }
    assert(false && "unknown type");
    return false;
}

/* --- lists and maps --------------------------------------------------------------------------- */

static void config_put_security(struct buf *out, const struct config *c)
{
    if (c->kafka.setting_count) buf_put_str(out, "  security:\n");
    for (size_t i = 0; i < c->kafka.setting_count; i++) {
        const struct config_setting *s = &c->kafka.settings[i];
        buf_printf(out, "    %s%s: ", s->name, !s->source ? "" : s->is_file ? "_file" : "_env");
        config_put_quoted(out, s->source ? s->source : s->value);
        buf_put_char(out, '\n');
    }
}

static void config_put_key(struct buf *out, const struct config_key *k)
{
    static const char *const names[] = {"submit", "read", "admin"};
    buf_put_str(out, "      - {sha256: \"");
    for (size_t i = 0; i < sizeof k->sha256; i++) buf_printf(out, "%02x", k->sha256[i]);
    buf_put_str(out, "\", scopes: [");
    bool is_first = true;
    for (unsigned i = 0; i < 3; i++) {
        if (!(k->scopes & 1U << i)) continue;
        buf_printf(out, "%s%s", is_first ? "" : ", ", names[i]);
        is_first = false;
    }
    buf_put_str(out, "]}\n");
}

/* Millionths of a dollar as dollars, exactly. */
static void config_put_money(struct buf *out, int64_t microusd)
{
    char text[40];
    int len = snprintf(text, sizeof text, "%lld.%06lld", (long long)(microusd / 1000000),
                       (long long)(microusd % 1000000));
    while (text[len - 1] == '0') len--;
    if (text[len - 1] == '.') len--;
    buf_put(out, text, (size_t)len);
}

static void config_put_tenants(struct buf *out, const struct config *c)
{
    buf_put_str(out, c->tenant_count ? "tenants:\n" : "tenants: []\n");
    for (size_t i = 0; i < c->tenant_count; i++) {
        const struct config_tenant *t = &c->tenants[i];
        buf_printf(out, "  - id: \"%s\"\n    weight: %lld\n    max_queued: %lld\n", t->id,
                   (long long)t->weight, (long long)t->max_queued);
        buf_printf(out, "    tokens_per_day: %lld\n", (long long)t->tokens_per_day);
        if (t->spend_per_day_microusd) {
            buf_put_str(out, "    spend_per_day: ");
            config_put_money(out, t->spend_per_day_microusd);
            buf_put_char(out, '\n');
        }
        buf_put_str(out, t->key_count ? "    keys:\n" : "    keys: []\n");
        for (size_t k = 0; k < t->key_count; k++) config_put_key(out, &t->keys[k]);
    }
}

static void config_put_member(struct buf *out, const char *key, const char *value)
{
    if (!value) return;
    buf_printf(out, "    %s: ", key);
    config_put_quoted(out, value);
    buf_put_char(out, '\n');
}

/* A single unnamed key is told back as it was written; a pool as a pool. */
static void config_put_provider_keys(struct buf *out, const struct config_provider *p)
{
    if (p->key_count == 1 && strcmp(p->keys[0].name, "default") == 0) {
        config_put_member(out, "api_key_env", p->keys[0].env);
        config_put_member(out, "api_key_file", p->keys[0].file);
        return;
    }
    if (p->key_count) buf_put_str(out, "    api_keys:\n");
    for (size_t i = 0; i < p->key_count; i++) {
        const struct config_provider_key *k = &p->keys[i];
        buf_printf(out, "      - {name: \"%s\", %s: ", k->name, k->env ? "env" : "file");
        config_put_quoted(out, k->env ? k->env : k->file);
        buf_put_str(out, "}\n");
    }
}

static void config_put_providers(struct buf *out, const struct config *c)
{
    buf_put_str(out, c->provider_count ? "providers:\n" : "providers: {}\n");
    for (size_t i = 0; i < c->provider_count; i++) {
        const struct config_provider *p = &c->providers[i];
        buf_printf(out, "  \"%s\":\n    kind: %s\n", p->name, config_provider_kind_name(p->kind));
        config_put_member(out, "base_url", p->base_url);
        config_put_provider_keys(out, p);
        if (p->api == PROVIDER_RESPONSES) buf_put_str(out, "    api: responses\n");
        config_put_member(out, "api_version", p->api_version);
        if (p->is_insecure) buf_put_str(out, "    insecure: true\n");
    }
}

static void config_put_budget(struct buf *out, const struct config_budget *b)
{
    buf_printf(out,
               "{requests_per_minute: %lld, input_tokens_per_minute: %lld, "
               "output_tokens_per_minute: %lld, tokens_per_minute: %lld, requests_per_day: %lld, "
               "concurrency: %lld, ",
               (long long)b->requests_per_minute, (long long)b->input_tokens_per_minute,
               (long long)b->output_tokens_per_minute, (long long)b->tokens_per_minute,
               (long long)b->requests_per_day, (long long)b->concurrency);
    if (b->spend_per_day_microusd) {
        buf_put_str(out, "spend_per_day: ");
        config_put_money(out, b->spend_per_day_microusd);
        buf_put_str(out, ", ");
    }
    if (b->quantum_ms) {
        buf_put_str(out, "quantum: ");
        config_put_duration(out, b->quantum_ms);
        buf_put_str(out, ", ");
    }
    buf_printf(out, "start: %lld, learn: %s}", (long long)b->start, b->learn ? "true" : "false");
}

/* What was not given is not told: it would read back as a price of nothing. */
static void config_put_price(struct buf *out, const struct config_price *p)
{
    bool is_free = !(p->input_per_million > 0 || p->output_per_million > 0);
    if (is_free && !p->is_complete)
        buf_put_str(out, "{}");
    else
        buf_printf(out,
                   "{input_per_million: %.10g, output_per_million: %.10g, "
                   "cached_input_per_million: %.10g}",
                   p->input_per_million, p->output_per_million, p->cached_input_per_million);
}

static void config_put_route(struct buf *out, const struct config_route *r)
{
    buf_printf(out, "      - {provider: \"%s\", model: ", r->provider);
    config_put_quoted(out, r->model);
    if (r->context_tokens) buf_printf(out, ", context_tokens: %lld", (long long)r->context_tokens);
    if (r->has_budget) buf_put_str(out, ", budget: ");
    if (r->has_budget) config_put_budget(out, &r->budget);
    if (r->has_price) buf_put_str(out, ", price: ");
    if (r->has_price) config_put_price(out, &r->price);
    buf_put_str(out, "}\n");
}

static void config_put_models(struct buf *out, const struct config *c)
{
    buf_put_str(out, c->model_count ? "models:\n" : "models: {}\n");
    for (size_t i = 0; i < c->model_count; i++) {
        const struct config_model *m = &c->models[i];
        buf_printf(out, "  \"%s\":\n    route:\n", m->name);
        for (size_t k = 0; k < m->route_count; k++) config_put_route(out, &m->routes[k]);
        buf_put_str(out, "    failover: ");
        config_put_failover(out, m->failover);
        if (m->has_budget) buf_put_str(out, "\n    budget: ");
        if (m->has_budget) config_put_budget(out, &m->budget);
        if (m->has_price) buf_put_str(out, "\n    price: ");
        if (m->has_price) config_put_price(out, &m->price);
        buf_put_char(out, '\n');
    }
}

static void config_put_key_limits(struct buf *out, const struct config *c)
{
    buf_put_str(out, c->key_limit_count ? "keys:\n" : "keys: []\n");
    for (size_t i = 0; i < c->key_limit_count; i++) {
        const struct config_key_limit *l = &c->key_limits[i];
        buf_put_str(out, "  - {match: ");
        config_put_quoted(out, l->match);
        buf_printf(out, ", concurrency: %lld, per_minute: %lld}\n", (long long)l->concurrency,
                   (long long)l->per_minute);
    }
}

bool config_print(const struct config *c, struct buf *out)
{
    size_t count;
    const struct config_entry *table = config_entries(&count);
    const char *section = "";
    for (size_t i = 0; i < count; i++) {
        const struct config_entry *e = &table[i];
        if (strcmp(section, e->section) != 0) buf_printf(out, "%s:\n", e->section);
        section = e->section;
        buf_printf(out, "  %s: ", e->key);
        config_put_value(out, c, e);
        buf_put_char(out, '\n');
        bool is_last = i + 1 == count || strcmp(table[i + 1].section, section) != 0;
        if (is_last && strcmp(section, "kafka") == 0) config_put_security(out, c);
    }
    config_put_tenants(out, c);
    config_put_providers(out, c);
    config_put_models(out, c);
    config_put_key_limits(out, c);
    return !out->failed;
}

/* --- the keys as a page ----------------------------------------------------------------------- */

static const char config_intro[] =
    "# Configuration\n\n"
    "<!-- From schemas/config.def; the unit test of the configuration holds it current and, run\n"
    "with UPDATE=1, writes it. -->\n\n"
    "One `sluice.yaml` serves every process: `--config FILE`, or `SLUICE_CONFIG`. A key of a\n"
    "section can be overridden by the environment (`SLUICE_<SECTION>_<KEY>`, such as\n"
    "`SLUICE_GATEWAY_LISTEN`) and, above that, by a flag (`--gateway.listen=127.0.0.1:8080`).\n"
    "Unknown keys, unknown flags, and variables that start like one of ours are errors. `--check`\n"
    "reports every fault with file, line and fix; `--print-config` shows the effective values,\n"
    "secrets masked. At SIGHUP the gateway reads tenants, workflows and the token key anew; all else\n"
    "takes a restart, a worker's limits, routes and prices too.\n\n"
    "Durations are an integer and a unit (`ms s m h d`), sizes are bytes or `KiB MiB GiB`. A path\n"
    "is relative to the file it stands in; in a variable or a flag, to the working folder.\n";

static const char config_security_text[] =
    "\n## kafka.security\n\n"
    "A flat map of the Kafka client's own names: `security.*`, `sasl.*`, `ssl.*` and a few of the "
    "socket. Secrets do not stand in the\n"
    "file: write `NAME_env: VARIABLE` or `NAME_file: PATH`.\n\n"
    "```yaml\n"
    "kafka:\n"
    "  security:\n"
    "    security.protocol: SASL_SSL\n"
    "    sasl.mechanism: SCRAM-SHA-512\n"
    "    sasl.username: sluice\n"
    "    sasl.password_env: KAFKA_PASSWORD\n"
    "    ssl.ca.location: /etc/ssl/kafka-ca.pem\n"
    "```\n";

/* The type, without the bar that would end a cell of the table. */
static void config_put_cell(struct buf *out, const struct config_entry *e)
{
    size_t start = out->len;
    if (!config_put_type(out, e)) return;
    for (size_t i = start; i < out->len; i++)
        if (out->data[i] == '|') out->data[i] = '/';
}

static void config_put_page_scalars(struct buf *out)
{
    size_t count;
    const struct config_entry *table = config_entries(&count);
    const char *section = "";
    for (size_t i = 0; i < count; i++) {
        const struct config_entry *e = &table[i];
        if (strcmp(section, e->section) != 0)
            buf_printf(out, "\n## %s\n\n| key | default | value | meaning |\n|---|---|---|---|\n",
                       e->section);
        section = e->section;
        buf_printf(out, "| `%s` | %s%s%s | ", e->key, e->fallback[0] ? "`" : "", e->fallback,
                   e->fallback[0] ? "`" : "");
        config_put_cell(out, e);
        buf_printf(out, " | %s |\n", e->help);
    }
}

static void config_put_page_maps(struct buf *out)
{
    for (int m = 0; m < CONFIG_MAP_COUNT; m++) {
        size_t count;
        const struct config_field *fields = config_map_fields((enum config_map)m, &count);
        buf_printf(out, "\n## %s\n\n| key | default | value | meaning |\n|---|---|---|---|\n",
                   config_map_name((enum config_map)m));
        for (size_t i = 0; i < count; i++)
            buf_printf(out, "| `%s` | %s | %s | %s |\n", fields[i].name,
                       fields[i].fallback ? fields[i].fallback : "required", fields[i].type,
                       fields[i].help);
    }
}

static void config_put_help(struct buf *out)
{
    size_t count;
    const struct config_entry *table = config_entries(&count);
    buf_put_str(out, "Settings (--section.key=VALUE, SLUICE_SECTION_KEY, or in the file):\n");
    for (size_t i = 0; i < count; i++) {
        const struct config_entry *e = &table[i];
        size_t before = out->len;
        buf_printf(out, "  --%s.%s=%s", e->section, e->key, e->fallback);
        while (out->len - before < 44 && buf_put_char(out, ' ')) {
        }
        buf_printf(out, " %s\n", e->help);
    }
    buf_put_str(out, "Tenants, providers, models and kafka.security stand in the file; "
                     "schemas/CONFIG.md lists their keys.\n");
}

bool config_print_keys(struct buf *out, bool markdown)
{
    if (!markdown) {
        config_put_help(out);
        return !out->failed;
    }
    buf_put_str(out, config_intro);
    config_put_page_scalars(out);
    buf_put_str(out, config_security_text);
    config_put_page_maps(out);
    return !out->failed;
}
