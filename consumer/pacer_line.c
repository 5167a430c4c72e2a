/* Hard: hundreds of tenants on several workers share one budget, the line is thousands long, and
 * whoever asks must not pay for that. Chosen: start-time fair queueing on two levels, the classes
 * and the tenants of a class. A flow's virtual time is the tokens it was served by its weight, put
 * right when a call turns out dearer or cheaper; the flow with the least time is next. Who was away
 * comes back at the time of the one served last: nobody saves up.
 *
 * What other workers serve is not in these times; it is in the ranks that come back with the
 * trades. A class keeps a heap of flows for each rank, so a call costs one sift, and the sums over
 * what waits are kept as it comes and goes, since a trade wants them. */
#include "consumer/pacer_line.h"

#include "common/base/map.h"
#include <stdio.h>

enum {
    LINE_QUIET_MS = 1000, /* who had nothing waiting for so long is quiet again */
    LINE_KEY_MAX = 256
};

struct line_sum {
    struct pace_amount amount;
    int64_t calls, expect_ms, least_ms;
};

struct line_class;
struct pacer_flow {
    struct list_link link; /* in line.flows; in line.idle without places and references */
    struct pacer_line *line;
    struct line_class *cls;
    struct list places;
    struct line_sum sum;
    double time; /* virtual: tokens by weight */
    int64_t weight, unsaid;
    uint64_t order; /* breaks ties */
    size_t slot;    /* in its heap, 1-based; 0: not offered */
    enum pace_rank rank;
    bool is_blocked;
    int64_t left_ms; /* when its last place left */
    unsigned refs;
    size_t tenant_len;
    char tenant[];
};

struct line_heap {
    struct pacer_flow **flows;
    size_t count;
};

struct line_class {
    enum job_class cls;
    double time;
    int64_t weight, unsaid;
    int64_t weights; /* sum over the flows that are offered */
    double floor;    /* virtual time of the flow served last */
    enum pace_rank rank;
    struct line_heap heaps[PACE_RANK_COUNT]; /* by the rank of the tenant's flow */
    struct line_sum sums[PACE_RANK_COUNT];
};

struct pacer_line {
    struct pacer_line_options o;
    struct line_class classes[CLASS_COUNT];
    struct map *by_name;
    struct list flows, idle;
    double floor; /* of the classes */
    uint64_t next_order;
    size_t count, heap_max;
    int64_t now_ms; /* as last told */
};

struct pacer_line *pacer_line_new(const struct pacer_line_options *o)
{
    struct pacer_line *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->o = *o;
    list_init(&l->flows);
    list_init(&l->idle);
    l->by_name = map_new(o->flows_max + 1);
    for (enum job_class c = 0; c < CLASS_COUNT; c++) {
        l->classes[c].cls = c;
        l->classes[c].weight = o->class_weights[c] > 0 ? o->class_weights[c] : 1;
    }
    if (l->by_name) return l;
    free(l);
    return NULL;
}

static void line_free_flows(struct list *flows)
{
    struct list_link *k;
    while ((k = list_first(flows)) != NULL) {
        list_remove(flows, k);
        free(LIST_ITEM(k, struct pacer_flow, link));
    }
}

void pacer_line_free(struct pacer_line *l)
{
    if (!l) return;
    line_free_flows(&l->flows);
    line_free_flows(&l->idle);
    for (enum job_class c = 0; c < CLASS_COUNT; c++)
        for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) free(l->classes[c].heaps[r].flows);
    map_free(l->by_name);
    free(l);
}

/* --- sums ------------------------------------------------------------------------------------ */
static void sum_add(struct line_sum *into, const struct line_sum *s, int sign)
{
    for (enum pace_dim d = 0; d < PACE_DIM_COUNT; d++) into->amount.n[d] += sign * s->amount.n[d];
    into->amount.input_var += sign * s->amount.input_var;
    into->amount.output_var += sign * s->amount.output_var;
    into->amount.microusd += sign * s->amount.microusd;
    into->calls += sign * s->calls;
    into->expect_ms += sign * s->expect_ms;
    into->least_ms += sign * s->least_ms;
}

