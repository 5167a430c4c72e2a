#ifndef SIM_MODEL_PROVIDER_H
#define SIM_MODEL_PROVIDER_H
#include "common/base/port.h"
#include "tests/sim/world.h"

/* The model LLM provider: OpenAI's streaming wire in random pieces, with faults, and a journal of every call by its identity
 * (<job>/<step>/<item or ->/<attempt>, header X-Client-Request-Id). */
struct model_provider;
struct model_client; /* the HTTP client of one process */

struct model_provider *model_provider_new(struct world *w);
void model_provider_free(struct model_provider *m);

struct provider_faults { /* percent of calls */
    unsigned throttle, error, outage, cut, garbage, stall, refuse;
};
void model_provider_set(struct model_provider *m, const struct provider_faults *f);
void model_provider_speed(struct model_provider *m, int64_t first_ms_max, int64_t token_ms_max, int64_t tokens_max);

struct model_client *model_client_new(struct model_provider *m, struct proc *p);
void model_client_free(struct model_client *c); /* as when the process dies: its calls end as client_gone */
struct http_port model_client_port(struct model_client *c);

enum call_outcome { CALL_OPEN, CALL_WHOLE, CALL_REFUSED, CALL_BROKEN, CALL_CLIENT_GONE };
struct call_entry {
    char identity[160];
    int64_t started_ms, ended_ms;
    enum call_outcome outcome;
};
size_t model_provider_calls(const struct model_provider *m);
const struct call_entry *model_provider_call(const struct model_provider *m, size_t index);

#endif
