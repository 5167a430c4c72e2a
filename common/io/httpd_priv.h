#ifndef IO_HTTPD_PRIV_H
#define IO_HTTPD_PRIV_H
#include "common/base/list.h"
#include "common/io/httpd.h"
#include <microhttpd.h>
#include <sys/types.h>

/* Shared by httpd*.c alone. httpd.c: the server and the library's callbacks; httpd_request.c: what
 * the rooms ask of a request; httpd_conn.c: stages, time limits, closing; httpd_reply.c: heads,
 * answers, refusals; httpd_stream.c: streams on their own sockets; httpd_listen.c: the listener. */

enum {
    /* The library's memory a connection beyond the head: its records of fields, a second copy of
     * cookies (a browser sends those of every program on this host), the answer's head. */
    HTTPD_POOL_EXTRA = 6144,
    HTTPD_CONNECTIONS_SPARE = 64, /* above the ceiling, to be told 503 */
    HTTPD_ROUNDS_MAX = 16,        /* of the library in one go; more in the next turn */
    HTTPD_TARGET_INLINE = 128,
    HTTPD_KEEP_BYTES = 2048, /* buffers up to this stay with a recycled request */
    HTTPD_FREE_MAX = 512,
    HTTPD_BODY_FIRST = 16384,  /* a body's buffer begins with its length, at most this */
    HTTPD_MESSAGE_MAX = 65536, /* a head or a refusal of ours */
    HTTPD_LINGER_MAX = 256,
    HTTPD_LINGER_MS = 2000,
    HTTPD_LINGER_BYTES = 8 << 20,
    HTTPD_ASKING_MAX = 512,
    HTTPD_ASKING_MS = 20,
    HTTPD_LOOK_MS = 1000,   /* how often a request that waits in its room is looked after */
    HTTPD_BLOCK = 32768,    /* bytes of one chunk of a stream at most */
    HTTPD_BLOCK_FRONT = 16, /* room for its size line */
    HTTPD_BLOCK_BACK = 8,   /* and what follows it */
    HTTPD_PULL_MIN = 2048,  /* no further pull into less than this */
    HTTPD_STREAM_TURN_BYTES = 256 << 10,
    HTTPD_STREAMS_TURN_MAX = 1024,
    HTTPD_NOTSENT_BYTES = 65536
};

/* Where a connection stands = in which list it is; each list has one time limit, so its first is
 * the next to expire. */
enum httpd_stage {
    HTTPD_STAGE_OPENED,  /* no head was whole yet */
    HTTPD_STAGE_HEAD,    /* a later request's line is there, its head not whole */
    HTTPD_STAGE_BODY,    /* renewed by every piece */
    HTTPD_STAGE_ROOM,    /* the room has it: only looked after */
    HTTPD_STAGE_SENDING, /* answered; renewed by the peer's acknowledgements */
    HTTPD_STAGE_IDLE,    /* between requests */
    HTTPD_STAGE_CUT,     /* shut down; the library will notice */
    HTTPD_STAGE_COUNT
};

struct httpd_conn {
    struct list_link link;
    struct httpd *server;
    struct MHD_Connection *mhd;
    struct httpd_request *request; /* NULL between requests */
    int fd;                        /* the library's */
    enum httpd_stage stage;
    int64_t since_ms;
    uint64_t acked_bytes; /* at the last look in SENDING */
    bool has_requested;   /* a request line came, ever */
    bool wants_linger;    /* refused with bytes possibly unread */
    bool is_handed_over;  /* a stream took the socket */
};

enum httpd_phase {
    HTTPD_PHASE_HEAD,
    HTTPD_PHASE_BODY,
    HTTPD_PHASE_ROOM,     /* on_request was called: one answer is due */
    HTTPD_PHASE_ANSWERED, /* the library has the answer */
    HTTPD_PHASE_STREAM,   /* pulled; on a socket of its own */
    HTTPD_PHASE_OVER      /* told the room; the library still points here */
};

/* How a request that waits for its room is kept in the library. */
enum httpd_stay {
    HTTPD_STAY_NONE,   /* it is not: head or body under way, in on_request, or answered */
    HTTPD_STAY_ASKING, /* not suspended: the library asks again in every round */
    HTTPD_STAY_PARKED  /* suspended */
};

struct httpd_bytes {
    char *ptr;
    size_t len, cap;
};

