/* The order of a job's steps, its inputs and its end.
 *
 * Hard: steps run side by side, items of a foreach too, a job may be cancelled, expire or be
 * drained at any moment, and what was recorded by an earlier worker must not be done again. Chosen:
 * one function, task_advance, looks at all steps after every input and opens what can be opened; it
 * is the only place where work begins. Recorded outcomes are applied at the moment a run would be
 * made. */
#include "consumer/task_priv.h"

enum err_code task_new(const struct task_options *o, struct task **ret, struct err *err)
{
    struct task *t = calloc(1, sizeof *t);
    enum err_code rc;

    if (!t) return err_set(err, ERR_NOMEM, "no memory for a task");
    t->workflow = o->workflow;
    t->id = o->head->id;
    t->starts = o->starts > 0 ? o->starts : 1;
    t->step_output_max = o->step_output_max;
    t->job_output_max = o->job_output_max;
    list_init(&t->runs);
    list_init(&t->effects);
    buf_init(&t->root, TASK_ROOT_MAX);
    t->steps = calloc(o->workflow->step_count, sizeof *t->steps);
    rc = t->steps ? task_doc_new(t, o, err) : err_set(err, ERR_NOMEM, "no memory for a task");
    if (rc != ERR_OK) {
        task_free(t);
        return rc;
    }
    *ret = t;
    return ERR_OK;
}

void task_free(struct task *t)
{
    struct list_link *k;

    if (!t) return;
    while ((k = list_first(&t->runs)) != NULL) task_run_free(t, LIST_ITEM(k, struct run, link));
    task_drop_effects(t);
    for (size_t i = 0; t->steps && i < t->workflow->step_count; i++) {
        json_decref(t->steps[i].items);
        json_decref(t->steps[i].outputs);
    }
    for (size_t i = 0; i < t->restored_count; i++) json_decref(t->restored[i].record);
    free(t->restored);
    free(t->steps);
    json_decref(t->doc);
    buf_fini(&t->root);
    free(t);
}

enum err_code task_restore(struct task *t, struct view step, int64_t item, struct view value,
                           struct err *err)
{
    static const struct json_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 200000};
    int index = workflow_step_find(t->workflow, step);
    struct json_t *record;
    enum err_code rc;

    assert(!t->started);
    if (index < 0) return ERR_OK; /* another version's step: of no use */
    if (t->restored_count == t->restored_max) {
        size_t max = t->restored_max ? t->restored_max * 2 : 8;
        struct restored *more =
            max <= TASK_ITEMS_MAX * 4 ? realloc(t->restored, max * sizeof *more) : NULL;

        if (!more) return err_set(err, ERR_NOMEM, "too many checkpoints");
        t->restored = more;
        t->restored_max = max;
    }
    rc = json_load(value, &limits, &record, err);
    if (rc != ERR_OK) return err_wrap(err, "checkpoint of step %.*s", (int)step.len, step.ptr);
    t->restored[t->restored_count++] =
        (struct restored){.step = (size_t)index, .item = item, .record = record};
    return ERR_OK;
}

const struct restored *task_restored(const struct task *t, size_t step, int64_t item)
{
    for (size_t i = 0; i < t->restored_count; i++)
        if (t->restored[i].step == step && t->restored[i].item == item) return &t->restored[i];
    return NULL;
}

/* --- steps ----------------------------------------------------------------------------------- */
static bool is_settled(const struct step_now *s)
{
    return s->phase == STEP_COMPLETED || s->phase == STEP_FAILED || s->phase == STEP_SKIPPED;
}

static void settle(struct task *t, size_t step, enum step_phase phase, struct json_t *take_output)
{
    t->steps[step].phase = phase;
    task_doc_set_output(t, step, take_output ? take_output : json_null());
}

void task_step_skip(struct task *t, size_t step)
{
    struct task_effect e = {.kind = TASK_EVENT,
                            .event = EVENT_STEP_SKIPPED,
                            .step = t->workflow->steps[step].id,
                            .item = -1,
                            .attempt = 1};

    settle(t, step, STEP_SKIPPED, NULL);
    task_emit(t, &e);
}

/* Applies a recorded outcome; true when there was one. */
static bool apply_restored(struct task *t, size_t step, int64_t item)
{
    const struct restored *r = task_restored(t, step, item);

    if (!r) return false;
    t->steps[step].active++;
    task_step_item_settled(t, step, item, strcmp(json_str(r->record, "status", ""), "failed") == 0,
                           json_incref(json_object_get(r->record, "output")));
    return true;
}

static void start_run(struct task *t, size_t step, int64_t item, enum eval_goal goal)
{
    struct run *r;
    bool is_whole =
        goal == EVAL_SPEC || !t->workflow->steps[step].foreach; /* not the head of a foreach */

    if (is_whole && apply_restored(t, step, item)) return;
    r = task_run_new(t, step, item);
    if (!r) return;
    t->steps[step].active += is_whole;
    task_run_open(t, r, goal);
}

