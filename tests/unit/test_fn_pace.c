/* Trades against a real redis-server whose clock is set by hand. */
#include "pace_world.h"

struct stage {
    struct pw *w;
    struct pace_trade t;
    struct pace_traded r;
    int64_t seq[2];
};

static int begin(void **state)
{
    struct stage *s = calloc(1, sizeof *s);
    s->w = pw_new();
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct stage *s = *state;
    pw_free(s->w);
    free(s);
    return 0;
}

static int fresh(void **state)
{
    struct stage *s = *state;
    pw_reset(s->w, 1);
    memset(&s->r, 0, sizeof s->r);
    s->seq[0] = s->seq[1] = 0;
    return 0;
}

/* A trade of worker 0 or 1 under these limits a minute, which tells nothing yet. */
static struct pace_trade *plan(struct stage *s, size_t who, int64_t requests, int64_t input, int64_t output)
{
    s->t = (struct pace_trade){.budget = VIEW_LIT("main/m/default"),
                               .incarnation = who ? VIEW_LIT("w1:bb") : VIEW_LIT("w0:aa"),
                               .seq = ++s->seq[who],
                               .seen = s->r.seen,
                               .since_ms = 700000,
                               .gen = s->r.gen,
                               .limits = {.per_minute = {requests, input, output, 0}, .learns = true}};
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) s->t.told[d] = (struct pace_told){-1, -1, -1};
    return &s->t;
}

static void want(struct stage *s, enum pace_rank rank, int64_t calls, int64_t input, int64_t output)
{
    s->t.demand[rank] = (struct pace_demand){.calls = calls,
                                             .first = {.n = {1, input, output, 0}, .microusd = 10},
                                             .all = {.n = {calls, calls * input, calls * output, 0}, .microusd = calls * 10}};
}

static void on_traded(void *arg, const struct err *e, const struct pace_traded *r)
{
    if (e) rs_die(e->text);
    *(struct pace_traded *)arg = *r;
}

static int64_t go(struct stage *s)
{
    pw_clock(s->w);
    fn_pace_trade(s->w->fn, &s->t, on_traded, &s->r);
    rs_pump(&s->w->rs);
    return s->r.lease.n[PACE_REQUESTS];
}

static int64_t take(struct stage *s, int64_t calls)
{
    plan(s, 0, 600, 0, 0);
    want(s, PACE_QUIET, calls, 100, 10);
    return go(s);
}

static void test_lease_is_a_tenth_of_a_second_but_a_call(void **state)
{
    struct stage *s = *state;
    assert_int_equal(take(s, 50), 1);
    assert_int_equal(s->r.lease.n[PACE_INPUT], 100);
    assert_int_equal(s->r.lease.microusd, 10);
    assert_true(s->r.wait_ms > 0); /* not all of it */
    plan(s, 0, 60000, 0, 0);
    s->t.budget = VIEW_LIT("main/large/default");
    want(s, PACE_QUIET, 500, 100, 10);
    assert_int_equal(go(s), 100);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 60000);
    assert_int_equal(s->r.limit[PACE_INPUT], 0);
    plan(s, 0, 60000, 0, 0);
    s->t.budget = VIEW_LIT("main/large/default");
    want(s, PACE_QUIET, 3, 100, 10);
    assert_int_equal(go(s), 3);
    assert_int_equal(s->r.reason, PACE_REASON_NONE);
}

static void test_burst_is_two_percent(void **state)
{
    struct stage *s = *state;
    int64_t n = 0;
    for (int i = 0; i < 100; i++) n += take(s, 1);
    assert_int_equal(n, 12);
    assert_int_equal(s->r.reason, PACE_REASON_RATE);
    assert_in_range(s->r.eta_ms, 1, 300);
}

static void test_all_or_nothing(void **state)
{
    struct stage *s = *state;
    plan(s, 0, 600, 60000, 0);
    want(s, PACE_QUIET, 1, 70000, 0); /* larger than a minute: alone, while nothing else stands in the window */
    assert_int_equal(go(s), 1);
    plan(s, 0, 600, 60000, 0);
    want(s, PACE_QUIET, 1, 10, 0);
    assert_int_equal(go(s), 0);
    assert_int_equal(pw_look(s->w).dims[PACE_REQUESTS].used, 1); /* the request was not taken either */
    s->w->now_ms += 61500;
    plan(s, 0, 600, 60000, 0);
    want(s, PACE_QUIET, 1, 10, 0);
    go(s);
    assert_int_equal(pw_look(s->w).dims[PACE_INPUT].used, s->r.lease.n[PACE_INPUT]);
}

