/* The commands of the model Redis are Lua, like the functions that call them: here C and Lua meet. */
#include "tests/sim/model_redis_priv.h"

#include <assert.h>

static void lua_die(lua_State *L)
{
    fprintf(stderr, "model redis: %s\n", lua_tostring(L, -1));
    abort();
}

lua_State *model_redis_lua_new(void)
{
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    if (luaL_dofile(L, "tests/sim/redis_model.lua")) lua_die(L);
    return L;
}

void model_redis_lua(struct model_redis *m, const char *name, int args, int results)
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

    ret->count = lua_objlen(L, -1);
    for (size_t i = 0; ret->count == 0 && i < 2; i++) {
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

const struct reply *model_redis_execute(struct model_redis *m, char *const *argv, const size_t *len, size_t argc, struct arena *a)
{
    struct reply *r = arena_alloc(a, sizeof *r);

    assert(r);
    luaL_checkstack(m->lua, (int)argc + 16, "arguments");
    lua_pushnumber(m->lua, (double)(world_wall_ms(m->world) + m->clock_offset_ms));
    for (size_t i = 0; i < argc; i++) lua_pushlstring(m->lua, argv[i], len[i]);
    model_redis_lua(m, "command", (int)argc + 1, 1);
    read_value(m->lua, a, r);
    lua_pop(m->lua, 1);
    if (r->kind == REPLY_ERROR && view_starts(r->str, "model:")) {
        fprintf(stderr, "%.*s\n", (int)r->str.len, r->str.ptr);
        abort();
    }
    return r;
}

/* --- for faults and checkers ------------------------------------------------------------------------------------------------ */
void model_redis_refuse(struct model_redis *m, bool on)
{
    lua_pushboolean(m->lua, on);
    model_redis_lua(m, "refuse", 1, 0);
}

void model_redis_save(struct model_redis *m)
{
    model_redis_lua(m, "save", 0, 0);
}

int64_t model_redis_open_jobs(struct model_redis *m, const char *tenant)
{
    int64_t n;

    lua_pushstring(m->lua, tenant);
    model_redis_lua(m, "open_jobs", 1, 1);
    n = (int64_t)lua_tonumber(m->lua, -1);
    lua_pop(m->lua, 1);
    return n;
}

void model_redis_hole(struct model_redis *m, char ret[96])
{
    model_redis_lua(m, "hole", 0, 1);
    snprintf(ret, 96, "%s", lua_tostring(m->lua, -1));
    lua_pop(m->lua, 1);
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
    m->asked = arena_new(MODEL_ARENA_MAX);
    return model_redis_execute(m, copy, len, argc, m->asked);
}
