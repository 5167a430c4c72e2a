/* The guess about a line. It errs to the early side: others' jobs stand in the same line, and are
 * not the caller's to know of. */
#include "gateway/line.h"

enum { LINE_MINUTE_MS = 60000 };

static const char *line_reason(const struct pace_view *v)
{
    if (v->state == PACE_CLOSED || v->state == PACE_PROBING) {
        if (v->close == PACE_CLOSE_OUTAGE) return "outage";
        return v->close == PACE_CLOSE_EXHAUSTED ? "exhausted" : "closed";
    }
    if (v->concurrency > 0 && v->in_flight >= v->concurrency) return "concurrency";
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (v->dims[d].limit > 0 && v->dims[d].available == 0) return "budget";
    return v->waiters > 0 ? "budget" : NULL;
}

static int64_t line_later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool line_guess(const struct line_facts *f, struct line_guess *ret)
{
    const struct pace_view *v = f->budget;
    const char *reason = v->is_found ? line_reason(v) : NULL;
    int64_t in_ms = -1, limit = v->dims[PACE_REQUESTS].limit;
    if (!reason) return false;
    if (v->state == PACE_CLOSED) in_ms = line_later(in_ms, v->until_ms);
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        if (v->dims[d].limit > 0) in_ms = line_later(in_ms, v->dims[d].next_ms);
    if (limit > 0 && f->ahead > 0 && f->ahead < PACE_NUMBER_MAX / LINE_MINUTE_MS)
        in_ms = line_later(in_ms, f->ahead * LINE_MINUTE_MS / limit);
    *ret = (struct line_guess){.reason = reason, .in_ms = in_ms};
    return true;
}
