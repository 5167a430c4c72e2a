#ifndef CONSUMER_BUDGET_H
#define CONSUMER_BUDGET_H
#include "common/base/list.h"
#include "common/base/timerq.h"
#include "schemas/config.h"
#include "schemas/fn.h"

/* Pacing, first form: every call of a model asks its budget (requests and tokens a minute, shared
 * by all workers in Redis) and waits its turn, first come first served per model; a ceiling of
 * calls in flight holds for the process. A call that was granted must be given back with
 * budget_done exactly once. */
struct budget;
struct budget_options {
    struct fn *fn;
    const struct config *config;
    const struct clock *clock;
    struct timerq *timers;
    size_t calls_max;
    bool (*may_start)(void *arg); /* false: fenced; budget_pump when it changes */
    void *arg;
};
struct budget *budget_new(const struct budget_options *o); /* NULL: no memory */
void budget_free(struct budget *b);                        /* waiters are forgotten */

struct budget_model;
struct budget_wait { /* embed; zeroed = idle */
    struct list_link link;
    struct budget_model *model;
    int64_t tokens; /* estimate */
    bool is_told, is_granted;
    void (*on_grant)(void *arg);
    void (*on_wait)(void *arg,
                    int64_t until_wall_ms); /* once, when the wait will be longer than a second */
    void *arg;
};
/* on_grant comes from inside budget_pump or a timer, never from here. False: no such model in the
 * configuration. */
bool budget_ask(struct budget *b, struct budget_wait *w, struct view model, int64_t tokens);
void budget_cancel(struct budget *b, struct budget_wait *w); /* waiting or idle */

struct budget_outcome {
    int64_t used_tokens;   /* -1 unknown: the estimate stands */
    bool was_refused;      /* the provider's 429: the request did not count */
    int64_t closed_for_ms; /* > 0: nobody calls this model for so long */
};
void budget_done(struct budget *b, struct budget_wait *w, const struct budget_outcome *outcome);
/* Grants what can be granted. End of every turn in which something was asked, done or changed. */
void budget_pump(struct budget *b);
const struct config_model *budget_model_config(const struct budget_wait *w);
size_t budget_in_flight(const struct budget *b);
size_t budget_waiting(const struct budget *b);

#endif
