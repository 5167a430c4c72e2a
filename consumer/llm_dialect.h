#ifndef CONSUMER_LLM_DIALECT_H
#define CONSUMER_LLM_DIALECT_H
#include "common/base/json.h"
#include "consumer/llm.h"

enum {
    LLM_FRAME_MAX = 1 << 20,
    LLM_WHOLE_MAX = 4 << 20,
    LLM_REFUSAL_MAX = 16 << 10,
    LLM_WORD = 64
};

/* One reply as far as it was read. */
struct llm_turn {
    struct buf *text;    /* what this feed brings: append */
    struct llm_out *out; /* facts; usage stands from feed to feed */
    int64_t wall_ms;     /* of the reply's head */
    char finish[32];     /* set through llm_finish */
    bool has_text;       /* some text came, in this feed or before */
    bool is_finished;    /* the reply said why it ends: only usage may follow */
    bool is_refused;     /* the model declined in so many words */
};

/* What one provider's file fills in; llm.c does the rest (SSE, [DONE], bounds, transport ends). All
 * pure. frame, whole and refusal get JSON that json_check accepted: an object in frame and whole
 * (whole: also an array), anything or VIEW_NONE in refusal. */
struct llm_dialect {
    /* URL, headers, body into w. */
    enum err_code (*body)(struct llm_wire *w, const struct llm_request *q, struct err *err);
    /* One SSE frame. */
    enum llm_verdict (*frame)(struct llm_turn *t, struct view event, struct view data);
    /* A whole non-streamed reply. */
    enum llm_verdict (*whole)(struct llm_turn *t, struct view body);
    /* A refusal (status is not 200): fault, code, err. out->retry_after_ms was read from the
     * headers already. */
    void (*refusal)(struct llm_turn *t, int status, struct view body);
    bool ends_by_done;  /* [DONE] is the end, finished or not */
    bool ends_by_close; /* finished and then closed cleanly is whole, too */
};

const struct llm_dialect *llm_openai_chat(void);
const struct llm_dialect *llm_openai_responses(void);
const struct llm_dialect *llm_azure_chat(void);
const struct llm_dialect *llm_azure_responses(void);
const struct llm_dialect *llm_vllm_chat(void);
const struct llm_dialect *llm_anthropic(void);
const struct llm_dialect *llm_gemini(void);

