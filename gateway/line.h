#ifndef GATEWAY_LINE_H
#define GATEWAY_LINE_H
#include "schemas/fn_pace.h"

/* What a queued job can be told about the line before it. A worker starts a job only when the line
 * of its model is short, and until then there is nobody who could put an event into its stream; so
 * the one who asks gets a guess, made of the budget's state and of how many jobs of the tenant are
 * older. Pure. */
struct line_facts {
    const struct pace_view *budget;
    int64_t ahead; /* unended jobs of the tenant that came before */
};
struct line_guess {
    const char *reason; /* as in job.waiting */
    int64_t in_ms;      /* not before, from now; -1 = not known */
};
/* False: nothing is known that would keep it waiting. */
bool line_guess(const struct line_facts *f, struct line_guess *ret);

#endif
