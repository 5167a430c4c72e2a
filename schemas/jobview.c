/* The job as clients see it: the structure, its making and its writing. The fold is in
 * jobview_fold.c, reading in jobview_read.c.
 *
 * What is hard: the same view is made by the gateway (of a stream), by the worker (of what it does)
 * and by the rebuild (of a record), and a snapshot must go on where the events before it stopped.
 * So the JSON form holds all that the fold knows: written and read again it folds on alike, and it
 * is the same bytes. And it is bounded: outputs and text of steps have one ceiling together; what
 * does not fit is left out and said to be left out. */
#include "schemas/jobview_priv.h"

#include <assert.h>

static const char *const jobview_step_statuses[] = {
    [VIEW_STEP_RUNNING] = "running",     [VIEW_STEP_RETRYING] = "retrying",
    [VIEW_STEP_COMPLETED] = "completed", [VIEW_STEP_FAILED] = "failed",
    [VIEW_STEP_SKIPPED] = "skipped",
};

const char *jobview_step_status_name(enum jobview_step_status s)
{
    assert(s < VIEW_STEP_STATUS_COUNT);
    return jobview_step_statuses[s];
}

/* --- making and freeing ------------------------------------------------------------------------
 */

bool jobview_json_copy(struct jobview_json *ret, struct view v)
{
    struct jobview_json copy = {.ptr = NULL};
    v = view_trim(v);
    if (v.len && json_raw_kind(v) != JSON_RAW_NULL) {
        copy.ptr = view_dup(v);
        copy.len = v.len;
        if (!copy.ptr) return false;
    }
    *ret = copy;
    return true;
}

struct view jobview_json_view(const struct jobview_json *j)
{
    return j->ptr ? view_make(j->ptr, j->len) : VIEW_NONE;
}

struct jobview *jobview_new(const struct jobview_seed *seed)
{
    struct jobview *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    v->id = seed->id;
    v->status = JOB_QUEUED;
    v->version = seed->version;
    v->cls = seed->cls;
    v->created_ms = seed->created_ms;
    v->started_ms = v->ended_ms = v->until_ms = -1;
    view_copy(view_of(seed->workflow), v->workflow, sizeof v->workflow);
    view_copy(view_of(seed->retry_of), v->retry_of, sizeof v->retry_of);
    if (jobview_json_copy(&v->metadata, seed->metadata)) return v;
    free(v);
    return NULL;
}

void jobview_step_fini(struct jobview_step *s)
{
    for (size_t i = 0; i < s->running_count; i++) buf_fini(&s->running[i].text.text);
    free(s->running);
    free(s->output.ptr);
    free(s->error.ptr);
    buf_fini(&s->text.text);
}

void jobview_free(struct jobview *v)
{
    if (!v) return;
    for (size_t i = 0; i < v->step_count; i++) jobview_step_fini(&v->steps[i]);
    free(v->steps);
    free(v->output.ptr);
    free(v->error.ptr);
    free(v->metadata.ptr);
    free(v);
}

enum job_status jobview_status(const struct jobview *v)
{
    return v->status;
}

void jobview_set_retried_as(struct jobview *v, const struct job_id *id)
{
    memcpy(v->retried_as, id->text, sizeof v->retried_as);
}

void jobview_add(int64_t *sum, int64_t n)
{
    assert(n >= 0);
    *sum = n < JOBVIEW_NUMBER_MAX - *sum ? *sum + n : JOBVIEW_NUMBER_MAX;
}

void jobview_charge(struct jobview *v, int64_t input_tokens, int64_t output_tokens, double cost)
{
    jobview_add(&v->charged.input_tokens, input_tokens > 0 ? input_tokens : 0);
    jobview_add(&v->charged.output_tokens, output_tokens > 0 ? output_tokens : 0);
    jobview_add(&v->charged.calls, 1);
    v->charged.cost += cost;
}

bool jobview_end(struct jobview *v, enum job_status terminal, int64_t wall_ms, struct view output,
                 struct view error)
{
    struct jobview_json out = {.ptr = NULL}, why = {.ptr = NULL};
    assert(job_status_is_terminal(terminal));
    if (!jobview_json_copy(&out, output) || !jobview_json_copy(&why, error)) {
        free(out.ptr);
        return false;
    }
    free(v->output.ptr);
    free(v->error.ptr);
    v->output = out;
    v->error = why;
    v->status = terminal;
    v->ended_ms = wall_ms;
    v->is_waiting = false;
    return true;
}

/* --- steps and items ---------------------------------------------------------------------------
 */

struct jobview_step *jobview_step_get(struct jobview *v, struct view id)
{
    for (size_t i = v->step_count; i-- > 0;) /* the newest is the likeliest */
        if (view_eq_str(id, v->steps[i].id)) return &v->steps[i];
    if (v->step_count == JOBVIEW_STEPS_MAX) return NULL;
    if (v->step_count == v->step_cap) {
        size_t cap = v->step_cap ? v->step_cap * 2 : 4;
        struct jobview_step *steps = realloc(v->steps, cap * sizeof *steps);
        if (!steps) return NULL;
        v->steps = steps;
        v->step_cap = cap;
    }
    struct jobview_step *s = &v->steps[v->step_count++];
    *s = (struct jobview_step){.started_ms = -1, .ended_ms = -1};
    view_copy(id, s->id, sizeof s->id);
    buf_init(&s->text.text, JOBVIEW_BYTES_MAX);
    return s;
}

