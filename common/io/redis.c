/* A Redis connection.
 *
 *   OFF --retry--> RESOLVING --> CONNECTING --> GREETING (AUTH, SELECT, PING) --> UP
 *    ^  <-------------- any failure: answer all that wait, back off ---------------'
 *
 * What is hard: the cost. A command must be well under a microsecond of our CPU, so a command is
 * written straight into the output buffer and its callback into a ring (no malloc); the bytes of a
 * whole turn leave in one write from the after-turn hook; replies come in order, so the ring's head
 * is always whose reply this is; and one timer per connection watches the oldest deadline only,
 * re-armed when it fires, not per command.
 *
 * A command past its deadline is answered ERR_TIMEOUT and keeps its place in the ring, because its
 * reply still comes and must be dropped. When nothing at all was heard for two time-outs the
 * connection is dead and is broken.
 *
 * Callbacks may do anything: call again, free the connection. `depth` counts callbacks under way; a
 * freed connection is torn down at once (everybody is answered ERR_CLOSED) but its memory stays
 * until depth is 0. After each callback the code asks `is_freed` before it touches the rest.
 *
 * UP is said only after PONG: a server that is loading its data set, or accepts and closes at once,
 * never looks up. */
#include "common/io/redis_priv.h"
#include <assert.h>
#include <errno.h>
#include <unistd.h>

enum {
    REDIS_BACKOFF_MIN_MS = 100,
    REDIS_BACKOFF_MAX_MS = 2000,
    REDIS_CONNECT_MS = 5000,
    REDIS_READ_BYTES = 64 << 10,
    REDIS_FEED_BYTES =
        16 << 10, /* the reader moves what is left of its buffer after each KB: keep it short */
    REDIS_READS_TURN_MAX = 16,
    REDIS_OUT_KEEP = 1 << 20
};

static void redis_dial(void *arg);
static void redis_connect_next(struct redis_conn *c);
static void redis_deadline(void *arg);

/* --- life --------------------------------------------------------------------------------- */

static void redis_destroy(struct redis_conn *c)
{
    buf_fini(&c->out);
    free(c->pending.slots);
    free(c->refused.slots);
    redis_replies_free(c->replies);
    redis_sub_free(c);
    free(c->in);
    free(c);
}

static void redis_enter(struct redis_conn *c)
{
    c->depth++;
}

/* After this c may be gone. */
static void redis_leave(struct redis_conn *c)
{
    assert(c->depth > 0);
    if (--c->depth == 0 && c->is_freed) redis_destroy(c);
}

static void redis_answer_all(struct redis_conn *c, struct redis_ring *r, const struct err *e)
{
    c->expired = 0;
    while (r->count > 0) {
        struct redis_pending p = redis_ring_pop(r);
        if (p.on_reply) p.on_reply(p.arg, NULL, e);
    }
}

static void redis_close_socket(struct redis_conn *c)
{
    loop_watch_free(c->watch);
    c->watch = NULL;
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    buf_fini(&c->out);
    buf_init(&c->out, c->output_max);
    c->out_sent = 0;
    c->is_out_blocked = false;
    timerq_cancel(loop_timers(c->loop), &c->deadline);
}

static void redis_say(struct redis_conn *c, bool is_up, const struct err *why)
{
    enum redis_said now = is_up ? REDIS_SAID_UP : REDIS_SAID_DOWN;
    if (c->said == now) return;
    c->said = now;
    if (is_up)
        log_event(c->log, LOG_INFO, VIEW_NONE, "redis_up", LOG_S("connection", c->name));
    else
        log_event(c->log, LOG_WARN, VIEW_NONE, "redis_down", LOG_S("connection", c->name),
                  LOG_S("reason", why->text));
}

static void redis_retry_later(struct redis_conn *c)
{
    int64_t wait = c->backoff_ms / 2 +
                   (int64_t)rng_below(loop_rng(c->loop), (uint64_t)(c->backoff_ms / 2 + 1));
    c->backoff_ms =
        c->backoff_ms * 2 < REDIS_BACKOFF_MAX_MS ? c->backoff_ms * 2 : REDIS_BACKOFF_MAX_MS;
    c->state = REDIS_OFF;
    timerq_set(loop_timers(c->loop), &c->retry, loop_clock(c->loop)->mono_ms + wait, redis_dial, c);
}

