/* The model Redis in C: connections, delays, faults; the commands are in redis_model.lua.
 *
 * A command travels to the server as an envelope of the world, its answer as an envelope of the process. Both ways keep their
 * order by never arriving before the one sent last. A link has a life number that rises with every break: what was sent in an
 * earlier life finds the other side gone. */
#include "tests/sim/model_redis_priv.h" /* first: Lua uses what we ban */

#include "common/base/map.h"
#include <assert.h>

enum { CHANNELS_MAX = 2000, ARGS_MAX = 400, TIMEOUT_MS = 5000, DIAL_MIN_MS = 10, DIAL_MS = 60 };

struct model_conn {
    struct model_redis *server;
    struct proc *proc;
    int64_t free_at_ms; /* earliest delivery of the next answer: order */
    int64_t arrive_ms;  /* earliest arrival of the next command: order */
    int64_t slow_ms;
    uint32_t life;      /* rises with every break */
    bool is_linked, is_cut;
    bool is_tail_lost;  /* of what left before the break, nothing is read behind the first that was not */
    struct map *channels; /* name -> subscription */
    redis_message_fn *on_message;
    void (*on_reset)(void *arg);
    void *listen_arg;
    struct list pending; /* commands without an answer */
    size_t refs; /* of commands on their way */
    bool is_gone;
};

struct command {
    struct list_link link;    /* in server->waiting */
    struct list_link pending; /* in conn->pending */
    struct model_conn *conn;
    uint32_t life;
    char *argv[ARGS_MAX];
    size_t len[ARGS_MAX];
    size_t argc;
    redis_reply_fn *on_reply;
    void *arg;
    int64_t sent_ms;
    bool is_answered;
    struct arena *memory; /* of the answer */
    const struct reply *reply;
    size_t refs;
};

/* --- links -------------------------------------------------------------------------------------------------------------- */
static int64_t now_of(const struct model_conn *c)
{
    return world_now_ms(c->server->world);
}

static uint64_t chance(const struct model_conn *c, uint64_t below)
{
    return rng_below(world_rng(c->server->world), below);
}

static void conn_unref(struct model_conn *c)
{
    size_t cursor = 0;
    struct view key;
    void *value;

    assert(c->refs > 0);
    if (--c->refs > 0 || !c->is_gone) return;
    while (map_each(c->channels, &cursor, &key, &value)) free(value);
    map_free(c->channels);
    free(c);
}

static void conn_drop(void *arg)
{
    conn_unref(arg);
}

static int64_t deliver_delay(struct model_conn *c)
{
    int64_t at = now_of(c) + (int64_t)chance(c, 3);

    if (at < c->free_at_ms) at = c->free_at_ms;
    c->free_at_ms = at;
    return at - now_of(c);
}

static int64_t arrive_delay(struct model_conn *c)
{
    int64_t at = now_of(c) + c->slow_ms + (int64_t)chance(c, 2);

    if (at < c->arrive_ms) at = c->arrive_ms;
    c->arrive_ms = at;
    return at - now_of(c);
}

struct subscription {
    bool is_on; /* the server knows of it */
};

/* The client has connected again, and its channels are subscribed. */
static void conn_linked(void *arg)
{
    struct model_conn *c = arg;
    size_t cursor = 0;
    struct view key;
    void *value;

    if (!c->is_gone && !c->is_linked && !c->is_cut && c->server->is_up) {
        c->is_linked = true;
        while (map_each(c->channels, &cursor, &key, &value)) ((struct subscription *)value)->is_on = true;
        if (c->on_reset) c->on_reset(c->listen_arg);
    }
    conn_unref(c);
}

static void conn_dial(struct model_conn *c)
{
    c->refs++;
    proc_post(c->proc, DIAL_MIN_MS + (int64_t)chance(c, DIAL_MS), conn_linked, conn_drop, c);
}

static void conn_break(struct model_conn *c)
{
    size_t cursor = 0;
    struct view key;
    void *value;

    c->life++;
    c->is_linked = c->is_tail_lost = false;
    while (map_each(c->channels, &cursor, &key, &value)) ((struct subscription *)value)->is_on = false;
}

