/* A trade as arguments, its answer as a struct. The order of both is that of the comment above
 * trade() in redis/sluice_pace_v1/5_trade.lua.
 *
 * What comes from a provider's headers may be anything: here it is made whole, each field for
 * itself, so that the library sees only numbers it can count with. */
#include "schemas/fn_pace.h"

#include "common/base/hash.h"
#include "schemas/fn_priv.h"
#include <assert.h>

enum {
    PACE_FIXED = 3 + 4 + 36, /* the command, keys, pace_arg_fixed */
    PACE_ARGV_MAX = PACE_FIXED + 12 * PACE_RANK_COUNT + 12 + 9 * PACE_SETTLES_MAX +
                    4 * PACE_HISTORY_COUNT + 5 * PACE_FLOWS_MAX,
    PACE_RESET_MAX_MS = 3600000,
    PACE_NAME_MAX = 120,
    PACE_ANSWER_FIXED = 28,
    PACE_VIEW_FIXED = 17,
    PACE_VIEW_DIM = 8
};

struct pace_args {
    struct view argv[PACE_ARGV_MAX];
    char text[PACE_ARGV_MAX][BUF_DECIMAL];
    char keys[4][FN_KEY_MAX];
    size_t count;
};

static void pace_arg(struct pace_args *a, struct view v)
{
    assert(a->count < PACE_ARGV_MAX);
    a->argv[a->count++] = v.ptr ? v : VIEW_LIT("");
}

static void pace_arg_int(struct pace_args *a, int64_t n)
{
    char *text = a->text[a->count];
    if (n > PACE_NUMBER_MAX * 10) n = PACE_NUMBER_MAX * 10;
    if (n < -PACE_NUMBER_MAX * 10) n = -PACE_NUMBER_MAX * 10;
    pace_arg(a, view_make(text, buf_decimal(n, text)));
}

static void pace_arg_count(struct pace_args *a, int64_t n) /* never below zero */
{
    pace_arg_int(a, n > 0 ? n : 0);
}

/* A name too long for a key is cut, and a digest of all of it put at its end. */
static struct view pace_short(struct view budget, char ret[PACE_NAME_MAX + 1])
{
    enum { DIGEST = 16, KEPT = PACE_NAME_MAX - 2 * DIGEST - 1 };
    unsigned char sum[SHA256_BYTES];
    if (budget.len <= PACE_NAME_MAX) return budget;
    hash_sha256(budget, sum);
    memcpy(ret, budget.ptr, KEPT);
    ret[KEPT] = '~';
    hash_hex(sum, DIGEST, ret + KEPT + 1);
    return view_make(ret, PACE_NAME_MAX);
}

static void pace_arg_keys(struct pace_args *a, struct view budget)
{
    char name[PACE_NAME_MAX + 1];
    static const char *const tails[] = {"", ":s", ":f", ":w"};
    for (size_t i = 0; i < 4; i++) {
        struct view key = fn_key(FN_KEY_BUDGET, pace_short(budget, name), a->keys[i]);
        size_t n = strlen(tails[i]);
        assert(key.len + n < FN_KEY_MAX);
        memcpy(a->keys[i] + key.len, tails[i], n + 1);
        pace_arg(a, view_make(a->keys[i], key.len + n));
    }
}

static void pace_arg_limits(struct pace_args *a, const struct pace_limits *l)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) pace_arg_count(a, l->per_minute[d]);
    pace_arg_count(a, l->requests_per_day);
    pace_arg_count(a, l->concurrency);
    pace_arg_count(a, l->spend_per_day_microusd);
    pace_arg_count(a, l->quantum_ms < 60000 ? l->quantum_ms : 60000);
    pace_arg_count(a, l->start > 0 ? l->start : 60);
    pace_arg_int(a, l->learns);
}

/* input output tokens input_var output_var micro dollars: dimensions 2 to 7 of the library. */
static void pace_arg_amount(struct pace_args *a, const struct pace_amount *m)
{
    for (size_t d = PACE_INPUT; d < PACE_DIM_COUNT; d++) pace_arg_int(a, m->n[d]);
    pace_arg_int(a, m->input_var);
    pace_arg_int(a, m->output_var);
    pace_arg_int(a, m->microusd);
}

