#ifndef SIM_STAGE_H
#define SIM_STAGE_H
#include "tests/sim/crowd.h"
#include "tests/sim/judge.h"
#include "tests/sim/sim_worker.h"

/* One world set up: servers, workers, gateways, clients and the judge. Scenarios and named cases play on it. */
enum { STAGE_WORKERS_MAX = 6, STAGE_GATEWAYS_MAX = 3 };
enum { STAGE_LIMIT_MS = 15 * 60 * 1000 }; /* of virtual time after the faults stopped */

struct stage {
    struct plant plant;
    struct sim_worker *workers[STAGE_WORKERS_MAX];
    size_t worker_count;
    struct sim_gateway *gateways[STAGE_GATEWAYS_MAX];
    size_t gateway_count;
    struct crowd *crowd;
    struct judge *judge;
    bool is_healed;
};

struct stage_options {
    struct plant_options plant;
    size_t workers, gateways;
};
/* Gateways run, workers do not yet. */
void stage_init(struct stage *s, const struct stage_options *o);
void stage_fini(struct stage *s);
void stage_start_workers(struct stage *s);

/* Runs for so long, or until is_done says so; true: it did. */
void stage_run_for(struct stage *s, int64_t ms);
bool stage_run_until(struct stage *s, int64_t limit_ms, bool (*is_done)(void *arg), void *arg);
/* Everything works again from now on, and every process runs. */
void stage_heal(struct stage *s);
/* Heals, runs until every job ended, every watcher saw it and all is committed, or the limit; then judges. True: no blame. */
bool stage_finish(struct stage *s, const struct judge_expect *e);
/* The worker on whose provider calls, records or homes a case depends. */
struct sim_worker *stage_worker(struct stage *s, const char *name); /* NULL: none */

#endif
