/* What the dialects read replies with.
 *
 * Chosen: raw bytes all the way. A chunk of a stream is a few hundred bytes of which one string
 * matters; a tree of it would cost more than everything else the worker does for a token. Whatever
 * is absent, null or of an unexpected kind is simply not told: providers add, drop and misspell
 * members all the time, and only what decides may break a reply. */
#include "consumer/llm_dialect.h"
#include <stdarg.h>

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

void llm_finish(struct llm_turn *t, struct view word)
{
    static const struct {
        const char *theirs, *ours;
    } words[] = {
        {"end_turn", "stop"},
        {"stop_sequence", "stop"},
        {"completed", "stop"},
        {"STOP", "stop"},
        {"max_tokens", "length"},
        {"max_output_tokens", "length"},
        {"model_context_window_exceeded", "length"},
        {"MAX_TOKENS", "length"},
        {"tool_use", "tool_calls"},
        {"function_call", "tool_calls"},
        {"SAFETY", "content_filter"},
        {"RECITATION", "content_filter"},
        {"LANGUAGE", "content_filter"},
        {"BLOCKLIST", "content_filter"},
        {"PROHIBITED_CONTENT", "content_filter"},
        {"SPII", "content_filter"},
        {"IMAGE_SAFETY", "content_filter"},
        {"MALFORMED_FUNCTION_CALL", "error"},
    };

    t->is_finished = true;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (view_eq_str(word, words[i].theirs)) word = view_of(words[i].ours);
    for (size_t i = 0; i < word.len; i++) /* no escapes, no sentences */
        if (word.ptr[i] <= ' ' || word.ptr[i] > '~' || word.ptr[i] == '\\') word.len = 0;
    if (!view_copy(word, t->finish, sizeof t->finish))
        snprintf(t->finish, sizeof t->finish, "other");
}

struct view llm_member(struct view object, const char *key)
{
    struct view v;

    if (json_raw_kind(object) != JSON_RAW_OBJECT || !json_raw_member(object, view_of(key), &v) ||
        json_raw_kind(v) == JSON_RAW_NULL)
        return VIEW_NONE;
    return v;
}

struct view llm_member_of(struct view object, const char *key, enum json_kind kind)
{
    struct view v = llm_member(object, key);

    return v.ptr && json_raw_kind(v) == kind ? v : VIEW_NONE;
}

int64_t llm_member_count(struct view object, const char *key)
{
    int64_t n = -1;

    if (!view_i64(llm_member_of(object, key, JSON_RAW_NUMBER), &n) || n < 0 || n > 1000000000)
        return -1;
    return n;
}

void llm_member_word(struct view object, const char *key, char ret[LLM_WORD])
{
    struct view v = llm_member(object, key);

    ret[0] = '\0';
    if (!v.ptr) return;
    if (json_raw_kind(v) == JSON_RAW_STRING)
        v = view_make(v.ptr + 1, v.len - 2);
    else if (json_raw_kind(v) != JSON_RAW_NUMBER)
        return;
    if (!view_copy(v, ret, LLM_WORD) ||
        strspn(ret, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-") != v.len)
        ret[0] = '\0';
}

bool llm_take_text(struct llm_turn *t, struct view object, const char *key)
{
    struct view v = llm_member_of(object, key, JSON_RAW_STRING);

    if (!v.ptr || v.len == 2) return true;
    t->has_text = true;
    return json_raw_string(v, t->text) || t->text->failed; /* a full buffer is told by llm.c */
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool llm_says(struct view raw, const char *words)
{
    size_t len = strlen(words);

    for (size_t at = 0; at + len <= raw.len; at++) {
        size_t i = 0;

        while (i < len && lower(raw.ptr[at + i]) == lower(words[i])) i++;
        if (i == len) return true;
    }
    return false;
}

void llm_usage(struct llm_turn *t, int64_t input, int64_t output, int64_t cached)
{
    struct llm_out *out = t->out;

    if (input >= 0) out->usage.input_tokens = input;
    if (output >= 0) out->usage.output_tokens = output;
    if (cached >= 0) out->cached_input_tokens = cached;
    if (out->cached_input_tokens > out->usage.input_tokens) /* a part is not over its whole */
        out->cached_input_tokens = out->usage.input_tokens;
}