static void end_foreach(struct task *t, size_t step)
{
    struct step_now *s = &t->steps[step];
    struct json_t *outputs = s->outputs;
    struct task_effect e = {.kind = TASK_EVENT,
                            .event = EVENT_STEP_COMPLETED,
                            .step = t->workflow->steps[step].id,
                            .item = -1,
                            .attempt = 1};
    char members[96];
    int n =
        snprintf(members, sizeof members, ",\"items\":{\"total\":%zu,\"done\":%zu,\"failed\":%zu}",
                 json_array_size(s->items), s->done, s->failed);

    s->outputs = NULL;
    e.members = view_make(members, (size_t)n);
    task_emit(t, &e);
    settle(t, step, STEP_COMPLETED, outputs);
}

void task_step_foreach(struct task *t, size_t step, struct json_t *take_items)
{
    struct step_now *s = &t->steps[step];
    size_t n = json_array_size(take_items);
    struct task_effect e = {.kind = TASK_EVENT,
                            .event = EVENT_STEP_STARTED,
                            .step = t->workflow->steps[step].id,
                            .item = -1,
                            .attempt = 1};
    char members[64];
    int len = snprintf(members, sizeof members, ",\"items\":{\"total\":%zu}", n);

    s->items = take_items;
    s->outputs = json_array();
    for (size_t i = 0; s->outputs && i < n; i++) json_array_append_new(s->outputs, json_null());
    if (!s->outputs) t->no_memory = true;
    s->phase = STEP_RUNNING;
    e.members = view_make(members, (size_t)len);
    task_emit(t, &e);
}

void task_step_item_settled(struct task *t, size_t step, int64_t item, bool failed,
                            struct json_t *take_output)
{
    struct step_now *s = &t->steps[step];

    if (s->active > 0) s->active--; /* the head of a foreach is not counted */
    if (item < 0) {
        settle(t, step, failed && !take_output ? STEP_FAILED : STEP_COMPLETED, take_output);
        return;
    }
    if (take_output && json_array_set_new(s->outputs, (size_t)item, take_output) != 0)
        t->no_memory = true;
    s->done++;
    s->failed += failed;
}

static bool needs_met(const struct task *t, const struct workflow_step *w)
{
    for (size_t i = 0; i < w->need_count; i++)
        if (!is_settled(&t->steps[w->needs[i]])) return false;
    return true;
}

static void open_step(struct task *t, size_t step)
{
    const struct workflow_step *w = &t->workflow->steps[step];

    t->steps[step].phase = w->foreach ? STEP_OPENING : STEP_RUNNING;
    start_run(t, step, -1, w->when ? EVAL_WHEN : w->foreach ? EVAL_FOREACH : EVAL_SPEC);
}

/* Starts items of a running foreach up to its concurrency; true when something moved. */
static bool feed_foreach(struct task *t, size_t step)
{
    struct step_now *s = &t->steps[step];
    const struct workflow_step *w = &t->workflow->steps[step];
    bool moved = false;

    while (!t->closing && s->next < json_array_size(s->items) &&
           s->active < (size_t)w->concurrency) {
        start_run(t, step, (int64_t)s->next++, EVAL_SPEC);
        moved = true;
    }
    if (!t->closing && s->done == json_array_size(s->items) && s->active == 0) {
        end_foreach(t, step);
        moved = true;
    }
    return moved;
}

static void ask_output(struct task *t)
{
    const size_t last = t->workflow->step_count - 1;
    struct run *r;

    if (t->workflow->output) {
        r = task_run_new(t, TASK_NO_STEP, -1);
        if (r) task_run_open(t, r, EVAL_OUTPUT);
        return;
    }
    r = task_run_new(t, TASK_NO_STEP, -1);
    if (!r) return;
    r->goal = EVAL_OUTPUT;
    task_run_value(t, r,
                   json_incref(json_object_get(json_object_get(json_object_get(t->doc, "steps"),
                                                               t->workflow->steps[last].id),
                                               "output")),
                   NULL);
}

void task_tell_paused(struct task *t)
{
    const struct task_effect e = {.kind = TASK_PAUSED, .item = -1};

    if (!t->draining || t->paused_told || t->closing) return;
    for (struct list_link *k = list_first(&t->runs); k; k = list_next(&t->runs, k))
        if (LIST_ITEM(k, struct run, link)->state != RUN_HELD) return;
    t->paused_told = true;
    task_emit(t, &e);
}

static bool all_settled(const struct task *t)
{
    for (size_t i = 0; i < t->workflow->step_count; i++)
        if (!is_settled(&t->steps[i])) return false;
    return true;
}