/* The connection (or the attempt) is over: everybody is told, and a new attempt is set. Runs
 * callbacks. */
static void redis_break(struct redis_conn *c, const struct err *why)
{
    bool was_up = c->state == REDIS_UP;
    redis_enter(c);
    redis_close_socket(c);
    redis_retry_later(c);
    redis_say(c, false, why);
    struct err told;
    err_set(&told, ERR_UNAVAILABLE, "redis %s: connection lost", c->name);
    if (c->sub) redis_sub_down(c, ERR_UNAVAILABLE);
    redis_answer_all(c, &c->pending, &told);
    if (!c->is_freed && was_up && c->on_state) c->on_state(c->state_arg, false);
    redis_leave(c);
}

/* --- sending ------------------------------------------------------------------------------ */

static void redis_arm_deadline(struct redis_conn *c)
{
    if (c->pending.count == 0 || timerq_pending(&c->deadline)) return;
    int64_t oldest = redis_ring_at(&c->pending, 0)->deadline_ms;
    int64_t quiet_since =
        oldest - c->timeout_ms > c->heard_ms ? oldest - c->timeout_ms : c->heard_ms;
    int64_t when = quiet_since + 2 * c->timeout_ms;
    if (c->expired < c->pending.count) {
        int64_t next = redis_ring_at(&c->pending, c->expired)->deadline_ms;
        if (next < when) when = next;
    }
    timerq_set(loop_timers(c->loop), &c->deadline, when, redis_deadline, c);
}

enum err_code redis_send(struct redis_conn *c, const struct view *argv, size_t argc,
                         const struct redis_pending *who)
{
    if (c->pending.count >= c->pending_max) return ERR_FULL;
    size_t len = c->out.len;
    enum err_code rc = redis_encode(c, argv, argc);
    if (rc != ERR_OK) return rc;
    struct redis_pending p = *who;
    p.deadline_ms = loop_clock(c->loop)->mono_ms + c->timeout_ms;
    if (!redis_ring_push(&c->pending, &p)) {
        c->out.len = len;
        return ERR_NOMEM;
    }
    if (!timerq_pending(&c->deadline)) redis_arm_deadline(c);
    if (loop_is_ending_turn(c->loop)) loop_kick(c->loop);
    return ERR_OK;
}

void redis_refuse(struct redis_conn *c, redis_reply_fn *on_reply, void *arg, enum err_code code)
{
    struct redis_pending p = {.on_reply = on_reply, .arg = arg, .code = code};
    if (!on_reply) return;
    if (!redis_ring_push(&c->refused, &p)) { /* no memory even for saying no: say it here */
        struct err e;
        err_set(&e, ERR_NOMEM, "redis %s: no memory", c->name);
        on_reply(arg, NULL, &e);
    }
    if (loop_is_ending_turn(c->loop)) loop_kick(c->loop);
}

static void redis_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *on_reply,
                       void *arg)
{
    struct redis_conn *c = self;
    assert(argc > 0 && !c->sub);
    enum err_code rc = ERR_UNAVAILABLE;
    if (c->state == REDIS_UP)
        rc = redis_send(c, argv, argc, &(struct redis_pending){.on_reply = on_reply, .arg = arg});
    if (rc != ERR_OK) redis_refuse(c, on_reply, arg, rc);
}

static const char *redis_refusal_text(enum err_code code)
{
    if (code == ERR_FULL) return "too many commands in flight";
    if (code == ERR_TOO_LARGE) return "command too large";
    if (code == ERR_NOMEM) return "no memory";
    if (code == ERR_CLOSED) return "closed";
    return "not connected";
}

static void redis_answer_refused(struct redis_conn *c)
{
    for (size_t n = c->refused.count; n > 0 && !c->is_freed; n--) {
        struct redis_pending p = redis_ring_pop(&c->refused);
        struct err e;
        err_set(&e, p.code, "redis %s: %s", c->name, redis_refusal_text(p.code));
        p.on_reply(p.arg, NULL, &e);
    }
}

