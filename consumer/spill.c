/* Hard: to leave room for those who have not come yet, without knowing how many they are. Chosen:
 * the dynamic threshold of shared switch buffers. A tenant may have a times what is free; alone it
 * gets a/(1+a) of the whole, which is the configured share, and n of them leave 1/(1+n*a) of it.
 * One place is always allowed, so that tenants are kept out by the size of the whole alone.
 *
 * Records set aside are read again in the order of their topic, the first of which waits until its
 * tenant is down to half of what it may have: a tenant's surplus is in order, and moves in
 * stretches. What is set aside cannot overtake: a surplus behind another tenant's surplus waits for
 * it, so the share should hold what a usual tenant has at once. */
#include "consumer/spill.h"

#include "common/base/map.h"
#include <assert.h>

enum { SPILL_RUN_SHARE = 9 /* a lone tenant leaves a tenth of the runs free */ };

struct spill_tenant {
    struct spill *s;
    enum sched_lane lane;
    int64_t lined, running, out;
    size_t name_len;
    char name[];
};

struct spill {
    struct spill_options o;
    struct map *tenants[SCHED_LANE_COUNT];
    int64_t lined[SCHED_LANE_COUNT], running;
};

struct spill *spill_new(const struct spill_options *o)
{
    struct spill *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    assert(o->window > 0 && o->share > 0 && o->share <= 100 && o->runs_max > 0);
    s->o = *o;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        s->tenants[i] = map_new(o->tenants_max);
        if (s->tenants[i]) continue;
        spill_free(s);
        return NULL;
    }
    return s;
}

void spill_free(struct spill *s)
{
    if (!s) return;
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        size_t cursor = 0;
        struct view name;
        void *value;
        while (s->tenants[i] && map_each(s->tenants[i], &cursor, &name, &value)) free(value);
        map_free(s->tenants[i]);
    }
    free(s);
}

/* --- tenants --------------------------------------------------------------------------------- */
static struct spill_tenant *spill_find(const struct spill *s, enum sched_lane lane,
                                       struct view name)
{
    return map_get(s->tenants[lane], name);
}

static struct spill_tenant *spill_get(struct spill *s, enum sched_lane lane, struct view name)
{
    struct spill_tenant *t = spill_find(s, lane, name);
    if (t) return t;
    t = calloc(1, sizeof *t + name.len);
    if (!t) return NULL;
    t->s = s;
    t->lane = lane;
    t->name_len = name.len;
    if (name.len) memcpy(t->name, name.ptr, name.len);
    if (map_put(s->tenants[lane], name, t)) return t;
    free(t);
    return NULL;
}

static void spill_drop(struct spill_tenant *t)
{
    if (t->lined || t->running || t->out) return;
    (void)map_remove(t->s->tenants[t->lane], view_make(t->name, t->name_len));
    free(t);
}

/* --- lines ----------------------------------------------------------------------------------- */
static int64_t spill_allowed(const struct spill *s, enum sched_lane lane)
{
    int64_t free = s->o.window - s->lined[lane];
    if (s->o.share == 100) return INT64_MAX;
    if (free < 0) free = 0;
    int64_t n = free * s->o.share / (100 - s->o.share);
    return n > 1 ? n : 1;
}

bool spill_wants(const struct spill *s, enum sched_lane lane, struct view tenant, int64_t boost)
{
    const struct spill_tenant *t = spill_find(s, lane, tenant);
    if (!t) return false;
    return t->lined >= spill_allowed(s, lane) || (t->out > 0 && boost <= 0);
}

bool spill_admits(const struct spill *s, enum sched_lane lane, struct view tenant)
{
    const struct spill_tenant *t = spill_find(s, lane, tenant);
    return !t || t->lined <= spill_allowed(s, lane) / 2;
}

bool spill_enter(struct spill *s, struct spill_place *p, enum sched_lane lane, struct view tenant)
{
    assert(p->state == SPILL_OUT);
    struct spill_tenant *t = spill_get(s, lane, tenant);
    if (!t) return false;
    p->tenant = t;
    p->state = SPILL_LINE;
    t->lined++;
    s->lined[lane]++;
    return true;
}

/* --- runs ------------------------------------------------------------------------------------ */
int64_t spill_running(const struct spill_place *p)
{
    return p->state == SPILL_OUT ? 0 : p->tenant->running;
}

bool spill_may_start(const struct spill *s, const struct spill_place *p)
{
    int64_t free = s->o.runs_max - s->running;
    if (p->state == SPILL_OUT || p->tenant->running == 0) return true;
    return p->tenant->running < free * SPILL_RUN_SHARE;
}

void spill_start(struct spill *s, struct spill_place *p)
{
    if (p->state != SPILL_LINE) return;
    p->state = SPILL_RUN;
    p->tenant->lined--;
    s->lined[p->tenant->lane]--;
    p->tenant->running++;
    s->running++;
}

bool spill_leave(struct spill *s, struct spill_place *p)
{
    struct spill_tenant *t = p->tenant;
    if (p->state == SPILL_OUT) return false;
    if (p->state == SPILL_LINE) {
        t->lined--;
        s->lined[t->lane]--;
    } else {
        t->running--;
        s->running--;
    }
    p->state = SPILL_OUT;
    p->tenant = NULL;
    spill_drop(t);
    return true;
}

/* --- set aside ------------------------------------------------------------------------------- */
void spill_note_out(struct spill *s, enum sched_lane lane, struct view tenant)
{
    struct spill_tenant *t = spill_get(s, lane, tenant);
    if (t) t->out++;
}

void spill_note_back(struct spill *s, enum sched_lane lane, struct view tenant)
{
    struct spill_tenant *t = spill_find(s, lane, tenant);
    if (!t || !t->out) return;
    t->out--;
    spill_drop(t);
}

void spill_forget_out(struct spill *s)
{
    for (size_t i = 0; i < SCHED_LANE_COUNT; i++) {
        size_t cursor = 0;
        struct view name;
        void *value;
        while (map_each(s->tenants[i], &cursor, &name, &value)) {
            struct spill_tenant *t = value;
            t->out = 0;
            spill_drop(t); /* removing the current one is allowed */
        }
    }
}
