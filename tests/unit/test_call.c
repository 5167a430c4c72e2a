/* One paced call against a provider played by hand: what its owner hears, what goes out again and where to, and that whatever
 * happens its budget comes back once. No limits here; those are test_pacer's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "consumer/call.h"
#include "redis_server.h"

enum { OUT_MAX = 16 };

struct http_call { /* one request at the provider */
    bool is_used, is_canceled, is_over;
    struct http_sink sink;
    void *arg;
    char url[200], key[64], body[2000];
    int64_t send_by_ms;
};

struct rig {
    struct rs rs;
    struct clock clock;
    struct timerq *timers;
    struct rng rng;
    struct fn *fn;
    struct config *config;
    struct metrics *metrics;
    struct pacer *pacer;
    struct call_env env;
    struct list owner;
    struct http_call out[OUT_MAX];
    size_t out_count;
    bool refuses; /* the port takes nothing */
    bool may_go;
    int64_t lease_ms;
    /* what the owner heard */
    unsigned started, again, done, failed, skipped;
    char text[500], finish[32];
    struct task_usage usage;
    int64_t microusd;
    struct llm_out out_failed;
    char skipped_step[32];
};

/* --- ports ------------------------------------------------------------------------------------------------------------ */
static struct http_call *http_start(void *self, const struct http_request_out *q, const struct http_sink *sink, void *arg,
                                    struct err *err)
{
    struct rig *r = self;
    struct http_call *h = &r->out[r->out_count];
    if (r->refuses) {
        (void)err_set(err, ERR_FULL, "full");
        return NULL;
    }
    assert_true(r->out_count < OUT_MAX);
    r->out_count++;
    *h = (struct http_call){.is_used = true, .sink = *sink, .arg = arg, .send_by_ms = q->send_by_ms};
    assert_true(view_copy(q->url, h->url, sizeof h->url) && view_copy(q->body, h->body, sizeof h->body));
    for (size_t i = 0; i < q->header_count; i++)
        if (view_ieq_str(q->headers[i].name, "authorization")) (void)view_copy(q->headers[i].value, h->key, sizeof h->key);
    return h;
}

static void http_cancel(void *self, struct http_call *h)
{
    (void)self;
    assert_false(h->is_over);
    h->is_canceled = h->is_over = true;
}

static void head(struct http_call *h, int status)
{
    const struct http_header headers[] = {
        {VIEW_LIT("content-type"), status == 200 ? VIEW_LIT("text/event-stream") : VIEW_LIT("application/json")}};
    assert_false(h->is_over);
    h->sink.on_head(h->arg, status, headers, 1);
}

static void body(struct http_call *h, const char *text)
{
    if (!h->is_over) h->sink.on_body(h->arg, view_of(text));
}

static void end(struct http_call *h, enum err_code code)
{
    struct err e;
    if (h->is_over) return;
    h->is_over = true;
    if (code != ERR_OK) (void)err_set(&e, code, "as it is");
    h->sink.on_end(h->arg, code == ERR_OK ? NULL : &e);
}

static void refuse(struct http_call *h, int status, const char *code)
{
    char text[200];
    snprintf(text, sizeof text, "{\"error\":{\"message\":\"no\",\"type\":\"t\",\"param\":null,\"code\":\"%s\"}}", code);
    head(h, status);
    body(h, text);
    end(h, ERR_OK);
}

static void say(struct http_call *h, const char *word)
{
    char text[200];
    snprintf(text, sizeof text, "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n", word);
    body(h, text);
}

static void finish(struct http_call *h)
{
    body(h, "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
            "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":500}}\n\ndata: [DONE]\n\n");
}

static struct view provider_key(void *arg, const struct config_provider *p, size_t index)
{
    (void)arg, (void)index;
    return strcmp(p->name, "main") == 0 ? VIEW_LIT("key-of-main") : VIEW_LIT("key-of-other");
}

static int64_t send_by(void *arg)
{
    return ((struct rig *)arg)->lease_ms;
}

static bool may_start(void *arg)
{
    (void)arg;
    return true;
}

static void kick(void *arg)
{
    (void)arg;
}

/* --- the owner ---------------------------------------------------------------------------------------------------------- */
static bool may_go(void *arg)
{
    return ((struct rig *)arg)->may_go;
}

static void on_started(void *arg, uint32_t run)
{
    assert_int_equal(run, 7);
    ((struct rig *)arg)->started++;
}

