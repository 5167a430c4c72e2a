/* Templates: which expressions they hold, and what comes out when these are answered.
 *
 * What is filled may share nodes with the document: copying a megabyte for every item of a foreach
 * would cost more than the call. But the document grows (outputs of steps, the loop variable), and
 * a value that held the growing objects would come to hold itself. So the document itself and its
 * direct members are copied, deeper values are shared. Sizes are bounded over one whole fill: the
 * text put together and the nodes copied, because a template of a thousand small expressions can
 * ask for a large value a thousand times. */
#include "common/base/json.h"
#include "schemas/expr_priv.h"
#include <assert.h>
#include <jansson.h>

/* --- plain paths ------------------------------------------------------------------------------ */

static const char *expr_type_name(const json_t *v)
{
    static const char *const names[] = {"object", "array",   "string",  "number",
                                        "number", "boolean", "boolean", "null"};
    return names[json_typeof(v)];
}

static json_t *expr_element(const json_t *array, int64_t index)
{
    int64_t size = (int64_t)json_array_size(array);
    if (index < 0) index += size;
    return index < 0 || index >= size ? NULL : json_array_get(array, (size_t)index);
}

static json_t *expr_member(const json_t *object, struct view name)
{
    char key[256];
    if (memchr(name.ptr, '\0', name.len)) return NULL;
    if (view_copy(name, key, sizeof key)) return json_object_get(object, key);
    char *copy = view_dup(name);
    json_t *value = copy ? json_object_get(object, copy) : NULL;
    free(copy);
    return value;
}

static enum err_code expr_step_into(const json_t *at, const struct expr_part *part, json_t **ret,
                                    struct err *err)
{
    json_t *value = NULL;
    int shown = (int)(part->name.len < 64 ? part->name.len : 64);
    if (json_is_null(at))
        value = NULL;
    else if (part->is_index && json_is_array(at))
        value = expr_element(at, part->index);
    else if (!part->is_index && json_is_object(at))
        value = expr_member(at, part->name);
    else if (part->is_index)
        return err_set(err, ERR_INVALID, "cannot take element %lld of %s", (long long)part->index,
                       expr_type_name(at));
    else
        return err_set(err, ERR_INVALID, "cannot take member \"%.*s\" of %s", shown, part->name.ptr,
                       expr_type_name(at));
    *ret = value ? value : json_null();
    return ERR_OK;
}

static enum err_code expr_walk(struct view path, const json_t *root, json_t **ret,
                               size_t *ret_parts, struct err *err)
{
    json_t *at = (json_t *)(uintptr_t)root;
    struct view rest = path;
    struct expr_part part;
    size_t parts = 0;
    int more;
    while ((more = expr_path_next(path, &rest, &part)) > 0) {
        enum err_code code = expr_step_into(at, &part, &at, err);
        if (code != ERR_OK)
            return err_wrap(err, "%.*s", (int)(path.len < 100 ? path.len : 100), path.ptr);
        parts++;
    }
    if (more < 0) return err_set(err, ERR_INVALID, "not a plain path");
    *ret = at;
    *ret_parts = parts;
    return ERR_OK;
}

enum err_code expr_path(struct view path, const struct json_t *root, struct json_t **ret,
                        struct err *err)
{
    size_t parts;
    assert(path.ptr && root && ret);
    return expr_walk(path, root, ret, &parts, err);
}

/* --- collecting ------------------------------------------------------------------------------- */

struct expr_collection {
    struct expr_value *list;
    size_t max, count;
};

static enum err_code expr_collect_one(struct expr_collection *c, struct view source,
                                      struct err *err)
{
    for (size_t i = 0; i < c->count; i++)
        if (view_eq(c->list[i].source, source)) return ERR_OK;
    if (c->count == c->max)
        return err_set(err, ERR_TOO_LARGE, "more than %zu different jq expressions in one value",
                       c->max);
    c->list[c->count++] = (struct expr_value){.source = source};
    return ERR_OK;
}

static struct view expr_text(const json_t *string)
{
    return view_make(json_string_value(string), json_string_length(string));
}

static enum err_code expr_collect_text(struct expr_collection *c, const json_t *string,
                                       struct err *err)
{
    struct expr_segment list[EXPR_SEGMENTS_MAX];
    size_t count;
    if (!expr_has(expr_text(string))) return ERR_OK;
    enum err_code code = expr_split(expr_text(string), list, EXPR_SEGMENTS_MAX, &count, err);
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (list[i].kind == EXPR_JQ) code = expr_collect_one(c, list[i].text, err);
    return code;
}

