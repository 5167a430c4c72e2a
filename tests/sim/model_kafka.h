#ifndef SIM_MODEL_KAFKA_H
#define SIM_MODEL_KAFKA_H
#include "consumer/ports.h"
#include "tests/sim/world.h"

/* The model Kafka: logs, an idempotent producer per process, one consumer group with cooperative assignment, commits with metadata, replays.
 * What it keeps from the real one: order per producer, "timed out but landed", a paused broker, commits accepted from any live member whoever
 * owns the partition, a member thrown out after its session time-out that learns of it only when it wakes. */
struct model_kafka;
struct model_producer;
struct model_consumer;

enum { MODEL_QUEUE_MAX = 2000 }; /* records of one producer not yet reported; more: ERR_FULL */

struct model_kafka *model_kafka_new(struct world *w, const struct topics *topics, int32_t partitions);
void model_kafka_free(struct model_kafka *k);
void model_kafka_set_timeouts(struct model_kafka *k, int64_t message_ms, int64_t session_ms);

struct model_producer *model_producer_new(struct model_kafka *k, struct proc *p);
void model_producer_free(struct model_producer *p); /* what is under way may land or not */
void model_producer_flush(struct model_producer *p); /* before free: what is under way lands */
struct publish_port model_producer_port(struct model_producer *p);
/* What it publishes stays in its own memory until it is let go again, in order: of a process that sleeps before its client
 * has sent. A held record dies with its process. */
void model_producer_hold(struct model_producer *p, bool on);

struct model_consumer_events {
    void (*on_assigned)(void *arg, const int32_t *partitions, size_t count);
    void (*on_revoked)(void *arg, const int32_t *partitions, size_t count, bool lost);
    void (*on_readable)(void *arg);
    void (*on_commit)(void *arg, enum topic topic, int32_t partition, int64_t offset, const struct err *e);
};
struct model_consumer *model_consumer_new(struct model_kafka *k, struct proc *p, const struct model_consumer_events *events, void *arg);
void model_consumer_free(struct model_consumer *c); /* as a kill: the group notices after the session time-out */
struct intake_port model_consumer_port(struct model_consumer *c);
struct replay_port model_consumer_replay_port(struct model_consumer *c);

/* Faults. */
void model_kafka_pause(struct model_kafka *k); /* requests wait */
void model_kafka_resume(struct model_kafka *k);
/* What is appended is read so much later; 0: at once. TOPIC_COUNT: of every topic. */
void model_kafka_slow_fetch(struct model_kafka *k, enum topic t, int64_t up_to_ms);
bool model_kafka_is_paused(const struct model_kafka *k);

/* For checkers: told of every commit that was accepted, at the moment it was; and the log as it is. */
typedef void model_commit_fn(void *arg, enum topic topic, int32_t partition, int64_t offset, const char *metadata);
void model_kafka_on_commit(struct model_kafka *k, model_commit_fn *fn, void *arg);
/* Name of the process that owns a home by the group's own book; NULL: nobody. */
const char *model_kafka_owner(const struct model_kafka *k, int32_t partition);
int32_t model_kafka_partitions(const struct model_kafka *k);
int64_t model_kafka_end(const struct model_kafka *k, enum topic topic, int32_t partition);
/* False past the end. Views live as long as the model. */
bool model_kafka_record(const struct model_kafka *k, enum topic topic, int32_t partition, int64_t offset, struct record_in *ret);
int64_t model_kafka_committed(const struct model_kafka *k, enum topic topic, int32_t partition);
/* Milliseconds of virtual time at which the record was appended. */
int64_t model_kafka_appended_ms(const struct model_kafka *k, enum topic topic, int32_t partition, int64_t offset);

#endif
