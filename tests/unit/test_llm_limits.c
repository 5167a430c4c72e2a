/* Headers of limits: every provider's, and every way of getting them wrong. */
#include "consumer/llm_limits.h"

#include "common/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW "2026-11-25T12:00:00Z"

static int64_t now_ms(void)
{
    int64_t ms;

    assert_true(clock_parse(VIEW_LIT(NOW), &ms));
    return ms;
}

/* "name: value" pairs, NULL at the end, read in this order; and, for the check that order does not
 * matter, in the opposite one. */
static struct llm_limits read_all(const char *const *lines, bool backwards)
{
    struct llm_limits l;
    size_t count = 0;

    llm_limits_init(&l);
    while (lines[count]) count++;
    for (size_t i = 0; i < count; i++) {
        struct view name, value;

        assert_true(view_cut(view_of(lines[backwards ? count - 1 - i : i]), ':', &name, &value));
        llm_limits_header(&l, name, view_trim(value), now_ms());
    }
    return l;
}

#define LINES(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void expect(const struct llm_limit *l, int64_t limit, int64_t remaining, int64_t reset_ms)
{
    assert_int_equal(l->limit, limit);
    assert_int_equal(l->remaining, remaining);
    assert_int_equal(l->reset_ms, reset_ms);
}

static void expect_nothing(const char *line)
{
    struct llm_limits l = read_all(LINES(line), false);

    if (l.is_any || l.retry_after_ms != -1) fail_msg("believed: %s", line);
}

static void openai(void **state)
{
    (void)state;
    struct llm_limits l = read_all(
        LINES("x-ratelimit-limit-requests: 500", "X-RateLimit-Remaining-Requests: 499",
              "x-ratelimit-reset-requests: 6m0s", "x-ratelimit-limit-tokens: 200000",
              "x-ratelimit-remaining-tokens: 1", "x-ratelimit-reset-tokens: 1m30.5s",
              "x-ratelimit-limit-input-tokens: 10", "x-ratelimit-reset-output-tokens: 12ms",
              "x-ratelimit-remaining-input-images: 5", "x-ratelimit-limit-tokens_usage_based: 5",
              "x-request-id: req"),
        false);

    expect(&l.requests, 500, 499, 360000);
    expect(&l.tokens, 200000, 1, 90500);
    expect(&l.input, 10, -1, -1);
    expect(&l.output, -1, -1, 12);
    assert_true(l.is_any);
    assert_int_equal(l.retry_after_ms, -1);
}

/* tokens and project-tokens bind together: the lesser of each. */
static void the_project_binds_too(void **state)
{
    static const char *const lines[] = {"x-ratelimit-limit-tokens: 2000000",
                                        "x-ratelimit-remaining-tokens: 5000",
                                        "x-ratelimit-reset-tokens: 20s",
                                        "x-ratelimit-limit-project-tokens: 100000",
                                        "x-ratelimit-remaining-project-tokens: 90",
                                        "x-ratelimit-reset-project-tokens: 55s",
                                        NULL};

    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct llm_limits l = read_all(lines, backwards);

        expect(&l.tokens, 100000, 90, 55000);
    }
}

static void anthropic(void **state)
{
    (void)state;
    struct llm_limits l = read_all(
        LINES("anthropic-ratelimit-requests-limit: 50", "anthropic-ratelimit-requests-remaining: 0",
              "anthropic-ratelimit-requests-reset: 2026-11-25T12:00:01.200Z",
              "anthropic-ratelimit-tokens-limit: 60500",
              "anthropic-ratelimit-tokens-remaining: 61000", /* rounded to the thousand */
              "anthropic-ratelimit-input-tokens-limit: 50000",
              "anthropic-ratelimit-output-tokens-remaining: 7000",
              "anthropic-ratelimit-output-tokens-reset: 2026-11-25T13:00:30+01:00",
              "Retry-After: 12"),
        false);

    expect(&l.requests, 50, 0, 1200);
    expect(&l.tokens, 60500, 60500, -1);
    expect(&l.input, 50000, -1, -1);
    expect(&l.output, -1, 7000, 30000);
    assert_int_equal(l.retry_after_ms, 12000);
}

