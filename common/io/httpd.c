/* The server: libmicrohttpd inside, its epoll descriptor watched by our loop.
 *
 * What is hard, and what was chosen:
 *
 * Waiting. The library offers two ways to answer later. A suspended request costs two epoll calls,
 * a vain read, and a walk over ALL suspended connections for every batch that is resumed. One that
 * is left as it is is asked for again in every round, which is a call of ours and no more: cheaper
 * by a quarter of a request as long as the wait is short (an acknowledgement) and the crowd not too
 * large. So a request is first left (ASKING) and after some milliseconds, or in a crowd, suspended
 * (PARKED). While some are asking, the library always claims to have work: rounds go on only while
 * a callback shows progress, and a timer looks again a millisecond later. Answers of a turn are
 * gathered: the library runs once, in the after-turn hook. The walk is also why streams are not
 * left in it.
 *
 * Streams. When a stream begins we duplicate its socket and let the library go of the connection
 * (httpd_stream.c): it answers "internal error" to its own question, closes its descriptor and
 * frees its memory pool, while ours stays open. The flag MHD_USE_TURBO matters here: without it the
 * library shuts the connection down before closing it. A watcher then costs one small struct
 * instead of a pool, a write costs what send costs, and a leaving peer is seen at once. The price:
 * a streamed answer ends its connection.
 *
 * Strictness: httpd_head.c, after the head was parsed. The library's own strict mode is off
 * (0.9.75): it closes without a word where we answer 400, and answers a missing Host with two
 * heads. What it refuses itself (a line without a colon, a version it does not know, a head over
 * its memory) has its own short body; what it drops in silence (no request line at all) is answered
 * when it closes (httpd_conn.c).
 *
 * Time limits: the library's only see inactivity, in seconds, and cost list work on every byte;
 * ours stand in httpd_conn.c. */
#include "common/io/httpd_head.h"
#include "common/io/httpd_priv.h"
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the library's callbacks --- */

static struct httpd_conn *httpd_conn_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* The request line was read; the library has not yet touched the target. */
static void *httpd_on_target(void *arg, const char *target, struct MHD_Connection *mhd)
{
    struct httpd *s = arg;
    struct httpd_conn *c = httpd_conn_of(mhd);
    if (!c || !target) return NULL;
    struct httpd_request *r = httpd_request_take(s);
    if (!r) return NULL;
    size_t len = strlen(target);
    char *copy = r->target_inline;
    if (len >= sizeof r->target_inline) copy = r->target_heap = malloc(len + 1);
    s->progress++;
    c->has_requested = true;
    c->request = r;
    r->conn = c;
    r->target_was = target;
    if (copy) {
        memcpy(copy, target, len + 1);
        r->target = view_make(copy, len);
        httpd_target_split(r->target, &r->path, &r->query);
    }
    /* the first request's time runs from accept, so that nobody gets it twice */
    if (c->stage != HTTPD_STAGE_OPENED) httpd_conn_stage(c, HTTPD_STAGE_HEAD);
    return r;
}

static size_t httpd_on_unescape(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void)arg;
    (void)mhd;
    return strlen(text); /* left as it is: httpd_query decodes our copy */
}

static enum MHD_Result httpd_on_field(void *arg, enum MHD_ValueKind kind, const char *name,
                                      size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    struct view v = view_make(value, value_len);
    if (!value) v = VIEW_LIT("");
    httpd_head_field(arg, view_make(name, name_len), v);
    return MHD_YES;
}

/* The head is whole. */
static enum MHD_Result httpd_begin(struct httpd_request *r, const char *method, const char *version)
{
    struct httpd *s = r->server;
    struct MHD_Connection *mhd = r->conn->mhd;
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct httpd_head_line line = {
        .method = method, .version = version, .target = r->target_was, .raw = r->target};
    line.head_len = size ? size->header_size : 0;
    line.head_max = s->o.head_max;
    line.is_in_place = s->walks;
    struct httpd_head h;
    httpd_head_begin(&h, &line);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, httpd_on_field, &h);
    httpd_head_end(&h);
    r->method = view_of(method);
    r->is_head = view_eq_str(r->method, "HEAD");
    r->is_http10 = h.is_http10;
    r->phase = HTTPD_PHASE_BODY;
    if (h.status) return httpd_refuse(r, h.status, h.reason);
    if (h.length > s->o.body_max) return httpd_refuse(r, 413, "request body too large");
    if (h.length > s->o.body_total_max - s->body_total)
        return httpd_refuse(r, 503, "too many request bodies at once");
    r->body_expected = (size_t)h.length;
    if (h.has_body) httpd_conn_stage(r->conn, HTTPD_STAGE_BODY);
    return MHD_YES;
}

