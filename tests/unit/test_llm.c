/* LLM replies: recorded streams at every split, refusals by their class, and every way of breaking
 * off. */
#include "consumer/llm.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_at_every_split), cmocka_unit_test(test_broken_streams),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_whole_reply),
        cmocka_unit_test(test_request)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
