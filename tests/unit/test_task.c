/* The task machine: order of steps, foreach, retries by fault, recorded outcomes, drain, end. A
 * small script driver plays the worker: it performs effects and writes what it saw as text, so that
 * a case is one string to compare. */
#include "consumer/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct play {
    struct workflow *workflow;
    struct task *task;
    struct buf seen;
    struct rng rng;
    int64_t now_ms;
    uint32_t calls[64];
    char call_step[64][40];
    size_t call_count;
    char checkpoint[8][2048]; /* values, for a next life */
    char checkpoint_step[8][40];
    int64_t checkpoint_item[8];
    size_t checkpoint_count;
    bool hold_checkpoints;
    uint32_t held[8];
    size_t held_count;
};

static void drive(struct play *p);

static void note(struct play *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct play *p, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_put_str(&p->seen, text);
    buf_put_char(&p->seen, ' ');
}

static void on_checkpoint(struct play *p, const struct task_effect *e)
{
    size_t i = p->checkpoint_count++;

    assert_true(i < 8);
    assert_true(view_copy(e->value, p->checkpoint[i], sizeof p->checkpoint[i]));
    snprintf(p->checkpoint_step[i], sizeof p->checkpoint_step[i], "%s", e->step);
    p->checkpoint_item[i] = e->item;
    note(p, "rec:%s/%lld", e->step, (long long)e->item);
    if (p->hold_checkpoints)
        p->held[p->held_count++] = e->run;
    else
        task_checkpointed(p->task, e->run, p->now_ms);
}

static void perform(struct play *p, const struct task_effect *e)
{
    switch (e->kind) {
    case TASK_EVAL:
        note(p, "eval");
        task_evaluated(p->task, e->run, e->source, VIEW_LIT("[1,2]"), NULL, p->now_ms);
        break;
    case TASK_CALL:
        note(p, "call:%s/%lld#%lld", e->step, (long long)e->item, (long long)e->attempt);
        assert_true(p->call_count < 64);
        snprintf(p->call_step[p->call_count], 40, "%s", e->step);
        p->calls[p->call_count++] = e->run;
        break;
    case TASK_CUT_CALL:
        note(p, "cut");
        break;
    case TASK_CHECKPOINT:
        on_checkpoint(p, e);
        break;
    case TASK_EVENT:
        if (e->event != EVENT_STEP_DELTA)
            note(p, "%s:%s/%lld", event_type_name(e->event), e->step, (long long)e->item);
        break;
    case TASK_CHARGE:
    case TASK_WAKE:
        break;
    case TASK_END:
        note(p, "END:%s%s:%.*s%.*s", job_status_name(e->status), e->dead_letter ? "+dlq" : "",
             (int)e->output.len, e->output.ptr ? e->output.ptr : "", (int)e->error.len,
             e->error.ptr ? e->error.ptr : "");
        break;
    case TASK_PAUSED:
        note(p, "paused");
        break;
    }
}

/* Takes every effect, then performs them: an effect's views die with the next call on the task. */
static void drive(struct play *p)
{
    struct task_effect e;

    while (task_next(p->task, &e)) perform(p, &e);
}

static void begin(struct play *p, const char *yaml, const char *input, int64_t starts)
{
    struct job_head head = {.id = {.text = "01234567-89ab-7cde-8f01-23456789abcd"}};
    struct err err = {0};
    struct task_options o = {.head = &head,
                             .input = view_of(input),
                             .starts = starts,
                             .step_output_max = 1 << 19,
                             .job_output_max = 768 << 10};

    if (!p->workflow) {
        rng_seed(&p->rng, 1);
        buf_init(&p->seen, 1 << 16);
        if (workflow_parse(view_of(yaml), "test.yaml", &p->workflow, &err) != ERR_OK)
            fail_msg("%s: %s", err.where, err.text);
    }
    o.workflow = p->workflow;
    if (task_new(&o, &p->task, &err) != ERR_OK) fail_msg("%s", err.text);
}

static void finish(struct play *p)
{
    task_free(p->task);
    workflow_free(p->workflow);
    buf_fini(&p->seen);
}

static void start(struct play *p)
{
    task_start(p->task, p->now_ms);
    drive(p);
}

