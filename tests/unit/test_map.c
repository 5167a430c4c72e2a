/* Map: against a plain array as the model, with removals, holes and iteration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/map.h"
#include "common/base/rng.h"

static void test_basics(void **state)
{
    (void)state;
    int a, b;
    char key[] = "one";
    struct map *m = map_new(10);
    assert_null(map_get(m, VIEW_LIT("one")));
    assert_null(map_remove(m, VIEW_LIT("one")));
    assert_true(map_put(m, view_of(key), &a));
    key[0] = 'X'; /* the key was copied */
    assert_ptr_equal(map_get(m, VIEW_LIT("one")), &a);
    assert_true(map_put(m, VIEW_LIT("one"), &b));
    assert_ptr_equal(map_get(m, VIEW_LIT("one")), &b);
    assert_int_equal(map_count(m), 1);
    assert_true(map_put(m, VIEW_LIT("a\0b"), &a));
    assert_null(map_get(m, VIEW_LIT("a\0c")));
    assert_true(map_put(m, VIEW_NONE, &a)); /* the empty key is a key */
    assert_ptr_equal(map_get(m, VIEW_LIT("")), &a);
    assert_ptr_equal(map_remove(m, VIEW_LIT("one")), &b);
    assert_null(map_remove(m, VIEW_LIT("one")));
    map_free(m);
    map_free(NULL);
}

static void test_ceiling(void **state)
{
    (void)state;
    int v;
    struct map *m = map_new(3);
    assert_true(map_put(m, VIEW_LIT("a"), &v));
    assert_true(map_put(m, VIEW_LIT("b"), &v));
    assert_true(map_put(m, VIEW_LIT("c"), &v));
    assert_false(map_put(m, VIEW_LIT("d"), &v));
    assert_true(map_put(m, VIEW_LIT("c"), NULL)); /* replacing is no growing */
    map_remove(m, VIEW_LIT("a"));
    assert_true(map_put(m, VIEW_LIT("d"), &v));
    map_free(m);
    m = map_new(0);
    assert_false(map_put(m, VIEW_LIT("a"), &v));
    map_free(m);
}

enum { MODEL = 500 };

static struct view model_key(size_t i, char text[16])
{
    int n = snprintf(text, 16, "key-%zu", i);
    return view_make(text, (size_t)n);
}

static void test_against_model(void **state)
{
    (void)state;
    struct rng rng;
    char text[16];
    int values[MODEL];
    bool in[MODEL] = {false};
    size_t count = 0;
    struct map *m = map_new(MODEL);
    rng_seed(&rng, 4);
    for (int step = 0; step < 200000; step++) {
        size_t i = rng_below(&rng, MODEL);
        struct view key = model_key(i, text);
        assert_ptr_equal(map_get(m, key), in[i] ? &values[i] : NULL);
        if (rng_below(&rng, 2)) {
            assert_true(map_put(m, key, &values[i]));
            count += !in[i];
            in[i] = true;
        } else {
            assert_ptr_equal(map_remove(m, key), in[i] ? &values[i] : NULL);
            count -= in[i];
            in[i] = false;
        }
        assert_int_equal(map_count(m), count);
    }
    struct view key;
    void *value;
    size_t seen = 0;
    for (size_t cursor = 0; map_each(m, &cursor, &key, &value); seen++)
        assert_ptr_equal(map_get(m, key), value);
    assert_int_equal(seen, count);
    map_free(m);
}

static void test_each_is_in_order_and_may_remove(void **state)
{
    (void)state;
    char text[16];
    int values[100];
    struct map *m = map_new(100);
    for (size_t i = 0; i < 100; i++) assert_true(map_put(m, model_key(i, text), &values[i]));
    struct view key;
    void *value;
    size_t cursor = 0, want = 0;
    while (map_each(m, &cursor, &key, &value)) {
        assert_ptr_equal(value, &values[want]);
        if (want++ % 2) assert_ptr_equal(map_remove(m, key), value);
    }
    assert_int_equal(want, 100);
    assert_int_equal(map_count(m), 50);
    cursor = want = 0;
    for (; map_each(m, &cursor, NULL, &value); want += 2) assert_ptr_equal(value, &values[want]);
    cursor = 0;
    while (map_each(m, &cursor, &key, NULL)) map_remove(m, key);
    assert_int_equal(map_count(m), 0);
    assert_true(map_put(m, VIEW_LIT("after"), &values[0]));
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basics),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_each_is_in_order_and_may_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
