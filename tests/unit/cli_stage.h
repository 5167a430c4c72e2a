#ifndef TESTS_UNIT_CLI_STAGE_H
#define TESTS_UNIT_CLI_STAGE_H
/* A raw server for the tests of the tool's HTTP: it hears whole requests and sends exactly the
 * bytes a test wants, cut where it wants. Pauses of the tool run on a clock of their own that is
 * many times faster. */
#define _GNU_SOURCE
#include "tests/unit/io_rig.h"

#include "common/io/httpc.h"
#include "producer/cli_http.h"
#include <fcntl.h>

enum { STAGE_CONNS_MAX = 4096, STAGE_FASTER = 200 };

struct stage;
struct stage_conn {
    struct stage *stage;
    int fd; /* -1: closed */
    struct loop_watch *watch;
    struct buf request;
    bool is_heard;
};

struct stage {
    struct rig rig;
    struct httpc *httpc;
    int fd, port;
    struct loop_watch *watch;
    struct stage_conn conns[STAGE_CONNS_MAX];
    size_t count;
    /* A whole request is there, for the n-th time (from 0). */
    void (*on_request)(struct stage *s, struct stage_conn *c, size_t n);
    void *arg;
    size_t requests;
    char last[16384]; /* the last request, head and body */
    /* the tool's time */
    struct clock clock;
    struct timerq *timers;
    struct timer pulse;
    struct rng rng;
    char base[64];
    struct cli_server server;
};

static inline void stage_close(struct stage_conn *c)
{
    if (c->fd < 0) return;
    loop_watch_free(c->watch);
    close(c->fd);
    c->fd = -1;
}

static inline void stage_send(struct stage_conn *c, struct view bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return;
        assert_true(n > 0);
        bytes = view_make(bytes.ptr + n, bytes.len - (size_t)n);
    }
}

static inline void stage_say(struct stage_conn *c, const char *text)
{
    stage_send(c, view_of(text));
}

/* A whole answer; headers: "" or lines with their ends. */
static inline void stage_answer(struct stage_conn *c, int status, const char *headers,
                                const char *body)
{
    char head[1024];

    snprintf(head, sizeof head,
             "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status,
             strlen(body), headers);
    stage_say(c, head);
    stage_say(c, body);
    stage_close(c);
}

/* Is the request whole? Its body is as long as Content-Length says. */
static inline bool stage_is_whole(const struct stage_conn *c)
{
    const char *end =
        c->request.len ? memmem(c->request.data, c->request.len, "\r\n\r\n", 4) : NULL;
    const char *length;

    if (!end) return false;
    length = memmem(c->request.data, (size_t)(end - c->request.data), "Content-Length: ", 16);
    size_t body = length ? strtoul(length + 16, NULL, 10) : 0;
    return c->request.len >= (size_t)(end - c->request.data) + 4 + body;
}

static inline void stage_on_ready(void *arg, int events)
{
    struct stage_conn *c = arg;
    struct stage *s = c->stage;
    char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    (void)events;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        stage_close(c);
        return;
    }
    assert_true(buf_put(&c->request, bytes, (size_t)n));
    if (c->is_heard || !stage_is_whole(c)) return;
    c->is_heard = true;
    assert_true(view_copy(buf_view(&c->request), s->last, sizeof s->last));
    s->on_request(s, c, s->requests++);
}

static inline void stage_on_peer(void *arg, int events)
{
    struct stage *s = arg;
    int fd;

    (void)events;
    while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        assert_true(s->count < STAGE_CONNS_MAX);
        struct stage_conn *c = &s->conns[s->count++];
        *c = (struct stage_conn){.stage = s, .fd = fd};
        buf_init(&c->request, 4 << 20);
        c->watch = loop_watch_new(s->rig.loop, fd, LOOP_READ, stage_on_ready, c);
        assert_non_null(c->watch);
    }
}

static inline void stage_beat(void *arg)
{
    struct stage *s = arg;

    s->clock.mono_ms += STAGE_FASTER;
    s->clock.wall_ms += STAGE_FASTER;
    timerq_run(s->timers, s->clock.mono_ms, 16);
    timerq_set(loop_timers(s->rig.loop), &s->pulse, loop_clock(s->rig.loop)->mono_ms + 1,
               stage_beat, s);
}

static inline void stage_listen(struct stage *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;

    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    s->watch = loop_watch_new(s->rig.loop, s->fd, LOOP_READ, stage_on_peer, s);
    assert_non_null(s->watch);
}

static inline struct stage *stage_new(void)
{
    const struct httpc_options o = {
        .calls_max = 8, .connections_max = 4, .user_agent = "sluice-test"};
    struct stage *s = calloc(1, sizeof *s);
    struct err err;

    assert_non_null(s);
    rig_open(&s->rig);
    stage_listen(s);
    s->httpc = httpc_new(s->rig.loop, &o, &err);
    s->timers = timerq_new(64);
    assert_true(s->httpc && s->timers);
    rng_seed(&s->rng, 7);
    s->clock = (struct clock){.mono_ms = 1000000, .wall_ms = 1767312000000};
    snprintf(s->base, sizeof s->base, "http://127.0.0.1:%d", s->port);
    s->server = (struct cli_server){.http = httpc_port(s->httpc),
                                    .clock = &s->clock,
                                    .timers = s->timers,
                                    .rng = &s->rng,
                                    .base = s->base,
                                    .key = "sk-test"};
    stage_beat(s);
    return s;
}

/* Nobody listens any more: the port refuses. */
static inline void stage_stop_listening(struct stage *s)
{
    if (s->fd < 0) return;
    loop_watch_free(s->watch);
    close(s->fd);
    s->fd = -1;
}

static inline void stage_free(struct stage *s)
{
    for (size_t i = 0; i < s->count; i++) {
        stage_close(&s->conns[i]);
        buf_fini(&s->conns[i].request);
    }
    stage_stop_listening(s);
    httpc_free(s->httpc);
    timerq_cancel(loop_timers(s->rig.loop), &s->pulse);
    timerq_free(s->timers);
    rig_close(&s->rig);
    free(s);
}

static inline bool stage_heard(const struct stage *s, const char *text)
{
    return strstr(s->last, text) != NULL;
}

#endif
