#ifndef IO_HTTPC_PRIV_H
#define IO_HTTPC_PRIV_H
#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/io/httpc.h"

/* Shared by httpc*.c alone. httpc.c: the multi handle on the loop and the life of a call;
 * httpc_easy.c: one request as options of the library, and its callbacks. The library's handles are
 * void * in its own headers too. */

enum {
    HTTPC_HEADERS_MAX = 64,
    HTTPC_HEADER_BYTES_MAX = 16384,
    HTTPC_RECEIVE_BYTES = 4096,
    HTTPC_UPLOAD_BYTES = 16384,
    HTTPC_URL_MAX = 8192,
    HTTPC_IDLE_EASY_MAX = 64 /* easy handles kept for the next call */
};

enum httpc_stage {
    HTTPC_QUEUED,  /* started inside the library: added when it has returned */
    HTTPC_RUNNING, /* the library has it */
    HTTPC_DEAD     /* cancelled or failed inside the library: reaped when it has returned */
};

struct http_call {
    struct list_link link;
    struct httpc *client;
    void *easy;
    enum httpc_stage stage;
    struct http_sink sink;
    void *arg;
    struct timer timer;
    int64_t started_ms, last_byte_ms; /* last_byte_ms 0 = none yet */
    int64_t send_by_ms;
    int64_t first_byte_timeout_ms, idle_timeout_ms, total_timeout_ms;
    size_t body_max, body_got;
    void *header_lines; /* the library's list */
    char *body;
    size_t body_len;
    struct buf head; /* reply lines as they came, one behind the other; gone once handed over */
    size_t head_count;
    bool has_head;
    bool is_muted;  /* cancelled: no callback any more */
    struct err err; /* why it failed, when we know better than the library */
};

struct httpc {
    struct loop *loop;
    struct httpc_options o;
    char user_agent[128];
    char ca_file[512];
    void *multi;
    struct timer timer; /* the library's */
    struct list calls[HTTPC_DEAD + 1];
    void *idle[HTTPC_IDLE_EASY_MAX];
    size_t idle_count;
    bool is_inside; /* the library is on the stack */
    bool is_settling;
};

/* httpc.c */
void httpc_call_fail(struct http_call *call); /* call->err says why; from inside the library */

/* httpc_easy.c */
/* Fills a fresh easy handle for call. */
MUST_CHECK enum err_code httpc_easy_set(struct http_call *call, const struct http_request_out *req,
                                        struct err *err);
void httpc_easy_drop(struct http_call *call); /* what httpc_easy_set allocated */
/* The library's verdict in our words. */
enum err_code httpc_easy_verdict(const struct http_call *call, int code, struct err *err);

#endif
