#ifndef SIM_MODEL_EVAL_H
#define SIM_MODEL_EVAL_H
#include "consumer/ports.h"
#include "tests/sim/world.h"

/* A model of the jq helpers: it knows the one expression that the simulation's workflows need jq for (the length of a step's output) and
 * answers it after a moment. */
struct model_eval;
struct model_eval *model_eval_new(struct proc *p);
void model_eval_free(struct model_eval *e); /* as when the process ends */
struct eval_port model_eval_port(struct model_eval *e);

#endif
