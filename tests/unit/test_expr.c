/* Expressions: where they end, which are plain, what plain ones give (jq's answers, written down
 * here), and templates filled. */
#include "common/base/json.h"
#include "schemas/expr_priv.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static json_t *tree(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!v) fail_msg("the test's own JSON: %s", text);
    return v;
}

static void expect_json(const json_t *got, const char *want)
{
    json_t *w = tree(want);
    struct buf b;
    buf_init(&b, 1 << 20);
    json_put(&b, got);
    if (!json_equal(got, w)) fail_msg("got %.*s, want %s", (int)b.len, b.data, want);
    buf_fini(&b);
    json_decref(w);
}

/* --- splitting -------------------------------------------------------------------------------- */

/* Segments as text: L(literal) P(path) J(jq). */
static void expect_split(const char *text, const char *want)
{
    struct expr_segment list[16];
    size_t count = 99;
    struct err err;
    struct buf got;
    buf_init(&got, 4096);
    if (expr_split(view_of(text), list, 16, &count, &err) != ERR_OK)
        fail_msg("%s: %s", text, err.text);
    for (size_t i = 0; i < count; i++)
        buf_printf(&got, "%c(%.*s)", "LPJ"[list[i].kind], (int)list[i].text.len, list[i].text.ptr);
    buf_put_char(&got, '\0');
    assert_string_equal(got.data, want);
    buf_fini(&got);
}

static void splits(void **state)
{
    (void)state;
    expect_split("", "");
    expect_split("plain $ { } $5", "L(plain $ { } $5)");
    expect_split("${ .a }", "P(.a)");
    expect_split("${.a}${.b}", "P(.a)P(.b)");
    expect_split("x ${ .a } y", "L(x )P(.a)L( y)");
    expect_split("${ {a: 1} }", "J({a: 1})");
    expect_split("${ {a: {b: [1,{}]}} } t", "J({a: {b: [1,{}]}})L( t)");
    expect_split("${ \"}\" }", "J(\"}\")");
    expect_split("${ \"\\\"}\" }", "J(\"\\\"}\")");
    expect_split("${ \"a\\({b:\"}\"})}\" }", "J(\"a\\({b:\"}\"})}\")");
    expect_split("${ \"\\(\"\\(.a)\")\" } x", "J(\"\\(\"\\(.a)\")\")L( x)");
    expect_split("${ .a # a } comment\n }", "J(.a # a } comment)");
    expect_split("$${ .a }", "L(${ .a })");
    expect_split("a $${x} ${ .b }", "L(a )L(${x} )P(.b)");
    expect_split("$$${x}", "L($)L(${x})");
    expect_split("$$ ${ .a }", "L($$ )P(.a)");
    expect_split("${ .a}}", "P(.a)L(})");
    expect_split("\xc3\xa4${ .\"\xc3\xa4\" }", "L(\xc3\xa4)P(.\"\xc3\xa4\")");
}

static void refuses_unclosed(void **state)
{
    (void)state;
    static const char *const bad[] = {"${",         "${ .a",      "x ${ }",  "${}",
                                      "${ \"} ",    "${ (.a } )", "${ [ }",  "${ .a ) }",
                                      "${ \"\\( }", "${ \"\\",    "${ # } ", "${ \"\\(.a]\" }"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct expr_segment list[8];
        size_t count = 77;
        struct err err = {.code = ERR_OK};
        if (expr_split(view_of(bad[i]), list, 8, &count, &err) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(count, 77);
        assert_true(strstr(err.text, "closed") || strstr(err.text, "empty"));
    }
}

static void split_has_a_ceiling(void **state)
{
    (void)state;
    struct expr_segment list[2];
    size_t count;
    struct err err;
    assert_int_equal(expr_split(VIEW_LIT("a${.b}"), list, 2, &count, &err), ERR_OK);
    assert_int_equal(expr_split(VIEW_LIT("a${.b}c"), list, 2, &count, &err), ERR_TOO_LARGE);
    struct buf deep;
    buf_init(&deep, 4096);
    buf_put_str(&deep, "${");
    for (int i = 0; i < 100; i++) buf_put_char(&deep, '[');
    for (int i = 0; i < 100; i++) buf_put_char(&deep, ']');
    buf_put_char(&deep, '}');
    assert_int_equal(expr_split(buf_view(&deep), list, 2, &count, &err), ERR_INVALID);
    buf_fini(&deep);
}

/* Every prefix of a hard text either splits or is refused, and reads nothing beyond itself (ASan
 * sees to that). */
static void every_prefix_is_safe(void **state)
{
    (void)state;
    static const char text[] =
        "a$${b ${ {x: \"\\(.a[\"}\"])\", y: [1, (2)]} # c }\n | .steps.\"q\\\"\"[-1] } z";
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = malloc(n ? n : 1);
        struct expr_segment list[8];
        struct view v = view_make(exact, n), names[4];
        size_t count;
        assert_non_null(exact);
        memcpy(exact, text, n);
        enum err_code code = expr_split(v, list, 8, &count, NULL);
        assert_true(code == ERR_OK || code == ERR_INVALID);
        (void)expr_has(v);
        (void)expr_is_path(v);
        (void)expr_steps(v, names, 4);
        free(exact);
    }
}

