/* Checking a value against a compiled schema.
 *
 * The first fault is told, with its JSON pointer and what would be right; values of the instance
 * are never repeated. Branches (anyOf, not, if ...) are tried in silence. Every node looked at is a
 * step, and steps and depth are counted over the whole check, so neither a clever schema nor a
 * large value can hold the loop. A check that ran out ends as such, also under `not`. */
#include "common/base/json.h"
#include "schemas/jsonschema_priv.h"
#include <assert.h>
#include <stdarg.h>

struct jsonschema_run {
    const char *prefix;
    struct err *err;
    enum err_code code; /* of an end without verdict, or ERR_INVALID once told */
    int64_t steps;
    unsigned depth;
    unsigned silent; /* > 0: inside a branch that is only tried */
};

static bool jsonschema_node_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                               const json_t *v, const struct jsonschema_frame *at);

/* --- faults ----------------------------------------------------------------------------------- */

static bool jsonschema_bad(struct jsonschema_run *x, const struct jsonschema_frame *at,
                           const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool jsonschema_bad(struct jsonschema_run *x, const struct jsonschema_frame *at,
                           const char *fmt, ...)
{
    struct err scratch;
    char where[sizeof scratch.where], text[sizeof scratch.text];
    if (x->silent || x->code != ERR_OK) return false;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    jsonschema_pointer(x->prefix, at, where, sizeof where);
    x->code = err_set_at(x->err, ERR_INVALID, where, "%s", text);
    return false;
}

static bool jsonschema_stop(struct jsonschema_run *x, enum err_code code, const char *text)
{
    x->code = err_set_at(x->err, code, x->prefix, "%s", text);
    return false;
}

/* Are the steps used up? Then the check is over, and says so. */
static bool jsonschema_spent(struct jsonschema_run *x)
{
    if (x->steps >= 0) return false;
    if (x->code == ERR_OK)
        jsonschema_stop(x, ERR_TOO_LARGE, "the value takes too many steps to check");
    return true;
}

static bool jsonschema_try(struct jsonschema_run *x, const struct jsonschema_node *n,
                           const json_t *v, const struct jsonschema_frame *at)
{
    x->silent++;
    bool ok = jsonschema_node_ok(x, n, v, at);
    x->silent--;
    return ok;
}

/* Did the check end without a verdict (or is it over)? */
static bool jsonschema_is_over(const struct jsonschema_run *x)
{
    return x->code != ERR_OK;
}

/* --- any value -------------------------------------------------------------------------------- */

static unsigned jsonschema_types_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL:
        return JSONSCHEMA_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSONSCHEMA_BOOLEAN;
    case JSON_INTEGER:
        return JSONSCHEMA_INTEGER | JSONSCHEMA_NUMBER;
    case JSON_REAL:
        return jsonschema_is_integer(v) ? JSONSCHEMA_INTEGER | JSONSCHEMA_NUMBER
                                        : JSONSCHEMA_NUMBER;
    case JSON_STRING:
        return JSONSCHEMA_STRING;
    case JSON_ARRAY:
        return JSONSCHEMA_ARRAY;
    case JSON_OBJECT:
        return JSONSCHEMA_OBJECT;
    }
    return 0;
}

static void jsonschema_put_types(unsigned types, char *ret, size_t size)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    size_t used = 0;
    ret[0] = '\0';
    for (unsigned i = 0; i < 7 && used < size; i++)
        if (types & 1U << i)
            used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " or " : "", names[i]);
}

static bool jsonschema_type_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                               const json_t *v, const struct jsonschema_frame *at)
{
    char want[80], got[80];
    unsigned is = jsonschema_types_of(v);
    if (n->types == 0 || (n->types & is)) return true;
    jsonschema_put_types(n->types, want, sizeof want);
    jsonschema_put_types(is & JSONSCHEMA_INTEGER ? JSONSCHEMA_INTEGER : is, got, sizeof got);
    return jsonschema_bad(x, at, "must be %s, not %s", want, got);
}

/* The schema's values, as far as they fit. */
static bool jsonschema_not_listed(struct jsonschema_run *x, const json_t *values,
                                  const struct jsonschema_frame *at)
{
    struct buf list;
    if (x->silent) return false;
    buf_init(&list, 160);
    bool fits = json_put(&list, values) && !list.failed;
    if (fits)
        jsonschema_bad(x, at, "must be %s%.*s", json_is_array(values) ? "one of " : "",
                       (int)list.len, list.data);
    else
        jsonschema_bad(x, at, "must be the value (or one of those) that the schema lists");
    buf_fini(&list);
    return false;
}

