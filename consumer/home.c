/* The life of an owned home: where to begin, what was known, when it may take work, and what it
 * commits.
 *
 * What is hard: two kinds of commit that must never contradict each other. The windows say which
 * intake records are done; the floor of state[p] says from where the log must be read to know every
 * job that is not over. Were the floor to stand and a window not, a record would come again whose
 * end nobody remembers. So a round goes: take the floor, commit the windows, wait for all their
 * answers, and only then commit that floor; any failure and the floor stays. And no floor is
 * committed before the intake has met what the last owner left open. */
#include "consumer/home.h"

#include "consumer/foreign.h"
#include "consumer/rebuild.h"
#include <assert.h>

enum {
    HOME_JOBS_MAX = 500000,
    HOME_ENDED_MAX = 16384,
    HOME_INCOMPLETE_MAX = 4000,
    HOME_AGAIN_MS = 500,
    HOME_ROUND_MAX_MS = 15000
};

static void home_ask(struct home *h);

/* --- made and lost --------------------------------------------------------------------------- */
struct home *home_new(struct worker *w, uint32_t partition)
{
    struct home *h = calloc(1, sizeof *h);
    bool ok;
    if (!h) return NULL;
    h->w = w;
    h->partition = partition;
    h->floor = h->floor_committed = -1;
    list_init(&h->awaiting);
    list_init(&h->blocked);
    list_init(&h->held);
    list_init(&h->closing);
    list_init(&h->askings);
    list_init(&h->untold);
    for (size_t i = 0; i < CLASS_COUNT; i++) list_init(&h->aside[i]);
    h->known = known_new(HOME_JOBS_MAX, HOME_ENDED_MAX);
    ok = h->known != NULL;
    if (ok) known_on_forget(h->known, home_key_forget, h);
    for (size_t t = 0; t < TOPIC_STATE; t++) {
        h->windows[t] = window_new(HOME_INCOMPLETE_MAX);
        ok = ok && h->windows[t];
    }
    if (ok) return h;
    home_free(h);
    return NULL;
}

/* Items of running jobs go on with their runs; all others are the next owner's to read. */
static void home_drop_items(struct home *h)
{
    struct known_job *j;
    size_t cursor = 0;
    while (h->known && (j = known_each(h->known, &cursor)) != NULL) {
        struct list_link *k;
        while ((k = list_first(&j->items)) != NULL) {
            struct item *it = LIST_ITEM(k, struct item, link);
            if (it->state == ITEM_RUNNING) {
                list_remove(&j->items, k);
                item_told(it); /* the next owner's to tell */
                it->home = NULL;
                it->job = NULL;
            } else {
                item_free_of(h->w, it);
            }
        }
    }
}

static void home_drop_askings(struct home *h)
{
    struct list_link *k;
    while ((k = list_first(&h->askings)) != NULL) {
        list_remove(&h->askings, k);
        free(LIST_ITEM(k, struct home_asking, link));
    }
}

void home_free(struct home *h)
{
    if (!h) return;
    timerq_cancel(h->w->ports.timers, &h->timer);
    rebuild_stop(h);
    home_drop_askings(h);
    home_drop_items(h);
    keyed_free(h->keyed);
    known_free(h->known);
    for (size_t t = 0; t < TOPIC_STATE; t++) window_free(h->windows[t]);
    free(h);
}

void home_lose(struct home *h)
{
    struct worker *w = h->w;
    struct jobrun *r;
    assert(h->state != HOME_GONE);
    h->state = HOME_GONE;
    w->homes[h->partition] = NULL;
    list_remove(&w->home_list, &h->link);
    home_drop_items(h);
    spill_forget_out(w->spill);
    for (struct list_link *k = list_first(&w->run_list), *next; k; k = next) {
        next = list_next(&w->run_list, k);
        r = LIST_ITEM(k, struct jobrun, link);
        if (id_partition(&r->id) == h->partition) jobrun_on_home_lost(r);
    }
    if (h->ops) { /* positions or a meta are still on their way */
        timerq_cancel(w->ports.timers, &h->timer);
        list_push(&w->lost_homes, &h->link);
    } else {
        home_free(h);
    }
}

/* First thing in an answer counted in ops: false = the home is lost (and may be freed now). */
static bool home_take_answer(struct home *h)
{
    assert(h->ops > 0);
    h->ops--;
    if (h->state != HOME_GONE) return true;
    if (h->ops == 0) {
        list_remove(&h->w->lost_homes, &h->link);
        home_free(h);
    }
    return false;
}

