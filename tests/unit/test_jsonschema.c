/* JSON Schema: golden folders (schema, what it accepts, what it refuses and how it says so), the
 * bounds, and regular expressions by themselves. The official suite is test_jsonschema_suite.c. */
#include "common/base/json.h"
#include "schemas/jsonschema_priv.h"
#include "tests/unit/golden.h"

static json_t *load(const char *path)
{
    struct buf text;
    if (!golden_read(path, &text)) fail_msg("%s is missing", path);
    json_error_t e;
    json_t *tree = json_loadb(text.data, text.len, JSON_DECODE_ANY, &e);
    if (!tree) fail_msg("%s: %s", path, e.text);
    buf_fini(&text);
    return tree;
}

static json_t *tree(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!v) fail_msg("the test's own JSON: %s", text);
    return v;
}

static struct jsonschema *compile(const char *text)
{
    struct jsonschema *s = NULL;
    struct err err;
    json_t *source = tree(text);
    if (jsonschema_compile(source, &s, &err) != ERR_OK) fail_msg("%s: %s", err.where, err.text);
    json_decref(source); /* the schema keeps what it needs */
    return s;
}

/* --- golden ----------------------------------------------------------------------------------- */

static void valid_case(const char *dir)
{
    GOLDEN_PATH(schema_path, "%s/schema.json", dir);
    GOLDEN_PATH(good_path, "%s/good.json", dir);
    GOLDEN_PATH(bad_path, "%s/bad.json", dir);
    GOLDEN_PATH(errors_path, "%s/errors.txt", dir);
    json_t *source = load(schema_path), *good = load(good_path), *bad = load(bad_path), *value;
    struct jsonschema *s = NULL;
    struct err err;
    struct buf errors;
    size_t i;
    buf_init(&errors, 1 << 20);
    if (jsonschema_compile(source, &s, &err) != ERR_OK) fail_msg("%s: %s", dir, err.text);
    json_array_foreach(good, i, value)
    {
        if (jsonschema_check(s, value, "/input", &err) != ERR_OK)
            fail_msg("%s: good %zu: %s: %s", dir, i, err.where, err.text);
    }
    json_array_foreach(bad, i, value)
    {
        if (jsonschema_check(s, value, "/input", &err) != ERR_INVALID)
            fail_msg("%s: bad %zu passed", dir, i);
        assert_int_equal(jsonschema_check(s, value, "/input", NULL), ERR_INVALID);
        buf_printf(&errors, "%s: %s\n", err.where, err.text);
    }
    golden_check(errors_path, buf_view(&errors));
    buf_fini(&errors);
    jsonschema_free(s);
    json_decref(source);
    json_decref(good);
    json_decref(bad);
}

static void invalid_case(const char *dir)
{
    GOLDEN_PATH(schema_path, "%s/schema.json", dir);
    GOLDEN_PATH(error_path, "%s/error.txt", dir);
    json_t *source = load(schema_path);
    struct jsonschema *s = NULL;
    struct err err;
    struct buf text;
    if (jsonschema_compile(source, &s, &err) != ERR_INVALID) fail_msg("%s was accepted", dir);
    assert_null(s);
    assert_int_equal(jsonschema_compile(source, &s, NULL), ERR_INVALID);
    buf_init(&text, 4096);
    buf_printf(&text, "%s: %s\n", err.where, err.text);
    golden_check(error_path, buf_view(&text));
    buf_fini(&text);
    json_decref(source);
}

static void golden_valid(void **state)
{
    (void)state;
    golden_each("tests/golden/jsonschema/valid", NULL, valid_case);
}

static void golden_invalid(void **state)
{
    (void)state;
    golden_each("tests/golden/jsonschema/invalid", NULL, invalid_case);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void expect_code(const char *schema, json_t *take_value, enum err_code want)
{
    struct jsonschema *s = compile(schema);
    struct err err = {.code = ERR_OK};
    enum err_code code = jsonschema_check(s, take_value, "/input", &err);
    if (code != want) fail_msg("%s: got %s (%s)", schema, err_name(code), err.text);
    json_decref(take_value);
    jsonschema_free(s);
}

static json_t *many(size_t count, bool is_text)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", i);
        json_array_append_new(list, is_text ? json_string(text) : json_integer((json_int_t)i));
    }
    return list;
}

static void steps_are_bounded(void **state)
{
    (void)state;
    expect_code("{\"items\":{\"type\":\"string\"}}", many(90000, true), ERR_OK);
    expect_code("{\"items\":{\"type\":\"string\"}}", many(110000, true), ERR_TOO_LARGE);
    expect_code("{\"not\":{\"items\":{\"type\":\"string\"}}}", many(110000, true), ERR_TOO_LARGE);
    expect_code("{\"anyOf\":[{\"items\":{\"type\":\"string\"}},true]}", many(110000, true),
                ERR_TOO_LARGE);
    expect_code("{\"if\":{\"items\":{\"type\":\"string\"}},\"else\":false}", many(110000, true),
                ERR_TOO_LARGE);
    expect_code("{\"uniqueItems\":true}", many(40000, true), ERR_OK);
    expect_code("{\"uniqueItems\":true}", many(40000, false), ERR_OK);
    expect_code("{\"uniqueItems\":true}", many(110000, false), ERR_TOO_LARGE);
}

