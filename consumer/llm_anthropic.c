/* Anthropic Messages, streamed and whole, in both versions of the API.
 *
 * Differences that matter: max_tokens is required; instructions stand beside the conversation, so a
 * system message can only come first; version 2026-10-21 has no sampling parameters and takes the
 * key as a bearer token. Input tokens are told with the very first event, in three parts (fresh,
 * written to the cache, read from it) that add up to what OpenAI calls input; output_tokens of a
 * message_delta is cumulative. Limits and spending caps share status 429 and, for the cap a user
 * set, status 400: told apart by error_code and by words. */
#include "consumer/llm_dialect.h"

enum { ANTHROPIC_MAX_TOKENS = 4096 }; /* where the workflow gave none */

/* --- requests --------------------------------------------------------------------------------- */

static bool is_new_version(const struct config_provider *p)
{
    return p->api_version && strcmp(p->api_version, "2026-10-21") == 0;
}

static void put_blocks(struct jw *j, struct view content)
{
    struct view text;

    for (size_t at = 0; llm_content_each(content, &at, &text);) {
        jw_object(j);
        jw_kcstr(j, "type", "text");
        jw_kraw(j, "text", text);
        jw_end_object(j);
    }
}

/* The system messages at the front become `system`; *cursor stands at the first of the others. */
static enum err_code put_system(struct jw *j, const struct llm_request *q, const struct llm_ask *a,
                                size_t *cursor, struct err *err)
{
    struct llm_message m;
    bool more, is_open = false;

    for (;;) {
        enum err_code code = llm_ask_front(q, a, cursor, &m, &more, err);

        if (code != ERR_OK) return code;
        if (!more) break;
        if (!is_open) {
            jw_key(j, "system");
            jw_array(j);
            is_open = true;
        }
        put_blocks(j, m.content);
    }
    if (is_open) jw_end_array(j);
    return ERR_OK;
}

static enum err_code put_messages(struct jw *j, const struct llm_request *q,
                                  const struct llm_ask *a, size_t cursor, struct err *err)
{
    struct llm_message m;
    bool more;

    jw_key(j, "messages");
    jw_array(j);
    for (;;) {
        enum err_code code = llm_ask_turn(q, a, &cursor, &m, &more, err);

        if (code != ERR_OK) return code;
        if (!more) break;
        jw_object(j);
        jw_kcstr(j, "role", m.role == LLM_USER ? "user" : "assistant");
        jw_key(j, "content");
        if (json_raw_kind(m.content) == JSON_RAW_STRING) {
            jw_raw(j, m.content);
        } else {
            jw_array(j);
            put_blocks(j, m.content);
            jw_end_array(j);
        }
        jw_end_object(j);
    }
    jw_end_array(j);
    return ERR_OK;
}

static enum err_code check_ask(const struct llm_request *q, const struct llm_ask *a,
                               struct err *err)
{
    char text[32];

    if (a->seed.ptr) return llm_cannot(q, "/seed", "does not exist in the Messages protocol", err);
    if (a->format == LLM_FORMAT_JSON)
        return llm_cannot(q, "/response_format", "json_object does not exist here; give a schema",
                          err);
    if (is_new_version(q->provider) && (a->temperature.ptr || a->top_p.ptr))
        return llm_cannot(q, a->temperature.ptr ? "/temperature" : "/top_p",
                          "was removed in api_version 2026-10-21; 2023-06-01 has it", err);
    if (a->temperature.ptr && view_copy(a->temperature, text, sizeof text) &&
        strtod(text, NULL) > 1)
        return llm_cannot(q, "/temperature", "is at most 1 here", err);
    return ERR_OK;
}

static void put_settings(struct jw *j, const struct llm_ask *a)
{
    if (a->temperature.ptr) jw_kraw(j, "temperature", a->temperature);
    if (a->top_p.ptr) jw_kraw(j, "top_p", a->top_p);
    if (a->stop.ptr) llm_put_list(j, "stop_sequences", a->stop);
    if (a->format == LLM_FORMAT_SCHEMA) {
        jw_key(j, "output_config");
        jw_object(j);
        jw_key(j, "format");
        jw_object(j);
        jw_kcstr(j, "type", "json_schema");
        jw_kraw(j, "schema", a->schema);
        jw_end_object(j);
        jw_end_object(j);
    }
}

