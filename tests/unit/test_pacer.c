/* Whose call goes when, by which route, and what is said meanwhile: the pacer with the pacing functions in a real
 * redis-server whose clock is set by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/pacer.h"
#include "redis_server.h"

enum { CALLS_MAX = 4000, TENANTS = 4 };
#define WALL 1900000000000LL /* ahead of the clock of the machine: keys must not expire by it */

struct rig;
struct call {
    struct pacer_wait wait;
    struct rig *rig;
    size_t index;
    struct timer timer;
    struct pacer_grant grant;
    int64_t granted_ms, told_until;
    const char *told_reason, *told_on;
    unsigned grants, tells, skips;
};

struct rig {
    struct rs rs;
    struct fn *fn;
    struct timerq *timers;
    struct clock clock;
    struct rng rng;
    struct metrics *metrics;
    struct usage *usage;
    struct pacer *pacer;
    struct config *config;
    struct buf text;
    struct call calls[CALLS_MAX];
    size_t count, order[CALLS_MAX], granted;
    size_t calls_max;
    int64_t takes_ms; /* how long a granted call runs before it ends well; -1: until told */
    int64_t input, output;
    bool is_fenced, wants_turn, is_mute; /* mute: Redis answers nothing */
    int64_t wall_ms; /* to begin with; 0: WALL */
    enum task_fault (*judge)(struct call *c, bool *ret_failed);
};

/* --- the world ------------------------------------------------------------------------------------------------------ */
static bool may_start(void *arg)
{
    return !((struct rig *)arg)->is_fenced;
}

static void kick(void *arg)
{
    ((struct rig *)arg)->wants_turn = true;
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 20; i++) { /* asks and answers until nothing moves */
        r->wants_turn = false;
        rs_set_clock(&r->rs, &r->text, r->clock.wall_ms);
        pacer_pump(r->pacer);
        if (!r->is_mute) rs_pump(&r->rs);
        if (!r->wants_turn) return;
    }
}

static void pass(struct rig *r, int64_t ms)
{
    int64_t until = r->clock.mono_ms + ms;
    while (r->clock.mono_ms < until) {
        int64_t next = timerq_next_ms(r->timers);
        int64_t at = next < until ? next : until;
        if (at <= r->clock.mono_ms) at = r->clock.mono_ms + 1;
        r->clock.wall_ms += at - r->clock.mono_ms;
        r->clock.mono_ms = at;
        rs_set_clock(&r->rs, &r->text, r->clock.wall_ms);
        (void)timerq_run(r->timers, at, 1000);
        turn(r);
    }
}

static int start(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    rs_start(&r->rs);
    buf_init(&r->text, 1 << 20);
    r->calls_max = 10000;
    r->fn = fn_new(rs_port(&r->rs));
    r->timers = timerq_new(CALLS_MAX * 2 + 100);
    rs_load_library(&r->rs, &r->text, "sluice_pace_v1");
    rs_load_library(&r->rs, &r->text, "sluice_usage_v1");
    *state = r;
    return r->fn && r->timers ? 0 : -1;
}

static int stop(void **state)
{
    struct rig *r = *state;
    fn_free(r->fn);
    timerq_free(r->timers);
    rs_stop(&r->rs);
    buf_fini(&r->text);
    free(r);
    return 0;
}

static void on_heard(void *arg)
{
    struct rig *r = arg;
    pacer_recheck_tenants(r->pacer);
    r->wants_turn = true;
}

