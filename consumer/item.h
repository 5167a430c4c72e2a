#ifndef CONSUMER_ITEM_H
#define CONSUMER_ITEM_H
#include "common/base/timerq.h"
#include "consumer/known.h"
#include "consumer/scheduler.h"
#include "consumer/spill.h"
#include "schemas/topics.h"

/* A record of an intake topic held in memory, from the read until its offset is complete (or its
 * home is lost).
 *
 *      HELD -----> SLEEPING (due later) --> QUEUED --> RUNNING (its run owns it)
 *        the log       |                      |  ^         |
 *        decides       '----- canceled -------'  |         v
 *                                              FOREIGN <- leased elsewhere, or dropped
 *      between SLEEPING and QUEUED: SPILLING, ASIDE, KEYED (see home_line.c)
 *      ATTACHED: another record of the same job is in one of these; waits for the same outcome */
enum item_state {
    ITEM_HELD,
    ITEM_SLEEPING,
    ITEM_SPILLING,
    ITEM_ASIDE,
    ITEM_KEYED,
    ITEM_QUEUED,
    ITEM_RUNNING,
    ITEM_FOREIGN,
    ITEM_ATTACHED
};

struct home;
struct foreign_owner;
struct item {
    struct job_head head;
    enum topic topic; /* TOPIC_COUNT: made up to close a job that has no record in memory */
    int64_t offset;
    int64_t timestamp_ms; /* of the record */
    struct view value;    /* owned */
    enum item_state state;
    struct home *home; /* NULL: lost meanwhile */
    struct known_job *job;
    struct list_link link;    /* in job->items */
    struct list_link waiting; /* in a list of the home or of a foreign owner */
    struct list_link untold;  /* in home->untold */
    struct foreign_owner *owner;
    struct sched_item sched;
    struct scheduler *line; /* it stands in, of a gate; NULL: the worker's, or none */
    struct keyed_item keyed;
    struct spill_place place;
    struct timer timer; /* SLEEPING; KEYED: its deadline */
    int64_t read_ms;    /* monotonic */
    unsigned rounds;    /* FOREIGN */
    bool is_telling;    /* Redis is being told of it */
    bool has_waited;    /* its delay tier's time is over */
    bool is_spilled;    /* its copy in the spill topic is acknowledged */
    bool stays;         /* it could not be copied into another topic */
    bool is_poison;     /* its head could not be read: it ends as failed */
};

/* NULL: no memory. The head is copied, the value too. */
struct item *item_new(const struct job_head *head, enum topic topic, const struct record_in *rec);
/* Not linked anywhere any more. */
void item_free(struct item *it);
size_t item_bytes(const struct item *it);
enum sched_lane item_lane(const struct item *it);
unsigned item_rank(const struct item *it);   /* in the line of its tenant: sched_entry.rank */
int64_t item_tier_ms(const struct item *it); /* of its delay tier; 0 = of another topic */
/* Canceled or late: it will only be closed, and waits for nothing. */
bool item_is_over(const struct item *it, int64_t wall_ms);

#endif
