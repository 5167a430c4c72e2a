/* New jobs that have waited here for a while are told to Redis by their home's owner.
 *
 * Their gateway does it the moment Kafka has them, and tries again when Redis is away. But a
 * gateway that dies meanwhile takes its admits along, and a job that waits for its time or for its
 * turn may be days away from the lease that would make its entry: until then its id would be
 * unknown. To admit what is there already changes nothing, so nobody needs to be asked first; each
 * record is told once while it is in memory, again only after an error.
 *
 * Once a second the owner says up to when it lacks none: until it has said so of a time after the
 * trouble that a gateway has seen, that one calls no id of this home unknown. What is still unread,
 * behind a full lane or the head of a delay tier, is not covered. */
#include "consumer/home.h"

enum { HOME_TELL_MS = 1000, HOME_TELL_TURN_MAX = 256, HOME_TELL_LOOK_MAX = 1024 };

void item_told(struct item *it)
{
    if (list_linked(&it->untold)) list_remove(&it->home->untold, &it->untold);
}

static void home_on_told(void *arg, const struct err *e, const struct fn_admitted *a)
{
    struct job_id id;
    struct home *h = home_asking_take(arg, &id);
    struct known_job *j = h ? known_find(h->known, &id) : NULL;
    (void)a; /* whatever it says, there is an entry now */
    for (struct list_link *k = j ? list_first(&j->items) : NULL; k; k = list_next(&j->items, k)) {
        struct item *it = LIST_ITEM(k, struct item, link);
        it->is_telling = false;
        if (!e) item_told(it);
        if (!e && it->is_spilled && it->state == ITEM_SPILLING) {
            home_spilled(h, it); /* j may be gone */
            return;
        }
    }
}

/* False: no memory. */
static bool home_tell(struct home *h, struct item *it)
{
    struct home_asking *asking = home_asking_new(h, &it->head.id);
    struct job_body body;
    struct fn_job job = {.head = &it->head,
                         .queued_ts_ms = it->head.created_ms,
                         .index_ms = h->w->ports.config->retention.results_ms};
    if (!asking) return false;
    if (job_body_read(it->value, &body, NULL) == ERR_OK) job.metadata = body.metadata;
    it->is_telling = true;
    fn_admit(h->w->ports.fn, &job, home_on_told, asking);
    return true;
}

void home_tell_now(struct home *h, struct item *it)
{
    if (list_linked(&it->untold) && !it->is_telling) (void)home_tell(h, it);
}

/* All that was read up to then is known. */
static void home_say_told(struct home *h, int64_t old)
{
    int64_t now = h->w->ports.clock->mono_ms;
    struct list_link *first = list_first(&h->untold);
    int64_t read = first ? LIST_ITEM(first, struct item, untold)->read_ms : INT64_MAX;
    int64_t until = read > old ? old : read - 1;
    if (h->ready_ms <= until)
        fn_tell(h->w->ports.fn, h->partition, now - until, worker_ignore_done, NULL);
}

void home_tell_waiting(struct home *h)
{
    int64_t now = h->w->ports.clock->mono_ms, old = now - HOME_TELL_MS;
    if (h->state != HOME_READY || !h->is_built || now < h->tell_ms || !lease_is_held(h->w->lease))
        return;
    h->tell_ms = now + HOME_TELL_MS;
    size_t left = HOME_TELL_TURN_MAX, look = HOME_TELL_LOOK_MAX;
    for (struct list_link *k = list_first(&h->untold), *next; k && left && look; k = next) {
        struct item *it = LIST_ITEM(k, struct item, untold);
        next = list_next(&h->untold, k);
        look--;
        if (it->read_ms > old) break; /* by age */
        if (it->is_telling) continue;
        if (known_phase(it->job) != LEDGER_NEW || it->job->is_settled) {
            item_told(it); /* it was begun once: the entry was made then */
            continue;
        }
        if (!home_tell(h, it)) return;
        left--;
    }
    home_say_told(h, old);
}
