/* The configuration: defaults, then the file, then the environment, then flags; last one stands.
 *
 * config.def is the only list of scalar keys. What is hard is being helpful: every fault is
 * reported with its place (not the first one only), an unknown name is answered with the nearest
 * known one, and checks over several keys blame the place the value came from. So each entry
 * remembers its origin. An environment variable that starts like one of ours and is not a key is a
 * fault too, apart from the ones Kubernetes makes by itself for a Service called sluice-gateway. */
#include "schemas/config_priv.h"
#include "schemas/suggest.h"
#include <assert.h>
#include <jansson.h>
#include <stdarg.h>

static const struct config_entry config_table[] = {
#define KEY(section, key, member, type, fallback, min, max, choices, reloadable, help)             \
    {                                                                                              \
        #section,      #key,     offsetof(struct config, member),                                  \
        CONFIG_##type, fallback, min,                                                              \
        max,           choices,  reloadable,                                                       \
        help},
#include "schemas/config.def"
#undef KEY
};
enum { CONFIG_ENTRY_COUNT = sizeof config_table / sizeof config_table[0] };
_Static_assert((int)CONFIG_ENTRY_COUNT <= (int)CONFIG_ENTRY_MAX, "raise CONFIG_ENTRY_MAX");

static const char *const config_maps[] = {"tenants", "providers", "models", "keys"};

const struct config_entry *config_entries(size_t *ret_count)
{
    *ret_count = CONFIG_ENTRY_COUNT;
    return config_table;
}

/* --- complaints ------------------------------------------------------------------------------- */

static void config_complain_va(struct config_ctx *x, const char *where, const char *fmt,
                               va_list args) PRINTF_LIKE(3, 0);
static void config_complain_va(struct config_ctx *x, const char *where, const char *fmt,
                               va_list args)
{
    char line[1024];
    int head = snprintf(line, sizeof line, "%s: ", where);
    assert(head > 0);
    size_t used = (size_t)head < sizeof line ? (size_t)head : sizeof line - 1;
    vsnprintf(line + used, sizeof line - used, fmt, args);
    if (x->error_count++ == 0) snprintf(x->first, sizeof x->first, "%.255s", line);
    if (x->errors && buf_put_str(x->errors, line)) buf_put_char(x->errors, '\n');
}

void config_complain_of(struct config_ctx *x, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    config_complain_va(x, where, fmt, args);
    va_end(args);
}

static void config_where(const struct config_ctx *x, const struct place *at, char *ret, size_t size)
{
    unsigned line = x->doc ? yaml_line(x->doc, at->pointer) : 0;
    snprintf(ret, size, "%s:%u: %s", x->in->name ? x->in->name : "config", line, at->path);
}

void config_complain(struct config_ctx *x, const struct place *at, const char *fmt, ...)
{
    char where[512];
    config_where(x, at, where, sizeof where);
    va_list args;
    va_start(args, fmt);
    config_complain_va(x, where, fmt, args);
    va_end(args);
}

char *config_dup(struct config_ctx *x, struct view text)
{
    char *copy = view_dup(text);
    if (!copy) x->no_memory = true;
    return copy;
}

void *config_room(struct config_ctx *x, size_t count, size_t size)
{
    if (count == 0) return NULL;
    void *room = calloc(count, size);
    if (!room) x->no_memory = true;
    return room;
}

/* --- the table -------------------------------------------------------------------------------- */

static void config_name_of(const struct config_entry *e, char ret[SUGGEST_NAME_MAX])
{
    snprintf(ret, SUGGEST_NAME_MAX, "%s.%s", e->section, e->key);
}

static void config_env_of(const struct config_entry *e, char ret[SUGGEST_NAME_MAX])
{
    snprintf(ret, SUGGEST_NAME_MAX, "SLUICE_%s_%s", e->section, e->key);
    for (char *p = ret; *p; p++)
        if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 'a' + 'A');
}

typedef void config_name_fn(const struct config_entry *e, char ret[SUGGEST_NAME_MAX]);

