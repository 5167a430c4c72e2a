/* The value of a job record and the body of POST /v1/jobs.
 *
 * What is hard: a user's JSON must arrive at the worker byte for byte (numbers, key order, spaces), so nothing here
 * builds a tree: the whole text is checked once and members are then found as slices. A refusal names the member by
 * a JSON pointer and what would be right, and never repeats a value: values are prompts and inputs. Names are the
 * client's own words about shape and may be told. */
#include "common/base/json.h"
#include "schemas/job.h"

static const struct json_limits job_limits = {
    .bytes_max = JOB_BYTES_MAX, .depth_max = 64, .nodes_max = 200000};
/* What the gateway accepted must stay readable: a little more of everything. */
static const struct json_limits body_limits = {
    .bytes_max = 2 * JOB_BYTES_MAX, .depth_max = 68, .nodes_max = 200100};

/* --- the value of a record ------------------------------------------------------------------- */

bool job_body_put(struct buf *out, const struct job_body *b)
{
    struct jw w;
    jw_init(&w, out);
    jw_object(&w);
    jw_kstr(&w, "workflow", b->workflow);
    jw_kint(&w, "version", b->version);
    jw_kraw(&w, "input", b->input);
    if (b->metadata.ptr) jw_kraw(&w, "metadata", b->metadata);
    if (b->webhook.ptr) jw_kraw(&w, "webhook", b->webhook);
    if (b->key.ptr) jw_kraw(&w, "key", b->key);
    jw_end_object(&w);
    return !out->failed;
}

static struct view job_unquoted(struct view literal)
{
    return view_make(literal.ptr + 1, literal.len - 2);
}

static bool job_body_member(struct view key, struct view v, struct job_body *b)
{
    enum json_kind kind = json_raw_kind(v);
    if (view_eq_str(key, "workflow")) {
        if (kind != JSON_RAW_STRING || !job_workflow_name_ok(job_unquoted(v))) return false;
        b->workflow = job_unquoted(v);
    } else if (view_eq_str(key, "version")) {
        return view_i64(v, &b->version) && b->version >= 0;
    } else if (view_eq_str(key, "input")) {
        b->input = v;
    } else if (view_eq_str(key, "metadata")) {
        b->metadata = v;
        return kind == JSON_RAW_OBJECT;
    } else if (view_eq_str(key, "webhook")) {
        b->webhook = v;
        return kind == JSON_RAW_STRING;
    } else if (view_eq_str(key, "key")) {
        b->key = v;
        return kind == JSON_RAW_STRING;
    }
    return true;
}

enum err_code job_body_read(struct view value, struct job_body *ret, struct err *err)
{
    struct job_body b = {.version = -1};
    struct view key, member;
    size_t cursor = 0;
    enum err_code code = json_check(value, &body_limits, err);
    if (code == ERR_NOMEM) return code;
    if (code) return err_set(err, ERR_INVALID, "job record's value: not acceptable JSON");
    if (json_raw_kind(value) != JSON_RAW_OBJECT)
        return err_set(err, ERR_INVALID, "job record's value: not an object");
    while (json_raw_each(value, &cursor, &key, &member)) {
        if (!job_body_member(key, member, &b))
            return err_set(err, ERR_INVALID, "job record's value: member %.*s is wrong",
                           (int)key.len, key.ptr);
    }
    if (!b.workflow.ptr || b.version < 0 || !b.input.ptr)
        return err_set(err, ERR_INVALID,
                       "job record's value: workflow, version or input is missing");
    *ret = b;
    return ERR_OK;
}

/* --- the request ----------------------------------------------------------------------------- */

struct job_reading {
    struct job_request req;
    int64_t wall_ms;
    enum problem problem;
    struct err *err;
};

/* false, with the problem INVALID_FIELD at /name. */
static bool job_refuse(struct job_reading *r, const char *name, const char *text)
{
    char where[sizeof r->err->where];
    snprintf(where, sizeof where, "/%s", name);
    r->problem = PROBLEM_INVALID_FIELD;
    err_set_at(r->err, ERR_INVALID, where, "%s", text);
    return false;
}

static bool job_refuse_kind(struct job_reading *r, const char *name, const char *expected,
                            struct view v)
{
    static const char *const names[] = {
        [JSON_RAW_NONE] = "nothing",    [JSON_RAW_OBJECT] = "an object",
        [JSON_RAW_ARRAY] = "an array",  [JSON_RAW_STRING] = "a string",
        [JSON_RAW_NUMBER] = "a number", [JSON_RAW_TRUE] = "a boolean",
        [JSON_RAW_FALSE] = "a boolean", [JSON_RAW_NULL] = "null",
    };
    char text[128];
    snprintf(text, sizeof text, "must be %s, not %s", expected, names[json_raw_kind(v)]);
    return job_refuse(r, name, text);
}

