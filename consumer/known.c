/* What is hard: this must be complete where it matters and bounded everywhere. Complete: every job
 * whose intake record may come again is known from its first state record on, because the floor
 * that is committed for state[p] is the first offset of the oldest job that is not over
 * (known_floor), and a job is over only when it ended and no record of it is in memory or still to
 * come. Bounded: jobs that are over move to a second list of limited length. A record of a job that
 * fell out of it asks Redis and hears that it ended; should Redis not know either,
 * known_has_forgotten says that silence here proves nothing.
 *
 *   fresh --first state record--> open (by first offset) --ended, no record left--> ended (by age)
 *                                   ^------- a record of it is read again ---------'    |
 *                                                                                  forgotten */
#include "consumer/known.h"

#include "common/base/hash.h"
#include "common/base/map.h"
#include <assert.h>

enum { KNOWN_ENDED_BYTES = 64 << 20 };

struct known {
    struct map *jobs;
    struct list open, ended;
    size_t ended_max;
    size_t ended_bytes;
    int64_t stuck; /* a record that could not be kept; -1 = none */
    bool has_forgotten;
    void (*on_forget)(void *arg, struct known_job *j);
    void *arg;
};

struct known *known_new(size_t jobs_max, size_t ended_max)
{
    struct known *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->jobs = map_new(jobs_max);
    if (!k->jobs) {
        free(k);
        return NULL;
    }
    list_init(&k->open);
    list_init(&k->ended);
    k->ended_max = ended_max;
    k->stuck = -1;
    return k;
}

static void known_job_free(struct known_job *j)
{
    ledger_job_free(j->ledger);
    free(j);
}

void known_free(struct known *k)
{
    if (!k) return;
    size_t cursor = 0;
    void *value;
    struct view key;
    while (map_each(k->jobs, &cursor, &key, &value)) known_job_free(value);
    map_free(k->jobs);
    free(k);
}

void known_on_forget(struct known *k, void (*fn)(void *arg, struct known_job *j), void *arg)
{
    k->on_forget = fn;
    k->arg = arg;
}

static struct view known_key(const struct job_id *id)
{
    return view_make(id->text, JOB_ID_LEN);
}

struct known_job *known_find(const struct known *k, const struct job_id *id)
{
    return map_get(k->jobs, known_key(id));
}

struct known_job *known_get(struct known *k, const struct job_id *id)
{
    struct known_job *j = known_find(k, id);
    if (j) return j;
    j = calloc(1, sizeof *j);
    if (!j) return NULL;
    j->id = *id;
    j->first_offset = -1;
    list_init(&j->items);
    if (map_put(k->jobs, known_key(id), j)) return j;
    free(j);
    return NULL;
}

struct known_job *known_each(const struct known *k, size_t *cursor)
{
    struct view key;
    void *value;
    return map_each(k->jobs, cursor, &key, &value) ? value : NULL;
}

/* --- places ---------------------------------------------------------------------------------- */
static void known_leave(struct known *k, struct known_job *j)
{
    if (j->place == KNOWN_OPEN) list_remove(&k->open, &j->order);
    if (j->place == KNOWN_ENDED) {
        list_remove(&k->ended, &j->order);
        k->ended_bytes -= j->bytes;
    }
    j->place = KNOWN_FRESH;
}

static void known_forget(struct known *k, struct known_job *j)
{
    assert(j->items.count == 0 && !j->run);
    if (k->on_forget) k->on_forget(k->arg, j);
    known_leave(k, j);
    (void)map_remove(k->jobs, known_key(&j->id));
    known_job_free(j);
}

static void known_count_bytes(struct known_job *j)
{
    j->bytes = j->ledger ? ledger_bytes(j->ledger) : 0;
}

static void known_trim(struct known *k)
{
    while (k->ended.count > k->ended_max ||
           (k->ended_bytes > KNOWN_ENDED_BYTES && k->ended.count > 1)) {
        known_forget(k, LIST_ITEM(list_first(&k->ended), struct known_job, order));
        k->has_forgotten = true;
    }
}

void known_release(struct known *k, struct known_job *j)
{
    if (j->items.count || j->run || j->is_expected || j->is_closing) return;
    if (j->place == KNOWN_ENDED) return;
    if (!j->is_settled && known_phase(j) != LEDGER_ENDED) {
        if (j->place == KNOWN_FRESH) known_forget(k, j);
        return;
    }
    known_leave(k, j);
    if (j->is_settled) {
        ledger_job_free(j->ledger);
        j->ledger = NULL;
        known_count_bytes(j);
    }
    list_push(&k->ended, &j->order);
    k->ended_bytes += j->bytes;
    j->place = KNOWN_ENDED;
    known_trim(k);
}

void known_reopen(struct known *k, struct known_job *j)
{
    if (j->place != KNOWN_ENDED || j->is_settled) return;
    known_leave(k, j);
    struct list_link *at = list_first(&k->open);
    while (at && LIST_ITEM(at, struct known_job, order)->first_offset < j->first_offset)
        at = list_next(&k->open, at);
    if (at) {
        list_insert_before(&k->open, at, &j->order);
    } else {
        list_push(&k->open, &j->order);
    }
    j->place = KNOWN_OPEN;
}

void known_settle(struct known *k, struct known_job *j)
{
    j->is_settled = true;
    j->is_closing = false;
    known_release(k, j);
}

/* --- the log --------------------------------------------------------------------------------- */
static struct known_job *known_stick(struct known *k, int64_t offset)
{
    if (k->stuck < 0) k->stuck = offset;
    return NULL;
}

