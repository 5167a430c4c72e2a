/* One run: a step, or one item of a foreach step. See the picture in task.h.
 *
 * Hard: the same run is tried several times, with four kinds of failure that count differently
 * (task.h, enum task_fault), and a late answer of an earlier try must find nobody. Chosen: every
 * try of a call has the run's id; ids are never reused within a task, and a run that is cut gets no
 * further input because it is no longer in the list. */
#include "consumer/backoff.h"
#include "consumer/task_priv.h"

static const struct workflow_step *step_of(const struct task *t, const struct run *r)
{
    return &t->workflow->steps[r->step];
}

struct run *task_run_new(struct task *t, size_t step, int64_t item)
{
    struct run *r = calloc(1, sizeof *r);

    if (!r) {
        t->no_memory = true;
        return NULL;
    }
    r->id = ++t->next_run;
    r->step = step;
    r->item = item;
    r->attempt = 1;
    r->usage = (struct task_usage){-1, -1};
    buf_init(&r->request, 1 << 20);
    buf_init(&r->text, t->step_output_max);
    list_push(&t->runs, &r->link);
    return r;
}

void task_run_free(struct task *t, struct run *r)
{
    list_remove(&t->runs, &r->link);
    task_unqueue_run(t, r->id);
    task_eval_drop(r);
    json_decref(r->output);
    buf_fini(&r->request);
    buf_fini(&r->text);
    free(r);
}

struct run *task_run_find(struct task *t, uint32_t id)
{
    for (struct list_link *k = list_first(&t->runs); k; k = list_next(&t->runs, k)) {
        struct run *r = LIST_ITEM(k, struct run, link);

        if (r->id == id) return r;
    }
    return NULL;
}

int64_t task_run_attempt(const struct task *t, const struct run *r)
{
    return (t->starts - 1) * step_of(t, r)->retry.max_attempts + r->attempt;
}

/* --- opening: when, foreach, spec ------------------------------------------------------------ */
void task_run_open(struct task *t, struct run *r, enum eval_goal goal)
{
    struct json_t *value;
    struct err err = {0};

    if (task_eval_begin(t, r, goal, &value, &err)) task_run_value(t, r, value, value ? NULL : &err);
}

static bool is_false(const struct json_t *v)
{
    return json_is_false(v) || json_is_null(v);
}

static void after_when(struct task *t, struct run *r, struct json_t *take_value)
{
    bool skip = is_false(take_value);
    size_t step = r->step;

    json_decref(take_value);
    if (skip) {
        task_run_free(t, r);
        task_step_skip(t, step);
        return;
    }
    task_run_open(t, r, step_of(t, r)->foreach ? EVAL_FOREACH : EVAL_SPEC);
}

static void after_foreach(struct task *t, struct run *r, struct json_t *take_value)
{
    struct err err;
    size_t step = r->step;

    if (!json_is_array(take_value) || json_array_size(take_value) > TASK_ITEMS_MAX) {
        (void)err_set(&err, ERR_INVALID,
                      "foreach of step %s did not give an array of at most %d items",
                      step_of(t, r)->id, TASK_ITEMS_MAX);
        json_decref(take_value);
        task_run_fail(t, r, "expression_error", &err, false);
        return;
    }
    task_run_free(t, r);
    task_step_foreach(t, step, take_value);
}

/* --- calling --------------------------------------------------------------------------------- */
static void ask_call(struct task *t, struct run *r)
{
    const struct workflow_step *s = step_of(t, r);
    const struct task_effect e = {.kind = TASK_CALL,
                                  .run = r->id,
                                  .step = s->id,
                                  .item = r->item,
                                  .attempt = task_run_attempt(t, r),
                                  .request = buf_view(&r->request),
                                  .model = s->model,
                                  .stream = s->stream,
                                  .timeout_ms = s->timeout_ms,
                                  .max_tokens = r->max_tokens};

    r->state = RUN_READY;
    r->has_started = false;
    buf_reset(&r->text);
    r->usage = (struct task_usage){-1, -1};
    r->finish[0] = '\0';
    task_emit(t, &e);
}

/* What the filled request says wins: it may have been computed. */
static int64_t ceiling_of(const struct json_t *spec, int64_t otherwise)
{
    const struct json_t *n = json_object_get(spec, "max_tokens");

    return json_is_integer(n) && json_integer_value(n) > 0 ? (int64_t)json_integer_value(n)
                                                           : otherwise;
}

/* The workflow's own keys that are not the provider's are left out; response_schema becomes
 * response_format. */
