/* One event into the view. Two halves: the event's members are read and checked into a flat struct
 * first, then applied; so malformed data changes nothing, and the apply functions read like the
 * table in jobview.h. */
#include "schemas/jobview_priv.h"

#include <assert.h>

struct jobview_event {
    int64_t ts, attempt, item, until;
    char step[STEP_ID_MAX];
    char reason[JOBVIEW_REASON_MAX], on[JOBVIEW_ON_MAX];
    struct view text, output, error, job;
    bool output_omitted, has_usage, has_items, has_cost;
    struct jobview_usage usage;
    struct jobview_items items;
    double cost;
};

/* --- reading ------------------------------------------------------------------------------------
 */

static bool jobview_event_cost(struct view v, struct jobview_event *e)
{
    struct jobview_usage u;
    char text[96];
    int len = snprintf(text, sizeof text, "{\"cost\":%.*s}", v.len < 64 ? (int)v.len : 64, v.ptr);
    e->has_cost = jobview_get_usage(view_make(text, (size_t)len), &u);
    e->cost = e->has_cost ? u.cost : 0;
    return e->has_cost;
}

static bool jobview_event_until(struct view v, struct jobview_event *e)
{
    return json_raw_kind(v) == JSON_RAW_NULL || jobview_get_int(v, 0, &e->until);
}

static bool jobview_event_member(enum event_type type, struct view key, struct view v,
                                 struct jobview_event *e)
{
    if (view_eq_str(key, "ts")) return jobview_get_time(v, &e->ts);
    if (view_eq_str(key, "step")) return jobview_get_text(v, e->step, sizeof e->step);
    if (view_eq_str(key, "item")) return jobview_get_int(v, 0, &e->item);
    if (view_eq_str(key, "attempt")) return jobview_get_int(v, 0, &e->attempt);
    if (type == EVENT_STEP_PROGRESS) return true; /* the rest is the step's own */
    if (view_eq_str(key, "reason")) return jobview_get_text(v, e->reason, sizeof e->reason);
    if (view_eq_str(key, "until")) return jobview_event_until(v, e);
    if (view_eq_str(key, "on") && type == EVENT_JOB_WAITING)
        return jobview_get_text(v, e->on, sizeof e->on);
    if (view_eq_str(key, "output_omitted")) return jobview_get_bool(v, &e->output_omitted);
    if (view_eq_str(key, "usage")) return e->has_usage = jobview_get_usage(v, &e->usage);
    if (view_eq_str(key, "cost")) return jobview_event_cost(v, e);
    if (view_eq_str(key, "items")) return e->has_items = jobview_get_items(v, &e->items);
    if (view_eq_str(key, "text")) {
        e->text = v;
        return json_raw_kind(v) == JSON_RAW_STRING;
    }
    if (view_eq_str(key, "output")) e->output = v;
    if (view_eq_str(key, "error")) e->error = v;
    if (view_eq_str(key, "job")) e->job = v;
    return true;
}

static bool jobview_is_step_event(enum event_type t)
{
    return t >= EVENT_STEP_STARTED && t <= EVENT_STEP_SKIPPED;
}

static enum err_code jobview_event_read(enum event_type type, struct view data,
                                        struct jobview_event *ret, struct err *err)
{
    struct jobview_event e = {.ts = -1, .attempt = 1, .item = -1, .until = -1};
    struct view key, value;
    size_t cursor = 0;
    enum err_code code = json_check(data, jobview_limits(), err);
    if (code)
        return code == ERR_NOMEM ? code
                                 : err_set(err, ERR_INVALID, "event data: not acceptable JSON");
    if (json_raw_kind(data) != JSON_RAW_OBJECT)
        return err_set(err, ERR_INVALID, "event data: not an object");
    while (json_raw_each(data, &cursor, &key, &value)) {
        if (!jobview_event_member(type, key, value, &e))
            return err_set(err, ERR_INVALID, "event data: member %.*s is wrong",
                           key.len < 40 ? (int)key.len : 40, key.ptr);
    }
    if (jobview_is_step_event(type) && !e.step[0])
        return err_set(err, ERR_INVALID, "event data: no step");
    if (type == EVENT_JOB_SNAPSHOT && !e.job.ptr)
        return err_set(err, ERR_INVALID, "event data: no job");
    *ret = e;
    return ERR_OK;
}

/* --- steps --------------------------------------------------------------------------------------
 */

static void jobview_usage_add(struct jobview_usage *sum, const struct jobview_usage *u)
{
    jobview_add(&sum->input_tokens, u->input_tokens);
    jobview_add(&sum->output_tokens, u->output_tokens);
    jobview_add(&sum->calls, u->calls);
    if (sum->cost + u->cost <= 1e300) sum->cost += u->cost;
}

