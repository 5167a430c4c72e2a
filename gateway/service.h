#ifndef GATEWAY_SERVICE_H
#define GATEWAY_SERVICE_H
#include "gateway/exchange.h"

/* The parts of a gateway between its borders, put together and looked after. What stands outside
 * (loop, connections, HTTP server, files) is the shell's: gateway.c has the real ones, the
 * simulation its models; both build the same parts by this. */
struct service_options { /* borrowed for the service's life */
    const struct config *config;
    struct loop *loop;
    struct log *log;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct redis_port commands, reads;
    struct redis_sub_port doorbells;
    struct publish_port kafka;
    const struct kafka_options *kafka_options; /* for reading a record back */
    size_t under_way_max, folds_max, folds_waiting_max, watchers_max, history_bytes_max;
    size_t scratch_max;
};

/* Names, lists and the scratch buffer; s was zeroed. Before anything else may be called back. */
MUST_CHECK enum err_code service_begin(struct service *s, const struct service_options *o,
                                       struct err *err);
/* The parts. s->auth, s->workflows and s->token_key are set by now. */
MUST_CHECK enum err_code service_open(struct service *s, const struct service_options *o,
                                      struct err *err);
/* In two steps: Redis' answers first, then the connections are closed by the shell (they answer
 * everybody who still waits), then the parts those answers go to. Both NULL-safe part by part. */
void service_close_redis(struct service *s);
void service_close(struct service *s);

/* The command connection came or went. */
void service_link(struct service *s, bool is_up);
/* About once a second: asks Redis for its boot id, and whether and how fast it answers. */
void service_tick(struct service *s);
/* Submissions or requests are under way. */
bool service_is_busy(const struct service *s);

#endif
