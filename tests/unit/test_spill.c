/* How much of a worker one tenant may fill: alone its share, among many less, and always something.
 */
#include "consumer/spill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WINDOW = 1000 };

static struct spill *spill_of(int64_t share, int64_t runs_max)
{
    const struct spill_options o = {
        .window = WINDOW, .share = share, .runs_max = runs_max, .tenants_max = 10000};
    struct spill *s = spill_new(&o);
    assert_non_null(s);
    return s;
}

static struct view name_of(const unsigned *tenant)
{
    return view_make((const char *)tenant, sizeof *tenant);
}

/* As many as may come in of one tenant. Returns how many. */
static size_t fill(struct spill *s, struct spill_place *places, unsigned tenant, size_t max)
{
    size_t n = 0;
    while (n < max && !spill_wants(s, SCHED_BULK, name_of(&tenant), 0))
        assert_true(spill_enter(s, &places[n++], SCHED_BULK, name_of(&tenant)));
    return n;
}

static void empty(struct spill *s, struct spill_place *places, size_t n)
{
    for (size_t i = 0; i < n; i++) (void)spill_leave(s, &places[i]);
}

static void test_alone_it_fills_its_share(void **state)
{
    static struct spill_place places[2000];
    (void)state;
    struct spill *s = spill_of(25, 100);
    size_t n = fill(s, places, 1, 2000);
    assert_in_range(n, 249, 251);
    unsigned other = 2;
    assert_false(spill_wants(s, SCHED_BULK, name_of(&other), 0));
    unsigned same = 1;
    assert_true(spill_wants(s, SCHED_BULK, name_of(&same), 4));         /* priority makes no room */
    assert_false(spill_wants(s, SCHED_INTERACTIVE, name_of(&same), 0)); /* of the class alone */
    empty(s, places, n);
    assert_false(spill_leave(s, &places[0])); /* out already */
    spill_free(s);
    s = spill_of(100, 100); /* no sharing wanted: never */
    assert_int_equal(fill(s, places, 1, 2000), 2000);
    spill_free(s);
}

/* However many fill what they may, the window is never full, and a newcomer finds a place. */
static void test_many_leave_room(void **state)
{
    enum { TENANTS = 400 };
    static struct spill_place places[TENANTS][300];
    static size_t counts[TENANTS];
    size_t sum = 0;
    (void)state;
    struct spill *s = spill_of(25, 100);
    for (unsigned t = 0; t < TENANTS; t++) {
        counts[t] = fill(s, places[t], t, 300);
        assert_true(counts[t] >= 1);
        sum += counts[t];
    }
    assert_true(counts[0] >= counts[1] && counts[1] >= counts[50]);
    assert_true(sum <= WINDOW + TENANTS);
    for (unsigned t = 0; t < TENANTS; t++) empty(s, places[t], counts[t]);
    spill_free(s);
}

/* What was set aside comes back in stretches, and nothing of its tenant overtakes it. */
static void test_order(void **state)
{
    static struct spill_place places[300], more;
    unsigned a = 1, b = 2;
    (void)state;
    struct spill *s = spill_of(25, 100);
    size_t n = fill(s, places, a, 300);
    spill_note_out(s, SCHED_BULK, name_of(&a));
    spill_note_out(s, SCHED_BULK, name_of(&a));
    assert_false(spill_admits(s, SCHED_BULK, name_of(&a)));
    assert_true(spill_admits(s, SCHED_BULK, name_of(&b)));
    for (size_t i = 0; i < 100; i++) (void)spill_leave(s, &places[i]);
    assert_true(spill_wants(s, SCHED_BULK, name_of(&a), 0)); /* others are before it */
    assert_false(spill_wants(s, SCHED_BULK, name_of(&a), 1));
    assert_false(spill_wants(s, SCHED_BULK, name_of(&b), 0));
    assert_false(spill_admits(s, SCHED_BULK, name_of(&a)));
    for (size_t i = 100; i < 150; i++) (void)spill_leave(s, &places[i]);
    assert_true(spill_admits(s, SCHED_BULK, name_of(&a)));
    spill_note_back(s, SCHED_BULK, name_of(&a));
    assert_true(spill_wants(s, SCHED_BULK, name_of(&a), 0));
    spill_note_back(s, SCHED_BULK, name_of(&a));
    spill_note_back(s, SCHED_BULK, name_of(&a)); /* another worker's */
    assert_false(spill_wants(s, SCHED_BULK, name_of(&a), 0));
    spill_note_out(s, SCHED_BULK, name_of(&a));
    spill_note_out(s, SCHED_BULK, name_of(&b)); /* has nothing else */
    spill_forget_out(s);
    assert_false(spill_wants(s, SCHED_BULK, name_of(&a), 0));
    assert_true(spill_enter(s, &more, SCHED_BULK, name_of(&b)));
    empty(s, &more, 1);
    empty(s, places + 150, n - 150);
    spill_free(s);
}

static void test_runs(void **state)
{
    static struct spill_place places[100], others[20];
    unsigned a = 1, b = 2;
    size_t n = 0, m = 0;
    (void)state;
    struct spill *s = spill_of(100, 50);
    for (size_t i = 0; i < 100; i++)
        assert_true(spill_enter(s, &places[i], SCHED_BULK, name_of(&a)));
    for (size_t i = 0; i < 20; i++)
        assert_true(spill_enter(s, &others[i], SCHED_BULK, name_of(&b)));
    while (spill_may_start(s, &places[n])) spill_start(s, &places[n++]);
    assert_int_equal(n, 45); /* a tenth is left to who comes */
    while (m < 20 && spill_may_start(s, &others[m])) spill_start(s, &others[m++]);
    assert_int_equal(m, 5);
    assert_false(spill_may_start(s, &places[n]));
    for (size_t i = 0; i < 10; i++) assert_true(spill_leave(s, &places[i]));
    assert_true(spill_may_start(s, &places[n]));
    empty(s, places, 100);
    empty(s, others, 20);
    struct spill_place out = {0};
    assert_true(spill_may_start(s, &out)); /* one that was never counted */
    spill_start(s, &out);
    assert_false(spill_leave(s, &out));
    spill_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_it_fills_its_share),
        cmocka_unit_test(test_many_leave_room),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
