/* Watching a job.
 *
 *   PAUSING --due--> ASKING --200--> STREAMING --terminal event--> ENDED
 *      ^                | 503, no answer |  broken, silent, closed
 *      '----------------'----------------'          ASKING --204, refusal--> ENDED
 *
 * What is hard: a stream can end in every way, and only one of them is the end of the job. Whatever
 * else happens, the watch comes back with the id of the last event that it handed over; that the
 * server answers with what follows is its promise, and is checked: an id at or below the cursor is
 * skipped, a missing number is told. A reset says that history is gone; the cursor goes with it,
 * and the snapshot that follows starts a new one. A silent stream is taken for dead after
 * SILENCE_MS: heartbeats are what tells. */
#include "producer/cli_watch.h"

#include "producer/cli_json.h"
#include "producer/cli_problem.h"
#include "producer/cli_request.h"
#include <assert.h>

enum {
    CONNECT_MS = 5000,
    SILENCE_MS = 45000, /* three heartbeats */
    PAUSE_FIRST_MS = 500,
    PAUSE_MAX_MS = 15000,
    PAUSE_UNKNOWN_MAX_MS = 2000, /* while it was never reached */
    STEADY_MS = 5000,            /* a stream that held so long was a good one */
    FRAME_MAX = 64 << 20,
    REFUSAL_MAX = 64 << 10,
    PATH_MAX_BYTES = 128,
};

enum watch_state { WATCH_PAUSING, WATCH_ASKING, WATCH_STREAMING, WATCH_ENDED };

struct cli_watch {
    struct cli_watch_options o;
    char id[JOB_ID_LEN + 1];
    char cursor[SSE_ID_MAX]; /* "" = none */
    int64_t seq;             /* of the last event; 0 = none, or after a reset */
    enum watch_state state;
    struct http_call *call;
    struct timer pause;
    struct sse_in sse;
    int status;
    int64_t retry_after_ms, opened_ms;
    struct buf refusal;
    unsigned failures;
    bool was_reached;
};

static void watch_ask(void *arg);

/* --- ends --- */

static void watch_stop_call(struct cli_watch *w)
{
    if (w->call) w->o.server->http.cancel(w->o.server->http.self, w->call);
    w->call = NULL;
}

static void watch_end(struct cli_watch *w, const struct cli_watch_end *end)
{
    assert(w->state != WATCH_ENDED);
    w->state = WATCH_ENDED;
    watch_stop_call(w);
    w->o.on_end(w->o.arg, end);
}

/* Comes back later, or gives up on a server that never answered. */
static void watch_again(struct cli_watch *w, const struct err *e)
{
    const struct cli_server *s = w->o.server;
    int64_t first_ms = w->sse.retry_ms > 0 ? w->sse.retry_ms : PAUSE_FIRST_MS;
    int64_t max_ms = w->was_reached ? PAUSE_MAX_MS : PAUSE_UNKNOWN_MAX_MS;

    if (w->state == WATCH_STREAMING && s->clock->mono_ms - w->opened_ms >= STEADY_MS)
        w->failures = 0;
    watch_stop_call(w);
    w->state = WATCH_PAUSING;
    w->failures++;
    int64_t pause_ms = cli_pause_ms(first_ms, max_ms, w->failures, w->retry_after_ms, s->rng);
    bool gives_up = !w->was_reached && w->failures >= CLI_TRIES;
    if (!gives_up)
        gives_up = !timerq_set(s->timers, &w->pause, s->clock->mono_ms + pause_ms, watch_ask, w);
    if (gives_up)
        watch_end(w, &(struct cli_watch_end){.kind = CLI_WATCH_AWAY, .away = e});
    else
        w->o.on_line(w->o.arg, e->text, pause_ms);
}

/* --- events --- */

/* False: seen before. */
static bool watch_is_new(struct cli_watch *w, const struct cli_event *e)
{
    int64_t seq = cli_json_int(e->data, "seq", 0);

    if (e->is_known && e->type == EVENT_RESET) {
        w->cursor[0] = '\0';
        w->seq = 0;
        return true;
    }
    if (e->id.len == 0) return true;
    if (w->cursor[0] && view_cmp(e->id, view_of(w->cursor)) <= 0) return false;
    if (w->seq > 0 && seq > 0 && seq != w->seq + 1) w->o.on_hole(w->o.arg, w->seq, seq);
    w->seq = seq;
    view_copy(e->id, w->cursor, sizeof w->cursor);
    return true;
}

static void watch_take(struct cli_watch *w, const struct sse_frame *f)
{
    struct cli_event e;
    struct err err;

    if (cli_event_read(f->event, f->id, f->data, &e, &err) != ERR_OK) {
        watch_again(w, &err);
        return;
    }
    w->failures = 0;
    if (!watch_is_new(w, &e)) return;
    w->o.on_event(w->o.arg, &e);
    if (e.is_known && event_type_is_terminal(e.type))
        watch_end(w, &(struct cli_watch_end){.kind = CLI_WATCH_TERMINAL});
}

static void watch_feed(struct cli_watch *w, struct view bytes)
{
    enum sse_verdict verdict = SSE_FRAME;
    struct sse_frame frame;
    struct err err;

    while (verdict == SSE_FRAME && w->state == WATCH_STREAMING) {
        verdict = sse_in_feed(&w->sse, &bytes, &frame);
        if (verdict == SSE_FRAME) watch_take(w, &frame);
    }
    if (verdict != SSE_BAD) return;
    (void)err_set(&err, ERR_TOO_LARGE, "an event that is too large");
    watch_again(w, &err);
}

