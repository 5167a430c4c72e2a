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
    *state = w;
    return w->fn ? 0 : -1;
}

static int fresh(void **state)
{
    struct world *w = *state;
    rs_ask(&w->rs, &w->text, "FLUSHALL");
    w->answers = 0;
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
    const struct pace_limits limits = {.per_minute = {[PACE_REQUESTS] = 60, [PACE_INPUT] = 100000},
                                       .requests_per_day = 1000,
                                       .concurrency = 8,
                                       .spend_per_day_microusd = 5000000};
    struct pace_trade t = {.budget = BUDGET, .incarnation = view_of(who), .seq = seq, .limits = limits};
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

static void look(struct world *w)
{
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

#define T(name) cmocka_unit_test_setup(name, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_an_unused_budget_is_not_found),
        T(test_what_waits_and_what_is_left),
        T(test_looking_changes_nothing),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
