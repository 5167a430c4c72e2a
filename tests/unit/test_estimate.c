/* What calls will cost: first guesses, means and spreads, changes, nonsense, the ceiling. */
#include "consumer/estimate.h"

#include "common/base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static const struct estimate_key one = {VIEW_LIT("onboard"), VIEW_LIT("profile"), VIEW_LIT("fast")};

static void test_a_first_call_reserves_its_ceiling(void **state)
{
    struct estimate *e = estimate_new(8);
    struct estimate_guess g;

    (void)state;
    estimate_expect(e, &one, 1000, 300, &g);
    assert_false(g.is_learnt);
    assert_int_equal(g.input, 1000);
    assert_int_equal(g.input_var, 300 * 300);
    assert_int_equal(g.output, 300);
    assert_int_equal(g.output_var, 0);
    assert_int_equal(g.expect_ms, 2000);
    assert_int_equal(g.least_ms, 0);
    estimate_expect(e, &one, 0, 0, &g);
    assert_int_equal(g.input, 1);
    assert_int_equal(g.output, 512);
    assert_true(g.output_var > 0);
    estimate_free(e);
}

static void test_means_and_spread_are_learnt(void **state)
{
    struct estimate *e = estimate_new(8);
    struct estimate_guess g;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (int i = 0; i < 400; i++) {
        int64_t counted = 500 + (int64_t)rng_below(&rng, 1000);
        int64_t output = 80 + (int64_t)rng_below(&rng, 41); /* mean 100, deviation 11.8 */
        struct estimate_actual a = {
            .counted = counted, .input = counted * 2, .output = output, .took_ms = 700};
        estimate_learn(e, &one, &a);
    }
    estimate_expect(e, &one, 1000, 4096, &g);
    assert_true(g.is_learnt);
    assert_in_range(g.input, 1995, 2005);
    assert_true(sqrt((double)g.input_var) < 60);
    assert_in_range(g.output, 90, 110);
    assert_in_range((int64_t)sqrt((double)g.output_var), 5, 25);
    assert_int_equal(g.expect_ms, 700);
    assert_in_range(g.least_ms, 680, 700);
    estimate_expect(e, &one, 1000, 50, &g); /* never above what the request allows */
    assert_int_equal(g.output, 50);
    assert_int_equal(g.output_var, 0);
    estimate_free(e);
}

static void test_a_change_is_followed(void **state)
{
    struct estimate *e = estimate_new(8);
    struct estimate_actual a = {.counted = 100, .input = 100, .output = 10, .took_ms = 100};
    struct estimate_guess g;

    (void)state;
    for (int i = 0; i < 100; i++) estimate_learn(e, &one, &a);
    a.output = 1000;
    for (int i = 0; i < 30; i++) estimate_learn(e, &one, &a);
    estimate_expect(e, &one, 100, 4096, &g);
    assert_in_range(g.output, 900, 1000);
    estimate_free(e);
}

static void test_nonsense_teaches_nothing(void **state)
{
    struct estimate *e = estimate_new(8);
    struct estimate_actual a = {.counted = 100, .input = 100, .output = 10, .took_ms = 100};
    struct estimate_guess before = {0}, after = {0}; /* compared with their padding */

    (void)state;
    estimate_learn(e, &one, &a);
    estimate_expect(e, &one, 100, 0, &before);
    const struct estimate_actual bad[] = {
        {.counted = 100, .input = -1, .output = -1, .took_ms = -1},
        {.counted = 1, .input = 1 << 30, .output = -1, .took_ms = -1},
        {.counted = 0, .input = 5, .output = INT64_MAX, .took_ms = INT64_MAX}};
    for (size_t i = 0; i < 3; i++) estimate_learn(e, &one, &bad[i]);
    estimate_expect(e, &one, 100, 0, &after);
    assert_memory_equal(&before, &after, sizeof after);
    estimate_expect(e, &one, INT64_MAX, INT64_MAX, &after); /* no overflow */
    assert_true(after.input > 0 && after.input_var >= 0);
    estimate_free(e);
}

static void test_a_spread_is_bounded(void **state)
{
    struct estimate *e = estimate_new(8);
    struct estimate_guess g;

    (void)state;
    for (int i = 0; i < 64; i++) { /* a factor of 64 or hardly any: no tokenizer */
        struct estimate_actual a = {.counted = 1000, .input = i % 2 ? 1 : 64000, .output = -1, .took_ms = -1};
        estimate_learn(e, &one, &a);
    }
    estimate_expect(e, &one, INT64_MAX, 0, &g);
    assert_true(g.input_var > 0 && g.input_var <= (int64_t)100000000000000);
    estimate_free(e);
}

static void test_the_least_used_makes_room(void **state)
{
    struct estimate *e = estimate_new(3);
    struct estimate_actual a = {.counted = 10, .input = 20, .output = 1, .took_ms = 1};
    struct estimate_guess g;
    char step[8];

    (void)state;
    for (int i = 0; i < 5; i++) {
        snprintf(step, sizeof step, "s%d", i);
        struct estimate_key k = {VIEW_LIT("w"), view_of(step), VIEW_LIT("m")};
        estimate_learn(e, &k, &a);
        estimate_expect(e, &one, 10, 10, &g);
        if (i == 0) estimate_learn(e, &one, &a); /* used at every turn, so it stays */
        if (i > 0) assert_true(g.is_learnt);
    }
    assert_int_equal(estimate_count(e), 3);
    struct estimate_key gone = {VIEW_LIT("w"), VIEW_LIT("s0"), VIEW_LIT("m")};
    estimate_expect(e, &gone, 10, 10, &g);
    assert_false(g.is_learnt);
    estimate_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_first_call_reserves_its_ceiling),
                                       cmocka_unit_test(test_means_and_spread_are_learnt),
                                       cmocka_unit_test(test_a_change_is_followed),
                                       cmocka_unit_test(test_nonsense_teaches_nothing),
                                       cmocka_unit_test(test_a_spread_is_bounded),
                                       cmocka_unit_test(test_the_least_used_makes_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