static enum err_code anthropic_put(struct llm_wire *w, const struct llm_request *q,
                                   const struct llm_ask *a, struct err *err)
{
    size_t cursor = 0;
    struct jw j;
    enum err_code code;

    jw_init(&j, &w->body);
    jw_object(&j);
    jw_kstr(&j, "model", q->model);
    if (a->max_tokens.ptr)
        jw_kraw(&j, "max_tokens", a->max_tokens);
    else
        jw_kint(&j, "max_tokens", ANTHROPIC_MAX_TOKENS);
    if (q->stream) jw_kbool(&j, "stream", true);
    code = put_system(&j, q, a, &cursor, err);
    if (code == ERR_OK) code = put_messages(&j, q, a, cursor, err);
    if (code != ERR_OK) return code;
    put_settings(&j, a);
    jw_end_object(&j);
    return ERR_OK;
}

static enum err_code anthropic_body(struct llm_wire *w, const struct llm_request *q,
                                    struct err *err)
{
    const char *base = q->provider->base_url, *version = q->provider->api_version;
    size_t len = strlen(base);
    struct llm_ask a;
    enum err_code code = llm_ask_read(q, &a, err);

    if (code == ERR_OK) code = check_ask(q, &a, err);
    if (code == ERR_OK) code = anthropic_put(w, q, &a, err);
    if (code != ERR_OK) return code;
    buf_printf(&w->url, "%s%s/messages", base,
               len >= 3 && strcmp(base + len - 3, "/v1") == 0 ? "" : "/v1");
    w->key_header = is_new_version(q->provider) ? "Authorization" : "x-api-key";
    w->key_prefix = is_new_version(q->provider) ? "Bearer " : NULL;
    if (!llm_wire_common_headers(w, q) ||
        !llm_wire_header(w, "anthropic-version",
                         version ? view_of(version) : VIEW_LIT("2023-06-01")))
        return err_set(err, ERR_TOO_LARGE, "headers are full");
    return ERR_OK;
}

/* --- errors ----------------------------------------------------------------------------------- */

static bool is_spending_cap(struct view error)
{
    static const char *const codes[] = {"enforced_spend_limit_reached",
                                        "contract_spend_limit_reached",
                                        "linked_organization_spend_limit_reached"};
    char code[LLM_WORD];

    llm_member_word(llm_member(error, "details"), "error_code", code);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(code, codes[i]) == 0) return true;
    return false;
}

/* invalid_request_error, status 400, of which these are no fault of the request. */
static bool is_about_money(struct view error)
{
    struct view message = llm_member_of(error, "message", JSON_RAW_STRING);

    return llm_says(message, "usage limits") || llm_says(message, "spend limit") ||
           llm_says(message, "credit balance");
}

static bool is_too_long(struct view error)
{
    struct view message = llm_member_of(error, "message", JSON_RAW_STRING);

    return llm_says(message, "prompt is too long") || llm_says(message, "context limit") ||
           llm_says(message, "context window");
}

static enum task_fault fault_of(const char *type, enum task_fault otherwise)
{
    static const struct {
        const char *type;
        enum task_fault fault;
    } faults[] = {
        {"rate_limit_error", TASK_FAULT_THROTTLE},   {"overloaded_error", TASK_FAULT_OUTAGE},
        {"billing_error", TASK_FAULT_EXHAUSTED},     {"api_error", TASK_FAULT_OVERLOAD},
        {"timeout_error", TASK_FAULT_OVERLOAD},      {"conflict_error", TASK_FAULT_OVERLOAD},
        {"invalid_request_error", TASK_FAULT_FATAL}, {"authentication_error", TASK_FAULT_FATAL},
        {"permission_error", TASK_FAULT_FATAL},      {"not_found_error", TASK_FAULT_FATAL},
        {"request_too_large", TASK_FAULT_FATAL},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strcmp(type, faults[i].type) == 0) return faults[i].fault;
    return otherwise;
}

/* The meaning of an error object, and the code to report. */
static enum task_fault read_error(struct llm_turn *t, struct view body, enum task_fault otherwise,
                                  char code[LLM_WORD])
{
    struct view error = llm_member_of(body, "error", JSON_RAW_OBJECT);
    enum task_fault fault;

    llm_member_word(error, "type", code);
    fault = fault_of(code, otherwise);
    if (is_spending_cap(error) || (fault == TASK_FAULT_FATAL && is_about_money(error)))
        fault = TASK_FAULT_EXHAUSTED;
    t->out->context_too_long = fault == TASK_FAULT_FATAL && is_too_long(error);
    struct view details = llm_member(error, "details");
    if (llm_member(details, "error_code").ptr) llm_member_word(details, "error_code", code);
    return fault;
}