static void tells_presence(void **state)
{
    (void)state;
    assert_true(expr_has(VIEW_LIT("${.a}")));
    assert_true(expr_has(VIEW_LIT("$${a} ${.a}")));
    assert_true(expr_has(VIEW_LIT("x ${ broken")));
    assert_false(expr_has(VIEW_LIT("$${.a}")));
    assert_false(expr_has(VIEW_LIT("$ {.a} $")));
    assert_false(expr_has(VIEW_LIT("")));
}

/* --- plain paths ------------------------------------------------------------------------------ */

static void kinds_of_paths(void **state)
{
    (void)state;
    static const char *const plain[] = {".",        ".a",     "._1",        ".a.b.c", ".a[0]",
                                        ".[0]",     ".[-1]",  ".[\"x y\"]", ".\"x\"", ".a[\"b\"].c",
                                        ".a.\"b\"", ".a.[0]", ".a.[\"x\"]", ".if",    ".[0][1]",
                                        ".[\"}\"]", ".\"\""};
    static const char *const other[] = {"",
                                        "a",
                                        ".a.",
                                        "..",
                                        ".a..b",
                                        ".[]",
                                        ".a[]",
                                        ".[1:2]",
                                        ".a?",
                                        ".a | .b",
                                        ".a .b",
                                        ".1",
                                        ".a-b",
                                        ".[1.5]",
                                        ".[-]",
                                        ".\"a\\n\"",
                                        ".[\"a\\u0041\"]",
                                        ".[\"a\"",
                                        ".[0",
                                        ".\"a",
                                        "$a",
                                        ".a[b]",
                                        ".[ 0 ]",
                                        "\"a\"",
                                        "[0]",
                                        ".[99999999999999999999]",
                                        ".\xc3\xa4"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (!expr_is_path(view_of(plain[i]))) fail_msg("not plain: %s", plain[i]);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        if (expr_is_path(view_of(other[i]))) fail_msg("plain: %s", other[i]);
}

static void paths_give_what_jq_gives(void **state)
{
    (void)state;
    static const struct {
        const char *path, *want; /* want NULL: jq says an error */
    } cases[] = {
        {".", "{\"a\":{\"b\":[1,2,{\"c\":null}],\"x "
              "y\":\"z\",\"\":7},\"n\":null,\"s\":\"t\",\"f\":false,\"e\":[]}"},
        {".a.b[0]", "1"},
        {".a.b[-1]", "{\"c\":null}"},
        {".a.b[-3]", "1"},
        {".a.b[-4]", "null"},
        {".a.b[3]", "null"},
        {".a.b[2].c", "null"},
        {".a.b[2].c.d", "null"},
        {".a[\"x y\"]", "\"z\""},
        {".a.\"x y\"", "\"z\""},
        {".a.\"\"", "7"},
        {".missing", "null"},
        {".missing.more[0]", "null"},
        {".n.x", "null"},
        {".n[5]", "null"},
        {".f", "false"},
        {".e[0]", "null"},
        {".e[-1]", "null"},
        {".[\"a\"].b[1]", "2"},
        {".s.x", NULL},
        {".a.b.c", NULL},
        {".a[0]", NULL},
        {".[0]", NULL},
        {".s[0]", NULL},
        {".f.x", NULL},
        {".a.b[0].x", NULL},
    };
    json_t *root = tree(cases[0].want);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *got = NULL;
        struct err err = {.code = ERR_OK};
        enum err_code code = expr_path(view_of(cases[i].path), root, &got, &err);
        if ((code == ERR_OK) != (cases[i].want != NULL))
            fail_msg("%s: %s", cases[i].path, err.text);
        if (cases[i].want)
            expect_json(got, cases[i].want);
        else
            assert_int_equal(code, ERR_INVALID);
    }
    json_decref(root);
}

