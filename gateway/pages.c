/* Answers that need no server behind them: the front page, the API's description, the workflows
 * this gateway knows. */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include "schemas/embed.h"

static const char pages_root[] =
    "Sluice: a message-queue worker fleet for LLM workflows.\n"
    "\n"
    "  POST /v1/jobs              submit a job: {\"workflow\": \"...\", \"input\": {...}}\n"
    "  GET  /v1/jobs/{id}         the job as it is now\n"
    "  GET  /v1/jobs/{id}/events  its events, live and from the start (SSE; ?format=ndjson)\n"
    "  GET  /v1/jobs              your jobs, newest first\n"
    "  GET  /v1/limits            what providers allow, what is used of it, what waits\n"
    "  GET  /v1/usage             tokens, calls and cost (?by=tenant|workflow|model|day)\n"
    "  GET  /openapi.json         the whole API\n"
    "\n"
    "Calls need a key: Authorization: Bearer KEY\n";

void page_root(struct exchange *x)
{
    struct answer a = {
        .status = 200, .content_type = "text/plain; charset=utf-8", .body = view_of(pages_root)};
    a.headers[a.header_count++] = (struct httpd_header_out){"X-Content-Type-Options", "nosniff"};
    exchange_answer(x, &a);
}

void page_openapi(struct exchange *x)
{
    const struct embed_file *f = embed_find("schemas/openapi.json");
    if (!f) {
        exchange_refuse(x, PROBLEM_NOT_FOUND, "this build carries no description of the API");
        return;
    }
    struct answer a = {.status = 200, .body = view_make(f->data, f->len)};
    a.headers[a.header_count++] = (struct httpd_header_out){"Cache-Control", "max-age=300"};
    exchange_answer(x, &a);
}

static void pages_put_workflow(struct jw *w, const struct workflow *f)
{
    jw_object(w);
    jw_kcstr(w, "name", f->name);
    jw_kint(w, "version", f->version);
    jw_key(w, "steps");
    jw_array(w);
    for (size_t i = 0; i < f->step_count; i++) jw_cstr(w, f->steps[i].id);
    jw_end_array(w);
    jw_end_object(w);
}

static void pages_answer(struct exchange *x)
{
    const struct answer a = {.status = 200, .body = buf_view(&x->s->scratch)};
    if (x->s->scratch.failed)
        exchange_refuse(x, PROBLEM_INTERNAL, "the list does not fit an answer");
    else
        exchange_answer(x, &a);
}

void page_workflows(struct exchange *x)
{
    struct jw w;
    const struct workflow *f;
    size_t cursor = 0;
    buf_reset(&x->s->scratch);
    jw_init(&w, &x->s->scratch);
    jw_object(&w);
    jw_key(&w, "data");
    jw_array(&w);
    while ((f = workflows_each(x->s->workflows, &cursor)) != NULL) pages_put_workflow(&w, f);
    jw_end_array(&w);
    jw_end_object(&w);
    pages_answer(x);
}

void page_workflow(struct exchange *x, struct view name)
{
    struct jw w;
    const struct workflow *f = workflows_find(x->s->workflows, name, 0);
    if (!f) {
        exchange_refuse(x, PROBLEM_NOT_FOUND, NULL);
        return;
    }
    buf_reset(&x->s->scratch);
    jw_init(&w, &x->s->scratch);
    pages_put_workflow(&w, f);
    pages_answer(x);
}
