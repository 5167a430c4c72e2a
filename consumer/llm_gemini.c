/* Gemini's generateContent and streamGenerateContent?alt=sse.
 *
 * Each event is a whole GenerateContentResponse; there is no last event, so a stream is whole when
 * a finishReason came and the connection then closed cleanly. Thoughts are parts like text, marked
 * as such, and are billed as output. No header tells a limit: all there is to learn stands in the
 * refusal, where retryDelay lies for quotas by the day (seconds, while the quota comes back at
 * midnight in California), so quotaId decides, and a delay is believed only for a quota by the
 * minute and only up to two minutes. */
#include "consumer/llm_dialect.h"

enum { GEMINI_DELAY_MAX_MS = 120000 };

/* --- requests --------------------------------------------------------------------------------- */

static void put_parts(struct jw *j, struct view content)
{
    struct view text;

    for (size_t at = 0; llm_content_each(content, &at, &text);) {
        jw_object(j);
        jw_kraw(j, "text", text);
        jw_end_object(j);
    }
}

/* System messages at the front become systemInstruction; *cursor stands at the first other one. */
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
            jw_key(j, "systemInstruction");
            jw_object(j);
            jw_key(j, "parts");
            jw_array(j);
            is_open = true;
        }
        put_parts(j, m.content);
    }
    if (is_open) {
        jw_end_array(j);
        jw_end_object(j);
    }
    return ERR_OK;
}

static enum err_code put_contents(struct jw *j, const struct llm_request *q,
                                  const struct llm_ask *a, size_t cursor, struct err *err)
{
    struct llm_message m;
    bool more;

    jw_key(j, "contents");
    jw_array(j);
    for (;;) {
        enum err_code code = llm_ask_turn(q, a, &cursor, &m, &more, err);

        if (code != ERR_OK) return code;
        if (!more) break;
        jw_object(j);
        jw_kcstr(j, "role", m.role == LLM_USER ? "user" : "model");
        jw_key(j, "parts");
        jw_array(j);
        put_parts(j, m.content);
        jw_end_array(j);
        jw_end_object(j);
    }
    jw_end_array(j);
    return ERR_OK;
}

static void put_config(struct jw *j, const struct llm_ask *a)
{
    jw_key(j, "generationConfig");
    jw_object(j);
    if (a->max_tokens.ptr) jw_kraw(j, "maxOutputTokens", a->max_tokens);
    if (a->temperature.ptr) jw_kraw(j, "temperature", a->temperature);
    if (a->top_p.ptr) jw_kraw(j, "topP", a->top_p);
    if (a->seed.ptr) jw_kraw(j, "seed", a->seed);
    if (a->stop.ptr) llm_put_list(j, "stopSequences", a->stop);
    if (a->format != LLM_FORMAT_TEXT) jw_kcstr(j, "responseMimeType", "application/json");
    if (a->format == LLM_FORMAT_SCHEMA) jw_kraw(j, "responseJsonSchema", a->schema);
    jw_end_object(j);
}

/* {base}/{version}/models/{model}:generateContent; a base that names its version keeps it, and so
 * does a model that names its collection (tunedModels/x). */
static void put_url(struct llm_wire *w, const struct llm_request *q)
{
    const char *base = q->provider->base_url, *version = q->provider->api_version;
    const char *slash = strrchr(base, '/');
    bool has_version = slash && slash[1] == 'v' && slash[2] == '1';

    buf_put_str(&w->url, base);
    if (!has_version) buf_printf(&w->url, "/%s", version ? version : "v1beta");
    buf_put_str(&w->url, memchr(q->model.ptr, '/', q->model.len) ? "/" : "/models/");
    llm_wire_segment(w, q->model, true);
    buf_put_str(&w->url, q->stream ? ":streamGenerateContent?alt=sse" : ":generateContent");
}

static enum err_code gemini_body(struct llm_wire *w, const struct llm_request *q, struct err *err)
{
    size_t cursor = 0;
    struct llm_ask a;
    struct jw j;
    enum err_code code = llm_ask_read(q, &a, err);
    int64_t seed;