/* models and tenants as YAML; the rest is there. */
static void open_rig(struct rig *r, const char *yaml)
{
    static const char head[] = "consumer: {interactive_weight: 4, bulk_weight: 1}\n";
    struct buf text, errors;
    struct err err;
    rs_ask(&r->rs, &r->text, "FLUSHALL");
    memset(r->calls, 0, sizeof r->calls);
    r->clock = (struct clock){.mono_ms = 5000, .wall_ms = r->wall_ms ? r->wall_ms : WALL};
    rng_seed(&r->rng, 1);
    r->count = r->granted = 0;
    r->takes_ms = 200;
    r->input = 100;
    r->output = 50;
    r->is_fenced = false;
    r->judge = NULL;
    buf_init(&text, 1 << 16);
    buf_init(&errors, 1 << 16);
    buf_put_str(&text, head);
    buf_put_str(&text, yaml);
    const struct config_input in = {.text = buf_view(&text), .name = "t.yaml", .dir = "/", .cwd = "/", .worker_name = "w"};
    if (config_build(&in, &r->config, &errors, &err) != ERR_OK) {
        fprintf(stderr, "%.*s%s\n", (int)errors.len, errors.data ? errors.data : "", err.text);
        rs_stop(&r->rs); /* or it outlives us */
        exit(1);
    }
    buf_fini(&text);
    buf_fini(&errors);
    r->metrics = metrics_new();
    const struct usage_options uo = {.fn = r->fn,
                                     .clock = &r->clock,
                                     .timers = r->timers,
                                     .incarnation = VIEW_LIT("w:1"),
                                     .retention_ms = 86400000,
                                     .on_heard = on_heard,
                                     .arg = r};
    r->usage = usage_new(&uo);
    const struct pacer_options o = {.fn = r->fn,
                                    .config = r->config,
                                    .clock = &r->clock,
                                    .timers = r->timers,
                                    .rng = &r->rng,
                                    .metrics = r->metrics,
                                    .usage = r->usage,
                                    .incarnation = VIEW_LIT("w:1"),
                                    .calls_max = r->calls_max,
                                    .line_least = 64,
                                    .may_start = may_start,
                                    .kick = kick,
                                    .arg = r};
    r->pacer = pacer_new(&o);
    assert_non_null(r->pacer);
}

static void end_call(struct call *c, enum limiter_end end, int64_t retry_after_ms)
{
    struct rig *r = c->rig;
    bool is_good = end == LIMITER_OK;
    struct pacer_outcome o = {.end = end,
                              .input = is_good ? r->input : -1,
                              .output = is_good ? r->output : -1,
                              .cached = -1,
                              .retry_after_ms = retry_after_ms,
                              .is_whole = is_good};
    timerq_cancel(r->timers, &c->timer);
    pacer_done(&c->wait, &o);
}

static void close_rig(struct rig *r)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->calls[i].wait.state == PACER_GRANTED)
            end_call(&r->calls[i], LIMITER_BROKEN, -1);
        else
            pacer_cancel(&r->calls[i].wait);
    }
    assert_int_equal(pacer_in_flight(r->pacer), 0);
    assert_int_equal(pacer_waiting(r->pacer), 0);
    turn(r);
    rs_pump(&r->rs);
    pacer_free(r->pacer);
    usage_free(r->usage);
    metrics_free(r->metrics);
    config_free(r->config);
    assert_int_equal(timerq_next_ms(r->timers), INT64_MAX);
}

/* --- calls ------------------------------------------------------------------------------------------------------------ */
static void on_end(void *arg)
{
    struct call *c = arg;
    bool is_failed = false;
    enum task_fault fault = c->rig->judge ? c->rig->judge(c, &is_failed) : TASK_FAULT_FATAL;
    if (!is_failed) {
        static const struct llm_limits none = {.requests = {-1, -1, -1}, .tokens = {-1, -1, -1},
                                               .input = {-1, -1, -1}, .output = {-1, -1, -1}};
        pacer_told(&c->wait, &none, true);
        end_call(c, LIMITER_OK, -1);
        return;
    }
    end_call(c, fault == TASK_FAULT_THROTTLE ? LIMITER_REFUSED : fault == TASK_FAULT_EXHAUSTED ? LIMITER_EXHAUSTED : LIMITER_FAILED,
             fault == TASK_FAULT_THROTTLE ? 10000 : -1);
    assert_true(pacer_again(&c->wait, fault));
}

static void on_grant(void *arg, const struct pacer_grant *g)
{
    struct call *c = arg;
    struct rig *r = c->rig;
    c->grant = *g;
    c->grants++;
    c->granted_ms = r->clock.mono_ms;
    if (r->granted < CALLS_MAX) r->order[r->granted] = c->index;
    r->granted++;
    if (r->takes_ms >= 0) assert_true(timerq_set(r->timers, &c->timer, r->clock.mono_ms + r->takes_ms, on_end, c));
}

