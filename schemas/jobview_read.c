/* A view from its JSON form. Strict about what it knows (a wrong type is ERR_INVALID), blind to
 * what it does not: a newer writer may add members. The whole text is checked first, so every slice
 * taken is JSON. */
#include "schemas/jobview_priv.h"

#include <math.h>

static const struct json_limits limits = {
    .bytes_max = JOBVIEW_JSON_MAX, .depth_max = 128, .nodes_max = 2000000};

const struct json_limits *jobview_limits(void)
{
    return &limits;
}

/* --- members ------------------------------------------------------------------------------------
 */

bool jobview_get_int(struct view v, int64_t min, int64_t *ret)
{
    int64_t n;
    if (!view_i64(v, &n) || n < min || n > JOBVIEW_NUMBER_MAX) return false;
    *ret = n;
    return true;
}

bool jobview_get_bool(struct view v, bool *ret)
{
    enum json_kind kind = json_raw_kind(v);
    if (kind != JSON_RAW_TRUE && kind != JSON_RAW_FALSE) return false;
    *ret = kind == JSON_RAW_TRUE;
    return true;
}

bool jobview_get_text(struct view v, char *dst, size_t size)
{
    struct buf text;
    if (json_raw_kind(v) != JSON_RAW_STRING || v.len > 6 * size + 2) return false;
    buf_init(&text, 6 * size + 2);
    bool ok = json_raw_string(v, &text) && view_copy(buf_view(&text), dst, size);
    buf_fini(&text);
    return ok;
}

/* RFC 3339 text, or null: -1. */
bool jobview_get_time(struct view v, int64_t *ret)
{
    char text[40];
    if (json_raw_kind(v) == JSON_RAW_NULL) {
        *ret = -1;
        return true;
    }
    return jobview_get_text(v, text, sizeof text) && clock_parse(view_of(text), ret) && *ret >= 0;
}

static bool jobview_get_real(struct view v, double *ret)
{
    char text[64];
    if (json_raw_kind(v) != JSON_RAW_NUMBER || !view_copy(v, text, sizeof text)) return false;
    double x = strtod(text, NULL);
    if (!isfinite(x) || x < 0) return false;
    *ret = x;
    return true;
}

bool jobview_get_usage(struct view v, struct jobview_usage *ret)
{
    struct jobview_usage u = {.calls = 1};
    struct view key, value;
    size_t cursor = 0;
    bool ok = json_raw_kind(v) == JSON_RAW_OBJECT;
    while (ok && json_raw_each(v, &cursor, &key, &value)) {
        if (view_eq_str(key, "input_tokens"))
            ok = jobview_get_int(value, 0, &u.input_tokens);
        else if (view_eq_str(key, "output_tokens"))
            ok = jobview_get_int(value, 0, &u.output_tokens);
        else if (view_eq_str(key, "calls"))
            ok = jobview_get_int(value, 0, &u.calls);
        else if (view_eq_str(key, "cost"))
            ok = jobview_get_real(value, &u.cost);
    }
    if (ok) *ret = u;
    return ok;
}

bool jobview_get_items(struct view v, struct jobview_items *ret)
{
    struct jobview_items i = {.total = 0};
    struct view key, value;
    size_t cursor = 0;
    bool ok = json_raw_kind(v) == JSON_RAW_OBJECT;
    while (ok && json_raw_each(v, &cursor, &key, &value)) {
        if (view_eq_str(key, "total"))
            ok = jobview_get_int(value, 0, &i.total);
        else if (view_eq_str(key, "done"))
            ok = jobview_get_int(value, 0, &i.done);
        else if (view_eq_str(key, "failed"))
            ok = jobview_get_int(value, 0, &i.failed);
    }
    if (ok) *ret = i;
    return ok;
}

/* --- steps --------------------------------------------------------------------------------------
 */

/* What reading a member came to: false with memory or format to blame. */
struct jobview_reading {
    struct jobview *view;
    bool no_memory;
};

static bool jobview_keep_json(struct jobview_reading *r, struct jobview_json *j, struct view v)
{
    bool omitted = false;
    if (j->ptr) return false;
    if (!jobview_json_set(r->view, j, v, &omitted)) r->no_memory = true;
    return !omitted && !r->no_memory;
}

static bool jobview_keep_text(struct jobview_reading *r, struct jobview_text *t, struct view v)
{
    if (json_raw_kind(v) != JSON_RAW_STRING || t->text.len) return false;
    if (!jobview_text_put(r->view, t, v)) r->no_memory = true;
    return !r->no_memory && !t->is_omitted;
}

