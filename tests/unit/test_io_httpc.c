/* HTTP calls out, against our own server and against servers that misbehave. */
#define _GNU_SOURCE
#include "tests/unit/io_rig.h"

#include "common/io/httpc.h"
#include "common/io/httpd.h"

enum { STREAMS_MAX = 600 };

enum when { NEVER, IN_HEAD, IN_BODY, IN_END };

/* One call and what came of it. */
struct rec {
    struct world *world;
    struct http_call *call;
    int heads, status, ends, bodies;
    size_t header_count;
    char header[128]; /* X-Test of the reply */
    struct buf body;
    struct err err;
    bool is_ok, is_cancelled;
    enum when cancels, starts;
    struct rec *other; /* cancelled or started in `when` */
    const char *other_path;
};

struct world {
    struct rig rig;
    struct httpd *httpd;
    struct httpc *client;
    struct http_port port;
    struct httpd_request *parked[STREAMS_MAX], *streams[STREAMS_MAX];
    size_t parked_count, stream_count, gone;
    struct buf feeds[STREAMS_MAX];
    bool is_ended[STREAMS_MAX];
    size_t seen_connections;
    char seen[512];
    char base[64];
};

/* --- the server --- */

static void server_gone(void *arg, bool completed)
{
    (void)completed;
    ((struct world *)arg)->gone++;
}

struct feed_arg {
    struct world *world;
    size_t index;
};

static ssize_t server_pull(void *arg, char *dst, size_t size)
{
    struct feed_arg *f = arg;
    struct buf *b = &f->world->feeds[f->index];
    if (!b->len) return f->world->is_ended[f->index] ? HTTPD_STREAM_END : 0;
    size_t n = b->len < size ? b->len : size;
    memcpy(dst, b->data, n);
    buf_consume(b, n);
    return (ssize_t)n;
}

static struct feed_arg feed_args[STREAMS_MAX];

static void server_answer(struct httpd_request *r, int status, struct view body)
{
    struct httpd_answer a = {.status = status, .content_type = "text/plain", .body = body};
    a.headers[a.header_count++] = (struct httpd_header_out){"X-Test", "a: b"};
    if (status == 302)
        a.headers[a.header_count++] = (struct httpd_header_out){"Location", "/elsewhere"};
    httpd_reply(r, &a);
}

static void server_on_request(void *arg, struct httpd_request *r)
{
    struct world *w = arg;
    struct view path = httpd_path(r);
    w->seen_connections = httpd_connections(w->httpd);
    struct view m = httpd_method(r), own = httpd_header(r, "X-Own"),
                type = httpd_header(r, "Content-Type");
    struct view agent = httpd_header(r, "User-Agent"), empty = httpd_header(r, "X-Empty");
    snprintf(w->seen, sizeof w->seen, "%.*s %.*s own=%.*s type=%.*s agent=%.*s empty=%d expect=%d",
             (int)m.len, m.ptr, (int)path.len, path.ptr, (int)own.len, own.ptr ? own.ptr : "",
             (int)type.len, type.ptr ? type.ptr : "", (int)agent.len, agent.ptr ? agent.ptr : "",
             empty.ptr != NULL, httpd_header(r, "Expect").ptr != NULL);
    httpd_on_gone(r, server_gone, w);
    if (view_eq_str(path, "/park")) {
        w->parked[w->parked_count++] = r;
    } else if (view_eq_str(path, "/stream")) {
        size_t i = w->stream_count++;
        assert_true(i < STREAMS_MAX);
        feed_args[i] = (struct feed_arg){w, i};
        w->streams[i] = r;
        struct httpd_answer head = {.status = 200, .content_type = "text/event-stream"};
        head.headers[head.header_count++] = (struct httpd_header_out){"X-Test", "stream"};
        httpd_stream(r, &head, server_pull, &feed_args[i]);
    } else if (view_eq_str(path, "/echo")) {
        server_answer(r, 200, httpd_body(r));
    } else if (view_eq_str(path, "/302")) {
        server_answer(r, 302, VIEW_LIT("moved"));
    } else if (view_eq_str(path, "/empty")) {
        server_answer(r, 204, VIEW_LIT(""));
    } else {
        server_answer(r, 200, VIEW_LIT("hello"));
    }
}