/* The decoded text of a string member into dst; false: refused. */
static bool job_text(struct job_reading *r, const char *name, struct view v, char *dst, size_t size)
{
    struct buf text;
    char why[64];
    if (json_raw_kind(v) != JSON_RAW_STRING) return job_refuse_kind(r, name, "a string", v);
    buf_init(&text, JOB_BYTES_MAX);
    bool ok = json_raw_string(v, &text) && view_copy(buf_view(&text), dst, size);
    buf_fini(&text);
    if (ok) return true;
    snprintf(why, sizeof why, "must be a string of at most %zu bytes", size - 1);
    return job_refuse(r, name, why);
}

static bool job_read_workflow(struct job_reading *r, struct view v)
{
    if (!job_text(r, "workflow", v, r->req.workflow, sizeof r->req.workflow)) return false;
    return job_workflow_name_ok(view_of(r->req.workflow)) ||
           job_refuse(r, "workflow",
                      "must be a workflow's name: letters, digits, '.', '_' and '-'");
}

static bool job_read_version(struct job_reading *r, struct view v)
{
    if (json_raw_kind(v) != JSON_RAW_NUMBER)
        return job_refuse_kind(r, "version", "an integer of at least 1", v);
    return (view_i64(v, &r->req.version) && r->req.version >= 1) ||
           job_refuse(r, "version", "must be an integer of at least 1");
}

static bool job_read_input(struct job_reading *r, struct view v)
{
    r->req.input = v;
    return true;
}

static bool job_read_class(struct job_reading *r, struct view v)
{
    char text[32];
    if (json_raw_kind(v) != JSON_RAW_STRING) return job_refuse_kind(r, "class", "a string", v);
    return (job_text(r, "class", v, text, sizeof text) &&
            job_class_parse(view_of(text), &r->req.cls)) ||
           job_refuse(r, "class", "must be \"interactive\" or \"bulk\"");
}

static bool job_read_metadata(struct job_reading *r, struct view v)
{
    if (json_raw_kind(v) != JSON_RAW_OBJECT) return job_refuse_kind(r, "metadata", "an object", v);
    if (v.len > JOB_METADATA_MAX)
        return job_refuse(r, "metadata", "must be at most 16384 bytes of JSON");
    r->req.metadata = v;
    return true;
}

static bool job_read_key(struct job_reading *r, struct view v)
{
    char text[JOB_KEY_MAX + 1];
    if (!job_text(r, "key", v, text, sizeof text)) return false;
    if (!text[0]) return job_refuse(r, "key", "must not be empty");
    r->req.key = v;
    return true;
}

static bool job_read_priority(struct job_reading *r, struct view v)
{
    int64_t n;
    const char *expected = "must be an integer from 0 to 9; the default is 5, higher goes first";
    if (json_raw_kind(v) != JSON_RAW_NUMBER)
        return job_refuse_kind(r, "priority", "an integer from 0 to 9", v);
    if (!view_i64(v, &n) || n < 0 || n > JOB_PRIORITY_MAX) return job_refuse(r, "priority", expected);
    r->req.boost = n - JOB_PRIORITY_DEFAULT;
    return true;
}

static bool job_is_url(const char *url)
{
    struct view v = view_of(url);
    size_t scheme = view_starts(v, "https://") ? 8 : view_starts(v, "http://") ? 7 : 0;
    if (!scheme || v.len == scheme || strchr("/?#:@", v.ptr[scheme])) return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] <= 0x20 || v.ptr[i] > 0x7e || strchr("\"<>\\^`{|}", v.ptr[i])) return false;
    return true;
}

static bool job_read_webhook(struct job_reading *r, struct view v)
{
    char text[JOB_WEBHOOK_MAX + 1];
    if (!job_text(r, "webhook", v, text, sizeof text)) return false;
    if (!job_is_url(text)) return job_refuse(r, "webhook", "must be an http:// or https:// URL");
    r->req.webhook = v;
    return true;
}

/* RFC 3339, or a duration from now. */
static bool job_read_time(struct job_reading *r, const char *name, struct view v, int64_t *ret)
{
    char text[64];
    int64_t ms;
    const char *expected = "must be an RFC 3339 time or a duration from now, such as \"10m\"";
    if (json_raw_kind(v) != JSON_RAW_STRING) return job_refuse_kind(r, name, "a string", v);
    if (!job_text(r, name, v, text, sizeof text)) return job_refuse(r, name, expected);
    if (clock_duration(view_of(text), &ms)) {
        if (ms > JOB_HORIZON_MS) return job_refuse(r, name, "must lie within 12 days from now");
        ms += r->wall_ms;
    } else if (!clock_parse(view_of(text), &ms) || ms <= 0) {
        return job_refuse(r, name, expected);
    }
    if (ms - r->wall_ms > JOB_HORIZON_MS)
        return job_refuse(r, name, "must lie within 12 days from now");
    *ret = ms;
    return true;
}

