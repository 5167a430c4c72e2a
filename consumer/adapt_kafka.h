#ifndef CONSUMER_ADAPT_KAFKA_H
#define CONSUMER_ADAPT_KAFKA_H
#include "common/io/kafka.h"
#include "consumer/ports.h"

/* io/kafka as the worker's ports: topics by enum instead of by name. */
struct adapt_kafka {
    struct loop *loop;
    struct log *log;
    const struct topics *topics;
    struct kafka_options options;
    struct kafka_consumer *consumer; /* NULL until Kafka's topics are there */
};

struct intake_port adapt_kafka_intake(struct adapt_kafka *a);
struct replay_port adapt_kafka_replay(struct adapt_kafka *a);

#endif