static bool jobview_read_running_item(struct jobview_reading *r, struct jobview_step *s,
                                      struct view json)
{
    struct view key, value, at;
    size_t cursor = 0;
    int64_t item;
    if (json_raw_kind(json) != JSON_RAW_OBJECT || !json_raw_member(json, VIEW_LIT("item"), &at) ||
        !jobview_get_int(at, 0, &item) || jobview_item_find(s, item) ||
        s->running_count == JOBVIEW_RUNNING_MAX)
        return false;
    struct jobview_item *i = jobview_item_get(s, item);
    r->no_memory = !i;
    bool ok = i != NULL;
    while (ok && json_raw_each(json, &cursor, &key, &value)) {
        if (view_eq_str(key, "attempt"))
            ok = jobview_get_int(value, 0, &i->attempt);
        else if (view_eq_str(key, "text"))
            ok = jobview_keep_text(r, &i->text, value);
        else if (view_eq_str(key, "text_omitted"))
            ok = jobview_get_bool(value, &i->text.is_omitted);
    }
    return ok;
}

static bool jobview_read_items(struct jobview_reading *r, struct jobview_step *s, struct view json)
{
    struct view running, item;
    size_t cursor = 0;
    bool ok = jobview_get_items(json, &s->items);
    s->has_items = ok;
    if (!ok || !json_raw_member(json, VIEW_LIT("running"), &running)) return ok;
    ok = json_raw_kind(running) == JSON_RAW_ARRAY;
    while (ok && json_raw_each(running, &cursor, NULL, &item))
        ok = jobview_read_running_item(r, s, item);
    return ok;
}

static bool jobview_read_step_status(struct view v, enum jobview_step_status *ret)
{
    char text[16];
    if (!jobview_get_text(v, text, sizeof text)) return false;
    for (unsigned i = 0; i < VIEW_STEP_STATUS_COUNT; i++) {
        if (strcmp(text, jobview_step_status_name((enum jobview_step_status)i)) != 0) continue;
        *ret = (enum jobview_step_status)i;
        return true;
    }
    return false;
}

static bool jobview_read_step_member(struct jobview_reading *r, struct jobview_step *s,
                                     struct view key, struct view v)
{
    if (view_eq_str(key, "status")) return jobview_read_step_status(v, &s->status);
    if (view_eq_str(key, "attempt")) return jobview_get_int(v, 0, &s->attempt);
    if (view_eq_str(key, "items")) return jobview_read_items(r, s, v);
    if (view_eq_str(key, "started_at")) return jobview_get_time(v, &s->started_ms);
    if (view_eq_str(key, "ended_at")) return jobview_get_time(v, &s->ended_ms);
    if (view_eq_str(key, "output")) return jobview_keep_json(r, &s->output, v);
    if (view_eq_str(key, "output_omitted")) return jobview_get_bool(v, &s->output_omitted);
    if (view_eq_str(key, "text")) return jobview_keep_text(r, &s->text, v);
    if (view_eq_str(key, "text_omitted")) return jobview_get_bool(v, &s->text.is_omitted);
    if (view_eq_str(key, "usage")) return s->has_usage = jobview_get_usage(v, &s->usage);
    if (view_eq_str(key, "error")) return jobview_keep_json(r, &s->error, v);
    return true;
}

static bool jobview_read_step(struct jobview_reading *r, struct view json)
{
    struct view key, value, id;
    size_t cursor = 0, before = r->view->step_count;
    char name[STEP_ID_MAX];
    if (json_raw_kind(json) != JSON_RAW_OBJECT || !json_raw_member(json, VIEW_LIT("id"), &id) ||
        !jobview_get_text(id, name, sizeof name) || before == JOBVIEW_STEPS_MAX)
        return false;
    struct jobview_step *s = jobview_step_get(r->view, view_of(name));
    r->no_memory = !s;
    bool ok = s && r->view->step_count > before; /* else: twice the same id */
    while (ok && json_raw_each(json, &cursor, &key, &value))
        ok = jobview_read_step_member(r, s, key, value);
    return ok;
}

/* --- the job ------------------------------------------------------------------------------------
 */

static bool jobview_read_steps(struct jobview_reading *r, struct view json)
{
    struct view step;
    size_t cursor = 0;
    bool ok = json_raw_kind(json) == JSON_RAW_ARRAY;
    while (ok && json_raw_each(json, &cursor, NULL, &step)) ok = jobview_read_step(r, step);
    return ok;
}

static bool jobview_read_status(struct jobview *v, struct view json)
{
    char text[16];
    return jobview_get_text(json, text, sizeof text) && job_status_parse(view_of(text), &v->status);
}

static bool jobview_read_class(struct jobview *v, struct view json)
{
    char text[16];
    return jobview_get_text(json, text, sizeof text) && job_class_parse(view_of(text), &v->cls);
}

