/* One job as the state log tells it.
 *
 * What is hard is not the code but that it is the only place: the worker, the home, the rebuild and the doctor must
 * come to the same end from the same records, or a job ends twice. Everything is decided by two facts that only
 * grow: the highest `started` epoch seen, and the terminal that won. Checkpoints are found through a hash table by
 * (step, item); values are copied because records are borrowed. Fold first takes all memory it needs, then changes:
 * a failed fold changes nothing. Most jobs known to a home are unended and have no checkpoint, so the big parts are
 * pointers. */
#include "schemas/ledger.h"

#include "common/base/hash.h"
#include <assert.h>

struct ledger_job {
    int64_t first_offset, epoch, seq, attempts, due_ms;
    enum ledger_phase phase;
    bool is_canceled;
    bool is_open; /* the `started` of `epoch` has neither parked nor yielded yet */
    struct state_record *started, *terminal;
    struct ledger_checkpoint *checkpoints; /* in log order */
    size_t count, cap;
    uint32_t *
        slots; /* open addressing: index + 1 of checkpoints, 0 = free; slot_count is a power of 2, >= 2 * count */
    size_t slot_count;
    size_t bytes;
};

struct ledger_job *ledger_job_new(void)
{
    struct ledger_job *j = calloc(1, sizeof *j);
    if (j) j->first_offset = -1;
    return j;
}

static char *ledger_bytes_of(struct view v)
{
    char *heap = NULL;
    if (v.ptr) memcpy(&heap, &v.ptr, sizeof heap); /* ours: made by view_dup */
    return heap;
}

static void ledger_record_free(struct state_record *s)
{
    if (s) free(ledger_bytes_of(s->value));
    free(s);
}

void ledger_job_free(struct ledger_job *j)
{
    if (!j) return;
    ledger_job_shrink(j);
    ledger_record_free(j->started);
    ledger_record_free(j->terminal);
    free(j->checkpoints);
    free(j->slots);
    free(j);
}

void ledger_job_shrink(struct ledger_job *j)
{
    for (size_t i = 0; i < j->count; i++) {
        free(ledger_bytes_of(j->checkpoints[i].value));
        j->checkpoints[i].value = VIEW_NONE;
    }
    j->bytes = 0;
}

/* --- checkpoints ------------------------------------------------------------------------------ */

