#ifndef CONSUMER_SHELL_H
#define CONSUMER_SHELL_H
#include "common/base/err.h"
#include "schemas/config.h"

/* One worker process: the worker over real servers. Starts with Kafka or Redis away and waits for
 * them, saying so; drains on SIGTERM, SIGINT and POST /drain (admin port) and then ends; a second
 * signal ends it at once (what runs is taken over). */
struct shell_options {
    const char *program; /* path of this program, for the jq helpers */
};

/* Runs until it is drained. config is taken. Fails before it takes any work: ERR_INVALID
 * (configuration, workflows), ERR_CONFLICT (topics of another shape), ERR_UNAVAILABLE (address in
 * use) ... */
MUST_CHECK enum err_code shell_run(struct config *config, const struct shell_options *o,
                                   struct err *err);

/* --check beyond the configuration itself: workflows and secrets. Writes to stdout and stderr; 0 =
 * all is well. */
int shell_check(const struct config *config);

#endif
