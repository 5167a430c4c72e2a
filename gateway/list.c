/* GET /v1/jobs: a tenant's jobs, newest first.
 *
 * What is hard: the index knows ids and times alone, so a filter has to look at every entry's meta;
 * and a filter that matches little must not make one call read everything. So a call looks at no
 * more than LIST_SCAN_MAX entries and says where it stopped: `next` is the last entry looked at,
 * and a page may be short, even empty, and still have more. A list with homes missing would pass
 * for the truth: while the view of one of the tenant's homes is being rebuilt the answer is 503, as
 * it is for the jobs themselves.
 *
 *   built? -> [index -> metas, in the order asked] ... -> answer */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include "gateway/page.h"
#include <assert.h>

enum { LIST_SCAN_MAX = 1000, LIST_FETCH_MAX = 200, LIST_HOMES_MAX = 64, LIST_BYTES_MAX = 4 << 20 };

struct list_entry {
    struct job_id id;
    int64_t score;
};

struct list_state { /* x->own; out is freed by list_end */
    struct page_filter filter;
    struct page_position at; /* the last entry looked at */
    size_t limit, count, scanned;
    size_t skip; /* entries of at's millisecond to pass over: all of one fetch were seen already */
    struct list_entry fetched[LIST_FETCH_MAX];
    size_t fetched_count, asked, next;
    bool was_full; /* the index gave as many as were asked for */
    bool has_more, is_failed;
    struct jw w;
    struct buf out;
};

static const char *const list_fields[] = {"st", "wf", "cl", "cr", "sa", "en",
                                          "at", "ro", "ra", "us", "co"};
enum {
    LIST_ST,
    LIST_WF,
    LIST_CL,
    LIST_CR,
    LIST_SA,
    LIST_EN,
    LIST_AT,
    LIST_RO,
    LIST_RA,
    LIST_US,
    LIST_CO,
    LIST_FIELDS
};

static void list_fetch(struct exchange *x);

/* --- the answer --- */

static void list_free(void *own)
{
    struct list_state *l = own;
    buf_fini(&l->out);
    free(l);
}

static void list_fail(struct exchange *x)
{
    exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which lists are read from, is away");
}

static void list_answer(struct exchange *x)
{
    struct list_state *l = x->own;
    struct answer a = {.status = 200};
    struct buf next;
    buf_init(&next, 2 * PAGE_TEXT_MAX);
    jw_end_array(&l->w);
    jw_kbool(&l->w, "has_more", l->has_more);
    if (l->has_more && l->at.has && page_position_put(&next, &l->at))
        jw_kstr(&l->w, "next", buf_view(&next));
    else
        jw_kstr(&l->w, "next", VIEW_NONE);
    jw_end_object(&l->w);
    buf_fini(&next);
    a.body = buf_view(&l->out);
    a.headers[a.header_count++] = (struct httpd_header_out){"Cache-Control", "no-store"};
    if (l->out.failed)
        exchange_refuse(x, PROBLEM_INTERNAL, "the list does not fit an answer");
    else
        exchange_answer(x, &a);
}

static void list_put_time(struct jw *w, const char *name, const struct reply *r, size_t i)
{
    jw_ktime(w, name, reply_int(reply_at(r, i), -1));
}

static void list_put_job(struct list_state *l, const struct list_entry *e, const struct reply *r)
{
    struct view name, version;
    struct jw *w = &l->w;
    int64_t number = 0;
    if (!view_cut(reply_str(reply_at(r, LIST_WF)), '@', &name, &version))
        name = version = VIEW_NONE;
    if (!view_i64(version, &number)) number = 0;
    jw_object(w);
    jw_kcstr(w, "id", e->id.text);
    jw_kstr(w, "status", reply_str(reply_at(r, LIST_ST)));
    jw_kstr(w, "workflow", name);
    jw_kint(w, "version", number);
    jw_kstr(w, "class", reply_str(reply_at(r, LIST_CL)));
    jw_kint(w, "attempt", reply_int(reply_at(r, LIST_AT), 0));
    list_put_time(w, "created_at", r, LIST_CR);
    list_put_time(w, "started_at", r, LIST_SA);
    list_put_time(w, "ended_at", r, LIST_EN);
    jw_kraw(w, "usage",
            reply_str(reply_at(r, LIST_US))); /* JSON as the worker wrote it; null before the end */
    jw_kraw(w, "cost", reply_str(reply_at(r, LIST_CO)));
    if (reply_str(reply_at(r, LIST_RO)).len)
        jw_kstr(w, "retry_of", reply_str(reply_at(r, LIST_RO)));
    if (reply_str(reply_at(r, LIST_RA)).len)
        jw_kstr(w, "retried_as", reply_str(reply_at(r, LIST_RA)));
    jw_end_object(w);
    l->count++;
}

