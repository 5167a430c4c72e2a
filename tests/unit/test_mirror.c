/* A job's way into Redis against a Redis that answers when and as it likes: the numbers have no
 * hole and no repeat, what cannot be continued becomes a snapshot, and nobody is told that a job is
 * his by a Redis that knows nothing of others. */
#include "consumer/mirror.h"
#include "tests/unit/fn_rig.h"

enum { EPOCH = 500, SEQ = 7 };

struct world {
    struct rig rig;
    struct mirror_env env;
    struct mirror m;
    struct job_head head;
    struct fn_job job;
    size_t news[MIRROR_FINISHED + 1];
};

static void on_news(void *arg, enum mirror_news news)
{
    ((struct world *)arg)->news[news]++;
}

static void on_kick(void *arg)
{
    (void)arg;
}

static int begin(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    rig_init(&w->rig);
    w->head = (struct job_head){.cls = CLASS_BULK, .version = 1, .created_ms = 1, .since = -1};
    snprintf(w->head.id.text, sizeof w->head.id.text, "01900000-0000-7003-8000-0000000000a0");
    snprintf(w->head.tenant, sizeof w->head.tenant, "acme");
    snprintf(w->head.workflow, sizeof w->head.workflow, "noop");
    w->job = (struct fn_job){.head = &w->head, .index_ms = 1000};
    w->env = (struct mirror_env){.fn = w->rig.fn,
                                 .clock = &w->rig.clock,
                                 .timers = w->rig.timers,
                                 .incarnation = VIEW_LIT("w1:aa"),
                                 .results_ms = 1000,
                                 .events_ms = 1000,
                                 .kick = on_kick};
    mirror_env_init(&w->env);
    const struct jobview_seed seed = {.id = w->head.id,
                                      .workflow = w->head.workflow,
                                      .version = 1,
                                      .cls = CLASS_BULK,
                                      .created_ms = 1};
    mirror_init(&w->m, &w->env, &w->job, on_news, w);
    mirror_begin(&w->m, jobview_new(&seed), EPOCH, SEQ, 1, 1);
    assert_non_null(w->m.view);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    mirror_close(&w->m);
    rig_fini(&w->rig);
    mirror_fini(&w->m);
    mirror_env_fini(&w->env);
    free(w);
    return 0;
}

static void put(struct world *w)
{
    const struct mirror_note note = {.type = EVENT_STEP_DELTA,
                                     .step = "a",
                                     .item = -1,
                                     .attempt = 1,
                                     .members = VIEW_LIT(",\"text\":\"x\"")};
    mirror_put(&w->m, &note);
}

static void turn(struct world *w)
{
    mirror_flush(&w->env);
}

static int64_t arg_int(const struct world *w, size_t index)
{
    int64_t n = -1;
    assert_true(view_i64(rig_arg(&w->rig, index), &n));
    return n;
}

static void answer(struct world *w, enum fn_append_kind kind)
{
    const struct reply items[] = {{.kind = REPLY_INT, .num = kind},
                                  {.kind = REPLY_INT, .num = 0},
                                  {.kind = REPLY_INT, .num = SEQ},
                                  {.kind = REPLY_INT, .num = 1}};
    const struct reply r = {.kind = REPLY_ARRAY, .items = items, .count = 4};
    rig_answer(&w->rig, &r, NULL);
}

enum {
    APPEND_EPOCH = 5,
    APPEND_SEQ = 6,
    APPEND_EVENTS = 9,
    RESTORE_SEQ = 9,
    FINISH_SEQ = 9,
    FINISH_SNAPSHOT = 12
};

static void expect_append(struct world *w, int64_t first, size_t events)
{
    assert_next(&w->rig, "append");
    assert_int_equal(arg_int(w, APPEND_EPOCH), EPOCH);
    assert_int_equal(arg_int(w, APPEND_SEQ), first);
    assert_int_equal(w->rig.calls[w->rig.first].argc, APPEND_EVENTS + 2 * events);
}

static void events_go_in_order_one_call_at_a_time(void **state)
{
    struct world *w = *state;
    put(w);
    put(w);
    turn(w);
    put(w);
    turn(w);
    assert_int_equal(w->rig.count, 1);
    expect_append(w, SEQ + 1, 2);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_CLEAN], 0);
    turn(w);
    expect_append(w, SEQ + 3, 1);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_CLEAN], 1);
    assert_true(mirror_is_clean(&w->m));
}

static void what_was_not_answered_is_sent_again_under_its_numbers(void **state)
{
    struct world *w = *state;
    put(w);
    turn(w);
    put(w);
    rig_break(&w->rig);
    turn(w);
    assert_next(&w->rig, "nothing"); /* Redis is given a moment */
    rig_wait(&w->rig, 200);
    turn(w);
    expect_append(w, SEQ + 1, 2);
    answer(w, FN_APPEND_OK);
    assert_true(mirror_is_clean(&w->m));
}

static void a_stream_that_lost_its_tail_gets_a_snapshot_in_place_of_what_waits(void **state)
{
    struct world *w = *state;
    put(w);
    turn(w);
    put(w);
    answer(w, FN_APPEND_GAP);
    put(w); /* covered by the snapshot, too */
    turn(w);
    assert_next(&w->rig, "restore");
    assert_int_equal(arg_int(w, RESTORE_SEQ), SEQ + 3);
    put(w);
    answer(w, FN_APPEND_OK);
    turn(w);
    expect_append(w, SEQ + 4, 1);
    answer(w, FN_APPEND_OK);
    assert_true(mirror_is_clean(&w->m));
    assert_int_equal(w->news[MIRROR_GONE], 0);
}

