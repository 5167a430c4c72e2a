/* Records in memory: what each is waiting for, and when its offset is complete. The judgement is
 * known.c's; this file moves items between lists according to it. Every way out of memory goes
 * through home_complete (done) or item_free_of (not ours to say). */
#include "consumer/home.h"

#include "consumer/foreign.h"
#include "consumer/gate.h"
#include "consumer/rebuild.h"
#include <assert.h>

enum { HOME_SLEEP_MAX_MS = 5000, HOME_CHARGE_TOKENS = 1000 };

/* --- asleep ---------------------------------------------------------------------------------- */
void item_sleep(struct worker *w, struct item *it, int64_t mono_ms, timer_fn *fire)
{
    w->sleeping++;
    (void)timerq_set(w->ports.timers, &it->timer, mono_ms, fire, it);
}

void item_sleep_to_deadline(struct worker *w, struct item *it, timer_fn *fire)
{
    const struct clock *clock = w->ports.clock;
    if (it->head.deadline_ms > 0)
        item_sleep(w, it, clock->mono_ms + (it->head.deadline_ms - clock->wall_ms), fire);
}

void item_stop_sleep(struct worker *w, struct item *it)
{
    if (!timerq_pending(&it->timer)) return;
    timerq_cancel(w->ports.timers, &it->timer);
    w->sleeping--;
}

void item_woke(struct item *it)
{
    it->home->w->sleeping--;
}

/* --- out of memory --------------------------------------------------------------------------- */
void item_unwait(struct worker *w, struct item *it)
{
    struct home *h = it->home;
    if (it->owner) foreign_remove(w->foreign, it);
    item_leave_line(w, it);
    gate_leave(w, it);
    if (list_linked(&it->waiting))
        list_remove(it->state == ITEM_HELD ? &h->held : &h->blocked, &it->waiting);
    item_stop_sleep(w, it);
    if (h && it->topic != TOPIC_COUNT && item_tier_ms(it) &&
        h->heads[it->topic - TOPIC_DELAY_5S] == it)
        h->heads[it->topic - TOPIC_DELAY_5S] = NULL;
}

void item_free_of(struct worker *w, struct item *it)
{
    item_unwait(w, it);
    if (list_linked(&it->link)) list_remove(&it->job->items, &it->link);
    item_told(it);
    if (it->topic != TOPIC_COUNT) w->item_bytes -= item_bytes(it);
    item_free(it);
}

void home_complete_item(struct home *h, struct item *it)
{
    if (it->topic != TOPIC_COUNT) window_complete(h->windows[it->topic], it->offset);
    item_free_of(h->w, it);
    h->w->is_readable = true; /* there may be room for more */
}

void home_complete(struct home *h, struct item *it)
{
    struct known_job *j = it->job;
    home_complete_item(h, it);
    if (j) known_release(h->known, j);
}

/* --- lining up ------------------------------------------------------------------------------- */
static void item_on_timer(void *arg)
{
    struct item *it = arg;
    item_woke(it);
    home_line_up(it->home, it);
    worker_kick(it->home->w);
}

struct item_parking { /* a record on its way into another topic */
    struct outbox_entry out;
    struct worker *w;
    struct job_head head;
    uint32_t partition;
    enum topic from;
    int64_t offset;
    struct list_link link;
    struct view value;
    char bytes[];
};

/* The item that was copied, if it still waits for that. */
static struct item *home_moving(const struct item_parking *p, const struct known_job *j)
{
    for (struct list_link *k = list_first(&j->items); k; k = list_next(&j->items, k)) {
        struct item *it = LIST_ITEM(k, struct item, link);
        if (it->topic == p->from && it->offset == p->offset &&
            (it->state == ITEM_SLEEPING || it->state == ITEM_SPILLING))
            return it;
    }
    return NULL;
}

