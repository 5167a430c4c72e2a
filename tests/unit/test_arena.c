/* Arena: aligned, zeroed, and never past its ceiling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/arena.h"

static void test_alloc(void **state)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    for (size_t size = 0; size < 700; size++) {
        unsigned char *p = arena_alloc(a, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
        memset(p, 0xAB, size);
    }
    assert_true(arena_used(a) >= 700 * 699 / 2);
    arena_free(a);
    arena_free(NULL);
}

static void test_ceiling(void **state)
{
    (void)state;
    for (size_t max = 0; max < 100; max++) {
        struct arena *a = arena_new(max);
        assert_null(arena_alloc(a, max + 1));
        assert_null(arena_alloc(a, SIZE_MAX));
        if (max) assert_non_null(arena_alloc(a, max));
        assert_int_equal(arena_used(a), max);
        assert_null(arena_alloc(a, 1));
        assert_null(arena_alloc(a, 0));
        arena_free(a);
    }
    struct arena *a = arena_new(1000);
    size_t count = 0;
    while (arena_alloc(a, 10)) count++;
    assert_int_equal(count, 62); /* of 16 bytes each; 10 do not fit the last 8 */
    arena_free(a);
}

static void test_blocks_do_not_overlap(void **state)
{
    (void)state;
    struct arena *a = arena_new(4 << 20);
    unsigned char *p[2000];
    for (size_t i = 0; i < 2000; i++) {
        p[i] = arena_alloc(a, i % 97 + 1);
        memset(p[i], (int)(i & 0xff), i % 97 + 1);
    }
    unsigned char *big = arena_alloc(a, 1 << 20);
    memset(big, 0xEE, 1 << 20);
    for (size_t i = 0; i < 2000; i++) {
        for (size_t k = 0; k < i % 97 + 1; k++) assert_int_equal(p[i][k], i & 0xff);
    }
    arena_free(a);
}

static void test_copies(void **state)
{
    (void)state;
    struct arena *a = arena_new(40);
    struct view v = arena_view(a, VIEW_LIT("a\0b"));
    assert_memory_equal(v.ptr, "a\0b", 4);
    assert_int_equal(v.len, 3);
    assert_string_equal(arena_str(a, VIEW_NONE), "");
    assert_null(arena_view(a, VIEW_LIT("too long")).ptr);
    assert_null(arena_str(a, view_make("", SIZE_MAX)));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_blocks_do_not_overlap),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
