/* What /v1/limits is told of a budget, on a real redis-server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "redis_server.h"
#include "schemas/fn_pace.h"

#define BUDGET VIEW_LIT("main/gpt-5-mini/default")

struct world {
    struct rs rs;
    struct fn *fn;
    struct buf text;
    int answers;
    int64_t wall_ms, seq; /* of the server's clock; of w1's trades */
    struct pace_limits limits;
    struct pace_traded traded;
    struct pace_view view;
};

static void on_trade(void *arg, const struct err *e, const struct pace_traded *t)
{
    struct world *w = arg;
    assert_null(e);
    w->answers++;
    w->traded = *t;
}

static void on_view(void *arg, const struct err *e, const struct pace_view *v)
{
    struct world *w = arg;
    assert_null(e);
    w->answers++;
    w->view = *v;
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    rs_start(&w->rs);
    buf_init(&w->text, 1 << 20);
    w->fn = fn_new(rs_port(&w->rs));
    rs_load_library(&w->rs, &w->text, "sluice_pace_v1");
    *state = w;
    return w->fn ? 0 : -1;
}

static int fresh(void **state)
{
    struct world *w = *state;
    rs_ask(&w->rs, &w->text, "FLUSHALL");
    w->answers = 0;
    w->seq = 0;
    w->wall_ms = 1795564800000 - 60000; /* a minute before midnight */
    w->limits = (struct pace_limits){.per_minute = {[PACE_REQUESTS] = 60, [PACE_INPUT] = 100000},
                                     .requests_per_day = 1000,
                                     .concurrency = 8,
                                     .spend_per_day_microusd = 5000000};
    w->traded = (struct pace_traded){.seen = 0};
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    fn_free(w->fn);
    rs_stop(&w->rs);
    buf_fini(&w->text);
    free(w);
    return 0;
}

/* So many calls wait, of 100 tokens in and 50 out each. */
static void trade(struct world *w, const char *who, int64_t seq, int64_t calls)
{
    struct pace_trade t = {.budget = BUDGET, .incarnation = view_of(who), .seq = seq, .limits = w->limits};
    rs_set_clock(&w->rs, &w->text, w->wall_ms);
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) t.told[d] = (struct pace_told){-1, -1, -1};
    t.demand[PACE_EVEN].calls = calls;
    t.demand[PACE_EVEN].first.n[PACE_REQUESTS] = calls > 0;
    t.demand[PACE_EVEN].first.n[PACE_INPUT] = 100;
    t.demand[PACE_EVEN].first.n[PACE_OUTPUT] = 50;
    t.demand[PACE_EVEN].all.n[PACE_REQUESTS] = calls;
    t.demand[PACE_EVEN].all.n[PACE_INPUT] = 100 * calls;
    t.demand[PACE_EVEN].all.n[PACE_OUTPUT] = 50 * calls;
    fn_pace_trade(w->fn, &t, on_trade, w);
    rs_pump(&w->rs);
}

/* w1 tells something; the next answer says what the budget thinks of it. */
static void tell(struct world *w, const struct pace_trade *what)
{
    struct pace_trade t = *what;
    t.budget = BUDGET;
    t.incarnation = VIEW_LIT("w1:aa");
    t.seq = ++w->seq;
    t.seen = w->traded.seen;
    t.since_ms = 700000;
    t.gen = w->traded.gen;
    t.limits = w->limits;
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (!t.told[d].limit) t.told[d] = (struct pace_told){-1, -1, -1};
    rs_set_clock(&w->rs, &w->text, w->wall_ms);
    fn_pace_trade(w->fn, &t, on_trade, w);
    rs_pump(&w->rs);
}

static void want(struct world *w, int64_t calls)
{
    tell(w, &(struct pace_trade){.demand[PACE_EVEN] = {.calls = calls,
                                                       .first = {.n = {1, 100, 50, 0}, .microusd = 10},
                                                       .all = {.n = {calls, 100 * calls, 50 * calls, 0},
                                                               .microusd = 10 * calls}}});
}

static void look(struct world *w)
{
    rs_set_clock(&w->rs, &w->text, w->wall_ms);
    fn_pace_view(w->fn, BUDGET, on_view, w);
    rs_pump(&w->rs);
}

static void test_an_unused_budget_is_not_found(void **state)
{
    struct world *w = *state;
    look(w);
    assert_int_equal(w->answers, 1);
    assert_false(w->view.is_found);
}