static void home_moved(struct home *h, const struct item_parking *p, const struct err *e)
{
    struct known_job *j = known_find(h->known, &p->head.id);
    struct item *it = j ? home_moving(p, j) : NULL;
    if (!it || (e && it->state == ITEM_SLEEPING)) return;
    if (e) { /* refused for good: then it waits here */
        it->stays = true;
        home_queue(h, it);
        return;
    }
    if (j->handoff_epoch == p->head.epoch && j->handoff_seq == p->head.seq && j->ledger)
        j->is_expected = true;
    if (it->state == ITEM_SPILLING) {
        home_spilled(h, it);
    } else {
        home_complete_item(h, it);
        home_judge_all(h, j); /* the copy may have been read already, and stand behind this one */
    }
}

static void item_on_moved(void *arg, const struct err *e, int64_t offset)
{
    struct item_parking *p = arg;
    struct home *h = worker_home(p->w, p->partition);
    (void)offset;
    list_remove(&p->w->parkings, &p->link);
    if (h && h->state == HOME_READY) home_moved(h, p, e);
    free(p);
}

bool home_move(struct home *h, struct item *it, enum topic to)
{
    struct worker *w = h->w;
    struct item_parking *p = calloc(1, sizeof *p + it->value.len);
    if (!p) return false;
    p->w = w;
    p->head = it->head;
    p->partition = h->partition;
    p->from = it->topic;
    p->offset = it->offset;
    if (it->value.len) memcpy(p->bytes, it->value.ptr, it->value.len);
    p->value = view_make(p->bytes, it->value.len);
    list_push(&w->parkings, &p->link);
    struct outbox_ask ask = {.topic = to,
                             .partition = (int32_t)h->partition,
                             .head = &p->head,
                             .epoch = p->head.epoch,
                             .seq = p->head.seq,
                             .attempt = p->head.attempt,
                             .due_ms = p->head.due_ms,
                             .since = p->head.since,
                             .value = p->value};
    outbox_send(w->outbox, &p->out, &ask, item_on_moved, p);
    return true;
}

/* The time is still far: into the largest tier that does not overshoot. */
static void home_park_again(struct home *h, struct item *it, enum topic tier)
{
    struct worker *w = h->w;
    if (home_move(h, it, tier)) return;
    item_sleep(w, it, w->ports.clock->mono_ms + HOME_SLEEP_MAX_MS, item_on_timer); /* no memory */
}

void home_drop_parkings(struct worker *w)
{
    struct list_link *k;
    while ((k = list_first(&w->parkings)) != NULL) {
        list_remove(&w->parkings, k);
        free(LIST_ITEM(k, struct item_parking, link));
    }
}

/* The log shows a start of this very record: its time had come, whatever the wall clock says now.
 * Were it copied away, the next owner would not know that it is still to come. */
static bool home_was_begun(const struct item *it)
{
    const struct known_job *j = it->job;
    enum ledger_phase phase = known_phase(j);
    return (phase == LEDGER_STARTED || phase == LEDGER_ENDED) &&
           it->head.epoch == j->handoff_epoch && it->head.seq == j->handoff_seq;
}

static bool home_sleeps(struct home *h, struct item *it)
{
    struct worker *w = h->w;
    int64_t left = it->head.due_ms - w->ports.clock->wall_ms;
    bool may_wait = it->topic != TOPIC_COUNT && !item_is_over(it, w->ports.clock->wall_ms) &&
                    !home_was_begun(it);
    if (left <= 0 || !may_wait) return false;
    enum topic tier = topic_delay_tier(left);
    it->state = ITEM_SLEEPING;
    if (tier != TOPIC_COUNT) {
        home_park_again(h, it, tier);
    } else {
        item_sleep(w, it, w->ports.clock->mono_ms + left, item_on_timer);
    }
    return true;
}

/* Waits at the head of its tier. False: its time has come, or another waits there. */
static bool home_heads(struct home *h, struct item *it)
{
    const struct clock *clock = h->w->ports.clock;
    int64_t left = it->timestamp_ms + item_tier_ms(it) - clock->wall_ms;
    if (!item_tier_ms(it) || left <= 0 || it->has_waited ||
        known_is_canceled(it->job, it->head.tenant))
        return false;
    struct item **head = &h->heads[it->topic - TOPIC_DELAY_5S];
    if (*head && *head != it) return false;
    it->state = ITEM_SLEEPING;
    *head = it;
    home_wake_at(h, clock->mono_ms + left);
    return true;
}

