#ifndef CONSUMER_ADAPT_H
#define CONSUMER_ADAPT_H
#include "common/io/kafka.h"
#include "consumer/worker.h"

/* The worker's ports that io does not have in the right shape already: topics by number instead of
 * by name. */
struct adapt {
    struct loop *loop;
    struct log *log;
    const struct topics *topics;
    struct kafka_options kafka;      /* borrowed parts live as long */
    struct kafka_consumer *consumer; /* NULL: not in the group */
    struct worker *worker;
    bool was_assigned;
    int64_t joined_ms;
};
struct intake_port adapt_intake_port(struct adapt *a);
struct replay_port adapt_replay_port(struct adapt *a);
/* Joins the group. */
MUST_CHECK enum err_code adapt_join(struct adapt *a, const struct config *config, struct err *err);

/* Secrets of the providers, read once from environment or file. */
struct secrets;
MUST_CHECK enum err_code secrets_load(const struct config *config, struct secrets **ret,
                                      struct err *err);
void secrets_free(struct secrets *s);
/* worker_ports.provider_key; VIEW_NONE: no such key, or its variable is not set. */
struct view secrets_find(void *secrets, const struct config_provider *p, size_t key_index);

#endif