static void pace_arg_told(struct pace_args *a, const struct pace_told *t)
{
    int64_t limit = t->limit > 0 && t->limit <= PACE_NUMBER_MAX ? t->limit : -1;
    int64_t left = t->remaining >= 0 && t->remaining <= PACE_NUMBER_MAX ? t->remaining : -1;
    int64_t reset = t->reset_ms >= 0 && t->reset_ms <= PACE_RESET_MAX_MS ? t->reset_ms : -1;
    if (limit > 0 && left > limit) left = -1;
    pace_arg_int(a, limit);
    pace_arg_int(a, left);
    pace_arg_int(a, reset);
}

static bool pace_is_told(const struct pace_trade *t)
{
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (t->told[d].limit > 0 || t->told[d].remaining >= 0) return true;
    return false;
}

static void pace_arg_fixed(struct pace_args *a, const struct pace_trade *t)
{
    pace_arg(a, t->incarnation);
    pace_arg_count(a, t->seq);
    pace_arg_count(a, t->seen);
    pace_arg_count(a, t->since_ms);
    pace_arg_count(a, t->day);
    pace_arg_count(a, t->day_requests);
    pace_arg_count(a, t->day_microusd);
    pace_arg_limits(a, &t->limits);
    pace_arg_count(a, t->in_flight);
    pace_arg_count(a, t->rtt_ms);
    pace_arg_count(a, t->output_made);
    pace_arg_count(a, t->gen);
    pace_arg_int(a, t->close);
    pace_arg_count(a, t->close_ms);
    pace_arg_count(a, t->oks);
    pace_arg_count(a, t->fails);
    pace_arg_int(a, t->probe);
    pace_arg_count(a, t->expect_ms);
    pace_arg_count(a, t->least_ms);
    pace_arg_int(a, t->is_used);
    for (size_t q = 0; q < PACE_RANK_COUNT; q++) pace_arg_count(a, t->demand[q].calls);
    pace_arg_int(a, pace_is_told(t));
    pace_arg_int(a, (int64_t)t->settle_count);
    pace_arg_int(a, t->history ? PACE_HISTORY_COUNT : 0);
    pace_arg_int(a, (int64_t)t->flow_count);
}

static void pace_arg_lists(struct pace_args *a, const struct pace_trade *t)
{
    for (size_t q = 0; q < PACE_RANK_COUNT; q++) {
        if (t->demand[q].calls <= 0) continue;
        pace_arg_amount(a, &t->demand[q].first);
        pace_arg_amount(a, &t->demand[q].all);
    }
    for (size_t d = 0; d < PACE_DIM_COUNT && pace_is_told(t); d++) pace_arg_told(a, &t->told[d]);
    for (size_t i = 0; i < t->settle_count; i++) {
        pace_arg_count(a, t->settles[i].slot);
        pace_arg_count(a, t->settles[i].output_slot);
        pace_arg_int(a, t->settles[i].delta.n[PACE_REQUESTS]);
        pace_arg_amount(a, &t->settles[i].delta);
    }
    for (size_t i = 0; i < PACE_HISTORY_COUNT && t->history; i++)
        for (size_t d = 0; d < PACE_DIM_COUNT; d++) pace_arg_count(a, t->history[i].n[d]);
    for (size_t i = 0; i < t->flow_count; i++) {
        const struct pace_flow *w = &t->flows[i];
        assert(w->group >= 0 && w->group <= 8);
        pace_arg(a, w->name);
        pace_arg_int(a, w->group);
        pace_arg_count(a, w->weight);
        pace_arg_int(a, w->served); /* may be taken back */
        pace_arg_int(a, w->is_waiting);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

static bool pace_read_all(const struct reply *r, int64_t *ret, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!fn_read_int(r, i, &ret[i])) return false;
    return true;
}

static bool pace_read(const struct reply *r, size_t flows, struct pace_traded *t)
{
    int64_t n[PACE_ANSWER_FIXED], rank;
    if (!pace_read_all(r, n, PACE_ANSWER_FIXED) || r->count != PACE_ANSWER_FIXED + flows)
        return false;
    t->lease = (struct pace_amount){
        .n = {n[0], n[1], n[2], n[3]}, .input_var = n[4], .output_var = n[5], .microusd = n[6]};
    t->ttl_ms = n[7];
    t->slot = n[8];
    t->output_slot = n[9];
    t->gen = n[10];
    t->seen = n[11];
    t->is_probe = n[12] == 1;
    t->reason = (enum pace_reason)n[13];
    t->wait_ms = n[14];
    t->eta_ms = n[15];
    t->state = (enum pace_state)n[16];
    t->close = (enum pace_close)n[17];
    t->until_ms = n[18];
    t->day = n[19];
    t->day_requests = n[20];
    t->day_microusd = n[21];
    t->age_ms = n[22];
    t->workers = n[23];
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) t->limit[d] = n[24 + d];
    for (size_t i = 0; i < flows; i++) {
        if (!fn_read_int(r, PACE_ANSWER_FIXED + i, &rank) || rank < 0 || rank >= PACE_RANK_COUNT)
            return false;
        t->ranks[i] = (enum pace_rank)rank;
    }
    return n[0] >= 0 && n[7] >= 0 && n[13] >= 0 && n[13] <= PACE_REASON_SPEND && n[14] >= 0 &&
           n[16] >= 0 && n[16] <= PACE_RAMPING && n[17] >= 0 && n[17] <= PACE_CLOSE_EXHAUSTED;
}

