/* A workflow file: the top of it, the defaults, and the small readers that steps use too.
 *
 * The first fault ends the reading and is told with file, line, path and the way to mend it:
 * whoever writes a workflow mends one thing and runs it again. Trees stay in the YAML document; a
 * workflow only points into them, so it costs little and lives as one piece. What later work brings
 * (components, other kinds of steps, cache) is known by name here and refused as such, not as a
 * typing error. */
#include "common/base/clock.h"
#include "schemas/suggest.h"
#include "schemas/workflow_priv.h"
#include <assert.h>
#include <stdarg.h>

static const char *const workflow_keys[] = {"name",     "version",    "description", "input",
                                            "defaults", "components", "use",         "steps",
                                            "output",   "tests",      "pin",         NULL};
static const char *const workflow_default_keys[] = {"retry", "timeout", NULL};
static const char *const workflow_retry_keys[] = {"max_attempts", "backoff", "initial", "max",
                                                  NULL};

/* --- faults ----------------------------------------------------------------------------------- */

enum err_code workflow_fail(const struct workflow_read *r, const struct place *at, const char *fmt,
                            ...)
{
    char where[sizeof r->err->where], text[sizeof r->err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(where, sizeof where, "%.100s:%u", yaml_name(r->doc), yaml_line(r->doc, at->pointer));
    if (!at->path[0]) return err_set_at(r->err, ERR_INVALID, where, "%s", text);
    return err_set_at(r->err, ERR_INVALID, where, "%.100s: %s", at->path, text);
}

/* "a, b, c", as far as it fits. */
static const char *workflow_names(const char *const *known, char *ret, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; known[i] && used < size; i++)
        used += (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", known[i]);
    return ret;
}

enum err_code workflow_check_keys(struct workflow_read *r, const json_t *value,
                                  const struct place *at, const char *const *known)
{
    char names[160];
    const char *key;
    json_t *member;
    if (!json_is_object(value))
        return workflow_fail(r, at, "must be a map, such as {%s: ...}", known[0]);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        struct suggest s;
        suggest_init(&s, view_of(key));
        size_t i = 0;
        for (; known[i] && strcmp(known[i], key) != 0; i++) suggest_offer(&s, view_of(known[i]));
        if (known[i]) continue;
        struct place here = place_key(at->path[0] ? at : NULL, key);
        if (s.best.ptr)
            return workflow_fail(r, &here, "unknown key; did you mean %.*s?", (int)s.best.len,
                                 s.best.ptr);
        return workflow_fail(r, &here, "unknown key; known are %s",
                             workflow_names(known, names, sizeof names));
    }
    return ERR_OK;
}

/* --- small readers ---------------------------------------------------------------------------- */

enum err_code workflow_read_int(struct workflow_read *r, const json_t *map, const struct place *at,
                                const struct workflow_member *m)
{
    const json_t *value = json_object_get(map, m->key);
    if (!value) return ERR_OK;
    int64_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    struct place here = place_key(at->path[0] ? at : NULL, m->key);
    if (!json_is_integer(value) || n < m->min || n > m->max)
        return workflow_fail(r, &here, "must be an integer from %lld to %lld", (long long)m->min,
                             (long long)m->max);
    *m->slot = n;
    return ERR_OK;
}

enum err_code workflow_read_duration(struct workflow_read *r, const json_t *map,
                                     const struct place *at, const struct workflow_member *m)
{
    const json_t *value = json_object_get(map, m->key);
    if (!value) return ERR_OK;
    int64_t ms = -1;
    struct place here = place_key(at, m->key);
    bool ok = json_is_string(value) && clock_duration(view_of(json_string_value(value)), &ms);
    if (!ok || ms < m->min || ms > m->max)
        return workflow_fail(
            r, &here, "must be a duration from %lldms to %lldh, such as 30s (units ms s m h d)",
            (long long)m->min, (long long)(m->max / 3600000));
    *m->slot = ms;
    return ERR_OK;
}

