/* Problem bodies: the RFC's members and OpenAI's, for every code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "schemas/problem.h"
#include "tests/unit/golden_record.h"

static json_t *body_of(const struct problem_body *p)
{
    static const struct json_limits limits = {.bytes_max = 65536, .depth_max = 8, .nodes_max = 100};
    struct buf b;
    json_t *tree = NULL;
    struct err err;
    buf_init(&b, 65536);
    assert_true(problem_put(&b, p));
    assert_int_equal(json_load(buf_view(&b), &limits, &tree, &err), ERR_OK);
    golden_schema_must_take("problem", buf_view(&b));
    buf_fini(&b);
    return tree;
}

static void test_every_code(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PROBLEM_COUNT; i++) {
        enum problem got = PROBLEM_COUNT, p = (enum problem)i;
        assert_true(problem_parse(view_of(problem_code(p)), &got));
        assert_int_equal(got, p);
        json_t *t = body_of(&(struct problem_body){.kind = p});
        assert_string_equal(json_str(t, "code", ""), problem_code(p));
        assert_string_equal(json_str(t, "title", ""), problem_title(p));
        assert_string_equal(json_str(t, "detail", ""), problem_title(p));
        assert_int_equal(json_int(t, "status", 0), problem_status(p));
        assert_true(problem_status(p) == 0 || (problem_status(p) >= 400 && problem_status(p) < 600));
        json_decref(t);
    }
    enum problem none;
    assert_false(problem_parse(VIEW_LIT("nothing"), &none));
}

static void test_members(void **state)
{
    (void)state;
    json_t *t = body_of(&(struct problem_body){.kind = PROBLEM_INVALID_FIELD, .detail = "must be \"x\"\n", .pointer = "/a~1b",
                                               .param = "a/b", .job_id = "01900000-0000-7003-8000-0000000000a0", .instance = "/v1/jobs"});
    json_t *e = json_object_get(t, "error");
    assert_string_equal(json_str(t, "type", ""), "urn:sluice:problem:invalid_field");
    assert_int_equal(json_int(t, "status", 0), 422);
    assert_string_equal(json_str(t, "detail", ""), "must be \"x\"\n");
    assert_string_equal(json_str(t, "pointer", ""), "/a~1b");
    assert_string_equal(json_str(t, "job_id", ""), "01900000-0000-7003-8000-0000000000a0");
    assert_string_equal(json_str(t, "instance", ""), "/v1/jobs");
    assert_string_equal(json_str(e, "message", ""), "must be \"x\"\n");
    assert_string_equal(json_str(e, "type", ""), "invalid_request_error");
    assert_string_equal(json_str(e, "param", ""), "a/b");
    assert_string_equal(json_str(e, "code", ""), "invalid_field");
    json_decref(t);
    t = body_of(&(struct problem_body){.kind = PROBLEM_NOT_FOUND});
    assert_null(json_object_get(t, "pointer"));
    assert_null(json_object_get(t, "job_id"));
    assert_true(json_is_null(json_object_get(json_object_get(t, "error"), "param")));
    json_decref(t);
}

static void test_full_buffer_is_told(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 50);
    assert_false(problem_put(&b, &(struct problem_body){.kind = PROBLEM_INTERNAL}));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_code), cmocka_unit_test(test_members),
                                       cmocka_unit_test(test_full_buffer_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