static void on_wait(void *arg, int64_t until_wall_ms, const char *reason)
{
    struct call *c = arg;
    const struct config_route *on = pacer_waits_on(&c->wait);
    c->told_until = until_wall_ms;
    c->told_reason = reason;
    c->told_on = on ? on->provider : NULL;
    c->tells++;
}

static void on_skip(void *arg, const struct config_route *route)
{
    struct call *c = arg;
    (void)route;
    c->skips++;
}

static struct call *ask_as(struct rig *r, const struct pacer_ask *a)
{
    static const struct pacer_sink sink = {.on_grant = on_grant, .on_wait = on_wait, .on_skip = on_skip};
    struct call *c = &r->calls[r->count];
    struct err err;
    assert_true(r->count < CALLS_MAX);
    c->rig = r;
    c->index = r->count++;
    c->wait.sink = &sink;
    c->wait.arg = c;
    assert_int_equal(pacer_ask(r->pacer, &c->wait, a, &err), ERR_OK);
    return c;
}

static struct pacer_ask plain(const char *tenant)
{
    return (struct pacer_ask){.model = VIEW_LIT("fast"),
                              .tenant = view_of(tenant),
                              .workflow = VIEW_LIT("w"),
                              .step = VIEW_LIT("s"),
                              .counted = 100,
                              .max_tokens = 50};
}

static struct call *ask(struct rig *r, const char *tenant)
{
    struct pacer_ask a = plain(tenant);
    return ask_as(r, &a);
}

static size_t served(const struct rig *r, const char *tenant)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++) n += r->calls[i].grants > 0 && view_eq_str(r->calls[i].wait.tenant, tenant);
    return n;
}

#define ONE_ROUTE(budget)                                                                                             \
    "providers: {main: {kind: openai, base_url: \"http://127.0.0.1:1/v1\"}}\n"                                        \
    "models: {fast: {route: [{provider: main, model: m}], budget: {" budget "}, price: {input_per_million: 1.0, output_per_million: 2.0}}}\n"
#define TENANT(id, more) "  - {id: " id ", keys: [{sha256: \"" id SUM "\", scopes: [read]}]" more "}\n"
#define SUM "000000000000000000000000000000000000000000000000000000000000000"

/* --- what is tested --------------------------------------------------------------------------------------------------- */
static void test_without_limits_all_go_at_once(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("learn: false"));
    for (int i = 0; i < 300; i++) (void)ask(r, i % 2 ? "a" : "b");
    turn(r);
    turn(r);
    assert_int_equal(r->granted, 300);
    assert_int_equal(pacer_in_flight(r->pacer), 300);
    pass(r, 1000);
    assert_int_equal(pacer_in_flight(r->pacer), 0);
    close_rig(r);
}

static void test_a_minute_holds_its_limit_and_all_are_told(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("requests_per_minute: 60"));
    for (int i = 0; i < 200; i++) (void)ask(r, "a");
    turn(r);
    assert_true(r->granted >= 1 && r->granted <= 2);
    pass(r, 60000);
    assert_in_range(r->granted, 56, 62);
    const struct call *last = &r->calls[199];
    assert_string_equal(last->told_reason, "budget");
    assert_string_equal(last->told_on, "main");
    assert_true(last->tells >= 1 && last->tells <= 8);
    assert_in_range(last->told_until - r->clock.wall_ms, 100000, 200000); /* 140 are before it, one a second */
    pass(r, 160000);
    assert_true(r->granted == 200);
    close_rig(r);
}

