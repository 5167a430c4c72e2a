/* The model Redis in C: connections, delays, faults; the commands are in redis_model.lua. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "common/base/arena.h"
#include "tests/sim/model_redis.h"
#include <assert.h>

enum { CONNS_MAX = 64, CHANNELS_MAX = 512, ARGS_MAX = 300 };

struct model_redis {
    struct world *world;
    lua_State *lua;
    bool up;
    uint32_t restarts;
    int64_t clock_offset_ms;
    struct model_conn *conns[CONNS_MAX];
    struct arena *asked;
};

struct model_conn {
    struct model_redis *server;
    struct proc *proc;
    int64_t free_at_ms; /* earliest delivery of the next answer: order */
    int64_t arrive_ms;  /* earliest arrival of the next command: order */
    uint32_t link_life; /* rises with every cut */
    char *channels[CHANNELS_MAX];
    redis_message_fn *on_message;
    void (*on_reset)(void *arg);
    void *listen_arg;
    size_t refs; /* of commands on their way */
    bool gone;
};

struct command {
    struct model_conn *conn;
    uint32_t link_life;
    char *argv[ARGS_MAX];
    size_t len[ARGS_MAX];
    size_t argc;
    redis_reply_fn *on_reply;
    void *arg;
    struct arena *memory; /* of the answer */
    const struct reply *reply;
    struct err err;
};

static void lua_die(lua_State *L)
{
    fprintf(stderr, "model redis: %s\n", lua_tostring(L, -1));
    abort();
}

struct model_redis *model_redis_new(struct world *w)
{
    struct model_redis *m = calloc(1, sizeof *m);

    assert(m);
    m->world = w;
    m->up = true;
    m->lua = luaL_newstate();
    luaL_openlibs(m->lua);
    if (luaL_dofile(m->lua, "tests/sim/redis_model.lua")) lua_die(m->lua);
    return m;
}

void model_redis_free(struct model_redis *m)
{
    lua_close(m->lua);
    arena_free(m->asked);
    free(m);
}

static void model_call(struct model_redis *m, const char *name, int args, int results)
{
    lua_State *L = m->lua;

    lua_getglobal(L, "model");
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -1 - args);
    if (lua_pcall(L, args, results, 0)) lua_die(L);
}

static void read_value(lua_State *L, struct arena *a, struct reply *ret);

static void read_table(lua_State *L, struct arena *a, struct reply *ret)
{
    static const struct {
        const char *field;
        enum reply_kind kind;
    } marks[] = {{"ok", REPLY_STATUS}, {"err", REPLY_ERROR}};
    struct reply *items;

    for (size_t i = 0; i < 2; i++) {
        lua_getfield(L, -1, marks[i].field);
        if (lua_isstring(L, -1)) {
            size_t len;
            const char *s = lua_tolstring(L, -1, &len);

            *ret = (struct reply){.kind = marks[i].kind, .str = arena_view(a, view_make(s, len))};
            lua_pop(L, 1);
            return;
        }
        lua_pop(L, 1);
    }
    ret->kind = REPLY_ARRAY;
    ret->count = lua_objlen(L, -1);
    items = arena_alloc(a, (ret->count + 1) * sizeof *items);
    assert(items);
    ret->items = items;
    for (size_t i = 0; i < ret->count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        read_value(L, a, &items[i]);
        lua_pop(L, 1);
    }
}

static void read_value(lua_State *L, struct arena *a, struct reply *ret)
{
    size_t len;
    const char *s;

    *ret = (struct reply){.kind = REPLY_NIL};
    switch (lua_type(L, -1)) {
    case LUA_TNUMBER:
        *ret = (struct reply){.kind = REPLY_INT, .num = (int64_t)lua_tonumber(L, -1)};
        break;
    case LUA_TSTRING:
        s = lua_tolstring(L, -1, &len);
        *ret = (struct reply){.kind = REPLY_STR, .str = arena_view(a, view_make(s, len))};
        break;
    case LUA_TTABLE:
        read_table(L, a, ret);
        break;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, -1)) *ret = (struct reply){.kind = REPLY_INT, .num = 1};
        break;
    default:
        break;
    }
}

static const struct reply *execute(struct model_redis *m, char *const *argv, const size_t *len, size_t argc, struct arena *a)
{
    struct reply *r = arena_alloc(a, sizeof *r);

    assert(r);
    lua_pushnumber(m->lua, (double)(world_wall_ms(m->world) + m->clock_offset_ms));
    model_call(m, "time", 1, 0);
    luaL_checkstack(m->lua, (int)argc + 16, "arguments");
    for (size_t i = 0; i < argc; i++) lua_pushlstring(m->lua, argv[i], len[i]);
    model_call(m, "command", (int)argc, 1);
    read_value(m->lua, a, r);
    lua_pop(m->lua, 1);
    if (r->kind == REPLY_ERROR && view_starts(r->str, "model:")) {
        fprintf(stderr, "%.*s\n", (int)r->str.len, r->str.ptr);
        abort();
    }
    return r;
}

