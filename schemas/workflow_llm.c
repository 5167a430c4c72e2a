/* The block of an llm step: {model, messages, max_tokens, temperature, top_p, stop, stream,
 * response_schema, seed}.
 *
 * What decides before a call is made (model, stream, max_tokens, the schema) must be written out;
 * what only travels to the provider may be an expression. A schema is no template: an expression in
 * it would be checked as something else than it is sent as, so it is refused. */
#include "schemas/expr.h"
#include "schemas/workflow_priv.h"

static const char *const workflow_llm_keys[] = {
    "model", "messages", "max_tokens",      "temperature", "top_p",
    "stop",  "stream",   "response_schema", "seed",        NULL};
static const char *const workflow_message_keys[] = {"role", "content", NULL};
static const char *const workflow_roles[] = {"system", "user", "assistant", "developer"};
enum { WORKFLOW_MESSAGES_MAX = 256, WORKFLOW_STOPS_MAX = 4 };

static enum err_code workflow_read_model(struct workflow_read *r, struct workflow_step *s,
                                         const json_t *spec, const struct place *at)
{
    const json_t *value = json_object_get(spec, "model");
    const struct place here = place_key(at, "model");
    const char *name = json_string_value(value);
    size_t len = name ? strlen(name) : 0;
    if (!value)
        return workflow_fail(r, at, "model is missing; name one of the configuration's models");
    if (name && expr_has(view_of(name)))
        return workflow_fail(
            r, &here,
            "must be written out: budgets are kept by model, so it cannot be an expression");
    bool ok =
        len > 0 && len < sizeof s->model &&
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
    if (!ok)
        return workflow_fail(r, &here, "must be the name of one of the configuration's models");
    memcpy(s->model, name, len + 1);
    return ERR_OK;
}

static enum err_code workflow_check_message(struct workflow_read *r, const json_t *message,
                                            const struct place *at)
{
    enum err_code code = workflow_check_keys(r, message, at, workflow_message_keys);
    if (code != ERR_OK) return code;
    const char *role = json_string_value(json_object_get(message, "role"));
    const struct place role_at = place_key(at, "role"), content = place_key(at, "content");
    size_t i = 0;
    while (i < 4 && role && strcmp(role, workflow_roles[i]) != 0) i++;
    if (!role || i == 4)
        return workflow_fail(r, &role_at, "must be system, user, assistant or developer");
    if (!json_is_string(json_object_get(message, "content")))
        return workflow_fail(r, &content,
                             "must be text (put it in quotes), which may hold ${ } expressions");
    return ERR_OK;
}

static enum err_code workflow_check_messages(struct workflow_read *r, const json_t *spec,
                                             const struct place *at)
{
    const json_t *list = json_object_get(spec, "messages");
    const struct place here = place_key(at, "messages");
    if (!list)
        return workflow_fail(
            r, at, "messages is missing; add `messages: [{role: user, content: \"...\"}]`");
    if (workflow_is_expr(list)) return ERR_OK;
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0 || count > WORKFLOW_MESSAGES_MAX)
        return workflow_fail(r, &here,
                             "must be a list of 1 to %d {role, content}, or one expression",
                             WORKFLOW_MESSAGES_MAX);
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        struct place item = place_index(&here, i);
        code = workflow_check_message(r, json_array_get(list, i), &item);
    }
    return code;
}

static enum err_code workflow_check_number(struct workflow_read *r, const json_t *spec,
                                           const struct place *at, const char *key, double max)
{
    const json_t *value = json_object_get(spec, key);
    const struct place here = place_key(at, key);
    if (!value || workflow_is_expr(value)) return ERR_OK;
    if (json_is_number(value) && json_number_value(value) >= 0 && json_number_value(value) <= max)
        return ERR_OK;
    return workflow_fail(r, &here, "must be a number from 0 to %g", max);
}

static enum err_code workflow_check_rest(struct workflow_read *r, const json_t *spec,
                                         const struct place *at)
{
    const json_t *stop = json_object_get(spec, "stop"), *seed = json_object_get(spec, "seed");
    const struct place stop_at = place_key(at, "stop"), seed_at = place_key(at, "seed");
    bool is_list = json_is_array(stop) && json_array_size(stop) >= 1 &&
                   json_array_size(stop) <= WORKFLOW_STOPS_MAX;
    for (size_t i = 0; is_list && i < json_array_size(stop); i++)
        is_list = json_is_string(json_array_get(stop, i));
    if (stop && !json_is_string(stop) && !is_list)
        return workflow_fail(r, &stop_at, "must be text, or a list of 1 to %d texts",
                             WORKFLOW_STOPS_MAX);
    if (seed && !json_is_integer(seed) && !workflow_is_expr(seed))
        return workflow_fail(r, &seed_at, "must be an integer");
    enum err_code code = workflow_check_number(r, spec, at, "temperature", 2);
    return code == ERR_OK ? workflow_check_number(r, spec, at, "top_p", 1) : code;
}

/* No string of a schema holds an expression. */
static bool workflow_is_constant(const json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_string(value)) return !strstr(json_string_value(value), "${");
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!workflow_is_constant(json_array_get(value, i))) return false;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (!workflow_is_constant(member)) return false;
    }
    return true;
}

enum err_code workflow_read_llm(struct workflow_read *r, struct workflow_step *s,
                                const json_t *spec, const struct place *at)
{
    const struct workflow_member tokens = {"max_tokens", 1, 10000000, &s->max_tokens};
    const json_t *stream = json_object_get(spec, "stream"),
                 *schema = json_object_get(spec, "response_schema");
    const struct place stream_at = place_key(at, "stream"),
                       schema_at = place_key(at, "response_schema");
    enum err_code code = workflow_check_keys(r, spec, at, workflow_llm_keys);
    if (code == ERR_OK) code = workflow_read_model(r, s, spec, at);
    if (code == ERR_OK) code = workflow_check_messages(r, spec, at);
    if (code == ERR_OK) code = workflow_read_int(r, spec, at, &tokens);
    if (code == ERR_OK && stream && !json_is_boolean(stream))
        code = workflow_fail(r, &stream_at, "must be true or false");
    if (code == ERR_OK) code = workflow_check_rest(r, spec, at);
    if (code == ERR_OK && schema && !workflow_is_constant(schema))
        code = workflow_fail(r, &schema_at, "cannot hold ${ } expressions");
    if (code == ERR_OK) code = workflow_read_schema(r, schema, &schema_at, &s->response_schema);
    s->stream = !stream || json_is_true(stream);
    return code;
}