struct httpd_request {
    struct httpd *server;
    struct httpd_conn *conn; /* NULL once the library has let go */
    struct httpd_request *next_free;
    enum httpd_phase phase;
    enum httpd_stay stay;
    bool is_aborted;
    bool is_head; /* the method HEAD */
    bool is_http10;
    struct view method; /* the library's bytes */
    struct view target, path, query;
    char *target_heap;      /* when it is longer than target_inline */
    const char *target_was; /* where the library had it */
    char target_inline[HTTPD_TARGET_INLINE];
    size_t body_expected; /* Content-Length; 0 = chunked or none */
    struct httpd_bytes body, out;
    void *user;
    void (*on_gone)(void *arg, bool completed);
    void *gone_arg;
    /* streams */
    struct list_link stream, woken;
    httpd_pull_fn *pull;
    void *pull_arg;
    int fd;
    char *rest; /* bytes the socket did not take yet; owned */
    size_t rest_at, rest_len;
    bool is_chunked, is_head_sent, is_blocked, is_dry, is_ended, watches_out;
};

struct httpd_linger {
    struct list_link link;
    struct httpd *server;
    struct loop_watch *watch;
    int fd;
    int64_t since_ms;
    size_t left_bytes;
};

struct httpd {
    struct loop *loop;
    struct log *log;
    struct httpd_options o;
    struct MHD_Daemon *daemon;
    struct loop_watch *watch; /* of the library's epoll descriptor */
    int listen_fd, port;
    bool walks;      /* the library parses in place: httpd_head.c */
    bool is_running; /* inside the library */
    bool is_due;     /* something was resumed: run the library in this turn */
    bool is_closing;
    struct list stages[HTTPD_STAGE_COUNT];
    int64_t limit_ms[HTTPD_STAGE_COUNT];
    struct timer tick, nudge;
    size_t asking_count;
    uint64_t progress; /* moves with every callback that is not the library asking again */
    size_t conn_count;
    struct httpd_request *free;
    size_t free_count;
    size_t body_total;
    struct buf message; /* scratch: a head or refusal being written */
    struct buf refusal; /* scratch: its body */
    char date[32];
    int64_t date_s;
    char peer[64];
    struct list lingers;
    /* streams */
    int stream_epoll;
    struct loop_watch *stream_watch;
    struct list streams, woken;
    char *block;
};

/* httpd_request.c */
struct httpd_request *httpd_request_take(struct httpd *s);
void httpd_request_let_go(struct httpd_request *r); /* the library points at it no more */
void httpd_request_over(struct httpd_request *r, bool completed); /* tells the room */
void httpd_body_drop(struct httpd_request *r);
bool httpd_bytes_put(struct httpd_bytes *b, const char *ptr, size_t len, size_t hint);

void httpd_requests_drop(struct httpd *s);

/* httpd.c */
void httpd_want_turn(struct httpd *s);     /* run the library before this turn ends */
void httpd_go_on(struct httpd_request *r); /* it was answered or given up */

/* httpd_conn.c */
struct httpd_conn *httpd_conn_new(struct httpd *s, struct MHD_Connection *mhd, int fd);
void httpd_conn_closed(
    struct httpd_conn *c); /* the library is about to close its socket; frees c */
void httpd_conn_stage(struct httpd_conn *c, enum httpd_stage stage);
void httpd_conn_refuse(struct httpd_conn *c, int status,
                       const char *reason); /* past the library, before any answer */
void httpd_conn_cut(struct httpd_conn *c);
void httpd_tick(void *arg);
void httpd_lingers_drop(struct httpd *s);
void httpd_reset_on_close(int fd);

/* httpd_reply.c */
enum httpd_framing { HTTPD_BY_LENGTH, HTTPD_BY_CHUNKS, HTTPD_BY_CLOSE };
bool httpd_put_head(struct httpd *s, const struct httpd_answer *a,
                    enum httpd_framing framing);                         /* into s->message */
bool httpd_put_refusal(struct httpd *s, int status, const char *reason); /* whole, likewise */
enum MHD_Result httpd_refuse(struct httpd_request *r, int status, const char *reason);

/* httpd_stream.c */
bool httpd_streams_open(struct httpd *s, struct err *err);
void httpd_streams_flush(struct httpd *s);
void httpd_streams_close(struct httpd *s);
void httpd_stream_abort(struct httpd_request *r);

/* httpd_listen.c: a bound, listening, non-blocking socket, or -1. */
int httpd_listen(const char *listen, bool reuse_port, int *ret_port, struct err *err);

#endif