struct model_conn *model_conn_new(struct model_redis *m, struct proc *p)
{
    struct model_conn *c = calloc(1, sizeof *c);
    size_t i = 0;

    assert(c);
    *c = (struct model_conn){.server = m, .proc = p, .is_linked = m->is_up, .refs = 1};
    list_init(&c->pending);
    c->channels = map_new(CHANNELS_MAX);
    while (i < MODEL_CONNS_MAX && m->conns[i]) i++;
    assert(c->channels && i < MODEL_CONNS_MAX);
    m->conns[i] = c;
    return c;
}

/* --- pub/sub ------------------------------------------------------------------------------------------------------------ */
struct message {
    struct model_conn *conn;
    uint32_t life;
    char *channel, *payload;
};

static void message_drop(void *arg)
{
    struct message *g = arg;

    conn_unref(g->conn);
    free(g->channel);
    free(g->payload);
    free(g);
}

static void message_deliver(void *arg)
{
    struct message *g = arg;
    struct model_conn *c = g->conn;

    if (!c->is_gone && c->on_message && g->life == c->life && map_get(c->channels, view_of(g->channel)))
        c->on_message(c->listen_arg, view_of(g->channel), view_of(g->payload));
    message_drop(g);
}

static void publish_one(struct model_redis *m, const char *channel, const char *payload)
{
    for (size_t i = 0; i < MODEL_CONNS_MAX; i++) {
        struct model_conn *c = m->conns[i];
        const struct subscription *s = c && c->is_linked ? map_get(c->channels, view_of(channel)) : NULL;
        struct message *g;

        if (!s || !s->is_on) continue;
        g = calloc(1, sizeof *g);
        assert(g);
        *g = (struct message){.conn = c, .life = c->life, .channel = strdup(channel), .payload = strdup(payload)};
        c->refs++;
        proc_post(c->proc, deliver_delay(c), message_deliver, message_drop, g);
    }
}

static void publish_all(struct model_redis *m)
{
    lua_State *L = m->lua;

    model_redis_lua(m, "take_published", 0, 1);
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        publish_one(m, lua_tostring(L, -2), lua_tostring(L, -1));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
}

struct subscribe {
    struct model_conn *conn;
    redis_reply_fn *on_ready;
    void *arg;
    char *channel;
    uint32_t life;
};

static void subscribe_drop(void *arg)
{
    struct subscribe *s = arg;

    conn_unref(s->conn);
    free(s->channel);
    free(s);
}

static void subscribe_answer(void *arg)
{
    struct subscribe *s = arg;
    const struct reply ok = {.kind = REPLY_STATUS, .str = VIEW_LIT("OK")};
    const struct err e = {.code = ERR_UNAVAILABLE, .text = "redis: the connection broke"};
    struct subscription *entry = map_get(s->conn->channels, view_of(s->channel));
    /* A link made anew meanwhile has subscribed it; the failure of the old one was told before that was. */
    bool is_fine = s->conn->is_linked && entry && entry->is_on;

    if (!s->conn->is_gone && s->on_ready) s->on_ready(s->arg, is_fine ? &ok : NULL, is_fine ? NULL : &e);
    subscribe_drop(s);
}

static void subscribe_arrive(void *arg)
{
    struct subscribe *s = arg;
    struct model_conn *c = s->conn;
    struct subscription *entry = map_get(c->channels, view_of(s->channel));

    if (entry && c->is_linked && s->life == c->life) entry->is_on = true;
    proc_post(c->proc, deliver_delay(c), subscribe_answer, subscribe_drop, s);
}

static void port_subscribe(void *self, struct view channel, redis_reply_fn *on_ready, void *arg)
{
    struct model_conn *c = self;
    struct subscribe *s = calloc(1, sizeof *s);
    struct subscription *entry = map_get(c->channels, channel);

    if (!entry) entry = calloc(1, sizeof *entry);
    assert(s && entry);
    must(map_put(c->channels, channel, entry));
    *s = (struct subscribe){.conn = c, .on_ready = on_ready, .arg = arg, .channel = view_dup(channel), .life = c->life};
    c->refs++;
    world_after(c->server->world, arrive_delay(c), subscribe_arrive, subscribe_drop, s);
}

