/* The official JSON-Schema-Test-Suite, draft 2020-12, over our validator.
 *
 * The suite is not in this repository: it comes with the source package of the Python validator,
 * which `make test-deps` unpacks; JSON_SCHEMA_TEST_SUITE names another copy's tests/draft2020-12.
 * Every file of a supported keyword is run. A case must be judged right, or its schema refused for
 * one of the reasons that are ours by design. */
#include "common/base/json.h"
#include "schemas/jsonschema.h"
#include "tests/unit/golden.h"
#include <jansson.h>
#include <unistd.h>

#define SUITE_DEFAULT "build/jsonschema-suite/tests/draft2020-12"

static const char *const suite_files[] = {
    "additionalProperties",
    "allOf",
    "anyOf",
    "boolean_schema",
    "const",
    "contains",
    "default",
    "defs",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if-then-else",
    "infinite-loop-detection",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "ref",
    "required",
    "type",
    "uniqueItems",
    "optional/bignum",
    "optional/ecmascript-regex",
    "optional/float-overflow",
    "optional/non-bmp-regex",
    "optional/no-schema",
    "optional/format/uri",
    "optional/format/email",
    "optional/format/date",
    "optional/format/date-time",
    "optional/format/uuid",
};

static const char *suite_dir(void)
{
    const char *dir = getenv("JSON_SCHEMA_TEST_SUITE");
    if (dir) return dir;
    return access(SUITE_DEFAULT, R_OK) == 0 ? SUITE_DEFAULT : NULL;
}

struct suite_count {
    size_t run, refused, wrong;
};

static json_t *suite_load(const char *path)
{
    static const struct json_limits limits = {
        .bytes_max = 8 << 20, .depth_max = 100, .nodes_max = 1 << 20};
    struct buf text;
    json_t *tree = NULL;
    if (!golden_read(path, &text)) return NULL;
    tree = json_loadb(text.data, text.len, JSON_ALLOW_NUL, NULL);
    if (!tree && json_load(buf_view(&text), &limits, &tree, NULL) != ERR_OK) tree = NULL;
    buf_fini(&text);
    return tree;
}

/* Keywords and references beyond the subset, and Unicode's tables. Nothing else may be refused. */
static bool suite_may_refuse(const struct err *err)
{
    static const char *const reasons[] = {"this keyword is not supported",
                                          "must lead into this schema", "can stand at the top",
                                          "\\p is not supported"};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (strstr(err->text, reasons[i])) return true;
    return false;
}

static void suite_group(const char *file, const json_t *group, struct suite_count *c)
{
    const char *name = json_string_value(json_object_get(group, "description"));
    struct jsonschema *s = NULL;
    struct err err = {.code = ERR_OK};
    if (jsonschema_compile(json_object_get(group, "schema"), &s, &err) != ERR_OK) {
        c->refused++;
        if (suite_may_refuse(&err)) return;
        c->wrong++;
        printf("REFUSED  %s: %s: %s %s\n", file, name, err.where, err.text);
        return;
    }
    size_t i;
    json_t *test;
    json_array_foreach(json_object_get(group, "tests"), i, test)
    {
        bool want = json_is_true(json_object_get(test, "valid"));
        enum err_code code = jsonschema_check(s, json_object_get(test, "data"), "", &err);
        c->run++;
        if ((code == ERR_OK) == want && (code == ERR_OK || code == ERR_INVALID)) continue;
        c->wrong++;
        printf("WRONG    %s: %s: %s: %s\n", file, name,
               json_string_value(json_object_get(test, "description")),
               code ? err.text : "accepted");
    }
    jsonschema_free(s);
}

static void suite(void **state)
{
    (void)state;
    const char *dir = suite_dir();
    struct suite_count c = {0, 0, 0};
    if (!dir) skip();
    for (size_t f = 0; f < sizeof suite_files / sizeof suite_files[0]; f++) {
        GOLDEN_PATH(path, "%s/%s.json", dir, suite_files[f]);
        json_t *groups = suite_load(path), *group;
        size_t i;
        if (!groups) fail_msg("%s cannot be read", path);
        json_array_foreach(groups, i, group) suite_group(suite_files[f], group, &c);
        json_decref(groups);
    }
    printf("%zu cases run, %zu schemas refused, %zu wrong\n", c.run, c.refused, c.wrong);
    assert_int_equal(c.wrong, 0);
    assert_true(c.run >= 800);
    assert_true(c.refused * 10 < c.run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(suite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