/* Where item stands, or would. */
static size_t jobview_item_at(const struct jobview_step *s, int64_t item)
{
    size_t from = 0, to = s->running_count;
    while (from < to) {
        size_t mid = (from + to) / 2;
        if (s->running[mid].item < item)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

struct jobview_item *jobview_item_find(struct jobview_step *s, int64_t item)
{
    size_t at = jobview_item_at(s, item);
    return at < s->running_count && s->running[at].item == item ? &s->running[at] : NULL;
}

struct jobview_item *jobview_item_get(struct jobview_step *s, int64_t item)
{
    size_t at = jobview_item_at(s, item);
    if (at < s->running_count && s->running[at].item == item) return &s->running[at];
    if (s->running_count == JOBVIEW_RUNNING_MAX) return NULL;
    if (s->running_count == s->running_cap) {
        size_t cap = s->running_cap ? s->running_cap * 2 : 4;
        struct jobview_item *list = realloc(s->running, cap * sizeof *list);
        if (!list) return NULL;
        s->running = list;
        s->running_cap = cap;
    }
    struct jobview_item *i = &s->running[at];
    memmove(i + 1, i, (s->running_count - at) * sizeof *i);
    s->running_count++;
    *i = (struct jobview_item){.item = item};
    buf_init(&i->text.text, JOBVIEW_BYTES_MAX);
    return i;
}

void jobview_item_drop(struct jobview *v, struct jobview_step *s, int64_t item)
{
    struct jobview_item *i = jobview_item_find(s, item);
    if (!i) return;
    jobview_text_clear(v, &i->text);
    size_t at = (size_t)(i - s->running);
    memmove(i, i + 1, (s->running_count - at - 1) * sizeof *i);
    s->running_count--;
}

void jobview_items_clear(struct jobview *v, struct jobview_step *s)
{
    for (size_t i = 0; i < s->running_count; i++) jobview_text_clear(v, &s->running[i].text);
    s->running_count = 0;
}

/* --- bytes --------------------------------------------------------------------------------------
 */

void jobview_text_clear(struct jobview *v, struct jobview_text *t)
{
    v->bytes -= t->text.len;
    buf_fini(&t->text);
    t->is_omitted = false;
}

bool jobview_text_put(struct jobview *v, struct jobview_text *t, struct view literal)
{
    size_t before = t->text.len;
    if (t->is_omitted) return true;
    if (literal.len > JOBVIEW_BYTES_MAX - v->bytes) { /* decoded it is no longer */
        jobview_text_clear(v, t);
        t->is_omitted = true;
        return true;
    }
    if (!json_raw_string(literal, &t->text)) {
        t->text.failed = false;
        return false;
    }
    v->bytes += t->text.len - before;
    return true;
}

void jobview_json_clear(struct jobview *v, struct jobview_json *j)
{
    v->bytes -= j->len;
    free(j->ptr);
    *j = (struct jobview_json){.ptr = NULL};
}

bool jobview_json_set(struct jobview *v, struct jobview_json *j, struct view value,
                      bool *ret_omitted)
{
    struct jobview_json copy = {.ptr = NULL};
    bool fits = value.len <= JOBVIEW_BYTES_MAX - (v->bytes - j->len);
    if (fits && !jobview_json_copy(&copy, value)) return false;
    jobview_json_clear(v, j);
    *j = copy;
    v->bytes += copy.len;
    *ret_omitted = !fits;
    return true;
}

/* --- writing ------------------------------------------------------------------------------------
 */

static void jobview_put_text(struct jw *w, const struct jobview_text *t)
{
    if (t->text.len) jw_kstr(w, "text", buf_view(&t->text));
    if (t->is_omitted) jw_kbool(w, "text_omitted", true);
}

static void jobview_put_usage(struct jw *w, const struct jobview_usage *u, bool with_cost)
{
    jw_key(w, "usage");
    jw_object(w);
    jw_kint(w, "input_tokens", u->input_tokens);
    jw_kint(w, "output_tokens", u->output_tokens);
    jw_kint(w, "calls", u->calls);
    if (with_cost) {
        jw_key(w, "cost");
        jw_real(w, u->cost);
    }
    jw_end_object(w);
}

static void jobview_put_items(struct jw *w, const struct jobview_step *s, bool with_outputs)
{
    jw_key(w, "items");
    jw_object(w);
    jw_kint(w, "total", s->items.total);
    jw_kint(w, "done", s->items.done);
    jw_kint(w, "failed", s->items.failed);
    if (with_outputs && s->running_count) {
        jw_key(w, "running");
        jw_array(w);
        for (size_t i = 0; i < s->running_count; i++) {
            jw_object(w);
            jw_kint(w, "item", s->running[i].item);
            jw_kint(w, "attempt", s->running[i].attempt);
            jobview_put_text(w, &s->running[i].text);
            jw_end_object(w);
        }
        jw_end_array(w);
    }
    jw_end_object(w);
}

static void jobview_put_step(struct jw *w, const struct jobview_step *s, bool with_outputs)
{
    jw_object(w);
    jw_kcstr(w, "id", s->id);
    jw_kcstr(w, "status", jobview_step_statuses[s->status]);
    jw_kint(w, "attempt", s->attempt);
    if (s->has_items) jobview_put_items(w, s, with_outputs);
    jw_ktime(w, "started_at", s->started_ms);
    jw_ktime(w, "ended_at", s->ended_ms);
    if (with_outputs && s->output.ptr) jw_kraw(w, "output", jobview_json_view(&s->output));
    if (s->output_omitted) jw_kbool(w, "output_omitted", true);
    if (with_outputs) jobview_put_text(w, &s->text);
    if (s->has_usage) jobview_put_usage(w, &s->usage, true);
    if (s->error.ptr) jw_kraw(w, "error", jobview_json_view(&s->error));
    jw_end_object(w);
}

static struct jobview_usage jobview_total(const struct jobview *v)
{
    const struct jobview_usage *a = &v->seen, *b = &v->charged;
    return (struct jobview_usage){
        .input_tokens = a->input_tokens > b->input_tokens ? a->input_tokens : b->input_tokens,
        .output_tokens = a->output_tokens > b->output_tokens ? a->output_tokens : b->output_tokens,
        .calls = a->calls > b->calls ? a->calls : b->calls,
        .cost = a->cost > b->cost ? a->cost : b->cost,
    };
}

static void jobview_put_results(struct jw *w, const struct jobview *v)
{
    struct jobview_usage total = jobview_total(v);
    jobview_put_usage(w, &total, false);
    jw_key(w, "cost");
    jw_real(w, total.cost);
    jw_kraw(w, "output", jobview_json_view(&v->output));
    jw_kraw(w, "error", jobview_json_view(&v->error));
}

static void jobview_put_waiting(struct jw *w, const struct jobview *v)
{
    jw_key(w, "waiting");
    jw_object(w);
    jw_kcstr(w, "reason", v->reason);
    if (v->on[0]) jw_kcstr(w, "on", v->on);
    jw_key(w, "until");
    if (v->until_ms >= 0)
        jw_int(w, v->until_ms);
    else
        jw_null(w);
    jw_end_object(w);
}

static void jobview_write(struct jw *w, const struct jobview *v, bool with_outputs)
{
    jw_object(w);
    jw_kcstr(w, "id", v->id.text);
    jw_kcstr(w, "status", job_status_name(v->status));
    jw_kcstr(w, "workflow", v->workflow);
    jw_kint(w, "version", v->version);
    jw_kcstr(w, "class", job_class_name(v->cls));
    jw_kint(w, "attempt", v->attempt);
    jw_ktime(w, "created_at", v->created_ms);
    jw_ktime(w, "started_at", v->started_ms);
    jw_ktime(w, "ended_at", v->ended_ms);
    jw_key(w, "steps");
    jw_array(w);
    for (size_t i = 0; i < v->step_count; i++) jobview_put_step(w, &v->steps[i], with_outputs);
    jw_end_array(w);
    jobview_put_results(w, v);
    if (v->metadata.ptr) jw_kraw(w, "metadata", jobview_json_view(&v->metadata));
    if (v->is_waiting) jobview_put_waiting(w, v);
    if (v->retry_of[0]) jw_kcstr(w, "retry_of", v->retry_of);
    if (v->retried_as[0]) jw_kcstr(w, "retried_as", v->retried_as);
    jw_end_object(w);
}

bool jobview_put(const struct jobview *v, struct buf *out, bool with_step_outputs)
{
    struct jw w;
    jw_init(&w, out);
    jobview_write(&w, v, with_step_outputs);
    return !out->failed;
}

bool jobview_put_snapshot(const struct jobview *v, struct buf *out, uint64_t seq, int64_t wall_ms)
{
    struct jw w;
    event_begin(&w, out, EVENT_JOB_SNAPSHOT, &v->id, seq, wall_ms);
    jw_key(&w, "job");
    jobview_write(&w, v, true);
    event_end(&w);
    return !out->failed;
}

bool jobview_put_terminal(const struct jobview *v, struct buf *out, uint64_t seq)
{
    struct jw w;
    struct jobview_usage total = jobview_total(v);
    assert(job_status_is_terminal(v->status));
    event_begin(&w, out, event_type_of_status(v->status), &v->id, seq, v->ended_ms);
    jw_kcstr(&w, "status", job_status_name(v->status));
    jw_kraw(&w, "output", jobview_json_view(&v->output));
    jw_kraw(&w, "error", jobview_json_view(&v->error));
    jobview_put_usage(&w, &total, false);
    jw_key(&w, "cost");
    jw_real(&w, total.cost);
    event_end(&w);
    return !out->failed;
}
