/* Calls of the tool against a raw server: what is sent, what is sent again, and what is not. */
#include "tests/unit/cli_stage.h"

struct asked {
    struct stage *stage;
    struct cli_call *call;
    size_t answers, agains;
    int64_t pauses[16];
    char why[256], body[4096];
    int status;
    int64_t retry_after_s;
    struct err away;
    char keys[16][128]; /* the Idempotency-Key of each request */
};

static void on_again(void *arg, const char *why, int64_t pause_ms)
{
    struct asked *a = arg;

    snprintf(a->why, sizeof a->why, "%s", why);
    a->pauses[a->agains++] = pause_ms;
}

static void on_answer(void *arg, const struct cli_answer *r)
{
    struct asked *a = arg;

    a->answers++;
    a->status = r->status;
    a->retry_after_s = r->retry_after_s;
    assert_true(view_copy(r->body, a->body, sizeof a->body));
    if (r->away) a->away = *r->away;
}

static bool is_answered(void *arg)
{
    return ((struct asked *)arg)->answers > 0;
}

static struct cli_call_options options(struct asked *a, const char *method)
{
    return (struct cli_call_options){.server = &a->stage->server,
                                     .method = method,
                                     .path = VIEW_LIT("/v1/jobs"),
                                     .tries = CLI_TRIES,
                                     .on_again = on_again,
                                     .on_answer = on_answer,
                                     .arg = a};
}

/* A submission to its answer. */
static void submit(struct asked *a, struct stage *s,
                   void (*on_request)(struct stage *s, struct stage_conn *c, size_t n))
{
    struct err err;

    *a = (struct asked){.stage = s};
    s->on_request = on_request;
    s->arg = a;
    struct cli_call_options o = options(a, "POST");
    o.body = VIEW_LIT("{\"workflow\":\"hello\"}");
    o.idempotency = VIEW_LIT("\"k-1\"");
    a->call = cli_call_new(&o, &err);
    assert_non_null(a->call);
    rig_wait(&s->rig, is_answered, a);
    cli_call_free(a->call);
    assert_int_equal(a->answers, 1);
}

static void take_key(struct stage *s, size_t n)
{
    struct asked *a = s->arg;
    const char *at = strstr(s->last, "Idempotency-Key: ");

    assert_non_null(at);
    (void)sscanf(at, "%127[^\r]", a->keys[n]);
}

static void answer_accepted(struct stage *s, struct stage_conn *c, size_t n)
{
    take_key(s, n);
    stage_answer(c, 202, "", "{\"id\":\"x\"}");
}

static void test_a_submission(void **state)
{
    struct stage *s = *state;
    struct asked a;

    submit(&a, s, answer_accepted);
    assert_int_equal(a.status, 202);
    assert_string_equal(a.body, "{\"id\":\"x\"}");
    assert_int_equal(a.agains, 0);
    assert_true(view_starts(view_of(s->last), "POST /v1/jobs HTTP/1.1\r\n"));
    assert_true(stage_heard(s, "\r\nAuthorization: Bearer sk-test\r\n"));
    assert_true(stage_heard(s, "\r\nContent-Type: application/json\r\n"));
    assert_true(stage_heard(s, "\r\n\r\n{\"workflow\":\"hello\"}"));
    assert_string_equal(a.keys[0], "Idempotency-Key: \"k-1\"");
}

static void answer_later(struct stage *s, struct stage_conn *c, size_t n)
{
    take_key(s, n);
    if (n == 0)
        stage_answer(c, 503, "", "{}");
    else if (n == 1)
        stage_answer(c, 503, "Retry-After: 7\r\n", "{}");
    else if (n == 2)
        stage_close(c); /* took it, and died before it answered */
    else if (n == 3)
        stage_answer(c, 502, "", "<html>");
    else
        stage_answer(c, 202, "", "{\"id\":\"x\"}");
}

/* Whatever happens on the way, it is the same request under the same key. */
static void test_it_is_sent_again_under_the_same_key(void **state)
{
    struct stage *s = *state;
    struct asked a;

    submit(&a, s, answer_later);
    assert_int_equal(a.status, 202);
    assert_int_equal(s->requests, 5);
    assert_int_equal(a.agains, 4);
    for (int i = 0; i < 5; i++) assert_string_equal(a.keys[i], "Idempotency-Key: \"k-1\"");
    assert_in_range(a.pauses[0], 180, 330);
    assert_in_range(a.pauses[1], 7000, 7000);
    assert_in_range(a.pauses[2], 750, 1260);
    assert_string_equal(a.why, "the server answered 502");
}

static void answer_unavailable(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_answer(c, 503, "Retry-After: 1\r\n", "{\"code\":\"unavailable\"}");
}

