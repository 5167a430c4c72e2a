/* Requests: their storage, and what a room asks of them. They are taken from a list together with
 * their buffers, so that the hot path allocates nothing. */
#include "common/io/httpd_head.h"
#include "common/io/httpd_priv.h"
#include <assert.h>
#include <netdb.h>
#include <sys/socket.h>

/* --- storage --- */

bool httpd_bytes_put(struct httpd_bytes *b, const char *ptr, size_t len, size_t hint)
{
    if (b->cap - b->len < len) {
        size_t cap = b->cap ? b->cap * 2 : hint;
        while (cap < b->len + len) cap *= 2;
        char *grown = realloc(b->ptr, cap);
        if (!grown) return false;
        b->ptr = grown;
        b->cap = cap;
    }
    if (len) memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
    return true;
}

static void bytes_trim(struct httpd_bytes *b, size_t keep)
{
    b->len = 0;
    if (b->cap <= keep) return;
    free(b->ptr);
    *b = (struct httpd_bytes){.ptr = NULL};
}

struct httpd_request *httpd_request_take(struct httpd *s)
{
    struct httpd_request *r = s->free;
    if (!r) {
        r = calloc(1, sizeof *r);
    } else {
        s->free = r->next_free;
        s->free_count--;
        struct httpd_bytes body = r->body, out = r->out;
        memset(r, 0, sizeof *r);
        r->body = body;
        r->out = out;
    }
    if (!r) return NULL;
    r->server = s;
    r->fd = -1;
    return r;
}

static void request_free(struct httpd_request *r)
{
    free(r->body.ptr);
    free(r->out.ptr);
    free(r);
}

void httpd_requests_drop(struct httpd *s)
{
    while (s->free) {
        struct httpd_request *r = s->free;
        s->free = r->next_free;
        request_free(r);
    }
}

void httpd_body_drop(struct httpd_request *r)
{
    r->server->body_total -= r->body.len;
    bytes_trim(&r->body, r->phase == HTTPD_PHASE_STREAM ? 0 : HTTPD_KEEP_BYTES);
}

static void request_give_back(struct httpd_request *r)
{
    struct httpd *s = r->server;
    httpd_body_drop(r);
    free(r->target_heap);
    r->target_heap = NULL;
    bytes_trim(&r->out, HTTPD_KEEP_BYTES);
    if (s->free_count >= HTTPD_FREE_MAX) {
        request_free(r);
        return;
    }
    r->next_free = s->free;
    s->free = r;
    s->free_count++;
}

void httpd_request_let_go(struct httpd_request *r)
{
    assert(r->conn && r->conn->request == r);
    r->conn->request = NULL;
    r->conn = NULL;
    r->method = VIEW_NONE;
    if (r->phase == HTTPD_PHASE_OVER) request_give_back(r);
}

void httpd_request_over(struct httpd_request *r, bool completed)
{
    assert(r->phase != HTTPD_PHASE_OVER);
    r->phase = HTTPD_PHASE_OVER;
    if (r->on_gone) r->on_gone(r->gone_arg, completed);
    if (!r->conn) request_give_back(r);
}

/* --- what rooms ask --- */

struct view httpd_method(const struct httpd_request *r)
{
    return r->method;
}

struct view httpd_path(const struct httpd_request *r)
{
    return r->path;
}

struct view httpd_header(const struct httpd_request *r, const char *name)
{
    if (!r->conn || r->phase != HTTPD_PHASE_ROOM) return VIEW_NONE;
    const char *value = NULL;
    size_t len = 0;
    if (MHD_lookup_connection_value_n(r->conn->mhd, MHD_HEADER_KIND, name, strlen(name), &value,
                                      &len) != MHD_YES)
        return VIEW_NONE;
    return value ? view_trim(view_make(value, len)) : VIEW_LIT("");
}

bool httpd_query(const struct httpd_request *r, const char *name, char *dst, size_t size)
{
    size_t cursor = 0;
    struct view key, value;
    while (httpd_target_each(r->query, &cursor, &key, &value))
        if (view_eq_str(key, name)) return httpd_target_decode(value, dst, size);
    if (size) dst[0] = '\0';
    return false;
}

bool httpd_query_each(const struct httpd_request *r, size_t *cursor, struct view *ret_name,
                      struct view *ret_value)
{
    return httpd_target_each(r->query, cursor, ret_name, ret_value);
}

struct view httpd_body(const struct httpd_request *r)
{
    return view_make(r->body.ptr ? r->body.ptr : "", r->body.len);
}

struct view httpd_peer(const struct httpd_request *r)
{
    struct httpd *s = r->server;
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    int fd = r->fd >= 0 ? r->fd : r->conn ? r->conn->fd : -1;
    if (getpeername(fd, (struct sockaddr *)&at, &len) != 0) return VIEW_LIT("");
    int rc =
        getnameinfo((struct sockaddr *)&at, len, s->peer, sizeof s->peer, NULL, 0, NI_NUMERICHOST);
    return rc == 0 ? view_of(s->peer) : VIEW_LIT("");
}

void *httpd_user(const struct httpd_request *r)
{
    return r->user;
}

void httpd_set_user(struct httpd_request *r, void *user)
{
    r->user = user;
}

void httpd_on_gone(struct httpd_request *r, void (*fn)(void *arg, bool completed), void *arg)
{
    r->on_gone = fn;
    r->gone_arg = arg;
}

void httpd_abort(struct httpd_request *r)
{
    if (r->is_aborted || r->phase == HTTPD_PHASE_OVER) return;
    r->is_aborted = true;
    if (r->phase == HTTPD_PHASE_STREAM) {
        httpd_stream_abort(r);
        return;
    }
    httpd_reset_on_close(r->conn->fd);
    httpd_go_on(r); /* the library asks again and is told no */
    if (r->phase == HTTPD_PHASE_ANSWERED) httpd_conn_cut(r->conn);
}
