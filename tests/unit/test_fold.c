/* A job read whole: from its stream however long, from meta when the stream is past, and for nobody
 * it does not belong to. */
#include "tests/unit/gateway_rig.h"

#include "gateway/fold.h"

struct world {
    struct rig *rig;
    struct fn *fn;
    struct folds *folds;
};

struct heard {
    int count;
    bool has_failed, found, built, has_stream, has_end;
    enum job_status status;
    struct event_id last, end_id;
    enum event_type end_type;
    char *job, *end;
};

static void hear(void *arg, const struct err *e, const struct fold_result *r)
{
    struct heard *h = arg;
    struct buf out;
    h->count++;
    h->has_failed = e != NULL;
    if (e) return;
    h->found = r->found;
    h->built = r->built;
    h->has_stream = r->has_stream;
    h->has_end = r->has_end;
    h->last = r->last;
    h->end_id = r->end_id;
    h->end_type = r->end_type;
    if (!r->found) return;
    h->status = jobview_status(r->view);
    buf_init(&out, 16 << 20);
    assert_true(jobview_put(r->view, &out, true));
    h->job = buf_detach(&out, NULL);
    if (r->has_end) h->end = view_dup(r->end_data);
}

static void forget(struct heard *h)
{
    free(h->job);
    free(h->end);
    *h = (struct heard){0};
}

static void make(struct world *x)
{
    x->rig = rig_new();
    x->fn = fn_new(rig_port(x->rig));
    const struct folds_options o = {
        .fn = x->fn, .reads = rig_port(x->rig), .boot = "boot", .active_max = 2, .waiting_max = 3};
    x->folds = folds_new(&o);
    assert_non_null(x->folds);
    rig_live_job(x->rig);
}

static void drop(struct world *x)
{
    folds_free(x->folds);
    fn_free(x->fn);
    rig_free(x->rig);
}

static struct fold *start(struct world *x, struct heard *h, const char *tenant, bool without_end)
{
    const struct fold_ask ask = {
        .job = x->rig->job, .tenant = view_of(tenant), .without_end = without_end};
    return fold_start(x->folds, &ask, hear, h);
}

