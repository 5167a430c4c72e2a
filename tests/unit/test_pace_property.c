/* Promise F over the limiter and the functions in Redis together: four workers against an exact provider, in virtual time. */
#include "pace_world.h"

static int begin(void **state)
{
    *state = pw_new();
    return 0;
}

static int end(void **state)
{
    pw_free(*state);
    return 0;
}

/* --- limits are known ------------------------------------------------------------------------- */

static void run_known(struct pw *w, const char *what, uint64_t seed, enum pw_algorithm a, const int64_t limits[4],
                      double use_min)
{
    pw_reset(w, seed);
    pw_provider(w, a, limits[0], limits[1], limits[2], limits[3]);
    pw_configure(w);
    w->tells_headers = seed % 2 == 0;
    pw_start(w, 4);
    pw_run(w, 90000);
    pw_mark(w);
    pw_run(w, 240000);
    pw_print(w, what);
    assert_int_equal(w->refused, 0);
    assert_true(pw_peak(w) <= 1000);
    assert_true(pw_use(w) >= use_min);
}

static void test_small_budgets(void **state)
{
    struct pw *w = *state;
    static const int64_t limits[] = {60, 60, 10, 200};
    static const size_t workers[] = {1, 4, 2, 4};
    for (size_t i = 0; i < 4; i++) {
        pw_reset(w, 100 + i);
        pw_provider(w, PW_SLIDING, limits[i], 0, 0, 0);
        pw_configure(w);
        pw_start(w, workers[i]);
        pw_run(w, 120000);
        pw_mark(w);
        pw_run(w, 600000);
        pw_print(w, "small");
        assert_int_equal(w->refused, 0);
        assert_true(pw_peak(w) <= 1000);
        assert_true(pw_use(w) >= 0.93);
    }
}

static void test_known_limits_are_used_and_never_exceeded(void **state)
{
    struct pw *w = *state;
    run_known(w, "requests 600, bucket", 1, PW_BUCKET, (int64_t[]){600, 0, 0, 0}, 0.97);
    run_known(w, "requests 600, sliding", 2, PW_SLIDING, (int64_t[]){600, 0, 0, 0}, 0.97);
    run_known(w, "requests 6000, fixed", 3, PW_FIXED, (int64_t[]){6000, 0, 0, 0}, 0.97);
    run_known(w, "input, sliding", 4, PW_SLIDING, (int64_t[]){2000, 300000, 0, 0}, 0.968);
    run_known(w, "input, bucket", 5, PW_BUCKET, (int64_t[]){2000, 300000, 0, 0}, 0.968);
    run_known(w, "output, sliding", 6, PW_SLIDING, (int64_t[]){2000, 600000, 80000, 0}, 0.955);
    run_known(w, "output, fixed", 7, PW_FIXED, (int64_t[]){2000, 600000, 80000, 0}, 0.955);
    run_known(w, "output at 50 a second", 9, PW_SLIDING, (int64_t[]){6000, 0, 300000, 0}, 0.97);
    run_known(w, "tokens combined, sliding", 8, PW_SLIDING, (int64_t[]){2000, 0, 0, 800000}, 0.97);
}

/* --- bad days --------------------------------------------------------------------------------- */

/* Workers die, come, and stand still for ten seconds. */
static void trouble(struct pw *w, int64_t ms)
{
    for (int64_t end = w->now_ms + ms; w->now_ms < end;) {
        size_t i = (size_t)rng_below(&w->rng, w->worker_count);
        struct pw_worker *k = &w->workers[i];
        pw_run(w, pw_between(w, 3000, 12000));
        if (k->is_dead) {
            pw_worker_start(w, i);
        } else if (rng_below(&w->rng, 3) == 0) {
            pw_kill(w, i);
        } else {
            k->paused_until_ms = w->now_ms + 10000;
        }
    }
    for (size_t i = 0; i < w->worker_count; i++)
        if (w->workers[i].is_dead) pw_worker_start(w, i);
}

