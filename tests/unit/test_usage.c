/* Usage from a worker's book to the counters of a real redis-server: what counts once, what is kept and what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/metrics.h"
#include "common/base/rng.h"
#include "consumer/usage.h"
#include "redis_server.h"

#define ACME VIEW_LIT("acme")
#define DAY  86400000LL
/* 2026-11-24T23:59:50Z */
static const int64_t evening = 20781 * DAY + DAY - 10000;

struct world {
    struct rs rs;
    struct fn *fn;
    struct timerq *timers;
    struct clock clock;
    struct usage *usage;
    struct metrics *metrics;
    struct buf text;
    int answers, heard, loses; /* loses: answers to usage calls that get lost on their way */
    enum err_code code;
    bool is_repeat;
    int64_t tokens, microusd;
};

static const char *ask(struct world *w, const char *words)
{
    return rs_ask(&w->rs, &w->text, words);
}

static void on_added(void *arg, const struct err *e, const struct fn_usage_added *a)
{
    struct world *w = arg;
    w->answers++;
    w->code = e ? e->code : ERR_OK;
    if (!a) return;
    w->is_repeat = a->is_repeat;
    if (a->total_count == 0) return;
    assert_true(view_eq_str(a->totals[0].tenant, "acme"));
    w->tokens = a->totals[0].tokens;
    w->microusd = a->totals[0].microusd;
}

static void on_heard(void *arg)
{
    ((struct world *)arg)->heard++;
}

/* A port that loses answers: the call is made, its reply never seen. */
struct losing {
    struct world *w;
    redis_reply_fn *fn;
    void *arg;
};

static void lose(void *arg, const struct reply *r, const struct err *e)
{
    struct losing *l = arg;
    struct err gone;
    bool is_function = !e && r->kind == REPLY_ARRAY;
    err_set(&gone, ERR_TIMEOUT, "the answer was lost");
    if (is_function && l->w->loses > 0) {
        l->w->loses--;
        l->fn(l->arg, NULL, &gone);
    } else {
        l->fn(l->arg, r, e);
    }
    free(l);
}

static void losing_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *fn, void *arg)
{
    struct world *w = self;
    struct losing *l = malloc(sizeof *l);
    assert_non_null(l);
    *l = (struct losing){w, fn, arg};
    rs_call(&w->rs, argv, argc, lose, l);
}

static bool losing_is_up(void *self)
{
    (void)self;
    return true;
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    rs_start(&w->rs);
    buf_init(&w->text, 1 << 20);
    w->fn = fn_new((struct redis_port){.self = w, .call = losing_call, .is_up = losing_is_up});
    w->timers = timerq_new(16);
    *state = w;
    return w->fn && w->timers ? 0 : -1;
}

static struct usage *usage_of(struct world *w, const char *incarnation)
{
    const struct usage_options o = {.fn = w->fn,
                                    .clock = &w->clock,
                                    .timers = w->timers,
                                    .incarnation = view_of(incarnation),
                                    .retention_ms = 40 * DAY,
                                    .metrics = w->metrics,
                                    .on_heard = on_heard,
                                    .arg = w};
    return usage_new(&o);
}

static int fresh(void **state)
{
    struct world *w = *state;
    ask(w, "FLUSHALL");
    w->clock = (struct clock){.mono_ms = 1000, .wall_ms = evening};
    w->answers = w->heard = w->loses = 0;
    w->metrics = metrics_new();
    w->usage = usage_of(w, "w1:aa");
    return w->usage ? 0 : -1;
}

static int drop(void **state)
{
    struct world *w = *state;
    usage_free(w->usage);
    metrics_free(w->metrics);
    w->usage = NULL;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    fn_free(w->fn);
    timerq_free(w->timers);
    rs_stop(&w->rs);
    buf_fini(&w->text);
    free(w);
    return 0;
}

static void pass(struct world *w, int64_t ms)
{
    w->clock.mono_ms += ms;
    w->clock.wall_ms += ms;
    (void)timerq_run(w->timers, w->clock.mono_ms, 16);
    rs_pump(&w->rs);
}

static const struct fn_usage_counts call_of_10 = {
    .calls = 1, .input = 7, .cached_input = 2, .output = 3, .microusd = 5};

static void count(struct world *w, const char *workflow, const char *model)
{
    usage_count(w->usage, ACME, view_of(workflow), view_of(model), &call_of_10);
}

