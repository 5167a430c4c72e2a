/* YAML: what a plain scalar means, what is refused and on which line, and lines by JSON pointer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/buf.h"
#include "common/base/json.h"
#include "common/base/yaml.h"

/* Parses and dumps as JSON. */
static void check(const char *text, const char *want)
{
    struct yaml_doc *doc = NULL;
    struct err err = {.text = ""};
    struct buf b;
    buf_init(&b, 1 << 16);
    if (yaml_parse(view_of(text), "f.yaml", &doc, &err))
        fail_msg("%s: %s: %s", text, err.where, err.text);
    assert_true(json_put(&b, yaml_root(doc)));
    if (!view_eq_str(buf_view(&b), want)) fail_msg("%.*s is not %s", (int)b.len, b.data, want);
    buf_fini(&b);
    yaml_doc_free(doc);
}

static void check_refused(struct view text, enum err_code code, const char *where,
                          const char *sentence)
{
    struct yaml_doc *doc = NULL;
    struct err err = {.text = ""};
    if (yaml_parse(text, "f.yaml", &doc, &err) != code || strcmp(err.where, where) != 0 ||
        !strstr(err.text, sentence))
        fail_msg("%.*s: got %s %s: %s", (int)text.len, text.ptr, err_name(err.code), err.where,
                 err.text);
    assert_null(doc);
    assert_int_equal(yaml_parse(text, "f.yaml", &doc, NULL), code);
}

static void test_scalars(void **state)
{
    (void)state;
    check("", "null");
    check("# only a comment\n", "null");
    check("[~, null, Null, NULL, '', \"\", nULL]", "[null,null,null,null,\"\",\"\",\"nULL\"]");
    check("[true, True, TRUE, false, False, FALSE, tRUE]",
          "[true,true,true,false,false,false,\"tRUE\"]");
    check("[yes, no, on, off, y, n, No]", "[\"yes\",\"no\",\"on\",\"off\",\"y\",\"n\",\"No\"]");
    check("[0, -1, +2, 0123, 0x1F, 0o17, 0x, 0o8, 0xg, 1_000]",
          "[0,-1,2,123,31,15,\"0x\",\"0o8\",\"0xg\",\"1_000\"]");
    check("[9223372036854775807, -9223372036854775808, 9223372036854775808, 0x7fffffffffffffff]",
          "[9223372036854775807,-9223372036854775808,9.223372036854776e+18,9223372036854775807]");
    check("[1.5, .5, 1., 1e3, -1.5E-3, +.5e+1, 0.1, 0.]",
          "[1.5,0.5,1.0,1000.0,-0.0015,5.0,0.1,0.0]");
    check("[., -, +, e5, 1e, 1e+, 1.2.3, 2026-11-24, '1', \"true\", 500ms, 12:30, 0x-1, 0x+1]",
          "[\".\",\"-\",\"+\",\"e5\",\"1e\",\"1e+\",\"1.2.3\",\"2026-11-24\",\"1\",\"true\","
          "\"500ms\",\"12:30\",\"0x-1\",\"0x+1\"]");
    check("a: |\n  1\n  2\nb: >\n  x\n  y\n", "{\"a\":\"1\\n2\\n\",\"b\":\"x y\\n\"}");
    check("\"a\\u00e9\\x41\\n\\U0001F41D\"", "\"a\xC3\xA9"
                                             "A\\n\xF0\x9F\x90\x9D\"");
    check("\xEF\xBB\xBF"
          "a: 1",
          "{\"a\":1}");
    check("%YAML 1.1\n---\na: 1\n...\n", "{\"a\":1}");
}