static void test_workers_killed_and_paused(void **state)
{
    struct pw *w = *state;
    static const int64_t limits[][4] = {{1200, 0, 0, 0}, {3000, 600000, 0, 0}, {3000, 900000, 160000, 0}};
    for (size_t i = 0; i < 3; i++) {
        pw_reset(w, 20 + i);
        pw_provider(w, (enum pw_algorithm)i, limits[i][0], limits[i][1], limits[i][2], limits[i][3]);
        pw_configure(w);
        pw_start(w, 4);
        pw_run(w, 60000);
        pw_mark(w);
        trouble(w, 300000);
        pw_print(w, "killed and paused");
        assert_int_equal(w->refused, 0);
        assert_true(pw_peak(w) <= 1000);
        assert_true(pw_use(w) >= 0.85); /* who stands still or is dead keeps nothing long */
    }
}

static void test_redis_forgets(void **state)
{
    struct pw *w = *state;
    pw_reset(w, 30);
    pw_provider(w, PW_SLIDING, 1200, 0, 0, 0);
    pw_configure(w);
    pw_start(w, 4);
    for (int i = 0; i < 4; i++) {
        pw_run(w, 80000);
        rs_ask(&w->rs, &w->text, "FLUSHALL");
        pw_mark(w);
    }
    pw_run(w, 80000);
    pw_print(w, "wiped");
    assert_int_equal(w->refused, 0);
    assert_true(pw_peak(w) <= 1000);
    assert_true(pw_use(w) >= 0.4); /* half of it for a minute */
}

static void test_clock_steps(void **state)
{
    struct pw *w = *state;
    pw_reset(w, 31);
    pw_provider(w, PW_SLIDING, 1200, 0, 0, 0);
    pw_configure(w);
    pw_start(w, 4);
    pw_run(w, 120000);
    pw_mark(w);
    for (int i = 0; i < 10; i++) {
        w->skew_ms += i % 2 ? 3600000 : -40000 * (i + 1);
        pw_run(w, 60000);
    }
    pw_print(w, "clock steps");
    assert_int_equal(w->refused, 0);
    assert_true(pw_peak(w) <= 1000);
    assert_true(pw_use(w) > 0.95);
}

static void test_redis_away(void **state)
{
    struct pw *w = *state;
    pw_reset(w, 32);
    pw_provider(w, PW_SLIDING, 1200, 0, 0, 0);
    pw_configure(w);
    pw_start(w, 4);
    for (int i = 0; i < 3; i++) {
        pw_run(w, 100000);
        for (size_t k = 0; k < 4; k++) w->workers[k].is_cut = true;
        pw_mark(w);
        pw_run(w, 30000);
        pw_print(w, "redis away");
        assert_true(pw_use(w) >= 0.65 && pw_use(w) <= 0.8); /* each its share of four fifths */
        for (size_t k = 0; k < 4; k++) w->workers[k].is_cut = false;
    }
    assert_int_equal(w->refused, 0);
    assert_true(pw_peak(w) <= 1000);
}

/* --- limits that change or are not known ------------------------------------------------------ */

static void change(struct pw *w, double factor)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        w->dims[d].limit = (int64_t)((double)w->dims[d].limit * factor);
        if (w->dims[d].level > (double)w->dims[d].limit) w->dims[d].level = (double)w->dims[d].limit;
    }
    w->changed_ms = w->now_ms;
}

static void test_halved_and_doubled(void **state)
{
    struct pw *w = *state;
    for (size_t a = 0; a < 3; a++) {
        pw_reset(w, 40 + a);
        pw_provider(w, (enum pw_algorithm)a, 1200, 400000, 0, 0);
        w->tells_headers = true;
        pw_start(w, 4);
        pw_run(w, 180000);
        change(w, 0.5);
        size_t before = w->refused;
        pw_run(w, 60000);
        pw_mark(w);
        pw_run(w, 60000);
        pw_print(w, "halved");
        size_t halved = w->refused - before;
        double use = pw_use(w);
        change(w, 2);
        pw_run(w, 60000);
        pw_mark(w);
        pw_run(w, 60000);
        pw_print(w, "doubled");
        assert_true(halved <= 4 + 20 * 150 / 1000);
        assert_true(use >= 0.95);
        assert_true(pw_use(w) >= 0.95);
        assert_int_equal(w->refused, halved);
    }
}

