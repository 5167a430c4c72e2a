/* LLM replies: recorded streams at every split, refusals by their class, and every way of breaking
 * off. */
#include "consumer/llm.h"
#include "consumer/llm_dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define CHUNK(members)                                                                             \
    "data: "                                                                                       \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," members    \
    "}\n\n"
#define DELTA(delta, finish)                                                                       \
    CHUNK("\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish                \
          "}],\"usage\":null")
#define USAGE                                                                                      \
    CHUNK("\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_"         \
          "tokens\":10}")
#define STREAM                                                                                     \
    DELTA("{\"role\":\"assistant\",\"content\":\"\"}", "null")                                     \
    DELTA("{\"content\":\"Hel\"}", "null")                                                         \
    DELTA("{\"content\":\"lo \\u00e9\\n\"}", "null") DELTA("{}", "\"stop\"") USAGE

static const struct config_provider openai = {.name = "main", .kind = PROVIDER_OPENAI};

struct outcome {
    struct buf text;
    enum llm_verdict verdict;
    struct llm_out last;
    char finish[32];
};

static void take(struct outcome *o, enum llm_verdict v, const struct llm_out *out)
{
    if (out->text.len) buf_put_view(&o->text, out->text);
    if (v == LLM_MORE) return;
    o->verdict = v;
    o->last = *out;
    (void)view_copy(out->finish_reason, o->finish, sizeof o->finish);
}

static void play(struct outcome *o, bool stream, int status, struct view bytes, size_t step,
                 const struct err *end)
{
    struct llm_reply *r = llm_reply_new(&openai, stream);
    const struct http_header heads[] = {{VIEW_LIT("Content-Type"), VIEW_LIT("text/event-stream")},
                                        {VIEW_LIT("Retry-After"), VIEW_LIT("2")}};
    struct llm_out out;

    memset(o, 0, sizeof *o);
    buf_init(&o->text, 1 << 20);
    if (status) llm_reply_head(r, status, heads, 2, 0);
    for (size_t at = 0; at < bytes.len && o->verdict == LLM_MORE; at += step)
        take(o,
             llm_reply_feed(
                 r, view_make(bytes.ptr + at, bytes.len - at < step ? bytes.len - at : step), &out),
             &out);
    if (o->verdict == LLM_MORE) take(o, llm_reply_end(r, end, &out), &out);
    llm_reply_free(r);
}

static void test_stream_at_every_split(void **state)
{
    const struct view sample = VIEW_LIT(STREAM "data: [DONE]\n\n");

    (void)state;
    for (size_t step = 1; step <= sample.len; step++) {
        struct outcome o;

        play(&o, true, 200, sample, step, NULL);
        assert_int_equal(o.verdict, LLM_DONE);
        assert_true(view_eq_str(buf_view(&o.text), "Hello \xc3\xa9\n"));
        assert_int_equal(o.last.usage.input_tokens, 7);
        assert_int_equal(o.last.usage.output_tokens, 3);
        assert_string_equal(o.finish, "stop");
        buf_fini(&o.text);
    }
}

static void expect_fault(bool stream, int status, const char *bytes, const struct err *end,
                         enum task_fault fault)
{
    struct outcome o;

    play(&o, stream, status, view_of(bytes), 7, end);
    assert_int_equal(o.verdict, LLM_FAILED);
    assert_int_equal(o.last.fault, fault);
    assert_null(strstr(o.last.err.text, "SECRET"));
    buf_fini(&o.text);
}

static void test_broken_streams(void **state)
{
    struct err cut = {.code = ERR_UNAVAILABLE, .text = "connection reset"},
               late = {.code = ERR_TIMEOUT, .text = "no byte"};

    (void)state;
    expect_fault(true, 200, STREAM, NULL, TASK_FAULT_BROKEN);
    expect_fault(true, 200, STREAM, &cut, TASK_FAULT_BROKEN);
    expect_fault(true, 200, "data: {\"choices\":[{\"delta\":{\"content\":\"x\n\n", NULL,
                 TASK_FAULT_BROKEN);
    expect_fault(true, 200, "\x01\x02garbage\n\ndata: nonsense\n\n", NULL, TASK_FAULT_BROKEN);
    expect_fault(true, 200,
                 "data: {\"error\":{\"message\":\"SECRET\",\"code\":\"server_is_overloaded\"}}\n\n",
                 NULL, TASK_FAULT_OUTAGE);
    expect_fault(true, 0, "", &late, TASK_FAULT_BROKEN);
    expect_fault(true, 0, "", &cut, TASK_FAULT_OUTAGE);
}