/* --- one connection --- */

static void watch_open(struct cli_watch *w)
{
    int64_t retry_ms = w->sse.retry_ms;

    w->state = WATCH_STREAMING;
    w->opened_ms = w->o.server->clock->mono_ms;
    w->was_reached = true;
    sse_in_fini(&w->sse);
    sse_in_init(&w->sse, FRAME_MAX);
    w->sse.retry_ms = retry_ms;
    w->o.on_line(w->o.arg, NULL, 0);
}

static void watch_on_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    struct cli_watch *w = arg;
    struct view type = cli_header(headers, count, "content-type");

    w->status = status;
    w->retry_after_ms = cli_retry_after_s(headers, count) * 1000;
    if (status == 200 && view_starts(type, "text/event-stream")) watch_open(w);
}

static void watch_on_body(void *arg, struct view bytes)
{
    struct cli_watch *w = arg;

    if (w->state == WATCH_STREAMING)
        watch_feed(w, bytes);
    else if (w->state == WATCH_ASKING)
        buf_put_view(&w->refusal, bytes); /* what is over its ceiling is not needed to say why */
}

/* The answer was no stream: is it the end, or only not now? */
static void watch_judge(struct cli_watch *w)
{
    struct err err;

    if (w->status == 204) {
        watch_end(w, &(struct cli_watch_end){.kind = CLI_WATCH_OVER});
    } else if (w->status == 408 || w->status == 425 || w->status == 429 || w->status >= 500) {
        w->was_reached =
            w->was_reached || !cli_problem_is_passing(w->status) || w->retry_after_ms > 0;
        (void)err_set(&err, ERR_UNAVAILABLE, "the server answered %d", w->status);
        watch_again(w, &err);
    } else {
        const struct cli_watch_end end = {
            .kind = CLI_WATCH_REFUSED, .status = w->status, .body = buf_view(&w->refusal)};

        watch_end(w, &end);
    }
}

static void watch_on_end(void *arg, const struct err *e)
{
    struct cli_watch *w = arg;
    struct err err;

    w->call = NULL;
    if (w->state == WATCH_ASKING && !e) {
        watch_judge(w);
        return;
    }
    (void)err_set(&err, ERR_UNAVAILABLE, "the server closed the stream");
    watch_again(w, e ? e : &err);
}

static bool watch_start(struct cli_watch *w, struct err *err)
{
    static const struct http_sink sink = {
        .on_head = watch_on_head, .on_body = watch_on_body, .on_end = watch_on_end};
    const struct cli_server *s = w->o.server;
    struct cli_head head;
    struct buf path;

    buf_init(&path, PATH_MAX_BYTES);
    buf_reset(&w->refusal);
    w->status = 0;
    w->retry_after_ms = 0;
    bool ok = cli_path_job(&path, w->id, "/events");
    ok = cli_head_init(&head, s, buf_view(&path)) && ok;
    cli_head_add(&head, "Accept", VIEW_LIT("text/event-stream"));
    if (w->cursor[0]) cli_head_add(&head, "Last-Event-ID", view_of(w->cursor));
    const struct http_request_out req = {.method = "GET",
                                         .url = buf_view(&head.url),
                                         .headers = head.headers,
                                         .header_count = head.count,
                                         .connect_timeout_ms = CONNECT_MS,
                                         .first_byte_timeout_ms = SILENCE_MS,
                                         .idle_timeout_ms = SILENCE_MS,
                                         .body_max = SIZE_MAX};
    w->state = WATCH_ASKING;
    if (ok)
        w->call = s->http.start(s->http.self, &req, &sink, w, err);
    else
        (void)err_set(err, ERR_NOMEM, "no memory for a request");
    cli_head_fini(&head);
    buf_fini(&path);
    return w->call != NULL;
}

static void watch_ask(void *arg)
{
    struct cli_watch *w = arg;
    struct err err;

    if (!watch_start(w, &err)) watch_again(w, &err);
}

/* --- life --- */

struct cli_watch *cli_watch_new(const struct cli_watch_options *o, struct err *err)
{
    struct cli_watch *w = calloc(1, sizeof *w);

    if (!w) {
        (void)err_set(err, ERR_NOMEM, "no memory for a watch");
        return NULL;
    }
    w->o = *o;
    w->was_reached = o->was_reached;
    view_copy(view_of(o->id), w->id, sizeof w->id);
    if (o->after) view_copy(view_of(o->after), w->cursor, sizeof w->cursor);
    sse_in_init(&w->sse, FRAME_MAX);
    buf_init(&w->refusal, REFUSAL_MAX);
    if (watch_start(w, err)) return w;
    cli_watch_free(w);
    return NULL;
}

void cli_watch_free(struct cli_watch *w)
{
    if (!w) return;
    watch_stop_call(w);
    timerq_cancel(w->o.server->timers, &w->pause);
    sse_in_fini(&w->sse);
    buf_fini(&w->refusal);
    free(w);
}

const char *cli_watch_cursor(const struct cli_watch *w)
{
    return w->cursor;
}
