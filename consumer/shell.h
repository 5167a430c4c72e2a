#ifndef CONSUMER_SHELL_H
#define CONSUMER_SHELL_H
#include "schemas/config.h"

/* A consumer process: the worker (worker.h) on real Kafka, Redis and HTTP. Runs until it was drained (SIGTERM, SIGINT, POST /drain) or
 * something failed that no waiting can mend. Borrows config. */
MUST_CHECK enum err_code shell_run(const struct config *config, struct err *err);
/* --check beyond the configuration itself: the workflows. Prints what is wrong; returns the exit status. */
int shell_check(const struct config *config);

#endif
