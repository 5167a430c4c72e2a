/* From "its time has come" to a place in the scheduler: what one tenant may fill, and what the
 * limits of a job's key allow.
 *
 *    home_queue --surplus of its tenant--> SPILLING: a copy goes to the spill topic, the offset is
 *        |                                 complete when that is acknowledged and Redis knows of it
 *        |---from the spill topic, its tenant is not down yet--> ASIDE; behind many the topic waits
 *        |---its key has no room--> KEYED: other keys pass it; it is told when that takes long
 *        '--> QUEUED in the scheduler --home_take--> RUNNING
 *
 * A spilled record is a second record of the same job under the same identity. A crash between the
 * two leaves both, and then the rules for any two records of one job hold: who comes first runs,
 * the other waits for the same outcome or is complete by what the log or Redis says of the job. */
#include "consumer/home.h"

#include "common/base/json.h"
#include "consumer/foreign.h"
#include "consumer/gate.h"
#include "schemas/event.h"

enum { HOME_TELL_TURN = 64, HOME_TELL_MAX = 1024 };

static bool home_is_of(const struct item *it, enum topic interactive, enum topic bulk)
{
    return it->topic == interactive || it->topic == bulk;
}

/* --- keys ------------------------------------------------------------------------------------ */
static bool home_key_name(const struct home *h, const struct job_head *head, struct keyed_name *ret)
{
    if (!head->key[0]) return false;
    *ret =
        (struct keyed_name){.tenant = view_of(head->tenant),
                            .key = view_of(head->key),
                            .limit = config_key_limit_find(h->w->ports.config, view_of(head->key))};
    return ret->limit != NULL;
}

static void home_into_line(struct home *h, struct item *it);

/* Its deadline is nearer than its turn: it goes on as one that expires, which needs no place. */
static void home_on_key_deadline(void *arg)
{
    struct item *it = arg;
    struct home *h = it->home;
    item_woke(it);
    keyed_leave(h->keyed, &it->keyed);
    home_into_line(h, it);
}

static void home_wait_for_key(struct home *h, struct item *it)
{
    it->state = ITEM_KEYED;
    item_sleep_to_deadline(h->w, it, home_on_key_deadline);
    home_wake_at(h, h->w->ports.clock->mono_ms + KEYED_TELL_MS);
}

/* False: it waits for its key, or is looked at again later. */
static bool home_key_admits(struct home *h, struct item *it)
{
    struct keyed_name name;
    if (it->keyed.state == KEYED_LINED || it->job->hold.key ||
        item_is_over(it, h->w->ports.clock->wall_ms) || known_phase(it->job) != LEDGER_NEW ||
        !home_key_name(h, &it->head, &name))
        return true;
    switch (keyed_enter(h->keyed, &it->keyed, &name, item_rank(it))) {
    case KEYED_PASS:
        return true;
    case KEYED_WAIT:
        home_wait_for_key(h, it);
        return false;
    case KEYED_FULL:
        foreign_add(h->w->foreign, it, VIEW_LIT(""));
        return false;
    }
    return true;
}

void home_key_sync(struct home *h, struct known_job *j)
{
    enum ledger_phase phase = known_phase(j);
    bool is_over = j->is_settled || phase == LEDGER_ENDED || (phase == LEDGER_NEW && !j->run);
    if (j->hold.key && is_over) keyed_release(h->keyed, &j->hold);
}

void home_key_note(struct home *h, struct known_job *j, const struct state_record *s,
                   int64_t stamp_ms)
{
    struct keyed_name name;
    if (s->kind == STATE_STARTED && !j->hold.key && known_phase(j) != LEDGER_ENDED &&
        home_key_name(h, &s->head, &name))
        keyed_note_start(h->keyed, &name, h->w->ports.clock->wall_ms - stamp_ms, &j->hold);
    else
        home_key_sync(h, j);
}

void home_key_forget(void *home, struct known_job *j)
{
    struct home *h = home;
    keyed_release(h->keyed, &j->hold);
}

/* A job that nobody runs hears that it waits, and until when, as far as one can say. */
static void home_tell_key_wait(struct home *h, const struct item *it, int64_t until_mono_ms)
{
    const struct clock *clock = h->w->ports.clock;
    struct buf data;
    struct jw w;
    buf_init(&data, HOME_TELL_MAX);
    event_begin(&w, &data, EVENT_JOB_WAITING, &it->head.id, 0, clock->wall_ms);
    jw_kcstr(&w, "reason", "key");
    jw_kint(&w, "until", clock->wall_ms + (until_mono_ms - clock->mono_ms));
    event_end(&w);
    if (!data.failed)
        fn_note(h->w->ports.fn, &it->head.id, EVENT_JOB_WAITING, buf_view(&data),
                worker_ignore_done, NULL);
    buf_fini(&data);
}

