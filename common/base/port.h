#ifndef BASE_PORT_H
#define BASE_PORT_H
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/reply.h"
#include "common/base/timerq.h"
#include "common/base/view.h"

/* The outside world as small structs of functions: rooms are written against these, io fills
 * them with real servers, the simulation with models. Rules that hold for every port:
 *   - a callback is called exactly once for an accepted call (http: see there), never from
 *     inside the call itself;
 *   - arguments are copied by the port when it needs them longer than the call;
 *   - a port never blocks. */

typedef void redis_reply_fn(void *arg, const struct reply *r, const struct err *e);

/* One Redis connection's commands, in order. e is set (and r NULL) when the connection failed or
 * the deadline passed; a -ERR answer arrives as r of kind REPLY_ERROR with e NULL. A call on a
 * closed connection is answered ERR_UNAVAILABLE on the next turn. */
struct redis_port {
    void *self;
    void (*call)(void *self, const struct view *argv, size_t argc, redis_reply_fn *on_reply,
                 void *arg);
    /* True while the connection is up. */
    bool (*is_up)(void *self);
};

/* Pub/sub on a connection of its own. After a reconnect every channel is subscribed again and
 * on_reset is called, so that the reader reads what it may have missed. */
typedef void redis_message_fn(void *arg, struct view channel, struct view payload);
struct redis_sub_port {
    void *self;
    /* on_ready: the subscription is confirmed. */
    void (*subscribe)(void *self, struct view channel, redis_reply_fn *on_ready, void *arg);
    void (*unsubscribe)(void *self, struct view channel);
    void (*listen)(void *self, redis_message_fn *on_message, void (*on_reset)(void *arg),
                   void *arg);
};

struct header {
    struct view name, value; /* ASCII */
};

enum { RECORD_HEADERS_MAX = 32 };

/* A record to write. partition is always explicit. */
struct record_out {
    const char *topic;
    int32_t partition;
    struct view key, value;
    struct header headers[RECORD_HEADERS_MAX];
    size_t header_count;
};

/* The delivery report: e NULL = acknowledged by every in-sync replica, at offset. ERR_TIMEOUT =
 * may have landed. */
typedef void publish_fn(void *arg, const struct err *e, int64_t offset);
struct publish_port {
    void *self;
    /* ERR_FULL: nothing queued, done will not be called. ERR_TOO_LARGE likewise. */
    MUST_CHECK enum err_code (*publish)(void *self, const struct record_out *rec, publish_fn *done,
                                        void *arg, struct err *err);
};

/* A record read. All views are borrowed for the call that hands it over. */
struct record_in {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    struct view key, value;
    struct header headers[RECORD_HEADERS_MAX];
    size_t header_count;
};

/* The value of the first header of that name; VIEW_NONE when absent. */
struct view record_header(const struct record_in *rec, const char *name);

/* An HTTP call out. on_head once (status, headers), on_body 0..n times, then on_end exactly once
 * (e NULL = the reply came whole). After cancel no callback comes. */
struct http_header {
    struct view name, value;
};

struct http_request_out {
    const char *method;
    struct view url;
    const struct http_header *headers;
    size_t header_count;
    struct view body;
    int64_t send_by_ms; /* monotonic, 0 = none: not on its way by then, it is never sent: ERR_CLOSED */
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms; /* until the first body byte */
    int64_t idle_timeout_ms;       /* between body bytes */
    int64_t total_timeout_ms;
    size_t body_max; /* more is ERR_TOO_LARGE */
};

struct http_sink {
    void (*on_head)(void *arg, int status, const struct http_header *headers, size_t count);
    void (*on_body)(void *arg, struct view bytes);
    void (*on_end)(void *arg, const struct err *e);
};

struct http_call;
struct http_port {
    void *self;
    /* NULL: refused (err says why), no callback follows. */
    struct http_call *(*start)(void *self, const struct http_request_out *req,
                               const struct http_sink *sink, void *arg, struct err *err);
    void (*cancel)(void *self, struct http_call *call);
};

#endif
