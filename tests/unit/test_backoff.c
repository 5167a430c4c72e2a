/* Back-off stays inside its band for every failure count and never overflows. */
#include "consumer/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_band(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (int64_t failures = 1; failures < 200; failures++) {
        int64_t want = failures > 7 ? 30000 : 500LL << (failures - 1);
        int64_t got = backoff_delay_ms(500, 30000, true, failures, &rng);

        if (want > 30000) want = 30000;
        assert_in_range(got, want * 3 / 4, want * 5 / 4);
        assert_in_range(backoff_delay_ms(500, 30000, false, failures, &rng), 375, 625);
    }
    assert_true(backoff_delay_ms(0, 0, true, 1000000, &rng) >= 1);
    assert_true(backoff_delay_ms(INT64_MAX / 4, INT64_MAX / 4, true, 3, &rng) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_band)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
