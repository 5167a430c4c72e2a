#ifndef CONSUMER_SPILL_H
#define CONSUMER_SPILL_H
#include "consumer/scheduler.h"

/* How much of a worker one tenant may fill: of the lines of records that wait in memory, and of the
 * jobs that run. Pure; counts places. The more is taken by all together, the less is left to each,
 * and never is nothing left for one who has nothing yet.
 *
 *   OUT --spill_enter--> LINE --spill_start--> RUN --spill_leave--> OUT */
enum spill_state { SPILL_OUT, SPILL_LINE, SPILL_RUN };

struct spill_tenant;
struct spill_place { /* embed; zeroed = out */
    struct spill_tenant *tenant;
    enum spill_state state;
};

struct spill_options {
    int64_t window;   /* places in the line of a class */
    int64_t share;    /* percent of it that a tenant may fill while nobody else waits; 100: all */
    int64_t runs_max; /* jobs that run at once */
    size_t tenants_max;
};
struct spill;
struct spill *spill_new(const struct spill_options *o); /* NULL: no memory */
void spill_free(struct spill *s);

/* A new record of this tenant is to be set aside instead of put in line. It is while others of the
 * tenant are (they were first), unless boost > 0 and there is room for it. */
bool spill_wants(const struct spill *s, enum sched_lane lane, struct view tenant, int64_t boost);
/* One that was set aside may come into line. */
bool spill_admits(const struct spill *s, enum sched_lane lane, struct view tenant);
/* False: no memory, it is not counted. */
bool spill_enter(struct spill *s, struct spill_place *p, enum sched_lane lane, struct view tenant);
/* May one more of its tenant run? Never asked of one that is not in line. */
bool spill_may_start(const struct spill *s, const struct spill_place *p);
int64_t spill_running(const struct spill_place *p); /* of its tenant; 0 when it is out */
void spill_start(struct spill *s, struct spill_place *p); /* tolerates those that are out */
/* True: somebody may come in now who was kept out before. Tolerates those that are out. */
bool spill_leave(struct spill *s, struct spill_place *p);

/* Set aside by this worker, and read again. What others set aside is not known, and not counted. */
void spill_note_out(struct spill *s, enum sched_lane lane, struct view tenant);
void spill_note_back(struct spill *s, enum sched_lane lane, struct view tenant);
void spill_forget_out(struct spill *s); /* a home was lost: who was first is not known any more */

#endif