static struct line_sum sum_of(const struct limiter_cost *c)
{
    struct pace_demand d = {0};
    limiter_demand_add(&d, c);
    return (struct line_sum){
        .amount = d.all, .calls = 1, .expect_ms = c->expect_ms, .least_ms = c->least_ms};
}

/* --- heaps ----------------------------------------------------------------------------------- */
static bool heap_is_before(const struct pacer_flow *a, const struct pacer_flow *b)
{
    return a->time < b->time || (a->time <= b->time && a->order < b->order);
}

static void heap_set(struct line_heap *h, size_t slot, struct pacer_flow *f)
{
    h->flows[slot] = f;
    f->slot = slot;
}

static void heap_sift(struct line_heap *h, struct pacer_flow *f)
{
    size_t at = f->slot;
    while (at > 1 && heap_is_before(f, h->flows[at / 2])) {
        heap_set(h, at, h->flows[at / 2]);
        at /= 2;
    }
    for (size_t child; (child = at * 2) <= h->count; at = child) {
        if (child < h->count && heap_is_before(h->flows[child + 1], h->flows[child])) child++;
        if (!heap_is_before(h->flows[child], f)) break;
        heap_set(h, at, h->flows[child]);
    }
    heap_set(h, at, f);
}

static void heap_put(struct line_heap *h, struct pacer_flow *f)
{
    heap_set(h, ++h->count, f);
    heap_sift(h, f);
}

static void heap_remove(struct line_heap *h, struct pacer_flow *f)
{
    struct pacer_flow *last = h->flows[h->count--];
    size_t slot = f->slot;
    f->slot = 0;
    if (last == f) return;
    heap_set(h, slot, last);
    heap_sift(h, last);
}

/* Every flow of a class may stand in any of its heaps: room for all is made when a flow is. */
static bool line_make_room(struct pacer_line *l)
{
    size_t max = l->heap_max ? l->heap_max * 2 : 8;
    if (l->flows.count + l->idle.count < l->heap_max) return true;
    for (enum job_class c = 0; c < CLASS_COUNT; c++)
        for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) {
            struct line_heap *h = &l->classes[c].heaps[r];
            struct pacer_flow **grown = realloc(h->flows, (max + 1) * sizeof(struct pacer_flow *));
            if (!grown) return false;
            h->flows = grown;
        }
    l->heap_max = max;
    return true;
}

/* --- flows ----------------------------------------------------------------------------------- */
/* Out of its heap and of the sums: before anything of it changes. */
static void flow_withdraw(struct pacer_flow *f)
{
    if (!f->slot) return;
    heap_remove(&f->cls->heaps[f->rank], f);
    f->cls->weights -= f->weight;
    sum_add(&f->cls->sums[f->rank], &f->sum, -1);
}

static void flow_offer(struct pacer_flow *f)
{
    assert(!f->slot);
    if (f->is_blocked || !f->places.count) return;
    heap_put(&f->cls->heaps[f->rank], f);
    f->cls->weights += f->weight;
    sum_add(&f->cls->sums[f->rank], &f->sum, 1);
}

static struct view flow_key(const struct pacer_line_ask *a, char ret[LINE_KEY_MAX])
{
    size_t len = a->tenant.len < LINE_KEY_MAX - 1 ? a->tenant.len : LINE_KEY_MAX - 1;
    ret[0] = (char)('0' + a->cls);
    if (len) memcpy(ret + 1, a->tenant.ptr, len);
    return view_make(ret, len + 1);
}

static bool flow_is_idle(const struct pacer_flow *f)
{
    return !f->places.count && !f->refs;
}

static void flow_forget(struct pacer_flow *f)
{
    const struct pacer_line_ask a = {.cls = f->cls->cls,
                                     .tenant = view_make(f->tenant, f->tenant_len)};
    char key[LINE_KEY_MAX];
    (void)map_remove(f->line->by_name, flow_key(&a, key));
    list_remove(&f->line->idle, &f->link);
    free(f);
}