    if (code != ERR_OK) return code;
    if (a.seed.ptr && (!view_i64(a.seed, &seed) || seed < INT32_MIN || seed > INT32_MAX))
        return llm_cannot(q, "/seed", "must be an integer of 32 bits here", err);
    jw_init(&j, &w->body);
    jw_object(&j);
    code = put_system(&j, q, &a, &cursor, err);
    if (code == ERR_OK) code = put_contents(&j, q, &a, cursor, err);
    if (code != ERR_OK) return code;
    put_config(&j, &a);
    jw_end_object(&j);
    put_url(w, q);
    w->key_header = "x-goog-api-key";
    return llm_wire_common_headers(w, q) ? ERR_OK : err_set(err, ERR_TOO_LARGE, "headers are full");
}

/* --- errors ----------------------------------------------------------------------------------- */

struct gemini_error {
    char status[LLM_WORD];
    bool is_daily, is_none; /* a quota by the day; a quota of 0: the plan has nothing of it */
    int64_t delay_ms;       /* -1: not told */
    struct view message;
};

static void read_violations(struct view detail, struct gemini_error *e)
{
    struct view list = llm_member_of(detail, "violations", JSON_RAW_ARRAY), key, item;

    for (size_t at = 0; json_raw_each(list, &at, &key, &item);) {
        if (llm_says(llm_member(item, "quotaId"), "PerDay")) e->is_daily = true;
        if (view_eq_str(llm_member(item, "quotaValue"), "\"0\"")) e->is_none = true;
    }
}

static void read_delay(struct view detail, struct gemini_error *e)
{
    struct view v = llm_member_of(detail, "retryDelay", JSON_RAW_STRING);
    int64_t ms;

    if (v.len > 2 && clock_go_duration(view_make(v.ptr + 1, v.len - 2), &ms)) e->delay_ms = ms;
}

/* The error may stand in an array: what a stream that is no SSE is wrapped in. */
static void read_error(struct view body, struct gemini_error *e)
{
    struct view error, details, key, detail, first;

    *e = (struct gemini_error){.delay_ms = -1, .message = VIEW_NONE};
    if (json_raw_kind(body) == JSON_RAW_ARRAY && json_raw_element(body, 0, &first)) body = first;
    error = llm_member_of(body, "error", JSON_RAW_OBJECT);
    llm_member_word(error, "status", e->status);
    e->message = llm_member_of(error, "message", JSON_RAW_STRING);
    details = llm_member_of(error, "details", JSON_RAW_ARRAY);
    for (size_t at = 0; json_raw_each(details, &at, &key, &detail);) {
        read_violations(detail, e);
        read_delay(detail, e);
    }
}

static enum task_fault fault_of_name(const char *status, enum task_fault otherwise)
{
    static const struct {
        const char *status;
        enum task_fault fault;
    } faults[] = {
        {"RESOURCE_EXHAUSTED", TASK_FAULT_THROTTLE}, {"UNAVAILABLE", TASK_FAULT_OUTAGE},
        {"INTERNAL", TASK_FAULT_OVERLOAD},           {"DEADLINE_EXCEEDED", TASK_FAULT_OVERLOAD},
        {"INVALID_ARGUMENT", TASK_FAULT_FATAL},      {"FAILED_PRECONDITION", TASK_FAULT_FATAL},
        {"PERMISSION_DENIED", TASK_FAULT_FATAL},     {"NOT_FOUND", TASK_FAULT_FATAL},
        {"UNAUTHENTICATED", TASK_FAULT_FATAL},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strcmp(status, faults[i].status) == 0) return faults[i].fault;
    return otherwise;
}

/* Fills what belongs to the fault into out. status 402 is money whatever it is called. */
static enum task_fault settle_fault(struct llm_turn *t, const struct gemini_error *e, int status)
{
    enum task_fault fault = fault_of_name(e->status, llm_fault_of_status(status));

