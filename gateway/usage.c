/* GET /v1/usage: what was used, summed by tenant, workflow, model or day.
 *
 * The counters stand in Redis as one hash a tenant and day, and one a day for all tenants together
 * (schemas/fn_usage.h), so a question is a walk over hashes: as many as days were asked for, and by
 * tenant that many for each. What is hard is to keep that walk bounded: at most USAGE_DAYS_MAX days
 * a question, at most USAGE_READS_MAX hashes an answer (a list of tenants is paged), a few at a
 * time so that nobody waits behind it in Redis, and rows past the ceiling of a tally are one.
 *
 * A key sees its own tenant. One with the scope `admin` sees all of them, or the one it names. */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include "gateway/tally.h"
#include "schemas/fn_usage.h"
#include <assert.h>

enum {
    USAGE_DAYS_MAX = 366,
    USAGE_DAYS_DEFAULT = 30,
    USAGE_READS_MAX = 20000,
    USAGE_WAVE = 16,
    USAGE_ROWS_MAX = 2000,
    USAGE_TENANTS_DEFAULT = 100,
    USAGE_TENANTS_MAX = 1000,
    USAGE_BYTES_MAX = 4 << 20
};

enum usage_by { USAGE_BY_TENANT, USAGE_BY_WORKFLOW, USAGE_BY_MODEL, USAGE_BY_DAY };
static const char *const usage_by_names[] = {"tenant", "workflow", "model", "day"};

struct usage_name {
    char text[CONFIG_NAME_MAX];
};

struct usage_state { /* x->own */
    enum usage_by by;
    int64_t from, to; /* days, both inclusive */
    char tenant[CONFIG_NAME_MAX], after[CONFIG_NAME_MAX];
    size_t limit;
    /* Whose hashes are read, one after the other; "" = the ones of all together. */
    struct usage_name *tenants;
    size_t tenant_count;
    size_t asked, answered; /* hashes */
    bool has_more, is_failed;
    int64_t since_ms; /* -1 = nothing was counted yet */
    struct tally *tally;
    struct buf out;
};

static void usage_free(void *own)
{
    struct usage_state *u = own;
    buf_fini(&u->out);
    tally_free(u->tally);
    free(u->tenants);
    free(u);
}

