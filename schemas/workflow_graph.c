/* The graph of steps: what every expression refers to, what each step therefore needs, and an order
 * in which they can run.
 *
 * An expression that reads a step's output before that step has run would read null and go on as if
 * nothing were wrong. So every name is checked: it must be a step, and the step that reads it must
 * need it, directly or through others. Where `needs` is left out it is taken from the expressions.
 * In jq the names are found by their look (`.steps.NAME`); a program that reaches them otherwise
 * must write `needs`. The walk runs twice, before the needs are known and after, so that a fault is
 * told at the expression. */
#include "schemas/expr_priv.h"
#include "schemas/suggest.h"
#include "schemas/workflow_priv.h"
#include <assert.h>

static bool workflow_set_has(const struct workflow_set *s, size_t i)
{
    return s->bits[i / 64] >> (i % 64) & 1;
}

static void workflow_set_add(struct workflow_set *s, size_t i)
{
    s->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

/* --- expressions ------------------------------------------------------------------------------ */

struct workflow_walk {
    struct workflow_read *r;
    size_t step;      /* WORKFLOW_STEPS_MAX: the job's output, which sees every step */
    const char *loop; /* the loop variable in sight, or NULL */
    bool is_second;   /* needs are known: check them; else collect them */
    const char *kind; /* of what is walked, for faults */
};

static enum err_code workflow_tell_need(struct workflow_walk *k, size_t other,
                                        const struct place *at)
{
    const struct workflow_step *steps = k->r->w->steps;
    const json_t *list = json_object_get(json_array_get(k->r->steps, k->step), "needs");
    char text[120];
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(list) && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s, ",
                                 json_string_value(json_array_get(list, i)));
    return workflow_fail(k->r, at,
                         "reads step '%.40s', which it does not need; write `needs: [%s%.40s]`",
                         steps[other].id, used < sizeof text ? text : "..., ", steps[other].id);
}

static enum err_code workflow_check_need(struct workflow_walk *k, size_t other,
                                         const struct place *at)
{
    const struct workflow_step *steps = k->r->w->steps;
    if (k->step == WORKFLOW_STEPS_MAX) return ERR_OK;
    if (other == k->step)
        return workflow_fail(k->r, at, "step '%s' cannot read its own output", steps[other].id);
    if (!k->is_second) {
        if (!k->r->has_needs[k->step]) workflow_set_add(&k->r->needs[k->step], other);
        return ERR_OK;
    }
    if (workflow_set_has(&k->r->needs[k->step], other)) return ERR_OK;
    return workflow_tell_need(k, other, at);
}

static enum err_code workflow_check_step(struct workflow_walk *k, struct view name,
                                         const struct place *at)
{
    int other = workflow_step_find(k->r->w, name);
    if (other >= 0) return workflow_check_need(k, (size_t)other, at);
    struct suggest s;
    int shown = (int)(name.len < STEP_ID_MAX ? name.len : STEP_ID_MAX);
    suggest_init(&s, name);
    for (size_t i = 0; i < k->r->w->step_count; i++)
        suggest_offer(&s, view_of(k->r->w->steps[i].id));
    if (!s.best.ptr) return workflow_fail(k->r, at, "there is no step '%.*s'", shown, name.ptr);
    return workflow_fail(k->r, at, "there is no step '%.*s'; did you mean '%.*s'?", shown, name.ptr,
                         (int)s.best.len, s.best.ptr);
}

/* The first name of a plain path is one of the document's; after .steps.NAME comes .output. */
static enum err_code workflow_check_path(struct workflow_walk *k, struct view path,
                                         const struct place *at)
{
    struct view rest = path;
    struct expr_part part[3] = {{.is_index = false}};
    size_t n = 0;
    while (n < 3 && expr_path_next(path, &rest, &part[n]) > 0) n++;
    if (n == 0) return ERR_OK;
    bool is_root = !part[0].is_index &&
                   (view_eq_str(part[0].name, "input") || view_eq_str(part[0].name, "steps") ||
                    view_eq_str(part[0].name, "job"));
    if (k->loop && !part[0].is_index && view_eq_str(part[0].name, k->loop)) return ERR_OK;
    int shown = (int)(path.len < 60 ? path.len : 60);
    if (!is_root && k->loop)
        return workflow_fail(k->r, at, "%.*s: a path starts with .input, .steps, .job or .%s",
                             shown, path.ptr, k->loop);
    if (!is_root)
        return workflow_fail(k->r, at, "%.*s: a path starts with .input, .steps or .job", shown,
                             path.ptr);
    if (n == 3 && view_eq_str(part[0].name, "steps") &&
        (part[2].is_index || !view_eq_str(part[2].name, "output")))
        return workflow_fail(k->r, at, "%.*s: of a step only .output can be read", shown, path.ptr);
    return ERR_OK;
}

