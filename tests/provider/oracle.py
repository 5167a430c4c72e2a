"""What an ideal pacer would have let through: it knows every true size beforehand and never waits longer than it must.

One token bucket a limit, refilled evenly, holding `burst` of the minute (but at least one call), full at the start; calls in the order of their arrival, each
charged in full the moment it goes. So it uses limit x time + one burst of the binding limit and no more, and between two calls it idles only where the
next call's size makes it. Limits that change in the middle change for it at once: it is told, which no real pacer is.
"""

from tests.provider.meters import MINUTE_MS
from tests.provider.rules import INPUT, MINUTE_LIMITS, OUTPUT, RPM, TOKENS

CALLS_MAX = 5_000_000


class _Level:
    def __init__(self, limit, burst, ms):
        self.at = ms
        self.level = 0.0
        self.set_limit(limit, burst)
        self.level = self.capacity

    def set_limit(self, limit, burst):
        self.rate = limit / MINUTE_MS
        self.capacity = max(1.0, limit * burst)
        self.level = min(self.level, self.capacity)

    def advance(self, ms):
        if ms > self.at:
            self.level = min(self.capacity, self.level + (ms - self.at) * self.rate)
            self.at = ms

    def wait_ms(self, cost):
        return max(0.0, (min(cost, self.capacity) - self.level) / self.rate)


class _Pacer:
    """The buckets in force, through all changes of the limits."""

    def __init__(self, changes, from_ms, burst):
        self._burst = burst
        past = [entry for entry in changes if entry[0] <= from_ms] or changes[:1]
        self._coming = [entry for entry in changes if entry[0] > from_ms and entry is not past[-1]]
        limits = past[-1][1]
        self.levels = {name: _Level(limits[name], burst, from_ms) for name in MINUTE_LIMITS if limits.get(name)}

    def _turn(self, ms, limits):
        for name in MINUTE_LIMITS:
            limit, level = limits.get(name), self.levels.get(name)
            if level is not None:
                level.advance(ms)
            if limit and level is not None:
                level.set_limit(limit, self._burst)
            elif limit:
                self.levels[name] = _Level(limit, self._burst, ms)
            else:
                self.levels.pop(name, None)

    def when(self, costs, ms, to_ms):
        """The first moment from ms on at which all of it fits; to_ms when none comes before."""
        while True:
            for name, level in self.levels.items():
                level.advance(ms)
            wait = max((level.wait_ms(costs[name]) for name, level in self.levels.items()), default=0.0)
            if self._coming and self._coming[0][0] <= ms + wait:
                at, limits = self._coming.pop(0)
                ms = max(ms, at)
                self._turn(ms, limits)
                continue
            return min(ms + wait, to_ms)

    def take(self, costs, ms):
        for name, level in self.levels.items():
            level.advance(ms)
            level.level -= costs[name]


def let_through(calls, changes, from_ms, to_ms, burst=0.02, is_endless=False):
    """calls: [(arrival ms, input, output[, combined])] by arrival; changes: [(ms, {limit name: a minute})], the first in force from the start;
    is_endless: after the last call begin again. Returns {"calls", "use": {name: sum}, "per_minute": [calls], "end_ms"}."""
    pacer = _Pacer(changes, from_ms, burst)
    use = dict.fromkeys(MINUTE_LIMITS, 0.0)
    per_minute = [0] * max(1, -(-(to_ms - from_ms) // MINUTE_MS))
    count, ms, index = 0, float(from_ms), 0
    while calls and pacer.levels and count < CALLS_MAX:
        if index == len(calls):
            if not is_endless:
                break
            index = 0
        arrival, size_in, size_out, *rest = calls[index]
        costs = {RPM: 1, INPUT: size_in, OUTPUT: size_out, TOKENS: rest[0] if rest else size_in + size_out}
        ms = pacer.when(costs, max(ms, float(arrival)), float(to_ms))
        if ms >= to_ms:
            break
        pacer.take(costs, ms)
        for name in MINUTE_LIMITS:
            use[name] += costs[name]
        per_minute[int(ms - from_ms) // MINUTE_MS] += 1
        count, index = count + 1, index + 1
    return {"calls": count, "use": use, "per_minute": per_minute, "end_ms": round(ms, 3)}
