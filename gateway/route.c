/* The table of calls. A path is compared segment by segment with each pattern; nothing is decoded,
 * because no identifier of ours needs an escape: an escaped one is simply unknown. With a dozen
 * rows a scan beats anything cleverer. */
#include "gateway/route.h"

#include "schemas/config.h"
#include <assert.h>

/* The order is that of enum route_id. */
static const struct route routes[ROUTE_COUNT] = {
    {"GET", "/", ROUTE_ROOT, 0, false},
    {"GET", "/openapi.json", ROUTE_OPENAPI, 0, false},
    {"POST", "/v1/jobs", ROUTE_JOBS_SUBMIT, SCOPE_SUBMIT, false},
    {"GET", "/v1/jobs", ROUTE_JOBS_LIST, SCOPE_READ, false},
    {"GET", "/v1/jobs/{id}", ROUTE_JOB_GET, SCOPE_READ, true},
    {"GET", "/v1/jobs/{id}/events", ROUTE_JOB_EVENTS, SCOPE_READ, true},
    {"POST", "/v1/jobs/{id}/cancel", ROUTE_JOB_CANCEL, SCOPE_SUBMIT, false},
    {"POST", "/v1/jobs/{id}/retry", ROUTE_JOB_RETRY, SCOPE_SUBMIT, false},
    {"POST", "/v1/jobs/{id}/token", ROUTE_JOB_TOKEN, SCOPE_SUBMIT, false},
    {"GET", "/v1/workflows", ROUTE_WORKFLOWS_LIST, SCOPE_ADMIN, false},
    {"GET", "/v1/workflows/{id}", ROUTE_WORKFLOW_GET, SCOPE_ADMIN, false},
    {"GET", "/v1/usage", ROUTE_USAGE, SCOPE_READ | SCOPE_ADMIN, false},
    {"GET", "/v1/limits", ROUTE_LIMITS, SCOPE_READ | SCOPE_ADMIN, false},
};

/* Cuts the first segment off *rest (which begins with a slash). */
static struct view route_segment(struct view *rest)
{
    const char *end = rest->len > 1 ? memchr(rest->ptr + 1, '/', rest->len - 1) : NULL;
    size_t len = end ? (size_t)(end - rest->ptr) : rest->len;
    struct view segment = view_make(rest->ptr + 1, len - 1);
    *rest = view_make(rest->ptr + len, rest->len - len);
    return segment;
}

static bool route_fits(const struct route *r, struct view path, struct view *ret_param)
{
    struct view want = view_of(r->pattern), have = path, param = VIEW_NONE;
    if (view_eq(want, have)) { /* most calls: no need to look inside */
        *ret_param = VIEW_NONE;
        return true;
    }
    while (want.len > 0 && have.len > 0) {
        struct view w = route_segment(&want), h = route_segment(&have);
        if (view_eq_str(w, "{id}") && h.len > 0)
            param = h;
        else if (!view_eq(w, h))
            return false;
    }
    if (want.len > 0 || have.len > 0) return false;
    *ret_param = param;
    return true;
}

static bool route_takes_head(const struct route *r)
{
    return strcmp(r->method, "GET") == 0 && r->id != ROUTE_JOB_EVENTS;
}

static bool route_has_method(const struct route *r, struct view method)
{
    return view_eq_str(method, r->method) || (view_eq_str(method, "HEAD") && route_takes_head(r));
}

static void route_allow(char *allow, const char *method)
{
    size_t used = strlen(allow);
    snprintf(allow + used, ROUTE_ALLOW_MAX - used, "%s%s", used ? ", " : "", method);
}

static void route_allow_all(struct view path, char *allow)
{
    struct view param;
    allow[0] = '\0';
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!route_fits(&routes[i], path, &param)) continue;
        route_allow(allow, routes[i].method);
        if (route_takes_head(&routes[i])) route_allow(allow, "HEAD");
    }
    if (allow[0]) route_allow(allow, "OPTIONS");
}

enum route_verdict route_find(struct view method, struct view path, struct route_match *ret)
{
    if (path.len == 0 || path.ptr[0] != '/') return ROUTE_NO_PATH;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!route_has_method(&routes[i], method)) continue;
        if (!route_fits(&routes[i], path, &ret->param)) continue;
        ret->route = &routes[i];
        ret->allow[0] = '\0';
        return ROUTE_FOUND;
    }
    ret->route = NULL;
    ret->param = VIEW_NONE;
    route_allow_all(path, ret->allow);
    return ret->allow[0] ? ROUTE_NO_METHOD : ROUTE_NO_PATH;
}

const struct route *route_of(enum route_id id)
{
    assert(id < ROUTE_COUNT && routes[id].id == id);
    return &routes[id];
}