static void reply(struct play *p, size_t call, const char *text)
{
    task_call_started(p->task, p->calls[call], p->now_ms);
    task_call_text(p->task, p->calls[call], view_of(text), p->now_ms);
    task_call_done(p->task, p->calls[call], VIEW_LIT("stop"), (struct task_usage){5, 7}, p->now_ms);
    drive(p);
}

static void fault(struct play *p, size_t call, enum task_fault f)
{
    struct err e = {.code = ERR_UNAVAILABLE, .text = "status 500"};

    task_call_started(p->task, p->calls[call], p->now_ms);
    task_call_failed(p->task, p->calls[call], f, &e, VIEW_NONE, -1, p->now_ms, &p->rng);
    drive(p);
}

static void later(struct play *p, int64_t ms)
{
    p->now_ms += ms;
    task_tick(p->task, p->now_ms);
    drive(p);
}

static void expect(struct play *p, const char *text)
{
    struct view got = view_trim(buf_view(&p->seen));

    if (!view_eq_str(got, text)) fail_msg("got  %.*s\nwant %s", (int)got.len, got.ptr, text);
    buf_reset(&p->seen);
}

static const char two_steps[] =
    "name: two\nversion: 1\nsteps:\n"
    "  - id: a\n    llm: {model: fast, messages: [{role: user, content: \"${ .input.q }\"}]}\n"
    "  - id: b\n    needs: [a]\n    transform: {said: \"${ .steps.a.output }\", n: 0.1}\n";

static void test_two_steps(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, two_steps, "{\"q\":\"hi\"}", 1);
    start(&p);
    expect(&p, "call:a/-1#1");
    reply(&p, 0, "hello");
    expect(&p,
           "step.started:a/-1 rec:a/-1 step.completed:a/-1 step.started:b/-1 step.completed:b/-1 "
           "END:succeeded:{\"said\":\"hello\",\"n\":0.1}");
    finish(&p);
}

static void test_recorded_step_is_not_run_again(void **state)
{
    struct play p = {0};
    struct err err;

    (void)state;
    begin(&p, two_steps, "{\"q\":\"hi\"}", 1);
    start(&p);
    reply(&p, 0, "hello");
    task_free(p.task);
    buf_reset(&p.seen);
    begin(&p, two_steps, "{\"q\":\"hi\"}", 2);
    assert_int_equal(task_restore(p.task, VIEW_LIT("a"), -1, view_of(p.checkpoint[0]), &err),
                     ERR_OK);
    start(&p);
    expect(&p,
           "step.started:b/-1 step.completed:b/-1 END:succeeded:{\"said\":\"hello\",\"n\":0.1}");
    finish(&p);
}

static void test_a_conditional_recorded_step_is_not_run_again(void **state)
{
    static const char yaml[] =
        "name: w\nversion: 1\nsteps:\n  - id: a\n    when: \"${ .input.go }\"\n"
        "    llm: {model: fast, messages: [{role: user, content: x}]}\n";
    struct play p = {0};
    struct err err;

    (void)state;
    begin(&p, yaml, "{\"go\":true}", 2);
    assert_int_equal(task_restore(p.task, VIEW_LIT("a"), -1,
                                  VIEW_LIT("{\"status\":\"completed\",\"output\":\"kept\"}"), &err),
                     ERR_OK);
    start(&p);
    expect(&p, "END:succeeded:\"kept\"");
    task_free(p.task);
    begin(&p, yaml, "{\"go\":false}", 1);
    start(&p);
    expect(&p, "step.skipped:a/-1 END:succeeded:null");
    finish(&p);
}

static void test_retries_by_fault(void **state)
{
    static const char yaml[] = "name: r\nversion: 1\nsteps:\n  - id: a\n    retry: {max_attempts: "
                               "2, initial: 100ms, max: 1s}\n"
                               "    llm: {model: fast, messages: [{role: user, content: x}]}\n";
    struct play p = {0};

    (void)state;
    begin(&p, yaml, "{}", 1);
    start(&p);
    for (size_t i = 0; i < 6; i++) { /* waiting for the provider burns no attempt */
        fault(&p, i, i % 2 ? TASK_FAULT_THROTTLE : TASK_FAULT_OUTAGE);
        later(&p, 60000);
    }
    buf_reset(&p.seen);
    fault(&p, 6, TASK_FAULT_BROKEN);
    later(&p, 60000);
    expect(&p, "step.started:a/-1 step.retrying:a/-1 call:a/-1#2");
    fault(&p, 7, TASK_FAULT_OVERLOAD);
    expect(&p, "step.started:a/-1 step.failed:a/-1 "
               "END:failed+dlq:{\"code\":\"provider_unavailable\",\"message\":\"status "
               "500\",\"step\":\"a\"}");
    finish(&p);
}

