#ifndef CONSUMER_LLM_DIALECT_H
#define CONSUMER_LLM_DIALECT_H
#include "consumer/llm.h"

/* What one provider's file fills in; llm.c does the rest (SSE, bounds, transport ends). All pure.
 */
struct llm_dialect {
    /* URL, headers, body into w. */
    bool (*body)(struct llm_wire *w, const struct llm_request *q);
    /* One SSE frame: text is appended to text; facts go into out. */
    enum llm_verdict (*frame)(struct view event, struct view data, struct buf *text,
                              struct llm_out *out);
    /* A whole non-streamed reply. */
    enum llm_verdict (*whole)(struct view body, struct buf *text, struct llm_out *out);
    /* A refusal (status is not 200): fault, code, err. retry_after_ms was read from the headers
     * already. */
    void (*refusal)(int status, struct view body, struct llm_out *out);
};

const struct llm_dialect *llm_openai_dialect(void);

enum { LLM_FRAME_MAX = 1 << 20, LLM_WHOLE_MAX = 4 << 20, LLM_REFUSAL_MAX = 16 << 10 };

/* For the dialects: a failed verdict with its reason. code may be NULL. */
enum llm_verdict llm_fail(struct llm_out *out, enum task_fault fault, const char *code,
                          const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Adds a header whose value is formatted. */
bool llm_wire_header(struct llm_wire *w, const char *name, struct view value);

#endif
