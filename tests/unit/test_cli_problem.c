/* Refusals in words: what the server said, where, and what to do. */
#include "producer/cli_problem.h"
#include "schemas/problem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *told(int status, const char *body, int64_t retry_after_s, const char *key)
{
    static char text[8192];
    const struct cli_refusal r = {.status = status,
                                  .body = view_of(body),
                                  .url = "http://gw.example",
                                  .retry_after_s = retry_after_s,
                                  .idempotency = key};
    struct buf out;

    buf_init(&out, sizeof text);
    assert_true(cli_problem_put(&out, &r));
    assert_true(view_copy(buf_view(&out), text, sizeof text));
    buf_fini(&out);
    return text;
}

static void test_detail(void **state)
{
    (void)state;
    assert_string_equal(
        told(422,
             "{\"type\":\"urn:x\",\"title\":\"The input does not match the workflow's "
             "schema\",\"status\":422,"
             "\"detail\":\"must be a "
             "string\",\"code\":\"invalid_input\",\"pointer\":\"/input/name\"}",
             0, "k"),
        "sluice: The input does not match the workflow's schema (422 invalid_input)\n"
        "  must be a string\n"
        "  at /input/name\n"
        "  hint: the place is a JSON pointer into the request; the workflow's file says what its "
        "input must be\n");
    /* The title is not said twice; an empty pointer has a name. */
    assert_string_equal(told(400,
                             "{\"title\":\"The body is not acceptable JSON\",\"detail\":\"The body "
                             "is not acceptable JSON\","
                             "\"code\":\"invalid_json\",\"pointer\":\"\"}",
                             0, NULL),
                        "sluice: The body is not acceptable JSON (400 invalid_json)\n"
                        "  at the root of the request\n"
                        "  hint: the place is a JSON pointer into the request\n");
    /* A code of a newer server. */
    assert_string_equal(told(418, "{\"title\":\"Teapot\",\"code\":\"teapot\"}", 0, NULL),
                        "sluice: Teapot (418 teapot)\n");
}

static void test_unavailable(void **state)
{
    (void)state;
    assert_string_equal(told(503,
                             "{\"title\":\"Not possible right now\",\"detail\":\"Kafka is "
                             "away\",\"code\":\"unavailable\","
                             "\"job_id\":\"0190a1b2-c3d4-7001-8000-0123456789ab\"}",
                             7, "order-17"),
                        "sluice: Not possible right now (503 unavailable)\n"
                        "  Kafka is away\n"
                        "  job 0190a1b2-c3d4-7001-8000-0123456789ab\n"
                        "  hint: try again; sluice doctor says what is away\n"
                        "  the server asks to wait 7 s\n"
                        "  should it have landed all the same: the same request with "
                        "--idempotency-key order-17 is the same job\n");
}

static void test_stranger(void **state)
{
    (void)state;
    const char *bodies[] = {"<html>502</html>",
                            "",
                            "{}",
                            "[]",
                            "{\"title\":7,\"detail\":{}}",
                            "{\"error\":{\"message\":\"x\"}}"};

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *text = told(404, bodies[i], 0, NULL);
        assert_non_null(strstr(text, "status 404 that is not Sluice's"));
        assert_non_null(strstr(text, "is http://gw.example the address of a gateway"));
    }
}

/* Whatever the texts hold, a line is a line and no escape gets through. */
static void test_clean(void **state)
{
    (void)state;
    const char *text = told(422,
                            "{\"title\":\"a\\u001b[2Jb\",\"detail\":\"c\\nd\",\"code\":\"invalid_"
                            "field\",\"pointer\":\"/\\u009b\"}",
                            0, NULL);

    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "  c d\n"));
    assert_null(strstr(text, "\xC2\x9B"));
}

/* Every problem a request can meet has something to do. */
static void test_every_problem_has_a_hint(void **state)
{
    (void)state;
    for (int p = 0; p < PROBLEM_COUNT; p++) {
        struct problem_body body = {.kind = (enum problem)p};
        struct buf json;
        char text[4096];

        if (problem_status(body.kind) == 0) continue;
        buf_init(&json, sizeof text);
        assert_true(problem_put(&json, &body));
        assert_true(view_copy(buf_view(&json), text, sizeof text));
        if (!strstr(told(problem_status(body.kind), text, 0, NULL), "  hint: "))
            fail_msg("%s has no hint", problem_code(body.kind));
        buf_fini(&json);
    }
}

static void test_exits(void **state)
{
    struct buf out;

    (void)state;
    assert_int_equal(cli_problem_exit(404), CLI_EXIT_FAILED);
    assert_int_equal(cli_problem_exit(500), CLI_EXIT_FAILED);
    assert_int_equal(cli_problem_exit(503), CLI_EXIT_AWAY);
    assert_true(cli_problem_is_passing(502) && cli_problem_is_passing(504));
    assert_false(cli_problem_is_passing(501) || cli_problem_is_passing(505) ||
                 cli_problem_is_passing(429));
    buf_init(&out, 1024);
    assert_true(cli_away_put(&out, "http://gw.example", "http: Couldn't connect to server"));
    buf_put_char(&out, '\0');
    assert_true(view_starts(
        view_of(out.data),
        "sluice: cannot reach http://gw.example: Couldn't connect to server\n  hint: "));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detail),
        cmocka_unit_test(test_unavailable),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_every_problem_has_a_hint),
        cmocka_unit_test(test_exits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
