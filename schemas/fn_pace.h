#ifndef SCHEMAS_FN_PACE_H
#define SCHEMAS_FN_PACE_H
#include "schemas/fn.h"

/* Pacing in Redis (schemas/redis/sluice_pace_v1/, a library of its own, loaded on demand): the state that the whole
 * fleet shares about one budget, and the one call that changes it. A budget is (provider, model at the provider,
 * credential). Keys: rl:{<budget>} hash, rl:{<budget>}:s slots of the window, :f flows, :w workers; all of them expire.
 *
 * A **trade** carries what a worker has to tell (what became of what it was granted, what the provider said, what
 * waits) and brings back a lease and the budget's state. All-or-nothing, on the server's clock. A trade is numbered by
 * its worker: sent again after a lost answer, what it tells is not counted twice.
 *
 * Numbers are taken field by field: what is negative, absurd or above PACE_NUMBER_MAX is ignored or cut. */

enum pace_dim { PACE_REQUESTS, PACE_INPUT, PACE_OUTPUT, PACE_TOKENS, PACE_DIM_COUNT };
enum {
    PACE_SETTLES_MAX = 12, /* of one trade */
    PACE_FLOWS_MAX = 24,
    PACE_HISTORY_COUNT = 13, /* buckets of 5 s, the first is the present one */
    PACE_HISTORY_MS = 5000
};
#define PACE_NUMBER_MAX 1000000000000 /* tokens, micro dollars */

struct pace_limits { /* as configured; 0 = not configured */
    int64_t per_minute[PACE_DIM_COUNT];
    int64_t requests_per_day, concurrency, spend_per_day_microusd;
    int64_t quantum_ms; /* the provider counts in quanta of so long: rate exactly limit / minute, burst one quantum */
    int64_t start;      /* requests a minute to begin with while nothing is known; 0 = 60 */
    bool learns;        /* false: what the provider says does not change the limits; its 429s still close */
};
struct pace_amount {
    int64_t n[PACE_DIM_COUNT];
    int64_t input_var, output_var; /* tokens squared: what is not certain yet */
    int64_t microusd;
};
struct pace_told { /* by the provider; -1 = not told. reset: from now */
    int64_t limit, remaining, reset_ms;
};
enum pace_close { PACE_CLOSE_NONE, PACE_CLOSE_THROTTLE, PACE_CLOSE_OUTAGE, PACE_CLOSE_EXHAUSTED };
enum pace_probe { PACE_PROBE_NONE, PACE_PROBE_OK, PACE_PROBE_FAILED, PACE_PROBE_UNUSED };

/* Corrections (used less reserved) of what was granted under these slots; output_slot holds the output's part. */
struct pace_settle {
    int64_t slot, output_slot;
    struct pace_amount delta; /* n[PACE_OUTPUT], output_var at output_slot; the rest at slot */
};

/* Who asks. QUIET: uses less than its share, its calls may take everything; EVEN: all above a reserve of 1 % of the
 * minute; AHEAD of others that wait: all above twice that. */
enum pace_rank { PACE_QUIET, PACE_EVEN, PACE_AHEAD, PACE_RANK_COUNT };
struct pace_demand { /* zeroed: nothing */
    int64_t calls;
    struct pace_amount first, all; /* of the first call, of all (the first included) */
};
struct pace_flow { /* a class (group 0) or a tenant of a class (group 1 + class) */
    struct view name;
    int64_t group, weight;
    int64_t served; /* tokens since it was told last */
    bool is_waiting;
};

