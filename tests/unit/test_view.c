/* Views: comparing, cutting, numbers at their edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/list.h"
#include "common/base/view.h"

static void test_making(void **state)
{
    (void)state;
    assert_null(view_of(NULL).ptr);
    assert_int_equal(view_of("abc").len, 3);
    assert_non_null(view_of("").ptr);
    assert_int_equal(view_make("abc", 2).len, 2);
    assert_int_equal(VIEW_LIT("a\0b").len, 3);
}

static void test_comparing(void **state)
{
    (void)state;
    assert_true(view_eq(VIEW_NONE, VIEW_LIT("")));
    assert_true(view_eq(VIEW_LIT("a\0b"), VIEW_LIT("a\0b")));
    assert_false(view_eq(VIEW_LIT("a\0b"), VIEW_LIT("a\0c")));
    assert_true(view_eq_str(VIEW_LIT("abc"), "abc"));
    assert_false(view_eq_str(VIEW_LIT("abc"), "abcd"));
    assert_false(view_eq_str(VIEW_LIT("abc"), ""));
    assert_true(view_eq_str(VIEW_NONE, ""));
    assert_true(view_ieq_str(VIEW_LIT("Content-TYPE"), "content-type"));
    assert_false(view_ieq_str(VIEW_LIT("Content-TYP"), "content-type"));
    assert_false(view_ieq_str(VIEW_LIT("Content-TYPE2"), "content-type"));
    assert_false(view_ieq_str(VIEW_LIT("["), "{")); /* differ in bit 0x20 only */
    assert_true(view_ieq_str(VIEW_NONE, ""));
    assert_true(view_starts(VIEW_LIT("Bearer x"), "Bearer "));
    assert_false(view_starts(VIEW_LIT("Bear"), "Bearer"));
    assert_true(view_starts(VIEW_NONE, ""));
    assert_true(view_cmp(VIEW_LIT("a"), VIEW_LIT("b")) < 0);
    assert_true(view_cmp(VIEW_LIT("b"), VIEW_LIT("a")) > 0);
    assert_true(view_cmp(VIEW_LIT("a"), VIEW_LIT("ab")) < 0);
    assert_true(view_cmp(VIEW_LIT("\x80"), VIEW_LIT("a")) > 0);
    assert_int_equal(view_cmp(VIEW_NONE, VIEW_LIT("")), 0);
}

static void test_trim_and_cut(void **state)
{
    (void)state;
    assert_true(view_eq_str(view_trim(VIEW_LIT(" \t\r\n a b \n")), "a b"));
    assert_int_equal(view_trim(VIEW_LIT(" \n ")).len, 0);
    assert_int_equal(view_trim(VIEW_NONE).len, 0);
    struct view head = VIEW_LIT("untouched"), tail = VIEW_NONE;
    assert_false(view_cut(VIEW_LIT("abc"), ':', &head, &tail));
    assert_false(view_cut(VIEW_NONE, ':', &head, &tail));
    assert_true(view_eq_str(head, "untouched"));
    assert_true(view_cut(VIEW_LIT("a:b:c"), ':', &head, &tail));
    assert_true(view_eq_str(head, "a"));
    assert_true(view_eq_str(tail, "b:c"));
    assert_true(view_cut(VIEW_LIT(":"), ':', &head, &tail));
    assert_int_equal(head.len, 0);
    assert_int_equal(tail.len, 0);
    struct view v = VIEW_LIT("k=v");
    assert_true(view_cut(v, '=', &v, &tail)); /* in place */
    assert_true(view_eq_str(v, "k"));
}

static void test_u64(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",   "-1", "+1", " 1", "1 ", "1a", "0x1", "18446744073709551616", "99999999999999999999",
        "1.0"};
    uint64_t n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(view_u64(view_of(bad[i]), &n));
        assert_int_equal(n, 7);
    }
    assert_true(view_u64(VIEW_LIT("0"), &n));
    assert_int_equal(n, 0);
    assert_true(view_u64(VIEW_LIT("00018446744073709551615"), &n));
    assert_true(n == UINT64_MAX);
    assert_false(view_u64(VIEW_NONE, &n));
}

static void test_i64(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "-", "--1", "+1", "9223372036854775808", "-9223372036854775809"};
    int64_t n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(view_i64(view_of(bad[i]), &n));
        assert_int_equal(n, 7);
    }
    assert_true(view_i64(VIEW_LIT("9223372036854775807"), &n));
    assert_true(n == INT64_MAX);
    assert_true(view_i64(VIEW_LIT("-9223372036854775808"), &n));
    assert_true(n == INT64_MIN);
    assert_true(view_i64(VIEW_LIT("-0"), &n));
    assert_int_equal(n, 0);
}

static void test_copies(void **state)
{
    (void)state;
    char small[4] = "zzz";
    assert_true(view_copy(VIEW_LIT("abc"), small, sizeof small));
    assert_string_equal(small, "abc");
    assert_false(view_copy(VIEW_LIT("abcd"), small, sizeof small));
    assert_string_equal(small, "");
    assert_true(view_copy(VIEW_NONE, small, 1));
    char *copy = view_dup(VIEW_LIT("a\0b"));
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
    copy = view_dup(VIEW_NONE);
    assert_string_equal(copy, "");
    free(copy);
}

struct item {
    int n;
    struct list_link link;
};

static void test_list(void **state)
{
    (void)state;
    struct list l;
    struct item items[3] = {{.n = 0}, {.n = 1}, {.n = 2}};
    list_init(&l);
    assert_null(list_first(&l));
    list_push(&l, &items[1].link);
    list_push(&l, &items[2].link);
    list_push_front(&l, &items[0].link);
    int want = 0;
    for (struct list_link *k = list_first(&l); k; k = list_next(&l, k))
        assert_int_equal(LIST_ITEM(k, struct item, link)->n, want++);
    assert_int_equal(want, 3);
    list_remove(&l, &items[1].link);
    assert_false(list_linked(&items[1].link));
    assert_true(list_next(&l, &items[0].link) == &items[2].link);
    list_push(&l, &items[1].link);
    assert_null(list_next(&l, &items[1].link));
    assert_int_equal(l.count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_making),       cmocka_unit_test(test_comparing),
        cmocka_unit_test(test_trim_and_cut), cmocka_unit_test(test_u64),
        cmocka_unit_test(test_i64),          cmocka_unit_test(test_copies),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
