/* Replies of LLM providers: what all dialects share.
 *
 * Hard: a reply can lie in every place: a status of 200 with an error inside, a stream that stops
 * without its end, JSON cut in half, garbage, usage missing, one whole object where a stream was
 * asked for. Chosen: a reply counts only when its dialect says it is whole; everything else is a
 * fault with one of six meanings (task.h), and only those meanings decide what is tried again. The
 * provider's own sentence is never kept: it may quote the prompt. */
#include "consumer/llm.h"
#include "common/base/sse_in.h"
#include "consumer/llm_dialect.h"

struct llm_reply {
    const struct llm_dialect *dialect;
    bool stream, is_event_stream;
    int status;
    struct llm_limits limits;
    struct sse_in sse;
    struct buf body; /* whole replies and refusals */
    struct buf text; /* handed out by the last feed */
    struct llm_turn turn;
    struct task_usage usage; /* facts that come in an earlier chunk than the end */
    int64_t cached_input_tokens;
    bool is_usage_final;
    bool over;
};

static const struct json_limits reply_limits = {
    .bytes_max = LLM_WHOLE_MAX, .depth_max = 64, .nodes_max = 200000};

static const struct llm_dialect *dialect_of(const struct config_provider *p)
{
    bool is_responses = p->api == PROVIDER_RESPONSES;

    switch (p->kind) {
    case PROVIDER_OPENAI:
        return is_responses ? llm_openai_responses() : llm_openai_chat();
    case PROVIDER_VLLM:
        return is_responses ? llm_openai_responses() : llm_vllm_chat();
    case PROVIDER_AZURE:
        return is_responses ? llm_azure_responses() : llm_azure_chat();
    case PROVIDER_ANTHROPIC:
        return llm_anthropic();
    case PROVIDER_GEMINI:
        return llm_gemini();
    }
    return NULL;
}

/* --- requests --------------------------------------------------------------------------------- */

/* A key goes where base_url says, whatever a model is called. */
static bool is_under(struct view url, const char *base)
{
    size_t len = strlen(base);

    return view_starts(url, base) && url.len > len && url.ptr[len] == '/';
}

/* A buffer fails for want of memory, too, and that passes: it is told apart by how much was asked
 * for. What a dialect adds to the request is less than the request and a page. */
static enum err_code check_room(const struct llm_wire *w, const struct llm_request *q,
                                struct err *err)
{
    if (!w->url.failed && !w->body.failed && !w->header_bytes.failed) return ERR_OK;
    if (2 * q->request.len + 4096 < w->body.max && 4 * q->model.len + 1200 < w->url.max &&
        2 * q->identity.len + 200 < w->header_bytes.max)
        return err_set(err, ERR_NOMEM, "no memory for a request");
    return err_set(err, ERR_TOO_LARGE, "the request does not fit provider %s", q->provider->name);
}

enum err_code llm_wire_init(struct llm_wire *w, const struct llm_request *q, struct err *err)
{
    const struct llm_dialect *d = dialect_of(q->provider);
    enum err_code code, room = ERR_OK;

    memset(w, 0, sizeof *w);
    buf_init(&w->url, 2048);
    buf_init(&w->body, 4 << 20);
    buf_init(&w->header_bytes, 4096);
    if (!d || !q->provider->base_url || json_raw_kind(q->request) != JSON_RAW_OBJECT)
        return err_set(err, ERR_INVALID, "the request is not an object");
    code = d->body(w, q, err);
    if (code == ERR_OK || code == ERR_TOO_LARGE) room = check_room(w, q, err);
    if (room != ERR_OK || code != ERR_OK) return room != ERR_OK ? room : code;
    if (!is_under(buf_view(&w->url), q->provider->base_url))
        return err_set(err, ERR_INTERNAL, "the address left provider %s", q->provider->name);
    return ERR_OK;
}

void llm_wire_fini(struct llm_wire *w)
{
    buf_fini(&w->url);
    buf_fini(&w->body);
    buf_fini(&w->header_bytes);
}

