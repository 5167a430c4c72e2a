/* The picture of a job: its lines are counted right and fit the terminal, whatever is in them. */
#include "producer/cli_screen.h"
#include "producer/cli_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/cli_feed.h"

struct shown {
    struct cli_feed feed;
    struct cli_job *job;
    struct buf out;
};

static int setup(void **state)
{
    struct shown *s = calloc(1, sizeof *s);

    cli_feed_init(&s->feed);
    s->job = cli_job_new(CLI_JOB_ID);
    buf_init(&s->out, 1 << 20);
    *state = s;
    return s->job ? 0 : -1;
}

static int teardown(void **state)
{
    struct shown *s = *state;

    cli_job_free(s->job);
    buf_fini(&s->out);
    free(s);
    return 0;
}

static void fold(struct shown *s, const char *type, const char *members)
{
    struct cli_event e = cli_feed_event(&s->feed, type, members);

    assert_true(cli_job_fold(s->job, &e));
}

/* Draws, and holds what the shell relies on: the count, the width, the height. */
static const char *draw(struct shown *s, struct cli_screen screen)
{
    struct view line, rest;
    unsigned lines = 0;

    screen.now_ms = s->feed.ts_ms + 1000;
    buf_reset(&s->out);
    unsigned said = cli_screen_put(&s->out, s->job, &screen);
    assert_false(s->out.failed);
    for (rest = buf_view(&s->out); view_cut(rest, '\n', &line, &rest); lines++)
        if (!screen.has_color) assert_in_range(cli_text_width(line), 0, screen.columns - 1);
    assert_int_equal(rest.len, 0);
    assert_int_equal(said, lines);
    if (!screen.is_last) assert_in_range(lines, 1, screen.rows - 1);
    buf_put_char(&s->out, '\0');
    return s->out.data;
}

static void start(struct shown *s)
{
    fold(s, "job.queued", "\"class\":\"interactive\",\"workflow\":\"onboard\"");
    fold(s, "job.started", "\"attempt\":1");
    fold(s, "step.started", "\"step\":\"crawl\",\"attempt\":1");
    fold(s, "step.completed", "\"step\":\"crawl\",\"attempt\":1");
    fold(s, "step.started", "\"step\":\"summaries\",\"attempt\":1,\"items\":{\"total\":20}");
    fold(s, "step.completed", "\"step\":\"summaries\",\"item\":0,\"attempt\":1");
    fold(s, "step.delta",
         "\"step\":\"summaries\",\"item\":1,\"attempt\":1,\"text\":\"Three points:\\n- one\"");
}

static void test_a_running_job(void **state)
{
    struct shown *s = *state;

    start(s);
    assert_string_equal(draw(s, (struct cli_screen){.columns = 80, .rows = 24}),
                        "onboard  running  1.6s\n"
                        "  \xE2\x9C\x93 crawl      completed  100ms\n"
                        "  \xE2\x80\xBA summaries  running    1/20  1.2s\n"
                        "    Three points:\n"
                        "    - one\n");
    assert_string_equal(draw(s, (struct cli_screen){.columns = 80, .rows = 24, .is_last = true}),
                        "onboard  running  1.6s\n"
                        "  \xE2\x9C\x93 crawl      completed  100ms\n"
                        "  \xE2\x80\xBA summaries  running    1/20  1.2s\n");
    assert_non_null(
        strstr(draw(s, (struct cli_screen){.columns = 80, .rows = 24, .note = "not connected: x"}),
               "\n  not connected: x\n"));
    assert_non_null(
        strstr(draw(s, (struct cli_screen){.columns = 80, .rows = 24, .has_color = true}),
               "\x1b[32m\xE2\x9C\x93\x1b[0m crawl"));
}

static void test_an_ended_job(void **state)
{
    struct shown *s = *state;

    start(s);
    fold(s, "step.failed",
         "\"step\":\"summaries\",\"attempt\":1,\"error\":{\"code\":\"provider_error\"}");
    fold(s, "job.failed",
         "\"error\":{\"code\":\"step_failed\",\"message\":\"m\"},\"usage\":{\"input_tokens\":10,"
         "\"output_tokens\":20},\"cost\":0.25");
    assert_string_equal(draw(s, (struct cli_screen){.columns = 100, .rows = 24, .is_last = true}),
                        "onboard  failed  800ms  10+20 tokens  $0.25\n"
                        "  \xE2\x9C\x93 crawl      completed  100ms\n"
                        "  \xE2\x9C\x97 summaries  failed     1/20  300ms  provider_error\n");
}

static void test_waiting(void **state)
{
    struct shown *s = *state;
    char members[128];

    start(s);
    snprintf(members, sizeof members, "\"reason\":\"budget\",\"until\":%lld",
             (long long)s->feed.ts_ms + 100 + 1000 + 4000);
    fold(s, "job.waiting", members);
    assert_true(view_starts(view_of(draw(s, (struct cli_screen){.columns = 80, .rows = 24})),
                            "onboard  waiting for budget, about 4 s"));
    s->job->status = JOB_QUEUED; /* as the gateway guesses */
    assert_true(view_starts(view_of(draw(s, (struct cli_screen){.columns = 80, .rows = 24})),
                            "onboard  queued, waiting for budget, about "));
    cli_job_take_waiting(s->job, VIEW_NONE);
    assert_true(view_starts(view_of(draw(s, (struct cli_screen){.columns = 80, .rows = 24})), "onboard  queued  "));
}

/* Every size from tiny on, with many steps, wide text and text that would steer a terminal. */
static void test_it_fits_every_terminal(void **state)
{
    struct shown *s = *state;
    char members[256];

    start(s);
    for (int i = 0; i < 40; i++) {
        snprintf(members, sizeof members, "\"step\":\"a-step-of-the-name-%d\",\"attempt\":%d", i,
                 i % 3 + 1);
        fold(s, "step.started", members);
    }
    for (int i = 0; i < 300; i++)
        fold(s, "step.delta",
             "\"step\":\"summaries\",\"item\":1,\"attempt\":1,\"text\":\"\xE6\xBC\xA2\xE5\xAD\x97 "
             "word \\u001b[2J\\t\xF0\x9F\x99\x82\\n\"");
    for (unsigned columns = 20; columns < 140; columns += 3)
        for (unsigned rows = 4; rows < 60; rows += 5)
            for (int note = 0; note < 2; note++) {
                const char *text = draw(
                    s,
                    (struct cli_screen){
                        .columns = columns,
                        .rows = rows,
                        .note = note ? "not connected: the server closed the stream; again in 2.0s"
                                     : NULL});
                assert_null(strchr(text, '\x1b'));
                if (note && rows > 4) assert_non_null(strstr(text, "not connected"));
            }
    /* The newest steps and the end of the text are what is kept. */
    const char *text = draw(s, (struct cli_screen){.columns = 80, .rows = 24});
    assert_non_null(strstr(text, "steps before these"));
    assert_non_null(strstr(text, "name-39"));
    assert_null(strstr(text, "name-0 "));
    draw(s, (struct cli_screen){.columns = 80, .rows = 24, .is_last = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_running_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_ended_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_fits_every_terminal, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