static bool jsonschema_value_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                const json_t *v, const struct jsonschema_frame *at)
{
    bool is_listed = !n->choices;
    for (size_t i = 0; !is_listed && i < json_array_size(n->choices); i++)
        is_listed = jsonschema_equal(json_array_get(n->choices, i), v, &x->steps);
    if (jsonschema_spent(x)) return false;
    if (!is_listed) return jsonschema_not_listed(x, n->choices, at);
    bool is_constant = !n->constant || jsonschema_equal(n->constant, v, &x->steps);
    if (jsonschema_spent(x)) return false;
    return is_constant || jsonschema_not_listed(x, n->constant, at);
}

/* --- numbers and texts ------------------------------------------------------------------------ */

static bool jsonschema_bad_number(struct jsonschema_run *x, const struct jsonschema_frame *at,
                                  const char *text, const json_t *limit)
{
    struct buf number;
    if (x->silent) return false;
    buf_init(&number, 64);
    if (json_put(&number, limit))
        jsonschema_bad(x, at, "%s %.*s", text, (int)number.len, number.data);
    else
        jsonschema_stop(x, ERR_NOMEM, "out of memory");
    buf_fini(&number);
    return false;
}

static bool jsonschema_number_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                 const json_t *v, const struct jsonschema_frame *at)
{
    const struct {
        const json_t *limit;
        bool ok;
        const char *text;
    } rules[] = {
        {n->minimum, n->minimum && jsonschema_compare(v, n->minimum) >= 0, "must be at least"},
        {n->maximum, n->maximum && jsonschema_compare(v, n->maximum) <= 0, "must be at most"},
        {n->exclusive_minimum,
         n->exclusive_minimum && jsonschema_compare(v, n->exclusive_minimum) > 0, "must be above"},
        {n->exclusive_maximum,
         n->exclusive_maximum && jsonschema_compare(v, n->exclusive_maximum) < 0, "must be below"},
        {n->multiple_of, n->multiple_of && jsonschema_is_multiple(v, n->multiple_of),
         "must be a multiple of"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].limit && !rules[i].ok)
            return jsonschema_bad_number(x, at, rules[i].text, rules[i].limit);
    return true;
}

static bool jsonschema_count_ok(struct jsonschema_run *x, int64_t count, const int64_t limits[2],
                                const char *unit, const struct jsonschema_frame *at)
{
    bool is_few = limits[0] >= 0 && count < limits[0],
         is_many = limits[1] >= 0 && count > limits[1];
    if (!is_few && !is_many) return true;
    int64_t limit = is_few ? limits[0] : limits[1];
    return jsonschema_bad(x, at, "must have at %s %lld %s%s", is_few ? "least" : "most",
                          (long long)limit, unit, limit == 1 ? "" : "s");
}

static bool jsonschema_string_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                 const json_t *v, const struct jsonschema_frame *at)
{
    struct view text = view_make(json_string_value(v), json_string_length(v));
    bool has_limit = n->min_length >= 0 || n->max_length >= 0;
    int64_t length = has_limit ? (int64_t)jsonschema_length(text.ptr, text.len) : 0;
    if (!jsonschema_count_ok(x, length, (int64_t[2]){n->min_length, n->max_length}, "character",
                             at))
        return false;
    if (n->format != JSONSCHEMA_NO_FORMAT && !jsonschema_format_ok(n->format, text))
        return jsonschema_bad(x, at, "must be a valid %s", jsonschema_format_name(n->format));
    bool fits = !n->pattern || jsonschema_regex_match(n->pattern, text, &x->steps);
    if (jsonschema_spent(x)) return false;
    const char *pattern = json_string_value(json_object_get(n->source, "pattern"));
    return fits || jsonschema_bad(x, at, "does not match the pattern %.120s", pattern);
}

/* --- arrays ----------------------------------------------------------------------------------- */

static bool jsonschema_items_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                const json_t *v, const struct jsonschema_frame *at)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        const struct jsonschema_frame here = {.up = at, .index = i};
        const struct jsonschema_node *item = i < n->prefix.count ? n->prefix.nodes[i] : n->items;
        if (!item) break;
        if (!jsonschema_node_ok(x, item, json_array_get(v, i), &here)) return false;
    }
    return true;
}