static void anthropic_refusal(struct llm_turn *t, int status, struct view body)
{
    char code[LLM_WORD];
    /* A gateway's 529 may bear any body; a 4xx that is told as an overload is one. */
    enum task_fault fault = read_error(t, body, llm_fault_of_status(status), code);

    (void)llm_fail(t->out, fault, code, "the provider answered %d%s%s", status, code[0] ? " " : "",
                   code);
}

static enum llm_verdict fail_inside(struct llm_turn *t, struct view body)
{
    char code[LLM_WORD];
    enum task_fault fault = read_error(t, body, TASK_FAULT_OVERLOAD, code);

    return llm_fail_inside(t, fault, code);
}

/* --- replies ---------------------------------------------------------------------------------- */

static int64_t sum_of(int64_t a, int64_t b)
{
    return a < 0 || b < 0 ? (a > b ? a : b) : a + b;
}

/* A message_delta may leave out the parts of the input: then those of message_start stand. */
static void read_usage(struct llm_turn *t, struct view holder)
{
    struct view usage = llm_member_of(holder, "usage", JSON_RAW_OBJECT);
    int64_t fresh = llm_member_count(usage, "input_tokens");
    int64_t written = llm_member_count(usage, "cache_creation_input_tokens");
    int64_t read = llm_member_count(usage, "cache_read_input_tokens");

    if (!usage.ptr) return;
    llm_usage(t, fresh < 0 ? -1 : sum_of(fresh, sum_of(written, read)),
              llm_member_count(usage, "output_tokens"), read);
}

static void read_reason(struct llm_turn *t, struct view holder)
{
    struct view reason = llm_member_of(holder, "stop_reason", JSON_RAW_STRING);

    if (reason.len > 2) llm_finish(t, view_make(reason.ptr + 1, reason.len - 2));
}

static enum llm_verdict anthropic_frame(struct llm_turn *t, struct view event, struct view data)
{
    char type[LLM_WORD];
    bool ok = true;

    llm_member_word(data, "type", type);
    if (!type[0]) (void)view_copy(event, type, sizeof type);
    if (strcmp(type, "message_start") == 0) {
        read_usage(t, llm_member(data, "message"));
    } else if (strcmp(type, "content_block_start") == 0) {
        ok = llm_take_text(t, llm_member(data, "content_block"), "text");
    } else if (strcmp(type, "content_block_delta") == 0) {
        ok = llm_take_text(t, llm_member(data, "delta"), "text");
    } else if (strcmp(type, "message_delta") == 0) {
        read_usage(t, data);
        read_reason(t, llm_member(data, "delta"));
        if (t->is_finished && t->out->usage.output_tokens >= 0) t->out->is_usage_final = true;
    } else if (strcmp(type, "message_stop") == 0) {
        return LLM_DONE;
    } else if (strcmp(type, "error") == 0) {
        return fail_inside(t, data);
    }
    return ok ? LLM_MORE
              : llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_chunk",
                         "a chunk's text cannot be read");
}

static enum llm_verdict anthropic_whole(struct llm_turn *t, struct view body)
{
    struct view content = llm_member_of(body, "content", JSON_RAW_ARRAY), key, block;
    char type[LLM_WORD];
    bool ok = true;

    llm_member_word(body, "type", type);
    if (strcmp(type, "error") == 0) return fail_inside(t, body);
    if (!content.ptr)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply", "the reply has no content");
    for (size_t at = 0; ok && json_raw_each(content, &at, &key, &block);) {
        llm_member_word(block, "type", type);
        if (strcmp(type, "text") == 0) ok = llm_take_text(t, block, "text");
    }
    if (!ok)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply",
                        "the reply's text cannot be read");
    read_usage(t, body);
    read_reason(t, body);
    return LLM_DONE;
}

const struct llm_dialect *llm_anthropic(void)
{
    static const struct llm_dialect dialect = {.body = anthropic_body,
                                               .frame = anthropic_frame,
                                               .whole = anthropic_whole,
                                               .refusal = anthropic_refusal};

    return &dialect;
}
