/* Azure OpenAI: OpenAI's two protocols behind other addresses and another header for the key.
 *
 * Two forms of address: a base_url that ends in /openai/v1 is used as OpenAI's, the version being
 * part of it; any other is the resource's root, to which come the deployment (the route's model)
 * and api-version. The chunks of content filters that Azure mixes into a stream have no choices, or
 * empty ones: nothing of them is text. */
#include "consumer/llm_dialect.h"

static bool is_v1(const struct config_provider *p)
{
    static const char end[] = "/openai/v1";
    size_t len = strlen(p->base_url);

    return len >= sizeof end - 1 && strcmp(p->base_url + len - (sizeof end - 1), end) == 0;
}

/* path: under the deployment or the version. */
static enum err_code azure_url(struct llm_wire *w, const struct llm_request *q, const char *path,
                               struct err *err)
{
    const struct config_provider *p = q->provider;
    bool has_root = false;
    size_t len = strlen(p->base_url);

    w->key_header = "api-key";
    if (is_v1(p)) {
        buf_printf(&w->url, "%s/%s", p->base_url, path);
    } else {
        if (!p->api_version)
            return err_set(err, ERR_INVALID, "provider %s has no api_version", p->name);
        has_root = len >= 7 && strcmp(p->base_url + len - 7, "/openai") == 0;
        buf_printf(&w->url, "%s%s/", p->base_url, has_root ? "" : "/openai");
        if (p->api == PROVIDER_CHAT) {
            buf_put_str(&w->url, "deployments/");
            llm_wire_segment(w, q->model, false);
            buf_put_char(&w->url, '/');
        }
        buf_put_str(&w->url, path);
    }
    if (p->api_version) {
        buf_put_str(&w->url, "?api-version=");
        llm_wire_segment(w, view_of(p->api_version), false);
    }
    return ERR_OK;
}

static enum err_code azure_chat_body(struct llm_wire *w, const struct llm_request *q,
                                     struct err *err)
{
    enum err_code code = azure_url(w, q, "chat/completions", err);

    return code == ERR_OK ? llm_chat_body(w, q, "max_completion_tokens", err) : code;
}

static enum err_code azure_responses_body(struct llm_wire *w, const struct llm_request *q,
                                          struct err *err)
{
    enum err_code code = azure_url(w, q, "responses", err);

    return code == ERR_OK ? llm_responses_body(w, q, err) : code;
}

const struct llm_dialect *llm_azure_chat(void)
{
    static const struct llm_dialect dialect = {.body = azure_chat_body,
                                               .frame = llm_chat_frame,
                                               .whole = llm_chat_whole,
                                               .refusal = llm_openai_refusal,
                                               .ends_by_done = true};

    return &dialect;
}

const struct llm_dialect *llm_azure_responses(void)
{
    static const struct llm_dialect dialect = {.body = azure_responses_body,
                                               .frame = llm_responses_frame,
                                               .whole = llm_responses_whole,
                                               .refusal = llm_openai_refusal};

    return &dialect;
}
