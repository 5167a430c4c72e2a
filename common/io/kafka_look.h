#ifndef IO_KAFKA_LOOK_H
#define IO_KAFKA_LOOK_H
#include "common/io/kafka.h"

/* What a Kafka cluster says of itself, for diagnosis: nothing is created and no group is joined. */
struct kafka_look_topic {
    const char *name;
    int partitions; /* 0: the topic is not there */
    int replicas;   /* the least of its partitions */
    int leaderless; /* partitions without a leader */
};
struct kafka_look {
    int brokers;
    const struct kafka_look_topic *topics; /* in the order asked */
    size_t topic_count;
    /* The group; is_known false: it could not be asked, reason says why. */
    bool is_known;
    const char *reason, *state; /* state: "Stable", "Empty", "Dead", ... */
    size_t members, owned;      /* owned: partitions that members hold */
};
typedef void kafka_look_fn(void *arg, const struct err *e, const struct kafka_look *look);

/* Asks on the thread pool with a handle of its own, at most look_ms for each of the two questions.
 * done once: e set = no broker answered. The work cannot be called back: loop_free waits for it,
 * and then done still comes. */
struct kafka_look_ask {
    const struct kafka_options *common;
    const char *const *topics;
    size_t topic_count;
    const char *group;
    int look_ms;
    kafka_look_fn *done;
    void *arg;
};
MUST_CHECK enum err_code kafka_look_start(struct loop *l, const struct kafka_look_ask *ask,
                                          struct err *err);

#endif