static void test_what_waits_and_what_is_left(void **state)
{
    struct world *w = *state;
    trade(w, "w1:aa", 1, 40);
    trade(w, "w2:bb", 1, 2);
    look(w);
    const struct pace_view_dim *requests = &w->view.dims[PACE_REQUESTS], *output = &w->view.dims[PACE_OUTPUT];
    assert_true(w->view.is_found);
    assert_int_equal(w->view.state, PACE_OPEN);
    assert_int_equal(w->view.waiters, 42);
    assert_int_equal(w->view.requests_per_day, 1000);
    assert_int_equal(w->view.concurrency, 8);
    assert_int_equal(w->view.spend_per_day_microusd, 5000000);
    assert_int_equal(requests->limit, 60);
    assert_in_range(requests->used, 1, 2); /* one call a lease, the burst is one */
    assert_int_equal(requests->available, 0);
    assert_in_range(requests->next_ms, 1, 1000);
    assert_int_equal(w->view.dims[PACE_INPUT].next_ms, 0);
    assert_in_range(w->view.dims[PACE_INPUT].available, 1, 2000);
    assert_int_equal(output->available, -1); /* nothing limits it */
    assert_int_equal(output->next_ms, -1);
    trade(w, "w1:aa", 2, 0);
    look(w);
    assert_int_equal(w->view.waiters, 2);
}

static void test_looking_changes_nothing(void **state)
{
    struct world *w = *state;
    struct buf before;
    buf_init(&before, 1 << 20);
    trade(w, "w1:aa", 1, 3);
    for (int i = 0; i < 3; i++) {
        const char *now = rs_ask(&w->rs, &w->text, "HGETALL rl:{main/gpt-5-mini/default}");
        if (i == 0) assert_true(buf_put_str(&before, now) && buf_put_char(&before, '\0'));
        assert_string_equal(now, before.data);
        look(w);
    }
    buf_fini(&before);
}

static void test_a_quantum_has_less_at_once(void **state)
{
    struct world *w = *state;
    w->limits = (struct pace_limits){.per_minute = {[PACE_REQUESTS] = 6000}, .quantum_ms = 1000};
    want(w, 1);
    w->wall_ms += 5000;
    look(w);
    assert_int_equal(w->view.dims[PACE_REQUESTS].available, 85); /* of a second, less the way */
    w->limits.quantum_ms = 0;
    want(w, 1);
    w->wall_ms += 5000;
    look(w);
    assert_int_equal(w->view.dims[PACE_REQUESTS].available, 120); /* 2 % */
}

static void test_nothing_is_learnt_where_that_is_off(void **state)
{
    struct world *w = *state;
    w->limits = (struct pace_limits){.start = 60, .learns = true};
    tell(w, &(struct pace_trade){.told[PACE_REQUESTS] = {.limit = 40, .remaining = 40, .reset_ms = 1000}});
    look(w);
    assert_int_equal(w->view.dims[PACE_REQUESTS].limit, 40);
    w->limits.learns = false;
    want(w, 1);
    look(w);
    assert_int_equal(w->traded.limit[PACE_REQUESTS], 0);
    assert_int_equal(w->view.dims[PACE_REQUESTS].limit, 0);
    assert_int_equal(w->view.dims[PACE_REQUESTS].available, -1);
}

static void test_nothing_goes_beside_a_probe(void **state)
{
    struct world *w = *state;
    w->limits = (struct pace_limits){.per_minute = {[PACE_REQUESTS] = 6000}};
    want(w, 1);
    tell(w, &(struct pace_trade){.close = PACE_CLOSE_THROTTLE, .close_ms = 2000});
    w->wall_ms += 5000;
    want(w, 1);
    assert_true(w->traded.is_probe);
    w->wall_ms += 1000;
    look(w);
    assert_int_equal(w->view.state, PACE_PROBING);
    assert_int_equal(w->view.dims[PACE_REQUESTS].available, 0);
    assert_true(w->view.dims[PACE_REQUESTS].next_ms > 0);
    w->wall_ms += 30000; /* it is lost */
    look(w);
    assert_int_equal(w->view.dims[PACE_REQUESTS].next_ms, 0);
}

static void test_a_refund_of_yesterday_is_not_today_s(void **state)
{
    struct world *w = *state;
    want(w, 1);
    struct pace_settle back = {.slot = w->traded.slot, .output_slot = w->traded.output_slot,
                               .delta = {.n = {-1, -100, -50, 0}, .microusd = -10}};
    const struct pace_trade settled = {.settles = &back, .settle_count = 1};
    w->wall_ms += 70000; /* 10 s after midnight */
    want(w, 1);
    look(w);
    assert_int_equal(w->view.requests_today, 1);
    assert_int_equal(w->view.microusd_today, 10);
    tell(w, &settled);
    look(w);
    assert_int_equal(w->view.requests_today, 1);
    assert_int_equal(w->view.microusd_today, 10);
    w->wall_ms += 2000;
    want(w, 1); /* one of today comes back */
    back.slot = w->traded.slot;
    back.output_slot = w->traded.output_slot;
    tell(w, &settled);
    look(w);
    assert_int_equal(w->view.requests_today, 1);
    assert_int_equal(w->view.microusd_today, 10);
}

#define T(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_an_unused_budget_is_not_found),
        T(test_what_waits_and_what_is_left),
        T(test_looking_changes_nothing),
        T(test_a_quantum_has_less_at_once),
        T(test_nothing_is_learnt_where_that_is_off),
        T(test_nothing_goes_beside_a_probe),
        T(test_a_refund_of_yesterday_is_not_today_s),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
