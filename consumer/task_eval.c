/* Expressions of a run: what they see, which of them need jq, and what comes out.
 *
 * Hard: a template may hold several jq expressions that are answered later and in any order, while
 * the document they see must be the one of the asking moment. Chosen: plain paths are read here and
 * now; the jq ones are asked with the document's text at that moment, and the template is filled
 * when the last answer is in. Outputs of steps only ever get added, so the paths filled then see
 * the same values. */
#include "consumer/task_priv.h"

enum err_code task_doc_new(struct task *t, const struct task_options *o, struct err *err)
{
    static const struct json_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 200000};
    struct json_t *input = NULL;
    struct json_t *job;

    if (o->input.ptr && o->input.len > 0) {
        if (json_load(o->input, &limits, &input, err) != ERR_OK) return err_wrap(err, "input");
    } else {
        input = json_null();
    }
    job = json_pack("{s:s, s:s, s:I}", "id", t->id.text, "workflow", t->workflow->name, "attempt",
                    (json_int_t)t->starts);
    t->doc = json_pack("{s:o, s:{}, s:o}", "input", input, "steps", "job", job);
    return t->doc ? ERR_OK : err_set(err, ERR_NOMEM, "no memory for the job's document");
}

void task_doc_set_output(struct task *t, size_t step, struct json_t *take_output)
{
    struct json_t *steps = json_object_get(t->doc, "steps");
    struct json_t *entry = json_pack("{s:o}", "output", take_output);

    if (!entry || json_object_set_new(steps, t->workflow->steps[step].id, entry) != 0)
        t->no_memory = true;
}

struct json_t *task_goal_template(struct task *t, const struct run *r)
{
    const struct workflow_step *s = r->step == TASK_NO_STEP ? NULL : &t->workflow->steps[r->step];

    switch (r->goal) {
    case EVAL_WHEN:
        return json_string(s->when);
    case EVAL_FOREACH:
        return json_string(s->foreach);
    case EVAL_SPEC:
        return json_incref((struct json_t *)(uintptr_t)s->spec);
    case EVAL_FALLBACK:
        return json_incref((struct json_t *)(uintptr_t)s->fallback);
    case EVAL_OUTPUT:
        return json_incref((struct json_t *)(uintptr_t)t->workflow->output);
    }
    return NULL;
}

/* The document, with the loop variable of this run in it for as long as `on`. */
static void set_loop_variable(struct task *t, const struct run *r, bool on)
{
    const struct workflow_step *s;

    if (r->step == TASK_NO_STEP || r->item < 0) return;
    s = &t->workflow->steps[r->step];
    if (on)
        json_object_set(t->doc, s->as, json_array_get(t->steps[r->step].items, (size_t)r->item));
    else
        json_object_del(t->doc, s->as);
}

static void fill(struct task *t, struct run *r, struct json_t *tmpl, struct json_t **ret,
                 struct err *err)
{
    *ret = NULL;
    set_loop_variable(t, r, true);
    if (expr_fill(tmpl, t->doc, r->exprs, r->expr_count, ret, err) != ERR_OK) *ret = NULL;
    set_loop_variable(t, r, false);
    task_eval_drop(r);
}

void task_eval_drop(struct run *r)
{
    for (size_t i = 0; i < r->expr_count; i++) json_decref(r->exprs[i].value);
    r->expr_count = r->expr_pending = 0;
}

static enum err_code ask(struct task *t, struct run *r, struct err *err)
{
    struct task_effect e = {.kind = TASK_EVAL, .run = r->id, .item = -1};

    buf_reset(&t->root);
    set_loop_variable(t, r, true);
    json_put(&t->root, t->doc);
    set_loop_variable(t, r, false);
    if (t->root.failed)
        return err_set(err, ERR_TOO_LARGE, "the values an expression sees are over %d MB",
                       TASK_ROOT_MAX >> 20);
    e.root = buf_view(&t->root);
    for (size_t i = 0; i < r->expr_count; i++) {
        e.source = r->exprs[i].source;
        task_emit(t, &e);
    }
    return ERR_OK;
}

/* Sources are views into the template's strings; the workflow holds it for longer than the run
 * lives, but a wrapped when/foreach string dies with its json: point into the workflow's own bytes
 * instead. */
static void own_sources(struct task *t, struct run *r)
{
    const struct workflow_step *s = r->step == TASK_NO_STEP ? NULL : &t->workflow->steps[r->step];
    const char *whole = r->goal == EVAL_WHEN      ? s->when
                        : r->goal == EVAL_FOREACH ? s->foreach
                                                  : NULL;
    struct expr_segment seg[2];
    size_t n = 0;

    if (!whole || r->expr_count != 1) return;
    if (expr_split(view_of(whole), seg, 2, &n, NULL) == ERR_OK && n == 1)
        r->exprs[0].source = seg[0].text;
}

bool task_eval_begin(struct task *t, struct run *r, enum eval_goal goal, struct json_t **ret,
                     struct err *err)
{
    struct json_t *tmpl;
    bool done = true;

    *ret = NULL;
    r->goal = goal;
    r->state = RUN_EVALUATING;
    r->expr_count = 0;
    tmpl = task_goal_template(t, r);
    if (!tmpl) {
        (void)err_set(err, ERR_NOMEM, "no memory");
        return true;
    }
    if (expr_collect(tmpl, r->exprs, TASK_EXPRS_MAX, &r->expr_count, err) != ERR_OK) {
        r->expr_count = 0;
    } else if (r->expr_count == 0) {
        fill(t, r, tmpl, ret, err);
    } else {
        for (size_t i = 0; i < r->expr_count; i++) r->exprs[i].value = NULL;
        r->expr_pending = r->expr_count;
        own_sources(t, r);
        if (ask(t, r, err) == ERR_OK)
            done = false;
        else
            r->expr_count = 0;
    }
    json_decref(tmpl);
    return done;
}

static bool store_answer(struct run *r, struct view source, struct json_t *take_value)
{
    for (size_t i = 0; i < r->expr_count; i++) {
        if (r->exprs[i].value || !view_eq(r->exprs[i].source, source)) continue;
        r->exprs[i].value = take_value;
        r->expr_pending--;
        return true;
    }
    json_decref(take_value);
    return false;
}

bool task_eval_feed(struct task *t, struct run *r, struct view source, struct view value,
                    const struct err *e, struct json_t **ret, struct err *err)
{
    static const struct json_limits limits = {
        .bytes_max = TASK_ROOT_MAX, .depth_max = 256, .nodes_max = 1000000};
    struct json_t *tree = NULL, *tmpl;

    *ret = NULL;
    if (e) {
        *err = *e;
        (void)err_wrap(err, "expression");
    } else if (json_load(value, &limits, &tree, err) != ERR_OK) {
        (void)err_wrap(err, "result of an expression");
    } else {
        if (!store_answer(r, source, tree) || r->expr_pending > 0) return false;
        tmpl = task_goal_template(t, r);
        if (tmpl) fill(t, r, tmpl, ret, err);
        json_decref(tmpl);
        return true;
    }
    task_eval_drop(r);
    return true;
}