static void test_settling(void **state)
{
    struct stage *s = *state;
    plan(s, 0, 600, 60000, 60000);
    want(s, PACE_QUIET, 1, 500, 400);
    s->t.expect_ms = 2000;
    assert_int_equal(go(s), 1);
    assert_true(s->r.output_slot > s->r.slot);
    struct pace_settle k = {.slot = s->r.slot, .output_slot = s->r.output_slot, .delta = {.n = {0, -100, -400, 0}}};
    plan(s, 0, 600, 60000, 60000);
    s->t.settles = &k;
    s->t.settle_count = 1;
    s->t.output_made = 250;
    go(s);
    struct pace_view v = pw_look(s->w);
    assert_int_equal(v.dims[PACE_INPUT].used, 400);
    assert_int_equal(v.dims[PACE_OUTPUT].used, 250);
    s->seq[0]--; /* the answer was lost: the same again counts nothing twice */
    plan(s, 0, 600, 60000, 60000);
    s->t.settles = &k;
    s->t.settle_count = 1;
    s->t.output_made = 250;
    go(s);
    v = pw_look(s->w);
    assert_int_equal(v.dims[PACE_INPUT].used, 400);
    assert_int_equal(v.dims[PACE_OUTPUT].used, 250);
    k.delta = (struct pace_amount){.n = {-50, -5000, 0, 0}}; /* more than was ever granted */
    plan(s, 0, 600, 60000, 60000);
    s->t.settles = &k;
    s->t.settle_count = 1;
    go(s);
    v = pw_look(s->w);
    assert_int_equal(v.dims[PACE_REQUESTS].used, 0);
    assert_int_equal(v.dims[PACE_INPUT].used, 0);
}

static void test_uncertainty_is_left_free(void **state)
{
    struct stage *s = *state;
    s->w->now_ms += 1;
    plan(s, 0, 0, 10000, 0);
    want(s, PACE_QUIET, 1, 100, 0);
    s->t.demand[PACE_QUIET].first.input_var = s->t.demand[PACE_QUIET].all.input_var = 4000000; /* sd 2,000 */
    assert_int_equal(go(s), 1);
    int64_t slot = s->r.slot, used = 100;
    for (int i = 0; i < 200; i++) {
        s->w->now_ms += 250;
        plan(s, 0, 0, 10000, 0);
        want(s, PACE_QUIET, 1, 100, 0);
        used += go(s) * 100;
    }
    assert_in_range(used, 1300, 1500); /* 10,000 - 4.3 x 2,000 */
    struct pace_settle k = {.slot = slot, .output_slot = slot, .delta = {.input_var = -4000000}};
    plan(s, 0, 0, 10000, 0);
    s->t.settles = &k;
    s->t.settle_count = 1;
    want(s, PACE_QUIET, 1, 100, 0);
    assert_int_equal(go(s), 1);
}

static void test_smallest_configuration_holds(void **state)
{
    struct stage *s = *state;
    plan(s, 0, 600, 0, 0);
    go(s);
    plan(s, 1, 300, 0, 0);
    go(s);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 300);
    plan(s, 0, 600, 0, 0);
    go(s);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 300);
    s->w->now_ms += 61000; /* the other fleet is gone */
    plan(s, 0, 600, 0, 0);
    go(s);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 600);
}

static void test_words_of_the_provider(void **state)
{
    struct stage *s = *state;
    plan(s, 0, 600, 0, 0)->told[PACE_REQUESTS] = (struct pace_told){300, 290, 1000};
    go(s);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 300);
    static const struct pace_told absurd[] = {{0, 5, 1}, {-7, -7, -7}, {INT64_MAX, INT64_MAX, INT64_MAX}, {300, 301, 1},
                                              {-1, -1, 31536000000}, {300, -2, -5}};
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        plan(s, 0, 600, 0, 0)->told[PACE_REQUESTS] = absurd[i];
        go(s);
        assert_int_equal(s->r.limit[PACE_REQUESTS], 300);
    }
    plan(s, 0, 600, 0, 0)->told[PACE_REQUESTS] = (struct pace_told){300, 0, 30000}; /* strangers took all of it */
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 0);
    assert_true(pw_look(s->w).dims[PACE_REQUESTS].foreign >= 290);
    s->w->now_ms += 31000;
    assert_int_equal(take(s, 1), 1);
    s->w->now_ms += 600000; /* and what nobody repeats is forgotten */
    take(s, 1);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 600);
    plan(s, 0, 600, 0, 0)->told[PACE_REQUESTS] = (struct pace_told){300, 290, 1000};
    s->t.limits.learns = false;
    go(s);
    assert_int_equal(s->r.limit[PACE_REQUESTS], 600);
}

