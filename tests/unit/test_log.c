/* Log lines: their shape, their ceiling, and the rule that holds repeated complaints back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/log.h"

struct sink {
    char last[8192];
    size_t lines;
    struct clock clock;
    struct log *log;
};

static void sink_line(void *arg, struct view line)
{
    static const struct json_limits limits = {8192, 4, 100};
    struct sink *s = arg;
    assert_true(line.len <= 4096);
    assert_int_equal(line.ptr[line.len - 1], '\n');
    assert_null(memchr(line.ptr, '\n', line.len - 1));
    assert_int_equal(json_check(line, &limits, NULL), ERR_OK);
    memcpy(s->last, line.ptr, line.len - 1);
    s->last[line.len - 1] = '\0';
    s->lines++;
}

static void sink_open(struct sink *s, enum log_level floor)
{
    memset(s, 0, sizeof *s);
    s->clock = (struct clock){.mono_ms = 5000, .wall_ms = 1795553743123};
    s->log = log_new("gateway", floor, &s->clock, sink_line, s);
    assert_non_null(s->log);
}

static void test_shape(void **state)
{
    (void)state;
    struct sink s;
    sink_open(&s, LOG_INFO);
    log_event(s.log, LOG_INFO, VIEW_LIT("01a2"), "job_done", LOG_S("status", "succeeded"),
              LOG_N("ms", -12), LOG_R("cost", 0.1), LOG_V("none", VIEW_NONE),
              LOG_V("quote", VIEW_LIT("a\"\n\xff")));
    assert_string_equal(
        s.last, "{\"ts\":\"2026-11-24T20:55:43.123Z\",\"level\":\"info\",\"program\":\"gateway\","
                "\"job\":\"01a2\",\"event\":\"job_done\",\"status\":\"succeeded\",\"ms\":-12,"
                "\"cost\":0.1,\"none\":null,\"quote\":\"a\\\"\\n\xEF\xBF\xBD\"}");
    log_event(s.log, LOG_ERROR, VIEW_NONE, "plain");
    assert_string_equal(
        s.last, "{\"ts\":\"2026-11-24T20:55:43.123Z\",\"level\":\"error\",\"program\":\"gateway\","
                "\"event\":\"plain\"}");
    log_event(s.log, LOG_DEBUG, VIEW_NONE, "below");
    assert_int_equal(s.lines, 2);
    log_free(s.log);
    assert_int_equal(s.lines, 2);
    log_event(NULL, LOG_ERROR, VIEW_NONE, "nobody");
    log_free(NULL);
}

/* Whatever the fields hold, the line is bounded, is JSON (the sink checks) and says that it was
 * cut. */
static void test_ceiling(void **state)
{
    (void)state;
    static char long_text[20000];
    struct sink s;
    sink_open(&s, LOG_DEBUG);
    memset(long_text, 'x', sizeof long_text - 1);
    log_event(s.log, LOG_INFO, VIEW_NONE, "one", LOG_S("text", long_text), LOG_N("after", 1));
    assert_non_null(strstr(s.last, "x\",\"after\":1,\"cut\":true}"));
    log_event(s.log, LOG_INFO, view_of(long_text), long_text, LOG_S("a", long_text),
              LOG_S("b", long_text), LOG_S("c", long_text), LOG_S("d", long_text), LOG_N("n", 1));
    assert_non_null(strstr(s.last, "\"cut\":true}"));
    assert_non_null(strstr(s.last, "\"n\":1"));
    for (size_t len = 900; len < 1100; len++) {
        for (size_t i = 0; i < len; i++) long_text[i] = (char)"\xC3\xA9"[i % 2];
        log_event(s.log, LOG_INFO, VIEW_NONE, "e",
                  LOG_V("u", view_make(long_text, len & ~(size_t)1)));
        assert_null(strstr(s.last, "\xEF\xBF\xBD")); /* no half characters */
    }
    memset(long_text, 1, 1000); /* every byte becomes six */
    for (size_t len = 0; len < 1000; len++)
        log_event(s.log, LOG_INFO, VIEW_NONE, "c", LOG_V("u", view_make(long_text, len)),
                  LOG_S("v", "w"));
    log_free(s.log);
}

static void test_suppress(void **state)
{
    (void)state;
    struct sink s;
    sink_open(&s, LOG_INFO);
    for (int i = 0; i < 1000; i++) log_event(s.log, LOG_WARN, VIEW_NONE, "redis_down");
    assert_int_equal(s.lines, LOG_BURST);
    log_event(s.log, LOG_ERROR, VIEW_NONE, "kafka_down"); /* another event has its own count */
    assert_int_equal(s.lines, LOG_BURST + 1);
    for (int i = 0; i < 1000; i++)
        log_event(s.log, LOG_INFO, VIEW_NONE, "job_done"); /* never held back */
    assert_int_equal(s.lines, LOG_BURST + 1001);
    s.clock.mono_ms = 6000;
    s.lines = 0;
    log_event(s.log, LOG_DEBUG, VIEW_NONE, "below the floor, but time goes on");
    assert_int_equal(s.lines, 1);
    assert_non_null(
        strstr(s.last, "\"event\":\"suppressed\",\"of\":\"redis_down\",\"count\":980}"));
    log_event(s.log, LOG_WARN, VIEW_NONE, "redis_down");
    assert_int_equal(s.lines, 2);
    for (int i = 0; i < LOG_BURST; i++) log_event(s.log, LOG_WARN, VIEW_NONE, "redis_down");
    s.lines = 0;
    log_free(s.log); /* told at the end too */
    assert_int_equal(s.lines, 1);
    assert_non_null(strstr(s.last, "\"count\":1}"));
}

/* More different events than the table has rows: the rest share the last row. */
static void test_suppress_table_is_bounded(void **state)
{
    (void)state;
    struct sink s;
    char name[80];
    sink_open(&s, LOG_INFO);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "event_with_a_rather_long_name_that_is_cut_by_the_table_%d", i);
        log_event(s.log, LOG_WARN, VIEW_NONE, name);
    }
    assert_int_equal(s.lines, LOG_BURST); /* equal in their first 47 bytes */
    s.clock.mono_ms = 9000;
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "e%d", i);
        log_event(s.log, LOG_WARN, VIEW_NONE, name);
    }
    assert_int_equal(s.lines, LOG_BURST + 1 + 63 + LOG_BURST);
    s.clock.mono_ms = 10000;
    log_event(s.log, LOG_INFO, VIEW_NONE, "turn");
    assert_int_equal(s.lines, LOG_BURST + 1 + 63 + LOG_BURST + 2);
    log_free(s.log);
}

static void test_levels(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_true(log_level_parse(VIEW_LIT("debug"), &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_true(log_level_parse(VIEW_LIT("error"), &level));
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_level_parse(VIEW_LIT("ERROR"), &level));
    assert_false(log_level_parse(VIEW_NONE, &level));
    assert_int_equal(level, LOG_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),    cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_suppress), cmocka_unit_test(test_suppress_table_is_bounded),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