static const struct config_entry *config_entry_find(struct view name, config_name_fn *name_of)
{
    char text[SUGGEST_NAME_MAX];
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++) {
        name_of(&config_table[i], text);
        if (view_eq_str(name, text)) return &config_table[i];
    }
    return NULL;
}

/* What follows "section." or "SLUICE_SECTION_". */
static struct view config_leaf(struct view name)
{
    struct view head, tail, rest;
    if (view_cut(name, '.', &head, &tail)) return tail;
    if (view_cut(name, '_', &head, &tail) && view_cut(tail, '_', &head, &rest)) return rest;
    return name;
}

/* The nearest name, or another section's key of the same name. False: none. */
static bool config_entry_near(struct view name, config_name_fn *name_of, char ret[SUGGEST_NAME_MAX])
{
    struct suggest s;
    suggest_init(&s, config_leaf(name));
    s.wanted = name; /* the section is no part of what may differ */
    const struct config_entry *best = NULL;
    char text[SUGGEST_NAME_MAX];
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++) {
        name_of(&config_table[i], text);
        unsigned before = s.distance;
        suggest_offer(&s, view_of(text));
        if (s.distance < before) best = &config_table[i];
    }
    struct view section, key;
    for (size_t i = 0; !best && view_cut(name, '.', &section, &key) && i < CONFIG_ENTRY_COUNT; i++)
        if (view_eq_str(key, config_table[i].key)) best = &config_table[i];
    if (best) name_of(best, ret);
    return best != NULL;
}

static bool config_is_section(struct view name)
{
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++)
        if (view_eq_str(name, config_table[i].section)) return true;
    return false;
}

static void config_put(struct config_ctx *x, const struct config_entry *e,
                       enum config_origin origin, struct view text, const char *where)
{
    size_t before = x->error_count;
    const char *dir =
        origin == CONFIG_FROM_FILE || origin == CONFIG_FROM_DEFAULT ? x->in->dir : x->in->cwd;
    config_set(x, e, text, dir, where);
    if (x->error_count == before) x->origins[e - config_table] = origin;
}

static void config_set_defaults(struct config_ctx *x)
{
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++)
        config_put(x, &config_table[i], CONFIG_FROM_DEFAULT, view_of(config_table[i].fallback),
                   "built-in default");
    assert(x->error_count == 0);
}

/* --- the file --------------------------------------------------------------------------------- */

static void config_read_list(struct config_ctx *x, const struct config_entry *e, const json_t *list,
                             const struct place *at)
{
    struct buf text;
    buf_init(&text, 64 << 10);
    bool ok = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        struct place here = place_index(at, i);
        if (!item || strchr(item, ',')) {
            config_complain(x, &here, "must be text");
            ok = false;
        } else {
            ok = (i == 0 || buf_put_char(&text, ',')) && buf_put_str(&text, item) && ok;
        }
    }
    char where[512];
    config_where(x, at, where, sizeof where);
    if (ok) config_put(x, e, CONFIG_FROM_FILE, buf_view(&text), where);
    buf_fini(&text);
}

static bool config_is_numeric(enum config_type t)
{
    return t == CONFIG_INT || t == CONFIG_SIZE || t == CONFIG_REAL;
}

/* Text of a scalar node; NULL: not one that this entry takes. */
static const char *config_scalar_text(const struct config_entry *e, const json_t *value,
                                      char scratch[40])
{
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_boolean(value) && e->type == CONFIG_BOOL)
        return json_is_true(value) ? "true" : "false";
    if (json_is_integer(value) && e->type != CONFIG_DURATION && e->type != CONFIG_BOOL)
        snprintf(scratch, 40, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value) && config_is_numeric(e->type))
        snprintf(scratch, 40, "%.17g", json_real_value(value));
    else
        return NULL;
    return scratch;
}

static const char *config_scalar_hint(const struct config_entry *e, const json_t *value)
{
    if (json_is_null(value)) return "; it has no value here";
    bool is_duration = e->type == CONFIG_DURATION;
    if (json_is_number(value) && is_duration) return "; a number needs its unit (ms s m h d)";
    return json_is_real(value) && e->type < CONFIG_LIST ? "; put it in quotes" : "";
}