/* --- replies ---------------------------------------------------------------------------------- */

struct llm_reply *llm_reply_new(const struct config_provider *p, bool stream)
{
    const struct llm_dialect *d = dialect_of(p);
    struct llm_reply *r = d ? calloc(1, sizeof *r) : NULL;

    if (!r) return NULL;
    r->dialect = d;
    r->stream = stream;
    r->usage = (struct task_usage){-1, -1};
    r->cached_input_tokens = -1;
    llm_limits_init(&r->limits);
    sse_in_init(&r->sse, LLM_FRAME_MAX);
    buf_init(&r->body, stream ? LLM_REFUSAL_MAX : LLM_WHOLE_MAX);
    buf_init(&r->text, LLM_WHOLE_MAX);
    r->turn.text = &r->text;
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

const struct llm_limits *llm_reply_limits(const struct llm_reply *r)
{
    return &r->limits;
}

/* The reply's own time, where it tells one that is not ours within the second it is rounded to:
 * resets that are times of day are then right although the clocks are not. */
static int64_t reply_time(const struct http_header *headers, size_t count, int64_t wall_ms)
{
    for (size_t i = 0; i < count; i++) {
        int64_t date;

        if (!view_ieq_str(headers[i].name, "date") || !llm_limits_date(headers[i].value, &date))
            continue;
        return wall_ms >= date - 2000 && wall_ms <= date + 2000 ? wall_ms : date;
    }
    return wall_ms;
}

void llm_reply_head(struct llm_reply *r, int status, const struct http_header *headers,
                    size_t count, int64_t wall_ms)
{
    r->status = status;
    r->is_event_stream = r->stream;
    r->turn.wall_ms = reply_time(headers, count, wall_ms);
    for (size_t i = 0; i < count; i++) {
        if (view_ieq_str(headers[i].name, "content-type"))
            r->is_event_stream = r->stream && !view_starts(headers[i].value, "application/json");
        llm_limits_header(&r->limits, headers[i].name, headers[i].value, r->turn.wall_ms);
    }
    if (status == 200 && !r->is_event_stream) r->body.max = LLM_WHOLE_MAX;
}

static void start_out(struct llm_reply *r, struct llm_out *out)
{
    memset(out, 0, sizeof *out);
    r->turn.out = out;
    out->usage = r->usage;
    out->cached_input_tokens = r->cached_input_tokens;
    out->is_usage_final = r->is_usage_final;
    out->retry_after_ms = r->limits.retry_after_ms;
    buf_reset(&r->text);
}

/* What must outlive the frame moves into r. Called on every way out, failed ones too. */
static void remember(struct llm_reply *r, struct llm_out *out)
{
    r->usage = out->usage;
    r->cached_input_tokens = out->cached_input_tokens;
    r->is_usage_final = out->is_usage_final;
    out->finish_reason = view_of(r->turn.finish);
    out->text = buf_view(&r->text);
}

/* A whole reply may still be one that must not count. */
static enum llm_verdict conclude(struct llm_reply *r, struct llm_out *out)
{
    const char *finish = r->turn.finish;

    if (out->usage.input_tokens >= 0 && out->usage.output_tokens >= 0) out->is_usage_final = true;
    if (r->turn.is_refused) snprintf(r->turn.finish, sizeof r->turn.finish, "refusal");
    if (strcmp(finish, "content_filter") == 0 || strcmp(finish, "refusal") == 0)
        return llm_fail(out, TASK_FAULT_FATAL, finish, "the provider withheld its answer (%s)",
                        finish);
    if (strcmp(finish, "abort") == 0 || strcmp(finish, "error") == 0)
        return llm_fail(out, TASK_FAULT_BROKEN, finish, "the provider gave up on its answer");
    return LLM_DONE;
}

static enum llm_verdict feed_frame(struct llm_reply *r, const struct sse_frame *f,
                                   struct llm_out *out)
{
    struct view data = view_trim(f->data);
    enum llm_verdict v;
    struct err e;

