/* Jobs that are watched: one subscription and one live reader each, however many watch.
 *
 * What is hard:
 * - The order of beginnings. The channel is subscribed first; only then does anybody read the
 * stream. So what is appended after a read rings, and `newest` (by doorbells) against `top` (read
 * so far) says whether something is missing.
 * - Joining. A watcher that has read history to its end stands at the live position, or before it
 * (it pages on: the stream holds what lies between), or past it (the frames it has already seen are
 * left out when they come).
 * - A doorbell says only that there is something. Many of one turn make one read a job: jobs are
 * marked, and the marks are looked at by one timer that is due at once, when the callbacks of the
 * turn are through.
 * - Doorbells can be missed while the connection is down: after it came back every job reads once
 * more. A quiet job does so anyway once a heartbeat.
 * - Callbacks outlive watchers: a job that nobody watches any more stays until the answers it waits
 * for have come. */
#include "gateway/tail_priv.h"

#include <assert.h>

enum { TAIL_FRAME_BYTES_MAX = 256 << 20, TAIL_SCRATCH_MAX = 2 * PAGE_BYTES_HARD };

static void tails_flush(void *arg);
static void tail_entries(void *arg, const struct reply *r, const struct err *e);

/* --- marks --- */

void tail_mark_dirty(struct tail *l, bool must_read)
{
    struct tails *t = l->tails;
    l->must_read = l->must_read || must_read;
    if (list_linked(&l->dirty)) return;
    list_push(&t->dirty, &l->dirty);
    if (!timerq_pending(&t->flush))
        (void)timerq_set(t->o.timers, &t->flush, t->o.clock->mono_ms, tails_flush, t);
}

static void tail_retry(void *arg)
{
    tail_mark_dirty(arg, true);
}

void tail_retry_later(struct tail *l, int64_t delay_ms)
{
    int64_t when = l->tails->o.clock->mono_ms + delay_ms;
    if (timerq_pending(&l->retry) && l->retry.when_ms <= when) return;
    (void)timerq_set(l->tails->o.timers, &l->retry, when, tail_retry, l);
}

static void tail_read(struct tail *l)
{
    l->is_reading = true;
    l->must_read = false;
    l->asked = l->newest;
    l->pending++;
    entries_ask(l->tails->o.reads, &l->job, l->top, TAIL_LIVE_PAGE, tail_entries, l);
}

static void tail_flush(struct tail *l)
{
    struct list_link *k, *next;
    bool has_news = l->must_read || event_id_compare(l->newest, l->top) > 0;
    if (l->state != TAIL_READY) return; /* everything is read when it is */
    if (l->live_count > 0 && !l->is_reading && has_news) tail_read(l);
    if (l->live_count == 0) l->must_read = false;
    for (k = l->holding_count ? list_first(&l->watchers) : NULL; k; k = next) {
        next = list_next(&l->watchers, k);
        pager_resume(LIST_ITEM(k, struct watcher, link));
    }
}

static void tails_flush(void *arg)
{
    struct tails *t = arg;
    struct list_link *k;
    for (size_t left = t->dirty.count; left > 0 && (k = list_first(&t->dirty)) != NULL; left--) {
        list_remove(&t->dirty, k);
        tail_flush(LIST_ITEM(k, struct tail, dirty));
    }
}

/* --- live --- */

bool tail_join(struct tail *l, struct watcher *w)
{
    if (l->live_count == 0) {
        assert(!l->head);
        l->top = w->cursor;
    }
    if (event_id_compare(w->cursor, l->top) < 0) return false;
    w->state = WATCHER_LIVE;
    w->is_late = false;
    w->mark = l->bytes_total;
    l->live_count++;
    if (w->format != WATCH_END) l->format_count[w->format]++;
    if (event_id_compare(l->newest, l->top) > 0) tail_mark_dirty(l, false);
    return true;
}

void tail_leave(struct tail *l, struct watcher *w)
{
    assert(w->state == WATCHER_LIVE && l->live_count > 0);
    if (w->next) w->next->readers--;
    w->next = NULL;
    w->offset = 0;
    l->live_count--;
    if (w->format != WATCH_END) l->format_count[w->format]--;
    frames_trim(l);
}

static void tail_give(struct watcher *w, struct frame *f)
{
    w->next = f;
    w->offset = 0;
    f->readers++;
    if (w->is_parked) w->mark = f->start; /* it had everything before */
    watcher_wake(w);
}

