/* Topics: names, what is followed together, delay tiers, policies. */
#include "schemas/topics.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void names_are_those_of_the_design(void **state)
{
    (void)state;
    static const char *const want[TOPIC_COUNT] = {"sluice.jobs.interactive",
                                                  "sluice.jobs.bulk",
                                                  "sluice.cont",
                                                  "sluice.delay.5s",
                                                  "sluice.delay.30s",
                                                  "sluice.delay.2m",
                                                  "sluice.delay.10m",
                                                  "sluice.delay.1h",
                                                  "sluice.delay.6h",
                                                  "sluice.spill.interactive",
                                                  "sluice.spill.bulk",
                                                  "sluice.state",
                                                  "sluice.dlq",
                                                  "sluice.control"};
    struct topics t;
    enum topic got;
    assert_true(topics_init(&t, "sluice."));
    for (int i = 0; i < TOPIC_COUNT; i++) {
        assert_string_equal(t.names[i], want[i]);
        assert_true(topics_parse(&t, view_of(want[i]), &got));
        assert_int_equal(got, i);
    }
    assert_false(topics_parse(&t, VIEW_LIT("sluice.jobs"), &got));
    assert_false(topics_parse(&t, VIEW_LIT("jobs.bulk"), &got));
    assert_false(topics_parse(&t, VIEW_LIT(""), &got));
}

static void prefixes_are_checked(void **state)
{
    (void)state;
    struct topics t;
    char longest[TOPIC_NAME_MAX + 1];
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_true(topics_init(&t, ""));
    assert_string_equal(t.names[TOPIC_STATE], "state");
    assert_true(topics_init(&t, "A-z_0."));
    assert_false(topics_init(&t, "a b"));
    assert_false(topics_init(&t, "a/"));
    assert_false(topics_init(&t, "\xc3\xa4"));
    assert_false(topics_init(&t, longest));
    longest[TOPIC_NAME_MAX - 1 - strlen("spill.interactive")] = '\0';
    assert_true(topics_init(&t, longest));
}

static void tiers_are_the_largest_that_fit(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        enum topic want;
    } cases[] = {
        {-1, TOPIC_COUNT},         {0, TOPIC_COUNT},           {4999, TOPIC_COUNT},
        {5000, TOPIC_DELAY_5S},    {29999, TOPIC_DELAY_5S},    {30000, TOPIC_DELAY_30S},
        {119999, TOPIC_DELAY_30S}, {120000, TOPIC_DELAY_2M},   {600000, TOPIC_DELAY_10M},
        {3600000, TOPIC_DELAY_1H}, {21600000, TOPIC_DELAY_6H}, {INT64_MAX, TOPIC_DELAY_6H}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(topic_delay_tier(cases[i].ms), cases[i].want);
    for (int t = 0; t < TOPIC_COUNT; t++) {
        bool is_delay = t >= TOPIC_DELAY_5S && t <= TOPIC_DELAY_6H;
        assert_int_equal(topic_delay_ms((enum topic)t) > 0, is_delay);
    }
}

static void policies_keep_what_is_needed(void **state)
{
    (void)state;
    const int64_t day = INT64_C(86400000);
    for (int i = 0; i < TOPIC_COUNT; i++) {
        struct topic_policy p = topic_policy((enum topic)i);
        bool is_control = i == TOPIC_CONTROL;
        assert_string_equal(p.cleanup, is_control ? "compact" : "delete");
        assert_int_equal(p.one_partition, is_control);
        assert_true(is_control ? p.retention_ms == -1 : p.retention_ms >= 14 * day);
    }
    assert_int_equal(topic_policy(TOPIC_STATE).retention_ms, 30 * day);
    assert_int_equal(topic_policy(TOPIC_DELAY_6H).retention_ms, 30 * day);
    assert_int_equal(topic_policy(TOPIC_JOBS_BULK).retention_ms, 14 * day);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_of_the_design),
        cmocka_unit_test(prefixes_are_checked),
        cmocka_unit_test(tiers_are_the_largest_that_fit),
        cmocka_unit_test(policies_keep_what_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
