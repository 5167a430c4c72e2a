/* API keys of the providers: read once at the start, kept apart from the configuration so that
 * nothing that prints it can print them.
 *
 * A key goes into a header as it is, so one that holds a blank, a line end or any other byte that a
 * header cannot hold is refused by the name of its source, never by showing it. */
#include "consumer/adapt.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SECRET_MAX = 8192 };

struct secrets {
    const struct config *config;
    size_t count;
    struct {
        char **texts; /* by key; NULL = not set */
        size_t count;
    } * providers;
};

static char *secrets_from_file(const char *path, struct err *err)
{
    char bytes[SECRET_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
    if (n < 0) (void)err_set(err, ERR_INVALID, "key file %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (n < 0) return NULL;
    if (n == (ssize_t)sizeof bytes) {
        (void)err_set(err, ERR_TOO_LARGE, "key file %s is over %d bytes", path, SECRET_MAX - 1);
        return NULL;
    }
    if (memchr(bytes, '\0', (size_t)n)) n = 0; /* no text: refused as empty */
    char *text = view_dup(view_trim(view_make(bytes, (size_t)n)));
    memset(bytes, 0, sizeof bytes);
    if (!text) (void)err_set(err, ERR_NOMEM, "out of memory");
    return text;
}

static bool secrets_can_travel(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~') return false;
    return true;
}

static void secrets_wipe(char *text)
{
    if (text) memset(text, 0, strlen(text));
    free(text);
}

static enum err_code secrets_read(const struct config_provider_key *k, char **ret, struct err *err)
{
    char *text = NULL;
    if (k->file) {
        text = secrets_from_file(k->file, err);
        if (!text) return err->code;
    } else {
        const char *value = getenv(k->env);
        if (!value || !value[0]) return ERR_OK; /* the provider will say what it thinks of it */
        text = view_dup(view_of(value));
        if (!text) return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (!secrets_can_travel(text) || !text[0]) {
        (void)err_set(err, ERR_INVALID, "the key in %s %s", k->file ? k->file : k->env,
                      text[0] ? "holds bytes that no header can hold (blanks, line ends, ...)"
                              : "is empty");
        secrets_wipe(text);
        return ERR_INVALID;
    }
    *ret = text;
    return ERR_OK;
}

static enum err_code secrets_read_provider(struct secrets *s, size_t i, struct err *err)
{
    const struct config_provider *p = &s->config->providers[i];
    enum err_code code = ERR_OK;
    s->providers[i].texts = calloc(p->key_count + 1, sizeof *s->providers[i].texts);
    if (!s->providers[i].texts) return err_set(err, ERR_NOMEM, "out of memory");
    s->providers[i].count = p->key_count;
    for (size_t k = 0; code == ERR_OK && k < p->key_count; k++)
        code = secrets_read(&p->keys[k], &s->providers[i].texts[k], err);
    return code == ERR_OK ? ERR_OK : err_wrap(err, "provider %s", p->name);
}

enum err_code secrets_load(const struct config *config, struct secrets **ret, struct err *err)
{
    struct err own;
    if (!err) err = &own;
    struct secrets *s = calloc(1, sizeof *s);
    if (!s) return err_set(err, ERR_NOMEM, "out of memory");
    s->config = config;
    s->count = config->provider_count;
    s->providers = calloc(s->count + 1, sizeof *s->providers);
    enum err_code code = s->providers ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; code == ERR_OK && i < s->count; i++) code = secrets_read_provider(s, i, err);
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
    for (size_t i = 0; s->providers && i < s->count; i++) {
        for (size_t k = 0; k < s->providers[i].count; k++) secrets_wipe(s->providers[i].texts[k]);
        free(s->providers[i].texts);
    }
    free(s->providers);
    free(s);
}

struct view secrets_find(void *secrets, const struct config_provider *p, size_t key_index)
{
    const struct secrets *s = secrets;
    size_t i = (size_t)(p - s->config->providers);
    if (i >= s->count || key_index >= s->providers[i].count) return VIEW_NONE;
    return view_of(s->providers[i].texts[key_index]);
}