static void add(struct world *w, int64_t seq, int64_t heard_tokens)
{
    const struct fn_usage_row row = {
        .tenant = ACME, .workflow = VIEW_LIT("hello"), .model = VIEW_LIT("fast"), .day = 20781, .counts = call_of_10};
    const struct fn_usage_total total = {ACME, heard_tokens, heard_tokens / 2};
    const struct fn_usage_batch b = {.incarnation = VIEW_LIT("w1:aa"),
                                     .seq = seq,
                                     .today = 20781,
                                     .retention_ms = 40 * DAY,
                                     .rows = &row,
                                     .row_count = 1,
                                     .asks = &total,
                                     .ask_count = 1};
    fn_usage_add(w->fn, &b, on_added, w);
    rs_pump(&w->rs);
    assert_int_equal(w->code, ERR_OK);
}

#define HASH "us:{acme}:20261124"
#define ALL  "us:{}:20261124"

/* --- the shape ----------------------------------------------------------------------------------- */

static void test_keys_are_dates(void **state)
{
    static const struct {
        int64_t day;
        const char *key;
    } cases[] = {{0, "us:{acme}:19700101"},     {59, "us:{acme}:19700301"},     {11016, "us:{acme}:20000229"},
                 {20781, "us:{acme}:20261124"}, {20818, "us:{acme}:20261231"},  {20819, "us:{acme}:20270101"},
                 {21243, "us:{acme}:20280229"}, {47540, "us:{acme}:21000228"},  {47541, "us:{acme}:21000301"}};
    char key[FN_USAGE_KEY_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(view_eq_str(fn_usage_key(ACME, cases[i].day, key), cases[i].key));
    assert_true(view_eq_str(fn_usage_key(VIEW_NONE, 0, key), "us:{}:19700101"));
}

static void test_only_rows_read_as_rows(void **state)
{
    static const char *const bad[] = {"", "1", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,x", "1,2,-3,4,5,6", "1,2,3,4,5,"};
    struct fn_usage_counts c;
    struct view workflow, model;
    (void)state;
    assert_true(fn_usage_read_counts(VIEW_LIT("1,2,3,4,5,6"), &c));
    assert_int_equal(c.calls * 100000 + c.input * 10000 + c.cached_input * 1000 + c.output * 100 + c.microusd * 10 + c.unpriced,
                     123456);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(fn_usage_read_counts(view_of(bad[i]), &c));
    assert_false(fn_usage_read_field(VIEW_LIT("t"), &workflow, &model));
    assert_true(fn_usage_read_field(VIEW_LIT("|"), &workflow, &model));
    assert_int_equal(workflow.len + model.len, 0);
}

/* --- the function -------------------------------------------------------------------------------- */

static void test_a_batch_counts_once(void **state)
{
    struct world *w = *state;
    add(w, 1, 0);
    assert_int_equal(w->tokens, 10);
    assert_int_equal(w->microusd, 5);
    assert_string_equal(ask(w, "HGET " HASH " hello|fast"), "1,7,2,3,5,0");
    assert_string_equal(ask(w, "HGET " HASH " t"), "1,7,2,3,5,0");
    assert_string_equal(ask(w, "HGET " ALL " hello|fast"), "1,7,2,3,5,0");
    assert_false(w->is_repeat);
    add(w, 1, 0);
    assert_true(w->is_repeat);
    assert_int_equal(w->tokens, 10);
    assert_string_equal(ask(w, "HGET " HASH " hello|fast"), "1,7,2,3,5,0");
    add(w, 2, 0);
    assert_int_equal(w->tokens, 20);
    assert_string_equal(ask(w, "HGET " HASH " hello|fast"), "2,14,4,6,10,0");
}

static void test_counters_end_with_their_retention(void **state)
{
    struct world *w = *state;
    char want[32];
    add(w, 1, 0);
    snprintf(want, sizeof want, "%lld", (20782 + 40) * DAY);
    assert_string_equal(ask(w, "PEXPIRETIME " HASH), want);
    assert_string_equal(ask(w, "PEXPIRETIME " ALL), want);
    assert_true(atoll(ask(w, "PTTL us:w:w1:aa")) > DAY - 60000); /* the number of a worker that is gone goes too */
    assert_string_equal(ask(w, "EXISTS us:since"), "1");
}

static void test_rows_past_the_ceiling_are_one(void **state)
{
    struct world *w = *state;
    char name[24];
    w->clock.wall_ms = evening - DAY / 2;
    for (int i = 0; i < FN_USAGE_FIELDS_MAX + 200; i++) {
        snprintf(name, sizeof name, "flow%d", i);
        count(w, name, "fast");
        if (i % 100 == 99) pass(w, 1000);
    }
    for (int i = 0; i < 12 && !usage_is_empty(w->usage); i++) pass(w, 1000);
    assert_true(usage_is_empty(w->usage));
    assert_string_equal(ask(w, "HLEN " HASH), "1001"); /* and the one of the rest */
    assert_string_equal(ask(w, "HGET us:{acme}:20261124 t"), "1200,8400,2400,3600,6000,0");
    assert_string_equal(ask(w, "HGET us:{acme}:20261124 |"), "201,1407,402,603,1005,0");
}

static void test_a_cap_outlives_a_wipe(void **state)
{
    struct world *w = *state;
    ask(w, "FLUSHALL");
    add(w, 7, 1000);
    assert_int_equal(w->tokens, 1000); /* what was heard holds, the batch of 10 is within it or not known */
    assert_int_equal(w->microusd, 500);
    add(w, 8, 0); /* another worker's, that heard nothing */
    assert_int_equal(w->tokens, 1010);
    add(w, 9, 900);
    assert_int_equal(w->tokens, 1020);
    assert_string_equal(ask(w, "HGET us:{acme}:20261124 t"), "3,21,6,9,15,0"); /* usage says only what it knows */
}

/* --- the book ------------------------------------------------------------------------------------ */

static void test_rows_are_summed_and_flushed(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) count(w, "hello", i % 2 ? "fast" : "smart");
    rs_pump(&w->rs);
    assert_string_equal(ask(w, "EXISTS " HASH), "0"); /* not yet */
    pass(w, 1000);
    assert_string_equal(ask(w, "HGET " HASH " hello|smart"), "3,21,6,9,15,0");
    assert_string_equal(ask(w, "HGET " HASH " hello|fast"), "2,14,4,6,10,0");
    assert_true(usage_is_empty(w->usage));
}

static void test_a_lost_answer_counts_once(void **state)
{
    struct world *w = *state;
    count(w, "hello", "fast");
    w->loses = 2;
    pass(w, 1000);
    assert_false(usage_is_empty(w->usage));
    count(w, "hello", "fast");
    count(w, "late", "fast");
    pass(w, 1000);
    assert_string_equal(ask(w, "HGET " HASH " t"), "1,7,2,3,5,0");
    pass(w, 1000);
    pass(w, 1000);
    assert_true(usage_is_empty(w->usage));
    assert_string_equal(ask(w, "HGET " HASH " t"), "3,21,6,9,15,0");
    assert_string_equal(ask(w, "GET us:w:w1:aa"), "2");
}

static void test_today_is_heard_and_untold(void **state)
{
    struct world *w = *state;
    struct usage *other = usage_of(w, "w2:bb");
    int64_t tokens = -1, microusd = -1;
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd)); /* nothing known: a cap on money stays shut */
    rs_pump(&w->rs);
    assert_int_equal(w->heard, 1);
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 0);
    count(w, "hello", "fast");
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 10); /* at once, told or not */
    usage_count(other, ACME, VIEW_LIT("x"), VIEW_LIT("fast"), &call_of_10);
    pass(w, 1000);
    pass(w, 1000);
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 20);
    assert_int_equal(microusd, 10);
    w->loses = 1;
    count(w, "hello", "fast");
    pass(w, 1000); /* counted, but we do not know */
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 30);
    usage_free(other);
}