static void too_much_that_waits_becomes_a_snapshot(void **state)
{
    struct world *w = *state;
    char text[4096];
    memset(text, 'x', sizeof text);
    memcpy(text, ",\"text\":\"", 9);
    text[sizeof text - 1] = '"';
    const struct mirror_note note = {.type = EVENT_STEP_DELTA,
                                     .step = "a",
                                     .item = -1,
                                     .attempt = 1,
                                     .members = view_make(text, sizeof text)};
    put(w);
    turn(w);
    rig_break(&w->rig); /* it is away */
    for (size_t i = 0; i < 2 * MIRROR_AWAY_BYTES / sizeof text; i++) {
        mirror_put(&w->m, &note);
        assert_true(w->m.pending.len <= MIRROR_AWAY_BYTES + 2 * sizeof text);
    }
    uint64_t last = w->m.seq;
    rig_wait(&w->rig, 200);
    turn(w);
    assert_next(&w->rig, "restore");
    assert_int_equal(arg_int(w, RESTORE_SEQ), last);
    answer(w, FN_APPEND_OK);
    turn(w);
    expect_append(w, (int64_t)last + 1, 0); /* the status, which the lost call carried */
    answer(w, FN_APPEND_OK);
    assert_true(mirror_is_clean(&w->m));
}

static void a_question_is_answered_by_an_append(void **state)
{
    struct world *w = *state;
    mirror_probe(&w->m);
    turn(w);
    expect_append(w, SEQ + 1, 0);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 1);
    put(w);
    turn(w);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 1); /* nobody had asked */
}

static void a_question_under_way_is_not_answered_by_what_left_before_it(void **state)
{
    struct world *w = *state;
    put(w);
    turn(w);
    mirror_probe(&w->m);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 0);
    turn(w);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 1);
}

static void putting_a_job_back_proves_nothing(void **state)
{
    struct world *w = *state;
    mirror_probe(&w->m);
    turn(w);
    answer(w, FN_APPEND_GONE);
    assert_int_equal(w->news[MIRROR_GONE], 1);
    turn(w);
    assert_next(&w->rig, "restore");
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 0);
    turn(w);
    expect_append(w, SEQ + 1, 0); /* asked again behind it */
    answer(w, FN_APPEND_FENCED);
    assert_int_equal(w->news[MIRROR_HELD], 0);
    assert_int_equal(w->news[MIRROR_FENCED], 1);
}

static void a_lost_answer_leaves_the_question_open(void **state)
{
    struct world *w = *state;
    mirror_probe(&w->m);
    turn(w);
    rig_break(&w->rig);
    rig_wait(&w->rig, 200);
    turn(w);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_HELD], 1);
}

static const struct mirror_end the_end = {.id = {EPOCH, SEQ + 2},
                                          .status = JOB_SUCCEEDED,
                                          .data = {.ptr = "{}", .len = 2},
                                          .view = {.ptr = "{\"status\":\"succeeded\"}", .len = 22},
                                          .ended_ms = 5};

static void the_end_takes_along_what_waits(void **state)
{
    struct world *w = *state;
    put(w);
    mirror_finish(&w->m, &the_end);
    turn(w);
    assert_next(&w->rig, "finish");
    assert_int_equal(arg_int(w, FINISH_SEQ), SEQ + 2);
    assert_int_equal(rig_arg(&w->rig, FINISH_SNAPSHOT).len, 0);
    answer(w, FN_APPEND_OK);
    assert_int_equal(w->news[MIRROR_FINISHED], 1);
}

static void an_end_that_follows_nothing_comes_with_a_snapshot(void **state)
{
    struct world *w = *state;
    mirror_finish(&w->m, &the_end);
    turn(w);
    answer(w, FN_APPEND_GAP);
    assert_int_equal(w->news[MIRROR_FINISHED], 0);
    turn(w);
    assert_next(&w->rig, "finish");
    assert_true(rig_arg(&w->rig, FINISH_SNAPSHOT).len > 0);
    answer(w, FN_APPEND_ENDED); /* told by somebody else meanwhile */
    assert_true(w->news[MIRROR_FINISHED] >= 1);
}

static void who_is_fenced_says_no_more(void **state)
{
    struct world *w = *state;
    put(w);
    turn(w);
    answer(w, FN_APPEND_FENCED);
    assert_int_equal(w->news[MIRROR_FENCED], 1);
    mirror_close(&w->m);
    turn(w);
    assert_next(&w->rig, "nothing");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(events_go_in_order_one_call_at_a_time),
        T(what_was_not_answered_is_sent_again_under_its_numbers),
        T(a_stream_that_lost_its_tail_gets_a_snapshot_in_place_of_what_waits),
        T(too_much_that_waits_becomes_a_snapshot),
        T(a_question_is_answered_by_an_append),
        T(a_question_under_way_is_not_answered_by_what_left_before_it),
        T(putting_a_job_back_proves_nothing),
        T(a_lost_answer_leaves_the_question_open),
        T(the_end_takes_along_what_waits),
        T(an_end_that_follows_nothing_comes_with_a_snapshot),
        T(who_is_fenced_says_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
