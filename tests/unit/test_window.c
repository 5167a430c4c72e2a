/* The window against a naive model: whatever is completed in whatever order, with gaps, restores
 * and cut lists, an offset that was not completed never reads as complete. */
#include "common/base/rng.h"
#include "consumer/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { OFFSETS = 6000 };
enum fate { FATE_NONE, FATE_ABSENT, FATE_OPEN, FATE_DONE };

static struct view committed(struct window *w, struct buf *out, int64_t *ret_base)
{
    buf_reset(out);
    *ret_base = window_commit(w, out);
    assert_false(out->failed);
    assert_true(out->len <= WINDOW_METADATA_MAX);
    return buf_view(out);
}

/* Reads on from where the restored window says: what it calls complete must be complete. */
static void check_restored(const struct window *old, const enum fate *fates, int64_t end,
                           int64_t base, struct view text, bool exact)
{
    struct window *w = window_new(100000);
    (void)old;
    assert_non_null(w);
    int64_t from = window_restore(w, base, text, 0);
    assert_true(from <= base);
    for (int64_t o = 0; o < from; o++) assert_int_not_equal(fates[o], FATE_OPEN);
    for (int64_t o = from; o < end; o++) {
        if (fates[o] == FATE_ABSENT) continue;
        bool is_open = window_is_open(w, o);
        bool must_run = window_add(w, o);
        assert_int_equal(is_open, must_run);
        if (fates[o] == FATE_OPEN) assert_true(must_run);
        if (exact && fates[o] == FATE_DONE) assert_false(must_run);
    }
    window_free(w);
}

static void run_model(uint64_t seed, size_t open_max, double complete_rate)
{
    enum fate fates[OFFSETS] = {FATE_NONE};
    int64_t open[OFFSETS];
    size_t open_count = 0;
    struct rng rng;
    struct buf text;
    struct window *w = window_new(open_max);
    int64_t next = 0, base = 0;

    rng_seed(&rng, seed);
    buf_init(&text, WINDOW_METADATA_MAX);
    assert_int_equal(window_restore(w, -1, VIEW_NONE, 0), 0);
    while (next < OFFSETS) {
        if (rng_unit(&rng) < 0.03) {
            fates[next++] = FATE_ABSENT;
            continue;
        }
        if (!window_is_full(w) && rng_unit(&rng) > complete_rate) {
            assert_true(window_add(w, next));
            fates[next] = FATE_OPEN;
            open[open_count++] = next++;
        } else if (open_count) {
            size_t at = rng_below(&rng, 4) ? rng_below(&rng, open_count) : 0;
            window_complete(w, open[at]);
            fates[open[at]] = FATE_DONE;
            open[at] = open[--open_count];
            assert_true(window_is_dirty(w));
        }
        assert_int_equal(window_incomplete(w), open_count);
        if (rng_below(&rng, 400) == 0) {
            struct view v = committed(w, &text, &base);
            assert_false(window_is_dirty(w));
            check_restored(w, fates, next, base, v, true);
        }
    }
    window_free(w);
    buf_fini(&text);
}

static void test_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 12; seed++)
        run_model(seed, 300 + seed * 100, 0.3 + (double)seed * 0.02);
}

/* Far apart and many: the list does not fit and must claim less. */
static void test_cut_list(void **state)
{
    static enum fate fates[OFFSETS * 2];
    struct window *w = window_new(100000);
    struct buf text;
    int64_t base;

    (void)state;
    buf_init(&text, WINDOW_METADATA_MAX);
    (void)window_restore(w, -1, VIEW_NONE, 0);
    for (int64_t o = 0; o < OFFSETS * 2; o++) {
        assert_true(window_add(w, o));
        fates[o] = o % 2 ? FATE_DONE : FATE_OPEN;
        if (o % 2) window_complete(w, o);
    }
    struct view v = committed(w, &text, &base);
    assert_true(window_is_full(w));
    assert_true(v.len > WINDOW_METADATA_MAX * 9 / 10);
    check_restored(w, fates, OFFSETS * 2, base, v, false);
    window_free(w);
    buf_fini(&text);
}

static void test_restore_twice(void **state)
{
    struct window *a = window_new(100), *b = window_new(100);
    struct buf text;
    int64_t base;

    (void)state;
    buf_init(&text, WINDOW_METADATA_MAX);
    (void)window_restore(a, -1, VIEW_NONE, 10);
    for (int64_t o = 10; o < 20; o++) assert_true(window_add(a, o));
    for (int64_t o = 12; o < 20; o += 2) window_complete(a, o);
    struct view v = committed(a, &text, &base);
    assert_int_equal(base, 10);
    /* The next owner hands over again before it has read anything: the same list. */
    char first[WINDOW_METADATA_MAX + 1];
    assert_true(view_copy(v, first, sizeof first));
    assert_int_equal(window_restore(b, base, v, 0), 10);
    assert_false(window_is_dirty(b));
    v = committed(b, &text, &base);
    assert_int_equal(base, 10);
    assert_true(view_eq_str(v, first));
    /* Retention took the first ones: what is gone counts as complete. */
    assert_int_equal(window_restore(b, base, v, 14), 15);
    assert_false(window_is_open(b, 14));
    assert_true(window_is_open(b, 15));
    /* Reading past 15 without meeting it: it will never come. */
    assert_false(window_add(b, 16));
    assert_int_equal(window_base(b), 17);
    window_free(a);
    window_free(b);
    buf_fini(&text);
}

static void test_garbage_replays(void **state)
{
    struct window *w = window_new(100);
    struct buf text;
    int64_t base;

    (void)state;
    buf_init(&text, WINDOW_METADATA_MAX);
    (void)window_restore(w, -1, VIEW_NONE, 0);
    for (int64_t o = 0; o < 40; o++) (void)window_add(w, o);
    for (int64_t o = 1; o < 40; o += 3) window_complete(w, o);
    struct view v = committed(w, &text, &base);
    assert_int_equal(base, 0);
    for (size_t i = 0; i < v.len; i++) {
        char bad[WINDOW_METADATA_MAX + 1];
        struct window *other = window_new(100);
        assert_true(view_copy(v, bad, sizeof bad));
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_int_equal(window_restore(other, 0, view_of(bad), 0), 0);
        for (int64_t o = 0; o < 40; o++) assert_true(window_add(other, o));
        window_free(other);
    }
    window_free(w);
    buf_fini(&text);
}

static void test_full_and_reread(void **state)
{
    struct window *w = window_new(4);
    struct buf text;
    int64_t base;

    (void)state;
    buf_init(&text, WINDOW_METADATA_MAX);
    (void)window_restore(w, -1, VIEW_NONE, 0);
    for (int64_t o = 0; o < 4; o++) {
        assert_false(window_is_full(w));
        assert_true(window_add(w, o));
    }
    assert_true(window_is_full(w));
    window_complete(w, 3);
    (void)committed(w, &text, &base);
    struct window *b = window_new(2);
    assert_int_equal(window_restore(b, base, buf_view(&text), 0), 0);
    /* Three are open though two are the limit: they must still be met again. */
    for (int64_t o = 0; o < 3; o++) {
        assert_false(window_is_full(b));
        assert_true(window_add(b, o));
    }
    assert_true(window_is_full(b));
    assert_false(window_add(b, 2)); /* a rewind does not run it twice */
    window_free(w);
    window_free(b);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),           cmocka_unit_test(test_cut_list),
        cmocka_unit_test(test_restore_twice),   cmocka_unit_test(test_garbage_replays),
        cmocka_unit_test(test_full_and_reread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
