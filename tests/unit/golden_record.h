#ifndef TESTS_UNIT_GOLDEN_RECORD_H
#define TESTS_UNIT_GOLDEN_RECORD_H
/* Golden folders of records: `headers` (lines "name: value") and `value`. And the published JSON Schemas, by which what is
 * read and what is written must pass. */
#include "tests/unit/golden.h"

#include <jansson.h>

#include "common/base/json.h"
#include "common/base/port.h"
#include "schemas/jsonschema.h"

struct golden_record {
    struct buf headers, value;
    struct record_in in;
};

static inline void golden_record_read(const char *dir, struct golden_record *r)
{
    GOLDEN_PATH(headers, "%s/headers", dir);
    GOLDEN_PATH(value, "%s/value", dir);
    struct view line, rest;
    assert_true(golden_read(headers, &r->headers) && golden_read(value, &r->value));
    r->in = (struct record_in){.topic = "t", .value = buf_view(&r->value)};
    rest = buf_view(&r->headers);
    while (view_cut(rest, '\n', &line, &rest)) {
        struct header *h = &r->in.headers[r->in.header_count++];
        assert_true(view_cut(line, ':', &h->name, &h->value));
        h->value = view_trim(h->value);
    }
}

static inline void golden_record_done(struct golden_record *r)
{
    buf_fini(&r->headers);
    buf_fini(&r->value);
}

static inline void golden_put_headers(struct buf *out, const struct record_out *rec)
{
    for (size_t i = 0; i < rec->header_count; i++)
        buf_printf(out, "%.*s: %.*s\n", (int)rec->headers[i].name.len, rec->headers[i].name.ptr,
                   (int)rec->headers[i].value.len, rec->headers[i].value.ptr);
}

/* Is there a folder or file of this kind in the case? */
static inline bool golden_has(const char *dir, const char *name)
{
    GOLDEN_PATH(path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static const struct json_limits golden_limits = {.bytes_max = 8 << 20, .depth_max = 64, .nodes_max = 1000000};

static inline struct json_t *golden_json(const char *path)
{
    struct buf text;
    struct json_t *tree = NULL;
    struct err err;
    assert_true(golden_read(path, &text));
    if (json_load(buf_view(&text), &golden_limits, &tree, &err) != ERR_OK) fail_msg("%s: %s", path, err.text);
    buf_fini(&text);
    return tree;
}

/* Does the published schema schemas/NAME.schema.json take this text? Fails when the text is not JSON. */
static inline bool golden_schema_takes(const char *name, struct view text, struct err *err)
{
    GOLDEN_PATH(path, "schemas/%s.schema.json", name);
    struct json_t *schema = golden_json(path), *value = NULL;
    struct jsonschema *s = NULL;
    if (jsonschema_compile(schema, &s, err) != ERR_OK) fail_msg("%s: %s at %s", path, err->text, err->where);
    if (json_load(text, &golden_limits, &value, err) != ERR_OK) fail_msg("not JSON: %s", err->text);
    bool ok = jsonschema_check(s, value, "", err) == ERR_OK;
    json_decref(value);
    json_decref(schema);
    jsonschema_free(s);
    return ok;
}

static inline void golden_schema_must_take(const char *name, struct view text)
{
    struct err err;
    if (!golden_schema_takes(name, text, &err))
        fail_msg("schemas/%s.schema.json refuses %.*s: %s at %s", name, (int)text.len, text.ptr, err.text, err.where);
}

#endif
