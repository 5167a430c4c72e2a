#ifndef PRODUCER_PRODUCER_H
#define PRODUCER_PRODUCER_H
#include "common/base/port.h"
#include "schemas/state.h"
#include "schemas/topics.h"

/* The publishing library: a job or a state record in, the truth about its delivery out. Never
 * blocks; written against publish_port, so the simulation runs it as it is.
 *
 * An accepted record is reported exactly once, never from inside the call. A report with e NULL
 * means: acknowledged by every in-sync replica. ERR_TIMEOUT and ERR_UNAVAILABLE mean: it may have
 * landed all the same. */
struct producer;

struct producer_options {
    struct publish_port port;    /* copied */
    const struct topics *topics; /* borrowed */
    uint32_t partitions;         /* homes */
    size_t outstanding_max;      /* records not yet reported; more are refused ERR_FULL at once */
};

struct producer_report {
    const struct err *e; /* NULL: acknowledged */
    enum topic topic;
    int32_t partition;
    int64_t offset;
};
typedef void producer_done_fn(void *arg, const struct producer_report *r);

struct producer_done { /* whom to tell */
    producer_done_fn *fn;
    void *arg;
};

struct producer *producer_new(const struct producer_options *o); /* NULL: no memory */
/* What is still out is told to nobody any more: flush the port first. The port must call nothing
 * afterwards. */
void producer_free(struct producer *p);

/* A new job to jobs.<class>[home], or, when due_ms lies at least the smallest tier ahead, to the
 * delay tier that holds it. Copies head and value as far as it needs them. ERR_FULL, ERR_TOO_LARGE,
 * ERR_UNAVAILABLE: nothing was sent. */
MUST_CHECK enum err_code producer_submit(struct producer *p, const struct job_head *head,
                                         struct view value, int64_t wall_ms,
                                         const struct producer_done *done, struct err *err);
/* A record of the job's life to state[home]. */
MUST_CHECK enum err_code producer_state(struct producer *p, const struct state_record *s,
                                        const struct producer_done *done, struct err *err);

size_t producer_outstanding(const struct producer *p);
/* False while some home's records are not acknowledged. */
bool producer_is_well(const struct producer *p);
/* Kafka answers again, as somebody found out by other means: every home gets records again. */
void producer_trust(struct producer *p);

struct producer_counts {
    uint64_t acknowledged, failed; /* reports */
    uint64_t refused;              /* calls that sent nothing */
};
struct producer_counts producer_counts(const struct producer *p);

#endif