static void azure(void **state)
{
    (void)state;
    struct llm_limits l =
        read_all(LINES("x-ratelimit-remaining-requests: 3", "x-ratelimit-remaining-tokens: -1",
                       "retry-after: 26", "retry-after-ms: 25871.5"),
                 false);

    expect(&l.requests, -1, 3, -1);
    expect(&l.tokens, -1, -1, -1);
    assert_int_equal(l.retry_after_ms, 25872);
    l = read_all(LINES("retry-after-ms: 10", "retry-after: 26"), false);
    assert_int_equal(l.retry_after_ms, 10);
}

/* A request was served, so a limit of 0 is none; what comes with it falls, too. */
static void a_limit_of_zero_is_none(void **state)
{
    static const char *const lines[] = {"x-ratelimit-limit-requests: 0",
                                        "x-ratelimit-remaining-requests: 0",
                                        "x-ratelimit-reset-requests: 60s",
                                        "x-ratelimit-limit-tokens: -1",
                                        "x-ratelimit-remaining-tokens: 0",
                                        "x-ratelimit-remaining-input-tokens: 7",
                                        NULL};

    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct llm_limits l = read_all(lines, backwards);

        expect(&l.requests, -1, -1, -1);
        expect(&l.tokens, -1, -1, -1);
        expect(&l.input, -1, 7, -1);
    }
}

static void contradictions(void **state)
{
    static const char *const more[] = {"x-ratelimit-limit-requests: 10",
                                       "x-ratelimit-remaining-requests: 5000", NULL};
    static const char *const twice[] = {
        "x-ratelimit-remaining-requests: 50", "x-ratelimit-remaining-requests: 40",
        "x-ratelimit-reset-requests: 5s", "x-ratelimit-reset-requests: 9s", NULL};

    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        struct llm_limits l = read_all(more, backwards);

        expect(&l.requests, 10, -1, -1);
        l = read_all(twice, backwards);
        expect(&l.requests, -1, 40, 9000);
    }
}

static void draft(void **state)
{
    (void)state;
    struct llm_limits l = read_all(
        LINES("RateLimit-Policy: \"minute\";q=100;w=60,\"burst\";q=5;w=1, "
              "\"tokens\";q=90000;qu=\"acme-tokens\";w=60;pk=:YQ==:",
              "RateLimit: \"minute\";r=50;t=30, \"burst\";r=60;t=1,\"a, \";r=70,\"tokens\";r=9;t=2",
              "ratelimit: \"files\";r=0;t=9;qu=\"content-bytes\""),
        false);

    expect(&l.requests, 100, 50, 30000);
    expect(&l.tokens, 90000, 9, 2000);
    expect_nothing("RateLimit: r=5");
    expect_nothing("RateLimit: \"x\"");
    expect_nothing("RateLimit: \"x;r=5");
    expect_nothing("RateLimit: \"x\";r=-5;t=3");
    expect_nothing("RateLimit: \"x\";r=5.5");
    expect_nothing("RateLimit-Policy: \"hour\";q=5;w=3600");
    expect_nothing("RateLimit-Policy: \"x\";q=0;w=60");
    expect_nothing("RateLimit-Limit: 5");
}

static int64_t reset_of(const char *text)
{
    char line[128];

    snprintf(line, sizeof line, "x-ratelimit-reset-tokens: %s", text);
    return read_all(LINES(line), false).tokens.reset_ms;
}

