/* Replies of LLM providers, dialect by dialect.
 *
 * Hard: a reply can lie in every place: a status of 200 with an error inside, a stream that stops
 * without its end, JSON cut in half, garbage, usage missing. Chosen: a reply counts only when its
 * dialect says it is whole; everything else is a fault with one of five meanings (task.h), and only
 * those meanings decide what is tried again. The provider's own sentence is never kept: it may
 * quote the prompt. */
#include "consumer/llm.h"
#include "common/base/sse_in.h"
#include "consumer/llm_dialect.h"
#include <stdarg.h>

struct llm_reply {
    const struct llm_dialect *dialect;
    bool stream, is_event_stream;
    int status;
    int64_t retry_after_ms;
    struct sse_in sse;
    struct buf body; /* whole replies and refusals */
    struct buf text; /* handed out by the last feed */
    char finish[32]; /* facts that come in an earlier chunk than the end */
    struct task_usage usage;
    bool over;
};

static const struct llm_dialect *dialect_of(enum provider_kind kind)
{
    switch (kind) {
    case PROVIDER_OPENAI:
    case PROVIDER_VLLM:
        return llm_openai_dialect();
    case PROVIDER_AZURE:
    case PROVIDER_ANTHROPIC:
    case PROVIDER_GEMINI:
        break;
    }
    return NULL;
}

bool llm_wire_init(struct llm_wire *w, const struct llm_request *q)
{
    const struct llm_dialect *d = dialect_of(q->provider->kind);

    memset(w, 0, sizeof *w);
    buf_init(&w->url, 2048);
    buf_init(&w->body, 2 << 20);
    buf_init(&w->header_bytes, 4096);
    return d && d->body(w, q) && !w->url.failed && !w->body.failed && !w->header_bytes.failed;
}

void llm_wire_fini(struct llm_wire *w)
{
    buf_fini(&w->url);
    buf_fini(&w->body);
    buf_fini(&w->header_bytes);
}

bool llm_wire_header(struct llm_wire *w, const char *name, struct view value)
{
    const size_t max = sizeof w->headers / sizeof w->headers[0];

    if (w->header_count == max) return false;
    w->headers[w->header_count].name = name;
    w->headers[w->header_count].at = w->header_bytes.len;
    w->headers[w->header_count].len = value.len;
    w->header_count++;
    return buf_put_view(&w->header_bytes, value);
}

struct llm_reply *llm_reply_new(enum provider_kind kind, bool stream)
{
    const struct llm_dialect *d = dialect_of(kind);
    struct llm_reply *r = d ? calloc(1, sizeof *r) : NULL;

    if (!r) return NULL;
    r->dialect = d;
    r->stream = stream;
    r->retry_after_ms = -1;
    r->usage = (struct task_usage){-1, -1};
    sse_in_init(&r->sse, LLM_FRAME_MAX);
    buf_init(&r->body, stream ? LLM_REFUSAL_MAX : LLM_WHOLE_MAX);
    buf_init(&r->text, LLM_WHOLE_MAX);
    return r;
}

void llm_reply_free(struct llm_reply *r)
{
    if (!r) return;
    sse_in_fini(&r->sse);
    buf_fini(&r->body);
    buf_fini(&r->text);
    free(r);
}

/* retry-after-ms wins over retry-after, as in the providers' own clients; a date there is not worth
 * a parser: treated as unknown. */
static void read_header(struct llm_reply *r, const struct http_header *h)
{
    uint64_t n = 0;
    struct view whole = h->value, rest;

    if (view_ieq_str(h->name, "content-type")) {
        r->is_event_stream = view_starts(h->value, "text/event-stream");
        return;
    }
    if (view_cut(h->value, '.', &whole, &rest) && whole.len == 0) whole = VIEW_LIT("0");
    if (!view_u64(whole, &n) || n > 365ULL * 86400 * 1000) return;
    if (view_ieq_str(h->name, "retry-after-ms"))
        r->retry_after_ms = (int64_t)n;
    else if (view_ieq_str(h->name, "retry-after") && r->retry_after_ms < 0)
        r->retry_after_ms = (int64_t)n * 1000;
}

void llm_reply_head(struct llm_reply *r, int status, const struct http_header *headers,
                    size_t count)
{
    r->status = status;
    for (size_t i = 0; i < count; i++) read_header(r, &headers[i]);
}

enum llm_verdict llm_fail(struct llm_out *out, enum task_fault fault, const char *code,
                          const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    out->fault = fault;
    snprintf(out->code, sizeof out->code, "%s", code ? code : "");
    (void)err_set(&out->err, fault == TASK_FAULT_FATAL ? ERR_INVALID : ERR_UNAVAILABLE, "%s", text);
    return LLM_FAILED;
}

static void start_out(struct llm_reply *r, struct llm_out *out)
{
    memset(out, 0, sizeof *out);
    out->usage = r->usage;
    out->finish_reason = view_of(r->finish);
    out->retry_after_ms = r->retry_after_ms;
    buf_reset(&r->text);
}

/* Views of a frame die with it: what must outlive it moves into r. */
static void remember(struct llm_reply *r, struct llm_out *out)
{
    r->usage = out->usage;
    if (out->finish_reason.ptr != r->finish)
        (void)view_copy(out->finish_reason, r->finish, sizeof r->finish);
    out->finish_reason = view_of(r->finish);
}

static enum llm_verdict feed_stream(struct llm_reply *r, struct view bytes, struct llm_out *out)
{
    struct sse_frame frame;

    for (;;) {
        enum sse_verdict v = sse_in_feed(&r->sse, &bytes, &frame);
        enum llm_verdict got;

        if (v == SSE_BAD)
            return llm_fail(out, TASK_FAULT_BROKEN, NULL, "a frame of the stream is over 1 MB");
        if (v == SSE_MORE) break;
        got = r->dialect->frame(frame.event, frame.data, &r->text, out);
        remember(r, out);
        if (r->text.failed)
            return llm_fail(out, TASK_FAULT_BROKEN, NULL, "the text of one read is over its limit");
        if (got != LLM_MORE) return got;
    }
    return LLM_MORE;
}

enum llm_verdict llm_reply_feed(struct llm_reply *r, struct view bytes, struct llm_out *out)
{
    enum llm_verdict v = LLM_MORE;

    start_out(r, out);
    if (r->over) return LLM_MORE;
    if (r->stream && r->status == 200) {
        v = feed_stream(r, bytes, out);
        out->text = buf_view(&r->text);
    } else if (!buf_put_view(&r->body, bytes) && r->status == 200) {
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the reply is over its limit");
    }
    r->over = v != LLM_MORE;
    return v;
}

enum llm_verdict llm_reply_end(struct llm_reply *r, const struct err *e, struct llm_out *out)
{
    enum llm_verdict v;

    start_out(r, out);
    if (r->status == 0)
        v = llm_fail(out, e && e->code == ERR_TIMEOUT ? TASK_FAULT_BROKEN : TASK_FAULT_OUTAGE, NULL,
                     "no reply: %s", e ? e->text : "closed");
    else if (r->status != 200) {
        (void)llm_fail(out, TASK_FAULT_OVERLOAD, NULL, "status %d", r->status);
        r->dialect->refusal(r->status, buf_view(&r->body), out);
        v = LLM_FAILED;
    } else if (e)
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the reply broke off: %s", e->text);
    else if (r->stream)
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the stream ended without its last frame");
    else {
        v = r->dialect->whole(buf_view(&r->body), &r->text, out);
        remember(r, out);
        out->text = buf_view(&r->text);
    }
    r->over = true;
    return v;
}
