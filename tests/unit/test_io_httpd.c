/* The http server against real sockets: strict heads, limits, time limits, answers now and later,
 * streams. */
#define _GNU_SOURCE
#include "tests/unit/io_rig.h"

#include "common/io/httpd.h"
#include "common/io/httpd_head.h"
#include <fcntl.h>
#include <sys/resource.h>

enum { FEEDS_MAX = 1200, BODY_MAX = 100000 };

/* What one stream has to say. */
struct feed {
    struct httpd_request *request;
    struct buf bytes;
    bool is_ended, aborts_in_pull;
    size_t pulls;
    int gone, completed;
};

struct site {
    struct rig rig;
    struct httpd *httpd;
    int port;
    struct httpd_request *parked[1000];
    size_t parked_count, requests, gone, completed;
    struct feed *feeds;
    size_t feed_count;
    char seen_body[256];
    size_t seen_body_len;
    bool has_refusals;
};

static void answer(struct httpd_request *r, int status, struct view body)
{
    struct httpd_answer a = {.status = status, .content_type = "text/plain", .body = body};
    a.headers[a.header_count++] = (struct httpd_header_out){.name = "X-Test", .value = "yes"};
    httpd_reply(r, &a);
}

static void on_gone(void *arg, bool completed)
{
    struct site *s = arg;
    s->gone++;
    if (completed) s->completed++;
}

static void feed_gone(void *arg, bool completed)
{
    struct feed *f = arg;
    f->gone++;
    if (completed) f->completed++;
    f->request = NULL;
}

static ssize_t feed_pull(void *arg, char *dst, size_t size)
{
    struct feed *f = arg;
    f->pulls++;
    if (f->aborts_in_pull) httpd_abort(f->request);
    if (!f->bytes.len) return f->is_ended ? HTTPD_STREAM_END : 0;
    size_t n = f->bytes.len < size ? f->bytes.len : size;
    memcpy(dst, f->bytes.data, n);
    buf_consume(&f->bytes, n);
    return (ssize_t)n;
}

static struct feed *feed_start(struct site *s, struct httpd_request *r)
{
    assert_true(s->feed_count < FEEDS_MAX);
    struct feed *f = &s->feeds[s->feed_count++];
    *f = (struct feed){.request = r};
    buf_init(&f->bytes, RIG_BYTES_MAX);
    struct httpd_answer head = {.status = 200, .content_type = "text/event-stream"};
    head.headers[head.header_count++] =
        (struct httpd_header_out){.name = "Cache-Control", .value = "no-store"};
    httpd_on_gone(r, feed_gone, f);
    httpd_stream(r, &head, feed_pull, f);
    return f;
}

static void feed_say(struct feed *f, const char *text)
{
    assert_true(buf_put_str(&f->bytes, text));
    httpd_stream_wake(f->request);
}

static void show(struct site *s, struct httpd_request *r)
{
    struct buf out;
    buf_init(&out, 8192);
    struct view m = httpd_method(r), p = httpd_path(r), a = httpd_header(r, "AUTHORIZATION"), name,
                value;
    buf_printf(&out, "%.*s %.*s auth=%.*s none=%d peer=%.*s", (int)m.len, m.ptr, (int)p.len, p.ptr,
               (int)a.len, a.ptr ? a.ptr : "", httpd_header(r, "X-None").ptr == NULL,
               (int)httpd_peer(r).len, httpd_peer(r).ptr);
    size_t cursor = 0;
    while (httpd_query_each(r, &cursor, &name, &value))
        buf_printf(&out, " [%.*s=%.*s]", (int)name.len, name.ptr, (int)value.len, value.ptr);
    char after[16];
    bool has = httpd_query(r, "after", after, sizeof after);
    buf_printf(&out, " after=%d:%s", has, after);
    answer(r, 200, buf_view(&out));
    buf_fini(&out);
    (void)s;
}

static void on_request(void *arg, struct httpd_request *r)
{
    struct site *s = arg;
    s->requests++;
    httpd_on_gone(r, on_gone, s);
    struct view path = httpd_path(r), body = httpd_body(r);
    s->seen_body_len = body.len;
    memcpy(s->seen_body, body.ptr, body.len < sizeof s->seen_body ? body.len : sizeof s->seen_body);
    if (view_eq_str(path, "/park")) {
        httpd_set_user(r, s);
        s->parked[s->parked_count++] = r;
    } else if (view_eq_str(path, "/stream")) {
        feed_start(s, r);
    } else if (view_eq_str(path, "/abort")) {
        httpd_abort(r);
    } else if (view_eq_str(path, "/close")) {
        struct httpd_answer a = {.status = 200, .body = VIEW_LIT("bye"), .close = true};
        httpd_reply(r, &a);
    } else if (view_eq_str(path, "/show")) {
        show(s, r);
    } else if (view_eq_str(path, "/echo")) {
        answer(r, 200, body);
    } else {
        answer(r, 200, VIEW_LIT("ok"));
    }
}

static void on_refuse(void *arg, int status, const char *reason, struct buf *body,
                      const char **content_type)
{
    (void)arg;
    *content_type = "application/problem+json";
    buf_printf(body, "{\"status\":%d,\"detail\":\"%s\"}", status, reason);
}

static void site_open_with(struct site *s, struct httpd_options o)
{
    memset(s, 0, sizeof *s);
    rig_open(&s->rig);
    s->feeds = calloc(FEEDS_MAX, sizeof *s->feeds);
    assert_non_null(s->feeds);
    if (!o.listen) o.listen = "127.0.0.1:0";
    if (!o.connections_max) o.connections_max = 2000;
    if (!o.head_max) o.head_max = 6144;
    if (!o.body_max) o.body_max = BODY_MAX;
    if (!o.body_total_max) o.body_total_max = 4 * BODY_MAX;
    if (!o.head_timeout_ms) o.head_timeout_ms = 10000;
    if (!o.body_timeout_ms) o.body_timeout_ms = 30000;
    if (!o.idle_timeout_ms) o.idle_timeout_ms = 60000;
    o.on_request = on_request;
    o.on_refuse = on_refuse;
    o.arg = s;
    struct err err;
    s->httpd = httpd_new(s->rig.loop, s->rig.log, &o, &err);
    assert_non_null(s->httpd);
    s->port = httpd_port(s->httpd);
    assert_true(s->port > 0);
}

static void site_open(struct site *s)
{
    site_open_with(s, (struct httpd_options){.listen = NULL});
}

static void site_close(struct site *s)
{
    httpd_free(s->httpd);
    for (size_t i = 0; i < s->feed_count; i++) {
        assert_int_equal(s->feeds[i].gone, 1);
        buf_fini(&s->feeds[i].bytes);
    }
    free(s->feeds);
    rig_close(&s->rig);
}

static bool site_is_empty(void *arg)
{
    struct site *s = arg;
    return httpd_connections(s->httpd) == 0;
}

static bool site_has_parked(void *arg)
{
    return ((struct site *)arg)->parked_count > 0;
}

static bool site_has_gone(void *arg)
{
    return ((struct site *)arg)->gone > 0;
}

