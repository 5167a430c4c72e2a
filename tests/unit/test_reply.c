/* Checked reading of replies and of record headers: another shape than expected reads as nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/port.h"
#include "common/base/reply.h"

static void test_access(void **state)
{
    (void)state;
    const struct reply items[] = {
        {.kind = REPLY_INT, .num = -5},
        {.kind = REPLY_STR, .str = VIEW_LIT("42")},
        {.kind = REPLY_STATUS, .str = VIEW_LIT("OK")},
        {.kind = REPLY_ERROR, .str = VIEW_LIT("ERR no")},
        {.kind = REPLY_STR, .str = VIEW_LIT("4x")},
    };
    const struct reply r = {.kind = REPLY_ARRAY, .items = items, .count = 5};
    assert_int_equal(reply_int(reply_at(&r, 0), 9), -5);
    assert_int_equal(reply_int(reply_at(&r, 1), 9), 42);
    assert_int_equal(reply_int(reply_at(&r, 2), 9), 9);
    assert_int_equal(reply_int(reply_at(&r, 4), 9), 9);
    assert_true(view_eq_str(reply_str(reply_at(&r, 1)), "42"));
    assert_true(view_eq_str(reply_str(reply_at(&r, 2)), "OK"));
    assert_null(reply_str(reply_at(&r, 3)).ptr);
    assert_null(reply_str(reply_at(&r, 0)).ptr);
    assert_int_equal(reply_at(&r, 5)->kind, REPLY_NIL);
    assert_int_equal(reply_at(&r, SIZE_MAX)->kind, REPLY_NIL);
    assert_int_equal(reply_at(&items[1], 0)->kind, REPLY_NIL);
    assert_int_equal(reply_at(reply_at(NULL, 0), 0)->kind, REPLY_NIL);
    assert_int_equal(reply_int(NULL, 3), 3);
    assert_null(reply_str(NULL).ptr);
}

static void test_record_header(void **state)
{
    (void)state;
    const struct record_in rec = {
        .header_count = 3,
        .headers = {{VIEW_LIT("job-id"), VIEW_LIT("x")},
                    {VIEW_LIT("fp"), VIEW_LIT("")},
                    {VIEW_LIT("job-id"), VIEW_LIT("later")}},
    };
    assert_true(view_eq_str(record_header(&rec, "job-id"), "x")); /* the first one counts */
    assert_non_null(record_header(&rec, "fp").ptr);
    assert_null(record_header(&rec, "job").ptr);
    assert_null(record_header(&rec, "").ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_record_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