/* A piece of the body. The library takes no answer in the middle of one, so a refusal goes past it.
 */
static enum MHD_Result httpd_collect(struct httpd_request *r, const char *data, size_t *size)
{
    struct httpd *s = r->server;
    struct httpd_conn *c = r->conn;
    if (*size > s->o.body_max - r->body.len) {
        httpd_conn_refuse(c, 413, "request body too large");
        return MHD_NO;
    }
    size_t hint = r->body_expected && r->body_expected < HTTPD_BODY_FIRST ? r->body_expected
                                                                          : HTTPD_BODY_FIRST;
    if (*size > s->o.body_total_max - s->body_total ||
        !httpd_bytes_put(&r->body, data, *size, hint)) {
        httpd_conn_refuse(c, 503, "too many request bodies at once");
        return MHD_NO;
    }
    s->body_total += *size;
    *size = 0;
    s->progress++;
    httpd_conn_stage(c, HTTPD_STAGE_BODY);
    return MHD_YES;
}

/* What the room made of it: answered, a stream, given up, or nothing yet. */
static enum MHD_Result httpd_after_room(struct httpd_request *r, void **context)
{
    switch (r->phase) {
    case HTTPD_PHASE_ANSWERED:
        return MHD_YES;
    case HTTPD_PHASE_STREAM:
    case HTTPD_PHASE_OVER:
        r->conn->is_handed_over = true;
        *context = NULL;
        httpd_request_let_go(r);
        return MHD_NO;
    case HTTPD_PHASE_HEAD:
    case HTTPD_PHASE_BODY:
    case HTTPD_PHASE_ROOM:
        break;
    }
    if (r->is_aborted) return MHD_NO; /* httpd_on_completed tells the room */
    struct httpd *s = r->server;
    if (r->stay == HTTPD_STAY_NONE && s->asking_count < HTTPD_ASKING_MAX) {
        r->stay = HTTPD_STAY_ASKING;
        s->asking_count++;
        return MHD_YES;
    }
    int64_t age_ms = loop_clock(s->loop)->mono_ms - r->conn->since_ms;
    if (r->stay == HTTPD_STAY_ASKING && age_ms < HTTPD_ASKING_MS) return MHD_YES;
    if (r->stay == HTTPD_STAY_ASKING) s->asking_count--;
    r->stay = HTTPD_STAY_PARKED;
    MHD_suspend_connection(r->conn->mhd);
    return MHD_YES;
}

static enum MHD_Result httpd_on_access(void *arg, struct MHD_Connection *mhd, const char *target,
                                       const char *method, const char *version, const char *data,
                                       size_t *size, void **context)
{
    (void)arg;
    (void)mhd;
    (void)target;
    struct httpd_request *r = *context;
    if (!r || !r->target.ptr) return MHD_NO; /* no memory */
    if (r->phase == HTTPD_PHASE_HEAD) return httpd_begin(r, method, version);
    if (r->phase == HTTPD_PHASE_BODY && *size) return httpd_collect(r, data, size);
    if (r->phase == HTTPD_PHASE_BODY) {
        if (r->server->is_closing) return MHD_NO;
        r->phase = HTTPD_PHASE_ROOM;
        r->server->progress++;
        httpd_conn_stage(r->conn, HTTPD_STAGE_ROOM);
        r->server->o.on_request(r->server->o.arg, r);
    }
    return httpd_after_room(r, context);
}

static void httpd_on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                               enum MHD_RequestTerminationCode why)
{
    struct httpd *s = arg;
    (void)mhd;
    struct httpd_request *r = *context;
    if (!r) return;
    *context = NULL;
    s->progress++;
    if (r->stay == HTTPD_STAY_ASKING) s->asking_count--;
    r->stay = HTTPD_STAY_NONE;
    struct httpd_conn *c = r->conn;
    bool was_told = r->phase == HTTPD_PHASE_ROOM || r->phase == HTTPD_PHASE_ANSWERED;
    if (c->stage != HTTPD_STAGE_CUT) httpd_conn_stage(c, HTTPD_STAGE_IDLE);
    if (was_told)
        httpd_request_over(r, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    else if (r->phase != HTTPD_PHASE_STREAM)
        r->phase = HTTPD_PHASE_OVER;
    else
        c->is_handed_over =
            true; /* the peer left before the library let go; the stream will see it too */
    httpd_request_let_go(r);
}

static void httpd_on_connection(void *arg, struct MHD_Connection *mhd, void **context,
                                enum MHD_ConnectionNotificationCode code)
{
    struct httpd *s = arg;
    struct httpd_conn *c = *context;
    s->progress++;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c) httpd_conn_closed(c);
        *context = NULL;
        return;
    }
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c = httpd_conn_new(s, mhd, fd);
    *context = c;
    if (!c) {
        (void)shutdown(fd, SHUT_RDWR);
    } else if (httpd_connections(s) > s->o.connections_max) {
        httpd_conn_refuse(c, 503, "too many connections");
        httpd_conn_cut(c);
    }
}

