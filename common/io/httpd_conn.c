/* Connections: stages, time limits, and how they end.
 *
 * Time limits. Every stage is a list in order of arrival and has one limit, so looking at the first
 * of each list finds all that is late: moving a connection is a few pointer writes, one timer
 * serves all, nothing is cancelled.
 *
 * Ends. The library gives no way to close a connection from outside: shutting the socket down makes
 * it notice. While no answer of its own is under way it has written nothing, so a refusal in the
 * middle of a head or body is written to the socket past it (408, 413). Closing a socket with
 * unread bytes resets it, and the reset overtakes the refusal: after a refusal a duplicate of the
 * socket is read and thrown away for a while (lingering), so that the client can read the answer.
 *
 * A first line that is no request at all makes the library close without a word. TCP's own counters
 * tell: bytes came, none went, no request line was seen. That is answered here with 400. */
#include "common/io/httpd_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tcp.h> /* glibc's tcp_info lacks the byte counters */

struct httpd_conn *httpd_conn_new(struct httpd *s, struct MHD_Connection *mhd, int fd)
{
    struct httpd_conn *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->server = s;
    c->mhd = mhd;
    c->fd = fd;
    c->stage = HTTPD_STAGE_COUNT;
    s->conn_count++;
    httpd_conn_stage(c, HTTPD_STAGE_OPENED);
    return c;
}

static void conn_arm(struct httpd *s, int64_t when_ms)
{
    if (timerq_pending(&s->tick) && s->tick.when_ms <= when_ms) return;
    timerq_set(loop_timers(s->loop), &s->tick, when_ms, httpd_tick, s);
}

void httpd_conn_stage(struct httpd_conn *c, enum httpd_stage stage)
{
    struct httpd *s = c->server;
    if (c->stage != HTTPD_STAGE_COUNT) list_remove(&s->stages[c->stage], &c->link);
    c->stage = stage;
    c->since_ms = loop_clock(s->loop)->mono_ms;
    list_push(&s->stages[stage], &c->link);
    if (s->limit_ms[stage] != INT64_MAX) conn_arm(s, c->since_ms + s->limit_ms[stage]);
}

static bool conn_tcp_info(const struct httpd_conn *c, struct tcp_info *ret)
{
    socklen_t len = sizeof *ret;
    memset(ret, 0, sizeof *ret);
    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, ret, &len) == 0;
}

void httpd_conn_refuse(struct httpd_conn *c, int status, const char *reason)
{
    struct httpd *s = c->server;
    if (!httpd_put_refusal(s, status, reason)) return;
    (void)send(c->fd, s->message.data, s->message.len,
               MSG_NOSIGNAL | MSG_DONTWAIT); /* fits an empty socket or never will */
    c->wants_linger = true;
}

void httpd_conn_cut(struct httpd_conn *c)
{
    httpd_conn_stage(c, HTTPD_STAGE_CUT);
    (void)shutdown(c->fd, SHUT_RDWR);
}

void httpd_reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* --- closing --- */

static void linger_drop(struct httpd_linger *g)
{
    list_remove(&g->server->lingers, &g->link);
    loop_watch_free(g->watch);
    close(g->fd);
    free(g);
}

static void linger_on_ready(void *arg, int events)
{
    (void)events;
    struct httpd_linger *g = arg;
    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(g->fd, g->server->block, HTTPD_BLOCK, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0 || (size_t)n >= g->left_bytes) {
            linger_drop(g);
            return;
        }
        g->left_bytes -= (size_t)n;
    }
}

static void linger_start(struct httpd *s, int conn_fd)
{
    if (s->lingers.count >= HTTPD_LINGER_MAX || s->is_closing) return;
    struct httpd_linger *g = calloc(1, sizeof *g);
    if (!g) return;
    g->fd = fcntl(conn_fd, F_DUPFD_CLOEXEC, 0);
    if (g->fd >= 0) g->watch = loop_watch_new(s->loop, g->fd, LOOP_READ, linger_on_ready, g);
    if (!g->watch) {
        if (g->fd >= 0) close(g->fd);
        free(g);
        return;
    }
    (void)shutdown(g->fd, SHUT_WR);
    g->server = s;
    g->left_bytes = HTTPD_LINGER_BYTES;
    g->since_ms = loop_clock(s->loop)->mono_ms;
    list_push(&s->lingers, &g->link);
    conn_arm(s, g->since_ms + HTTPD_LINGER_MS);
}

