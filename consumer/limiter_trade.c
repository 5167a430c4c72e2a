/* What goes into a trade and what its answer changes.
 *
 * A trade that got no answer may have been executed. It is sent again with the same number and the
 * same news, so the budget counts them once; what came up meanwhile waits for the next one. The
 * lease of a lost answer is lost too: it stays counted until its slot is forgotten. */
#include "consumer/limiter_priv.h"

#include <assert.h>
#include <string.h>

static int64_t limiter_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- when ------------------------------------------------------------------------------------- */

static int64_t limiter_waiting_due(const struct limiter *l, enum pace_rank best)
{
    if (best >= PACE_RANK_COUNT) return INT64_MAX;
    return best < l->asked_rank ? 0 : l->not_before_ms;
}

/* While an answer is out there is nothing to trade, but soon there may be room in the local share.
 */
static int64_t limiter_share_due(const struct limiter *l, enum pace_rank best, int64_t now_ms)
{
    int64_t late = (l->is_failing ? l->failed_ms : l->sent_ms) + LIMITER_LATE_MS + 1;
    if (best >= PACE_RANK_COUNT) return INT64_MAX;
    return late > now_ms ? late : now_ms + LIMITER_RETRY_MS;
}

int64_t limiter_due_ms(const struct limiter *l, enum pace_rank best, int64_t now_ms)
{
    int64_t due = limiter_waiting_due(l, best);
    if (l->is_trading) return limiter_share_due(l, best, now_ms);
    if (l->unsent_ms != INT64_MAX) due = limiter_min(due, l->unsent_ms + LIMITER_SETTLE_MS);
    for (size_t i = 0; i < l->lot_count; i++)
        due = limiter_min(due, l->lots[i].until_ms + LIMITER_SETTLE_MS);
    if (l->in_flight > 0) due = limiter_min(due, l->answered_ms + LIMITER_ALIVE_MS);
    if (l->is_urgent || l->is_repeat) due = 0;
    if (l->is_failing && due < l->retry_ms) due = l->retry_ms;
    return due > now_ms ? due : due == INT64_MAX ? due : now_ms;
}

bool limiter_is_due(const struct limiter *l, enum pace_rank best, int64_t now_ms)
{
    return !l->is_trading && limiter_due_ms(l, best, now_ms) <= now_ms;
}

/* --- filling ---------------------------------------------------------------------------------- */

/* Own use by age. Bucket k ended at most (k - 1) x 5 s ago, so it is told as so old: sooner is
 * safe. */
static void limiter_history(struct limiter *l, struct limiter_news *n, int64_t now_ms)
{
    int64_t present = now_ms / PACE_HISTORY_MS;
    for (size_t i = 0; i < LIMITER_USES_MAX; i++) {
        struct limiter_use *u = &l->uses[i];
        int64_t age = present - u->bucket;
        if (age > PACE_HISTORY_COUNT) continue;
        struct pace_amount sum = u->local;
        if (l->tells_uses && u->bucket * PACE_HISTORY_MS < l->born_ms)
            limiter_amount_add(&sum, &u->leased, 1);
        if (sum.n[PACE_REQUESTS] == 0) continue;
        limiter_amount_add(&n->history[age > 0 ? age - 1 : 0], &sum, 1);
        n->has_history = true;
        limiter_amount_add(&u->leased, &u->local, 1);
        u->local = (struct pace_amount){.n = {0}};
    }
    l->tells_uses = false;
}

static bool limiter_is_used(const struct limiter *l, int64_t now_ms)
{
    int64_t oldest = now_ms / PACE_HISTORY_MS - PACE_HISTORY_COUNT + 1;
    for (size_t i = 0; i < LIMITER_USES_MAX; i++)
        if (l->uses[i].bucket >= oldest && l->uses[i].leased.n[PACE_REQUESTS] > 0) return true;
    return false;
}

/* Moves what is to be told into the trade. */
static void limiter_pack(struct limiter *l, int64_t now_ms)
{
    size_t n = l->settle_count < PACE_SETTLES_MAX ? l->settle_count : PACE_SETTLES_MAX;
    l->sent = l->next;
    memcpy(l->sent.settles, l->settles, n * sizeof *l->settles);
    l->sent.settle_count = n;
    l->settle_count -= n;
    memmove(l->settles, l->settles + n, l->settle_count * sizeof *l->settles);
    limiter_history(l, &l->sent, now_ms);
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        struct pace_told *t = &l->sent.told[d];
        int64_t age = now_ms - l->sent.told_ms;
        if (t->reset_ms >= 0) t->reset_ms = t->reset_ms > age ? t->reset_ms - age : 0;
        l->next.told[d] = (struct pace_told){.limit = -1, .remaining = -1, .reset_ms = -1};
    }
    l->next.output_made = l->next.oks = l->next.fails = l->next.close_ms = 0;
    l->next.close = PACE_CLOSE_NONE;
    l->next.probe = PACE_PROBE_NONE;
    l->unsent_ms = l->settle_count ? now_ms : INT64_MAX;
    l->is_urgent = false;
    l->seq++;
}

