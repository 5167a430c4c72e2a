/* A provider's reply from a liar: any bytes, in pieces of any size, streamed or whole, refusals too. */
#include "consumer/llm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_provider p = {.name = "p", .kind = PROVIDER_OPENAI};
    struct llm_reply *r;
    struct llm_out out;
    size_t at = 2, step;

    if (size < 3) return 0;
    r = llm_reply_new(&p, data[0] & 1);
    if (!r) return 0;
    step = (size_t)(data[1] % 31) + 1;
    if (data[0] & 2) llm_reply_head(r, data[0] & 4 ? 200 : 429, NULL, 0, 0);
    while (at < size) {
        size_t n = size - at < step ? size - at : step;

        if (llm_reply_feed(r, view_make(data + at, n), &out) != LLM_MORE) break;
        at += n;
    }
    (void)llm_reply_end(r, NULL, &out);
    llm_reply_free(r);
    return 0;
}
