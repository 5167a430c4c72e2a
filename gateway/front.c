/* The front door: every request passes here, in this order: route, key or token, scope, id, and
 * only then its endpoint. Preflights are answered before any key is asked for, as browsers send
 * none. */
#include "gateway/exchange.h"

#include <assert.h>

typedef void front_handler_fn(struct exchange *x);

static front_handler_fn *const front_handlers[ROUTE_COUNT] = {
    [ROUTE_ROOT] = page_root,          [ROUTE_OPENAPI] = page_openapi,
    [ROUTE_JOBS_SUBMIT] = jobs_submit, [ROUTE_JOBS_LIST] = list_jobs,
    [ROUTE_JOB_GET] = get_job,         [ROUTE_JOB_EVENTS] = events_job,
    [ROUTE_JOB_CANCEL] = cancel_job,   [ROUTE_JOB_RETRY] = retry_job,
    [ROUTE_JOB_TOKEN] = grant_token,   [ROUTE_WORKFLOWS_LIST] = page_workflows,
    [ROUTE_USAGE] = usage_get,         [ROUTE_LIMITS] = limits_get,
};

static void front_preflight(struct exchange *x, const char *allow)
{
    struct answer a = {.status = 204};
    a.headers[a.header_count++] = (struct httpd_header_out){"Allow", allow};
    if (x->origin) {
        a.headers[a.header_count++] =
            (struct httpd_header_out){"Access-Control-Allow-Methods", CORS_METHODS};
        a.headers[a.header_count++] =
            (struct httpd_header_out){"Access-Control-Allow-Headers", CORS_HEADERS};
        a.headers[a.header_count++] =
            (struct httpd_header_out){"Access-Control-Max-Age", CORS_MAX_AGE};
    }
    exchange_answer(x, &a);
}

static void front_no_method(struct exchange *x, const char *allow)
{
    struct answer a = {.status = 405, .content_type = "application/problem+json"};
    const struct problem_body b = {.kind = PROBLEM_METHOD_NOT_ALLOWED};
    a.headers[a.header_count++] = (struct httpd_header_out){"Allow", allow};
    buf_reset(&x->s->scratch);
    if (problem_put(&x->s->scratch, &b)) a.body = buf_view(&x->s->scratch);
    exchange_answer(x, &a);
}

/* A job token in the query: as good as a key for reading this one job. True: decided (maybe
 * answered). */
static bool front_token(struct exchange *x, struct view param, bool *ret_is_let_in)
{
    char text[TOKEN_TEXT_MAX + 1];
    struct token_claim claim;
    *ret_is_let_in = false;
    if (!x->route->takes_token || httpd_header(x->r, "Authorization").ptr) return false;
    if (!httpd_query(x->r, "token", text, sizeof text)) return false;
    enum token_verdict verdict =
        token_check(&x->s->token_key, view_of(text), x->s->clock->wall_ms, &claim);
    bool is_ours = verdict == TOKEN_GOOD && view_eq_str(param, claim.job.text) &&
                   auth_tenant(x->s->auth, view_of(claim.tenant), &x->who);
    if (is_ours)
        *ret_is_let_in = true;
    else
        exchange_refuse(x, PROBLEM_UNAUTHORIZED,
                        verdict == TOKEN_EXPIRED ? "the token has expired"
                                                 : "the token is not one for this job");
    return true;
}

static bool front_key(struct exchange *x)
{
    struct view key;
    bool has_key =
        auth_key_of(httpd_header(x->r, "Authorization"), httpd_header(x->r, "X-Api-Key"), &key);
    if (!has_key || !auth_check(x->s->auth, key, &x->who)) {
        exchange_refuse(
            x, PROBLEM_UNAUTHORIZED,
            has_key ? NULL : "send the key as `Authorization: Bearer KEY` or `x-api-key: KEY`");
        return false;
    }
    if (x->who.scopes & x->route->scope) return true;
    exchange_refuse(x, PROBLEM_FORBIDDEN, NULL);
    return false;
}

static bool front_is_let_in(struct exchange *x, struct view param)
{
    bool is_let_in;
    if (x->route->scope == 0) return true;
    return front_token(x, param, &is_let_in) ? is_let_in : front_key(x);
}

static bool front_is_job_route(enum route_id id)
{
    return id >= ROUTE_JOB_GET && id <= ROUTE_JOB_TOKEN;
}

static void front_dispatch(struct exchange *x, const struct route_match *m)
{
    if (!front_is_let_in(x, m->param)) return;
    if (m->route->id == ROUTE_WORKFLOW_GET) {
        page_workflow(x, m->param);
        return;
    }
    if (front_is_job_route(m->route->id)) {
        struct job_id id;
        if (!id_parse(m->param, &id) || id_partition(&id) >= x->s->space.partitions) {
            exchange_impossible(x);
            return;
        }
        x->job = id;
    }
    assert(front_handlers[m->route->id]);
    front_handlers[m->route->id](x);
}

void exchange_on_request(void *service, struct httpd_request *r)
{
    struct service *s = service;
    struct route_match m = {.route = NULL};
    struct exchange *x = exchange_new(s, r);
    if (!x) {
        httpd_abort(r);
        return;
    }
    enum route_verdict verdict = route_find(httpd_method(r), httpd_path(r), &m);
    x->route = m.route;
    if (verdict == ROUTE_NO_PATH)
        exchange_refuse(x, PROBLEM_NOT_FOUND, NULL);
    else if (view_eq_str(httpd_method(r), "OPTIONS"))
        front_preflight(x, m.allow);
    else if (verdict == ROUTE_NO_METHOD)
        front_no_method(x, m.allow);
    else if (s->is_stopping)
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "this gateway is being stopped");
    else
        front_dispatch(x, &m);
}

void exchange_on_refuse(void *service, int status, const char *reason, struct buf *body,
                        const char **content_type)
{
    struct service *s = service;
    struct problem_body b = {.kind = PROBLEM_INVALID_REQUEST, .detail = reason};
    (void)s;
    if (status == 408) b.kind = PROBLEM_REQUEST_TIMEOUT;
    if (status == 413) b.kind = PROBLEM_TOO_LARGE;
    if (status == 431) b.kind = PROBLEM_HEAD_TOO_LARGE;
    if (status >= 500) b.kind = PROBLEM_UNAVAILABLE;
    *content_type = "application/problem+json";
    (void)problem_put(body, &b);
}