static void on_text(void *arg, uint32_t run, struct view text)
{
    struct rig *r = arg;
    size_t had = strlen(r->text);
    (void)run;
    assert_true(view_copy(text, r->text + had, sizeof r->text - had));
}

static void on_done(void *arg, uint32_t run, struct view finish_reason, struct task_usage usage, int64_t microusd)
{
    struct rig *r = arg;
    (void)run;
    r->done++;
    r->usage = usage;
    r->microusd = microusd;
    (void)view_copy(finish_reason, r->finish, sizeof r->finish);
}

static void on_failed(void *arg, uint32_t run, const struct llm_out *out)
{
    struct rig *r = arg;
    (void)run;
    r->failed++;
    r->out_failed = *out;
}

static void on_again(void *arg, uint32_t run)
{
    (void)run;
    ((struct rig *)arg)->again++;
}

static void on_wait(void *arg, uint32_t run)
{
    (void)arg, (void)run;
}

static void on_skip(void *arg, const struct call_place *place, const struct config_route *route)
{
    struct rig *r = arg;
    r->skipped++;
    assert_string_equal(route->provider, "main");
    snprintf(r->skipped_step, sizeof r->skipped_step, "%s", place->step);
}

static const struct call_sink sink = {.may_go = may_go, .on_started = on_started, .on_text = on_text, .on_done = on_done,
                                      .on_failed = on_failed, .on_again = on_again, .on_wait = on_wait, .on_skip = on_skip};

/* --- the stage ------------------------------------------------------------------------------------------------------------ */
static int start(void **state)
{
    static const char yaml[] =
        "providers:\n"
        "  main: {kind: openai, base_url: \"https://main.example/v1\", api_key_env: MAIN_KEY}\n"
        "  other: {kind: openai, base_url: \"https://other.example/v1\", api_key_env: OTHER_KEY}\n"
        "models:\n"
        "  fast: {route: [{provider: main, model: m, context_tokens: 1000}, {provider: other, model: n, context_tokens: 9000}],\n"
        "         failover: [outage, exhausted, overload],\n"
        "         budget: {learn: false}, price: {input_per_million: 2.0, output_per_million: 10.0}}\n";
    struct rig *r = calloc(1, sizeof *r);
    struct buf errors;
    struct err err;
    buf_init(&errors, 1 << 16);
    const struct config_input in = {.text = view_of(yaml), .name = "t.yaml", .dir = "/", .cwd = "/", .worker_name = "w"};
    assert_int_equal(config_build(&in, &r->config, &errors, &err), ERR_OK);
    buf_fini(&errors);
    r->clock = (struct clock){.mono_ms = 10000, .wall_ms = 1900000000000};
    r->timers = timerq_new(100);
    rs_start(&r->rs);
    r->fn = fn_new(rs_port(&r->rs));
    r->metrics = metrics_new();
    r->may_go = true;
    r->lease_ms = 60000;
    rng_seed(&r->rng, 1);
    list_init(&r->owner);
    const struct pacer_options o = {.fn = r->fn, .config = r->config, .clock = &r->clock, .timers = r->timers, .rng = &r->rng,
                                    .metrics = r->metrics, .incarnation = VIEW_LIT("w:1"), .calls_max = 100,
                                    .may_start = may_start, .kick = kick, .arg = r};
    r->pacer = pacer_new(&o);
    static struct http_port port = {.start = http_start, .cancel = http_cancel};
    port.self = r;
    r->env = (struct call_env){.pacer = r->pacer, .http = &port, .clock = &r->clock, .timers = r->timers,
                               .provider_key = provider_key, .send_by_ms = send_by, .send_by_arg = r};
    call_env_init(&r->env);
    *state = r;
    return r->pacer && r->fn ? 0 : -1;
}

static int stop(void **state)
{
    struct rig *r = *state;
    rs_stop(&r->rs); /* first: a failed assertion must not leave it behind */
    assert_int_equal(r->owner.count, 0);
    assert_int_equal(pacer_in_flight(r->pacer), 0);
    assert_int_equal(pacer_waiting(r->pacer), 0);
    call_env_fini(&r->env);
    pacer_free(r->pacer);
    fn_free(r->fn);
    assert_int_equal(timerq_next_ms(r->timers), INT64_MAX);
    timerq_free(r->timers);
    metrics_free(r->metrics);
    config_free(r->config);
    free(r);
    return 0;
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 4; i++) { /* asks, and uses what the answer brings */
        pacer_pump(r->pacer);
        rs_pump(&r->rs);
    }
    pacer_pump(r->pacer);
}