void httpd_lingers_drop(struct httpd *s)
{
    while (s->lingers.count)
        linger_drop(LIST_ITEM(list_first(&s->lingers), struct httpd_linger, link));
}

void httpd_conn_closed(struct httpd_conn *c)
{
    struct httpd *s = c->server;
    struct tcp_info info;
    /* a FIN counts as one byte received */
    if (!c->has_requested && !c->wants_linger && c->stage != HTTPD_STAGE_CUT && !s->is_closing &&
        conn_tcp_info(c, &info) && info.tcpi_bytes_received > 1 && info.tcpi_bytes_sent == 0)
        httpd_conn_refuse(c, 400, "not an HTTP request");
    if (c->wants_linger && !c->is_handed_over) linger_start(s, c->fd);
    list_remove(&s->stages[c->stage], &c->link);
    s->conn_count--;
    free(c);
}

/* --- time limits --- */

static bool conn_peer_left(const struct httpd_conn *c)
{
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static bool conn_has_progress(struct httpd_conn *c)
{
    struct tcp_info info;
    if (!conn_tcp_info(c, &info) || info.tcpi_bytes_acked <= c->acked_bytes) return false;
    c->acked_bytes = info.tcpi_bytes_acked;
    return true;
}

/* Renews the connection's stay or moves it elsewhere: it is not first in its list afterwards. */
static void conn_expire(struct httpd_conn *c)
{
    struct tcp_info info;
    switch (c->stage) {
    case HTTPD_STAGE_OPENED:
        if (conn_tcp_info(c, &info) && info.tcpi_bytes_received > 1)
            httpd_conn_refuse(c, 408, "request head too slow");
        break;
    case HTTPD_STAGE_HEAD:
        httpd_conn_refuse(c, 408, "request head too slow");
        break;
    case HTTPD_STAGE_BODY:
        httpd_conn_refuse(c, 408, "request body too slow");
        break;
    case HTTPD_STAGE_ROOM:
        if (conn_peer_left(c) && c->request) httpd_abort(c->request);
        httpd_conn_stage(c, HTTPD_STAGE_ROOM);
        return;
    case HTTPD_STAGE_SENDING:
        if (!conn_has_progress(c)) break;
        httpd_conn_stage(c, HTTPD_STAGE_SENDING);
        return;
    case HTTPD_STAGE_IDLE:
    case HTTPD_STAGE_CUT:
    case HTTPD_STAGE_COUNT:
        break;
    }
    httpd_conn_cut(c);
}

static int64_t stage_tick(struct httpd *s, enum httpd_stage stage, int64_t now_ms)
{
    if (s->limit_ms[stage] == INT64_MAX) return INT64_MAX;
    struct list_link *k;
    for (size_t left = s->stages[stage].count; left > 0 && (k = list_first(&s->stages[stage]));
         left--) {
        struct httpd_conn *c = LIST_ITEM(k, struct httpd_conn, link);
        if (c->since_ms + s->limit_ms[stage] > now_ms) return c->since_ms + s->limit_ms[stage];
        conn_expire(c);
    }
    return s->stages[stage].count ? now_ms + s->limit_ms[stage] : INT64_MAX;
}

void httpd_tick(void *arg)
{
    struct httpd *s = arg;
    int64_t now_ms = loop_clock(s->loop)->mono_ms, next_ms = INT64_MAX;
    for (int i = 0; i < HTTPD_STAGE_COUNT; i++) {
        int64_t at_ms = stage_tick(s, (enum httpd_stage)i, now_ms);
        if (at_ms < next_ms) next_ms = at_ms;
    }
    struct list_link *k;
    while ((k = list_first(&s->lingers))) {
        struct httpd_linger *g = LIST_ITEM(k, struct httpd_linger, link);
        int64_t at_ms = g->since_ms + HTTPD_LINGER_MS;
        if (at_ms > now_ms) {
            if (at_ms < next_ms) next_ms = at_ms;
            break;
        }
        linger_drop(g);
    }
    if (next_ms != INT64_MAX) conn_arm(s, next_ms);
}
