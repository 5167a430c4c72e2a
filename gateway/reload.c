/* What the gateway takes from files, at the start and again on SIGHUP: tenants and their keys,
 * workflow definitions, the key of the job tokens. A reload is all or nothing: with any fault in
 * any file the old state stands, and the log says what is wrong. Addresses and sizes are not
 * reloaded. */
#include "gateway/gateway_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

enum { RELOAD_ERRORS_MAX = 16384, RELOAD_KEY_FILE_MAX = 4096 };

struct reload { /* a new state, not yet in force */
    struct auth *auth;
    struct workflows *workflows;
    struct token_key token_key;
};

static enum err_code reload_key_file(const char *path, struct token_key *ret, struct err *err)
{
    char bytes[RELOAD_KEY_FILE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
    if (n < 0) {
        (void)err_set(err, ERR_INVALID, "gateway.token_key_file %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return err->code;
    }
    close(fd);
    if (token_key_of(view_make(bytes, (size_t)n), ret)) return ERR_OK;
    return err_set(
        err, ERR_INVALID,
        "gateway.token_key_file %s: shorter than %d characters; put a long random text there", path,
        TOKEN_SECRET_MIN);
}

static enum err_code reload_random_key(struct token_key *ret, struct err *err)
{
    if (getrandom(ret->bytes, sizeof ret->bytes, 0) == (ssize_t)sizeof ret->bytes) return ERR_OK;
    return err_set(err, ERR_INTERNAL, "no random bytes from the kernel: %s", strerror(errno));
}

static void reload_drop(struct reload *n)
{
    auth_free(n->auth);
    workflows_free(n->workflows);
}

static enum err_code reload_read(const struct config *c, struct reload *ret, struct buf *errors,
                                 struct err *err)
{
    struct reload n = {.auth = auth_new(c->tenants, c->tenant_count)};
    enum err_code code =
        n.auth ? ERR_OK : err_set(err, ERR_INVALID, "tenants: one key belongs to two of them");
    if (code == ERR_OK && c->gateway.token_key_file[0])
        code = reload_key_file(c->gateway.token_key_file, &n.token_key, err);
    if (code == ERR_OK) code = workflows_load_dir(c->workflows_dir, &n.workflows, errors, err);
    if (code == ERR_OK)
        *ret = n;
    else
        reload_drop(&n);
    return code;
}

/* The first fault in full; further lines go to the log. */
static void reload_tell(struct gateway *g, const char *event, const struct buf *errors,
                        const struct err *err)
{
    struct view line, rest = buf_view(errors);
    log_event(g->log, LOG_ERROR, VIEW_NONE, event, LOG_S("error", err->text),
              LOG_S("where", err->where));
    while (view_cut(rest, '\n', &line, &rest))
        if (line.len) log_event(g->log, LOG_ERROR, VIEW_NONE, event, LOG_V("error", line));
}

enum err_code gateway_load(struct gateway *g, struct err *err)
{
    struct reload n = {.auth = NULL};
    struct buf errors;
    buf_init(&errors, RELOAD_ERRORS_MAX);
    enum err_code code = reload_read(g->config, &n, &errors, err);
    if (code != ERR_OK) {
        reload_tell(g, "config_bad", &errors, err);
        goto out;
    }
    g->s.auth = n.auth;
    g->s.workflows = n.workflows;
    g->s.token_key = n.token_key;
    if (!g->config->gateway.token_key_file[0]) {
        log_event(
            g->log, LOG_WARN, VIEW_NONE, "token_key_random",
            LOG_S("hint",
                  "job tokens are honoured by this process alone; set gateway.token_key_file"));
        code = reload_random_key(&g->s.token_key, err);
    }
out:
    buf_fini(&errors);
    return code;
}

void gateway_reload(void *gateway, int signum)
{
    struct gateway *g = gateway;
    struct config *c = NULL;
    struct reload n = {.auth = NULL};
    struct buf errors;
    struct err err = {.code = ERR_OK};
    (void)signum;
    buf_init(&errors, RELOAD_ERRORS_MAX);
    enum err_code code =
        config_load(g->o.config_path, g->o.env, g->o.flags, g->o.flag_count, &c, &errors, &err);
    if (code == ERR_OK) code = reload_read(c, &n, &errors, &err);
    if (code != ERR_OK) {
        reload_tell(g, "reload_failed", &errors, &err);
        goto out;
    }
    if (c->gateway.token_key_file[0]) g->s.token_key = n.token_key;
    auth_free(g->s.auth);
    g->s.auth = n.auth;
    submit_set_workflows(g->s.submit, n.workflows);
    workflows_free(g->s.workflows);
    g->s.workflows = n.workflows;
    log_event(g->log, LOG_INFO, VIEW_NONE, "reloaded", LOG_N("tenants", c->tenant_count),
              LOG_N("workflows", workflows_count(n.workflows)));
    config_free(g->reloaded);
    g->reloaded = c;
    g->s.current = c;
    c = NULL;
out:
    config_free(c);
    buf_fini(&errors);
}

int gateway_check(const struct config *config)
{
    struct reload n = {.auth = NULL};
    struct buf errors;
    struct err err = {.code = ERR_OK};
    buf_init(&errors, RELOAD_ERRORS_MAX);
    enum err_code code = reload_read(config, &n, &errors, &err);
    if (code == ERR_OK)
        printf("ok: %zu tenants, %zu workflows\n", config->tenant_count,
               workflows_count(n.workflows));
    else if (errors.len)
        fwrite(errors.data, 1, errors.len, stderr);
    else
        fprintf(stderr, "%s\n", err.text);
    if (code == ERR_OK) reload_drop(&n);
    buf_fini(&errors);
    return code == ERR_OK ? 0 : 1;
}