static bool jsonschema_contains_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                   const json_t *v, const struct jsonschema_frame *at)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (jsonschema_try(x, n->contains, json_array_get(v, i), at)) return true;
        if (jsonschema_is_over(x)) return false;
    }
    return jsonschema_bad(x, at, "must hold an element of the kind that contains asks for");
}

static bool jsonschema_array_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                const json_t *v, const struct jsonschema_frame *at)
{
    size_t pair[2];
    if (!jsonschema_count_ok(x, (int64_t)json_array_size(v),
                             (int64_t[2]){n->min_items, n->max_items}, "element", at))
        return false;
    if (n->unique_items && !jsonschema_unique(v, &x->steps, pair)) {
        if (jsonschema_spent(x)) return false;
        if (pair[0] == pair[1]) return jsonschema_stop(x, ERR_NOMEM, "out of memory");
        return jsonschema_bad(x, at, "elements %zu and %zu are equal", pair[0], pair[1]);
    }
    if ((n->items || n->prefix.count) && !jsonschema_items_ok(x, n, v, at)) return false;
    return !n->contains || jsonschema_contains_ok(x, n, v, at);
}

/* --- objects ---------------------------------------------------------------------------------- */

static bool jsonschema_required_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                   const json_t *v, const struct jsonschema_frame *at)
{
    for (size_t i = 0; i < json_array_size(n->required); i++) {
        const char *name = json_string_value(json_array_get(n->required, i));
        x->steps--;
        if (!json_object_get(v, name))
            return jsonschema_bad(x, at, "member '%.100s' is missing", name);
    }
    return true;
}

static bool jsonschema_properties_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                     const json_t *v, const struct jsonschema_frame *at)
{
    const char *key;
    json_t *ignored;
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)n->properties, key, ignored)
    {
        const struct jsonschema_frame here = {.up = at, .key = key};
        const struct jsonschema_node *node = n->property_nodes.nodes[i++];
        const json_t *member = json_object_get(v, key);
        x->steps--;
        if (member && !jsonschema_node_ok(x, node, member, &here)) return false;
    }
    return true;
}

static bool jsonschema_name_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                               const char *key, const struct jsonschema_frame *at)
{
    json_t *text = json_string(key);
    if (!text) return jsonschema_stop(x, ERR_NOMEM, "out of memory");
    bool ok = jsonschema_try(x, n->names, text, at);
    json_decref(text);
    return ok || jsonschema_bad(x, at, "this member's name is not allowed");
}

/* One member against propertyNames, patternProperties, and additionalProperties where nothing else
 * spoke of it. */
static bool jsonschema_member_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                 const char *key, const json_t *member,
                                 const struct jsonschema_frame *at)
{
    const struct jsonschema_frame here = {.up = at, .key = key};
    bool is_known = n->properties && json_object_get(n->properties, key);
    if (n->names && !jsonschema_name_ok(x, n, key, &here)) return false;
    for (size_t i = 0; i < n->pattern_count; i++) {
        bool fits = jsonschema_regex_match(n->patterns[i].regex, view_of(key), &x->steps);
        if (jsonschema_spent(x)) return false;
        if (!fits) continue;
        is_known = true;
        if (!jsonschema_node_ok(x, n->patterns[i].node, member, &here)) return false;
    }
    if (is_known || !n->additional) return true;
    if (n->additional->refuses_all) return jsonschema_bad(x, &here, "this member is not known");
    return jsonschema_node_ok(x, n->additional, member, &here);
}

static bool jsonschema_object_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                 const json_t *v, const struct jsonschema_frame *at)
{
    const char *key;
    json_t *member;
    if (!jsonschema_required_ok(x, n, v, at)) return false;
    if (!jsonschema_count_ok(x, (int64_t)json_object_size(v),
                             (int64_t[2]){n->min_properties, n->max_properties}, "member", at))
        return false;
    if (n->properties && !jsonschema_properties_ok(x, n, v, at)) return false;
    if (!n->names && !n->pattern_count && !n->additional) return true;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        x->steps--;
        if (jsonschema_spent(x) || !jsonschema_member_ok(x, n, key, member, at)) return false;
    }
    return true;
}

/* --- combinations ----------------------------------------------------------------------------- */

static size_t jsonschema_count_fits(struct jsonschema_run *x, const struct jsonschema_list *list,
                                    size_t enough, const json_t *v,
                                    const struct jsonschema_frame *at)
{
    size_t fits = 0;
    for (size_t i = 0; i < list->count && fits < enough && !jsonschema_is_over(x); i++)
        fits += jsonschema_try(x, list->nodes[i], v, at);
    return fits;
}