static struct pace_amount limiter_part(const struct pace_amount *a, int64_t part, int64_t whole)
{
    struct pace_amount r = {.n = {0}};
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        r.n[d] = (int64_t)((double)a->n[d] * (double)part / (double)whole);
    r.input_var = (int64_t)((double)a->input_var * (double)part / (double)whole);
    r.output_var = (int64_t)((double)a->output_var * (double)part / (double)whole);
    r.microusd = (int64_t)((double)a->microusd * (double)part / (double)whole);
    return r;
}

/* While there is enough for everybody, what this worker will ask for within 250 ms comes along, as
 * the last 250 ms tell. */
static void limiter_foresee(const struct limiter *l, struct pace_demand *even, int64_t now_ms)
{
    int64_t calls = l->since.n[PACE_REQUESTS], passed = now_ms - l->answer_sent_ms;
    if (calls == 0 || l->last.reason != PACE_REASON_NONE || l->last.state != PACE_OPEN) return;
    if (passed < 50) passed = 50;
    int64_t more = calls * LIMITER_SETTLE_MS / passed;
    for (size_t i = 0; i < l->lot_count; i++) more -= l->lots[i].left.n[PACE_REQUESTS];
    if (more <= 0) return;
    const struct pace_amount all = limiter_part(&l->since, more, calls);
    if (even->calls == 0) {
        even->first = limiter_part(&l->since, 1, calls);
        even->first.n[PACE_REQUESTS] = 1;
    }
    even->calls += more;
    limiter_amount_add(&even->all, &all, 1);
    even->all.n[PACE_REQUESTS] = even->calls;
}

static void limiter_fill(const struct limiter *l, const struct limiter_ask *ask, int64_t now_ms,
                         struct pace_trade *t)
{
    const struct limiter_news *n = &l->sent;
    *t = (struct pace_trade){.budget = view_of(l->budget),
                             .incarnation = view_of(l->incarnation),
                             .seq = l->seq,
                             .seen = l->last.seen,
                             .since_ms = now_ms - l->answer_sent_ms,
                             .day = l->last.day,
                             .day_requests = l->last.day_requests,
                             .day_microusd = l->last.day_microusd,
                             .limits = l->limits,
                             .in_flight = l->in_flight,
                             .rtt_ms = l->rtt_ms,
                             .settles = n->settles,
                             .settle_count = n->settle_count,
                             .output_made = n->output_made,
                             .gen = n->gen,
                             .close = n->close,
                             .close_ms = n->close_ms,
                             .oks = n->oks,
                             .fails = n->fails,
                             .probe = n->probe,
                             .expect_ms = ask->expect_ms,
                             .least_ms = ask->least_ms,
                             .flows = ask->flows,
                             .flow_count = ask->flow_count,
                             .history = n->has_history ? n->history : NULL,
                             .is_used = limiter_is_used(l, now_ms)};
    memcpy(t->told, n->told, sizeof t->told);
    memcpy(t->demand, ask->demand, sizeof t->demand);
    for (size_t i = 0; i < l->lot_count; i++) t->in_flight += l->lots[i].left.n[PACE_REQUESTS];
}

void limiter_trade(struct limiter *l, const struct limiter_ask *ask, int64_t now_ms,
                   struct pace_trade *ret)
{
    bool is_waiting = false;
    assert(!l->is_trading && ask->flow_count <= PACE_FLOWS_MAX);
    l->asked_rank = PACE_RANK_COUNT;
    for (size_t q = PACE_RANK_COUNT; q-- > 0;) {
        if (ask->demand[q].calls == 0) continue;
        l->asked_rank = (enum pace_rank)q;
        is_waiting = true;
    }
    limiter_lots_return(l, is_waiting, now_ms); /* what is in hand was too little for who waits */
    if (!l->is_repeat) limiter_pack(l, now_ms);
    limiter_fill(l, ask, now_ms, ret);
    limiter_foresee(l, &ret->demand[PACE_EVEN], now_ms);
    l->since = (struct pace_amount){.n = {0}};
    l->is_trading = true;
    l->sent_ms = now_ms;
}

/* --- the answer ------------------------------------------------------------------------------- */

static void limiter_fail(struct limiter *l, int64_t now_ms)
{
    if (!l->is_failing) l->failed_ms = l->sent_ms;
    l->is_repeat = l->is_failing = true;
    l->retry_ms = now_ms + LIMITER_RETRY_MS;
}

static void limiter_lot_put(struct limiter *l, const struct pace_traded *r, int64_t now_ms)
{
    const struct limiter_lot lot = {.left = r->lease,
                                    .until_ms = l->sent_ms + r->ttl_ms,
                                    .slot = r->slot,
                                    .output_slot = r->output_slot,
                                    .gen = r->gen,
                                    .is_probe = r->is_probe};
    if (r->lease.n[PACE_REQUESTS] <= 0) return;
    if (l->lot_count == LIMITER_LOTS_MAX) limiter_lots_return(l, true, now_ms);
    l->lots[l->lot_count++] = lot;
    limiter_lots_return(l, false, now_ms); /* the answer may have come too late */
}

