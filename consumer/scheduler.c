/* Fairness in whatever calls cost, known only afterwards.
 *
 * Deficit round robin needs a quantum as large as the dearest item, or it goes around in circles
 * until somebody's credit suffices; with prompts from 100 to 100,000 tokens and corrections that
 * arrive later, neither is good. So the deficit is kept as a virtual time: what a tenant was
 * charged, divided by its weight. The one with the smallest is next, in a heap: log2(10,000) steps
 * a turn, however dear the items are. The clock of a lane is the virtual time of the last one that
 * was taken; who comes back after a rest starts at the clock at the earliest, so nobody saves up,
 * and not before its own time, so nobody escapes a debt by leaving the line for a moment.
 *
 * A correction moves the virtual time. What was charged too much is given back below the clock only
 * as far as it was charged while others waited: a tenant that was alone was not held back by its
 * estimates, and must not hold back, by their refunds, who came later.
 *
 *     resting (by time) <--last item taken-- waiting (by time) --first--> taken
 *        | the clock has passed it               ^    | ^
 *        v                                       |    v | held, released
 *     forgotten ---------- an item is put -------'   held
 *
 * The classes are two such flows above the tenants. */
#include "consumer/scheduler.h"

#include "common/base/map.h"
#include <assert.h>

enum {
    SCHED_TENANTS_MAX = 100000, /* a lane */
    SCHED_RESTING_MAX = 20000,
    SCHED_WEIGHT_MAX = 10000,
    SCHED_FORGET_TURN = 2
};
#define SCHED_UNIT     ((int64_t)1 << 16)    /* virtual time of a cost of 1 at weight 1 */
#define SCHED_COST_MAX ((int64_t)1000000000) /* of one item or correction */

struct sched_flow {
    int64_t time;
    int64_t fair; /* of it, what was charged while others waited and may be given back */
    int64_t weight;
};

struct sched_queue;
struct sched_tenant {
    struct sched_flow flow;
    struct sched_queue *queue;
    struct list_link held; /* in s->held: in no heap */
    uint64_t since;        /* order of joining, among equals */
    size_t place;          /* in its heap */
    struct list items[SCHED_RANK_COUNT];
    unsigned ranks; /* bit per list that has something */
    size_t count;   /* of all lists */
    size_t name_len;
    char name[];
};

struct sched_heap {
    struct sched_tenant **list;
    size_t count, cap;
};

struct sched_queue {
    struct sched_flow flow; /* of the class */
    struct map *tenants;
    struct sched_heap waiting, resting;
    int64_t clock;
    size_t count, due;
};

struct scheduler {
    struct sched_queue lanes[SCHED_LANE_COUNT];
    size_t items_max;
    struct list held;
    int64_t clock; /* of the classes */
    uint64_t joins;
};

/* --- the heap -------------------------------------------------------------------------------- */
static bool sched_before(const struct sched_tenant *a, const struct sched_tenant *b)
{
    if (a->flow.time != b->flow.time) return a->flow.time < b->flow.time;
    return a->since < b->since;
}

static void sched_heap_set(struct sched_heap *h, size_t i, struct sched_tenant *t)
{
    h->list[i] = t;
    t->place = i;
}

/* To where it belongs, after its time was changed. */
static void sched_heap_move(struct sched_heap *h, struct sched_tenant *t)
{
    size_t i = t->place;
    while (i > 0 && sched_before(t, h->list[(i - 1) / 2])) {
        sched_heap_set(h, i, h->list[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t least = 2 * i + 1;
        if (least >= h->count) break;
        if (least + 1 < h->count && sched_before(h->list[least + 1], h->list[least])) least++;
        if (!sched_before(h->list[least], t)) break;
        sched_heap_set(h, i, h->list[least]);
        i = least;
    }
    sched_heap_set(h, i, t);
}

/* Room for one more, so that sched_heap_put cannot fail. */
static bool sched_heap_reserve(struct sched_heap *h, size_t count)
{
    if (count <= h->cap) return true;
    size_t cap = h->cap ? 2 * h->cap : 16;
    while (cap < count) cap *= 2;
    struct sched_tenant **list = realloc(h->list, cap * sizeof(struct sched_tenant *));
    if (!list) return false;
    h->list = list;
    h->cap = cap;
    return true;
}

static void sched_heap_put(struct sched_heap *h, struct sched_tenant *t)
{
    assert(h->count < h->cap);
    sched_heap_set(h, h->count++, t);
    sched_heap_move(h, t);
}

static void sched_heap_remove(struct sched_heap *h, struct sched_tenant *t)
{
    struct sched_tenant *last = h->list[--h->count];
    assert(t->place <= h->count);
    if (last == t) return;
    sched_heap_set(h, t->place, last);
    sched_heap_move(h, last);
}

/* --- made and freed -------------------------------------------------------------------------- */
struct scheduler *scheduler_new(const struct scheduler_options *o)
{
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    assert(o->interactive_weight >= 1 && o->bulk_weight >= 1);
    s->items_max = o->items_max;
    list_init(&s->held);
    s->lanes[SCHED_INTERACTIVE].flow.weight = o->interactive_weight;
    s->lanes[SCHED_BULK].flow.weight = o->bulk_weight;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        s->lanes[i].tenants = map_new(SCHED_TENANTS_MAX);
        if (s->lanes[i].tenants) continue;
        scheduler_free(s);
        return NULL;
    }
    return s;
}

void scheduler_free(struct scheduler *s)
{
    if (!s) return;
    scheduler_release_all(s);
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        struct sched_queue *q = &s->lanes[i];
        for (size_t k = 0; k < q->waiting.count; k++) free(q->waiting.list[k]);
        for (size_t k = 0; k < q->resting.count; k++) free(q->resting.list[k]);
        free(q->waiting.list);
        free(q->resting.list);
        map_free(q->tenants);
    }
    free(s);
}

