/* Usage as Redis calls: encoding of batches, decoding of totals, and the shape of keys and fields.
 *
 * A batch is one call with a key for each tenant and day it touches, so that all of it counts or
 * nothing, and one number decides about repeats. It is far wider than the other calls and comes
 * once a second, so its arguments are gathered in an arena and not on the stack. */
#include "schemas/fn_usage.h"

#include "common/base/clock.h"
#include "schemas/fn_priv.h"
#include <assert.h>

enum {
    USAGE_COUNTS = 6,
    USAGE_HASHES_MAX = 2 * FN_USAGE_ROWS_MAX + FN_USAGE_ASKS_MAX,
    USAGE_ARGV_MAX = 3 + 2 + USAGE_HASHES_MAX + 4 + USAGE_HASHES_MAX +
                     FN_USAGE_ROWS_MAX * (3 + USAGE_COUNTS) + FN_USAGE_ASKS_MAX * 3,
    USAGE_ARENA_MAX = 1 << 20
};

/* --- shapes ------------------------------------------------------------------------------------
 */

struct view fn_usage_key(struct view tenant, int64_t day, char ret[FN_USAGE_KEY_MAX])
{
    char date[CLOCK_DAY_TEXT];
    clock_day_format(day, date);
    int len = snprintf(ret, FN_USAGE_KEY_MAX, "us:{%.*s}:%.4s%.2s%.2s", (int)tenant.len,
                       tenant.len ? tenant.ptr : "", date, date + 5, date + 8);
    return view_make(ret, len < FN_USAGE_KEY_MAX ? (size_t)len : FN_USAGE_KEY_MAX - 1);
}

struct view fn_usage_since_key(void)
{
    return VIEW_LIT("us:since");
}

bool fn_usage_read_field(struct view field, struct view *ret_workflow, struct view *ret_model)
{
    return view_cut(field, '|', ret_workflow, ret_model);
}

bool fn_usage_read_counts(struct view value, struct fn_usage_counts *ret)
{
    int64_t n[USAGE_COUNTS];
    struct view rest = value, text;
    for (size_t i = 0; i < USAGE_COUNTS; i++) {
        bool is_last = i + 1 == USAGE_COUNTS;
        if (is_last)
            text = rest;
        else if (!view_cut(rest, ',', &text, &rest))
            return false;
        if (!view_i64(text, &n[i]) || n[i] < 0) return false;
    }
    *ret = (struct fn_usage_counts){.calls = n[0],
                                    .input = n[1],
                                    .cached_input = n[2],
                                    .output = n[3],
                                    .microusd = n[4],
                                    .unpriced = n[5]};
    return true;
}

