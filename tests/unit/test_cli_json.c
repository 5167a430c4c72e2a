/* JSON for people: indented without a digit changed, harmless for a terminal; members taken out of
 * answers. */
#include "producer/cli_json.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void pretty(const char *json, const char *expected)
{
    struct buf out;

    buf_init(&out, 1 << 16);
    assert_true(cli_json_put_pretty(&out, view_of(json)));
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_pretty(void **state)
{
    (void)state;
    pretty("{\"a\":1,\"b\":[1,{\"c\":null}],\"d\":{},\"e\":[]}",
           "{\n  \"a\": 1,\n  \"b\": [\n    1,\n    {\n      \"c\": null\n    }\n  ],\n  \"d\": "
           "{},\n  \"e\": []\n}");
    pretty(" [ 0.1 , 12345678901234567890, 1e300 ] ",
           "[\n  0.1,\n  12345678901234567890,\n  1e300\n]");
    pretty("{ }", "{}");
    pretty("\"\\\"", "\"\\\"");
    pretty("{\"a\\\"b{[,:\":\"\\u00e9\\n\"}", "{\n  \"a\\\"b{[,:\": \"\\u00e9\\n\"\n}");
    pretty("true", "true");
    /* What would steer a terminal is spelled out. */
    pretty("[\"\xC2\x9B\xE2\x80\xAE\x7F\"]", "[\n  \"\\u009b\\u202e\\u007f\"\n]");
    /* No JSON: cleaned, not refused. */
    pretty("<html>\x1b[2J", "<html>\xEF\xBF\xBD[2J");
}

/* Deep nesting costs no stack, and what is indented is the same JSON: without its white space it is
 * the text it was made of. */
static void test_pretty_deep(void **state)
{
    enum { DEPTH = 120 };
    struct buf text, out, back;

    (void)state;
    buf_init(&text, 1 << 16);
    buf_init(&out, 1 << 20);
    buf_init(&back, 1 << 16);
    for (int i = 0; i < DEPTH; i++) buf_put_str(&text, "{\"k\":[1,");
    buf_put_char(&text, '2');
    for (int i = 0; i < DEPTH; i++) buf_put_str(&text, "]}");
    assert_int_equal(json_check(buf_view(&text), cli_json_answer_limits(), NULL), ERR_OK);
    assert_true(cli_json_put_pretty(&out, buf_view(&text)));
    for (size_t i = 0; i < out.len; i++)
        if (out.data[i] != ' ' && out.data[i] != '\n') buf_put_char(&back, out.data[i]);
    assert_true(view_eq(buf_view(&back), buf_view(&text)));
    assert_true(out.len > text.len);
    buf_fini(&text);
    buf_fini(&out);
    buf_fini(&back);
}

static void test_full(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 8);
    assert_false(cli_json_put_pretty(&out, VIEW_LIT("[1,2,3,4]")));
    buf_fini(&out);
}

static void test_check(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(cli_json_check("--input", VIEW_LIT("{\"a\":[1]}"), &err), ERR_OK);
    assert_int_equal(cli_json_check("--input", VIEW_LIT("{\"a\":[1,}"), &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "--input: at /a"));
    assert_int_equal(cli_json_check("--input", VIEW_LIT("name=Ada"), &err), ERR_INVALID);
    assert_true(view_starts(view_of(err.text), "--input: "));
    assert_int_equal(cli_json_check("--input", VIEW_LIT(""), &err), ERR_INVALID);
}

static void test_members(void **state)
{
    const struct view o =
        VIEW_LIT("{\"s\":\"a\\nb\",\"n\":12,\"x\":1.5,\"z\":null,\"o\":{\"k\":[1]}}");
    char text[8], tiny[2];
    struct buf out;

    (void)state;
    buf_init(&out, 64);
    assert_true(cli_json_text(o, "s", text, sizeof text));
    assert_string_equal(text, "a\nb");
    assert_false(cli_json_text(o, "s", tiny, sizeof tiny));
    assert_string_equal(tiny, "");
    assert_false(cli_json_text(o, "n", text, sizeof text));
    assert_string_equal(text, "");
    assert_false(cli_json_text(VIEW_NONE, "n", text, sizeof text));
    assert_int_equal(cli_json_int(o, "n", -1), 12);
    assert_int_equal(cli_json_int(o, "x", -1), -1);
    assert_int_equal(cli_json_int(o, "gone", -1), -1);
    assert_int_equal(cli_json_int(VIEW_NONE, "n", -1), -1);
    assert_true(cli_json_member(o, "o", &out));
    assert_true(view_eq_str(buf_view(&out), "{\"k\":[1]}"));
    buf_reset(&out);
    assert_true(cli_json_member(o, "s", &out));
    assert_true(view_eq_str(buf_view(&out), "a\nb"));
    assert_false(cli_json_member(o, "z", &out));
    assert_null(cli_json_raw(VIEW_LIT("[1]"), "0").ptr);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pretty), cmocka_unit_test(test_pretty_deep),
        cmocka_unit_test(test_full), cmocka_unit_test(test_check), cmocka_unit_test(test_members)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