void task_advance(struct task *t)
{
    bool moved = true;

    if (t->no_memory && !t->closing)
        task_finish(t, JOB_FAILED, VIEW_NONE,
                    VIEW_LIT("{\"code\":\"internal_error\",\"message\":\"out of memory\"}"), false);
    while (moved && !t->closing && !t->draining) {
        moved = false;
        for (size_t i = 0; i < t->workflow->step_count && !t->closing; i++) {
            struct step_now *s = &t->steps[i];

            if (s->phase == STEP_BLOCKED && needs_met(t, &t->workflow->steps[i])) {
                open_step(t, i);
                moved = true;
            }
            if (s->phase == STEP_RUNNING && s->items && feed_foreach(t, i)) moved = true;
        }
    }
    if (!t->closing && t->runs.count == 0 && all_settled(t)) ask_output(t);
    task_tell_paused(t);
}

void task_finish(struct task *t, enum job_status status, struct view output, struct view error,
                 bool dead_letter)
{
    const struct task_effect e = {.kind = TASK_END,
                                  .item = -1,
                                  .status = status,
                                  .output = output,
                                  .error = error,
                                  .dead_letter = dead_letter};
    struct list_link *k;

    if (t->closing) return;
    t->closing = true;
    while ((k = list_first(&t->runs)) != NULL) {
        struct run *r = LIST_ITEM(k, struct run, link);
        const struct task_effect cut = {.kind = TASK_CUT_CALL, .run = r->id, .item = -1};
        bool in_hand =
            r->state == RUN_CALLING || r->state == RUN_STREAMING || r->state == RUN_READY;

        task_run_free(t, r);
        if (in_hand) task_emit(t, &cut);
    }
    task_emit(t, &e);
}

/* --- inputs ---------------------------------------------------------------------------------- */
void task_start(struct task *t, int64_t now_ms)
{
    (void)now_ms;
    assert(!t->started);
    t->started = true;
    task_advance(t);
}

void task_evaluated(struct task *t, uint32_t run, struct view source, struct view value,
                    const struct err *e, int64_t now_ms)
{
    struct run *r = task_run_find(t, run);
    struct json_t *got;
    struct err err = {0};

    (void)now_ms;
    if (!r || r->state != RUN_EVALUATING) return;
    if (!task_eval_feed(t, r, source, value, e, &got, &err)) return;
    task_run_value(t, r, got, got ? NULL : &err);
    task_advance(t);
}

void task_tick(struct task *t, int64_t now_ms)
{
    struct list_link *k = list_first(&t->runs), *next;
    int64_t soonest = INT64_MAX;

    for (; k; k = next) {
        struct run *r = LIST_ITEM(k, struct run, link);

        next = list_next(&t->runs, k);
        if (r->state != RUN_RETRYING) continue;
        if (r->wake_ms <= now_ms && !t->draining)
            task_run_retry(t, r);
        else if (r->wake_ms < soonest)
            soonest = r->wake_ms;
    }
    if (soonest != INT64_MAX) {
        const struct task_effect wake = {.kind = TASK_WAKE, .item = -1, .when_ms = soonest};

        if (soonest > now_ms) task_emit(t, &wake);
    }
}

void task_close(struct task *t, enum job_status status, int64_t now_ms)
{
    char error[128];
    int n = snprintf(error, sizeof error, "{\"code\":\"%s\",\"message\":\"%s\"}",
                     status == JOB_EXPIRED ? "deadline_exceeded" : "canceled",
                     status == JOB_EXPIRED ? "the deadline passed" : "the job was canceled");

    (void)now_ms;
    assert(status == JOB_CANCELED || status == JOB_EXPIRED);
    task_finish(t, status, VIEW_NONE, view_make(error, (size_t)n), false);
}

void task_drain(struct task *t, int64_t now_ms)
{
    struct list_link *k = list_first(&t->runs);

    (void)now_ms;
    if (t->draining || t->closing) return;
    t->draining = true;
    for (; k; k = list_next(&t->runs, k)) { /* what has not gone out yet goes to the next worker */
        struct run *r = LIST_ITEM(k, struct run, link);

        if (r->state == RUN_READY || r->state == RUN_RETRYING || r->state == RUN_EVALUATING)
            task_run_hold(t, r);
    }
    task_tell_paused(t);
}

void task_undrain(struct task *t, int64_t now_ms)
{
    struct list_link *k, *next;

    (void)now_ms;
    if (!t->draining || t->closing) return;
    t->draining = t->paused_told = false;
    for (k = list_first(&t->runs); k && !t->closing; k = next) {
        struct run *r = LIST_ITEM(k, struct run, link);

        next = list_next(&t->runs, k);
        if (r->state == RUN_HELD) task_run_resume(t, r);
    }
    task_advance(t);
}
