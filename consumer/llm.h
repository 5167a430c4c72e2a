#ifndef CONSUMER_LLM_H
#define CONSUMER_LLM_H
#include "common/base/port.h"
#include "consumer/task.h"
#include "schemas/config.h"

/* LLM providers: one file each (llm_openai.c ...) with two pure halves: body() makes the request's
 * bytes, feed() turns the reply's bytes into text, usage and an end. Tested at every split of every
 * recorded stream. */
struct llm_request {
    const struct config_provider *provider;
    struct view model;   /* the provider's own model name */
    struct view request; /* TASK_CALL's request: messages, max_tokens, temperature ... */
    bool stream;
    struct view identity; /* <job id>/<step>/<item or ->/<attempt>: X-Client-Request-Id and
                             Idempotency-Key */
};
/* URL, headers (except the secret) and body. False: buffers full. */
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
struct llm_reply; /* parser state of one reply */
enum llm_verdict { LLM_MORE, LLM_DONE, LLM_FAILED };
struct llm_out {
    struct view text; /* new text since the last feed; borrowed */
    struct view finish_reason;
    struct task_usage usage;
    enum task_fault fault; /* LLM_FAILED */
    struct err err;
    char code[64];          /* the provider's code */
    int64_t retry_after_ms; /* -1: none told */
};
struct llm_reply *llm_reply_new(enum provider_kind kind, bool stream);
void llm_reply_free(struct llm_reply *r);
void llm_reply_head(struct llm_reply *r, int status, const struct http_header *headers,
                    size_t count);
/* Bytes in; text may come out. LLM_DONE only when the reply said it is whole ([DONE],
 * message_stop). */
enum llm_verdict llm_reply_feed(struct llm_reply *r, struct view bytes, struct llm_out *out);
/* The transport ended: e NULL = cleanly. */
enum llm_verdict llm_reply_end(struct llm_reply *r, const struct err *e, struct llm_out *out);
MUST_CHECK bool llm_wire_init(struct llm_wire *w, const struct llm_request *q);
void llm_wire_fini(struct llm_wire *w);

#endif
