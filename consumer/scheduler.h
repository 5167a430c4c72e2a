#ifndef CONSUMER_SCHEDULER_H
#define CONSUMER_SCHEDULER_H
#include "common/base/list.h"
#include "common/base/view.h"

/* Who starts first. Pure; borrows the items. The unit of cost is the caller's (jobs, tokens).
 *
 * Classes share by weight while both have something waiting; within a class tenants share by
 * weight; within a tenant the higher priority goes first, and the older one among equals. What was
 * charged at the start is put right at the settlement by scheduler_charge. Nobody saves up while
 * nothing of his waits, and nobody is starved: whoever has got least, for his weight, is next. */
enum sched_lane { SCHED_INTERACTIVE, SCHED_BULK, SCHED_LANE_COUNT };
enum {
    SCHED_PRIORITY_DEFAULT = 5,
    SCHED_PRIORITY_MAX = 9,
    SCHED_DUE, /* work that was begun before: ahead of anything new of its tenant */
    SCHED_RANK_COUNT
};

struct sched_tenant;
struct sched_item { /* embed; zeroed = in no line */
    struct list_link link;
    struct sched_tenant *tenant;
    int64_t cost;
    unsigned rank;
};

struct scheduler_options {
    size_t items_max;
    int64_t interactive_weight, bulk_weight; /* >= 1 */
};

struct scheduler;
struct scheduler *scheduler_new(const struct scheduler_options *o); /* NULL: no memory */
void scheduler_free(struct scheduler *s);                           /* forgets the items */

struct sched_entry {
    enum sched_lane lane;
    struct view tenant; /* copied */
    int64_t weight;     /* of the tenant, from now on */
    int64_t cost;       /* >= 1; an estimate will do */
    unsigned rank;      /* a priority, or SCHED_DUE */
};
/* False: full or no memory. */
bool scheduler_put(struct scheduler *s, struct sched_item *item, const struct sched_entry *e);
/* The one that scheduler_take would take; NULL when nothing waits. */
struct sched_item *scheduler_peek(const struct scheduler *s);
/* Takes the next one out and charges its cost; NULL when nothing waits. */
struct sched_item *scheduler_take(struct scheduler *s);
/* Out of line without a charge: it does not want to go any more. */
void scheduler_remove(struct scheduler *s, struct sched_item *item);
/* What was taken came to delta more (or less) than its cost. The tenant need not wait. */
void scheduler_charge(struct scheduler *s, enum sched_lane lane, struct view tenant, int64_t delta);
/* The tenant of this item is passed over until scheduler_release_all: it has as much as it may. */
void scheduler_hold(struct scheduler *s, struct sched_item *item);
void scheduler_release_all(struct scheduler *s);

bool scheduler_has(const struct sched_item *item);
size_t scheduler_count(const struct scheduler *s);
size_t scheduler_lane_count(const struct scheduler *s, enum sched_lane lane); /* without due ones */
size_t scheduler_due_count(const struct scheduler *s);

#endif
