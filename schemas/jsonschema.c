/* Compiling a JSON Schema (2020-12, a named subset) into nodes.
 *
 * A validator that silently ignores a keyword lets through what the author meant to keep out; so
 * every keyword is either known or refused. One table says how each is read. References are
 * resolved when all nodes stand (jsonschema_ref.c). */
#include "schemas/jsonschema_priv.h"
#include "schemas/suggest.h"
#include <assert.h>
#include <math.h>

enum jsonschema_keyword_kind {
    KEYWORD_NOTE,   /* says nothing about validity */
    KEYWORD_ROOT,   /* $schema $id */
    KEYWORD_COUNT,  /* a non-negative integer */
    KEYWORD_NUMBER, /* a number */
    KEYWORD_FLAG,   /* true or false */
    KEYWORD_SCHEMA, /* one schema */
    KEYWORD_LIST,   /* a list of schemas */
    KEYWORD_OTHER   /* by its own function */
};

typedef enum err_code jsonschema_read_fn(struct jsonschema_build *b, struct jsonschema_node *n,
                                         const json_t *value, const struct jsonschema_frame *at);

static jsonschema_read_fn jsonschema_read_type, jsonschema_read_enum, jsonschema_read_const,
    jsonschema_read_required, jsonschema_read_defs, jsonschema_read_properties,
    jsonschema_read_patterns, jsonschema_read_pattern, jsonschema_read_format, jsonschema_read_ref;

#define AT(member) offsetof(struct jsonschema_node, member)
static const struct jsonschema_keyword {
    const char *name;
    enum jsonschema_keyword_kind kind;
    size_t offset;
    jsonschema_read_fn *read;
} jsonschema_keywords[] = {
    {"$schema", KEYWORD_ROOT, 0, NULL},
    {"$id", KEYWORD_ROOT, 0, NULL},
    {"$comment", KEYWORD_NOTE, 0, NULL},
    {"title", KEYWORD_NOTE, 0, NULL},
    {"description", KEYWORD_NOTE, 0, NULL},
    {"default", KEYWORD_NOTE, 0, NULL},
    {"examples", KEYWORD_NOTE, 0, NULL},
    {"$ref", KEYWORD_OTHER, 0, jsonschema_read_ref},
    {"$defs", KEYWORD_OTHER, 0, jsonschema_read_defs},
    {"type", KEYWORD_OTHER, 0, jsonschema_read_type},
    {"enum", KEYWORD_OTHER, 0, jsonschema_read_enum},
    {"const", KEYWORD_OTHER, 0, jsonschema_read_const},
    {"required", KEYWORD_OTHER, 0, jsonschema_read_required},
    {"properties", KEYWORD_OTHER, 0, jsonschema_read_properties},
    {"patternProperties", KEYWORD_OTHER, 0, jsonschema_read_patterns},
    {"additionalProperties", KEYWORD_SCHEMA, AT(additional), NULL},
    {"propertyNames", KEYWORD_SCHEMA, AT(names), NULL},
    {"minProperties", KEYWORD_COUNT, AT(min_properties), NULL},
    {"maxProperties", KEYWORD_COUNT, AT(max_properties), NULL},
    {"items", KEYWORD_SCHEMA, AT(items), NULL},
    {"prefixItems", KEYWORD_LIST, AT(prefix), NULL},
    {"contains", KEYWORD_SCHEMA, AT(contains), NULL},
    {"minItems", KEYWORD_COUNT, AT(min_items), NULL},
    {"maxItems", KEYWORD_COUNT, AT(max_items), NULL},
    {"uniqueItems", KEYWORD_FLAG, AT(unique_items), NULL},
    {"minLength", KEYWORD_COUNT, AT(min_length), NULL},
    {"maxLength", KEYWORD_COUNT, AT(max_length), NULL},
    {"pattern", KEYWORD_OTHER, 0, jsonschema_read_pattern},
    {"format", KEYWORD_OTHER, 0, jsonschema_read_format},
    {"minimum", KEYWORD_NUMBER, AT(minimum), NULL},
    {"maximum", KEYWORD_NUMBER, AT(maximum), NULL},
    {"exclusiveMinimum", KEYWORD_NUMBER, AT(exclusive_minimum), NULL},
    {"exclusiveMaximum", KEYWORD_NUMBER, AT(exclusive_maximum), NULL},
    {"multipleOf", KEYWORD_NUMBER, AT(multiple_of), NULL},
    {"allOf", KEYWORD_LIST, AT(all_of), NULL},
    {"anyOf", KEYWORD_LIST, AT(any_of), NULL},
    {"oneOf", KEYWORD_LIST, AT(one_of), NULL},
    {"not", KEYWORD_SCHEMA, AT(not_node), NULL},
    {"if", KEYWORD_SCHEMA, AT(if_node), NULL},
    {"then", KEYWORD_SCHEMA, AT(then_node), NULL},
    {"else", KEYWORD_SCHEMA, AT(else_node), NULL},
};
enum { JSONSCHEMA_KEYWORD_COUNT = sizeof jsonschema_keywords / sizeof jsonschema_keywords[0] };

