/* OpenAI Chat Completions, streamed and whole; vLLM and other compatible servers speak it too
 * (reference: OpenAI's openapi.yaml, CreateChatCompletionStreamResponse). Streams are asked for
 * with include_usage, whose numbers come in an extra last chunk. */
#include "common/base/json.h"
#include "consumer/llm_dialect.h"

static const struct json_limits chunk_limits = {
    .bytes_max = LLM_WHOLE_MAX, .depth_max = 32, .nodes_max = 100000};

/* The workflow's request, member by member. OpenAI's own models refuse the older name of the output
 * limit; compatible servers know only that. */
static void put_members(struct jw *j, const struct llm_request *q)
{
    struct view key, value;

    for (size_t cursor = 0; json_raw_each(q->request, &cursor, &key, &value);) {
        if (q->provider->kind == PROVIDER_OPENAI && view_eq_str(key, "max_tokens"))
            key = VIEW_LIT("max_completion_tokens");
        jw_key_view(j, key);
        jw_raw(j, value);
    }
}

static bool openai_body(struct llm_wire *w, const struct llm_request *q)
{
    struct jw j;

    if (json_raw_kind(q->request) != JSON_RAW_OBJECT) return false;
    buf_printf(&w->url, "%s/chat/completions", q->provider->base_url);
    jw_init(&j, &w->body);
    jw_object(&j);
    jw_kstr(&j, "model", q->model);
    if (q->stream) {
        jw_kbool(&j, "stream", true);
        jw_kraw(&j, "stream_options", VIEW_LIT("{\"include_usage\":true}"));
    }
    put_members(&j, q);
    jw_end_object(&j);
    w->key_header = "Authorization";
    w->key_prefix = "Bearer ";
    return llm_wire_header(w, "Content-Type", VIEW_LIT("application/json")) &&
           llm_wire_header(w, "Accept",
                           q->stream ? VIEW_LIT("text/event-stream")
                                     : VIEW_LIT("application/json")) &&
           llm_wire_header(w, "X-Client-Request-Id", q->identity) &&
           llm_wire_header(w, "Idempotency-Key", q->identity);
}

static int64_t raw_int(struct view object, const char *key)
{
    struct view v;
    int64_t n = -1;

    if (!json_raw_member(object, view_of(key), &v) || !view_i64(v, &n) || n < 0) return -1;
    return n;
}

static void read_usage(struct view reply, struct llm_out *out)
{
    struct view usage;
    int64_t in, output;

    if (!json_raw_member(reply, VIEW_LIT("usage"), &usage) ||
        json_raw_kind(usage) != JSON_RAW_OBJECT)
        return;
    in = raw_int(usage, "prompt_tokens");
    output = raw_int(usage, "completion_tokens");
    if (in >= 0) out->usage.input_tokens = in;
    if (output >= 0) out->usage.output_tokens = output;
}

/* Member of the first choice; finish_reason is kept when it is a plain string. */
static bool read_choice(struct view reply, const char *part, struct view *ret, struct llm_out *out)
{
    struct view choices, choice, reason;

    if (!json_raw_member(reply, VIEW_LIT("choices"), &choices) ||
        !json_raw_element(choices, 0, &choice))
        return false;
    if (json_raw_member(choice, VIEW_LIT("finish_reason"), &reason) &&
        json_raw_kind(reason) == JSON_RAW_STRING)
        out->finish_reason = view_make(reason.ptr + 1, reason.len - 2);
    return json_raw_member(choice, view_of(part), ret);
}

static void read_error(struct view error, char code[64], char type[64])
{
    struct view v;

    code[0] = type[0] = '\0';
    if (json_raw_member(error, VIEW_LIT("code"), &v) && json_raw_kind(v) == JSON_RAW_STRING)
        (void)view_copy(view_make(v.ptr + 1, v.len - 2), code, 64);
    if (json_raw_member(error, VIEW_LIT("type"), &v) && json_raw_kind(v) == JSON_RAW_STRING)
        (void)view_copy(view_make(v.ptr + 1, v.len - 2), type, 64);
}