static uint64_t known_tenant_hash(const char *tenant)
{
    return hash_fnv1a(view_of(tenant)) | 1;
}

static void known_note_cancel(struct known_job *j, const char *tenant)
{
    uint64_t hash = known_tenant_hash(tenant);
    for (size_t i = 0; i < KNOWN_CANCELS_MAX; i++) {
        if (j->cancel_tenants[i] && j->cancel_tenants[i] != hash) continue;
        j->cancel_tenants[i] = hash;
        return;
    }
}

static void known_note(struct known_job *j, const struct state_record *s, int64_t wall_ms)
{
    switch (s->kind) {
    case STATE_STARTED:
        j->starts++;
        if (!j->started_ms) j->started_ms = wall_ms;
        if (!j->fp[0]) memcpy(j->fp, s->head.fp, sizeof j->fp);
        j->is_expected = false; /* somebody took it; its window keeps it from now on */
        break;
    case STATE_PARKED:
    case STATE_YIELDED:
        if (s->head.epoch > j->handoff_epoch ||
            (s->head.epoch == j->handoff_epoch && s->head.seq > j->handoff_seq)) {
            j->handoff_epoch = s->head.epoch;
            j->handoff_seq = s->head.seq;
            j->is_expected = true;
        }
        break;
    case STATE_CANCEL:
        known_note_cancel(j, s->head.tenant);
        if (known_phase(j) == LEDGER_NEW && j->items.count == 0 && !j->fp[0]) j->is_expected = true;
        break;
    case STATE_CHECKPOINT:
    case STATE_SIGNAL:
    case STATE_SUCCEEDED:
    case STATE_FAILED:
    case STATE_CANCELED:
    case STATE_EXPIRED:
    case STATE_KIND_COUNT:
        break;
    }
}

struct known_job *known_fold(struct known *k, const struct state_record *s, int64_t offset,
                             int64_t wall_ms, enum ledger_verdict *ret_verdict)
{
    struct known_job *j = known_get(k, &s->head.id);
    if (!j) return known_stick(k, offset);
    *ret_verdict = LEDGER_DUPLICATE;
    if (j->place == KNOWN_ENDED) return j; /* nothing counts after the end */
    if (!j->ledger) j->ledger = ledger_job_new();
    if (!j->ledger || ledger_job_fold(j->ledger, s, offset, ret_verdict, NULL) != ERR_OK)
        return known_stick(k, offset);
    known_count_bytes(j);
    if (j->first_offset < 0) {
        j->first_offset = offset;
        j->noted_ms = wall_ms;
        list_push(&k->open, &j->order);
        j->place = KNOWN_OPEN;
    }
    if (*ret_verdict == LEDGER_COUNTED) known_note(j, s, wall_ms);
    if (ledger_phase(j->ledger) == LEDGER_ENDED) ledger_job_shrink(j->ledger);
    known_count_bytes(j);
    known_release(k, j);
    return j;
}

enum known_judgement known_judge(const struct known_job *j, int64_t epoch, int64_t seq)
{
    int64_t log_epoch = j->ledger ? ledger_epoch(j->ledger) : 0;
    if (j->is_settled) return KNOWN_DONE;
    if (epoch == j->handoff_epoch && seq == j->handoff_seq) return KNOWN_TAKE;
    if (epoch < j->handoff_epoch || (epoch == j->handoff_epoch && seq < j->handoff_seq))
        return KNOWN_DONE;
    if (known_phase(j) == LEDGER_ENDED)
        return KNOWN_TAKE; /* whoever takes it finds the end and sees to it */
    return epoch < log_epoch ? KNOWN_DONE : KNOWN_HOLD;
}

void known_hand_off(struct known *k, struct known_job *j, int64_t epoch, int64_t seq)
{
    if (epoch < j->handoff_epoch || (epoch == j->handoff_epoch && seq <= j->handoff_seq)) return;
    (void)k;
    j->handoff_epoch = epoch;
    j->handoff_seq = seq;
    j->is_expected = true;
}

enum ledger_phase known_phase(const struct known_job *j)
{
    return j->ledger ? ledger_phase(j->ledger) : LEDGER_NEW;
}

bool known_is_canceled(const struct known_job *j, const char *tenant)
{
    uint64_t hash = known_tenant_hash(tenant);
    for (size_t i = 0; i < KNOWN_CANCELS_MAX; i++)
        if (j->cancel_tenants[i] == hash) return true;
    return false;
}

bool known_has_cancel(const struct known_job *j)
{
    return j->cancel_tenants[0] != 0;
}

int64_t known_floor(const struct known *k)
{
    struct list_link *first = list_first(&k->open);
    int64_t floor =
        first ? LIST_ITEM(first, const struct known_job, order)->first_offset : INT64_MAX;
    return k->stuck >= 0 && k->stuck < floor ? k->stuck : floor;
}

void known_drop(struct known *k, struct known_job *j)
{
    if (known_phase(j) == LEDGER_NEW && !j->items.count && !j->run && !j->is_closing &&
        !j->is_settled)
        known_forget(k, j);
}

void known_expire(struct known *k, int64_t before_ms)
{
    for (struct list_link *at = list_first(&k->open), *next; at; at = next) {
        struct known_job *j = LIST_ITEM(at, struct known_job, order);
        next = list_next(&k->open, at);
        if (j->noted_ms >= before_ms) return; /* in order of the log */
        known_drop(k, j);
    }
}

size_t known_open(const struct known *k)
{
    return k->open.count;
}

bool known_has_forgotten(const struct known *k)
{
    return k->has_forgotten || k->stuck >= 0;
}
