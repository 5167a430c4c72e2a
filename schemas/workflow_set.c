/* All versions of all workflows: found by name and version, or by name alone (the newest). */
#include "common/base/map.h"
#include "schemas/workflow_priv.h"
#include <assert.h>

enum { WORKFLOWS_MAX = 4096 };

struct workflows {
    struct map *by_key; /* "name@version", and "name" = the newest */
    struct workflow **list;
    size_t count, cap;
};

struct workflows *workflows_new(void)
{
    struct workflows *ws = calloc(1, sizeof *ws);
    if (ws) ws->by_key = map_new(2 * WORKFLOWS_MAX);
    if (ws && ws->by_key) return ws;
    free(ws);
    return NULL;
}

void workflows_free(struct workflows *ws)
{
    if (!ws) return;
    for (size_t i = 0; i < ws->count; i++) workflow_free(ws->list[i]);
    free(ws->list);
    map_free(ws->by_key);
    free(ws);
}

/* ret takes any name of a workflow and any version. */
static struct view workflows_key(struct view name, int64_t version, char *ret, size_t size)
{
    int n = snprintf(ret, size, "%.*s@%lld", (int)name.len, name.ptr, (long long)version);
    assert(n > 0 && (size_t)n < size);
    return view_make(ret, (size_t)n);
}

static bool workflows_grow(struct workflows *ws)
{
    if (ws->count < ws->cap) return true;
    size_t cap = ws->cap ? ws->cap * 2 : 16;
    struct workflow **list = realloc(ws->list, cap * sizeof *list);
    if (!list) return false;
    ws->list = list;
    ws->cap = cap;
    return true;
}

enum err_code workflows_add(struct workflows *ws, struct workflow *take, struct err *err)
{
    char text[WORKFLOW_NAME_MAX + 24];
    assert(ws && take);
    struct view name = view_of(take->name),
                key = workflows_key(name, take->version, text, sizeof text);
    const struct workflow *other = map_get(ws->by_key, key), *newest = map_get(ws->by_key, name);
    enum err_code code = ERR_OK;
    if (other)
        code = err_set(err, ERR_CONFLICT,
                       "workflow %s version %lld stands in %s too; raise the version of one",
                       take->name, (long long)take->version, yaml_name(other->doc));
    else if (ws->count == WORKFLOWS_MAX)
        code = err_set(err, ERR_TOO_LARGE, "more than %d workflows", WORKFLOWS_MAX);
    else if (!workflows_grow(ws) || !map_put(ws->by_key, key, take))
        code = err_set(err, ERR_NOMEM, "out of memory");
    else if ((!newest || newest->version < take->version) && !map_put(ws->by_key, name, take)) {
        map_remove(ws->by_key, key);
        code = err_set(err, ERR_NOMEM, "out of memory");
    }
    if (code == ERR_OK)
        ws->list[ws->count++] = take;
    else
        workflow_free(take);
    return code;
}

const struct workflow *workflows_find(const struct workflows *ws, struct view name, int64_t version)
{
    char text[WORKFLOW_NAME_MAX + 24];
    if (name.len == 0 || name.len >= WORKFLOW_NAME_MAX || memchr(name.ptr, '@', name.len))
        return NULL;
    if (version == 0) return map_get(ws->by_key, name);
    return map_get(ws->by_key, workflows_key(name, version, text, sizeof text));
}

size_t workflows_count(const struct workflows *ws)
{
    return ws->count;
}

const struct workflow *workflows_each(const struct workflows *ws, size_t *cursor)
{
    return *cursor < ws->count ? ws->list[(*cursor)++] : NULL;
}
