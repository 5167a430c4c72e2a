/* GET /v1/jobs/{id}, and every other answer that shows the whole job: the stream folded, or past
 * its retention the view that meta keeps. */
#include "gateway/exchange.h"

static void get_put_headers(struct exchange *x, struct answer *a, char wait[32])
{
    if (x->location[0])
        a->headers[a->header_count++] = (struct httpd_header_out){"Location", x->location};
    if (x->is_replay)
        a->headers[a->header_count++] = (struct httpd_header_out){"Idempotent-Replayed", "true"};
    if (x->wait_s >= 0) {
        snprintf(wait, 32, "wait=%lld", (long long)x->wait_s);
        a->headers[a->header_count++] = (struct httpd_header_out){"Preference-Applied", wait};
    }
    a->headers[a->header_count++] = (struct httpd_header_out){"Cache-Control", "no-store"};
}

void get_answer_body(struct exchange *x, struct view body)
{
    char wait[32];
    struct answer a = {.status = x->status, .body = body};
    get_put_headers(x, &a, wait);
    exchange_answer(x, &a);
}

static void get_folded(void *arg, const struct err *e, const struct fold_result *f)
{
    struct exchange *x = arg;
    x->fold = NULL;
    if ((e || !f->found) && x->accepted) {
        jobs_answer_accepted(x); /* accepted it is, whatever Redis can tell */
    } else if (e) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which answers are read from, is away");
    } else if (!f->found) {
        exchange_unknown(x, f->built);
    } else {
        buf_reset(&x->s->scratch);
        if (!jobview_put(f->view, &x->s->scratch, true)) {
            exchange_refuse(x, PROBLEM_INTERNAL, "the job does not fit an answer");
            return;
        }
        bool is_plain = x->route->id == ROUTE_JOB_GET;
        if (is_plain && jobview_status(f->view) == JOB_QUEUED &&
            queued_guess(x, buf_view(&x->s->scratch)))
            return;
        get_answer_body(x, buf_view(&x->s->scratch));
    }
}

void get_answer(struct exchange *x, int status)
{
    const struct fold_ask ask = {.job = x->job, .tenant = view_of(x->who.tenant)};
    x->status = status;
    x->fold = fold_start(x->s->folds, &ask, get_folded, x);
    if (x->fold) return;
    if (x->accepted)
        jobs_answer_accepted(x);
    else
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "too many jobs are being read");
}

void get_job(struct exchange *x)
{
    get_answer(x, 200);
}
