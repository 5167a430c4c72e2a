/* Text for terminals: nothing that steers one gets through, and widths are what is drawn. */
#include "producer/cli_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void cleaned(struct view text, enum cli_lines lines, const char *expected)
{
    struct buf out;

    buf_init(&out, 1 << 16);
    assert_true(cli_text_put(&out, text, lines));
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_clean(void **state)
{
    (void)state;
    cleaned(VIEW_LIT("plain \xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82"), CLI_ONE_LINE,
            "plain \xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82");
    cleaned(VIEW_LIT("a\r\nb\nc\td\re"), CLI_ONE_LINE, "a b c d e");
    cleaned(VIEW_LIT("a\r\nb\nc"), CLI_MANY_LINES, "a\nb\nc");
    /* Escape sequences, C1 controls, turned writing, broken bytes, NUL. */
    cleaned(VIEW_LIT("\x1b[2J"), CLI_ONE_LINE, "\xEF\xBF\xBD[2J");
    cleaned(VIEW_LIT("\xC2\x9B"
                     "2J"),
            CLI_ONE_LINE,
            "\xEF\xBF\xBD"
            "2J");
    cleaned(VIEW_LIT("\xE2\x80\xAE"
                     "x"),
            CLI_ONE_LINE, "\xEF\xBF\xBDx");
    cleaned(VIEW_LIT("a\xFF\xC3"), CLI_ONE_LINE, "a\xEF\xBF\xBD\xEF\xBF\xBD");
    cleaned(VIEW_LIT("a\0b"), CLI_ONE_LINE,
            "a\xEF\xBF\xBD"
            "b");
    cleaned(VIEW_LIT("a\x7F"), CLI_ONE_LINE, "a\xEF\xBF\xBD");
    cleaned(VIEW_LIT(""), CLI_ONE_LINE, "");
}

/* Of every single byte and every pair, what comes out holds no control character but LF. */
static void test_nothing_gets_through(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 64);
    for (unsigned n = 0; n < 65536; n++) {
        const char pair[] = {(char)(n >> 8), (char)n};
        buf_reset(&out);
        assert_true(cli_text_put(&out, view_make(pair, 2), CLI_MANY_LINES));
        for (const char *at = out.data, *end = out.data + out.len; at < end;) {
            uint32_t c = cli_text_next(&at, end);
            if (c != '\n') assert_false(cli_text_is_unsafe(c));
        }
    }
    buf_fini(&out);
}

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(cli_text_width(VIEW_LIT("abc")), 3);
    assert_int_equal(cli_text_width(VIEW_LIT("\xC3\xA4")), 1);
    assert_int_equal(cli_text_width(VIEW_LIT("\xE6\xBC\xA2\xE5\xAD\x97")), 4);
    assert_int_equal(cli_text_width(VIEW_LIT("e\xCC\x81")), 1);
    assert_int_equal(cli_text_width(VIEW_LIT("\xF0\x9F\x99\x82")), 2);
    assert_int_equal(cli_text_width(VIEW_LIT("")), 0);
}

static void cell(const char *text, unsigned columns, const char *expected)
{
    struct buf out;

    buf_init(&out, 256);
    assert_true(cli_text_put_cell(&out, view_of(text), columns));
    assert_int_equal(cli_text_width(buf_view(&out)), columns);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_cells(void **state)
{
    (void)state;
    cell("ab", 4, "ab  ");
    cell("abcd", 4, "abcd");
    cell("abcde", 4, "abc\xE2\x80\xA6");
    cell("\xE6\xBC\xA2\xE5\xAD\x97\xE6\xBC\xA2", 4, "\xE6\xBC\xA2\xE2\x80\xA6 ");
    cell("", 2, "  ");
    cell("abc", 0, "");
}

static void rows(const char *text, unsigned columns, const char *expected)
{
    struct view rest = view_of(text), row;
    struct buf out;

    buf_init(&out, 1024);
    while (cli_text_take_row(&rest, columns, &row)) {
        assert_in_range(cli_text_width(row), 0, columns);
        buf_put_char(&out, '[');
        buf_put_view(&out, row);
        buf_put_char(&out, ']');
    }
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_rows(void **state)
{
    (void)state;
    rows("one two three", 8, "[one two ][three]");
    rows("abcdefghij", 4, "[abcd][efgh][ij]");
    rows("a\n\nb", 4, "[a][][b]");
    rows("abcd\nef", 4, "[abcd][ef]");
    rows("\xE6\xBC\xA2\xE5\xAD\x97", 3, "[\xE6\xBC\xA2][\xE5\xAD\x97]");
    rows("a bcdefg", 4, "[a bc][defg]");
    rows("", 4, "");
}

static void lasts(int64_t ms, const char *expected)
{
    char text[CLI_DURATION_TEXT];

    cli_text_duration(ms, text);
    assert_string_equal(text, expected);
}

static void test_durations(void **state)
{
    (void)state;
    lasts(-5, "0ms");
    lasts(0, "0ms");
    lasts(999, "999ms");
    lasts(1000, "1.0s");
    lasts(59999, "59.9s");
    lasts(60000, "1m00s");
    lasts(185000, "3m05s");
    lasts(7620000, "2h07m");
    lasts(86400000LL * 3 + 4 * 3600000, "3d04h");
    lasts(INT64_MAX, "106751991167d07h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean), cmocka_unit_test(test_nothing_gets_through),
        cmocka_unit_test(test_width), cmocka_unit_test(test_cells),
        cmocka_unit_test(test_rows),  cmocka_unit_test(test_durations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
