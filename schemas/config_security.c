/* kafka.security: what goes to the Kafka client by its own names.
 *
 * One form only: a flat map of the client's dotted names. Names that would break a promise (acks,
 * enable.auto.commit, ...) are not let through: only those of transport and identity are. A secret
 * never stands in the file; NAME_env or NAME_file says where it is. */
#include "schemas/config_priv.h"
#include <assert.h>
#include <jansson.h>

static bool config_security_allowed(struct view name)
{
    static const char *const starts[] = {"security.",       "sasl.",        "ssl.",
                                         "enable.ssl.",     "enable.sasl.", "socket.",
                                         "broker.address.", "reconnect.",   "client.rack"};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (view_starts(name, starts[i])) return true;
    return false;
}

static bool config_ends(struct view v, const char *end)
{
    size_t len = strlen(end);
    return v.len > len && memcmp(v.ptr + v.len - len, end, len) == 0;
}

static bool config_security_secret(struct view name)
{
    return config_ends(name, "password") || config_ends(name, "secret") ||
           config_ends(name, "key.pem") || view_eq_str(name, "sasl.oauthbearer.config");
}

static const char *config_env_value(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') return *env + len + 1;
    return NULL;
}

static const char *config_security_text(const json_t *value, char scratch[32])
{
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_boolean(value)) return json_is_true(value) ? "true" : "false";
    if (!json_is_integer(value)) return NULL;
    snprintf(scratch, 32, "%lld", (long long)json_integer_value(value));
    return scratch;
}

static void config_security_source(struct config_ctx *x, struct config_setting *s, struct view name,
                                   const char *text, const struct place *at)
{
    s->is_file = config_ends(name, "_file");
    s->name = config_dup(x, view_make(name.ptr, name.len - strlen(s->is_file ? "_file" : "_env")));
    s->source =
        s->is_file ? config_join(x, x->in->dir, view_of(text)) : config_dup(x, view_of(text));
    if (s->is_file) return;
    const char *value = config_env_value(x->in->env, text);
    if (value && *value)
        s->value = config_dup(x, view_of(value));
    else
        config_complain(x, at, "the environment variable %.100s is not set", text);
}

static void config_read_setting(struct config_ctx *x, const char *key, const json_t *value,
                                const struct place *at)
{
    struct view name = view_of(key);
    char scratch[32];
    const char *text = config_security_text(value, scratch);
    bool is_source = config_ends(name, "_env") || config_ends(name, "_file");
    if (json_is_object(value))
        config_complain(
            x, at, "must be text; write the name in one piece, such as `sasl.mechanism: PLAIN`");
    else if (!text || !*text)
        config_complain(x, at, "must be text");
    else if (!config_security_allowed(name))
        config_complain(x, at,
                        "only security.*, sasl.*, ssl.* and socket settings can be set here; the "
                        "rest is chosen by Sluice");
    else if (config_security_secret(name))
        config_complain(
            x, at, "a secret does not belong in this file; use %s_env: VARIABLE or %s_file: PATH",
            key, key);
    else {
        struct config_setting *s = &x->c->kafka.settings[x->c->kafka.setting_count++];
        if (is_source) {
            config_security_source(x, s, name, text, at);
            return;
        }
        s->name = config_dup(x, name);
        s->value = config_dup(x, view_of(text));
    }
}

void config_read_security(struct config_ctx *x, const struct json_t *map, const struct place *at)
{
    if (json_is_null(map)) return;
    if (!json_is_object(map) || json_object_size(map) > CONFIG_SETTINGS_MAX) {
        config_complain(x, at,
                        "must be a map of at most %d of the Kafka client's names, such as "
                        "`security.protocol: SASL_SSL`",
                        CONFIG_SETTINGS_MAX);
        return;
    }
    x->c->kafka.settings = config_room(x, json_object_size(map), sizeof *x->c->kafka.settings);
    if (!x->c->kafka.settings) return;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        struct place here = place_key(at, key);
        config_read_setting(x, key, value, &here);
    }
}
