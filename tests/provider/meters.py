"""The four ways in which a service counts to a limit, pure and in whole milliseconds.

    bucket   holds burst_s seconds' worth (60: the whole minute at once) and refills evenly
    sliding  the exact sum of the last period: nothing above the limit in any window
    fixed    the sum of the calendar period under way: two limits' worth may pass around its edge
    quantum  the limit cut into short periods (60 a minute enforced as 1 a second), refilled at their edges

Every meter answers: what is left (room), may this cost pass and if not when (wait_ms), when is all of it back
(reset_ms). A cost above what fits ever counts as the whole meter, else it could never pass. A meter may stand below
zero: tokens are charged when they have been made. A limit that changes in the middle keeps what was spent.
"""

from collections import deque

MINUTE_MS = 60_000
DAY_MS = 86_400_000
EPSILON = 1e-6
ALGORITHMS = ("bucket", "sliding", "fixed", "quantum")


class Meter:
    """What all of them share."""

    def told(self, now_ms):
        """(left, ms until all of it is back) as headers tell it."""
        return self.room(now_ms), self.reset_ms(now_ms)


class Bucket(Meter):
    """Level, capacity and an even refill."""

    def __init__(self, limit, period_ms, now_ms, burst_s=60.0):
        self._share = min(1.0, burst_s * 1000 / MINUTE_MS)
        self._period_ms = period_ms
        self._at = now_ms
        self._set(limit)
        self._level = self.capacity

    def _set(self, limit):
        self.limit = limit
        self.capacity = max(1.0, limit * self._share)
        self._rate = limit / self._period_ms

    def set_limit(self, limit, now_ms):
        self.room(now_ms)
        self._set(limit)
        self._level = min(self._level, self.capacity)

    def room(self, now_ms):
        if now_ms > self._at:
            self._level = min(self.capacity, self._level + (now_ms - self._at) * self._rate)
            self._at = now_ms
        return self._level

    def take(self, cost, now_ms):
        self.room(now_ms)
        self._level -= cost

    def wait_ms(self, cost, now_ms):
        lacking = min(cost, self.capacity) - self.room(now_ms)
        return 0.0 if lacking <= EPSILON else lacking / self._rate

    def reset_ms(self, now_ms):
        return (self.capacity - self.room(now_ms)) / self._rate


class Sliding(Meter):
    """A log of what was spent in the last period; what was spent at t counts until t + period."""

    def __init__(self, limit, period_ms, now_ms):
        self.limit = self.capacity = limit
        self._period_ms = period_ms
        self._spent = deque()  # [at, cost]
        self._sum = 0.0
        del now_ms

    def set_limit(self, limit, now_ms):
        del now_ms
        self.limit = self.capacity = limit

    def room(self, now_ms):
        while self._spent and self._spent[0][0] <= now_ms - self._period_ms:
            self._sum -= self._spent.popleft()[1]
        return self.limit - self._sum

    def take(self, cost, now_ms):
        if not cost:
            return
        if self._spent and self._spent[-1][0] >= now_ms:
            self._spent[-1][1] += cost
        else:
            self._spent.append([now_ms, cost])
        self._sum += cost

    def wait_ms(self, cost, now_ms):
        lacking = min(cost, self.limit) - self.room(now_ms)
        if lacking <= EPSILON:
            return 0.0
        for at, spent in self._spent:
            lacking -= spent
            if lacking <= EPSILON:
                return float(at + self._period_ms - now_ms)
        return float(self._period_ms)

    def reset_ms(self, now_ms):
        self.room(now_ms)
        return float(self._spent[-1][0] + self._period_ms - now_ms) if self._spent else 0.0


class Fixed(Meter):
    """The sum of the calendar period; epoch_ms: what to add to now_ms for the wall clock."""

    def __init__(self, limit, period_ms, now_ms, epoch_ms=0):
        self.limit = self.capacity = limit
        self._period_ms = period_ms
        self._epoch_ms = epoch_ms
        self._number = self._of(now_ms)
        self._sum = 0.0

    def _of(self, now_ms):
        return (now_ms + self._epoch_ms) // self._period_ms

    def set_limit(self, limit, now_ms):
        del now_ms
        self.limit = self.capacity = limit

    def room(self, now_ms):
        if self._of(now_ms) != self._number:
            self._number, self._sum = self._of(now_ms), 0.0
        return self.limit - self._sum

    def take(self, cost, now_ms):
        self.room(now_ms)
        self._sum += cost

    def wait_ms(self, cost, now_ms):
        if min(cost, self.limit) - self.room(now_ms) <= EPSILON:
            return 0.0
        return self.reset_ms(now_ms)

    def reset_ms(self, now_ms):
        self.room(now_ms)
        return float((self._number + 1) * self._period_ms - now_ms - self._epoch_ms)


class Quantum(Meter):
    """A bucket that is filled in steps at the edges of short periods; what was overspent is paid off by the next ones.
    Headers tell of the whole period all the same, as services that enforce so do: 59 left, and yet refused."""

    def __init__(self, limit, period_ms, now_ms, quantum_s=1.0):
        self._period_ms = period_ms
        self._wanted_ms = max(1, int(quantum_s * 1000))
        self._whole = Sliding(limit, period_ms, now_ms)
        self._set(limit)
        self._number = now_ms // self._quantum_ms
        self._level = self.capacity

    def _set(self, limit):
        self.limit = limit
        self._quantum_ms = max(self._wanted_ms, -(-self._period_ms // limit) if limit >= 1 else self._period_ms)
        self.capacity = limit * self._quantum_ms / self._period_ms

    def told(self, now_ms):
        return self._whole.told(now_ms)

    def set_limit(self, limit, now_ms):
        self.room(now_ms)
        self._set(limit)
        self._whole.set_limit(limit, now_ms)
        self._number = now_ms // self._quantum_ms
        self._level = min(self._level, self.capacity)

    def room(self, now_ms):
        number = now_ms // self._quantum_ms
        if number > self._number:
            self._level = min(self.capacity, self._level + (number - self._number) * self.capacity)
            self._number = number
        return self._level

    def take(self, cost, now_ms):
        self.room(now_ms)
        self._level -= cost
        self._whole.take(cost, now_ms)

    def wait_ms(self, cost, now_ms):
        lacking = min(cost, self.capacity) - self.room(now_ms)
        if lacking <= EPSILON:
            return 0.0
        steps = -int(-lacking // self.capacity)
        return float((self._number + steps) * self._quantum_ms - now_ms)

    def reset_ms(self, now_ms):
        self.room(now_ms)
        return float((self._number + 1) * self._quantum_ms - now_ms)


def make(algorithm, limit, period_ms, now_ms, burst_s=60.0, quantum_s=1.0, epoch_ms=0):
    """A full meter of that algorithm (one of ALGORITHMS)."""
    if algorithm == "sliding":
        return Sliding(limit, period_ms, now_ms)
    if algorithm == "fixed":
        return Fixed(limit, period_ms, now_ms, epoch_ms)
    if algorithm == "quantum":
        return Quantum(limit, period_ms, now_ms, quantum_s)
    return Bucket(limit, period_ms, now_ms, burst_s)
