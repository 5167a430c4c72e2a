/* The fold of a watched job: steps, items, texts that turn out void, snapshots. */
#include "producer/cli_job.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/cli_feed.h"

struct watched {
    struct cli_feed feed;
    struct cli_job *job;
};

static int setup(void **state)
{
    struct watched *w = calloc(1, sizeof *w);

    cli_feed_init(&w->feed);
    w->job = cli_job_new(CLI_JOB_ID);
    *state = w;
    return w->job ? 0 : -1;
}

static int teardown(void **state)
{
    struct watched *w = *state;

    cli_job_free(w->job);
    free(w);
    return 0;
}

static void fold(struct watched *w, const char *type, const char *members)
{
    struct cli_event e = cli_feed_event(&w->feed, type, members);

    assert_true(cli_job_fold(w->job, &e));
}

static void delta(struct watched *w, const char *step, int64_t item, int64_t attempt,
                  const char *text)
{
    char members[256];

    if (item >= 0)
        snprintf(members, sizeof members,
                 "\"step\":\"%s\",\"item\":%lld,\"attempt\":%lld,\"text\":\"%s\"", step,
                 (long long)item, (long long)attempt, text);
    else
        snprintf(members, sizeof members, "\"step\":\"%s\",\"attempt\":%lld,\"text\":\"%s\"", step,
                 (long long)attempt, text);
    fold(w, "step.delta", members);
}

static void text_is(struct watched *w, const char *step, int64_t item, const char *expected)
{
    struct cli_stream *s = cli_job_stream(w->job, cli_job_step(w->job, step), item);

    if (!expected) {
        assert_true(!s || s->text.len == 0);
        return;
    }
    assert_non_null(s);
    assert_true(view_eq_str(buf_view(&s->text), expected));
}

static void test_a_life(void **state)
{
    struct watched *w = *state;
    struct cli_job *j = w->job;

    fold(w, "job.queued", "\"class\":\"bulk\",\"workflow\":\"hello\"");
    assert_int_equal(j->status, JOB_QUEUED);
    assert_string_equal(j->class_name, "bulk");
    fold(w, "job.started", "\"attempt\":1,\"worker\":\"w1\"");
    assert_int_equal(j->status, JOB_RUNNING);
    fold(w, "job.waiting", "\"reason\":\"budget\",\"on\":\"main/gpt\",\"until\":1767312009000");
    assert_int_equal(j->status, JOB_WAITING);
    assert_string_equal(j->reason, "budget");
    assert_string_equal(j->on, "main/gpt");
    fold(w, "job.resumed", "");
    assert_int_equal(j->status, JOB_RUNNING);
    fold(w, "step.started", "\"step\":\"say\",\"attempt\":1");
    delta(w, "say", -1, 1, "Hel");
    delta(w, "say", -1, 1, "lo\\n\\u00e9");
    text_is(w, "say", -1, "Hello\n\xC3\xA9");
    assert_ptr_equal(cli_job_focus(j), cli_job_stream(j, 0, -1));
    fold(w, "step.completed",
         "\"step\":\"say\",\"attempt\":1,\"output\":\"Hello\",\"usage\":{\"input_tokens\":3,"
         "\"output_tokens\":5}");
    assert_int_equal(j->steps[0].status, CLI_STEP_COMPLETED);
    assert_int_equal(j->steps[0].output_tokens, 5);
    assert_int_equal(j->steps[0].ended_ms - j->steps[0].started_ms, 300);
    assert_null(cli_job_focus(j));
    fold(w, "step.skipped", "\"step\":\"no\",\"attempt\":1");
    assert_int_equal(j->steps[1].status, CLI_STEP_SKIPPED);
    fold(w, "job.succeeded",
         "\"status\":\"succeeded\",\"output\":\"Hello\",\"error\":null,\"usage\":{\"input_tokens\":"
         "3,\"output_tokens\":5,"
         "\"calls\":1},\"cost\":0.00012");
    assert_int_equal(j->status, JOB_SUCCEEDED);
    assert_string_equal(j->cost, "0.00012");
    assert_int_equal(j->input_tokens, 3);
    assert_true(j->end.len > 0);
    assert_int_equal(j->ended_ms - j->created_ms, 900);
}

