#ifndef SIM_PLANT_H
#define SIM_PLANT_H
#include "common/base/log.h"
#include "schemas/config.h"
#include "schemas/workflow.h"
#include "tests/sim/model_kafka.h"
#include "tests/sim/model_provider.h"
#include "tests/sim/model_redis.h"

/* What every process of one simulated world stands on: the servers, the configuration, and the list of what went wrong. */
enum { PLANT_FAULTS_MAX = 12 };

struct plant_options {
    uint64_t seed;
    bool trace;
    int32_t partitions;
    const struct workflows *workflows; /* borrowed; the same for every seed */
    int64_t requests_per_minute;       /* of every model; 0 = no limit */
    bool learns;                       /* unknown limits are found by a ramp; else there are none */
    int64_t max_jobs;                  /* of a worker at once */
    int64_t window;                    /* consumer.window; 0 = default */
    int64_t heartbeat_ms;              /* of quiet streams */
    int64_t events_ms;                 /* retention of ended streams; 0 = a day */
};

struct plant {
    struct world *world;
    struct model_kafka *kafka;
    struct model_redis *redis;
    struct model_provider *provider;
    struct config *config;
    struct topics topics;
    const struct workflows *workflows;
    char faults[PLANT_FAULTS_MAX][240]; /* promises found broken */
    size_t fault_count;
};

enum { PLANT_LEASE_MS = 3000, PLANT_SESSION_MS = 6000, PLANT_MESSAGE_MS = 5000 };
enum { PLANT_TENANTS = 3 };
/* Limits of keys: "one:..." one job at once, "two:..." two. */
enum { PLANT_KEY_ONE = 1, PLANT_KEY_TWO = 2 };
extern const char *const plant_tenants[PLANT_TENANTS];
extern const char *const plant_keys[PLANT_TENANTS]; /* bare API keys */

void plant_init(struct plant *p, const struct plant_options *o);
/* Every process was freed before. */
void plant_fini(struct plant *p);
/* The workflows of the simulation, read once. */
struct workflows *plant_read_workflows(void);
/* A promise is broken; further ones past the bound are counted. */
void plant_blame(struct plant *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A sink for struct log: lines become part of the told story. arg: struct proc. */
void plant_log_line(void *proc, struct view line);

#endif
