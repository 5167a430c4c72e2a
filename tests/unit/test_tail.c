/* Watching a job: order, holes, slow clients, absent servers. The last test plays many random
 * histories. */
#include "tests/unit/gateway_rig.h"

#include "common/base/json.h"
#include "common/base/rng.h"
#include "gateway/tail.h"
#include "gateway/tail_priv.h"

struct world {
    struct rig *rig;
    struct fn *fn;
    struct folds *folds;
    struct tails *tails;
};

struct client {
    struct watcher *w; /* NULL: cut or closed */
    struct buf got;
    bool is_awake, is_over, was_cut;
    size_t wakes;
    int ended; /* WATCH_END: event type, -1 */
};

static void client_wake(void *arg)
{
    struct client *c = arg;
    assert_false(c->is_awake);
    c->is_awake = true;
    c->wakes++;
}

static void client_cut(void *arg)
{
    struct client *c = arg;
    c->was_cut = true;
    watcher_close(c->w);
    c->w = NULL;
}

static void client_ended(void *arg, enum event_type end)
{
    struct client *c = arg;
    c->ended = (int)end;
    watcher_close(c->w);
    c->w = NULL;
}

static const struct watch_sink client_sink = {
    .wake = client_wake, .cut = client_cut, .ended = client_ended};

/* Takes at most max bytes, in pulls of at most step. */
static void client_take(struct client *c, size_t max, size_t step)
{
    char *dst = malloc(step);
    assert_non_null(dst);
    while (c->w && c->is_awake && max > 0) {
        ssize_t n = watcher_pull(c->w, dst, step < max ? step : max);
        if (n > 0) {
            assert_true(buf_put(&c->got, dst, (size_t)n));
            max -= (size_t)n;
        } else {
            c->is_awake = false;
        }
        if (n == WATCH_OVER) {
            c->is_over = true;
            watcher_close(c->w);
            c->w = NULL;
        }
    }
    free(dst);
}

static void client_open(struct world *x, struct client *c, enum watch_format format,
                        struct event_id cursor)
{
    *c = (struct client){.is_awake = true, .ended = -1};
    buf_init(&c->got, 64 << 20);
    const struct watch_ask ask = {
        .job = x->rig->job, .cursor = cursor, .format = format, .sink = &client_sink, .arg = c};
    c->w = tails_watch(x->tails, &ask);
    assert_non_null(c->w);
}

static void client_close(struct client *c)
{
    if (c->w) watcher_close(c->w);
    buf_fini(&c->got);
}

static void settle(struct world *x, struct client *c)
{
    for (int i = 0; i < 1000; i++) {
        rig_run(x->rig);
        if (!c->is_awake || !c->w) return;
        client_take(c, SIZE_MAX, 4096);
    }
    fail_msg("the client never has it all");
}

static void make_with(struct world *x, size_t watcher_bytes_max)
{
    x->rig = rig_new();
    x->fn = fn_new(rig_port(x->rig));
    const struct folds_options fo = {.fn = x->fn,
                                     .reads = rig_port(x->rig),
                                     .boot = "boot",
                                     .active_max = 2,
                                     .waiting_max = 100};
    x->folds = folds_new(&fo);
    const struct tails_options to = {.reads = rig_port(x->rig),
                                     .doorbells = rig_sub_port(x->rig),
                                     .folds = x->folds,
                                     .clock = &x->rig->clock,
                                     .timers = x->rig->timers,
                                     .heartbeat_ms = 15000,
                                     .retry_ms = 1000,
                                     .watcher_bytes_max = watcher_bytes_max,
                                     .watchers_max = 100,
                                     .history_bytes_max = 4 << 20};
    x->tails = tails_new(&to);
    assert_non_null(x->tails);
    rig_live_job(x->rig);
}

static void make(struct world *x)
{
    make_with(x, 256 << 10);
}

static void drop(struct world *x)
{
    rig_run(x->rig);
    assert_int_equal(tails_counts(x->tails).watchers, 0);
    assert_int_equal(tails_counts(x->tails).tails, 0); /* nobody watches: nothing is kept */
    assert_int_equal(x->rig->subscribed, x->rig->unsubscribed);
    assert_int_equal(x->tails->frame_bytes, 0);
    assert_int_equal(x->tails->pager_count, 0);
    tails_free(x->tails);
    folds_free(x->folds);
    fn_free(x->fn);
    assert_int_equal(timerq_next_ms(x->rig->timers), INT64_MAX);
    rig_free(x->rig);
}

/* The events in what an SSE client got, as "type id" lines; comments and retry fields are left out.
 */