static void test_exits(void **state)
{
    (void)state;
    assert_int_equal(cli_job_exit(JOB_SUCCEEDED), CLI_EXIT_OK);
    assert_int_equal(cli_job_exit(JOB_FAILED), CLI_EXIT_FAILED);
    assert_int_equal(cli_job_exit(JOB_CANCELED), CLI_EXIT_STOPPED);
    assert_int_equal(cli_job_exit(JOB_EXPIRED), CLI_EXIT_STOPPED);
}

/* A worker died in mid-sentence: the next attempt's text takes the place of the first's. */
static void test_text_of_a_lower_attempt_is_void(void **state)
{
    struct watched *w = *state;

    fold(w, "step.started", "\"step\":\"say\",\"attempt\":1");
    delta(w, "say", -1, 1, "The first");
    fold(w, "job.started", "\"attempt\":2");
    fold(w, "step.started", "\"step\":\"say\",\"attempt\":2");
    text_is(w, "say", -1, NULL);
    delta(w, "say", -1, 1, "late");
    text_is(w, "say", -1, NULL);
    delta(w, "say", -1, 2, "The second");
    text_is(w, "say", -1, "The second");
    delta(w, "say", -1, 3, "The third"); /* its start was not seen */
    text_is(w, "say", -1, "The third");
    delta(w, "say", -1, 2, "late");
    text_is(w, "say", -1, "The third");
    assert_int_equal(w->job->steps[0].attempt, 3);
    assert_int_equal(w->job->attempt, 2);
}

static void test_retrying_keeps_text_until_the_next_attempt(void **state)
{
    struct watched *w = *state;

    fold(w, "step.started", "\"step\":\"say\",\"attempt\":1");
    delta(w, "say", -1, 1, "half");
    fold(w, "step.retrying",
         "\"step\":\"say\",\"attempt\":1,\"delay_ms\":500,\"error\":{\"code\":\"provider_error\"}");
    assert_int_equal(w->job->steps[0].status, CLI_STEP_RETRYING);
    assert_string_equal(w->job->steps[0].error, "provider_error");
    text_is(w, "say", -1, "half");
    fold(w, "step.started", "\"step\":\"say\",\"attempt\":2");
    text_is(w, "say", -1, NULL);
    assert_int_equal(w->job->steps[0].status, CLI_STEP_RUNNING);
}

static void test_items(void **state)
{
    struct watched *w = *state;
    const struct cli_step *s = &w->job->steps[0];

    fold(w, "step.started", "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":3}");
    fold(w, "step.started", "\"step\":\"each\",\"item\":0,\"attempt\":1");
    fold(w, "step.started", "\"step\":\"each\",\"item\":1,\"attempt\":1");
    delta(w, "each", 1, 1, "one");
    delta(w, "each", 0, 1, "zero");
    text_is(w, "each", 0, "zero");
    text_is(w, "each", 1, "one");
    /* The focus stays with who was there first, whoever speaks. */
    assert_int_equal(cli_job_focus(w->job)->item, 0);
    delta(w, "each", 1, 1, " more");
    assert_int_equal(cli_job_focus(w->job)->item, 0);
    fold(w, "step.completed",
         "\"step\":\"each\",\"item\":0,\"attempt\":1,\"usage\":{\"output_tokens\":2}");
    assert_int_equal(cli_job_focus(w->job)->item, 1);
    fold(w, "step.failed",
         "\"step\":\"each\",\"item\":1,\"attempt\":3,\"error\":{\"code\":\"provider_error\"}");
    assert_null(cli_job_focus(w->job));
    assert_int_equal(s->total, 3);
    assert_int_equal(s->done, 1);
    assert_int_equal(s->failed, 1);
    assert_int_equal(s->status, CLI_STEP_RUNNING);
    fold(w, "step.completed",
         "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":3,\"done\":2,\"failed\":1}");
    assert_int_equal(s->done, 2);
    assert_int_equal(s->status, CLI_STEP_COMPLETED);
}

