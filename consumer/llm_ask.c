/* A workflow's request, which is shaped as OpenAI chat, taken apart for the other dialects.
 *
 * Hard: what a dialect cannot say must not be dropped in silence: a seed that is ignored, a system
 * message that is moved, a limit that is lost all change what the user gets and pays. So every
 * member is either known here or an error that names it, and each dialect then refuses what it has
 * no word for. Values stay raw JSON: what was 0.1 goes out as 0.1. */
#include "consumer/llm_dialect.h"

enum err_code llm_cannot(const struct llm_request *q, const char *where, const char *why,
                         struct err *err)
{
    return err_set_at(err, ERR_INVALID, where, "provider %s cannot be asked this: %s %s",
                      q->provider->name, where + (where[0] == '/'), why);
}

/* --- members ---------------------------------------------------------------------------------- */

static enum err_code ask_number(const struct llm_request *q, const char *where, struct view value,
                                struct view *slot, struct err *err)
{
    if (json_raw_kind(value) != JSON_RAW_NUMBER)
        return llm_cannot(q, where, "must be a number", err);
    *slot = value;
    return ERR_OK;
}

static enum err_code ask_limit(const struct llm_request *q, const char *where, struct view value,
                               struct llm_ask *a, struct err *err)
{
    int64_t n;

    if (!view_i64(value, &n) || n < 1)
        return llm_cannot(q, where, "must be an integer above 0", err);
    if (a->max_tokens.ptr && !view_eq(a->max_tokens, value))
        return llm_cannot(q, where, "contradicts the other name of the same limit", err);
    a->max_tokens = value;
    return ERR_OK;
}

static enum err_code ask_stop(const struct llm_request *q, struct view value, struct llm_ask *a,
                              struct err *err)
{
    struct view key, item;
    enum json_kind kind = json_raw_kind(value);
    bool ok = kind == JSON_RAW_STRING || (kind == JSON_RAW_ARRAY && json_raw_count(value) > 0);

    for (size_t at = 0; kind == JSON_RAW_ARRAY && json_raw_each(value, &at, &key, &item);)
        ok = ok && json_raw_kind(item) == JSON_RAW_STRING;
    if (!ok) return llm_cannot(q, "/stop", "must be text or a list of texts", err);
    a->stop = value;
    return ERR_OK;
}

static enum err_code ask_format(const struct llm_request *q, struct view value, struct llm_ask *a,
                                struct err *err)
{
    struct view spec = llm_member_of(value, "json_schema", JSON_RAW_OBJECT);
    char type[LLM_WORD];

    llm_member_word(value, "type", type);
    if (strcmp(type, "text") == 0) return ERR_OK;
    if (strcmp(type, "json_object") == 0) {
        a->format = LLM_FORMAT_JSON;
        return ERR_OK;
    }
    a->format = LLM_FORMAT_SCHEMA;
    a->schema = llm_member_of(spec, "schema", JSON_RAW_OBJECT);
    a->schema_name = llm_member_of(spec, "name", JSON_RAW_STRING);
    a->schema_strict = llm_member(spec, "strict");
    if (strcmp(type, "json_schema") != 0 || !a->schema.ptr || !a->schema_name.ptr)
        return llm_cannot(q, "/response_format",
                          "must be text, json_object, or json_schema with name and schema", err);
    return ERR_OK;
}

static enum err_code ask_member(const struct llm_request *q, struct view key, struct view value,
                                struct llm_ask *a, struct err *err)
{
    char where[LLM_WORD + 2];

    if (json_raw_kind(value) == JSON_RAW_NULL) return ERR_OK;
    if (view_eq_str(key, "messages")) {
        a->messages = value;
        return ERR_OK;
    }
    if (view_eq_str(key, "max_tokens")) return ask_limit(q, "/max_tokens", value, a, err);
    if (view_eq_str(key, "max_completion_tokens"))
        return ask_limit(q, "/max_completion_tokens", value, a, err);
    if (view_eq_str(key, "temperature"))
        return ask_number(q, "/temperature", value, &a->temperature, err);
    if (view_eq_str(key, "top_p")) return ask_number(q, "/top_p", value, &a->top_p, err);
    if (view_eq_str(key, "seed")) return ask_number(q, "/seed", value, &a->seed, err);
    if (view_eq_str(key, "stop")) return ask_stop(q, value, a, err);
    if (view_eq_str(key, "response_format")) return ask_format(q, value, a, err);
    if (view_eq_str(key, "n") && view_eq_str(value, "1")) return ERR_OK;
    snprintf(where, sizeof where, "/%.*s", (int)(key.len < LLM_WORD ? key.len : LLM_WORD), key.ptr);
    return llm_cannot(q, where, "has no counterpart in its protocol", err);
}

enum err_code llm_ask_read(const struct llm_request *q, struct llm_ask *ret, struct err *err)
{
    struct llm_ask a = {.format = LLM_FORMAT_TEXT};
    struct view key, value;

