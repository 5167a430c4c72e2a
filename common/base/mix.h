#ifndef BASE_MIX_H
#define BASE_MIX_H
#include "common/base/view.h"

/* A keyed 64-bit hash (SipHash-1-3) for tables inside one process: strangers choose the keys, so
 * they must not be able to choose the collisions. Never stored and never sent: see hash_fnv1a
 * for hashes that must stay. */
uint64_t mix_hash(struct view data, uint64_t seed);
/* A seed nobody outside can know: from an address (ASLR). Order of results never hangs on it. */
uint64_t mix_seed(const void *address);

#endif