static void test_trees(void **state)
{
    (void)state;
    check("a: {b: [1, {c: d}], e: }\nf:\n- g\n-\n  - h\n",
          "{\"a\":{\"b\":[1,{\"c\":\"d\"}],\"e\":null},\"f\":[\"g\",[\"h\"]]}");
    check("1: x\ntrue: y\n~: z\n\"\": w\n", "{\"1\":\"x\",\"true\":\"y\",\"~\":\"z\",\"\":\"w\"}");
    check("x: {a: 1}\ny: {a: 1}\n", "{\"x\":{\"a\":1},\"y\":{\"a\":1}}");
    check("url: \"${ .input.url }\"\n", "{\"url\":\"${ .input.url }\"}");
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where, *sentence;
    } cases[] = {
        {"a: &x 1\nb: *x\n", "f.yaml:1", "anchors"},
        {"a: 1\nb: *x\n", "f.yaml:2", "aliases"},
        {"a: &x {b: 1}\n", "f.yaml:1", "anchors"},
        {"a:\n - &x [b]\n", "f.yaml:2", "anchors"},
        {"&x a: 1\n", "f.yaml:1", "anchors"},
        {"a: !!str 1\n", "f.yaml:1", "tags"},
        {"a: !mine {b: 1}\n", "f.yaml:1", "tags"},
        {"a: ! [b]\n", "f.yaml:1", "tags"},
        {"%TAG ! tag:x,2026:\n---\na: 1\n", "f.yaml:1", "tags"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2", "one document"},
        {"a: 1\nb: {c: 1,\n  d: 2,\n  c: 3}\n", "f.yaml:4", "twice"},
        {"a: 1\n\"a\": 2\n", "f.yaml:2", "twice"},
        {"{a: 1}: 2\n", "f.yaml:1", "a key must be a scalar"},
        {"? [a]\n: 2\n", "f.yaml:1", "a key must be a scalar"},
        {"a: \"x\\0y\"\n", "f.yaml:1", "NUL"},
        {"\"x\\0y\": a\n", "f.yaml:1", "NUL"},
        {"a: .inf\n", "f.yaml:1", "infinity"},
        {"a: -.INF\n", "f.yaml:1", "infinity"},
        {"a: .NaN\n", "f.yaml:1", "NaN"},
        {"a: 0x8000000000000000\n", "f.yaml:1", "too large"},
        {"a: 0o1777777777777777777777\n", "f.yaml:1", "too large"},
        {"a: 1e999\n", "f.yaml:1", "too large"},
        {"a: [1, 2\nb: 3\n", "f.yaml:2", ""},
        {"a: b: c\n", "f.yaml:1", "mapping values are not allowed"},
        {"a:\n\t- b\n", "f.yaml:2", ""},
        {"a: 'x\n", "f.yaml:2", ""},
        {"a: \"\\ud800\"\n", "f.yaml:1", ""},
        {"a: \"\xff\"\n", "f.yaml:1", ""},
        {"a: \x01\n", "f.yaml:1", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(view_of(cases[i].text), ERR_INVALID, cases[i].where, cases[i].sentence);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 8 << 20);
    for (int i = 0; i < 64; i++) buf_put_char(&b, '[');
    for (int i = 0; i < 64; i++) buf_put_char(&b, ']');
    struct yaml_doc *doc = NULL;
    assert_int_equal(yaml_parse(buf_view(&b), "f.yaml", &doc, NULL), ERR_OK);
    yaml_doc_free(doc);
    buf_reset(&b);
    for (int i = 0; i < 65; i++) buf_put_char(&b, '[');
    check_refused(buf_view(&b), ERR_TOO_LARGE, "f.yaml:1", "nested too deeply");
    buf_reset(&b);
    for (int i = 0; i < 200001; i++) buf_put_str(&b, "- 1\n");
    check_refused(buf_view(&b), ERR_TOO_LARGE, "f.yaml:200000", "too many values");
    buf_reset(&b);
    buf_put_char(&b, '"');
    for (int i = 0; i < 4 << 20; i++) buf_put_char(&b, 'x');
    check_refused(buf_view(&b), ERR_TOO_LARGE, "f.yaml:1", "4 MiB");
    buf_fini(&b);
}

static void test_lines(void **state)
{
    (void)state;
    static const char text[] = "# one\n"
                               "name: onboard\n"
                               "steps:\n"
                               "  - id: crawl\n"
                               "    crawl:\n"
                               "      {url: x,\n"
                               "       depth: 2}\n"
                               "  -\n"
                               "    id: sum\n"
                               "a/b~c: {d: 1}\n"
                               "list: [1,\n"
                               "  2]\n";
    struct yaml_doc *doc = NULL;
    assert_int_equal(yaml_parse(VIEW_LIT(text), "w.yaml", &doc, NULL), ERR_OK);
    assert_string_equal(yaml_name(doc), "w.yaml");
    assert_int_equal(yaml_line(doc, ""), 2);
    assert_int_equal(yaml_line(doc, "/name"), 2);
    assert_int_equal(yaml_line(doc, "/steps"), 3);
    assert_int_equal(yaml_line(doc, "/steps/0"), 4);
    assert_int_equal(yaml_line(doc, "/steps/0/crawl"), 5);
    assert_int_equal(yaml_line(doc, "/steps/0/crawl/url"), 6);
    assert_int_equal(yaml_line(doc, "/steps/0/crawl/depth"), 7);
    assert_int_equal(yaml_line(doc, "/steps/0/crawl/absent/deeper"), 5);
    assert_int_equal(yaml_line(doc, "/steps/1"), 9);
    assert_int_equal(yaml_line(doc, "/steps/1/id"), 9);
    assert_int_equal(yaml_line(doc, "/steps/2"), 3);
    assert_int_equal(yaml_line(doc, "/steps/x"), 3);
    assert_int_equal(yaml_line(doc, "/a~1b~0c/d"), 10);
    assert_int_equal(yaml_line(doc, "/a~1b~0"), 2);
    assert_int_equal(yaml_line(doc, "/list/1"), 12);
    assert_int_equal(yaml_line(doc, "no pointer"), 2);
    yaml_doc_free(doc);
    yaml_doc_free(NULL);
}

/* No beginning of the text does harm, and the name is cut where it is long. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] = "a: {b: [1, \"x\\u00e9\", ~], 'c''': d}\n? e\n: - f\n  - {g: h}\n";
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    unsigned parsed = 0;
    for (size_t len = 0; len < sizeof text; len++) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, text, len);
        struct yaml_doc *doc = NULL;
        struct err err = {.text = ""};
        if (yaml_parse(view_make(copy, len), name, &doc, &err) == ERR_OK)
            parsed++;
        else
            assert_non_null(strchr(err.where, ':'));
        yaml_doc_free(doc);
        free(copy);
    }
    assert_true(parsed > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_trees),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_lines),   cmocka_unit_test(test_every_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
