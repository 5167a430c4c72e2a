#ifndef IO_HTTPD_H
#define IO_HTTPD_H
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/io/loop.h"
#include <sys/types.h>

/* HTTP/1.1 server side (libmicrohttpd, its epoll descriptor on the loop, strictest reading). Limits
 * in front: head bytes (431), body bytes (413), slow heads (10 s) and bodies (30 s without
 * progress) are cut, bare LF / TE+CL / obs-fold 400.
 *
 *   REQUEST HEAD -> BODY collected -> on_request -> exactly one answer, then or later:
 *       httpd_reply    a whole body
 *       httpd_stream   pulled chunks, until the end or the peer leaves
 *
 * How long things live: header, path, query, method and body views hold until the answer is given;
 * r itself until httpd_on_gone's callback was called (after httpd_reply without such a callback:
 * forget r at once). The room is never called from inside httpd_reply, httpd_stream,
 * httpd_stream_wake or httpd_abort. */
struct httpd;
struct httpd_request;

struct httpd_options {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0"; port 0 = any */
    bool reuse_port;
    size_t connections_max; /* streams included; one more is answered 503 and closed */
    size_t head_max;        /* 6 KB */
    size_t body_max;        /* larger: 413 */
    size_t body_total_max;  /* bytes of all bodies being collected; more: 503 */
    /* From accept or request line to a whole head; without any progress of a body or of an answer
     * being read; between requests. A request that waits in its room and a stream have no limit. */
    int64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    /* The whole request is there. Must lead to one answer, now or later. */
    void (*on_request)(void *arg, struct httpd_request *r);
    /* Refusals made by the server itself (400, 408, 413, 417, 431, 501, 503): writes the body of
     * the answer; *content_type is preset to text/plain. May be NULL. (A head line without a colon,
     * an unknown HTTP version and a head far over the limit are answered inside the library, with
     * its own short body.) */
    void (*on_refuse)(void *arg, int status, const char *reason, struct buf *body,
                      const char **content_type);
    void *arg;
};

struct httpd *httpd_new(struct loop *l, struct log *log, const struct httpd_options *o,
                        struct err *err);
/* Not from inside its own callbacks. Every request that is still with its room is told
 * on_gone(false). */
void httpd_free(struct httpd *s);
int httpd_port(const struct httpd *s);      /* the bound port */
void httpd_stop_accepting(struct httpd *s); /* closes the listener; open connections go on */
size_t httpd_connections(const struct httpd *s);

struct view httpd_method(const struct httpd_request *r);
struct view
httpd_path(const struct httpd_request *r); /* still percent-encoded, without the query */
struct view httpd_header(const struct httpd_request *r,
                         const char *name); /* case-insensitive; VIEW_NONE when absent */
/* Percent-decoded query argument into dst; false when absent, malformed or too long. */
bool httpd_query(const struct httpd_request *r, const char *name, char *dst, size_t size);
/* The next argument, still encoded; *cursor starts at 0. */
bool httpd_query_each(const struct httpd_request *r, size_t *cursor, struct view *ret_name,
                      struct view *ret_value);
struct view httpd_body(const struct httpd_request *r);
struct view
httpd_peer(const struct httpd_request *r);       /* numeric address; holds until the next call */
void *httpd_user(const struct httpd_request *r); /* one pointer for the rooms' use */
void httpd_set_user(struct httpd_request *r, void *user);
/* Told once when the peer has left, the request was aborted, or the answer was sent whole
 * (completed): forget r then. May be set at any time before that. While a request waits in its room
 * a leaving peer is noticed within about two seconds; of a stream at once (a peer that only closes
 * its sending side counts as gone). */
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

/* A stream: the server pulls. pull copies at most size bytes (2 to 32 KB are offered; cut an event
 * where it does not fit) into dst and returns how many; 0 = nothing now (asked again after
 * httpd_stream_wake), HTTPD_STREAM_END = done. It is called again within one flush until it returns
 * 0, so several events leave in one write. Wakes of a turn are gathered; a wake while the socket
 * takes no more costs nothing. At most 32 KB (and 64 KB unsent in the kernel) are held for a peer
 * that does not read: how far it lags is the room's to count, and to end by httpd_abort. HTTP/1.1
 * gets chunks, HTTP/1.0 bytes until the close. A streamed answer ends its connection (Connection:
 * close). */
#define HTTPD_STREAM_END ((ssize_t)-1)
typedef ssize_t httpd_pull_fn(void *arg, char *dst, size_t size);
void httpd_stream(struct httpd_request *r, const struct httpd_answer *head, httpd_pull_fn *pull,
                  void *arg);
void httpd_stream_wake(struct httpd_request *r);
/* Cuts the connection without a clean end (slow reader). on_gone(false) follows in this turn or the
 * next. */
void httpd_abort(struct httpd_request *r);

#endif
