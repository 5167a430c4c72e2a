/* A provider's reply from a liar: any dialect, any bytes, in pieces of any size, streamed or whole,
 * refusals and headers too. And a request of any shape, in every dialect: what comes out is JSON
 * under the provider's own address, or an error. */
#include "common/base/json.h"
#include "consumer/llm.h"
#include "consumer/llm_count.h"
#include <assert.h>

static char base[] = "https://a.example/v1", version[] = "2023-06-01";
static const struct config_provider providers[] = {
    {.name = "p", .kind = PROVIDER_OPENAI, .base_url = base},
    {.name = "p", .kind = PROVIDER_OPENAI, .api = PROVIDER_RESPONSES, .base_url = base},
    {.name = "p", .kind = PROVIDER_AZURE, .base_url = base, .api_version = version},
    {.name = "p", .kind = PROVIDER_VLLM, .base_url = base},
    {.name = "p", .kind = PROVIDER_ANTHROPIC, .base_url = base, .api_version = version},
    {.name = "p", .kind = PROVIDER_GEMINI, .base_url = base, .api_version = version}};
enum { PROVIDERS = sizeof providers / sizeof providers[0] };
static const struct json_limits limits = {
    .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 100000};

static void ask(const struct config_provider *p, struct view bytes)
{
    const struct llm_request q = {.provider = p,
                                  .model = VIEW_LIT("m/../x?y"),
                                  .request = bytes,
                                  .stream = true,
                                  .identity = VIEW_LIT("i")};
    struct llm_wire w;
    struct err err;

    if (json_check(bytes, &limits, &err) != ERR_OK) return;
    if (llm_wire_init(&w, &q, &err) == ERR_OK)
        assert(json_check(buf_view(&w.body), &limits, &err) == ERR_OK);
    llm_wire_fini(&w);
    assert(llm_count_tokens(bytes) >= 0);
}

static void read_head(struct llm_reply *r, struct view bytes, int status)
{
    static const char *const names[] = {"x-ratelimit-reset-tokens", "ratelimit", "retry-after",
                                        "anthropic-ratelimit-requests-remaining", "date"};
    struct http_header headers[5];

    for (size_t i = 0; i < 5; i++) headers[i] = (struct http_header){view_of(names[i]), bytes};
    llm_reply_head(r, status, headers, 5, 1795608000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 429, 400, 503, 402};
    const struct config_provider *p;
    enum llm_verdict v = LLM_MORE;
    struct llm_reply *r;
    struct llm_out out;
    size_t at = 2, step;

    if (size < 3) return 0;
    p = &providers[(data[0] >> 4) % PROVIDERS];
    r = llm_reply_new(p, data[0] & 1);
    if (!r) return 0;
    step = (size_t)(data[1] % 31) + 1;
    read_head(r, view_make(data + 2, size - 2 < 40 ? size - 2 : 40), statuses[(data[0] >> 1) % 6]);
    for (size_t n; at < size && v == LLM_MORE; at += n) {
        n = size - at < step ? size - at : step;
        v = llm_reply_feed(r, view_make(data + at, n), &out);
    }
    if (v == LLM_MORE) v = llm_reply_end(r, NULL, &out);
    assert(v != LLM_MORE && llm_reply_limits(r)->tokens.reset_ms <= LLM_RESET_TOKENS_MAX_MS);
    assert(out.cached_input_tokens <= out.usage.input_tokens || out.usage.input_tokens < 0);
    llm_reply_free(r);
    ask(p, view_make(data + 2, size - 2));
    return 0;
}
