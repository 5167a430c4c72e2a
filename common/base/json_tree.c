/* Trees of jansson's values, built by one pass of our own over text that our scanner accepted
 * first.
 *
 * jansson's own parser reads byte by byte through a stream and costs 140 instructions a byte; it
 * also refuses an integer beyond 64 bits, which here becomes a real. The text is known to be right,
 * so what fails below is memory. The walk is as deep as the scanner's limit, JSON_DEPTH_MAX. */
#include <jansson.h>

#include "common/base/json_text.h"
#include "common/base/utf8.h"

struct tree {
    const char *p, *end;
    struct buf text; /* decoded strings with escapes, numbers with a NUL */
};

static json_t *tree_value(struct tree *t);

static char tree_next(struct tree *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\r' || *t->p == '\t'))
        t->p++;
    return t->p < t->end ? *t->p : '\0';
}

/* At the opening quote: the string decoded, borrowed until the next one. False: no memory. */
static bool tree_text(struct tree *t, struct view *ret)
{
    const char *from = ++t->p;
    bool has_escapes = false;
    while (t->p < t->end && *t->p != '"') {
        if (*t->p == '\\') {
            has_escapes = true;
            t->p += 2;
        } else {
            const char *plain = utf8_skip_plain(t->p, t->end);
            t->p = plain > t->p ? plain : t->p + 1;
        }
    }
    if (t->p >= t->end) return false;
    *ret = (struct view){from, (size_t)(t->p++ - from)};
    if (!has_escapes) return true;
    buf_reset(&t->text);
    if (!buf_reserve(&t->text, ret->len)) return false;
    size_t len = json_text_decode(*ret, t->text.data);
    *ret = (struct view){t->text.data, len};
    return len != SIZE_MAX;
}

static json_t *tree_string(struct tree *t)
{
    struct view text;
    return tree_text(t, &text) ? json_stringn_nocheck(text.ptr, text.len) : NULL;
}

static json_t *tree_number(struct tree *t)
{
    struct view v = {t->p, 0};
    bool is_real = false;
    int64_t n;
    for (; t->p < t->end; t->p++) {
        bool is_digit = (*t->p >= '0' && *t->p <= '9') || *t->p == '-';
        if (!is_digit && *t->p != '+' && *t->p != '.' && (*t->p | 0x20) != 'e') break;
        is_real = is_real || !is_digit;
    }
    v.len = (size_t)(t->p - v.ptr);
    if (!is_real && view_i64(v, &n)) return json_integer(n);
    buf_reset(&t->text);
    if (!buf_put_view(&t->text, v) || !buf_put_char(&t->text, '\0')) return NULL;
    return json_real(strtod(t->text.data, NULL));
}

static json_t *tree_word(struct tree *t)
{
    switch (*t->p) {
    case 't':
        t->p += 4;
        return json_true();
    case 'f':
        t->p += 5;
        return json_false();
    default:
        t->p += 4;
        return json_null();
    }
}

static json_t *tree_array(struct tree *t)
{
    json_t *array = json_array();
    bool ok = array != NULL;
    t->p++;
    while (ok && tree_next(t) != ']') {
        if (*t->p == ',') t->p++;
        ok = json_array_append_new(array, tree_value(t)) == 0; /* a NULL value is refused */
    }
    t->p++;
    if (ok) return array;
    json_decref(array);
    return NULL;
}

static bool tree_member(struct tree *t, json_t *object)
{
    struct view key;
    if (*t->p == ',') t->p++;
    if (tree_next(t) != '"' || !tree_text(t, &key)) return false;
    char *name = NULL;
    if (key.ptr == t->text.data && !(key.ptr = name = view_dup(key))) return false;
    bool is_there = tree_next(t) == ':';
    t->p++;
    bool ok =
        is_there && json_object_setn_new_nocheck(object, key.ptr, key.len, tree_value(t)) == 0;
    free(name);
    return ok;
}

static json_t *tree_object(struct tree *t)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    t->p++;
    while (ok && tree_next(t) != '}') ok = tree_member(t, object);
    t->p++;
    if (ok) return object;
    json_decref(object);
    return NULL;
}

static json_t *tree_value(struct tree *t)
{
    switch (tree_next(t)) {
    case '\0':
        return NULL;
    case '{':
        return tree_object(t);
    case '[':
        return tree_array(t);
    case '"':
        return tree_string(t);
    case 't':
    case 'f':
    case 'n':
        return tree_word(t);
    default:
        return tree_number(t);
    }
}

enum err_code json_load(struct view text, const struct json_limits *limits, struct json_t **ret,
                        struct err *err)
{
    enum err_code code = json_check(text, limits, err);
    if (code) return code;
    struct tree t = {.p = text.ptr, .end = text.ptr + text.len};
    buf_init(&t.text, text.len + 1);
    json_t *tree = tree_value(&t);
    buf_fini(&t.text);
    if (!tree) return err_set(err, ERR_NOMEM, "out of memory");
    *ret = tree;
    return ERR_OK;
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
