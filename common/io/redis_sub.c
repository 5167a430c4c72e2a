/* Subscriptions on a connection of their own.
 *
 * What is hard: a subscriber connection speaks two languages at once. Confirmations come in the
 * order of the commands, messages come whenever they like; so SUBSCRIBE, UNSUBSCRIBE and PING use
 * the same ring as ordinary commands, and only "message" is taken out before the ring. One command
 * carries one channel: one ring place, one confirmation.
 *
 * A channel is in `unsent` (wanted; SUBSCRIBE still to go) or `sent`; one that was left is in
 * `leaving` until its UNSUBSCRIBE went. The pump at the end of a turn empties `leaving` first, then
 * `unsent`, as far as the ring has room: 9,000 channels after a reconnect go in pages by
 * themselves. When the connection breaks all wanted channels go back to `unsent` as "again"; when
 * the last of these is confirmed on_reset is called: who listens reads what it missed.
 *
 * PING every few seconds: a doorbell that never rings looks just like a dead connection. */
#include "common/io/redis_priv.h"
#include <assert.h>

enum { SUB_CHANNELS_MAX = 1 << 18, SUB_PING_MS = 5000 };

struct redis_channel {
    struct list_link link;
    redis_reply_fn *on_ready; /* until it was sent or refused */
    void *arg;
    bool is_again;
    bool is_sent;
    size_t len;
    char name[];
};

struct redis_sub {
    struct map *channels;
    struct list unsent, sent, leaving;
    redis_message_fn *on_message;
    void (*on_reset)(void *arg);
    void *arg;
    struct timer ping;
    size_t again_left; /* resubscriptions not yet confirmed */
    bool is_resetting;
    bool was_up;
};

static struct redis_channel *sub_channel(struct list_link *k)
{
    return LIST_ITEM(k, struct redis_channel, link);
}

static struct view sub_name(const struct redis_channel *ch)
{
    return view_make(ch->name, ch->len);
}

static void sub_wake(struct redis_conn *c)
{
    if (loop_is_ending_turn(c->loop)) loop_kick(c->loop);
}

static void sub_subscribe(void *self, struct view channel, redis_reply_fn *on_ready, void *arg)
{
    struct redis_conn *c = self;
    struct redis_sub *s = c->sub;
    assert(channel.len > 0 &&
           !map_get(s->channels, channel)); /* counting users of a channel is the caller's */
    struct redis_channel *ch = c->is_freed ? NULL : malloc(sizeof *ch + channel.len);
    if (!ch || !map_put(s->channels, channel, ch)) {
        free(ch);
        redis_refuse(c, on_ready, arg, c->is_freed ? ERR_CLOSED : ERR_FULL);
        return;
    }
    *ch = (struct redis_channel){.on_ready = on_ready, .arg = arg, .len = channel.len};
    memcpy(ch->name, channel.ptr, channel.len);
    list_push(&s->unsent, &ch->link);
    if (c->state != REDIS_UP) {
        ch->on_ready = NULL;
        ch->is_again = true;
        redis_refuse(c, on_ready, arg, ERR_UNAVAILABLE);
    }
    sub_wake(c);
}

static void sub_unsubscribe(void *self, struct view channel)
{
    struct redis_conn *c = self;
    struct redis_sub *s = c->sub;
    struct redis_channel *ch = map_remove(s->channels, channel);
    if (!ch) return;
    if (ch->is_sent) {
        list_remove(&s->sent, &ch->link);
        list_push(&s->leaving, &ch->link);
        sub_wake(c);
        return;
    }
    list_remove(&s->unsent, &ch->link);
    if (ch->is_again && c->state == REDIS_UP) s->again_left--;
    redis_refuse(c, ch->on_ready, ch->arg, ERR_CLOSED);
    free(ch);
}

static void sub_listen(void *self, redis_message_fn *on_message, void (*on_reset)(void *arg),
                       void *arg)
{
    struct redis_conn *c = self;
    c->sub->on_message = on_message;
    c->sub->on_reset = on_reset;
    c->sub->arg = arg;
}

bool redis_sub_take(struct redis_conn *c, const struct reply *r)
{
    if (r->kind != REPLY_ARRAY || !view_eq_str(reply_str(reply_at(r, 0)), "message")) return false;
    struct redis_sub *s = c->sub;
    if (s->on_message) s->on_message(s->arg, reply_str(reply_at(r, 1)), reply_str(reply_at(r, 2)));
    return true;
}

static void sub_again_confirmed(void *arg, const struct reply *r, const struct err *e)
{
    struct redis_conn *c = arg;
    if (e || !r) return; /* broken: the count starts anew */
    assert(c->sub->again_left > 0);
    c->sub->again_left--;
}