struct home_asking *home_asking_new(struct home *h, const struct job_id *id)
{
    struct home_asking *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->h = h;
    a->id = *id;
    list_push(&h->askings, &a->link);
    h->ops++;
    return a;
}

struct home *home_asking_take(struct home_asking *a, struct job_id *ret_id)
{
    struct home *h = a->h;
    *ret_id = a->id;
    list_remove(&h->askings, &a->link);
    free(a);
    return home_take_answer(h) ? h : NULL;
}

/* --- where to begin -------------------------------------------------------------------------- */
static void home_again(struct home *h)
{
    h->state = HOME_ASKING;
    (void)timerq_set(h->w->ports.timers, &h->timer, worker_retry_ms(h->w, HOME_AGAIN_MS), home_tick,
                     h);
}

static void home_set_position(struct home *h, const struct intake_position *p)
{
    bool is_usable =
        p->committed >= 0 && p->committed <= p->high; /* beyond: another topic of the same name */
    if (p->topic == TOPIC_STATE) {
        h->tail = is_usable && p->committed > p->low ? p->committed : p->low;
        h->tail_target = p->high;
        h->state_low = p->low;
        h->floor_committed = is_usable ? p->committed : -1;
        return;
    }
    h->next[p->topic] =
        window_restore(h->windows[p->topic], is_usable ? p->committed : -1, p->metadata, p->low);
    h->high[p->topic] = p->high;
    if (p->metadata.len && is_usable && window_base(h->windows[p->topic]) == p->committed &&
        window_incomplete(h->windows[p->topic]) == 0)
        log_event(h->w->ports.log, LOG_ERROR, VIEW_NONE, "commit_metadata_unreadable",
                  LOG_S("topic", h->w->ports.topics->names[p->topic]),
                  LOG_N("partition", p->partition));
}

static void home_on_key_ready(void *home)
{
    struct home *h = home;
    worker_kick(h->w);
}

/* Made when it is known from where on the log will be read. */
static bool home_make_keyed(struct home *h)
{
    const struct keyed_options o = {.timers = h->w->ports.timers,
                                    .clock = h->w->ports.clock,
                                    .is_complete = h->tail == h->state_low,
                                    .wake = home_on_key_ready,
                                    .arg = h};
    keyed_free(h->keyed); /* of an earlier try */
    h->keyed = keyed_new(&o);
    return h->keyed != NULL;
}

static void home_on_positions(void *arg, const struct err *e, const struct intake_position *list,
                              size_t count)
{
    struct home *h = arg;
    struct worker *w = h->w;
    struct intake_tp tps[TOPIC_FOLLOWED];
    struct err err;
    size_t n = 0;
    if (!home_take_answer(h)) return;
    for (size_t i = 0; !e && i < count; i++) {
        if (list[i].topic > TOPIC_STATE || list[i].partition != (int32_t)h->partition) continue;
        home_set_position(h, &list[i]);
    }
    if (e || count < TOPIC_FOLLOWED) {
        log_event(w->ports.log, LOG_WARN, VIEW_NONE, "positions_failed",
                  LOG_N("partition", h->partition), LOG_S("error", e ? e->text : "incomplete"));
        home_again(h);
        return;
    }
    if (!home_make_keyed(h)) {
        home_again(h);
        return;
    }
    for (enum topic t = 0; t <= TOPIC_STATE; t++)
        tps[n++] = (struct intake_tp){.topic = t,
                                      .partition = (int32_t)h->partition,
                                      .offset = t == TOPIC_STATE ? h->tail : h->next[t]};
    if (w->ports.intake.follow(w->ports.intake.self, tps, n, &err) != ERR_OK) {
        log_event(w->ports.log, LOG_WARN, VIEW_NONE, "follow_failed",
                  LOG_N("partition", h->partition), LOG_S("error", err.text));
        home_again(h);
        return;
    }
    h->state = HOME_REPLAYING;
    w->is_readable = true;
    worker_kick(w);
    lease_hurry(w->lease); /* brings the built mark of this home */
}

static void home_ask(struct home *h)
{
    struct intake_tp tps[TOPIC_FOLLOWED];
    for (enum topic t = 0; t <= TOPIC_STATE; t++)
        tps[t] = (struct intake_tp){.topic = t, .partition = (int32_t)h->partition, .offset = -1};
    h->ops++;
    h->w->ports.intake.positions(h->w->ports.intake.self, tps, TOPIC_FOLLOWED, home_on_positions,
                                 h);
}

void home_start(struct home *h)
{
    home_ask(h);
}

/* --- the tail's waiters ---------------------------------------------------------------------- */
struct known_job *home_known(const struct home *h, const struct job_id *id)
{
    return h->state == HOME_READY ? known_find(h->known, id) : NULL;
}

