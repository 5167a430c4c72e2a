#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H
#include "common/base/err.h"
#include "schemas/config.h"

/* One gateway process: wiring of the rooms' parts to real servers. Starts with Kafka or Redis away
 * and waits for them, saying so; ends on SIGTERM or SIGINT; SIGHUP reads tenants, models, workflows
 * and the token key again. */
struct gateway_options {
    const char *config_path; /* for reloads; may be NULL */
    char *const *env;
    char *const *flags;
    size_t flag_count;
};

/* Runs until it is told to stop. config is taken. Fails before it serves anything: ERR_INVALID
 * (configuration, workflows), ERR_CONFLICT (topics of another shape), ERR_UNAVAILABLE (address in
 * use) ... */
MUST_CHECK enum err_code gateway_run(struct config *config, const struct gateway_options *o,
                                     struct err *err);

/* --check beyond the configuration itself: tenants, token key, workflows. Writes to stdout and
 * stderr; 0 = all is well. */
int gateway_check(const struct config *config);

#endif
