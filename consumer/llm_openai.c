/* OpenAI Chat Completions, streamed and whole; Azure, vLLM and other compatible servers speak it
 * too (reference: OpenAI's openapi.yaml, CreateChatCompletionStreamResponse). Streams are asked for
 * with include_usage, whose numbers come in an extra last chunk without choices; a server that
 * tells them with every chunk (continuous_usage_stats) is read as well.
 *
 * The request is the workflow's own, so it goes out member by member as it is; only what would
 * break the reading of the reply is refused. */
#include "consumer/llm_dialect.h"

/* --- requests --------------------------------------------------------------------------------- */

/* Members that are the caller's to say, or that would change the shape of the reply. */
static enum err_code check_member(const struct llm_request *q, struct view key, struct view value,
                                  struct err *err)
{
    static const char *const ours[] = {"model", "stream", "stream_options"};
    char where[24];

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (!view_eq_str(key, ours[i])) continue;
        snprintf(where, sizeof where, "/%s", ours[i]);
        return llm_cannot(q, where, "is not the request's to say", err);
    }
    if (view_eq_str(key, "n") && !view_eq_str(value, "1"))
        return llm_cannot(q, "/n", "must be 1: one answer is read", err);
    return ERR_OK;
}

/* The two names of the output limit become the one that the server knows: OpenAI's own models
 * refuse the older, compatible servers know only that. */
static enum err_code put_members(struct jw *j, const struct llm_request *q, const char *max_name,
                                 struct err *err)
{
    struct view key, value, max = VIEW_NONE;

    for (size_t cursor = 0; json_raw_each(q->request, &cursor, &key, &value);) {
        enum err_code code = check_member(q, key, value, err);

        if (code != ERR_OK) return code;
        if (json_raw_kind(value) == JSON_RAW_NULL) continue;
        if (view_eq_str(key, "max_tokens") || view_eq_str(key, "max_completion_tokens")) {
            if (max.ptr && !view_eq(max, value))
                return llm_cannot(q, "/max_completion_tokens", "contradicts max_tokens", err);
            if (max.ptr) continue;
            max = value;
            key = view_of(max_name);
        }
        jw_key_view(j, key);
        jw_raw(j, value);
    }
    return ERR_OK;
}

enum err_code llm_chat_body(struct llm_wire *w, const struct llm_request *q, const char *max_name,
                            struct err *err)
{
    enum err_code code;
    struct jw j;

    jw_init(&j, &w->body);
    jw_object(&j);
    jw_kstr(&j, "model", q->model);
    if (q->stream) {
        jw_kbool(&j, "stream", true);
        jw_kraw(&j, "stream_options", VIEW_LIT("{\"include_usage\":true}"));
    }
    code = put_members(&j, q, max_name, err);
    if (code != ERR_OK) return code;
    jw_end_object(&j);
    return llm_wire_common_headers(w, q) ? ERR_OK : err_set(err, ERR_TOO_LARGE, "headers are full");
}

static enum err_code openai_body(struct llm_wire *w, const struct llm_request *q, struct err *err)
{
    buf_printf(&w->url, "%s/chat/completions", q->provider->base_url);
    w->key_header = "Authorization";
    w->key_prefix = "Bearer ";
    return llm_chat_body(w, q, "max_completion_tokens", err);
}

/* --- replies ---------------------------------------------------------------------------------- */

/* is_whole: no chunk with other numbers will follow. */
static void read_usage(struct llm_turn *t, struct view reply, bool is_whole)
{
    struct view usage = llm_member_of(reply, "usage", JSON_RAW_OBJECT);
    struct view details = llm_member(usage, "prompt_tokens_details");

    if (!usage.ptr) return;
    llm_usage(t, llm_member_count(usage, "prompt_tokens"),
              llm_member_count(usage, "completion_tokens"),
              llm_member_count(details, "cached_tokens"));
    if (is_whole && t->out->usage.output_tokens >= 0) t->out->is_usage_final = true;
}

/* The first choice; VIEW_NONE: there is none (a chunk of usage, Azure's chunk of filters). */
static struct view first_choice(struct llm_turn *t, struct view reply)
{
    struct view choices = llm_member_of(reply, "choices", JSON_RAW_ARRAY), choice, reason;

    if (!choices.ptr || !json_raw_element(choices, 0, &choice)) return VIEW_NONE;
    reason = llm_member_of(choice, "finish_reason", JSON_RAW_STRING);
    if (reason.len > 2) llm_finish(t, view_make(reason.ptr + 1, reason.len - 2));
    return choice;
}

/* content of a delta or a message. A refusal is an answer of its own kind: nothing of it is text,
 * and it outweighs the reason that comes with it. */
static bool read_content(struct llm_turn *t, struct view part)
{
    struct view refusal = llm_member_of(part, "refusal", JSON_RAW_STRING);

    if (refusal.len > 2) t->is_refused = true;
    return llm_take_text(t, part, "content");
}

enum llm_verdict llm_chat_frame(struct llm_turn *t, struct view event, struct view data)
{
    struct view choice;

    if (llm_member(data, "error").ptr || view_eq_str(event, "error"))
        return llm_openai_fail_inside(t, data);
    choice = first_choice(t, data);
    read_usage(t, data, !choice.ptr);
    if (!read_content(t, llm_member(choice, "delta")))
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_chunk",
                        "a chunk's text cannot be read");
    return LLM_MORE;
}

enum llm_verdict llm_chat_whole(struct llm_turn *t, struct view body)
{
    struct view message;

    if (llm_member(body, "error").ptr) return llm_openai_fail_inside(t, body);
    message = llm_member_of(first_choice(t, body), "message", JSON_RAW_OBJECT);
    read_usage(t, body, true);
    if (!message.ptr)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply", "the reply has no message");
    if (!read_content(t, message))
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply",
                        "the reply's text cannot be read");
    return LLM_DONE;
}

const struct llm_dialect *llm_openai_chat(void)
{
    static const struct llm_dialect dialect = {.body = openai_body,
                                               .frame = llm_chat_frame,
                                               .whole = llm_chat_whole,
                                               .refusal = llm_openai_refusal,
                                               .ends_by_done = true};

    return &dialect;
}
