/* Hard: a limit that holds while homes move, workers die and Redis is wiped, without a question a
 * start. All jobs of a key lie in one home, so its owner decides alone, and the log tells the next
 * owner who holds a place: every job that was started and has not ended is known to it. Of the
 * starts of the last minute the log may tell too little (those that ended are not read again);
 * then the buckets begin empty, which is at most what the former owner can have left in them.
 *
 * The bucket is a GCRA. N a minute with a burst of b are spaced by 60 s / (N - b + 1), so that any
 * 60 s hold at most N. A key lives as long as anybody waits, is lined or holds, and its bucket is
 * not full again. Who is lined has its place and its token already: what the scheduler then takes
 * may start, and the line of the scheduler holds no more of a key than may start. */
#include "consumer/keyed.h"

#include "common/base/clock.h"
#include "common/base/map.h"
#include <assert.h>
#include <stdio.h>

enum {
    KEYED_KEYS_MAX = 200000,
    KEYED_NAME_MAX = 256,
    KEYED_MINUTE_MS = 60000,
    KEYED_MEAN_MS = 10000 /* how long a job runs, as long as nobody knows */
};

struct keyed_key {
    struct keyed *k;
    struct list_link ready; /* in k->ready: something of it may be lined */
    struct list waiting[SCHED_RANK_COUNT];
    unsigned ranks; /* bit per list that has something */
    size_t waiting_count, lined, held;
    int64_t concurrency, burst, space_us; /* 0 = no such limit */
    int64_t due_us;                       /* GCRA: when the bucket is full again; monotonic */
    int64_t mean_ms;                      /* of a hold */
    struct timer timer;
    size_t name_len;
    char name[];
};

struct keyed {
    struct keyed_options o;
    struct map *keys;
    struct list ready, untold;
    size_t waiting;
    int64_t made_ms;
};

struct keyed *keyed_new(const struct keyed_options *o)
{
    struct keyed *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->o = *o;
    k->made_ms = o->clock->mono_ms;
    list_init(&k->ready);
    list_init(&k->untold);
    k->keys = map_new(KEYED_KEYS_MAX);
    if (k->keys) return k;
    free(k);
    return NULL;
}

void keyed_free(struct keyed *k)
{
    size_t cursor = 0;
    struct view name;
    void *value;
    if (!k) return;
    while (map_each(k->keys, &cursor, &name, &value)) {
        struct keyed_key *key = value;
        assert(!key->waiting_count && !key->lined);
        timerq_cancel(k->o.timers, &key->timer);
        free(key);
    }
    map_free(k->keys);
    free(k);
}

/* --- the bucket ------------------------------------------------------------------------------ */
static int64_t keyed_now_us(const struct keyed *k)
{
    return k->o.clock->mono_ms * 1000;
}

static void keyed_limit(struct keyed_key *key, const struct config_key_limit *l)
{
    key->concurrency = l->concurrency;
    if (!l->per_minute) return;
    key->burst = 1 + l->per_minute / 20;
    key->space_us = (KEYED_MINUTE_MS * INT64_C(1000) + l->per_minute - key->burst) /
                    (l->per_minute - key->burst + 1);
    int64_t since_us = keyed_now_us(key->k) - key->k->made_ms * 1000;
    if (!key->k->o.is_complete && since_us < KEYED_MINUTE_MS * INT64_C(1000))
        key->due_us = key->k->made_ms * 1000 + key->burst * key->space_us;
}

/* When one more may start beside those that are lined. */
static int64_t keyed_when_us(const struct keyed_key *key)
{
    int64_t now = keyed_now_us(key->k), due = key->due_us > now ? key->due_us : now;
    if (!key->space_us) return now;
    return due - (key->burst - 1 - (int64_t)key->lined) * key->space_us;
}

static void keyed_spend(struct keyed_key *key, int64_t at_us)
{
    if (key->space_us) key->due_us = (key->due_us > at_us ? key->due_us : at_us) + key->space_us;
}

static bool keyed_has_place(const struct keyed_key *key)
{
    return !key->concurrency || (int64_t)(key->held + key->lined) < key->concurrency;
}