static enum MHD_Result httpd_on_length(void *arg, enum MHD_ValueKind kind, const char *name,
                                       size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    uint64_t length;
    int *status = arg;
    struct view v = view_make(value ? value : "", value_len);
    if (!view_ieq_str(view_make(name, name_len), "content-length") || view_u64(v, &length))
        return MHD_YES;
    *status = v.len ? 413 : 400; /* digits alone that do not fit, or something else */
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < '0' || v.ptr[i] > '9') *status = 400;
    return MHD_NO;
}

/* The library (0.9.75) answers a malformed Content-Length with two heads, one behind the other. It
 * complains before it writes, but not of whom: the connection is found by the fields it has read.
 */
static void httpd_refuse_lengths(struct httpd *s, enum httpd_stage stage)
{
    struct list_link *next;
    for (struct list_link *k = list_first(&s->stages[stage]); k; k = next) {
        struct httpd_conn *c = LIST_ITEM(k, struct httpd_conn, link);
        int status = 0;
        next = list_next(&s->stages[stage], k);
        if (!c->request) continue;
        MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, httpd_on_length, &status);
        if (!status) continue;
        httpd_conn_refuse(c, status,
                          status == 413 ? "request body too large" : "malformed Content-Length");
        httpd_conn_cut(c);
    }
}

/* Its arguments may hold a target, so only the text of the message itself goes to the log. */
static void httpd_on_log(void *arg, const char *format, va_list args)
{
    (void)args;
    struct httpd *s = arg;
    if (s->walks && strstr(format, "Content-Length")) {
        httpd_refuse_lengths(s, HTTPD_STAGE_OPENED);
        httpd_refuse_lengths(s, HTTPD_STAGE_HEAD);
    }
    bool is_ours = strstr(format, "epoll") || strstr(format, "limit") || strstr(format, "accept");
    struct view text = view_trim(view_of(format));
    log_event(s->log, is_ours ? LOG_WARN : LOG_DEBUG, VIEW_NONE, "http_library",
              LOG_V("text", text));
}

/* --- turns --- */

static void httpd_nudge(void *arg);

/* Runs the library until it has nothing more at hand; true = stopped before that. */
static bool httpd_rounds(struct httpd *s)
{
    s->is_running = true;
    bool is_pending = true;
    for (int i = 0; i < HTTPD_ROUNDS_MAX && is_pending; i++) {
        uint64_t before = s->progress;
        s->is_due = false;
        MHD_run(s->daemon);
        MHD_UNSIGNED_LONG_LONG wait_ms = 0;
        bool says = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES && wait_ms == 0;
        is_pending = s->is_due || (says && (!s->asking_count || s->progress != before));
        if (says && s->asking_count && !timerq_pending(&s->nudge))
            timerq_set(loop_timers(s->loop), &s->nudge, loop_clock(s->loop)->mono_ms + 1,
                       httpd_nudge, s);
    }
    s->is_running = false;
    return is_pending;
}

static void httpd_turn(struct httpd *s)
{
    if (s->is_running) return;
    if (httpd_rounds(s)) {
        s->is_due = true;
        loop_kick(s->loop);
    }
}

static void httpd_nudge(void *arg)
{
    httpd_turn(arg);
}

static void httpd_on_ready(void *arg, int events)
{
    (void)events;
    httpd_turn(arg);
}

static void httpd_after_turn(void *arg)
{
    struct httpd *s = arg;
    if (s->is_due) httpd_turn(s);
    httpd_streams_flush(s);
    if (s->is_due) loop_kick(s->loop); /* a room answered while streams were written */
}

void httpd_want_turn(struct httpd *s)
{
    s->is_due = true;
    if (!s->is_running && loop_is_ending_turn(s->loop)) loop_kick(s->loop);
}

void httpd_go_on(struct httpd_request *r)
{
    struct httpd *s = r->server;
    if (r->stay == HTTPD_STAY_PARKED) MHD_resume_connection(r->conn->mhd);
    if (r->stay == HTTPD_STAY_ASKING) s->asking_count--;
    if (r->stay != HTTPD_STAY_NONE) httpd_want_turn(s);
    r->stay = HTTPD_STAY_NONE;
}

/* --- birth and end --- */