static void long_names_are_found(void **state)
{
    (void)state;
    char name[600], path[620];
    memset(name, 'k', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(path, sizeof path, ".%s", name);
    json_t *root = json_pack("{s:i}", name, 5), *got;
    assert_int_equal(expr_path(view_of(path), root, &got, NULL), ERR_OK);
    assert_int_equal(json_integer_value(got), 5);
    json_decref(root);
}

static void faults_name_no_values(void **state)
{
    (void)state;
    json_t *root = tree("{\"a\":\"geheim\"}"), *got;
    struct err err;
    assert_int_equal(expr_path(VIEW_LIT(".a.b"), root, &got, &err), ERR_INVALID);
    assert_null(strstr(err.text, "geheim"));
    assert_string_equal(err.text, ".a.b: cannot take member \"b\" of string");
    json_decref(root);
}

/* --- references ------------------------------------------------------------------------------- */

static void expect_steps(const char *source, const char *want)
{
    struct view names[8];
    size_t n = expr_steps(view_of(source), names, 8);
    struct buf got;
    buf_init(&got, 1024);
    for (size_t i = 0; i < n; i++)
        buf_printf(&got, "%.*s,", names[i].ptr ? (int)names[i].len : 1,
                   names[i].ptr ? names[i].ptr : "?");
    buf_put_char(&got, '\0');
    if (strcmp(got.data, want) != 0) fail_msg("%s: got %s want %s", source, got.data, want);
    buf_fini(&got);
}

static void steps_are_seen(void **state)
{
    (void)state;
    expect_steps(".steps.a.output", "a,");
    expect_steps(".steps[\"a\"].output", "a,");
    expect_steps(".steps.\"a\"", "a,");
    expect_steps(".[\"steps\"].a", "a,");
    expect_steps(".\"steps\".a", "a,");
    expect_steps(".steps.a + .steps.b", "a,b,");
    expect_steps(".steps", "?,");
    expect_steps(".steps | keys", "?,");
    expect_steps(".steps[.x]", "?,");
    expect_steps(".stepsy.a", "");
    expect_steps(".input.steps.a", "");
    expect_steps(".a[0].steps.b", "");
    expect_steps("$x.steps.a", "");
    expect_steps("\".steps.a\"", "");
    expect_steps("\"\\(.steps.a) .steps.b\" + .steps.c", "a,c,");
    expect_steps("# .steps.a\n .steps.b", "b,");
    expect_steps("[.input[] | {x: .y, z: .steps.b}]", "b,");
    expect_steps("", "");
}

/* --- templates -------------------------------------------------------------------------------- */

#define ROOT                                                                                       \
    "{\"input\":{\"name\":\"Ada\",\"n\":3,\"list\":[1,2],\"none\":null,\"real\":0.1},\"steps\":{"  \
    "\"a\":{\"output\":{\"k\":[true]}}}}"

static enum err_code fill(const char *tmpl, const char *want, struct err *err)
{
    json_t *t = tree(tmpl), *root = tree(ROOT), *got = NULL;
    struct expr_value values[1] = {{VIEW_LIT(".input.list | add"), json_integer(3)}};
    enum err_code code = expr_fill(t, root, values, 1, &got, err);
    if (code == ERR_OK)
        expect_json(got, want);
    else
        assert_null(got);
    json_decref(got);
    json_decref(values[0].value);
    json_decref(t);
    json_decref(root);
    return code;
}

static void expect_fill(const char *tmpl, const char *want)
{
    struct err err;
    if (fill(tmpl, want, &err) != ERR_OK) fail_msg("%s: %s", tmpl, err.text);
}

static void templates_are_filled(void **state)
{
    (void)state;
    expect_fill("\"${ .input.n }\"", "3");
    expect_fill("\"${ .input.list }\"", "[1,2]");
    expect_fill("\"${ .input.none }\"", "null");
    expect_fill("\"Hello ${ .input.name }!\"", "\"Hello Ada!\"");
    expect_fill("\"${ .input.name }${ .input.n }\"", "\"Ada3\"");
    expect_fill("\"n=${ .input.n } l=${ .input.list } o=${ .steps.a.output } z=${ .input.none }\"",
                "\"n=3 l=[1,2] o={\\\"k\\\":[true]} z=null\"");
    expect_fill("\"real ${ .input.real }\"", "\"real 0.1\"");
    expect_fill("\"${ .input.list | add }\"", "3");
    expect_fill("\"sum ${ .input.list | add }\"", "\"sum 3\"");
    expect_fill("\"$${ .input.n } costs $5\"", "\"${ .input.n } costs $5\"");
    expect_fill("\"\"", "\"\"");
    expect_fill(
        "{\"a\":[\"${ .input.n }\",1,{\"b\":\"x${ .input.n }\"}],\"c\":true,\"${ .k }\":null}",
        "{\"a\":[3,1,{\"b\":\"x3\"}],\"c\":true,\"${ .k }\":null}");
    expect_fill("\" ${ .input.n }\"", "\" 3\"");
    expect_fill("7", "7");
}

static void bad_templates_are_told(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(fill("[1,\"${ .input.name.x }\"]", "", &err), ERR_INVALID);
    assert_int_equal(fill("{\"a\":\"x ${ .input.list.x }\"}", "", &err), ERR_INVALID);
    assert_int_equal(fill("\"${ \"", "", &err), ERR_INVALID);
    assert_int_equal(fill("\"${ .never | asked }\"", "", &err), ERR_INTERNAL);
}

static void collects_each_once(void **state)
{
    (void)state;
    json_t *t = tree("{\"a\":\"${ .x | a } ${ .y }\",\"b\":[\"${ .x | a }\",\"${ .x | b "
                     "}\"],\"c\":\"$${ .z | c }\"}");
    struct expr_value list[3] = {{VIEW_LIT("before"), NULL}};
    size_t count = 1;
    assert_int_equal(expr_collect(t, list, 3, &count, NULL), ERR_OK);
    assert_int_equal(count, 3);
    assert_true(view_eq_str(list[1].source, ".x | a"));
    assert_true(view_eq_str(list[2].source, ".x | b"));
    count = 1;
    assert_int_equal(expr_collect(t, list, 2, &count, NULL), ERR_TOO_LARGE);
    assert_int_equal(count, 1);
    json_decref(t);
}

/* A value that holds the growing document would hold itself. */
static void the_document_may_grow(void **state)
{
    (void)state;
    static const char *const whole[] = {"\"${ . }\"", "\"${ .steps }\"", "[\"${ . }\"]",
                                        "{\"a\":{\"b\":\"${ .steps }\"}}"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        json_t *root = tree(ROOT), *t = tree(whole[i]), *got;
        assert_int_equal(expr_fill(t, root, NULL, 0, &got, NULL), ERR_OK);
        assert_int_equal(json_object_set_new(json_object_get(root, "steps"), "b",
                                             json_pack("{s:o}", "output", got)),
                         0);
        struct buf b;
        buf_init(&b, 1 << 20);
        assert_true(json_put(&b, root));
        assert_true(b.len < 2000);
        buf_fini(&b);
        json_decref(t);
        json_decref(root);
    }
}

static void deep_values_are_shared(void **state)
{
    (void)state;
    json_t *root = tree(ROOT), *t = tree("\"${ .steps.a.output }\""), *got;
    assert_int_equal(expr_fill(t, root, NULL, 0, &got, NULL), ERR_OK);
    assert_ptr_equal(
        got, json_object_get(json_object_get(json_object_get(root, "steps"), "a"), "output"));
    json_decref(got);
    json_decref(t);
    json_decref(root);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    char *big = malloc(1000001);
    assert_non_null(big);
    memset(big, 'x', 1000000);
    big[1000000] = '\0';
    json_t *root = json_pack("{s:{s:s}}", "input", "t", big), *got = NULL;
    json_t *text = tree("\"${.input.t}${.input.t}${.input.t}${.input.t}${.input.t}\"");
    struct err err;
    assert_int_equal(expr_fill(text, root, NULL, 0, &got, &err), ERR_TOO_LARGE);
    json_t *list = json_array();
    for (int i = 0; i < 20; i++) json_array_append_new(list, json_string("1${.input.t}"));
    assert_int_equal(expr_fill(list, root, NULL, 0, &got, &err), ERR_TOO_LARGE);
    assert_null(got);
    json_decref(list);
    json_decref(text);
    json_decref(root);
    free(big);

    root = json_object();
    list = json_array();
    for (int i = 0; i < 2000; i++) json_array_append_new(list, json_array());
    json_object_set_new(root, "input", list);
    list = json_array();
    for (int i = 0; i < 600; i++) json_array_append_new(list, json_string("${.input}"));
    assert_int_equal(expr_fill(list, root, NULL, 0, &got, &err), ERR_TOO_LARGE);
    assert_null(got);
    json_decref(list);
    json_decref(root);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    json_t *deep = json_string("${ .a }"), *root = json_object(), *got = NULL;
    struct expr_value list[1];
    size_t count = 0;
    for (int i = 0; i < 100; i++) deep = json_pack("[o]", deep);
    assert_int_equal(expr_fill(deep, root, NULL, 0, &got, NULL), ERR_TOO_LARGE);
    assert_int_equal(expr_collect(deep, list, 1, &count, NULL), ERR_TOO_LARGE);
    json_decref(deep);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits),
        cmocka_unit_test(refuses_unclosed),
        cmocka_unit_test(split_has_a_ceiling),
        cmocka_unit_test(every_prefix_is_safe),
        cmocka_unit_test(tells_presence),
        cmocka_unit_test(kinds_of_paths),
        cmocka_unit_test(paths_give_what_jq_gives),
        cmocka_unit_test(long_names_are_found),
        cmocka_unit_test(faults_name_no_values),
        cmocka_unit_test(steps_are_seen),
        cmocka_unit_test(templates_are_filled),
        cmocka_unit_test(bad_templates_are_told),
        cmocka_unit_test(collects_each_once),
        cmocka_unit_test(the_document_may_grow),
        cmocka_unit_test(deep_values_are_shared),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