static bool keyed_may_line(const struct keyed_key *key)
{
    return keyed_has_place(key) && keyed_when_us(key) <= keyed_now_us(key->k);
}

/* --- keys ------------------------------------------------------------------------------------ */
static struct view keyed_name_of(const struct keyed_name *n, char ret[KEYED_NAME_MAX])
{
    int len = snprintf(ret, KEYED_NAME_MAX, "%.*s/%.*s", (int)n->tenant.len, n->tenant.ptr,
                       (int)n->key.len, n->key.ptr);
    assert(len > 0 && len < KEYED_NAME_MAX);
    return view_make(ret, (size_t)len);
}

static struct keyed_key *keyed_get(struct keyed *k, const struct keyed_name *n)
{
    char text[KEYED_NAME_MAX];
    struct view name = keyed_name_of(n, text);
    struct keyed_key *key = map_get(k->keys, name);
    if (key) return key;
    key = calloc(1, sizeof *key + name.len);
    if (!key) return NULL;
    key->k = k;
    key->mean_ms = KEYED_MEAN_MS;
    key->name_len = name.len;
    memcpy(key->name, name.ptr, name.len);
    for (size_t i = 0; i < SCHED_RANK_COUNT; i++) list_init(&key->waiting[i]);
    keyed_limit(key, n->limit);
    if (map_put(k->keys, name, key)) return key;
    free(key);
    return NULL;
}

static void keyed_on_timer(void *arg);

static void keyed_arm(struct keyed_key *key, int64_t at_us)
{
    struct keyed *k = key->k;
    if (timerq_pending(&key->timer) && key->timer.when_ms * 1000 <= at_us) return;
    (void)timerq_set(k->o.timers, &key->timer, at_us / 1000 + 1, keyed_on_timer, key);
}

/* After anything changed: is somebody next, or nobody left? */
static void keyed_look(struct keyed_key *key)
{
    struct keyed *k = key->k;
    if (key->waiting_count && keyed_has_place(key)) {
        if (!keyed_may_line(key)) {
            keyed_arm(key, keyed_when_us(key));
        } else if (!list_linked(&key->ready)) {
            list_push(&k->ready, &key->ready);
            k->o.wake(k->o.arg);
        }
    }
    if (key->waiting_count || key->lined || key->held) return;
    if (key->due_us > keyed_now_us(k)) {
        keyed_arm(key, key->due_us); /* it must not be forgotten what was spent */
        return;
    }
    timerq_cancel(k->o.timers, &key->timer);
    if (list_linked(&key->ready)) list_remove(&k->ready, &key->ready);
    (void)map_remove(k->keys, view_make(key->name, key->name_len));
    free(key);
}

static void keyed_on_timer(void *arg)
{
    keyed_look(arg);
}

/* --- items ----------------------------------------------------------------------------------- */
static void keyed_line(struct keyed_key *key, struct keyed_item *it)
{
    it->state = KEYED_LINED;
    key->lined++;
}

enum keyed_verdict keyed_enter(struct keyed *k, struct keyed_item *it, const struct keyed_name *n,
                               unsigned rank)
{
    struct keyed_key *key = keyed_get(k, n);
    assert(it->state == KEYED_OUT && rank < SCHED_RANK_COUNT);
    if (!key) return KEYED_FULL;
    it->key = key;
    it->rank = rank;
    it->since_ms = k->o.clock->mono_ms;
    if (!key->waiting_count && keyed_may_line(key)) {
        keyed_line(key, it);
        return KEYED_PASS;
    }
    it->state = KEYED_WAITING;
    list_push(&key->waiting[rank], &it->link);
    list_push(&k->untold, &it->tell);
    key->ranks |= 1U << rank;
    key->waiting_count++;
    k->waiting++;
    keyed_look(key);
    return KEYED_WAIT;
}

static void keyed_unwait(struct keyed_key *key, struct keyed_item *it)
{
    struct list *line = &key->waiting[it->rank];
    list_remove(line, &it->link);
    if (!line->count) key->ranks &= ~(1U << it->rank);
    if (list_linked(&it->tell)) list_remove(&key->k->untold, &it->tell);
    key->waiting_count--;
    key->k->waiting--;
}