/* Is this watcher, which has not sent what came before f, still within its bound? */
static bool tail_is_within(const struct tail *l, const struct watcher *w)
{
    uint64_t behind = l->bytes_total - w->next->start - w->offset;
    return behind <= l->tails->o.watcher_bytes_max && l->tails->frame_bytes <= TAIL_FRAME_BYTES_MAX;
}

static void tail_offer(struct tail *l, struct watcher *w, struct frame *f)
{
    enum event_order order = event_order(w->cursor, f->id);
    if (w->format == WATCH_END) {
        w->cursor = f->id;
        if (event_type_is_terminal(f->type)) watcher_end(w, f->type);
    } else if (w->next && !tail_is_within(l, w)) {
        watcher_hurry(w);
        watcher_demote(w, false);
    } else if (!w->next && order == EVENT_NEXT) {
        tail_give(w, f);
    } else if (!w->next && order == EVENT_GAP) {
        watcher_demote(w, false);
    }
}

static bool tail_append(struct tail *l, const struct entry *e)
{
    struct list_link *k, *next;
    const bool wanted[2] = {l->format_count[0] > 0, l->format_count[1] > 0};
    struct frame *f = frame_new(l->tails, e, wanted);
    if (!f) return false;
    frames_append(l, f);
    l->top = e->id;
    f->readers++; /* ours, while it is offered */
    for (k = list_first(&l->watchers); k; k = next) {
        next = list_next(&l->watchers, k);
        struct watcher *w = LIST_ITEM(k, struct watcher, link);
        if (w->state == WATCHER_LIVE) tail_offer(l, w, f);
    }
    f->readers--;
    frames_trim(l);
    return true;
}

/* What the live reader got does not follow, or the stream seems to have gone back: every watcher
 * finds out for itself what became of it. */
static void tail_break(struct tail *l)
{
    struct list_link *k, *next;
    for (k = list_first(&l->watchers); k; k = next) {
        next = list_next(&l->watchers, k);
        struct watcher *w = LIST_ITEM(k, struct watcher, link);
        if (w->state == WATCHER_LIVE) watcher_demote(w, true);
    }
}

static void tail_take(struct tail *l, const struct reply *r)
{
    struct entry e;
    for (size_t i = 0; i < r->count && l->live_count > 0; i++) {
        if (!entry_read(r, i, &e)) continue;
        enum event_order order = event_order(l->top, e.id);
        if (order == EVENT_DUPLICATE) continue;
        if (order == EVENT_GAP || !tail_append(l, &e)) tail_break(l);
    }
}

static void tail_entries(void *arg, const struct reply *r, const struct err *e)
{
    struct tail *l = arg;
    l->is_reading = false;
    l->read_ms = l->tails->o.clock->mono_ms;
    if (!entries_are(r, e)) {
        tail_retry_later(l, TAIL_RETRY_MS);
    } else {
        tail_take(l, r);
        bool has_more = r->count >= TAIL_LIVE_PAGE;
        if (has_more || l->must_read || event_id_compare(l->newest, l->asked) > 0)
            tail_mark_dirty(l, has_more);
    }
    l->pending--;
    tail_release(l);
}

/* --- subscriptions --- */

static void tail_free(struct tail *l)
{
    struct tails *t = l->tails;
    char channel[FN_KEY_MAX];
    struct view name = fn_key(FN_KEY_CHANNEL, view_of(l->job.text), channel);
    timerq_cancel(t->o.timers, &l->retry);
    if (list_linked(&l->dirty)) list_remove(&t->dirty, &l->dirty);
    map_remove(t->by_channel, name);
    t->o.doorbells.unsubscribe(t->o.doorbells.self, name);
    assert(!l->head);
    free(l);
}

void tail_release(struct tail *l)
{
    if (l->watchers.count == 0 && l->pending == 0) tail_free(l);
}

static void tail_start_all(struct tail *l)
{
    struct list_link *k, *next;
    l->state = TAIL_READY;
    for (k = list_first(&l->watchers); k; k = next) {
        next = list_next(&l->watchers, k);
        struct watcher *w = LIST_ITEM(k, struct watcher, link);
        if (w->state == WATCHER_WAITING && !watcher_start(w)) watcher_cut(w);
    }
}

static void tail_cut_all(struct tail *l)
{
    struct list_link *k, *next;
    for (k = list_first(&l->watchers); k; k = next) {
        next = list_next(&l->watchers, k);
        watcher_cut(LIST_ITEM(k, struct watcher, link));
    }
}

static void tail_subscribed(void *arg, const struct reply *r, const struct err *e)
{
    struct tail *l = arg;
    bool is_away = e && (e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT);
    if (!e && r->kind != REPLY_ERROR)
        tail_start_all(l);
    else if (is_away)
        l->state = TAIL_AWAY; /* the port subscribes when it can, and says so by on_reset */
    else
        tail_cut_all(
            l); /* no room for another channel: the clients come back, perhaps to another gateway */
    l->pending--;
    tail_release(l);
}

