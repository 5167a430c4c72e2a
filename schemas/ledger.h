#ifndef SCHEMAS_LEDGER_H
#define SCHEMAS_LEDGER_H
#include "schemas/state.h"

/* What one reader of state[p] knows of one job: the single implementation of the arbitration rule. Pure. The
 * consumer's homes, the rebuild and `sluice doctor` all fold records through it. Records must be fed in log order.
 *
 * The rule. A record of epoch e is void if a `started` of a higher epoch stands before it. The first valid terminal
 * wins; likewise the first valid checkpoint per (step, item), the first `started` of an epoch, and the first parked
 * or yielded after it (one whose `started` lies before the part of the log that is read counts). After the terminal
 * that won nothing counts any more, but a `started` still raises ledger_epoch. cancel and signal belong to no lease:
 * they count until the end. */
struct ledger_job;
enum { LEDGER_BYTES_MAX = 64 << 20, LEDGER_CHECKPOINTS_MAX = 100000 };

struct ledger_checkpoint {
    char step[STEP_ID_MAX];
    int64_t item;
    int64_t seq;
    struct view value; /* owned by the ledger job; VIEW_NONE after ledger_job_shrink */
};

struct ledger_job *ledger_job_new(void); /* NULL: no memory */
void ledger_job_free(struct ledger_job *j);
enum ledger_verdict { LEDGER_COUNTED, LEDGER_VOID, LEDGER_DUPLICATE };
/* offset: of the record in state[p]. ERR_NOMEM, ERR_TOO_LARGE past LEDGER_BYTES_MAX or LEDGER_CHECKPOINTS_MAX of kept
 * checkpoints: nothing changed. */
MUST_CHECK enum err_code ledger_job_fold(struct ledger_job *j, const struct state_record *s, int64_t offset,
                                         enum ledger_verdict *ret, struct err *err);

int64_t ledger_first_offset(const struct ledger_job *j); /* of its first record; -1: none yet */
int64_t ledger_epoch(const struct ledger_job *j);        /* highest `started` epoch; 0 */
int64_t ledger_seq(const struct ledger_job *j);          /* highest seq carried by a counted record */
/* `started` records not followed by their own yielded or parked. */
int64_t ledger_attempts(const struct ledger_job *j);
bool ledger_is_canceled(const struct ledger_job *j);
/* Latest counted state of life: nothing, started, parked (due), yielded, terminal. */
enum ledger_phase { LEDGER_NEW, LEDGER_STARTED, LEDGER_PARKED, LEDGER_YIELDED, LEDGER_ENDED };
enum ledger_phase ledger_phase(const struct ledger_job *j);
int64_t ledger_due_ms(const struct ledger_job *j); /* of the latest counted parked record; 0 */
const struct state_record *ledger_terminal(const struct ledger_job *j); /* with its value (owned); NULL */
const struct state_record *ledger_started(const struct ledger_job *j);  /* latest counted started (no value); NULL */
/* First valid checkpoint of (step, item), NULL when none. Valid until the next fold. */
const struct ledger_checkpoint *ledger_checkpoint(const struct ledger_job *j, struct view step, int64_t item);
/* In log order; *cursor starts at 0; NULL at the end. */
const struct ledger_checkpoint *ledger_checkpoint_each(const struct ledger_job *j, size_t *cursor);
size_t ledger_bytes(const struct ledger_job *j);
/* Forgets checkpoint values (the job ended). */
void ledger_job_shrink(struct ledger_job *j);

#endif
