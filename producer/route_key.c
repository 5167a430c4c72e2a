/* Names and homes of new jobs.
 *
 * What is hard: the two keys must not be mixed up. An Idempotency-Key names the job, so the id may
 * hang on nothing else: were the body's routing key mixed in, a retry with a changed body would be
 * another job in another home and the mismatch would never be seen. A routing key only chooses the
 * home, so the id stays random. */
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
    if (k->idempotency.ptr) return id_new_v8(space, k->tenant, k->idempotency);
    struct job_id id = id_new_v7(space, k->tenant, wall_ms, rng);
    if (k->routing.ptr) route_key_set_home(&id, id_home(space, k->tenant, k->routing));
    return id;
}