static void pass(struct rig *r, int64_t ms)
{
    for (int64_t until = r->clock.mono_ms + ms; r->clock.mono_ms < until;) {
        int64_t next = timerq_next_ms(r->timers), at = next < until ? next : until;
        if (at <= r->clock.mono_ms) at = r->clock.mono_ms + 1;
        r->clock.wall_ms += at - r->clock.mono_ms;
        r->clock.mono_ms = at;
        (void)timerq_run(r->timers, at, 100);
        turn(r);
    }
}

static struct call *begin(struct rig *r, const char *request)
{
    struct err err;
    const struct call_ask ask = {.owner = &r->owner,
                                 .run = 7,
                                 .request = view_of(request),
                                 .identity = VIEW_LIT("job/step/-/1"),
                                 .stream = true,
                                 .place = {.step = "step", .item = -1, .attempt = 1},
                                 .timeout_ms = 30000,
                                 .pace = {.model = VIEW_LIT("fast"),
                                          .tenant = VIEW_LIT("acme"),
                                          .workflow = VIEW_LIT("w"),
                                          .step = VIEW_LIT("step"),
                                          .max_tokens = 100}};
    struct call *c = call_new(&r->env, &ask, &sink, r, &err);
    assert_non_null(c);
    turn(r);
    return c;
}

#define HELLO "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":100}"

/* --- what is tested --------------------------------------------------------------------------------------------------------- */
static void test_a_whole_call(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    assert_int_equal(r->started, 1);
    assert_string_equal(r->out[0].url, "https://main.example/v1/chat/completions");
    assert_string_equal(r->out[0].key, "Bearer key-of-main");
    assert_int_equal(r->out[0].send_by_ms, 12000); /* the grant is for now; the lease would hold longer */
    head(&r->out[0], 200);
    say(&r->out[0], "one ");
    say(&r->out[0], "two");
    assert_string_equal(r->text, "");
    pass(r, CALL_TEXT_MS + 1);
    assert_string_equal(r->text, "one two");
    finish(&r->out[0]);
    assert_int_equal(r->done, 1);
    assert_string_equal(r->finish, "stop");
    assert_int_equal(r->usage.input_tokens, 1000);
    assert_int_equal(r->microusd, 1000 * 2 + 500 * 10);
    end(&r->out[0], ERR_OK); /* lingered till then */
}

static void test_the_lease_s_end_is_the_latest_moment(void **state)
{
    struct rig *r = *state;
    r->lease_ms = 10700;
    struct call *c = begin(r, HELLO);
    assert_int_equal(r->out[0].send_by_ms, 10700);
    call_cut(c, false);
    assert_true(r->out[0].is_canceled);
}

static void test_an_outage_goes_to_the_next_route(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    refuse(&r->out[0], 503, "server_is_overloaded");
    assert_int_equal(r->again, 1);
    pass(r, 1);
    assert_int_equal(r->out_count, 2);
    assert_string_equal(r->out[1].url, "https://other.example/v1/chat/completions");
    assert_string_equal(r->out[1].key, "Bearer key-of-other");
    assert_non_null(strstr(r->out[1].body, "\"n\""));
    assert_non_null(strstr(r->out[1].body, "hello"));
    end(&r->out[1], ERR_UNAVAILABLE); /* no connection: all have failed it, so it rests a little */
    assert_int_equal(r->again, 2);
    pass(r, 20);
    assert_int_equal(r->out_count, 2);
    pass(r, 2000);
    assert_int_equal(r->out_count, 3);
    head(&r->out[2], 200);
    say(&r->out[2], "there");
    finish(&r->out[2]);
    assert_int_equal(r->done, 1);
    assert_int_equal(r->failed, 0);
    assert_int_equal(r->started, 3);
    assert_string_equal(r->text, "there");
}

static void test_what_came_after_text_is_a_failure(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    head(&r->out[0], 200);
    say(&r->out[0], "half");
    end(&r->out[0], ERR_UNAVAILABLE);
    assert_int_equal(r->failed, 1);
    assert_int_equal(r->again, 0);
    assert_int_equal(r->out_failed.fault, TASK_FAULT_BROKEN);
    assert_string_equal(r->text, "half");
}

static void test_too_late_was_not_sent(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    end(&r->out[0], ERR_CLOSED);
    assert_int_equal(r->again, 1);
    pass(r, 2000);
    assert_int_equal(r->out_count, 2);
    assert_string_equal(r->out[1].url, r->out[0].url); /* no fault of that route */
    head(&r->out[1], 200);
    finish(&r->out[1]);
    assert_int_equal(r->done, 1);
}