static void redis_write_out(struct redis_conn *c)
{
    struct err e;
    while (c->out_sent < c->out.len) {
        ssize_t n = write(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent);
        if (n > 0) {
            c->out_sent += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            c->is_out_blocked = true;
            loop_watch_set(c->watch, LOOP_READ | LOOP_WRITE);
            return;
        } else {
            err_set(&e, ERR_UNAVAILABLE, "write: %s", strerror(errno));
            redis_break(c, &e);
            return;
        }
    }
    c->out_sent = 0;
    buf_reset(&c->out);
    if (c->out.cap > REDIS_OUT_KEEP) {
        buf_fini(&c->out);
        buf_init(&c->out, c->output_max);
    }
}

static void redis_end_turn(void *arg)
{
    struct redis_conn *c = arg;
    redis_enter(c);
    if (c->refused.count > 0) redis_answer_refused(c);
    if (c->sub && c->state == REDIS_UP) redis_sub_pump(c);
    if (c->out.len > 0 && !c->is_out_blocked && c->fd >= 0 && c->state >= REDIS_GREETING)
        redis_write_out(c);
    redis_leave(c);
}

/* --- receiving ---------------------------------------------------------------------------- */

static void redis_deadline(void *arg)
{
    struct redis_conn *c = arg;
    int64_t now = loop_clock(c->loop)->mono_ms;
    struct err e;
    redis_enter(c);
    err_set(&e, ERR_TIMEOUT, "redis %s: no answer in %lld ms", c->name, (long long)c->timeout_ms);
    while (c->expired < c->pending.count) {
        struct redis_pending *p = redis_ring_at(&c->pending, c->expired);
        if (p->deadline_ms > now) break;
        redis_reply_fn *on_reply = p->on_reply;
        p->on_reply = NULL;
        c->expired++;
        if (on_reply) on_reply(p->arg, NULL, &e); /* may move the ring: p is dead now */
    }
    if (!c->is_freed && c->pending.count > 0) {
        int64_t sent = redis_ring_at(&c->pending, 0)->deadline_ms - c->timeout_ms;
        int64_t quiet_since = sent > c->heard_ms ? sent : c->heard_ms;
        if (now - quiet_since >= 2 * c->timeout_ms)
            redis_break(c, &e);
        else
            redis_arm_deadline(c);
    }
    redis_leave(c);
}

static void redis_take_reply(struct redis_conn *c, const struct reply *r)
{
    struct err e;
    if (c->sub && redis_sub_take(c, r)) return;
    if (c->pending.count == 0) {
        err_set(&e, ERR_PROTOCOL, "a reply nobody asked for");
        redis_break(c, &e);
        return;
    }
    struct redis_pending p = redis_ring_pop(&c->pending);
    if (c->expired > 0) c->expired--;
    if (p.on_reply) p.on_reply(p.arg, r, NULL);
}

/* False: the connection is gone. */
static bool redis_take_bytes(struct redis_conn *c, const char *bytes, size_t len)
{
    struct err e;
    const struct reply *r = NULL;
    for (size_t at = 0; at < len; at += REDIS_FEED_BYTES) {
        size_t n = len - at < REDIS_FEED_BYTES ? len - at : REDIS_FEED_BYTES;
        enum redis_next next = REDIS_NEXT_BROKEN;
        if (!redis_replies_feed(c->replies, bytes + at, n)) {
            err_set(&e, ERR_TOO_LARGE, "reply too large");
        } else {
            while ((next = redis_replies_next(c->replies, &r, &e)) == REDIS_NEXT_ONE) {
                redis_take_reply(c, r);
                if (c->is_freed || c->fd < 0) return false;
            }
        }
        if (next == REDIS_NEXT_BROKEN) {
            redis_break(c, &e);
            return false;
        }
    }
    return true;
}

static void redis_read_in(struct redis_conn *c)
{
    for (int i = 0; i < REDIS_READS_TURN_MAX; i++) {
        ssize_t n = read(c->fd, c->in, REDIS_READ_BYTES);
        struct err e;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            err_set(&e, ERR_UNAVAILABLE, "%s", n == 0 ? "closed by the server" : strerror(errno));
            redis_break(c, &e);
            return;
        }
        c->heard_ms = loop_clock(c->loop)->mono_ms;
        if (!redis_take_bytes(c, c->in, (size_t)n)) return;
        if ((size_t)n < REDIS_READ_BYTES) return; /* the poll will say if there is more */
    }
}

