/* The table of jobs: columns in line, whatever the rows hold. */
#include "common/base/clock.h"
#include "producer/cli_table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_rows(void **state)
{
    struct cli_table t;
    int64_t now_ms;

    (void)state;
    assert_true(clock_parse(VIEW_LIT("2026-01-02T00:10:00.000Z"), &now_ms));
    cli_table_init(&t, 1 << 16);
    cli_table_add(&t,
                  VIEW_LIT("{\"data\":[{\"id\":\"0190a1b2-c3d4-7001-8000-0123456789ab\",\"status\":"
                           "\"succeeded\",\"workflow\":\"hello\","
                           "\"version\":3,\"class\":\"bulk\",\"attempt\":2,\"created_at\":\"2026-"
                           "01-02T00:00:00.000Z\","
                           "\"started_at\":\"2026-01-02T00:00:01.000Z\",\"ended_at\":\"2026-01-"
                           "02T00:00:03.500Z\"}],\"has_more\":true}"),
                  now_ms);
    cli_table_add(&t,
                  VIEW_LIT("{\"data\":[{\"id\":\"0190a1b2-c3d4-7001-8000-0123456789ac\",\"status\":"
                           "\"queued\",\"workflow\":"
                           "\"a-very-long-name-of-a-workflow\",\"version\":12,\"class\":"
                           "\"interactive\",\"attempt\":0,"
                           "\"created_at\":\"2026-01-02T00:09:59.500Z\",\"started_at\":null,"
                           "\"ended_at\":null},{}]}"),
                  now_ms);
    struct view text = cli_table_text(&t);
    const char *expected = "ID                                    STATUS     WORKFLOW              "
                           "    CLASS        AGE      TOOK     ATTEMPT\n"
                           "0190a1b2-c3d4-7001-8000-0123456789ab  succeeded  hello@3               "
                           "    bulk         10m00s   2.5s     2\n"
                           "0190a1b2-c3d4-7001-8000-0123456789ac  queued     "
                           "a-very-long-name-of-a-w\xE2\x80\xA6  interactive  500ms    -        -\n"
                           "                                                                       "
                           "                 -        -        -\n";
    if (!view_eq_str(text, expected)) fail_msg("\n%.*s", (int)text.len, text.ptr);
    assert_int_equal(t.rows, 3);
    cli_table_fini(&t);
}

static void test_empty(void **state)
{
    struct cli_table t;

    (void)state;
    cli_table_init(&t, 1 << 16);
    cli_table_add(&t, VIEW_LIT("{\"data\":[]}"), 0);
    assert_int_equal(t.rows, 0);
    assert_true(view_starts(cli_table_text(&t), "ID "));
    cli_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_empty)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