static void test_a_full_port_is_a_wait(void **state)
{
    struct rig *r = *state;
    r->refuses = true;
    struct call *c = begin(r, HELLO);
    assert_int_equal(r->started, 0);
    assert_int_equal(r->failed, 0);
    assert_false(call_is_out(c));
    r->refuses = false;
    pass(r, 2000);
    assert_int_equal(r->started, 1);
    refuse(&r->out[0], 400, "invalid_request");
    assert_int_equal(r->failed, 1);
    assert_int_equal(r->out_failed.fault, TASK_FAULT_FATAL);
}

static void test_too_long_for_one_route_is_tried_by_a_longer_one(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    refuse(&r->out[0], 400, "context_length_exceeded");
    pass(r, 1);
    assert_int_equal(r->out_count, 2);
    assert_string_equal(r->out[1].key, "Bearer key-of-other");
    refuse(&r->out[1], 400, "context_length_exceeded");
    assert_int_equal(r->failed, 1);
}

static void test_an_overload_is_tried_once_by_each_route(void **state)
{
    struct rig *r = *state;
    (void)begin(r, HELLO);
    refuse(&r->out[0], 500, "server_error");
    assert_int_equal(r->again, 1);
    pass(r, 1);
    assert_int_equal(r->out_count, 2);
    assert_string_equal(r->out[1].key, "Bearer key-of-other");
    refuse(&r->out[1], 500, "server_error");
    assert_int_equal(r->failed, 1);
    assert_int_equal(r->out_failed.fault, TASK_FAULT_OVERLOAD);
}

static void test_a_route_known_to_be_too_short_is_left_out(void **state)
{
    struct rig *r = *state;
    char request[8000], words[6000] = "";
    for (size_t i = 0; i + 5 < sizeof words; i += 4) memcpy(words + i, "abc ", 5);
    snprintf(request, sizeof request, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],\"max_tokens\":100}", words);
    struct call *c = NULL;
    struct err err;
    const struct call_ask ask = {.owner = &r->owner, .run = 7, .request = view_of(request), .identity = VIEW_LIT("i"),
                                 .stream = true, .place = {.step = "step", .item = -1, .attempt = 1}, .timeout_ms = 1000,
                                 .pace = {.model = VIEW_LIT("fast"), .tenant = VIEW_LIT("acme"), .workflow = VIEW_LIT("w"),
                                          .step = VIEW_LIT("step"), .max_tokens = 100}};
    c = call_new(&r->env, &ask, &sink, r, &err);
    assert_non_null(c);
    r->refuses = true; /* the request is longer than this test keeps */
    turn(r);
    assert_int_equal(r->skipped, 1);
    assert_string_equal(r->skipped_step, "step");
    call_cut(c, false);
}

static void test_held_until_its_owner_is_sure(void **state)
{
    struct rig *r = *state;
    r->may_go = false;
    struct call *c = begin(r, HELLO);
    assert_int_equal(r->out_count, 0);
    assert_true(call_is_out(c));
    assert_ptr_equal(call_first_held(&r->owner), c);
    call_go(c);
    assert_int_equal(r->out_count, 1);
    call_cut(c, false);
    c = begin(r, HELLO);
    call_cut(c, false); /* held: nothing was sent */
    assert_int_equal(r->out_count, 1);
}

static void test_an_unknown_model(void **state)
{
    struct rig *r = *state;
    struct err err;
    const struct call_ask ask = {.owner = &r->owner, .request = VIEW_LIT(HELLO), .pace = {.model = VIEW_LIT("none")}};
    assert_null(call_new(&r->env, &ask, &sink, r, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_a_whole_call),
                                       TEST(test_the_lease_s_end_is_the_latest_moment),
                                       TEST(test_an_outage_goes_to_the_next_route),
                                       TEST(test_what_came_after_text_is_a_failure),
                                       TEST(test_too_late_was_not_sent),
                                       TEST(test_a_full_port_is_a_wait),
                                       TEST(test_too_long_for_one_route_is_tried_by_a_longer_one),
                                       TEST(test_an_overload_is_tried_once_by_each_route),
                                       TEST(test_a_route_known_to_be_too_short_is_left_out),
                                       TEST(test_held_until_its_owner_is_sure),
                                       TEST(test_an_unknown_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
