#ifndef CONSUMER_LLM_COUNT_H
#define CONSUMER_LLM_COUNT_H
#include "common/base/view.h"

/* Roughly how many input tokens a request costs: for a reservation, before the provider tells the
 * true number. Pure; one pass, no allocation. request: TASK_CALL's JSON; anything that is no JSON
 * object is counted as plain text. What it is good for and how far off it is: llm_count.c. */
int64_t llm_count_tokens(struct view request);
/* Of plain text, UTF-8 or not. */
int64_t llm_count_text(struct view text);

#endif