static void sub_ping(void *arg)
{
    struct redis_conn *c = arg;
    struct view ping = VIEW_LIT("PING");
    if (c->state != REDIS_UP) return;
    if (c->pending.count == 0) { /* else an answer is awaited anyway */
        struct redis_pending nobody = {.on_reply = NULL};
        if (redis_send(c, &ping, 1, &nobody) != ERR_OK) return; /* no memory: the next round */
    }
    timerq_set(loop_timers(c->loop), &c->sub->ping, loop_clock(c->loop)->mono_ms + SUB_PING_MS,
               sub_ping, c);
}

void redis_sub_up(struct redis_conn *c)
{
    struct redis_sub *s = c->sub;
    assert(s->sent.count == 0 && s->leaving.count == 0);
    s->again_left = s->unsent.count;
    s->is_resetting = s->was_up || s->again_left > 0;
    s->was_up = true;
    timerq_set(loop_timers(c->loop), &s->ping, loop_clock(c->loop)->mono_ms + SUB_PING_MS, sub_ping,
               c);
}

static void sub_forget(struct list *l)
{
    struct list_link *k;
    while ((k = list_first(l)) != NULL) {
        list_remove(l, k);
        free(sub_channel(k));
    }
}

void redis_sub_down(struct redis_conn *c, enum err_code code)
{
    struct redis_sub *s = c->sub;
    struct list_link *k;
    timerq_cancel(loop_timers(c->loop), &s->ping);
    sub_forget(&s->leaving);
    while ((k = list_first(&s->sent)) != NULL) {
        list_remove(&s->sent, k);
        list_push(&s->unsent, k);
    }
    for (k = list_first(&s->unsent); k; k = list_next(&s->unsent, k)) {
        struct redis_channel *ch = sub_channel(k);
        if (ch->on_ready) redis_refuse(c, ch->on_ready, ch->arg, code);
        ch->on_ready = NULL;
        ch->is_again = true;
        ch->is_sent = false;
    }
    s->is_resetting = false;
    s->again_left = 0;
}

static bool sub_send_channel(struct redis_conn *c, struct redis_channel *ch, const char *verb)
{
    struct redis_pending who = {.on_reply = NULL};
    struct view argv[2] = {view_of(verb), sub_name(ch)};
    if (!ch->is_sent && ch->is_again)
        who = (struct redis_pending){.on_reply = sub_again_confirmed, .arg = c};
    else if (!ch->is_sent)
        who = (struct redis_pending){.on_reply = ch->on_ready, .arg = ch->arg};
    return redis_send(c, argv, 2, &who) == ERR_OK;
}

void redis_sub_pump(struct redis_conn *c)
{
    struct redis_sub *s = c->sub;
    struct list_link *k;
    while ((k = list_first(&s->leaving)) != NULL &&
           sub_send_channel(c, sub_channel(k), "UNSUBSCRIBE")) {
        list_remove(&s->leaving, k);
        free(sub_channel(k));
    }
    if (s->leaving.count > 0) return; /* no room; order matters */
    while ((k = list_first(&s->unsent)) != NULL &&
           sub_send_channel(c, sub_channel(k), "SUBSCRIBE")) {
        struct redis_channel *ch = sub_channel(k);
        list_remove(&s->unsent, k);
        list_push(&s->sent, k);
        ch->is_sent = true;
        ch->on_ready = NULL;
    }
    if (s->is_resetting && s->again_left == 0) {
        s->is_resetting = false;
        if (s->on_reset) s->on_reset(s->arg);
    }
}

void redis_sub_free(struct redis_conn *c)
{
    struct redis_sub *s = c->sub;
    if (!s) return;
    sub_forget(&s->unsent);
    sub_forget(&s->sent);
    sub_forget(&s->leaving);
    map_free(s->channels);
    free(s);
    c->sub = NULL;
}

struct redis_sub_port redis_conn_sub_port(struct redis_conn *c)
{
    struct redis_sub_port port = {.self = c};
    port.subscribe = sub_subscribe;
    port.unsubscribe = sub_unsubscribe;
    port.listen = sub_listen;
    if (c->sub) return port;
    assert(c->pending.count == 0 && c->state == REDIS_OFF); /* before the loop runs */
    struct redis_sub *s = calloc(1, sizeof *s);
    if (s) s->channels = map_new(SUB_CHANNELS_MAX);
    if (!s || !s->channels) {
        free(s);
        return (struct redis_sub_port){.self = NULL};
    }
    list_init(&s->unsent);
    list_init(&s->sent);
    list_init(&s->leaving);
    c->sub = s;
    return port;
}
