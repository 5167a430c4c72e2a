/* Jobs that end without being run: canceled while they wait, parked or not even read yet; ended in
 * the log while Redis has not heard; and records nobody can read. The home's owner sees to them,
 * through the same lease and the same records as any other end. */
#include "consumer/home.h"

#include <assert.h>

enum { HOME_CLOSE_TURN_MAX = 64 };

/* --- marking --------------------------------------------------------------------------------- */
static void home_nudge_ignore(void *arg, const struct err *e, const struct fn_canceled *c)
{
    (void)arg, (void)e, (void)c;
}

void home_canceled(struct home *h, struct known_job *j)
{
    enum ledger_phase phase = known_phase(j);
    if (j->run || j->is_settled || j->is_closing) return;
    bool is_ended = phase == LEDGER_ENDED &&
                    j->is_expected; /* its live record may be days away: do not wait for it */
    if (!is_ended && (!known_has_cancel(j) || phase == LEDGER_ENDED)) return;
    if (phase == LEDGER_STARTED) { /* whoever runs it hears it by the flag; foreign.c repeats it */
        if (known_is_canceled(j, ledger_started(j->ledger)->head.tenant))
            fn_cancel(h->w->ports.fn, &j->id, home_nudge_ignore, NULL);
        return;
    }
    j->is_closing = true;
    if (!j->marked_ms) j->marked_ms = h->w->ports.clock->mono_ms;
    list_push(&h->closing, &j->closing);
    worker_kick(h->w);
}

void home_close_over(struct home *h, struct known_job *j)
{
    if (list_linked(&j->closing)) list_remove(&h->closing, &j->closing);
    j->is_closing = false;
}

/* Not now: again after a third of a lease. */
static void home_close_later(struct home *h, struct known_job *j)
{
    struct worker *w = h->w;
    j->close_ms = worker_retry_ms(w, w->ports.config->consumer.lease_ttl_ms / 3);
    list_push(&h->closing, &j->closing);
    home_wake_at(h, j->close_ms);
}

/* --- closing --------------------------------------------------------------------------------- */
static bool home_may_close(const struct known_job *j, const char *tenant)
{
    return known_phase(j) == LEDGER_ENDED || known_is_canceled(j, tenant);
}

static struct item *home_waiting_item(const struct known_job *j)
{
    for (struct list_link *k = list_first(&j->items); k; k = list_next(&j->items, k)) {
        struct item *it = LIST_ITEM(k, struct item, link);
        if (it->state != ITEM_RUNNING && it->state != ITEM_ATTACHED) return it;
    }
    return NULL;
}

static void home_close_begin(struct home *h, struct known_job *j, struct item *it)
{
    item_unwait(h->w, it);
    if (jobrun_begin(h->w, it, PACER_NO_GROUP)) return;
    it->state = ITEM_HELD; /* no memory */
    if (it->topic == TOPIC_COUNT) {
        item_free_of(h->w, it);
    } else {
        list_push(&h->held, &it->waiting);
    }
    home_close_later(h, j);
}

/* No record of it is in memory: one is made up from what is known. */
static void home_close_made_up(struct home *h, struct known_job *j, const struct job_head *head)
{
    struct item *it = item_new(head, TOPIC_COUNT, NULL);
    if (!it) {
        home_close_later(h, j);
        return;
    }
    it->head.epoch = j->handoff_epoch;
    it->head.seq = j->handoff_seq;
    it->home = h;
    it->job = j;
    it->read_ms = h->w->ports.clock->mono_ms;
    list_push(&j->items, &it->link);
    home_close_begin(h, j, it);
}

static bool home_head_of_meta(const struct fn_meta *m, struct job_head *ret)
{
    struct view name, version;
    memset(ret->workflow, 0, sizeof ret->workflow);
    ret->since = -1;
    ret->created_ms = m->created_ms;
    ret->deadline_ms = m->deadline_ms;
    (void)view_copy(m->fp, ret->fp, sizeof ret->fp);
    (void)view_copy(m->origin, ret->origin, sizeof ret->origin);
    (void)view_copy(m->retry_of, ret->redrive_of, sizeof ret->redrive_of);
    (void)job_class_parse(m->cls, &ret->cls);
    if (view_cut(m->workflow, '@', &name, &version)) {
        (void)view_copy(name, ret->workflow, sizeof ret->workflow);
        (void)view_i64(version, &ret->version);
    }
    return view_copy(m->tenant, ret->tenant, sizeof ret->tenant);
}

static void home_on_meta(void *arg, const struct err *e, const struct fn_meta *m)
{
    struct job_head head = {.since = -1};
    struct home *h = home_asking_take(arg, &head.id);
    struct known_job *j = h ? known_find(h->known, &head.id) : NULL;
    (void)e; /* then m is NULL */
    if (!j || !j->is_closing || j->run || list_linked(&j->closing)) return;
    bool is_ours = m && m->found && home_head_of_meta(m, &head) && home_may_close(j, head.tenant);
    bool is_nobodys = m && m->built && !m->found && home_has_read_since(h, j->marked_ms);
    if (is_ours) {
        home_close_made_up(h, j, &head);
    } else if ((m && m->found) ||
               is_nobodys) { /* another tenant's id, or one that never was a job */
        home_close_over(h, j);
        known_drop(h->known, j);
    } else {
        home_close_later(h, j); /* its record may still be unread */
    }
}

