#ifndef CONSUMER_ESTIMATE_H
#define CONSUMER_ESTIMATE_H
#include "common/base/err.h"
#include "common/base/view.h"
#include <stdbool.h>

/* What a call will cost, before it is known: learnt per workflow step and model from what earlier
 * calls of the same step did cost. Pure; a ceiling of entries, the least used one makes room. */
struct estimate;
struct estimate *estimate_new(size_t entries_max); /* NULL: no memory */
void estimate_free(struct estimate *e);
size_t estimate_count(const struct estimate *e);

struct estimate_key {
    struct view workflow, step, model;
};
struct estimate_guess {
    int64_t input, input_var;   /* tokens, and tokens squared */
    int64_t output, output_var; /* never above max_tokens */
    int64_t expect_ms;          /* from the request to the end of its reply */
    int64_t least_ms;           /* it will hardly take less; 0 while nothing is known */
    bool is_learnt;             /* false: nothing like it has ended yet */
};
/* counted: input tokens as counted from the request; max_tokens: its ceiling of output, 0 = none
 * given. Cannot fail. */
void estimate_expect(struct estimate *e, const struct estimate_key *k, int64_t counted,
                     int64_t max_tokens, struct estimate_guess *ret);

struct estimate_actual {
    int64_t counted;       /* as it was given to estimate_expect */
    int64_t input, output; /* as billed; -1 unknown */
    int64_t took_ms;       /* -1 unknown */
};
/* A call ended whole. Absurd numbers teach nothing. Without memory nothing is learnt. */
void estimate_learn(struct estimate *e, const struct estimate_key *k,
                    const struct estimate_actual *a);

#endif
