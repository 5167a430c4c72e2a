/* The limiter alone: its trades are answered by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/limiter.h"

enum { NOW = 1000000 };
static const struct limiter_cost cost = {
    .input = 100, .input_var = 400, .output = 50, .output_var = 100, .tokens = 0, .microusd = 7, .expect_ms = 1000};

struct stage {
    struct limiter *l;
    struct pace_trade trade;
    int64_t now;
};

static int begin(void **state)
{
    struct stage *s = calloc(1, sizeof *s);
    const struct limiter_options o = {.budget = VIEW_LIT("main/m/default"),
                                      .incarnation = VIEW_LIT("w1:aa"),
                                      .limits = {.per_minute = {600, 60000, 30000, 0}, .learns = true}};
    s->l = limiter_new(&o);
    s->now = NOW;
    *state = s;
    return s->l ? 0 : -1;
}

static int end(void **state)
{
    struct stage *s = *state;
    limiter_free(s->l);
    free(s);
    return 0;
}

static struct pace_traded answer_of(int64_t calls)
{
    return (struct pace_traded){.lease = {.n = {calls, calls * 100, calls * 50, 0},
                                          .input_var = calls * 400,
                                          .output_var = calls * 100,
                                          .microusd = calls * 7},
                                .ttl_ms = 500,
                                .slot = 40,
                                .output_slot = 44,
                                .gen = 3,
                                .seen = 9,
                                .state = PACE_OPEN,
                                .age_ms = 100000,
                                .workers = 4,
                                .limit = {600, 60000, 30000, 0}};
}

static void ask(struct stage *s, size_t waiting)
{
    struct limiter_ask a = {.expect_ms = 1000};
    for (size_t i = 0; i < waiting; i++) limiter_demand_add(&a.demand[PACE_EVEN], &cost);
    limiter_trade(s->l, &a, s->now, &s->trade);
}

static void trade(struct stage *s, size_t waiting, const struct pace_traded *r)
{
    ask(s, waiting);
    s->now++;
    limiter_traded(s->l, NULL, r, s->now);
}

static void lease(struct stage *s, int64_t calls)
{
    const struct pace_traded r = answer_of(calls);
    trade(s, (size_t)calls, &r);
}

static void done(struct stage *s, struct limiter_ticket *t, enum limiter_end how, int64_t input, int64_t output)
{
    limiter_done(s->l, t, &(struct limiter_outcome){.end = how, .input = input, .output = output, .microusd = -1}, s->now);
}

/* --- leases ----------------------------------------------------------------------------------- */

static void test_nothing_goes_before_redis_said_so(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    assert_false(limiter_take(s->l, &cost, s->now, &t));
    assert_false(t.is_held);
    assert_true(limiter_is_due(s->l, PACE_EVEN, s->now));
    assert_false(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    assert_true(limiter_due_ms(s->l, PACE_RANK_COUNT, s->now) == INT64_MAX);
}

static void test_lease_is_used_up_and_told_what_it_became(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket a = {0}, b = {0}, c = {0};
    lease(s, 2);
    assert_true(limiter_take(s->l, &cost, s->now, &a) && limiter_take(s->l, &cost, s->now, &b));
    assert_false(limiter_take(s->l, &cost, s->now, &c));
    assert_int_equal(a.slot, 40);
    assert_int_equal(a.output_slot, 44);
    done(s, &a, LIMITER_OK, 80, 60);
    done(s, &b, LIMITER_OK, 130, 40);
    assert_false(a.is_held);
    assert_false(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    s->now += 250;
    assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    ask(s, 0);
    assert_int_equal(s->trade.settle_count, 1);
    assert_int_equal(s->trade.settles[0].slot, 40);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], 0);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_INPUT], 10);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_OUTPUT], -100);
    assert_int_equal(s->trade.settles[0].delta.input_var, -800);
    assert_int_equal(s->trade.output_made, 100);
    assert_int_equal(s->trade.oks, 2);
    assert_int_equal(s->trade.gen, 3);
}