/* --- pub/sub ------------------------------------------------------------------------------------------------------------ */
struct message {
    struct model_conn *conn;
    uint32_t link_life;
    char *channel, *payload;
};

static void conn_unref(struct model_conn *c)
{
    assert(c->refs > 0);
    if (--c->refs > 0 || !c->gone) return;
    for (size_t i = 0; i < CHANNELS_MAX; i++) free(c->channels[i]);
    free(c);
}

static void message_drop(void *arg)
{
    struct message *g = arg;

    conn_unref(g->conn);
    free(g->channel);
    free(g->payload);
    free(g);
}

static bool has_channel(const struct model_conn *c, const char *name)
{
    for (size_t i = 0; i < CHANNELS_MAX; i++)
        if (c->channels[i] && strcmp(c->channels[i], name) == 0) return true;
    return false;
}

static void message_deliver(void *arg)
{
    struct message *g = arg;
    struct model_conn *c = g->conn;

    if (!c->gone && c->on_message && g->link_life == c->link_life && has_channel(c, g->channel))
        c->on_message(c->listen_arg, view_of(g->channel), view_of(g->payload));
    message_drop(g);
}

static int64_t deliver_delay(struct model_conn *c)
{
    int64_t now = world_now_ms(c->server->world);
    int64_t at = now + (int64_t)rng_below(world_rng(c->server->world), 3);

    if (at < c->free_at_ms) at = c->free_at_ms;
    c->free_at_ms = at;
    return at - now;
}

static void publish_one(struct model_redis *m, const char *channel, const char *payload)
{
    for (size_t i = 0; i < CONNS_MAX; i++) {
        struct model_conn *c = m->conns[i];
        struct message *g;

        if (!c || !has_channel(c, channel)) continue;
        g = calloc(1, sizeof *g);
        assert(g);
        *g = (struct message){.conn = c, .link_life = c->link_life, .channel = strdup(channel), .payload = strdup(payload)};
        c->refs++;
        proc_post(c->proc, deliver_delay(c), message_deliver, message_drop, g);
    }
}

static void publish_all(struct model_redis *m)
{
    lua_State *L = m->lua;

    model_call(m, "take_published", 0, 1);
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        publish_one(m, lua_tostring(L, -2), lua_tostring(L, -1));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
}

/* --- commands ----------------------------------------------------------------------------------------------------------- */
static void command_drop(void *arg)
{
    struct command *k = arg;

    for (size_t i = 0; i < k->argc; i++) free(k->argv[i]);
    arena_free(k->memory);
    conn_unref(k->conn);
    free(k);
}

static void command_answer(void *arg)
{
    struct command *k = arg;

    if (!k->conn->gone) {
        bool cut = k->link_life != k->conn->link_life || !k->reply;

        if (cut && k->err.code == ERR_OK) (void)err_set(&k->err, ERR_UNAVAILABLE, "redis: the connection broke");
        k->on_reply(k->arg, cut ? NULL : k->reply, cut ? &k->err : NULL);
    }
    command_drop(k);
}

static void command_arrive(void *arg)
{
    struct command *k = arg;
    struct model_conn *c = k->conn;

    if (c->server->up && k->link_life == c->link_life) {
        k->memory = arena_new(64 << 20);
        k->reply = execute(c->server, k->argv, k->len, k->argc, k->memory);
        publish_all(c->server);
    }
    proc_post(c->proc, deliver_delay(c), command_answer, command_drop, k);
}

static void port_call(void *self, const struct view *argv, size_t argc, redis_reply_fn *on_reply, void *arg)
{
    struct model_conn *c = self;
    struct command *k = calloc(1, sizeof *k);
    int64_t now = world_now_ms(c->server->world), at = now + (int64_t)rng_below(world_rng(c->server->world), 2);

    assert(k && argc > 0 && argc <= ARGS_MAX && !c->gone);
    *k = (struct command){.conn = c, .link_life = c->link_life, .argc = argc, .on_reply = on_reply, .arg = arg};
    for (size_t i = 0; i < argc; i++) {
        k->argv[i] = view_dup(argv[i].ptr ? argv[i] : VIEW_LIT(""));
        k->len[i] = argv[i].len;
    }
    if (at < c->arrive_ms) at = c->arrive_ms;
    c->arrive_ms = at;
    c->refs++;
    world_after(c->server->world, at - now, command_arrive, command_drop, k);
}

