/* Events: their names, their ids inside and outside, and the three ways out (Redis entry, SSE, NDJSON).
 *
 * What is hard: event_put_sse runs for every delivery to every watcher, so it takes its room once and copies four
 * pieces; two memchr passes find out whether the data is one line, as JSON of ours always is. Bytes that are not are
 * split as the SSE format wants: every CR, LF or CRLF begins a new data line. The outside id is parsed strictly: 27
 * characters, so that a cursor has one spelling and compares as text. */
#include "schemas/event.h"

#include <assert.h>

static const char *const event_names[] = {
    [EVENT_JOB_QUEUED] = "job.queued",
    [EVENT_JOB_STARTED] = "job.started",
    [EVENT_JOB_WAITING] = "job.waiting",
    [EVENT_JOB_RESUMED] = "job.resumed",
    [EVENT_STEP_STARTED] = "step.started",
    [EVENT_STEP_PROGRESS] = "step.progress",
    [EVENT_STEP_DELTA] = "step.delta",
    [EVENT_STEP_RETRYING] = "step.retrying",
    [EVENT_STEP_COMPLETED] = "step.completed",
    [EVENT_STEP_FAILED] = "step.failed",
    [EVENT_STEP_SKIPPED] = "step.skipped",
    [EVENT_JOB_SNAPSHOT] = "job.snapshot",
    [EVENT_RESET] = "reset",
    [EVENT_JOB_SUCCEEDED] = "job.succeeded",
    [EVENT_JOB_FAILED] = "job.failed",
    [EVENT_JOB_CANCELED] = "job.canceled",
    [EVENT_JOB_EXPIRED] = "job.expired",
};

const char *event_type_name(enum event_type t)
{
    assert(t < EVENT_TYPE_COUNT);
    return event_names[t];
}

bool event_type_parse(struct view name, enum event_type *ret)
{
    for (unsigned i = 0; i < EVENT_TYPE_COUNT; i++) {
        if (!view_eq_str(name, event_names[i])) continue;
        *ret = (enum event_type)i;
        return true;
    }
    return false;
}

bool event_type_is_terminal(enum event_type t)
{
    return t >= EVENT_JOB_SUCCEEDED && t <= EVENT_JOB_EXPIRED;
}

enum event_type event_type_of_status(enum job_status terminal)
{
    assert(job_status_is_terminal(terminal));
    return (enum event_type)(EVENT_JOB_SUCCEEDED + (terminal - JOB_SUCCEEDED));
}

/* --- ids ------------------------------------------------------------------------------------- */

enum { EPOCH_DIGITS = 16, SEQ_DIGITS = 10 };
#define EPOCH_MAX 9999999999999999u
#define SEQ_MAX   9999999999u

void event_id_format(struct event_id id, char ret[EVENT_ID_TEXT])
{
    assert(id.epoch <= EPOCH_MAX);
    assert(id.seq <= SEQ_MAX);
    size_t at = EVENT_ID_TEXT - 1;
    ret[at] = '\0';
    for (unsigned i = 0; i < SEQ_DIGITS; i++, id.seq /= 10) ret[--at] = (char)('0' + id.seq % 10);
    ret[--at] = '-';
    for (unsigned i = 0; i < EPOCH_DIGITS; i++, id.epoch /= 10)
        ret[--at] = (char)('0' + id.epoch % 10);
}

bool event_id_parse(struct view text, struct event_id *ret)
{
    struct event_id id;
    if (text.len != EVENT_ID_TEXT - 1 || text.ptr[EPOCH_DIGITS] != '-') return false;
    if (!view_u64(view_make(text.ptr, EPOCH_DIGITS), &id.epoch)) return false;
    if (!view_u64(view_make(text.ptr + EPOCH_DIGITS + 1, SEQ_DIGITS), &id.seq)) return false;
    *ret = id;
    return true;
}

void event_id_format_redis(struct event_id id, char ret[EVENT_ID_REDIS])
{
    snprintf(ret, EVENT_ID_REDIS, "%llu-%llu", (unsigned long long)id.epoch,
             (unsigned long long)id.seq);
}

bool event_id_parse_redis(struct view text, struct event_id *ret)
{
    struct view epoch, seq;
    struct event_id id;
    if (!view_cut(text, '-', &epoch, &seq) || !view_u64(epoch, &id.epoch) ||
        !view_u64(seq, &id.seq))
        return false;
    if (id.epoch > EPOCH_MAX || id.seq > SEQ_MAX) return false; /* no outside form */
    *ret = id;
    return true;
}