static void test_lease_ends_from_when_it_was_asked_for(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(3);
    ask(s, 3);
    s->now += 499; /* the answer was slow, or we stood still */
    limiter_traded(s->l, NULL, &r, s->now);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    struct limiter_ticket u = {0};
    assert_false(limiter_take(s->l, &cost, s->now + 1, &u));
    s->now += 1000;
    ask(s, 0);
    assert_int_equal(s->trade.settle_count, 1); /* what was not used comes back */
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], -2);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_INPUT], -200);
    assert_int_equal(s->trade.settles[0].delta.microusd, -14);
    assert_int_equal(s->trade.in_flight, 1);
}

static void test_lease_that_comes_after_its_end_goes_back(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(3);
    ask(s, 3);
    s->now += 10000;
    limiter_traded(s->l, NULL, &r, s->now);
    assert_false(limiter_take(s->l, &cost, s->now, &t));
    ask(s, 0);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], -3);
}

static void test_call_larger_than_what_is_left(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct limiter_cost large = cost;
    lease(s, 2);
    large.input = 201;
    assert_false(limiter_take(s->l, &large, s->now, &t));
    large.input = 200;
    large.tokens = 1 << 20; /* nothing limits these */
    assert_true(limiter_take(s->l, &large, s->now, &t));
}

static void test_waiters_come_back_when_told_and_quiet_ones_at_once(void **state)
{
    struct stage *s = *state;
    struct pace_traded r = answer_of(0);
    struct limiter_wait w;
    r.reason = PACE_REASON_RATE;
    r.wait_ms = 120;
    r.eta_ms = 4000;
    trade(s, 5, &r);
    assert_false(limiter_is_due(s->l, PACE_EVEN, s->now));
    assert_true(limiter_is_due(s->l, PACE_QUIET, s->now));
    assert_true(limiter_due_ms(s->l, PACE_AHEAD, s->now) == s->now + 120);
    limiter_wait(s->l, s->now, &w);
    assert_int_equal(w.why, LIMITER_WHY_BUDGET);
    assert_true(w.until_ms == s->now + 4000);
    assert_true(limiter_is_due(s->l, PACE_EVEN, s->now + 120));
}

static void test_next_lease_is_sized_by_use(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t[8] = {{0}};
    lease(s, 8);
    for (size_t i = 0; i < 8; i++) assert_true(limiter_take(s->l, &cost, s->now, &t[i]));
    s->now += 100;
    ask(s, 1);
    assert_in_range(s->trade.demand[PACE_EVEN].calls, 15, 25); /* 8 in 100 ms: 20 in 250 ms */
    assert_int_equal(s->trade.demand[PACE_EVEN].all.n[PACE_REQUESTS], s->trade.demand[PACE_EVEN].calls);
    assert_int_equal(s->trade.demand[PACE_EVEN].first.n[PACE_INPUT], 100);
}

/* --- outcomes --------------------------------------------------------------------------------- */

static const struct pace_settle *after(struct stage *s, const struct limiter_outcome *o)
{
    struct limiter_ticket t = {0};
    lease(s, 1);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    limiter_done(s->l, &t, o, s->now);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.settle_count, 1);
    const struct pace_traded r = answer_of(0);
    limiter_traded(s->l, NULL, &r, s->now);
    return &s->trade.settles[0];
}

