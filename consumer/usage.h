#ifndef CONSUMER_USAGE_H
#define CONSUMER_USAGE_H
#include "schemas/fn_usage.h"

/* What this worker's calls used, on its way to the counters in Redis, and what each tenant used
 * today in the whole fleet, for its daily caps. Rows are summed here and flushed about once a
 * second, one batch at a time; a batch whose answer was lost goes out again under its number and
 * counts once. With Redis away rows pile up to USAGE_ROWS_MAX sums; what is then new is summed in
 * its tenant's row without names, and past twice the ceiling counted in sluice_usage_lost_calls_total alone. */
enum { USAGE_ROWS_MAX = 1000, USAGE_TENANTS_MAX = 4096 };
struct usage;
struct usage_options {
    struct fn *fn; /* freed before the usage: what is under way is then dropped */
    const struct clock *clock;
    struct timerq *timers;
    struct view incarnation; /* borrowed */
    int64_t retention_ms;
    struct metrics *metrics; /* for sluice_usage_lost_calls_total: calls that found no place */
    /* Totals were heard, perhaps of a tenant whose calls wait for that. May be NULL. */
    void (*on_heard)(void *arg);
    void *arg;
};
struct usage *usage_new(const struct usage_options *o); /* NULL: no memory */
void usage_free(struct usage *u);
/* Counts what a call used; the day is today by the clock. model: the name workflows use. */
void usage_count(struct usage *u, struct view tenant, struct view workflow, struct view model,
                 const struct fn_usage_counts *c);
/* Input and output tokens and cost of the tenant today, all workers' as last heard (a second ago
 * or so) and this one's that are not told yet. False: nothing was heard of today, or nothing for 5
 * s (Redis is away; longer with many tenants, who are asked about in turn); the question is on its
 * way. A tenant asked for within a minute is kept fresh. */
MUST_CHECK bool usage_today(struct usage *u, struct view tenant, int64_t *ret_tokens,
                            int64_t *ret_microusd);
/* Flushes at once what can be (one batch); for the way out, with usage_is_empty. */
void usage_flush(struct usage *u);
bool usage_is_empty(const struct usage *u); /* nothing waits to be told */

#endif
