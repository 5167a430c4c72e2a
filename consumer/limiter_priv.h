#ifndef CONSUMER_LIMITER_PRIV_H
#define CONSUMER_LIMITER_PRIV_H
#include "consumer/limiter.h"

/* Shared by limiter*.c alone. */
enum {
    LIMITER_LOTS_MAX = 4,
    LIMITER_SETTLES_MAX = 256, /* kept until they are told; past it the oldest stand as reserved */
    LIMITER_NAME_MAX = 256,
    LIMITER_USES_MAX = 14,     /* buckets of PACE_HISTORY_MS */
    LIMITER_SETTLE_MS = 250,   /* what is to be told waits no longer */
    LIMITER_ALIVE_MS = 10000,  /* a worker with calls in flight is heard of so often */
    LIMITER_RETRY_MS = 200,
    LIMITER_LATE_MS = 1000, /* no answer for so long: Redis is away; one that is lost is only asked for again */
    LIMITER_POLL_MAX_MS = 30000
};

struct limiter_lot { /* credit in hand */
    struct pace_amount left;
    int64_t until_ms, slot, output_slot, gen;
    bool is_probe;
};

struct limiter_use { /* own grants of one bucket of time */
    int64_t bucket;
    struct pace_amount leased, local; /* local: without Redis, not told yet */
};

/* What a trade tells of calls: gathered while one is under way, then sent, and sent again until it
 * is acknowledged. */
struct limiter_news {
    struct pace_settle settles[PACE_SETTLES_MAX];
    size_t settle_count;
    struct pace_told told[PACE_DIM_COUNT];
    struct pace_amount history[PACE_HISTORY_COUNT];
    bool has_history;
    int64_t told_ms, output_made;
    int64_t gen, close_ms, oks, fails;
    enum pace_close close;
    enum pace_probe probe;
};

struct limiter {
    char budget[LIMITER_NAME_MAX], incarnation[LIMITER_NAME_MAX];
    struct pace_limits limits;
    struct limiter_lot lots[LIMITER_LOTS_MAX];
    size_t lot_count;
    struct pace_settle settles[LIMITER_SETTLES_MAX];
    size_t settle_count;
    struct limiter_news next, sent; /* settles of next stand in `settles` */
    int64_t unsent_ms;              /* since when there is news; INT64_MAX none */
    bool is_urgent;                 /* a verdict that the fleet waits for */
    bool is_trading, is_repeat;     /* `sent` is under way; it was lost and goes again */
    int64_t seq, sent_ms;
    enum pace_rank asked_rank; /* the most urgent that was told */
    struct pace_traded last;
    int64_t answered_ms, answer_sent_ms; /* of last; 0 none yet */
    int64_t not_before_ms, eta_ms, closed_ms, rtt_ms, born_ms;
    bool is_failing, tells_uses;
    int64_t retry_ms, failed_ms; /* failed: the first of those in a row was sent */
    double level[PACE_DIM_COUNT]; /* the local share, without Redis */
    int64_t level_ms;
    struct limiter_use uses[LIMITER_USES_MAX];
    struct pace_amount since; /* used since the last trade: what the next lease is sized by */
    int64_t in_flight;
};

void limiter_amount_add(struct pace_amount *into, const struct pace_amount *a, int64_t sign);
struct pace_amount limiter_amount(const struct limiter_cost *c);
/* Notes a correction for the next trade. */
void limiter_settle(struct limiter *l, const struct pace_settle *s, int64_t now_ms);
void limiter_news_at(struct limiter *l, int64_t now_ms);
/* Gives back the leases whose time is over; with all: every one. */
void limiter_lots_return(struct limiter *l, bool all, int64_t now_ms);
void limiter_verdict_probe(struct limiter *l, int64_t gen, enum pace_probe how);
bool limiter_is_away(const struct limiter *l, int64_t now_ms);

#endif