static void jobview_fold_usage(struct jobview *v, struct jobview_step *s,
                               const struct jobview_event *e)
{
    if (!e->has_usage) return;
    s->has_usage = true;
    jobview_usage_add(&s->usage, &e->usage);
    jobview_usage_add(&v->seen, &e->usage);
}

/* A higher attempt voids the text of the one before. False: the event is of a lower one. */
static bool jobview_raise(struct jobview *v, int64_t *attempt, struct jobview_text *t, int64_t to)
{
    if (to < *attempt) return false;
    if (to > *attempt) jobview_text_clear(v, t);
    *attempt = to;
    return true;
}

static bool jobview_is_over(const struct jobview_step *s)
{
    return s->status == VIEW_STEP_COMPLETED || s->status == VIEW_STEP_FAILED ||
           s->status == VIEW_STEP_SKIPPED;
}

/* The step goes on: what an end had left behind goes. */
static void jobview_step_open(struct jobview *v, struct jobview_step *s, int64_t ts)
{
    if (jobview_is_over(s)) {
        jobview_json_clear(v, &s->output);
        jobview_json_clear(v, &s->error);
        s->output_omitted = false;
        s->ended_ms = -1;
    }
    s->status = VIEW_STEP_RUNNING;
    if (s->started_ms < 0) s->started_ms = ts;
}

static bool jobview_fold_step_started(struct jobview *v, struct jobview_step *s,
                                      const struct jobview_event *e)
{
    jobview_step_open(v, s, e->ts);
    jobview_raise(v, &s->attempt, &s->text, e->attempt);
    jobview_items_clear(v, s); /* items of an earlier run of the step start anew */
    if (e->has_items) {
        s->has_items = true;
        s->items.total = e->items.total;
    }
    return true;
}

static bool jobview_fold_delta(struct jobview *v, struct jobview_step *s,
                               const struct jobview_event *e)
{
    if (jobview_is_over(s)) return true;
    if (s->started_ms < 0) s->started_ms = e->ts;
    if (!jobview_raise(v, &s->attempt, &s->text, e->attempt)) return true;
    s->status = VIEW_STEP_RUNNING;
    return !e->text.ptr || jobview_text_put(v, &s->text, e->text);
}

static bool jobview_fold_step_completed(struct jobview *v, struct jobview_step *s,
                                        const struct jobview_event *e)
{
    bool omitted = false;
    if (e->output.ptr && !jobview_json_set(v, &s->output, e->output, &omitted)) return false;
    if (e->attempt > s->attempt) s->attempt = e->attempt;
    s->output_omitted = omitted || e->output_omitted;
    if (s->output.ptr) jobview_text_clear(v, &s->text);
    jobview_json_clear(v, &s->error);
    jobview_items_clear(v, s);
    if (e->has_items) {
        s->has_items = true;
        s->items = e->items;
    }
    s->status = VIEW_STEP_COMPLETED;
    s->ended_ms = e->ts;
    return true;
}

static bool jobview_fold_step_failed(struct jobview *v, struct jobview_step *s,
                                     const struct jobview_event *e)
{
    bool omitted;
    if (!jobview_json_set(v, &s->error, e->error, &omitted)) return false;
    if (e->attempt > s->attempt) s->attempt = e->attempt;
    jobview_items_clear(v, s);
    s->status = VIEW_STEP_FAILED;
    s->ended_ms = e->ts;
    return true;
}

/* --- items of a foreach step --------------------------------------------------------------------
 */

static bool jobview_item_open(struct jobview *v, struct jobview_step *s,
                              const struct jobview_event *e, bool with_text)
{
    if (!jobview_item_find(s, e->item) && s->running_count == JOBVIEW_RUNNING_MAX)
        return true; /* not shown */
    struct jobview_item *i = jobview_item_get(s, e->item);
    if (!i) return false;
    if (!jobview_raise(v, &i->attempt, &i->text, e->attempt) || !with_text || !e->text.ptr)
        return true;
    return jobview_text_put(v, &i->text, e->text);
}

static bool jobview_fold_item(struct jobview *v, struct jobview_step *s, enum event_type type,
                              const struct jobview_event *e)
{
    if (jobview_is_over(s) && type == EVENT_STEP_DELTA) return true;
    jobview_step_open(v, s, e->ts);
    s->has_items = true;
    if (s->attempt == 0) s->attempt = 1;
    if (e->item >= s->items.total)
        s->items.total = e->item < JOBVIEW_NUMBER_MAX ? e->item + 1 : e->item;
    if (type == EVENT_STEP_STARTED || type == EVENT_STEP_RETRYING)
        return jobview_item_open(v, s, e, false);
    if (type == EVENT_STEP_DELTA) return jobview_item_open(v, s, e, true);
    if (type == EVENT_STEP_PROGRESS) return true;
    jobview_item_drop(v, s, e->item);
    jobview_add(&s->items.done, 1);
    if (type == EVENT_STEP_FAILED) jobview_add(&s->items.failed, 1);
    return true;
}

