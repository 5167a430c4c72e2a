/* Random numbers: pinned (a simulation's seed must mean the same for ever), in bounds, and even. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rng.h"

static void test_pinned(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 1);
    assert_true(r.s[0] == 0x910A2DEC89025CC1u); /* splitmix64(1), as its authors publish it */
    assert_true(rng_next(&r) == 12966619160104079557u);
    for (int i = 0; i < 998; i++) rng_next(&r);
    assert_true(rng_next(&r) == 13281533337853546835u);
}

/* The reference sequence of xoshiro256** from the state {1, 2, 3, 4}. */
static void test_reference(void **state)
{
    (void)state;
    static const uint64_t want[] = {11520u,
                                    0u,
                                    1509978240u,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    struct rng r = {.s = {1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) assert_true(rng_next(&r) == want[i]);
}

static void test_below(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 2);
    unsigned counts[7] = {0};
    for (int i = 0; i < 70000; i++) counts[rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(counts[i], 9600, 10400);
    for (int i = 0; i < 100; i++) assert_int_equal(rng_below(&r, 1), 0);
    for (int i = 0; i < 1000; i++) assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
    uint64_t huge = (UINT64_MAX / 4) * 3; /* rejection happens a quarter of the time */
    unsigned low = 0;
    for (int i = 0; i < 30000; i++) low += rng_below(&r, huge) < huge / 3;
    assert_in_range(low, 9700, 10300);
}

static void test_unit(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double x = rng_unit(&r);
        assert_true(x >= 0 && x < 1);
        sum += x;
    }
    assert_true(sum > 49500 && sum < 50500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_below),
        cmocka_unit_test(test_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
