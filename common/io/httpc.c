/* HTTP calls out: libcurl's multi handle in socket mode on our loop.
 *
 * What is hard: the library must not be entered from its own callbacks, while rooms start and
 * cancel calls from anywhere, most of all from inside on_head and on_body. So every entry goes
 * through httpc_enter, and what cannot be done inside is a list, done when the library has
 * returned:
 *
 *   QUEUED  -> added         RUNNING -> finished as the library says         DEAD -> removed
 *
 * A cancelled call is muted at once; its memory goes when the library is off the stack. Nothing is
 * called back from inside start: adding a handle only sets the library's timer, and that fires in
 * the loop.
 *
 * Time limits: one timer a call. The idle limit is looked at only when the timer fires: a byte
 * costs a store of the time, no timer is moved. */
#include "common/io/httpc_priv.h"
#include <assert.h>
#include <curl/curl.h>

struct httpc_socket {
    struct httpc *client;
    struct loop_watch *watch;
    curl_socket_t fd;
};

/* --- the end of a call --- */

static void call_list(struct http_call *call, enum httpc_stage stage)
{
    list_remove(&call->client->calls[call->stage], &call->link);
    call->stage = stage;
    list_push(&call->client->calls[stage], &call->link);
}

/* Off the library's stack. Takes the call out of everything; then tells, unless e is NULL and
 * muted. */
static void call_end(struct http_call *call, const struct err *e)
{
    struct httpc *c = call->client;
    if (call->stage != HTTPC_QUEUED) {
        assert(!c->is_inside);
        c->is_inside = true; /* it may close a connection and report sockets */
        curl_multi_remove_handle(c->multi, call->easy);
        c->is_inside = false;
    }
    list_remove(&c->calls[call->stage], &call->link);
    timerq_cancel(loop_timers(c->loop), &call->timer);
    curl_easy_reset(call->easy);
    httpc_easy_drop(call);
    if (c->idle_count < HTTPC_IDLE_EASY_MAX)
        c->idle[c->idle_count++] = call->easy;
    else
        curl_easy_cleanup(call->easy);
    call->easy = NULL;
    bool tells = !call->is_muted;
    call->is_muted = true; /* a cancel from inside on_end is late, not wrong */
    if (tells) call->sink.on_end(call->arg, e);
    free(call);
}

void httpc_call_fail(struct http_call *call)
{
    assert(call->client->is_inside && call->err.code != ERR_OK);
    if (call->stage != HTTPC_DEAD) call_list(call, HTTPC_DEAD);
}

static void call_fail_now(struct http_call *call, const char *text)
{
    struct err e;
    err_set(&e, ERR_TIMEOUT, "http: %s", text);
    call_end(call, &e);
}

/* --- settling: what waited for the library to return --- */

static void httpc_add_queued(struct httpc *c)
{
    struct list_link *k;
    while ((k = list_first(&c->calls[HTTPC_QUEUED]))) {
        struct http_call *call = LIST_ITEM(k, struct http_call, link);
        c->is_inside = true;
        CURLMcode rc = curl_multi_add_handle(c->multi, call->easy);
        c->is_inside = false;
        if (rc == CURLM_OK) {
            call_list(call, HTTPC_RUNNING);
            continue;
        }
        struct err e;
        err_set(&e, ERR_INTERNAL, "http: %s", curl_multi_strerror(rc));
        call_end(call, &e);
    }
}

static void httpc_take_done(struct httpc *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        if (m->msg != CURLMSG_DONE) continue;
        char *owner = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &owner);
        struct http_call *call = (struct http_call *)(void *)owner;
        struct err e = {.code = ERR_OK};
        bool is_ok = httpc_easy_verdict(call, (int)m->data.result, &e) == ERR_OK;
        call_end(call, is_ok ? NULL : &e);
    }
}

static void httpc_settle(struct httpc *c)
{
    if (c->is_inside || c->is_settling) return;
    c->is_settling = true;
    httpc_take_done(c);
    struct list_link *k;
    while ((k = list_first(&c->calls[HTTPC_DEAD]))) {
        struct http_call *call = LIST_ITEM(k, struct http_call, link);
        struct err e = call->err;
        call_end(call, &e);
    }
    httpc_add_queued(c);
    c->is_settling = false;
}

