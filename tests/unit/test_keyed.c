/* Limits of keys: never more at once, never more in any minute, in order, told when it takes long,
 * and through a change of owners. */
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "consumer/keyed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct desk {
    struct clock clock;
    struct timerq *timers;
    struct keyed *k;
    unsigned wakes;
};

static void wake(void *arg)
{
    ((struct desk *)arg)->wakes++;
}

static void open_desk(struct desk *d, bool is_complete)
{
    const struct keyed_options o = {.timers = d->timers,
                                    .clock = &d->clock,
                                    .is_complete = is_complete,
                                    .wake = wake,
                                    .arg = d};
    d->k = keyed_new(&o);
    assert_non_null(d->k);
}

static void make(struct desk *d)
{
    *d = (struct desk){.clock = {.mono_ms = 1000000, .wall_ms = 1795554000000},
                       .timers = timerq_new(1000)};
    assert_non_null(d->timers);
    open_desk(d, true);
}

static void drop(struct desk *d)
{
    keyed_free(d->k);
    assert_int_equal(timerq_next_ms(d->timers), INT64_MAX);
    timerq_free(d->timers);
}

static void pass_ms(struct desk *d, int64_t ms)
{
    d->clock.mono_ms += ms;
    d->clock.wall_ms += ms;
    timerq_run(d->timers, d->clock.mono_ms, 1000);
}

static const struct config_key_limit one = {.concurrency = 1}, two = {.concurrency = 2},
                                     slow = {.per_minute = 60},
                                     both = {.concurrency = 3, .per_minute = 40};

static enum keyed_verdict enter(struct desk *d, struct keyed_item *it, const char *key,
                                const struct config_key_limit *l, unsigned rank)
{
    const struct keyed_name n = {.tenant = VIEW_LIT("acme"), .key = view_of(key), .limit = l};
    return keyed_enter(d->k, it, &n, rank);
}

static void test_concurrency(void **state)
{
    struct desk d;
    struct keyed_item it[6] = {0};
    struct keyed_hold hold[6] = {0};
    (void)state;
    make(&d);
    assert_int_equal(enter(&d, &it[0], "a", &two, 5), KEYED_PASS);
    assert_int_equal(enter(&d, &it[1], "a", &two, 5), KEYED_PASS);
    assert_int_equal(enter(&d, &it[2], "a", &two, 5), KEYED_WAIT);
    assert_int_equal(enter(&d, &it[3], "a", &two, 5), KEYED_WAIT);
    assert_int_equal(enter(&d, &it[4], "a", &two, 9), KEYED_WAIT);
    assert_int_equal(enter(&d, &it[5], "b", &two, 5), KEYED_PASS); /* another key passes */
    assert_null(keyed_pop(d.k));
    keyed_take(d.k, &it[0], &hold[0]);
    keyed_take(d.k, &it[1], &hold[1]);
    assert_null(keyed_pop(d.k));
    assert_int_equal(d.wakes, 0);
    keyed_release(d.k, &hold[0]);
    assert_int_equal(d.wakes, 1);
    assert_ptr_equal(keyed_pop(d.k), &it[4]); /* by rank, then by age */
    assert_null(keyed_pop(d.k));
    keyed_leave(d.k, &it[4]); /* it did not start after all */
    assert_ptr_equal(keyed_pop(d.k), &it[2]);
    keyed_leave(d.k, &it[3]);
    keyed_leave(d.k, &it[2]);
    keyed_release(d.k, &hold[1]);
    keyed_release(d.k, &hold[1]); /* none any more */
    keyed_leave(d.k, &it[5]);
    assert_int_equal(keyed_waiting(d.k), 0);
    drop(&d);
}