/* The budget was begun anew and does not know what we did before that. */
static void limiter_look_at_birth(struct limiter *l, const struct pace_traded *r, int64_t now_ms)
{
    int64_t born = now_ms - r->age_ms;
    if (born > l->born_ms + 1000 && l->answered_ms > 0 && limiter_is_used(l, now_ms) &&
        r->age_ms < 60000) {
        l->tells_uses = true;
        limiter_news_at(l, now_ms - LIMITER_SETTLE_MS);
        l->not_before_ms = now_ms;
    }
    if (born > l->born_ms + 1000) l->born_ms = born;
}

void limiter_traded(struct limiter *l, const struct err *e, const struct pace_traded *r,
                    int64_t now_ms)
{
    assert(l->is_trading);
    l->is_trading = false;
    if (e) {
        limiter_fail(l, now_ms);
        return;
    }
    bool is_closed = r->gen > l->last.gen;
    int64_t wait = r->wait_ms < LIMITER_POLL_MAX_MS ? r->wait_ms : LIMITER_POLL_MAX_MS;
    l->is_repeat = l->is_failing = false;
    l->level_ms = 0;
    l->rtt_ms = now_ms - l->sent_ms;
    l->not_before_ms = r->reason == PACE_REASON_NONE ? 0 : now_ms + wait;
    l->eta_ms = now_ms + r->eta_ms;
    l->closed_ms = r->state == PACE_CLOSED ? now_ms + r->until_ms : 0;
    limiter_look_at_birth(l, r, now_ms);
    l->last = *r;
    l->answered_ms = now_ms;
    l->answer_sent_ms = l->sent_ms;
    if (is_closed) limiter_lots_return(l, true, now_ms);
    limiter_lot_put(l, r, now_ms);
}

/* --- to see ----------------------------------------------------------------------------------- */

const char *limiter_why_name(enum limiter_why why)
{
    static const char *const names[] = {
        [LIMITER_WHY_NONE] = "",
        [LIMITER_WHY_BUDGET] = "budget",
        [LIMITER_WHY_CLOSED] = "closed",
        [LIMITER_WHY_OUTAGE] = "outage",
        [LIMITER_WHY_EXHAUSTED] = "exhausted",
        [LIMITER_WHY_CONCURRENCY] = "concurrency",
        [LIMITER_WHY_SPEND] = "spend",
    };
    return names[why];
}

static enum limiter_why limiter_why_closed(enum pace_close close)
{
    static const enum limiter_why of[] = {[PACE_CLOSE_NONE] = LIMITER_WHY_CLOSED,
                                          [PACE_CLOSE_THROTTLE] = LIMITER_WHY_CLOSED,
                                          [PACE_CLOSE_OUTAGE] = LIMITER_WHY_OUTAGE,
                                          [PACE_CLOSE_EXHAUSTED] = LIMITER_WHY_EXHAUSTED};
    return of[close];
}

void limiter_wait(const struct limiter *l, int64_t now_ms, struct limiter_wait *ret)
{
    static const enum limiter_why of[] = {[PACE_REASON_NONE] = LIMITER_WHY_NONE,
                                          [PACE_REASON_RATE] = LIMITER_WHY_BUDGET,
                                          [PACE_REASON_CLOSED] = LIMITER_WHY_CLOSED,
                                          [PACE_REASON_CONCURRENCY] = LIMITER_WHY_CONCURRENCY,
                                          [PACE_REASON_DAY] = LIMITER_WHY_EXHAUSTED,
                                          [PACE_REASON_SPEND] = LIMITER_WHY_SPEND};
    *ret = (struct limiter_wait){.until_ms = now_ms, .why = LIMITER_WHY_NONE};
    if (l->last.state == PACE_CLOSED && now_ms < l->closed_ms)
        *ret = (struct limiter_wait){l->closed_ms, limiter_why_closed(l->last.close)};
    else if (l->last.state == PACE_CLOSED || l->last.state == PACE_PROBING)
        *ret = (struct limiter_wait){now_ms + 1000, limiter_why_closed(l->last.close)};
    else if (l->last.reason != PACE_REASON_NONE)
        *ret = (struct limiter_wait){l->eta_ms, of[l->last.reason]};
    if (ret->until_ms < now_ms) ret->until_ms = now_ms;
    if (!limiter_is_away(l, now_ms) || ret->why != LIMITER_WHY_NONE) return;
    *ret = (struct limiter_wait){now_ms + LIMITER_RETRY_MS, LIMITER_WHY_BUDGET};
}

void limiter_state(const struct limiter *l, struct limiter_state *ret)
{
    *ret = (struct limiter_state){.state = l->last.state,
                                  .close = l->last.close,
                                  .until_ms = l->closed_ms,
                                  .workers = l->last.workers};
    memcpy(ret->limit, l->last.limit, sizeof ret->limit);
}
