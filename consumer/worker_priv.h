#ifndef CONSUMER_WORKER_PRIV_H
#define CONSUMER_WORKER_PRIV_H
#include "common/base/clock.h"
#include "common/base/map.h"
#include "consumer/call.h"
#include "consumer/lease.h"
#include "consumer/mirror.h"
#include "consumer/outbox.h"
#include "consumer/scheduler.h"
#include "consumer/spill.h"
#include "consumer/worker.h"

/* The inside of a worker, shared by worker*.c, home*.c, jobrun*.c, foreign.c, rebuild.c and
 * drain.c. */
struct home;
struct item;
struct jobrun;
struct foreign;
struct gate;

enum {
    WORKER_INCARNATION_MAX = 160,
    WORKER_ITEM_BYTES_MAX = 256 << 20, /* values of records in memory, running ones included */
    WORKER_QUEUE_MAX = 100000,
    WORKER_STEP_OUTPUT_MAX = 512 << 10,
    WORKER_JOB_OUTPUT_MAX = 768 << 10
};

struct worker_meters {
    struct metric_series *ended[JOB_STATUS_COUNT];
    struct metric_series *started, *handed, *parked, *dropped, *dead_letters;
    struct metric_series *records_in, *state_in, *commits, *commit_errors, *rebuilds, *void_ends,
        *publish_retries, *spilled;
    struct metric_series *running, *queued, *foreign, *calls, *calls_waiting, *homes, *homes_ready,
        *fenced, *item_bytes, *keyed;
    struct metric_series *queue_seconds, *job_seconds;
};

struct worker {
    struct worker_ports ports;
    char incarnation[WORKER_INCARNATION_MAX];
    struct outbox *outbox;
    struct lease *lease;
    struct pacer *pacer;
    struct usage *usage;
    struct call_env calls;
    struct mirror_env mirrors;
    struct scheduler *sched;
    struct gate *gate;
    struct spill *spill;
    struct foreign *foreign;
    struct home **homes;               /* by partition; NULL: not ours */
    size_t home_max;                   /* partitions */
    struct list home_list, lost_homes; /* lost ones wait for their last answer */
    bool *asked;                       /* scratch of the heartbeat, by partition */
    bool *marked;                      /* whose view was whole at the last beat that asked */
    struct map *runs;                  /* by job id: those that are alive */
    struct list run_list;              /* the same in order of their beginning */
    struct list gone_list;             /* over, but an answer is still out */
    struct list paced;                 /* runs that were told to wait for their turn */
    struct list parkings;              /* delay records on their way into another tier */
    struct list rebuilds;              /* stopped ones that wait for their answers */
    struct list letters;               /* unreadable records on their way to the dead letters */
    size_t item_bytes, sleeping;
    int64_t unbroken_ms; /* of the lease, as last seen */
    enum worker_state state;
    bool is_readable; /* some queue may hold something */
    bool is_leaving, has_left, is_over, has_told;
    struct timer commit_timer, drain_timer, leave_timer;
    size_t next_home; /* who is read first this turn */
    struct worker_meters meters;
    uint64_t started, ended, handed, dropped;
};

/* Starting something new is allowed: the heartbeat is held, Redis is there, no drain. */
bool worker_may_start(const struct worker *w);
bool worker_is_admitting(const struct worker *w);
void worker_kick(struct worker *w);
struct jobrun *worker_run_find(const struct worker *w, const struct job_id *id);
struct home *worker_home(const struct worker *w, uint32_t partition); /* NULL: not ours */
int64_t worker_weight(const struct worker *w, const char *tenant);
void worker_ignore_done(void *arg, const struct err *e, struct view verdict); /* an fn_done_cb */
int64_t worker_retry_ms(const struct worker *w,
                        int64_t base_ms); /* base with jitter, monotonic time of it */

/* worker_meters.c */
void worker_meters_init(struct worker_meters *w, struct call_meters *calls, struct metrics *m);

/* drain.c */
void drain_check(struct worker *w);     /* when a run is over, or the group was left */
void drain_committed(struct worker *w); /* when a commit was answered */

#endif
