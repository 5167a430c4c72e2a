#ifndef BASE_RNG_H
#define BASE_RNG_H
#include <stdint.h>

/* Seedable random numbers (xoshiro256**): a simulation's chance, and jitter and ids in
 * production (seeded from the kernel by io/loop). Not for secrets. */
struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t bound); /* [0, bound), bound > 0 */
double rng_unit(struct rng *r);                    /* [0, 1) */

#endif
