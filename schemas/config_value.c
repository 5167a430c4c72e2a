/* One scalar: from text to its place in struct config.
 *
 * The file, the environment and flags all arrive here as text, so a value means the same wherever
 * it stands. A refused value leaves the former one in place and says what would have been right;
 * the text itself is repeated only where it cannot be a secret. */
#include "common/base/clock.h"
#include "schemas/config_priv.h"
#include <assert.h>
#include <math.h>

void *config_slot(const struct config *c, const struct config_entry *e)
{
    return (char *)(uintptr_t)c + e->offset;
}

/* --- what is expected, in words --------------------------------------------------------------- */

bool config_put_duration(struct buf *out, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms) i++;
    if (ms == 0) i = 3;
    return buf_printf(out, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
}

bool config_put_type(struct buf *out, const struct config_entry *e)
{
    long long min = (long long)e->min, max = (long long)e->max;
    switch (e->type) {
    case CONFIG_TEXT:
        return buf_put_str(out, "text");
    case CONFIG_WORD:
        return buf_printf(out, "at most %lld of the characters A-Z a-z 0-9 . _ -", max);
    case CONFIG_PATH:
        return buf_put_str(out, "a path");
    case CONFIG_ADDRESS:
        return buf_put_str(out, "host:port, such as 127.0.0.1:8080");
    case CONFIG_BROKERS:
        return buf_put_str(out, "host:port, several separated by commas");
    case CONFIG_URL:
        return buf_printf(out, "a URL that starts with one of: %s", e->choices);
    case CONFIG_CHOICE:
        return buf_printf(out, "one of %s", e->choices);
    case CONFIG_LIST:
        return buf_printf(out, "a list of at most %lld origins such as https://app.example", max);
    case CONFIG_INT:
        return buf_printf(out, "an integer from %lld to %lld", min, max);
    case CONFIG_SIZE:
        return buf_printf(out, "bytes from %lld to %lld (KiB, MiB, GiB allowed)", min, max);
    case CONFIG_REAL:
        return buf_printf(out, "a number from %lld to %lld", min, max);
    case CONFIG_BOOL:
        return buf_put_str(out, "true or false");
    case CONFIG_DURATION:
        return buf_put_str(out, "a duration from ") && config_put_duration(out, e->min) &&
               buf_put_str(out, " to ") && config_put_duration(out, e->max);
    }
    assert(false && "unknown type");
    return false;
}

static void config_refuse(struct config_ctx *x, const struct config_entry *e, struct view text,
                          const char *where)
{
    struct buf want;
    buf_init(&want, 512);
    bool ok = config_put_type(&want, e);
    bool is_open = e->type != CONFIG_URL && text.len <= 40;
    if (!ok)
        x->no_memory = true;
    else if (is_open)
        config_complain_of(x, where, "must be %.*s, not '%.*s'", (int)want.len, want.data,
                           (int)text.len, text.ptr);
    else
        config_complain_of(x, where, "must be %.*s", (int)want.len, want.data);
    buf_fini(&want);
}

/* --- checks of text --------------------------------------------------------------------------- */

static bool config_is_printable(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((unsigned char)v.ptr[i] < 0x20 || v.ptr[i] == 0x7f) return false;
    return true;
}

static bool config_is_word(struct view v)
{
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
        if (!ok) return false;
    }
    return true;
}

static bool config_is_address(struct view v)
{
    size_t colon = v.len;
    while (colon > 0 && v.ptr[colon - 1] != ':') colon--;
    if (colon < 2) return false;
    struct view host = view_make(v.ptr, colon - 1);
    uint64_t port;
    if (!view_u64(view_make(v.ptr + colon, v.len - colon), &port) || port > 65535) return false;
    if (host.ptr[0] == '[') return host.len > 2 && host.ptr[host.len - 1] == ']';
    return !memchr(host.ptr, ':', host.len) && !memchr(host.ptr, ' ', host.len) &&
           !memchr(host.ptr, '/', host.len);
}

static bool config_is_brokers(struct view v)
{
    while (v.len > 0) {
        struct view head, tail;
        if (!view_cut(v, ',', &head, &tail))
            head = v, tail = view_make(v.ptr + v.len, 0);
        else if (tail.len == 0)
            return false;
        if (!config_is_address(view_trim(head))) return false;
        v = tail;
    }
    return true;
}

/* True when ok says so of some piece of a separated list. */
static bool config_any(const char *list, char separator, struct view v,
                       bool (*ok)(struct view v, struct view piece))
{
    struct view rest = view_of(list), head, tail;
    while (view_cut(rest, separator, &head, &tail)) {
        if (ok(v, head)) return true;
        rest = tail;
    }
    return ok(v, rest);
}

static bool config_has_start(struct view v, struct view start)
{
    return v.len > start.len && memcmp(v.ptr, start.ptr, start.len) == 0;
}

static bool config_text_ok(const struct config_entry *e, struct view v)
{
    if (!config_is_printable(v)) return false;
    if (e->type != CONFIG_CHOICE && ((int64_t)v.len < e->min || (int64_t)v.len > e->max))
        return false;
    if (e->type == CONFIG_WORD) return config_is_word(v);
    if (e->type == CONFIG_ADDRESS) return config_is_address(v);
    if (e->type == CONFIG_BROKERS) return config_is_brokers(v);
    if (e->type == CONFIG_CHOICE) return config_any(e->choices, '|', v, view_eq);
    if (e->type == CONFIG_URL) return config_any(e->choices, ' ', v, config_has_start);
    return true;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool config_parse_size(struct view v, int64_t *ret)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    unsigned shift = 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (v.len > 3 && memcmp(v.ptr + v.len - 3, units[i].unit, 3) == 0) shift = units[i].shift;
    if (shift) v = view_trim(view_make(v.ptr, v.len - 3));
    uint64_t n;
    if (!view_u64(v, &n) || n > (uint64_t)(INT64_MAX >> shift)) return false;
    *ret = (int64_t)(n << shift);
    return true;
}

