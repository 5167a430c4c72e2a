/* Watching against a raw server that cuts, repeats, refuses and lies: each event once and in order,
 * one end. */
#include "tests/unit/cli_stage.h"

#include "producer/cli_watch.h"

#define JOB "0190a1b2-c3d4-7001-8000-0123456789ab"
enum { EVENTS = 6, SEEN_MAX = 64 };

static const char *const types[EVENTS] = {"job.queued", "job.started",    "step.started",
                                          "step.delta", "step.completed", "job.succeeded"};

struct seen {
    struct stage *stage;
    struct cli_watch *watch;
    char ids[SEEN_MAX][SSE_ID_MAX], names[SEEN_MAX][32];
    size_t count, ends, losses, opens, holes;
    struct cli_watch_end end;
    char body[4096], lost[256];
    int64_t pauses[64];
    int64_t hole[2];
    struct err away;
};

static void on_event(void *arg, const struct cli_event *e)
{
    struct seen *s = arg;

    assert_int_equal(s->ends, 0);
    assert_true(s->count < SEEN_MAX);
    view_copy(e->id, s->ids[s->count], SSE_ID_MAX);
    assert_true(view_copy(e->name, s->names[s->count++], 32));
}

static void on_line(void *arg, const char *lost, int64_t pause_ms)
{
    struct seen *s = arg;

    if (!lost) {
        s->opens++;
        return;
    }
    snprintf(s->lost, sizeof s->lost, "%s", lost);
    if (s->losses < 64) s->pauses[s->losses] = pause_ms;
    s->losses++;
}

static void on_hole(void *arg, int64_t last, int64_t next)
{
    struct seen *s = arg;

    s->holes++;
    s->hole[0] = last;
    s->hole[1] = next;
}

static void on_end(void *arg, const struct cli_watch_end *end)
{
    struct seen *s = arg;

    s->ends++;
    s->end = *end;
    if (end->kind == CLI_WATCH_REFUSED) assert_true(view_copy(end->body, s->body, sizeof s->body));
    if (end->away) s->away = *end->away;
}

static bool is_over(void *arg)
{
    return ((struct seen *)arg)->ends > 0;
}

static void begin(struct seen *seen, struct stage *s, const char *after,
                  void (*on_request)(struct stage *s, struct stage_conn *c, size_t n))
{
    const struct cli_watch_options o = {.server = &s->server,
                                        .id = JOB,
                                        .after = after,
                                        .on_event = on_event,
                                        .on_line = on_line,
                                        .on_hole = on_hole,
                                        .on_end = on_end,
                                        .arg = seen};
    struct err err;

    *seen = (struct seen){.stage = s};
    s->on_request = on_request;
    if (!s->arg) s->arg = seen;
    seen->watch = cli_watch_new(&o, &err);
    assert_non_null(seen->watch);
}

static void watch(struct seen *seen, struct stage *s, const char *after,
                  void (*on_request)(struct stage *s, struct stage_conn *c, size_t n))
{
    begin(seen, s, after, on_request);
    rig_wait(&s->rig, is_over, seen);
    cli_watch_free(seen->watch);
    assert_int_equal(seen->ends, 1);
}

/* --- what the server says --- */

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

static void put_event(struct buf *out, size_t seq, const char *type)
{
    char data[256], id[EVENT_ID_TEXT];

    snprintf(data, sizeof data,
             "{\"type\":\"%s\",\"job_id\":\"" JOB
             "\",\"seq\":%zu,\"ts\":\"2026-01-02T00:00:00.000Z\"}",
             type, seq);
    event_id_format((struct event_id){1, seq}, id);
    assert_true(event_put_sse(out, view_of(id), view_of(type), view_of(data)));
}

/* The first event after the id that the request asks for. */
static size_t asked_from(const struct stage *s)
{
    const char *at = strstr(s->last, "Last-Event-ID: ");
    struct event_id id;

    if (!at) return 0;
    assert_true(event_id_parse(view_make(at + 15, EVENT_ID_TEXT - 1), &id));
    return (size_t)id.seq;
}

static void put_history(struct buf *out, size_t from)
{
    buf_put_str(out, "retry: 40\n\n: hello\n\n");
    for (size_t i = from; i < EVENTS; i++) put_event(out, i + 1, types[i]);
}

static void whole_history(const struct seen *seen)
{
    assert_int_equal(seen->count, EVENTS);
    for (size_t i = 0; i < EVENTS; i++) assert_string_equal(seen->names[i], types[i]);
    for (size_t i = 1; i < EVENTS; i++) assert_true(strcmp(seen->ids[i - 1], seen->ids[i]) < 0);
    assert_int_equal(seen->end.kind, CLI_WATCH_TERMINAL);
    assert_int_equal(seen->holes, 0);
}

