#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include "common/base/view.h"

/* The time of this turn of the loop. Shells refresh it; cores read it through a const pointer. */
struct clock {
    int64_t mono_ms; /* monotonic: timers, deadlines, back-off */
    int64_t wall_ms; /* Unix epoch: stamps only */
};

enum { CLOCK_TEXT = 25 }; /* 2026-11-24T20:55:43.123Z + NUL */
enum { CLOCK_DAY_TEXT = 11, CLOCK_DAY_MS = 86400000 };

void clock_format(int64_t wall_ms, char ret[CLOCK_TEXT]);
/* RFC 3339 with Z or offset, fraction optional. False: not a time. */
bool clock_parse(struct view text, int64_t *ret_wall_ms);
/* A day of UTC, counted from 1970-01-01, as 2026-11-24; one outside the years 0 to 9999 as the
 * nearest inside. */
void clock_day_format(int64_t day, char ret[CLOCK_DAY_TEXT]);
bool clock_day_parse(struct view text, int64_t *ret_day);
/* Durations as in the configuration: 250ms 30s 2m 1h 7d, one unit, decimal integer. */
bool clock_duration(struct view text, int64_t *ret_ms);
/* A provider's Go-style duration: 1s 6m0s 12ms 1m30.5s. */
bool clock_go_duration(struct view text, int64_t *ret_ms);

#endif