/* --- for the dialects: replies (llm_parse.c) -------------------------------------------------- */
/* A failed verdict with its reason. code may be NULL. */
enum llm_verdict llm_fail(struct llm_out *out, enum task_fault fault, const char *code,
                          const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Why the reply ends, in any dialect's words; kept in OpenAI's (stop, length, tool_calls,
 * content_filter, refusal), others as they are. */
void llm_finish(struct llm_turn *t, struct view word);
/* Members; VIEW_NONE, -1 or false when absent, null or of another kind. */
struct view llm_member(struct view object, const char *key);
struct view llm_member_of(struct view object, const char *key, enum json_kind kind);
int64_t llm_member_count(struct view object, const char *key); /* 0 to 10^9, else -1 */
/* Inside of a string member, when it is a plain word of at most 63 of A-Z a-z 0-9 _ . : -; a number
 * too. "" otherwise: a code must not carry a sentence. */
void llm_member_word(struct view object, const char *key, char ret[LLM_WORD]);
/* Appends a string member's text and notes that there was some. False: it cannot be read. */
bool llm_take_text(struct llm_turn *t, struct view object, const char *key);
/* True when the raw JSON holds the words, in whatever case. */
bool llm_says(struct view raw, const char *words);
/* Numbers that were told replace the older ones; -1 leaves them. */
void llm_usage(struct llm_turn *t, int64_t input, int64_t output, int64_t cached);

/* --- for the dialects: faults (llm_fault.c) --------------------------------------------------- */
/* What a status means on its own. */
enum task_fault llm_fault_of_status(int status);
/* An error object of OpenAI's family, also as vLLM, FastAPI and others shape it. */
struct llm_error {
    char code[LLM_WORD], type[LLM_WORD];
    struct view message; /* raw; to be searched, never to be kept */
};
void llm_error_read(struct view body, struct llm_error *ret);
void llm_openai_refusal(struct llm_turn *t, int status, struct view body);
/* An error object within a reply of status 200. */
enum llm_verdict llm_openai_fail_inside(struct llm_turn *t, struct view body);
/* A fault within a stream: an outage that came after text has cost an attempt. */
enum llm_verdict llm_fail_inside(struct llm_turn *t, enum task_fault fault, const char *code);
/* Takes a body's own hint of when to come back, where the headers gave none; not beyond max_ms. */
void llm_hint(struct llm_out *out, int64_t ms, int64_t max_ms);
/* Milliseconds to the next midnight of the US Pacific coast. */
int64_t llm_until_pacific_midnight(int64_t wall_ms);

/* --- for the dialects: requests (llm_ask.c) --------------------------------------------------- */
enum llm_format { LLM_FORMAT_TEXT, LLM_FORMAT_JSON, LLM_FORMAT_SCHEMA };
/* TASK_CALL's request, taken apart: raw JSON values, VIEW_NONE where absent or null. */
struct llm_ask {
    struct view messages; /* an array, not empty */
    struct view max_tokens, temperature, top_p, seed, stop;
    enum llm_format format;
    struct view schema, schema_name, schema_strict;
};
/* ERR_INVALID: something the request says is not known here, or wrong. */
MUST_CHECK enum err_code llm_ask_read(const struct llm_request *q, struct llm_ask *ret,
                                      struct err *err);
enum llm_role { LLM_SYSTEM, LLM_USER, LLM_ASSISTANT };
struct llm_message {
    enum llm_role role;
    struct view content; /* a string, or an array of text parts */
};
/* The message at *cursor (0 first). *ret_more false: there is none left. */
MUST_CHECK enum err_code llm_ask_message(const struct llm_request *q, const struct llm_ask *a,
                                         size_t *cursor, struct llm_message *ret, bool *ret_more,
                                         struct err *err);
/* For dialects whose instructions stand beside the conversation. First the system messages at the
 * front, one a call with *cursor from 0; *ret_more false: there are no more of them, and *cursor is
 * at the first other message, without which it is an error. */
MUST_CHECK enum err_code llm_ask_front(const struct llm_request *q, const struct llm_ask *a,
                                       size_t *cursor, struct llm_message *ret, bool *ret_more,
                                       struct err *err);
/* Then the conversation, likewise. A system message is an error now. */
MUST_CHECK enum err_code llm_ask_turn(const struct llm_request *q, const struct llm_ask *a,
                                      size_t *cursor, struct llm_message *ret, bool *ret_more,
                                      struct err *err);
/* Writes a value that is a list, or one text, as a list. */
void llm_put_list(struct jw *j, const char *key, struct view value);
/* The texts of a content, raw string literals, one after the other. */
bool llm_content_each(struct view content, size_t *cursor, struct view *ret_text);
/* ERR_INVALID with a sentence: the provider's dialect cannot say it. where: "/seed". */
enum err_code llm_cannot(const struct llm_request *q, const char *where, const char *why,
                         struct err *err);
/* Adds a header. False: no room. */
bool llm_wire_header(struct llm_wire *w, const char *name, struct view value);
/* Content-Type, Accept, and the identity under both its names. */
bool llm_wire_common_headers(struct llm_wire *w, const struct llm_request *q);
/* A segment of the URL, percent-encoded; slashes too, unless keep_slash. */
void llm_wire_segment(struct llm_wire *w, struct view text, bool keep_slash);
/* The chat body with the output limit under this name; the URL and the key's header are the
 * caller's. */
MUST_CHECK enum err_code llm_chat_body(struct llm_wire *w, const struct llm_request *q,
                                       const char *max_name, struct err *err);
MUST_CHECK enum err_code llm_responses_body(struct llm_wire *w, const struct llm_request *q,
                                            struct err *err);
enum llm_verdict llm_chat_frame(struct llm_turn *t, struct view event, struct view data);
enum llm_verdict llm_chat_whole(struct llm_turn *t, struct view body);
enum llm_verdict llm_responses_frame(struct llm_turn *t, struct view event, struct view data);
enum llm_verdict llm_responses_whole(struct llm_turn *t, struct view body);

#endif