enum event_order event_order(struct event_id cursor, struct event_id next)
{
    if (next.epoch >= cursor.epoch && next.seq == cursor.seq + 1) return EVENT_NEXT;
    if (next.epoch <= cursor.epoch && next.seq <= cursor.seq) return EVENT_DUPLICATE;
    return EVENT_GAP;
}

/* --- data ------------------------------------------------------------------------------------ */

void event_begin(struct jw *w, struct buf *out, enum event_type t, const struct job_id *job,
                 uint64_t seq, int64_t wall_ms)
{
    jw_init(w, out);
    jw_object(w);
    jw_kcstr(w, "type", event_type_name(t));
    jw_kstr(w, "job_id", view_make(job->text, JOB_ID_LEN));
    jw_kint(w, "seq", (int64_t)seq);
    jw_ktime(w, "ts", wall_ms);
}

void event_begin_step(struct jw *w, struct buf *out, enum event_type t, const struct job_id *job,
                      uint64_t seq, int64_t wall_ms, const char *step, int64_t item,
                      int64_t attempt)
{
    event_begin(w, out, t, job, seq, wall_ms);
    jw_kcstr(w, "step", step);
    if (item >= 0) jw_kint(w, "item", item);
    jw_kint(w, "attempt", attempt);
}

void event_end(struct jw *w)
{
    jw_end_object(w);
}

/* --- ways out -------------------------------------------------------------------------------- */

static bool event_has_line_end(struct view v)
{
    return v.len && (memchr(v.ptr, '\n', v.len) || memchr(v.ptr, '\r', v.len));
}

static char *event_copy(char *at, const char *ptr, size_t len)
{
    if (len) memcpy(at, ptr, len);
    return at + len;
}

static void event_put_lines(struct buf *out, struct view data)
{
    size_t from = 0;
    for (size_t i = 0; i < data.len; i++) {
        char c = data.ptr[i];
        if (c != '\n' && c != '\r') continue;
        buf_put(out, data.ptr + from, i - from);
        buf_put(out, "\ndata: ", 7);
        if (c == '\r' && i + 1 < data.len && data.ptr[i + 1] == '\n') i++;
        from = i + 1;
    }
    buf_put(out, data.ptr + from, data.len - from);
}

bool event_put_sse(struct buf *out, struct view id, struct view type, struct view data)
{
    static const char id_key[] = "id: ", type_key[] = "\nevent: ", data_key[] = "\ndata: ";
    bool lines = event_has_line_end(data);
    size_t room = 4 + id.len + 8 + type.len + 7 + (lines ? 0 : data.len) + 2;
    if (!buf_reserve(out, room)) return false;
    char *at = out->data + out->len;
    if (id.ptr) {
        at = event_copy(at, id_key, 4);
        at = event_copy(at, id.ptr, id.len);
        *at++ = '\n';
    }
    at = event_copy(at, type_key + 1, 7);
    at = event_copy(at, type.ptr, type.len);
    at = event_copy(at, data_key, 7);
    if (lines) {
        out->len = (size_t)(at - out->data);
        event_put_lines(out, data);
        return buf_put(out, "\n\n", 2);
    }
    at = event_copy(at, data.ptr, data.len);
    at = event_copy(at, "\n\n", 2);
    out->len = (size_t)(at - out->data);
    return true;
}

/* Raw line ends can stand only between JSON tokens: a space says the same. */
static void event_flatten(char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] == '\n' || at[i] == '\r') at[i] = ' ';
}

bool event_put_ndjson(struct buf *out, struct view id, struct view data)
{
    static const char id_key[] = "{\"id\":\"";
    data = view_trim(data);
    assert(data.len >= 2 && data.ptr[0] == '{');
    if (!buf_reserve(out, 7 + id.len + 2 + data.len + 1)) return false;
    char *at = out->data + out->len, *text = at;
    if (id.ptr) {
        struct view rest = view_trim(view_make(data.ptr + 1, data.len - 1));
        at = event_copy(at, id_key, 7);
        at = event_copy(at, id.ptr, id.len);
        *at++ = '"';
        if (rest.ptr[0] != '}') *at++ = ',';
        data = rest;
    }
    at = event_copy(at, data.ptr, data.len);
    if (event_has_line_end(data)) event_flatten(text, (size_t)(at - text));
    *at++ = '\n';
    out->len = (size_t)(at - out->data);
    return true;
}
