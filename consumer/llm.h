#ifndef CONSUMER_LLM_H
#define CONSUMER_LLM_H
#include "common/base/port.h"
#include "consumer/llm_limits.h"
#include "consumer/task.h"
#include "schemas/config.h"

/* LLM providers: one file each (llm_openai.c ...) with two pure halves: body() makes the request's
 * bytes, feed() turns the reply's bytes into text, usage and an end. Tested at every split of every
 * recorded stream. consumer/providers.md is the page. */
struct llm_request {
    const struct config_provider *provider;
    struct view model;   /* the provider's own model name */
    struct view request; /* TASK_CALL's request, shaped as OpenAI chat: messages, max_tokens,
                            temperature ... Valid JSON. */
    bool stream;
    struct view identity; /* <job id>/<step>/<item or ->/<attempt>: X-Client-Request-Id and
                             Idempotency-Key */
};
/* URL, headers (except the secret) and body. */
struct llm_wire {
    struct buf url, body;
    struct buf header_bytes; /* names and values live here */
    struct {
        const char *name;
        size_t at, len; /* value within header_bytes */
    } headers[16];
    size_t header_count;
    const char
        *key_header; /* "Authorization" with "Bearer " put before the secret, "x-api-key" ... */
    const char *key_prefix;
};
/* The URL lies under the provider's base_url in every case (a key is bound to it). ERR_INVALID: the
 * provider's dialect has no way to say something of the request; err names it (where: /seed) and
 * the way out. Another route may be able to, this one never is: TASK_FAULT_FATAL. ERR_TOO_LARGE,
 * ERR_NOMEM. w wants llm_wire_fini in every case. */
MUST_CHECK enum err_code llm_wire_init(struct llm_wire *w, const struct llm_request *q,
                                       struct err *err);
void llm_wire_fini(struct llm_wire *w);

struct llm_reply; /* parser state of one reply */
enum llm_verdict { LLM_MORE, LLM_DONE, LLM_FAILED };
/* What one feed brought; usage and what follows it is all that is known so far, each time anew. */
struct llm_out {
    struct view text;          /* new text since the last feed; borrowed */
    struct view finish_reason; /* stop, length, tool_calls ..., in OpenAI's words; borrowed */
    /* As early as it is told: input_tokens holds from then on (Anthropic: with the first bytes, so
     * that the reservation can be settled), output_tokens is a running count until is_usage_final.
     * -1: not told, which may stay so to the end. Negative and absurd numbers are not told. */
    struct task_usage usage;
    int64_t cached_input_tokens; /* within usage.input_tokens: read from the provider's cache */
    bool is_usage_final;         /* the provider will tell no other numbers; never on a guess */
    enum task_fault fault;       /* LLM_FAILED, as all below */
    struct err err;
    char code[64];          /* the provider's code */
    int64_t retry_after_ms; /* when to come back, from now; -1: not told, or not to be believed */
    bool context_too_long;  /* the model cannot hold the request; one with a longer context might */
    bool is_daily;          /* EXHAUSTED because of a quota by the day */
};
/* NULL: no memory. p is borrowed for the call only. */
struct llm_reply *llm_reply_new(const struct config_provider *p, bool stream);
void llm_reply_free(struct llm_reply *r);
/* wall_ms: now, by our clock. */
void llm_reply_head(struct llm_reply *r, int status, const struct http_header *headers,
                    size_t count, int64_t wall_ms);
/* What the headers told, of a 200 and of a refusal alike; from llm_reply_head on, for as long as
 * r lives. Before: nothing told. */
const struct llm_limits *llm_reply_limits(const struct llm_reply *r);
/* Bytes in; text may come out. LLM_DONE only when the reply said it is whole ([DONE],
 * message_stop). */
enum llm_verdict llm_reply_feed(struct llm_reply *r, struct view bytes, struct llm_out *out);
/* The transport ended: e NULL = cleanly. Never LLM_MORE. */
enum llm_verdict llm_reply_end(struct llm_reply *r, const struct err *e, struct llm_out *out);

#endif
