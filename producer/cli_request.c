/* What is sent.
 *
 * What is hard: a user's JSON must arrive as it was typed, so the body is written around its raw
 * bytes; and nothing a user types may steer the path or a header, so those are checked or
 * percent-encoded here, once. */
#include "producer/cli_request.h"

#include "common/base/hash.h"
#include "common/base/json.h"

enum { URL_MAX = 2048, API_KEY_MAX = 1024, IDEMPOTENCY_MAX = 255 };

/* --- address and key --- */

static bool request_is_url_char(char c)
{
    return c > ' ' && c < 0x7F && !strchr("\"<>\\^`{|}?#@", c);
}

enum err_code cli_url_check(const char *url, struct view *ret_base, struct err *err)
{
    struct view v = view_trim(view_of(url));
    size_t scheme = view_starts(v, "http://") ? 7 : view_starts(v, "https://") ? 8 : 0;

    if (!scheme) return err_set(err, ERR_INVALID, "the URL must begin with http:// or https://");
    if (v.len > URL_MAX) return err_set(err, ERR_INVALID, "the URL is too long");
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] == '@') return err_set(err, ERR_INVALID, "the URL must not hold credentials");
        if (!request_is_url_char(v.ptr[i]))
            return err_set(err, ERR_INVALID,
                           "the URL must be http(s)://host[:port][/prefix], nothing more");
    }
    while (v.len > scheme && v.ptr[v.len - 1] == '/') v.len--;
    if (v.len == scheme || v.ptr[scheme] == '/')
        return err_set(err, ERR_INVALID, "the URL has no host");
    *ret_base = v;
    return ERR_OK;
}

enum err_code cli_key_check(struct view text, struct view *ret_key, struct err *err)
{
    struct view v = view_trim(text);

    if (v.len == 0) return err_set(err, ERR_INVALID, "the API key is empty");
    if (v.len > API_KEY_MAX) return err_set(err, ERR_INVALID, "the API key is too long");
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] <= ' ' || v.ptr[i] > '~')
            return err_set(err, ERR_INVALID, "the API key holds a character that no key has");
    *ret_key = v;
    return ERR_OK;
}

/* --- paths --- */

bool cli_path_job(struct buf *out, const char *id, const char *rest)
{
    return buf_put_str(out, "/v1/jobs/") && buf_put_str(out, id) && buf_put_str(out, rest);
}

static void request_put_encoded(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        bool tame = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    (c && strchr("-._~", c));

        if (tame)
            buf_put_char(out, *p);
        else
            buf_printf(out, "%%%02X", c);
    }
}

struct request_argument {
    enum cli_option option;
    const char *name;
};

static bool request_put_query(struct buf *out, const struct cli_args *a,
                              const struct request_argument *rows, size_t count)
{
    char before = '?';

    for (size_t i = 0; i < count; i++) {
        const char *value = a->option[rows[i].option];

        if (!value) continue;
        buf_printf(out, "%c%s=", before, rows[i].name);
        request_put_encoded(out, value);
        before = '&';
    }
    return !out->failed;
}

bool cli_path_list(struct buf *out, const struct cli_args *a)
{
    static const struct request_argument rows[] = {{CLI_OPT_STATUS, "status"},
                                                   {CLI_OPT_WORKFLOW, "workflow"},
                                                   {CLI_OPT_LIMIT, "limit"},
                                                   {CLI_OPT_AFTER, "after"}};

    buf_put_str(out, "/v1/jobs");
    return request_put_query(out, a, rows, sizeof rows / sizeof *rows);
}

bool cli_path_usage(struct buf *out, const struct cli_args *a)
{
    static const struct request_argument rows[] = {{CLI_OPT_BY, "by"},
                                                   {CLI_OPT_FROM, "from"},
                                                   {CLI_OPT_TO, "to"},
                                                   {CLI_OPT_TENANT, "tenant"},
                                                   {CLI_OPT_AFTER, "after"}};

    buf_put_str(out, "/v1/usage");
    return request_put_query(out, a, rows, sizeof rows / sizeof *rows);
}