static void test_snapshot(void **state)
{
    struct watched *w = *state;
    struct cli_job *j = w->job;

    fold(w, "step.started", "\"step\":\"gone\",\"attempt\":1");
    delta(w, "gone", -1, 1, "old");
    fold(w, "reset", "");
    fold(w, "job.snapshot",
         "\"job\":{\"id\":\"" CLI_JOB_ID
         "\",\"status\":\"running\",\"workflow\":\"w\",\"version\":2,\"class\":\"interactive\","
         "\"attempt\":2,\"created_at\":\"2026-01-02T00:00:00.000Z\",\"steps\":["
         "{\"id\":\"a\",\"status\":\"completed\",\"attempt\":1,\"started_at\":\"2026-01-02T00:00:"
         "01.000Z\","
         "\"ended_at\":\"2026-01-02T00:00:02.000Z\",\"output\":[1],\"usage\":{\"input_tokens\":1,"
         "\"output_tokens\":7}},"
         "{\"id\":\"b\",\"status\":\"running\",\"attempt\":2,\"text\":\"so far\"},"
         "{\"id\":\"c\",\"status\":\"running\",\"attempt\":1,\"items\":{\"total\":9,\"done\":4,"
         "\"failed\":1,"
         "\"running\":[{\"item\":5,\"attempt\":3,\"text\":\"five\"}]}}],"
         "\"usage\":{\"input_tokens\":10,\"output_tokens\":20,\"calls\":3},\"cost\":0.5,\"output\":"
         "null,\"error\":null}");
    assert_int_equal(j->step_count, 3);
    assert_int_equal(cli_job_step(j, "gone"), SIZE_MAX);
    assert_int_equal(j->status, JOB_RUNNING);
    assert_int_equal(j->attempt, 2);
    assert_int_equal(j->version, 2);
    assert_string_equal(j->cost, "0.5");
    assert_int_equal(j->steps[0].output_tokens, 7);
    assert_int_equal(j->steps[0].ended_ms - j->steps[0].started_ms, 1000);
    text_is(w, "b", -1, "so far");
    text_is(w, "c", 5, "five");
    assert_int_equal(j->steps[2].done, 4);
    /* It goes on from there, each text under its own attempt. */
    delta(w, "b", -1, 2, "!");
    text_is(w, "b", -1, "so far!");
    delta(w, "c", 5, 2, "late");
    text_is(w, "c", 5, "five");
    /* A second one takes the place of everything. */
    fold(w, "job.snapshot", "\"job\":{\"status\":\"queued\",\"steps\":[]}");
    assert_int_equal(j->step_count, 0);
    assert_null(cli_job_focus(j));
}

/* Nothing a stream may hold breaks the fold: other types, wrong kinds, no steps, too many of
 * everything. */
static void test_strange_events(void **state)
{
    struct watched *w = *state;
    char members[128];

    fold(w, "job.teleported", "\"x\":1");
    fold(w, "step.delta", "");
    fold(w, "step.delta", "\"step\":7,\"attempt\":{},\"text\":[]");
    fold(w, "step.delta", "\"step\":\"a\",\"attempt\":1,\"text\":12");
    fold(w, "step.started", "\"step\":\"a\",\"items\":7");
    fold(w, "job.snapshot", "");
    fold(w, "job.snapshot", "\"job\":[]");
    fold(w, "job.snapshot", "\"job\":{\"steps\":{\"a\":1}}");
    fold(
        w, "job.snapshot",
        "\"job\":{\"steps\":[1,null,[],{\"id\":1},{\"id\":\"x\",\"items\":{\"running\":[7,{}]}}]}");
    for (int i = 0; i < 2 * CLI_STEPS_MAX; i++) {
        snprintf(members, sizeof members, "\"step\":\"s%d\",\"attempt\":1,\"text\":\"t\"", i);
        fold(w, "step.delta", members);
    }
    assert_int_equal(w->job->step_count, CLI_STEPS_MAX);
    text_is(w, "s10", -1, NULL); /* the oldest texts made room */
    assert_int_equal(w->job->status, JOB_QUEUED);
}

/* Of a long text the end is kept. */
static void test_a_long_text_is_bounded(void **state)
{
    struct watched *w = *state;
    struct cli_stream *s;

    for (int i = 0; i < 5000; i++) delta(w, "say", -1, 1, "0123456789");
    s = cli_job_stream(w->job, 0, -1);
    assert_in_range(s->text.len, CLI_TAIL_MAX / 2, CLI_TAIL_MAX + 10);
    assert_true(view_starts(view_make(s->text.data + s->text.len - 10, 10), "0123456789"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_life, setup, teardown),
        cmocka_unit_test(test_exits),
        cmocka_unit_test_setup_teardown(test_text_of_a_lower_attempt_is_void, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retrying_keeps_text_until_the_next_attempt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_items, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_long_text_is_bounded, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