/* Idle ones wait for being needed again; the one idle for longest makes room. */
static void flow_rest(struct pacer_flow *f)
{
    if (!flow_is_idle(f)) return;
    list_remove(&f->line->flows, &f->link);
    list_push(&f->line->idle, &f->link);
}

static void flow_wake(struct pacer_flow *f)
{
    if (!flow_is_idle(f)) return;
    list_remove(&f->line->idle, &f->link);
    list_push(&f->line->flows, &f->link);
}

static struct pacer_flow *flow_make(struct pacer_line *l, const struct pacer_line_ask *a,
                                    struct view key)
{
    struct pacer_flow *f;
    if (l->flows.count + l->idle.count >= l->o.flows_max && list_first(&l->idle))
        flow_forget(LIST_ITEM(list_first(&l->idle), struct pacer_flow, link));
    if (l->flows.count + l->idle.count >= l->o.flows_max || !line_make_room(l)) return NULL;
    f = calloc(1, sizeof *f + a->tenant.len);
    if (!f) return NULL;
    f->line = l;
    f->cls = &l->classes[a->cls];
    f->order = l->next_order++;
    f->weight = 1;
    f->tenant_len = a->tenant.len;
    if (a->tenant.len) memcpy(f->tenant, a->tenant.ptr, a->tenant.len);
    list_init(&f->places);
    if (!map_put(l->by_name, key, f)) {
        free(f);
        return NULL;
    }
    list_push(&l->idle, &f->link);
    return f;
}

bool pacer_class_has(const struct pacer_line *l, enum job_class cls)
{
    return l->classes[cls].weights > 0;
}

/* --- in and out ------------------------------------------------------------------------------ */
static bool place_is_before(const struct pacer_place *a, const struct pacer_place *b)
{
    return a->priority > b->priority || (a->priority == b->priority && a->age_ms < b->age_ms);
}

/* Almost always the last one; jobs that come back find their old place. */
static void flow_insert(struct pacer_flow *f, struct pacer_place *p)
{
    struct list_link *at = &f->places.head;
    while (at->prev != &f->places.head &&
           place_is_before(p, LIST_ITEM(at->prev, struct pacer_place, link)))
        at = at->prev;
    if (at == &f->places.head) {
        list_push(&f->places, &p->link);
    } else {
        list_insert_before(&f->places, at, &p->link);
    }
}

/* It had nothing waiting: it comes back at the present, and quiet unless it was here just now. */
static void flow_return(struct pacer_flow *f, int64_t now_ms)
{
    struct pacer_line *l = f->line;
    if (!pacer_class_has(l, f->cls->cls) && f->cls->time < l->floor) f->cls->time = l->floor;
    if (f->time < f->cls->floor) f->time = f->cls->floor;
    if (now_ms - f->left_ms >= LINE_QUIET_MS) f->rank = PACE_QUIET;
}

bool pacer_line_put(struct pacer_line *l, struct pacer_place *p, const struct pacer_line_ask *a)
{
    char text[LINE_KEY_MAX];
    struct view key = flow_key(a, text);
    struct pacer_flow *f = map_get(l->by_name, key);
    struct line_sum sum = sum_of(&p->cost);
    assert(!p->flow);
    if (!f) f = flow_make(l, a, key);
    if (!f) return false;
    l->now_ms = a->now_ms;
    flow_wake(f);
    flow_withdraw(f);
    if (!f->places.count) flow_return(f, a->now_ms);
    f->weight = a->weight > 0 ? a->weight : 1;
    flow_insert(f, p);
    sum_add(&f->sum, &sum, 1);
    p->flow = f;
    l->count++;
    flow_offer(f);
    return true;
}

static void line_drop(struct pacer_line *l, struct pacer_place *p)
{
    struct pacer_flow *f = p->flow;
    struct line_sum sum = sum_of(&p->cost);
    assert(f && f->line == l);
    flow_withdraw(f);
    list_remove(&f->places, &p->link);
    sum_add(&f->sum, &sum, -1);
    f->left_ms = l->now_ms;
    if (!f->places.count) f->is_blocked = false; /* nobody looks again at a flow without places */
    p->flow = NULL;
    l->count--;
}

