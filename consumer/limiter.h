#ifndef CONSUMER_LIMITER_H
#define CONSUMER_LIMITER_H
#include "schemas/fn_pace.h"

/* One budget in one worker: may a call go, and if not, when and why. Pure: it fills the trades (schemas/fn_pace.h) that
 * its owner sends, and reads their answers. All times are monotonic.
 *
 *     limiter_take ok -> the call goes -> limiter_done, exactly once
 *                  no -> limiter_wait; limiter_is_due -> limiter_trade -> fn_pace_trade -> limiter_traded -> take again
 *
 * Costs are estimates; what they leave uncertain stands beside them as a variance. */
struct limiter;
struct limiter_options {
    struct view budget, incarnation; /* copied */
    struct pace_limits limits;
};
struct limiter *limiter_new(const struct limiter_options *o); /* NULL: no memory */
void limiter_free(struct limiter *l);

struct limiter_cost {
    int64_t input, input_var;   /* tokens; var in tokens squared */
    int64_t output, output_var; /* a provider that charges output up front: give it as input */
    int64_t tokens;             /* combined, as the provider charges it up front; never given back after sending */
    int64_t microusd;
    int64_t expect_ms, least_ms; /* duration: expected; hardly shorter than (expected less deviation) */
};
struct limiter_ticket { /* of a granted call; zeroed: none. Kept by the call until limiter_done */
    int64_t slot, output_slot, gen;
    struct limiter_cost cost;
    bool is_held, is_probe, is_local, is_begun;
};
/* May it go? From the leases in hand, or the local share while Redis is away. */
bool limiter_take(struct limiter *l, const struct limiter_cost *c, int64_t now_ms, struct limiter_ticket *ret);

/* Why a call does not go, after limiter_take said no. `until_ms`: expected, monotonic; a guess while a trade is under
 * way. */
enum limiter_why {
    LIMITER_WHY_NONE,
    LIMITER_WHY_BUDGET,    /* rate */
    LIMITER_WHY_CLOSED,    /* the provider refused for speed */
    LIMITER_WHY_OUTAGE,
    LIMITER_WHY_EXHAUSTED, /* its quota, or our requests a day */
    LIMITER_WHY_CONCURRENCY,
    LIMITER_WHY_SPEND
};
const char *limiter_why_name(enum limiter_why why); /* budget closed outage exhausted concurrency spend; "" */
struct limiter_wait {
    int64_t until_ms;
    enum limiter_why why;
};
void limiter_wait(const struct limiter *l, int64_t now_ms, struct limiter_wait *ret);

/* What waits, by rank; flows with what they were served. Borrowed for the call. */
struct limiter_ask {
    struct pace_demand demand[PACE_RANK_COUNT];
    int64_t expect_ms, least_ms; /* of the waiting calls, on average */
    const struct pace_flow *flows;
    size_t flow_count; /* at most PACE_FLOWS_MAX */
};
/* Adds a call to a demand. */
void limiter_demand_add(struct pace_demand *d, const struct limiter_cost *c);
/* A trade is to be sent now. `best`: the rank of the most urgent of those whom limiter_take has refused,
 * PACE_RANK_COUNT: nobody waits. Never true while a trade is under way. */
bool limiter_is_due(const struct limiter *l, enum pace_rank best, int64_t now_ms);
/* When limiter_is_due will become true of itself; while a trade is under way and somebody waits, when limiter_take is
 * to be tried again, should no answer come (the local share). INT64_MAX never. */
int64_t limiter_due_ms(const struct limiter *l, enum pace_rank best, int64_t now_ms);
/* Fills the trade; its pointers are good until limiter_traded, or the next change of `ask`'s flows. */
void limiter_trade(struct limiter *l, const struct limiter_ask *ask, int64_t now_ms, struct pace_trade *ret);
/* The answer, or e. Ranks in r->ranks are the asker's to read. */
void limiter_traded(struct limiter *l, const struct err *e, const struct pace_traded *r, int64_t now_ms);

/* --- what becomes of a call -------------------------------------------------------------------- */
/* The input is known before the end (first chunk of a stream). */
void limiter_input_known(struct limiter *l, struct limiter_ticket *t, int64_t input, int64_t now_ms);
/* Headers, as soon as they are there; later ones replace earlier ones, field by field. */
void limiter_told(struct limiter *l, const struct pace_told told[PACE_DIM_COUNT], int64_t now_ms);
/* The reply has begun well (2xx and headers): a probe has succeeded, a success counts against an outage. Once a call;
 * limiter_done(LIMITER_OK) does it where it was not done. */
void limiter_begun(struct limiter *l, struct limiter_ticket *t, int64_t now_ms);

enum limiter_end {
    LIMITER_OK,
    LIMITER_UNSENT,    /* never left: all comes back */
    LIMITER_REFUSED,   /* a 429 for speed: all comes back, unless the provider counts refused calls */
    LIMITER_FAILED,    /* outage: 5xx, no connection */
    LIMITER_EXHAUSTED, /* quota or money at the provider */
    LIMITER_BROKEN     /* cut, canceled, refused by content: says nothing of the provider */
};
struct limiter_outcome {
    enum limiter_end end;
    int64_t input, output;  /* -1 unknown: the estimate stands */
    int64_t microusd;       /* -1 unknown */
    int64_t retry_after_ms; /* REFUSED, EXHAUSTED, FAILED; 0 not told */
    bool is_counted;        /* REFUSED: this provider counts refused calls */
};
/* Gives the ticket back; it is zeroed. */
void limiter_done(struct limiter *l, struct limiter_ticket *t, const struct limiter_outcome *o, int64_t now_ms);

/* --- to see ------------------------------------------------------------------------------------ */
struct limiter_state {
    enum pace_state state;
    enum pace_close close;
    int64_t until_ms;              /* of CLOSED; monotonic */
    int64_t limit[PACE_DIM_COUNT]; /* in force, 0 = unknown or none */
    int64_t workers;               /* that share the budget */
};
void limiter_state(const struct limiter *l, struct limiter_state *ret);

#endif