    for (size_t at = 0; json_raw_each(q->request, &at, &key, &value);) {
        enum err_code code = ask_member(q, key, value, &a, err);

        if (code != ERR_OK) return code;
    }
    if (json_raw_kind(a.messages) != JSON_RAW_ARRAY || json_raw_count(a.messages) == 0)
        return llm_cannot(q, "/messages", "must be a list of messages", err);
    *ret = a;
    return ERR_OK;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool ask_role(struct view message, enum llm_role *ret)
{
    char role[LLM_WORD];

    llm_member_word(message, "role", role);
    if (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0)
        *ret = LLM_SYSTEM;
    else if (strcmp(role, "user") == 0)
        *ret = LLM_USER;
    else if (strcmp(role, "assistant") == 0)
        *ret = LLM_ASSISTANT;
    else
        return false;
    return true;
}

static bool is_text_content(struct view content)
{
    struct view key, part;
    bool ok = json_raw_kind(content) == JSON_RAW_ARRAY && json_raw_count(content) > 0;

    if (json_raw_kind(content) == JSON_RAW_STRING) return true;
    for (size_t at = 0; ok && json_raw_each(content, &at, &key, &part);) {
        char type[LLM_WORD];

        llm_member_word(part, "type", type);
        ok = strcmp(type, "text") == 0 && llm_member_of(part, "text", JSON_RAW_STRING).ptr;
    }
    return ok;
}

/* A member that a message may not have here; VIEW_NONE: there is none. */
static struct view stray_member(struct view message)
{
    struct view key, value;

    for (size_t at = 0; json_raw_each(message, &at, &key, &value);)
        if (!view_eq_str(key, "role") && !view_eq_str(key, "content") &&
            json_raw_kind(value) != JSON_RAW_NULL)
            return key;
    return VIEW_NONE;
}

enum err_code llm_ask_message(const struct llm_request *q, const struct llm_ask *a, size_t *cursor,
                              struct llm_message *ret, bool *ret_more, struct err *err)
{
    struct view message, key, stray;
    char where[LLM_WORD + 64];
    /* Which one it is: only an error needs it, and then the walk may be made again. */
    size_t start = *cursor, index = 0;

    *ret_more = json_raw_each(a->messages, cursor, &key, &message);
    if (!*ret_more) return ERR_OK;
    stray = stray_member(message);
    bool has_role = ask_role(message, &ret->role);
    ret->content = llm_member(message, "content");
    if (has_role && !stray.ptr && is_text_content(ret->content)) return ERR_OK;
    for (size_t at = 0; at < start && json_raw_each(a->messages, &at, &key, &message);) index++;
    snprintf(where, sizeof where, "/messages/%zu/%.*s", index,
             stray.ptr ? (int)(stray.len < LLM_WORD ? stray.len : LLM_WORD) : 7,
             stray.ptr  ? stray.ptr
             : has_role ? "content"
                        : "role");
    return llm_cannot(q, where,
                      stray.ptr  ? "has no counterpart in its protocol"
                      : has_role ? "must be text"
                                 : "must be system, developer, user or assistant",
                      err);
}

enum err_code llm_ask_front(const struct llm_request *q, const struct llm_ask *a, size_t *cursor,
                            struct llm_message *ret, bool *ret_more, struct err *err)
{
    struct llm_message m = {.role = LLM_SYSTEM};
    size_t next = *cursor;
    bool more;
    enum err_code code = llm_ask_message(q, a, &next, &m, &more, err);

    if (code != ERR_OK) return code;
    if (!more) return llm_cannot(q, "/messages", "must hold one of the user", err);
    *ret_more = m.role == LLM_SYSTEM;
    if (!*ret_more) return ERR_OK;
    *ret = m;
    *cursor = next;
    return ERR_OK;
}

enum err_code llm_ask_turn(const struct llm_request *q, const struct llm_ask *a, size_t *cursor,
                           struct llm_message *ret, bool *ret_more, struct err *err)
{
    enum err_code code = llm_ask_message(q, a, cursor, ret, ret_more, err);

    if (code != ERR_OK || !*ret_more) return code;
    if (ret->role == LLM_SYSTEM)
        return llm_cannot(q, "/messages", "can hold system messages only at their front", err);
    return ERR_OK;
}

void llm_put_list(struct jw *j, const char *key, struct view value)
{
    jw_key(j, key);
    if (json_raw_kind(value) != JSON_RAW_STRING) {
        jw_raw(j, value);
        return;
    }
    jw_array(j);
    jw_raw(j, value);
    jw_end_array(j);
}

bool llm_content_each(struct view content, size_t *cursor, struct view *ret_text)
{
    struct view key, part;

    if (json_raw_kind(content) == JSON_RAW_STRING) {
        if (*cursor) return false;
        *cursor = 1;
        *ret_text = content;
        return true;
    }
    if (!json_raw_each(content, cursor, &key, &part)) return false;
    *ret_text = llm_member_of(part, "text", JSON_RAW_STRING);
    return true;
}

/* --- the wire --------------------------------------------------------------------------------- */

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

bool llm_wire_common_headers(struct llm_wire *w, const struct llm_request *q)
{
    return llm_wire_header(w, "Content-Type", VIEW_LIT("application/json")) &&
           llm_wire_header(w, "Accept",
                           q->stream ? VIEW_LIT("text/event-stream")
                                     : VIEW_LIT("application/json")) &&
           llm_wire_header(w, "X-Client-Request-Id", q->identity) &&
           llm_wire_header(w, "Idempotency-Key", q->identity);
}

void llm_wire_segment(struct llm_wire *w, struct view text, bool keep_slash)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if ((c && strchr(plain, c)) || (c == '/' && keep_slash))
            buf_put_char(&w->url, c);
        else
            buf_printf(&w->url, "%%%02X", (unsigned)(unsigned char)c);
    }
}