void pacer_line_remove(struct pacer_line *l, struct pacer_place *p)
{
    struct pacer_flow *f = p->flow;
    line_drop(l, p);
    flow_offer(f);
    flow_rest(f);
}

void pacer_line_recost(struct pacer_place *p, const struct limiter_cost *c)
{
    struct pacer_flow *f = p->flow;
    struct line_sum was = sum_of(&p->cost), is = sum_of(c);
    assert(f);
    flow_withdraw(f);
    sum_add(&f->sum, &was, -1);
    sum_add(&f->sum, &is, 1);
    p->cost = *c;
    flow_offer(f);
}

struct pacer_flow *pacer_line_take(struct pacer_line *l, struct pacer_place *p, int64_t now_ms)
{
    struct pacer_flow *f = p->flow;
    l->now_ms = now_ms;
    line_drop(l, p);
    f->refs++;
    if (f->time > f->cls->floor) f->cls->floor = f->time;
    if (f->cls->time > l->floor) l->floor = f->cls->time;
    pacer_flow_correct(f, p->cost.input + p->cost.output);
    flow_offer(f);
    return f;
}

/* --- who is next ----------------------------------------------------------------------------- */
/* A tenant that is quiet goes first whatever its class has used; else the worse of the two. */
static enum pace_rank line_rank(const struct line_class *c, enum pace_rank flow)
{
    return flow == PACE_QUIET || flow > c->rank ? flow : c->rank;
}

static struct pacer_flow *class_first(const struct line_class *c, enum pace_rank rank)
{
    struct pacer_flow *best = NULL;
    for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) {
        struct pacer_flow *f = c->heaps[r].count ? c->heaps[r].flows[1] : NULL;
        if (f && line_rank(c, r) == rank && (!best || heap_is_before(f, best))) best = f;
    }
    return best;
}

static struct pacer_place *line_first(const struct pacer_line *l, enum pace_rank rank)
{
    const struct line_class *best = NULL;
    struct pacer_flow *first = NULL;
    for (enum job_class c = 0; c < CLASS_COUNT; c++) {
        const struct line_class *k = &l->classes[c];
        struct pacer_flow *f = class_first(k, rank);
        if (!f || (best && best->time <= k->time)) continue;
        best = k;
        first = f;
    }
    return first ? LIST_ITEM(list_first(&first->places), struct pacer_place, link) : NULL;
}

struct pacer_place *pacer_line_first(const struct pacer_line *l)
{
    struct pacer_place *p = NULL;
    for (enum pace_rank r = 0; r < PACE_RANK_COUNT && !p; r++) p = line_first(l, r);
    return p;
}

size_t pacer_line_offered(const struct pacer_line *l)
{
    int64_t n = 0;
    for (enum job_class c = 0; c < CLASS_COUNT; c++)
        for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) n += l->classes[c].sums[r].calls;
    return (size_t)n;
}

enum pace_rank pacer_line_rank(const struct pacer_line *l)
{
    enum pace_rank r = 0;
    while (r < PACE_RANK_COUNT && !line_first(l, r)) r++;
    return r;
}

size_t pacer_line_count(const struct pacer_line *l)
{
    return l->count;
}

void pacer_line_demand(const struct pacer_line *l, struct limiter_ask *ret)
{
    struct line_sum ranks[PACE_RANK_COUNT] = {{.calls = 0}};
    int64_t calls = 0, expect_ms = 0, least_ms = 0;
    memset(ret, 0, sizeof *ret);
    for (enum job_class c = 0; c < CLASS_COUNT; c++)
        for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++)
            sum_add(&ranks[line_rank(&l->classes[c], r)], &l->classes[c].sums[r], 1);
    for (enum pace_rank r = 0; r < PACE_RANK_COUNT; r++) {
        const struct pacer_place *first = line_first(l, r);
        if (!first) continue;
        limiter_demand_add(&ret->demand[r], &first->cost);
        ret->demand[r].calls = ranks[r].calls;
        ret->demand[r].all = ranks[r].amount;
        calls += ranks[r].calls;
        expect_ms += ranks[r].expect_ms;
        least_ms += ranks[r].least_ms;
    }
    if (!calls) return;
    ret->expect_ms = expect_ms / calls;
    ret->least_ms = least_ms / calls;
}

