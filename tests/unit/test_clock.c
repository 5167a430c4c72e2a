/* Time as text: against libc's calendar, at the edges, and everything that is not a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/rng.h"

static void check_format(int64_t ms, const char *want)
{
    char text[CLOCK_TEXT];
    int64_t back = -1;
    clock_format(ms, text);
    assert_string_equal(text, want);
    assert_true(clock_parse(view_of(text), &back));
    assert_true(back == ms);
}

static void test_format(void **state)
{
    (void)state;
    check_format(0, "1970-01-01T00:00:00.000Z");
    check_format(1795553743123, "2026-11-24T20:55:43.123Z");
    check_format(951782400000, "2000-02-29T00:00:00.000Z");
    check_format(4107542399999, "2100-02-28T23:59:59.999Z");
    check_format(4107542400000, "2100-03-01T00:00:00.000Z");
    check_format(-1, "1969-12-31T23:59:59.999Z");
    check_format(-62167219200000, "0000-01-01T00:00:00.000Z");
    check_format(253402300799999, "9999-12-31T23:59:59.999Z");
    char text[CLOCK_TEXT];
    clock_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    clock_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
}

static void test_against_libc(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 6);
    for (int i = 0; i < 20000; i++) {
        int64_t ms = (int64_t)rng_below(&r, 315569520000000) - 62167219200000;
        time_t seconds = (time_t)((ms - ((ms % 1000) + 1000) % 1000) / 1000);
        struct tm tm;
        char want[80], text[CLOCK_TEXT];
        gmtime_r(&seconds, &tm);
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                 (int)(((ms % 1000) + 1000) % 1000));
        clock_format(ms, text);
        assert_string_equal(text, want);
        int64_t back;
        assert_true(clock_parse(view_of(text), &back));
        assert_true(back == ms);
    }
}

static void check_parse(const char *text, int64_t want)
{
    int64_t ms = -7;
    assert_true(clock_parse(view_of(text), &ms));
    assert_true(ms == want);
}

static void test_parse(void **state)
{
    (void)state;
    check_parse("2026-11-24T20:55:43Z", 1795553743000);
    check_parse("2026-11-24t20:55:43z", 1795553743000);
    check_parse("2026-11-24T20:55:43.1Z", 1795553743100);
    check_parse("2026-11-24T20:55:43.12Z", 1795553743120);
    check_parse("2026-11-24T20:55:43.123999999999Z", 1795553743123);
    check_parse("2026-11-24T22:55:43+02:00", 1795553743000);
    check_parse("2026-11-24T15:25:43-05:30", 1795553743000);
    check_parse("2026-11-24T20:55:43-00:00", 1795553743000);
    check_parse("1970-01-01T00:30:00+01:00", -1800000);
    check_parse("2016-12-31T23:59:60Z", 1483228800000);
    check_parse("2016-12-31T15:59:60.5-08:00", 1483228800500);
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11-24",
                                      "2026-11-24 20:55:43Z",
                                      "2026-11-24T20:55:43",
                                      "2026-11-24T20:55Z",
                                      "2026-11-24T20:55:43.Z",
                                      "2026-11-24T20:55:43+02",
                                      "2026-11-24T20:55:43+0200",
                                      "2026-11-24T20:55:43+24:00",
                                      "2026-11-24T20:55:43+02:60",
                                      "2026-13-24T20:55:43Z",
                                      "2026-00-24T20:55:43Z",
                                      "2026-11-31T20:55:43Z",
                                      "2026-11-00T20:55:43Z",
                                      "2026-02-29T20:55:43Z",
                                      "2100-02-29T20:55:43Z",
                                      "2026-11-24T24:00:00Z",
                                      "2026-11-24T20:60:43Z",
                                      "2026-11-24T20:55:61Z",
                                      "2026-11-24T20:55:60Z",
                                      "2026-11-24T20:55:43Zx",
                                      " 2026-11-24T20:55:43Z",
                                      "2026-1-24T20:55:43Z",
                                      "+026-11-24T20:55:43Z",
                                      "2026-11-24T20:55:43,5Z",
                                      "12026-11-24T20:55:43Z"};
    int64_t ms = -7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(clock_parse(view_of(bad[i]), &ms));
        assert_int_equal(ms, -7);
    }
    assert_false(clock_parse(VIEW_LIT("2026-11-24T20:55:43\0"), &ms));
    static const char whole[] = "2026-11-24T20:55:43.123+02:00";
    for (size_t len = 0; len < sizeof whole - 1; len++)
        assert_false(clock_parse(view_make(whole, len), &ms));
}

static void test_days(void **state)
{
    (void)state;
    static const struct {
        int64_t day;
        const char *text;
    } days[] = {{0, "1970-01-01"},     {-1, "1969-12-31"},      {11016, "2000-02-29"},
                {20781, "2026-11-24"}, {-719528, "0000-01-01"}, {2932896, "9999-12-31"}};
    static const char *const bad[] = {
        "",           "2026-11-2", "2026-11-24T", "2026-11-24T20:55:43Z",
        "2026-11-31", "20261124",  " 2026-11-24", "2026-11-244"};
    char text[CLOCK_DAY_TEXT];
    int64_t day = -7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(clock_day_parse(view_of(bad[i]), &day));
    assert_int_equal(day, -7);
    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        clock_day_format(days[i].day, text);
        assert_string_equal(text, days[i].text);
        assert_true(clock_day_parse(view_of(text), &day) && day == days[i].day);
    }
    clock_day_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31");
    clock_day_format(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01");
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"250ms", 250},    {"30s", 30000}, {"2m", 120000}, {"1h", 3600000},
        {"7d", 604800000}, {"0s", 0},      {"007s", 7000}, {"106751991167d", 9223372036828800000}};
    static const char *const bad[] = {
        "",     "5",   "s",    "1.5s", "-1s",           "1 s",
        "1h2m", "1S",  "1w",   "1us",  "106751991168d", "99999999999999999999ms",
        " 1s",  "1s ", "0x1s", "1mss"};
    int64_t ms = -7;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(clock_duration(view_of(good[i].text), &ms));
        assert_true(ms == good[i].ms);
    }
    ms = -7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(clock_duration(view_of(bad[i]), &ms));
    assert_false(clock_duration(VIEW_NONE, &ms));
    assert_int_equal(ms, -7);
}

static void test_go_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"1s", 1000},      {"6m0s", 360000},        {"12ms", 12},      {"1m30.5s", 90500},
                {"8.64s", 8640},   {"1h2m3s4ms", 3723004},  {"0", 0},          {"0s", 0},
                {"1us", 1},        {"999999ns", 1},         {"1000001ns", 2},  {".5s", 500},
                {"1.s", 1000},     {"1.0000000009s", 1000}, {"20ms500us", 21}, {"1\xc2\xb5s", 1},
                {"1\xce\xbcs", 1}, {"1d", 86400000},        {"0.1s0.2s", 300}};
    static const char *const bad[] = {
        "",    "1",  "s",  "-1s",  "+1s", ".s",         "1s2",
        "1 s", "1x", "00", "1..s", "1s ", "600000000h", "99999999999999999999s"};
    int64_t ms = -7;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(clock_go_duration(view_of(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    ms = -7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(clock_go_duration(view_of(bad[i]), &ms));
    assert_false(clock_go_duration(VIEW_NONE, &ms));
    assert_int_equal(ms, -7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),      cmocka_unit_test(test_against_libc),
        cmocka_unit_test(test_parse),       cmocka_unit_test(test_duration),
        cmocka_unit_test(test_go_duration), cmocka_unit_test(test_days),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