/* --- places and faults ------------------------------------------------------------------------ */

static size_t jsonschema_put_token(const struct jsonschema_frame *f, char *ret, size_t size)
{
    char index[24];
    size_t n = 0;
    const char *key = f->key;
    if (!key) {
        snprintf(index, sizeof index, "%zu", f->index);
        key = index;
    }
    if (size > 1) ret[n++] = '/';
    for (; *key && n + 2 < size; key++) {
        if (*key != '~' && *key != '/') {
            ret[n++] = *key;
            continue;
        }
        ret[n++] = '~';
        ret[n++] = *key == '~' ? '0' : '1';
    }
    ret[n] = '\0';
    return n;
}

void jsonschema_pointer(const char *prefix, const struct jsonschema_frame *at, char *ret,
                        size_t size)
{
    const struct jsonschema_frame *frames[JSONSCHEMA_FRAMES_MAX];
    size_t count = 0;
    for (; at && count < JSONSCHEMA_FRAMES_MAX; at = at->up) frames[count++] = at;
    int n = snprintf(ret, size, "%s", prefix);
    size_t used = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    while (count > 0 && used + 1 < size)
        used += jsonschema_put_token(frames[--count], ret + used, size - used);
}

static enum err_code jsonschema_fail(const struct jsonschema_build *b,
                                     const struct jsonschema_frame *at, const char *text)
{
    struct err scratch;
    char where[sizeof scratch.where];
    jsonschema_pointer("", at, where, sizeof where);
    return err_set_at(b->err, ERR_INVALID, where, "%s", text);
}

enum err_code jsonschema_nomem(const struct jsonschema_build *b)
{
    return err_set(b->err, ERR_NOMEM, "out of memory");
}

/* --- nodes ------------------------------------------------------------------------------------ */

static enum err_code jsonschema_node_read(struct jsonschema_build *b, const json_t *source,
                                          const struct jsonschema_frame *at,
                                          struct jsonschema_node **ret);

/* NULL: *ret_code says why, and it was told. */
static struct jsonschema_node *jsonschema_node_new(struct jsonschema_build *b, const json_t *source,
                                                   const struct jsonschema_frame *at,
                                                   enum err_code *ret_code)
{
    if (b->node_count == JSONSCHEMA_NODES_MAX) {
        *ret_code = jsonschema_fail(b, at, "the schema has too many parts");
        return NULL;
    }
    struct jsonschema_node *n = calloc(1, sizeof *n);
    if (!n || !map_put(b->by_source, jsonschema_source_key(&source), n)) {
        free(n);
        *ret_code = jsonschema_nomem(b);
        return NULL;
    }
    b->node_count++;
    n->source = source;
    n->min_length = n->max_length = n->min_items = n->max_items = -1;
    n->min_properties = n->max_properties = -1;
    n->next = b->s->nodes;
    b->s->nodes = n;
    return n;
}

static enum err_code jsonschema_read_list(struct jsonschema_build *b, struct jsonschema_list *list,
                                          const json_t *value, const struct jsonschema_frame *at)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0 || count > JSONSCHEMA_LIST_MAX)
        return jsonschema_fail(b, at, "must be a list of 1 to 1000 schemas");
    list->nodes = calloc(count, sizeof *list->nodes);
    if (!list->nodes) return jsonschema_nomem(b);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        const struct jsonschema_frame here = {.up = at, .index = i};
        code = jsonschema_node_read(b, json_array_get(value, i), &here, &list->nodes[i]);
    }
    list->count = count;
    return code;
}