/* --- tenants --------------------------------------------------------------------------------- */
static void sched_forget(struct sched_queue *q, struct sched_tenant *t)
{
    sched_heap_remove(&q->resting, t);
    (void)map_remove(q->tenants, view_make(t->name, t->name_len));
    free(t);
}

/* Resting tenants that the clock has passed would start at the clock as strangers do. */
static void sched_forget_some(struct sched_queue *q)
{
    for (size_t i = 0; i < SCHED_FORGET_TURN && q->resting.count; i++) {
        struct sched_tenant *t = q->resting.list[0];
        if (t->flow.time > q->clock && q->resting.count <= SCHED_RESTING_MAX) return;
        sched_forget(q, t);
    }
}

/* A new one, in no heap yet; it can be put into either. */
static struct sched_tenant *sched_tenant_new(struct sched_queue *q, struct view name)
{
    size_t count = map_count(q->tenants) + 1;
    if (!sched_heap_reserve(&q->waiting, count) || !sched_heap_reserve(&q->resting, count))
        return NULL;
    struct sched_tenant *t = calloc(1, sizeof *t + name.len);
    if (!t) return NULL;
    t->queue = q;
    t->flow.weight = 1;
    t->flow.time = q->clock;
    t->name_len = name.len;
    if (name.len) memcpy(t->name, name.ptr, name.len);
    for (size_t i = 0; i < SCHED_RANK_COUNT; i++) list_init(&t->items[i]);
    if (map_put(q->tenants, name, t)) return t;
    free(t);
    return NULL;
}

static struct sched_item *sched_tenant_head(const struct sched_tenant *t)
{
    unsigned rank = SCHED_RANK_COUNT - 1;
    while (!(t->ranks & 1U << rank)) rank--;
    return LIST_ITEM(list_first(&t->items[rank]), struct sched_item, link);
}

/* --- charges --------------------------------------------------------------------------------- */
static int64_t sched_time_of(const struct sched_flow *f, int64_t cost)
{
    if (cost > SCHED_COST_MAX) cost = SCHED_COST_MAX;
    return cost * SCHED_UNIT / f->weight;
}

static void sched_flow_charge(struct sched_flow *f, int64_t cost, bool is_alone)
{
    int64_t time = sched_time_of(f, cost);
    f->time += time;
    f->fair = is_alone ? 0 : f->fair + time;
}

static void sched_flow_correct(struct sched_flow *f, int64_t clock, int64_t delta)
{
    if (delta >= 0) {
        f->time += sched_time_of(f, delta);
        return;
    }
    int64_t back = sched_time_of(f, delta < -SCHED_COST_MAX ? SCHED_COST_MAX : -delta);
    int64_t lead = f->time > clock ? f->time - clock : 0;
    if (back > lead) {
        int64_t below = back - lead < f->fair ? back - lead : f->fair;
        f->fair -= below;
        back = lead + below;
    }
    f->time -= back;
}

void scheduler_charge(struct scheduler *s, enum sched_lane lane, struct view tenant, int64_t delta)
{
    struct sched_queue *q = &s->lanes[lane];
    struct sched_tenant *t = map_get(q->tenants, tenant);
    if (delta == 0) return;
    sched_flow_correct(&q->flow, s->clock, delta);
    if (!t && delta < 0) return; /* forgotten: the clock has passed it anyway */
    if (!t) {
        t = sched_tenant_new(q, tenant);
        if (!t) return; /* no memory: a debt is forgiven */
        sched_heap_put(&q->resting, t);
    }
    sched_flow_correct(&t->flow, q->clock, delta);
    if (!list_linked(&t->held)) sched_heap_move(t->count ? &q->waiting : &q->resting, t);
}

