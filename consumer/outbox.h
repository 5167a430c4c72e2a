#ifndef CONSUMER_OUTBOX_H
#define CONSUMER_OUTBOX_H
#include "common/base/list.h"
#include "common/base/metrics.h"
#include "common/base/timerq.h"
#include "schemas/state.h"
#include "schemas/topics.h"
struct clock;
struct log;
struct rng;

/* Records of jobs on their way to Kafka. A record that could not be delivered (queue full, broker
 * away longer than the message time-out) is sent again with back-off until it is acknowledged; a
 * report of a time-out may hide a record that landed, and a second copy is harmless by the reader's
 * rule. Only a record that can never be written is reported as failed. */
struct outbox;
struct outbox_options {
    const struct publish_port *publish;
    const struct topics *topics;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct log *log;
    struct metric_series *retries; /* may be NULL */
};
struct outbox *outbox_new(const struct outbox_options *o); /* NULL: no memory */
void outbox_free(struct outbox *o);                        /* entries are their owners' */

struct outbox_ask { /* everything it points to is borrowed until done */
    enum topic topic;
    int32_t partition;
    const struct job_head *head; /* the members below go over its own */
    int64_t epoch, seq, attempt, due_ms, since;
    const char *err_code, *err_msg; /* dlq; NULL = none */
    bool is_state;                  /* TOPIC_STATE: kind and so on */
    enum state_kind kind;
    const char *step; /* NULL = none */
    int64_t item;
    const char *worker; /* NULL = none */
    struct view value;
};

/* e NULL: acknowledged at offset. Else ERR_TOO_LARGE or ERR_INVALID: it can never be written. */
typedef void outbox_done_fn(void *arg, const struct err *e, int64_t offset);
struct outbox_entry {      /* embed; zeroed = idle */
    struct list_link link; /* waiting for another try */
    struct outbox *box;
    struct outbox_ask ask;
    outbox_done_fn *done;
    void *arg;
    int64_t again_ms;
    int64_t failures; /* < 0: refused for good, told on the timer */
    bool is_busy, is_cancelled;
};
/* done is called exactly once, never from inside the call. e must live until then. */
void outbox_send(struct outbox *o, struct outbox_entry *e, const struct outbox_ask *ask,
                 outbox_done_fn *done, void *arg);
/* No further try. True: e is idle, done will not come. False: a delivery report is awaited; done
 * comes (ERR_CLOSED when it failed). */
bool outbox_cancel(struct outbox_entry *e);

#endif