static void test_what_comes_back_by_the_end(void **state)
{
    struct stage *s = *state;
    const struct pace_settle *k = after(s, &(struct limiter_outcome){LIMITER_UNSENT, -1, -1, -1, 0, true});
    assert_int_equal(k->delta.n[PACE_REQUESTS], -1);
    assert_int_equal(k->delta.n[PACE_INPUT], -100);
    assert_int_equal(k->delta.microusd, -7);
    assert_int_equal(s->trade.output_made, 0);
    k = after(s, &(struct limiter_outcome){LIMITER_REFUSED, -1, -1, -1, 2000, false});
    assert_int_equal(k->delta.n[PACE_REQUESTS], -1);
    assert_int_equal(s->trade.close, PACE_CLOSE_THROTTLE);
    assert_int_equal(s->trade.close_ms, 2000);
    k = after(s, &(struct limiter_outcome){LIMITER_REFUSED, -1, -1, -1, 0, true}); /* refused calls count there */
    assert_int_equal(k->delta.n[PACE_REQUESTS], 0);
    k = after(s, &(struct limiter_outcome){LIMITER_FAILED, -1, -1, -1, 0, false});
    assert_int_equal(k->delta.n[PACE_REQUESTS], 0);
    assert_int_equal(k->delta.n[PACE_INPUT], 0);
    assert_int_equal(s->trade.output_made, 0);
    assert_int_equal(s->trade.fails, 1);
    k = after(s, &(struct limiter_outcome){LIMITER_BROKEN, -1, -1, -1, 0, false}); /* unknown: the estimate stands */
    assert_int_equal(s->trade.output_made, 50);
    assert_int_equal(k->delta.n[PACE_INPUT], 0);
    assert_int_equal(k->delta.input_var, -400);
    assert_int_equal(s->trade.fails + s->trade.oks, 0);
    k = after(s, &(struct limiter_outcome){LIMITER_EXHAUSTED, -1, -1, -1, 0, false});
    assert_int_equal(s->trade.close, PACE_CLOSE_EXHAUSTED);
    k = after(s, &(struct limiter_outcome){LIMITER_OK, INT64_MAX, INT64_MAX, -1, 0, false}); /* absurd usage */
    assert_int_equal(k->delta.n[PACE_INPUT], 0);
    assert_int_equal(s->trade.output_made, 50);
}

static void test_input_known_early(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    lease(s, 1);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    limiter_input_known(s->l, &t, 140, s->now);
    limiter_input_known(s->l, &t, -3, s->now);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_INPUT], 40);
    assert_int_equal(s->trade.settles[0].delta.input_var, -400);
    const struct pace_traded r = answer_of(0);
    limiter_traded(s->l, NULL, &r, s->now);
    done(s, &t, LIMITER_OK, 141, 50);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_INPUT], 1);
    assert_int_equal(s->trade.settles[0].delta.input_var, 0);
}

static void test_refusal_is_told_at_once_and_stops_the_lease(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0}, u = {0};
    lease(s, 3);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    done(s, &t, LIMITER_REFUSED, -1, -1);
    assert_false(limiter_take(s->l, &cost, s->now, &u));
    assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    ask(s, 0);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], -3);
}

static void test_verdicts_of_an_older_gen_are_void(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(0);
    lease(s, 1);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    r.gen = 4; /* another worker saw the refusal first */
    r.state = PACE_CLOSED;
    r.close = PACE_CLOSE_THROTTLE;
    r.until_ms = 5000;
    trade(s, 0, &r);
    done(s, &t, LIMITER_REFUSED, -1, -1);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.close, PACE_CLOSE_NONE);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], -1);
}

static void test_verdicts_after_a_wipe(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(1);
    lease(s, 1);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    done(s, &t, LIMITER_OK, 100, 50);
    r.gen = 0; /* the budget was begun anew */
    r.age_ms = 0;
    trade(s, 1, &r);
    assert_true(limiter_take(s->l, &cost, s->now, &t));
    done(s, &t, LIMITER_REFUSED, -1, -1);
    ask(s, 0);
    assert_int_equal(s->trade.gen, 0);
    assert_int_equal(s->trade.close, PACE_CLOSE_THROTTLE);
}

static void test_close_takes_back_the_lease_in_hand(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(0);
    struct limiter_wait w;
    lease(s, 5);
    r.gen = 4;
    r.state = PACE_CLOSED;
    r.close = PACE_CLOSE_OUTAGE;
    r.until_ms = 5000;
    trade(s, 0, &r);
    assert_false(limiter_take(s->l, &cost, s->now, &t));
    limiter_wait(s->l, s->now, &w);
    assert_string_equal(limiter_why_name(w.why), "outage");
    assert_true(w.until_ms == s->now + 5000);
}

static void test_probe(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    struct pace_traded r = answer_of(1);
    r.is_probe = true;
    r.state = PACE_PROBING;
    trade(s, 1, &r);
    assert_true(limiter_take(s->l, &cost, s->now, &t) && t.is_probe);
    limiter_begun(s->l, &t, s->now);
    limiter_begun(s->l, &t, s->now);
    assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now)); /* others wait for it */
    trade(s, 0, &(struct pace_traded){.gen = 3, .seen = 10});
    assert_int_equal(s->trade.probe, PACE_PROBE_OK);
    assert_int_equal(s->trade.oks, 1);
    done(s, &t, LIMITER_OK, 100, 50);
    r.gen = 4;
    trade(s, 1, &r);
    s->now += 2000; /* nobody wanted it */
    assert_false(limiter_take(s->l, &cost, s->now, &t));
    ask(s, 0);
    assert_int_equal(s->trade.probe, PACE_PROBE_UNUSED);
    assert_int_equal(s->trade.gen, 4);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_REQUESTS], -1);
}