static size_t usage_days(const struct usage_state *u)
{
    return (size_t)(u->to - u->from + 1);
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void usage_put_counts(struct jw *w, const struct fn_usage_counts *c)
{
    jw_kint(w, "calls", c->calls);
    jw_kint(w, "input_tokens", c->input);
    jw_kint(w, "cached_input_tokens", c->cached_input);
    jw_kint(w, "output_tokens", c->output);
    jw_key(w, "cost");
    jw_real(w, (double)c->microusd / 1e6);
    jw_kint(w, "unpriced_calls", c->unpriced);
}

static void usage_put_head(struct jw *w, const struct usage_state *u)
{
    char date[CLOCK_DAY_TEXT];
    jw_kcstr(w, "by", usage_by_names[u->by]);
    clock_day_format(u->from, date);
    jw_kcstr(w, "from", date);
    clock_day_format(u->to, date);
    jw_kcstr(w, "to", date);
    jw_kstr(w, "tenant", u->tenant[0] ? view_of(u->tenant) : VIEW_NONE);
    jw_ktime(w, "since", u->since_ms);
}

static void usage_put(struct usage_state *u, const struct tally_row *rows, size_t count)
{
    struct jw w;
    jw_init(&w, &u->out);
    jw_object(&w);
    usage_put_head(&w, u);
    jw_key(&w, "data");
    jw_array(&w);
    for (size_t i = 0; i < count; i++) {
        jw_object(&w);
        jw_kstr(&w, usage_by_names[u->by], rows[i].name);
        usage_put_counts(&w, &rows[i].counts);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_key(&w, "total");
    jw_object(&w);
    usage_put_counts(&w, tally_total(u->tally));
    jw_end_object(&w);
    jw_kbool(&w, "has_more", u->has_more);
    jw_kstr(&w, "next", u->has_more ? view_of(u->tenants[u->tenant_count - 1].text) : VIEW_NONE);
    jw_end_object(&w);
}

static void usage_answer(struct exchange *x)
{
    struct usage_state *u = x->own;
    struct answer a = {.status = 200};
    size_t count = 0;
    const struct tally_row *rows = tally_rows(u->tally, &count);
    if (rows) usage_put(u, rows, count);
    a.body = buf_view(&u->out);
    a.headers[a.header_count++] = (struct httpd_header_out){"Cache-Control", "no-store"};
    if (!rows || u->out.failed)
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
    else
        exchange_answer(x, &a);
}

/* --- the walk -----------------------------------------------------------------------------------
 */

static bool usage_is_whole(const struct usage_state *u)
{
    return u->by == USAGE_BY_TENANT || u->by == USAGE_BY_DAY; /* the hash's total is all we need */
}

static bool usage_take_total(struct usage_state *u, size_t index, const struct reply *r)
{
    struct fn_usage_counts c;
    char date[CLOCK_DAY_TEXT];
    struct view name = view_of(u->tenants[index / usage_days(u)].text);
    if (!fn_usage_read_counts(reply_str(r), &c)) return true;
    if (u->by == USAGE_BY_DAY) {
        clock_day_format(u->from + (int64_t)(index % usage_days(u)), date);
        name = view_of(date);
    }
    return tally_add(u->tally, name, &c);
}

static bool usage_take_rows(struct usage_state *u, const struct reply *r)
{
    struct fn_usage_counts c;
    struct view workflow, model;
    for (size_t i = 0; i + 1 < r->count; i += 2) {
        if (!fn_usage_read_field(reply_str(reply_at(r, i)), &workflow, &model)) continue;
        if (!fn_usage_read_counts(reply_str(reply_at(r, i + 1)), &c)) continue;
        if (!tally_add(u->tally, u->by == USAGE_BY_MODEL ? model : workflow, &c)) return false;
    }
    return true;
}

static void usage_ask_wave(struct exchange *x);

static void usage_read(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct usage_state *u = x->own;
    size_t index = u->answered++; /* answers come in the order of their questions */
    bool is_known = !e && (r->kind == REPLY_ARRAY || r->kind == REPLY_STR || r->kind == REPLY_NIL);
    bool is_taken =
        is_known && (usage_is_whole(u) ? usage_take_total(u, index, r) : usage_take_rows(u, r));
    if (!is_taken) u->is_failed = true;
    if (u->answered < u->asked) return;
    if (u->is_failed)
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which usage is counted in, is away");
    else if (u->asked < u->tenant_count * usage_days(u))
        usage_ask_wave(x);
    else
        usage_answer(x);
}

static void usage_ask(struct exchange *x, size_t index)
{
    const struct usage_state *u = x->own;
    char text[FN_USAGE_KEY_MAX];
    struct view key = fn_usage_key(view_of(u->tenants[index / usage_days(u)].text),
                                   u->from + (int64_t)(index % usage_days(u)), text);
    const struct view total[] = {VIEW_LIT("HGET"), key, VIEW_LIT("t")};
    const struct view rows[] = {VIEW_LIT("HGETALL"), key};
    exchange_hold(x);
    if (usage_is_whole(u))
        x->s->reads.call(x->s->reads.self, total, 3, usage_read, x);
    else
        x->s->reads.call(x->s->reads.self, rows, 2, usage_read, x);
}

static void usage_ask_wave(struct exchange *x)
{
    struct usage_state *u = x->own;
    size_t all = u->tenant_count * usage_days(u), from = u->asked;
    if (all == 0) {
        usage_answer(x);
        return;
    }
    u->asked = all - from < USAGE_WAVE ? all : from + USAGE_WAVE;
    for (size_t i = from, to = u->asked; i < to; i++) usage_ask(x, i); /* the last may end x */
}

static void usage_told_since(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct usage_state *u = x->own;
    if (e || r->kind == REPLY_ERROR) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which usage is counted in, is away");
        return;
    }
    u->since_ms = reply_int(r, -1);
    usage_ask_wave(x);
}

/* --- whose --------------------------------------------------------------------------------------
 */

static int usage_compare(const void *a, const void *b)
{
    const struct usage_name *x = a, *y = b;
    return strcmp(x->text, y->text);
}

static bool usage_take_one(struct usage_state *u, const char *tenant)
{
    u->tenants = calloc(1, sizeof *u->tenants);
    if (!u->tenants) return false;
    u->tenant_count = 1;
    return view_copy(view_of(tenant), u->tenants[0].text, sizeof u->tenants[0].text);
}

/* A page of the tenants there are, in the order of their names. */
static bool usage_take_tenants(struct usage_state *u, const struct auth *auth)
{
    size_t all = auth_tenant_count(auth), count = 0, room = USAGE_READS_MAX / usage_days(u);
    u->tenants = calloc(all + 1, sizeof *u->tenants);
    if (!u->tenants) return false;
    for (size_t i = 0; i < all; i++) {
        struct view name = auth_tenant_name(auth, i);
        if (!u->after[0] || view_cmp(name, view_of(u->after)) > 0)
            (void)view_copy(name, u->tenants[count++].text, sizeof u->tenants[0].text);
    }
    qsort(u->tenants, count, sizeof *u->tenants, usage_compare);
    u->tenant_count = count;
    if (u->tenant_count > u->limit) u->tenant_count = u->limit;
    if (u->tenant_count > room) u->tenant_count = room;
    u->has_more = u->tenant_count < count;
    return true;
}

static bool usage_find_tenants(struct exchange *x)
{
    struct usage_state *u = x->own;
    if (u->tenant[0]) return usage_take_one(u, u->tenant);
    return u->by == USAGE_BY_TENANT ? usage_take_tenants(u, x->s->auth) : usage_take_one(u, "");
}

/* --- the request --------------------------------------------------------------------------------
 */

/* False: the value is there and no good. */
static bool usage_read_by(struct exchange *x, struct usage_state *u)
{
    char text[16];
    u->by = USAGE_BY_DAY;
    if (!exchange_has_query(x, "by")) return true;
    if (!httpd_query(x->r, "by", text, sizeof text)) return false;
    for (size_t i = 0; i < sizeof usage_by_names / sizeof *usage_by_names; i++)
        if (strcmp(text, usage_by_names[i]) == 0) {
            u->by = (enum usage_by)i;
            return true;
        }
    return false;
}

/* A date as YYYY-MM-DD; absent: the fallback. */
static bool usage_read_day(struct exchange *x, const char *name, int64_t fallback, int64_t *ret)
{
    char text[32];
    *ret = fallback;
    if (!exchange_has_query(x, name)) return true;
    return httpd_query(x->r, name, text, sizeof text) && clock_day_parse(view_of(text), ret) &&
           *ret >= 0;
}

static bool usage_read_limit(struct exchange *x, struct usage_state *u)
{
    char text[16];
    uint64_t n;
    u->limit = USAGE_TENANTS_DEFAULT;
    if (!exchange_has_query(x, "limit")) return true;
    if (!httpd_query(x->r, "limit", text, sizeof text) || !view_u64(view_of(text), &n))
        return false;
    u->limit = (size_t)n;
    return n >= 1 && n <= USAGE_TENANTS_MAX;
}

static bool usage_read_text(struct exchange *x, const char *name, char *ret)
{
    return !exchange_has_query(x, name) ||
           (httpd_query(x->r, name, ret, CONFIG_NAME_MAX) && ret[0]);
}

static const char *const usage_details[] = {
    "by: one of tenant, workflow, model, day",
    "from: a date as 2026-01-31 (UTC)",
    "to: a date as 2026-01-31 (UTC), not before `from` and at most 366 days with it",
    "limit: 1 to 1000",
    "after: what the page before gave as `next`",
    "tenant: the name of a tenant",
};
static const char *const usage_params[] = {"by", "from", "to", "limit", "after", "tenant"};

/* The index of the parameter that is no good; SIZE_MAX: all are. */
static size_t usage_read_query(struct exchange *x, struct usage_state *u)
{
    int64_t today = x->s->clock->wall_ms / CLOCK_DAY_MS;
    if (!usage_read_by(x, u)) return 0;
    if (!usage_read_day(x, "to", today, &u->to)) return 2;
    if (!usage_read_day(x, "from", u->to - USAGE_DAYS_DEFAULT + 1, &u->from)) return 1;
    if (u->from < 0) u->from = 0;
    if (u->to < u->from || u->to - u->from >= USAGE_DAYS_MAX) return 2;
    if (!usage_read_limit(x, u)) return 3;
    if (!usage_read_text(x, "after", u->after)) return 4;
    return usage_read_text(x, "tenant", u->tenant) ? SIZE_MAX : 5;
}

/* A key without the scope `admin` asks about its own tenant, by name or not. */
static bool usage_is_allowed(const struct exchange *x, struct usage_state *u)
{
    if (x->who.scopes & SCOPE_ADMIN) return true;
    bool is_own = !u->tenant[0] || strcmp(u->tenant, x->who.tenant) == 0;
    memcpy(u->tenant, x->who.tenant, sizeof u->tenant);
    return is_own;
}

void usage_get(struct exchange *x)
{
    struct usage_state *u = calloc(1, sizeof *u);
    if (!u) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
        return;
    }
    x->own = u;
    x->own_free = usage_free;
    buf_init(&u->out, USAGE_BYTES_MAX);
    size_t bad = usage_read_query(x, u);
    if (bad != SIZE_MAX) {
        const struct problem_body b = {.kind = PROBLEM_INVALID_REQUEST,
                                       .param = usage_params[bad],
                                       .detail = usage_details[bad]};
        exchange_problem(x, &b, 0);
        return;
    }
    if (!usage_is_allowed(x, u)) {
        exchange_refuse(x, PROBLEM_FORBIDDEN, "usage of other tenants needs the scope `admin`");
        return;
    }
    u->tally = tally_new(USAGE_ROWS_MAX);
    if (!u->tally || !usage_find_tenants(x)) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
        return;
    }
    const struct view argv[] = {VIEW_LIT("GET"), fn_usage_since_key()};
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, argv, 2, usage_told_since, x);
}