/* Every level doubles the work: only the count of steps ends it. */
static void explosions_end(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 40; i++)
        buf_printf(&b,
                   "\"d%d\":{\"allOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]},",
                   i, i + 1, i + 1);
    buf_put_str(&b, "\"d40\":true}}");
    buf_put_char(&b, '\0');
    expect_code(b.data, json_integer(1), ERR_TOO_LARGE);
    buf_fini(&b);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    json_t *deep = json_array();
    for (int i = 0; i < 1000; i++) deep = json_pack("[o]", deep);
    expect_code("{\"items\":{\"$ref\":\"#\"}}", deep, ERR_TOO_LARGE);
    struct jsonschema *s = NULL;
    json_t *schema = json_true();
    for (int i = 0; i < 80; i++) schema = json_pack("{s:o}", "not", schema);
    assert_int_equal(jsonschema_compile(schema, &s, NULL), ERR_INVALID);
    json_decref(schema);
}

static void pointers_are_cut(void **state)
{
    (void)state;
    json_t *deep = json_string("end");
    struct err err;
    for (int i = 0; i < 60; i++) deep = json_pack("{s:o}", "a-rather-long-name", deep);
    struct jsonschema *s =
        compile("{\"additionalProperties\":{\"$ref\":\"#\"},\"type\":\"object\"}");
    assert_int_equal(jsonschema_check(s, deep, "/input", &err), ERR_INVALID);
    assert_true(strlen(err.where) < sizeof err.where);
    assert_int_equal(strncmp(err.where, "/input/a-rather-long-name/a-", 28), 0);
    jsonschema_free(s);
    json_decref(deep);
}

/* A fault says what would be right, never what was given. */
static void values_are_not_repeated(void **state)
{
    (void)state;
    static const char *const schemas[] = {"{\"type\":\"integer\"}",
                                          "{\"enum\":[\"a\"]}",
                                          "{\"const\":1}",
                                          "{\"pattern\":\"^a\"}",
                                          "{\"format\":\"uuid\"}",
                                          "{\"maxLength\":2}",
                                          "{\"not\":{\"type\":\"string\"}}",
                                          "{\"anyOf\":[{\"const\":1},{\"const\":2}]}"};
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        struct jsonschema *s = compile(schemas[i]);
        json_t *v = json_string("geheim");
        struct err err;
        assert_int_equal(jsonschema_check(s, v, "", &err), ERR_INVALID);
        assert_null(strstr(err.text, "geheim"));
        json_decref(v);
        jsonschema_free(s);
    }
}

/* --- regular expressions ---------------------------------------------------------------------- */

/* pattern, texts it matches, texts it does not; NULL ends each list */
static const struct {
    const char *pattern, *yes[5], *no[5];
} patterns[] = {
    {"", {"", "a"}, {NULL}},
    {"a", {"a", "xax"}, {"", "b"}},
    {"^a$", {"a"}, {"ab", "ba", "a\n", ""}},
    {"^(a|b)*c$", {"c", "ababc"}, {"abab", "xc"}},
    {"^(a*)*$", {"", "aaaa"}, {"aaab"}},
    {"^(a|)+b$", {"b", "aab"}, {"c"}},
    {"^a{2,3}$", {"aa", "aaa"}, {"a", "aaaa"}},
    {"^(ab){2}$", {"abab"}, {"ab", "ababab"}},
    {"^a{0}b{0,1}$", {"", "b"}, {"a", "bb"}},
    {"^a{2,}?$", {"aa", "aaaaa"}, {"a"}},
    {"^(a?){3}$", {"", "a", "aaa"}, {"aaaa"}},
    {"^[^a-c]$", {"d", "-", "\xc3\xa4"}, {"a", "b", ""}},
    {"^[a\\-z]$", {"a", "-", "z"}, {"b"}},
    {"^[-a]$", {"a", "-"}, {"b"}},
    {"^[a-]$", {"a", "-"}, {"b"}},
    {"^[\\]]$", {"]"}, {"["}},
    {"^[]$", {NULL}, {"", "a"}},
    {"^[^]$", {"a", "\n"}, {""}},
    {"^.$", {"a", "\xf0\x9f\x90\xb2"}, {"", "\n", "\r", "\xe2\x80\xa8"}},
    {"^\\d\\D\\w\\W\\s\\S$", {"1a_- x"}, {"aaaaaa", "1a_-xx"}},
    {"\\bfoo\\b", {"foo", "a foo b"}, {"food", "_foo"}},
    {"\\Boo", {"foo"}, {"oo"}},
    {"^\\x41\\u0042\\u{43}\\t$", {"ABC\t"}, {"abc\t"}},
    {"^\\ud83d\\udc32$", {"\xf0\x9f\x90\xb2"}, {"x"}},
    {"^\\cA\\0?$", {"\x01"}, {"A"}},
    {"^(?:ab|cd)(?<n>e)$", {"abe", "cde"}, {"ab", "e"}},
    {"^\\/\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\^\\$\\\\\\-$", {"/.*+?()[]{}|^$\\-"}, {"x"}},
    {"a{,2}", {"a{,2}"}, {"aa"}},
    {"x{", {"x{"}, {"x"}},
    {"^\\s$", {" ", "\xc2\xa0", "\xe2\x80\x83", "\n"}, {"a", "\xe1\xa0\x8e"}},
    {"|a", {"", "b"}, {NULL}},
    {"a|b|", {"", "zzz"}, {NULL}},
    {"^(([a-z]+)\\.)+[a-z]{2,}$", {"a.bc", "a.b.cd"}, {".ab", "a.b"}},
};

