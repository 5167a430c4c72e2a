#ifndef BASE_TIMERQ_H
#define BASE_TIMERQ_H
#include "common/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ordered timer queue: no clock inside. Timers are embedded in what they belong to (zeroed =
 * idle). */
struct timerq;
typedef void timer_fn(void *arg);

struct timer {
    int64_t when_ms;
    uint64_t order;
    size_t slot; /* 1-based heap index; 0 = not queued */
    timer_fn *fire;
    void *arg;
};

struct timerq *timerq_new(size_t max_timers);
void timerq_free(struct timerq *q);
/* Schedules or moves t. Equal times fire in the order of setting. False when full or out of
 * memory. */
bool timerq_set(struct timerq *q, struct timer *t, int64_t when_ms, timer_fn *fire, void *arg);
void timerq_cancel(struct timerq *q, struct timer *t);
bool timerq_pending(const struct timer *t);
/* Earliest time, INT64_MAX when empty. */
int64_t timerq_next_ms(const struct timerq *q);
/* Fires everything due at now_ms, at most max; returns how many fired. A timer set for <= now
 * while firing waits for the next call. */
size_t timerq_run(struct timerq *q, int64_t now_ms, size_t max);

#endif