static void answer_far(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_answer(c, 503, "Retry-After: 3600\r\n", "{}");
}

static void answer_refused(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_answer(c, 422, "", "{\"code\":\"invalid_input\"}");
}

static void test_when_it_gives_up(void **state)
{
    struct stage *s = *state;
    struct asked a;

    submit(&a, s, answer_unavailable);
    assert_int_equal(a.status, 503);
    assert_int_equal(a.retry_after_s, 1);
    assert_int_equal(a.away.code, ERR_OK);
    assert_int_equal(s->requests, CLI_TRIES);
    s->requests = 0;
    submit(&a, s, answer_far); /* nobody waits an hour in front of it */
    assert_int_equal(a.status, 503);
    assert_int_equal(s->requests, 1);
    s->requests = 0;
    submit(&a, s, answer_refused);
    assert_int_equal(a.status, 422);
    assert_string_equal(a.body, "{\"code\":\"invalid_input\"}");
    assert_int_equal(s->requests, 1);
}

static void test_nobody_there(void **state)
{
    struct stage *s = *state;
    struct asked a;

    stage_stop_listening(s);
    submit(&a, s, answer_refused);
    assert_int_equal(a.away.code, ERR_UNAVAILABLE);
    assert_int_equal(a.agains, CLI_TRIES - 1);
    assert_null(strstr(a.why, "sk-test"));
}

static void answer_garbage(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_say(c, "SSH-2.0-OpenSSH_9.2\r\n");
    stage_close(c);
}

static void test_not_http(void **state)
{
    struct stage *s = *state;
    struct asked a;

    submit(&a, s, answer_garbage);
    assert_true(a.away.code == ERR_PROTOCOL || a.away.code == ERR_UNAVAILABLE);
}

static void answer_never(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    (void)c;
}

static bool is_asked(void *arg)
{
    return ((struct stage *)arg)->requests > 0;
}

static bool is_pausing(void *arg)
{
    return ((struct asked *)arg)->agains > 0;
}

/* Freed while it waits for an answer, and between tries: nothing comes any more. */
static void test_freed_in_the_middle(void **state)
{
    struct stage *s = *state;
    struct asked a = {.stage = s};
    struct err err;
    const struct cli_call_options o = options(&a, "GET");

    s->on_request = answer_never;
    a.call = cli_call_new(&o, &err);
    rig_wait(&s->rig, is_asked, s);
    cli_call_free(a.call);
    s->on_request = answer_unavailable;
    a.call = cli_call_new(&o, &err);
    rig_wait(&s->rig, is_pausing, &a);
    cli_call_free(a.call);
    size_t requests = s->requests;
    rig_pass(&s->rig, 50);
    assert_int_equal(a.answers, 0);
    assert_int_equal(s->requests, requests);
    cli_call_free(NULL);
}

static void test_pauses(void **state)
{
    struct rng rng;
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    rng_seed(&rng, 1);
    for (int i = 0; i < 2000; i++) {
        int64_t ms = cli_pause_ms(1000, 15000, 1, 0, &rng);
        if (ms < least) least = ms;
        if (ms > most) most = ms;
    }
    assert_in_range(least, 750, 760);
    assert_in_range(most, 1240, 1250);
    for (int i = 0; i < 100; i++) {
        assert_in_range(cli_pause_ms(1000, 15000, 4, 0, &rng), 6000, 10000);
        assert_in_range(cli_pause_ms(1000, 15000, 4000000000u, 0, &rng), 11250, 18750);
        assert_int_equal(cli_pause_ms(1000, 15000, 1, 60000, &rng), 60000);
        assert_in_range(cli_pause_ms(0, 15000, 1, 0, &rng), 1, 2);
    }
}

static void test_retry_after(void **state)
{
    struct http_header h[] = {{VIEW_LIT("Content-Type"), VIEW_LIT("x")},
                              {VIEW_LIT("retry-after"), VIEW_LIT(" 7 ")}};

    (void)state;
    assert_int_equal(cli_retry_after_s(h, 2), 7);
    assert_int_equal(cli_retry_after_s(h, 1), 0);
    h[1].value = VIEW_LIT("Wed, 21 Oct 2026 07:28:00 GMT");
    assert_int_equal(cli_retry_after_s(h, 2), 0);
    h[1].value = VIEW_LIT("99999999999999");
    assert_int_equal(cli_retry_after_s(h, 2), INT32_MAX);
    h[1].value = VIEW_LIT("-1");
    assert_int_equal(cli_retry_after_s(h, 2), 0);
}

static int setup(void **state)
{
    *state = stage_new();
    return 0;
}

static int teardown(void **state)
{
    stage_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_submission, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_is_sent_again_under_the_same_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_when_it_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_http, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freed_in_the_middle, setup, teardown),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_retry_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