/* --- what the provider says ------------------------------------------------------------------- */

static void test_newest_word_counts_field_by_field(void **state)
{
    struct stage *s = *state;
    struct pace_told told[PACE_DIM_COUNT] = {{600, 300, 9000}, {-1, -1, -1}, {-5, -1, -1}, {-1, -1, -1}};
    limiter_told(s->l, told, s->now);
    told[PACE_REQUESTS] = (struct pace_told){-1, 299, 8000};
    told[PACE_INPUT] = (struct pace_told){50000, -1, -1};
    limiter_told(s->l, told, s->now);
    s->now += 250;
    assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    ask(s, 0);
    assert_int_equal(s->trade.told[PACE_REQUESTS].limit, 600);
    assert_int_equal(s->trade.told[PACE_REQUESTS].remaining, 299);
    assert_int_equal(s->trade.told[PACE_REQUESTS].reset_ms, 7750);
    assert_int_equal(s->trade.told[PACE_INPUT].limit, 50000);
    assert_int_equal(s->trade.told[PACE_OUTPUT].limit, -1);
    const struct pace_traded r = answer_of(0);
    limiter_traded(s->l, NULL, &r, s->now);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.told[PACE_REQUESTS].limit, -1); /* told once */
}

/* --- without Redis ---------------------------------------------------------------------------- */

static void lose(struct stage *s, size_t waiting)
{
    struct err e;
    ask(s, waiting);
    err_set(&e, ERR_UNAVAILABLE, "away");
    s->now++;
    limiter_traded(s->l, &e, NULL, s->now);
}

static void test_lost_answer_is_sent_again_under_its_number(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0}, u = {0};
    lease(s, 2);
    assert_true(limiter_take(s->l, &cost, s->now, &t) && limiter_take(s->l, &cost, s->now, &u));
    done(s, &t, LIMITER_OK, 80, 60);
    s->now += 300;
    lose(s, 0);
    int64_t seq = s->trade.seq;
    done(s, &u, LIMITER_OK, 90, 70); /* waits for the next one */
    s->now += 200;
    assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
    ask(s, 0);
    assert_int_equal(s->trade.seq, seq);
    assert_int_equal(s->trade.output_made, 60);
    assert_int_equal(s->trade.settles[0].delta.n[PACE_INPUT], -20);
    const struct pace_traded r = answer_of(0);
    limiter_traded(s->l, NULL, &r, s->now);
    s->now += 300;
    ask(s, 0);
    assert_int_equal(s->trade.seq, seq + 1);
    assert_int_equal(s->trade.output_made, 70);
}

static void test_local_share(void **state)
{
    struct stage *s = *state;
    size_t went = 0;
    lease(s, 1);
    s->now += 1000;
    lose(s, 1);
    for (int64_t until = s->now + 60000; s->now < until; s->now += 50) {
        struct limiter_ticket t = {0};
        if (limiter_is_due(s->l, PACE_EVEN, s->now)) lose(s, 1);
        if (!limiter_take(s->l, &cost, s->now, &t)) continue;
        assert_true(t.is_local);
        done(s, &t, LIMITER_OK, 100, 50);
        went++;
    }
    assert_in_range(went, 105, 120); /* 600 x 0.8 / 4 */
    const struct pace_traded r = answer_of(0);
    trade(s, 1, &r); /* it repeats what was lost */
    ask(s, 1);
    assert_non_null(s->trade.history);
    int64_t told = 0;
    for (size_t i = 0; i < PACE_HISTORY_COUNT; i++) told += s->trade.history[i].n[PACE_REQUESTS];
    assert_in_range(told, went * 9 / 10, went + 1);
    limiter_traded(s->l, NULL, &r, s->now);
    ask(s, 1);
    assert_null(s->trade.history);
}