static void refuse(struct stage *s, size_t who, int64_t gen, int64_t ms)
{
    plan(s, who, 600, 0, 0);
    s->t.gen = gen;
    s->t.close = PACE_CLOSE_THROTTLE;
    s->t.close_ms = ms;
    go(s);
}

static void report_fails(struct stage *s, int64_t gen, int64_t count)
{
    plan(s, 1, 600, 0, 0)->gen = gen;
    s->t.fails = count;
    go(s);
}

static void test_one_close_one_probe_one_ramp(void **state)
{
    struct stage *s = *state;
    assert_int_equal(take(s, 1), 1);
    int64_t gen = s->r.gen;
    refuse(s, 0, gen, 4000);
    assert_int_equal(s->r.state, PACE_CLOSED);
    assert_int_equal(s->r.until_ms, 4000);
    refuse(s, 1, gen, 60000); /* of the same storm */
    assert_int_equal(s->r.until_ms, 4000);
    assert_int_equal(pw_look(s->w).closes, 1);
    assert_int_equal(take(s, 1), 0);
    assert_int_equal(s->r.reason, PACE_REASON_CLOSED);
    assert_int_equal(s->r.wait_ms, 4000);
    s->w->now_ms += 4000;
    assert_int_equal(take(s, 20), 1);
    assert_true(s->r.is_probe);
    plan(s, 1, 600, 0, 0);
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 0); /* one at a time */
    assert_int_equal(s->r.state, PACE_PROBING);
    refuse(s, 1, gen, 60000);
    assert_int_equal(s->r.state, PACE_PROBING);
    plan(s, 0, 600, 0, 0);
    s->t.probe = PACE_PROBE_OK;
    s->t.oks = 1;
    go(s);
    assert_int_equal(s->r.state, PACE_RAMPING);
    refuse(s, 1, gen, 60000); /* the last one of the storm, late */
    report_fails(s, gen, 12);
    assert_int_equal(s->r.state, PACE_RAMPING);
    int64_t went[2] = {0, 0};
    for (int i = 0; i < 200; i++) {
        s->w->now_ms += 50;
        went[i / 100] += take(s, 1);
    }
    assert_in_range(went[0], 5, 15);  /* 5 s at 15 %, 22 %, 34 % */
    assert_in_range(went[1], 30, 45); /* and at 50 %, 76 %, 100 % */
    assert_int_equal(s->r.state, PACE_OPEN);
    refuse(s, 1, gen, 60000);
    report_fails(s, gen, 12);
    assert_int_equal(s->r.state, PACE_OPEN);
    assert_int_equal(pw_look(s->w).closes, 1);
}

/* The next close lasts as told when calls went well since the last one, and longer each time when none did. */
static int64_t reopen_and_refuse(struct stage *s, int64_t oks)
{
    s->w->now_ms += s->r.until_ms;
    assert_int_equal(take(s, 1), 1);
    assert_true(s->r.is_probe);
    plan(s, 0, 600, 0, 0)->probe = PACE_PROBE_OK;
    s->t.oks = oks;
    go(s);
    assert_int_equal(s->r.state, PACE_RAMPING);
    refuse(s, 0, s->r.gen, 1000);
    assert_int_equal(s->r.state, PACE_CLOSED);
    return s->r.until_ms;
}

static void test_a_told_wait_that_holds_is_believed_again(void **state)
{
    struct stage *s = *state;
    assert_int_equal(take(s, 1), 1);
    refuse(s, 0, s->r.gen, 1000);
    for (int i = 0; i < 8; i++) assert_int_equal(reopen_and_refuse(s, 6), 1000);
    int64_t last = 0;
    for (int i = 0; i < 8; i++) last = reopen_and_refuse(s, 1);
    assert_int_equal(last, 15000);
    assert_int_equal(reopen_and_refuse(s, 6), 1000);
}

static void test_probe_that_fails_is_used_by_nobody_or_is_lost(void **state)
{
    struct stage *s = *state;
    take(s, 1);
    plan(s, 0, 600, 0, 0)->fails = 5;
    go(s);
    assert_int_equal(s->r.state, PACE_CLOSED);
    assert_int_equal(s->r.close, PACE_CLOSE_OUTAGE);
    assert_int_equal(s->r.until_ms, 5000);
    s->w->now_ms += 5000;
    assert_int_equal(take(s, 1), 1);
    plan(s, 0, 600, 0, 0)->probe = PACE_PROBE_FAILED;
    go(s);
    assert_int_equal(s->r.state, PACE_CLOSED);
    s->w->now_ms += 5000;
    assert_int_equal(take(s, 1), 1);
    s->w->now_ms += 500;
    plan(s, 0, 600, 0, 0)->probe = PACE_PROBE_UNUSED;
    go(s);
    assert_int_equal(s->r.until_ms, 4500); /* five seconds from the last one */
    s->w->now_ms += 4500;
    assert_int_equal(take(s, 1), 1);
    s->w->now_ms += 29000; /* its worker died */
    assert_int_equal(take(s, 1), 0);
    s->w->now_ms += 1000;
    assert_int_equal(take(s, 1), 1);
    assert_true(s->r.is_probe);
}

