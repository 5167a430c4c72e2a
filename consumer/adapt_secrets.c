/* API keys of the providers: read once at the start, kept apart from the configuration so that
 * nothing that prints it can print them. */
#include "consumer/adapt.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SECRET_MAX = 8192 };

struct secrets {
    const struct config *config;
    size_t count;
    char **texts; /* by provider; NULL = none */
};

static char *secrets_from_file(const char *path, struct err *err)
{
    char bytes[SECRET_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
    if (n < 0) (void)err_set(err, ERR_INVALID, "api_key_file %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (n < 0) return NULL;
    char *text = view_dup(view_trim(view_make(bytes, (size_t)n)));
    memset(bytes, 0, sizeof bytes);
    if (!text) (void)err_set(err, ERR_NOMEM, "out of memory");
    return text;
}

static enum err_code secrets_read(const struct config_provider *p, char **ret, struct err *err)
{
    if (p->api_key_file && p->api_key_file[0]) {
        *ret = secrets_from_file(p->api_key_file, err);
        return *ret ? ERR_OK : err->code;
    }
    const char *value = p->api_key_env && p->api_key_env[0] ? getenv(p->api_key_env) : NULL;
    if (!value || !value[0]) return ERR_OK; /* a provider without a key: a local one */
    *ret = view_dup(view_of(value));
    return *ret ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
}

enum err_code secrets_load(const struct config *config, struct secrets **ret, struct err *err)
{
    struct secrets *s = calloc(1, sizeof *s);
    if (!s) return err_set(err, ERR_NOMEM, "out of memory");
    s->config = config;
    s->count = config->provider_count;
    s->texts = calloc(s->count + 1, sizeof *s->texts);
    enum err_code code = s->texts ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; code == ERR_OK && i < s->count; i++)
        code = secrets_read(&config->providers[i], &s->texts[i], err);
    if (code == ERR_OK) {
        *ret = s;
    } else {
        secrets_free(s);
    }
    return code;
}

void secrets_free(struct secrets *s)
{
    if (!s) return;
    for (size_t i = 0; s->texts && i < s->count; i++) {
        if (s->texts[i]) memset(s->texts[i], 0, strlen(s->texts[i]));
        free(s->texts[i]);
    }
    free(s->texts);
    free(s);
}

struct view secrets_find(void *secrets, const struct config_provider *p)
{
    const struct secrets *s = secrets;
    size_t i = (size_t)(p - s->config->providers);
    return i < s->count ? view_of(s->texts[i]) : VIEW_NONE;
}
