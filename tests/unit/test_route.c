/* Which call a method and a path mean. */
#include "gateway/route.h"
#include "schemas/config.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

static enum route_verdict find(const char *method, const char *path, struct route_match *m)
{
    memset(m, 0, sizeof *m);
    return route_find(view_of(method), view_of(path), m);
}

static void every_call_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *param;
        enum route_id id;
    } calls[] = {
        {"GET", "/", NULL, ROUTE_ROOT},
        {"GET", "/openapi.json", NULL, ROUTE_OPENAPI},
        {"POST", "/v1/jobs", NULL, ROUTE_JOBS_SUBMIT},
        {"GET", "/v1/jobs", NULL, ROUTE_JOBS_LIST},
        {"HEAD", "/v1/jobs", NULL, ROUTE_JOBS_LIST},
        {"GET", "/v1/jobs/x-1", "x-1", ROUTE_JOB_GET},
        {"GET", "/v1/jobs/x-1/events", "x-1", ROUTE_JOB_EVENTS},
        {"POST", "/v1/jobs/x-1/cancel", "x-1", ROUTE_JOB_CANCEL},
        {"POST", "/v1/jobs/x-1/retry", "x-1", ROUTE_JOB_RETRY},
        {"POST", "/v1/jobs/x-1/token", "x-1", ROUTE_JOB_TOKEN},
        {"GET", "/v1/workflows", NULL, ROUTE_WORKFLOWS_LIST},
        {"GET", "/v1/workflows/hello", "hello", ROUTE_WORKFLOW_GET},
        {"GET", "/v1/usage", NULL, ROUTE_USAGE},
        {"GET", "/v1/limits", NULL, ROUTE_LIMITS},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct route_match m;
        assert_int_equal(find(calls[i].method, calls[i].path, &m), ROUTE_FOUND);
        assert_int_equal(m.route->id, calls[i].id);
        assert_true(view_eq(m.param, view_of(calls[i].param)));
        assert_ptr_equal(route_of(m.route->id), m.route);
    }
}

static void other_paths_are_not(void **state)
{
    (void)state;
    static const char *const paths[] = {"",
                                        "v1/jobs",
                                        "/v1",
                                        "/v1/",
                                        "/v1/jobs/",
                                        "//v1/jobs",
                                        "/x",
                                        "/v1/jobs//events",
                                        "/v1/jobs/a/",
                                        "/v1/jobs/a/events/",
                                        "/v1/jobs/a/b",
                                        "/v1/job",
                                        "/v1/jobsx",
                                        "/V1/jobs",
                                        "/v1/jobs%2fa",
                                        "/v1/workflows/a/b",
                                        "/openapi.json/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct route_match m;
        assert_int_equal(find("GET", paths[i], &m), ROUTE_NO_PATH);
    }
}

static void other_methods_are_told_what_is_allowed(void **state)
{
    (void)state;
    struct route_match m;
    assert_int_equal(find("DELETE", "/v1/jobs", &m), ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "POST, GET, HEAD, OPTIONS");
    assert_int_equal(find("GET", "/v1/jobs/a/cancel", &m), ROUTE_NO_METHOD);
    assert_string_equal(m.allow, "POST, OPTIONS");
    assert_int_equal(find("HEAD", "/v1/jobs/a/events", &m),
                     ROUTE_NO_METHOD); /* a stream without a body is none */
    assert_int_equal(find("get", "/v1/jobs", &m), ROUTE_NO_METHOD);
}

/* Writing needs submit, reading needs read, the rest admin; a token opens reading of one job alone.
 */
static void scopes_are_as_ruled(void **state)
{
    (void)state;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const struct route *r = route_of((enum route_id)i);
        bool is_job = strncmp(r->pattern, "/v1/jobs", 8) == 0,
             is_post = strcmp(r->method, "POST") == 0;
        unsigned wanted = is_job ? (is_post ? SCOPE_SUBMIT : SCOPE_READ) : 0;
        if (strncmp(r->pattern, "/v1/workflows", 13) == 0) wanted = SCOPE_ADMIN;
        if (r->id == ROUTE_USAGE || r->id == ROUTE_LIMITS) wanted = SCOPE_READ | SCOPE_ADMIN; /* the one its own, the other all */
        assert_int_equal(r->scope, wanted);
        assert_int_equal(r->takes_token, r->id == ROUTE_JOB_GET || r->id == ROUTE_JOB_EVENTS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_is_found),
        cmocka_unit_test(other_paths_are_not),
        cmocka_unit_test(other_methods_are_told_what_is_allowed),
        cmocka_unit_test(scopes_are_as_ruled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