/* --- metas --- */

static bool list_is_full(const struct list_state *l)
{
    return l->count >= l->limit || l->scanned >= LIST_SCAN_MAX;
}

static void list_look_at(struct list_state *l, const struct list_entry *e, const struct reply *r)
{
    struct view status = reply_str(reply_at(r, LIST_ST));
    bool is_job =
        status.len && reply_str(reply_at(r, LIST_CR)).len; /* else expired, or reserved alone */
    l->at = (struct page_position){.has = true, .score = e->score, .id = e->id};
    l->scanned++;
    if (is_job && page_passes(&l->filter, status, reply_str(reply_at(r, LIST_WF))))
        list_put_job(l, e, r);
}

static void list_page_done(struct exchange *x)
{
    struct list_state *l = x->own;
    l->has_more = l->has_more || l->was_full;
    if (l->is_failed)
        list_fail(x);
    else if (list_is_full(l) || !l->was_full)
        list_answer(x);
    else
        list_fetch(x);
}

static void list_meta(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct list_state *l = x->own;
    const struct list_entry *entry = &l->fetched[l->next++];
    if (e || r->kind != REPLY_ARRAY)
        l->is_failed = true;
    else if (list_is_full(l))
        l->has_more = true;
    else
        list_look_at(l, entry, r);
    if (l->next == l->fetched_count) list_page_done(x);
}

static void list_ask_meta(struct exchange *x, const struct job_id *id)
{
    char key[FN_KEY_MAX];
    struct view argv[2 + LIST_FIELDS] = {VIEW_LIT("HMGET"),
                                         fn_key(FN_KEY_META, view_of(id->text), key)};
    for (size_t i = 0; i < LIST_FIELDS; i++) argv[2 + i] = view_of(list_fields[i]);
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, argv, 2 + LIST_FIELDS, list_meta, x);
}

/* --- the index --- */

static void list_keep_entries(struct list_state *l, const struct reply *r)
{
    size_t got = r->count / 2;
    l->fetched_count = l->next = 0;
    l->was_full = got >= l->asked;
    for (size_t i = 0; i < got && l->fetched_count < LIST_FETCH_MAX; i++) {
        struct list_entry *e = &l->fetched[l->fetched_count];
        struct view id = reply_str(reply_at(r, 2 * i));
        if (!view_i64(reply_str(reply_at(r, 2 * i + 1)), &e->score)) continue;
        if (page_is_after(&l->at, e->score, id) && id_parse(id, &e->id)) l->fetched_count++;
    }
    l->skip = l->fetched_count == 0 && l->was_full ? l->skip + got : 0;
}

static void list_indexed(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct list_state *l = x->own;
    if (e || r->kind != REPLY_ARRAY) {
        list_fail(x);
        return;
    }
    list_keep_entries(l, r);
    for (size_t i = 0; i < l->fetched_count; i++) list_ask_meta(x, &l->fetched[i].id);
    if (l->fetched_count == 0) list_page_done(x);
}