static void test_weights_and_classes_share(void **state)
{
    struct rig *r = *state;
    struct pacer_ask bulk = plain("b");
    open_rig(r, ONE_ROUTE("requests_per_minute: 600") "tenants:\n" TENANT("a", ", weight: 3") TENANT("b", ", weight: 1"));
    for (int i = 0; i < 700; i++) {
        (void)ask(r, "a");
        (void)ask(r, "b");
    }
    pass(r, 60000);
    double ratio = (double)served(r, "a") / (double)served(r, "b");
    assert_true(ratio > 2.7 && ratio < 3.3);
    close_rig(r);

    open_rig(r, ONE_ROUTE("requests_per_minute: 600"));
    bulk.cls = CLASS_BULK;
    for (int i = 0; i < 700; i++) {
        (void)ask(r, "a");
        (void)ask_as(r, &bulk);
    }
    pass(r, 60000);
    ratio = (double)served(r, "a") / (double)served(r, "b");
    assert_true(ratio > 3.5 && ratio < 4.5);
    close_rig(r);
}

static void test_a_quiet_tenant_does_not_wait_for_a_burst(void **state)
{
    struct rig *r = *state;
    int64_t worst = 0;
    open_rig(r, ONE_ROUTE("requests_per_minute: 6000"));
    for (int i = 0; i < 3000; i++) (void)ask(r, "burst");
    pass(r, 3000);
    for (int i = 0; i < 20; i++) {
        const struct call *c = ask(r, "quiet");
        int64_t asked = r->clock.mono_ms;
        turn(r);
        pass(r, 700);
        assert_int_equal(c->grants, 1);
        if (c->granted_ms - asked > worst) worst = c->granted_ms - asked;
    }
    assert_true(worst <= 50);
    close_rig(r);
}

static void test_priority_then_age(void **state)
{
    struct rig *r = *state;
    struct pacer_ask a = plain("a");
    open_rig(r, ONE_ROUTE("requests_per_minute: 60"));
    a.age_ms = 100;
    (void)ask_as(r, &a);
    turn(r);
    for (int i = 0; i < 4; i++) { /* 1: age 50, 2: age 40, 3: priority, 4: age 45 */
        a.age_ms = (const int[]){50, 40, 60, 45}[i];
        a.priority = i == 2;
        (void)ask_as(r, &a);
    }
    pass(r, 10000);
    static const size_t expect[] = {0, 3, 2, 4, 1};
    assert_int_equal(r->granted, 5);
    assert_memory_equal(r->order, expect, sizeof expect);
    close_rig(r);
}

static void test_fenced_nothing_goes(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("learn: false"));
    r->is_fenced = true;
    (void)ask(r, "a");
    pass(r, 5000);
    assert_int_equal(r->granted, 0);
    r->is_fenced = false;
    turn(r);
    turn(r);
    assert_int_equal(r->granted, 1);
    close_rig(r);
}

/* --- refusals and outages --------------------------------------------------------------------------------------------- */
static enum task_fault refuse_first(struct call *c, bool *ret_failed)
{
    *ret_failed = c->index == 0 && c->grants == 1;
    return TASK_FAULT_THROTTLE;
}

static void test_a_refusal_closes_and_all_are_told(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("requests_per_minute: 60"));
    r->judge = refuse_first;
    for (int i = 0; i < 5; i++) (void)ask(r, "a");
    pass(r, 3000);
    assert_int_equal(pacer_waiting(r->pacer), 5);
    for (int i = 0; i < 5; i++) assert_string_equal(r->calls[i].told_reason, "closed");
    assert_in_range(r->calls[0].told_until, WALL + 9000, WALL + 12000);
    pass(r, 40000);
    assert_int_equal(pacer_waiting(r->pacer), 0);
    assert_int_equal(r->calls[0].grants, 2);
    close_rig(r);
}

#define TWO_ROUTES                                                                                                       \
    "providers: {main: {kind: openai, base_url: \"http://127.0.0.1:1/v1\"}, other: {kind: openai, base_url: "          \
    "\"http://127.0.0.1:2/v1\"}}\n"                                                                                      \
    "models: {fast: {route: [{provider: main, model: m, context_tokens: 1000}, {provider: other, model: n, context_tokens: " \
    "8000}], failover: [outage, exhausted], budget: {requests_per_minute: 600}}}\n"

static enum task_fault main_is_away(struct call *c, bool *ret_failed)
{
    *ret_failed = strcmp(c->grant.provider->name, "main") == 0;
    return TASK_FAULT_OUTAGE;
}

