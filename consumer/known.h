#ifndef CONSUMER_KNOWN_H
#define CONSUMER_KNOWN_H
#include "common/base/list.h"
#include "consumer/keyed.h"
#include "schemas/ledger.h"

/* What the owner of a home knows of its jobs from the log alone, and what that means for a record
 * read from an intake topic. Pure.
 *
 * Every record that can start a job carries an identity (epoch, seq): (0,0) for a new job, the
 * headers of the matching parked or yielded record for a delay or cont record. The job's latest
 * counted parked or yielded record is its handoff; the record with that identity is the live one,
 * older ones are done, newer ones wait for their parked or yielded record or are void. */
enum { KNOWN_CANCELS_MAX = 4 };
struct known_job {
    struct list_link order;   /* open jobs by first state offset; ended ones by age */
    struct list_link closing; /* the home's: is_closing, and not being closed right now */
    int64_t close_ms;         /* not before; monotonic */
    int64_t noted_ms;         /* stamp of its first record in the log */
    int64_t marked_ms;        /* first marked for closing; monotonic, 0 = never */
    struct job_id id;
    struct ledger_job *ledger; /* NULL: no state record yet, or ended and let go */
    struct list items;         /* records of it in memory (the home's) */
    void *run;                 /* who runs it here (the home's) */
    struct keyed_hold hold;    /* its place of its key (the home's) */
    char fp[FP_HEX + 1];       /* of the first record met; "" = none yet */
    int64_t first_offset;      /* -1: none */
    int64_t handoff_epoch, handoff_seq;
    uint64_t cancel_tenants[KNOWN_CANCELS_MAX]; /* hashes of who asked for its cancel; 0 = free */
    int64_t started_ms;                         /* stamp of its first `started`, 0 = none */
    int64_t starts;                             /* counted `started` records */
    bool is_expected; /* the live record must still show up in an intake topic */
    bool is_settled;  /* its end is in Redis too: nothing more to do for any record of it */
    bool is_closing;  /* canceled while nobody runs it: the owner closes it */
    enum { KNOWN_FRESH, KNOWN_OPEN, KNOWN_ENDED } place;
    size_t bytes; /* of the ledger, as last counted */
};

struct known;
struct known *known_new(size_t jobs_max, size_t ended_max);
void known_free(struct known *k); /* jobs and ledgers; items are the caller's */
/* Called for each job that is forgotten before known_free. */
void known_on_forget(struct known *k, void (*fn)(void *arg, struct known_job *j), void *arg);
struct known_job *known_find(const struct known *k, const struct job_id *id);
struct known_job *known_get(struct known *k, const struct job_id *id); /* NULL: full or no memory */
struct known_job *known_each(const struct known *k, size_t *cursor);

/* Folds one record of the log; j may be in the ended list afterwards. NULL: it could not be kept
 * (full, no memory): the floor stays at or below its offset. */
struct known_job *known_fold(struct known *k, const struct state_record *s, int64_t offset,
                             int64_t wall_ms, enum ledger_verdict *ret_verdict);

enum known_judgement {
    KNOWN_TAKE, /* the live record: run it, or wait for who runs it */
    KNOWN_DONE, /* complete it without running */
    KNOWN_HOLD  /* the log does not say yet */
};
enum known_judgement known_judge(const struct known_job *j, int64_t epoch, int64_t seq);
/* A parked or yielded record of ours is acknowledged: what its fold will say, told ahead of the
 * tail. */
void known_hand_off(struct known *k, struct known_job *j, int64_t epoch, int64_t seq);
/* Its end stands in the log and in Redis. */
void known_settle(struct known *k, struct known_job *j);
/* Lets go of what nobody needs any more; j may be gone afterwards. Call when items, run or flags
 * changed. */
void known_release(struct known *k, struct known_job *j);
/* A record of an ended job was read again: it holds the floor until that record is complete. */
void known_reopen(struct known *k, struct known_job *j);

enum ledger_phase known_phase(const struct known_job *j);
/* Canceled by its own tenant: a cancel written while Redis was away could not be checked before. */
bool known_is_canceled(const struct known_job *j, const char *tenant);
bool known_has_cancel(const struct known_job *j); /* by anybody */
/* Lowest first offset of a job that is not over and done with; INT64_MAX when there is none. */
int64_t known_floor(const struct known *k);
/* Forgets a job of which nothing but a cancel was heard (else does nothing); j is gone then. */
void known_drop(struct known *k, struct known_job *j);
/* Lets go of jobs of which nothing but a cancel was ever heard, older than this stamp. */
void known_expire(struct known *k, int64_t before_ms);
size_t known_open(const struct known *k);
/* Ended jobs were let go of for want of room since the start: a job unknown here may have ended
 * long ago. */
bool known_has_forgotten(const struct known *k);

#endif