static void world_open(struct world *w, size_t calls_max)
{
    struct err err;
    memset(w, 0, sizeof *w);
    rig_open(&w->rig);
    struct httpd_options so = {
        .listen = "127.0.0.1:0", .connections_max = 1000, .head_max = 6144, .body_max = 4 << 20};
    so.body_total_max = 64 << 20;
    so.head_timeout_ms = so.body_timeout_ms = so.idle_timeout_ms = 60000;
    so.on_request = server_on_request;
    so.arg = w;
    w->httpd = httpd_new(w->rig.loop, w->rig.log, &so, &err);
    assert_non_null(w->httpd);
    struct httpc_options co = {
        .calls_max = calls_max, .connections_max = 16, .user_agent = "tests/1"};
    w->client = httpc_new(w->rig.loop, &co, &err);
    assert_non_null(w->client);
    w->port = httpc_port(w->client);
    for (size_t i = 0; i < STREAMS_MAX; i++) buf_init(&w->feeds[i], RIG_BYTES_MAX);
    snprintf(w->base, sizeof w->base, "http://127.0.0.1:%d", httpd_port(w->httpd));
}

static void world_close(struct world *w)
{
    httpc_free(w->client);
    httpd_free(w->httpd);
    for (size_t i = 0; i < STREAMS_MAX; i++) buf_fini(&w->feeds[i]);
    rig_close(&w->rig);
}

static void feed(struct world *w, size_t i, const char *text)
{
    assert_true(buf_put_str(&w->feeds[i], text));
    httpd_stream_wake(w->streams[i]);
}

/* --- calls --- */

static void rec_begin(struct rec *c, const char *path);

static void rec_act(struct rec *c, enum when now)
{
    if (c->starts == now) rec_begin(c->other, c->other_path);
    if (c->cancels != now) return;
    struct rec *victim = c->other ? c->other : c;
    victim->is_cancelled = true;
    c->world->port.cancel(c->world->port.self, victim->call);
}

static void rec_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    struct rec *c = arg;
    assert_false(c->is_cancelled);
    c->heads++;
    c->status = status;
    c->header_count = count;
    for (size_t i = 0; i < count; i++)
        if (view_ieq_str(headers[i].name, "x-test"))
            view_copy(headers[i].value, c->header, sizeof c->header);
    rec_act(c, IN_HEAD);
}

static void rec_body(void *arg, struct view bytes)
{
    struct rec *c = arg;
    assert_false(c->is_cancelled);
    assert_int_equal(c->heads, 1);
    c->bodies++;
    assert_true(buf_put_view(&c->body, bytes));
    rec_act(c, IN_BODY);
}

static void rec_end(void *arg, const struct err *e)
{
    struct rec *c = arg;
    assert_false(c->is_cancelled);
    c->ends++;
    c->is_ok = !e;
    if (e) c->err = *e;
    rec_act(c, IN_END);
    if (!c->other) c->call = NULL;
}

static const struct http_sink SINK = {rec_head, rec_body, rec_end};

static void rec_init(struct rec *c, struct world *w)
{
    *c = (struct rec){.world = w};
    buf_init(&c->body, RIG_BYTES_MAX);
}

static struct http_request_out request_to(struct view url)
{
    return (struct http_request_out){
        .method = "GET", .url = url, .connect_timeout_ms = 5000, .body_max = 1 << 20};
}

static void rec_send(struct rec *c, struct http_request_out *req)
{
    struct err err = {.code = ERR_OK};
    c->call = c->world->port.start(c->world->port.self, req, &SINK, c, &err);
    if (!c->call) fail_msg("start: %s", err.text);
    assert_int_equal(c->heads + c->bodies + c->ends, 0); /* never from inside start */
}

static void rec_begin(struct rec *c, const char *path)
{
    char url[256];
    snprintf(url, sizeof url, "%s%s", path[0] == '/' ? c->world->base : "", path);
    struct http_request_out req = request_to(view_of(url));
    rec_send(c, &req);
    memset(url, 'x', sizeof url); /* it was copied */
}

static bool rec_has_ended(void *arg)
{
    return ((struct rec *)arg)->ends > 0;
}

static bool rec_has_head(void *arg)
{
    return ((struct rec *)arg)->heads > 0;
}

static void rec_run(struct rec *c, const char *path)
{
    rec_begin(c, path);
    rig_wait(&c->world->rig, rec_has_ended, c);
    assert_int_equal(c->ends, 1);
}

static void rec_fini(struct rec *c)
{
    buf_fini(&c->body);
}

