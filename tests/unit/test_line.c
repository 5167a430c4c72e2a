/* What a queued job is told about the line before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include "gateway/line.h"

static struct pace_view open_budget(int64_t limit, int64_t available, int64_t next_ms)
{
    struct pace_view v = {.is_found = true, .state = PACE_OPEN};
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) v.dims[d] = (struct pace_view_dim){.available = -1, .next_ms = -1};
    v.dims[PACE_REQUESTS] = (struct pace_view_dim){.limit = limit, .available = available, .next_ms = next_ms};
    return v;
}

static void guesses(const struct pace_view *v, int64_t ahead, const char *reason, int64_t in_ms)
{
    const struct line_facts f = {.budget = v, .ahead = ahead};
    struct line_guess g;
    bool has = line_guess(&f, &g);
    assert_int_equal(has, reason != NULL);
    if (!reason) return;
    assert_string_equal(g.reason, reason);
    assert_int_equal(g.in_ms, in_ms);
}

static void nothing_is_said_where_nothing_waits(void **state)
{
    (void)state;
    const struct pace_view none = {.is_found = false}, idle = open_budget(60, 1, 0);
    guesses(&none, 400, NULL, 0);
    guesses(&idle, 0, NULL, 0);
}

static void a_line_takes_its_time(void **state)
{
    (void)state;
    struct pace_view v = open_budget(60, 0, 800);
    guesses(&v, 0, "budget", 800);
    guesses(&v, -5, "budget", 800); /* counts of two moments */
    guesses(&v, 430, "budget", 430000);
    guesses(&v, INT64_MAX, "budget", 800);
    v = open_budget(60, 1, 0);
    v.waiters = 12;
    guesses(&v, 10, "budget", 10000);
    v = open_budget(0, -1, -1); /* no limit known, and yet they wait */
    v.waiters = 1;
    guesses(&v, 10, "budget", -1);
}

static void closes_and_crowds_have_their_own_words(void **state)
{
    (void)state;
    static const struct {
        enum pace_close close;
        const char *reason;
    } cases[] = {{PACE_CLOSE_THROTTLE, "closed"}, {PACE_CLOSE_OUTAGE, "outage"}, {PACE_CLOSE_EXHAUSTED, "exhausted"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pace_view v = open_budget(60, 0, 14000);
        v.state = PACE_CLOSED;
        v.close = cases[i].close;
        v.until_ms = 14000;
        guesses(&v, 2, cases[i].reason, 14000);
        guesses(&v, 60, cases[i].reason, 60000);
    }
    struct pace_view v = open_budget(0, -1, -1);
    v.concurrency = v.in_flight = 4;
    guesses(&v, 2, "concurrency", -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_said_where_nothing_waits),
        cmocka_unit_test(a_line_takes_its_time),
        cmocka_unit_test(closes_and_crowds_have_their_own_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