static void read_sse(const struct client *c, struct buf *out)
{
    struct view line, rest = buf_view(&c->got), id = VIEW_NONE;
    buf_init(out, 64 << 20);
    while (view_cut(rest, '\n', &line, &rest)) {
        if (view_starts(line, "id: ")) id = view_make(line.ptr + 4, line.len - 4);
        if (!view_starts(line, "event: ")) continue;
        buf_put(out, line.ptr + 7, line.len - 7);
        if (id.ptr) buf_printf(out, " %.*s", (int)id.len, id.ptr);
        buf_put_char(out, '\n');
        id = VIEW_NONE;
    }
    buf_put(out, "", 1);
}

static void expect_events(const struct client *c, const char *wanted)
{
    struct buf got;
    read_sse(c, &got);
    assert_string_equal(got.data, wanted);
    buf_fini(&got);
}

#define E0   "0000000000000000-"
#define E5   "0000000000000005-"
#define E7   "0000000000000007-"
#define N(n) "000000000" #n

static void put_running(struct rig *r)
{
    rig_append(r, 0, 1, "job.queued", "");
    rig_append(r, 5, 2, "job.started", ",\"attempt\":1");
    rig_append(r, 5, 3, "step.started", ",\"step\":\"a\",\"attempt\":1");
}

static void put_end(struct rig *r, uint64_t epoch, uint64_t seq)
{
    rig_append(r, epoch, seq, "job.succeeded",
               ",\"status\":\"succeeded\",\"output\":1,\"error\":null,\"usage\":{\"input_tokens\":"
               "0,\"output_tokens\":0,"
               "\"calls\":0},\"cost\":0");
}

static const char whole[] = "job.queued " E0 N(1) "\njob.started " E5 N(2) "\nstep.started " E5 N(
    3) "\njob.succeeded " E5 N(4) "\n";

/* --- the ordinary --- */

static void history_then_live_then_the_end(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    rig_put(x.rig, 0, 1, "job.queued", "");
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    settle(&x, &c);
    expect_events(&c, "job.queued " E0 N(1) "\n");
    rig_append(x.rig, 5, 2, "job.started", ",\"attempt\":1");
    rig_append(x.rig, 5, 3, "step.started", ",\"step\":\"a\",\"attempt\":1");
    settle(&x, &c);
    put_end(x.rig, 5, 4);
    settle(&x, &c);
    expect_events(&c, whole);
    assert_true(c.is_over);
    assert_true(view_starts(buf_view(&c.got), "retry: 1000\n\nid: "));
    client_close(&c);
    drop(&x);
}

static void every_cursor_gets_exactly_the_rest(void **state)
{
    (void)state;
    struct world x;
    make(&x);
    put_running(x.rig);
    put_end(x.rig, 5, 4);
    const char *rest = whole;
    for (size_t i = 0; i < x.rig->entry_count; i++) {
        struct client c;
        rest = strchr(rest, '\n') + 1;
        client_open(&x, &c, WATCH_SSE, x.rig->entries[i].id);
        settle(&x, &c);
        expect_events(&c, rest);
        assert_true(c.is_over);
        client_close(&c);
    }
    drop(&x);
}

static void any_size_of_pull_gives_the_same_bytes(void **state)
{
    (void)state;
    for (int live = 0; live < 2; live++) {
        struct buf first;
        buf_init(&first, 1 << 20);
        for (size_t step = 1; step < 700; step += step < 20 ? 1 : 61) {
            struct world x;
            struct client c;
            make(&x);
            rig_put(x.rig, 0, 1, "job.queued", "");
            client_open(&x, &c, WATCH_SSE, (struct event_id){0});
            if (live) settle(&x, &c);
            rig_append(x.rig, 5, 2, "job.started", ",\"attempt\":1");
            rig_append(x.rig, 5, 3, "step.delta",
                       ",\"step\":\"a\",\"attempt\":1,\"text\":\"0123456789\"");
            put_end(x.rig, 5, 4);
            for (int i = 0; i < 100 && c.w; i++) {
                rig_run(x.rig);
                client_take(&c, SIZE_MAX, step);
            }
            assert_true(c.is_over);
            if (first.len == 0) buf_put_view(&first, buf_view(&c.got));
            assert_true(view_eq(buf_view(&first), buf_view(&c.got)));
            client_close(&c);
            drop(&x);
        }
        buf_fini(&first);
    }
}

