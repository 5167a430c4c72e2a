/* Deficit round robin after Shreedhar and Varghese: each lane keeps a ring of the tenants that have
 * something waiting; the one at the front gets weight units of credit when its turn begins and
 * starts items while the credit lasts, then goes to the back. A tenant that runs empty leaves the
 * ring and forgets its credit, so nobody saves up. The classes share in the same way, with two
 * counters; an empty class costs the other nothing. */
#include "consumer/scheduler.h"

#include "common/base/map.h"
#include <assert.h>

enum { SCHED_TENANTS_MAX = 100000, SCHED_WEIGHT_MAX = 10000 };

struct sched_queue;
struct sched_tenant {
    struct list_link link; /* in the ring of its lane */
    struct list items;
    struct sched_queue *queue;
    int64_t weight, credit;
    bool has_turn; /* credit of this round was given */
    size_t name_len;
    char name[];
};

struct sched_queue {
    struct map *tenants;
    struct list ring;
    size_t count;
};

struct scheduler {
    struct sched_queue lanes[SCHED_LANE_COUNT];
    size_t items_max;
    int64_t class_credit[SCHED_LANE_COUNT];
};

struct scheduler *scheduler_new(size_t items_max)
{
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->items_max = items_max;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        list_init(&s->lanes[i].ring);
        s->lanes[i].tenants = map_new(SCHED_TENANTS_MAX);
        if (!s->lanes[i].tenants) {
            scheduler_free(s);
            return NULL;
        }
    }
    return s;
}

void scheduler_free(struct scheduler *s)
{
    if (!s) return;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        struct list_link *k;
        while ((k = list_first(&s->lanes[i].ring)) != NULL) {
            list_remove(&s->lanes[i].ring, k);
            free(LIST_ITEM(k, struct sched_tenant, link));
        }
        map_free(s->lanes[i].tenants);
    }
    free(s);
}

static struct sched_tenant *sched_tenant_get(struct sched_queue *q, struct view name)
{
    struct sched_tenant *t = map_get(q->tenants, name);
    if (t) return t;
    t = calloc(1, sizeof *t + name.len);
    if (!t) return NULL;
    t->queue = q;
    t->name_len = name.len;
    if (name.len) memcpy(t->name, name.ptr, name.len);
    list_init(&t->items);
    if (!map_put(q->tenants, name, t)) {
        free(t);
        return NULL;
    }
    list_push(&q->ring, &t->link);
    return t;
}

bool scheduler_put(struct scheduler *s, enum sched_lane lane, struct view tenant, int64_t weight,
                   int64_t cost, struct sched_item *item)
{
    assert(!item->tenant && cost >= 1);
    if (scheduler_count(s) >= s->items_max) return false;
    struct sched_tenant *t = sched_tenant_get(&s->lanes[lane], tenant);
    if (!t) return false;
    t->weight = weight < 1 ? 1 : weight > SCHED_WEIGHT_MAX ? SCHED_WEIGHT_MAX : weight;
    item->tenant = t;
    item->cost = cost;
    list_push(&t->items, &item->link);
    t->queue->count++;
    return true;
}

void scheduler_remove(struct scheduler *s, struct sched_item *item)
{
    struct sched_tenant *t = item->tenant;
    (void)s;
    assert(t);
    list_remove(&t->items, &item->link);
    t->queue->count--;
    item->tenant = NULL;
    if (t->items.count) return;
    list_remove(&t->queue->ring, &t->link);
    (void)map_remove(t->queue->tenants, view_make(t->name, t->name_len));
    free(t);
}

static struct sched_item *sched_queue_take(struct scheduler *s, struct sched_queue *q)
{
    for (;;) { /* ends: every round raises the credit of each tenant by its weight */
        assert(list_first(&q->ring));
        struct sched_tenant *t = LIST_ITEM(list_first(&q->ring), struct sched_tenant, link);
        assert(list_first(&t->items)); /* a tenant without items leaves the ring */
        struct sched_item *item = LIST_ITEM(list_first(&t->items), struct sched_item, link);
        if (!t->has_turn) t->credit += t->weight;
        t->has_turn = true;
        if (t->credit >= item->cost) {
            t->credit -= item->cost;
            scheduler_remove(s, item);
            return item;
        }
        t->has_turn = false;
        list_remove(&q->ring, &t->link);
        list_push(&q->ring, &t->link);
    }
}

static enum sched_lane sched_class(struct scheduler *s)
{
    bool interactive = s->lanes[SCHED_INTERACTIVE].count > 0, bulk = s->lanes[SCHED_BULK].count > 0;
    if (interactive != bulk) return interactive ? SCHED_INTERACTIVE : SCHED_BULK;
    if (s->class_credit[SCHED_INTERACTIVE] == 0 && s->class_credit[SCHED_BULK] == 0) {
        s->class_credit[SCHED_INTERACTIVE] = SCHED_INTERACTIVE_WEIGHT;
        s->class_credit[SCHED_BULK] = SCHED_BULK_WEIGHT;
    }
    enum sched_lane lane = s->class_credit[SCHED_INTERACTIVE] ? SCHED_INTERACTIVE : SCHED_BULK;
    s->class_credit[lane]--;
    return lane;
}

struct sched_item *scheduler_take(struct scheduler *s)
{
    if (s->lanes[SCHED_DUE].count) return sched_queue_take(s, &s->lanes[SCHED_DUE]);
    if (!scheduler_count(s)) return NULL;
    return sched_queue_take(s, &s->lanes[sched_class(s)]);
}

bool scheduler_has(const struct sched_item *item)
{
    return item->tenant != NULL;
}

size_t scheduler_count(const struct scheduler *s)
{
    size_t n = 0;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) n += s->lanes[i].count;
    return n;
}

size_t scheduler_lane_count(const struct scheduler *s, enum sched_lane lane)
{
    return s->lanes[lane].count;
}