static void test_day_money_and_crowd(void **state)
{
    struct stage *s = *state;
    plan(s, 0, 600, 0, 0)->limits.requests_per_day = 2;
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 1);
    for (int i = 0; i < 2; i++) {
        s->w->now_ms += 1000;
        plan(s, 0, 600, 0, 0)->limits.requests_per_day = 2;
        want(s, PACE_QUIET, 1, 1, 1);
        assert_int_equal(go(s), i == 0);
    }
    assert_int_equal(s->r.reason, PACE_REASON_DAY);
    assert_true(s->r.eta_ms > 1000 && s->r.eta_ms <= 86400000);
    rs_ask(&s->w->rs, &s->w->text, "FLUSHALL"); /* the day is known to who has seen it */
    plan(s, 0, 600, 0, 0)->limits.requests_per_day = 2;
    s->t.day = s->r.day;
    s->t.day_requests = s->r.day_requests;
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 0);
    assert_int_equal(s->r.reason, PACE_REASON_DAY);

    pw_reset(s->w, 1);
    s->r = (struct pace_traded){.seen = 0};
    plan(s, 0, 600, 0, 0)->limits.spend_per_day_microusd = 15;
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 1);
    s->w->now_ms += 1000;
    plan(s, 0, 600, 0, 0)->limits.spend_per_day_microusd = 15;
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 0);
    assert_int_equal(s->r.reason, PACE_REASON_SPEND);

    pw_reset(s->w, 1);
    s->r = (struct pace_traded){.seen = 0};
    for (int i = 0; i < 3; i++) {
        s->w->now_ms += 1000;
        plan(s, 0, 600, 0, 0)->limits.concurrency = 2;
        s->t.in_flight = i;
        want(s, PACE_QUIET, 1, 1, 1);
        assert_int_equal(go(s), i < 2);
    }
    assert_int_equal(s->r.reason, PACE_REASON_CONCURRENCY);
    plan(s, 1, 600, 0, 0)->limits.concurrency = 2; /* held against the other worker too */
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 0);
    s->w->now_ms += 40000; /* which is dead */
    plan(s, 1, 600, 0, 0)->limits.concurrency = 2;
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 1);
}

static void tell_flow(struct stage *s, size_t who, const char *name, int64_t served, enum pace_rank rank)
{
    static struct pace_flow f; /* good until the next trade is made */
    plan(s, who, 6000, 0, 0);
    f = (struct pace_flow){.name = view_of(name), .group = 1, .weight = 1, .served = served, .is_waiting = true};
    s->t.flows = &f;
    s->t.flow_count = 1;
    want(s, rank, 50, 1, 1);
}

static void test_quiet_flow_passes_a_burst(void **state)
{
    struct stage *s = *state;
    enum pace_rank heavy = PACE_QUIET;
    tell_flow(s, 1, "quiet", 10, PACE_QUIET);
    go(s);
    for (int i = 0; i < 300; i++) {
        s->w->now_ms += 20;
        tell_flow(s, 0, "burst", s->r.lease.n[PACE_REQUESTS] * 100, heavy);
        go(s);
        heavy = s->r.ranks[0];
    }
    assert_true(heavy != PACE_QUIET);
    assert_in_range(s->r.lease.n[PACE_REQUESTS], 0, 10); /* a tenth of a second */
    int64_t left = 1;
    while (left > 0) { /* the burst takes all that it may */
        tell_flow(s, 0, "burst", 0, PACE_EVEN);
        left = go(s);
    }
    tell_flow(s, 1, "quiet", 0, PACE_QUIET);
    assert_true(go(s) > 0);
    assert_int_equal(s->r.ranks[0], PACE_QUIET);
}

