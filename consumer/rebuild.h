#ifndef CONSUMER_REBUILD_H
#define CONSUMER_REBUILD_H
#include "consumer/home.h"

/* The view of one home p put back into Redis from the log (contract: "Redis loss"). Runs beside
 * everything else; until it is done no job of p is acquired. */
struct rebuild;
void rebuild_drop_stopped(struct worker *w); /* worker_free */
/* Redis' mark of h is absent or of another boot. A rebuild under way for the same boot goes on; for
 * another one it begins anew. */
void rebuild_start(struct home *h);
void rebuild_stop(struct home *h); /* NULL-safe */
/* Sends on what the pace held back, ends what is done. Every turn. */
void rebuild_turn(struct home *h);

#endif
