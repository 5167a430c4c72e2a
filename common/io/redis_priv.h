#ifndef IO_REDIS_PRIV_H
#define IO_REDIS_PRIV_H
#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/io/redis.h"
#include <sys/socket.h>

/* Shared by redis.c (connection), redis_dial.c (where and how to connect), redis_reply.c (bytes to
 * replies) and redis_sub.c (subscriptions). */

/* --- replies: hiredis' reader behind a bump region ---------------------------------------- */
struct redis_replies;
enum redis_next { REDIS_NEXT_NONE, REDIS_NEXT_ONE, REDIS_NEXT_BROKEN };

struct redis_replies *redis_replies_new(void);
void redis_replies_free(struct redis_replies *r);
void redis_replies_reset(struct redis_replies *r); /* new connection: forget half a reply */
bool redis_replies_feed(struct redis_replies *r, const char *bytes, size_t len);
/* ONE: *ret holds until the next call of any of these. BROKEN: err says why; reset before further
 * use. */
enum redis_next redis_replies_next(struct redis_replies *r, const struct reply **ret,
                                   struct err *err);

/* --- who waits for a reply ---------------------------------------------------------------- */
struct redis_pending {
    redis_reply_fn *on_reply; /* NULL: already answered, or nobody asked */
    void *arg;
    int64_t deadline_ms;
    enum err_code code; /* refusals only */
};

struct redis_ring {
    struct redis_pending *slots;
    size_t cap, head, count; /* cap is a power of two */
};

bool redis_ring_push(struct redis_ring *r, const struct redis_pending *p); /* false: no memory */
struct redis_pending redis_ring_pop(struct redis_ring *r);
struct redis_pending *redis_ring_at(const struct redis_ring *r,
                                    size_t i); /* 0 = the oldest; until the next push */

/* --- addresses ---------------------------------------------------------------------------- */
enum { REDIS_ADDRESSES_MAX = 8 };

struct redis_url {
    bool is_unix;
    char host[256]; /* or the path */
    char port[8];
    char user[128], password[512];
    unsigned db;
};

struct redis_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

struct redis_addresses {
    struct redis_address list[REDIS_ADDRESSES_MAX];
    size_t count;
};

MUST_CHECK enum err_code redis_url_parse(struct view text, struct redis_url *ret, struct err *err);
/* numeric_only: never blocks, false when a look-up is needed. */
bool redis_resolve(const struct redis_url *u, bool numeric_only, struct redis_addresses *ret);
/* Begins a non-blocking connect; -1 with errno. */
int redis_connect_start(const struct redis_address *a);
int redis_connect_error(int fd); /* the socket's pending error */

/* --- the connection ----------------------------------------------------------------------- */
enum redis_state { REDIS_OFF, REDIS_RESOLVING, REDIS_CONNECTING, REDIS_GREETING, REDIS_UP };
enum redis_said { REDIS_SAID_NOTHING, REDIS_SAID_UP, REDIS_SAID_DOWN };

struct redis_lookup;
struct redis_sub;

struct redis_conn {
    struct loop *loop;
    struct log *log;
    struct redis_url url;
    char name[32];
    int64_t timeout_ms;
    size_t pending_max, output_max;
    void (*on_state)(void *arg, bool up);
    void *state_arg;

    enum redis_state state;
    enum redis_said said;
    int fd;
    struct loop_watch *watch;
    struct redis_lookup *lookup; /* on the pool; it outlives us when need be */
    struct redis_addresses addresses;
    size_t address_next;
    int64_t backoff_ms;
    struct timer retry;    /* when off: try again; while connecting: give up */
    struct timer deadline; /* of the oldest unanswered command */
    int64_t heard_ms;

    struct buf out;
    size_t out_sent;
    bool is_out_blocked; /* the socket is full: the watch will say */
    struct redis_ring pending;
    size_t expired; /* how many of the oldest pending were answered ERR_TIMEOUT */
    struct redis_ring refused;
    struct redis_replies *replies;
    struct redis_sub *sub; /* NULL: a command connection */
    char *in;              /* read buffer */
    unsigned depth;        /* callbacks under way: free waits for them */
    bool is_freed;
};

/* Appends the command's bytes to c->out, within output_max. */
MUST_CHECK enum err_code redis_encode(struct redis_conn *c, const struct view *argv, size_t argc);
/* Queues a command; on_reply may be NULL. ERR_FULL or ERR_TOO_LARGE: nothing was queued. */
MUST_CHECK enum err_code redis_send(struct redis_conn *c, const struct view *argv, size_t argc,
                                    const struct redis_pending *who);
/* on_reply gets code at the end of the turn. */
void redis_refuse(struct redis_conn *c, redis_reply_fn *on_reply, void *arg, enum err_code code);

/* --- subscriptions, called by redis.c ----------------------------------------------------- */
bool redis_sub_take(struct redis_conn *c,
                    const struct reply *r); /* true: it was a message, not an answer */
void redis_sub_up(struct redis_conn *c);
void redis_sub_down(struct redis_conn *c,
                    enum err_code code);   /* code: for who still waits to be sent */
void redis_sub_pump(struct redis_conn *c); /* end of turn */
void redis_sub_free(struct redis_conn *c);

#endif