static bool is_out_of_money(const char *code, const char *type)
{
    static const char *const codes[] = {
        "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "insufficient_quota"};

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(code, codes[i]) == 0 || (code[0] == '\0' && strcmp(type, codes[i]) == 0))
            return true;
    return false;
}

static enum task_fault fault_of(int status, const char *code, const char *type)
{
    if (status == 402 || (status == 429 && is_out_of_money(code, type)))
        return TASK_FAULT_EXHAUSTED;
    if (status == 429 || strcmp(code, "rate_limit_exceeded") == 0 || strcmp(code, "slow_down") == 0)
        return TASK_FAULT_THROTTLE;
    if (status == 503 || status == 529) return TASK_FAULT_OUTAGE;
    if (status >= 500 || status == 408 || status == 409 || status == 425)
        return TASK_FAULT_OVERLOAD;
    return TASK_FAULT_FATAL;
}

static enum llm_verdict fail_inside(struct view error, struct llm_out *out)
{
    char code[64], type[64];
    enum task_fault fault;

    read_error(error, code, type);
    fault = is_out_of_money(code, type)                ? TASK_FAULT_EXHAUSTED
            : strcmp(code, "rate_limit_exceeded") == 0 ? TASK_FAULT_THROTTLE
                                                       : TASK_FAULT_OVERLOAD;
    return llm_fail(out, fault, code[0] ? code : type,
                    "the provider reported an error inside its reply");
}

static enum llm_verdict openai_frame(struct view event, struct view data, struct buf *text,
                                     struct llm_out *out)
{
    struct view error, delta, content;
    struct err e;

    if (view_eq_str(view_trim(data), "[DONE]")) return LLM_DONE;
    if (json_check(data, &chunk_limits, &e) != ERR_OK || json_raw_kind(data) != JSON_RAW_OBJECT)
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_chunk",
                        "a chunk of the stream is not a JSON object");
    if (json_raw_member(data, VIEW_LIT("error"), &error) && json_raw_kind(error) != JSON_RAW_NULL)
        return fail_inside(error, out);
    if (view_eq_str(event, "error")) return fail_inside(data, out);
    read_usage(data, out);
    if (read_choice(data, "delta", &delta, out) &&
        json_raw_member(delta, VIEW_LIT("content"), &content) &&
        json_raw_kind(content) == JSON_RAW_STRING && !json_raw_string(content, text))
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_chunk", "a chunk's text cannot be read");
    return LLM_MORE;
}

static enum llm_verdict openai_whole(struct view body, struct buf *text, struct llm_out *out)
{
    struct view message, content, error;
    struct err e;

    if (json_check(body, &chunk_limits, &e) != ERR_OK ||
        json_raw_kind(view_trim(body)) != JSON_RAW_OBJECT)
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_reply", "the reply is not a JSON object");
    if (json_raw_member(body, VIEW_LIT("error"), &error) && json_raw_kind(error) != JSON_RAW_NULL)
        return fail_inside(error, out);
    read_usage(body, out);
    if (!read_choice(body, "message", &message, out))
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_reply", "the reply has no message");
    if (json_raw_member(message, VIEW_LIT("content"), &content) &&
        json_raw_kind(content) == JSON_RAW_STRING && !json_raw_string(content, text))
        return llm_fail(out, TASK_FAULT_BROKEN, "invalid_reply", "the reply's text cannot be read");
    return LLM_DONE;
}

static void openai_refusal(int status, struct view body, struct llm_out *out)
{
    char code[64] = "", type[64] = "";
    struct view error;
    struct err e;

    if (json_check(body, &chunk_limits, &e) == ERR_OK &&
        json_raw_member(body, VIEW_LIT("error"), &error))
        read_error(error, code, type);
    (void)llm_fail(out, fault_of(status, code, type), code[0] ? code : type,
                   "the provider answered %d%s%s", status, code[0] ? " " : "", code);
}

const struct llm_dialect *llm_openai_dialect(void)
{
    static const struct llm_dialect dialect = {.body = openai_body,
                                               .frame = openai_frame,
                                               .whole = openai_whole,
                                               .refusal = openai_refusal};

    return &dialect;
}