enum err_code workflow_read_retry(struct workflow_read *r, const json_t *value,
                                  const struct place *at, struct workflow_retry *slot)
{
    struct workflow_retry retry = *slot;
    if (!value) return ERR_OK;
    enum err_code code = workflow_check_keys(r, value, at, workflow_retry_keys);
    const json_t *backoff = json_object_get(value, "backoff");
    const char *name = json_string_value(backoff);
    struct place here = place_key(at, "backoff");
    if (code == ERR_OK && backoff &&
        !(name && (strcmp(name, "exponential") == 0 || strcmp(name, "constant") == 0)))
        code = workflow_fail(r, &here, "must be exponential or constant");
    if (code == ERR_OK && backoff) retry.exponential = strcmp(name, "exponential") == 0;
    const struct workflow_member attempts = {"max_attempts", 1, 100, &retry.max_attempts};
    const struct workflow_member initial = {"initial", 1, 3600000, &retry.initial_ms};
    const struct workflow_member max = {"max", 1, 3600000, &retry.max_ms};
    if (code == ERR_OK) code = workflow_read_int(r, value, at, &attempts);
    if (code == ERR_OK) code = workflow_read_duration(r, value, at, &initial);
    if (code == ERR_OK) code = workflow_read_duration(r, value, at, &max);
    here = place_key(at, "max");
    if (code == ERR_OK && retry.max_ms < retry.initial_ms)
        code = workflow_fail(r, &here, "must be at least initial (%lldms)",
                             (long long)retry.initial_ms);
    if (code == ERR_OK) *slot = retry;
    return code;
}

enum err_code workflow_read_schema(struct workflow_read *r, const json_t *value,
                                   const struct place *at, struct jsonschema **slot)
{
    struct err fault = {.code = ERR_OK};
    if (!value) return ERR_OK;
    enum err_code code = jsonschema_compile(value, slot, &fault);
    if (code == ERR_OK) return ERR_OK;
    if (code == ERR_NOMEM) return err_set(r->err, code, "%s", fault.text);
    struct place here;
    snprintf(here.path, sizeof here.path, "%.80s%.100s", at->path, fault.where);
    snprintf(here.pointer, sizeof here.pointer, "%.120s%.127s", at->pointer, fault.where);
    return workflow_fail(r, &here, "%s", fault.text);
}

/* --- the top ---------------------------------------------------------------------------------- */

static bool workflow_is_name(const char *text)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = text ? strlen(text) : 0;
    return len > 0 && len < WORKFLOW_NAME_MAX && strchr(first, text[0]) &&
           strspn(text, rest) == len;
}

static enum err_code workflow_read_head(struct workflow_read *r, const json_t *root)
{
    const struct workflow_member version = {"version", 1, 1000000000, &r->w->version};
    const char *name = json_string_value(json_object_get(root, "name"));
    const struct place top = {.path = ""}, at = place_key(NULL, "name");
    const struct place pin_at = place_key(NULL, "pin"), text_at = place_key(NULL, "description");
    const json_t *pin = json_object_get(root, "pin"), *text = json_object_get(root, "description");
    if (!json_object_get(root, "name"))
        return workflow_fail(r, &top, "name is missing; add `name: my-workflow`");
    if (!workflow_is_name(name))
        return workflow_fail(
            r, &at, "must be 1 to %d of the characters A-Z a-z 0-9 . _ -, a letter or digit first",
            WORKFLOW_NAME_MAX - 1);
    if (!json_object_get(root, "version"))
        return workflow_fail(r, &top, "version is missing; add `version: 1`");
    enum err_code code = workflow_read_int(r, root, &top, &version);
    if (code != ERR_OK) return code;
    if (text && !json_is_string(text)) return workflow_fail(r, &text_at, "must be text");
    if (pin && !(json_is_string(pin) && strcmp(json_string_value(pin), "build") == 0))
        return workflow_fail(r, &pin_at, "must be build, or left out");
    if (pin) memcpy(r->w->pin, "build", sizeof "build");
    memcpy(r->w->name, name, strlen(name) + 1);
    return ERR_OK;
}