static void serve_history(struct stage *s, struct stage_conn *c, size_t n)
{
    struct buf out;

    (void)n;
    buf_init(&out, 1 << 16);
    put_history(&out, asked_from(s));
    stage_say(c, stream_head);
    stage_send(c, buf_view(&out));
    buf_fini(&out);
}

static void test_a_history(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, NULL, serve_history);
    whole_history(&seen);
    assert_int_equal(s->requests, 1);
    assert_int_equal(seen.opens, 1);
    assert_int_equal(seen.losses, 0);
    assert_true(view_starts(view_of(s->last), "GET /v1/jobs/" JOB "/events HTTP/1.1\r\n"));
    assert_true(stage_heard(s, "\r\nAccept: text/event-stream\r\n"));
    assert_true(stage_heard(s, "\r\nAuthorization: Bearer sk-test\r\n"));
    assert_false(stage_heard(s, "Last-Event-ID"));
    watch(&seen, s, "0000000000000001-0000000002", serve_history);
    assert_int_equal(seen.count, EVENTS - 2);
    assert_string_equal(seen.names[0], types[2]);
}

/* The stream is cut after every number of bytes there is: nothing is lost, nothing comes twice. */
struct cutter {
    size_t cut;   /* bytes of the first answer */
    bool forgets; /* the server ignores the cursor and begins anew: what was seen must not be told
                     again */
};

static void serve_cut(struct stage *s, struct stage_conn *c, size_t n)
{
    const struct cutter *cutter = s->arg;
    struct buf out;

    buf_init(&out, 1 << 16);
    put_history(&out, cutter->forgets ? 0 : asked_from(s));
    if (n == 0 && cutter->cut < out.len) out.len = cutter->cut;
    stage_say(c, stream_head);
    stage_send(c, buf_view(&out));
    if (n == 0) stage_close(c);
    buf_fini(&out);
}

static void cut_everywhere(struct stage *s, bool forgets)
{
    struct cutter cutter = {.forgets = forgets};
    struct seen seen;
    struct buf whole;

    buf_init(&whole, 1 << 16);
    put_history(&whole, 0);
    s->arg = &cutter;
    for (cutter.cut = 0; cutter.cut < whole.len; cutter.cut++) {
        s->requests = 0;
        watch(&seen, s, NULL, serve_cut);
        whole_history(&seen);
        assert_in_range(s->requests, 1, 2);
    }
    buf_fini(&whole);
}

static void test_cut_anywhere(void **state)
{
    cut_everywhere(*state, false);
}

static void test_a_server_that_repeats(void **state)
{
    cut_everywhere(*state, true);
}

/* One event a connection, some of them refused on the way. */
static void serve_drop(struct stage *s, struct stage_conn *c, size_t n)
{
    size_t from = asked_from(s);
    struct buf out;

    if (n % 4 == 1) {
        stage_answer(c, 503, "Retry-After: 2\r\n", "{\"code\":\"unavailable\"}");
        return;
    }
    if (n % 4 == 2) {
        stage_close(c);
        return;
    }
    if (n % 4 == 3) {
        stage_answer(c, 429, "", "{}");
        return;
    }
    buf_init(&out, 1 << 16);
    put_event(&out, from + 1, types[from]);
    stage_say(c, stream_head);
    stage_send(c, buf_view(&out));
    stage_close(c);
    buf_fini(&out);
}

static void test_it_comes_back_for_ever(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, NULL, serve_drop);
    whole_history(&seen);
    assert_int_equal(seen.opens, EVENTS);
    assert_int_equal(seen.losses, 4 * (EVENTS - 1));
    /* An event sets the pauses back; Retry-After is honoured. */
    assert_in_range(seen.pauses[0], 375, 625);
    assert_in_range(seen.pauses[1], 2000, 2000);
    assert_in_range(seen.pauses[4], 375, 625);
    assert_string_equal(seen.lost, "the server answered 429");
}

static void serve_retry(struct stage *s, struct stage_conn *c, size_t n)
{
    stage_say(c, stream_head);
    stage_say(c, n < 3 ? "retry: 40\n\n" : "");
    if (n < 3) {
        stage_close(c);
        return;
    }
    serve_history(s, c, n);
}

static void test_the_server_sets_the_pause(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, NULL, serve_retry);
    assert_int_equal(seen.losses, 3);
    assert_in_range(seen.pauses[0], 30, 50);
    assert_in_range(seen.pauses[1], 60, 100);
    assert_in_range(seen.pauses[2], 120, 200);
}

/* --- history that is gone --- */

static void serve_reset(struct stage *s, struct stage_conn *c, size_t n)
{
    struct buf out;

    buf_init(&out, 1 << 16);
    stage_say(c, stream_head);
    if (n == 0) {
        put_event(&out, 1, types[0]);
        put_event(&out, 2, types[1]);
    } else if (n == 1) {
        assert_int_equal(asked_from(s), 2);
        buf_put_str(&out, "event: reset\ndata: {\"type\":\"reset\",\"job_id\":\"" JOB "\"}\n\n");
        put_event(&out, 1, "job.snapshot"); /* under an id below the cursor */
        put_event(&out, 2, "step.delta");
    } else {
        assert_int_equal(asked_from(s), 2);
        put_event(&out, 3, "job.failed");
    }
    stage_send(c, buf_view(&out));
    if (n < 2) stage_close(c);
    buf_fini(&out);
}