static bool jobview_fold_whole_step(struct jobview *v, struct jobview_step *s, enum event_type type,
                                    const struct jobview_event *e)
{
    if (type == EVENT_STEP_STARTED) return jobview_fold_step_started(v, s, e);
    if (type == EVENT_STEP_DELTA) return jobview_fold_delta(v, s, e);
    if (type == EVENT_STEP_COMPLETED) return jobview_fold_step_completed(v, s, e);
    if (type == EVENT_STEP_FAILED) return jobview_fold_step_failed(v, s, e);
    if (type == EVENT_STEP_RETRYING) {
        jobview_step_open(v, s, e->ts);
        jobview_raise(v, &s->attempt, &s->text, e->attempt);
        s->status = VIEW_STEP_RETRYING;
    } else if (type == EVENT_STEP_SKIPPED) {
        s->status = VIEW_STEP_SKIPPED;
        s->ended_ms = e->ts;
    }
    return true;
}

static enum err_code jobview_fold_step(struct jobview *v, enum event_type type,
                                       const struct jobview_event *e, struct err *err)
{
    size_t before = v->step_count;
    struct jobview_step *s = jobview_step_get(v, view_of(e->step));
    if (!s && before == JOBVIEW_STEPS_MAX)
        return err_set(err, ERR_INVALID, "event data: too many steps");
    bool ok = s && (e->item >= 0 ? jobview_fold_item(v, s, type, e)
                                 : jobview_fold_whole_step(v, s, type, e));
    if (!ok) return err_set(err, ERR_NOMEM, "job view: out of memory");
    jobview_fold_usage(v, s, e);
    return ERR_OK;
}

/* --- the job ------------------------------------------------------------------------------------
 */

static void jobview_fold_life(struct jobview *v, enum event_type type,
                              const struct jobview_event *e)
{
    v->is_waiting = type == EVENT_JOB_WAITING;
    if (type == EVENT_JOB_STARTED) {
        v->status = JOB_RUNNING;
        v->attempt = e->attempt;
        if (v->started_ms < 0) v->started_ms = e->ts;
    } else if (type == EVENT_JOB_WAITING) {
        v->status = JOB_WAITING;
        v->until_ms = e->until;
        memcpy(v->reason, e->reason, sizeof v->reason);
        memcpy(v->on, e->on, sizeof v->on);
    } else if (type == EVENT_JOB_RESUMED) {
        v->status = v->started_ms < 0 ? JOB_QUEUED : JOB_RUNNING;
    }
    if (!v->is_waiting) v->until_ms = -1;
}

static enum job_status jobview_status_of(enum event_type terminal)
{
    assert(event_type_is_terminal(terminal));
    return (enum job_status)(JOB_SUCCEEDED + (terminal - EVENT_JOB_SUCCEEDED));
}

static enum err_code jobview_fold_end(struct jobview *v, enum event_type type,
                                      const struct jobview_event *e, struct err *err)
{
    if (!jobview_end(v, jobview_status_of(type), e->ts, e->output, e->error))
        return err_set(err, ERR_NOMEM, "job view: out of memory");
    v->until_ms = -1;
    double cost = e->has_cost ? e->cost : v->seen.cost;
    if (e->has_usage) {
        v->seen = e->usage; /* the writer's sum is the whole sum */
        v->seen.cost = cost;
        v->charged = v->seen;
    }
    return ERR_OK;
}

static enum err_code jobview_fold_snapshot(struct jobview *v, const struct jobview_event *e,
                                           struct err *err)
{
    struct jobview *other, old = *v;
    enum err_code code = jobview_read(e->job, &other, err);
    if (code) return code;
    *v = *other;
    *other = old;
    jobview_free(other);
    return ERR_OK;
}

enum err_code jobview_fold(struct jobview *v, enum event_type type, struct view data,
                           struct err *err)
{
    struct jobview_event e;
    enum err_code code = jobview_event_read(type, data, &e, err);
    if (code) return code;
    if (type == EVENT_JOB_SNAPSHOT) return jobview_fold_snapshot(v, &e, err);
    if (job_status_is_terminal(v->status) || type == EVENT_RESET || type == EVENT_JOB_QUEUED)
        return ERR_OK;
    if (jobview_is_step_event(type)) return jobview_fold_step(v, type, &e, err);
    if (event_type_is_terminal(type)) return jobview_fold_end(v, type, &e, err);
    jobview_fold_life(v, type, &e);
    return ERR_OK;
}
