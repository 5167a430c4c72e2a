/* Streams: answers that are pulled from the room, on sockets that are ours alone.
 *
 * What is hard: ten thousand of them, mostly quiet, each costing a few bytes, and each delivery
 * costing no more than the send itself. In the library a quiet stream is a suspended connection
 * with its pool; every wake walks all of them.
 *
 * What was chosen: the socket is duplicated and the library lets its side go (httpd.c). Here a
 * stream is in the list `streams`; when the room has something it is also in `woken`, and the
 * after-turn hook pulls until the room has nothing and sends: whatever gathered in a turn leaves as
 * one chunk in one system call, at once when idle, and in larger pieces the longer a turn takes.
 * One turn writes at most so many streams and so many bytes of each; the rest follows in the next.
 *
 * What the socket does not take is kept (at most one block) until it is writable again: an epoll
 * set of our own tells, edge-triggered, and tells too when the peer closes its side, so a leaving
 * watcher is seen without a write. The room is never called from inside httpd_stream,
 * httpd_stream_wake or httpd_abort. */
#include "common/io/httpd_priv.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { STREAM_EVENTS = 64, STREAM_EVENT_ROUNDS = 16 };

static void stream_want_flush(struct httpd_request *r)
{
    struct httpd *s = r->server;
    if (list_linked(&r->woken)) return;
    list_push(&s->woken, &r->woken);
    if (loop_is_ending_turn(s->loop)) loop_kick(s->loop);
}

static void stream_end(struct httpd_request *r, bool completed)
{
    struct httpd *s = r->server;
    /* the library may still hold the socket: closing alone would leave it in the set */
    (void)epoll_ctl(s->stream_epoll, EPOLL_CTL_DEL, r->fd, NULL);
    if (r->is_aborted) httpd_reset_on_close(r->fd);
    close(r->fd);
    r->fd = -1;
    list_remove(&s->streams, &r->stream);
    if (list_linked(&r->woken)) list_remove(&s->woken, &r->woken);
    free(r->rest);
    r->rest = NULL;
    r->rest_len = 0;
    httpd_request_over(r, completed);
}

/* --- writing --- */

/* Pulls until the room has nothing more or the block is full; returns the bytes in the block. */
static size_t stream_fill(struct httpd_request *r)
{
    char *block = r->server->block + HTTPD_BLOCK_FRONT;
    size_t have = 0;
    while (!r->is_ended && !r->is_dry && !r->is_aborted && HTTPD_BLOCK - have >= HTTPD_PULL_MIN) {
        ssize_t n = r->pull(r->pull_arg, block + have, HTTPD_BLOCK - have);
        assert(n <= (ssize_t)(HTTPD_BLOCK - have));
        if (n == 0) r->is_dry = true;
        if (n < 0) r->is_ended = true;
        if (n > 0) have += (size_t)n;
    }
    return have;
}

/* Puts the chunk's frame round the bytes in the block. */
static struct iovec stream_frame(struct httpd_request *r, size_t have)
{
    static const char digits[] = "0123456789abcdef";
    char *start = r->server->block + HTTPD_BLOCK_FRONT, *end = start + have;
    if (r->is_chunked && have) {
        *--start = '\n';
        *--start = '\r';
        for (size_t left = have; left; left >>= 4) *--start = digits[left & 15];
        *end++ = '\r';
        *end++ = '\n';
    }
    if (r->is_chunked && r->is_ended) {
        memcpy(end, "0\r\n\r\n", 5);
        end += 5;
    }
    return (struct iovec){.iov_base = start, .iov_len = (size_t)(end - start)};
}

/* Keeps what of rest and chunk was not sent. */
static bool stream_keep(struct httpd_request *r, struct iovec chunk, size_t sent)
{
    if (sent < r->rest_len || chunk.iov_len == 0) {
        r->rest_at += sent;
        r->rest_len -= sent;
        if (chunk.iov_len == 0) return true;
        sent = 0;
    } else {
        sent -= r->rest_len;
        r->rest_len = 0;
    }
    size_t left = chunk.iov_len - sent;
    char *kept = malloc(r->rest_len + left);
    if (!kept) return false;
    if (r->rest_len) memcpy(kept, r->rest + r->rest_at, r->rest_len);
    memcpy(kept + r->rest_len, (char *)chunk.iov_base + sent, left);
    free(r->rest);
    r->rest = kept;
    r->rest_at = 0;
    r->rest_len += left;
    return true;
}

static bool stream_watch_out(struct httpd_request *r)
{
    r->is_blocked = true;
    if (r->watches_out)
        return true; /* edge-triggered: stays on, costs nothing while the socket takes all */
    r->watches_out = true;
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLOUT | EPOLLET, .data.ptr = r};
    return epoll_ctl(r->server->stream_epoll, EPOLL_CTL_MOD, r->fd, &ev) == 0;
}

/* Sends what is kept and then the chunk. False: the connection is lost. */
static bool stream_send(struct httpd_request *r, struct iovec chunk)
{
    struct iovec both[2] = {
        {.iov_base = r->rest ? r->rest + r->rest_at : NULL, .iov_len = r->rest_len}, chunk};
    struct msghdr message = {.msg_iov = r->rest_len ? both : both + 1,
                             .msg_iovlen = r->rest_len ? 2 : 1};
    size_t all = r->rest_len + chunk.iov_len;
    ssize_t n;
    do n = sendmsg(r->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) return false;
    size_t sent = n < 0 ? 0 : (size_t)n;
    if (sent < all) return stream_keep(r, chunk, sent) && stream_watch_out(r);
    free(r->rest);
    r->rest = NULL;
    r->rest_at = r->rest_len = 0;
    return true;
}

