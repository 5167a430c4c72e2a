/* One step: its id, its kind, and the frame every kind has (needs when foreach concurrency timeout
 * retry on_error).
 *
 * The id is read first, so that everything said later can name the step. Exactly one kind stands in
 * a step; the kinds of later work are known by name. Needs are kept as a set of places in the file
 * until all steps are known (workflow_graph.c). */
#include "schemas/expr.h"
#include "schemas/suggest.h"
#include "schemas/workflow_priv.h"
#include <assert.h>

static const char *const workflow_step_keys[] = {
    "id",       "needs", "when", "foreach",   "as",        "concurrency", "timeout", "retry",
    "on_error", "cache", "with", "llm",       "transform", "embed",       "fetch",   "crawl",
    "http",     "sleep", "wait", "component", "workflow",  NULL};
static const char *const workflow_kinds[] = {[STEP_LLM] = "llm", [STEP_TRANSFORM] = "transform"};
static const char *const workflow_later[] = {"embed", "fetch", "crawl",     "http",
                                             "sleep", "wait",  "component", "workflow"};

/* [a-z][a-z0-9_]*, shorter than max */
static bool workflow_is_id(const char *text, size_t max)
{
    size_t len = text ? strlen(text) : 0;
    if (len == 0 || len >= max || text[0] < 'a' || text[0] > 'z') return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static enum err_code workflow_read_id(struct workflow_read *r, size_t index, const json_t *map,
                                      const struct place *at)
{
    const json_t *value = json_object_get(map, "id");
    const char *id = json_string_value(value);
    const struct place here = place_key(at, "id");
    if (!json_is_object(map))
        return workflow_fail(r, at, "must be a map, such as {id: first, transform: ...}");
    if (!value) return workflow_fail(r, at, "id is missing; add `id: step%zu`", index + 1);
    if (!workflow_is_id(id, STEP_ID_MAX))
        return workflow_fail(r, &here,
                             "must be a lower-case letter and then up to %d letters, digits and _",
                             STEP_ID_MAX - 2);
    for (size_t i = 0; i < index; i++)
        if (strcmp(r->w->steps[i].id, id) == 0)
            return workflow_fail(r, &here, "step '%s' stands twice; give this one another id", id);
    memcpy(r->w->steps[index].id, id, strlen(id) + 1);
    return ERR_OK;
}

static enum err_code workflow_read_kind(struct workflow_read *r, struct workflow_step *s,
                                        const json_t *map, const struct place *at)
{
    size_t found = 0;
    for (size_t i = 0; i < sizeof workflow_later / sizeof workflow_later[0]; i++) {
        struct place here = place_key(at, workflow_later[i]);
        if (json_object_get(map, workflow_later[i]))
            return workflow_fail(r, &here, "step '%s': kind '%s' is not available in this build",
                                 s->id, workflow_later[i]);
    }
    for (size_t i = 0; i < STEP_KIND_COUNT; i++) {
        if (!json_object_get(map, workflow_kinds[i])) continue;
        s->kind = (enum step_kind)i;
        s->spec = json_object_get(map, workflow_kinds[i]);
        found++;
    }
    if (found == 0)
        return workflow_fail(r, at, "step '%s' has no kind; add `llm: {...}` or `transform: ...`",
                             s->id);
    if (found > 1)
        return workflow_fail(r, at, "step '%s' has more than one kind; make two steps of it",
                             s->id);
    struct place here = place_key(at, workflow_kinds[s->kind]);
    return s->kind == STEP_LLM ? workflow_read_llm(r, s, s->spec, &here) : ERR_OK;
}

bool workflow_is_expr(const json_t *value)
{
    struct expr_segment list[2];
    size_t count;
    if (!json_is_string(value)) return false;
    struct view text = view_make(json_string_value(value), json_string_length(value));
    return expr_split(text, list, 2, &count, NULL) == ERR_OK && count == 1 &&
           list[0].kind != EXPR_LITERAL;
}

/* A member that is one whole expression; blanks around it (a block scalar's last line end) are cut
 * off. */
static enum err_code workflow_read_expr(struct workflow_read *r, const json_t *map,
                                        const struct place *at, const char *key, const char **slot)
{
    json_t *value = json_object_get(map, key);
    struct place here = place_key(at, key);
    if (!value) return ERR_OK;
    if (json_is_string(value)) {
        struct view text =
            view_trim(view_make(json_string_value(value), json_string_length(value)));
        if (json_string_setn(value, text.len ? text.ptr : "", text.len))
            return err_set(r->err, ERR_NOMEM, "out of memory");
        struct expr_segment list[2];
        size_t count;
        struct err fault = {.code = ERR_OK};
        if (expr_split(view_make(json_string_value(value), json_string_length(value)), list, 2,
                       &count, &fault) == ERR_INVALID)
            return workflow_fail(r, &here, "%s", fault.text);
    }
    if (!workflow_is_expr(value))
        return workflow_fail(r, &here, "must be one expression, such as \"${ .input.list }\"");
    *slot = json_string_value(value);
    return ERR_OK;
}

static enum err_code workflow_read_foreach(struct workflow_read *r, struct workflow_step *s,
                                           const json_t *map, const struct place *at)
{
    const struct workflow_member several = {"concurrency", 1, 1000, &s->concurrency};
    const struct place as_at = place_key(at, "as"), concurrency = place_key(at, "concurrency");
    const json_t *as = json_object_get(map, "as");
    const char *name = as ? json_string_value(as) : "item";
    enum err_code code = workflow_read_expr(r, map, at, "foreach", &s->foreach);
    s->concurrency = 1;
    if (code == ERR_OK) code = workflow_read_int(r, map, at, &several);
    if (code != ERR_OK) return code;
    if (!s->foreach && as) return workflow_fail(r, &as_at, "has no meaning without foreach");
    if (!s->foreach && json_object_get(map, "concurrency"))
        return workflow_fail(r, &concurrency, "has no meaning without foreach");
    bool is_taken = name && (strcmp(name, "input") == 0 || strcmp(name, "steps") == 0 ||
                             strcmp(name, "job") == 0);
    if (is_taken || !workflow_is_id(name, STEP_ID_MAX))
        return workflow_fail(r, &as_at,
                             "must be a lower-case name other than input, steps and job");
    s->as = name;
    return ERR_OK;
}

static enum err_code workflow_read_on_error(struct workflow_read *r, struct workflow_step *s,
                                            const json_t *map, const struct place *at)
{
    const json_t *value = json_object_get(map, "on_error");
    const struct place here = place_key(at, "on_error");
    const char *name = json_string_value(value);
    if (!value || (name && strcmp(name, "fail") == 0)) return ERR_OK;
    if (name && strcmp(name, "continue") == 0) {
        s->on_error = ON_ERROR_CONTINUE;
        return ERR_OK;
    }
    s->fallback = json_object_get(value, "fallback");
    s->on_error = ON_ERROR_FALLBACK;
    if (json_object_size(value) == 1 && s->fallback) return ERR_OK;
    return workflow_fail(r, &here, "must be fail, continue, or {fallback: VALUE}");
}

static enum err_code workflow_read_needs(struct workflow_read *r, size_t index, const json_t *map,
                                         const struct place *at)
{
    const json_t *list = json_object_get(map, "needs");
    const struct place here = place_key(at, "needs");
    if (!list) return ERR_OK;
    r->has_needs[index] = true;
    if (json_is_string(list))
        return workflow_fail(r, &here, "must be a list; write `needs: [%.60s]`",
                             json_string_value(list));
    if (!json_is_array(list)) return workflow_fail(r, &here, "must be a list of step ids");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct place item = place_index(&here, i);
        if (!json_is_string(json_array_get(list, i)))
            return workflow_fail(r, &item, "must be the id of a step");
    }
    return ERR_OK;
}

