#ifndef PRODUCER_ROUTE_KEY_H
#define PRODUCER_ROUTE_KEY_H
#include "common/base/id.h"

/* What a new job is called and which home it goes to. Pure.
 *   with an Idempotency-Key   a v8 id of (tenant, key): a client's retry is the same job, whatever
 * else its body says with a routing key        a v7 id in the home of (tenant, routing key): jobs
 * of one key share a home neither                   a v7 id in a home of its own choice among the
 * tenant's lanes */
struct route_key {
    struct view tenant;
    struct view idempotency; /* decoded; VIEW_NONE = none */
    struct view routing;     /* bytes of the body's `key`; VIEW_NONE = none */
};

struct job_id route_key_id(struct id_space space, const struct route_key *k, int64_t wall_ms,
                           struct rng *rng);

#endif
