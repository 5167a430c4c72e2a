#ifndef CONSUMER_BACKOFF_H
#define CONSUMER_BACKOFF_H
#include "common/base/rng.h"
#include <stdbool.h>

/* How long to wait before try number `failures` + 1 (failures >= 1): initial * 2^(failures - 1), or
 * constant, never above max, then a random share of 75..125 % of it, so that many jobs that failed
 * together do not come back together. Milliseconds, >= 1. */
int64_t backoff_delay_ms(int64_t initial_ms, int64_t max_ms, bool exponential, int64_t failures,
                         struct rng *rng);

#endif
