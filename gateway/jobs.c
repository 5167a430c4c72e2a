/* POST /v1/jobs: the HTTP side of a submission. Three ways to be answered, all of them after
 * Kafka's acknowledgement and all fed by the job's stream: at once (202), with the end (Prefer:
 * wait, 200 or at the limit 202), or with the events themselves (?stream=true). */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include <assert.h>

#define JOBS_PATH "/v1/jobs/"

/* --- the 202 --- */

static void jobs_put_link(struct buf *out, const char *before, const struct job_id *id,
                          const char *after)
{
    buf_put_str(out, before);
    buf_put(out, id->text, JOB_ID_LEN);
    buf_put_str(out, after);
}

static struct view jobs_put_accepted(struct buf *out, const struct job_head *head,
                                     enum job_status status)
{
    char when[CLOCK_TEXT];
    clock_format(head->created_ms, when);
    buf_reset(out);
    jobs_put_link(out, "{\"id\":\"", &head->id, "\",\"status\":\"");
    buf_put_str(out, job_status_name(status));
    buf_put_str(out, "\",\"workflow\":\"");
    buf_put_str(out, head->workflow); /* a name needs no escapes */
    buf_put_str(out, "\",\"created_at\":\"");
    buf_put_str(out, when);
    jobs_put_link(out, "\",\"links\":{\"self\":\"/v1/jobs/", &head->id, "\"");
    jobs_put_link(out, ",\"events\":\"/v1/jobs/", &head->id, "/events\"");
    jobs_put_link(out, ",\"cancel\":\"/v1/jobs/", &head->id, "/cancel\"}}");
    return buf_view(out);
}

static void jobs_answer_202(struct exchange *x, struct view body)
{
    char wait[32];
    struct answer a = {.status = 202, .body = body};
    a.headers[a.header_count++] = (struct httpd_header_out){"Location", x->location};
    if (x->is_replay)
        a.headers[a.header_count++] = (struct httpd_header_out){"Idempotent-Replayed", "true"};
    if (x->wait_s >= 0) {
        snprintf(wait, sizeof wait, "wait=%lld", (long long)x->wait_s);
        a.headers[a.header_count++] = (struct httpd_header_out){"Preference-Applied", wait};
    }
    exchange_answer(x, &a);
}

void jobs_answer_accepted(struct exchange *x)
{
    jobs_answer_202(x, view_of(x->accepted));
}

/* --- Prefer: wait --- */

static void jobs_stop_waiting(struct exchange *x)
{
    timerq_cancel(x->s->timers, &x->timer);
    watcher_close(x->watcher);
    x->watcher = NULL;
}

static void jobs_wait_cut(void *arg)
{
    jobs_stop_waiting(arg);
    jobs_answer_accepted(arg);
}

static void jobs_wait_ended(void *arg, enum event_type end)
{
    (void)end;
    jobs_stop_waiting(arg);
    get_answer(arg, 200);
}

static void jobs_wait_nothing(void *arg)
{
    (void)arg;
}

static void jobs_wait(struct exchange *x)
{
    static const struct watch_sink sink = {
        .wake = jobs_wait_nothing, .cut = jobs_wait_cut, .ended = jobs_wait_ended};
    const struct watch_ask ask = {.job = x->job, .format = WATCH_END, .sink = &sink, .arg = x};
    bool is_set = timerq_set(x->s->timers, &x->timer, x->s->clock->mono_ms + x->wait_s * 1000,
                             jobs_wait_cut, x);
    x->watcher = is_set ? tails_watch(x->s->tails, &ask) : NULL;
    if (x->watcher) return;
    timerq_cancel(x->s->timers, &x->timer);
    jobs_answer_accepted(x);
}

/* --- answers of submit --- */

static void jobs_refused(struct exchange *x, const struct submit_answer *a)
{
    const struct problem_body b = {.kind = a->problem,
                                   .detail = a->detail,
                                   .pointer = a->pointer,
                                   .job_id = a->head ? a->head->id.text : NULL};
    exchange_problem(x, &b, a->retry_after_s);
}

void jobs_answered(void *exchange, const struct submit_answer *a)
{
    struct exchange *x = exchange;
    x->submission = NULL;
    if (!a->is_accepted) {
        jobs_refused(x, a);
        return;
    }
    struct view body = jobs_put_accepted(&x->s->scratch, a->head, a->status);
    x->job = a->head->id;
    x->is_replay = a->is_replay;
    memcpy(x->location, JOBS_PATH, sizeof JOBS_PATH - 1);
    memcpy(x->location + sizeof JOBS_PATH - 1, x->job.text, sizeof x->job.text);
    bool is_all = x->route->id != ROUTE_JOB_RETRY && !x->wants_stream && x->wait_s < 0;
    if (is_all) {
        jobs_answer_202(x, body);
        return;
    }
    x->accepted = view_dup(body); /* NULL for want of memory: then it cannot be told so any more */
    if (x->route->id == ROUTE_JOB_RETRY)
        retry_accepted(x);
    else if (x->wants_stream)
        events_open(x, (struct event_id){0});
    else
        jobs_wait(x);
}

/* --- the request --- */

void jobs_submit(struct exchange *x)
{
    char key[IDEMPOTENCY_KEY_MAX + 1], trace[TRACEPARENT_LEN + 1];
    struct service *s = x->s;
    enum field_verdict keyed = fields_idempotency_key(httpd_header(x->r, "Idempotency-Key"), key);
    if (keyed == FIELD_BAD) {
        const struct problem_body b = {
            .kind = PROBLEM_INVALID_REQUEST,
            .param = "Idempotency-Key",
            .detail = "Idempotency-Key must be 1 to 255 visible characters, quoted or bare"};
        exchange_problem(x, &b, 0);
        return;
    }
    if (!s->is_kafka_ready) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Kafka is away");
        return;
    }
    x->wants_stream = exchange_flag(x, "stream");
    if (!fields_prefer_wait(httpd_header(x->r, "Prefer"), &x->wait_s)) x->wait_s = -1;
    if (x->wants_stream && !events_read_format(x)) return;
    struct submit_request r = {.tenant = view_of(x->who.tenant),
                               .max_queued = x->who.max_queued,
                               .body = httpd_body(x->r),
                               .idempotency = VIEW_NONE,
                               .traceparent = VIEW_NONE};
    if (keyed == FIELD_GOOD) r.idempotency = view_of(key);
    if (fields_traceparent(httpd_header(x->r, "traceparent"), trace))
        r.traceparent = view_of(trace);
    exchange_hold(x); /* it may be answered from inside */
    struct submission *n = submit_start(s->submit, &r, jobs_answered, x);
    if (exchange_held(x)) x->submission = n;
}
