/* The arbitration rule against an oracle: the oracle looks at a whole sequence of records at once and applies the words of
 * ledger.h; the ledger folds one record after another. All short sequences, and many long ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "schemas/ledger.h"

struct symbol {
    enum state_kind kind;
    int64_t epoch;
    const char *step;
    int64_t item;
};

static const struct symbol symbols[] = {
    {STATE_STARTED, 1, "", -1},    {STATE_STARTED, 2, "", -1},        {STATE_CHECKPOINT, 1, "a", -1},
    {STATE_CHECKPOINT, 2, "a", -1}, {STATE_PARKED, 1, "", -1},         {STATE_YIELDED, 2, "", -1},
    {STATE_SUCCEEDED, 1, "", -1},  {STATE_FAILED, 2, "", -1},         {STATE_CANCEL, 0, "", -1},
    {STATE_STARTED, 3, "", -1},    {STATE_CHECKPOINT, 3, "a", 0},     {STATE_PARKED, 2, "", -1},
    {STATE_EXPIRED, 3, "", -1},    {STATE_SIGNAL, 0, "go", -1},       {STATE_YIELDED, 1, "", -1},
};
enum { SYMBOLS = sizeof symbols / sizeof *symbols, FEW = 9, LONG = 14 };

/* --- the oracle ------------------------------------------------------------------------------- */

struct verdicts {
    enum ledger_verdict of[LONG];
};

static bool is_pause(enum state_kind k)
{
    return k == STATE_PARKED || k == STATE_YIELDED;
}

static bool is_valid(const struct symbol *s, size_t i)
{
    if (s[i].kind == STATE_CANCEL || s[i].kind == STATE_SIGNAL) return true;
    for (size_t j = 0; j < i; j++)
        if (s[j].kind == STATE_STARTED && s[j].epoch > s[i].epoch) return false;
    return true;
}

static size_t winner(const struct symbol *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (state_kind_is_terminal(s[i].kind) && is_valid(s, i)) return i;
    return n;
}

/* Did an earlier record that counted already say what i says? */
static bool is_repeat(const struct symbol *s, size_t i, const struct verdicts *v)
{
    bool paused = false; /* a pause of this epoch stands between here and i */
    for (size_t j = i; j-- > 0;) {
        bool same = s[j].epoch == s[i].epoch;
        if (s[i].kind == STATE_STARTED && s[j].kind == STATE_STARTED && same) return true;
        if (v->of[j] != LEDGER_COUNTED) continue;
        if (s[i].kind == STATE_CHECKPOINT && s[j].kind == STATE_CHECKPOINT && strcmp(s[j].step, s[i].step) == 0 &&
            s[j].item == s[i].item)
            return true;
        if (!is_pause(s[i].kind) || !same) continue;
        if (s[j].kind == STATE_STARTED) return paused;
        paused |= is_pause(s[j].kind);
    }
    return false;
}

static void judge(const struct symbol *s, size_t n, struct verdicts *v)
{
    size_t end = winner(s, n);
    for (size_t i = 0; i < n; i++) {
        v->of[i] = LEDGER_VOID;
        if (!is_valid(s, i)) continue;
        if (i == end)
            v->of[i] = LEDGER_COUNTED;
        else if (i > end)
            v->of[i] = state_kind_is_terminal(s[i].kind) || (s[i].kind == STATE_STARTED && is_repeat(s, i, v))
                           ? LEDGER_DUPLICATE
                           : LEDGER_VOID;
        else
            v->of[i] = is_repeat(s, i, v) ? LEDGER_DUPLICATE : LEDGER_COUNTED;
    }
}

/* --- feeding the ledger ------------------------------------------------------------------------ */

static struct state_record record_of(const struct symbol *s, int64_t seq, char value[32])
{
    struct state_record r = {.kind = s->kind, .item = s->item, .head = {.tenant = "t", .epoch = s->epoch, .seq = seq, .since = -1}};
    snprintf(r.step, sizeof r.step, "%s", s->step);
    if (s->kind == STATE_PARKED) r.head.due_ms = 1000 + seq;
    snprintf(value, 32, "{\"n\":%d}", (int)seq);
    r.value = view_of(value);
    return r;
}

