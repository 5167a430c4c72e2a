/* The book of what was used.
 *
 * Two things are hard. A flush may be answered never although it counted: so its rows are taken out
 * of the book into a batch with a number, the batch is repeated as it is until it is answered, and
 * what is used meanwhile is summed beside it. And a tenant's total is made of three parts (what was
 * heard of the fleet, what is in the batch, what is not yet): each row leaves `untold` at the same
 * moment as it enters `heard`, so the sum never dips, which for a cap would mean to pay twice.
 *
 * Lists are in the order in which things are due: rows by their first count, tenants by how long
 * ago they were asked about. */
#include "consumer/usage.h"

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/metrics.h"
#include <stdlib.h>

enum {
    USAGE_FLUSH_MS = 1000,
    USAGE_WANTED_MS = 60000, /* totals are kept fresh for so long after they were last wanted */
    USAGE_STALE_MS = 5000,   /* what was heard so long ago is not known any more */
    USAGE_DAY_MS = 86400000,
    USAGE_KEY_MAX = 320
};

struct usage_row {
    struct list_link link;  /* rows or batch */
    struct fn_usage_row is; /* its views are of bytes */
    char bytes[];
};

struct usage_tenant {
    struct list_link link;
    int64_t day; /* of the sums */
    bool is_heard;
    int64_t heard_tokens, heard_microusd;   /* of the fleet */
    int64_t untold_tokens, untold_microusd; /* ours, in rows and batch */
    int64_t wanted_ms, heard_ms;            /* monotonic */
    size_t len;
    char name[];
};

struct usage {
    struct usage_options o;
    struct timer timer;
    struct map *index; /* day, tenant, workflow, model -> row of `rows` */
    struct list rows, batch;
    struct map *by_name;
    struct list tenants;
    struct usage_tenant *asked[FN_USAGE_ASKS_MAX]; /* of the flush under way */
    size_t asked_count;
    struct metric_series *lost;
    int64_t seq, asked_day;
    bool is_flying;
};

static void usage_due(void *arg);

/* --- tenants ------------------------------------------------------------------------------------
 */

static int64_t usage_day(const struct usage *u)
{
    return u->o.clock->wall_ms / USAGE_DAY_MS;
}

static struct view usage_name(const struct usage_tenant *t)
{
    return view_make(t->name, t->len);
}

static bool usage_is_wanted(const struct usage *u, const struct usage_tenant *t)
{
    return u->o.clock->mono_ms - t->wanted_ms < USAGE_WANTED_MS;
}

/* Each second FN_USAGE_ASKS_MAX of those who are wanted are asked about. */
static bool usage_is_fresh(const struct usage *u, const struct usage_tenant *t)
{
    int64_t rounds = 1 + (int64_t)(u->tenants.count / FN_USAGE_ASKS_MAX);
    return t->is_heard && u->o.clock->mono_ms - t->heard_ms < USAGE_STALE_MS * rounds;
}

static void usage_drop_tenant(struct usage *u, struct usage_tenant *t)
{
    list_remove(&u->tenants, &t->link);
    (void)map_remove(u->by_name, usage_name(t));
    free(t);
}

/* The one whose turn is furthest away makes room, when nothing of it is needed. */
static bool usage_make_room(struct usage *u)
{
    for (struct list_link *k = list_first(&u->tenants); k; k = list_next(&u->tenants, k)) {
        struct usage_tenant *t = LIST_ITEM(k, struct usage_tenant, link);
        if (u->is_flying || usage_is_wanted(u, t) || t->untold_tokens || t->untold_microusd)
            continue;
        usage_drop_tenant(u, t);
        return true;
    }
    return false;
}

static struct usage_tenant *usage_add_tenant(struct usage *u, struct view name)
{
    if (u->tenants.count >= USAGE_TENANTS_MAX && !usage_make_room(u)) return NULL;
    struct usage_tenant *t = calloc(1, sizeof *t + name.len);
    if (!t) return NULL;
    if (name.len) memcpy(t->name, name.ptr, name.len);
    t->len = name.len;
    t->day = usage_day(u);
    t->wanted_ms = u->o.clock->mono_ms - USAGE_WANTED_MS;
    if (!map_put(u->by_name, name, t)) {
        free(t);
        return NULL;
    }
    list_push(&u->tenants, &t->link);
    return t;
}

/* Its sums are of today. */
static struct usage_tenant *usage_tenant(struct usage *u, struct view name)
{
    struct usage_tenant *t = map_get(u->by_name, name);
    if (!t) t = usage_add_tenant(u, name);
    if (!t) return NULL;
    if (t->day == usage_day(u)) return t;
    t->day = usage_day(u);
    t->is_heard = false;
    t->heard_tokens = t->heard_microusd = t->untold_tokens = t->untold_microusd = 0;
    return t;
}

/* --- rows ---------------------------------------------------------------------------------------
 */