static bool jobview_read_waiting(struct jobview *v, struct view json)
{
    struct view reason, on, until;
    v->is_waiting = true;
    if (json_raw_kind(json) != JSON_RAW_OBJECT ||
        !json_raw_member(json, VIEW_LIT("reason"), &reason) ||
        !jobview_get_text(reason, v->reason, sizeof v->reason))
        return false;
    if (json_raw_member(json, VIEW_LIT("on"), &on) && !jobview_get_text(on, v->on, sizeof v->on))
        return false;
    if (!json_raw_member(json, VIEW_LIT("until"), &until) || json_raw_kind(until) == JSON_RAW_NULL)
        return true;
    return jobview_get_int(until, 0, &v->until_ms);
}

/* Job-wide JSON has no ceiling of its own here: a message's limit is its limit. */
static bool jobview_read_json(struct jobview_reading *r, struct jobview_json *j, struct view json)
{
    if (j->ptr) return false;
    r->no_memory = !jobview_json_copy(j, json);
    return !r->no_memory;
}

static bool jobview_read_id(struct view json, char *dst, size_t size)
{
    struct job_id id;
    return jobview_get_text(json, dst, size) && id_parse(view_of(dst), &id);
}

static bool jobview_read_member(struct jobview_reading *r, struct view key, struct view json)
{
    struct jobview *v = r->view;
    if (view_eq_str(key, "id")) return jobview_read_id(json, v->id.text, sizeof v->id.text);
    if (view_eq_str(key, "status")) return jobview_read_status(v, json);
    if (view_eq_str(key, "workflow"))
        return jobview_get_text(json, v->workflow, sizeof v->workflow);
    if (view_eq_str(key, "version")) return jobview_get_int(json, 0, &v->version);
    if (view_eq_str(key, "class")) return jobview_read_class(v, json);
    if (view_eq_str(key, "attempt")) return jobview_get_int(json, 0, &v->attempt);
    if (view_eq_str(key, "created_at")) return jobview_get_time(json, &v->created_ms);
    if (view_eq_str(key, "started_at")) return jobview_get_time(json, &v->started_ms);
    if (view_eq_str(key, "ended_at")) return jobview_get_time(json, &v->ended_ms);
    if (view_eq_str(key, "steps")) return jobview_read_steps(r, json);
    if (view_eq_str(key, "usage")) {
        double cost = v->seen.cost;
        bool ok = jobview_get_usage(json, &v->seen);
        v->seen.cost = cost;
        return ok;
    }
    if (view_eq_str(key, "cost")) return jobview_get_real(json, &v->seen.cost);
    if (view_eq_str(key, "output")) return jobview_read_json(r, &v->output, json);
    if (view_eq_str(key, "error")) return jobview_read_json(r, &v->error, json);
    if (view_eq_str(key, "metadata")) return jobview_read_json(r, &v->metadata, json);
    if (view_eq_str(key, "waiting")) return jobview_read_waiting(v, json);
    if (view_eq_str(key, "retry_of")) return jobview_read_id(json, v->retry_of, sizeof v->retry_of);
    if (view_eq_str(key, "retried_as"))
        return jobview_read_id(json, v->retried_as, sizeof v->retried_as);
    return true;
}

enum err_code jobview_read(struct view json, struct jobview **ret, struct err *err)
{
    struct jobview_seed seed = {.created_ms = -1};
    struct jobview_reading r = {.view = NULL};
    struct view key = VIEW_NONE, value;
    size_t cursor = 0;
    enum err_code code = json_check(json, &limits, err);
    if (code)
        return code == ERR_NOMEM ? code
                                 : err_set(err, ERR_INVALID, "job view: not acceptable JSON");
    if (json_raw_kind(json) != JSON_RAW_OBJECT)
        return err_set(err, ERR_INVALID, "job view: not an object");
    r.view = jobview_new(&seed);
    if (!r.view) return err_set(err, ERR_NOMEM, "job view: out of memory");
    bool ok = true;
    while (ok && json_raw_each(json, &cursor, &key, &value))
        ok = jobview_read_member(&r, key, value);
    ok = ok && r.view->id.text[0] && r.view->workflow[0];
    if (!ok) {
        jobview_free(r.view);
        if (r.no_memory) return err_set(err, ERR_NOMEM, "job view: out of memory");
        return err_set(err, ERR_INVALID, "job view: member %.*s is wrong or one is missing",
                       key.len < 40 ? (int)key.len : 40, key.len ? key.ptr : "");
    }
    r.view->charged = r.view->seen;
    *ret = r.view;
    return ERR_OK;
}
