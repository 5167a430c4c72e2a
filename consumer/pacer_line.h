#ifndef CONSUMER_PACER_LINE_H
#define CONSUMER_PACER_LINE_H
#include "common/base/list.h"
#include "common/base/view.h"
#include "consumer/limiter.h"
#include "schemas/job.h"

/* Who goes next at one provider's model. Pure; borrows what waits.
 *
 * Waiters stand in flows (a tenant of a class). The fleet ranks the flows (schemas/fn_pace.h): who
 * uses less than its share goes before who does not. Within a rank the flow that was served least,
 * by its weight, is next; within a flow priority, then the age of the job. */
struct pacer_flow;
struct pacer_place { /* embed; zeroed = in no line */
    struct list_link link;
    struct pacer_flow *flow;
    struct limiter_cost cost;
    int64_t priority, age_ms; /* higher first; then smaller first */
};

struct pacer_line;
struct pacer_line_options {
    size_t flows_max;
    int64_t class_weights[CLASS_COUNT];
};
struct pacer_line *pacer_line_new(const struct pacer_line_options *o); /* NULL: no memory */
void pacer_line_free(struct pacer_line *l);                            /* forgets who waits */

struct pacer_line_ask {
    enum job_class cls;
    struct view tenant;
    int64_t weight; /* of the tenant */
    int64_t now_ms;
};
/* The place's cost, priority and age are set already. False: no memory. */
bool pacer_line_put(struct pacer_line *l, struct pacer_place *p, const struct pacer_line_ask *a);
void pacer_line_remove(struct pacer_line *l, struct pacer_place *p);
/* It will cost this, as far as is known by now. */
void pacer_line_recost(struct pacer_place *p, const struct limiter_cost *c);
struct pacer_place *
pacer_line_first(const struct pacer_line *l); /* left in the line; NULL: nobody */
/* Takes it out and charges its flow, which is kept for it until pacer_flow_unref. */
struct pacer_flow *pacer_line_take(struct pacer_line *l, struct pacer_place *p, int64_t now_ms);
size_t pacer_line_count(const struct pacer_line *l);
size_t pacer_line_offered(const struct pacer_line *l); /* without those of blocked flows */
enum pace_rank
pacer_line_rank(const struct pacer_line *l); /* of the first; PACE_RANK_COUNT: nobody */
/* What waits, by rank, for a trade. */
void pacer_line_demand(const struct pacer_line *l, struct limiter_ask *ret);

/* --- flows ----------------------------------------------------------------------------------- */
/* Flows in any order; NULL first, NULL at the end. The current one may lose its places. */
struct pacer_flow *pacer_line_next_flow(const struct pacer_line *l, const struct pacer_flow *after);
void pacer_line_rotate(struct pacer_line *l, struct pacer_flow *f); /* to the end of the flows */
size_t pacer_line_flows(const struct pacer_line *l);
enum job_class pacer_flow_class(const struct pacer_flow *f);
struct view pacer_flow_tenant(const struct pacer_flow *f);
int64_t pacer_flow_weight(const struct pacer_flow *f);
const struct list *pacer_flow_places(const struct pacer_flow *f);
double pacer_flow_share(const struct pacer_flow *f); /* of the line, while it has places */
struct pacer_flow *pacer_flow_ref(struct pacer_flow *f);
void pacer_flow_unref(struct pacer_flow *f);
/* A call was taken for more (or less) than it cost: tokens, may be negative. */
void pacer_flow_correct(struct pacer_flow *f, int64_t tokens);
/* Tokens served since the last time this was asked. */
int64_t pacer_flow_report(struct pacer_flow *f);
int64_t pacer_class_report(struct pacer_line *l, enum job_class cls);
void pacer_flow_set_rank(struct pacer_flow *f, enum pace_rank rank);
void pacer_class_set_rank(struct pacer_line *l, enum job_class cls, enum pace_rank rank);
int64_t pacer_class_weight(const struct pacer_line *l, enum job_class cls);
bool pacer_class_has(const struct pacer_line *l, enum job_class cls); /* something waits in it */
/* Nothing of it is offered meanwhile (its tenant's day is spent). */
void pacer_flow_block(struct pacer_flow *f, bool is_blocked);
bool pacer_flow_is_blocked(const struct pacer_flow *f);

#endif
