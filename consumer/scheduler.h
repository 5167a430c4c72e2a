#ifndef CONSUMER_SCHEDULER_H
#define CONSUMER_SCHEDULER_H
#include "common/base/list.h"
#include "common/base/view.h"

/* Which waiting record starts next. Pure; borrows the items. Continuations and due timers go first
 * (they hold leases' worth of work done already); then the classes share by weight (interactive 4 :
 * bulk 1); within a lane tenants take turns by deficit round robin: a tenant of weight w starts w
 * units while one of weight 1 starts one. */
enum sched_lane { SCHED_DUE, SCHED_INTERACTIVE, SCHED_BULK, SCHED_LANE_COUNT };
enum { SCHED_INTERACTIVE_WEIGHT = 4, SCHED_BULK_WEIGHT = 1 };

struct sched_tenant;
struct sched_item { /* embed; zeroed = in no line */
    struct list_link link;
    struct sched_tenant *tenant;
    int64_t cost;
};

struct scheduler;
struct scheduler *scheduler_new(size_t items_max); /* NULL: no memory */
void scheduler_free(struct scheduler *s);          /* forgets the items */
/* cost >= 1: jobs now, tokens later. False: full or no memory. */
bool scheduler_put(struct scheduler *s, enum sched_lane lane, struct view tenant, int64_t weight,
                   int64_t cost, struct sched_item *item);
/* Takes the next one out; NULL when nothing waits. */
struct sched_item *scheduler_take(struct scheduler *s);
void scheduler_remove(struct scheduler *s, struct sched_item *item);
bool scheduler_has(const struct sched_item *item);
size_t scheduler_count(const struct scheduler *s);
size_t scheduler_lane_count(const struct scheduler *s, enum sched_lane lane);

#endif
