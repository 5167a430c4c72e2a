/* The life of a request between its arrival and its one answer.
 *
 * What is hard: the client may leave at any moment, while up to four other parts still mean to call
 * back. Those that can be told to forget the exchange are told; Redis' answers cannot be, so an
 * exchange counts them (hold, held) and its memory stays until the last has come. After an answer
 * was given httpd is told to forget us and the exchange is gone: nothing here outlives its answer
 * except a stream. */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include <assert.h>

enum { EXCHANGE_SLOW_MS = 2000, EXCHANGE_SURE_MS = SUBMIT_ADMIT_MS };

/* --- end --- */

static void exchange_drop_waits(struct exchange *x)
{
    if (x->submission) submission_forget(x->submission);
    if (x->fold) fold_forget(x->fold);
    if (x->watcher) watcher_close(x->watcher);
    timerq_cancel(x->s->timers, &x->timer);
    x->submission = NULL;
    x->fold = NULL;
    x->watcher = NULL;
}

/* The request is over, one way or the other. */
static void exchange_end(struct exchange *x)
{
    exchange_drop_waits(x);
    x->r = NULL;
    if (x->held > 0) return;
    list_remove(&x->s->exchanges, &x->link);
    free(x->origin);
    free(x->accepted);
    if (x->own_free) x->own_free(x->own);
    free(x);
}

void exchanges_drop(struct service *s)
{
    struct list_link *k;
    while ((k = list_first(&s->exchanges)) != NULL) {
        struct exchange *x = LIST_ITEM(k, struct exchange, link);
        x->held = 0;
        exchange_end(x);
    }
}

static void exchange_gone(void *arg, bool completed)
{
    (void)completed;
    exchange_end(arg);
}

void exchange_hold(struct exchange *x)
{
    x->held++;
}

bool exchange_held(struct exchange *x)
{
    assert(x->held > 0);
    x->held--;
    if (x->r) return true;
    exchange_end(x);
    return false;
}