static void test_unknown(void **state)
{
    struct pw *w = *state;
    for (size_t a = 0; a < 6; a++) {
        pw_reset(w, 50 + a);
        pw_provider(w, (enum pw_algorithm)(a % 3), 900, a < 3 ? 0 : 200000, 0, 0);
        w->tells_headers = a % 2 == 0;
        pw_start(w, 4);
        pw_run(w, w->tells_headers ? 180000 : 600000);
        pw_mark(w);
        pw_print(w, w->tells_headers ? "unknown, headers tell" : "unknown, silent");
        size_t refused = w->refused;
        pw_run(w, 180000);
        pw_print(w, "  three minutes later");
        assert_true(refused <= (a < 3 ? 5 : 8)); /* two unknown limits: each may have to be found */
        assert_true(pw_use(w) >= (a < 3 ? 0.9 : 0.85));
    }
}

static void test_strangers(void **state)
{
    struct pw *w = *state;
    for (size_t a = 0; a < 3; a++) {
        pw_reset(w, 60 + a);
        pw_provider(w, (enum pw_algorithm)a, 1200, 0, 0, 0);
        pw_configure(w);
        w->tells_headers = true;
        pw_start(w, 4);
        pw_run(w, 120000);
        w->strangers = 0.3;
        pw_run(w, 60000);
        pw_mark(w);
        size_t refused = w->refused;
        pw_run(w, 120000);
        pw_print(w, "strangers take 30 %");
        assert_true(pw_use(w) >= 0.6);
        assert_true(w->refused - refused <= 30); /* of about 1,700 */
    }
}

/* --- outages and storms ----------------------------------------------------------------------- */

static void test_outage(void **state)
{
    struct pw *w = *state;
    for (uint64_t seed = 70; seed < 72; seed++) {
        pw_reset(w, seed);
        pw_provider(w, PW_SLIDING, 1200, 0, 0, 0);
        pw_configure(w);
        pw_start(w, 4);
        pw_run(w, 120000);
        w->is_out = true;
        pw_run(w, 8000);
        size_t failed = w->failed, probes = w->probes_seen;
        w->last_arrival_ms = 0;
        w->arrival_gap_min_ms = INT64_MAX;
        pw_run(w, 22000);
        size_t probed = w->probes_seen - probes;
        w->is_out = false;
        pw_run(w, 20000);
        pw_mark(w);
        pw_run(w, 20000);
        pw_print(w, "after an outage");
        assert_int_equal(probed, w->failed - failed);
        assert_true(failed <= 30);
        assert_true(w->failed - failed <= 5);
        assert_true(w->arrival_gap_min_ms >= 5000);
        assert_true(pw_use(w) >= 0.95);
        assert_int_equal(w->refused, 0);
    }
}

static void test_storm(void **state)
{
    struct pw *w = *state;
    pw_reset(w, 80);
    pw_provider(w, PW_SLIDING, 1200, 0, 0, 0);
    pw_configure(w);
    pw_start(w, 4);
    pw_run(w, 90000);
    w->is_storm = true;
    pw_run(w, 900); /* all that were under way are refused: one close */
    assert_true(w->refused >= 1);
    assert_int_equal(pw_look(w).closes, 1);
    pw_run(w, 9000);
    w->is_storm = false;
    pw_run(w, 20000);
    pw_mark(w);
    pw_run(w, 20000);
    pw_print(w, "after a storm");
    assert_true(pw_use(w) >= 0.95);
}

/* --- enough for everybody --------------------------------------------------------------------- */

static void test_most_calls_need_no_trip(void **state)
{
    struct pw *w = *state;
    pw_reset(w, 90);
    pw_provider(w, PW_SLIDING, 24000, 0, 0, 0);
    pw_configure(w);
    w->arrivals_per_minute = 12000;
    pw_start(w, 4);
    pw_run(w, 60000);
    pw_mark(w);
    size_t granted = w->granted, trades = w->trades;
    pw_run(w, 60000);
    pw_print(w, "200 calls a second");
    assert_true(w->granted - granted >= 5 * (w->trades - trades));
    assert_true(pw_use(w) > 0.48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_limits_are_used_and_never_exceeded),
        cmocka_unit_test(test_small_budgets),
        cmocka_unit_test(test_workers_killed_and_paused),
        cmocka_unit_test(test_redis_forgets),
        cmocka_unit_test(test_clock_steps),
        cmocka_unit_test(test_redis_away),
        cmocka_unit_test(test_halved_and_doubled),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_storm),
        cmocka_unit_test(test_most_calls_need_no_trip),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