static enum err_code workflow_refuse_cache(struct workflow_read *r, const struct workflow_step *s,
                                           const json_t *map, const struct place *at)
{
    const struct place cache = place_key(at, "cache"), with = place_key(at, "with");
    if (json_object_get(map, "cache"))
        return workflow_fail(r, &cache, "step '%s': cache is not available in this build", s->id);
    if (json_object_get(map, "with"))
        return workflow_fail(r, &with,
                             "step '%s': with belongs to component and workflow, which are not "
                             "available in this build",
                             s->id);
    return ERR_OK;
}

enum err_code workflow_read_step(struct workflow_read *r, size_t index, const struct place *at)
{
    const json_t *map = json_array_get(r->steps, index);
    struct workflow_step *s = &r->w->steps[index];
    const struct place retry = place_key(at, "retry");
    const struct workflow_member timeout = {"timeout", 10, 86400000, &s->timeout_ms};
    s->retry = r->retry;
    s->timeout_ms = r->timeout_ms;
    enum err_code code = workflow_read_id(r, index, map, at);
    if (code == ERR_OK) code = workflow_check_keys(r, map, at, workflow_step_keys);
    if (code == ERR_OK) code = workflow_read_kind(r, s, map, at);
    if (code == ERR_OK) code = workflow_refuse_cache(r, s, map, at);
    if (code == ERR_OK) code = workflow_read_needs(r, index, map, at);
    if (code == ERR_OK) code = workflow_read_expr(r, map, at, "when", &s->when);
    if (code == ERR_OK) code = workflow_read_foreach(r, s, map, at);
    if (code == ERR_OK) code = workflow_read_duration(r, map, at, &timeout);
    if (code == ERR_OK)
        code = workflow_read_retry(r, json_object_get(map, "retry"), &retry, &s->retry);
    if (code == ERR_OK) code = workflow_read_on_error(r, s, map, at);
    return code;
}
