/* The table of usage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include "producer/cli_sum.h"

#define PAGE(by, tenant, since, rows)                                                              \
    VIEW_LIT("{\"by\":\"" by "\",\"from\":\"2026-11-01\",\"to\":\"2026-11-30\",\"tenant\":" tenant \
             ",\"since\":" since ",\"data\":[" rows "],\"has_more\":false,\"next\":null}")
#define ROW(by, name, calls, cost, unpriced)                                                       \
    "{\"" by "\":\"" name "\",\"calls\":" calls                                                    \
    ",\"input_tokens\":1234567,\"cached_input_tokens\":"                                           \
    "0,\"output_tokens\":50,\"cost\":" cost ",\"unpriced_calls\":" unpriced "}"

static void prints(struct cli_sum *s, const char *expected)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_true(cli_sum_put(s, &out));
    assert_true(buf_put_char(&out, '\0'));
    assert_string_equal(out.data, expected);
    buf_fini(&out);
    cli_sum_fini(s);
}

static void columns_are_as_wide_as_what_stands_in_them(void **state)
{
    (void)state;
    struct cli_sum s;
    cli_sum_init(&s);
    assert_true(cli_sum_add(&s, PAGE("model", "\"acme\"", "\"2026-10-01T00:00:00.000Z\"",
                                     ROW("model", "fast", "3", "0.0125",
                                         "0") "," ROW("model", "smart", "12000", "123.5", "0"))));
    prints(&s, "2026-11-01 to 2026-11-30, tenant acme\n"
               "MODEL   CALLS      INPUT  CACHED  OUTPUT       COST\n"
               "fast        3  1,234,567       0      50    $0.0125\n"
               "smart  12,000  1,234,567       0      50  $123.5000\n"
               "total  12,003  2,469,134       0     100  $123.5125\n");
}

static void pages_are_added_and_gaps_are_told(void **state)
{
    (void)state;
    struct cli_sum s;
    cli_sum_init(&s);
    assert_true(cli_sum_add(&s, PAGE("tenant", "null", "\"2026-11-20T10:00:00.000Z\"",
                                     ROW("tenant", "a", "1", "0", "1"))));
    assert_true(cli_sum_add(&s, PAGE("tenant", "null", "\"2026-11-20T10:00:00.000Z\"",
                                     ROW("tenant", "b\\u001b[2J", "1", "1", "0"))));
    prints(&s, "2026-11-01 to 2026-11-30, all tenants\n"
               "TENANT  CALLS      INPUT  CACHED  OUTPUT      COST\n"
               "a           1  1,234,567       0      50  >$0.0000\n"
               "b\xEF\xBF\xBD[2J       1  1,234,567       0      50   $1.0000\n"
               "total       2  2,469,134       0     100  >$1.0000\n"
               "> 1 call of models without a price: not in the cost\n"
               "counted since 2026-11-20T10:00:00.000Z: what was used before is not here\n");
}

static void nothing_is_a_table_too(void **state)
{
    (void)state;
    struct cli_sum s;
    cli_sum_init(&s);
    assert_false(cli_sum_add(&s, VIEW_LIT("{}")));
    assert_false(cli_sum_add(&s, VIEW_LIT("{\"data\":[]}")));
    assert_true(cli_sum_add(&s, PAGE("day", "\"acme\"", "null", "")));
    prints(&s, "2026-11-01 to 2026-11-30, tenant acme\n"
               "DAY    CALLS  INPUT  CACHED  OUTPUT     COST\n"
               "total      0      0       0       0  $0.0000\n");
}

static void numbers_are_grouped(void **state)
{
    (void)state;
    char text[CLI_GROUPED];
    static const struct {
        int64_t n;
        const char *text;
    } cases[] = {{0, "0"},
                 {999, "999"},
                 {1000, "1,000"},
                 {-1234567, "-1,234,567"},
                 {INT64_MAX, "9,223,372,036,854,775,807"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_sum_group(cases[i].n, text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_what_stands_in_them),
        cmocka_unit_test(pages_are_added_and_gaps_are_told),
        cmocka_unit_test(nothing_is_a_table_too),
        cmocka_unit_test(numbers_are_grouped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