static void tails_message(void *arg, struct view channel, struct view payload)
{
    struct tails *t = arg;
    struct tail *l = map_get(t->by_channel, channel);
    struct event_id id;
    if (!l) return;
    if (!event_id_parse_redis(payload, &id)) {
        tail_mark_dirty(l, true);
        return;
    }
    l->pending++;
    /* A stream begun again, unless an old bell was told twice, or late after a takeover: looking
     * costs little. */
    bool went_back =
        event_id_compare(id, l->newest) < 0 || (l->live_count > 0 && id.epoch < l->top.epoch);
    l->newest = id;
    if (went_back) tail_break(l);
    if (event_id_compare(id, l->top) > 0 || l->live_count == 0) tail_mark_dirty(l, false);
    l->pending--;
    tail_release(l);
}

static void tails_reset(void *arg)
{
    struct tails *t = arg;
    struct view channel;
    void *value;
    size_t cursor = 0;
    while (map_each(t->by_channel, &cursor, &channel, &value)) {
        struct tail *l = value;
        if (l->state == TAIL_SUBSCRIBING) continue;
        l->pending++; /* its watchers may be cut */
        tail_start_all(l);
        tail_mark_dirty(l, true);
        l->pending--;
        tail_release(l);
    }
}

static struct tail *tail_new(struct tails *t, const struct job_id *job, struct view channel)
{
    struct tail *l = calloc(1, sizeof *l);
    if (!l || !map_put(t->by_channel, channel, l)) {
        free(l);
        return NULL;
    }
    l->tails = t;
    l->job = *job;
    l->read_ms = t->o.clock->mono_ms;
    list_init(&l->watchers);
    l->pending++;
    t->o.doorbells.subscribe(t->o.doorbells.self, channel, tail_subscribed, l);
    return l;
}

/* --- the room --- */

struct tails *tails_new(const struct tails_options *o)
{
    struct tails *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->o = *o;
    list_init(&t->dirty);
    buf_init(&t->scratch, TAIL_SCRATCH_MAX);
    snprintf(t->retry_text, sizeof t->retry_text, "retry: %lld\n\n", (long long)o->retry_ms);
    t->by_channel = map_new(o->watchers_max + 1);
    if (!t->by_channel) {
        free(t);
        return NULL;
    }
    o->doorbells.listen(o->doorbells.self, tails_message, tails_reset, t);
    return t;
}

void tails_free(struct tails *t)
{
    struct view channel;
    void *value;
    size_t cursor = 0;
    if (!t) return;
    while (map_each(t->by_channel, &cursor, &channel, &value)) {
        struct tail *l = value;
        assert(l->watchers.count == 0);
        timerq_cancel(t->o.timers, &l->retry);
        free(l);
    }
    timerq_cancel(t->o.timers, &t->flush);
    map_free(t->by_channel);
    buf_fini(&t->scratch);
    free(t);
}

struct watcher *tails_watch(struct tails *t, const struct watch_ask *ask)
{
    char name[FN_KEY_MAX];
    struct view channel = fn_key(FN_KEY_CHANNEL, view_of(ask->job.text), name);
    if (t->is_winding_up || t->counts.watchers >= t->o.watchers_max) return NULL;
    struct tail *l = map_get(t->by_channel, channel);
    if (!l) l = tail_new(t, &ask->job, channel);
    if (!l) return NULL;
    struct watcher *w = watcher_new(l, ask);
    if (!w) {
        tail_release(l);
        return NULL;
    }
    if (ask->cursor.epoch || ask->cursor.seq) t->counts.resumes++;
    if (l->state != TAIL_READY || watcher_start(w)) return w;
    watcher_close(w);
    return NULL;
}

void tails_wind_up(struct tails *t)
{
    struct view channel;
    void *value;
    size_t cursor = 0;
    t->is_winding_up = true;
    while (map_each(t->by_channel, &cursor, &channel, &value)) {
        struct tail *l = value;
        struct list_link *k, *next;
        l->pending++;
        for (k = list_first(&l->watchers); k; k = next) {
            next = list_next(&l->watchers, k);
            watcher_wind_up(LIST_ITEM(k, struct watcher, link));
        }
        l->pending--;
        tail_release(l);
    }
}

struct tails_counts tails_counts(const struct tails *t)
{
    struct tails_counts c = t->counts;
    c.tails = map_count(t->by_channel);
    return c;
}