static void test_refusals(void **state)
{
    (void)state;
    expect_fault(true, 429,
                 "{\"error\":{\"message\":\"SECRET\",\"type\":\"requests\",\"code\":\"rate_limit_"
                 "exceeded\"}}",
                 NULL, TASK_FAULT_THROTTLE);
    expect_fault(true, 429,
                 "{\"error\":{\"message\":\"SECRET\",\"type\":\"insufficient_quota\",\"code\":"
                 "\"insufficient_quota\"}}",
                 NULL, TASK_FAULT_EXHAUSTED);
    expect_fault(true, 429, "not json", NULL, TASK_FAULT_THROTTLE);
    expect_fault(false, 500, "", NULL, TASK_FAULT_OVERLOAD);
    expect_fault(false, 503, "{\"error\":{}}", NULL, TASK_FAULT_OUTAGE);
    expect_fault(false, 400,
                 "{\"error\":{\"message\":\"SECRET\",\"code\":\"context_length_exceeded\"}}", NULL,
                 TASK_FAULT_FATAL);
    expect_fault(false, 401, "{}", NULL, TASK_FAULT_FATAL);
}

static void test_whole_reply(void **state)
{
    struct outcome o;

    (void)state;
    play(&o, false, 200,
         VIEW_LIT("{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
                  "\"Hi\"},\"finish_reason\":\"length\"}],"
                  "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}"),
         5, NULL);
    assert_int_equal(o.verdict, LLM_DONE);
    assert_true(view_eq_str(buf_view(&o.text), "Hi"));
    assert_string_equal(o.finish, "length");
    assert_int_equal(o.last.usage.output_tokens, 2);
    buf_fini(&o.text);
    expect_fault(false, 200, "{\"choices\":[]}", NULL, TASK_FAULT_BROKEN);
    expect_fault(false, 200, "[1", NULL, TASK_FAULT_BROKEN);
}

static void test_request(void **state)
{
    char url[] = "https://api.example/v1";
    const struct config_provider provider = {
        .name = "main", .kind = PROVIDER_OPENAI, .base_url = url};
    const struct llm_request q = {
        .provider = &provider,
        .model = VIEW_LIT("gpt"),
        .stream = true,
        .identity = VIEW_LIT("j/s/-/1"),
        .request =
            VIEW_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"0.1\"}],\"max_tokens\":9}")};
    struct llm_wire w;

    (void)state;
    assert_int_equal(llm_wire_init(&w, &q, NULL), ERR_OK);
    assert_true(view_eq_str(buf_view(&w.url), "https://api.example/v1/chat/completions"));
    assert_true(view_eq_str(
        buf_view(&w.body),
        "{\"model\":\"gpt\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"0.1\"}],"
        "\"max_completion_tokens\":9}"));
    assert_string_equal(w.key_header, "Authorization");
    llm_wire_fini(&w);
}

/* --- what the recordings do not show ---------------------------------------------------------- */

