/* Usage summed by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include "gateway/tally.h"

static void add(struct tally *t, const char *name, int64_t calls)
{
    const struct fn_usage_counts c = {.calls = calls, .input = 2 * calls, .microusd = 3 * calls};
    assert_true(tally_add(t, view_of(name), &c));
}

static void rows_are_summed_and_sorted(void **state)
{
    size_t count;
    struct tally *t = tally_new(10);
    (void)state;
    add(t, "smart", 1);
    add(t, "fast", 2);
    add(t, "smart", 3);
    const struct tally_row *rows = tally_rows(t, &count);
    assert_int_equal(count, 2);
    assert_true(view_eq_str(rows[0].name, "fast"));
    assert_int_equal(rows[1].counts.calls, 4);
    assert_int_equal(rows[1].counts.input, 8);
    add(t, "zoo", 1); /* rows can be asked for again */
    rows = tally_rows(t, &count);
    assert_int_equal(count, 3);
    assert_int_equal(tally_total(t)->microusd, 21);
    tally_free(t);
}

static void past_the_ceiling_is_one_row(void **state)
{
    char name[16];
    size_t count;
    struct tally *t = tally_new(3);
    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "x%d", i);
        add(t, name, 1);
    }
    add(t, "", 5);
    add(t, "x1", 1); /* one of the three that have rows */
    const struct tally_row *rows = tally_rows(t, &count);
    assert_int_equal(count, 4);
    assert_true(view_eq_str(rows[3].name, TALLY_REST)); /* last, whatever sorts behind it */
    assert_int_equal(rows[3].counts.calls, 102);
    assert_int_equal(rows[1].counts.calls, 2);
    assert_int_equal(tally_total(t)->calls, 106);
    tally_free(t);
}

static void nothing_is_no_row(void **state)
{
    size_t count = 9;
    struct tally *t = tally_new(3);
    (void)state;
    assert_non_null(tally_rows(t, &count));
    assert_int_equal(count, 0);
    assert_int_equal(tally_total(t)->calls, 0);
    tally_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_summed_and_sorted),
        cmocka_unit_test(past_the_ceiling_is_one_row),
        cmocka_unit_test(nothing_is_no_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
