#ifndef IO_KAFKA_PRIV_H
#define IO_KAFKA_PRIV_H
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/io/kafka.h"
#include <librdkafka/rdkafka.h>

/* Shared by the kafka_*.c files: how a handle is made, woken, shared with the thread pool and
 * thrown away. */

struct kafka_default {
    const char *name, *value;
    bool is_optional; /* unknown to older libraries: then left out */
};

/* A configuration of ours over one of the operator's. NULL: err. */
rd_kafka_conf_t *kafka_conf_new(const struct kafka_options *o, const struct kafka_default *ours,
                                size_t count, struct err *err);

/* A librdkafka handle with its wake-up. Counted: the owner has one reference, every job on the
 * thread pool that uses rk another. The last one to go has the handle destroyed on the pool
 * (rd_kafka_destroy joins threads). */
struct kafka_core {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* events: main queue of a producer, consumer queue of a consumer */
    struct loop *loop;
    struct log *log;
    char name[48];
    int fd; /* eventfd librdkafka writes to */
    bool is_fragile; /* destroying it may end the process: it is left standing */
    struct loop_watch *watch;
    void (*on_wake)(void *arg);
    void *arg;
    unsigned refs;
    void (*on_destroyed)(void *arg); /* told in the loop after the handle is gone; may be NULL */
    void *destroyed_arg;
};

/* Takes conf. on_wake runs in the loop whenever some queue enabled with kafka_core_watch got its
 * first entry. */
struct kafka_core *kafka_core_new(struct loop *l, struct log *log, const char *name,
                                  rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err);
void kafka_core_watch(struct kafka_core *k, rd_kafka_queue_t *queue);
void kafka_core_unwatch(rd_kafka_queue_t *queue);
/* The partition's own queue, un-forwarded and watched, for an assign that follows. What an earlier
 * assignment left in it is thrown away: a queue that is not empty never writes to the descriptor.
 */
enum { KAFKA_STALE_MAX = 1000000 };
rd_kafka_queue_t *kafka_core_partition(struct kafka_core *k, const char *topic, int32_t partition);
void kafka_core_wake(struct kafka_core *k); /* on_wake again in the next turn */
void kafka_core_ref(struct kafka_core *k);
void kafka_core_unref(struct kafka_core *k);
/* The owner lets go: no on_wake after this. on_destroyed may be NULL. */
void kafka_core_retire(struct kafka_core *k, void (*on_destroyed)(void *arg), void *arg);
/* A LOG event of the handle's queue into our log. */
void kafka_core_log(struct kafka_core *k, rd_kafka_event_t *ev);

/* A handle for one job on the pool: silent, no loop. */
rd_kafka_t *kafka_plain_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err);

/* The producer's present handle, borrowed (kafka_core_ref to keep); NULL while it is rebuilt or
 * closing. */
struct kafka_core *kafka_producer_core(struct kafka_producer *p);
/* The same, with these topics known to the handle from now on. */
struct kafka_core *kafka_producer_open_topics(struct kafka_producer *p, const char *const *names,
                                              size_t count);

/* "what: text of code", with our code. */
enum err_code kafka_err_set(struct err *err, rd_kafka_resp_err_t code, const char *what);
enum err_code kafka_err_take(struct err *err, rd_kafka_error_t *error,
                             const char *what); /* NULL error = ERR_OK */

/* The fields of a message as views into it. */
void kafka_record_of(const rd_kafka_message_t *m, const char *topic, bool headers_only,
                     struct record_in *ret);

/* --- on the thread pool; all of these block, until by_ms of kafka_pool_now_ms ------------- */
enum { KAFKA_ATTEMPT_MS = 1500, KAFKA_ABSENT_MS = 2000 };
#define KAFKA_BY_TIME INT64_MIN /* the entries' offsets are times */

int64_t kafka_pool_now_ms(void);
int kafka_pool_left_ms(int64_t by_ms, int at_most); /* at least 1 */
void kafka_pool_nap(void);
bool kafka_passes(rd_kafka_resp_err_t
                      code); /* worth asking again: leaders and coordinators move, topics appear */
/* ListOffsets takes -1 (end) and -2 (beginning) where it takes a time, and the library sends one
 * request per leader for the whole list; query_watermark_offsets needs two for each partition.
 * Tries again while the error passes. */
rd_kafka_resp_err_t kafka_list_offsets(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *tps,
                                       int64_t which, int64_t by_ms, int64_t *ret);
rd_kafka_resp_err_t kafka_watermarks(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *tps,
                                     int64_t by_ms, int64_t *ret_low, int64_t *ret_high);

/* --- the consumer: shared by kafka_consumer.c, kafka_follow.c and kafka_positions.c --------- */
enum { KAFKA_PARTITIONS_MAX = 4096, KAFKA_FOLLOWED_MAX = 65536 };

struct kafka_followed {
    struct list_link link;
    char *topic;
    int32_t partition;
    struct kafka_core *core; /* the consumer's, or its rare one */
    rd_kafka_queue_t *queue;
    int64_t next;       /* offset of the record to hand over next; -1: whichever comes */
    int64_t sought_ms;  /* when seeking */
    int64_t gap_offset; /* what came instead of next */
    bool is_seeking;
};

struct kafka_consumer {
    struct loop *loop;
    struct log *log;
    struct kafka_core *core;
    struct kafka_core *rare; /* fetches what seldom has records; in no group. May be NULL */
    struct kafka_consumer_events events;
    void *arg;
    char *subscribe;
    bool *owned;          /* [KAFKA_PARTITIONS_MAX] */
    int32_t *scratch;     /* likewise: the partitions of one event */
    struct map *followed; /* topic and partition -> struct kafka_followed */
    struct list followed_list;
    struct list jobs; /* positions being asked for */
    struct timer poll;
    rd_kafka_queue_t *close_queue;
    int64_t leave_by_ms;
    void (*on_left)(void *arg);
    void *left_arg;
    unsigned depth;
    bool has_been_assigned; /* something, or nothing */
    bool is_leaving, has_left, is_freed;
};

/* Forgets the queues of all that is followed for a partition (-1: of all). Rare ones are unassigned;
 * the others are not, but added to list when it is not NULL. */
void kafka_follow_forget(struct kafka_consumer *c, int32_t partition,
                         rd_kafka_topic_partition_list_t *list);
void kafka_follow_tick(struct kafka_consumer *c); /* now and then: seeks that led nowhere */
void kafka_positions_abandon(struct kafka_consumer *c);

#endif