void home_await(struct home *h, struct jobrun *r)
{
    r->awaiting_home = h;
    list_push(&h->awaiting, &r->awaiting);
    if (r->awaited < h->tail)
        home_wake_at(h, h->w->ports.clock->mono_ms); /* read already: told on the next turn */
}

void home_unawait(struct jobrun *r)
{
    list_remove(&r->awaiting_home->awaiting, &r->awaiting);
    r->awaiting_home = NULL;
}

/* --- commits --------------------------------------------------------------------------------- */
static bool home_has_caught_up(struct home *h)
{
    if (h->has_caught_up) return true;
    for (enum topic t = 0; t < TOPIC_STATE; t++) {
        bool is_waiting = (topic_delay_ms(t) && h->heads[t - TOPIC_DELAY_5S]) ||
                          (t == TOPIC_SPILL_INTERACTIVE && h->aside[CLASS_INTERACTIVE].count) ||
                          (t == TOPIC_SPILL_BULK && h->aside[CLASS_BULK].count);
        if (h->next[t] < h->high[t] && !is_waiting && window_base(h->windows[t]) < h->high[t])
            return false;
    }
    return h->has_caught_up = true;
}

static int64_t home_floor(struct home *h)
{
    int64_t floor = known_floor(h->known);
    if (h->state != HOME_READY || !home_has_caught_up(h)) return -1;
    return floor < h->tail ? floor : h->tail;
}

static bool home_commit_window(struct home *h, enum topic t)
{
    const struct intake_port *intake = &h->w->ports.intake;
    struct buf metadata;
    struct err err;
    buf_init(&metadata, WINDOW_METADATA_MAX + 1);
    int64_t offset = window_commit(h->windows[t], &metadata);
    bool ok = !metadata.failed && intake->commit(intake->self, t, (int32_t)h->partition, offset,
                                                 buf_view(&metadata), &err) == ERR_OK;
    buf_fini(&metadata);
    if (!ok) window_touch(h->windows[t]);
    return ok;
}

static void home_commit_floor(struct home *h)
{
    const struct intake_port *intake = &h->w->ports.intake;
    struct err err;
    if (h->has_commit_failed || h->floor < 0 || h->floor == h->floor_committed) return;
    if (intake->commit(intake->self, TOPIC_STATE, (int32_t)h->partition, h->floor, VIEW_NONE,
                       &err) == ERR_OK)
        h->floor_committed = h->floor;
}

void home_commit(struct home *h)
{
    int64_t now = h->w->ports.clock->mono_ms;
    if (h->state != HOME_READY) return;
    if (h->commits_out && now < h->round_ms + HOME_ROUND_MAX_MS) return;
    h->floor = home_floor(h);
    h->commits_out = 0;
    h->has_commit_failed = false;
    h->round_ms = now;
    for (enum topic t = 0; t < TOPIC_STATE; t++) {
        if (!window_is_dirty(h->windows[t])) continue;
        if (home_commit_window(h, t)) {
            h->commits_out++;
            metric_add(h->w->meters.commits, 1);
        } else {
            h->has_commit_failed = true;
        }
    }
    if (h->commits_out == 0) home_commit_floor(h);
}

void home_commit_last(struct home *h)
{
    if (h->state != HOME_READY) return;
    for (enum topic t = 0; t < TOPIC_STATE; t++)
        if (window_is_dirty(h->windows[t])) (void)home_commit_window(h, t);
}

void home_on_commit(struct home *h, enum topic topic, const struct err *e)
{
    if (topic == TOPIC_STATE) {
        if (e) h->floor_committed = -1;
        return;
    }
    if (e) {
        window_touch(h->windows[topic]);
        h->has_commit_failed = true;
        metric_add(h->w->meters.commit_errors, 1);
    }
    if (h->commits_out > 0 && --h->commits_out == 0) home_commit_floor(h);
}

/* --- time ------------------------------------------------------------------------------------ */
void home_tick(void *arg)
{
    struct home *h = arg;
    if (h->state == HOME_ASKING) {
        home_ask(h);
        return;
    }
    h->w->is_readable = true; /* heads may be due, held items decided: home_read_* look at them */
    worker_kick(h->w);
}

void home_wake_at(struct home *h, int64_t mono_ms)
{
    if (h->state == HOME_ASKING) return; /* the timer is for that */
    if (timerq_pending(&h->timer) && h->timer.when_ms <= mono_ms) return;
    (void)timerq_set(h->w->ports.timers, &h->timer, mono_ms, home_tick, h);
}