bool cli_path_limits(struct buf *out, const struct cli_args *a)
{
    static const struct request_argument rows[] = {{CLI_OPT_MODEL, "model"}};

    buf_put_str(out, "/v1/limits");
    return request_put_query(out, a, rows, sizeof rows / sizeof *rows);
}

/* --- bodies --- */

bool cli_body_put(struct buf *out, const struct cli_args *a, struct view input,
                  struct view metadata)
{
    static const struct {
        enum cli_option option;
        const char *key;
    } texts[] = {{CLI_OPT_CLASS, "class"},
                 {CLI_OPT_KEY, "key"},
                 {CLI_OPT_RUN_AT, "run_at"},
                 {CLI_OPT_DEADLINE, "deadline"}};
    struct jw w;
    uint64_t version, priority;

    jw_init(&w, out);
    jw_object(&w);
    jw_kcstr(&w, "workflow", a->operand);
    if (view_u64(view_of(a->option[CLI_OPT_VERSION]), &version))
        jw_kint(&w, "version", (int64_t)version);
    jw_kraw(&w, "input", input.ptr ? view_trim(input) : VIEW_LIT("{}"));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (a->option[texts[i].option]) jw_kcstr(&w, texts[i].key, a->option[texts[i].option]);
    if (a->option[CLI_OPT_PRIORITY] && view_u64(view_of(a->option[CLI_OPT_PRIORITY]), &priority))
        jw_kint(&w, "priority", (int64_t)priority);
    if (metadata.ptr) jw_kraw(&w, "metadata", view_trim(metadata));
    jw_end_object(&w);
    return !out->failed;
}

/* --- keys --- */

enum err_code cli_idempotency_put(struct buf *out, const char *key, struct err *err)
{
    size_t len = strlen(key);

    if (len == 0 || len > IDEMPOTENCY_MAX)
        return err_set(err, ERR_INVALID, "an idempotency key has 1 to %d characters",
                       IDEMPOTENCY_MAX);
    buf_put_char(out, '"');
    for (const char *p = key; *p; p++) {
        if (*p < ' ' || *p > '~')
            return err_set(err, ERR_INVALID, "an idempotency key is made of printable ASCII");
        if (*p == '"' || *p == '\\') buf_put_char(out, '\\');
        buf_put_char(out, *p);
    }
    buf_put_char(out, '"');
    return out->failed ? err_set(err, ERR_NOMEM, "no memory") : ERR_OK;
}

void cli_idempotency_random(const unsigned char *bytes, char ret[CLI_RANDOM_KEY_TEXT])
{
    static const char before[] = "sluice-";

    _Static_assert(sizeof before + 2 * CLI_RANDOM_KEY_BYTES <= CLI_RANDOM_KEY_TEXT, "too short");
    memcpy(ret, before, sizeof before - 1);
    hash_hex(bytes, CLI_RANDOM_KEY_BYTES, ret + sizeof before - 1);
}

bool cli_api_key(const unsigned char *bytes, char ret[CLI_API_KEY_TEXT])
{
    struct buf text;

    buf_init(&text, CLI_API_KEY_TEXT - 1);
    bool ok = buf_put_str(&text, "sk-") &&
              base64url_put(&text, view_make(bytes, CLI_API_KEY_BYTES)) &&
              view_copy(buf_view(&text), ret, CLI_API_KEY_TEXT);
    if (text.data) explicit_bzero(text.data, text.len);
    buf_fini(&text);
    return ok;
}

bool cli_api_key_put_yaml(struct buf *out, const char *key, const char *tenant, const char *scopes)
{
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    struct view head, rest = view_of(scopes ? scopes : "submit,read");

    hash_sha256(view_of(key), digest);
    hash_hex(digest, sizeof digest, hex);
    if (tenant) buf_printf(out, "- {id: \"%s\", keys: [", tenant);
    buf_printf(out, "%s{sha256: \"%s\", scopes: [", tenant ? "" : "- ", hex);
    while (view_cut(rest, ',', &head, &rest)) {
        buf_put_view(out, head);
        buf_put_str(out, ", ");
    }
    buf_put_view(out, rest);
    buf_put_str(out, tenant ? "]}]}\n" : "]}\n");
    return !out->failed;
}