static struct keyed_item *keyed_first(const struct keyed_key *key)
{
    unsigned rank = SCHED_RANK_COUNT - 1;
    while (rank > 0 && !(key->ranks & 1U << rank)) rank--;
    struct list_link *first = list_first(&key->waiting[rank]);
    assert(first);
    return LIST_ITEM(first, struct keyed_item, link);
}

struct keyed_item *keyed_pop(struct keyed *k)
{
    struct list_link *l;
    while ((l = list_first(&k->ready)) != NULL) {
        struct keyed_key *key = LIST_ITEM(l, struct keyed_key, ready);
        list_remove(&k->ready, l);
        if (!key->waiting_count || !keyed_may_line(key)) {
            keyed_look(key);
            continue;
        }
        struct keyed_item *it = keyed_first(key);
        keyed_unwait(key, it);
        keyed_line(key, it);
        keyed_look(key); /* it comes to the end of the ready ones while it may line more */
        return it;
    }
    return NULL;
}

void keyed_take(struct keyed *k, struct keyed_item *it, struct keyed_hold *hold)
{
    struct keyed_key *key = it->key;
    assert(it->state == KEYED_LINED && !hold->key);
    it->state = KEYED_OUT;
    it->key = NULL;
    key->lined--;
    key->held++;
    hold->key = key;
    hold->since_ms = k->o.clock->mono_ms;
    keyed_spend(key, keyed_now_us(k));
}

void keyed_leave(struct keyed *k, struct keyed_item *it)
{
    struct keyed_key *key = it->key;
    (void)k;
    if (it->state == KEYED_OUT) return;
    if (it->state == KEYED_WAITING) keyed_unwait(key, it);
    if (it->state == KEYED_LINED) key->lined--;
    it->state = KEYED_OUT;
    it->key = NULL;
    keyed_look(key);
}

/* --- holds ----------------------------------------------------------------------------------- */
void keyed_note_start(struct keyed *k, const struct keyed_name *n, int64_t age_ms,
                      struct keyed_hold *hold)
{
    assert(!hold->key);
    struct keyed_key *key = keyed_get(k, n);
    if (!key) return; /* no memory: it is not counted */
    int64_t age = age_ms < 0 ? 0 : age_ms > KEYED_MINUTE_MS ? KEYED_MINUTE_MS : age_ms;
    if (age < KEYED_MINUTE_MS) keyed_spend(key, keyed_now_us(k) - age * 1000);
    hold->key = key;
    hold->since_ms = k->o.clock->mono_ms - age;
    key->held++;
}

void keyed_release(struct keyed *k, struct keyed_hold *hold)
{
    struct keyed_key *key = hold->key;
    if (!key) return;
    int64_t ms = k->o.clock->mono_ms - hold->since_ms;
    key->mean_ms += (ms - key->mean_ms) / 4;
    key->held--;
    hold->key = NULL;
    keyed_look(key);
}

/* --- telling --------------------------------------------------------------------------------- */
static int64_t keyed_until_ms(const struct keyed_key *key)
{
    int64_t now = key->k->o.clock->mono_ms, when = keyed_when_us(key) / 1000;
    int64_t ahead = (int64_t)key->waiting_count - 1;
    int64_t by_rate = (when > now ? when : now) + ahead * key->space_us / 1000;
    if (!key->concurrency) return by_rate;
    int64_t by_place = now + (1 + ahead / key->concurrency) * (key->mean_ms + 1);
    return by_rate > by_place ? by_rate : by_place;
}

struct keyed_item *keyed_tell(struct keyed *k, int64_t *ret_until_ms, int64_t *ret_when_ms)
{
    struct list_link *l = list_first(&k->untold);
    *ret_when_ms = INT64_MAX;
    if (!l) return NULL;
    struct keyed_item *it = LIST_ITEM(l, struct keyed_item, tell);
    *ret_when_ms = it->since_ms + KEYED_TELL_MS;
    if (*ret_when_ms > k->o.clock->mono_ms) return NULL;
    list_remove(&k->untold, l);
    *ret_until_ms = keyed_until_ms(it->key);
    return it;
}

size_t keyed_waiting(const struct keyed *k)
{
    return k->waiting;
}