static void prepare_call(struct task *t, struct run *r, struct json_t *take_spec)
{
    const struct workflow_step *s = step_of(t, r);
    struct json_t *schema = json_object_get(take_spec, "response_schema");
    struct err err;

    if (schema) {
        struct json_t *format =
            json_pack("{s:s, s:{s:s, s:b, s:O}}", "type", "json_schema", "json_schema", "name",
                      s->id, "strict", 1, "schema", schema);

        if (!format || json_object_set_new(take_spec, "response_format", format) != 0)
            t->no_memory = true;
        json_object_del(take_spec, "response_schema");
    }
    json_object_del(take_spec, "model");
    json_object_del(take_spec, "stream");
    r->max_tokens = ceiling_of(take_spec, s->max_tokens);
    buf_reset(&r->request);
    json_put(&r->request, take_spec);
    json_decref(take_spec);
    if (r->request.failed) {
        (void)err_set(&err, ERR_TOO_LARGE, "the request of step %s is over 1 MB", s->id);
        task_run_fail(t, r, "output_too_large", &err, false);
        return;
    }
    ask_call(t, r);
}

static void after_spec(struct task *t, struct run *r, struct json_t *take_value)
{
    switch (step_of(t, r)->kind) {
    case STEP_TRANSFORM:
        task_emit_event(t, EVENT_STEP_STARTED, r, VIEW_NONE);
        task_run_complete(t, r, take_value);
        return;
    case STEP_LLM:
        /* A fresh copy: the filled template may share nodes with the workflow. */
        {
            struct json_t *own = json_copy(take_value);

            json_decref(take_value);
            if (own)
                prepare_call(t, r, own);
            else
                t->no_memory = true;
        }
        return;
    case STEP_KIND_COUNT:
        break;
    }
    assert(!"unknown step kind");
}

/* --- outcomes -------------------------------------------------------------------------------- */
static void put_error(struct jw *w, const struct run *r, const char *step)
{
    jw_object(w);
    jw_kcstr(w, "code", r->error_code);
    jw_kcstr(w, "message", r->error.text);
    if (step) jw_kcstr(w, "step", step);
    jw_end_object(w);
}

static void put_usage(struct jw *w, const struct run *r)
{
    if (r->usage.input_tokens < 0 && r->usage.output_tokens < 0) return;
    jw_key(w, "usage");
    jw_object(w);
    jw_kint(w, "input_tokens", r->usage.input_tokens < 0 ? 0 : r->usage.input_tokens);
    jw_kint(w, "output_tokens", r->usage.output_tokens < 0 ? 0 : r->usage.output_tokens);
    jw_end_object(w);
}

/* Members of the checkpoint record and of the step.completed / step.failed event: ,"k":v without
 * the braces for an event. */
static void put_outcome(struct jw *w, const struct run *r, size_t output_max)
{
    struct buf out;

    buf_init(&out, output_max);
    if (r->failing) {
        jw_key(w, "error");
        put_error(w, r, NULL);
    }
    if (r->output) {
        if (json_put(&out, r->output) && !out.failed)
            jw_kraw(w, "output", buf_view(&out));
        else
            jw_kbool(w, "output_omitted", true);
    }
    if (r->finish[0]) jw_kcstr(w, "finish_reason", r->finish);
    put_usage(w, r);
    buf_fini(&out);
}

static void tell_outcome(struct task *t, struct run *r)
{
    struct buf b;
    struct jw w;

    buf_init(&b, TASK_EVENT_OUTPUT_MAX + 4096);
    jw_init(&w, &b);
    jw_object(&w);
    put_outcome(&w, r, TASK_EVENT_OUTPUT_MAX);
    jw_end_object(&w);
    if (b.len > 2) { /* "{...}" -> ",..." */
        b.data[0] = ',';
        task_emit_event(t, r->failing ? EVENT_STEP_FAILED : EVENT_STEP_COMPLETED, r,
                        view_make(b.data, b.len - 1));
    } else {
        task_emit_event(t, r->failing ? EVENT_STEP_FAILED : EVENT_STEP_COMPLETED, r, VIEW_NONE);
    }
    buf_fini(&b);
}

static void ask_checkpoint(struct task *t, struct run *r)
{
    struct task_effect e = {.kind = TASK_CHECKPOINT,
                            .run = r->id,
                            .step = step_of(t, r)->id,
                            .item = r->item,
                            .attempt = r->attempt};
    struct buf b;
    struct jw w;

    buf_init(&b, t->step_output_max + 8192);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kcstr(&w, "status", r->failing ? "failed" : "completed");
    put_outcome(&w, r, t->step_output_max + 4096);
    jw_kint(&w, "attempts", task_run_attempt(t, r));
    jw_end_object(&w);
    e.value = buf_view(&b);
    r->state = RUN_RECORDING;
    if (b.failed)
        t->no_memory = true;
    else
        task_emit(t, &e);
    buf_fini(&b);
}

static bool output_fits(const struct task *t, const struct json_t *output)
{
    struct buf b;
    bool ok;

    if (json_is_string(output)) return json_string_length(output) <= t->step_output_max;
    buf_init(&b, t->step_output_max);
    ok = json_put(&b, output) && !b.failed;
    buf_fini(&b);
    return ok;
}

