#ifndef SIM_PACE_PROVIDER_H
#define SIM_PACE_PROVIDER_H
#include "consumer/llm_limits.h"
#include "schemas/fn_pace.h"
#include "tests/sim/world.h"

/* One model at a provider whose limits are exact: it refuses what a provider with these limits refuses, and counts
 * every sliding minute besides. Output counts when it is made, the combined dimension (PACE_TOKENS) up front. */
struct exact;
enum exact_algorithm { EXACT_BUCKET, EXACT_SLIDING, EXACT_FIXED, EXACT_QUANTUM, EXACT_ALGORITHMS };
enum exact_headers { EXACT_SILENT, EXACT_TRUE, EXACT_MALFORMED, EXACT_LYING, EXACT_YEAR, EXACT_HEADERS };

struct exact_options {
    enum exact_algorithm algorithm;
    enum exact_headers headers;
    int64_t limits[PACE_DIM_COUNT]; /* a minute; 0 = none */
    int64_t quantum_ms;             /* of EXACT_QUANTUM: a bucket no deeper than that */
};
struct exact *exact_new(struct world *w, const struct exact_options *o);
void exact_free(struct exact *x);

/* What a call costs there, when it arrives. True: taken and counted. */
bool exact_take(struct exact *x, const int64_t need[PACE_DIM_COUNT]);
void exact_output(struct exact *x, int64_t n); /* made now */
/* What the headers of a reply say now. */
void exact_tell(struct exact *x, struct llm_limits *ret);
/* When a call that is refused now should come again; -1: it is not told. */
int64_t exact_retry_after(struct exact *x, const int64_t need[PACE_DIM_COUNT]);

void exact_scale(struct exact *x, double factor); /* all limits, without notice */
void exact_set_headers(struct exact *x, enum exact_headers h);
void exact_set_strangers(struct exact *x, double share); /* others with the same key use so much of each limit */

int64_t exact_limit(const struct exact *x, enum pace_dim d);
int64_t exact_changed_ms(const struct exact *x); /* when a limit or the strangers changed last */
/* Own use of any sliding minute at its largest, permille of the limit, rounded up; from exact_mark on, and not of
 * minutes in which a limit changed. */
int64_t exact_peak(const struct exact *x);
/* What was used since the mark, by dimension, and how much of the limit that binds most. */
void exact_mark(struct exact *x);
int64_t exact_used(const struct exact *x, enum pace_dim d);
double exact_share(struct exact *x, enum pace_dim d); /* own use of the last minute, of the limit */
double exact_use(const struct exact *x);
enum pace_dim exact_binding(const struct exact *x); /* the dimension used most, by its limit */

#endif
