/* OpenAI Responses, streamed and whole (reference: OpenAI's openapi.yaml, Response*Event). Nothing
 * is left with the provider: store is false.
 *
 * A stream tells everything twice, in deltas and in the objects that close them; text is taken from
 * the deltas. Only a server that sent none is read from the last object. The end is one of
 * completed, incomplete and failed; an event this does not know is no news. */
#include "consumer/llm_dialect.h"

/* --- requests --------------------------------------------------------------------------------- */

static void put_content(struct jw *j, const struct llm_message *m)
{
    struct view text;

    jw_key(j, "content");
    if (json_raw_kind(m->content) == JSON_RAW_STRING) {
        jw_raw(j, m->content);
        return;
    }
    jw_array(j);
    for (size_t at = 0; llm_content_each(m->content, &at, &text);) {
        jw_object(j);
        jw_kcstr(j, "type", m->role == LLM_ASSISTANT ? "output_text" : "input_text");
        jw_kraw(j, "text", text);
        jw_end_object(j);
    }
    jw_end_array(j);
}

static enum err_code put_input(struct jw *j, const struct llm_request *q, const struct llm_ask *a,
                               struct err *err)
{
    static const char *const roles[] = {
        [LLM_SYSTEM] = "system", [LLM_USER] = "user", [LLM_ASSISTANT] = "assistant"};
    struct llm_message m;
    size_t cursor = 0;
    bool more;

    jw_key(j, "input");
    jw_array(j);
    for (;;) {
        enum err_code code = llm_ask_message(q, a, &cursor, &m, &more, err);

        if (code != ERR_OK) return code;
        if (!more) break;
        jw_object(j);
        jw_kcstr(j, "role", roles[m.role]);
        put_content(j, &m);
        jw_end_object(j);
    }
    jw_end_array(j);
    return ERR_OK;
}

static void put_format(struct jw *j, const struct llm_ask *a)
{
    if (a->format == LLM_FORMAT_TEXT) return;
    jw_key(j, "text");
    jw_object(j);
    jw_key(j, "format");
    jw_object(j);
    jw_kcstr(j, "type", a->format == LLM_FORMAT_JSON ? "json_object" : "json_schema");
    if (a->format == LLM_FORMAT_SCHEMA) {
        jw_kraw(j, "name", a->schema_name);
        jw_kraw(j, "schema", a->schema);
        if (a->schema_strict.ptr) jw_kraw(j, "strict", a->schema_strict);
    }
    jw_end_object(j);
    jw_end_object(j);
}

enum err_code llm_responses_body(struct llm_wire *w, const struct llm_request *q, struct err *err)
{
    struct llm_ask a;
    enum err_code code = llm_ask_read(q, &a, err);
    struct jw j;

    if (code != ERR_OK) return code;
    if (a.stop.ptr) return llm_cannot(q, "/stop", "does not exist in the Responses protocol", err);
    if (a.seed.ptr) return llm_cannot(q, "/seed", "does not exist in the Responses protocol", err);
    jw_init(&j, &w->body);
    jw_object(&j);
    jw_kstr(&j, "model", q->model);
    if (q->stream) jw_kbool(&j, "stream", true);
    jw_kbool(&j, "store", false);
    code = put_input(&j, q, &a, err);
    if (code != ERR_OK) return code;
    if (a.max_tokens.ptr) jw_kraw(&j, "max_output_tokens", a.max_tokens);
    if (a.temperature.ptr) jw_kraw(&j, "temperature", a.temperature);
    if (a.top_p.ptr) jw_kraw(&j, "top_p", a.top_p);
    put_format(&j, &a);
    jw_end_object(&j);
    return llm_wire_common_headers(w, q) ? ERR_OK : err_set(err, ERR_TOO_LARGE, "headers are full");
}

