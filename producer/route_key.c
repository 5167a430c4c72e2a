/* Names and homes of new jobs.
 *
 * What is hard: two keys in one id. An Idempotency-Key names the job; a routing key chooses the
 * home, and it must, whatever else is given: limits of a key are kept by the owner of its one home.
 * The bits of the home are apart from the rest of the id, so both can be had. */
#include "producer/route_key.h"

#include <assert.h>

static void route_key_set_home(struct job_id *id, uint32_t home)
{
    static const char hex[] = "0123456789abcdef";
    assert(home < JOB_ID_PARTITIONS_MAX);
    id->text[15] = hex[home >> 8 & 15];
    id->text[16] = hex[home >> 4 & 15];
    id->text[17] = hex[home & 15];
}

struct job_id route_key_id(struct id_space space, const struct route_key *k, int64_t wall_ms,
                           struct rng *rng)
{
    struct job_id id = k->idempotency.ptr ? id_new_v8(space, k->tenant, k->idempotency)
                                          : id_new_v7(space, k->tenant, wall_ms, rng);
    if (k->routing.ptr) route_key_set_home(&id, id_home(space, k->tenant, k->routing));
    return id;
}