static bool jsonschema_count_of(const json_t *value, int64_t *ret)
{
    double x = json_number_value(value);
    if (json_is_integer(value))
        *ret = json_integer_value(value);
    else if (json_is_real(value) && x >= 0 && x < 1e15 && floor(x) == x)
        *ret = (int64_t)x;
    else
        return false;
    return *ret >= 0;
}

static enum err_code jsonschema_read_root(struct jsonschema_build *b,
                                          const struct jsonschema_keyword *k, const json_t *value,
                                          const struct jsonschema_frame *at)
{
    const char *text = json_string_value(value);
    if (!text) return jsonschema_fail(b, at, "must be text");
    if (at->up) return jsonschema_fail(b, at, "can stand at the top of a schema only");
    bool is_dialect = strncmp(text, "https://json-schema.org/draft/2020-12/schema", 44) == 0 &&
                      (!text[44] || strcmp(text + 44, "#") == 0);
    if (strcmp(k->name, "$schema") == 0 && !is_dialect)
        return jsonschema_fail(b, at,
                               "must be https://json-schema.org/draft/2020-12/schema, or left out");
    return ERR_OK;
}

static enum err_code jsonschema_read_number(struct jsonschema_build *b, const json_t **slot,
                                            const json_t *value, const struct jsonschema_frame *at)
{
    if (!json_is_number(value)) return jsonschema_fail(b, at, "must be a number");
    if (strcmp(at->key, "multipleOf") == 0 && json_number_value(value) <= 0)
        return jsonschema_fail(b, at, "must be above 0");
    *slot = value;
    return ERR_OK;
}

static enum err_code jsonschema_read_keyword(struct jsonschema_build *b, struct jsonschema_node *n,
                                             const struct jsonschema_keyword *k,
                                             const json_t *value, const struct jsonschema_frame *at)
{
    void *slot = (char *)n + k->offset;
    switch (k->kind) {
    case KEYWORD_NOTE:
        return ERR_OK;
    case KEYWORD_ROOT:
        return jsonschema_read_root(b, k, value, at);
    case KEYWORD_NUMBER:
        return jsonschema_read_number(b, slot, value, at);
    case KEYWORD_SCHEMA:
        return jsonschema_node_read(b, value, at, slot);
    case KEYWORD_LIST:
        return jsonschema_read_list(b, slot, value, at);
    case KEYWORD_OTHER:
        return k->read(b, n, value, at);
    case KEYWORD_COUNT:
        if (!jsonschema_count_of(value, slot))
            return jsonschema_fail(b, at, "must be a non-negative integer");
        return ERR_OK;
    case KEYWORD_FLAG:
        if (!json_is_boolean(value)) return jsonschema_fail(b, at, "must be true or false");
        *(bool *)slot = json_is_true(value);
        return ERR_OK;
    }
    assert(false && "unknown kind of keyword");
    return ERR_INTERNAL;
}

static enum err_code jsonschema_unknown(const struct jsonschema_build *b, const char *name,
                                        const struct jsonschema_frame *at)
{
    struct suggest s;
    char text[160] = "this keyword is not supported; schemas/README.md lists those that are";
    suggest_init(&s, view_of(name));
    for (size_t i = 0; i < JSONSCHEMA_KEYWORD_COUNT; i++)
        suggest_offer(&s, view_of(jsonschema_keywords[i].name));
    if (s.best.ptr)
        snprintf(text, sizeof text, "this keyword is not supported; did you mean %.*s?",
                 (int)s.best.len, s.best.ptr);
    return jsonschema_fail(b, at, text);
}

static size_t jsonschema_depth(const struct jsonschema_frame *at)
{
    size_t n = 0;
    for (; at; at = at->up) n++;
    return n;
}