    if (status == 402) fault = TASK_FAULT_EXHAUSTED;
    if (fault == TASK_FAULT_THROTTLE && (e->is_daily || e->is_none)) fault = TASK_FAULT_EXHAUSTED;
    if (fault == TASK_FAULT_EXHAUSTED) {
        t->out->is_daily = e->is_daily && !e->is_none;
        if (t->out->is_daily) t->out->retry_after_ms = llm_until_pacific_midnight(t->wall_ms);
    } else {
        llm_hint(t->out, e->delay_ms, GEMINI_DELAY_MAX_MS);
    }
    t->out->context_too_long =
        fault == TASK_FAULT_FATAL && (llm_says(e->message, "maximum number of tokens") ||
                                      llm_says(e->message, "context window"));
    return fault;
}

static void gemini_refusal(struct llm_turn *t, int status, struct view body)
{
    struct gemini_error e;

    read_error(body, &e);
    (void)llm_fail(t->out, settle_fault(t, &e, status), e.status, "the provider answered %d%s%s",
                   status, e.status[0] ? " " : "", e.status);
}

static enum llm_verdict fail_inside(struct llm_turn *t, struct view body)
{
    struct gemini_error e;
    int64_t code = llm_member_count(llm_member(body, "error"), "code");

    read_error(body, &e);
    return llm_fail_inside(t, settle_fault(t, &e, code > 0 && code < 1000 ? (int)code : 500),
                           e.status);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void read_usage(struct llm_turn *t, struct view body)
{
    struct view usage = llm_member_of(body, "usageMetadata", JSON_RAW_OBJECT);
    int64_t said = llm_member_count(usage, "candidatesTokenCount");
    int64_t thought = llm_member_count(usage, "thoughtsTokenCount");

    if (!usage.ptr) return;
    llm_usage(t, llm_member_count(usage, "promptTokenCount"),
              said < 0 ? thought : said + (thought > 0 ? thought : 0),
              llm_member_count(usage, "cachedContentTokenCount"));
}

static enum llm_verdict gemini_frame(struct llm_turn *t, struct view event, struct view data)
{
    struct view list = llm_member_of(data, "candidates", JSON_RAW_ARRAY), candidate = VIEW_NONE;
    struct view parts, key, part, reason;
    bool ok = true;

    (void)event;
    if (llm_member(data, "error").ptr) return fail_inside(t, data);
    read_usage(t, data);
    if (llm_member(llm_member(data, "promptFeedback"), "blockReason").ptr)
        return llm_fail(t->out, TASK_FAULT_FATAL, "content_filter",
                        "the provider refused the prompt");
    if (list.ptr && !json_raw_element(list, 0, &candidate)) candidate = VIEW_NONE;
    parts = llm_member_of(llm_member(candidate, "content"), "parts", JSON_RAW_ARRAY);
    for (size_t at = 0; ok && json_raw_each(parts, &at, &key, &part);)
        if (json_raw_kind(llm_member(part, "thought")) != JSON_RAW_TRUE)
            ok = llm_take_text(t, part, "text");
    if (!ok)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_chunk",
                        "a chunk's text cannot be read");
    reason = llm_member_of(candidate, "finishReason", JSON_RAW_STRING);
    if (reason.len > 2) llm_finish(t, view_make(reason.ptr + 1, reason.len - 2));
    return LLM_MORE;
}

/* One response, or an array of them: what a stream without alt=sse is. */
static enum llm_verdict gemini_whole(struct llm_turn *t, struct view body)
{
    struct view key, item;
    enum llm_verdict v = LLM_MORE;

    if (json_raw_kind(body) == JSON_RAW_ARRAY) {
        for (size_t at = 0; v == LLM_MORE && json_raw_each(body, &at, &key, &item);)
            v = gemini_frame(t, VIEW_NONE, item);
    } else {
        v = gemini_frame(t, VIEW_NONE, body);
    }
    if (v != LLM_MORE) return v;
    if (!t->is_finished)
        return llm_fail(t->out, TASK_FAULT_BROKEN, "invalid_reply", "the reply has no candidate");
    return LLM_DONE;
}

const struct llm_dialect *llm_gemini(void)
{
    static const struct llm_dialect dialect = {.body = gemini_body,
                                               .frame = gemini_frame,
                                               .whole = gemini_whole,
                                               .refusal = gemini_refusal,
                                               .ends_by_close = true};

    return &dialect;
}