static enum err_code expr_collect_in(struct expr_collection *c, const json_t *v, unsigned depth,
                                     struct err *err)
{
    enum err_code code = ERR_OK;
    const char *key;
    json_t *member;
    if (depth > EXPR_NEST_MAX)
        return err_set(err, ERR_TOO_LARGE, "a value is nested deeper than %d", EXPR_NEST_MAX);
    if (json_is_string(v)) return expr_collect_text(c, v, err);
    for (size_t i = 0; code == ERR_OK && i < json_array_size(v); i++)
        code = expr_collect_in(c, json_array_get(v, i), depth + 1, err);
    if (!json_is_object(v)) return code;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        code = expr_collect_in(c, member, depth + 1, err);
        if (code != ERR_OK) break;
    }
    return code;
}

enum err_code expr_collect(const struct json_t *tmpl, struct expr_value *ret, size_t max,
                           size_t *ret_count, struct err *err)
{
    struct expr_collection c = {.list = ret, .max = max, .count = *ret_count};
    assert(tmpl && ret && c.count <= max);
    enum err_code code = expr_collect_in(&c, tmpl, 0, err);
    if (code == ERR_OK) *ret_count = c.count;
    return code;
}

/* --- filling ---------------------------------------------------------------------------------- */

struct expr_fill {
    const json_t *root;
    const struct expr_value *values;
    size_t count;
    size_t bytes_left, nodes_left;
};