/* --- answers --- */

static void test_answer_now_and_keep_alive(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    for (int i = 0; i < 50; i++) {
        peer_say(&p, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_wait(&p, "\r\n\r\nok");
        assert_int_equal(peer_status(&p), 200);
        assert_true(peer_has(&p, "X-Test: yes\r\n") && peer_has(&p, "Date: ") &&
                    peer_has(&p, "Content-Length: 2\r\n"));
        buf_reset(&p.in);
    }
    assert_int_equal(s.requests, 50);
    assert_int_equal(s.completed, 50);
    assert_false(p.is_ended);
    assert_int_equal(httpd_connections(s.httpd), 1);
    peer_close(&p);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

struct count_want {
    struct peer *peer;
    const char *text;
    size_t count;
};

static bool count_is(void *arg)
{
    struct count_want *w = arg;
    return peer_count(w->peer, w->text) >= w->count;
}

static void test_pipelining_keeps_order(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    struct buf out;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 40; i++)
        buf_printf(&out, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n<%02d>", i);
    peer_send(&p, out.data, out.len);
    struct count_want w = {&p, "HTTP/1.1 200", 40};
    rig_wait(&s.rig, count_is, &w);
    peer_wait(&p, "<39>");
    const char *at = p.in.data;
    for (int i = 0; i < 40; i++) {
        char text[16];
        snprintf(text, sizeof text, "<%02d>", i);
        at = memmem(at, (size_t)(p.in.data + p.in.len - at), text, 4);
        assert_non_null(at);
    }
    buf_fini(&out);
    peer_close(&p);
    site_close(&s);
}

static void test_answer_later(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    for (int i = 0; i < 20; i++) {
        peer_say(&p, "POST /park HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        rig_wait(&s.rig, site_has_parked, &s);
        assert_ptr_equal(httpd_user(s.parked[0]), &s);
        assert_true(view_eq_str(httpd_body(s.parked[0]), "hello"));
        assert_true(view_eq_str(httpd_header(s.parked[0], "content-length"), "5"));
        assert_int_equal(p.in.len, 0);
        answer(s.parked[0], 202, httpd_body(s.parked[0]));
        s.parked_count = 0;
        peer_wait(&p, "\r\n\r\nhello");
        assert_int_equal(peer_status(&p), 202);
        buf_reset(&p.in);
    }
    assert_int_equal(s.completed, 20);
    peer_close(&p);
    site_close(&s);
}

/* A parked request must not hold up its neighbours, nor read ahead of its answer. */
static void test_parked_beside_others(void **state)
{
    (void)state;
    struct site s;
    struct peer a, b;
    site_open(&s);
    peer_open(&a, &s.rig, s.port);
    peer_open(&b, &s.rig, s.port);
    peer_say(&a, "GET /park HTTP/1.1\r\nHost: a\r\n\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    peer_say(&b, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&b, "\r\n\r\nok");
    assert_int_equal(a.in.len, 0);
    assert_int_equal(s.requests, 2);
    answer(s.parked[0], 200, VIEW_LIT("first"));
    peer_wait(&a, "\r\n\r\nok");
    assert_true(peer_has(&a, "\r\n\r\nfirst"));
    peer_close(&a);
    peer_close(&b);
    site_close(&s);
}

/* Those that wait longer are suspended in the library: every way out of that. */
static void test_long_wait(void **state)
{
    (void)state;
    struct site s;
    struct peer p[4];
    site_open(&s);
    for (int i = 0; i < 4; i++) {
        peer_open(&p[i], &s.rig, s.port);
        peer_say(&p[i], "GET /park HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
        s.parked[0] = NULL;
        s.parked_count = 0;
        rig_wait(&s.rig, site_has_parked, &s);
        struct httpd_request *r = s.parked[0];
        rig_pass(&s.rig, 60);
        assert_true(view_eq_str(httpd_header(r, "x"), "y"));
        if (i < 2) answer(r, 200, VIEW_LIT("at last"));
        if (i < 2) peer_wait(&p[i], "\r\n\r\nat last");
        if (i == 2) feed_say(feed_start(&s, r), "streamed");
        if (i == 2) peer_wait(&p[i], "streamed");
        if (i == 3) httpd_abort(r);
        if (i == 3) peer_wait_end(&p[i]);
    }
    peer_say(&p[0], "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&p[0], "\r\n\r\nok");
    for (int i = 0; i < 4; i++) peer_close(&p[i]);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

/* Requests that wait do not slow down a large body on another connection. */
static void test_upload_beside_waiting(void **state)
{
    (void)state;
    struct site s;
    struct peer a, b;
    site_open(&s);
    char *body = calloc(1, BODY_MAX);
    peer_open(&a, &s.rig, s.port);
    peer_open(&b, &s.rig, s.port);
    for (int i = 0; i < 5; i++) {
        int64_t start = loop_clock(s.rig.loop)->mono_ms;
        s.parked_count = 0;
        peer_say(&a, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
        rig_wait(&s.rig, site_has_parked, &s);
        peer_say(&b, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        peer_send(&b, body, BODY_MAX);
        peer_wait(&b, "\r\n\r\nok");
        assert_true(loop_clock(s.rig.loop)->mono_ms - start < 1000);
        answer(s.parked[0], 200, VIEW_LIT("ok"));
        peer_wait(&a, "\r\n\r\nok");
        buf_reset(&a.in);
        buf_reset(&b.in);
    }
    free(body);
    peer_close(&a);
    peer_close(&b);
    site_close(&s);
}

static void test_peer_leaves_while_parked(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    peer_close(&p);
    rig_wait(&s.rig, site_has_gone, &s);
    assert_int_equal(s.completed, 0);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

static void test_head_close_and_http10(void **state)
{
    (void)state;
    static const struct {
        const char *send, *want, *never;
    } cases[] = {
        {"HEAD /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Content-Length: 2\r\n",
         "\r\n\r\nok"},
        {"GET /close HTTP/1.1\r\nHost: a\r\n\r\n", "Connection: close\r\n", "chunked"},
        {"GET /now HTTP/1.0\r\n\r\n", "\r\n\r\nok", "chunked"},
        {"GET http://b.example/show?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "GET /show ", "b.example"},
        {"GET /show?a=%20b&c&after=x%2By+z HTTP/1.1\r\nHost: a\r\nConnection: "
         "close\r\nauthorization:  Bearer  k \r\n\r\n",
         "GET /show auth=Bearer  k none=1 peer=127.0.0.1 [a=%20b] [c=] [after=x%2By+z] after=1:x+y "
         "z",
         "HTTP/1.1 4"},
        {"GET /show?after=%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "after=0:", "HTTP/1.1 4"},
        {"GET /show?after=0123456789abcdef HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
         "after=0:", "HTTP/1.1 4"},
        {"GET /a%2Fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200",
         "HTTP/1.1 4"},
        {"\r\nGET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "\r\n\r\nok",
         "HTTP/1.1 4"},
        {"GET /now HTTP/1.1\r\nHost:\r\nX: \t a b \t\r\nConnection: close\r\n\r\n", "\r\n\r\nok",
         "HTTP/1.1 4"},
    };
    struct site s;
    site_open(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer p;
        peer_open(&p, &s.rig, s.port);
        peer_say(&p, cases[i].send);
        peer_wait_end(&p);
        if (!peer_has(&p, cases[i].want)) fail_msg("case %zu: %.*s", i, (int)p.in.len, p.in.data);
        assert_false(peer_has(&p, cases[i].never));
        assert_false(p.is_reset);
        peer_close(&p);
    }
    site_close(&s);
}

/* --- strictness --- */

#define H           "Host: a\r\n"
#define BYTES(text) text, sizeof(text) - 1

static const struct bad_head {
    const char *name, *bytes;
    size_t len;
    int status;
} BAD_HEADS[] = {
    {"bare LF after the request line", BYTES("GET /now HTTP/1.1\n" H "\r\n"), 400},
    {"bare LF after a field", BYTES("GET /now HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), 400},
    {"bare LF at the last field", BYTES("GET /now HTTP/1.1\r\nHost: a\n\r\n"), 400},
    {"bare LF as the empty line", BYTES("GET /now HTTP/1.1\r\n" H "\n"), 400},
    {"bare LF everywhere", BYTES("GET /now HTTP/1.1\nHost: a\n\n"), 400},
    {"bare LF and empty bare LF", BYTES("GET /now HTTP/1.1\r\nHost: a\n\n"), 400},
    {"CR within a value", BYTES("GET /now HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"), 400},
    {"CR CR LF", BYTES("GET /now HTTP/1.1\r\nHost: a\r\r\n\r\n"), 400},
    {"no Host", BYTES("GET /now HTTP/1.1\r\n\r\n"), 400},
    {"two Hosts", BYTES("GET /now HTTP/1.1\r\n" H H "\r\n"), 400},
    {"two names in Host", BYTES("GET /now HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400},
    {"Host with a path", BYTES("GET /now HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {"length and coding",
     BYTES("POST /now HTTP/1.1\r\n" H
           "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"coding and length",
     BYTES("POST /now HTTP/1.1\r\n" H
           "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
     400},
    {"two lengths",
     BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), 400},
    {"two lengths in one", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: 2, 2\r\n\r\nok"), 400},
    {"negative length", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"), 400},
    {"plus length", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\na"), 400},
    {"hex length", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: 0x2\r\n\r\nok"), 400},
    {"empty length", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: \r\n\r\n"), 400},
    {"text length", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: two\r\n\r\n"), 400},
    {"length past 64 bits",
     BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n"), 413},
    {"identity coding", BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n"),
     501},
    {"gzip, chunked",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501},
    {"chunked twice",
     BYTES("POST /now HTTP/1.1\r\n" H
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"xchunked", BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
     501},
    {"vertical tab chunked",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"chunked in 1.0", BYTES("POST /now HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"folded line", BYTES("GET /now HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"), 400},
    {"folded by tab", BYTES("GET /now HTTP/1.1\r\n" H "X: a\r\n\tb\r\nY: c\r\n\r\n"), 400},
    {"folded coding",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 400},
    {"blank first line", BYTES("GET /now HTTP/1.1\r\n X: a\r\n" H "\r\n"), 400},
    {"space before the colon", BYTES("GET /now HTTP/1.1\r\n" H "X : a\r\n\r\n"), 400},
    {"tab before the colon", BYTES("GET /now HTTP/1.1\r\n" H "X\t: a\r\n\r\n"), 400},
    {"space within a name", BYTES("GET /now HTTP/1.1\r\n" H "X y: a\r\n\r\n"), 400},
    {"empty name", BYTES("GET /now HTTP/1.1\r\n" H ": a\r\n\r\n"), 400},
    {"no colon", BYTES("GET /now HTTP/1.1\r\n" H "X\r\n\r\n"), 400},
    {"brackets in a name", BYTES("GET /now HTTP/1.1\r\n" H "X[y]: a\r\n\r\n"), 400},
    {"NUL in a value", BYTES("GET /now HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"), 400},
    {"NUL NUL in a value", BYTES("GET /now HTTP/1.1\r\n" H "X: a\0\0Y: b\r\n\r\n"), 400},
    {"NUL NUL at the end", BYTES("GET /now HTTP/1.1\r\n" H "X: a\0\0\r\n\r\n"), 400},
    {"NUL hides a length",
     BYTES("POST /now HTTP/1.1\r\n" H "X: a\0\0Content-Length: 5\r\n\r\nhello"), 400},
    {"NUL in a name", BYTES("GET /now HTTP/1.1\r\n" H "X\0y: a\r\n\r\n"), 400},
    {"NUL in the target", BYTES("GET /no\0w HTTP/1.1\r\n" H "\r\n"), 400},
    {"NUL in the query", BYTES("GET /now?a=\0b HTTP/1.1\r\n" H "\r\n"), 400},
    {"NUL in the method", BYTES("G\0T /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"control in a value",
     BYTES("GET /now HTTP/1.1\r\n" H "X: a\x01"
           "b\r\n\r\n"),
     400},
    {"DEL in a value", BYTES("GET /now HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n"), 400},
    {"space in the target", BYTES("GET /now now HTTP/1.1\r\n" H "\r\n"), 400},
    {"two spaces before the target", BYTES("GET  /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"two spaces before the version", BYTES("GET /now  HTTP/1.1\r\n" H "\r\n"), 400},
    {"space after the version", BYTES("GET /now HTTP/1.1 \r\n" H "\r\n"), 400},
    {"space before the method", BYTES(" GET /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"tab for space", BYTES("GET\t/now\tHTTP/1.1\r\n" H "\r\n"), 400},
    {"control in the target", BYTES("GET /n\x01w HTTP/1.1\r\n" H "\r\n"), 400},
    {"high byte in the target", BYTES("GET /n\xc3\xbcw HTTP/1.1\r\n" H "\r\n"), 400},
    {"fragment in the target", BYTES("GET /now#a HTTP/1.1\r\n" H "\r\n"), 400},
    {"method not a token", BYTES("G(T /now HTTP/1.1\r\n" H "\r\n"), 400},
    {"no version", BYTES("GET /now\r\n" H "\r\n"), 400},
    {"no target", BYTES("GET HTTP/1.1\r\n" H "\r\n"), 400},
    {"one word", BYTES("GARBAGE\r\n\r\n"), 400},
    {"binary", BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"), 400},
    {"lower case version", BYTES("GET /now http/1.1\r\n" H "\r\n"), 400},
    {"version 1.10", BYTES("GET /now HTTP/1.10\r\n" H "\r\n"), 400},
    {"version 2.0", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"version 0.9", BYTES("GET /now HTTP/0.9\r\n" H "\r\n"), 505},
    {"unknown expectation",
     BYTES("POST /now HTTP/1.1\r\n" H "Expect: more\r\nContent-Length: 1\r\n\r\n"), 417},
    {"length over the limit", BYTES("POST /now HTTP/1.1\r\n" H "Content-Length: 100001\r\n\r\n"),
     413},
    {"chunk size not hex",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"), 400},
    {"chunk size negative",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n"), 400},
    {"chunk longer than it says",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"),
     400},
    {"chunk size past 64 bits",
     BYTES("POST /now HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
     413},
};

static void strict_one(struct site *s, const struct bad_head *bad, bool by_bytes)
{
    struct peer p;
    size_t before = s->requests;
    peer_open(&p, &s->rig, s->port);
    if (by_bytes)
        for (size_t i = 0; i < bad->len; i++) peer_send(&p, bad->bytes + i, 1);
    else
        peer_send(&p, bad->bytes, bad->len);
    bool has_ended = rig_wait_ms(&s->rig, peer_ended, &p, RIG_WAIT_MS);
    /* a later library refuses some of them itself, with 400 */
    bool is_right =
        peer_status(&p) == bad->status || (bad->status == 501 && peer_status(&p) == 400);
    if (!has_ended || !is_right || peer_count(&p, "\r\nDate: ") != 1 || s->requests != before)
        fail_msg("%s: want %d alone, then the end (%d): %.*s", bad->name, bad->status, has_ended,
                 (int)p.in.len, p.in.data ? p.in.data : "");
    if (!peer_has(&p, "Connection: close\r\n")) fail_msg("%s: no Connection: close", bad->name);
    peer_close(&p);
}

static void test_strict_heads(void **state)
{
    (void)state;
    struct site s;
    site_open(&s);
    for (size_t i = 0; i < sizeof BAD_HEADS / sizeof BAD_HEADS[0]; i++) {
        strict_one(&s, &BAD_HEADS[i], false);
        strict_one(&s, &BAD_HEADS[i], true);
    }
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

/* The same heads behind a good request on the same connection: refused too, the good one answered
 * first. */
static void test_strict_heads_after_a_good_one(void **state)
{
    (void)state;
    struct site s;
    site_open(&s);
    for (size_t i = 0; i < sizeof BAD_HEADS / sizeof BAD_HEADS[0]; i++) {
        struct peer p;
        peer_open(&p, &s.rig, s.port);
        peer_say(&p, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_send(&p, BAD_HEADS[i].bytes, BAD_HEADS[i].len);
        peer_wait_end(&p);
        assert_int_equal(peer_status(&p), 200);
        if (peer_count(&p, "HTTP/1.1 200") != 1)
            fail_msg("%s: served: %.*s", BAD_HEADS[i].name, (int)p.in.len, p.in.data);
        peer_close(&p);
    }
    assert_int_equal(s.requests, sizeof BAD_HEADS / sizeof BAD_HEADS[0]);
    site_close(&s);
}

static void test_good_heads_at_every_split(void **state)
{
    (void)state;
    static const char *const good[] = {
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Y: \xc3\xbc \t z\r\nCookie: a=b; "
        "c=d\r\n\r\nhello",
        "POST /echo?x=1 HTTP/1.1\r\nhOST: a:80\r\nTransfer-Encoding: "
        "Chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n",
    };
    struct site s;
    site_open(&s);
    for (size_t g = 0; g < 2; g++) {
        size_t len = strlen(good[g]);
        struct peer p;
        peer_open(&p, &s.rig, s.port);
        for (size_t cut = 1; cut < len; cut++) {
            peer_send(&p, good[g], cut);
            rig_pass(&s.rig, cut % 16 ? 0 : 2);
            peer_send(&p, good[g] + cut, len - cut);
            peer_wait(&p, "\r\n\r\nhello");
            buf_reset(&p.in);
        }
        for (size_t i = 0; i < len; i++) {
            peer_send(&p, good[g] + i, 1);
            rig_pass(&s.rig, 0);
        }
        peer_wait(&p, "\r\n\r\nhello");
        assert_false(p.is_ended);
        peer_close(&p);
    }
    site_close(&s);
}

/* Ignored or refused: the library's choice differs by version, a hang would be ours. */
static void test_chunk_extension(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                 "chunked\r\n\r\n2;x=y\r\nlo\r\n0\r\n\r\n");
    peer_wait(&p, "HTTP/1.1 ");
    assert_true(peer_status(&p) == 200 || peer_status(&p) == 400);
    peer_close(&p);
    site_close(&s);
}

static bool peer_heard(void *arg)
{
    struct peer *p = arg;
    return p->is_ended || p->in.len > 0;
}

/* Whatever bytes come: an answer, a close or more waiting, and the server serves the next one. */
static void test_mutated_requests(void **state)
{
    (void)state;
    static const char good[] =
        "POST /echo?a=b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\nGET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char bytes[] = "\0\r\n\t :;,=/?%0aF\xff";
    struct site s;
    struct rng rng;
    site_open(&s);
    rng_seed(&rng, 20261124);
    for (int i = 0; i < 1000; i++) {
        char text[sizeof good];
        memcpy(text, good, sizeof good);
        size_t len = sizeof good - 1;
        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--)
            text[rng_below(&rng, len)] = bytes[rng_below(&rng, sizeof bytes - 1)];
        if (rng_below(&rng, 3) == 0) len = rng_below(&rng, len) + 1;
        struct peer p;
        peer_open(&p, &s.rig, s.port);
        peer_send(&p, text, len);
        (void)rig_wait_ms(&s.rig, peer_heard, &p, 3);
        peer_close(&p);
        if (s.feed_count > FEEDS_MAX - 10) break;
    }
    struct peer p;
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&p, "ok");
    peer_close(&p);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

static void test_refusal_has_the_rooms_body(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "POST /now HTTP/1.1\r\nHost: a\r\nExpect: more\r\nContent-Length: 1\r\n\r\n");
    peer_wait_end(&p);
    assert_true(peer_has(&p, "Content-Type: application/problem+json\r\n"));
    assert_true(peer_has(&p, "{\"status\":417,\"detail\":\"expectation not known\"}"));
    peer_close(&p);
    site_close(&s);
}

/* --- limits --- */

static void send_head_of(struct peer *p, size_t bytes)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "GET /now HTTP/1.1\r\nHost: a\r\nX: ");
    while (b.len < bytes - 4) buf_put_char(&b, 'x');
    buf_put_str(&b, "\r\n\r\n");
    assert_int_equal(b.len, bytes);
    peer_send(p, b.data, b.len);
    buf_fini(&b);
}

static void test_head_limit(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        int status;
    } cases[] = {{6144, 200}, {6145, 431}, {7000, 431}, {8192, 431}, {9000, 431}, {100000, 431}};
    struct site s;
    site_open(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer p;
        peer_open(&p, &s.rig, s.port);
        send_head_of(&p, cases[i].bytes);
        peer_wait(&p, "HTTP/1.1 ");
        assert_int_equal(peer_status(&p), cases[i].status);
        if (cases[i].status != 200) peer_wait_end(&p);
        peer_close(&p);
    }
    site_close(&s);
}

/* The library copies cookies once more into the same memory. */
static void test_many_cookies(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    struct buf b;
    site_open(&s);
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "GET /now HTTP/1.1\r\nHost: a\r\nCookie: a=b");
    for (int i = 0; i < 38; i++)
        buf_printf(&b, "; name%02d=%.90s", i,
                   "0123456789012345678901234567890123456789012345678901234567890123456789"
                   "01234567890123456789");
    buf_put_str(&b, "\r\n\r\n");
    peer_open(&p, &s.rig, s.port);
    peer_send(&p, b.data, b.len);
    peer_wait(&p, "HTTP/1.1 ");
    assert_int_equal(peer_status(&p), 200);
    peer_close(&p);
    buf_fini(&b);
    site_close(&s);
}

static void test_field_limit_and_long_target(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    struct buf b;
    site_open(&s);
    buf_init(&b, 1 << 20);
    buf_put_str(&b, "GET /now HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++) buf_put_str(&b, "X: y\r\n");
    buf_put_str(&b, "\r\n");
    peer_open(&p, &s.rig, s.port);
    peer_send(&p, b.data, b.len);
    peer_wait_end(&p);
    assert_int_equal(peer_status(&p), 431);
    peer_close(&p);
    buf_reset(&b);
    buf_put_str(&b, "GET /show?after=1&a=");
    for (int i = 0; i < 2000; i++) buf_put_char(&b, 'x');
    buf_put_str(&b, " HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_open(&p, &s.rig, s.port);
    peer_send(&p, b.data, b.len);
    peer_wait(&p, "after=1:1");
    buf_reset(&b);
    buf_put_str(&b, "GET /");
    for (int i = 0; i < 20000; i++) buf_put_char(&b, 'x');
    peer_send(&p, b.data, b.len);
    peer_wait_end(&p);
    assert_true(peer_has(&p, "HTTP/1.1 414"));
    peer_close(&p);
    buf_fini(&b);
    site_close(&s);
}

static void test_body_limit(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    char *body = malloc(BODY_MAX + 1);
    memset(body, 'b', BODY_MAX + 1);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    for (size_t at = 0; at < BODY_MAX; at += 1000) peer_send(&p, body + at, 1000);
    peer_wait(&p, "\r\n\r\nok");
    assert_int_equal(s.seen_body_len, BODY_MAX);
    buf_reset(&p.in);
    /* chunked: the length shows only on the way */
    peer_say(&p, "POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n");
    peer_send(&p, body, BODY_MAX + 1);
    peer_wait_end(&p);
    assert_int_equal(peer_status(&p), 413);
    assert_true(peer_has(&p, "{\"status\":413"));
    assert_int_equal(peer_count(&p, "HTTP/1.1"), 1);
    assert_int_equal(s.requests, 1);
    peer_close(&p);
    free(body);
    site_close(&s);
}

/* A client that sends its whole huge body before it reads still gets the 413: it is not reset. */
static void test_huge_body_is_refused_early_and_politely(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_hear(&p, false);
    peer_say(&p, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n");
    static char zeros[40000];
    assert_int_equal(fcntl(p.fd, F_SETFL, O_NONBLOCK), 0);
    size_t sent = 0;
    for (int i = 0; i < 100000 && sent < 4000000; i++) {
        size_t left = 4000000 - sent;
        ssize_t n = send(p.fd, zeros, left < sizeof zeros ? left : sizeof zeros, MSG_NOSIGNAL);
        if (n > 0) sent += (size_t)n;
        if (n < 0) assert_int_equal(errno, EAGAIN);
        if (n < 0) rig_pass(&s.rig, 1);
    }
    assert_int_equal(sent, 4000000);
    peer_hear(&p, true);
    peer_wait_end(&p);
    assert_int_equal(peer_status(&p), 413);
    assert_false(p.is_reset);
    peer_close(&p);
    site_close(&s);
}

static void test_all_bodies_limit(void **state)
{
    (void)state;
    struct site s;
    struct peer p[4];
    site_open_with(&s, (struct httpd_options){.body_max = 1000, .body_total_max = 2500});
    static char bytes[1000];
    for (int i = 0; i < 2; i++) {
        peer_open(&p[i], &s.rig, s.port);
        peer_say(&p[i], "POST /park HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
        peer_send(&p[i], bytes, 1000);
        s.parked_count = 0;
        rig_wait(&s.rig, site_has_parked, &s);
    }
    peer_open(&p[2], &s.rig, s.port);
    peer_say(&p[2], "POST /park HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    peer_wait_end(&p[2]);
    assert_int_equal(peer_status(&p[2]), 503);
    assert_true(peer_has(&p[2], "Retry-After: 1\r\n"));
    peer_close(&p[2]);
    peer_open(&p[3], &s.rig, s.port);
    peer_say(&p[3], "POST /park HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n");
    peer_send(&p[3], bytes, 1000);
    peer_wait_end(&p[3]);
    assert_int_equal(peer_status(&p[3]), 503);
    peer_close(&p[3]);
    /* what is given back can be used again */
    peer_close(&p[0]);
    rig_wait(&s.rig, site_has_gone, &s);
    peer_open(&p[0], &s.rig, s.port);
    peer_say(&p[0], "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    peer_send(&p[0], bytes, 1000);
    peer_wait(&p[0], "\r\n\r\nok");
    peer_close(&p[0]);
    peer_close(&p[1]);
    site_close(&s);
}

static void test_connection_limit(void **state)
{
    (void)state;
    struct site s;
    struct peer a, b, c;
    site_open_with(&s, (struct httpd_options){.connections_max = 2});
    peer_open(&a, &s.rig, s.port);
    peer_say(&a, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&a, "\r\n\r\n");
    peer_open(&b, &s.rig, s.port);
    peer_say(&b, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&b, "ok");
    peer_open(&c, &s.rig, s.port);
    peer_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait_end(&c);
    assert_int_equal(peer_status(&c), 503);
    assert_true(peer_has(&c, "Retry-After"));
    peer_close(&c);
    peer_close(&b);
    peer_close(&a);
    rig_wait(&s.rig, site_is_empty, &s);
    peer_open(&c, &s.rig, s.port);
    peer_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&c, "ok");
    peer_close(&c);
    site_close(&s);
}

static void test_expect_continue(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p,
             "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    peer_wait(&p, "HTTP/1.1 100 Continue\r\n\r\n");
    buf_reset(&p.in);
    peer_say(&p, "abc");
    peer_wait(&p, "\r\n\r\nabc");
    buf_reset(&p.in);
    peer_say(
        &p,
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n");
    peer_wait_end(&p);
    assert_int_equal(peer_status(&p), 413);
    peer_close(&p);
    site_close(&s);
}

/* --- time limits --- */

static void slow_case(const char *text, int want, bool dribbles)
{
    struct site s;
    struct peer p;
    site_open_with(&s, (struct httpd_options){
                           .head_timeout_ms = 150, .body_timeout_ms = 150, .idle_timeout_ms = 150});
    peer_open(&p, &s.rig, s.port);
    int64_t start = loop_clock(s.rig.loop)->mono_ms;
    peer_say(&p, text);
    for (int i = 0; dribbles && i < 60 && !p.is_ended; i++) {
        (void)rig_wait_ms(&s.rig, peer_ended, &p, 10);
        if (!p.is_ended) peer_say(&p, "x");
    }
    peer_wait_end(&p);
    int64_t took = loop_clock(s.rig.loop)->mono_ms - start;
    if (peer_status(&p) != want)
        fail_msg("'%s': %.*s", text, (int)p.in.len, p.in.data ? p.in.data : "");
    assert_true(took >= 140 && took < 5000);
    assert_int_equal(s.requests - (want == 200), 0);
    rig_wait(&s.rig, site_is_empty, &s);
    peer_close(&p);
    site_close(&s);
}

static void test_slow_peers_are_cut(void **state)
{
    (void)state;
    slow_case("", 0, false);
    slow_case("GET /now HT", 408, false);
    slow_case("GET /", 408, true);
    slow_case("GET /now HTTP/1.1\r\nHost: a\r\n", 408, false);
    slow_case("GET /now HTTP/1.1\r\nX: ", 408, true);
    slow_case("POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", 408, false);
    slow_case("POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 408,
              false);
    slow_case("GET /now HTTP/1.1\r\nHost: a\r\n\r\n", 200, false); /* then idle */
}

/* A slow body that moves is not cut; a parked request and a stream have no limit. */
static void test_slow_but_alive(void **state)
{
    (void)state;
    struct site s;
    struct peer body, park, stream;
    site_open_with(&s, (struct httpd_options){
                           .head_timeout_ms = 500, .body_timeout_ms = 500, .idle_timeout_ms = 500});
    peer_open(&body, &s.rig, s.port);
    peer_open(&park, &s.rig, s.port);
    peer_open(&stream, &s.rig, s.port);
    peer_say(&park, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_say(&stream, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_say(&body, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n");
    for (int i = 0; i < 30; i++) {
        rig_pass(&s.rig, 20);
        peer_say(&body, "b");
    }
    peer_wait(&body, "\r\n\r\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    assert_false(park.is_ended || stream.is_ended);
    answer(s.parked[0], 200, VIEW_LIT("there"));
    peer_wait(&park, "there");
    feed_say(&s.feeds[0], "news");
    peer_wait(&stream, "news");
    peer_close(&body);
    peer_close(&park);
    peer_close(&stream);
    site_close(&s);
}

static void test_answer_nobody_reads_is_cut(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open_with(&s, (struct httpd_options){.body_timeout_ms = 200});
    peer_open_small(&p, &s.rig, s.port, 4096);
    peer_hear(&p, false);
    peer_say(&p, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    size_t len = 16 << 20;
    char *big = calloc(1, len);
    answer(s.parked[0], 200, view_make(big, len));
    free(big);
    rig_wait(&s.rig, site_has_gone, &s);
    assert_int_equal(s.completed, 0);
    peer_close(&p);
    site_close(&s);
}

static void test_big_answer_whole(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    size_t len = 3 << 20;
    char *big = malloc(len);
    memset(big, 'z', len);
    memcpy(big + len - 3, "end", 3);
    answer(s.parked[0], 200, view_make(big, len));
    free(big);
    peer_wait(&p, "zend");
    assert_true(p.in.len > len);
    rig_wait(&s.rig, site_has_gone, &s);
    assert_int_equal(s.completed, 1);
    peer_close(&p);
    site_close(&s);
}

/* --- streams --- */

/* Undoes the chunks of one answer; false when they are malformed or not whole. */
static bool dechunk(const struct peer *p, struct buf *out, bool *ret_is_whole)
{
    const char *at = memmem(p->in.data, p->in.len, "\r\n\r\n", 4), *end = p->in.data + p->in.len;
    if (!at) return false;
    at += 4;
    *ret_is_whole = false;
    while (at < end) {
        char *after;
        size_t size = strtoul(at, &after, 16);
        if (after == at || end - after < 2 || memcmp(after, "\r\n", 2) != 0) return false;
        at = after + 2;
        if ((size_t)(end - at) < size + 2) return false;
        buf_put(out, at, size);
        if (memcmp(at + size, "\r\n", 2) != 0) return false;
        at += size + 2;
        if (!size) *ret_is_whole = at == end;
        if (!size) return *ret_is_whole;
    }
    return true;
}

static void test_stream(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&p, "\r\n\r\n");
    assert_int_equal(peer_status(&p), 200);
    assert_true(peer_has(&p, "Transfer-Encoding: chunked\r\n") &&
                peer_has(&p, "Cache-Control: no-store\r\n"));
    assert_true(peer_has(&p, "Content-Type: text/event-stream\r\n") && peer_has(&p, "Date: "));
    struct feed *f = &s.feeds[0];
    for (int i = 0; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "data: %d\n\n", i);
        feed_say(f, text);
        peer_wait(&p, text);
    }
    /* several in one turn leave as one chunk */
    size_t before = p.in.len;
    feed_say(f, "one ");
    feed_say(f, "two ");
    feed_say(f, "three");
    peer_wait(&p, "three");
    assert_memory_equal(p.in.data + before, "d\r\none two three\r\n", 18);
    f->is_ended = true;
    feed_say(f, "last");
    peer_wait_end(&p);
    struct buf out;
    bool is_whole;
    buf_init(&out, 1 << 20);
    assert_true(dechunk(&p, &out, &is_whole) && is_whole);
    assert_true(memmem(out.data, out.len, "data: 19\n\none two threelast", 27));
    assert_int_equal(f->completed, 1);
    assert_false(p.is_reset);
    buf_fini(&out);
    peer_close(&p);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

static void test_stream_from_parked_http10_and_head(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "POST /park HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    rig_wait(&s.rig, site_has_parked, &s);
    rig_pass(&s.rig, 5);
    struct feed *f = feed_start(&s, s.parked[0]);
    feed_say(f, "hello");
    f->is_ended = true;
    peer_wait_end(&p);
    assert_true(peer_has(&p, "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    peer_close(&p);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /stream HTTP/1.0\r\n\r\n");
    peer_wait(&p, "\r\n\r\n");
    feed_say(&s.feeds[1], "plain");
    peer_wait(&p, "\r\n\r\nplain");
    s.feeds[1].is_ended = true;
    httpd_stream_wake(s.feeds[1].request);
    peer_wait_end(&p);
    assert_false(peer_has(&p, "chunked"));
    peer_close(&p);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait_end(&p);
    assert_int_equal(s.feeds[2].pulls, 0);
    assert_int_equal(s.feeds[2].completed, 1);
    assert_memory_equal(p.in.data + p.in.len - 4, "\r\n\r\n", 4);
    peer_close(&p);
    site_close(&s);
}

static bool feed_is_gone(void *arg)
{
    return ((struct feed *)arg)->gone > 0;
}

static void test_stream_peer_leaves(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    for (int i = 0; i < 3; i++) {
        peer_open(&p, &s.rig, s.port);
        peer_say(&p, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_wait(&p, "\r\n\r\n");
        struct linger now = {1, 0};
        if (i == 1) setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        if (i == 2) shutdown(p.fd, SHUT_WR);
        if (i < 2) peer_close(&p);
        assert_true(rig_wait_ms(&s.rig, feed_is_gone, &s.feeds[i], 1000)); /* no write was needed */
        assert_int_equal(s.feeds[i].completed, 0);
        if (i == 2) peer_close(&p);
    }
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

static void test_stream_abort(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    for (int i = 0; i < 2; i++) {
        peer_open(&p, &s.rig, s.port);
        peer_say(&p, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        peer_wait(&p, "\r\n\r\n");
        if (i == 0) httpd_abort(s.feeds[i].request);
        assert_int_equal(s.feeds[i].gone, 0); /* not from inside */
        s.feeds[i].aborts_in_pull = i == 1;
        if (i == 1) httpd_stream_wake(s.feeds[i].request);
        peer_wait_end(&p);
        assert_true(p.is_reset);
        assert_int_equal(s.feeds[i].gone, 1);
        assert_int_equal(s.feeds[i].completed, 0);
        assert_false(peer_has(&p, "0\r\n\r\n"));
        peer_close(&p);
    }
    site_close(&s);
}

static void test_abort_before_the_answer(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait_end(&p);
    assert_int_equal(s.gone, 1);
    peer_close(&p);
    peer_open(&p, &s.rig, s.port);
    peer_say(&p, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    httpd_abort(s.parked[0]);
    peer_wait_end(&p);
    assert_int_equal(s.gone, 2);
    assert_int_equal(s.completed, 0);
    assert_int_equal(p.in.len, 0);
    peer_close(&p);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

static void feed_fill(struct feed *f, size_t bytes)
{
    assert_true(buf_reserve(&f->bytes, bytes + 32));
    for (size_t i = 0; f->bytes.len < bytes; i++) buf_printf(&f->bytes, "%zu,", i);
    httpd_stream_wake(f->request);
}

struct size_want {
    struct buf *bytes;
    size_t len;
    size_t *count, at_least;
};

static bool count_is_there(void *arg)
{
    struct size_want *w = arg;
    return *w->count >= w->at_least;
}

static bool size_is_below(void *arg)
{
    struct size_want *w = arg;
    return w->bytes->len <= w->len;
}

/* A reader that stops: only so much is pulled for it; it goes on where it stopped, with nothing
 * lost or doubled. */
static void test_stream_slow_reader(void **state)
{
    (void)state;
    enum { ALL = 4 << 20 };
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open_small(&p, &s.rig, s.port, 16384);
    peer_say(&p, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&p, "\r\n\r\n");
    peer_hear(&p, false);
    struct feed *f = &s.feeds[0];
    feed_fill(f, ALL);
    size_t all = f->bytes.len;
    char *copy = malloc(all);
    memcpy(copy, f->bytes.data, all);
    rig_pass(&s.rig, 50);
    size_t held = f->bytes.len, pulls = f->pulls;
    assert_true(held > ALL - (1 << 20)); /* what the two kernels and one block hold, no more */
    for (int i = 0; i < 20; i++) httpd_stream_wake(f->request);
    rig_pass(&s.rig, 20);
    assert_int_equal(f->pulls, pulls);
    peer_hear(&p, true);
    struct size_want w = {.bytes = &f->bytes};
    rig_wait(&s.rig, size_is_below, &w);
    f->is_ended = true;
    httpd_stream_wake(f->request);
    peer_wait_end(&p);
    struct buf out;
    bool is_whole;
    buf_init(&out, RIG_BYTES_MAX);
    assert_true(dechunk(&p, &out, &is_whole) && is_whole);
    assert_int_equal(out.len, all);
    assert_memory_equal(out.data, copy, all);
    free(copy);
    buf_fini(&out);
    peer_close(&p);
    site_close(&s);
}

static void test_stream_abort_of_a_blocked_reader(void **state)
{
    (void)state;
    struct site s;
    struct peer p;
    site_open(&s);
    peer_open_small(&p, &s.rig, s.port, 8192);
    peer_say(&p, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&p, "\r\n\r\n");
    peer_hear(&p, false);
    feed_fill(&s.feeds[0], 2 << 20);
    rig_pass(&s.rig, 20);
    httpd_abort(s.feeds[0].request);
    rig_wait(&s.rig, feed_is_gone, &s.feeds[0]);
    assert_int_equal(s.feeds[0].completed, 0);
    rig_wait(&s.rig, site_is_empty, &s);
    peer_close(&p);
    site_close(&s);
}

struct all_want {
    struct peer *peers;
    size_t count;
    const char *text;
};

static bool all_have(void *arg)
{
    struct all_want *w = arg;
    while (w->count && peer_has(&w->peers[w->count - 1], w->text)) w->count--;
    return w->count == 0;
}

static void test_thousand_streams(void **state)
{
    (void)state;
    enum { STREAMS = 1000 };
    struct rlimit files = {.rlim_cur = 4096, .rlim_max = 4096}, old;
    getrlimit(RLIMIT_NOFILE, &old);
    if (old.rlim_cur < files.rlim_cur && setrlimit(RLIMIT_NOFILE, &files) != 0) skip();
    struct site s;
    site_open(&s);
    struct peer *p = calloc(STREAMS, sizeof *p);
    for (size_t i = 0; i < STREAMS; i++) {
        peer_open(&p[i], &s.rig, s.port);
        peer_say(&p[i], "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        if (i % 50 == 49) rig_pass(&s.rig, 0);
    }
    rig_wait(&s.rig, all_have, &(struct all_want){p, STREAMS, "\r\n\r\n"});
    assert_int_equal(s.feed_count, STREAMS);
    for (int round = 0; round < 5; round++) {
        char text[32];
        snprintf(text, sizeof text, "round %d\n", round);
        for (size_t i = 0; i < STREAMS; i++) feed_say(&s.feeds[i], text);
        rig_wait(&s.rig, all_have, &(struct all_want){p, STREAMS, text});
    }
    /* other requests are served beside them, parked ones too */
    struct peer q;
    peer_open(&q, &s.rig, s.port);
    peer_say(&q, "GET /park HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    answer(s.parked[0], 200, VIEW_LIT("beside"));
    peer_wait(&q, "beside");
    peer_close(&q);
    for (size_t i = 0; i < STREAMS; i += 2) {
        s.feeds[i].is_ended = true;
        httpd_stream_wake(s.feeds[i].request);
    }
    for (size_t i = 1; i < STREAMS; i += 2) peer_close(&p[i]);
    rig_wait(&s.rig, site_is_empty, &s);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(s.feeds[i].gone, 1);
        assert_int_equal(s.feeds[i].completed, i % 2 == 0);
    }
    for (size_t i = 0; i < STREAMS; i += 2) {
        peer_wait_end(&p[i]);
        assert_int_equal(peer_count(&p[i], "round "), 5);
        peer_close(&p[i]);
    }
    free(p);
    site_close(&s);
}

/* More waiting requests than the library is asked about: the rest is suspended at once. */
static void test_many_waiting(void **state)
{
    (void)state;
    enum { MANY = 700 };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 3 * MANY) skip();
    struct site s;
    site_open(&s);
    struct peer *p = calloc(MANY, sizeof *p);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            if (!round) peer_open(&p[i], &s.rig, s.port);
            peer_say(&p[i], "POST /park HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            if (i % 50 == 49) rig_pass(&s.rig, 0);
        }
        struct size_want w = {.count = &s.parked_count, .at_least = MANY};
        rig_wait(&s.rig, count_is_there, &w);
        for (size_t i = 0; i < MANY; i++) answer(s.parked[i], 200, VIEW_LIT("ho"));
        s.parked_count = 0;
        rig_wait(&s.rig, all_have, &(struct all_want){p, MANY, "\r\n\r\nho"});
        for (size_t i = 0; i < MANY; i++) buf_reset(&p[i].in);
    }
    assert_int_equal(s.completed, 3 * MANY);
    for (size_t i = 0; i < MANY; i++) peer_close(&p[i]);
    free(p);
    rig_wait(&s.rig, site_is_empty, &s);
    site_close(&s);
}

/* --- the server's own life --- */

static void test_free_with_everything_under_way(void **state)
{
    (void)state;
    struct site s;
    struct peer p[5];
    site_open(&s);
    static const char *const texts[] = {
        "GET /park HTTP/1.1\r\nHost: a\r\n\r\n", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /now HTTP/1.1\r\nHost: a\r\n\r\n", "GET /no",
        "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"};
    for (int i = 0; i < 5; i++) {
        peer_open(&p[i], &s.rig, s.port);
        peer_say(&p[i], texts[i]);
    }
    peer_wait(&p[2], "ok");
    peer_wait(&p[1], "\r\n\r\n");
    rig_wait(&s.rig, site_has_parked, &s);
    httpd_free(s.httpd);
    s.httpd = NULL;
    assert_int_equal(s.gone, 2); /* the parked one was told */
    assert_int_equal(s.completed, 1);
    assert_int_equal(s.feeds[0].gone, 1);
    for (int i = 0; i < 5; i++) peer_wait_end(&p[i]);
    for (int i = 0; i < 5; i++) peer_close(&p[i]);
    site_close(&s);
}

static void test_stop_accepting(void **state)
{
    (void)state;
    struct site s;
    struct peer a;
    site_open(&s);
    peer_open(&a, &s.rig, s.port);
    httpd_stop_accepting(s.httpd); /* a is in the backlog */
    peer_say(&a, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_wait(&a, "ok");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    httpd_stop_accepting(s.httpd);
    peer_close(&a);
    site_close(&s);
}

static void test_listen_addresses(void **state)
{
    (void)state;
    struct site s;
    struct err err = {.code = ERR_OK};
    site_open_with(&s, (struct httpd_options){.listen = "localhost:0", .reuse_port = true});
    struct httpd_options o = {
        .connections_max = 1, .head_max = 6144, .on_request = on_request, .arg = &s};
    static const char *const bad[] = {"",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:x",
                                      "127.0.0.1:99999",
                                      ":::",
                                      "no.such.host.invalid:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        o.listen = bad[i];
        assert_null(httpd_new(s.rig.loop, s.rig.log, &o, &err));
        assert_true(err.text[0]);
    }
    char same[32];
    snprintf(same, sizeof same, "127.0.0.1:%d", s.port);
    struct site t;
    site_open(&t);
    snprintf(same, sizeof same, "127.0.0.1:%d", t.port);
    o.listen = same;
    assert_null(httpd_new(s.rig.loop, s.rig.log, &o, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    site_close(&t);
    o.listen = "[::1]:0";
    struct httpd *six = httpd_new(s.rig.loop, s.rig.log, &o, &err);
    if (six) assert_true(httpd_port(six) > 0); /* a machine may be without IPv6 */
    httpd_free(six);
    site_close(&s);
}

/* --- the pure part --- */

static void test_decode(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want;
    } cases[] = {{"", ""},           {"a+b", "a b"}, {"%41%62", "Ab"}, {"%", NULL},
                 {"%4", NULL},       {"%4g", NULL},  {"%00", NULL},    {"1234567", "1234567"},
                 {"12345678", NULL}, {"%2b", "+"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[8];
        assert_int_equal(httpd_target_decode(view_of(cases[i].raw), out, sizeof out),
                         cases[i].want != NULL);
        assert_string_equal(out, cases[i].want ? cases[i].want : "");
    }
}

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *target, *path, *query;
    } cases[] = {{"/a?b=c", "/a", "b=c"},
                 {"/a", "/a", NULL},
                 {"*", "*", NULL},
                 {"/?", "/", ""},
                 {"http://h", "/", NULL},
                 {"https://h?x", "/", "x"},
                 {"http://h/a?b?c", "/a", "b?c"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct view path, query;
        httpd_target_split(view_of(cases[i].target), &path, &query);
        assert_true(view_eq_str(path, cases[i].path));
        assert_int_equal(query.ptr != NULL, cases[i].query != NULL);
        if (cases[i].query) assert_true(view_eq_str(query, cases[i].query));
    }
}

int main(void)
{
    int files = rig_open_files();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_now_and_keep_alive),
        cmocka_unit_test(test_pipelining_keeps_order),
        cmocka_unit_test(test_answer_later),
        cmocka_unit_test(test_parked_beside_others),
        cmocka_unit_test(test_long_wait),
        cmocka_unit_test(test_upload_beside_waiting),
        cmocka_unit_test(test_peer_leaves_while_parked),
        cmocka_unit_test(test_head_close_and_http10),
        cmocka_unit_test(test_strict_heads),
        cmocka_unit_test(test_strict_heads_after_a_good_one),
        cmocka_unit_test(test_good_heads_at_every_split),
        cmocka_unit_test(test_chunk_extension),
        cmocka_unit_test(test_mutated_requests),
        cmocka_unit_test(test_refusal_has_the_rooms_body),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_many_cookies),
        cmocka_unit_test(test_field_limit_and_long_target),
        cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_huge_body_is_refused_early_and_politely),
        cmocka_unit_test(test_all_bodies_limit),
        cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_slow_peers_are_cut),
        cmocka_unit_test(test_slow_but_alive),
        cmocka_unit_test(test_answer_nobody_reads_is_cut),
        cmocka_unit_test(test_big_answer_whole),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_from_parked_http10_and_head),
        cmocka_unit_test(test_stream_peer_leaves),
        cmocka_unit_test(test_stream_abort),
        cmocka_unit_test(test_abort_before_the_answer),
        cmocka_unit_test(test_stream_slow_reader),
        cmocka_unit_test(test_stream_abort_of_a_blocked_reader),
        cmocka_unit_test(test_thousand_streams),
        cmocka_unit_test(test_many_waiting),
        cmocka_unit_test(test_free_with_everything_under_way),
        cmocka_unit_test(test_stop_accepting),
        cmocka_unit_test(test_listen_addresses),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_split),
    };
    int failed = cmocka_run_group_tests_name("io_httpd", tests, NULL, NULL);
    if (rig_open_files() != files)
        fprintf(stderr, "descriptors leaked: %d before, %d after\n", files, rig_open_files());
    return failed || rig_open_files() != files;
}
