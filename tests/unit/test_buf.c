/* Buffers: growth up to the ceiling and not a byte beyond, and failure that sticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"

static void test_puts(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_non_null(buf_view(&b).ptr);
    assert_int_equal(buf_view(&b).len, 0);
    buf_put(&b, "ab", 2);
    buf_put(&b, NULL, 0);
    buf_put_view(&b, VIEW_NONE);
    buf_put_str(&b, "c ");
    buf_put_u64(&b, 0);
    buf_put_char(&b, ' ');
    buf_put_u64(&b, UINT64_MAX);
    buf_put_char(&b, ' ');
    buf_put_i64(&b, INT64_MIN);
    buf_put_i64(&b, 42);
    buf_printf(&b, " %s=%d", "x", 7);
    assert_false(b.failed);
    assert_true(view_eq_str(buf_view(&b), "abc 0 18446744073709551615 -922337203685477580842 x=7"));
    buf_fini(&b);
    assert_int_equal(b.max, 1000);
}

/* Every way to put n bytes works exactly up to the ceiling. */
static void test_ceiling(void **state)
{
    (void)state;
    for (size_t max = 0; max < 200; max++) {
        struct buf b;
        buf_init(&b, max);
        for (size_t i = 0; i < max; i++) assert_true(buf_put_char(&b, 'x'));
        assert_true(b.cap <= (max ? max : 1));
        assert_false(buf_put_char(&b, 'y'));
        assert_true(b.failed);
        assert_int_equal(b.len, max);
        assert_false(buf_put(&b, "", 0)); /* sticks until reset */
        buf_reset(&b);
        assert_true(buf_printf(&b, "%*s", (int)max, ""));
        assert_int_equal(b.len, max);
        assert_false(buf_printf(&b, "z"));
        buf_reset(&b);
        assert_false(buf_printf(&b, "%*s", (int)max + 1, ""));
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

static void test_failed_put_keeps_what_there_was(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    assert_true(buf_put_str(&b, "abc"));
    assert_false(buf_put_i64(&b, -1));
    assert_true(view_eq_str(buf_view(&b), "abc"));
    assert_false(buf_put_char(&b, 'd'));
    assert_null(buf_detach(&b, NULL));
    buf_reset(&b);
    assert_false(buf_put(&b, "x", SIZE_MAX)); /* no overflow in the sum */
    buf_reset(&b);
    assert_true(buf_reserve(&b, 4));
    assert_false(buf_reserve(&b, 5));
    buf_fini(&b);
}

static void test_growth_is_doubling(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    size_t grown = 0, cap = 0;
    for (size_t i = 0; i < 1 << 20; i++) {
        buf_put_char(&b, (char)i);
        if (b.cap != cap) grown++;
        cap = b.cap;
    }
    assert_false(b.failed);
    assert_true(grown <= 16);
    for (size_t i = 0; i < 1 << 20; i++) assert_int_equal(b.data[i], (char)i);
    buf_fini(&b);
}

static void test_consume_and_detach(void **state)
{
    (void)state;
    struct buf b;
    size_t len = 99;
    buf_init(&b, 100);
    buf_consume(&b, 0);
    buf_put_str(&b, "hello");
    buf_consume(&b, 2);
    assert_true(view_eq_str(buf_view(&b), "llo"));
    buf_consume(&b, 3);
    assert_int_equal(b.len, 0);
    buf_put_str(&b, "text");
    char *text = buf_detach(&b, &len);
    assert_string_equal(text, "text");
    assert_int_equal(len, 4);
    assert_int_equal(b.len, 0);
    free(text);
    text = buf_detach(&b, &len);
    assert_string_equal(text, "");
    assert_int_equal(len, 0);
    free(text);
    buf_put_str(&b, "again");
    assert_true(view_eq_str(buf_view(&b), "again"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_puts),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_failed_put_keeps_what_there_was),
        cmocka_unit_test(test_growth_is_doubling),
        cmocka_unit_test(test_consume_and_detach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