static void port_unsubscribe(void *self, struct view channel)
{
    struct model_conn *c = self;

    free(map_remove(c->channels, channel));
}

static void port_listen(void *self, redis_message_fn *on_message, void (*on_reset)(void *arg), void *arg)
{
    struct model_conn *c = self;

    c->on_message = on_message;
    c->on_reset = on_reset;
    c->listen_arg = arg;
}

/* --- commands ----------------------------------------------------------------------------------------------------------- */
static void command_drop(void *arg)
{
    struct command *k = arg;

    if (--k->refs > 0) return;
    if (!k->is_answered) list_remove(&k->conn->pending, &k->pending);
    for (size_t i = 0; i < k->argc; i++) free(k->argv[i]);
    arena_free(k->memory);
    conn_unref(k->conn);
    free(k);
}

static void command_tell(struct command *k, const struct reply *r, enum err_code code, const char *text)
{
    struct err e = {.code = code};

    if (k->is_answered) return;
    k->is_answered = true;
    list_remove(&k->conn->pending, &k->pending);
    snprintf(e.text, sizeof e.text, "%s", text);
    k->on_reply(k->arg, r, r ? NULL : &e);
}

static void command_answer(void *arg)
{
    struct command *k = arg;
    bool is_cut = k->life != k->conn->life || !k->reply;
    bool is_late = now_of(k->conn) - k->sent_ms > TIMEOUT_MS; /* a process that slept looks at its clock first, perhaps */

    if (is_cut)
        command_tell(k, NULL, ERR_UNAVAILABLE, "redis: the connection broke");
    else if (is_late && chance(k->conn, 3) == 0)
        command_tell(k, NULL, ERR_TIMEOUT, "redis: no answer in time");
    else
        command_tell(k, k->reply, ERR_OK, "");
    command_drop(k);
}

static void command_late(void *arg)
{
    struct command *k = arg;

    command_tell(k, NULL, ERR_TIMEOUT, "redis: no answer in time");
    command_drop(k);
}

static void command_arrive(void *arg)
{
    struct command *k = arg;
    struct model_conn *c = k->conn;
    struct model_redis *m = c->server;
    bool is_read = m->is_up && c->is_linked && k->life == c->life;

    if (m->is_up && k->life != c->life) { /* what left before the break may still be read */
        is_read = !c->is_tail_lost && chance(c, 2) == 0;
        c->is_tail_lost = !is_read;
    }
    if (is_read && m->is_paused) {
        list_push(&m->waiting, &k->link);
        return;
    }
    if (is_read) {
        k->memory = arena_new(MODEL_ARENA_MAX);
        k->reply = model_redis_execute(m, k->argv, k->len, k->argc, k->memory);
        publish_all(m);
    }
    proc_post(c->proc, deliver_delay(c), command_answer, command_drop, k);
}

static void port_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *on_reply, void *arg)
{
    struct model_conn *c = self;
    struct command *k = malloc(sizeof *k);

    assert(k && argc > 0 && argc <= ARGS_MAX && !c->is_gone);
    memset(&k->link, 0, sizeof k->link);
    memset(&k->pending, 0, sizeof k->pending);
    list_push(&c->pending, &k->pending);
    k->conn = c;
    k->life = c->life;
    k->argc = argc;
    k->on_reply = on_reply;
    k->arg = arg;
    k->sent_ms = now_of(c);
    k->is_answered = false;
    k->memory = NULL;
    k->reply = NULL;
    k->refs = 1;
    for (size_t i = 0; i < argc; i++) {
        k->argv[i] = view_dup(argv[i].ptr ? argv[i] : VIEW_LIT(""));
        k->len[i] = argv[i].len;
        world_mix(c->server->world, k->argv[i], k->len[i]);
    }
    c->refs++;
    world_after(c->server->world, arrive_delay(c), command_arrive, command_drop, k);
}

