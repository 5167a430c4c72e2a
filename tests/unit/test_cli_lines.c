/* Plain lines: what a pipe is told of a job, and when. */
#include "producer/cli_lines.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/cli_feed.h"

struct piped {
    struct cli_feed feed;
    struct cli_job *job;
    struct buf out;
};

static int setup(void **state)
{
    struct piped *p = calloc(1, sizeof *p);

    cli_feed_init(&p->feed);
    p->job = cli_job_new(CLI_JOB_ID);
    buf_init(&p->out, 1 << 20);
    *state = p;
    return p->job ? 0 : -1;
}

static int teardown(void **state)
{
    struct piped *p = *state;

    cli_job_free(p->job);
    buf_fini(&p->out);
    free(p);
    return 0;
}

static void put(struct piped *p, const char *type, const char *members)
{
    struct cli_event e = cli_feed_event(&p->feed, type, members);

    assert_true(cli_lines_put(&p->out, p->job, &e));
}

/* What came since the last look, without the times. */
static void told(struct piped *p, const char *expected)
{
    struct view line, rest = buf_view(&p->out);
    struct buf text;

    buf_init(&text, 1 << 20);
    while (view_cut(rest, '\n', &line, &rest)) {
        assert_true(line.len > 14 && line.ptr[2] == ':' && line.ptr[12] == ' ' &&
                    line.ptr[13] == ' ');
        buf_put(&text, line.ptr + 14, line.len - 14);
        buf_put_char(&text, '\n');
    }
    assert_int_equal(rest.len, 0);
    buf_put_char(&text, '\0');
    assert_string_equal(text.data, expected);
    buf_fini(&text);
    buf_reset(&p->out);
}

static void test_a_life(void **state)
{
    struct piped *p = *state;

    put(p, "job.queued", "\"class\":\"interactive\",\"workflow\":\"hello\"");
    assert_true(view_starts(buf_view(&p->out),
                            "00:00:00.100  job.queued " CLI_JOB_ID " hello interactive\n"));
    buf_reset(&p->out);
    put(p, "job.started", "\"attempt\":1,\"worker\":\"w\"");
    put(p, "job.waiting", "\"reason\":\"budget\",\"until\":1767312060000");
    put(p, "job.resumed", "");
    put(p, "step.started", "\"step\":\"say\",\"attempt\":1");
    told(p, "job.started attempt 1\n"
            "job.waiting for budget, about 60 s, until 2026-01-02T00:01:00.000Z\n"
            "job.resumed attempt 1\n"
            "step.started say\n");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"Hel\"");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"lo\"");
    told(p, "");
    put(p, "step.delta",
        "\"step\":\"say\",\"attempt\":1,\"text\":\" there\\n  indented\\n\\nlast\"");
    told(p, "step.delta say | Hello there\n"
            "step.delta say |   indented\n"
            "step.delta say | \n");
    put(p, "step.completed",
        "\"step\":\"say\",\"attempt\":1,\"usage\":{\"input_tokens\":3,\"output_tokens\":5}");
    told(p, "step.delta say | last\n"
            "step.completed say 400ms tokens 3 in 5 out\n");
    put(p, "step.skipped", "\"step\":\"maybe\",\"attempt\":1");
    put(p, "job.succeeded",
        "\"status\":\"succeeded\",\"output\":{\"a\": 0.1},\"error\":null,"
        "\"usage\":{\"input_tokens\":3,\"output_tokens\":5,\"calls\":1},\"cost\":0.00012");
    told(p, "step.skipped maybe\n"
            "job.succeeded 1.0s tokens 3 in 5 out cost $0.00012\n"
            "output {\"a\": 0.1}\n");
}

static void test_failure(void **state)
{
    struct piped *p = *state;

    put(p, "step.started", "\"step\":\"say\",\"attempt\":1");
    put(p, "step.retrying",
        "\"step\":\"say\",\"attempt\":1,\"delay_ms\":1500,\"error\":{\"code\":\"provider_error\"}");
    put(p, "step.failed",
        "\"step\":\"say\",\"attempt\":3,\"error\":{\"code\":\"provider_error\",\"message\":"
        "\"status 400\"}");
    put(p, "job.failed",
        "\"error\":{\"code\":\"step_failed\",\"message\":\"a\\u001b[31m\\nb\",\"step\":\"say\"},"
        "\"output\":null");
    told(p, "step.started say\n"
            "step.retrying say provider_error again in 1.5s\n"
            "step.failed say attempt 3 200ms provider_error: status 400\n"
            "job.failed step_failed: a\xEF\xBF\xBD[31m b\n");
}

