#ifndef SCHEMAS_FN_USAGE_H
#define SCHEMAS_FN_USAGE_H
#include "schemas/fn.h"

/* What was used, as counters in Redis (schemas/redis/sluice_usage_v1.lua): written by workers about
 * once a second through consumer/usage.h, read by the gateway for GET /v1/usage.
 *
 * us:{<tenant>}:<yyyymmdd> and, for all tenants together, us:{}:<yyyymmdd>: a hash with a field
 * <workflow>|<model> a row, whose value is its six counts in the order of struct fn_usage_counts,
 * separated by commas; field t the same for the whole day; field z "tokens,microusd" that stood
 * there before a wipe (below). At most FN_USAGE_FIELDS_MAX fields a hash: what comes later is
 * counted in the row "|". A hash ends retention.usage after its day. us:w:<incarnation>: number of
 * the last batch counted (for a day). us:since: the server's time in ms when counting began; it is
 * younger than the days that stand there only in part, after a wipe. Days are UTC, counted from
 * 1970-01-01. */
enum {
    FN_USAGE_ROWS_MAX = 128, /* of one batch */
    FN_USAGE_ASKS_MAX = 64,
    FN_USAGE_FIELDS_MAX = 1000, /* rows of a tenant and day */
    FN_USAGE_KEY_MAX = 96
};
struct fn_usage_counts {
    int64_t calls, input, cached_input, output, microusd;
    int64_t unpriced; /* calls of a model without a price: their cost is not in microusd */
};
struct fn_usage_row {
    struct view tenant, workflow, model; /* model: the name workflows use */
    int64_t day;
    struct fn_usage_counts counts;
};
/* A day's totals of a tenant. */
struct fn_usage_total {
    struct view tenant;
    int64_t tokens, microusd; /* input + output */
};
struct fn_usage_batch {
    struct view incarnation;
    /* 1, 2, ... in this incarnation; a batch whose answer was lost is sent again, with its rows and
     * its number, and counts once. Without rows the number means nothing. */
    int64_t seq;
    int64_t today;        /* whose totals are answered */
    int64_t retention_ms; /* retention.usage */
    const struct fn_usage_row *rows;
    size_t row_count; /* at most FN_USAGE_ROWS_MAX */
    /* Whose totals are wanted, with what was last heard of them today (0: nothing): what stands
     * there is raised to it, so that a daily cap outlives a wipe. */
    const struct fn_usage_total *asks;
    size_t ask_count; /* at most FN_USAGE_ASKS_MAX */
};
/* totals: of the tenants asked for, in their order; borrowed for the callback. is_repeat: the batch
 * had been counted before. */
struct fn_usage_added {
    bool is_repeat;
    const struct fn_usage_total *totals;
    size_t total_count;
};
typedef void fn_usage_cb(void *arg, const struct err *e, const struct fn_usage_added *a);
/* Counts a batch, all of it or nothing. Answers exactly once, as all calls of fn.h. */
void fn_usage_add(struct fn *f, const struct fn_usage_batch *b, fn_usage_cb *cb, void *arg);

/* --- reading: the shape of keys and fields
 * ---------------------------------------------------------------------- */
/* The hash of a tenant (VIEW_NONE: of all) and day. Returns a view of ret. */
struct view fn_usage_key(struct view tenant, int64_t day, char ret[FN_USAGE_KEY_MAX]);
struct view fn_usage_since_key(void); /* us:since */
/* False: not a row (t, z) or not in shape. Views point into field; both empty: rows past the
 * ceiling. */
MUST_CHECK bool fn_usage_read_field(struct view field, struct view *ret_workflow,
                                    struct view *ret_model);
MUST_CHECK bool fn_usage_read_counts(struct view value, struct fn_usage_counts *ret);
void fn_usage_sum(struct fn_usage_counts *into, const struct fn_usage_counts *c);

#endif