static struct MHD_Daemon *httpd_start(struct httpd *s)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, httpd_on_access, s, MHD_OPTION_EXTERNAL_LOGGER, httpd_on_log,
        (void *)s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_URI_LOG_CALLBACK,
        httpd_on_target, (void *)s, MHD_OPTION_UNESCAPE_CALLBACK, httpd_on_unescape, (void *)s,
        MHD_OPTION_NOTIFY_COMPLETED, httpd_on_completed, (void *)s, MHD_OPTION_NOTIFY_CONNECTION,
        httpd_on_connection, (void *)s, MHD_OPTION_STRICT_FOR_CLIENT, s->walks ? 0 : 1,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, s->o.head_max + (size_t)HTTPD_POOL_EXTRA,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(s->o.connections_max + HTTPD_CONNECTIONS_SPARE),
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static void httpd_limits(struct httpd *s)
{
    const struct httpd_options *o = &s->o;
    for (int i = 0; i < HTTPD_STAGE_COUNT; i++) {
        list_init(&s->stages[i]);
        s->limit_ms[i] = INT64_MAX;
    }
    s->limit_ms[HTTPD_STAGE_OPENED] = s->limit_ms[HTTPD_STAGE_HEAD] = o->head_timeout_ms;
    s->limit_ms[HTTPD_STAGE_BODY] = s->limit_ms[HTTPD_STAGE_SENDING] = o->body_timeout_ms;
    s->limit_ms[HTTPD_STAGE_ROOM] = HTTPD_LOOK_MS;
    s->limit_ms[HTTPD_STAGE_IDLE] = o->idle_timeout_ms;
}

static void httpd_destroy(struct httpd *s)
{
    if (s->daemon) MHD_stop_daemon(s->daemon); /* closes the listener unless it was quiesced */
    if (!s->daemon && s->listen_fd >= 0) close(s->listen_fd);
    loop_watch_free(s->watch);
    httpd_streams_close(s);
    httpd_lingers_drop(s);
    timerq_cancel(loop_timers(s->loop), &s->tick);
    timerq_cancel(loop_timers(s->loop), &s->nudge);
    httpd_requests_drop(s);
    buf_fini(&s->message);
    buf_fini(&s->refusal);
    free(s);
}

struct httpd *httpd_new(struct loop *l, struct log *log, const struct httpd_options *o,
                        struct err *err)
{
    assert(o->on_request && o->connections_max && o->head_max);
    struct httpd *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ERR_NOMEM, "http server: no memory");
        return NULL;
    }
    s->loop = l;
    s->log = log;
    s->o = *o;
    s->o.listen = NULL;
    s->stream_epoll = -1;
    s->walks = strncmp(MHD_get_version(), "0.9.", 4) == 0;
    httpd_limits(s);
    list_init(&s->lingers);
    list_init(&s->streams);
    list_init(&s->woken);
    buf_init(&s->message, HTTPD_MESSAGE_MAX);
    buf_init(&s->refusal, HTTPD_MESSAGE_MAX / 2);
    s->listen_fd = httpd_listen(o->listen, o->reuse_port, &s->port, err);
    if (s->listen_fd < 0 || !httpd_streams_open(s, err)) goto out;
    s->daemon = httpd_start(s);
    if (s->daemon) {
        int fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
        s->watch = loop_watch_new(l, fd, LOOP_READ, httpd_on_ready, s);
    }
    if (!s->watch) {
        err_set(err, ERR_INTERNAL, "http server: the library did not start");
        goto out;
    }
    loop_after_turn(l, httpd_after_turn, s);
    return s;
out:
    httpd_destroy(s);
    return NULL;
}

/* The library must not be stopped while it holds suspended connections. */
static void httpd_release_parked(struct httpd *s)
{
    struct list *waiting = &s->stages[HTTPD_STAGE_ROOM];
    for (struct list_link *k = list_first(waiting); k; k = list_next(waiting, k)) {
        struct httpd_conn *c = LIST_ITEM(k, struct httpd_conn, link);
        if (!c->request) continue;
        c->request->is_aborted = true;
        httpd_go_on(c->request);
    }
    (void)httpd_rounds(s);
}

void httpd_free(struct httpd *s)
{
    if (!s) return;
    assert(!s->is_running);
    s->is_closing = true;
    loop_after_turn_remove(s->loop, httpd_after_turn, s);
    httpd_stop_accepting(s);
    httpd_streams_close(s);
    httpd_release_parked(s);
    httpd_destroy(s);
}

int httpd_port(const struct httpd *s)
{
    return s->port;
}

void httpd_stop_accepting(struct httpd *s)
{
    if (s->listen_fd < 0) return;
    /* those in the backlog have connected: take them before the listener closes on them */
    for (int i = 0; i < HTTPD_ROUNDS_MAX && !s->is_running && !s->is_closing; i++)
        (void)httpd_rounds(s);
    MHD_socket fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
    s->listen_fd = -1;
}

size_t httpd_connections(const struct httpd *s)
{
    return s->conn_count + s->streams.count;
}