static enum err_code workflow_check_source(struct workflow_walk *k, const struct expr_segment *s,
                                           const struct place *at)
{
    struct view names[EXPR_SEGMENTS_MAX];
    enum err_code code = s->kind == EXPR_PATH ? workflow_check_path(k, s->text, at) : ERR_OK;
    size_t count = code == ERR_OK ? expr_steps(s->text, names, EXPR_SEGMENTS_MAX) : 0;
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        if (names[i].ptr) code = workflow_check_step(k, names[i], at);
    return code;
}

static enum err_code workflow_check_text(struct workflow_walk *k, struct view text,
                                         const struct place *at)
{
    struct expr_segment list[EXPR_SEGMENTS_MAX];
    struct err fault = {.code = ERR_OK};
    size_t count = 0;
    if (!expr_has(text)) return ERR_OK;
    if (expr_split(text, list, EXPR_SEGMENTS_MAX, &count, &fault) != ERR_OK)
        return workflow_fail(k->r, at, "%s", fault.text);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        if (list[i].kind != EXPR_LITERAL) code = workflow_check_source(k, &list[i], at);
    return code;
}

static enum err_code workflow_check_value(struct workflow_walk *k, const json_t *value,
                                          const struct place *at)
{
    const char *key;
    json_t *member;
    enum err_code code = ERR_OK;
    if (json_is_string(value))
        return workflow_check_text(
            k, view_make(json_string_value(value), json_string_length(value)), at);
    for (size_t i = 0; i < json_array_size(value) && code == ERR_OK; i++) {
        struct place here = place_index(at, i);
        code = workflow_check_value(k, json_array_get(value, i), &here);
    }
    if (!json_is_object(value)) return code;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        struct place here = place_key(at, key);
        if (expr_has(view_of(key)))
            return workflow_fail(k->r, &here, "an expression cannot stand in a key");
        code = workflow_check_value(k, member, &here);
        if (code != ERR_OK) break;
    }
    return code;
}

/* A whole template: its expressions, and how many different jq ones it has. */
static enum err_code workflow_check_template(struct workflow_walk *k, const json_t *value,
                                             const struct place *at, const char *key)
{
    struct expr_value list[WORKFLOW_EXPRS_MAX];
    struct err fault = {.code = ERR_OK};
    size_t count = 0;
    const struct place here = at ? place_key(at, key) : place_key(NULL, key);
    if (!value) return ERR_OK;
    enum err_code code = workflow_check_value(k, value, &here);
    if (code != ERR_OK || expr_collect(value, list, WORKFLOW_EXPRS_MAX, &count, &fault) == ERR_OK)
        return code;
    return workflow_fail(k->r, &here, "%s", fault.text);
}

static enum err_code workflow_walk_step(struct workflow_read *r, size_t i, bool is_second)
{
    const struct workflow_step *s = &r->w->steps[i];
    const json_t *map = json_array_get(r->steps, i);
    struct workflow_walk k = {.r = r, .step = i, .is_second = is_second};
    const struct place list = place_key(NULL, "steps"), at = place_index(&list, i),
                       on_error = place_key(&at, "on_error");
    enum err_code code = workflow_check_template(&k, json_object_get(map, "when"), &at, "when");
    if (code == ERR_OK)
        code = workflow_check_template(&k, json_object_get(map, "foreach"), &at, "foreach");
    if (s->foreach) k.loop = s->as;
    if (code == ERR_OK)
        code = workflow_check_template(&k, s->spec, &at, s->kind == STEP_LLM ? "llm" : "transform");
    if (code == ERR_OK) code = workflow_check_template(&k, s->fallback, &on_error, "fallback");
    return code;
}

static enum err_code workflow_walk_all(struct workflow_read *r, bool is_second)
{
    struct workflow_walk k = {.r = r, .step = WORKFLOW_STEPS_MAX};
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < r->w->step_count && code == ERR_OK; i++)
        code = workflow_walk_step(r, i, is_second);
    return code == ERR_OK ? workflow_check_template(&k, r->w->output, NULL, "output") : code;
}

/* --- needs ------------------------------------------------------------------------------------ */

static enum err_code workflow_read_needed(struct workflow_read *r, size_t i)
{
    const json_t *list = json_object_get(json_array_get(r->steps, i), "needs");
    const struct place steps = place_key(NULL, "steps"), at = place_index(&steps, i),
                       needs = place_key(&at, "needs");
    struct workflow_walk k = {.r = r,
                              .step = WORKFLOW_STEPS_MAX}; /* as a reader that may name any step */
    enum err_code code = ERR_OK;
    for (size_t n = 0; n < json_array_size(list) && code == ERR_OK; n++) {
        struct place here = place_index(&needs, n);
        struct view id = view_of(json_string_value(json_array_get(list, n)));
        code = workflow_check_step(&k, id, &here);
        if (code == ERR_OK) workflow_set_add(&r->needs[i], (size_t)workflow_step_find(r->w, id));
    }
    return code;
}

/* The first step that i needs and that is not done; count where there is none. */
static size_t workflow_next_need(const struct workflow_read *r, const struct workflow_set *done,
                                 size_t i)
{
    for (size_t b = 0; b < WORKFLOW_STEPS_MAX / 64; b++) {
        uint64_t open = r->needs[i].bits[b] & ~done->bits[b];
        if (open) return b * 64 + (size_t)__builtin_ctzll(open);
    }
    return r->w->step_count;
}