static void check_life(const struct ledger_job *j, const struct symbol *s, size_t n, const struct verdicts *v)
{
    int64_t epoch = 0, attempts = 0, seq = 0, due = 0;
    enum ledger_phase phase = LEDGER_NEW;
    bool canceled = false;
    const struct symbol *started = NULL;
    for (size_t i = 0; i < n; i++) {
        if (s[i].kind == STATE_STARTED && s[i].epoch > epoch) epoch = s[i].epoch;
        if (v->of[i] != LEDGER_COUNTED) continue;
        seq = (int64_t)i + 1;
        canceled |= s[i].kind == STATE_CANCEL;
        if (s[i].kind == STATE_PARKED) due = 1000 + (int64_t)i + 1;
        if (state_kind_is_terminal(s[i].kind)) phase = LEDGER_ENDED;
        if (is_pause(s[i].kind)) phase = s[i].kind == STATE_PARKED ? LEDGER_PARKED : LEDGER_YIELDED;
        if (s[i].kind != STATE_STARTED) continue;
        phase = LEDGER_STARTED;
        started = &s[i];
        bool closed = false;
        for (size_t k = i + 1; k < n; k++)
            closed |= is_pause(s[k].kind) && s[k].epoch == s[i].epoch && v->of[k] == LEDGER_COUNTED;
        attempts += !closed;
    }
    assert_int_equal(ledger_epoch(j), epoch);
    assert_int_equal(ledger_attempts(j), attempts);
    assert_int_equal(ledger_phase(j), phase);
    assert_int_equal(ledger_is_canceled(j), canceled);
    assert_int_equal(ledger_seq(j), seq);
    assert_int_equal(ledger_due_ms(j), due);
    assert_int_equal(ledger_first_offset(j), n ? 500 : -1);
    assert_int_equal(ledger_started(j) != NULL, started != NULL);
    if (started) assert_int_equal(ledger_started(j)->head.epoch, started->epoch);
}

static void check_ends(const struct ledger_job *j, const struct symbol *s, size_t n, const struct verdicts *v)
{
    size_t end = winner(s, n), cursor = 0, kept = 0;
    char value[32];
    assert_int_equal(ledger_terminal(j) != NULL, end < n);
    if (end < n) {
        snprintf(value, sizeof value, "{\"n\":%d}", (int)end + 1);
        assert_int_equal(ledger_terminal(j)->kind, s[end].kind);
        assert_int_equal(ledger_terminal(j)->head.epoch, s[end].epoch);
        assert_true(view_eq_str(ledger_terminal(j)->value, value));
    }
    for (size_t i = 0; i < n; i++) {
        if (s[i].kind != STATE_CHECKPOINT || v->of[i] != LEDGER_COUNTED) continue;
        const struct ledger_checkpoint *c = ledger_checkpoint(j, view_of(s[i].step), s[i].item);
        assert_non_null(c);
        assert_int_equal(c->seq, i + 1);
        assert_ptr_equal(ledger_checkpoint_each(j, &cursor), c);
        kept++;
    }
    assert_null(ledger_checkpoint_each(j, &cursor));
    assert_int_equal(cursor, kept);
}

static void play(const struct symbol *s, size_t n)
{
    struct ledger_job *j = ledger_job_new();
    struct verdicts want;
    judge(s, n, &want);
    for (size_t i = 0; i < n; i++) {
        char value[32];
        struct state_record r = record_of(&s[i], (int64_t)i + 1, value);
        enum ledger_verdict got;
        struct err err;
        assert_int_equal(ledger_job_fold(j, &r, 500 + (int64_t)i, &got, &err), ERR_OK);
        memset(value, 'x', sizeof value); /* records are borrowed */
        if (got != want.of[i])
            fail_msg("record %zu (%s of epoch %d): %d, not %d", i, state_kind_name(s[i].kind), (int)s[i].epoch, got, want.of[i]);
    }
    check_life(j, s, n, &want);
    check_ends(j, s, n, &want);
    ledger_job_free(j);
}

static void test_all_short_sequences(void **state)
{
    (void)state;
    struct symbol s[5];
    for (size_t n = 0; n <= 5; n++) {
        size_t total = 1;
        for (size_t i = 0; i < n; i++) total *= FEW;
        for (size_t code = 0; code < total; code++) {
            size_t left = code;
            for (size_t i = 0; i < n; i++, left /= FEW) s[i] = symbols[left % FEW];
            play(s, n);
        }
    }
}

static void test_many_long_sequences(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 42);
    for (int round = 0; round < 60000; round++) {
        struct symbol s[LONG];
        size_t n = 1 + rng_below(&rng, LONG);
        for (size_t i = 0; i < n; i++) s[i] = symbols[rng_below(&rng, SYMBOLS)];
        play(s, n);
    }
}

/* --- named cases -------------------------------------------------------------------------------- */

static enum ledger_verdict fold(struct ledger_job *j, enum state_kind k, int64_t epoch, const char *step, int64_t item,
                                struct view value)
{
    static int64_t seq;
    struct state_record r = {.kind = k, .item = item, .value = value, .head = {.epoch = epoch, .seq = ++seq, .since = -1}};
    enum ledger_verdict v;
    struct err err;
    snprintf(r.step, sizeof r.step, "%s", step);
    assert_int_equal(ledger_job_fold(j, &r, seq, &v, &err), ERR_OK);
    return v;
}