/* Exactly one, any, none: where a single alternative is of the value's type, its fault is the
 * helpful one. */
static bool jsonschema_no_branch(struct jsonschema_run *x, const struct jsonschema_list *list,
                                 const json_t *v, const struct jsonschema_frame *at)
{
    const struct jsonschema_node *only = NULL;
    size_t candidates = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct jsonschema_node *n =
            list->nodes[i]->ref ? list->nodes[i]->ref : list->nodes[i];
        if (n->refuses_all || (n->types && !(n->types & jsonschema_types_of(v)))) continue;
        only = n;
        candidates++;
    }
    if (candidates == 1 && !x->silent && !jsonschema_node_ok(x, only, v, at)) return false;
    return jsonschema_bad(x, at, "fits none of the %zu alternatives of the schema", list->count);
}

static bool jsonschema_branches_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                   const json_t *v, const struct jsonschema_frame *at)
{
    for (size_t i = 0; i < n->all_of.count; i++)
        if (!jsonschema_node_ok(x, n->all_of.nodes[i], v, at)) return false;
    size_t any = n->any_of.count ? jsonschema_count_fits(x, &n->any_of, 1, v, at) : 1;
    if (jsonschema_is_over(x)) return false;
    if (any == 0) return jsonschema_no_branch(x, &n->any_of, v, at);
    size_t one = n->one_of.count ? jsonschema_count_fits(x, &n->one_of, 2, v, at) : 1;
    if (jsonschema_is_over(x)) return false;
    if (one == 0) return jsonschema_no_branch(x, &n->one_of, v, at);
    if (one > 1)
        return jsonschema_bad(x, at, "fits more than one of the %zu alternatives of the schema",
                              n->one_of.count);
    return true;
}

static bool jsonschema_conditions_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                                     const json_t *v, const struct jsonschema_frame *at)
{
    if (n->not_node) {
        bool fits = jsonschema_try(x, n->not_node, v, at);
        if (jsonschema_is_over(x)) return false;
        if (fits) return jsonschema_bad(x, at, "is what the schema says it must not be");
    }
    if (!n->if_node) return true;
    bool is_so = jsonschema_try(x, n->if_node, v, at);
    if (jsonschema_is_over(x)) return false;
    const struct jsonschema_node *next = is_so ? n->then_node : n->else_node;
    return !next || jsonschema_node_ok(x, next, v, at);
}

static bool jsonschema_kind_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                               const json_t *v, const struct jsonschema_frame *at)
{
    if (json_is_object(v)) return jsonschema_object_ok(x, n, v, at);
    if (json_is_array(v)) return jsonschema_array_ok(x, n, v, at);
    if (json_is_string(v)) return jsonschema_string_ok(x, n, v, at);
    return !json_is_number(v) || jsonschema_number_ok(x, n, v, at);
}

static bool jsonschema_node_ok(struct jsonschema_run *x, const struct jsonschema_node *n,
                               const json_t *v, const struct jsonschema_frame *at)
{
    if (jsonschema_is_over(x)) return false;
    x->steps--;
    if (jsonschema_spent(x)) return false;
    if (n->refuses_all) return jsonschema_bad(x, at, "nothing is allowed here");
    if (x->depth == JSONSCHEMA_FRAMES_MAX)
        return jsonschema_stop(x, ERR_TOO_LARGE, "the value is nested too deeply to check");
    x->depth++;
    bool ok = jsonschema_type_ok(x, n, v, at) && jsonschema_value_ok(x, n, v, at) &&
              jsonschema_kind_ok(x, n, v, at) &&
              (!n->ref || jsonschema_node_ok(x, n->ref, v, at)) &&
              jsonschema_branches_ok(x, n, v, at) && jsonschema_conditions_ok(x, n, v, at);
    x->depth--;
    return ok;
}

enum err_code jsonschema_check(const struct jsonschema *s, const struct json_t *instance,
                               const char *at, struct err *err)
{
    assert(s && instance && at);
    struct jsonschema_run x = {.prefix = at, .err = err, .steps = JSONSCHEMA_STEPS_MAX};
    bool ok = jsonschema_node_ok(&x, s->root, instance, NULL);
    assert(ok == (x.code == ERR_OK));
    return x.code;
}