static void test_attempts_rise_over_starts(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, two_steps, "{\"q\":1}", 3);
    start(&p);
    expect(&p, "call:a/-1#11");
    finish(&p);
}

static const char each[] =
    "name: e\nversion: 1\nsteps:\n"
    "  - id: s\n    foreach: \"${ .input.texts }\"\n    as: t\n    concurrency: 2\n    on_error: "
    "continue\n"
    "    llm: {model: fast, messages: [{role: user, content: \"say ${ .t }\"}]}\n"
    "output: \"${ .steps.s.output }\"\n";

static void test_foreach(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, each, "{\"texts\":[\"x\",\"y\",\"z\"]}", 1);
    start(&p);
    expect(&p, "step.started:s/-1 call:s/0#1 call:s/1#1");
    reply(&p, 1, "Y");
    expect(&p, "step.started:s/1 rec:s/1 step.completed:s/1 call:s/2#1");
    fault(&p, 0, TASK_FAULT_FATAL);
    expect(&p, "step.started:s/0 rec:s/0 step.failed:s/0");
    reply(&p, 2, "Z");
    expect(&p, "step.started:s/2 rec:s/2 step.completed:s/2 step.completed:s/-1 "
               "END:succeeded:[null,\"Y\",\"Z\"]");
    finish(&p);
}

static void test_foreach_resumes_where_it_was(void **state)
{
    struct play p = {0};
    struct err err;

    (void)state;
    begin(&p, each, "{\"texts\":[\"x\",\"y\",\"z\"]}", 2);
    assert_int_equal(task_restore(p.task, VIEW_LIT("s"), 0,
                                  VIEW_LIT("{\"status\":\"completed\",\"output\":\"X\"}"), &err),
                     ERR_OK);
    assert_int_equal(
        task_restore(p.task, VIEW_LIT("s"), 2, VIEW_LIT("{\"status\":\"failed\"}"), &err), ERR_OK);
    start(&p);
    expect(&p, "step.started:s/-1 call:s/1#6");
    reply(&p, 0, "Y");
    expect(&p, "step.started:s/1 rec:s/1 step.completed:s/1 step.completed:s/-1 "
               "END:succeeded:[\"X\",\"Y\",null]");
    finish(&p);
}

static void test_drain_between_calls(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, each, "{\"texts\":[\"x\",\"y\",\"z\"]}", 1);
    start(&p);
    task_call_started(p.task, p.calls[0], 0);
    drive(&p);
    task_drain(p.task, 0);
    drive(&p);
    expect(&p, "step.started:s/-1 call:s/0#1 call:s/1#1 step.started:s/0 cut");
    task_call_done(p.task, p.calls[0], VIEW_LIT("stop"), (struct task_usage){1, 1}, 0);
    drive(&p);
    expect(&p, "rec:s/0 step.completed:s/0 paused");
    task_undrain(p.task, 0);
    drive(&p);
    expect(&p, "call:s/1#1 call:s/2#1");
    finish(&p);
}

/* One item whose call has begun, told from the start. */
static void begin_calling(struct play *p)
{
    begin(p, each, "{\"texts\":[\"x\"]}", 1);
    start(p);
    task_call_started(p->task, p->calls[0], 0);
    drive(p);
}

static void lose_call(struct play *p, enum err_code code)
{
    struct err err = {0};

    (void)err_set(&err, code, "gone");
    task_call_failed(p->task, p->calls[0], TASK_FAULT_OUTAGE, &err, VIEW_NONE, -1, 0, &p->rng);
    drive(p);
}

/* A call that the provider put off waits again: no attempt, no second step.started; a drain takes
 * it back. */
