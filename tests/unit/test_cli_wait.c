/* What a job waits for, in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include "producer/cli_wait.h"

static void says(const char *reason, const char *on, int64_t until_ms, const char *expected)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_true(cli_wait_put(&out, reason, on));
    assert_true(cli_wait_put_left(&out, until_ms, 1000000));
    assert_true(buf_put_char(&out, '\0'));
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void every_reason_has_words(void **state)
{
    (void)state;
    says("budget", "main/gpt-5-mini", 1014000, "budget of main/gpt-5-mini, about 14 s");
    says("budget", "", 0, "budget");
    says("closed", "main/m", 1000400, "the end of a refusal by main/m, less than a second");
    says("outage", "main/m", 999000, "the return of main/m");
    says("exhausted", "main/m", 1000000 + 3600000, "quota or credit of main/m, about 1h00m");
    says("concurrency", "main/m", 0, "a free call of main/m");
    says("spend", "main/m", 0, "tomorrow's spend of main/m");
    says("tenant_budget", "", 1000000 + 125000, "the tenant's budget of tomorrow, about 2m05s");
    says("key", "", 0, "other jobs of its key");
}

static void unknown_ones_are_cleaned(void **state)
{
    (void)state;
    says("signal", "", 1059600, "signal, about 60 s");
    says("new\x1b[2J", "a\nb", 0, "new\xEF\xBF\xBD[2J a b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_words),
        cmocka_unit_test(unknown_ones_are_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
