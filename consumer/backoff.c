/* Exponential back-off with jitter. Hard: nothing but overflow: the doubling stops at the ceiling
 * instead of shifting past it. */
#include "consumer/backoff.h"
#include <assert.h>

int64_t backoff_delay_ms(int64_t initial_ms, int64_t max_ms, bool exponential, int64_t failures,
                         struct rng *rng)
{
    int64_t base = initial_ms < 1 ? 1 : initial_ms;

    assert(failures >= 1);
    if (max_ms < 1) max_ms = 1;
    for (int64_t i = 1; exponential && i < failures && base < max_ms; i++) base *= 2;
    if (base > max_ms) base = max_ms;
    base = base * 3 / 4 + (int64_t)rng_below(rng, (uint64_t)base / 2 + 1);
    return base < 1 ? 1 : base;
}
