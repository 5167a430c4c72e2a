/* Events as a watcher reads them: what is taken out, and what is no event. */
#include "producer/cli_event.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_members(void **state)
{
    struct cli_event e;
    struct err err;

    (void)state;
    assert_int_equal(
        cli_event_read(
            VIEW_LIT("step.delta"), VIEW_LIT("1-2"),
            VIEW_LIT("{\"type\":\"step.delta\",\"seq\":7,\"ts\":\"2026-01-02T00:00:00.250Z\","
                     "\"step\":\"say\",\"item\":3,\"attempt\":2,\"text\":\"x\"}"),
            &e, &err),
        ERR_OK);
    assert_true(e.is_known);
    assert_int_equal(e.type, EVENT_STEP_DELTA);
    assert_string_equal(e.step, "say");
    assert_int_equal(e.item, 3);
    assert_int_equal(e.attempt, 2);
    assert_int_equal(e.ts_ms, 1767312000250);
    assert_true(view_eq_str(e.id, "1-2"));
    /* Absent, and of a type that this build does not have. */
    assert_int_equal(cli_event_read(VIEW_LIT("job.teleported"), VIEW_NONE,
                                    VIEW_LIT("{\"ts\":\"soon\",\"step\":1}"), &e, &err),
                     ERR_OK);
    assert_false(e.is_known);
    assert_string_equal(e.step, "");
    assert_int_equal(e.item, -1);
    assert_int_equal(e.attempt, 0);
    assert_int_equal(e.ts_ms, 0);
    assert_null(e.id.ptr);
}

static void test_no_events(void **state)
{
    const struct view bad[] = {VIEW_LIT(""),           VIEW_LIT("{"),
                               VIEW_LIT("[1]"),        VIEW_LIT("7"),
                               VIEW_LIT("{\"a\":1}{"), VIEW_LIT("{\"a\":1,\"a\":2}")};
    struct cli_event e = {.item = 42};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cli_event_read(VIEW_LIT("job.queued"), VIEW_NONE, bad[i], &e, &err),
                         ERR_PROTOCOL);
    assert_int_equal(e.item, 42); /* nothing was written */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_members),
                                       cmocka_unit_test(test_no_events)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
