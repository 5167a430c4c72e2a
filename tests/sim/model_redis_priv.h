#ifndef SIM_MODEL_REDIS_PRIV_H
#define SIM_MODEL_REDIS_PRIV_H
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "common/base/arena.h"
#include "common/base/list.h"
#include "tests/sim/model_redis.h"

/* model_redis.c: connections and faults; model_redis_lua.c: what commands do. */
enum { MODEL_CONNS_MAX = 64, MODEL_ARENA_MAX = 64 << 20 };

struct model_redis {
    struct world *world;
    lua_State *lua;
    bool is_up, is_paused;
    uint32_t restarts;
    int64_t clock_offset_ms;
    struct model_conn *conns[MODEL_CONNS_MAX];
    struct list waiting; /* commands that reached a paused server */
    struct arena *asked;
};

lua_State *model_redis_lua_new(void);
/* Calls model.<name> with so many arguments from the stack. */
void model_redis_lua(struct model_redis *m, const char *name, int args, int results);
/* One command; the reply lives in a. */
const struct reply *model_redis_execute(struct model_redis *m, char *const *argv, const size_t *len, size_t argc, struct arena *a);

#endif