static bool matches(const struct jsonschema_regex *r, const char *text)
{
    int64_t steps = 100000;
    return jsonschema_regex_match(r, view_of(text), &steps);
}

static void patterns_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct jsonschema_regex *r = NULL;
        struct err err;
        if (jsonschema_regex_new(view_of(patterns[i].pattern), &r, &err) != ERR_OK)
            fail_msg("%s: %s", patterns[i].pattern, err.text);
        for (size_t k = 0; k < 5 && patterns[i].yes[k]; k++)
            if (!matches(r, patterns[i].yes[k]))
                fail_msg("%s must match '%s'", patterns[i].pattern, patterns[i].yes[k]);
        for (size_t k = 0; k < 5 && patterns[i].no[k]; k++)
            if (matches(r, patterns[i].no[k]))
                fail_msg("%s must not match '%s'", patterns[i].pattern, patterns[i].no[k]);
        jsonschema_regex_free(r);
    }
}

static void bad_patterns_are_told(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "(",
        ")",
        "a)",
        "[",
        "[a",
        "[a-",
        "*",
        "a**",
        "+",
        "?a",
        "^*",
        "\\b+",
        "a{2,1}",
        "a{1001}",
        "\\",
        "\\1",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<a",
        "\\p{L}",
        "\\x4",
        "\\u12",
        "\\u{110000}",
        "\\u{",
        "\\c1",
        "\\a",
        "\\Z",
        "\\00",
        "[z-a]",
        "[\\d-z]",
        "[\\w-a]",
        "(?i)a",
        "((((((((((((((((((((((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))))))"
        ")))))))))))))))",
        "(((a{1000}){1000}){1000})",
        "(a{100}){100}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct jsonschema_regex *r = NULL;
        struct err err = {.code = ERR_OK};
        if (jsonschema_regex_new(view_of(bad[i]), &r, &err) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_null(r);
        assert_non_null(strstr(err.text, "character"));
    }
}

/* What hangs a backtracking engine costs its steps here, and no more. */
static void matching_is_linear(void **state)
{
    (void)state;
    struct jsonschema_regex *r = NULL;
    char *text = malloc(200001);
    assert_non_null(text);
    memset(text, 'a', 200000);
    text[200000] = '\0';
    assert_int_equal(jsonschema_regex_new(VIEW_LIT("^(a+)+b$"), &r, NULL), ERR_OK);
    int64_t steps = 100000;
    assert_false(jsonschema_regex_match(r, view_of(text), &steps));
    assert_true(steps > 0);
    jsonschema_regex_free(r);
    assert_int_equal(jsonschema_regex_new(VIEW_LIT("(a|a|a|a|a|a|a|a|a|a){0,40}b"), &r, NULL),
                     ERR_OK);
    steps = 100000;
    assert_false(jsonschema_regex_match(r, view_of(text), &steps));
    assert_true(steps < 0);
    jsonschema_regex_free(r);
    free(text);
}

/* Broken UTF-8 must not lead a reader past the end (ASan watches). */
static void broken_text_is_safe(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff", "\xe2\x80", "\xf0\x9f", "a\xc3", "\x80\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct jsonschema_regex *r = NULL;
        size_t len = strlen(texts[i]);
        char *exact = malloc(len);
        int64_t steps = 1000;
        assert_non_null(exact);
        memcpy(exact, texts[i], len);
        if (jsonschema_regex_new(view_make(exact, len), &r, NULL) == ERR_OK)
            (void)jsonschema_regex_match(r, view_make(exact, len), &steps);
        jsonschema_regex_free(r);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_valid),
        cmocka_unit_test(golden_invalid),
        cmocka_unit_test(steps_are_bounded),
        cmocka_unit_test(explosions_end),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(pointers_are_cut),
        cmocka_unit_test(values_are_not_repeated),
        cmocka_unit_test(patterns_match),
        cmocka_unit_test(bad_patterns_are_told),
        cmocka_unit_test(matching_is_linear),
        cmocka_unit_test(broken_text_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