static void home_tell_keyed(struct home *h)
{
    struct keyed_item *k;
    int64_t until, when = INT64_MAX;
    size_t left = HOME_TELL_TURN;
    while (left && (k = keyed_tell(h->keyed, &until, &when)) != NULL) {
        home_tell_key_wait(h, LIST_ITEM(k, struct item, keyed), until);
        left--;
    }
    if (!left) when = h->w->ports.clock->mono_ms + 1;
    if (when != INT64_MAX) home_wake_at(h, when);
}

void home_key_turn(struct home *h)
{
    struct keyed_item *k;
    if (h->state != HOME_READY) return;
    while ((k = keyed_pop(h->keyed)) != NULL) {
        struct item *it = LIST_ITEM(k, struct item, keyed);
        item_stop_sleep(h->w, it);
        home_into_line(h, it);
    }
    if (keyed_waiting(h->keyed) && h->is_built) home_tell_keyed(h);
}

/* --- what is set aside ----------------------------------------------------------------------- */
static bool home_spill(struct home *h, struct item *it)
{
    enum topic t = it->head.cls == CLASS_BULK ? TOPIC_SPILL_BULK : TOPIC_SPILL_INTERACTIVE;
    it->state = ITEM_SPILLING;
    if (!home_move(h, it, t)) return false; /* no memory for a copy: it stays */
    spill_note_out(h->w->spill, item_lane(it), view_of(it->head.tenant));
    metric_add(h->w->meters.spilled, 1);
    home_tell_now(h, it); /* once it is out of memory nobody here remembers it */
    return true;
}

/* True: it is on its way out of here, or waits for its tenant's lines to be shorter. */
static bool home_sets_aside(struct home *h, struct item *it)
{
    struct worker *w = h->w;
    struct view tenant = view_of(it->head.tenant);
    if (it->stays || it->place.state != SPILL_OUT || it->keyed.state != KEYED_OUT ||
        it->is_poison || known_phase(it->job) != LEDGER_NEW ||
        item_is_over(it, w->ports.clock->wall_ms))
        return false;
    if (home_is_of(it, TOPIC_JOBS_INTERACTIVE, TOPIC_JOBS_BULK))
        return spill_wants(w->spill, item_lane(it), tenant, it->head.boost) && home_spill(h, it);
    if (!home_is_of(it, TOPIC_SPILL_INTERACTIVE, TOPIC_SPILL_BULK) ||
        spill_admits(w->spill, item_lane(it), tenant))
        return false;
    it->state = ITEM_ASIDE;
    list_push(&h->aside[it->head.cls], &it->waiting);
    return true;
}

void home_wake_aside(struct home *h)
{
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        size_t left = HOME_ASIDE_MAX;
        for (struct list_link *k = list_first(&h->aside[i]), *next; k && left; k = next, left--) {
            struct item *it = LIST_ITEM(k, struct item, waiting);
            next = list_next(&h->aside[i], k);
            if (!spill_admits(h->w->spill, item_lane(it), view_of(it->head.tenant))) continue;
            list_remove(&h->aside[i], k);
            home_queue(h, it);
        }
    }
}

void home_spilled(struct home *h, struct item *it)
{
    struct known_job *j = it->job;
    it->is_spilled = true;
    if (list_linked(&it->untold)) return; /* until Redis has its entry */
    home_complete_item(h, it);
    home_judge_all(h, j); /* the copy may have been read already, and stand behind this one */
}

/* --- the line -------------------------------------------------------------------------------- */
static void home_into_line(struct home *h, struct item *it)
{
    struct worker *w = h->w;
    it->state = ITEM_QUEUED;
    if (!gate_put(w, w->sched, it))
        foreign_add(w->foreign, it, VIEW_LIT("")); /* no room in the line: look again in a while */
    worker_kick(w);
}

void home_queue(struct home *h, struct item *it)
{
    struct worker *w = h->w;
    it->state = ITEM_QUEUED;
    if (!h->is_built) {
        list_push(&h->blocked, &it->waiting);
        return;
    }
    if (home_sets_aside(h, it)) return;
    it->state = ITEM_QUEUED;
    if (it->place.state == SPILL_OUT)
        (void)spill_enter(w->spill, &it->place, item_lane(it), view_of(it->head.tenant));
    if (home_key_admits(h, it)) home_into_line(h, it);
}

void home_take(struct item *it)
{
    struct home *h = it->home;
    spill_start(h->w->spill, &it->place);
    if (it->keyed.state == KEYED_LINED) keyed_take(h->keyed, &it->keyed, &it->job->hold);
    h->w->is_readable |= h->aside[it->head.cls].count > 0; /* the line is shorter now */
}

void item_leave_line(struct worker *w, struct item *it)
{
    struct home *h = it->home;
    if (it->keyed.state != KEYED_OUT) keyed_leave(h->keyed, &it->keyed);
    if (it->state == ITEM_ASIDE && list_linked(&it->waiting))
        list_remove(&h->aside[it->head.cls], &it->waiting);
    if (spill_leave(w->spill, &it->place)) w->is_readable = true;
}