static void resets(void **state)
{
    char epoch[32];

    (void)state;
    assert_int_equal(reset_of("0"), 0);
    assert_int_equal(reset_of("0s"), 0);
    assert_int_equal(reset_of("59.7s"), 59700);
    assert_int_equal(reset_of("12.5"), 12500);
    assert_int_equal(reset_of(".5"), 500);
    assert_int_equal(reset_of("2026-11-25T12:00:05Z"), 5000);
    assert_int_equal(reset_of("2026-11-25T11:59:30Z"), 0); /* the clocks differ */
    assert_int_equal(reset_of("2026-11-25T11:50:00Z"), -1);
    snprintf(epoch, sizeof epoch, "%lld", (long long)now_ms() / 1000 + 7);
    assert_int_equal(reset_of(epoch), 7000);
    snprintf(epoch, sizeof epoch, "%lld", (long long)now_ms() + 1500);
    assert_int_equal(reset_of(epoch), 1500);
    /* a year, a century: capped */
    assert_int_equal(reset_of("8760h0m0s"), LLM_RESET_TOKENS_MAX_MS);
    assert_int_equal(reset_of("2027-11-25T12:00:00Z"), LLM_RESET_TOKENS_MAX_MS);
    assert_int_equal(reset_of("999999999"), LLM_RESET_TOKENS_MAX_MS);
    assert_int_equal(read_all(LINES("x-ratelimit-reset-requests: 30h"), false).requests.reset_ms,
                     LLM_RESET_REQUESTS_MAX_MS);
    /* nonsense */
    static const char *const bad[] = {"",      "-5s",  "5 s",  "soon", "1e3",
                                      "1.2.3", "NaN",  "+5",   "1.",   "99999999999999999999",
                                      "5x",    "0x10", "12:30"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (reset_of(bad[i]) != -1) fail_msg("believed: %s", bad[i]);
}

static void counts_that_are_none(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "1.5",
                                      "1e6",
                                      "many",
                                      "0x10",
                                      "10 k",
                                      "1,000",
                                      "+5",
                                      "99999999999999",
                                      "9223372036854775808"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[128];

        snprintf(line, sizeof line, "x-ratelimit-remaining-requests: %s", bad[i]);
        expect_nothing(line);
    }
    expect_nothing("x-ratelimit-: 5");
    expect_nothing("x-ratelimit-limit: 5");
    expect_nothing("x-ratelimit-limit-: 5");
    expect_nothing("x-ratelimit-more-requests: 5");
    expect_nothing("anthropic-ratelimit-: 5");
    expect_nothing("anthropic-ratelimit-limit: 5");
    expect_nothing("anthropic-ratelimit--limit: 5");
    expect_nothing("anthropic-ratelimit-a-name-that-is-longer-than-any-that-was-ever-seen-here-"
                   "limit: 5");
}

static int64_t retry_of(const char *text)
{
    char line[128];

    snprintf(line, sizeof line, "Retry-After: %s", text);
    return read_all(LINES(line), false).retry_after_ms;
}

static void retry_after(void **state)
{
    (void)state;
    assert_int_equal(retry_of("0"), 0);
    assert_int_equal(retry_of("20"), 20000);
    assert_int_equal(retry_of("0.25"), 250);
    assert_int_equal(retry_of("Wed, 25 Nov 2026 12:00:07 GMT"), 7000);
    assert_int_equal(retry_of("Wed, 25 Nov 2026 11:59:50 GMT"), 0);
    assert_int_equal(retry_of("Wed, 25 Nov 2026 10:00:00 GMT"), -1);
    assert_int_equal(retry_of("86400"), 86400000);
    assert_int_equal(retry_of("86401"), -1);
    assert_int_equal(retry_of("Thu, 25 Nov 2027 12:00:00 GMT"), -1);
    assert_int_equal(retry_of("-5"), -1);
    assert_int_equal(retry_of("1m"), -1);
    assert_int_equal(retry_of("Wed, 25 Foo 2026 12:00:07 GMT"), -1);
    assert_int_equal(retry_of("Wed, 25 Nov 2026 12:00:07 CET"), -1);
    assert_int_equal(retry_of(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(openai),
                                       cmocka_unit_test(the_project_binds_too),
                                       cmocka_unit_test(anthropic),
                                       cmocka_unit_test(azure),
                                       cmocka_unit_test(a_limit_of_zero_is_none),
                                       cmocka_unit_test(contradictions),
                                       cmocka_unit_test(draft),
                                       cmocka_unit_test(resets),
                                       cmocka_unit_test(counts_that_are_none),
                                       cmocka_unit_test(retry_after)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