static enum err_code jsonschema_node_read(struct jsonschema_build *b, const json_t *source,
                                          const struct jsonschema_frame *at,
                                          struct jsonschema_node **ret)
{
    enum err_code code = ERR_OK;
    if (!json_is_object(source) && !json_is_boolean(source))
        return jsonschema_fail(b, at, "must be a schema: a map of keywords, or true or false");
    if (jsonschema_depth(at) > JSONSCHEMA_DEPTH_MAX)
        return jsonschema_fail(b, at, "the schema is nested too deeply");
    struct jsonschema_node *n = jsonschema_node_new(b, source, at, &code);
    if (!n) return code;
    n->refuses_all = json_is_false(source);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)source, key, value)
    {
        const struct jsonschema_frame here = {.up = at, .key = key};
        size_t i = 0;
        while (i < JSONSCHEMA_KEYWORD_COUNT && strcmp(jsonschema_keywords[i].name, key) != 0) i++;
        code = i < JSONSCHEMA_KEYWORD_COUNT
                   ? jsonschema_read_keyword(b, n, &jsonschema_keywords[i], value, &here)
                   : jsonschema_unknown(b, key, &here);
        if (code != ERR_OK) return code;
    }
    *ret = n;
    return ERR_OK;
}

/* --- keywords of their own form --------------------------------------------------------------- */

static bool jsonschema_type_bit(const json_t *value, unsigned *types)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    const char *text = json_string_value(value);
    for (unsigned i = 0; text && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *types |= 1U << i;
            return true;
        }
    return false;
}

static enum err_code jsonschema_read_type(struct jsonschema_build *b, struct jsonschema_node *n,
                                          const json_t *value, const struct jsonschema_frame *at)
{
    bool ok =
        json_is_array(value) ? json_array_size(value) > 0 : jsonschema_type_bit(value, &n->types);
    for (size_t i = 0; ok && i < json_array_size(value); i++)
        ok = jsonschema_type_bit(json_array_get(value, i), &n->types);
    return ok ? ERR_OK
              : jsonschema_fail(
                    b, at,
                    "must be one or a list of: null boolean integer number string array object");
}

static enum err_code jsonschema_read_enum(struct jsonschema_build *b, struct jsonschema_node *n,
                                          const json_t *value, const struct jsonschema_frame *at)
{
    if (!json_is_array(value) || json_array_size(value) == 0 ||
        json_array_size(value) > JSONSCHEMA_LIST_MAX)
        return jsonschema_fail(b, at, "must be a list of 1 to 1000 values");
    n->choices = value;
    return ERR_OK;
}

static enum err_code jsonschema_read_const(struct jsonschema_build *b, struct jsonschema_node *n,
                                           const json_t *value, const struct jsonschema_frame *at)
{
    (void)b;
    (void)at;
    n->constant = value;
    return ERR_OK;
}

static enum err_code jsonschema_read_required(struct jsonschema_build *b, struct jsonschema_node *n,
                                              const json_t *value,
                                              const struct jsonschema_frame *at)
{
    bool ok = json_is_array(value) && json_array_size(value) <= JSONSCHEMA_LIST_MAX;
    for (size_t i = 0; ok && i < json_array_size(value); i++)
        ok = json_is_string(json_array_get(value, i));
    if (!ok) return jsonschema_fail(b, at, "must be a list of member names");
    n->required = value;
    return ERR_OK;
}

static enum err_code jsonschema_read_defs(struct jsonschema_build *b, struct jsonschema_node *n,
                                          const json_t *value, const struct jsonschema_frame *at)
{
    const char *key;
    json_t *member;
    struct jsonschema_node *ignored;
    (void)n;
    if (!json_is_object(value)) return jsonschema_fail(b, at, "must be a map of schemas");
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        const struct jsonschema_frame here = {.up = at, .key = key};
        enum err_code code = jsonschema_node_read(b, member, &here, &ignored);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static enum err_code jsonschema_read_properties(struct jsonschema_build *b,
                                                struct jsonschema_node *n, const json_t *value,
                                                const struct jsonschema_frame *at)
{
    const char *key;
    json_t *member;
    struct jsonschema_list *list = &n->property_nodes;
    if (!json_is_object(value) || json_object_size(value) > JSONSCHEMA_LIST_MAX)
        return jsonschema_fail(b, at, "must be a map of at most 1000 schemas");
    n->properties = value;
    list->nodes = calloc(json_object_size(value) + 1, sizeof *list->nodes);
    if (!list->nodes) return jsonschema_nomem(b);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        const struct jsonschema_frame here = {.up = at, .key = key};
        enum err_code code = jsonschema_node_read(b, member, &here, &list->nodes[list->count]);
        if (code != ERR_OK) return code;
        list->count++;
    }
    return ERR_OK;
}