static size_t granted_by(const struct rig *r, const char *provider)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += (r->calls[i].wait.state == PACER_IDLE || r->calls[i].wait.state == PACER_GRANTED) &&
             strcmp(r->calls[i].grant.provider->name, provider) == 0;
    return n;
}

static void test_an_outage_moves_calls_to_the_next_route_and_back(void **state)
{
    struct rig *r = *state;
    size_t probes = 0;
    open_rig(r, TWO_ROUTES);
    r->judge = main_is_away;
    for (int i = 0; i < 300; i++) (void)ask(r, "a");
    pass(r, 20000);
    assert_int_equal(granted_by(r, "main") + granted_by(r, "other"), r->count - pacer_waiting(r->pacer));
    assert_true(granted_by(r, "other") >= 150);
    for (size_t i = 0; i < r->count; i++) probes += r->calls[i].grants > 1;
    assert_true(probes >= 3 && probes <= 60); /* those that were out when it began, and probes */
    r->judge = NULL; /* it is well again */
    for (int i = 0; i < 600; i++) (void)ask(r, "a");
    pass(r, 90000);
    assert_int_equal(pacer_waiting(r->pacer), 0);
    assert_true(granted_by(r, "main") >= 300);
    close_rig(r);
}

/* Nobody ever waits at the second route, so nobody can be called back: whoever comes next has to try. */
static void test_calls_that_come_seldom_find_the_way_back(void **state)
{
    struct rig *r = *state;
    open_rig(r, TWO_ROUTES);
    r->judge = main_is_away;
    for (int i = 0; i < 30; i++) (void)ask(r, "a");
    pass(r, 4000);
    for (int i = 0; i < 10; i++) {
        (void)ask(r, "a");
        pass(r, 1000);
    }
    r->judge = NULL;
    for (int i = 0; i < 40; i++) {
        (void)ask(r, "a");
        pass(r, 1000);
    }
    assert_int_equal(pacer_waiting(r->pacer), 0);
    assert_string_equal(r->calls[r->count - 1].grant.provider->name, "main");
    close_rig(r);
}

static void test_how_long_a_line_is(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("requests_per_minute: 60") "tenants:\n" TENANT("a", ", tokens_per_day: 100") TENANT("b", ""));
    size_t g = pacer_group_of(r->pacer, VIEW_LIT("fast"));
    assert_int_equal(pacer_group_of(r->pacer, VIEW_LIT("none")), PACER_NO_GROUP);
    assert_false(pacer_is_long(r->pacer, g));
    for (int i = 0; i < 64; i++) pacer_begun(r->pacer, g);
    assert_true(pacer_is_long(r->pacer, g));
    for (int i = 0; i < 64; i++) pacer_over(r->pacer, g);
    for (int i = 0; i < 70; i++) (void)ask(r, "b");
    assert_true(pacer_is_long(r->pacer, g));
    pass(r, 10000);
    assert_false(pacer_is_long(r->pacer, g));
    for (int i = 0; i < 100; i++) (void)ask(r, "a"); /* its day is spent soon: it is in nobody's way */
    pass(r, 6000);
    assert_false(pacer_is_long(r->pacer, g));
    close_rig(r);
}

static enum task_fault all_away(struct call *c, bool *ret_failed)
{
    (void)c;
    *ret_failed = true;
    return TASK_FAULT_OUTAGE;
}

static void test_all_routes_away_waits_and_comes_back(void **state)
{
    struct rig *r = *state;
    size_t tries = 0;
    open_rig(r, TWO_ROUTES);
    r->judge = all_away;
    for (int i = 0; i < 100; i++) (void)ask(r, "a");
    pass(r, 30000);
    assert_int_equal(pacer_waiting(r->pacer) + pacer_in_flight(r->pacer), 100);
    tries = r->granted;
    pass(r, 10000);
    assert_true(r->granted - tries <= 6); /* two routes, a probe each 5 s, and nobody else */
    assert_string_equal(r->calls[99].told_reason, "outage");
    r->judge = NULL;
    pass(r, 40000);
    assert_int_equal(pacer_waiting(r->pacer), 0);
    close_rig(r);
}

