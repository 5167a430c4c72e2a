#ifndef PRODUCER_ROUTE_KEY_H
#define PRODUCER_ROUTE_KEY_H
#include "common/base/id.h"

/* What a new job is called and which home it goes to. Pure.
 *   with an Idempotency-Key   a v8 id of (tenant, key): a client's retry is the same job
 *   with a routing key        in the home of (tenant, routing key): jobs of one key share a home
 *   with neither              a v7 id in a home of its own choice among the tenant's lanes
 * With both the id is that of the Idempotency-Key, moved into the home of the routing key; whoever
 * wants to see that the routing key was changed claims the unmoved id first. */
struct route_key {
    struct view tenant;
    struct view idempotency; /* decoded; VIEW_NONE = none */
    struct view routing;     /* bytes of the body's `key`; VIEW_NONE = none */
};

struct job_id route_key_id(struct id_space space, const struct route_key *k, int64_t wall_ms,
                           struct rng *rng);

#endif
