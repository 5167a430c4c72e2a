/* What a body must be to become a job, and the quota before it. */
#include "tests/unit/gateway_rig.h"

#include "gateway/admit.h"
#include "gateway/quota.h"

static struct workflows *workflows_of(void)
{
    static const char *const files[] = {
        "name: noop\nversion: 1\nsteps:\n  - id: echo\n    transform: \"${ .input }\"\n",
        "name: noop\nversion: 2\nsteps:\n  - id: echo\n    transform: \"${ .input }\"\n",
        "name: strict\nversion: 1\ninput: {type: object, required: [url], properties: {url: {type: "
        "string}}}\n"
        "steps:\n  - id: echo\n    transform: \"${ .input }\"\n"};
    struct workflows *ws = workflows_new();
    assert_non_null(ws);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct workflow *w = NULL;
        struct err err = {.code = ERR_OK};
        if (workflow_parse(view_of(files[i]), "test.yaml", &w, &err) != ERR_OK)
            fail_msg("%s %s", err.where, err.text);
        assert_int_equal(workflows_add(ws, w, &err), ERR_OK);
    }
    return ws;
}

static void good_bodies_are_admitted(void **state)
{
    (void)state;
    struct workflows *ws = workflows_of();
    struct admitted a;
    struct admit_refusal r;
    struct job_head head;
    struct buf value;
    struct view body = VIEW_LIT(
        "{\"workflow\":\"noop\",\"input\":{\"x\":0.1,\"n\":123456789012345678901234567890}}");
    assert_true(admit_check(ws, body, 1000, &a, &r));
    assert_int_equal(a.workflow->version, 2); /* the newest is pinned */
    admit_head(&a, VIEW_LIT("acme"), body, 1000, &head);
    assert_string_equal(head.tenant, "acme");
    assert_string_equal(head.workflow, "noop");
    assert_int_equal(head.version, 2);
    assert_int_equal(head.created_ms, 1000);
    assert_int_equal(strlen(head.fp), FP_HEX);
    buf_init(&value, 4096);
    assert_true(admit_value(&a, &value));
    buf_put(&value, "", 1);
    assert_non_null(strstr(
        value.data, "{\"x\":0.1,\"n\":123456789012345678901234567890}")); /* the very bytes */
    buf_fini(&value);
    assert_true(admit_check(ws, VIEW_LIT("{\"workflow\":\"noop\",\"version\":1,\"input\":null}"),
                            1000, &a, &r));
    assert_int_equal(a.workflow->version, 1);
    assert_true(admit_check(ws, VIEW_LIT("{\"workflow\":\"strict\",\"input\":{\"url\":\"x\"}}"),
                            1000, &a, &r));
    workflows_free(ws);
}

static void the_fingerprint_is_of_the_bytes(void **state)
{
    (void)state;
    struct workflows *ws = workflows_of();
    struct admitted a;
    struct admit_refusal r;
    struct job_head one, two;
    struct view x = VIEW_LIT("{\"workflow\":\"noop\",\"input\":1}"),
                y = VIEW_LIT("{\"workflow\":\"noop\", \"input\":1}");
    assert_true(admit_check(ws, x, 1000, &a, &r));
    admit_head(&a, VIEW_LIT("acme"), x, 1000, &one);
    assert_true(admit_check(ws, y, 1000, &a, &r));
    admit_head(&a, VIEW_LIT("acme"), y, 1000, &two);
    assert_string_not_equal(one.fp, two.fp);
    workflows_free(ws);
}

static void refusals_name_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *body, *pointer;
        enum problem problem;
    } cases[] = {
        {"", "", PROBLEM_INVALID_JSON},
        {"{", "", PROBLEM_INVALID_JSON},
        {"[]", "", PROBLEM_INVALID_FIELD},
        {"{\"workflow\":\"noop\",\"input\":\"\\u0000\"}", "/input", PROBLEM_INVALID_JSON},
        {"{\"workflow\":\"noop\",\"input\":1,\"input\":2}", "/input", PROBLEM_INVALID_JSON},
        {"{\"workflow\":\"noop\",\"input\":1,\"extra\":2}", "/extra", PROBLEM_UNKNOWN_FIELD},
        {"{\"workflow\":\"noop\",\"input\":1,\"class\":\"fast\"}", "/class", PROBLEM_INVALID_FIELD},
        {"{\"workflow\":7,\"input\":1}", "/workflow", PROBLEM_INVALID_FIELD},
        {"{\"workflow\":\"none\",\"input\":1}", "/workflow", PROBLEM_UNKNOWN_WORKFLOW},
        {"{\"workflow\":\"noop\",\"version\":3,\"input\":1}", "/version", PROBLEM_UNKNOWN_WORKFLOW},
        {"{\"workflow\":\"strict\",\"input\":{\"url\":5}}", "/input/url", PROBLEM_INVALID_INPUT},
        {"{\"workflow\":\"strict\",\"input\":{}}", "/input", PROBLEM_INVALID_INPUT},
    };
    struct workflows *ws = workflows_of();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct admitted a;
        struct admit_refusal r;
        assert_false(admit_check(ws, view_of(cases[i].body), 1000, &a, &r));
        if (r.problem != cases[i].problem)
            fail_msg("%s: %s", cases[i].body, problem_code(r.problem));
        assert_true(view_starts(view_of(r.err.where), cases[i].pointer));
        assert_true(r.err.text[0] != '\0');
    }
    workflows_free(ws);
}

