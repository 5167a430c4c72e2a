/* Who starts next: due before new, 4 : 1 between the classes, tenants by weight, nobody starves,
 * nobody saves up. */
#include "consumer/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct thing {
    struct sched_item item;
    char tenant;
    enum sched_lane lane;
};

static void put(struct scheduler *s, struct thing *t, enum sched_lane lane, char tenant,
                int64_t weight)
{
    *t = (struct thing){.tenant = tenant, .lane = lane};
    assert_true(scheduler_put(s, lane, view_make(&t->tenant, 1), weight, 1, &t->item));
}

static struct thing *take(struct scheduler *s)
{
    struct sched_item *i = scheduler_take(s);
    return i ? LIST_ITEM(i, struct thing, item) : NULL;
}

static void test_lanes(void **state)
{
    static struct thing things[300];
    struct scheduler *s = scheduler_new(1000);
    size_t interactive = 0;

    (void)state;
    for (size_t i = 0; i < 100; i++) put(s, &things[i], SCHED_INTERACTIVE, 'a', 1);
    for (size_t i = 100; i < 200; i++) put(s, &things[i], SCHED_BULK, 'a', 1);
    for (size_t i = 200; i < 210; i++) put(s, &things[i], SCHED_DUE, 'b', 1);
    for (size_t i = 0; i < 10; i++) assert_int_equal(take(s)->lane, SCHED_DUE);
    for (size_t i = 0; i < 50; i++) interactive += take(s)->lane == SCHED_INTERACTIVE;
    assert_int_equal(interactive, 40);
    while (scheduler_lane_count(s, SCHED_INTERACTIVE)) assert_non_null(take(s));
    for (size_t left = scheduler_count(s); left; left--)
        assert_int_equal(take(s)->lane, SCHED_BULK);
    assert_null(take(s));
    scheduler_free(s);
}

static void test_tenants_by_weight(void **state)
{
    static struct thing things[1000];
    struct scheduler *s = scheduler_new(1000);
    size_t got[3] = {0};

    (void)state;
    /* a flood of a, then b (weight 3) and c: the flood does not delay them */
    for (size_t i = 0; i < 600; i++) put(s, &things[i], SCHED_BULK, 'a', 1);
    for (size_t i = 600; i < 900; i++) put(s, &things[i], SCHED_BULK, 'b', 3);
    for (size_t i = 900; i < 1000; i++) put(s, &things[i], SCHED_BULK, 'c', 1);
    for (size_t i = 0; i < 250; i++) got[take(s)->tenant - 'a']++;
    assert_int_equal(got[0], 50);
    assert_int_equal(got[1], 150);
    assert_int_equal(got[2], 50);
    scheduler_free(s);
}

static void test_order_and_remove(void **state)
{
    static struct thing things[10];
    struct scheduler *s = scheduler_new(3);
    struct thing extra = {.tenant = 'x'};

    (void)state;
    for (size_t i = 0; i < 3; i++) put(s, &things[i], SCHED_INTERACTIVE, 'a', 5);
    assert_false(scheduler_put(s, SCHED_BULK, view_make(&extra.tenant, 1), 1, 1, &extra.item));
    assert_false(scheduler_has(&extra.item));
    scheduler_remove(s, &things[1].item);
    assert_false(scheduler_has(&things[1].item));
    assert_ptr_equal(take(s), &things[0]);
    assert_ptr_equal(take(s), &things[2]);
    assert_null(take(s));
    assert_int_equal(scheduler_count(s), 0);
    scheduler_free(s);
}

/* A dear item waits for its credit while others go on; it is not starved. */
static void test_cost(void **state)
{
    static struct thing things[20];
    struct scheduler *s = scheduler_new(100);
    size_t before = 0;

    (void)state;
    things[0] = (struct thing){.tenant = 'a'};
    assert_true(
        scheduler_put(s, SCHED_BULK, view_make(&things[0].tenant, 1), 1, 5, &things[0].item));
    for (size_t i = 1; i < 20; i++) put(s, &things[i], SCHED_BULK, 'b', 1);
    while (take(s) != &things[0]) before++;
    assert_int_equal(before, 4);
    scheduler_free(s); /* with items in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_tenants_by_weight),
        cmocka_unit_test(test_order_and_remove),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