/* --- what others may ask of a flow ----------------------------------------------------------- */
struct pacer_flow *pacer_line_next_flow(const struct pacer_line *l, const struct pacer_flow *after)
{
    struct list_link *k = after ? list_next(&l->flows, &after->link) : list_first(&l->flows);
    return k ? LIST_ITEM(k, struct pacer_flow, link) : NULL;
}

void pacer_line_rotate(struct pacer_line *l, struct pacer_flow *f)
{
    list_remove(&l->flows, &f->link);
    list_push(&l->flows, &f->link);
}

size_t pacer_line_flows(const struct pacer_line *l)
{
    return l->flows.count;
}

enum job_class pacer_flow_class(const struct pacer_flow *f)
{
    return f->cls->cls;
}

struct view pacer_flow_tenant(const struct pacer_flow *f)
{
    return view_make(f->tenant, f->tenant_len);
}

int64_t pacer_flow_weight(const struct pacer_flow *f)
{
    return f->weight;
}

int64_t pacer_class_weight(const struct pacer_line *l, enum job_class cls)
{
    return l->classes[cls].weight;
}

const struct list *pacer_flow_places(const struct pacer_flow *f)
{
    return &f->places;
}

double pacer_flow_share(const struct pacer_flow *f)
{
    const struct pacer_line *l = f->line;
    int64_t classes = 0;
    for (enum job_class c = 0; c < CLASS_COUNT; c++)
        if (pacer_class_has(l, c)) classes += l->classes[c].weight;
    if (!f->slot) return 0;
    return (double)f->cls->weight / (double)classes * (double)f->weight / (double)f->cls->weights;
}

struct pacer_flow *pacer_flow_ref(struct pacer_flow *f)
{
    flow_wake(f);
    f->refs++;
    return f;
}

void pacer_flow_unref(struct pacer_flow *f)
{
    assert(f->refs > 0);
    f->refs--;
    flow_rest(f);
}

void pacer_flow_correct(struct pacer_flow *f, int64_t tokens)
{
    bool is_offered = f->slot > 0;
    if (is_offered) flow_withdraw(f);
    f->time += (double)tokens / (double)f->weight;
    f->unsaid += tokens;
    f->cls->time += (double)tokens / (double)f->cls->weight;
    f->cls->unsaid += tokens;
    if (is_offered) flow_offer(f);
}

int64_t pacer_flow_report(struct pacer_flow *f)
{
    int64_t tokens = f->unsaid;
    f->unsaid = 0;
    return tokens;
}

int64_t pacer_class_report(struct pacer_line *l, enum job_class cls)
{
    int64_t tokens = l->classes[cls].unsaid;
    l->classes[cls].unsaid = 0;
    return tokens;
}

void pacer_flow_set_rank(struct pacer_flow *f, enum pace_rank rank)
{
    bool is_offered = f->slot > 0;
    if (f->rank == rank) return;
    if (is_offered) flow_withdraw(f);
    f->rank = rank;
    if (is_offered) flow_offer(f);
}

void pacer_class_set_rank(struct pacer_line *l, enum job_class cls, enum pace_rank rank)
{
    l->classes[cls].rank = rank;
}

void pacer_flow_block(struct pacer_flow *f, bool is_blocked)
{
    if (f->is_blocked == is_blocked) return;
    flow_withdraw(f);
    f->is_blocked = is_blocked;
    flow_offer(f);
}

bool pacer_flow_is_blocked(const struct pacer_flow *f)
{
    return f->is_blocked;
}
