#ifndef TESTS_UNIT_IO_RIG_H
#define TESTS_UNIT_IO_RIG_H
/* A loop that runs until a condition holds, and a raw TCP client on it: for tests of common/io
 * against real sockets. */
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/io/loop.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { RIG_PULSE_MS = 1, RIG_WAIT_MS = 20000, RIG_BYTES_MAX = 256 << 20 };

struct rig {
    struct loop *loop;
    struct log *log;
    struct timer pulse;
    bool (*holds)(void *arg);
    void *arg;
    int64_t until_ms;
    bool did_hold;
};

static inline void rig_check(void *arg)
{
    struct rig *g = arg;
    if (!g->holds) return;
    g->did_hold = g->holds(g->arg);
    if (g->did_hold || loop_clock(g->loop)->mono_ms >= g->until_ms) loop_stop(g->loop);
}

static inline void rig_beat(void *arg)
{
    struct rig *g = arg;
    timerq_set(loop_timers(g->loop), &g->pulse, loop_clock(g->loop)->mono_ms + RIG_PULSE_MS,
               rig_beat, g);
}

static inline void rig_open(struct rig *g)
{
    struct err err;
    *g = (struct rig){.loop = loop_new(&err)};
    assert_non_null(g->loop);
    g->log = log_new("test", LOG_ERROR, loop_clock(g->loop), NULL, NULL);
    assert_non_null(g->log);
    loop_after_turn(g->loop, rig_check, g);
    rig_beat(g);
}

static inline void rig_close(struct rig *g)
{
    timerq_cancel(loop_timers(g->loop), &g->pulse);
    log_free(g->log);
    loop_free(g->loop);
}

/* Turns the loop until holds(arg); false after ms. */
static inline bool rig_wait_ms(struct rig *g, bool (*holds)(void *arg), void *arg, int64_t ms)
{
    g->holds = holds;
    g->arg = arg;
    g->did_hold = false;
    g->until_ms = loop_clock(g->loop)->mono_ms + ms;
    loop_run(g->loop);
    g->holds = NULL;
    return g->did_hold;
}

static inline void rig_wait(struct rig *g, bool (*holds)(void *arg), void *arg)
{
    assert_true(rig_wait_ms(g, holds, arg, RIG_WAIT_MS));
}

static inline bool rig_never(void *arg)
{
    (void)arg;
    return false;
}

/* For what must not happen: there is no condition to wait for. */
static inline void rig_pass(struct rig *g, int64_t ms)
{
    (void)rig_wait_ms(g, rig_never, NULL, ms);
}

struct peer {
    struct rig *rig;
    int fd;
    struct loop_watch *watch;
    struct buf in;
    size_t seen;   /* bytes taken off by peer_take */
    bool is_ended; /* FIN or reset */
    bool is_reset;
    bool is_deaf; /* reads nothing */
};

static inline void peer_on_ready(void *arg, int events)
{
    struct peer *p = arg;
    char bytes[65536];
    (void)events;
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n > 0) {
            assert_true(buf_put(&p->in, bytes, (size_t)n));
            continue;
        }
        if (n < 0 && errno == EAGAIN) return;
        p->is_ended = true;
        p->is_reset = n < 0;
        loop_watch_set(p->watch, 0);
        return;
    }
}

static inline void peer_open_small(struct peer *p, struct rig *g, int port, int receive_bytes)
{
    *p = (struct peer){.rig = g, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(p->fd >= 0);
    if (receive_bytes)
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(p->fd, (struct sockaddr *)&at, sizeof at), 0);
    int on = 1;
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    buf_init(&p->in, RIG_BYTES_MAX);
    p->watch = loop_watch_new(g->loop, p->fd, LOOP_READ, peer_on_ready, p);
    assert_non_null(p->watch);
}

static inline void peer_open(struct peer *p, struct rig *g, int port)
{
    peer_open_small(p, g, port, 0);
}

static inline void peer_hear(struct peer *p, bool hears)
{
    loop_watch_set(p->watch, hears ? LOOP_READ : 0);
}

static inline void peer_close(struct peer *p)
{
    loop_watch_free(p->watch);
    close(p->fd);
    buf_fini(&p->in);
}

static inline void peer_send(struct peer *p, const char *bytes, size_t len)
{
    ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);
    assert_true(n == (ssize_t)len || (n < 0 && (errno == EPIPE || errno == ECONNRESET)));
}

static inline void peer_say(struct peer *p, const char *text)
{
    peer_send(p, text, strlen(text));
}

static inline bool peer_has(const struct peer *p, const char *text)
{
    return p->in.len >= strlen(text) && memmem(p->in.data, p->in.len, text, strlen(text));
}

static inline bool peer_ended(void *arg)
{
    return ((struct peer *)arg)->is_ended;
}

struct peer_want {
    struct peer *peer;
    const char *text;
};

static inline bool peer_wanted(void *arg)
{
    struct peer_want *w = arg;
    return peer_has(w->peer, w->text);
}

static inline void peer_wait(struct peer *p, const char *text)
{
    struct peer_want w = {p, text};
    if (!rig_wait_ms(p->rig, peer_wanted, &w, RIG_WAIT_MS))
        fail_msg("waited for '%s', have %.*s", text, (int)p->in.len, p->in.data ? p->in.data : "");
}

static inline void peer_wait_end(struct peer *p)
{
    rig_wait(p->rig, peer_ended, p);
}

/* Descriptors this process has open: the same before and after a group of tests. */
static inline int rig_open_files(void)
{
    loop_free(loop_new(NULL)); /* libuv keeps a pipe of its own from the first loop on */
    DIR *d = opendir("/proc/self/fd");
    int count = 0;
    while (d && readdir(d)) count++;
    if (d) closedir(d);
    return count;
}

/* Status of the first answer; 0 = none. */
static inline int peer_status(const struct peer *p)
{
    if (p->in.len < 12 || memcmp(p->in.data, "HTTP/1.1 ", 9) != 0) return 0;
    return (p->in.data[9] - '0') * 100 + (p->in.data[10] - '0') * 10 + (p->in.data[11] - '0');
}

static inline size_t peer_count(const struct peer *p, const char *text)
{
    size_t count = 0, len = strlen(text);
    const char *at = p->in.data, *end = p->in.data ? p->in.data + p->in.len : NULL;
    while (at && (at = memmem(at, (size_t)(end - at), text, len))) {
        count++;
        at += len;
    }
    return count;
}

#endif