static void config_read_scalar(struct config_ctx *x, const struct config_entry *e,
                               const json_t *value, const struct place *at)
{
    char scratch[40], where[512];
    if (e->type == CONFIG_LIST && json_is_array(value)) {
        config_read_list(x, e, value, at);
        return;
    }
    const char *text = config_scalar_text(e, value, scratch);
    if (text) {
        config_where(x, at, where, sizeof where);
        config_put(x, e, CONFIG_FROM_FILE, view_of(text), where);
        return;
    }
    struct buf want;
    buf_init(&want, 512);
    const char *hint = config_scalar_hint(e, value);
    if (config_put_type(&want, e))
        config_complain(x, at, "must be %.*s%s", (int)want.len, want.data, hint);
    buf_fini(&want);
}

static void config_read_section(struct config_ctx *x, const char *section, json_t *map,
                                const struct place *at)
{
    const char *key;
    json_t *value;
    char near[SUGGEST_NAME_MAX];
    if (json_is_null(map)) return;
    if (!json_is_object(map)) {
        config_complain(x, at, "must be a map of keys, such as `%s: {...}`", section);
        return;
    }
    json_object_foreach(map, key, value)
    {
        struct place here = place_key(at, key);
        const struct config_entry *e = config_entry_find(view_of(here.path), config_name_of);
        if (e)
            config_read_scalar(x, e, value, &here);
        else if (strcmp(section, "kafka") == 0 && strcmp(key, "security") == 0)
            config_read_security(x, value, &here);
        else if (config_entry_near(view_of(here.path), config_name_of, near))
            config_complain(x, &here, "unknown key; did you mean %s?", near);
        else
            config_complain(x, &here, "unknown key; --help lists those of %s", section);
    }
}

static void config_unknown_top(struct config_ctx *x, const char *key, const struct place *at)
{
    const struct config_entry *e = config_entry_find(view_of(key), config_name_of);
    if (e) {
        config_complain(x, at, "write it as `%s: {%s: ...}`", e->section, e->key);
        return;
    }
    struct suggest s;
    suggest_init(&s, view_of(key));
    for (size_t i = 0; i < sizeof config_maps / sizeof config_maps[0]; i++)
        suggest_offer(&s, view_of(config_maps[i]));
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++)
        suggest_offer(&s, view_of(config_table[i].section));
    if (s.best.ptr)
        config_complain(x, at, "unknown key; did you mean %.*s?", (int)s.best.len, s.best.ptr);
    else
        config_complain(x, at, "unknown key; --help lists the sections");
}

static void config_read_file(struct config_ctx *x)
{
    json_t *root = yaml_root(x->doc), *value;
    const char *key;
    if (json_is_null(root)) return;
    if (!json_is_object(root)) {
        config_complain_of(x, x->in->name, "must be a map of sections, such as `kafka: {...}`");
        return;
    }
    json_object_foreach(root, key, value)
    {
        struct place at = place_key(NULL, key);
        if (strcmp(key, "tenants") == 0)
            config_read_tenants(x, value, &at);
        else if (strcmp(key, "providers") == 0)
            config_read_providers(x, value, &at);
        else if (strcmp(key, "models") == 0)
            config_read_models(x, value, &at);
        else if (strcmp(key, "keys") == 0)
            config_read_key_limits(x, value, &at);
        else if (config_is_section(view_of(key)))
            config_read_section(x, key, value, &at);
        else
            config_unknown_top(x, key, &at);
    }
}

/* --- environment and flags -------------------------------------------------------------------- */

/* What the kubelet adds for a Service: SLUICE_GATEWAY_SERVICE_HOST, SLUICE_GATEWAY_PORT=tcp://...,
 * ..._PORT_80_TCP_ADDR. */
static bool config_is_service_link(struct view name, struct view value)
{
    char text[256];
    if (!view_copy(name, text, sizeof text)) return false;
    const char *port = strstr(text, "_PORT");
    bool is_url = view_starts(value, "tcp://") || view_starts(value, "udp://");
    if (strstr(text, "_SERVICE_HOST") || strstr(text, "_SERVICE_PORT")) return true;
    return port && (is_url || (port[5] == '_' && port[6] >= '0' && port[6] <= '9'));
}