static void stream_flush(struct httpd_request *r)
{
    size_t left = HTTPD_STREAM_TURN_BYTES;
    while (!r->is_aborted) {
        size_t have = 0;
        struct iovec chunk = {.iov_base = NULL};
        bool had_ended = r->is_ended;
        r->is_dry = false;
        /* a kept head goes out together with the first bytes; a kept tail goes out first */
        if (!r->rest_len || !r->is_head_sent) have = stream_fill(r);
        if (r->is_aborted) break;
        if (have || (r->is_ended && !had_ended)) chunk = stream_frame(r, have);
        if (r->rest_len + chunk.iov_len > 0 && !stream_send(r, chunk)) break;
        r->is_head_sent = true;
        if (r->is_blocked) return;
        if (r->is_ended && !r->rest_len) {
            stream_end(r, true);
            return;
        }
        if (r->is_dry) return;
        if (have >= left) {
            stream_want_flush(r);
            return;
        }
        left -= have;
    }
    stream_end(r, false);
}

void httpd_streams_flush(struct httpd *s)
{
    size_t count =
        s->woken.count < HTTPD_STREAMS_TURN_MAX ? s->woken.count : HTTPD_STREAMS_TURN_MAX;
    for (; count > 0 && s->woken.count; count--) {
        struct httpd_request *r = LIST_ITEM(list_first(&s->woken), struct httpd_request, woken);
        list_remove(&s->woken, &r->woken);
        if (r->is_blocked && !r->is_aborted) continue; /* its socket will tell */
        stream_flush(r);
    }
    if (s->woken.count) loop_kick(s->loop);
}

/* --- readiness --- */

static void stream_on_event(struct httpd_request *r, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        stream_end(r, false);
    } else if (events & EPOLLOUT && r->is_blocked) {
        r->is_blocked = false;
        stream_flush(r);
    }
}

static void streams_on_ready(void *arg, int ready)
{
    (void)ready;
    struct httpd *s = arg;
    struct epoll_event events[STREAM_EVENTS];
    for (int round = 0; round < STREAM_EVENT_ROUNDS; round++) {
        int n = epoll_wait(s->stream_epoll, events, STREAM_EVENTS, 0);
        for (int i = 0; i < n; i++) stream_on_event(events[i].data.ptr, events[i].events);
        if (n < STREAM_EVENTS) return;
    }
}

bool httpd_streams_open(struct httpd *s, struct err *err)
{
    s->block = malloc(HTTPD_BLOCK_FRONT + HTTPD_BLOCK + HTTPD_BLOCK_BACK);
    s->stream_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->block && s->stream_epoll >= 0)
        s->stream_watch = loop_watch_new(s->loop, s->stream_epoll, LOOP_READ, streams_on_ready, s);
    if (!s->stream_watch) err_set(err, ERR_NOMEM, "http server: no epoll set for streams");
    return s->stream_watch != NULL;
}

/* Called twice when the server ends: before the library is stopped, and at the very end. */
void httpd_streams_close(struct httpd *s)
{
    while (s->streams.count)
        stream_end(LIST_ITEM(list_first(&s->streams), struct httpd_request, stream), false);
    loop_watch_free(s->stream_watch);
    s->stream_watch = NULL;
    if (s->stream_epoll >= 0) close(s->stream_epoll);
    s->stream_epoll = -1;
    if (s->daemon && !s->is_closing) return;
    free(s->block);
    s->block = NULL;
}

/* --- what rooms call --- */

static bool stream_take_socket(struct httpd_request *r)
{
    r->fd = fcntl(r->conn->fd, F_DUPFD_CLOEXEC, 0);
    if (r->fd < 0) return false;
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = r};
    if (epoll_ctl(r->server->stream_epoll, EPOLL_CTL_ADD, r->fd, &ev) == 0) return true;
    close(r->fd);
    r->fd = -1;
    return false;
}

static bool stream_keep_head(struct httpd_request *r, const struct httpd_answer *head)
{
    struct httpd *s = r->server;
    r->is_chunked = !r->is_http10;
    if (!httpd_put_head(s, head, r->is_chunked ? HTTPD_BY_CHUNKS : HTTPD_BY_CLOSE)) return false;
    r->rest = malloc(s->message.len);
    if (!r->rest) return false;
    memcpy(r->rest, s->message.data, s->message.len);
    r->rest_len = s->message.len;
    return true;
}

void httpd_stream(struct httpd_request *r, const struct httpd_answer *head, httpd_pull_fn *pull,
                  void *arg)
{
    assert(r->phase == HTTPD_PHASE_ROOM && pull);
    struct httpd *s = r->server;
    if (r->is_aborted) return;
    if (!stream_keep_head(r, head) || !stream_take_socket(r)) {
        free(r->rest);
        r->rest = NULL;
        r->rest_len = 0;
        struct httpd_answer a = {
            .status = 503, .content_type = "text/plain", .body = VIEW_LIT("too many streams\n")};
        a.headers[a.header_count++] =
            (struct httpd_header_out){.name = "Retry-After", .value = "1"};
        httpd_reply(r, &a);
        return;
    }
    r->phase = HTTPD_PHASE_STREAM;
    r->pull = pull;
    r->pull_arg = arg;
    r->is_ended = r->is_head;
    list_push(&s->streams, &r->stream);
    httpd_body_drop(r);
    stream_want_flush(r);
    httpd_go_on(r);
}

void httpd_stream_wake(struct httpd_request *r)
{
    if (r->phase == HTTPD_PHASE_STREAM && !r->is_blocked) stream_want_flush(r);
}

void httpd_stream_abort(struct httpd_request *r)
{
    stream_want_flush(r);
}
