/* Providers' keys in memory. */
#include "consumer/secrets.h"

enum { SECRET_MAX = 4096 };

struct secrets {
    const struct config *config;
    char (*keys)[SECRET_MAX]; /* one a provider, "" = none */
};

static bool read_file(const char *path, char *dst)
{
    FILE *f = fopen(path, "r");
    size_t n;
    struct view v;

    if (!f) return false;
    n = fread(dst, 1, SECRET_MAX - 1, f);
    fclose(f);
    dst[n] = '\0';
    v = view_trim(view_make(dst, n));
    memmove(dst, v.ptr, v.len);
    dst[v.len] = '\0';
    return v.len > 0;
}

static enum err_code read_key(const struct config_provider *p, char *dst, struct err *err)
{
    const char *value = p->api_key_env && p->api_key_env[0] ? getenv(p->api_key_env) : NULL;

    if (p->api_key_file && p->api_key_file[0]) {
        if (!read_file(p->api_key_file, dst)) return err_set(err, ERR_INVALID, "providers.%s.api_key_file: no key can be read from it", p->name);
        return ERR_OK;
    }
    if (value && !view_copy(view_trim(view_of(value)), dst, SECRET_MAX))
        return err_set(err, ERR_INVALID, "providers.%s: the key in %s is too long", p->name, p->api_key_env);
    return ERR_OK;
}

struct secrets *secrets_new(const struct config *config, struct err *err)
{
    struct secrets *s = calloc(1, sizeof *s);

    if (s) s->keys = calloc(config->provider_count + 1, sizeof *s->keys);
    if (!s || !s->keys) {
        free(s);
        (void)err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    s->config = config;
    for (size_t i = 0; i < config->provider_count; i++)
        if (read_key(&config->providers[i], s->keys[i], err) != ERR_OK) {
            secrets_free(s);
            return NULL;
        }
    return s;
}

void secrets_free(struct secrets *s)
{
    if (!s) return;
    explicit_bzero(s->keys, s->config->provider_count * sizeof *s->keys);
    free(s->keys);
    free(s);
}

struct view secrets_of(void *arg, const struct config_provider *p)
{
    const struct secrets *s = arg;
    size_t i = (size_t)(p - s->config->providers);

    if (i >= s->config->provider_count || s->keys[i][0] == '\0') return VIEW_NONE;
    return view_of(s->keys[i]);
}