/* --- lines ----------------------------------------------------------------------------------- */
/* It had nothing waiting: from its own time or the clock on, whichever is later. */
static void sched_tenant_join(struct scheduler *s, struct sched_tenant *t)
{
    struct sched_queue *q = t->queue;
    if (t->flow.time < q->clock) t->flow.time = q->clock;
    t->since = ++s->joins;
    sched_heap_put(&q->waiting, t);
    if (q->waiting.count == 1 && q->flow.time < s->clock) q->flow.time = s->clock;
}

bool scheduler_put(struct scheduler *s, struct sched_item *item, const struct sched_entry *e)
{
    assert(!item->tenant && e->cost >= 1 && e->rank < SCHED_RANK_COUNT);
    struct sched_queue *q = &s->lanes[e->lane];
    if (scheduler_count(s) >= s->items_max) return false;
    struct sched_tenant *t = map_get(q->tenants, e->tenant);
    if (t && !t->count) sched_heap_remove(&q->resting, t);
    if (!t) t = sched_tenant_new(q, e->tenant);
    if (!t) return false;
    if (!t->count) sched_tenant_join(s, t);
    t->flow.weight = e->weight < 1                  ? 1
                     : e->weight > SCHED_WEIGHT_MAX ? SCHED_WEIGHT_MAX
                                                    : e->weight;
    item->tenant = t;
    item->cost = e->cost;
    item->rank = e->rank;
    list_push(&t->items[e->rank], &item->link);
    t->ranks |= 1U << e->rank;
    t->count++;
    q->count++;
    q->due += e->rank == SCHED_DUE;
    return true;
}

void scheduler_remove(struct scheduler *s, struct sched_item *item)
{
    struct sched_tenant *t = item->tenant;
    assert(t);
    struct sched_queue *q = t->queue;
    list_remove(&t->items[item->rank], &item->link);
    if (!t->items[item->rank].count) t->ranks &= ~(1U << item->rank);
    q->count--;
    q->due -= item->rank == SCHED_DUE;
    item->tenant = NULL;
    if (--t->count) return;
    if (list_linked(&t->held))
        list_remove(&s->held, &t->held);
    else
        sched_heap_remove(&q->waiting, t);
    sched_heap_put(&q->resting, t);
}

void scheduler_hold(struct scheduler *s, struct sched_item *item)
{
    struct sched_tenant *t = item->tenant;
    if (list_linked(&t->held)) return;
    sched_heap_remove(&t->queue->waiting, t);
    list_push(&s->held, &t->held);
}

void scheduler_release_all(struct scheduler *s)
{
    struct list_link *k;
    while ((k = list_first(&s->held)) != NULL) {
        list_remove(&s->held, k);
        sched_tenant_join(s, LIST_ITEM(k, struct sched_tenant, held));
    }
}

/* --- whose turn it is ------------------------------------------------------------------------ */
static const struct sched_queue *sched_class(const struct scheduler *s)
{
    const struct sched_queue *a = &s->lanes[SCHED_INTERACTIVE], *b = &s->lanes[SCHED_BULK];
    if (!a->waiting.count || !b->waiting.count) return a->waiting.count ? a : b;
    return b->flow.time < a->flow.time ? b : a;
}

struct sched_item *scheduler_peek(const struct scheduler *s)
{
    const struct sched_queue *q = sched_class(s);
    return q->waiting.count ? sched_tenant_head(q->waiting.list[0]) : NULL;
}

struct sched_item *scheduler_take(struct scheduler *s)
{
    struct sched_item *item = scheduler_peek(s);
    if (!item) return NULL;
    struct sched_tenant *t = item->tenant;
    struct sched_queue *q = t->queue;
    size_t waiting = s->lanes[SCHED_INTERACTIVE].waiting.count + s->lanes[SCHED_BULK].waiting.count;
    bool is_class_alone = q->waiting.count == waiting, is_alone = q->waiting.count == 1;
    if (q->flow.time > s->clock) s->clock = q->flow.time;
    if (t->flow.time > q->clock) q->clock = t->flow.time;
    sched_flow_charge(&q->flow, item->cost, is_class_alone);
    sched_flow_charge(&t->flow, item->cost, is_alone);
    sched_heap_move(&q->waiting, t);
    scheduler_remove(s, item);
    sched_forget_some(q);
    return item;
}

/* --- small questions ------------------------------------------------------------------------- */
bool scheduler_has(const struct sched_item *item)
{
    return item->tenant != NULL;
}

size_t scheduler_count(const struct scheduler *s)
{
    return s->lanes[SCHED_INTERACTIVE].count + s->lanes[SCHED_BULK].count;
}

size_t scheduler_lane_count(const struct scheduler *s, enum sched_lane lane)
{
    return s->lanes[lane].count - s->lanes[lane].due;
}

size_t scheduler_due_count(const struct scheduler *s)
{
    return s->lanes[SCHED_INTERACTIVE].due + s->lanes[SCHED_BULK].due;
}