/* Hours later, or while Redis is away, what was heard once is not known: others may have used up the day. */
static void test_what_was_heard_long_ago_is_not_known(void **state)
{
    struct world *w = *state;
    int64_t tokens = -1, microusd = -1;
    w->clock.wall_ms = evening - DAY / 2;
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd));
    rs_pump(&w->rs);
    for (int s = 0; s < 20; s++) {
        pass(w, 1000);
        assert_true(usage_today(w->usage, ACME, &tokens, &microusd)); /* asked again each second */
    }
    w->rs.is_cut = true;
    for (int s = 0; s < 4; s++) {
        pass(w, 1000);
        assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    }
    pass(w, 1000);
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd));
    rs_pump(&w->rs);
    w->rs.is_cut = false;
    pass(w, 1000);
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    for (int s = 0; s < 100; s++) pass(w, 1000); /* nobody wants it */
    w->clock.mono_ms += 3600000;
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd));
    rs_pump(&w->rs);
}

static void test_a_question_outlives_a_long_outage(void **state)
{
    struct world *w = *state;
    int64_t tokens = -1, microusd = -1;
    w->clock.wall_ms = evening - DAY / 2;
    w->rs.is_cut = true;
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd)); /* asked once */
    rs_pump(&w->rs);
    for (int s = 0; s < 300; s++) pass(w, 1000);
    assert_int_equal(w->heard, 0);
    w->rs.is_cut = false;
    pass(w, 1000);
    assert_true(w->heard > 0);
}

