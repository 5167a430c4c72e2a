#ifndef SIM_GATEWAY_H
#define SIM_GATEWAY_H
#include "tests/sim/model_http.h"
#include "tests/sim/plant.h"

/* One gateway process: the whole gateway room, from the route to the last byte of a stream, on the models. */
struct sim_gateway;

struct sim_gateway *sim_gateway_new(struct plant *p, const char *name); /* not started */
void sim_gateway_free(struct sim_gateway *g);
void sim_gateway_start(struct sim_gateway *g);
void sim_gateway_kill(struct sim_gateway *g); /* kill -9 */
void sim_gateway_pause(struct sim_gateway *g);
void sim_gateway_resume(struct sim_gateway *g);
/* Its subscriptions take so long to reach Redis. */
void sim_gateway_slow_doorbells(struct sim_gateway *g, int64_t by_ms);
void sim_gateway_wind_up(struct sim_gateway *g); /* SIGTERM: streams end between two events; it exits soon after */
/* Rises with every start and every end asked for. */
unsigned sim_gateway_life(const struct sim_gateway *g);
bool sim_gateway_is_running(const struct sim_gateway *g);
const char *sim_gateway_name(const struct sim_gateway *g);
/* Where clients connect to; NULL: nobody listens. */
struct model_web *sim_gateway_web(const struct sim_gateway *g);
/* Watchers that were told `reset`, all lives together. */
uint64_t sim_gateway_resets(const struct sim_gateway *g);

#endif