static const char hello[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

/* The URL of a request to this provider; it lies under the provider's address. */
static void expect_url(const struct config_provider *p, const char *model, bool stream,
                       const char *url)
{
    const struct llm_request q = {.provider = p,
                                  .model = view_of(model),
                                  .request = view_of(hello),
                                  .stream = stream,
                                  .identity = VIEW_LIT("i")};
    struct llm_wire w;
    struct err err;

    if (llm_wire_init(&w, &q, &err) != ERR_OK) fail_msg("%s", err.text);
    if (!view_eq_str(buf_view(&w.url), url))
        fail_msg("%.*s, not %s", (int)w.url.len, w.url.data, url);
    llm_wire_fini(&w);
}

static void test_a_model_cannot_move_the_address(void **state)
{
    static char base[] = "https://h.example", v1[] = "https://h.example/v1beta",
                root[] = "https://h.example/openai", version[] = "2024-10-21", beta[] = "v1beta",
                versioned[] = "https://h.example/v1";
    const struct config_provider
        azure = {.kind = PROVIDER_AZURE, .base_url = base, .api_version = version},
        azure_root = {.kind = PROVIDER_AZURE, .base_url = root, .api_version = version},
        gemini = {.kind = PROVIDER_GEMINI, .base_url = base, .api_version = beta},
        gemini_v1 = {.kind = PROVIDER_GEMINI, .base_url = v1, .api_version = beta},
        anthropic = {.kind = PROVIDER_ANTHROPIC, .base_url = versioned, .api_version = version};

    (void)state;
    expect_url(&azure, "a/../b?c#d@e", true,
               "https://h.example/openai/deployments/a%2F..%2Fb%3Fc%23d%40e/chat/completions"
               "?api-version=2024-10-21");
    expect_url(&azure_root, "dep", true,
               "https://h.example/openai/deployments/dep/chat/completions?api-version=2024-10-21");
    expect_url(&gemini, "gemini-3-flash", false,
               "https://h.example/v1beta/models/gemini-3-flash:generateContent");
    expect_url(&gemini, "tunedModels/mine", true,
               "https://h.example/v1beta/tunedModels/mine:streamGenerateContent?alt=sse");
    expect_url(&gemini_v1, "m:x y", true,
               "https://h.example/v1beta/models/m%3Ax%20y:streamGenerateContent?alt=sse");
    expect_url(&anthropic, "claude", true, "https://h.example/v1/messages");
}

/* Ours is an hour off; resets by the time of day are taken from the provider's own. */
static void test_the_providers_clock_counts(void **state)
{
    const struct http_header headers[] = {
        {VIEW_LIT("anthropic-ratelimit-requests-reset"), VIEW_LIT("2026-11-25T12:00:05Z")},
        {VIEW_LIT("Date"), VIEW_LIT("Wed, 25 Nov 2026 12:00:00 GMT")}};
    struct llm_reply *r;
    int64_t ours;

    (void)state;
    assert_true(clock_parse(VIEW_LIT("2026-11-25T11:00:00Z"), &ours));
    r = llm_reply_new(&openai, true);
    llm_reply_head(r, 200, headers, 2, ours);
    assert_int_equal(llm_reply_limits(r)->requests.reset_ms, 5000);
    llm_reply_free(r);
    r = llm_reply_new(&openai, true);
    assert_false(llm_reply_limits(r)->is_any);
    llm_reply_head(r, 200, headers, 2, ours + 3600000 + 700); /* the second it is rounded to */
    assert_int_equal(llm_reply_limits(r)->requests.reset_ms, 4300);
    llm_reply_free(r);
}

static void expect_midnight(const char *now, const char *midnight)
{
    int64_t at, then;

    assert_true(clock_parse(view_of(now), &at));
    assert_true(clock_parse(view_of(midnight), &then));
    if (llm_until_pacific_midnight(at) != then - at)
        fail_msg("%s: %lld s", now, (long long)llm_until_pacific_midnight(at) / 1000);
}

static void test_midnight_in_california(void **state)
{
    (void)state;
    expect_midnight("2026-11-25T12:00:00Z", "2026-11-26T08:00:00Z"); /* winter */
    expect_midnight("2026-11-26T07:59:59Z", "2026-11-26T08:00:00Z");
    expect_midnight("2026-11-26T08:00:00Z", "2026-11-27T08:00:00Z");
    expect_midnight("2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"); /* summer */
    expect_midnight("2026-03-08T09:59:00Z", "2026-03-09T08:00:00Z"); /* the hour before it begins */
    expect_midnight("2026-03-08T10:00:00Z", "2026-03-09T07:00:00Z");
    expect_midnight("2026-11-01T08:59:00Z", "2026-11-02T07:00:00Z"); /* and before it ends */
    expect_midnight("2026-11-01T09:00:00Z", "2026-11-02T08:00:00Z");
    expect_midnight("2027-03-14T10:00:00Z", "2027-03-15T07:00:00Z");
}

static void test_ceilings(void **state)
{
    static char mib[1 << 20];
    struct llm_reply *r = llm_reply_new(&openai, false);
    struct llm_out out;
    int n = 0;

    (void)state;
    memset(mib, 'x', sizeof mib);
    llm_reply_head(r, 200, NULL, 0, 0);
    while (llm_reply_feed(r, view_make(mib, sizeof mib), &out) == LLM_MORE) assert_true(++n < 8);
    assert_int_equal(out.fault, TASK_FAULT_BROKEN);
    assert_int_equal(llm_reply_feed(r, view_make(mib, 1), &out), LLM_MORE); /* it is over */
    llm_reply_free(r);

    r = llm_reply_new(&openai, true);
    llm_reply_head(r, 200, NULL, 0, 0);
    assert_int_equal(llm_reply_feed(r, view_make(mib, sizeof mib), &out), LLM_MORE);
    assert_int_equal(llm_reply_feed(r, VIEW_LIT("yy"), &out), LLM_FAILED);
    assert_int_equal(out.fault, TASK_FAULT_BROKEN);
    llm_reply_free(r);

    r = llm_reply_new(&openai, true); /* a refusal of any length is a refusal */
    llm_reply_head(r, 429, NULL, 0, 0);
    for (n = 0; n < 4; n++)
        assert_int_equal(llm_reply_feed(r, view_make(mib, sizeof mib), &out), LLM_MORE);
    assert_int_equal(llm_reply_end(r, NULL, &out), LLM_FAILED);
    assert_int_equal(out.fault, TASK_FAULT_THROTTLE);
    llm_reply_free(r);
}

static void test_a_request_that_is_none(void **state)
{
    static char base[] = "https://h.example";
    const struct config_provider p = {.name = "main", .kind = PROVIDER_GEMINI, .base_url = base};
    struct llm_request q = {.provider = &p, .model = VIEW_LIT("m"), .request = VIEW_LIT("[1]")};
    struct llm_wire w;
    struct err err;

    (void)state;
    assert_int_equal(llm_wire_init(&w, &q, &err), ERR_INVALID);
    llm_wire_fini(&w);
    q.request = VIEW_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"SECRET\"}],"
                         "\"temperature\":\"SECRET\"}");
    assert_int_equal(llm_wire_init(&w, &q, &err), ERR_INVALID);
    assert_string_equal(err.where, "/temperature");
    assert_null(strstr(err.text, "SECRET"));
    llm_wire_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stream_at_every_split),
                                       cmocka_unit_test(test_broken_streams),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_whole_reply),
                                       cmocka_unit_test(test_request),
                                       cmocka_unit_test(test_a_model_cannot_move_the_address),
                                       cmocka_unit_test(test_the_providers_clock_counts),
                                       cmocka_unit_test(test_midnight_in_california),
                                       cmocka_unit_test(test_ceilings),
                                       cmocka_unit_test(test_a_request_that_is_none)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
