#ifndef BASE_ID_H
#define BASE_ID_H
#include "common/base/rng.h"
#include "common/base/view.h"

/* Job ids are UUIDs whose 12 rand_a bits are the home partition (design, section 3).
 *   v7, keyless: 48 bits of wall milliseconds | 7 | p (12) | 10 | 62 random bits
 *   v8, with an Idempotency-Key: first 128 bits of SHA-256(tenant, key), then 8, p, 10 stamped in
 * Text form is the usual 36 lower-case characters. */
enum { JOB_ID_LEN = 36, JOB_ID_PARTITIONS_MAX = 4096 };

struct job_id {
    char text[JOB_ID_LEN + 1];
};

/* Number of lanes a tenant spreads over and number of homes; see id_home. */
struct id_space {
    uint32_t partitions; /* 1 .. 4096 */
    uint32_t lanes;      /* k, 1 .. partitions */
};

/* p = (hash(tenant) + lane) mod partitions, lane = hash(seed bytes) mod k: a tenant touches
 * exactly k homes. The seed is the idempotency key, or the id itself. */
uint32_t id_home(struct id_space space, struct view tenant, struct view seed);
/* wall_ms: 0 .. 2^48-1. */
struct job_id id_new_v7(struct id_space space, struct view tenant, int64_t wall_ms,
                        struct rng *rng);
struct job_id id_new_v8(struct id_space space, struct view tenant, struct view key);
/* v8 of (old id, from_step) in a given home: retry and redrive. */
struct job_id id_new_derived(struct view old_id, struct view from_step, uint32_t partition);
/* Strict: 36 characters, lower-case hex, version 7 or 8, variant 10. */
bool id_parse(struct view text, struct job_id *ret);
/* The 12 bits; compare with partitions before use. */
uint32_t id_partition(const struct job_id *id);
int64_t id_wall_ms(const struct job_id *id); /* v7: creation time; v8: -1 */

#endif
