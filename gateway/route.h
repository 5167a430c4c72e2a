#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H
#include "common/base/view.h"

/* Which call a method and a path mean. Pure: one constant table. */
enum route_id {
    ROUTE_ROOT,
    ROUTE_OPENAPI,
    ROUTE_JOBS_SUBMIT,
    ROUTE_JOBS_LIST,
    ROUTE_JOB_GET,
    ROUTE_JOB_EVENTS,
    ROUTE_JOB_CANCEL,
    ROUTE_JOB_RETRY,
    ROUTE_JOB_TOKEN,
    ROUTE_WORKFLOWS_LIST,
    ROUTE_WORKFLOW_GET,
    ROUTE_USAGE,
    ROUTE_LIMITS,
    ROUTE_COUNT
};

struct route {
    const char *method;
    const char
        *pattern; /* "{id}" stands for one non-empty segment; also the name in metrics and logs */
    enum route_id id;
    unsigned scope;   /* of enum config_scope, any of them will do; 0 = open to everybody */
    bool takes_token; /* a job token is as good as a key */
};

enum route_verdict { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };
enum { ROUTE_ALLOW_MAX = 64 };

struct route_match {
    const struct route *route;   /* FOUND */
    struct view param;           /* the segment under {id}; VIEW_NONE without one */
    char allow[ROUTE_ALLOW_MAX]; /* NO_METHOD: value of the Allow field */
};

/* path: still percent-encoded, without the query. HEAD finds what GET finds, event streams apart.
 */
enum route_verdict route_find(struct view method, struct view path, struct route_match *ret);
const struct route *route_of(enum route_id id);

#endif