/* The live record of its job: when its time has come it waits for its turn. */
void home_line_up(struct home *h, struct item *it)
{
    if (home_heads(h, it)) return;
    it->has_waited = true; /* whatever the wall clock does from now on */
    if (!home_sleeps(h, it)) home_queue(h, it);
}

void home_unblock(struct home *h)
{
    for (size_t left = h->blocked.count; left; left--) {
        struct item *it = LIST_ITEM(list_first(&h->blocked), struct item, waiting);
        list_remove(&h->blocked, &it->waiting);
        home_queue(h, it);
    }
}

/* --- judging --------------------------------------------------------------------------------- */
static bool home_has_other_first(const struct known_job *j, const struct item *it)
{
    for (struct list_link *k = list_first(&j->items); k; k = list_next(&j->items, k)) {
        const struct item *other = LIST_ITEM(k, struct item, link);
        if (other != it && other->state != ITEM_HELD && other->state != ITEM_ATTACHED) return true;
    }
    return false;
}

/* True: the item is still there. */
static bool home_judge(struct home *h, struct known_job *j, struct item *it)
{
    enum known_judgement judgement = known_judge(j, it->head.epoch, it->head.seq);
    if (it->state == ITEM_RUNNING) return true; /* its run says when it is over */
    if (judgement == KNOWN_DONE) {
        home_complete_item(h, it);
        return false;
    }
    if (judgement == KNOWN_TAKE && it->head.epoch == j->handoff_epoch &&
        it->head.seq == j->handoff_seq)
        j->is_expected = false;
    if (it->state != ITEM_HELD && it->state != ITEM_ATTACHED) return true; /* on its way already */
    if (list_linked(&it->waiting)) list_remove(&h->held, &it->waiting);
    if (judgement == KNOWN_HOLD) {
        it->state = ITEM_HELD;
        list_push(&h->held, &it->waiting);
    } else if (j->run || home_has_other_first(j, it)) {
        it->state = ITEM_ATTACHED;
    } else {
        home_line_up(h, it);
    }
    return true;
}

/* Those that are done first: what was attached to them may then be the first itself. */
void home_judge_all(struct home *h, struct known_job *j)
{
    for (struct list_link *k = list_first(&j->items), *next; k; k = next) {
        struct item *it = LIST_ITEM(k, struct item, link);
        next = list_next(&j->items, k);
        if (it->state != ITEM_RUNNING && known_judge(j, it->head.epoch, it->head.seq) == KNOWN_DONE)
            home_complete_item(h, it);
    }
    for (struct list_link *k = list_first(&j->items), *next; k; k = next) {
        next = list_next(&j->items, k);
        (void)home_judge(h, j, LIST_ITEM(k, struct item, link));
    }
    known_release(h->known, j);
}

bool home_place(struct home *h, struct item *it)
{
    struct known_job *j = known_get(h->known, &it->head.id);
    if (!j) {
        log_event(h->w->ports.log, LOG_ERROR, view_of(it->head.id.text), "job_not_kept",
                  LOG_N("partition", h->partition));
        return false;
    }
    known_reopen(h->known, j);
    it->job = j;
    it->state = ITEM_HELD;
    list_push(&j->items, &it->link);
    j->run = worker_run_find(h->w, &it->head.id);
    if (j->fp[0] && it->head.fp[0] &&
        strcmp(j->fp, it->head.fp) != 0) { /* the first in home order has the id */
        log_event(h->w->ports.log, LOG_WARN, view_of(it->head.id.text), "other_payload_skipped",
                  LOG_N("offset", it->offset));
        home_complete(h, it);
        return true;
    }
    if (!j->fp[0]) memcpy(j->fp, it->head.fp, sizeof j->fp);
    if (it->head.epoch == 0 && !it->is_poison) list_push(&h->untold, &it->untold);
    if (home_judge(h, j, it) && it->state == ITEM_SLEEPING && known_is_canceled(j, it->head.tenant))
        home_canceled(h, j);
    known_release(h->known, j);
    return true;
}