static bool job_read_run_at(struct job_reading *r, struct view v)
{
    return job_read_time(r, "run_at", v, &r->req.run_at_ms);
}

static bool job_read_deadline(struct job_reading *r, struct view v)
{
    return job_read_time(r, "deadline", v, &r->req.deadline_ms);
}

static const struct {
    const char *name;
    bool (*read)(struct job_reading *r, struct view v);
} job_members[] = {
    {"workflow", job_read_workflow}, {"version", job_read_version},   {"input", job_read_input},
    {"class", job_read_class},       {"metadata", job_read_metadata}, {"run_at", job_read_run_at},
    {"deadline", job_read_deadline}, {"webhook", job_read_webhook},   {"key", job_read_key},
    {"priority", job_read_priority},
};

/* The pointer of an unknown member: its decoded name with ~ and / escaped, cut where err.where ends. */
static void job_refuse_member(struct job_reading *r, struct view key)
{
    char where[sizeof r->err->where] = "/";
    size_t len = 1;
    struct buf name;
    buf_init(&name, JOB_BYTES_MAX);
    if (json_raw_string(view_make(key.ptr - 1, key.len + 2), &name)) {
        struct view v = buf_view(&name);
        for (size_t i = 0; i < v.len && len + 2 < sizeof where; i++) {
            char c = v.ptr[i];
            where[len++] = c == '/' ? '~' : c;
            if (c == '~' || c == '/') where[len++] = c == '~' ? '0' : '1';
        }
    }
    where[len] = '\0';
    buf_fini(&name);
    r->problem = PROBLEM_UNKNOWN_FIELD;
    err_set_at(r->err, ERR_INVALID, where,
               "unknown field; known are workflow, version, input, class, metadata, run_at, "
               "deadline, webhook, key, priority");
}

/* Is the member's name (raw) this one? A name may be spelled with escapes. */
static bool job_name_is(struct view key, const char *name)
{
    if (!key.len || !memchr(key.ptr, '\\', key.len)) return view_eq_str(key, name);
    struct buf text;
    buf_init(&text, JOB_BYTES_MAX);
    bool same = json_raw_string(view_make(key.ptr - 1, key.len + 2), &text) &&
                view_eq_str(buf_view(&text), name);
    buf_fini(&text);
    return same;
}

static bool job_read_member(struct job_reading *r, struct view key, struct view value)
{
    for (size_t i = 0; i < sizeof job_members / sizeof *job_members; i++)
        if (job_name_is(key, job_members[i].name)) return job_members[i].read(r, value);
    job_refuse_member(r, key);
    return false;
}

/* What only shows when all members are there. */
static bool job_read_whole(struct job_reading *r)
{
    struct job_request *q = &r->req;
    if (!q->workflow[0]) return job_refuse(r, "workflow", "is required: the name of a workflow");
    if (!q->input.ptr) return job_refuse(r, "input", "is required: the workflow's input");
    if (q->run_at_ms && q->deadline_ms && q->deadline_ms <= q->run_at_ms)
        return job_refuse(r, "deadline", "must lie after run_at");
    return true;
}

enum err_code job_request_read(struct view body, int64_t wall_ms, struct job_request *ret,
                               enum problem *ret_problem, struct err *err)
{
    struct err own = {.code = ERR_OK};
    struct job_reading r = {
        .wall_ms = wall_ms, .problem = PROBLEM_INVALID_FIELD, .err = err ? err : &own};
    struct view key, value;
    size_t cursor = 0;
    enum err_code code = json_check(body, &job_limits, r.err);
    if (code) {
        *ret_problem = code == ERR_NOMEM                 ? PROBLEM_INTERNAL
                       : body.len > job_limits.bytes_max ? PROBLEM_TOO_LARGE
                                                         : PROBLEM_INVALID_JSON;
        return code;
    }
    *ret_problem = PROBLEM_INVALID_FIELD;
    if (json_raw_kind(body) != JSON_RAW_OBJECT)
        return err_set_at(err, ERR_INVALID, "", "the body must be an object");
    while (json_raw_each(body, &cursor, &key, &value)) {
        if (job_read_member(&r, key, value)) continue;
        *ret_problem = r.problem;
        return ERR_INVALID;
    }
    if (!job_read_whole(&r)) return ERR_INVALID;
    *ret = r.req;
    return ERR_OK;
}