static size_t ledger_slot(const struct ledger_job *j, struct view step, int64_t item)
{
    size_t mask = j->slot_count - 1;
    size_t at = (size_t)((hash_fnv1a(step) ^ (uint64_t)item) * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (j->slots[at]) {
        const struct ledger_checkpoint *c = &j->checkpoints[j->slots[at] - 1];
        if (c->item == item && view_eq_str(step, c->step)) break;
        at = (at + 1) & mask;
    }
    return at;
}

const struct ledger_checkpoint *ledger_checkpoint(const struct ledger_job *j, struct view step,
                                                  int64_t item)
{
    if (!j->count) return NULL;
    size_t at = ledger_slot(j, step, item);
    return j->slots[at] ? &j->checkpoints[j->slots[at] - 1] : NULL;
}

const struct ledger_checkpoint *ledger_checkpoint_each(const struct ledger_job *j, size_t *cursor)
{
    return *cursor < j->count ? &j->checkpoints[(*cursor)++] : NULL;
}

static bool ledger_grow(struct ledger_job *j)
{
    if (j->count < j->cap) return true;
    size_t cap = j->cap ? j->cap * 2 : 8;
    struct ledger_checkpoint *list = realloc(j->checkpoints, cap * sizeof *list);
    if (!list) return false;
    j->checkpoints = list;
    uint32_t *slots = calloc(cap * 2, sizeof *slots);
    if (!slots) return false;
    free(j->slots);
    j->slots = slots;
    j->slot_count = cap * 2;
    j->cap = cap;
    for (size_t i = 0; i < j->count; i++)
        j->slots[ledger_slot(j, view_of(j->checkpoints[i].step), j->checkpoints[i].item)] =
            (uint32_t)i + 1;
    return true;
}

static enum err_code ledger_keep_checkpoint(struct ledger_job *j, const struct state_record *s,
                                            enum ledger_verdict *ret, struct err *err)
{
    if (ledger_checkpoint(j, view_of(s->step), s->item)) {
        *ret = LEDGER_DUPLICATE;
        return ERR_OK;
    }
    if (s->value.len > LEDGER_BYTES_MAX - j->bytes || j->count == LEDGER_CHECKPOINTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the job's checkpoints are over %d MB or %d",
                       LEDGER_BYTES_MAX >> 20, LEDGER_CHECKPOINTS_MAX);
    char *copy = view_dup(s->value);
    if (!copy || !ledger_grow(j)) {
        free(copy);
        return err_set(err, ERR_NOMEM, "ledger: out of memory");
    }
    j->slots[ledger_slot(j, view_of(s->step), s->item)] = (uint32_t)j->count + 1;
    struct ledger_checkpoint *c = &j->checkpoints[j->count++];
    *c = (struct ledger_checkpoint){
        .item = s->item, .seq = s->head.seq, .value = view_make(copy, s->value.len)};
    memcpy(c->step, s->step, sizeof c->step);
    j->bytes += s->value.len;
    *ret = LEDGER_COUNTED;
    return ERR_OK;
}

/* --- the fold --------------------------------------------------------------------------------- */

static struct state_record *ledger_copy(const struct state_record *s, bool with_value)
{
    struct state_record *copy = malloc(sizeof *copy);
    if (!copy) return NULL;
    *copy = *s;
    copy->value = VIEW_NONE;
    if (!with_value) return copy;
    char *bytes = view_dup(s->value);
    if (!bytes) {
        free(copy);
        return NULL;
    }
    copy->value = view_make(bytes, s->value.len);
    return copy;
}

static enum err_code ledger_fold_started(struct ledger_job *j, const struct state_record *s,
                                         enum ledger_verdict *ret, struct err *err)
{
    if (s->head.epoch == j->epoch) {
        *ret = LEDGER_DUPLICATE;
        return ERR_OK;
    }
    if (j->phase == LEDGER_ENDED) {
        j->epoch = s->head.epoch; /* whoever leases next must be above it */
        *ret = LEDGER_VOID;
        return ERR_OK;
    }
    struct state_record *copy = ledger_copy(s, false);
    if (!copy) return err_set(err, ERR_NOMEM, "ledger: out of memory");
    ledger_record_free(j->started);
    j->started = copy;
    j->epoch = s->head.epoch;
    j->attempts++;
    j->is_open = true;
    j->phase = LEDGER_STARTED;
    *ret = LEDGER_COUNTED;
    return ERR_OK;
}

/* parked and yielded: the end of one lease, not of the job. */
static void ledger_fold_pause(struct ledger_job *j, const struct state_record *s,
                              enum ledger_verdict *ret)
{
    bool is_own = s->head.epoch == j->epoch;
    if (is_own && !j->is_open) {
        *ret = LEDGER_DUPLICATE;
        return;
    }
    if (is_own) {
        j->is_open = false;
        j->attempts--;
    }
    j->phase = s->kind == STATE_PARKED ? LEDGER_PARKED : LEDGER_YIELDED;
    if (s->kind == STATE_PARKED) j->due_ms = s->head.due_ms;
    *ret = LEDGER_COUNTED;
}

static enum err_code ledger_fold_terminal(struct ledger_job *j, const struct state_record *s,
                                          enum ledger_verdict *ret, struct err *err)
{
    j->terminal = ledger_copy(s, true);
    if (!j->terminal) return err_set(err, ERR_NOMEM, "ledger: out of memory");
    j->phase = LEDGER_ENDED;
    *ret = LEDGER_COUNTED;
    return ERR_OK;
}

static enum err_code ledger_fold_kind(struct ledger_job *j, const struct state_record *s,
                                      enum ledger_verdict *ret, struct err *err)
{
    bool is_leased = s->kind != STATE_CANCEL && s->kind != STATE_SIGNAL;
    *ret = LEDGER_VOID;
    if (is_leased && s->head.epoch < j->epoch) return ERR_OK;
    if (s->kind == STATE_STARTED) return ledger_fold_started(j, s, ret, err);
    if (j->phase == LEDGER_ENDED) {
        if (state_kind_is_terminal(s->kind)) *ret = LEDGER_DUPLICATE;
        return ERR_OK;
    }
    if (s->kind == STATE_CHECKPOINT) return ledger_keep_checkpoint(j, s, ret, err);
    if (state_kind_is_terminal(s->kind)) return ledger_fold_terminal(j, s, ret, err);
    if (is_leased) {
        ledger_fold_pause(j, s, ret);
        return ERR_OK;
    }
    if (s->kind == STATE_CANCEL) j->is_canceled = true;
    *ret = LEDGER_COUNTED;
    return ERR_OK;
}

enum err_code ledger_job_fold(struct ledger_job *j, const struct state_record *s, int64_t offset,
                              enum ledger_verdict *ret, struct err *err)
{
    assert(s->kind < STATE_KIND_COUNT);
    enum ledger_verdict verdict;
    enum err_code code = ledger_fold_kind(j, s, &verdict, err);
    if (code) return code;
    if (j->first_offset < 0) j->first_offset = offset;
    if (verdict == LEDGER_COUNTED && s->head.seq > j->seq) j->seq = s->head.seq;
    *ret = verdict;
    return ERR_OK;
}

/* --- what is known ---------------------------------------------------------------------------- */

int64_t ledger_first_offset(const struct ledger_job *j)
{
    return j->first_offset;
}

int64_t ledger_epoch(const struct ledger_job *j)
{
    return j->epoch;
}

int64_t ledger_seq(const struct ledger_job *j)
{
    return j->seq;
}

int64_t ledger_attempts(const struct ledger_job *j)
{
    return j->attempts;
}

bool ledger_is_canceled(const struct ledger_job *j)
{
    return j->is_canceled;
}

enum ledger_phase ledger_phase(const struct ledger_job *j)
{
    return j->phase;
}

int64_t ledger_due_ms(const struct ledger_job *j)
{
    return j->due_ms;
}

const struct state_record *ledger_terminal(const struct ledger_job *j)
{
    return j->terminal;
}

const struct state_record *ledger_started(const struct ledger_job *j)
{
    return j->started;
}

size_t ledger_bytes(const struct ledger_job *j)
{
    return j->bytes;
}