static void refusals_hold_nothing_of_the_input(void **state)
{
    (void)state;
    struct workflows *ws = workflows_of();
    struct admitted a;
    struct admit_refusal r;
    static const char *const bodies[] = {
        "{\"workflow\":\"strict\",\"input\":{\"url\":[\"canary\"]}}",
        "{\"workflow\":\"canary\",\"input\":1}",
        "{\"workflow\":\"noop\",\"class\":\"canary\",\"input\":1}",
        "{\"workflow\":\"noop\",\"input\":\"canary"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        assert_false(admit_check(ws, view_of(bodies[i]), 1000, &a, &r));
        assert_null(strstr(r.err.text, "canary"));
    }
    workflows_free(ws);
}

/* --- quota --- */

static void told(void *arg)
{
    ++*(int *)arg;
}

static void a_limit_counts_what_is_under_way(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct quota *q = quota_new(rig_port(r), &r->clock);
    struct view acme = VIEW_LIT("acme");
    assert_int_equal(quota_take(q, acme, 2), QUOTA_OK);
    assert_int_equal(quota_take(q, acme, 2), QUOTA_OK);
    assert_int_equal(quota_take(q, acme, 2), QUOTA_ASK); /* never asked yet: perhaps it is wrong */
    int asked = 0;
    r->count = 0;
    assert_true(quota_ask(q, acme, told, &asked));
    assert_int_equal(asked, 0);
    rig_run(r);
    assert_int_equal(asked, 1);
    assert_int_equal(quota_take(q, acme, 2), QUOTA_OVER);
    quota_settle(q, acme, -1); /* one came to nothing */
    assert_int_equal(quota_take(q, acme, 2), QUOTA_OK);
    quota_settle(q, acme, 2); /* one was admitted: Redis says two are there */
    assert_int_equal(quota_take(q, acme, 3), QUOTA_OVER); /* 2 + 1 under way */
    assert_int_equal(quota_take(q, acme, 4), QUOTA_OK);
    assert_int_equal(quota_take(q, VIEW_LIT("beta"), 1), QUOTA_OK); /* another tenant's business */
    assert_int_equal(quota_take(q, VIEW_LIT("beta"), 0), QUOTA_OK); /* no limit */
    quota_free(q);
    rig_free(r);
}

static void an_old_refusal_is_asked_again(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct quota *q = quota_new(rig_port(r), &r->clock);
    int asked = 0;
    struct view acme = VIEW_LIT("acme");
    assert_int_equal(quota_take(q, acme, 1), QUOTA_OK);
    quota_settle(q, acme, 5);
    assert_int_equal(quota_take(q, acme, 5), QUOTA_OVER);
    r->clock.mono_ms += QUOTA_FRESH_MS + 1;
    assert_int_equal(quota_take(q, acme, 5), QUOTA_ASK);
    r->count = 4;
    assert_true(quota_ask(q, acme, told, &asked));
    rig_run(r);
    assert_int_equal(quota_take(q, acme, 5), QUOTA_OK);
    quota_free(q);
    rig_free(r);
}

static void without_redis_nobody_is_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct quota *q = quota_new(rig_port(r), &r->clock);
    int asked = 0;
    struct view acme = VIEW_LIT("acme");
    assert_int_equal(quota_take(q, acme, 1), QUOTA_OK);
    quota_settle(q, acme, 5);
    r->clock.mono_ms += QUOTA_FRESH_MS + 1;
    assert_int_equal(quota_take(q, acme, 1), QUOTA_ASK);
    r->is_redis_down = true;
    assert_true(quota_ask(q, acme, told, &asked));
    rig_run(r);
    assert_int_equal(asked, 1);
    assert_int_equal(quota_take(q, acme, 1), QUOTA_OK);
    quota_free(q);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_bodies_are_admitted),
        cmocka_unit_test(the_fingerprint_is_of_the_bytes),
        cmocka_unit_test(refusals_name_the_place),
        cmocka_unit_test(refusals_hold_nothing_of_the_input),
        cmocka_unit_test(a_limit_counts_what_is_under_way),
        cmocka_unit_test(an_old_refusal_is_asked_again),
        cmocka_unit_test(without_redis_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