static enum err_code responses_body(struct llm_wire *w, const struct llm_request *q,
                                    struct err *err)
{
    buf_printf(&w->url, "%s/responses", q->provider->base_url);
    w->key_header = "Authorization";
    w->key_prefix = "Bearer ";
    return llm_responses_body(w, q, err);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void read_usage(struct llm_turn *t, struct view response)
{
    struct view usage = llm_member_of(response, "usage", JSON_RAW_OBJECT);
    struct view details = llm_member(usage, "input_tokens_details");

    if (!usage.ptr) return;
    llm_usage(t, llm_member_count(usage, "input_tokens"), llm_member_count(usage, "output_tokens"),
              llm_member_count(details, "cached_tokens"));
    if (t->out->usage.output_tokens >= 0) t->out->is_usage_final = true;
}

/* The text of a whole response object; a refusal among its parts outweighs it. */
static bool read_output(struct llm_turn *t, struct view response, bool with_text)
{
    struct view output = llm_member_of(response, "output", JSON_RAW_ARRAY), key, item, part;
    char type[LLM_WORD];
    bool ok = true;

    for (size_t at = 0; ok && json_raw_each(output, &at, &key, &item);) {
        struct view content = llm_member_of(item, "content", JSON_RAW_ARRAY);

        llm_member_word(item, "type", type);
        if (strcmp(type, "message") != 0) continue;
        for (size_t k = 0; ok && json_raw_each(content, &k, &key, &part);) {
            llm_member_word(part, "type", type);
            if (strcmp(type, "refusal") == 0) t->is_refused = true;
            if (with_text && strcmp(type, "output_text") == 0) ok = llm_take_text(t, part, "text");
        }
    }
    return ok;
}

/* completed, incomplete or failed: the object says how it went. */
static enum llm_verdict conclude(struct llm_turn *t, struct view response)
{
    char status[LLM_WORD], reason[LLM_WORD];

    llm_member_word(response, "status", status);
    llm_member_word(llm_member(response, "incomplete_details"), "reason", reason);
    read_usage(t, response);
    if (llm_member(response, "error").ptr) return llm_openai_fail_inside(t, response);
    if (strcmp(status, "failed") == 0) return llm_fail_inside(t, TASK_FAULT_OVERLOAD, "");
    if (strcmp(status, "completed") != 0 && strcmp(status, "incomplete") != 0)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply", "the response did not end");
    if (!read_output(t, response, !t->has_text))
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply",
                        "the reply's text cannot be read");
    llm_finish(t, view_of(strcmp(status, "completed") == 0 ? status : reason));
    return LLM_DONE;
}

enum llm_verdict llm_responses_frame(struct llm_turn *t, struct view event, struct view data)
{
    struct view response = llm_member_of(data, "response", JSON_RAW_OBJECT);
    char type[LLM_WORD];

    llm_member_word(data, "type", type);
    if (!type[0]) (void)view_copy(event, type, sizeof type);
    if (strcmp(type, "error") == 0 || (!type[0] && llm_member(data, "error").ptr))
        return llm_openai_fail_inside(t, data);
    if (strcmp(type, "response.output_text.delta") == 0) {
        if (llm_take_text(t, data, "delta")) return LLM_MORE;
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_chunk",
                        "a chunk's text cannot be read");
    }
    if (strcmp(type, "response.refusal.delta") == 0 || strcmp(type, "response.refusal.done") == 0)
        t->is_refused = true;
    if (strcmp(type, "response.completed") == 0 || strcmp(type, "response.incomplete") == 0 ||
        strcmp(type, "response.failed") == 0)
        return conclude(t, response);
    return LLM_MORE;
}

enum llm_verdict llm_responses_whole(struct llm_turn *t, struct view body)
{
    return conclude(t, body);
}

const struct llm_dialect *llm_openai_responses(void)
{
    static const struct llm_dialect dialect = {.body = responses_body,
                                               .frame = llm_responses_frame,
                                               .whole = llm_responses_whole,
                                               .refusal = llm_openai_refusal};

    return &dialect;
}