static void test_reset_and_snapshot(void **state)
{
    struct stage *s = *state;
    struct seen seen;
    const char *expected[] = {"job.queued",   "job.started", "reset",
                              "job.snapshot", "step.delta",  "job.failed"};

    watch(&seen, s, NULL, serve_reset);
    assert_int_equal(seen.count, 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(seen.names[i], expected[i]);
    assert_string_equal(seen.ids[2], "");
    assert_int_equal(seen.holes, 0);
}

static void serve_hole(struct stage *s, struct stage_conn *c, size_t n)
{
    struct buf out;

    (void)s;
    (void)n;
    buf_init(&out, 1 << 16);
    put_event(&out, 1, types[0]);
    put_event(&out, 4, types[3]);
    put_event(&out, 5, types[5]);
    stage_say(c, stream_head);
    stage_send(c, buf_view(&out));
    buf_fini(&out);
}

static void test_a_hole_is_told(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, NULL, serve_hole);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.holes, 1);
    assert_int_equal(seen.hole[0], 1);
    assert_int_equal(seen.hole[1], 4);
}

/* --- answers that are no stream --- */

static void serve_over(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_say(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    stage_close(c);
}

static void serve_unknown(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_answer(c, 404, "Content-Type: application/problem+json\r\n", "{\"code\":\"not_found\"}");
}

static void serve_page(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    (void)n;
    stage_answer(c, 200, "Content-Type: text/html\r\n", "<html>");
}

static void test_ends_without_a_stream(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, "0000000000000001-0000000006", serve_over);
    assert_int_equal(seen.end.kind, CLI_WATCH_OVER);
    watch(&seen, s, NULL, serve_unknown);
    assert_int_equal(seen.end.kind, CLI_WATCH_REFUSED);
    assert_int_equal(seen.end.status, 404);
    assert_string_equal(seen.body, "{\"code\":\"not_found\"}");
    watch(&seen, s, NULL, serve_page);
    assert_int_equal(seen.end.kind, CLI_WATCH_REFUSED);
    assert_int_equal(seen.end.status, 200);
}

static void serve_garbage(struct stage *s, struct stage_conn *c, size_t n)
{
    if (n == 0) {
        stage_say(c, stream_head);
        stage_say(c, "event: job.queued\nid: 1\ndata: {\"type\":\n\n");
        return;
    }
    assert_false(stage_heard(s, "Last-Event-ID"));
    serve_history(s, c, n);
}

/* What is no event is not taken for one, and its id is not kept. */
static void test_garbage_in_the_stream(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    watch(&seen, s, NULL, serve_garbage);
    whole_history(&seen);
    assert_int_equal(seen.losses, 1);
}

static void test_never_reached(void **state)
{
    struct stage *s = *state;
    struct seen seen;

    stage_stop_listening(s);
    watch(&seen, s, NULL, serve_over);
    assert_int_equal(seen.end.kind, CLI_WATCH_AWAY);
    assert_int_equal(seen.away.code, ERR_UNAVAILABLE);
    assert_int_equal(seen.losses, CLI_TRIES - 1);
    assert_int_equal(seen.opens, 0);
}

/* --- freed in every state --- */

static void serve_silence(struct stage *s, struct stage_conn *c, size_t n)
{
    (void)s;
    if (n > 0) stage_say(c, stream_head);
    if (n > 1) stage_close(c);
}

static bool is_asked(void *arg)
{
    return ((struct seen *)arg)->stage->requests > 0;
}

static bool is_open(void *arg)
{
    return ((struct seen *)arg)->opens > 0;
}

static bool is_lost(void *arg)
{
    return ((struct seen *)arg)->losses > 0;
}

static void test_freed_in_every_state(void **state)
{
    struct stage *s = *state;
    bool (*const moments[])(void *arg) = {is_asked, is_open, is_lost};
    struct seen seen;

    for (size_t i = 0; i < 3; i++) {
        begin(&seen, s, NULL, serve_silence);
        rig_wait(&s->rig, moments[i], &seen);
        cli_watch_free(seen.watch);
        rig_pass(&s->rig, 20);
        assert_int_equal(seen.ends, 0);
    }
    cli_watch_free(NULL);
}

static int setup(void **state)
{
    *state = stage_new();
    return 0;
}

static int teardown(void **state)
{
    stage_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_server_that_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_comes_back_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_server_sets_the_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_and_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hole_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_without_a_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_in_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_reached, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freed_in_every_state, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