static enum err_code workflow_refuse_later(struct workflow_read *r, const json_t *root)
{
    static const char *const later[] = {"components", "use"};
    for (size_t i = 0; i < 2; i++) {
        struct place at = place_key(NULL, later[i]);
        if (json_object_get(root, later[i]))
            return workflow_fail(r, &at, "is not available in this build; write the steps out");
    }
    struct place at = place_key(NULL, "tests");
    const json_t *tests = json_object_get(root, "tests");
    if (tests && !json_is_array(tests)) return workflow_fail(r, &at, "must be a list");
    return ERR_OK;
}

static enum err_code workflow_read_defaults(struct workflow_read *r, const json_t *root)
{
    const struct workflow_member timeout = {"timeout", 10, 86400000, &r->timeout_ms};
    const json_t *map = json_object_get(root, "defaults");
    const struct place at = place_key(NULL, "defaults"), retry = place_key(&at, "retry");
    r->retry = (struct workflow_retry){
        .max_attempts = 5, .initial_ms = 500, .max_ms = 30000, .exponential = true};
    r->timeout_ms = 120000;
    if (!map) return ERR_OK;
    enum err_code code = workflow_check_keys(r, map, &at, workflow_default_keys);
    if (code == ERR_OK)
        code = workflow_read_retry(r, json_object_get(map, "retry"), &retry, &r->retry);
    if (code == ERR_OK) code = workflow_read_duration(r, map, &at, &timeout);
    return code;
}

static enum err_code workflow_read_steps(struct workflow_read *r, const json_t *root)
{
    const struct place top = {.path = ""}, at = place_key(NULL, "steps");
    r->steps = json_object_get(root, "steps");
    if (!r->steps) return workflow_fail(r, &top, "steps is missing; add a list of steps");
    size_t count = json_array_size(r->steps);
    if (!json_is_array(r->steps) || count == 0 || count > WORKFLOW_STEPS_MAX)
        return workflow_fail(r, &at, "must be a list of 1 to %d steps", WORKFLOW_STEPS_MAX);
    r->w->steps = calloc(count, sizeof *r->w->steps);
    if (!r->w->steps) return err_set(r->err, ERR_NOMEM, "out of memory");
    r->w->step_count = count;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        struct place here = place_index(&at, i);
        code = workflow_read_step(r, i, &here);
    }
    return code;
}

static enum err_code workflow_read_root(struct workflow_read *r)
{
    const json_t *root = yaml_root(r->doc);
    const struct place top = {.path = ""}, input = place_key(NULL, "input");
    enum err_code code = workflow_check_keys(r, root, &top, workflow_keys);
    if (code == ERR_OK) code = workflow_read_head(r, root);
    if (code == ERR_OK) code = workflow_refuse_later(r, root);
    if (code == ERR_OK) code = workflow_read_defaults(r, root);
    if (code == ERR_OK)
        code = workflow_read_schema(r, json_object_get(root, "input"), &input, &r->w->input);
    if (code == ERR_OK) code = workflow_read_steps(r, root);
    r->w->output = json_object_get(root, "output");
    if (code == ERR_OK) code = workflow_link(r);
    return code;
}

enum err_code workflow_parse(struct view yaml, const char *file, struct workflow **ret,
                             struct err *err)
{
    struct err scratch;
    assert(yaml.ptr && file && ret);
    if (!err) err = &scratch;
    struct workflow *w = calloc(1, sizeof *w);
    struct workflow_read *r = calloc(1, sizeof *r);
    enum err_code code = w && r ? ERR_OK : err_set(err, ERR_NOMEM, "out of memory");
    if (code == ERR_OK) code = yaml_parse(yaml, file, &w->doc, err);
    if (code == ERR_OK) {
        r->w = w;
        r->doc = w->doc;
        r->err = err;
        code = workflow_read_root(r);
    }
    free(r);
    if (code == ERR_OK)
        *ret = w;
    else
        workflow_free(w);
    return code;
}

void workflow_free(struct workflow *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->step_count; i++) {
        free(w->steps[i].needs);
        jsonschema_free(w->steps[i].response_schema);
    }
    free(w->steps);
    jsonschema_free(w->input);
    yaml_doc_free(w->doc);
    free(w);
}

int workflow_step_find(const struct workflow *w, struct view id)
{
    for (size_t i = 0; i < w->step_count; i++)
        if (view_eq_str(id, w->steps[i].id)) return (int)i;
    return -1;
}