static bool config_is_ours(struct view name)
{
    char prefix[SUGGEST_NAME_MAX];
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++) {
        config_env_of(&config_table[i], prefix);
        prefix[strlen("SLUICE_") + strlen(config_table[i].section) + 1] = '\0';
        if (view_starts(name, prefix)) return true;
    }
    return false;
}

static void config_read_env(struct config_ctx *x)
{
    struct view name, value;
    char where[160], near[SUGGEST_NAME_MAX];
    for (char *const *p = x->in->env; p && *p; p++) {
        if (!view_cut(view_of(*p), '=', &name, &value) || !config_is_ours(name)) continue;
        const struct config_entry *e = config_entry_find(name, config_env_of);
        snprintf(where, sizeof where, "environment: %.*s", (int)(name.len < 100 ? name.len : 100),
                 name.ptr);
        if (e)
            config_put(x, e, CONFIG_FROM_ENV, value, where);
        else if (config_is_service_link(name, value))
            continue;
        else if (config_entry_near(name, config_env_of, near))
            config_complain_of(x, where, "unknown setting; did you mean %s?", near);
        else
            config_complain_of(x, where, "unknown setting; unset it or see --help");
    }
}

static void config_read_flag(struct config_ctx *x, const char *flag)
{
    char where[160], near[SUGGEST_NAME_MAX];
    struct view name = view_of(flag), value = VIEW_NONE;
    if (!view_cut(view_of(flag), '=', &name, &value)) value = VIEW_NONE;
    snprintf(where, sizeof where, "%.*s", (int)(name.len < 150 ? name.len : 150), name.ptr);
    if (!view_starts(name, "--")) {
        config_complain_of(x, where, "not a flag; settings are written --section.key=value");
        return;
    }
    name = view_make(name.ptr + 2, name.len - 2);
    const struct config_entry *e = config_entry_find(name, config_name_of);
    if (e && !value.ptr && e->type == CONFIG_BOOL) value = VIEW_LIT("true");
    if (e && value.ptr)
        config_put(x, e, CONFIG_FROM_FLAG, value, where);
    else if (e)
        config_complain_of(x, where, "needs a value: --%s.%s=VALUE", e->section, e->key);
    else if (config_entry_near(name, config_name_of, near))
        config_complain_of(x, where, "unknown flag; did you mean --%s?", near);
    else
        config_complain_of(x, where, "unknown flag; --help lists them");
}

/* --- what only the whole can tell ------------------------------------------------------------- */

static void config_complain_key(struct config_ctx *x, const char *name, const char *text)
{
    const struct config_entry *e = config_entry_find(view_of(name), config_name_of);
    assert(e);
    char where[512], env[SUGGEST_NAME_MAX];
    struct place section = place_key(NULL, e->section), at = place_key(&section, e->key);
    enum config_origin origin = x->origins[e - config_table];
    config_env_of(e, env);
    if (origin == CONFIG_FROM_ENV)
        snprintf(where, sizeof where, "environment: %s", env);
    else if (origin == CONFIG_FROM_FLAG)
        snprintf(where, sizeof where, "--%s", name);
    else if (x->doc)
        config_where(x, &at, where, sizeof where);
    else
        snprintf(where, sizeof where, "%s", name);
    config_complain_of(x, where, "%s", text);
}

static void config_finish(struct config_ctx *x)
{
    struct config *c = x->c;
    config_check_models(x);
    if (c->kafka.lanes > c->kafka.partitions)
        config_complain_key(x, "kafka.lanes",
                            "must be at most kafka.partitions; 0 chooses min(4, partitions)");
    if (c->kafka.lanes == 0) c->kafka.lanes = c->kafka.partitions < 4 ? c->kafka.partitions : 4;
    if (c->retention.events_ms > c->retention.results_ms)
        config_complain_key(
            x, "retention.events",
            "must be at most retention.results: events are read through the result's entry");
    bool has_port =
        !view_eq_str(view_make(c->gateway.admin + strlen(c->gateway.admin) - 2, 2), ":0");
    if (has_port && strcmp(c->gateway.admin, c->gateway.listen) == 0)
        config_complain_key(x, "gateway.admin", "must be another address than gateway.listen");
    if (c->consumer.name[0] == '\0' && x->in->worker_name) {
        char *name = config_dup(x, view_of(x->in->worker_name));
        if (!name) return;
        free(c->consumer.name);
        c->consumer.name = name;
    }
}