struct text_want {
    struct rec *rec;
    const char *text;
};

static bool text_is_there(void *arg)
{
    struct text_want *t = arg;
    return t->rec->body.len &&
           memmem(t->rec->body.data, t->rec->body.len, t->text, strlen(t->text));
}

static void rec_wait_text(struct rec *c, const char *text)
{
    struct text_want t = {c, text};
    rig_wait(&c->world->rig, text_is_there, &t);
}

static bool has_parked(void *arg)
{
    return ((struct world *)arg)->parked_count > 0;
}

static bool has_gone(void *arg)
{
    return ((struct world *)arg)->gone > 0;
}

/* --- tests --- */

static void test_get_and_keep_alive(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 10);
    for (int i = 0; i < 10; i++) {
        struct rec c;
        rec_init(&c, &w);
        rec_run(&c, "/a%2Fb/../c");
        assert_true(c.is_ok);
        assert_int_equal(c.status, 200);
        assert_int_equal(c.heads, 1);
        assert_string_equal(c.header, "a: b");
        assert_true(view_eq_str(buf_view(&c.body), "hello"));
        assert_int_equal(w.seen_connections, 1);
        rec_fini(&c);
    }
    assert_non_null(strstr(w.seen, "GET /a%2Fb/../c own= type= agent=tests/1"));
    assert_int_equal(httpc_in_flight(w.client), 0);
    world_close(&w);
}

static void test_post_and_headers(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    size_t len = 3 << 20;
    char *big = malloc(len);
    for (size_t i = 0; i < len; i++) big[i] = (char)(i * 7 % 251);
    struct http_header headers[] = {{VIEW_LIT("Content-Type"), VIEW_LIT("application/json")},
                                    {VIEW_LIT("X-Own"), VIEW_LIT("yes it is")},
                                    {VIEW_LIT("X-Empty"), VIEW_LIT("")}};
    char url[128];
    snprintf(url, sizeof url, "%s/echo", w.base);
    static const size_t sizes[] = {0, 1, 500, 70000, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rec_init(&c, &w);
        struct http_request_out req = request_to(view_of(url));
        req.method = "POST";
        req.headers = headers;
        req.header_count = 3;
        req.body_max = 8 << 20;
        char *copy = malloc(len);
        memcpy(copy, big, len);
        req.body = view_make(copy, sizes[i]);
        rec_send(&c, &req);
        memset(copy, 0, len); /* it was copied */
        free(copy);
        rig_wait(&w.rig, rec_has_ended, &c);
        assert_true(c.is_ok);
        assert_int_equal(c.body.len, sizes[i]);
        if (sizes[i]) assert_memory_equal(c.body.data, big, sizes[i]);
        assert_string_equal(
            w.seen,
            "POST /echo own=yes it is type=application/json agent=tests/1 empty=1 expect=0");
        rec_fini(&c);
    }
    free(big);
    world_close(&w);
}

static void test_methods_and_status(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 10);
    static const struct {
        const char *method, *path, *body, *seen;
        int status;
        const char *want;
    } cases[] = {{"HEAD", "/", NULL, "HEAD /", 200, ""},
                 {"DELETE", "/x", NULL, "DELETE /x", 200, "hello"},
                 {"PUT", "/echo", "abc", "PUT /echo", 200, "abc"},
                 {"GET", "/302", NULL, "GET /302", 302, "moved"},
                 {"GET", "/empty", NULL, "GET /empty", 204, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rec c;
        char url[128];
        rec_init(&c, &w);
        snprintf(url, sizeof url, "%s%s", w.base, cases[i].path);
        struct http_request_out req = request_to(view_of(url));
        req.method = cases[i].method;
        req.body = view_of(cases[i].body);
        rec_send(&c, &req);
        rig_wait(&w.rig, rec_has_ended, &c);
        assert_true(c.is_ok);
        assert_int_equal(c.status, cases[i].status);
        assert_true(view_eq_str(buf_view(&c.body), cases[i].want));
        assert_memory_equal(w.seen, cases[i].seen, strlen(cases[i].seen));
        rec_fini(&c);
    }
    world_close(&w);
}

