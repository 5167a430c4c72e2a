"""What an ideal pacer would have let through: it knows every true size beforehand and never waits longer than it
must.

One token bucket a limit, refilled evenly, holding `burst` of the minute (but at least one call), full at the start;
calls in the order of their arrival, each charged in full the moment it goes. So it uses limit x time + one burst of
the binding limit and no more, and between two calls it idles only where the next call's size makes it. Limits that
change in the middle change for it at once: it is told, which no real pacer is.
"""

from tests.provider.meters import MINUTE_MS
from tests.provider.rules import MINUTE_LIMITS

CALLS_MAX = 5_000_000  # costs stand in the order of MINUTE_LIMITS: requests, combined, input, output


class _Pacer:
    """The buckets in force, through all changes of the limits. All levels are those of the moment `at`."""

    def __init__(self, changes, from_ms, burst):
        self._burst = burst
        past = [entry for entry in changes if entry[0] <= from_ms] or changes[:1]
        self._coming = [entry for entry in changes if entry[0] > from_ms and entry is not past[-1]]
        self.at = float(from_ms)
        self.buckets = []  # [place in a call's costs, rate a ms, capacity, level]
        self._turn(past[-1][1])

    def _turn(self, limits):
        """Other limits; a bucket that is new is full, one that goes on keeps its level."""
        levels = {bucket[0]: bucket[3] for bucket in self.buckets}
        self.buckets = []
        for place, name in enumerate(MINUTE_LIMITS):
            limit = limits.get(name)
            if limit:
                capacity = max(1.0, limit * self._burst)
                self.buckets.append([place, limit / MINUTE_MS, capacity, min(capacity, levels.get(place, capacity))])

    def _advance(self, ms):
        passed, self.at = ms - self.at, ms
        for bucket in self.buckets:
            level = bucket[3] + passed * bucket[1]
            bucket[3] = level if level < bucket[2] else bucket[2]

    def take(self, costs, ms, to_ms):
        """Take all of a call at the first moment from ms on at which it fits, and return it; to_ms when none comes before."""
        while True:
            if ms > self.at:
                self._advance(ms)
            wait = 0.0
            for place, rate, capacity, level in self.buckets:
                cost = costs[place]
                lacking = (cost if cost < capacity else capacity) - level
                if lacking > wait * rate:
                    wait = lacking / rate
            if self._coming and self._coming[0][0] <= ms + wait:
                at, limits = self._coming.pop(0)
                ms = max(ms, float(at))
                self._advance(ms)
                self._turn(limits)
                continue
            ms += wait
            if ms >= to_ms:
                return to_ms
            if wait:
                self._advance(ms)
            for bucket in self.buckets:
                bucket[3] -= costs[bucket[0]]
            return ms


def let_through(calls, changes, from_ms, to_ms, burst=0.02, is_endless=False):
    """calls: [(arrival ms, input, output[, combined])] by arrival; changes: [(ms, {limit name: a minute})], the first in force from the start;
    is_endless: after the last call begin again. Returns {"calls", "use": {name: sum}, "per_minute": [calls], "end_ms"}."""
    pacer = _Pacer(changes, from_ms, burst)
    sums = [0] * len(MINUTE_LIMITS)
    per_minute = [0] * max(1, -(-(to_ms - from_ms) // MINUTE_MS))
    costs = [(1, rest[0] if rest else size_in + size_out, size_in, size_out) for _, size_in, size_out, *rest in calls]
    count, ms, index = 0, float(from_ms), 0
    while calls and pacer.buckets and count < CALLS_MAX:
        if index == len(calls):
            if not is_endless:
                break
            index = 0
        ms = pacer.take(costs[index], max(ms, float(calls[index][0])), float(to_ms))
        if ms >= to_ms:
            break
        for place, cost in enumerate(costs[index]):
            sums[place] += cost
        per_minute[int(ms - from_ms) // MINUTE_MS] += 1
        count, index = count + 1, index + 1
    return {"calls": count, "use": dict(zip(MINUTE_LIMITS, sums)), "per_minute": per_minute, "end_ms": round(ms, 3)}
