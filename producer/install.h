#ifndef PRODUCER_INSTALL_H
#define PRODUCER_INSTALL_H
#include "common/io/kafka.h"
#include "schemas/config.h"
#include "schemas/topics.h"

/* What a program needs of Kafka before it may begin: all topics of the installation, with the
 * partition counts of the configuration. Tried again every second while Kafka is away, saying so
 * once; a mismatch of counts is final. */
struct install;
struct install_options {
    struct loop *loop;
    struct log *log;
    const struct config *config; /* borrowed */
    const struct topics *topics; /* borrowed */
    struct kafka_producer *warm; /* its metadata is fetched too; NULL = none */
    /* Once: e NULL = all there; ERR_CONFLICT = a topic has another partition count. */
    void (*done)(void *arg, const struct err *e);
    void *arg;
};
struct install *install_new(const struct install_options *o, struct err *err);
/* No callback after it. */
void install_free(struct install *i);
bool install_is_done(const struct install *i);

/* Kafka's options out of the configuration; settings must have room for config->kafka.setting_count
 * entries and live as long. */
struct kafka_options install_kafka_options(const struct config *config, const char *client_id,
                                           struct kafka_setting *settings);

#endif