static void test_refused_at_once(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 2);
    rec_init(&c, &w);
    struct http_header bad[] = {{VIEW_LIT("X"), VIEW_LIT("a\r\nY: b")}},
                       bad_name[] = {{VIEW_LIT(""), VIEW_LIT("a")}};
    static const char *const urls[] = {"",  "ftp://a/",          "file:///etc/passwd",
                                       "a", "http://a/\r\nX: y", "HTTPS"};
    for (size_t i = 0; i < 9; i++) {
        struct err err = {.code = ERR_OK};
        struct http_request_out req = request_to(view_of(i < 6 ? urls[i] : w.base));
        req.header_count = i >= 6 && i < 8;
        req.headers = i == 6 ? bad : bad_name;
        if (i == 8) req.method = "GET /x HTTP/1.1\r\n";
        assert_null(w.port.start(w.port.self, &req, &SINK, &c, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    assert_int_equal(httpc_in_flight(w.client), 0);
    struct rec held[2];
    for (int i = 0; i < 2; i++) {
        rec_init(&held[i], &w);
        rec_begin(&held[i], "/park");
    }
    struct err err = {.code = ERR_OK};
    struct http_request_out req = request_to(view_of(w.base));
    assert_null(w.port.start(w.port.self, &req, &SINK, &c, &err));
    assert_int_equal(err.code, ERR_FULL);
    rig_pass(&w.rig, 5);
    assert_int_equal(c.heads + c.bodies + c.ends, 0);
    rec_fini(&c);
    world_close(&w); /* with two under way */
}

static void test_streaming(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    rec_init(&c, &w);
    rec_begin(&c, "/stream");
    rig_wait(&w.rig, rec_has_head, &c);
    assert_string_equal(c.header, "stream");
    for (int i = 0; i < 50; i++) {
        char text[32];
        snprintf(text, sizeof text, "data: %d\n\n", i);
        feed(&w, 0, text);
        rec_wait_text(&c, text);
    }
    assert_true(c.bodies >= 50);
    assert_int_equal(c.ends, 0);
    w.is_ended[0] = true;
    httpd_stream_wake(w.streams[0]);
    rig_wait(&w.rig, rec_has_ended, &c);
    assert_true(c.is_ok);
    rec_fini(&c);
    world_close(&w);
}

/* --- time limits --- */

static void timed(struct world *w, struct rec *c, const char *path, struct http_request_out limits)
{
    char url[128];
    snprintf(url, sizeof url, "%s%s", w->base, path);
    struct http_request_out req = request_to(view_of(url));
    req.first_byte_timeout_ms = limits.first_byte_timeout_ms;
    req.idle_timeout_ms = limits.idle_timeout_ms;
    req.total_timeout_ms = limits.total_timeout_ms;
    rec_init(c, w);
    rec_send(c, &req);
}

static void expect_timeout(struct rec *c, int64_t started, int64_t at_least, const char *text)
{
    rig_wait(&c->world->rig, rec_has_ended, c);
    int64_t took = loop_clock(c->world->rig.loop)->mono_ms - started;
    assert_false(c->is_ok);
    assert_int_equal(c->err.code, ERR_TIMEOUT);
    if (!strstr(c->err.text, text)) fail_msg("%s: %s", text, c->err.text);
    assert_true(took >= at_least - 2 && took < at_least + 3000);
    assert_int_equal(httpc_in_flight(c->world->client), 0);
    rec_fini(c);
}

/* A process that stood still between start and the connection: what is too late stays, on a fresh connection and on a kept one. */
static void test_too_late_to_send(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 10);
    for (int i = 0; i < 4; i++) {
        struct rec c;
        char url[256];
        bool is_late = i % 2 == 0;
        rec_init(&c, &w);
        w.seen[0] = '\0';
        snprintf(url, sizeof url, "%s/x", w.base);
        struct http_request_out req = request_to(view_of(url));
        req.send_by_ms = loop_now_ms() + (is_late ? 0 : 60000);
        rec_send(&c, &req);
        rig_wait(&w.rig, rec_has_ended, &c);
        assert_int_equal(c.is_ok, !is_late);
        if (is_late) assert_int_equal(c.err.code, ERR_CLOSED);
        assert_int_equal(w.seen[0] != '\0', !is_late);
        rec_fini(&c);
    }
    world_close(&w);
}

static void test_first_byte_timeout(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    int64_t start = loop_clock(w.rig.loop)->mono_ms;
    timed(&w, &c, "/park",
          (struct http_request_out){.first_byte_timeout_ms = 120, .idle_timeout_ms = 30});
    expect_timeout(&c, start, 120, "first byte");
    rig_wait(&w.rig, has_gone, &w); /* the connection is closed, not kept */
    start = loop_clock(w.rig.loop)->mono_ms;
    timed(&w, &c, "/stream",
          (struct http_request_out){.first_byte_timeout_ms = 120}); /* a head is no body byte */
    expect_timeout(&c, start, 120, "first byte");
    world_close(&w);
}

static void test_idle_timeout(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    timed(&w, &c, "/stream",
          (struct http_request_out){.first_byte_timeout_ms = 5000, .idle_timeout_ms = 400});
    rig_wait(&w.rig, rec_has_head, &c);
    for (int i = 0; i < 24; i++) { /* longer than the limit, never idle for it */
        feed(&w, 0, "x");
        rig_pass(&w.rig, 25);
    }
    assert_int_equal(c.ends, 0);
    rig_pass(&w.rig, 5);
    int64_t start = loop_clock(w.rig.loop)->mono_ms;
    expect_timeout(&c, start, 300, "stalled");
    world_close(&w);
}

static void test_total_timeout(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    int64_t start = loop_clock(w.rig.loop)->mono_ms;
    timed(&w, &c, "/stream",
          (struct http_request_out){.idle_timeout_ms = 4000, .total_timeout_ms = 500});
    rig_wait(&w.rig, rec_has_head, &c);
    for (int i = 0; i < 8; i++) {
        feed(&w, 0, "x");
        rig_pass(&w.rig, 5);
    }
    assert_int_equal(c.ends, 0);
    expect_timeout(&c, start, 500, "too long");
    world_close(&w);
}

static int listen_any(int backlog, int *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof at;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* A full backlog drops what comes: the connection neither opens nor is refused. */
static void test_connect_timeout(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    int port, fillers[4];
    world_open(&w, 10);
    int fd = listen_any(0, &port);
    for (int i = 0; i < 4; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, sizeof at);
    }
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    struct http_request_out req = request_to(view_of(url));
    req.connect_timeout_ms = 150;
    rec_init(&c, &w);
    int64_t start = loop_clock(w.rig.loop)->mono_ms;
    rec_send(&c, &req);
    expect_timeout(&c, start, 150, "no connection");
    for (int i = 0; i < 4; i++) close(fillers[i]);
    close(fd);
    world_close(&w);
}

static void test_connection_refused(void **state)
{
    (void)state;
    struct world w;
    int port;
    world_open(&w, 10);
    close(listen_any(1, &port));
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/secret?key=hidden", port);
    struct rec c;
    rec_init(&c, &w);
    rec_run(&c, url);
    assert_int_equal(c.err.code, ERR_UNAVAILABLE);
    assert_null(strstr(c.err.text, "hidden"));
    rec_fini(&c);
    world_close(&w);
}

static void test_name_that_is_not_there(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    rec_init(&c, &w);
    rec_run(&c, "http://no-such-host.invalid/");
    assert_int_equal(c.err.code, ERR_UNAVAILABLE);
    rec_fini(&c);
    /* a lookup under way does not hold up its cancel */
    rec_init(&c, &w);
    rec_begin(&c, "http://another-one.invalid/");
    rig_pass(&w.rig, 0);
    c.is_cancelled = true;
    if (!c.ends) w.port.cancel(w.port.self, c.call);
    assert_int_equal(httpc_in_flight(w.client), 0);
    rec_fini(&c);
    world_close(&w);
}

/* --- a server that misbehaves --- */

struct rude {
    struct rig *rig;
    int fd, port;
    struct loop_watch *watch;
    const char *reply;
    size_t reply_len;
    int peer;
    struct loop_watch *peer_watch;
    struct buf in;
};

static void rude_close_peer(struct rude *s)
{
    if (s->peer_watch) loop_watch_free(s->peer_watch);
    if (s->peer >= 0) close(s->peer);
    s->peer_watch = NULL;
    s->peer = -1;
    buf_reset(&s->in);
}

static void rude_on_bytes(void *arg, int events)
{
    (void)events;
    struct rude *s = arg;
    char bytes[4096];
    ssize_t n = recv(s->peer, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) assert_true(buf_put(&s->in, bytes, (size_t)n));
    if (n > 0 && !memmem(s->in.data, s->in.len, "\r\n\r\n", 4)) return;
    if (n > 0) (void)send(s->peer, s->reply, s->reply_len, MSG_NOSIGNAL);
    rude_close_peer(s);
}

static void rude_on_peer(void *arg, int events)
{
    (void)events;
    struct rude *s = arg;
    rude_close_peer(s);
    s->peer = accept(s->fd, NULL, NULL);
    if (s->peer >= 0)
        s->peer_watch = loop_watch_new(s->rig->loop, s->peer, LOOP_READ, rude_on_bytes, s);
}

static void rude_open(struct rude *s, struct rig *g)
{
    *s = (struct rude){.rig = g, .peer = -1};
    s->fd = listen_any(16, &s->port);
    buf_init(&s->in, 1 << 20);
    s->watch = loop_watch_new(g->loop, s->fd, LOOP_READ, rude_on_peer, s);
}

static void rude_close(struct rude *s)
{
    rude_close_peer(s);
    loop_watch_free(s->watch);
    close(s->fd);
    buf_fini(&s->in);
}

#define OK "HTTP/1.1 200 OK\r\n"
static const struct {
    const char *name, *reply, *body;
    enum err_code code;
    int heads;
} RUDE[] = {
    {"early end of a length", OK "Content-Length: 100\r\n\r\nhalf", "half", ERR_UNAVAILABLE, 1},
    {"early end of a chunk", OK "Transfer-Encoding: chunked\r\n\r\n10\r\nhalf", "half",
     ERR_UNAVAILABLE, 1},
    {"no last chunk", OK "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "half", ERR_UNAVAILABLE,
     1},
    {"chunk that is none", OK "Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n", "",
     ERR_UNAVAILABLE, 1},
    {"no reply", "", "", ERR_UNAVAILABLE, 0},
    {"half a head", "HTTP/1.1 200 OK\r\nX: y", "", ERR_UNAVAILABLE, 0},
    {"garbage", "hello there, this is not HTTP at all\r\n\r\n", "", ERR_UNAVAILABLE, 0},
    {"only an interim head", "HTTP/1.1 100 Continue\r\n\r\n", "", ERR_UNAVAILABLE, 0},
    {"until the close", OK "\r\nall of it", "all of it", ERR_OK, 1},
    {"interim heads",
     "HTTP/1.1 100 Continue\r\nX-Test: no\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK
     "Content-Length: 2\r\n\r\nok",
     "ok", ERR_OK, 1},
    {"trailers", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Test: late\r\n\r\n", "ok",
     ERR_OK, 1},
};

static void test_rude_servers(void **state)
{
    (void)state;
    struct world w;
    struct rude s;
    world_open(&w, 10);
    rude_open(&s, &w.rig);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    for (size_t i = 0; i < sizeof RUDE / sizeof RUDE[0]; i++) {
        struct rec c;
        s.reply = RUDE[i].reply;
        s.reply_len = strlen(RUDE[i].reply);
        rec_init(&c, &w);
        rec_run(&c, url);
        enum err_code code = c.is_ok ? ERR_OK : c.err.code;
        bool is_far =
            err_class_of(code) != err_class_of(RUDE[i].code) || c.is_ok != (RUDE[i].code == ERR_OK);
        if (is_far && code != ERR_PROTOCOL) fail_msg("%s: %s", RUDE[i].name, c.err.text);
        if (c.heads != RUDE[i].heads || !view_eq_str(buf_view(&c.body), RUDE[i].body))
            fail_msg("%s: %d heads, body %.*s", RUDE[i].name, c.heads, (int)c.body.len,
                     c.body.data);
        assert_string_equal(c.header, "");
        rec_fini(&c);
    }
    rude_close(&s);
    world_close(&w);
}

static void test_reply_limits(void **state)
{
    (void)state;
    struct world w;
    struct rude s;
    struct buf reply;
    world_open(&w, 10);
    rude_open(&s, &w.rig);
    buf_init(&reply, 4 << 20);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    for (int i = 0; i < 5; i++) {
        struct rec c;
        bool is_fine = i == 0 || i == 3;
        buf_reset(&reply);
        buf_put_str(&reply, OK);
        for (int k = 0; i < 2 && k < 63 + 2 * i; k++) buf_printf(&reply, "X-%d: y\r\n", k);
        if (i == 2) buf_put_str(&reply, "X: ");
        while (i == 2 && reply.len < 17000) buf_put_char(&reply, 'x');
        if (i == 2) buf_put_str(&reply, "\r\n");
        buf_put_str(&reply, "Content-Length: ");
        size_t body = i == 3 ? 1 << 20 : i == 4 ? (1 << 20) + 1 : 2;
        buf_printf(&reply, "%zu\r\n\r\n", body);
        for (size_t k = 0; k < body; k++) buf_put_char(&reply, 'b');
        assert_false(reply.failed);
        s.reply = reply.data;
        s.reply_len = reply.len;
        rec_init(&c, &w);
        rec_run(&c, url);
        assert_int_equal(c.is_ok, is_fine);
        if (!is_fine) assert_int_equal(c.err.code, ERR_TOO_LARGE);
        if (i == 0) assert_int_equal(c.header_count, 64);
        if (i == 3) assert_int_equal(c.body.len, 1 << 20);
        if (i == 4) assert_true(c.body.len <= 1 << 20);
        rec_fini(&c);
    }
    buf_fini(&reply);
    rude_close(&s);
    world_close(&w);
}

/* --- cancel and start from anywhere --- */

static bool nothing_in_flight(void *arg)
{
    return httpc_in_flight(((struct world *)arg)->client) == 0;
}

static void test_cancel_in_each_callback(void **state)
{
    (void)state;
    for (int when = IN_HEAD; when <= IN_END; when++) {
        struct world w;
        struct rec c;
        world_open(&w, 10);
        rec_init(&c, &w);
        c.cancels = (enum when)when;
        rec_begin(&c, "/hello");
        rig_wait(&w.rig, nothing_in_flight, &w);
        rig_pass(&w.rig, 3);
        assert_int_equal(c.heads, 1);
        assert_int_equal(c.bodies, when >= IN_BODY);
        assert_int_equal(c.ends, when == IN_END);
        rec_fini(&c);
        rec_init(&c, &w); /* the client goes on */
        rec_run(&c, "/hello");
        assert_true(c.is_ok);
        rec_fini(&c);
        world_close(&w);
    }
}

static void test_cancel_another_in_each_callback(void **state)
{
    (void)state;
    for (int when = IN_HEAD; when <= IN_END; when++) {
        struct world w;
        struct rec a, b;
        world_open(&w, 10);
        rec_init(&a, &w);
        rec_init(&b, &w);
        rec_begin(&b, "/stream");
        rig_wait(&w.rig, rec_has_head, &b);
        a.cancels = (enum when)when;
        a.other = &b;
        rec_begin(&a, "/hello");
        feed(&w, 0, "just then");
        rig_wait(&w.rig, rec_has_ended, &a);
        rig_wait(&w.rig, nothing_in_flight, &w);
        rig_wait(&w.rig, has_gone, &w);
        assert_true(a.is_ok && b.is_cancelled);
        assert_int_equal(b.ends, 0);
        rec_fini(&a);
        rec_fini(&b);
        world_close(&w);
    }
}

static void test_start_in_each_callback(void **state)
{
    (void)state;
    for (int when = IN_HEAD; when <= IN_END; when++) {
        struct world w;
        struct rec a, b;
        world_open(&w, 10);
        rec_init(&a, &w);
        rec_init(&b, &w);
        a.starts = (enum when)when;
        a.other = &b;
        a.other_path = "/echo";
        rec_begin(&a, "/hello");
        rig_wait(&w.rig, rec_has_ended, &b);
        assert_true(a.is_ok && b.is_ok);
        rec_fini(&a);
        rec_fini(&b);
        world_close(&w);
    }
}

/* Started and cancelled inside one callback: never given to the library. */
static void test_start_and_cancel_in_a_callback(void **state)
{
    (void)state;
    struct world w;
    struct rec a, b;
    world_open(&w, 10);
    rec_init(&a, &w);
    rec_init(&b, &w);
    a.starts = a.cancels = IN_BODY;
    a.other = &b;
    a.other_path = "/park";
    rec_begin(&a, "/hello");
    rig_wait(&w.rig, rec_has_ended, &a);
    assert_true(a.is_ok && b.is_cancelled);
    assert_int_equal(httpc_in_flight(w.client), 0);
    assert_int_equal(w.parked_count, 0);
    rec_fini(&a);
    rec_fini(&b);
    world_close(&w);
}

static void test_cancel_from_outside(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    world_open(&w, 10);
    rec_init(&c, &w);
    rec_begin(&c, "/park"); /* at once */
    c.is_cancelled = true;
    w.port.cancel(w.port.self, c.call);
    assert_int_equal(httpc_in_flight(w.client), 0);
    rec_fini(&c);
    rec_init(&c, &w);
    rec_begin(&c, "/park"); /* under way */
    rig_wait(&w.rig, has_parked, &w);
    c.is_cancelled = true;
    w.port.cancel(w.port.self, c.call);
    rig_wait(&w.rig, has_gone, &w);
    rec_fini(&c);
    world_close(&w);
}

struct many {
    struct rec *recs;
    size_t count, bytes;
};

static bool many_have(void *arg)
{
    struct many *m = arg;
    while (m->count && m->recs[m->count - 1].body.len >= m->bytes) m->count--;
    return m->count == 0;
}

static bool many_ended(void *arg)
{
    struct many *m = arg;
    while (m->count && m->recs[m->count - 1].ends) m->count--;
    return m->count == 0;
}

static void test_many_streams(void **state)
{
    (void)state;
    enum { MANY = 400 };
    struct world w;
    world_open(&w, MANY);
    struct rec *c = calloc(MANY, sizeof *c);
    for (size_t i = 0; i < MANY; i++) {
        rec_init(&c[i], &w);
        rec_begin(&c[i], "/stream");
    }
    struct many heads = {c, MANY, 0};
    (void)heads;
    for (size_t i = 0; i < MANY; i++) rig_wait(&w.rig, rec_has_head, &c[i]);
    assert_int_equal(w.stream_count, MANY);
    for (size_t round = 1; round <= 5; round++) {
        for (size_t i = 0; i < MANY; i++) feed(&w, i, "0123456789");
        rig_wait(&w.rig, many_have, &(struct many){c, MANY, round * 10});
    }
    for (size_t i = 0; i < MANY; i++) {
        w.is_ended[i] = true;
        httpd_stream_wake(w.streams[i]);
    }
    rig_wait(&w.rig, many_ended, &(struct many){c, MANY, 0});
    for (size_t i = 0; i < MANY; i++) {
        assert_true(c[i].is_ok);
        assert_int_equal(c[i].body.len, 50);
        rec_fini(&c[i]);
    }
    assert_int_equal(httpc_in_flight(w.client), 0);
    free(c);
    world_close(&w);
}

static void test_no_proxy_from_the_environment(void **state)
{
    (void)state;
    struct world w;
    struct rec c;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    world_open(&w, 10);
    rec_init(&c, &w);
    rec_run(&c, "/hello");
    assert_true(c.is_ok);
    rec_fini(&c);
    world_close(&w);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
}

/* A kept connection that the server has closed meanwhile is no error. */
static void test_stale_connection(void **state)
{
    (void)state;
    struct world w;
    struct rude s;
    world_open(&w, 10);
    rude_open(&s, &w.rig);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", s.port);
    s.reply = OK "Content-Length: 2\r\n\r\nok"; /* says keep-alive, then closes */
    s.reply_len = strlen(s.reply);
    for (int i = 0; i < 5; i++) {
        struct rec c;
        rec_init(&c, &w);
        rec_run(&c, url);
        if (!c.is_ok) fail_msg("%s", c.err.text);
        rec_fini(&c);
    }
    rude_close(&s);
    world_close(&w);
}

int main(void)
{
    int files = rig_open_files();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_and_keep_alive),
        cmocka_unit_test(test_post_and_headers),
        cmocka_unit_test(test_methods_and_status),
        cmocka_unit_test(test_refused_at_once),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_too_late_to_send),
        cmocka_unit_test(test_first_byte_timeout),
        cmocka_unit_test(test_idle_timeout),
        cmocka_unit_test(test_total_timeout),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_name_that_is_not_there),
        cmocka_unit_test(test_rude_servers),
        cmocka_unit_test(test_reply_limits),
        cmocka_unit_test(test_cancel_in_each_callback),
        cmocka_unit_test(test_cancel_another_in_each_callback),
        cmocka_unit_test(test_start_in_each_callback),
        cmocka_unit_test(test_start_and_cancel_in_a_callback),
        cmocka_unit_test(test_cancel_from_outside),
        cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_no_proxy_from_the_environment),
        cmocka_unit_test(test_stale_connection),
    };
    int failed = cmocka_run_group_tests_name("io_httpc", tests, NULL, NULL);
    if (rig_open_files() != files)
        fprintf(stderr, "descriptors leaked: %d before, %d after\n", files, rig_open_files());
    return failed || rig_open_files() != files;
}
