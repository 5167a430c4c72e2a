#ifndef CONSUMER_JQ_POOL_H
#define CONSUMER_JQ_POOL_H
#include "common/io/loop.h"
#include "consumer/ports.h"

/* Helpers that evaluate jq (jq_helper.h), one expression at a time each; a helper that is too slow
 * is killed and replaced. */
struct jq_pool;
struct jq_pool_options {
    const char *program; /* path of this program; run with --jq-helper */
    size_t helpers;      /* >= 1 */
    size_t waiting_max;  /* expressions in line; more are answered ERR_FULL */
    int64_t timeout_ms;  /* of one evaluation */
};
struct jq_pool *jq_pool_new(struct loop *l, const struct jq_pool_options *o, struct err *err);
void jq_pool_free(struct jq_pool *p); /* what waits is dropped without an answer */
struct eval_port jq_pool_port(struct jq_pool *p);

#endif