/* --- runs give back -------------------------------------------------------------------------- */
static void home_settle(struct home *h, struct known_job *j)
{
    struct list_link *k;
    home_close_over(h, j);
    j->is_settled = true;
    home_key_sync(h, j);
    while ((k = list_first(&j->items)) != NULL)
        home_complete_item(h, LIST_ITEM(k, struct item, link));
    known_settle(h->known, j);
}

void home_ended_elsewhere(struct home *h, const struct job_id *id)
{
    struct known_job *j = known_find(h->known, id);
    if (j && known_phase(j) == LEDGER_NEW)
        j->is_expected = false; /* whatever record may still come hears the same from Redis */
}

static void home_take_back(struct home *h, struct jobrun *r, struct item *it,
                           enum jobrun_outcome outcome)
{
    struct known_job *j = it->job;
    switch (outcome) {
    case JOBRUN_ENDED:
        home_settle(h, j);
        return;
    case JOBRUN_HANDED:
        known_hand_off(h->known, j, r->epoch, r->hand_seq);
        it->state = ITEM_HELD;
        home_judge_all(h, j);
        break;
    case JOBRUN_DROPPED:
    case JOBRUN_BUSY:
        if (it->topic == TOPIC_COUNT) {
            item_free_of(h->w, it); /* still to close: tried again */
        } else {
            foreign_add(h->w->foreign, it, outcome == JOBRUN_BUSY ? r->busy_owner : VIEW_LIT(""));
        }
        home_judge_all(h, j);
        break;
    case JOBRUN_RETURNED:
        if (it->topic == TOPIC_COUNT) {
            item_free_of(h->w, it);
        } else {
            it->state = ITEM_HELD;
            home_judge_all(h, j);
        }
        break;
    }
}

/* A start costs one, and what was used as much again for every thousand tokens. */
static void home_charge(const struct jobrun *r, const struct item *it)
{
    int64_t tokens = r->input_tokens + r->output_tokens;
    scheduler_charge(r->w->sched, item_lane(it), view_of(it->head.tenant),
                     tokens / HOME_CHARGE_TOKENS);
}

void home_run_over(struct jobrun *r, enum jobrun_outcome outcome)
{
    struct worker *w = r->w;
    struct home *h = worker_home(w, id_partition(&r->id));
    struct item *it = r->item;
    struct known_job *j;
    r->item = NULL;
    r->job.head = NULL;
    home_charge(r, it);
    if (spill_leave(w->spill, &it->place)) gate_release_all(w);
    if (!h || it->home != h) {
        item_free_of(w, it);
        j = h && h->state == HOME_READY ? known_find(h->known, &r->id) : NULL;
        if (!j) return;
        j->run = NULL;
        home_key_sync(h, j);
        if (outcome == JOBRUN_ENDED) {
            home_settle(h, j);
        } else {
            if (outcome == JOBRUN_HANDED) known_hand_off(h->known, j, r->epoch, r->hand_seq);
            home_judge_all(h, j);
        }
        return;
    }
    j = it->job;
    j->run = NULL;
    if (outcome != JOBRUN_BUSY) home_key_sync(h, j); /* who has it holds its key's place */
    struct job_id id = r->id;
    home_take_back(h, r, it, outcome);
    j = known_find(h->known, &id);
    if (j && outcome != JOBRUN_ENDED && known_has_cancel(j)) home_canceled(h, j);
}

/* --- the view -------------------------------------------------------------------------------- */
void home_unbuilt(struct home *h)
{
    h->is_built = false;
    lease_hurry(h->w->lease);
}

void home_set_built(struct home *h, bool is_built)
{
    h->is_built = is_built;
    if (is_built) {
        rebuild_stop(h);
        home_unblock(h);
    } else {
        rebuild_start(h);
    }
}