static void home_close_one(struct home *h, struct known_job *j)
{
    struct item *it = home_waiting_item(j);
    const struct state_record *started = j->ledger ? ledger_started(j->ledger) : NULL;
    const struct state_record *end = j->ledger ? ledger_terminal(j->ledger) : NULL;
    const struct job_head *head = it        ? &it->head
                                  : started ? &started->head
                                  : end     ? &end->head
                                            : NULL;
    if (head && !home_may_close(j, head->tenant)) {
        home_close_over(h, j);
        known_release(h->known, j);
    } else if (it) {
        home_close_begin(h, j, it);
    } else if (head) {
        home_close_made_up(h, j, head);
    } else {
        struct home_asking *asking = home_asking_new(h, &j->id);
        if (!asking) {
            home_close_later(h, j);
            return;
        }
        fn_meta(h->w->ports.fn, &j->id, lease_boot(h->w->lease), home_on_meta, asking);
    }
}

void home_close_pending(struct home *h)
{
    if (h->state != HOME_READY || !h->is_built || !worker_may_start(h->w)) return;
    int64_t now = h->w->ports.clock->mono_ms;
    size_t turn = h->closing.count < HOME_CLOSE_TURN_MAX ? h->closing.count : HOME_CLOSE_TURN_MAX;
    for (; turn && h->closing.count; turn--) {
        struct known_job *j = LIST_ITEM(list_first(&h->closing), struct known_job, closing);
        list_remove(&h->closing, &j->closing);
        if (j->run || j->is_settled) {
            j->is_closing = false; /* its run hears the cancel itself */
        } else if (j->close_ms > now) {
            list_push(&h->closing, &j->closing);
        } else {
            home_close_one(h, j);
        }
    }
}

/* --- unreadable records ---------------------------------------------------------------------- */
struct home_letter {
    struct list_link link; /* in w->letters */
    struct outbox_entry out;
    struct worker *w;
    struct job_head head;
    uint32_t partition;
    enum topic topic;
    int64_t offset;
    bool is_job; /* its key is an id of this home */
    char bytes[];
};

/* The letter is written; the job it belonged to ends like any other, its offset with it. */
static void home_fail_poison(struct home *h, const struct home_letter *l)
{
    const struct record_in rec = {.offset = l->offset};
    struct item *it = item_new(&l->head, l->topic, &rec);
    if (!it) return; /* no memory: the offset stays open */
    it->home = h;
    it->is_poison = true;
    it->read_ms = h->w->ports.clock->mono_ms;
    h->w->item_bytes += item_bytes(it);
    if (!home_place(h, it)) item_free_of(h->w, it);
}

static void home_on_letter(void *arg, const struct err *e, int64_t offset)
{
    struct home_letter *l = arg;
    struct home *h = worker_home(l->w, l->partition);
    (void)offset;
    if (e)
        log_event(l->w->ports.log, LOG_ERROR, VIEW_NONE, "dead_letter_refused",
                  LOG_S("error", e->text));
    metric_add(l->w->meters.dead_letters, 1);
    if (h && h->state == HOME_READY) {
        if (l->is_job) {
            home_fail_poison(h, l);
        } else {
            window_complete(h->windows[l->topic], l->offset);
        }
    }
    list_remove(&l->w->letters, &l->link);
    free(l);
}

void home_poison(struct home *h, enum topic t, const struct record_in *rec, const struct err *why)
{
    struct worker *w = h->w;
    struct home_letter *l = calloc(1, sizeof *l + rec->value.len);
    log_event(w->ports.log, LOG_ERROR, VIEW_NONE, "record_unreadable", LOG_S("topic", rec->topic),
              LOG_N("partition", rec->partition), LOG_N("offset", rec->offset),
              LOG_S("error", why->text));
    if (!l) return; /* no memory: stays open */
    l->w = w;
    l->partition = h->partition;
    l->topic = t;
    l->offset = rec->offset;
    l->head.since = -1;
    l->is_job = id_parse(rec->key, &l->head.id) && id_partition(&l->head.id) == h->partition;
    if (!l->is_job) /* a letter needs an address */
        snprintf(l->head.id.text, sizeof l->head.id.text, "00000000-0000-7%03x-8000-000000000000",
                 (unsigned)(h->partition & 0xfff));
    snprintf(l->head.origin, sizeof l->head.origin, "%s/%d/%lld", rec->topic, (int)rec->partition,
             (long long)rec->offset);
    snprintf(l->head.err_msg, sizeof l->head.err_msg, "%s", why->text);
    if (rec->value.len) memcpy(l->bytes, rec->value.ptr, rec->value.len);
    struct outbox_ask ask = {.topic = TOPIC_DLQ,
                             .partition =
                                 topic_policy(TOPIC_DLQ).one_partition ? 0 : (int32_t)h->partition,
                             .head = &l->head,
                             .since = -1,
                             .err_code = problem_code(PROBLEM_POISON),
                             .err_msg = l->head.err_msg,
                             .value = view_make(l->bytes, rec->value.len)};
    list_push(&w->letters, &l->link);
    outbox_send(w->outbox, &l->out, &ask, home_on_letter, l);
}

void home_drop_letters(struct worker *w)
{
    struct list_link *k;
    while ((k = list_first(&w->letters)) != NULL) {
        list_remove(&w->letters, k);
        free(LIST_ITEM(k, struct home_letter, link));
    }
}