static enum err_code config_verdict(const struct config_ctx *x, struct err *err)
{
    if (x->no_memory) return err_set(err, ERR_NOMEM, "read the configuration: out of memory");
    if (x->error_count == 0) return ERR_OK;
    if (x->error_count == 1) return err_set(err, ERR_INVALID, "%.255s", x->first);
    return err_set(err, ERR_INVALID, "%.200s (and %zu more)", x->first, x->error_count - 1);
}

enum err_code config_build(const struct config_input *in, struct config **ret, struct buf *errors,
                           struct err *err)
{
    assert(in && ret);
    struct config_ctx x = {.in = in, .errors = errors};
    struct err fault = {.code = ERR_OK};
    x.c = calloc(1, sizeof *x.c);
    if (!x.c) return err_set(err, ERR_NOMEM, "read the configuration: out of memory");
    config_set_defaults(&x);
    enum err_code code = x.no_memory ? ERR_NOMEM : ERR_OK;
    if (code == ERR_OK && in->text.ptr) code = yaml_parse(in->text, in->name, &x.doc, &fault);
    if (code == ERR_INVALID || code == ERR_TOO_LARGE)
        config_complain_of(&x, fault.where[0] ? fault.where : in->name, "%s", fault.text);
    else if (code != ERR_OK)
        x.no_memory = true;
    else if (x.doc)
        config_read_file(&x);
    if (!x.no_memory) config_read_env(&x);
    for (size_t i = 0; !x.no_memory && i < in->flag_count; i++) config_read_flag(&x, in->flags[i]);
    if (!x.no_memory) config_finish(&x);
    yaml_doc_free(x.doc);
    code = config_verdict(&x, err);
    if (code == ERR_OK)
        *ret = x.c;
    else
        config_free(x.c);
    return code;
}

/* --- afterwards ------------------------------------------------------------------------------- */

static void config_free_lists(struct config *c)
{
    for (size_t i = 0; i < c->kafka.setting_count; i++) {
        free(c->kafka.settings[i].name);
        free(c->kafka.settings[i].value);
        free(c->kafka.settings[i].source);
    }
    free(c->kafka.settings);
    for (size_t i = 0; i < c->gateway.cors_origin_count; i++) free(c->gateway.cors_origins[i]);
    free(c->gateway.cors_origins);
    for (size_t i = 0; i < c->tenant_count; i++) free(c->tenants[i].keys);
    free(c->tenants);
    config_free_providers(c);
    for (size_t i = 0; i < c->model_count; i++) free(c->models[i].routes);
    free(c->models);
    config_free_key_limits(c);
}

void config_free(struct config *c)
{
    if (!c) return;
    for (size_t i = 0; i < CONFIG_ENTRY_COUNT; i++) {
        const struct config_entry *e = &config_table[i];
        if (e->type < CONFIG_LIST) free(*(char **)config_slot(c, e));
    }
    config_free_lists(c);
    free(c);
}

const struct config_tenant *config_tenant_find(const struct config *c, struct view id)
{
    for (size_t i = 0; i < c->tenant_count; i++)
        if (view_eq_str(id, c->tenants[i].id)) return &c->tenants[i];
    return NULL;
}

const struct config_model *config_model_find(const struct config *c, struct view name)
{
    for (size_t i = 0; i < c->model_count; i++)
        if (view_eq_str(name, c->models[i].name)) return &c->models[i];
    return NULL;
}

const struct config_provider *config_provider_find(const struct config *c, struct view name)
{
    for (size_t i = 0; i < c->provider_count; i++)
        if (view_eq_str(name, c->providers[i].name)) return &c->providers[i];
    return NULL;
}