/* As io/redis does: whoever still waits is told. */
void model_conn_free(struct model_conn *c)
{
    struct list_link *k;

    if (!c) return;
    for (size_t i = 0; i < MODEL_CONNS_MAX; i++)
        if (c->server->conns[i] == c) c->server->conns[i] = NULL;
    conn_break(c);
    while ((k = list_first(&c->pending)) != NULL)
        command_tell(LIST_ITEM(k, struct command, pending), NULL, ERR_CLOSED, "redis: closed");
    c->is_gone = true;
    conn_unref(c);
}

static bool port_is_up(void *self)
{
    const struct model_conn *c = self;

    return c->is_linked;
}

struct redis_port model_conn_port(struct model_conn *c)
{
    return (struct redis_port){.self = c, .call = port_call, .is_up = port_is_up};
}

struct redis_sub_port model_conn_sub_port(struct model_conn *c)
{
    return (struct redis_sub_port){
        .self = c, .subscribe = port_subscribe, .unsubscribe = port_unsubscribe, .listen = port_listen};
}

/* --- faults --------------------------------------------------------------------------------------------------------------- */
static void waiting_out(struct model_redis *m, sim_fn *fn)
{
    struct list_link *k;

    while ((k = list_first(&m->waiting)) != NULL) {
        list_remove(&m->waiting, k);
        fn(LIST_ITEM(k, struct command, link));
    }
}

struct model_redis *model_redis_new(struct world *w)
{
    struct model_redis *m = calloc(1, sizeof *m);

    assert(m);
    m->world = w;
    m->is_up = true;
    list_init(&m->waiting);
    m->lua = model_redis_lua_new();
    return m;
}

void model_redis_free(struct model_redis *m)
{
    waiting_out(m, command_drop);
    lua_close(m->lua);
    arena_free(m->asked);
    free(m);
}

void model_redis_down(struct model_redis *m)
{
    m->is_up = m->is_paused = false;
    for (size_t i = 0; i < MODEL_CONNS_MAX; i++)
        if (m->conns[i]) conn_break(m->conns[i]);
    waiting_out(m, command_arrive);
}

void model_redis_up(struct model_redis *m, bool lose_tail)
{
    char id[32];

    m->is_up = true;
    snprintf(id, sizeof id, "run-%u", ++m->restarts);
    lua_pushstring(m->lua, id);
    lua_pushboolean(m->lua, lose_tail);
    model_redis_lua(m, "restart", 2, 0);
    for (size_t i = 0; i < MODEL_CONNS_MAX; i++)
        if (m->conns[i] && !m->conns[i]->is_cut) conn_dial(m->conns[i]);
}

static void look_for_late(void *arg)
{
    struct model_redis *m = arg;

    for (struct list_link *l = list_first(&m->waiting); l; l = list_next(&m->waiting, l)) {
        struct command *k = LIST_ITEM(l, struct command, link);

        if (k->is_answered || k->refs > 1 || now_of(k->conn) - k->sent_ms <= TIMEOUT_MS) continue;
        k->refs++;
        proc_post(k->conn->proc, deliver_delay(k->conn), command_late, command_drop, k);
    }
    if (m->is_paused) world_after(m->world, 100, look_for_late, NULL, m);
}

void model_redis_pause(struct model_redis *m)
{
    if (!m->is_up || m->is_paused) return;
    m->is_paused = true;
    world_after(m->world, 100, look_for_late, NULL, m);
}

void model_redis_resume(struct model_redis *m)
{
    m->is_paused = false;
    waiting_out(m, command_arrive);
}

void model_conn_cut(struct model_conn *c)
{
    c->is_cut = true;
    conn_break(c);
}

void model_conn_slow(struct model_conn *c, int64_t by_ms)
{
    c->slow_ms = by_ms;
}

void model_conn_mend(struct model_conn *c)
{
    c->is_cut = false;
    if (c->server->is_up) conn_dial(c);
}

void model_redis_flush(struct model_redis *m)
{
    static const char *const argv[] = {"FLUSHALL"};

    (void)model_redis_ask(m, argv, 1);
}

void model_redis_step_clock(struct model_redis *m, int64_t by_ms)
{
    m->clock_offset_ms += by_ms;
}

bool model_redis_is_up(const struct model_redis *m)
{
    return m->is_up && !m->is_paused;
}