/* What a row is found by. VIEW_NONE: the names are longer than names can be. */
static struct view usage_row_key(const struct fn_usage_row *r, char ret[USAGE_KEY_MAX])
{
    const struct view parts[] = {r->tenant, r->workflow, r->model};
    size_t used = sizeof r->day;
    memcpy(ret, &r->day, used);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (used + parts[i].len + 1 > USAGE_KEY_MAX) return VIEW_NONE;
        if (parts[i].len) memcpy(ret + used, parts[i].ptr, parts[i].len);
        used += parts[i].len;
        ret[used++] = '\0';
    }
    return view_make(ret, used);
}

static struct view usage_keep(char **at, struct view v)
{
    struct view kept = view_make(*at, v.len);
    if (v.len) memcpy(*at, v.ptr, v.len);
    *at += v.len;
    return kept;
}

static struct usage_row *usage_add_row(struct usage *u, struct view key,
                                       const struct fn_usage_row *r)
{
    struct usage_row *row = calloc(1, sizeof *row + r->tenant.len + r->workflow.len + r->model.len);
    if (!row) return NULL;
    char *at = row->bytes;
    row->is = (struct fn_usage_row){.day = r->day};
    row->is.tenant = usage_keep(&at, r->tenant);
    row->is.workflow = usage_keep(&at, r->workflow);
    row->is.model = usage_keep(&at, r->model);
    if (!map_put(u->index, key, row)) {
        free(row);
        return NULL;
    }
    list_push(&u->rows, &row->link);
    return row;
}

/* The row that r is summed in: its own, past the ceiling its tenant's without names; NULL: none. */
static struct usage_row *usage_row(struct usage *u, const struct fn_usage_row *r)
{
    char bytes[USAGE_KEY_MAX];
    struct view key = usage_row_key(r, bytes);
    struct usage_row *row = key.len ? map_get(u->index, key) : NULL;
    if (row) return row;
    if (key.len && u->rows.count < USAGE_ROWS_MAX) return usage_add_row(u, key, r);
    const struct fn_usage_row plain = {.tenant = r->tenant, .day = r->day};
    key = usage_row_key(&plain, bytes);
    row = key.len ? map_get(u->index, key) : NULL;
    if (row || !key.len) return row;
    return u->rows.count < 2 * USAGE_ROWS_MAX ? usage_add_row(u, key, &plain) : NULL;
}

static void usage_wake(struct usage *u)
{
    if (timerq_pending(&u->timer)) return;
    (void)timerq_set(u->o.timers, &u->timer, u->o.clock->mono_ms + USAGE_FLUSH_MS, usage_due, u);
}

void usage_count(struct usage *u, struct view tenant, struct view workflow, struct view model,
                 const struct fn_usage_counts *c)
{
    const struct fn_usage_row r = {
        .tenant = tenant, .workflow = workflow, .model = model, .day = usage_day(u)};
    struct usage_tenant *t = usage_tenant(u, tenant);
    struct usage_row *row = usage_row(u, &r);
    if (row)
        fn_usage_sum(&row->is.counts, c);
    else
        metric_add(u->lost, (double)c->calls);
    if (row && t) {
        t->untold_tokens += c->input + c->output;
        t->untold_microusd += c->microusd;
    }
    usage_wake(u);
}

/* --- flushing -----------------------------------------------------------------------------------
 */

static void usage_fill_batch(struct usage *u)
{
    char bytes[USAGE_KEY_MAX];
    struct list_link *k;
    if (u->batch.count > 0) return; /* unanswered: again as it is */
    while (u->batch.count < FN_USAGE_ROWS_MAX && (k = list_first(&u->rows))) {
        struct usage_row *row = LIST_ITEM(k, struct usage_row, link);
        list_remove(&u->rows, k);
        (void)map_remove(u->index, usage_row_key(&row->is, bytes));
        list_push(&u->batch, k);
    }
    if (u->batch.count > 0) u->seq++;
}

/* Those whose turn has come go to the end of the line. */
static void usage_fill_asks(struct usage *u, struct fn_usage_total asks[])
{
    size_t looked = u->tenants.count;
    u->asked_count = 0;
    for (size_t i = 0; i < looked && u->asked_count < FN_USAGE_ASKS_MAX; i++) {
        struct list_link *k = list_first(&u->tenants);
        struct usage_tenant *t = LIST_ITEM(k, struct usage_tenant, link);
        list_remove(&u->tenants, k);
        list_push(&u->tenants, k);
        if (!usage_is_wanted(u, t)) continue;
        bool is_today = t->day == u->asked_day;
        asks[u->asked_count] = (struct fn_usage_total){
            usage_name(t), is_today ? t->heard_tokens : 0, is_today ? t->heard_microusd : 0};
        u->asked[u->asked_count++] = t;
    }
}