static void test_paused_worker_writes_a_late_terminal(void **state)
{
    (void)state;
    struct ledger_job *j = ledger_job_new();
    fold(j, STATE_STARTED, 10, "", -1, VIEW_NONE);
    fold(j, STATE_CHECKPOINT, 10, "a", -1, VIEW_LIT("{\"by\":10}"));
    fold(j, STATE_STARTED, 20, "", -1, VIEW_NONE);
    assert_int_equal(fold(j, STATE_CHECKPOINT, 10, "b", -1, VIEW_LIT("late")), LEDGER_VOID);
    assert_int_equal(fold(j, STATE_SUCCEEDED, 10, "", -1, VIEW_LIT("late")), LEDGER_VOID);
    assert_int_equal(fold(j, STATE_CHECKPOINT, 20, "a", -1, VIEW_LIT("again")), LEDGER_DUPLICATE); /* 10's stands: paid once */
    assert_int_equal(fold(j, STATE_FAILED, 20, "", -1, VIEW_LIT("end")), LEDGER_COUNTED);
    assert_true(view_eq_str(ledger_checkpoint(j, VIEW_LIT("a"), -1)->value, "{\"by\":10}"));
    assert_int_equal(ledger_terminal(j)->kind, STATE_FAILED);
    assert_int_equal(ledger_attempts(j), 2);
    ledger_job_free(j);
}

static void test_ten_drains_cost_no_attempt(void **state)
{
    (void)state;
    struct ledger_job *j = ledger_job_new();
    for (int64_t e = 1; e <= 10; e++) {
        fold(j, STATE_STARTED, e, "", -1, VIEW_NONE);
        fold(j, STATE_YIELDED, e, "", -1, VIEW_NONE);
    }
    assert_int_equal(ledger_attempts(j), 0);
    fold(j, STATE_STARTED, 11, "", -1, VIEW_NONE);
    assert_int_equal(ledger_attempts(j), 1);
    fold(j, STATE_STARTED, 12, "", -1, VIEW_NONE); /* 11 killed its worker */
    assert_int_equal(fold(j, STATE_YIELDED, 11, "", -1, VIEW_NONE), LEDGER_VOID);
    assert_int_equal(ledger_attempts(j), 2);
    ledger_job_free(j);
}

static void test_many_checkpoints_and_shrink(void **state)
{
    (void)state;
    struct ledger_job *j = ledger_job_new();
    for (int64_t i = 0; i < 5000; i++) fold(j, STATE_CHECKPOINT, 1, i % 2 ? "odd" : "even", i, VIEW_LIT("12345678"));
    assert_int_equal(ledger_bytes(j), 40000);
    for (int64_t i = 0; i < 5000; i++) {
        assert_int_equal(ledger_checkpoint(j, view_of(i % 2 ? "odd" : "even"), i)->item, i);
        assert_null(ledger_checkpoint(j, view_of(i % 2 ? "even" : "odd"), i));
    }
    ledger_job_shrink(j);
    assert_int_equal(ledger_bytes(j), 0);
    assert_null(ledger_checkpoint(j, VIEW_LIT("odd"), 1)->value.ptr);
    assert_int_equal(fold(j, STATE_CHECKPOINT, 1, "odd", 1, VIEW_LIT("x")), LEDGER_DUPLICATE);
    ledger_job_free(j);
}

static void test_too_many_bytes_change_nothing(void **state)
{
    (void)state;
    struct ledger_job *j = ledger_job_new();
    size_t half = LEDGER_BYTES_MAX / 2 + 1;
    char *big = calloc(1, half);
    struct state_record r = {.kind = STATE_CHECKPOINT, .item = -1, .value = {big, half}, .head = {.epoch = 1, .seq = 1}};
    enum ledger_verdict v;
    struct err err;
    r.step[0] = 'a';
    assert_int_equal(ledger_job_fold(j, &r, 1, &v, &err), ERR_OK);
    r.step[0] = 'b';
    r.head.seq = 2;
    assert_int_equal(ledger_job_fold(j, &r, 2, &v, &err), ERR_TOO_LARGE);
    assert_int_equal(ledger_seq(j), 1);
    assert_null(ledger_checkpoint(j, VIEW_LIT("b"), -1));
    assert_int_equal(ledger_bytes(j), half);
    free(big);
    ledger_job_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_short_sequences), cmocka_unit_test(test_many_long_sequences),
        cmocka_unit_test(test_paused_worker_writes_a_late_terminal), cmocka_unit_test(test_ten_drains_cost_no_attempt),
        cmocka_unit_test(test_many_checkpoints_and_shrink), cmocka_unit_test(test_too_many_bytes_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