/* Follows needs from start, which lies on or before a circle, until a step comes again; then tells
 * the circle. */
static enum err_code workflow_tell_cycle(struct workflow_read *r, const struct workflow_set *done,
                                         size_t start)
{
    struct workflow_set seen = {{0}};
    char text[160];
    size_t used = 0, at = start;
    while (!workflow_set_has(&seen, at)) {
        workflow_set_add(&seen, at);
        at = workflow_next_need(r, done, at);
        assert(at < r->w->step_count);
    }
    const size_t first = at;
    do {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s -> ", r->w->steps[at].id);
        at = workflow_next_need(r, done, at);
    } while (at != first && used < sizeof text);
    const char *end = used < sizeof text ? r->w->steps[first].id : "...";
    const struct place steps = place_key(NULL, "steps"), here = place_index(&steps, first);
    return workflow_fail(r, &here, "steps need one another in a circle: %s%s", text, end);
}

/* order[n] = place in the file of the n-th step to run; the earliest in the file first among those
 * that can. */
static enum err_code workflow_order(struct workflow_read *r, size_t *order)
{
    size_t count = r->w->step_count;
    struct workflow_set done = {{0}};
    for (size_t n = 0; n < count; n++) {
        size_t pick = 0, waiting = count;
        for (; pick < count; pick++) {
            if (workflow_set_has(&done, pick)) continue;
            if (workflow_next_need(r, &done, pick) == count) break;
            if (waiting == count) waiting = pick;
        }
        if (pick == count) return workflow_tell_cycle(r, &done, waiting);
        workflow_set_add(&done, pick);
        order[n] = pick;
    }
    return ERR_OK;
}

/* --- the result ------------------------------------------------------------------------------- */

static enum err_code workflow_set_needs(struct workflow_step *s, const struct workflow_set *needs,
                                        const size_t *position, size_t count, struct err *err)
{
    size_t n = 0;
    for (size_t k = 0; k < count; k++) n += workflow_set_has(needs, k);
    if (n == 0) return ERR_OK;
    s->needs = calloc(n, sizeof *s->needs);
    if (!s->needs) return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t k = 0; k < count; k++)
        if (workflow_set_has(needs, k)) s->needs[s->need_count++] = position[k];
    return ERR_OK;
}

/* Direct needs become all needs: what is needed by what is needed too. */
static void workflow_close_needs(struct workflow_read *r, const size_t *order)
{
    size_t count = r->w->step_count;
    for (size_t n = 0; n < count; n++) {
        struct workflow_set *mine = &r->needs[order[n]], direct = *mine;
        for (size_t k = 0; k < count; k++) {
            if (!workflow_set_has(&direct, k)) continue;
            for (size_t b = 0; b < WORKFLOW_STEPS_MAX / 64; b++)
                mine->bits[b] |= r->needs[k].bits[b];
        }
    }
}

static enum err_code workflow_sort(struct workflow_read *r, const size_t *order)
{
    size_t count = r->w->step_count;
    struct workflow_step *sorted = calloc(count, sizeof *sorted);
    if (!sorted) return err_set(r->err, ERR_NOMEM, "out of memory");
    for (size_t n = 0; n < count; n++) sorted[n] = r->w->steps[order[n]];
    free(r->w->steps);
    r->w->steps = sorted;
    return ERR_OK;
}

/* Without `output` the job's output is that of the file's last step. Where another step runs after
 * it, this is written down. */
static enum err_code workflow_name_output(struct workflow_read *r, const size_t *order)
{
    size_t count = r->w->step_count;
    if (r->w->output || order[count - 1] == count - 1) return ERR_OK;
    char text[STEP_ID_MAX + 32];
    snprintf(text, sizeof text, "${ .steps.%s.output }", r->w->steps[count - 1].id);
    json_t *made = json_string(text);
    if (!made || json_object_set_new(yaml_root(r->doc), "output", made))
        return err_set(r->err, ERR_NOMEM, "out of memory");
    r->w->output = made;
    return ERR_OK;
}

enum err_code workflow_link(struct workflow_read *r)
{
    size_t order[WORKFLOW_STEPS_MAX], position[WORKFLOW_STEPS_MAX], count = r->w->step_count;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++) code = workflow_read_needed(r, i);
    if (code == ERR_OK) code = workflow_walk_all(r, false);
    if (code == ERR_OK) code = workflow_order(r, order);
    if (code != ERR_OK) return code;
    for (size_t n = 0; n < count; n++) position[order[n]] = n;
    for (size_t i = 0; i < count && code == ERR_OK; i++)
        code = workflow_set_needs(&r->w->steps[i], &r->needs[i], position, count, r->err);
    workflow_close_needs(r, order);
    if (code == ERR_OK) code = workflow_walk_all(r, true);
    if (code == ERR_OK) code = workflow_name_output(r, order);
    return code == ERR_OK ? workflow_sort(r, order) : code;
}