void task_run_complete(struct task *t, struct run *r, struct json_t *take_output)
{
    struct err err;

    if (!output_fits(t, take_output)) {
        json_decref(take_output);
        (void)err_set(&err, ERR_TOO_LARGE, "the output of step %s is over %zu KB",
                      step_of(t, r)->id, t->step_output_max >> 10);
        task_run_fail(t, r, "output_too_large", &err, false);
        return;
    }
    json_decref(r->output);
    r->output = take_output;
    if (step_of(t, r)->kind == STEP_LLM || r->failing) {
        ask_checkpoint(t, r);
        return;
    }
    tell_outcome(t, r); /* pure steps are computed again after a crash instead of recorded */
    r->output = NULL;
    {
        size_t step = r->step;
        int64_t item = r->item;

        task_run_free(t, r);
        task_step_item_settled(t, step, item, false, take_output);
    }
}

void task_checkpointed(struct task *t, uint32_t id, int64_t now_ms)
{
    struct run *r = task_run_find(t, id);
    struct json_t *output;
    size_t step;
    int64_t item;
    bool failed;

    (void)now_ms;
    if (!r || r->state != RUN_RECORDING) return;
    tell_outcome(t, r);
    output = r->output;
    r->output = NULL;
    step = r->step;
    item = r->item;
    failed = r->failing;
    task_run_free(t, r);
    task_step_item_settled(t, step, item, failed, output);
    task_advance(t);
}

void task_run_fail(struct task *t, struct run *r, const char *code, const struct err *e,
                   bool exhausted)
{
    const struct workflow_step *s = step_of(t, r);
    struct buf b;
    struct jw w;

    r->error = *e;
    snprintf(r->error_code, sizeof r->error_code, "%s", code);
    r->failing = true;
    json_decref(r->output);
    r->output = NULL;
    if (s->on_error == ON_ERROR_CONTINUE) {
        ask_checkpoint(t, r);
        return;
    }
    if (s->on_error == ON_ERROR_FALLBACK && r->goal != EVAL_FALLBACK) {
        task_run_open(t, r, EVAL_FALLBACK);
        return;
    }
    buf_init(&b, 2048);
    jw_init(&w, &b);
    put_error(&w, r, s->id);
    tell_outcome(t, r);
    task_finish(t, JOB_FAILED, VIEW_NONE, buf_view(&b), exhausted);
    buf_fini(&b);
}

void task_run_value(struct task *t, struct run *r, struct json_t *take_value, const struct err *err)
{
    if (!take_value) {
        if (r->step == TASK_NO_STEP) {
            task_finish(
                t, JOB_FAILED, VIEW_NONE,
                VIEW_LIT(
                    "{\"code\":\"expression_error\",\"message\":\"the workflow's output failed\"}"),
                false);
            return;
        }
        assert(err);
        task_run_fail(t, r, err->code == ERR_TOO_LARGE ? "output_too_large" : "expression_error",
                      err, false);
        return;
    }
    switch (r->goal) {
    case EVAL_WHEN:
        after_when(t, r, take_value);
        return;
    case EVAL_FOREACH:
        after_foreach(t, r, take_value);
        return;
    case EVAL_SPEC:
        after_spec(t, r, take_value);
        return;
    case EVAL_FALLBACK:
        task_run_complete(t, r, take_value);
        return;
    case EVAL_OUTPUT:
        break;
    }
    {
        struct buf b;

        buf_init(&b, t->job_output_max);
        json_put(&b, take_value);
        json_decref(take_value);
        if (b.failed)
            task_finish(t, JOB_FAILED, VIEW_NONE,
                        VIEW_LIT("{\"code\":\"output_too_large\",\"message\":\"the job's output is "
                                 "over its limit\"}"),
                        false);
        else
            task_finish(t, JOB_SUCCEEDED, buf_view(&b), VIEW_NONE, false);
        buf_fini(&b);
    }
}

void task_run_retry(struct task *t, struct run *r)
{
    ask_call(t, r);
}

void task_run_hold(struct task *t, struct run *r)
{
    const struct task_effect cut = {.kind = TASK_CUT_CALL, .run = r->id, .item = -1};
    bool asked = r->state == RUN_READY;

    r->held_asking = r->state != RUN_EVALUATING;
    r->state = RUN_HELD;
    task_eval_drop(r);
    task_unqueue_run(t, r->id);
    if (asked) task_emit(t, &cut);
}

void task_run_resume(struct task *t, struct run *r)
{
    if (r->held_asking)
        ask_call(t, r);
    else
        task_run_open(t, r, r->goal);
}

/* --- looking at all of them ------------------------------------------------------------------ */
bool task_may_park(const struct task *t)
{
    if (!t->started || t->closing || t->draining) return false;
    for (struct list_link *k = list_first(&t->runs); k; k = list_next(&t->runs, k)) {
        const struct run *r = LIST_ITEM(k, struct run, link);

        if (r->state != RUN_READY || r->attempt > 1) return false;
    }
    return t->runs.count > 0;
}