struct pace_trade {
    struct view budget, incarnation; /* of the worker */
    int64_t seq;                     /* of this worker and budget, from 1; the same when it is sent again */
    int64_t seen;                    /* the budget's own number as the last answer gave it; 0 = none yet */
    int64_t since_ms;                /* monotonic, since that answer's trade was sent: Redis' clock goes no faster */
    int64_t day, day_requests, day_microusd; /* as the last answer gave them: a wipe does not forget what was spent */
    struct pace_limits limits;
    int64_t in_flight;               /* calls, and those the leases in hand still allow */
    int64_t rtt_ms;                  /* of the last trade: leases live longer where the way is long */
    const struct pace_settle *settles;
    size_t settle_count;
    int64_t output_made;             /* output that ended since the last trade: it counts now */
    struct pace_told told[PACE_DIM_COUNT];
    /* Verdicts about calls granted under `gen`; of an older gen than the budget's they are void. */
    int64_t gen;
    enum pace_close close;
    int64_t close_ms;                /* told by the provider; 0 = not told */
    int64_t oks, fails;
    enum pace_probe probe;
    struct pace_demand demand[PACE_RANK_COUNT];
    int64_t expect_ms;               /* how long the waiting calls will take */
    int64_t least_ms;                /* and what they will hardly be shorter than: expect less deviation */
    const struct pace_flow *flows;
    size_t flow_count;
    /* Own use that the budget does not know (it is younger, or we were without Redis); NULL = none. By age. */
    const struct pace_amount *history; /* PACE_HISTORY_COUNT */
    bool is_used;                    /* this worker has used the budget within the last minute */
};

enum pace_state { PACE_OPEN, PACE_CLOSED, PACE_PROBING, PACE_RAMPING };
/* Why less was granted than asked for. */
enum pace_reason {
    PACE_REASON_NONE,
    PACE_REASON_RATE,
    PACE_REASON_CLOSED,
    PACE_REASON_CONCURRENCY,
    PACE_REASON_DAY,
    PACE_REASON_SPEND
};
struct pace_traded {
    struct pace_amount lease;     /* n[PACE_REQUESTS] 0: nothing */
    int64_t ttl_ms;               /* from when the trade was sent */
    int64_t slot, output_slot;    /* of the lease */
    int64_t gen, seen;
    bool is_probe;                /* the lease is the one call that tries whether the budget is open again */
    enum pace_reason reason;
    int64_t wait_ms;              /* not all granted: ask again then */
    int64_t eta_ms;               /* and when it is expected, not before wait_ms */
    enum pace_state state;
    enum pace_close close;        /* of CLOSED and PROBING */
    int64_t until_ms;             /* of CLOSED: from now */
    int64_t day, day_requests, day_microusd;
    int64_t age_ms;               /* since this budget was begun anew (first use, wipe) */
    int64_t workers;              /* that used it within the last 30 s */
    int64_t limit[PACE_DIM_COUNT]; /* in force, 0 = unknown or none */
    enum pace_rank ranks[PACE_FLOWS_MAX]; /* of the flows, in order */
};
typedef void fn_pace_cb(void *arg, const struct err *e, const struct pace_traded *t);
void fn_pace_trade(struct fn *f, const struct pace_trade *t, fn_pace_cb *cb, void *arg);

/* What /v1/limits shows of one budget; changes nothing. */
struct pace_view_dim {
    int64_t limit;      /* in force, 0 = none */
    int64_t configured, told, learnt; /* 0 = not */
    int64_t used;       /* of the last minute, what is granted but not settled included */
    int64_t foreign;    /* of strangers on the same key */
    int64_t available;  /* could be granted now; -1 = nothing limits it */
    int64_t next_ms;    /* until one unit more can be; 0 = now, -1 = nothing limits it */
};
struct pace_view {
    bool is_found;
    enum pace_state state;
    enum pace_close close;
    int64_t until_ms;   /* from now; 0 = not closed */
    int64_t share_permille; /* of RAMPING */
    struct pace_view_dim dims[PACE_DIM_COUNT];
    int64_t requests_today, microusd_today, in_flight, workers;
    int64_t closes, refusals; /* since the budget was begun */
    int64_t waiters;          /* calls, as the workers told within the last 30 s */
    int64_t requests_per_day, spend_per_day_microusd, concurrency; /* in force, 0 = none */
    int64_t fails, oks;       /* of the last 10 s, what the breaker counts */
};
typedef void fn_pace_view_cb(void *arg, const struct err *e, const struct pace_view *v);
void fn_pace_view(struct fn *f, struct view budget, fn_pace_view_cb *cb, void *arg);

#endif