static bool port_is_up(void *self)
{
    const struct model_conn *c = self;

    return c->server->up;
}

struct subscribe {
    struct model_conn *conn;
    redis_reply_fn *on_ready;
    void *arg;
    char *channel;
    uint32_t link_life;
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
    struct err e = {.code = ERR_UNAVAILABLE, .text = "redis: the connection broke"};
    bool fine = s->link_life == s->conn->link_life && s->conn->server->up;

    if (!s->conn->gone && s->on_ready) s->on_ready(s->arg, fine ? &ok : NULL, fine ? NULL : &e);
    subscribe_drop(s);
}

static void port_subscribe(void *self, struct view channel, redis_reply_fn *on_ready, void *arg)
{
    struct model_conn *c = self;
    struct subscribe *s = calloc(1, sizeof *s);
    size_t i = 0;

    assert(s);
    *s = (struct subscribe){.conn = c, .on_ready = on_ready, .arg = arg, .channel = view_dup(channel), .link_life = c->link_life};
    while (i < CHANNELS_MAX && c->channels[i]) i++;
    assert(i < CHANNELS_MAX);
    c->channels[i] = view_dup(channel);
    c->refs++;
    proc_post(c->proc, deliver_delay(c), subscribe_answer, subscribe_drop, s);
}

static void port_unsubscribe(void *self, struct view channel)
{
    struct model_conn *c = self;

    for (size_t i = 0; i < CHANNELS_MAX; i++)
        if (c->channels[i] && view_eq_str(channel, c->channels[i])) {
            free(c->channels[i]);
            c->channels[i] = NULL;
            return;
        }
}

static void port_listen(void *self, redis_message_fn *on_message, void (*on_reset)(void *arg), void *arg)
{
    struct model_conn *c = self;

    c->on_message = on_message;
    c->on_reset = on_reset;
    c->listen_arg = arg;
}

struct model_conn *model_conn_new(struct model_redis *m, struct proc *p)
{
    struct model_conn *c = calloc(1, sizeof *c);
    size_t i = 0;

    assert(c);
    *c = (struct model_conn){.server = m, .proc = p, .refs = 1};
    while (i < CONNS_MAX && m->conns[i]) i++;
    assert(i < CONNS_MAX);
    m->conns[i] = c;
    return c;
}

void model_conn_free(struct model_conn *c)
{
    if (!c) return;
    for (size_t i = 0; i < CONNS_MAX; i++)
        if (c->server->conns[i] == c) c->server->conns[i] = NULL;
    c->gone = true;
    conn_unref(c);
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
void model_redis_down(struct model_redis *m)
{
    m->up = false;
    for (size_t i = 0; i < CONNS_MAX; i++)
        if (m->conns[i]) m->conns[i]->link_life++;
}

static void reset_answer(void *arg)
{
    struct model_conn *c = arg;

    if (!c->gone && c->on_reset) c->on_reset(c->listen_arg);
    conn_unref(c);
}

static void reset_drop(void *arg)
{
    conn_unref(arg);
}

void model_redis_up(struct model_redis *m, bool lose_tail)
{
    char id[32];

    m->up = true;
    snprintf(id, sizeof id, "run-%u", ++m->restarts);
    lua_pushstring(m->lua, id);
    lua_pushboolean(m->lua, lose_tail);
    model_call(m, "restart", 2, 0);
    for (size_t i = 0; i < CONNS_MAX; i++) {
        struct model_conn *c = m->conns[i];

        if (!c || !c->on_reset) continue;
        c->refs++;
        proc_post(c->proc, deliver_delay(c), reset_answer, reset_drop, c);
    }
}

void model_redis_flush(struct model_redis *m)
{
    static const char *const argv[] = {"FLUSHALL"};

    (void)model_redis_ask(m, argv, 1);
}

void model_redis_save(struct model_redis *m)
{
    model_call(m, "save", 0, 0);
}

void model_redis_step_clock(struct model_redis *m, int64_t by_ms)
{
    m->clock_offset_ms += by_ms;
}

bool model_redis_is_up(const struct model_redis *m)
{
    return m->up;
}

const struct reply *model_redis_ask(struct model_redis *m, const char *const *argv, size_t argc)
{
    char *copy[8];
    size_t len[8];

    assert(argc <= 8);
    for (size_t i = 0; i < argc; i++) {
        copy[i] = (char *)(uintptr_t)argv[i];
        len[i] = strlen(argv[i]);
    }
    arena_free(m->asked);
    m->asked = arena_new(64 << 20);
    return execute(m, copy, len, argc, m->asked);
}