static void test_a_request_too_long_for_the_first_route(void **state)
{
    struct rig *r = *state;
    struct pacer_ask a = plain("a");
    open_rig(r, TWO_ROUTES);
    a.counted = 3000;
    const struct call *c = ask_as(r, &a);
    pass(r, 1000);
    assert_int_equal(c->grants, 1);
    assert_int_equal(c->skips, 1);
    assert_string_equal(c->grant.provider->name, "other");
    a.counted = 100000; /* too long for all: the longest says so itself */
    c = ask_as(r, &a);
    pass(r, 1000);
    assert_int_equal(c->grants, 1);
    assert_string_equal(c->grant.provider->name, "other");
    close_rig(r);
}

static void test_a_route_that_finds_it_too_long(void **state)
{
    struct rig *r = *state;
    open_rig(r, TWO_ROUTES);
    r->takes_ms = -1;
    struct call *c = ask(r, "a");
    pass(r, 100);
    assert_string_equal(c->grant.provider->name, "main");
    end_call(c, LIMITER_BROKEN, -1);
    assert_true(pacer_again_longer(&c->wait));
    pass(r, 100);
    assert_string_equal(c->grant.provider->name, "other");
    end_call(c, LIMITER_BROKEN, -1);
    assert_false(pacer_again_longer(&c->wait));
    close_rig(r);
}

static void test_keys_are_pooled(void **state)
{
    struct rig *r = *state;
    size_t by_key[2] = {0, 0};
    setenv("PACER_KEY_1", "a", 1);
    setenv("PACER_KEY_2", "b", 1);
    open_rig(r, "providers: {main: {kind: openai, base_url: \"http://127.0.0.1:1/v1\", api_keys: [{name: one, env: PACER_KEY_1}, "
                "{name: two, env: PACER_KEY_2}]}}\n"
                "models: {fast: {route: [{provider: main, model: m}], budget: {requests_per_minute: 120}}}\n");
    for (int i = 0; i < 400; i++) (void)ask(r, "a");
    pass(r, 60000);
    for (size_t i = 0; i < r->count; i++)
        if (r->calls[i].grants) by_key[r->calls[i].grant.key_index]++;
    assert_in_range(by_key[0], 105, 122);
    assert_in_range(by_key[1], 105, 122);
    close_rig(r);
}

/* --- a tenant's day ----------------------------------------------------------------------------------------------------- */
static void test_a_tenant_s_day_is_spent(void **state)
{
    struct rig *r = *state;
    const int64_t day = 86400000, midnight = (WALL / day + 1) * day;
    r->wall_ms = midnight - 40000;
    open_rig(r, ONE_ROUTE("requests_per_minute: 600") "tenants:\n" TENANT("a", ", tokens_per_day: 1500") TENANT("b", ""));
    for (int i = 0; i < 100; i++) {
        (void)ask(r, "a");
        (void)ask(r, "b");
    }
    pass(r, 30000);
    assert_int_equal(served(r, "b"), 100);
    assert_in_range(served(r, "a"), 10, 30); /* 150 tokens a call; what was out when it was noticed is over */
    size_t had = served(r, "a");
    assert_string_equal(r->calls[198].told_reason, "tenant_budget");
    assert_null(r->calls[198].told_on);
    assert_in_range(r->calls[198].told_until, midnight - 2000, midnight + 2000);
    pass(r, 20000);
    assert_true(served(r, "a") > had);
    r->wall_ms = 0;
    close_rig(r);
}

static void test_a_spent_tenant_that_leaves_and_comes_back(void **state)
{
    struct rig *r = *state;
    const int64_t day = 86400000, midnight = (WALL / day + 1) * day;
    r->wall_ms = midnight - 40000;
    open_rig(r, ONE_ROUTE("requests_per_minute: 600") "tenants:\n" TENANT("a", ", tokens_per_day: 1500"));
    for (int i = 0; i < 100; i++) (void)ask(r, "a");
    pass(r, 30000);
    size_t had = served(r, "a");
    assert_in_range(had, 10, 30);
    for (size_t i = 0; i < 100; i++)
        if (r->calls[i].wait.state == PACER_LINED) pacer_cancel(&r->calls[i].wait);
    pass(r, 100000);
    (void)ask(r, "a");
    pass(r, 5000);
    assert_int_equal(served(r, "a"), had + 1);
    r->wall_ms = 0;
    close_rig(r);
}