static void test_rate(void **state)
{
    struct desk d;
    struct keyed_item it[200] = {0};
    struct keyed_hold hold[200] = {0};
    int64_t starts[200];
    size_t n = 0;
    (void)state;
    make(&d);
    for (size_t i = 0; i < 200; i++)
        if (enter(&d, &it[i], "a", &slow, 5) == KEYED_PASS) {
            keyed_take(d.k, &it[i], &hold[i]);
            starts[n++] = d.clock.mono_ms;
        }
    assert_int_equal(n, 4); /* one in twenty at once, and one */
    for (int ms = 0; ms < 200000 && n < 200; ms += 7) {
        struct keyed_item *next;
        pass_ms(&d, 7);
        while ((next = keyed_pop(d.k)) != NULL) {
            keyed_take(d.k, next, &hold[next - it]);
            starts[n++] = d.clock.mono_ms;
        }
    }
    assert_true(n > 180);
    for (size_t i = 60; i < n; i++) assert_true(starts[i] - starts[i - 60] >= 60000);
    for (size_t i = 0; i < 200; i++) keyed_leave(d.k, &it[i]);
    for (size_t i = 0; i < 200; i++) keyed_release(d.k, &hold[i]);
    pass_ms(&d, 60000); /* the bucket is full: the key is forgotten */
    drop(&d);
}

static void test_telling(void **state)
{
    struct desk d;
    struct keyed_item it[3] = {0};
    struct keyed_hold hold = {0};
    int64_t until, when;
    (void)state;
    make(&d);
    assert_null(keyed_tell(d.k, &until, &when));
    assert_int_equal(when, INT64_MAX);
    assert_int_equal(enter(&d, &it[0], "a", &one, 5), KEYED_PASS);
    keyed_take(d.k, &it[0], &hold);
    assert_int_equal(enter(&d, &it[1], "a", &one, 5), KEYED_WAIT);
    assert_int_equal(enter(&d, &it[2], "a", &one, 5), KEYED_WAIT);
    pass_ms(&d, 999);
    assert_null(keyed_tell(d.k, &until, &when));
    assert_int_equal(when, d.clock.mono_ms + 1);
    pass_ms(&d, 1);
    assert_ptr_equal(keyed_tell(d.k, &until, &when), &it[1]);
    assert_true(until > d.clock.mono_ms);
    keyed_leave(d.k, &it[2]);                    /* before it was told */
    assert_null(keyed_tell(d.k, &until, &when)); /* once */
    keyed_leave(d.k, &it[1]);
    keyed_release(d.k, &hold);
    drop(&d);
}

/* The next owner knows from the log who holds a place, and who started a short while ago. */
static void test_a_new_owner(void **state)
{
    struct desk d;
    struct keyed_item it[3] = {0};
    struct keyed_hold known[2] = {0}, hold = {0};
    const struct keyed_name n = {.tenant = VIEW_LIT("acme"), .key = VIEW_LIT("a"), .limit = &both};
    (void)state;
    make(&d);
    keyed_note_start(d.k, &n, 200, &known[0]);
    keyed_note_start(d.k, &n, 100, &known[1]);
    assert_int_equal(enter(&d, &it[0], "a", &both, 5), KEYED_PASS);
    keyed_take(d.k, &it[0], &hold);
    assert_int_equal(enter(&d, &it[1], "a", &both, 5), KEYED_WAIT); /* three hold places */
    keyed_release(d.k, &known[0]);
    keyed_release(d.k, &known[1]);
    assert_null(keyed_pop(d.k)); /* 40 a minute: a burst of 3 was used up */
    pass_ms(&d, 60000);
    assert_ptr_equal(keyed_pop(d.k), &it[1]);
    keyed_leave(d.k, &it[1]);
    keyed_release(d.k, &hold);
    pass_ms(&d, 60000);
    /* an owner who cannot know begins with an empty bucket, for a minute */
    keyed_free(d.k);
    open_desk(&d, false);
    assert_int_equal(enter(&d, &it[2], "a", &both, 5), KEYED_WAIT);
    assert_int_equal(enter(&d, &it[0], "c", &one, 5), KEYED_PASS); /* no rate: nothing to know */
    pass_ms(&d, 1600);
    assert_ptr_equal(keyed_pop(d.k), &it[2]);
    keyed_leave(d.k, &it[2]);
    keyed_leave(d.k, &it[0]);
    pass_ms(&d, 61000);
    assert_int_equal(enter(&d, &it[2], "d", &both, 5), KEYED_PASS);
    keyed_leave(d.k, &it[2]);
    drop(&d);
}

