/* The heartbeat: what a worker may believe of itself, beat by beat, against a Redis that answers
 * when it likes. */
#include "consumer/lease.h"
#include "tests/unit/fn_rig.h"

enum { TTL_MS = 3000, REACH_MS = 2100 };

struct world {
    struct rig rig;
    struct lease *lease;
    bool is_built, changed;
    size_t beats, marks;
};

static size_t homes(void *arg, uint32_t *ret, size_t max)
{
    (void)arg;
    assert_true(max > 0);
    ret[0] = 5;
    return 1;
}

static void info(void *arg, struct buf *out)
{
    (void)arg;
    buf_put_str(out, "{}");
}

static void on_home(void *arg, uint32_t home, bool is_built)
{
    struct world *w = arg;
    assert_int_equal(home, 5);
    w->is_built = is_built;
    w->marks++;
}

static void on_beat(void *arg, bool boot_changed)
{
    struct world *w = arg;
    assert_int_equal(w->marks, w->beats + 1); /* marks first */
    w->beats++;
    w->changed = boot_changed;
}

static int begin(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    rig_init(&w->rig);
    const struct lease_options o = {.fn = w->rig.fn,
                                    .clock = &w->rig.clock,
                                    .timers = w->rig.timers,
                                    .incarnation = VIEW_LIT("w1:aa"),
                                    .ttl_ms = TTL_MS,
                                    .homes = homes,
                                    .info = info,
                                    .on_home = on_home,
                                    .on_beat = on_beat,
                                    .arg = w};
    w->lease = lease_new(&o);
    assert_non_null(w->lease);
    lease_start(w->lease);
    rig_wait(&w->rig, 1);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    lease_free(w->lease);
    rig_fini(&w->rig);
    free(w);
    return 0;
}

/* Answers the questions of one beat: who Redis is, and whether home 5 is whole. */
static void answer(struct world *w, const char *boot, const char *mark)
{
    char text[80];
    int len = snprintf(text, sizeof text, "# Server\r\nrun_id:%s\r\n", boot);
    const struct reply info_reply = {.kind = REPLY_STR, .str = view_make(text, (size_t)len)};
    const struct reply built = {.kind = mark ? REPLY_STR : REPLY_NIL,
                                .str = mark ? view_of(mark) : VIEW_NONE};
    const struct reply marks = {.kind = REPLY_ARRAY, .items = &built, .count = 1};
    assert_next(&w->rig, "INFO");
    rig_answer(&w->rig, &info_reply, NULL);
    assert_next(&w->rig, "beat");
    rig_answer(&w->rig, &marks, NULL);
}

static void nothing_is_held_before_the_first_beat(void **state)
{
    struct world *w = *state;
    assert_false(lease_is_held(w->lease));
    answer(w, "one", "one");
    assert_true(lease_is_held(w->lease));
    assert_true(w->is_built && w->changed);
    assert_true(view_eq_str(lease_boot(w->lease), "one"));
    rig_wait(&w->rig, TTL_MS / 3);
    answer(w, "one", "zero");
    assert_false(w->is_built || w->changed);
}

static void a_beat_counts_from_the_moment_it_was_sent(void **state)
{
    struct world *w = *state;
    rig_wait(&w->rig, 2000); /* the answer takes so long */
    answer(w, "one", "one");
    assert_true(lease_is_held(w->lease));
    rig_sleep(&w->rig, REACH_MS - 2000 - 1);
    assert_true(lease_is_held(w->lease));
    rig_sleep(&w->rig, 1);
    assert_false(lease_is_held(w->lease));
    assert_int_equal(lease_until_ms(w->lease), 0);
}

static void an_answer_that_comes_too_late_holds_nothing(void **state)
{
    struct world *w = *state;
    rig_wait(&w->rig, REACH_MS + 1);
    answer(w, "one", "one");
    assert_false(lease_is_held(w->lease));
}

static void a_gap_stays_known_after_the_lease_was_won_back(void **state)
{
    struct world *w = *state;
    answer(w, "one", "one");
    int64_t acquired_ms = w->rig.clock.mono_ms, chain = lease_unbroken_ms(w->lease);
    assert_true(lease_held_since(w->lease, acquired_ms));
    rig_wait(&w->rig, TTL_MS / 3);
    answer(w, "one", "one");
    assert_true(lease_held_since(w->lease, acquired_ms));
    assert_int_equal(lease_unbroken_ms(w->lease), chain);
    rig_sleep(&w->rig, 5000);
    assert_false(lease_is_held(w->lease)); /* whatever timers have noticed */
    answer(w, "one", "one");
    assert_true(lease_is_held(w->lease));
    assert_false(lease_held_since(w->lease, acquired_ms));
    assert_true(lease_held_since(w->lease, w->rig.clock.mono_ms));
    assert_true(lease_unbroken_ms(w->lease) > chain);
}

static void a_beat_without_an_answer_is_tried_again_soon(void **state)
{
    struct world *w = *state;
    rig_break(&w->rig);
    rig_break(&w->rig);
    assert_int_equal(w->beats, 0);
    rig_wait(&w->rig, 249);
    assert_next(&w->rig, "nothing");
    rig_wait(&w->rig, 1);
    answer(w, "one", "one");
    assert_int_equal(w->beats, 1);
}

static void who_redis_is_must_be_known_for_a_beat_to_count(void **state)
{
    struct world *w = *state;
    const struct reply none = {.kind = REPLY_ARRAY};
    rig_break(&w->rig); /* INFO */
    rig_answer(&w->rig, &none, NULL);
    assert_false(lease_is_held(w->lease));
}

static void a_hurry_during_a_beat_makes_another_follow_at_once(void **state)
{
    struct world *w = *state;
    lease_hurry(w->lease);
    lease_hurry(w->lease);
    assert_int_equal(w->rig.count, 2); /* one beat under way: its two questions */
    answer(w, "one", "one");
    rig_wait(&w->rig, 0);
    answer(w, "one", "one");
    rig_wait(&w->rig, TTL_MS / 3 - 1);
    assert_next(&w->rig, "nothing");
}

static void an_end_is_an_end(void **state)
{
    struct world *w = *state;
    answer(w, "one", "one");
    lease_end(w->lease, NULL, NULL);
    assert_next(&w->rig, "unbeat");
    assert_false(lease_is_held(w->lease));
    lease_hurry(w->lease);
    rig_wait(&w->rig, 2 * TTL_MS);
    assert_int_equal(w->rig.count, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_is_held_before_the_first_beat),
        T(a_beat_counts_from_the_moment_it_was_sent),
        T(an_answer_that_comes_too_late_holds_nothing),
        T(a_gap_stays_known_after_the_lease_was_won_back),
        T(a_beat_without_an_answer_is_tried_again_soon),
        T(who_redis_is_must_be_known_for_a_beat_to_count),
        T(a_hurry_during_a_beat_makes_another_follow_at_once),
        T(an_end_is_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