bool exchange_flag(const struct exchange *x, const char *name)
{
    char text[8];
    return httpd_query(x->r, name, text, sizeof text) &&
           (strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

bool exchange_has_query(const struct exchange *x, const char *name)
{
    struct view key, value;
    size_t cursor = 0;
    while (httpd_query_each(x->r, &cursor, &key, &value))
        if (view_eq_str(key, name)) return true;
    return false;
}

bool exchange_may_see(const struct exchange *x, const struct fn_meta *m)
{
    return m->found && !m->reserved && view_eq_str(m->tenant, x->who.tenant);
}

/* --- telling --- */

static struct route_stats *exchange_stats(const struct exchange *x)
{
    return &x->s->stats[x->route ? x->route->id : ROUTE_COUNT];
}

static const char *exchange_route_name(const struct exchange *x)
{
    return x->route ? x->route->pattern : "none";
}

static struct metric_series *exchange_code_series(const struct exchange *x, int code)
{
    struct route_stats *st = exchange_stats(x);
    size_t i = 0;
    while (i < EXCHANGE_CODES && st->codes[i].code && st->codes[i].code != code) i++;
    if (i == EXCHANGE_CODES) i--;
    if (!st->codes[i].series) {
        char text[12];
        snprintf(text, sizeof text, "%d", code);
        const char *const values[] = {exchange_route_name(x), x->route ? x->route->method : "other",
                                      text};
        st->codes[i].code = code;
        st->codes[i].series = metric_series(x->s->requests, values);
    }
    return st->codes[i].series;
}

/* Counts the answer; a line is written for errors of ours and for slow answers alone. */
static void exchange_tell(const struct exchange *x, int status)
{
    struct service *s = x->s;
    int64_t ms = s->clock->mono_ms - x->start_ms;
    struct route_stats *st = exchange_stats(x);
    if (!st->seconds) {
        const char *const values[] = {exchange_route_name(x)};
        st->seconds = metric_series(s->seconds, values);
    }
    metric_add(exchange_code_series(x, status), 1);
    metric_observe(st->seconds, (double)ms / 1000);
    bool is_slow = ms >= EXCHANGE_SLOW_MS && x->wait_s < 0;
    if (status < 500 && !is_slow) return;
    log_event(s->log, status >= 500 && status != 503 ? LOG_ERROR : LOG_WARN,
              x->job.text[0] ? view_of(x->job.text) : VIEW_NONE,
              is_slow ? "slow_request" : "request_failed", LOG_S("tenant", x->who.tenant),
              LOG_S("route", exchange_route_name(x)), LOG_N("status", status), LOG_N("ms", ms),
              LOG_S("request_id", x->request_id));
}

/* --- answers --- */

static void exchange_put(struct httpd_answer *a, const char *name, const char *value)
{
    assert(a->header_count < sizeof a->headers / sizeof *a->headers);
    a->headers[a->header_count++] = (struct httpd_header_out){name, value};
}

static void exchange_put_common(const struct exchange *x, struct httpd_answer *a)
{
    exchange_put(a, "X-Request-Id", x->request_id);
    if (!x->origin) return;
    exchange_put(a, "Access-Control-Allow-Origin", x->origin);
    exchange_put(a, "Access-Control-Expose-Headers", CORS_EXPOSE);
    exchange_put(a, "Vary", "Origin");
}

void exchange_answer(struct exchange *x, const struct answer *a)
{
    struct httpd_answer out;
    struct httpd_request *r = x->r;
    assert(r);
    out.status = a->status;
    out.content_type = a->content_type ? a->content_type : "application/json";
    if (a->status == 204) out.content_type = NULL;
    out.header_count = 0;
    out.body = a->body;
    out.close = x->s->is_stopping;
    exchange_put_common(x, &out);
    for (size_t i = 0; i < a->header_count; i++)
        exchange_put(&out, a->headers[i].name, a->headers[i].value);
    exchange_tell(x, a->status);
    httpd_on_gone(r, NULL, NULL);
    httpd_reply(r, &out);
    exchange_end(x);
}

void exchange_problem(struct exchange *x, const struct problem_body *b, int64_t retry_after_s)
{
    char seconds[24], path[256];
    struct problem_body body = *b;
    struct buf *out = &x->s->scratch;
    struct answer a = {.status = problem_status(b->kind),
                       .content_type = "application/problem+json"};
    if (view_copy(httpd_path(x->r), path, sizeof path)) body.instance = path;
    if (retry_after_s > 0) {
        snprintf(seconds, sizeof seconds, "%lld", (long long)retry_after_s);
        a.headers[a.header_count++] = (struct httpd_header_out){"Retry-After", seconds};
    }
    if (b->kind == PROBLEM_UNAUTHORIZED)
        a.headers[a.header_count++] = (struct httpd_header_out){"WWW-Authenticate", "Bearer"};
    buf_reset(out);
    if (problem_put(out, &body)) a.body = buf_view(out);
    exchange_answer(x, &a);
}

void exchange_refuse(struct exchange *x, enum problem problem, const char *detail)
{
    const struct problem_body b = {.kind = problem, .detail = detail};
    int status = problem_status(problem);
    exchange_problem(x, &b, status == 503 || status == 429 ? 1 : 0);
}

static void exchange_not_yet(struct exchange *x)
{
    exchange_refuse(x, PROBLEM_UNAVAILABLE, "the view of this job's home is not whole yet");
}

void exchange_impossible(struct exchange *x)
{
    exchange_refuse(x, PROBLEM_NOT_FOUND, NULL);
}

static void exchange_on_told(void *arg, const struct err *e, struct view verdict)
{
    struct exchange *x = arg;
    struct service *s = x->s;
    uint32_t home = id_partition(&x->job);
    int64_t age_ms = -1;
    bool is_said = !e && view_i64(verdict, &age_ms) && age_ms >= 0;
    if (is_said && x->start_ms - age_ms > s->doubt_ms) s->is_told[home] = true;
    if (!exchange_held(x)) return;
    if (s->is_told[home])
        exchange_refuse(x, PROBLEM_NOT_FOUND, NULL);
    else
        exchange_not_yet(x);
}

void exchange_unknown(struct exchange *x, bool built)
{
    /* Accepted jobs may not stand in the view yet when Redis was away or slow: their ids are never
     * called unknown. */
    struct service *s = x->s;
    bool is_late = s->clock->mono_ms - x->start_ms >= EXCHANGE_SURE_MS;
    uint32_t home = id_partition(&x->job);
    if (!built || is_late) {
        exchange_not_yet(x);
    } else if (s->is_told[home]) {
        exchange_refuse(x, PROBLEM_NOT_FOUND, NULL);
    } else {
        exchange_hold(x);
        fn_told(s->fn, home, exchange_on_told, x);
    }
}

/* --- streams --- */

static ssize_t exchange_pull(void *arg, char *dst, size_t size)
{
    const struct exchange *x = arg;
    ssize_t n = watcher_pull(x->watcher, dst, size);
    return n == WATCH_OVER ? HTTPD_STREAM_END : n;
}

void exchange_stream(struct exchange *x)
{
    struct httpd_answer head = {.status = 200};
    bool is_sse = x->format == WATCH_SSE;
    head.content_type = is_sse ? "text/event-stream" : "application/x-ndjson";
    exchange_put_common(x, &head);
    exchange_put(&head, "Cache-Control", "no-cache, no-transform");
    exchange_put(&head, "X-Accel-Buffering", "no");
    if (x->location[0]) exchange_put(&head, "Location", x->location);
    exchange_tell(x, 200);
    httpd_stream(x->r, &head, exchange_pull, x);
}

/* --- arrival --- */

struct exchange *exchange_new(struct service *s, struct httpd_request *r)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->s = s;
    x->r = r;
    x->start_ms = s->clock->mono_ms;
    x->wait_s = -1;
    fields_request_id(httpd_header(r, "X-Request-Id"), s->rng, x->request_id);
    struct view origin = httpd_header(r, "Origin");
    if (origin.ptr && s->config->gateway.cors_origin_count > 0) {
        struct cors_grant grant;
        cors_decide(s->config->gateway.cors_origins, s->config->gateway.cors_origin_count, origin,
                    &grant);
        if (grant.origin[0]) x->origin = view_dup(view_of(grant.origin));
    }
    list_push(&s->exchanges, &x->link);
    httpd_on_gone(r, exchange_gone, x);
    return x;
}
