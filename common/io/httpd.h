#ifndef IO_HTTPD_H
#define IO_HTTPD_H
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/io/loop.h"

/* HTTP/1.1 server side (libmicrohttpd, external epoll on the loop, strictest parsing). Limits in front: head bytes (431), body
 * bytes (413), slow heads (10 s) and bodies (30 s without progress) are cut, bare LF / TE+CL / obs-fold 400.
 *
 *   REQUEST HEAD -> (route says: wants the body?) -> BODY collected -> on_request -> exactly one answer:
 *       httpd_reply (whole body)   or   httpd_stream (pulled chunks, until the end or the peer leaves)
 * A request that is answered later is parked (suspended) at no cost; answering it from any callback of the loop is fine. */
struct httpd;
struct httpd_request; /* valid from on_request until it was answered and on_gone or the end came */

struct httpd_options {
    const char *listen;      /* "127.0.0.1:8080", "[::1]:0"; port 0 = any */
    bool reuse_port;
    size_t connections_max;
    size_t head_max;         /* 6 KB */
    size_t body_max;         /* larger: 413 */
    size_t body_total_max;   /* bytes of all bodies being collected; more: 503 */
    int64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    /* The whole request is there. Must lead to one answer, now or later. */
    void (*on_request)(void *arg, struct httpd_request *r);
    /* Refusals made by the server itself (400, 408, 413, 431, 503): writes the body of the answer. May be NULL. */
    void (*on_refuse)(void *arg, int status, const char *reason, struct buf *body, const char **content_type);
    void *arg;
};

struct httpd *httpd_new(struct loop *l, struct log *log, const struct httpd_options *o, struct err *err);
void httpd_free(struct httpd *s);
int httpd_port(const struct httpd *s); /* the bound port */
void httpd_stop_accepting(struct httpd *s);
size_t httpd_connections(const struct httpd *s);

struct view httpd_method(const struct httpd_request *r);
struct view httpd_path(const struct httpd_request *r); /* still percent-encoded, without the query */
struct view httpd_header(const struct httpd_request *r, const char *name); /* case-insensitive; VIEW_NONE when absent */
/* Percent-decoded query argument into dst; false when absent, malformed or too long. */
bool httpd_query(const struct httpd_request *r, const char *name, char *dst, size_t size);
bool httpd_query_each(const struct httpd_request *r, size_t *cursor, struct view *ret_name, struct view *ret_value);
struct view httpd_body(const struct httpd_request *r);
struct view httpd_peer(const struct httpd_request *r); /* numeric address */
void *httpd_user(const struct httpd_request *r);        /* one pointer for the rooms' use */
void httpd_set_user(struct httpd_request *r, void *user);
/* Told once when the peer leaves or the answer was sent whole: forget r then. May be set before answering. */
void httpd_on_gone(struct httpd_request *r, void (*fn)(void *arg, bool completed), void *arg);

struct httpd_header_out {
    const char *name, *value;
};
struct httpd_answer {
    int status;
    const char *content_type;
    struct httpd_header_out headers[16];
    size_t header_count;
    struct view body; /* copied */
    bool close;       /* no keep-alive after this */
};
void httpd_reply(struct httpd_request *r, const struct httpd_answer *a);

/* A stream: the server pulls. pull copies at most size bytes into dst and returns how many; 0 = nothing now (the
 * connection is parked until httpd_stream_wake), HTTPD_STREAM_END = done. Wakes are gathered: idle at once, under load at most every 5-10 ms. */
#define HTTPD_STREAM_END ((ssize_t)-1)
typedef ssize_t httpd_pull_fn(void *arg, char *dst, size_t size);
void httpd_stream(struct httpd_request *r, const struct httpd_answer *head, httpd_pull_fn *pull, void *arg);
void httpd_stream_wake(struct httpd_request *r);
/* Cuts the connection without a clean end (slow reader). */
void httpd_abort(struct httpd_request *r);

#endif