/* What a cut reply had made is billed, though nobody says how much: the estimate is counted. */
static void test_a_cut_reply_is_paid_for(void **state)
{
    struct rig *r = *state;
    int64_t tokens = 0, microusd = 0;
    open_rig(r, ONE_ROUTE("learn: false") "tenants:\n" TENANT("a", ""));
    r->takes_ms = -1;
    struct call *c = ask(r, "a");
    pass(r, 2000);
    assert_int_equal(c->grants, 1);
    int64_t guessed = c->wait.place.cost.output;
    assert_true(guessed > 0);
    pacer_done(&c->wait, &(struct pacer_outcome){.end = LIMITER_BROKEN, .input = 100, .output = -1, .retry_after_ms = -1});
    assert_false(usage_today(r->usage, VIEW_LIT("a"), &tokens, &microusd));
    pass(r, 3000);
    assert_true(usage_today(r->usage, VIEW_LIT("a"), &tokens, &microusd));
    assert_int_equal(tokens, 100 + guessed);
    assert_int_equal(microusd, 100 + 2 * guessed);
    close_rig(r);
}

/* Redis takes commands and says nothing: the local share goes on, long before the command's own time limit. */
static void test_a_redis_that_does_not_answer(void **state)
{
    struct rig *r = *state;
    open_rig(r, ONE_ROUTE("requests_per_minute: 600"));
    for (int i = 0; i < 200; i++) (void)ask(r, "a");
    pass(r, 2000);
    size_t before = r->granted;
    r->is_mute = true;
    pass(r, 1500); /* a second till it is believed */
    size_t first = r->granted;
    assert_true(first > before);
    pass(r, 3000);
    assert_in_range(r->granted - first, 18, 26); /* 600 x 0.8 */
    r->is_mute = false;
    turn(r);
    pass(r, 1000);
    close_rig(r);
}

static void test_ceiling_of_the_process(void **state)
{
    struct rig *r = *state;
    r->calls_max = 7;
    open_rig(r, ONE_ROUTE("learn: false"));
    r->calls_max = 10000;
    for (int i = 0; i < 20; i++) (void)ask(r, "a");
    turn(r);
    assert_int_equal(pacer_in_flight(r->pacer), 7);
    pass(r, 2000);
    assert_int_equal(r->granted, 20);
    close_rig(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_limits_all_go_at_once),
                                       cmocka_unit_test(test_a_minute_holds_its_limit_and_all_are_told),
                                       cmocka_unit_test(test_weights_and_classes_share),
                                       cmocka_unit_test(test_a_quiet_tenant_does_not_wait_for_a_burst),
                                       cmocka_unit_test(test_priority_then_age),
                                       cmocka_unit_test(test_fenced_nothing_goes),
                                       cmocka_unit_test(test_a_refusal_closes_and_all_are_told),
                                       cmocka_unit_test(test_an_outage_moves_calls_to_the_next_route_and_back),
                                       cmocka_unit_test(test_calls_that_come_seldom_find_the_way_back),
                                       cmocka_unit_test(test_how_long_a_line_is),
                                       cmocka_unit_test(test_all_routes_away_waits_and_comes_back),
                                       cmocka_unit_test(test_a_request_too_long_for_the_first_route),
                                       cmocka_unit_test(test_a_route_that_finds_it_too_long),
                                       cmocka_unit_test(test_keys_are_pooled),
                                       cmocka_unit_test(test_a_tenant_s_day_is_spent),
                                       cmocka_unit_test(test_a_spent_tenant_that_leaves_and_comes_back),
                                       cmocka_unit_test(test_a_cut_reply_is_paid_for),
                                       cmocka_unit_test(test_a_redis_that_does_not_answer),
                                       cmocka_unit_test(test_ceiling_of_the_process)};
    return cmocka_run_group_tests(tests, start, stop);
}
