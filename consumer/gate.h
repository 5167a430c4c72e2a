#ifndef CONSUMER_GATE_H
#define CONSUMER_GATE_H
#include "consumer/item.h"
#include "consumer/worker_priv.h"

/* Keeps records back whose jobs would only wait: a job is not started (no lease, no record in the
 * log, no memory) while the line of a model that its workflow calls is long as it is. Others pass.
 *
 *   in the scheduler --gate_keeps--> in the gate's own line of that model --gate_next--> started
 *                                     '-- canceled, expired: back into the scheduler at once */
struct gate;
struct gate *gate_new(struct worker *w); /* NULL: no memory */
void gate_free(struct gate *g);          /* items were freed before */

/* Into a line, the worker's or one of a gate, as what it is. False: full or no memory. */
bool gate_put(struct worker *w, struct scheduler *line, struct item *it);
/* The first of a line whose tenant may have one more that runs; tenants that have their part are
 * held. NULL: none. */
struct item *gate_peek(struct worker *w, struct scheduler *line);
/* An item that was just taken out of the scheduler. True: it is kept. False: it may start;
 * *ret_group is the model group whose line it will stand in (PACER_NO_GROUP: none). */
bool gate_keeps(struct gate *g, struct item *it, size_t *ret_group);
/* The next one that may start now, taken out; NULL: none. */
struct item *gate_next(struct gate *g, size_t *ret_group);
/* Something could be taken with gate_next (as far as lines go). */
bool gate_has_open(const struct gate *g);
void gate_tell(struct gate *g); /* the pacer, how many are kept */
/* Takes an item out of whatever line it is in. Tolerates those in none. */
void gate_leave(struct worker *w, struct item *it);
/* Tenants that had as many as they may: looked at again, in the scheduler as well. */
void gate_release_all(struct worker *w);

/* Both the scheduler's and what is kept. */
size_t gate_lane_count(const struct worker *w, enum sched_lane lane);
size_t gate_due_count(const struct worker *w);
size_t gate_count(const struct worker *w);

#endif