static void test_a_call_that_waits_again(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, each, "{\"texts\":[\"x\"]}", 1);
    start(&p);
    assert_true(task_may_park(p.task));
    task_call_started(p.task, p.calls[0], 0);
    drive(&p);
    assert_false(task_may_park(p.task));
    task_call_waits(p.task, p.calls[0], 0);
    drive(&p);
    assert_true(task_may_park(p.task));
    task_call_started(p.task, p.calls[0], 0);
    drive(&p);
    expect(&p, "step.started:s/-1 call:s/0#1 step.started:s/0");
    task_drain(p.task, 0);
    drive(&p);
    task_call_waits(p.task, p.calls[0], 0); /* it comes back while the worker leaves */
    drive(&p);
    expect(&p, "cut paused");
    task_undrain(p.task, 0);
    drive(&p);
    expect(&p, "call:s/0#1");
    finish(&p);
}

/* What was told is void only by a higher attempt: an outage behind it counts. */
static void test_an_outage_after_text_is_an_attempt(void **state)
{
    struct play p = {0};

    (void)state;
    begin_calling(&p);
    task_call_text(p.task, p.calls[0], VIEW_LIT("half"), 0);
    drive(&p);
    lose_call(&p, ERR_UNAVAILABLE);
    assert_false(task_may_park(p.task));
    task_tick(p.task, 1000000);
    drive(&p);
    expect(&p, "step.started:s/-1 call:s/0#1 step.started:s/0 step.retrying:s/0 call:s/0#2");
    finish(&p);
}

/* The last call in hand fails: its next try is not waited for. */
static void test_drain_ends_with_a_failure(void **state)
{
    struct play p = {0};

    (void)state;
    begin_calling(&p);
    task_drain(p.task, 0);
    drive(&p);
    expect(&p, "step.started:s/-1 call:s/0#1 step.started:s/0");
    lose_call(&p, ERR_CLOSED);
    expect(&p, "step.retrying:s/0 paused");
    task_undrain(p.task, 0);
    drive(&p);
    expect(&p, "call:s/0#1");
    finish(&p);
}

static void test_cancel_cuts_calls(void **state)
{
    struct play p = {0};

    (void)state;
    begin(&p, two_steps, "{\"q\":1}", 1);
    start(&p);
    task_call_started(p.task, p.calls[0], 0);
    drive(&p);
    task_close(p.task, JOB_CANCELED, 0);
    drive(&p);
    expect(&p, "call:a/-1#1 step.started:a/-1 cut "
               "END:canceled:{\"code\":\"canceled\",\"message\":\"the job was canceled\"}");
    reply(&p, 0, "late");
    expect(&p, "");
    finish(&p);
}

static void test_jq_and_schema(void **state)
{
    static const char yaml[] =
        "name: j\nversion: 1\nsteps:\n  - id: a\n    retry: {max_attempts: 2, initial: 1ms, max: "
        "1ms}\n"
        "    llm: {model: fast, messages: [{role: user, content: \"${ .input | keys }\"}], "
        "response_schema: {type: object, required: [n]}}\n";
    struct play p = {0};

    (void)state;
    begin(&p, yaml, "{}", 1);
    start(&p);
    expect(&p, "eval call:a/-1#1");
    reply(&p, 0, "not json");
    expect(&p, "step.started:a/-1 step.retrying:a/-1");
    later(&p, 1000);
    reply(&p, 1, "{\"n\":1}");
    expect(&p,
           "call:a/-1#2 step.started:a/-1 rec:a/-1 step.completed:a/-1 END:succeeded:{\"n\":1}");
    finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_steps),
        cmocka_unit_test(test_recorded_step_is_not_run_again),
        cmocka_unit_test(test_a_conditional_recorded_step_is_not_run_again),
        cmocka_unit_test(test_retries_by_fault),
        cmocka_unit_test(test_attempts_rise_over_starts),
        cmocka_unit_test(test_foreach),
        cmocka_unit_test(test_foreach_resumes_where_it_was),
        cmocka_unit_test(test_drain_between_calls),
        cmocka_unit_test(test_a_call_that_waits_again),
        cmocka_unit_test(test_an_outage_after_text_is_an_attempt),
        cmocka_unit_test(test_drain_ends_with_a_failure),
        cmocka_unit_test(test_cancel_cuts_calls),
        cmocka_unit_test(test_jq_and_schema)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