/* --- connecting --------------------------------------------------------------------------- */

static void redis_greeting_failed(struct redis_conn *c, const struct reply *r)
{
    struct err e;
    struct view said = r->kind == REPLY_ERROR ? r->str : VIEW_LIT("an unexpected answer");
    err_set(&e, ERR_DENIED, "greeting: %.*s", (int)(said.len < 100 ? said.len : 100), said.ptr);
    redis_break(c, &e);
}

static void redis_on_greeted(void *arg, const struct reply *r, const struct err *e)
{
    struct redis_conn *c = arg;
    if (e || c->is_freed) return; /* the break is under way */
    if (r->kind != REPLY_STATUS) {
        redis_greeting_failed(c, r);
        return;
    }
    if (!view_eq_str(r->str, "PONG")) return; /* +OK of AUTH or SELECT */
    c->state = REDIS_UP;
    c->backoff_ms = REDIS_BACKOFF_MIN_MS;
    timerq_cancel(loop_timers(c->loop), &c->retry);
    redis_say(c, true, NULL);
    if (c->sub) redis_sub_up(c);
    if (c->on_state) c->on_state(c->state_arg, true);
}

static bool redis_greet(struct redis_conn *c)
{
    struct redis_pending who = {.on_reply = redis_on_greeted, .arg = c};
    struct view auth[3] = {VIEW_LIT("AUTH"), view_of(c->url.user), view_of(c->url.password)};
    char db[16];
    snprintf(db, sizeof db, "%u", c->url.db);
    struct view choose[2] = {VIEW_LIT("SELECT"), view_of(db)};
    struct view ping = VIEW_LIT("PING");
    enum err_code rc = ERR_OK;
    if (!c->url.user[0]) auth[1] = auth[2];
    if (c->url.password[0]) rc = redis_send(c, auth, c->url.user[0] ? 3 : 2, &who);
    if (rc == ERR_OK && c->url.db) rc = redis_send(c, choose, 2, &who);
    if (rc == ERR_OK) rc = redis_send(c, &ping, 1, &who);
    return rc == ERR_OK;
}

static void redis_connected(struct redis_conn *c)
{
    int error = redis_connect_error(c->fd);
    if (error != 0) {
        errno = error;
        redis_connect_next(c);
        return;
    }
    c->state = REDIS_GREETING;
    c->heard_ms = loop_clock(c->loop)->mono_ms;
    loop_watch_set(c->watch, LOOP_READ);
    struct err e;
    err_set(&e, ERR_FULL, "greeting: no room");
    if (!redis_greet(c)) redis_break(c, &e);
}

static void redis_ready(void *arg, int events)
{
    struct redis_conn *c = arg;
    redis_enter(c);
    if (c->state == REDIS_CONNECTING) {
        redis_connected(c);
    } else {
        if (events & LOOP_READ) redis_read_in(c);
        if (!c->is_freed && c->fd >= 0 && c->is_out_blocked && (events & LOOP_WRITE)) {
            c->is_out_blocked = false;
            loop_watch_set(c->watch, LOOP_READ);
            redis_write_out(c);
        }
    }
    redis_leave(c);
}

static void redis_too_slow(void *arg)
{
    struct redis_conn *c = arg;
    struct err e;
    redis_enter(c);
    err_set(&e, ERR_TIMEOUT, "connect: no answer in %d ms", REDIS_CONNECT_MS);
    if (c->state == REDIS_CONNECTING && c->address_next < c->addresses.count) {
        errno = ETIMEDOUT;
        redis_connect_next(c);
    } else {
        redis_break(c, &e);
    }
    redis_leave(c);
}

/* Tries the next address; errno says how the one before ended. */
static void redis_connect_next(struct redis_conn *c)
{
    redis_close_socket(c);
    while (c->address_next < c->addresses.count) {
        c->fd = redis_connect_start(&c->addresses.list[c->address_next++]);
        if (c->fd < 0) continue;
        redis_replies_reset(c->replies);
        c->state = REDIS_CONNECTING;
        c->watch = loop_watch_new(c->loop, c->fd, LOOP_WRITE, redis_ready, c);
        if (c->watch) {
            int64_t late = loop_clock(c->loop)->mono_ms + REDIS_CONNECT_MS;
            timerq_set(loop_timers(c->loop), &c->retry, late, redis_too_slow, c);
            return;
        }
        close(c->fd);
        c->fd = -1;
        errno = ENOMEM;
    }
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "connect: %s", strerror(errno));
    redis_break(c, &e);
}