static void ndjson_is_the_data_with_its_id(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    rig_put(x.rig, 0, 1, "job.queued", "");
    client_open(&x, &c, WATCH_NDJSON, (struct event_id){0});
    settle(&x, &c);
    put_end(x.rig, 5, 2);
    settle(&x, &c);
    assert_true(c.is_over);
    assert_true(view_starts(buf_view(&c.got), "{\"id\":\"" E0 N(1) "\",\"type\":\"job.queued\""));
    buf_put(&c.got, "", 1);
    assert_non_null(strstr(c.got.data, "}\n{\"id\":\"" E5 N(2) "\",\"type\":\"job.succeeded\""));
    client_close(&c);
    drop(&x);
}

static void watchers_share_reads_and_frames(void **state)
{
    (void)state;
    struct world x;
    struct client c[5];
    make(&x);
    rig_put(x.rig, 0, 1, "job.queued", "");
    for (int i = 0; i < 5; i++)
        client_open(&x, &c[i], i % 2 ? WATCH_NDJSON : WATCH_SSE, (struct event_id){0});
    for (int i = 0; i < 5; i++) settle(&x, &c[i]);
    assert_int_equal(tails_counts(x.tails).tails, 1);
    assert_int_equal(x.rig->subscribed, 1);
    size_t before = x.rig->ranges;
    for (uint64_t seq = 2; seq < 12; seq++) /* ten doorbells of one turn: one read */
        rig_append(x.rig, 5, seq, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    rig_run(x.rig);
    assert_int_equal(x.rig->ranges - before, 1);
    for (int i = 0; i < 5; i++) assert_true(c[i].is_awake);
    for (int i = 0; i < 5; i++) settle(&x, &c[i]);
    assert_int_equal(x.tails->frame_bytes, 0); /* all have it: nothing is kept */
    assert_true(view_eq(buf_view(&c[0].got), buf_view(&c[2].got)));
    assert_true(view_eq(buf_view(&c[1].got), buf_view(&c[3].got)));
    for (int i = 0; i < 5; i++) client_close(&c[i]);
    drop(&x);
}

static void a_long_history_comes_in_pages(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    rig_put(x.rig, 0, 1, "job.queued", "");
    for (uint64_t seq = 2; seq < 3000; seq++)
        rig_put(x.rig, 5, seq, "step.delta",
                ",\"step\":\"a\",\"attempt\":1,\"text\":\"some words of an answer\"");
    put_end(x.rig, 5, 3000);
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    rig_run(x.rig);
    assert_true(x.rig->ranges <= 3); /* nobody takes: two pages are held, no more are asked for */
    size_t held = c.w->pager ? pager_bytes(c.w).len : 0;
    assert_true(held > 0);
    assert_true(held <= 2 * PAGE_BYTES_MAX);
    for (int i = 0; i < 100000 && c.w; i++) {
        rig_run(x.rig);
        client_take(&c, 10000, 3000);
    }
    assert_true(c.is_over);
    uint64_t expected = 1;
    struct view line, rest = buf_view(&c.got);
    while (view_cut(rest, '\n', &line, &rest)) {
        struct event_id id;
        if (!view_starts(line, "id: ")) continue;
        assert_true(event_id_parse(view_make(line.ptr + 4, line.len - 4), &id));
        assert_int_equal(id.seq, expected++);
    }
    assert_int_equal(expected, 3001);
    client_close(&c);
    drop(&x);
}

static void one_that_waits_for_the_end_is_told(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_END, (struct event_id){0});
    rig_run(x.rig);
    assert_int_equal(c.ended, -1);
    put_end(x.rig, 5, 4);
    rig_run(x.rig);
    assert_int_equal(c.ended, EVENT_JOB_SUCCEEDED);
    client_close(&c);
    client_open(&x, &c, WATCH_END, (struct event_id){0}); /* and at once when it has ended */
    rig_run(x.rig);
    assert_int_equal(c.ended, EVENT_JOB_SUCCEEDED);
    client_close(&c);
    drop(&x);
}

/* --- history that is gone --- */

static void a_hole_before_a_snapshot_is_told(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    settle(&x, &c);
    rig_wipe_stream(x.rig);
    rig_append(x.rig, 5, 9, "job.snapshot", ",\"job\":{}");
    rig_append(x.rig, 5, 10, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    settle(&x, &c);
    expect_events(&c, "job.queued " E0 N(1) "\njob.started " E5 N(2) "\nstep.started " E5 N(
                          3) "\nreset\njob.snapshot " E5 N(9) "\nstep.delta " E5 "0000000010\n");
    client_close(&c);
    drop(&x);
}

static void a_hole_without_a_snapshot_gets_one(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){0, 1});
    settle(&x, &c);
    rig_put(x.rig, 5, 6, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"xyz\"");
    rig_append(x.rig, 5, 7, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"uvw\"");
    settle(&x, &c);
    put_end(x.rig, 5, 8);
    settle(&x, &c);
    expect_events(&c, "job.started " E5 N(2) "\nstep.started " E5 N(
                          3) "\nreset\njob.snapshot " E5 N(7) "\njob.succeeded " E5 N(8) "\n");
    buf_put(&c.got, "", 1);
    assert_non_null(strstr(c.got.data, "xyzuvw")); /* what was in the stream is in the snapshot */
    assert_true(c.is_over);
    client_close(&c);
    drop(&x);
}

