/* The log usually settles a foreign job first: its end, parked or yielded record completes the item
 * without any question. What is left for this file is the owner that died, the owner that ended the
 * job but died before Redis knew, and the cancel that the owner has not heard of because Redis was
 * away when it was asked for. */
#include "consumer/foreign.h"

#include "consumer/home.h"
#include <assert.h>

enum { FOREIGN_OWNERS_MAX = 10000, FOREIGN_ROUNDS = 3 };

struct foreign_owner {
    struct foreign *f;
    struct list items; /* item->waiting */
    struct timer timer;
    bool is_asking;
    size_t name_len;
    char name[];
};

struct foreign {
    struct worker *w;
    struct map *owners;
    size_t count;
};

struct foreign *foreign_new(struct worker *w)
{
    struct foreign *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->w = w;
    f->owners = map_new(FOREIGN_OWNERS_MAX);
    if (!f->owners) {
        free(f);
        return NULL;
    }
    return f;
}

static void foreign_owner_free(struct foreign_owner *o)
{
    timerq_cancel(o->f->w->ports.timers, &o->timer);
    (void)map_remove(o->f->owners, view_make(o->name, o->name_len));
    free(o);
}

void foreign_free(struct foreign *f)
{
    size_t cursor = 0;
    struct view key;
    void *value;
    if (!f) return;
    while (map_each(f->owners, &cursor, &key, &value)) {
        struct foreign_owner *o = value;
        timerq_cancel(f->w->ports.timers, &o->timer);
        free(o);
    }
    map_free(f->owners);
    free(f);
}

static struct foreign_owner *foreign_owner_get(struct foreign *f, struct view name)
{
    struct foreign_owner *o = map_get(f->owners, name);
    if (o) return o;
    o = calloc(1, sizeof *o + name.len);
    if (!o) return NULL;
    o->f = f;
    o->name_len = name.len;
    if (name.len) memcpy(o->name, name.ptr, name.len);
    list_init(&o->items);
    if (map_put(f->owners, name, o)) return o;
    free(o);
    return NULL;
}

static void foreign_on_timer(void *arg);

static void foreign_arm(struct foreign_owner *o)
{
    struct worker *w = o->f->w;
    int64_t round = w->ports.config->consumer.lease_ttl_ms / 3;
    if (timerq_pending(&o->timer) || o->is_asking) return;
    (void)timerq_set(w->ports.timers, &o->timer, worker_retry_ms(w, round), foreign_on_timer, o);
}

void foreign_add(struct foreign *f, struct item *it, struct view owner)
{
    struct foreign_owner *o = foreign_owner_get(f, owner);
    if (!o) o = foreign_owner_get(f, VIEW_LIT(""));
    assert(!list_linked(&it->waiting) && !it->owner);
    it->state = ITEM_FOREIGN;
    if (!o) { /* no memory: into the line at once, which asks Redis again */
        home_line_up(it->home, it);
        return;
    }
    it->owner = o;
    list_push(&o->items, &it->waiting);
    f->count++;
    foreign_arm(o);
}

void foreign_remove(struct foreign *f, struct item *it)
{
    struct foreign_owner *o = it->owner;
    if (!o) return;
    list_remove(&o->items, &it->waiting);
    it->owner = NULL;
    f->count--;
    if (o->items.count == 0 && !o->is_asking && !timerq_pending(&o->timer)) foreign_owner_free(o);
}

size_t foreign_count(const struct foreign *f)
{
    return f->count;
}

static void foreign_ignore_cancel(void *arg, const struct err *e, const struct fn_canceled *c)
{
    (void)arg, (void)e, (void)c;
}

/* The owner may have given the job back without a word in the log (its home was lost before it
 * began, say): whoever is not seen to have begun it is asked about every round, the others every
 * few rounds. */
static bool foreign_is_due(struct item *it)
{
    if (known_phase(it->job) != LEDGER_STARTED) return true;
    return ++it->rounds % FOREIGN_ROUNDS == 0;
}

static void foreign_line_up(struct foreign_owner *o, bool is_all)
{
    struct foreign *f = o->f;
    for (size_t left = o->items.count; left; left--) {
        struct item *it = LIST_ITEM(list_first(&o->items), struct item, waiting);
        list_remove(&o->items, &it->waiting);
        if (!is_all && !foreign_is_due(it)) {
            list_push(&o->items, &it->waiting);
            continue;
        }
        it->owner = NULL;
        f->count--;
        home_line_up(it->home, it);
    }
}

static void foreign_nudge(struct foreign_owner *o)
{
    struct worker *w = o->f->w;
    for (struct list_link *k = list_first(&o->items); k; k = list_next(&o->items, k)) {
        struct item *it = LIST_ITEM(k, struct item, waiting);
        if (known_is_canceled(it->job, it->head.tenant))
            fn_cancel(w->ports.fn, &it->head.id, foreign_ignore_cancel, NULL);
    }
}

static void foreign_on_alive(void *arg, const struct err *e, struct view verdict)
{
    struct foreign_owner *o = arg;
    o->is_asking = false;
    if (!e && view_eq_str(verdict, "gone")) foreign_line_up(o, true);
    if (!e) foreign_nudge(o);
    if (o->items.count) {
        foreign_arm(o);
    } else {
        foreign_owner_free(o);
    }
}

static void foreign_on_timer(void *arg)
{
    struct foreign_owner *o = arg;
    struct worker *w = o->f->w;
    if (worker_may_start(w)) foreign_line_up(o, o->name_len == 0);
    worker_kick(w);
    if (o->items.count == 0) {
        foreign_owner_free(o);
    } else if (o->name_len == 0 || !worker_may_start(w)) {
        foreign_arm(o);
    } else {
        o->is_asking = true;
        fn_alive(w->ports.fn, view_make(o->name, o->name_len), foreign_on_alive, o);
    }
}
