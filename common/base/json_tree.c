/* Trees, through jansson, of text that our scanner accepted first.
 *
 * jansson refuses an integer beyond 64 bits; its flag that reads integers as reals would do so
 * to every integer, exact ones too. So only the large ones, which are rare, are given an
 * exponent ("e0") in a copy, and the rest stays exact. */
#include <jansson.h>

#include "common/base/json_text.h"

/* Appends text with "e0" behind every integer that does not fit 64 bits. */
static bool json_mark_big_ints(struct view text, struct buf *out)
{
    const char *p = text.ptr, *end = p + text.len, *done = p;
    while (p < end) {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++) p += *p == '\\';
            p++;
            continue;
        }
        const char *number = p;
        while (p < end && ((*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == '.' ||
                           (*p | 0x20) == 'e'))
            p++;
        struct view v = {number, (size_t)(p - number)};
        int64_t ignored;
        bool is_int = v.len >= 19 && !memchr(v.ptr, '.', v.len) && !memchr(v.ptr, 'e', v.len) &&
                      !memchr(v.ptr, 'E', v.len);
        if (is_int && !view_i64(v, &ignored)) {
            buf_put(out, done, (size_t)(p - done));
            buf_put_str(out, "e0");
            done = p;
        }
        if (p == number) p++;
    }
    return buf_put(out, done, (size_t)(end - done));
}

/* jansson calls a failed allocation a syntax error as often as not. What the scanner accepted is
 * none (the fuzz target holds the two together), so what fails here is memory. */
static enum err_code json_parse(struct view text, struct json_t **ret, struct err *err)
{
    json_error_t ignored;
    json_t *tree = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, &ignored);
    if (!tree) return err_set(err, ERR_NOMEM, "out of memory");
    *ret = tree;
    return ERR_OK;
}

enum err_code json_load(struct view text, const struct json_limits *limits, struct json_t **ret,
                        struct err *err)
{
    size_t big_ints = 0;
    enum err_code code = json_scan(text, limits, &big_ints, err);
    if (code || !big_ints) return code ? code : json_parse(text, ret, err);
    struct buf copy;
    buf_init(&copy, text.len + 2 * big_ints);
    if (json_mark_big_ints(text, &copy))
        code = json_parse(buf_view(&copy), ret, err);
    else
        code = err_set(err, ERR_NOMEM, "out of memory");
    buf_fini(&copy);
    return code;
}

/* jansson iterates through non-const pointers but changes nothing. */
static json_t *json_unconst(const json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

static bool json_put_value(struct buf *out, const json_t *value, unsigned depth);

static bool json_put_object(struct buf *out, const json_t *value, unsigned depth)
{
    const char *comma = "{";
    const char *key;
    json_t *member;
    json_object_foreach(json_unconst(value), key, member)
    {
        struct jw w;
        buf_put_str(out, comma);
        comma = ",";
        jw_init(&w, out);
        jw_str(&w, view_of(key));
        buf_put_char(out, ':');
        if (!json_put_value(out, member, depth + 1)) return false;
    }
    return buf_put_str(out, *comma == ',' ? "}" : "{}");
}

static bool json_put_array(struct buf *out, const json_t *value, unsigned depth)
{
    size_t count = json_array_size(value);
    buf_put_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) buf_put_char(out, ',');
        if (!json_put_value(out, json_array_get(value, i), depth + 1)) return false;
    }
    return buf_put_char(out, ']');
}

static bool json_put_value(struct buf *out, const json_t *value, unsigned depth)
{
    struct jw w;
    jw_init(&w, out);
    if (depth > 2 * JSON_DEPTH_MAX)
        out->failed = true; /* made by us, not read: a loop would end here */
    if (out->failed) return false;
    if (!value) return buf_put_str(out, "null");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return json_put_object(out, value, depth);
    case JSON_ARRAY:
        return json_put_array(out, value, depth);
    case JSON_STRING:
        jw_str(&w, (struct view){json_string_value(value), json_string_length(value)});
        break;
    case JSON_INTEGER:
        jw_int(&w, json_integer_value(value));
        break;
    case JSON_REAL:
        jw_real(&w, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        jw_bool(&w, json_is_true(value));
        break;
    case JSON_NULL:
        jw_null(&w);
        break;
    }
    return !out->failed;
}

bool json_put(struct buf *out, const struct json_t *value)
{
    return json_put_value(out, value, 0);
}

const char *json_str(const struct json_t *object, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : fallback;
}

int64_t json_int(const struct json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool json_bool(const struct json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}