static void pace_decode_trade(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct pace_traded t = {.state = PACE_OPEN};
    bool ok = !e && pace_read(r, c->items, &t);
    if (!e && !fn_expect(ok, "pace_trade", &own)) e = &own;
    c->cb.pace(c->arg, e, e ? NULL : &t);
}

void fn_pace_trade(struct fn *f, const struct pace_trade *t, fn_pace_cb *cb, void *arg)
{
    struct pace_args a;
    a.count = 0;
    assert(t->settle_count <= PACE_SETTLES_MAX && t->flow_count <= PACE_FLOWS_MAX);
    pace_arg(&a, VIEW_LIT("FCALL"));
    pace_arg(&a, VIEW_LIT("sluice_pace_v1_trade"));
    pace_arg(&a, VIEW_LIT("4"));
    pace_arg_keys(&a, t->budget);
    pace_arg_fixed(&a, t);
    pace_arg_lists(&a, t);
    fn_start(
        f, a.argv, a.count,
        &(struct fn_ask){
            .decode = pace_decode_trade, .cb = {.pace = cb}, .arg = arg, .items = t->flow_count});
}

static bool pace_read_view(const struct reply *r, struct pace_view *v)
{
    int64_t n[PACE_VIEW_FIXED + PACE_VIEW_DIM * PACE_DIM_COUNT], found;
    if (!fn_read_int(r, 0, &found)) return false;
    if (found == 0) return true;
    if (!pace_read_all(r, n, sizeof n / sizeof *n)) return false;
    v->is_found = true;
    v->state = (enum pace_state)n[1];
    v->close = (enum pace_close)n[2];
    v->until_ms = n[3];
    v->share_permille = n[4];
    v->requests_today = n[5];
    v->microusd_today = n[6];
    v->in_flight = n[7];
    v->workers = n[8];
    v->closes = n[9];
    v->refusals = n[10];
    v->waiters = n[11];
    v->requests_per_day = n[12];
    v->spend_per_day_microusd = n[13];
    v->concurrency = n[14];
    v->fails = n[15];
    v->oks = n[16];
    for (size_t d = 0; d < PACE_DIM_COUNT; d++) {
        const int64_t *p = n + PACE_VIEW_FIXED + PACE_VIEW_DIM * d;
        v->dims[d] = (struct pace_view_dim){.limit = p[0],
                                            .configured = p[1],
                                            .told = p[2],
                                            .learnt = p[3],
                                            .used = p[4],
                                            .foreign = p[5],
                                            .available = p[6],
                                            .next_ms = p[7]};
    }
    return n[1] >= 0 && n[1] <= PACE_RAMPING && n[2] >= 0 && n[2] <= PACE_CLOSE_EXHAUSTED;
}

static void pace_decode_view(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct pace_view v = {.is_found = false};
    bool ok = !e && pace_read_view(r, &v);
    if (!e && !fn_expect(ok, "pace_view", &own)) e = &own;
    c->cb.pace_view(c->arg, e, e ? NULL : &v);
}

void fn_pace_view(struct fn *f, struct view budget, fn_pace_view_cb *cb, void *arg)
{
    struct pace_args a;
    a.count = 0;
    pace_arg(&a, VIEW_LIT("FCALL"));
    pace_arg(&a, VIEW_LIT("sluice_pace_v1_view"));
    pace_arg(&a, VIEW_LIT("4"));
    pace_arg_keys(&a, budget);
    fn_start(f, a.argv, a.count,
             &(struct fn_ask){.decode = pace_decode_view, .cb = {.pace_view = cb}, .arg = arg});
}
