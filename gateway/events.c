/* GET /v1/jobs/{id}/events: a job's stream as SSE or NDJSON, from a cursor on. What the client may
 * see is decided before the stream begins; everything after that is the tail's. A browser's
 * EventSource gives up for good on any status but 200, so one that asks for an event stream while
 * no more watchers fit is told to come back by a stream of one `retry:`. */
#include "gateway/exchange.h"

#define EVENTS_COME_BACK "retry: 5000\n\n"

static void events_wake(void *arg)
{
    const struct exchange *x = arg;
    httpd_stream_wake(x->r);
}

static void events_cut(void *arg)
{
    struct exchange *x = arg;
    watcher_close(x->watcher);
    x->watcher = NULL;
    httpd_abort(x->r);
}

static void events_no_room(struct exchange *x)
{
    struct view accept = httpd_header(x->r, "Accept");
    struct answer a = {
        .status = 200, .content_type = "text/event-stream", .body = VIEW_LIT(EVENTS_COME_BACK)};
    if (accept.ptr && view_starts(accept, "text/event-stream") && x->route->id == ROUTE_JOB_EVENTS)
        exchange_answer(x, &a);
    else if (x->accepted)
        jobs_answer_accepted(x);
    else
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "there are too many watchers");
}

void events_open(struct exchange *x, struct event_id cursor)
{
    static const struct watch_sink sink = {.wake = events_wake, .cut = events_cut};
    const struct watch_ask ask = {
        .job = x->job, .cursor = cursor, .format = x->format, .sink = &sink, .arg = x};
    x->watcher = tails_watch(x->s->tails, &ask);
    if (x->watcher)
        exchange_stream(x);
    else
        events_no_room(x);
}

bool events_read_format(struct exchange *x)
{
    char text[16];
    x->format = WATCH_SSE;
    if (!httpd_query(x->r, "format", text, sizeof text) || strcmp(text, "sse") == 0) return true;
    if (strcmp(text, "ndjson") == 0) {
        x->format = WATCH_NDJSON;
        return true;
    }
    const struct problem_body b = {
        .kind = PROBLEM_INVALID_REQUEST, .param = "format", .detail = "format is sse or ndjson"};
    exchange_problem(x, &b, 0);
    return false;
}

static void events_found(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (e) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which streams are read from, is away");
        return;
    }
    if (!exchange_may_see(x, m)) {
        exchange_unknown(x, m->built);
        return;
    }
    if (x->cursor.seq > 0 && job_status_is_terminal(m->status) &&
        x->cursor.seq == (uint64_t)m->seq && x->cursor.epoch == (uint64_t)m->epoch) {
        const struct answer a = {.status = 204}; /* it has everything: EventSource stops asking */
        metric_add(x->s->resumed_past_end, 1);
        exchange_answer(x, &a);
        return;
    }
    events_open(x, x->cursor);
}

void events_job(struct exchange *x)
{
    char after[64] = "";
    bool has_after = httpd_query(x->r, "after", after, sizeof after);
    bool is_long = !has_after && exchange_has_query(x, "after");
    enum field_verdict verdict =
        fields_cursor(httpd_header(x->r, "Last-Event-ID"), view_of(after), &x->cursor);
    if (verdict == FIELD_BAD || (is_long && verdict == FIELD_ABSENT)) {
        exchange_refuse(x, PROBLEM_INVALID_CURSOR, "send an id as the stream gave it");
        return;
    }
    if (!events_read_format(x)) return;
    exchange_hold(x);
    fn_meta(x->s->fn, &x->job, view_of(x->s->boot), events_found, x);
}
