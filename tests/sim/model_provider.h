#ifndef SIM_MODEL_PROVIDER_H
#define SIM_MODEL_PROVIDER_H
#include "common/base/buf.h"
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
    unsigned long_wait; /* of the throttled: Retry-After is more than a minute */
};
void model_provider_set(struct model_provider *m, const struct provider_faults *f);
void model_provider_speed(struct model_provider *m, int64_t first_ms_max, int64_t token_ms_max, int64_t tokens_max);

/* Every call exactly so. */
void model_provider_fix(struct model_provider *m, int64_t first_ms, int64_t token_ms, int64_t tokens);

struct model_client *model_client_new(struct model_provider *m, struct proc *p);
void model_client_free(struct model_client *c); /* as when the process dies: its calls end as client_gone */
struct http_port model_client_port(struct model_client *c);

enum call_outcome { CALL_OPEN, CALL_WHOLE, CALL_REFUSED, CALL_BROKEN, CALL_CLIENT_GONE };
struct call_entry {
    char identity[160];
    char client[32]; /* the process that called */
    int64_t started_ms, ended_ms;
    int64_t tokens;  /* of a whole reply: its text is model_provider_text */
    bool stream, burns; /* burns: a failure that counts as an attempt of the step */
    enum call_outcome outcome;
};
/* The text of a whole reply: it depends on the identity, so that a mix-up shows. */
void model_provider_text(const struct call_entry *e, struct buf *out);
/* Told of every call when it arrives, from inside the caller's turn: nothing may be done to it before that is over. */
void model_provider_on_call(struct model_provider *m, void (*fn)(void *arg, const struct call_entry *e), void *arg);
size_t model_provider_calls(const struct model_provider *m);
const struct call_entry *model_provider_call(const struct model_provider *m, size_t index);

#endif
