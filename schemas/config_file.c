/* The only file of the configuration that touches the machine: reads sluice.yaml and the files of
 * secrets, and asks for the host's name.
 *
 * Paths are made absolute here by the folder of the file as it was named (no symbolic link is
 * resolved: a mounted ConfigMap moves its links under us). */
#include "schemas/config_priv.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 4 << 20, CONFIG_SECRET_MAX = 64 << 10, CONFIG_FILE_STEP = 16 << 10 };

static enum err_code config_read_bytes(const char *path, size_t max, struct buf *out,
                                       struct err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, ERR_NOT_FOUND, "cannot be read: %s", strerror(errno));
    size_t got = 1;
    buf_init(out, max);
    while (got > 0 && buf_reserve(out, CONFIG_FILE_STEP)) {
        got = fread(out->data + out->len, 1, CONFIG_FILE_STEP, f);
        out->len += got;
    }
    bool broke = ferror(f) != 0;
    int why = errno;
    fclose(f);
    if (broke) return err_set(err, ERR_NOT_FOUND, "cannot be read: %s", strerror(why));
    if (got > 0)
        return err_set(err, ERR_TOO_LARGE, "is larger than %zu bytes", max - CONFIG_FILE_STEP);
    return ERR_OK;
}

static const char *config_env_path(char *const *env)
{
    for (; env && *env; env++)
        if (strncmp(*env, "SLUICE_CONFIG=", 14) == 0 && (*env)[14]) return *env + 14;
    return NULL;
}

/* cwd/path without its last part. */
static bool config_folder(const char *path, const char *cwd, char ret[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) : 0;
    int n;
    if (slash == path)
        n = snprintf(ret, PATH_MAX, "/");
    else if (path[0] == '/')
        n = snprintf(ret, PATH_MAX, "%.*s", len, path);
    else if (slash)
        n = snprintf(ret, PATH_MAX, "%s/%.*s", cwd, len, path);
    else
        n = snprintf(ret, PATH_MAX, "%s", cwd);
    return n >= 0 && n < PATH_MAX;
}

static void config_worker_name(char *ret, size_t size)
{
    char host[40] = "worker";
    if (gethostname(host, sizeof host)) memcpy(host, "worker", sizeof "worker");
    host[sizeof host - 1] = '\0';
    for (char *p = host; *p; p++) {
        bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                  (*p >= '0' && *p <= '9') || *p == '-';
        if (!ok) *p = '-';
    }
    snprintf(ret, size, "%s-%ld", host, (long)getpid());
}

static void config_tell(struct buf *errors, const struct err *err)
{
    if (errors && buf_put_str(errors, err->text)) buf_put_char(errors, '\n');
}

/* Settings whose value stands in a file. A last line end is not part of a secret. */
static enum err_code config_read_secrets(struct config *c, struct buf *errors, struct err *err)
{
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < c->kafka.setting_count && code == ERR_OK; i++) {
        struct config_setting *s = &c->kafka.settings[i];
        if (!s->is_file) continue;
        struct buf text = {.data = NULL};
        struct err fault;
        code = config_read_bytes(s->source, CONFIG_SECRET_MAX, &text, &fault);
        while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
            text.len--;
        if (code == ERR_OK && !(s->value = view_dup(buf_view(&text))))
            code = err_set(&fault, ERR_NOMEM, "out of memory");
        buf_fini(&text);
        if (code == ERR_OK) continue;
        code = err_set(err, ERR_INVALID, "kafka.security.%s_file: %.100s %.100s", s->name,
                       s->source, fault.text);
        config_tell(errors, err);
    }
    return code;
}

enum err_code config_load(const char *path, char *const *env, char *const *flags, size_t flag_count,
                          struct config **ret, struct buf *errors, struct err *err)
{
    char cwd[PATH_MAX] = "", dir[PATH_MAX], worker[64];
    struct buf text = {.data = NULL};
    struct err fault = {.code = ERR_OK};
    struct config *c = NULL;
    enum err_code code = ERR_OK;
    assert(ret);
    if (!path) path = config_env_path(env);
    if (!getcwd(cwd, sizeof cwd))
        return err_set(err, ERR_INTERNAL, "the working folder is unknown: %s", strerror(errno));
    if (!config_folder(path ? path : "", cwd, dir))
        code = err_set(&fault, ERR_INVALID, "is too long for a path");
    if (code == ERR_OK && path) code = config_read_bytes(path, CONFIG_FILE_MAX, &text, &fault);
    if (code != ERR_OK) {
        code = err_set(err, code, "%.120s: %.120s", path, fault.text);
        config_tell(errors, err);
        goto out;
    }
    config_worker_name(worker, sizeof worker);
    const struct config_input in = {
        .text = !path ? VIEW_NONE : buf_view(&text),
        .name = path ? path : "built-in defaults",
        .dir = dir,
        .cwd = cwd,
        .worker_name = worker,
        .env = env,
        .flags = flags,
        .flag_count = flag_count,
    };
    code = config_build(&in, &c, errors, err);
    if (code == ERR_OK) code = config_read_secrets(c, errors, err);
    if (code != ERR_OK) goto out;
    *ret = c;
    c = NULL;
out:
    config_free(c);
    buf_fini(&text);
    return code;
}