struct redis_lookup {
    struct redis_conn *conn; /* NULL: freed meanwhile */
    struct redis_url url;
    struct redis_addresses found;
    bool is_found;
};

static void redis_lookup_work(void *arg)
{
    struct redis_lookup *k = arg;
    k->is_found = redis_resolve(&k->url, false, &k->found);
}

static void redis_lookup_done(void *arg)
{
    struct redis_lookup *k = arg;
    struct redis_conn *c = k->conn;
    if (c) {
        c->lookup = NULL;
        c->addresses = k->found;
        c->address_next = 0;
        errno = EHOSTUNREACH;
        redis_enter(c);
        redis_connect_next(c);
        redis_leave(c);
    }
    free(k);
}

static void redis_lookup_start(struct redis_conn *c)
{
    struct err e;
    struct redis_lookup *k = calloc(1, sizeof *k);
    err_set(&e, ERR_NOMEM, "look-up: no memory");
    if (k) {
        k->conn = c;
        k->url = c->url;
        c->state = REDIS_RESOLVING;
        if (loop_offload(c->loop, redis_lookup_work, redis_lookup_done, k, &e) == ERR_OK) {
            c->lookup = k;
            return;
        }
        free(k);
    }
    redis_break(c, &e);
}

static void redis_dial(void *arg)
{
    struct redis_conn *c = arg;
    redis_enter(c);
    c->address_next = 0;
    if (redis_resolve(&c->url, true, &c->addresses))
        redis_connect_next(c);
    else
        redis_lookup_start(c);
    redis_leave(c);
}

/* --- outside ------------------------------------------------------------------------------ */

struct redis_conn *redis_conn_new(struct loop *l, struct log *log, const struct redis_options *o,
                                  struct err *err)
{
    assert(o->timeout_ms > 0 && o->pending_max > 0 && o->output_max > 0);
    struct redis_url url;
    if (redis_url_parse(view_of(o->url), &url, err) != ERR_OK) return NULL;
    struct redis_conn *c = calloc(1, sizeof *c);
    if (c) {
        c->in = malloc(REDIS_READ_BYTES);
        c->replies = redis_replies_new();
    }
    if (!c || !c->in || !c->replies) {
        if (c) redis_destroy(c);
        err_set(err, ERR_NOMEM, "redis %s: no memory", o->name);
        return NULL;
    }
    c->loop = l;
    c->log = log;
    c->url = url;
    snprintf(c->name, sizeof c->name, "%s", o->name);
    c->timeout_ms = o->timeout_ms;
    c->pending_max = o->pending_max;
    c->output_max = o->output_max;
    c->on_state = o->on_state;
    c->state_arg = o->arg;
    c->fd = -1;
    c->backoff_ms = REDIS_BACKOFF_MIN_MS;
    buf_init(&c->out, c->output_max);
    timerq_set(loop_timers(l), &c->retry, loop_clock(l)->mono_ms, redis_dial, c);
    loop_after_turn(l, redis_end_turn, c);
    return c;
}

void redis_conn_free(struct redis_conn *c)
{
    if (!c) return;
    assert(!c->is_freed);
    struct err e;
    err_set(&e, ERR_CLOSED, "redis %s: closed", c->name);
    redis_enter(c);
    c->is_freed = true;
    c->state = REDIS_OFF;
    if (c->lookup) c->lookup->conn = NULL;
    redis_close_socket(c);
    if (c->sub) redis_sub_down(c, ERR_CLOSED);
    timerq_cancel(loop_timers(c->loop), &c->retry);
    loop_after_turn_remove(c->loop, redis_end_turn, c);
    redis_answer_all(c, &c->pending, &e);
    redis_answer_all(c, &c->refused, &e);
    redis_leave(c);
}

static bool redis_is_up(void *self)
{
    const struct redis_conn *c = self;
    return c->state == REDIS_UP;
}

struct redis_port redis_conn_port(struct redis_conn *c)
{
    return (struct redis_port){.self = c, .call = redis_call, .is_up = redis_is_up};
}
