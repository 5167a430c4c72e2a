#ifndef SIM_WORKER_H
#define SIM_WORKER_H
#include "consumer/worker.h"
#include "tests/sim/plant.h"

/* One consumer process: the product's worker on the models. It can be killed at any moment, paused, drained and started again; every
 * start has a boot of its own. */
struct sim_worker;

struct sim_worker *sim_worker_new(struct plant *p, const char *name); /* not started */
void sim_worker_free(struct sim_worker *w);
void sim_worker_start(struct sim_worker *w); /* joins the group */
void sim_worker_kill(struct sim_worker *w);  /* kill -9 */
void sim_worker_pause(struct sim_worker *w);
void sim_worker_resume(struct sim_worker *w);
/* What it publishes stays in its memory from now on; a pause's end ends that too. */
void sim_worker_hold_records(struct sim_worker *w, bool on);
void sim_worker_drain(struct sim_worker *w); /* exits by itself when it is drained */
void sim_worker_cut_redis(struct sim_worker *w, bool is_cut);
bool sim_worker_is_running(const struct sim_worker *w);
bool sim_worker_is_paused(const struct sim_worker *w);
bool sim_worker_is_draining(const struct sim_worker *w);
const char *sim_worker_name(const struct sim_worker *w);
/* Nothing is held or on its way. */
bool sim_worker_is_idle(const struct sim_worker *w);
struct worker_stats sim_worker_stats(const struct sim_worker *w); /* running */

#endif
