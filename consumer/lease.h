#ifndef CONSUMER_LEASE_H
#define CONSUMER_LEASE_H
#include "schemas/fn.h"

/* The heartbeat of this worker incarnation: one key in Redis holds the leases of all its jobs.
 * Asked for at a third of its time to live. A beat counts from the moment it was sent. After 0.7 of
 * the time to live without one the worker holds itself fenced: it starts nothing, and does not
 * trust its own ends before the log confirmed them. Each beat also brings Redis' boot id and which
 * homes' views are whole (contract: built:{p} == boot id). */
struct lease;
struct lease_options {
    struct fn *fn;
    const struct clock *clock;
    struct timerq *timers;
    struct view incarnation; /* borrowed */
    int64_t ttl_ms;
    size_t (*homes)(void *arg, uint32_t *ret, size_t max); /* whose built marks to ask for */
    void (*info)(void *arg, struct buf *out);              /* the registry entry, JSON */
    /* After every beat that was answered, in this order. */
    void (*on_home)(void *arg, uint32_t home, bool is_built);
    void (*on_beat)(void *arg, bool boot_changed);
    void *arg;
};
struct lease *lease_new(const struct lease_options *o); /* NULL: no memory */
void lease_free(struct lease *l);
void lease_start(struct lease *l);
/* Something smells of a wipe, or Redis came back: beat now (at most one under way). */
void lease_hurry(struct lease *l);
bool lease_is_held(const struct lease *l);
int64_t lease_until_ms(const struct lease *l); /* it is held until then, monotonic, unless another
                                                  beat comes; 0 = not held */
/* The lease was held without a break since then (monotonic ms of an acquire or an earlier check).
 */
/* When the unbroken chain of good beats began; another value than before: there was a gap. */
int64_t lease_unbroken_ms(const struct lease *l);
bool lease_held_since(const struct lease *l, int64_t mono_ms);
struct view lease_boot(const struct lease *l); /* Redis' boot id; VIEW_NONE: not known yet */
/* Takes the key away: others may take our jobs at once. */
void lease_end(struct lease *l, fn_done_cb *done, void *arg);

#endif
