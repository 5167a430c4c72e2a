/* The picture of budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */
#include "producer/cli_limits.h"
#include "producer/cli_text.h"

#define OPEN                                                                                       \
    "{\"provider\":\"main\",\"model\":\"gpt-5-mini\",\"key\":\"default\",\"state\":\"open\","      \
    "\"reason\":"                                                                                  \
    "null,\"until\":null,\"ramp\":null,\"requests\":{\"limit\":60,\"source\":\"configured\","      \
    "\"used\":59,"                                                                                 \
    "\"available\":0,\"next_ms\":800},\"input_tokens\":{\"limit\":200000,\"source\":\"told\","     \
    "\"used\":"                                                                                    \
    "12345,\"foreign\":2000},\"output_tokens\":{\"limit\":null,\"source\":null,\"used\":0},"       \
    "\"tokens\":{"                                                                                 \
    "\"limit\":null,\"source\":null,\"used\":7},\"requests_per_day\":{\"limit\":1000,\"used\":17}" \
    ","                                                                                            \
    "\"spend_per_day\":{\"limit\":null,\"used\":0},\"concurrency\":{\"limit\":null,\"used\":3},"   \
    "\"waiters\""                                                                                  \
    ":440,\"workers\":2,\"refusals\":1,\"closes\":0,\"fails\":0}"
#define CLOSED                                                                                     \
    "{\"provider\":\"other\",\"model\":\"m\",\"key\":\"k2\",\"state\":\"closed\",\"reason\":"      \
    "\"throttle\","                                                                                \
    "\"until\":14000,\"ramp\":null,\"requests\":{\"limit\":10,\"source\":\"learnt\",\"used\":10}," \
    "\"input_tokens\":{\"limit\":null,\"used\":0},\"output_tokens\":{\"limit\":null,\"used\":0},"  \
    "\"tokens\":{\"limit\":null,\"used\":0},\"requests_per_day\":{\"limit\":null,\"used\":0},"     \
    "\"spend_per_day\":{\"limit\":12.5,\"used\":0.25},\"concurrency\":{\"limit\":4,\"used\":0},"   \
    "\"waiters\":1,\"workers\":1,\"refusals\":5,\"closes\":1,\"fails\":0}"
static const char answer[] =
    "{\"at\":\"x\",\"data\":[{\"model\":\"fast\",\"route\":[" OPEN "," CLOSED
    "]}],\"tenant\":{\"id\":\"acme\",\"unfinished_jobs\":430,\"tokens_per_day\":{\"limit\":5000,"
    "\"used\":70},\"spend_per_day\":{\"limit\":null,\"used\":0}}}";

static unsigned draw(struct buf *out, struct cli_limits_look look)
{
    buf_init(out, 1 << 16);
    if (!look.columns) look.columns = 200;
    unsigned lines = cli_limits_put(out, view_of(answer), &look);
    assert_true(buf_put_char(out, '\0'));
    out->len--;
    return lines;
}

static void every_figure_has_its_place(void **state)
{
    (void)state;
    struct buf out;
    assert_int_equal(draw(&out, (struct cli_limits_look){.now_ms = 0}), 11);
    assert_string_equal(out.data,
                        "fast  main/gpt-5-mini  open  440 waiting  3 calls  2 workers  1 x 429\n"
                        "    requests      59 of     60 a minute  configured  next in 800ms\n"
                        "    input      12.3k of   200k a minute  told        2000 by strangers\n"
                        "    tokens         7 of      ? a minute  not known\n"
                        "    requests      17 of   1000 today\n"
                        "fast  other/m key k2  closed (429, about 14 s)  1 waiting  0 calls  1 "
                        "worker  5 x 429  1 close\n"
                        "    requests      10 of     10 a minute  learnt\n"
                        "    spend $     0.25 of   12.5 today\n"
                        "    calls          0 of      4 at once\n"
                        "tenant acme  430 jobs unfinished\n"
                        "    tokens        70 of   5000 today\n");
    buf_fini(&out);
}

/* No line is wider than the terminal, and there are as many as were said, whatever its size. */
static void it_fits_every_terminal(void **state)
{
    (void)state;
    struct buf out;
    for (unsigned columns = 1; columns < 140; columns += 7)
        for (unsigned rows = 1; rows < 20; rows++) {
            const struct cli_limits_look look = {.columns = columns,
                                                 .rows = rows,
                                                 .note = rows % 2 ? "not connected" : NULL,
                                                 .has_bars = true};
            unsigned said = draw(&out, look), counted = 0;
            struct view line, rest = buf_view(&out);
            while (view_cut(rest, '\n', &line, &rest)) {
                counted++;
                assert_true(cli_text_width(line) < (columns > 21 ? columns : 21));
            }
            assert_int_equal(counted, said);
            assert_true(said < (rows > 3 ? rows : 3));
            buf_fini(&out);
        }
}

static void what_does_not_fit_is_said(void **state)
{
    (void)state;
    struct buf out;
    draw(&out, (struct cli_limits_look){.columns = 100, .rows = 6});
    assert_non_null(strstr(out.data, "7 lines more: --model NAME shows one\n"));
    buf_fini(&out);
    draw(&out, (struct cli_limits_look){.columns = 100, .rows = 40, .note = "not connected: x"});
    assert_non_null(strstr(out.data, "\nnot connected: x\n"));
    buf_fini(&out);
}

static void amounts_are_short(void **state)
{
    (void)state;
    char text[CLI_AMOUNT];
    static const struct {
        int64_t n;
        const char *text;
    } cases[] = {{0, "0"},           {9999, "9999"},      {10000, "10.0k"},     {200000, "200k"},
                 {1250000, "1.25M"}, {45600000, "45.6M"}, {7000000000, "7.00G"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_limits_amount(cases[i].n, text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_figure_has_its_place),
        cmocka_unit_test(it_fits_every_terminal),
        cmocka_unit_test(what_does_not_fit_is_said),
        cmocka_unit_test(amounts_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