static enum err_code jsonschema_regex_read(struct jsonschema_build *b, struct view source,
                                           const struct jsonschema_frame *at,
                                           struct jsonschema_regex **ret)
{
    struct err fault = {.code = ERR_OK};
    enum err_code code = jsonschema_regex_new(source, ret, &fault);
    if (code == ERR_NOMEM) return jsonschema_nomem(b);
    return code == ERR_OK ? ERR_OK : jsonschema_fail(b, at, fault.text);
}

static enum err_code jsonschema_read_patterns(struct jsonschema_build *b, struct jsonschema_node *n,
                                              const json_t *value,
                                              const struct jsonschema_frame *at)
{
    const char *key;
    json_t *member;
    if (!json_is_object(value) || json_object_size(value) > JSONSCHEMA_LIST_MAX)
        return jsonschema_fail(b, at, "must be a map of at most 1000 schemas");
    n->patterns = calloc(json_object_size(value) + 1, sizeof *n->patterns);
    if (!n->patterns) return jsonschema_nomem(b);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        const struct jsonschema_frame here = {.up = at, .key = key};
        struct jsonschema_pattern *p = &n->patterns[n->pattern_count++];
        enum err_code code = jsonschema_regex_read(b, view_of(key), &here, &p->regex);
        if (code == ERR_OK) code = jsonschema_node_read(b, member, &here, &p->node);
        if (code != ERR_OK) return code;
    }
    return ERR_OK;
}

static enum err_code jsonschema_read_pattern(struct jsonschema_build *b, struct jsonschema_node *n,
                                             const json_t *value, const struct jsonschema_frame *at)
{
    if (!json_is_string(value)) return jsonschema_fail(b, at, "must be a regular expression");
    return jsonschema_regex_read(b, view_make(json_string_value(value), json_string_length(value)),
                                 at, &n->pattern);
}

static enum err_code jsonschema_read_format(struct jsonschema_build *b, struct jsonschema_node *n,
                                            const json_t *value, const struct jsonschema_frame *at)
{
    if (json_is_string(value) && jsonschema_format_parse(json_string_value(value), &n->format))
        return ERR_OK;
    return jsonschema_fail(
        b, at, "must be uri, email, date, date-time or uuid; no other format is supported");
}

static enum err_code jsonschema_read_ref(struct jsonschema_build *b, struct jsonschema_node *n,
                                         const json_t *value, const struct jsonschema_frame *at)
{
    const char *text = json_string_value(value);
    struct err scratch;
    char where[sizeof scratch.where];
    if (!text || text[0] != '#' || (text[1] && text[1] != '/'))
        return jsonschema_fail(b, at, "must lead into this schema, such as #/$defs/name");
    jsonschema_pointer("", at, where, sizeof where);
    n->ref_at = view_dup(view_of(where));
    return n->ref_at ? ERR_OK : jsonschema_nomem(b);
}

/* --- the schema ------------------------------------------------------------------------------- */

enum err_code jsonschema_compile(const struct json_t *schema, struct jsonschema **ret,
                                 struct err *err)
{
    assert(schema && ret);
    struct jsonschema_build b = {
        .err = err, .s = calloc(1, sizeof *b.s), .by_source = map_new(JSONSCHEMA_NODES_MAX + 1)};
    enum err_code code = b.s && b.by_source ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
    if (code == ERR_OK) {
        b.s->source = json_incref((json_t *)(uintptr_t)schema);
        code = jsonschema_node_read(&b, schema, NULL, &b.s->root);
    }
    if (code == ERR_OK) code = jsonschema_link(&b);
    map_free(b.by_source);
    if (code == ERR_OK)
        *ret = b.s;
    else
        jsonschema_free(b.s);
    return code;
}

static void jsonschema_node_free(struct jsonschema_node *n)
{
    for (size_t i = 0; i < n->pattern_count; i++) jsonschema_regex_free(n->patterns[i].regex);
    jsonschema_regex_free(n->pattern);
    free(n->patterns);
    free(n->ref_at);
    free(n->property_nodes.nodes);
    free(n->prefix.nodes);
    free(n->all_of.nodes);
    free(n->any_of.nodes);
    free(n->one_of.nodes);
    free(n);
}

void jsonschema_free(struct jsonschema *s)
{
    if (!s) return;
    for (struct jsonschema_node *n = s->nodes, *next; n; n = next) {
        next = n->next;
        jsonschema_node_free(n);
    }
    json_decref(s->source);
    free(s);
}