static void test_a_trade_that_is_not_answered(void **state)
{
    struct stage *s = *state;
    lease(s, 1);
    s->now += 1000;
    ask(s, 1); /* and nothing comes back */
    int64_t sent = s->now;
    assert_true(limiter_due_ms(s->l, PACE_RANK_COUNT, s->now) == INT64_MAX); /* nobody waits for the share */
    assert_true(limiter_due_ms(s->l, PACE_EVEN, s->now) == sent + 1001);
    assert_false(limiter_is_due(s->l, PACE_EVEN, sent + 1001));
    s->now = sent + 1001;
    assert_true(limiter_due_ms(s->l, PACE_EVEN, s->now) == s->now + 200); /* the share grows */
    const struct pace_traded r = answer_of(0);
    limiter_traded(s->l, NULL, &r, s->now);
}

static void test_money_is_not_spent_on_trust(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t = {0};
    const struct limiter_options o = {
        .budget = VIEW_LIT("main/m/default"),
        .incarnation = VIEW_LIT("w1:aa"),
        .limits = {.per_minute = {600, 0, 0, 0}, .spend_per_day_microusd = 1000000}};
    limiter_free(s->l);
    s->l = limiter_new(&o);
    assert_non_null(s->l);
    lease(s, 1);
    s->now += 1000;
    lose(s, 1);
    for (int i = 0; i < 100; i++) {
        s->now += 100;
        assert_false(limiter_take(s->l, &cost, s->now, &t));
    }
}

static void test_after_a_wipe_own_use_is_told(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t[4] = {{0}};
    struct pace_traded r = answer_of(0);
    lease(s, 4);
    for (size_t i = 0; i < 4; i++) assert_true(limiter_take(s->l, &cost, s->now, &t[i]));
    s->now += 7000;
    r.age_ms = 0; /* begun a moment ago */
    ask(s, 1);
    assert_true(s->trade.is_used);
    limiter_traded(s->l, NULL, &r, s->now);
    assert_true(limiter_is_due(s->l, PACE_EVEN, s->now));
    ask(s, 1);
    assert_non_null(s->trade.history);
    assert_int_equal(s->trade.history[0].n[PACE_REQUESTS] + s->trade.history[1].n[PACE_REQUESTS], 4);
}

static void test_many_slots_are_told_in_parts(void **state)
{
    struct stage *s = *state;
    struct limiter_ticket t[40] = {{0}};
    for (int i = 0; i < 40; i++) {
        struct pace_traded r = answer_of(1);
        r.slot = 100 + i;
        r.output_slot = 200 + i;
        trade(s, 1, &r);
        assert_true(limiter_take(s->l, &cost, s->now, &t[i]));
    }
    for (int i = 0; i < 40; i++) done(s, &t[i], LIMITER_OK, 90, 50);
    int64_t slots = 0;
    for (int i = 0; i < 4; i++) {
        s->now += 300;
        assert_true(limiter_is_due(s->l, PACE_RANK_COUNT, s->now));
        const struct pace_traded r = answer_of(0);
        trade(s, 0, &r);
        slots += (int64_t)s->trade.settle_count;
    }
    assert_int_equal(slots, 40);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(test_nothing_goes_before_redis_said_so), T(test_lease_is_used_up_and_told_what_it_became),
        T(test_lease_ends_from_when_it_was_asked_for), T(test_lease_that_comes_after_its_end_goes_back),
        T(test_call_larger_than_what_is_left), T(test_waiters_come_back_when_told_and_quiet_ones_at_once),
        T(test_next_lease_is_sized_by_use), T(test_what_comes_back_by_the_end), T(test_input_known_early),
        T(test_refusal_is_told_at_once_and_stops_the_lease), T(test_verdicts_of_an_older_gen_are_void),
        T(test_verdicts_after_a_wipe),
        T(test_close_takes_back_the_lease_in_hand), T(test_probe), T(test_newest_word_counts_field_by_field),
        T(test_lost_answer_is_sent_again_under_its_number), T(test_local_share),
        T(test_a_trade_that_is_not_answered), T(test_money_is_not_spent_on_trust),
        T(test_after_a_wipe_own_use_is_told), T(test_many_slots_are_told_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
