#ifndef PRODUCER_CLI_CHECKS_H
#define PRODUCER_CLI_CHECKS_H
#include "common/base/reply.h"
#include "common/io/kafka_look.h"
#include "producer/cli_report.h"
#include "schemas/config.h"
#include "schemas/topics.h"

/* What doctor makes of what it found. Pure: the answers of the servers are inputs. */

/* look: topics in the order of enum topic; e set: no broker answered. */
void cli_check_kafka(struct cli_report *r, const struct config *c, const struct err *e,
                     const struct kafka_look *look);

/* INFO; VIEW_NONE: refused. */
void cli_check_redis_info(struct cli_report *r, struct view info);
/* CONFIG GET stream-node-max-bytes: an array of name and value, or a refusal. */
void cli_check_redis_nodes(struct cli_report *r, const struct reply *reply);
/* TIME, asked at sent_ms and answered at got_ms of our wall clock. */
void cli_check_clock(struct cli_report *r, const struct reply *reply, int64_t sent_ms,
                     int64_t got_ms);

/* Whether the secrets that the providers name are where this process would find them. */
struct cli_secrets {
    bool (*has_variable)(void *arg, const char *name); /* set and not empty */
    bool (*can_read)(void *arg, const char *path);
    void *arg;
};
void cli_check_providers(struct cli_report *r, const struct config *c,
                         const struct cli_secrets *secrets);
void cli_check_tenants(struct cli_report *r, const struct config *c);

/* GET /readyz of the admin port; GET /v1/jobs with the key. e set: no answer. */
struct cli_heard {
    const char *url;
    const struct err *e;
    int status;
    struct view body;
    bool has_key;
};
void cli_check_ready(struct cli_report *r, const struct cli_heard *h);
void cli_check_api(struct cli_report *r, const struct cli_heard *h);

#endif