static void test_midnight_begins_anew(void **state)
{
    struct world *w = *state;
    int64_t tokens = -1, microusd = -1;
    count(w, "hello", "fast");
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd));
    pass(w, 9000);
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 10);
    count(w, "hello", "fast");
    pass(w, 1000); /* it is the next day now, and what was counted before belongs to the day before */
    assert_string_equal(ask(w, "HGET " HASH " t"), "2,14,4,6,10,0");
    assert_string_equal(ask(w, "EXISTS us:{acme}:20261125"), "0");
    assert_false(usage_today(w->usage, ACME, &tokens, &microusd));
    rs_pump(&w->rs);
    assert_true(usage_today(w->usage, ACME, &tokens, &microusd));
    assert_int_equal(tokens, 0);
    count(w, "hello", "fast");
    pass(w, 1000);
    assert_string_equal(ask(w, "HGET us:{acme}:20261125 t"), "1,7,2,3,5,0");
}

static void test_a_book_is_bounded(void **state)
{
    struct world *w = *state;
    char name[24];
    w->rs.is_cut = true; /* Redis is away */
    for (int i = 0; i < 3 * USAGE_ROWS_MAX; i++) {
        snprintf(name, sizeof name, "flow%d", i);
        count(w, name, "fast");
    }
    for (int i = 0; i < 2 * USAGE_ROWS_MAX; i++) {
        snprintf(name, sizeof name, "tenant%d", i);
        usage_count(w->usage, view_of(name), VIEW_LIT("hello"), VIEW_LIT("fast"), &call_of_10);
    }
    struct buf page; /* of tenants that no row could be made for */
    buf_init(&page, 1 << 16);
    assert_true(metrics_put(w->metrics, &page) && buf_put_char(&page, '\0'));
    assert_non_null(strstr(page.data, "\nsluice_usage_lost_calls_total 1001\n"));
    buf_fini(&page);
    pass(w, 1000);
    pass(w, 1000);
    w->rs.is_cut = false;
    for (int i = 0; i < 40 && !usage_is_empty(w->usage); i++) pass(w, 1000);
    assert_true(usage_is_empty(w->usage));
    assert_string_equal(ask(w, "HGET us:{acme}:20261124 t"), "3000,21000,6000,9000,15000,0");
    assert_string_equal(ask(w, "HGET us:{acme}:20261124 |"), "2001,14007,4002,6003,10005,0");
}

/* Whatever is lost and whenever: every call once. */
static void test_random_losses(void **state)
{
    struct world *w = *state;
    struct rng rng;
    int64_t calls = 0, counted = 0;
    char name[24];
    rng_seed(&rng, 42);
    for (int turn = 0; turn < 400; turn++) {
        for (uint64_t n = rng_below(&rng, 6); n > 0; n--, calls++) {
            snprintf(name, sizeof name, "flow%d", (int)rng_below(&rng, 20));
            count(w, name, rng_below(&rng, 2) ? "fast" : "smart");
        }
        if (rng_below(&rng, 3) == 0) w->loses = 1 + (int)rng_below(&rng, 3);
        w->rs.is_cut = rng_below(&rng, 5) == 0;
        w->clock.wall_ms = evening; /* one day */
        pass(w, 400);
    }
    w->loses = 0;
    w->rs.is_cut = false;
    for (int i = 0; i < 20 && !usage_is_empty(w->usage); i++) pass(w, 1000);
    struct fn_usage_counts c;
    for (int day = 0; day < 2; day++) {
        const char *text = ask(w, day ? "HGET us:{acme}:20261125 t" : "HGET us:{acme}:20261124 t");
        if (fn_usage_read_counts(view_of(text), &c)) counted += c.calls;
    }
    assert_true(calls > 500);
    assert_int_equal(counted, calls);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_keys_are_dates),
        T(test_only_rows_read_as_rows),
        T(test_a_batch_counts_once),
        T(test_counters_end_with_their_retention),
        T(test_rows_past_the_ceiling_are_one),
        T(test_a_cap_outlives_a_wipe),
        T(test_rows_are_summed_and_flushed),
        T(test_a_lost_answer_counts_once),
        T(test_today_is_heard_and_untold),
        T(test_what_was_heard_long_ago_is_not_known),
        T(test_a_question_outlives_a_long_outage),
        T(test_midnight_begins_anew),
        T(test_a_book_is_bounded),
        T(test_random_losses),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
