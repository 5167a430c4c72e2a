/* Timer queue: order, moving, cancelling, and everything a callback may do while the queue fires.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/base/timerq.h"

#include <stdlib.h>

enum { LOG_MAX = 64 };

struct trace {
    struct timerq *q;
    int fired[LOG_MAX];
    size_t count;
};

struct item {
    struct timer timer;
    struct trace *trace;
    int name;
    int64_t again_ms; /* sets itself again when >= 0 */
    struct item *cancel, *move;
};

static void item_fire(void *arg)
{
    struct item *i = arg;
    assert_false(timerq_pending(&i->timer));
    if (i->trace->count < LOG_MAX) i->trace->fired[i->trace->count] = i->name;
    i->trace->count++;
    if (i->again_ms >= 0)
        assert_true(timerq_set(i->trace->q, &i->timer, i->again_ms, item_fire, i));
    if (i->cancel) timerq_cancel(i->trace->q, &i->cancel->timer);
    if (i->move) assert_true(timerq_set(i->trace->q, &i->move->timer, 0, item_fire, i->move));
}

static void items_init(struct item *items, size_t count, struct trace *trace)
{
    memset(trace, 0, sizeof *trace);
    memset(items, 0, count * sizeof *items);
    trace->q = timerq_new(count);
    for (size_t i = 0; i < count; i++) {
        items[i].trace = trace;
        items[i].name = (int)i;
        items[i].again_ms = -1;
    }
}

static void set(struct item *i, int64_t when)
{
    assert_true(timerq_set(i->trace->q, &i->timer, when, item_fire, i));
}

static void test_order(void **state)
{
    (void)state;
    struct trace t;
    struct item items[5];
    items_init(items, 5, &t);
    assert_true(timerq_next_ms(t.q) == INT64_MAX);
    assert_int_equal(timerq_run(t.q, 1000, 10), 0);
    set(&items[3], 30);
    set(&items[1], 10);
    set(&items[2], 10); /* equal times: in the order of setting */
    set(&items[0], -5);
    set(&items[4], 31);
    assert_int_equal(timerq_next_ms(t.q), -5);
    assert_int_equal(timerq_run(t.q, 30, 10), 4);
    for (int i = 0; i < 4; i++) assert_int_equal(t.fired[i], i);
    assert_int_equal(timerq_next_ms(t.q), 31);
    assert_true(timerq_pending(&items[4].timer));
    timerq_free(t.q);
    assert_false(timerq_pending(&items[4].timer));
    timerq_free(NULL);
}

static void test_ceilings(void **state)
{
    (void)state;
    struct trace t;
    struct item items[3], extra;
    items_init(items, 3, &t);
    extra = items[0];
    for (int i = 0; i < 3; i++) set(&items[i], i);
    assert_false(timerq_set(t.q, &extra.timer, 1, item_fire, &extra));
    assert_false(timerq_pending(&extra.timer));
    set(&items[0], 5); /* moving needs no room */
    assert_int_equal(timerq_run(t.q, 10, 2), 2);
    assert_int_equal(timerq_run(t.q, 10, 2), 1);
    assert_int_equal(t.fired[2], 0);
    timerq_free(t.q);
}

static void test_set_while_firing_waits(void **state)
{
    (void)state;
    struct trace t;
    struct item items[3];
    items_init(items, 3, &t);
    items[0].again_ms = 0; /* far in the past: must not hold the loop nor hide the others */
    items[1].again_ms = 100;
    for (int i = 0; i < 3; i++) set(&items[i], 50 + i);
    assert_int_equal(timerq_run(t.q, 100, 1000), 3);
    assert_int_equal(t.fired[2], 2);
    assert_true(timerq_next_ms(t.q) <= 100);
    items[0].again_ms = items[1].again_ms = -1;
    assert_int_equal(timerq_run(t.q, 100, 1000), 2);
    assert_int_equal(t.fired[3], 0);
    timerq_free(t.q);
}

static void test_cancel_and_move_while_firing(void **state)
{
    (void)state;
    struct trace t;
    struct item items[4];
    items_init(items, 4, &t);
    items[0].cancel = &items[1]; /* due in the same run */
    items[0].move = &items[2];   /* due too: now waits for the next run */
    for (int i = 0; i < 4; i++) set(&items[i], i);
    assert_int_equal(timerq_run(t.q, 10, 100), 2);
    assert_int_equal(t.fired[0], 0);
    assert_int_equal(t.fired[1], 3);
    assert_false(timerq_pending(&items[1].timer));
    assert_int_equal(timerq_run(t.q, 10, 100), 1);
    assert_int_equal(t.fired[2], 2);
    timerq_cancel(t.q, &items[2].timer); /* idle: nothing happens */
    timerq_free(t.q);
}

static void free_itself(void *arg)
{
    free(arg);
}

static void test_callback_may_free_its_timer(void **state)
{
    (void)state;
    struct timerq *q = timerq_new(10);
    for (int i = 0; i < 10; i++) {
        struct timer *t = calloc(1, sizeof *t);
        assert_true(timerq_set(q, t, i, free_itself, t));
    }
    assert_int_equal(timerq_run(q, 10, 100), 10);
    timerq_free(q);
}

/* Random sets, moves and cancels; what fires must be exactly the due ones in order. */
static void test_random(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct item items[N];
    struct trace t;
    struct rng rng;
    rng_seed(&rng, 11);
    items_init(items, N, &t);
    int64_t now = 0;
    for (int round = 0; round < 3000; round++) {
        for (int k = 0; k < 20; k++) {
            struct item *i = &items[rng_below(&rng, N)];
            if (rng_below(&rng, 3))
                set(i, now + (int64_t)rng_below(&rng, 100));
            else
                timerq_cancel(t.q, &i->timer);
        }
        now += (int64_t)rng_below(&rng, 10);
        size_t due = 0;
        for (size_t i = 0; i < N; i++)
            due += timerq_pending(&items[i].timer) && items[i].timer.when_ms <= now;
        t.count = 0;
        assert_int_equal(timerq_run(t.q, now, SIZE_MAX), due);
        for (size_t i = 1; i < t.count && i < LOG_MAX; i++) {
            const struct timer *a = &items[t.fired[i - 1]].timer, *b = &items[t.fired[i]].timer;
            assert_true(a->when_ms < b->when_ms ||
                        (a->when_ms == b->when_ms && a->order < b->order));
        }
        assert_true(timerq_next_ms(t.q) > now);
    }
    timerq_free(t.q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_set_while_firing_waits),
        cmocka_unit_test(test_cancel_and_move_while_firing),
        cmocka_unit_test(test_callback_may_free_its_timer),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