static int64_t usage_plus(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

void fn_usage_sum(struct fn_usage_counts *into, const struct fn_usage_counts *c)
{
    into->calls = usage_plus(into->calls, c->calls);
    into->input = usage_plus(into->input, c->input);
    into->cached_input = usage_plus(into->cached_input, c->cached_input);
    into->output = usage_plus(into->output, c->output);
    into->microusd = usage_plus(into->microusd, c->microusd);
    into->unpriced = usage_plus(into->unpriced, c->unpriced);
}

/* --- encoding ----------------------------------------------------------------------------------
 */

struct usage_args {
    struct arena *arena;
    struct view argv[USAGE_ARGV_MAX];
    size_t count;
    struct view hashes[USAGE_HASHES_MAX];
    int64_t ends[USAGE_HASHES_MAX];
    size_t hash_count;
    bool is_failed; /* no memory */
};

static void usage_arg(struct usage_args *a, struct view v)
{
    assert(a->count < USAGE_ARGV_MAX);
    a->argv[a->count++] = v.ptr ? v : VIEW_LIT("");
}

static void usage_arg_int(struct usage_args *a, int64_t n)
{
    char *text = arena_alloc(a->arena, BUF_DECIMAL);
    a->is_failed = a->is_failed || !text;
    usage_arg(a, text ? view_make(text, buf_decimal(n, text)) : VIEW_NONE);
}

static void usage_arg_text(struct usage_args *a, const char *text, size_t len)
{
    struct view v = arena_view(a->arena, view_make(text, len));
    a->is_failed = a->is_failed || !v.ptr;
    usage_arg(a, v);
}

/* The index (from 1) of a hash among the keys, which it joins when it is new. */
static int64_t usage_hash(struct usage_args *a, struct view tenant, int64_t day,
                          int64_t retention_ms)
{
    char text[FN_USAGE_KEY_MAX];
    struct view key = fn_usage_key(tenant, day, text);
    size_t i = 0;
    while (i < a->hash_count && !view_eq(a->hashes[i], key)) i++;
    if (i < a->hash_count) return (int64_t)i + 1;
    assert(i < USAGE_HASHES_MAX);
    a->hashes[i] = arena_view(a->arena, key);
    a->is_failed = a->is_failed || !a->hashes[i].ptr;
    a->ends[i] = (day + 1) * CLOCK_DAY_MS + retention_ms;
    a->hash_count = i + 1;
    return (int64_t)i + 1;
}

static int64_t usage_count_arg(int64_t n)
{
    return n > 0 ? n : 0;
}

static void usage_arg_row(struct usage_args *a, const struct fn_usage_batch *b,
                          const struct fn_usage_row *r)
{
    char field[256];
    int len = snprintf(field, sizeof field, "%.*s|%.*s", (int)r->workflow.len,
                       r->workflow.len ? r->workflow.ptr : "", (int)r->model.len,
                       r->model.len ? r->model.ptr : "");
    const struct fn_usage_counts *c = &r->counts;
    usage_arg_int(a, usage_hash(a, r->tenant, r->day, b->retention_ms));
    usage_arg_int(a, usage_hash(a, VIEW_NONE, r->day, b->retention_ms));
    if (len < (int)sizeof field)
        usage_arg_text(a, field, (size_t)len);
    else
        usage_arg(a, VIEW_LIT("|"));
    usage_arg_int(a, usage_count_arg(c->calls));
    usage_arg_int(a, usage_count_arg(c->input));
    usage_arg_int(a, usage_count_arg(c->cached_input));
    usage_arg_int(a, usage_count_arg(c->output));
    usage_arg_int(a, usage_count_arg(c->microusd));
    usage_arg_int(a, usage_count_arg(c->unpriced));
}

/* The hashes of rows and asks, found before their arguments are written: keys stand in front. */
static void usage_find_hashes(struct usage_args *a, const struct fn_usage_batch *b)
{
    for (size_t i = 0; i < b->row_count; i++) {
        (void)usage_hash(a, b->rows[i].tenant, b->rows[i].day, b->retention_ms);
        (void)usage_hash(a, VIEW_NONE, b->rows[i].day, b->retention_ms);
    }
    for (size_t i = 0; i < b->ask_count; i++)
        (void)usage_hash(a, b->asks[i].tenant, b->today, b->retention_ms);
}

/* In the order that sluice_usage_v1.lua names above `add`. */
static void usage_gather(struct usage_args *a, const struct fn_usage_batch *b)
{
    char beat[FN_KEY_MAX];
    usage_find_hashes(a, b);
    usage_arg(a, VIEW_LIT("FCALL"));
    usage_arg(a, VIEW_LIT("sluice_usage_v1_add"));
    usage_arg_int(a, (int64_t)a->hash_count + 2);
    int len = snprintf(beat, sizeof beat, "us:w:%.*s", (int)b->incarnation.len,
                       b->incarnation.len ? b->incarnation.ptr : "");
    usage_arg_text(a, beat, len < FN_KEY_MAX ? (size_t)len : FN_KEY_MAX - 1);
    usage_arg(a, fn_usage_since_key());
    for (size_t i = 0; i < a->hash_count; i++) usage_arg(a, a->hashes[i]);
    usage_arg_int(a, b->seq);
    usage_arg_int(a, FN_USAGE_FIELDS_MAX);
    usage_arg_int(a, (int64_t)b->row_count);
    usage_arg_int(a, (int64_t)b->ask_count);
    for (size_t i = 0; i < a->hash_count; i++) usage_arg_int(a, a->ends[i]);
    for (size_t i = 0; i < b->row_count; i++) usage_arg_row(a, b, &b->rows[i]);
    for (size_t i = 0; i < b->ask_count; i++) {
        usage_arg_int(a, usage_hash(a, b->asks[i].tenant, b->today, b->retention_ms));
        usage_arg_int(a, usage_count_arg(b->asks[i].tokens));
        usage_arg_int(a, usage_count_arg(b->asks[i].microusd));
    }
}

/* --- decoding ----------------------------------------------------------------------------------
 */

/* The tenant of ask i, read back from the call: its key stands among the arguments. */
static struct view usage_tenant(const struct fn_call *c, size_t i)
{
    struct view head, rest, tenant, tail;
    int64_t hash = 0;
    if (!view_i64(c->argv[c->argc - 3 * (c->items - i)], &hash)) return VIEW_NONE;
    if (!view_cut(c->argv[4 + (size_t)hash], '{', &head, &rest)) return VIEW_NONE;
    return view_cut(rest, '}', &tenant, &tail) ? tenant : VIEW_NONE;
}

static bool usage_read_totals(const struct fn_call *c, const struct reply *r,
                              struct fn_usage_total totals[])
{
    if (r->kind != REPLY_ARRAY || r->count != 1 + 2 * c->items) return false;
    for (size_t i = 0; i < c->items; i++) {
        totals[i].tenant = usage_tenant(c, i);
        if (!fn_read_int(r, 1 + 2 * i, &totals[i].tokens) ||
            !fn_read_int(r, 2 + 2 * i, &totals[i].microusd))
            return false;
    }
    return true;
}

static void fn_decode_usage(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct fn_usage_total totals[FN_USAGE_ASKS_MAX];
    int64_t repeat = 0;
    bool ok = !e && fn_read_int(r, 0, &repeat) && usage_read_totals(c, r, totals);
    if (!e && !fn_expect(ok, "usage", &own)) e = &own;
    const struct fn_usage_added a = {
        .is_repeat = repeat == 1, .totals = totals, .total_count = c->items};
    c->cb.usage(c->arg, e, e ? NULL : &a);
}

void fn_usage_add(struct fn *f, const struct fn_usage_batch *b, fn_usage_cb *cb, void *arg)
{
    struct err e;
    struct usage_args *a = calloc(1, sizeof *a);
    assert(b->row_count <= FN_USAGE_ROWS_MAX && b->ask_count <= FN_USAGE_ASKS_MAX);
    if (a) a->arena = arena_new(USAGE_ARENA_MAX);
    if (a && a->arena) usage_gather(a, b);
    if (a && a->arena && !a->is_failed) {
        const struct fn_ask ask = {
            .decode = fn_decode_usage, .cb = {.usage = cb}, .arg = arg, .items = b->ask_count};
        fn_start(f, a->argv, a->count, &ask);
    } else {
        err_set(&e, ERR_NOMEM, "redis usage: out of memory");
        cb(arg, &e, NULL);
    }
    if (a) arena_free(a->arena);
    free(a);
}