    if (view_eq_str(data, "[DONE]"))
        return r->dialect->ends_by_done || r->turn.is_finished ? conclude(r, out) : LLM_MORE;
    if (json_check(data, &reply_limits, &e) != ERR_OK || json_raw_kind(data) != JSON_RAW_OBJECT)
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_chunk",
                        "a chunk of the stream is not a JSON object");
    v = r->dialect->frame(&r->turn, f->event, data);
    if (r->text.failed)
        return llm_fail(out, TASK_FAULT_BROKEN, NULL, "the text of one read is over its limit");
    return v == LLM_DONE ? conclude(r, out) : v;
}

static enum llm_verdict feed_stream(struct llm_reply *r, struct view bytes, struct llm_out *out)
{
    struct sse_frame frame;
    enum llm_verdict v = LLM_MORE;

    while (v == LLM_MORE) {
        enum sse_verdict got = sse_in_feed(&r->sse, &bytes, &frame);

        if (got == SSE_MORE) break;
        if (got == SSE_BAD)
            return llm_fail(out, TASK_FAULT_BROKEN, NULL, "a frame of the stream is over 1 MB");
        v = feed_frame(r, &frame, out);
    }
    return v;
}

enum llm_verdict llm_reply_feed(struct llm_reply *r, struct view bytes, struct llm_out *out)
{
    enum llm_verdict v = LLM_MORE;

    start_out(r, out);
    if (r->over) return LLM_MORE;
    if (r->is_event_stream && r->status == 200)
        v = feed_stream(r, bytes, out);
    else if (!buf_put_view(&r->body, bytes) && r->status == 200)
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the reply is over its limit");
    remember(r, out);
    r->over = v != LLM_MORE;
    return v;
}

static enum llm_verdict end_whole(struct llm_reply *r, struct llm_out *out)
{
    struct view body = view_trim(buf_view(&r->body));
    enum json_kind kind;
    enum llm_verdict v;
    struct err e;

    if (json_check(body, &reply_limits, &e) != ERR_OK)
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_reply", "the reply is not JSON");
    kind = json_raw_kind(body);
    if (kind != JSON_RAW_OBJECT && kind != JSON_RAW_ARRAY)
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_reply", "the reply is not a JSON object");
    v = r->dialect->whole(&r->turn, body);
    return v == LLM_DONE ? conclude(r, out) : v;
}

static enum llm_verdict end_refused(struct llm_reply *r, struct llm_out *out)
{
    struct view body = view_trim(buf_view(&r->body));
    struct err e;

    if (json_check(body, &reply_limits, &e) != ERR_OK) body = VIEW_NONE;
    (void)llm_fail(out, llm_fault_of_status(r->status), NULL, "status %d", r->status);
    r->dialect->refusal(&r->turn, r->status, body);
    /* Money comes back when somebody pays: no header knows when. */
    if (out->fault == TASK_FAULT_EXHAUSTED && !out->is_daily) out->retry_after_ms = -1;
    return LLM_FAILED;
}

enum llm_verdict llm_reply_end(struct llm_reply *r, const struct err *e, struct llm_out *out)
{
    enum llm_verdict v;

    start_out(r, out);
    if (r->status == 0)
        v = llm_fail(out, e && e->code == ERR_TIMEOUT ? TASK_FAULT_BROKEN : TASK_FAULT_OUTAGE, NULL,
                     "no reply: %s", e ? e->text : "closed");
    else if (r->status != 200)
        v = end_refused(r, out);
    else if (r->is_event_stream && r->dialect->ends_by_close && r->turn.is_finished && !e)
        v = conclude(r, out);
    else if (e)
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the reply broke off: %s", e->text);
    else if (r->is_event_stream)
        v = llm_fail(out, TASK_FAULT_BROKEN, NULL, "the stream ended without its last frame");
    else
        v = end_whole(r, out);
    remember(r, out);
    r->over = true;
    return v;
}
