#ifndef CONSUMER_LLM_LIMITS_H
#define CONSUMER_LLM_LIMITS_H
#include "common/base/view.h"

/* What a provider's headers say of its limits, of whatever dialect, in one shape. Pure. */

/* Longest reset and longest Retry-After that are believed; the essay in llm_limits.c says why. */
enum {
    LLM_RESET_TOKENS_MAX_MS = 10 * 60000,
    LLM_RESET_REQUESTS_MAX_MS = 24 * 3600000,
    LLM_RETRY_AFTER_MAX_MS = 24 * 3600000
};

struct llm_limit {
    int64_t limit, remaining, reset_ms; /* each -1: not told; reset_ms from now */
};

struct llm_limits {
    struct llm_limit requests, tokens, input, output; /* tokens: input and output together */
    bool is_any;                                      /* some limit was told */
    int64_t retry_after_ms;                           /* -1: not told; not part of is_any */
    /* the reader's own memory */
    bool has_retry_ms;     /* retry_after_ms came from the finer header */
    unsigned char is_void; /* bit per limit: told as 0, so nothing of it is believed */
};

/* Nothing told. */
void llm_limits_init(struct llm_limits *l);
/* Takes one header of a reply, of any status; order does not matter. Others than those of limits
 * are no news. A value that is absurd, negative, malformed or contradicts another is as if it was
 * not there; of two that speak of the same limit the more careful one holds. wall_ms: the time of
 * the reply; the provider's own (its Date header) where it is known, since some resets are times
 * of day. */
void llm_limits_header(struct llm_limits *l, struct view name, struct view value, int64_t wall_ms);
/* An IMF-fixdate, as in Date and Retry-After: "Sun, 06 Nov 1994 08:49:37 GMT". False: it is none.
 */
bool llm_limits_date(struct view text, int64_t *ret_wall_ms);

#endif