static void a_cursor_above_the_top_is_reset(void **state)
{
    (void)state;
    static const struct event_id cursors[] = {{5, 99}, {99, 2}, {99, 99}, {4, 99}};
    for (size_t i = 0; i < sizeof cursors / sizeof *cursors; i++) {
        struct world x;
        struct client c;
        make(&x);
        put_running(x.rig);
        client_open(&x, &c, WATCH_SSE, cursors[i]);
        settle(&x, &c);
        expect_events(&c, "reset\njob.snapshot " E5 N(3) "\n");
        put_end(x.rig, 5, 4);
        settle(&x, &c);
        expect_events(&c, "reset\njob.snapshot " E5 N(3) "\njob.succeeded " E5 N(4) "\n");
        client_close(&c);
        drop(&x);
    }
}

static void a_takeover_goes_on_counting(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    rig_append(x.rig, 7, 4, "job.started", ",\"attempt\":2");
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\njob.started " E7 N(4) "\n");
    client_close(&c);
    drop(&x);
}

static void a_new_owner_that_knows_less_is_told(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(
        x.rig); /* 1, 2, 3 seen; 3 is lost with Redis' last second, another owner goes on after 2 */
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    free(x.rig->entries[--x.rig->entry_count].data);
    rig_append(x.rig, 7, 3, "job.started", ",\"attempt\":2");
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\nreset\njob.snapshot " E7 N(3) "\n");
    client_close(&c);
    drop(&x);
}

static void a_stream_begun_again_lower_is_told(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    rig_wipe_stream(x.rig); /* of a void owner with a higher epoch: the winner's ids are lower */
    rig_append(x.rig, 4, 9, "job.snapshot", ",\"job\":{}");
    settle(&x, &c);
    rig_append(x.rig, 4, 10, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\nreset\njob.snapshot 0000000000000004-" N(
                          9) "\nstep.delta 0000000000000004-0000000010\n");
    client_close(&c);
    drop(&x);
}

static const char kept_view[] =
    "{\"id\":\"01a20f90-bb1d-7001-9f75-12f927ebbb5e\",\"status\":\"succeeded\",\"workflow\":"
    "\"noop\",\"version\":1,"
    "\"class\":\"interactive\",\"attempt\":1,\"created_at\":\"2026-11-24T20:55:43.123Z\",\"started_"
    "at\":"
    "\"2026-11-24T20:55:43.200Z\",\"ended_at\":\"2026-11-24T20:55:44.000Z\",\"steps\":[],\"usage\":"
    "{\"input_tokens\":0,"
    "\"output_tokens\":0,\"calls\":0},\"cost\":0,\"output\":42,\"error\":null}";

static void a_stream_past_its_retention_is_told_from_meta(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    rig_set(x.rig, "st", "succeeded");
    rig_set(x.rig, "ep", "5");
    rig_set(x.rig, "sq", "9");
    rig_set(x.rig, "vw", kept_view);
    for (int i = 0; i < 2; i++) {
        client_open(&x, &c, WATCH_SSE, i ? (struct event_id){5, 3} : (struct event_id){0});
        settle(&x, &c);
        expect_events(&c, "reset\njob.snapshot " E5 N(8) "\njob.succeeded " E5 N(9) "\n");
        assert_true(c.is_over);
        client_close(&c);
    }
    client_open(&x, &c, WATCH_END, (struct event_id){0});
    rig_run(x.rig);
    assert_int_equal(c.ended, EVENT_JOB_SUCCEEDED);
    client_close(&c);
    drop(&x);
}

