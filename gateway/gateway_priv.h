#ifndef GATEWAY_GATEWAY_PRIV_H
#define GATEWAY_GATEWAY_PRIV_H
#include "common/io/kafka.h"
#include "common/io/life.h"
#include "common/io/redis.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"
#include "gateway/service.h"
#include "producer/install.h"

/* Shared by gateway.c (building, running, stopping), reload.c (what files say) and gauges.c (what
 * /metrics says). */
struct gateway {
    struct service s;
    struct gateway_options o;
    struct config *config, *reloaded; /* reloaded: by the last SIGHUP, NULL = none */
    struct loop *loop;
    struct log *log;
    struct metrics *metrics;
    struct life *life;
    struct httpd *httpd;
    struct kafka_producer *kafka;
    struct kafka_options kafka_options;
    struct kafka_setting *kafka_settings;
    struct install *install;
    struct redis_conn *commands, *reads, *doorbells;
    struct timer tick; /* looks after Kafka; while stopping: whether all are gone */
    int64_t stop_ms;   /* when the stop's patience ends */
    bool is_closing_kafka;
    struct err failure; /* why it ends, when it fails */
    struct {
        struct metric_series *connections, *tails, *sent, *resumes, *resets, *cuts, *outstanding,
            *under_way, *redis_up, *kafka_up, *produce_failed, *produce_refused;
    } gauges;
};

/* reload.c */
MUST_CHECK enum err_code gateway_load(struct gateway *g, struct err *err); /* at the start */
void gateway_reload(void *gateway, int signum);

/* gauges.c */
MUST_CHECK bool gateway_gauges(struct gateway *g);
void gateway_before_metrics(void *gateway);

#endif