static bool config_parse_real(struct view v, double *ret)
{
    char text[40], *end;
    if (v.len == 0 || !view_copy(v, text, sizeof text)) return false;
    if (strspn(text, "0123456789.eE+-") != v.len) return false;
    double x = strtod(text, &end);
    if (*end || !isfinite(x)) return false;
    *ret = x;
    return true;
}

static bool config_parse_int(enum config_type type, struct view v, int64_t *ret)
{
    if (type == CONFIG_DURATION) return clock_duration(v, ret);
    if (type == CONFIG_SIZE) return config_parse_size(v, ret);
    return view_i64(v, ret);
}

/* --- the list --------------------------------------------------------------------------------- */

static bool config_is_origin(struct view v)
{
    if (view_eq_str(v, "*")) return true;
    size_t start = view_starts(v, "https://") ? 8 : view_starts(v, "http://") ? 7 : 0;
    if (start == 0 || v.len == start || v.len > 256) return false;
    for (size_t i = start; i < v.len; i++)
        if (v.ptr[i] <= ' ' || v.ptr[i] == '/' || v.ptr[i] == '"') return false;
    return true;
}

static void config_set_list(struct config_ctx *x, const struct config_entry *e, struct view text,
                            const char *where)
{
    char **list = config_room(x, CONFIG_ORIGINS_MAX, sizeof *list);
    size_t count = 0;
    struct view rest = text, head, tail;
    bool ok = list != NULL;
    while (ok && rest.len > 0) {
        if (!view_cut(rest, ',', &head, &tail))
            head = rest, tail = view_make(rest.ptr + rest.len, 0);
        rest = tail;
        head = view_trim(head);
        ok = config_is_origin(head) && count < CONFIG_ORIGINS_MAX;
        if (!ok) config_refuse(x, e, head, where);
        if (ok) ok = (list[count] = config_dup(x, head)) != NULL;
        if (ok) count++;
    }
    if (!ok || count == 0) {
        for (size_t i = 0; i < count; i++) free(list[i]);
        free(list);
        if (!ok) return;
        list = NULL;
    }
    for (size_t i = 0; i < x->c->gateway.cors_origin_count; i++)
        free(x->c->gateway.cors_origins[i]);
    free(x->c->gateway.cors_origins);
    x->c->gateway.cors_origins = list;
    x->c->gateway.cors_origin_count = count;
}

/* --- one value -------------------------------------------------------------------------------- */

char *config_join(struct config_ctx *x, const char *dir, struct view text)
{
    if (text.len == 0 || text.ptr[0] == '/' || !dir || !*dir) return config_dup(x, text);
    struct buf b;
    buf_init(&b, 8192);
    while (view_starts(text, "./")) text = view_make(text.ptr + 2, text.len - 2);
    bool ok = buf_put_str(&b, dir) && (b.data[b.len - 1] == '/' || buf_put_char(&b, '/')) &&
              buf_put_view(&b, text);
    char *joined = ok ? buf_detach(&b, NULL) : NULL;
    buf_fini(&b);
    if (!joined) x->no_memory = true;
    return joined;
}

static void config_set_text(struct config_ctx *x, const struct config_entry *e, struct view text,
                            const char *dir, const char *where)
{
    if (!config_text_ok(e, text)) {
        config_refuse(x, e, text, where);
        return;
    }
    char *copy = e->type == CONFIG_PATH ? config_join(x, dir, text) : config_dup(x, text);
    if (!copy) return;
    char **slot = config_slot(x->c, e);
    free(*slot);
    *slot = copy;
}

static void config_set_real(struct config_ctx *x, const struct config_entry *e, struct view text,
                            const char *where)
{
    double value;
    if (!config_parse_real(text, &value) || value < (double)e->min || value > (double)e->max)
        config_refuse(x, e, text, where);
    else
        *(double *)config_slot(x->c, e) = value;
}

static void config_set_int(struct config_ctx *x, const struct config_entry *e, struct view text,
                           const char *where)
{
    int64_t value;
    if (!config_parse_int(e->type, text, &value) || value < e->min || value > e->max)
        config_refuse(x, e, text, where);
    else
        *(int64_t *)config_slot(x->c, e) = value;
}

static void config_set_bool(struct config_ctx *x, const struct config_entry *e, struct view text,
                            const char *where)
{
    bool is_true = view_eq_str(text, "true");
    if (!is_true && !view_eq_str(text, "false"))
        config_refuse(x, e, text, where);
    else
        *(bool *)config_slot(x->c, e) = is_true;
}

void config_set(struct config_ctx *x, const struct config_entry *e, struct view text,
                const char *dir, const char *where)
{
    if (e->type == CONFIG_LIST)
        config_set_list(x, e, text, where);
    else if (e->type == CONFIG_BOOL)
        config_set_bool(x, e, text, where);
    else if (e->type == CONFIG_REAL)
        config_set_real(x, e, text, where);
    else if (e->type >= CONFIG_INT)
        config_set_int(x, e, text, where);
    else
        config_set_text(x, e, text, dir, where);
}