static void a_stream_may_end_its_life_between_two_reads(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    rig_put(x.rig, 5, 9, "job.succeeded", "");
    rig_set(x.rig, "st", "succeeded");
    rig_set(x.rig, "ep", "5");
    rig_set(x.rig, "sq", "9");
    rig_set(x.rig, "vw", kept_view);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    for (int i = 0; i < 10 && x.rig->ranges == 0; i++) assert_true(rig_step(x.rig));
    assert_int_equal(x.rig->ranges, 1); /* the newest entry was there, and not the client's */
    rig_wipe_stream(x.rig);
    settle(&x, &c);
    expect_events(&c, "reset\njob.snapshot " E5 N(8) "\njob.succeeded " E5 N(9) "\n");
    assert_true(c.is_over);
    client_close(&c);
    drop(&x);
}

static void a_rebuilt_end_is_no_news_to_who_had_the_rest(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    rig_wipe_stream(x.rig);
    rig_put(x.rig, 5, 3, "job.snapshot", ",\"job\":{}"); /* under the id before the terminal's */
    put_end(x.rig, 5, 4);
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\njob.succeeded " E5 N(4) "\n");
    assert_true(c.is_over);
    client_close(&c);
    drop(&x);
}

/* --- servers that are away --- */

static void a_job_that_is_not_there_yet_is_waited_for(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    rig_wipe_meta(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    settle(&x, &c);
    expect_events(&c, "");
    rig_live_job(x.rig);
    rig_append(x.rig, 0, 1, "job.queued", "");
    settle(&x, &c);
    expect_events(&c, "job.queued " E0 N(1) "\n");
    client_close(&c);
    drop(&x);
}

static void watchers_hold_while_redis_is_away(void **state)
{
    (void)state;
    struct world x;
    struct client c, late;
    make(&x);
    rig_put(x.rig, 0, 1, "job.queued", "");
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    settle(&x, &c);
    x.rig->is_redis_down = x.rig->is_sub_down = true;
    client_open(&x, &late, WATCH_SSE, (struct event_id){0, 1});
    rig_append(x.rig, 5, 2, "job.started", ",\"attempt\":1"); /* nobody hears the doorbell */
    rig_pass(x.rig, 3000);
    settle(&x, &c);
    settle(&x, &late);
    expect_events(&c, "job.queued " E0 N(1) "\n");
    expect_events(&late, "");
    x.rig->is_redis_down = x.rig->is_sub_down = false;
    x.rig->on_reset(x.rig->listen_arg);
    rig_pass(x.rig, 1000);
    settle(&x, &c);
    settle(&x, &late);
    expect_events(&c, "job.queued " E0 N(1) "\njob.started " E5 N(2) "\n");
    expect_events(&late, "job.started " E5 N(2) "\n");
    client_close(&c);
    client_close(&late);
    drop(&x);
}

static void a_first_watcher_waits_for_the_subscription(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    x.rig->is_sub_down = true;
    client_open(&x, &c, WATCH_SSE, (struct event_id){0});
    settle(&x, &c);
    expect_events(&c, ""); /* reading before the subscription could miss what comes between */
    x.rig->is_sub_down = false;
    x.rig->on_reset(x.rig->listen_arg);
    settle(&x, &c);
    expect_events(&c,
                  "job.queued " E0 N(1) "\njob.started " E5 N(2) "\nstep.started " E5 N(3) "\n");
    client_close(&c);
    drop(&x);
}

static void a_doorbell_that_was_missed_is_made_good(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    rig_put(x.rig, 5, 4, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    rig_pass(x.rig, 16000);
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\nstep.delta " E5 N(4) "\n");
    client_close(&c);
    drop(&x);
}

static void a_connection_that_came_back_is_read_after_at_once(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    x.rig->is_sub_down = true; /* the doorbells' connection alone */
    rig_append(x.rig, 5, 4, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    settle(&x, &c);
    x.rig->is_sub_down = false;
    x.rig->on_reset(x.rig->listen_arg);
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\nstep.delta " E5 N(4) "\n");
    client_close(&c);
    drop(&x);
}

static void what_rings_while_a_page_is_on_its_way_is_read(void **state)
{
    (void)state;
    for (int steps = 0; steps < 8; steps++) {
        struct world x;
        struct client c;
        make(&x);
        x.rig->is_slow = true;
        put_running(x.rig);
        client_open(&x, &c, WATCH_SSE, (struct event_id){0});
        for (int i = 0; i < steps; i++) (void)rig_step(x.rig);
        rig_append(x.rig, 5, 4, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
        (void)timerq_run(x.rig->timers, x.rig->clock.mono_ms,
                         10); /* the turn of the doorbell ends */
        settle(&x, &c);
        expect_events(&c, "job.queued " E0 N(1) "\njob.started " E5 N(2) "\nstep.started " E5 N(
                              3) "\nstep.delta " E5 N(4) "\n");
        client_close(&c);
        drop(&x);
    }
}

static void what_rings_while_a_live_read_is_on_its_way_is_read(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    x.rig->is_slow = true;
    rig_append(x.rig, 5, 4, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    (void)timerq_run(x.rig->timers, x.rig->clock.mono_ms, 10); /* asks */
    assert_true(rig_step(x.rig));                              /* is executed */
    rig_append(x.rig, 5, 5, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"y\"");
    (void)timerq_run(x.rig->timers, x.rig->clock.mono_ms, 10);
    settle(&x, &c);
    expect_events(&c, "step.started " E5 N(3) "\nstep.delta " E5 N(4) "\nstep.delta " E5 N(5) "\n");
    client_close(&c);
    drop(&x);
}

static void closing_at_any_moment_is_fine(void **state)
{
    (void)state;
    for (int steps = 0; steps < 12; steps++) {
        struct world x;
        struct client c;
        make(&x);
        put_running(x.rig);
        client_open(&x, &c, WATCH_SSE,
                    (struct event_id){5, 99}); /* the longest way: probe, fold, page */
        for (int i = 0; i < steps; i++) {
            (void)rig_step(x.rig);
            (void)timerq_run(x.rig->timers, x.rig->clock.mono_ms, 10);
        }
        client_close(&c);
        drop(&x);
    }
}

/* --- slow clients --- */

static void fill(struct world *x, uint64_t from, uint64_t to, const char *text)
{
    char more[4096];
    snprintf(more, sizeof more, ",\"step\":\"a\",\"attempt\":1,\"text\":\"%s\"", text);
    for (uint64_t seq = from; seq < to; seq++) {
        rig_append(x->rig, 5, seq, "step.delta", more);
        if (seq % 16 == 0) rig_run(x->rig);
    }
    rig_run(x->rig);
}

static void one_that_is_slow_holds_no_frames_and_gets_all(void **state)
{
    (void)state;
    struct world x;
    struct client slow, quick;
    make_with(&x, 20000);
    put_running(x.rig);
    client_open(&x, &slow, WATCH_SSE, (struct event_id){5, 2});
    client_open(&x, &quick, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &slow);
    settle(&x, &quick);
    for (uint64_t seq = 4; seq < 1004; seq += 20) {
        fill(&x, seq, seq + 20, "0123456789012345678901234567890123456789");
        settle(&x, &quick);
        client_take(&slow, 500, 100); /* slow, but it takes something */
        assert_true(x.tails->frame_bytes <= 40000);
        rig_pass(x.rig, 300);
    }
    assert_false(slow.was_cut);
    settle(&x, &slow);
    assert_true(view_eq(buf_view(&slow.got), buf_view(&quick.got)));
    client_close(&slow);
    client_close(&quick);
    drop(&x);
}

static void one_that_takes_nothing_is_cut(void **state)
{
    (void)state;
    struct world x;
    struct client dead, quick;
    make_with(&x, 20000);
    put_running(x.rig);
    client_open(&x, &dead, WATCH_SSE, (struct event_id){5, 2});
    client_open(&x, &quick, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &dead);
    settle(&x, &quick);
    fill(&x, 4, 40, "0123456789");
    settle(&x, &quick);
    rig_pass(x.rig, 5000);
    assert_false(dead.was_cut); /* within its bound it may take its time */
    fill(&x, 40, 400, "0123456789012345678901234567890123456789");
    settle(&x, &quick);
    rig_pass(x.rig, TAIL_CUT_MS + 100);
    assert_true(dead.was_cut);
    assert_false(quick.was_cut);
    assert_int_equal(tails_counts(x.tails).cuts, 1);
    client_close(&dead);
    client_close(&quick);
    drop(&x);
}

static void a_quiet_stream_has_heartbeats(void **state)
{
    (void)state;
    struct world x;
    struct client c;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    settle(&x, &c);
    for (int i = 0; i < 3; i++) {
        size_t before = c.got.len;
        rig_pass(x.rig, 14000);
        settle(&x, &c);
        assert_int_equal(c.got.len, before);
        rig_pass(x.rig, 1000);
        settle(&x, &c);
        assert_true(c.got.len > before);
        assert_int_equal(c.got.data[before], ':');
    }
    expect_events(&c, "step.started " E5 N(3) "\n");
    rig_pass(x.rig, 100000); /* nobody reads them: the peer is gone */
    assert_true(c.was_cut);
    client_close(&c);
    drop(&x);
}

static void winding_up_ends_between_two_events(void **state)
{
    (void)state;
    struct world x;
    struct client c, half, end;
    make(&x);
    put_running(x.rig);
    client_open(&x, &c, WATCH_SSE, (struct event_id){5, 2});
    client_open(&x, &half, WATCH_SSE, (struct event_id){5, 2});
    client_open(&x, &end, WATCH_END, (struct event_id){0});
    settle(&x, &c);
    settle(&x, &half);
    rig_append(x.rig, 5, 4, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"x\"");
    rig_append(x.rig, 5, 5, "step.delta", ",\"step\":\"a\",\"attempt\":1,\"text\":\"y\"");
    rig_run(x.rig);
    client_take(&half, 50, 50); /* in the middle of an event */
    tails_wind_up(x.tails);
    assert_true(end.was_cut);
    settle(&x, &c);
    settle(&x, &half);
    assert_true(c.is_over);
    assert_true(half.is_over);
    expect_events(&half, "step.started " E5 N(3) "\nstep.delta " E5 N(4) "\n");
    buf_put(&half.got, "", 1);
    assert_string_equal(half.got.data + strlen(half.got.data) - 15, "\n\nretry: 1000\n\n");
    const struct watch_ask ask = {.job = x.rig->job, .format = WATCH_SSE, .sink = &client_sink};
    assert_null(tails_watch(x.tails, &ask));
    client_close(&c);
    client_close(&half);
    client_close(&end);
    drop(&x);
}

/* --- random histories --- */

/* What a watcher may see: seq + 1, or a reset followed by a snapshot. Returns the last id, seq 0
 * when there was none. */
static struct event_id check_order(const struct client *c, struct event_id cursor)
{
    struct view line, rest = buf_view(&c->got);
    struct event_id id = {0};
    bool was_reset = false, has_id = false;
    while (view_cut(rest, '\n', &line, &rest)) {
        if (view_starts(line, "id: "))
            has_id = event_id_parse(view_make(line.ptr + 4, line.len - 4), &id);
        if (!view_starts(line, "event: ")) continue;
        struct view type = view_make(line.ptr + 7, line.len - 7);
        if (view_eq_str(type, "reset")) {
            assert_false(has_id);
            was_reset = true;
            continue;
        }
        assert_true(has_id);
        if (was_reset)
            assert_true(view_eq_str(type, "job.snapshot"));
        else
            assert_int_equal(event_order(cursor, id), EVENT_NEXT);
        was_reset = has_id = false;
        cursor = id;
    }
    return cursor; /* a client that left between reset and snapshot keeps its old cursor */
}

struct history {
    uint64_t epoch, seq;
    bool has_ended;
};

static void history_step(struct world *x, struct history *h, struct rng *rng)
{
    static const char delta[] = ",\"step\":\"a\",\"attempt\":1,\"text\":\"some text\"";
    uint64_t dice = rng_below(rng, 100);
    if (h->has_ended) return;
    if (dice < 60) {
        for (uint64_t n = 1 + rng_below(rng, 20); n > 0; n--) {
            h->seq++;
            rig_put(x->rig, h->epoch, h->seq, "step.delta", delta);
            if (rng_below(rng, 10)) rig_ring(x->rig, (struct event_id){h->epoch, h->seq});
        }
    } else if (dice < 66) { /* taken over */
        h->epoch += 1 + rng_below(rng, 5);
    } else if (dice < 72) { /* wiped; the owner puts it back */
        rig_wipe_stream(x->rig);
        rig_append(x->rig, h->epoch, h->seq, "job.snapshot", ",\"job\":{}");
    } else if (dice < 76 && h->seq > 3) { /* Redis lost its last entries, and the owner with them */
        for (uint64_t n = rng_below(rng, 3); n > 0 && x->rig->entry_count > 1; n--, h->seq--)
            free(x->rig->entries[--x->rig->entry_count].data);
        h->seq = x->rig->entries[x->rig->entry_count - 1].id.seq;
        h->epoch++;
        rig_append(x->rig, h->epoch, ++h->seq, "job.started", ",\"attempt\":2");
    } else if (dice < 80) { /* compacted */
        h->seq++;
        rig_wipe_stream(x->rig);
        rig_append(x->rig, h->epoch, h->seq, "job.snapshot", ",\"job\":{}");
    } else if (dice < 84) {
        x->rig->is_redis_down = x->rig->is_sub_down = true;
    } else if (x->rig->is_redis_down) {
        x->rig->is_redis_down = x->rig->is_sub_down = false;
        x->rig->on_reset(x->rig->listen_arg);
    }
}

static void play(uint64_t seed)
{
    enum { CLIENTS = 4 };
    struct world x;
    struct client c[CLIENTS];
    struct event_id at[CLIENTS] = {{0}};
    struct rng rng;
    struct history h = {.epoch = 5, .seq = 1};
    rng_seed(&rng, seed);
    make_with(&x, 4096 << rng_below(&rng, 4));
    x.rig->is_slow = seed % 2 == 0;
    rig_put(x.rig, 0, 1, "job.queued", "");
    for (int i = 0; i < CLIENTS; i++) client_open(&x, &c[i], WATCH_SSE, at[i]);
    for (int round = 0; round < 200; round++) {
        history_step(&x, &h, &rng);
        if (rng_below(&rng, 2)) (void)rig_step(x.rig);
        if (rng_below(&rng, 3) == 0) rig_pass(x.rig, (int64_t)rng_below(&rng, 700));
        struct client *one = &c[rng_below(&rng, CLIENTS)];
        client_take(one, rng_below(&rng, 3) ? SIZE_MAX : rng_below(&rng, 900),
                    1 + rng_below(&rng, 3000));
        if (one->w && rng_below(&rng, 10)) continue;
        size_t i =
            (size_t)(one - c); /* leaves, or was cut, and comes back with what it has seen whole */
        struct view whole_events = buf_view(&one->got);
        while (one->got.len >= 2 && memcmp(one->got.data + one->got.len - 2, "\n\n", 2) != 0)
            one->got.len--;
        if (whole_events.len && one->got.len < 2) one->got.len = 0;
        at[i] = check_order(one, at[i]);
        client_close(one);
        client_open(&x, one, WATCH_SSE, at[i]);
    }
    if (x.rig->is_redis_down) {
        x.rig->is_redis_down = x.rig->is_sub_down = false;
        x.rig->on_reset(x.rig->listen_arg);
    }
    put_end(x.rig, h.epoch, h.seq + 1);
    for (int i = 0; i < CLIENTS; i++) {
        for (int tries = 0; tries < 100 && c[i].w; tries++) {
            rig_pass(x.rig, 500);
            client_take(&c[i], SIZE_MAX, 4096);
        }
        if (c[i].was_cut) {
            client_close(&c[i]);
            continue;
        }
        assert_true(c[i].is_over);
        struct event_id last = check_order(&c[i], at[i]);
        assert_int_equal(last.seq, h.seq + 1);
        client_close(&c[i]);
    }
    drop(&x);
}

static void random_histories_have_no_holes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        play(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_then_live_then_the_end),
        cmocka_unit_test(every_cursor_gets_exactly_the_rest),
        cmocka_unit_test(any_size_of_pull_gives_the_same_bytes),
        cmocka_unit_test(ndjson_is_the_data_with_its_id),
        cmocka_unit_test(watchers_share_reads_and_frames),
        cmocka_unit_test(a_long_history_comes_in_pages),
        cmocka_unit_test(one_that_waits_for_the_end_is_told),
        cmocka_unit_test(a_hole_before_a_snapshot_is_told),
        cmocka_unit_test(a_hole_without_a_snapshot_gets_one),
        cmocka_unit_test(a_cursor_above_the_top_is_reset),
        cmocka_unit_test(a_takeover_goes_on_counting),
        cmocka_unit_test(a_new_owner_that_knows_less_is_told),
        cmocka_unit_test(a_stream_begun_again_lower_is_told),
        cmocka_unit_test(a_stream_past_its_retention_is_told_from_meta),
        cmocka_unit_test(a_stream_may_end_its_life_between_two_reads),
        cmocka_unit_test(a_rebuilt_end_is_no_news_to_who_had_the_rest),
        cmocka_unit_test(a_job_that_is_not_there_yet_is_waited_for),
        cmocka_unit_test(watchers_hold_while_redis_is_away),
        cmocka_unit_test(a_first_watcher_waits_for_the_subscription),
        cmocka_unit_test(a_doorbell_that_was_missed_is_made_good),
        cmocka_unit_test(a_connection_that_came_back_is_read_after_at_once),
        cmocka_unit_test(what_rings_while_a_page_is_on_its_way_is_read),
        cmocka_unit_test(what_rings_while_a_live_read_is_on_its_way_is_read),
        cmocka_unit_test(closing_at_any_moment_is_fine),
        cmocka_unit_test(one_that_is_slow_holds_no_frames_and_gets_all),
        cmocka_unit_test(one_that_takes_nothing_is_cut),
        cmocka_unit_test(a_quiet_stream_has_heartbeats),
        cmocka_unit_test(winding_up_ends_between_two_events),
        cmocka_unit_test(random_histories_have_no_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