static void put_long(struct rig *r, uint64_t to)
{
    rig_put(r, 0, 1, "job.queued", "");
    rig_put(r, 5, 2, "job.started", ",\"attempt\":1");
    rig_put(r, 5, 3, "step.started", ",\"step\":\"a\",\"attempt\":1");
    for (uint64_t seq = 4; seq < to; seq++)
        rig_put(r, 5, seq, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    rig_put(r, 5, to, "step.completed",
            ",\"step\":\"a\",\"attempt\":1,\"output\":\"the last word\"");
}

static const char end_data[] =
    ",\"status\":\"succeeded\",\"output\":42,\"error\":null,\"usage\":{\"input_tokens\":0,"
    "\"output_tokens\":0,\"calls\":0},\"cost\":0";

static void a_long_stream_is_folded_to_its_end(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    put_long(x.rig, 1000);
    assert_non_null(start(&x, &h, "acme", false));
    assert_int_equal(h.count, 0);
    rig_run(x.rig);
    assert_int_equal(h.count, 1);
    assert_true(h.found && h.has_stream && !h.has_end);
    assert_int_equal(h.status, JOB_RUNNING);
    assert_int_equal(h.last.seq, 1000);
    assert_non_null(strstr(h.job, "the last word"));
    assert_true(x.rig->ranges >= 4); /* page by page */
    forget(&h);
    drop(&x);
}

static void the_end_can_be_kept_apart(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    put_long(x.rig, 10);
    rig_put(x.rig, 5, 11, "job.succeeded", end_data);
    rig_set(x.rig, "st", "succeeded");
    assert_non_null(start(&x, &h, "acme", true));
    rig_run(x.rig);
    assert_true(h.has_end);
    assert_int_equal(h.status, JOB_RUNNING); /* the view stops before it */
    assert_int_equal(h.last.seq, 10);
    assert_int_equal(h.end_id.seq, 11);
    assert_int_equal(h.end_type, EVENT_JOB_SUCCEEDED);
    assert_non_null(strstr(h.end, "\"output\":42"));
    forget(&h);
    assert_non_null(start(&x, &h, "acme", false));
    rig_run(x.rig);
    assert_int_equal(h.status, JOB_SUCCEEDED);
    forget(&h);
    drop(&x);
}

static void a_wipe_between_its_questions_is_no_unknown_job(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    x.rig->is_built = true;
    rig_set(x.rig, "st", "failed"); /* its stream is past */
    assert_non_null(start(&x, &h, "acme", false));
    assert_true(rig_step(x.rig)); /* meta: there, and the view is whole */
    assert_int_equal(x.rig->metas, 1);
    rig_wipe_meta(x.rig);
    x.rig->is_built = false;
    rig_run(x.rig);
    assert_true(!h.found && !h.built);
    forget(&h);
    drop(&x);
}

static void past_its_stream_meta_tells(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    rig_set(x.rig, "st", "failed");
    rig_set(x.rig, "ep", "5");
    rig_set(x.rig, "sq", "9");
    rig_set(x.rig, "ra", "20da41c7-f51a-8001-bc9a-d26be99363ce");
    rig_set(
        x.rig, "vw",
        "{\"id\":\"01a20f90-bb1d-7001-9f75-12f927ebbb5e\",\"status\":\"failed\",\"workflow\":"
        "\"noop\",\"version\":1,"
        "\"class\":\"bulk\",\"attempt\":2,\"created_at\":\"2026-11-24T20:55:43.123Z\",\"started_"
        "at\":null,\"ended_at\":"
        "\"2026-11-24T20:55:44.000Z\",\"steps\":[],\"usage\":{\"input_tokens\":0,\"output_tokens\":"
        "0,\"calls\":0},"
        "\"cost\":0,\"output\":null,\"error\":{\"code\":\"timeout\",\"message\":\"too slow\"}}");
    assert_non_null(start(&x, &h, "acme", false));
    rig_run(x.rig);
    assert_true(h.found && !h.has_stream && h.has_end);
    assert_int_equal(h.status, JOB_FAILED);
    assert_int_equal(h.end_id.epoch, 5);
    assert_int_equal(h.end_id.seq, 9);
    assert_int_equal(h.end_type, EVENT_JOB_FAILED);
    assert_non_null(strstr(h.job, "too slow"));
    assert_non_null(strstr(h.job, "\"retried_as\":\"20da41c7-f51a-8001-bc9a-d26be99363ce\""));
    forget(&h);
    drop(&x);
}

static void a_snapshot_does_not_hide_the_retry(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    rig_put(x.rig, 5, 8, "job.snapshot",
            ",\"job\":{\"id\":\"01a20f90-bb1d-7001-9f75-12f927ebbb5e\",\"status\":\"running\","
            "\"workflow\":\"noop\",\"version\":1,"
            "\"class\":\"bulk\",\"attempt\":2,\"created_at\":\"2026-11-24T20:55:43.123Z\","
            "\"started_at\":null,\"ended_at\":null,"
            "\"steps\":[],\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"calls\":0},\"cost\":"
            "0,\"output\":null,"
            "\"error\":null}");
    rig_set(x.rig, "ra", "20da41c7-f51a-8001-bc9a-d26be99363ce");
    assert_non_null(start(&x, &h, "acme", false));
    rig_run(x.rig);
    assert_non_null(strstr(h.job, "\"retried_as\":\"20da41c7-f51a-8001-bc9a-d26be99363ce\""));
    assert_non_null(strstr(h.job, "\"attempt\":2"));
    forget(&h);
    drop(&x);
}

static void unknown_foreign_and_reserved_are_one(void **state)
{
    (void)state;
    for (int built = 0; built < 2; built++) {
        struct world x;
        struct heard h = {0};
        make(&x);
        put_long(x.rig, 10);
        x.rig->is_built = built;
        start(&x, &h, "beta", false);
        rig_run(x.rig);
        assert_int_equal(h.count, 1);
        assert_false(h.found);
        assert_int_equal(h.built, built);
        assert_int_equal(x.rig->ranges, 0); /* not even read */
        rig_set(x.rig, "rs", "1");
        start(&x, &h, "acme", false);
        rig_run(x.rig);
        assert_false(h.found);
        rig_wipe_meta(x.rig);
        start(&x, &h, "acme", false);
        rig_run(x.rig);
        assert_int_equal(h.count, 3);
        assert_false(h.found);
        assert_int_equal(h.built, built);
        drop(&x);
    }
}

static void a_redis_that_is_away_is_told(void **state)
{
    (void)state;
    struct world x;
    struct heard h = {0};
    make(&x);
    x.rig->is_redis_down = true;
    start(&x, &h, "acme", false);
    rig_run(x.rig);
    assert_true(h.has_failed);
    x.rig->is_redis_down = false;
    put_long(x.rig, 1000);
    start(&x, &h, "acme", false);
    assert_true(rig_step(x.rig)); /* meta */
    assert_true(rig_step(x.rig)); /* a page */
    x.rig->is_redis_down = true;
    rig_run(x.rig);
    assert_int_equal(h.count, 2);
    assert_true(h.has_failed);
    drop(&x);
}

static void few_run_at_once_and_few_wait(void **state)
{
    (void)state;
    struct world x;
    struct heard h[6] = {{0}};
    struct fold *f[6];
    make(&x);
    put_long(x.rig, 600);
    for (int i = 0; i < 5; i++) assert_non_null(f[i] = start(&x, &h[i], "acme", false));
    assert_null(start(&x, &h[5], "acme", false)); /* two run, three wait: no more */
    assert_int_equal(x.rig->calls.count, 2);
    fold_forget(f[0]); /* one that runs, one that waits */
    fold_forget(f[3]);
    rig_run(x.rig);
    for (int i = 0; i < 5; i++) assert_int_equal(h[i].count, i == 0 || i == 3 ? 0 : 1);
    for (int i = 0; i < 6; i++) forget(&h[i]);
    drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_stream_is_folded_to_its_end),
        cmocka_unit_test(the_end_can_be_kept_apart),
        cmocka_unit_test(past_its_stream_meta_tells),
        cmocka_unit_test(a_wipe_between_its_questions_is_no_unknown_job),
        cmocka_unit_test(a_snapshot_does_not_hide_the_retry),
        cmocka_unit_test(unknown_foreign_and_reserved_are_one),
        cmocka_unit_test(a_redis_that_is_away_is_told),
        cmocka_unit_test(few_run_at_once_and_few_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