static void test_long_text_leaves_in_pieces(void **state)
{
    struct piped *p = *state;
    char members[512];

    snprintf(members, sizeof members, "\"step\":\"say\",\"attempt\":1,\"text\":\"%s\"",
             "aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk llll mmmm nnnn oooo pppp qqqq "
             "rrrr ssss tttt uuuu");
    put(p, "step.delta", members);
    told(p, "step.delta say | aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk llll mmmm "
            "nnnn oooo pppp qqqq rrrr ssss tttt\n");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"\\n\"");
    told(p, "step.delta say | uuuu\n");
    /* Without spaces it is cut between characters. */
    buf_reset(&p->out);
    int n = snprintf(members, sizeof members, "\"step\":\"say\",\"attempt\":1,\"text\":\"x");
    for (int i = 0; i < 60; i++) n += snprintf(members + n, sizeof members - (size_t)n, "\xC3\xA4");
    snprintf(members + n, sizeof members - (size_t)n, "\"");
    put(p, "step.delta", members);
    put(p, "step.completed", "\"step\":\"say\",\"attempt\":1");
    buf_put_char(&p->out, '\0');
    assert_null(strstr(p->out.data, "\xEF\xBF\xBD"));
    assert_non_null(strstr(p->out.data, "step.completed"));
}

/* Voided text cannot be taken back from a pipe: it is said, once. */
static void test_void_text_is_said(void **state)
{
    struct piped *p = *state;

    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"The first\\nhalf of\"");
    told(p, "step.delta say | The first\n");
    put(p, "job.started", "\"attempt\":2");
    put(p, "step.started", "\"step\":\"say\",\"attempt\":2");
    told(p, "job.started attempt 2\n"
            "step.delta say | half of\n"
            "step.started say attempt 2 (the text of the attempt before is void)\n");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":2,\"text\":\"New\\n\"");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"late\\n\"");
    told(p, "step.delta say | New\n");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":3,\"text\":\"Newer\\n\"");
    told(p, "step.delta say attempt 3 (the text of the attempt before is void)\n"
            "step.delta say | Newer\n");
}

static void test_items_do_not_mix(void **state)
{
    struct piped *p = *state;

    put(p, "step.started", "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":2}");
    put(p, "step.delta", "\"step\":\"each\",\"item\":0,\"attempt\":1,\"text\":\"ze\"");
    put(p, "step.delta", "\"step\":\"each\",\"item\":1,\"attempt\":1,\"text\":\"one\\n\"");
    put(p, "step.delta", "\"step\":\"each\",\"item\":0,\"attempt\":1,\"text\":\"ro\\n\"");
    put(p, "step.completed", "\"step\":\"each\",\"item\":0,\"attempt\":1");
    put(p, "step.completed",
        "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":2,\"done\":1,\"failed\":1}");
    told(p, "step.started each items 0 of 2\n"
            "step.delta each[1] | one\n"
            "step.delta each[0] | zero\n"
            "step.completed each[0]\n"
            "step.completed each 500ms items 1 of 2 failed 1\n");
}

static void test_reset_and_snapshot(void **state)
{
    struct piped *p = *state;

    put(p, "step.delta", "\"step\":\"say\",\"attempt\":1,\"text\":\"half\"");
    put(p, "reset", "");
    put(p, "job.snapshot",
        "\"job\":{\"status\":\"running\",\"attempt\":2,\"steps\":[{\"id\":\"a\",\"status\":"
        "\"completed\",\"attempt\":1},"
        "{\"id\":\"say\",\"status\":\"running\",\"attempt\":2,\"text\":\"line one\\nline\"}]}");
    told(p, "reset history is gone; the job so far follows\n"
            "step.delta say | half\n"
            "job.snapshot running attempt 2, 1 of 2 steps completed\n"
            "step.delta say | line one\n");
    put(p, "step.delta", "\"step\":\"say\",\"attempt\":2,\"text\":\" two\\n\"");
    told(p, "step.delta say | line two\n");
}

static void test_a_type_of_a_newer_server(void **state)
{
    struct piped *p = *state;

    put(p, "job.teleported", "\"x\":1");
    told(p, "job.teleported\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_text_leaves_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_void_text_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_items_do_not_mix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_and_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_type_of_a_newer_server, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