/* A row was counted: what of it is today's has moved from `untold` to what the fleet used. */
static void usage_told(struct usage *u, struct usage_row *row)
{
    struct usage_tenant *t = map_get(u->by_name, row->is.tenant);
    const struct fn_usage_counts *c = &row->is.counts;
    list_remove(&u->batch, &row->link);
    if (t && t->day == row->is.day) {
        t->untold_tokens -= c->input + c->output;
        t->untold_microusd -= c->microusd;
        t->heard_tokens += c->input + c->output;
        t->heard_microusd += c->microusd;
    }
    free(row);
}

static void usage_answered(void *arg, const struct err *e, const struct fn_usage_added *a)
{
    struct usage *u = arg;
    struct list_link *k;
    u->is_flying = false;
    if (e) { /* who waits for an answer goes on waiting for it, however long Redis is away */
        for (size_t i = 0; i < u->asked_count; i++) u->asked[i]->wanted_ms = u->o.clock->mono_ms;
        usage_wake(u);
        return;
    }
    while ((k = list_first(&u->batch))) usage_told(u, LIST_ITEM(k, struct usage_row, link));
    for (size_t i = 0; i < a->total_count && i < u->asked_count; i++) {
        struct usage_tenant *t = u->asked[i];
        if (t->day != u->asked_day) continue;
        t->is_heard = true;
        t->heard_ms = u->o.clock->mono_ms;
        t->heard_tokens = a->totals[i].tokens;
        t->heard_microusd = a->totals[i].microusd;
    }
    if (u->rows.count >= FN_USAGE_ROWS_MAX)
        usage_flush(u);
    else
        usage_wake(u);
    if (u->o.on_heard && a->total_count > 0) u->o.on_heard(u->o.arg);
}

void usage_flush(struct usage *u)
{
    struct fn_usage_row rows[FN_USAGE_ROWS_MAX];
    struct fn_usage_total asks[FN_USAGE_ASKS_MAX];
    size_t count = 0;
    if (u->is_flying) return;
    u->asked_day = usage_day(u);
    usage_fill_batch(u);
    usage_fill_asks(u, asks);
    if (u->batch.count == 0 && u->asked_count == 0) return;
    for (struct list_link *k = list_first(&u->batch); k; k = list_next(&u->batch, k))
        rows[count++] = LIST_ITEM(k, struct usage_row, link)->is;
    const struct fn_usage_batch b = {.incarnation = u->o.incarnation,
                                     .seq = u->seq,
                                     .today = u->asked_day,
                                     .retention_ms = u->o.retention_ms,
                                     .rows = rows,
                                     .row_count = count,
                                     .asks = asks,
                                     .ask_count = u->asked_count};
    u->is_flying = true;
    fn_usage_add(u->o.fn, &b, usage_answered, u);
}

static void usage_due(void *arg)
{
    struct usage *u = arg;
    usage_flush(u);
}

/* --- the whole ----------------------------------------------------------------------------------
 */

bool usage_today(struct usage *u, struct view tenant, int64_t *ret_tokens, int64_t *ret_microusd)
{
    struct usage_tenant *t = usage_tenant(u, tenant);
    if (!t) return false;
    t->wanted_ms = u->o.clock->mono_ms;
    usage_wake(u);
    if (!usage_is_fresh(u, t)) {
        usage_flush(u);
        return false;
    }
    *ret_tokens = t->heard_tokens + t->untold_tokens;
    *ret_microusd = t->heard_microusd + t->untold_microusd;
    return true;
}

bool usage_is_empty(const struct usage *u)
{
    return u->rows.count == 0 && u->batch.count == 0;
}

static const struct metric_spec usage_meter_lost = {
    .name = "sluice_usage_lost_calls_total",
    .help = "Calls whose usage was not counted: no place while Redis was away"};

struct usage *usage_new(const struct usage_options *o)
{
    struct usage *u = calloc(1, sizeof *u);
    if (!u) return NULL;
    u->o = *o;
    list_init(&u->rows);
    list_init(&u->batch);
    list_init(&u->tenants);
    u->lost = metric_series(metrics_family(o->metrics, &usage_meter_lost), NULL);
    u->index = map_new((size_t)2 * USAGE_ROWS_MAX);
    u->by_name = map_new(USAGE_TENANTS_MAX);
    if (u->index && u->by_name) return u;
    usage_free(u);
    return NULL;
}

static void usage_free_rows(struct list *rows)
{
    struct list_link *k;
    while ((k = list_first(rows))) {
        list_remove(rows, k);
        free(LIST_ITEM(k, struct usage_row, link));
    }
}

void usage_free(struct usage *u)
{
    struct list_link *k;
    if (!u) return;
    timerq_cancel(u->o.timers, &u->timer);
    usage_free_rows(&u->rows);
    usage_free_rows(&u->batch);
    while ((k = list_first(&u->tenants))) {
        list_remove(&u->tenants, k);
        free(LIST_ITEM(k, struct usage_tenant, link));
    }
    map_free(u->index);
    map_free(u->by_name);
    free(u);
}