/* --- the property ---------------------------------------------------------------------------- */
enum { JOBS = 600, KEYS = 3 };
struct job {
    struct keyed_item it;
    struct keyed_hold hold;
    unsigned key;
    int64_t started, ends;
    enum { NEW, IN, RUNS, OVER } at;
};
static const struct config_key_limit limits[KEYS] = {
    {.concurrency = 2}, {.per_minute = 30}, {.concurrency = 4, .per_minute = 100}};
static const char *const key_names[KEYS] = {"a", "b", "c"};

static void check(const struct job *jobs, unsigned key, int64_t now)
{
    int64_t running = 0, minute = 0;
    for (size_t i = 0; i < JOBS; i++) {
        if (jobs[i].key != key || !jobs[i].started) continue;
        running += jobs[i].at == RUNS;
        minute += jobs[i].started > now - 60000;
    }
    if (limits[key].concurrency) assert_true(running <= limits[key].concurrency);
    if (limits[key].per_minute) assert_true(minute <= limits[key].per_minute);
}

/* Jobs come, start, end and give up at random; the owner changes now and then, and the next one
 * hears of what runs only. */
static void play(uint64_t seed)
{
    static struct job jobs[JOBS];
    struct rng rng, *r = &rng;
    struct desk d;
    size_t born = 0, over = 0;
    memset(jobs, 0, sizeof jobs);
    rng_seed(r, seed);
    make(&d);
    for (int turn = 0; over < JOBS && turn < 200000; turn++) {
        pass_ms(&d, 1 + (int64_t)rng_below(r, 400));
        if (rng_below(r, 400) == 0) {
            for (size_t i = 0; i < JOBS; i++) {
                if (jobs[i].at != IN) continue;
                keyed_leave(d.k, &jobs[i].it);
                jobs[i].at = NEW;
            }
            keyed_free(d.k);
            open_desk(&d, false);
            for (size_t i = 0; i < JOBS; i++) {
                if (jobs[i].at != RUNS) continue;
                const struct keyed_name n = {VIEW_LIT("acme"), view_of(key_names[jobs[i].key]),
                                             &limits[jobs[i].key]};
                jobs[i].hold = (struct keyed_hold){0};
                keyed_note_start(d.k, &n, d.clock.mono_ms - jobs[i].started, &jobs[i].hold);
            }
        }
        if (born < JOBS && rng_below(r, 3) == 0) jobs[born++].key = (unsigned)rng_below(r, KEYS);
        for (size_t i = 0; i < born; i++) {
            struct job *j = &jobs[i];
            if (j->at == NEW) {
                (void)enter(&d, &j->it, key_names[j->key], &limits[j->key],
                            (unsigned)rng_below(r, 10));
                j->at = IN;
            } else if (j->at == IN && rng_below(r, 5000) == 0) {
                keyed_leave(d.k, &j->it);
                j->at = OVER;
                over++;
            } else if (j->at == IN && j->it.state == KEYED_LINED && rng_below(r, 2)) {
                keyed_take(d.k, &j->it, &j->hold);
                j->at = RUNS;
                j->started = d.clock.mono_ms;
                j->ends = j->started + (int64_t)rng_below(r, 5000);
                check(jobs, j->key, d.clock.mono_ms);
            } else if (j->at == RUNS && j->ends <= d.clock.mono_ms) {
                keyed_release(d.k, &j->hold);
                j->at = OVER;
                over++;
            }
        }
        while (keyed_pop(d.k)) {
        }
    }
    assert_int_equal(over, JOBS); /* nobody is forgotten */
    pass_ms(&d, 60000);
    drop(&d);
}

static void test_property(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) play(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concurrency), cmocka_unit_test(test_rate),
        cmocka_unit_test(test_telling),     cmocka_unit_test(test_a_new_owner),
        cmocka_unit_test(test_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