static enum err_code expr_nomem(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

static enum err_code expr_copy(struct expr_fill *f, json_t *v, unsigned depth, json_t **ret,
                               struct err *err);

static enum err_code expr_copy_members(struct expr_fill *f, json_t *v, unsigned depth, json_t *into,
                                       struct err *err)
{
    enum err_code code = ERR_OK;
    const char *key;
    json_t *member, *copy;
    for (size_t i = 0; code == ERR_OK && i < json_array_size(v); i++) {
        code = expr_copy(f, json_array_get(v, i), depth + 1, &copy, err);
        if (code == ERR_OK && json_array_append_new(into, copy)) code = expr_nomem(err);
    }
    if (!json_is_object(v)) return code;
    json_object_foreach(v, key, member)
    {
        code = expr_copy(f, member, depth + 1, &copy, err);
        if (code == ERR_OK && json_object_set_new_nocheck(into, key, copy)) code = expr_nomem(err);
        if (code != ERR_OK) break;
    }
    return code;
}

/* A deep copy of containers within what is left of the budget; scalars are shared. */
static enum err_code expr_copy(struct expr_fill *f, json_t *v, unsigned depth, json_t **ret,
                               struct err *err)
{
    if (f->nodes_left == 0 || depth > 512)
        return err_set(err, ERR_TOO_LARGE, "the expressions of one value give too much");
    f->nodes_left--;
    if (!json_is_object(v) && !json_is_array(v)) {
        *ret = json_incref(v);
        return ERR_OK;
    }
    json_t *into = json_is_object(v) ? json_object() : json_array();
    enum err_code code = into ? expr_copy_members(f, v, depth, into, err) : expr_nomem(err);
    if (code == ERR_OK)
        *ret = into;
    else
        json_decref(into);
    return code;
}

/* The value of one expression, borrowed; *ret_is_open where it is part of the document that may
 * still grow. */
static enum err_code expr_value_of(const struct expr_fill *f, const struct expr_segment *s,
                                   json_t **ret, bool *ret_is_open, struct err *err)
{
    size_t parts;
    *ret_is_open = false;
    if (s->kind == EXPR_PATH) {
        enum err_code code = expr_walk(s->text, f->root, ret, &parts, err);
        if (code == ERR_OK) *ret_is_open = parts < 2;
        return code;
    }
    for (size_t i = 0; i < f->count; i++)
        if (f->values[i].value && view_eq(f->values[i].source, s->text)) {
            *ret = f->values[i].value;
            return ERR_OK;
        }
    return err_set(err, ERR_INTERNAL, "an expression was not evaluated");
}

static enum err_code expr_fill_whole(struct expr_fill *f, const struct expr_segment *s,
                                     json_t **ret, struct err *err)
{
    json_t *value;
    bool is_open;
    enum err_code code = expr_value_of(f, s, &value, &is_open, err);
    if (code != ERR_OK) return code;
    if (is_open) return expr_copy(f, value, 0, ret, err);
    *ret = json_incref(value);
    return ERR_OK;
}

/* Appends one part of a longer text: a string as it is, anything else as compact JSON. */
static enum err_code expr_put_part(struct expr_fill *f, const struct expr_segment *s,
                                   struct buf *text, struct err *err)
{
    json_t *value;
    bool is_open;
    if (s->kind == EXPR_LITERAL) {
        buf_put_view(text, s->text);
        return ERR_OK;
    }
    enum err_code code = expr_value_of(f, s, &value, &is_open, err);
    if (code != ERR_OK) return code;
    if (json_is_string(value))
        buf_put_view(text, expr_text(value));
    else
        json_put(text, value);
    return ERR_OK;
}

static enum err_code expr_fill_text(struct expr_fill *f, const json_t *string, json_t **ret,
                                    struct err *err)
{
    struct expr_segment list[EXPR_SEGMENTS_MAX];
    struct view source = expr_text(string);
    size_t count, max = f->bytes_left < EXPR_TEXT_MAX ? f->bytes_left : EXPR_TEXT_MAX;
    struct buf text;
    if (!memchr(source.ptr, '$', source.len)) {
        *ret = json_incref((json_t *)(uintptr_t)string);
        return ERR_OK;
    }
    enum err_code code = expr_split(source, list, EXPR_SEGMENTS_MAX, &count, err);
    if (code != ERR_OK) return code;
    if (count == 1 && list[0].kind != EXPR_LITERAL) return expr_fill_whole(f, &list[0], ret, err);
    buf_init(&text, max);
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        code = expr_put_part(f, &list[i], &text, err);
    json_t *made = NULL;
    if (code == ERR_OK && text.failed)
        code =
            err_set(err, ERR_TOO_LARGE, "the expressions of one value give more than %d MB of text",
                    EXPR_TEXT_MAX >> 20);
    else if (code == ERR_OK && !(made = json_stringn(buf_view(&text).ptr, text.len)))
        code = expr_nomem(err);
    f->bytes_left -= text.len;
    buf_fini(&text);
    if (code == ERR_OK) *ret = made;
    return code;
}

static enum err_code expr_fill_in(struct expr_fill *f, const json_t *v, unsigned depth,
                                  json_t **ret, struct err *err);

static enum err_code expr_fill_members(struct expr_fill *f, const json_t *v, unsigned depth,
                                       json_t *into, struct err *err)
{
    enum err_code code = ERR_OK;
    const char *key;
    json_t *member, *made;
    for (size_t i = 0; code == ERR_OK && i < json_array_size(v); i++) {
        code = expr_fill_in(f, json_array_get(v, i), depth + 1, &made, err);
        if (code == ERR_OK && json_array_append_new(into, made)) code = expr_nomem(err);
    }
    if (!json_is_object(v)) return code;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        code = expr_fill_in(f, member, depth + 1, &made, err);
        if (code == ERR_OK && json_object_set_new_nocheck(into, key, made)) code = expr_nomem(err);
        if (code != ERR_OK) break;
    }
    return code;
}

static enum err_code expr_fill_in(struct expr_fill *f, const json_t *v, unsigned depth,
                                  json_t **ret, struct err *err)
{
    if (depth > EXPR_NEST_MAX)
        return err_set(err, ERR_TOO_LARGE, "a value is nested deeper than %d", EXPR_NEST_MAX);
    if (json_is_string(v)) return expr_fill_text(f, v, ret, err);
    if (!json_is_object(v) && !json_is_array(v)) {
        *ret = json_incref((json_t *)(uintptr_t)v);
        return ERR_OK;
    }
    json_t *into = json_is_object(v) ? json_object() : json_array();
    enum err_code code = into ? expr_fill_members(f, v, depth, into, err) : expr_nomem(err);
    if (code == ERR_OK)
        *ret = into;
    else
        json_decref(into);
    return code;
}

enum err_code expr_fill(const struct json_t *tmpl, const struct json_t *root,
                        const struct expr_value *values, size_t count, struct json_t **ret,
                        struct err *err)
{
    assert(tmpl && root && ret && (values || count == 0));
    struct expr_fill f = {
        .root = root,
        .values = values,
        .count = count,
        .bytes_left = EXPR_FILL_BYTES_MAX,
        .nodes_left = EXPR_FILL_NODES_MAX,
    };
    return expr_fill_in(&f, tmpl, 0, ret, err);
}