static void test_the_fullest_trade(void **state)
{
    struct stage *s = *state;
    struct pace_settle settles[PACE_SETTLES_MAX] = {{.slot = 0}};
    struct pace_amount history[PACE_HISTORY_COUNT] = {{.n = {0}}};
    struct pace_flow flows[PACE_FLOWS_MAX];
    char names[PACE_FLOWS_MAX][2];
    plan(s, 0, 600, 0, 0);
    for (size_t i = 0; i < PACE_FLOWS_MAX; i++) {
        names[i][0] = (char)('a' + i);
        flows[i] = (struct pace_flow){.name = view_make(names[i], 1), .group = 1, .weight = 1, .is_waiting = true};
    }
    for (enum pace_rank q = 0; q < PACE_RANK_COUNT; q++) want(s, q, 1, 100, 10);
    s->t.told[PACE_REQUESTS] = (struct pace_told){600, 599, 100};
    s->t.settles = settles;
    s->t.settle_count = PACE_SETTLES_MAX;
    s->t.history = history;
    s->t.flows = flows;
    s->t.flow_count = PACE_FLOWS_MAX;
    assert_int_equal(go(s), 1);
}

static void test_keys_end_and_stay_small(void **state)
{
    struct stage *s = *state;
    struct pw *w = s->w;
    static const char *const keys[] = {"rl:{main/m/default}", "rl:{main/m/default}:s", "rl:{main/m/default}:f", "rl:{main/m/default}:w"};
    for (int i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "tenant-%d", i);
        w->now_ms += 100;
        tell_flow(s, (size_t)(i % 2), name, 5, PACE_QUIET);
        s->t.expect_ms = 20000;
        s->t.least_ms = 5000;
        go(s);
    }
    for (size_t i = 0; i < 4; i++) {
        char words[96];
        int64_t n = 0;
        snprintf(words, sizeof words, "PTTL %s", keys[i]);
        assert_true(view_i64(view_of(rs_ask(&w->rs, &w->text, words)), &n) && n > 0);
        snprintf(words, sizeof words, "HLEN %s", keys[i]);
        assert_true(view_i64(view_of(rs_ask(&w->rs, &w->text, words)), &n) && n <= (i == 1 ? 800 : 600));
    }
}

static void test_long_names_do_not_meet(void **state)
{
    struct stage *s = *state;
    char a[400], b[400];
    memset(a, 'm', sizeof a);
    memset(b, 'm', sizeof b);
    a[299] = 'a';
    b[299] = 'b';
    plan(s, 0, 600, 0, 0)->budget = view_make(a, 300);
    want(s, PACE_QUIET, 1, 1, 1);
    assert_int_equal(go(s), 1);
    struct pace_view v = {.is_found = true};
    fn_pace_view(s->w->fn, view_make(b, 300), pw_on_view, &v);
    rs_pump(&s->w->rs);
    assert_false(v.is_found);
    fn_pace_view(s->w->fn, view_make(a, 300), pw_on_view, &v);
    rs_pump(&s->w->rs);
    assert_true(v.is_found);
}

static void on_code(void *arg, const struct err *e, const struct pace_traded *r)
{
    (void)r;
    *(enum err_code *)arg = e ? e->code : ERR_OK;
}

static void test_answers_out_of_shape(void **state)
{
    struct stage *s = *state;
    static const char *const lies[] = {"return 'ok'", "return {1}", "return {}",
                                       "local r = {} for i = 1, 28 do r[i] = 99 end return r"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char code[512];
        enum err_code got = ERR_OK;
        snprintf(code, sizeof code,
                 "#!lua name=sluice_pace_v1\nredis.register_function('sluice_pace_v1_trade', function() %s end)", lies[i]);
        const struct view load[] = {VIEW_LIT("FUNCTION"), VIEW_LIT("LOAD"), VIEW_LIT("REPLACE"), view_of(code)};
        rs_call(&s->w->rs, load, 4, rs_copy_reply, &s->w->text);
        rs_pump(&s->w->rs);
        plan(s, 0, 600, 0, 0);
        fn_pace_trade(s->w->fn, &s->t, on_code, &got);
        rs_pump(&s->w->rs);
        assert_int_equal(got, ERR_PROTOCOL);
    }
    rs_load_library(&s->w->rs, &s->w->text, "sluice_pace_v1");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        T(test_lease_is_a_tenth_of_a_second_but_a_call), T(test_burst_is_two_percent), T(test_all_or_nothing),
        T(test_settling), T(test_uncertainty_is_left_free), T(test_smallest_configuration_holds),
        T(test_words_of_the_provider), T(test_one_close_one_probe_one_ramp),
        T(test_a_told_wait_that_holds_is_believed_again),
        T(test_probe_that_fails_is_used_by_nobody_or_is_lost), T(test_day_money_and_crowd),
        T(test_quiet_flow_passes_a_burst), T(test_keys_end_and_stay_small), T(test_the_fullest_trade),
        T(test_long_names_do_not_meet),
        T(test_answers_out_of_shape),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
