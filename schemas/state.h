#ifndef SCHEMAS_STATE_H
#define SCHEMAS_STATE_H
#include "schemas/job.h"

/* Records of state[p]: the life of a job. Key = job id, headers as in job.h plus `kind`; never compacted.
 *   started     epoch attempt origin tenant class workflow created-ms deadline-ms fp seq worker   value empty; built
 *     from headers alone
 *   checkpoint  epoch step item seq                       value
 *     {"status":"completed|failed|skipped","output":<raw>,"error":{..}?,"usage":{..},"attempts":n}
 *   parked      epoch due-ms seq                          the delay record stands before it
 *   yielded     epoch seq                                 the cont record stands before it
 *   cancel      (no epoch)                                value {"reason":".."}
 *   signal      step = name                               value raw JSON
 *   succeeded failed canceled expired   epoch seq         value: the finished job as jobview_put writes it
 * Arbitration (schemas/ledger.h, the one reader rule): a record of epoch e is void if a `started` of a higher epoch
 * stands before it; the first valid terminal wins, likewise the first valid checkpoint per (step, item). */
enum state_kind {
    STATE_STARTED, STATE_CHECKPOINT, STATE_PARKED, STATE_YIELDED, STATE_CANCEL, STATE_SIGNAL,
    STATE_SUCCEEDED, STATE_FAILED, STATE_CANCELED, STATE_EXPIRED, STATE_KIND_COUNT
};
const char *state_kind_name(enum state_kind k);
bool state_kind_is_terminal(enum state_kind k);
enum job_status state_kind_status(enum state_kind terminal);
enum state_kind state_kind_of_status(enum job_status terminal);

enum { STEP_ID_MAX = 64 };

struct state_record {
    enum state_kind kind;
    struct job_head head;     /* id tenant class fp workflow epoch seq attempt created due deadline origin */
    char step[STEP_ID_MAX];   /* checkpoint, signal */
    int64_t item;             /* foreach index, -1 = none */
    char worker[96];          /* started: incarnation */
    struct view value;        /* borrowed */
};

struct state_scratch {
    struct job_scratch job;
    char item[24];
};
void state_record_write(const struct state_record *s, struct record_out *rec, struct state_scratch *scratch);
/* As job_head_read; and kind, step, item and the headers each kind needs (epoch: all but cancel and signal; seq:
 * terminals) must be right. */
MUST_CHECK enum err_code state_record_read(const struct record_in *rec, struct state_record *ret, struct err *err);

#endif
