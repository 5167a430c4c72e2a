/* vLLM, and whatever else says it is OpenAI-compatible: llama.cpp, Ollama, LM Studio, gateways.
 *
 * What differs: the output limit has its older name; some close the stream after the last chunk
 * without [DONE]; usage may be missing, come with every chunk or with the last one that has
 * choices; reasoning comes beside the text (reasoning_content) and is no text; errors have half a
 * dozen shapes, which llm_error_read knows. A kind of its own keeps this leniency away from
 * providers that need none: there a stream without [DONE] was cut. */
#include "consumer/llm_dialect.h"

static enum err_code vllm_body(struct llm_wire *w, const struct llm_request *q, struct err *err)
{
    buf_printf(&w->url, "%s/chat/completions", q->provider->base_url);
    w->key_header = "Authorization";
    w->key_prefix = "Bearer ";
    return llm_chat_body(w, q, "max_tokens", err);
}

const struct llm_dialect *llm_vllm_chat(void)
{
    static const struct llm_dialect dialect = {.body = vllm_body,
                                               .frame = llm_chat_frame,
                                               .whole = llm_chat_whole,
                                               .refusal = llm_openai_refusal,
                                               .ends_by_done = true,
                                               .ends_by_close = true};

    return &dialect;
}
