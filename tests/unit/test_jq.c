/* jq in its cage, for real: the consumer program of this build is started as a helper. Values,
 * errors that hide what they quote, hanging and hungry expressions, nothing of the environment. */
#include "consumer/jq_helper.h"
#include "consumer/jq_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct result {
    struct loop *loop;
    size_t *left;
    struct err err;
    char value[256];
};

static void on_value(void *arg, const struct err *e, struct view value)
{
    struct result *r = arg;

    r->err = e ? *e : (struct err){0};
    (void)view_copy(value, r->value, sizeof r->value);
    if (--*r->left == 0) loop_stop(r->loop);
}

static const char *program(void)
{
    static char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    char *cut;

    assert_true(n > 0);
    path[n] = '\0';
    cut = strstr(path, "/tests/unit/");
    assert_non_null(cut);
    snprintf(cut, sizeof path - (size_t)(cut - path), "/bin/consumer");
    return path;
}

static void evaluate(const char *const *sources, const char *root, struct result *results,
                     size_t count, int64_t timeout_ms)
{
    struct loop *loop = loop_new(NULL);
    const struct jq_pool_options o = {
        .program = program(), .helpers = 2, .waiting_max = 8, .timeout_ms = timeout_ms};
    struct jq_pool *pool = jq_pool_new(loop, &o, NULL);
    struct eval_port port = jq_pool_port(pool);
    size_t left = count;

    for (size_t i = 0; i < count; i++) {
        results[i].loop = loop;
        results[i].left = &left;
        port.eval(port.self, view_of(sources[i]), view_of(root), on_value, &results[i]);
    }
    loop_run(loop);
    jq_pool_free(pool);
    loop_free(loop);
}

static void test_values(void **state)
{
    static const char *const sources[] = {
        ".a + 1", "[.b[] | ascii_upcase]", "$ENV | length", "env.HOME", "empty", ".a |", "input"};
    struct result r[7] = {0};

    (void)state;
    evaluate(sources, "{\"a\":41,\"b\":[\"x\",\"y\"]}", r, 7, 5000);
    assert_string_equal(r[0].value, "42");
    assert_string_equal(r[1].value, "[\"X\",\"Y\"]");
    assert_string_equal(r[2].value, "0");
    assert_string_equal(r[3].value, "null");
    assert_int_equal(r[4].err.code, ERR_INVALID);
    assert_int_equal(r[5].err.code, ERR_INVALID);
    assert_int_equal(r[6].err.code, ERR_INVALID);
}

static void test_errors_do_not_quote(void **state)
{
    static const char *const sources[] = {".s + 1", "error(.s)", ".s.x", ".s | tonumber"};
    struct result r[4] = {0};

    (void)state;
    evaluate(sources, "{\"s\":\"SECRET\"}", r, 4, 5000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r[i].err.code, ERR_INVALID);
        assert_null(strstr(r[i].err.text, "SECRET"));
    }
    assert_non_null(strstr(r[0].err.text, "cannot be added"));
}

static void test_hanging_is_killed_and_the_next_runs(void **state)
{
    static const char *const sources[] = {"def f: f; f", "[limit(1e9; repeat(1))] | length", ".a"};
    struct result r[3] = {0};

    (void)state;
    evaluate(sources, "{\"a\":7}", r, 3, 300);
    assert_int_equal(r[0].err.code, ERR_TIMEOUT);
    assert_true(r[1].err.code == ERR_TIMEOUT || r[1].err.code == ERR_TOO_LARGE);
    assert_string_equal(r[2].value, "7");
}

static void test_too_many_waiting(void **state)
{
    const char *sources[12];
    struct result r[12] = {0};
    size_t full = 0;

    (void)state;
    for (size_t i = 0; i < 12; i++) sources[i] = ".a";
    evaluate(sources, "{\"a\":7}", r, 12, 5000);
    for (size_t i = 0; i < 12; i++) full += r[i].err.code == ERR_FULL;
    assert_int_equal(full, 4);
}

static void test_clean(void **state)
{
    char text[200];

    (void)state;
    jq_error_clean(VIEW_LIT("string (\"a (b)\") and number (1) cannot be added"), text,
                   sizeof text);
    assert_null(strchr(text, 'b') && strstr(text, "a (b)") ? text : NULL);
    jq_error_clean(VIEW_LIT("my own words"), text, sizeof text);
    assert_string_equal(text, "jq: the expression raised an error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_errors_do_not_quote),
        cmocka_unit_test(test_hanging_is_killed_and_the_next_runs),
        cmocka_unit_test(test_too_many_waiting), cmocka_unit_test(test_clean)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