/* --- the library on the loop --- */

static void httpc_enter(struct httpc *c, curl_socket_t fd, int what)
{
    int running;
    assert(!c->is_inside);
    c->is_inside = true;
    curl_multi_socket_action(c->multi, fd, what, &running);
    c->is_inside = false;
    httpc_settle(c);
}

static void httpc_on_ready(void *arg, int events)
{
    struct httpc_socket *s = arg;
    int what =
        (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    httpc_enter(s->client, s->fd, what); /* s may be gone after this */
}

static void httpc_on_timer(void *arg)
{
    httpc_enter(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int httpc_set_timer(CURLM *multi, long wait_ms, void *arg)
{
    (void)multi;
    struct httpc *c = arg;
    struct timerq *q = loop_timers(c->loop);
    if (wait_ms < 0)
        timerq_cancel(q, &c->timer);
    else if (!timerq_set(q, &c->timer, loop_clock(c->loop)->mono_ms + wait_ms, httpc_on_timer, c))
        return -1;
    return 0;
}

static int httpc_set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    (void)easy;
    struct httpc *c = arg;
    struct httpc_socket *s = socket;
    if (what == CURL_POLL_REMOVE) {
        if (s) loop_watch_free(s->watch);
        free(s);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0);
    if (s) {
        loop_watch_set(s->watch, events);
        return 0;
    }
    s = calloc(1, sizeof *s);
    if (!s) return -1;
    *s = (struct httpc_socket){.client = c, .fd = fd};
    s->watch = loop_watch_new(c->loop, fd, events, httpc_on_ready, s);
    if (!s->watch || curl_multi_assign(c->multi, fd, s) != CURLM_OK) {
        loop_watch_free(s->watch);
        free(s);
        return -1;
    }
    return 0;
}

/* --- time limits --- */

static void call_on_timer(void *arg);

static bool call_arm(struct http_call *call)
{
    int64_t next_ms = INT64_MAX;
    if (call->total_timeout_ms > 0) next_ms = call->started_ms + call->total_timeout_ms;
    int64_t limit_ms = call->last_byte_ms ? call->idle_timeout_ms : call->first_byte_timeout_ms;
    int64_t from_ms = call->last_byte_ms ? call->last_byte_ms : call->started_ms;
    if (limit_ms > 0 && from_ms + limit_ms < next_ms) next_ms = from_ms + limit_ms;
    /* the first byte may shorten the wait: look again in time for the idle limit */
    if (!call->last_byte_ms && call->idle_timeout_ms > 0) {
        int64_t now_ms = loop_clock(call->client->loop)->mono_ms;
        if (now_ms + call->idle_timeout_ms < next_ms) next_ms = now_ms + call->idle_timeout_ms;
    }
    if (next_ms == INT64_MAX) return true;
    return timerq_set(loop_timers(call->client->loop), &call->timer, next_ms, call_on_timer, call);
}

static void call_on_timer(void *arg)
{
    struct http_call *call = arg;
    int64_t now_ms = loop_clock(call->client->loop)->mono_ms;
    if (call->total_timeout_ms > 0 && now_ms >= call->started_ms + call->total_timeout_ms)
        call_fail_now(call, "the call took too long");
    else if (!call->last_byte_ms && call->first_byte_timeout_ms > 0 &&
             now_ms >= call->started_ms + call->first_byte_timeout_ms)
        call_fail_now(call, "no first byte in time");
    else if (call->last_byte_ms && call->idle_timeout_ms > 0 &&
             now_ms >= call->last_byte_ms + call->idle_timeout_ms)
        call_fail_now(call, "the reply stalled");
    else if (!call_arm(call))
        call_fail_now(call, "no timer");
}

/* --- the port --- */

static struct http_call *call_new(struct httpc *c, const struct http_request_out *req,
                                  const struct http_sink *sink)
{
    struct http_call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    call->easy = c->idle_count ? c->idle[--c->idle_count] : curl_easy_init();
    if (!call->easy) {
        free(call);
        return NULL;
    }
    call->client = c;
    call->sink = *sink;
    call->started_ms = loop_clock(c->loop)->mono_ms;
    call->send_by_ms = req->send_by_ms;
    call->first_byte_timeout_ms = req->first_byte_timeout_ms;
    call->idle_timeout_ms = req->idle_timeout_ms;
    call->total_timeout_ms = req->total_timeout_ms;
    call->body_max = req->body_max;
    return call;
}

static struct http_call *httpc_start(void *self, const struct http_request_out *req,
                                     const struct http_sink *sink, void *arg, struct err *err)
{
    struct httpc *c = self;
    assert(sink->on_end);
    if (httpc_in_flight(c) >= c->o.calls_max) {
        err_set(err, ERR_FULL, "http: %zu calls in flight already", c->o.calls_max);
        return NULL;
    }
    struct http_call *call = call_new(c, req, sink);
    if (!call) {
        err_set(err, ERR_NOMEM, "http: no memory");
        return NULL;
    }
    call->arg = arg;
    call->stage = HTTPC_QUEUED;
    list_push(&c->calls[HTTPC_QUEUED], &call->link);
    if (httpc_easy_set(call, req, err) != ERR_OK || !call_arm(call)) {
        call->is_muted = true;
        call_end(call, NULL);
        return NULL;
    }
    if (c->is_inside) return call; /* added when the library has returned */
    CURLMcode rc =
        curl_multi_add_handle(c->multi, call->easy); /* sets the library's timer, no more */
    if (rc != CURLM_OK) {
        err_set(err, ERR_INTERNAL, "http: %s", curl_multi_strerror(rc));
        call->is_muted = true;
        call_end(call, NULL);
        return NULL;
    }
    call_list(call, HTTPC_RUNNING);
    return call;
}

static void httpc_cancel(void *self, struct http_call *call)
{
    struct httpc *c = self;
    if (call->is_muted) return;
    call->is_muted = true;
    if (c->is_inside && call->stage != HTTPC_QUEUED) {
        if (call->stage != HTTPC_DEAD) call_list(call, HTTPC_DEAD);
        return;
    }
    call_end(call, NULL);
}

struct httpc *httpc_new(struct loop *l, const struct httpc_options *o, struct err *err)
{
    struct httpc *c = calloc(1, sizeof *c);
    if (c && curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        free(c);
        c = NULL;
    }
    if (c) c->multi = curl_multi_init();
    if (!c || !c->multi) {
        free(c);
        err_set(err, ERR_NOMEM, "http client: no memory");
        return NULL;
    }
    c->loop = l;
    c->o = *o;
    if (!view_copy(view_of(o->user_agent), c->user_agent, sizeof c->user_agent) ||
        !view_copy(view_of(o->ca_file), c->ca_file, sizeof c->ca_file)) {
        err_set(err, ERR_INVALID, "http client: user agent or CA file name too long");
        curl_multi_cleanup(c->multi);
        curl_global_cleanup();
        free(c);
        return NULL;
    }
    for (int i = 0; i <= HTTPC_DEAD; i++) list_init(&c->calls[i]);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, httpc_set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, httpc_set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)o->connections_max);
    return c;
}

void httpc_free(struct httpc *c)
{
    if (!c) return;
    assert(!c->is_inside && !c->is_settling);
    for (int i = 0; i <= HTTPC_DEAD; i++)
        while (c->calls[i].count) {
            struct http_call *call = LIST_ITEM(list_first(&c->calls[i]), struct http_call, link);
            call->is_muted = true;
            call_end(call, NULL);
        }
    while (c->idle_count) curl_easy_cleanup(c->idle[--c->idle_count]);
    curl_multi_cleanup(
        c->multi); /* closes kept connections, and their watches through httpc_set_socket */
    timerq_cancel(loop_timers(c->loop), &c->timer);
    curl_global_cleanup();
    free(c);
}

struct http_port httpc_port(struct httpc *c)
{
    return (struct http_port){.self = c, .start = httpc_start, .cancel = httpc_cancel};
}

size_t httpc_in_flight(const struct httpc *c)
{
    return c->calls[HTTPC_QUEUED].count + c->calls[HTTPC_RUNNING].count +
           c->calls[HTTPC_DEAD].count;
}
