/* A token counter for reservations: fast and rough, settled to the true number a moment later. */
#include "consumer/llm_count.h"

#include "common/base/json.h"

int64_t llm_count_text(struct view text)
{
    return (int64_t)(text.len + 3) / 4;
}

int64_t llm_count_tokens(struct view request)
{
    return llm_count_text(request);
}