static void list_fetch(struct exchange *x)
{
    struct list_state *l = x->own;
    char key[FN_KEY_MAX], from[24] = "+inf", skip[24], count[24];
    size_t wanted =
        l->limit - l->count + 2; /* one to know of more, one that is the position itself */
    l->asked = wanted < LIST_FETCH_MAX ? wanted : LIST_FETCH_MAX;
    if (l->filter.status >= 0 || l->filter.workflow[0]) l->asked = LIST_FETCH_MAX;
    if (l->at.has) snprintf(from, sizeof from, "%lld", (long long)l->at.score);
    snprintf(skip, sizeof skip, "%zu", l->skip);
    snprintf(count, sizeof count, "%zu", l->asked);
    const struct view argv[] = {VIEW_LIT("ZREVRANGEBYSCORE"),
                                fn_key(FN_KEY_INDEX, view_of(x->who.tenant), key),
                                view_of(from),
                                VIEW_LIT("-inf"),
                                VIEW_LIT("WITHSCORES"),
                                VIEW_LIT("LIMIT"),
                                view_of(skip),
                                view_of(count)};
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, argv, sizeof argv / sizeof *argv, list_indexed, x);
}

/* --- is the view whole? --- */

static void list_built(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    bool is_built = x->s->boot[0] != '\0';
    if (e || r->kind != REPLY_ARRAY) {
        list_fail(x);
        return;
    }
    for (size_t i = 0; i < r->count; i++)
        is_built = is_built && view_eq_str(reply_str(reply_at(r, i)), x->s->boot);
    if (is_built)
        list_fetch(x);
    else
        exchange_unknown(x, false);
}

static void list_ask_built(struct exchange *x)
{
    char keys[LIST_HOMES_MAX][FN_KEY_MAX], number[12];
    struct view argv[1 + LIST_HOMES_MAX] = {VIEW_LIT("MGET")};
    const struct id_space space = x->s->space,
                          first_lane = {.partitions = space.partitions, .lanes = 1};
    uint32_t home = id_home(first_lane, view_of(x->who.tenant), VIEW_LIT(""));
    size_t count = space.lanes < LIST_HOMES_MAX ? space.lanes : LIST_HOMES_MAX;
    for (size_t i = 0; i < count;
         i++, home = (home + 1) % space.partitions) { /* a tenant's homes lie side by side */
        snprintf(number, sizeof number, "%u", (unsigned)home);
        argv[1 + i] = fn_key(FN_KEY_BUILT, view_of(number), keys[i]);
    }
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, argv, 1 + count, list_built, x);
}

/* --- the request --- */

static bool list_read_query(struct exchange *x, struct list_state *l, const char **ret_bad)
{
    char text[PAGE_TEXT_MAX + 1];
    enum job_status status;
    uint64_t n;
    *ret_bad = "status";
    l->filter.status = -1;
    if (exchange_has_query(x, "status")) {
        if (!httpd_query(x->r, "status", text, sizeof text) ||
            !job_status_parse(view_of(text), &status))
            return false;
        l->filter.status = (int)status;
    }
    *ret_bad = "workflow";
    bool has_workflow = exchange_has_query(x, "workflow");
    if (has_workflow &&
        !httpd_query(x->r, "workflow", l->filter.workflow, sizeof l->filter.workflow))
        return false;
    *ret_bad = "limit";
    l->limit = PAGE_LIMIT_DEFAULT;
    if (exchange_has_query(x, "limit")) {
        if (!httpd_query(x->r, "limit", text, sizeof text) || !view_u64(view_of(text), &n))
            return false;
        if (n < 1 || n > PAGE_LIMIT_MAX) return false;
        l->limit = (size_t)n;
    }
    *ret_bad = "after";
    if (!exchange_has_query(x, "after")) return true;
    return httpd_query(x->r, "after", text, sizeof text) &&
           page_position_read(view_of(text), &l->at);
}

void list_jobs(struct exchange *x)
{
    const char *bad;
    struct list_state *l = calloc(1, sizeof *l);
    if (!l) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
        return;
    }
    x->own = l;
    x->own_free = list_free;
    buf_init(&l->out, LIST_BYTES_MAX);
    if (!list_read_query(x, l, &bad)) {
        bool is_cursor = strcmp(bad, "after") == 0;
        const struct problem_body b = {.kind = is_cursor ? PROBLEM_INVALID_CURSOR
                                                         : PROBLEM_INVALID_REQUEST,
                                       .param = bad,
                                       .detail = "the query has an unacceptable value"};
        exchange_problem(x, &b, 0);
        return;
    }
    jw_init(&l->w, &l->out);
    jw_object(&l->w);
    jw_key(&l->w, "data");
    jw_array(&l->w);
    list_ask_built(x);
}
