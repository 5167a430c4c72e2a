#ifndef CONSUMER_PORTS_H
#define CONSUMER_PORTS_H
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/port.h"
#include "common/base/rng.h"
#include "schemas/config.h"
#include "schemas/topics.h"
#include "schemas/workflow.h"
struct fn;

/* The world of a worker. main.c fills it with io/ (one thin adapter per field), the simulation with
 * models. Rules of base/port.h hold: nothing blocks, callbacks never come from inside the call. */

struct intake_tp {
    enum topic topic;
    int32_t partition;
    int64_t offset;
};
struct intake_position {
    enum topic topic;
    int32_t partition;
    int64_t committed; /* -1: none */
    struct view metadata;
    int64_t low, high;
};
typedef void intake_positions_fn(void *arg, const struct err *e, const struct intake_position *list,
                                 size_t count);
typedef void intake_record_fn(void *arg, const struct record_in *rec);

/* The Kafka consumer: one subscription (TOPIC_JOBS_INTERACTIVE), followed partitions. As
 * common/io/kafka.h, by enum topic. */
struct intake_port {
    void *self;
    void (*positions)(void *self, const struct intake_tp *tps, size_t count,
                      intake_positions_fn *done, void *arg);
    enum err_code (*follow)(void *self, const struct intake_tp *tps, size_t count, struct err *err);
    bool (*read)(void *self, enum topic topic, int32_t partition, intake_record_fn *handle,
                 void *arg);
    enum err_code (*commit)(void *self, enum topic topic, int32_t partition, int64_t offset,
                            struct view metadata, struct err *err);
    void (*leave)(void *self, void (*left)(void *arg), void *arg);
};

/* Reads a range outside the group (rebuild). cancel: no callback after it. */
struct replay_ask {
    enum topic topic;
    int32_t partition;
    int64_t from, to; /* as struct kafka_replay_options */
    int64_t from_ms;
    intake_record_fn *handle;
    void (*done)(void *arg, const struct err *e, int64_t next_offset);
    void *arg;
};
struct replay_port {
    void *self;
    void *(*start)(void *self, const struct replay_ask *ask, struct err *err); /* NULL: refused */
    void (*cancel)(void *self, void *replay);
};

/* jq outside the loop, under CPU and memory limits. value: compact JSON text (borrowed), or e
 * (ERR_INVALID: the expression failed; ERR_TIMEOUT, ERR_TOO_LARGE: its limits). */
typedef void eval_fn(void *arg, const struct err *e, struct view value);
struct eval_port {
    void *self;
    void (*eval)(void *self, struct view source, struct view root_json, eval_fn *done, void *arg);
};

struct worker_ports {
    const struct config *config;
    const struct topics *topics;
    const struct workflows *workflows;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct log *log;
    struct metrics *metrics;
    struct publish_port publish;
    struct fn *fn;                  /* Redis functions over the command connection */
    struct redis_port redis;        /* is_up */
    struct redis_sub_port doorbell; /* the worker's own channel */
    struct intake_port intake;
    struct replay_port replay;
    struct http_port http;
    struct eval_port eval;
    /* The secret of one of a provider's keys (index below key_count) as bytes to put into a header;
     * VIEW_NONE: none configured, or not set. Never logged, and sent under base_url alone. */
    struct view (*provider_key)(void *arg, const struct config_provider *p, size_t key_index);
    void *provider_key_arg;
    void (*kick)(void *arg); /* make another turn follow at once */
    void *kick_arg;
    struct view worker_name, boot; /* incarnation = name:boot */
};

#endif
