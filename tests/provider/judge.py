"""The judge of pacing: exact counts of what a fleet asked and got, per key and model.

A violation is a refusal by a limit that had stood unchanged for 60 s, or a count over any sliding 60 s above such a
limit. Counts in a window change only upwards at an event (an arrival, tokens made), so the highest count of all
windows is found by looking at the window (t - 60 s, t] at every event: one pointer that follows, no search.
Everything is kept in whole milliseconds; events of one millisecond are one entry, so a dimension costs at most 16
bytes a millisecond however fast the fleet is.

Windows that hold a change of limits are counted apart, and so are refusals within 60 s of a change or of strangers on
the same key. Limits that are set before the first call of a pair were never different: that is no change.
"""

from array import array
from bisect import bisect_left
from collections import Counter

from tests.provider import oracle
from tests.provider.meters import DAY_MS, MINUTE_MS
from tests.provider.rules import INPUT, METERED, MINUTE_LIMITS, OUTPUT, RPD, RPM, TOKENS

LOG_MAX = 4_000_000
CALLS_MAX = 2_000_000  # sizes kept for the oracle
PAIRS_MAX = 4096
SERIES_MAX = 1000
OUTPUT_UNKNOWN = -1
BY_LIMITS = frozenset((*METERED, "concurrency"))


class Log:
    """Amounts by millisecond, with running sums. forgotten: how many of the oldest entries are gone."""

    def __init__(self):
        self.at = array("q")
        self.sums = array("d")
        self.base = 0.0
        self.forgotten = 0

    def add(self, ms, amount):
        if self.at and self.at[-1] >= ms:
            self.sums[-1] += amount
            return
        self.at.append(ms)
        self.sums.append((self.sums[-1] if self.sums else self.base) + amount)
        if len(self.at) > LOG_MAX:
            half = LOG_MAX // 2
            self.base = self.sums[half - 1]
            self.forgotten += half
            del self.at[:half]
            del self.sums[:half]

    def total(self):
        return self.sums[-1] if self.sums else self.base

    def before(self, ms):
        """The sum of everything before ms (of what is remembered, at least)."""
        index = bisect_left(self.at, ms)
        return self.sums[index - 1] if index else self.base

    def between(self, from_ms, to_ms):
        """The sum of from <= t < to."""
        return self.before(to_ms) - self.before(from_ms)


class Window:
    """The count of the last period of a Log, and the highest it ever was."""

    def __init__(self, log, period_ms):
        self._log = log
        self._period_ms = period_ms
        self._tail = 0  # absolute number of the first entry inside
        self.quiet = None    # (count, limit, at_ms) with the highest ratio while limits stood
        self.changed = None  # the same for windows that hold a change
        self.over = 0
        self.highest = 0.0

    def count(self, ms):
        log = self._log
        index, edge = max(0, self._tail - log.forgotten), ms - self._period_ms
        at, size = log.at, len(log.at)
        while index < size and at[index] <= edge:
            index += 1
        self._tail = index + log.forgotten
        return log.total() - (log.sums[index - 1] if index else log.base)

    def look(self, ms, limit, is_quiet, extra=0.0):
        """Look at the window that ends now. limit: in force, None for none."""
        count = self.count(ms) + extra
        if count > self.highest:
            self.highest = count
        if not limit:
            return
        best = self.quiet if is_quiet else self.changed
        if best is None or count * best[1] > best[0] * limit:
            if is_quiet:
                self.quiet = (count, limit, ms)
            else:
                self.changed = (count, limit, ms)
        if is_quiet and count > limit + 1e-6:
            self.over += 1


def _peak(best):
    return None if best is None else {"max": round(best[0], 3), "limit": best[1], "ratio": round(best[0] / best[1], 6), "at_ms": best[2]}


class Pair:
    """Everything about one key and model."""

    def __init__(self, key, model, limits, now_ms):
        self.key = key
        self.model = model
        self.born_ms = now_ms
        self.limits = limits
        self.changes = [(now_ms, limits)]  # the first is the state at the beginning
        self.changed_ms = None
        self.strangers_ms = None
        self.arrivals = Log()
        self.refusals = {}  # reason: Log
        self.counts = Counter()
        self.in_flight = self.peak_in_flight = 0
        self.produced = Log()  # output tokens as they were made, whatever the limit counts
        self.logs = {RPM: Log(), INPUT: Log(), OUTPUT: Log(), TOKENS: Log()}
        self.foreign = {name: Log() for name in MINUTE_LIMITS}
        self.windows = {name: Window(log, MINUTE_MS) for name, log in self.logs.items()}
        self.windows[RPD] = Window(self.logs[RPM], DAY_MS)
        self.shared = {name: Window(self.logs[name], MINUTE_MS) for name in MINUTE_LIMITS}
        self._foreign_now = {name: Window(log, MINUTE_MS) for name, log in self.foreign.items()}
        self.calls = [array("q") for _ in range(4)]  # at, input, output, charged tokens

    # --- events ------------------------------------------------------------------------------------------------

    def is_quiet(self, ms):
        return self.changed_ms is None or ms - self.changed_ms >= MINUTE_MS

    def has_strangers(self, ms):
        return self.strangers_ms is not None and ms - self.strangers_ms < MINUTE_MS

    def change(self, limits, ms):
        """Other limits from now on."""
        if limits == self.limits:
            return
        if self.arrivals.at:
            self.changed_ms = ms
            self.changes.append((ms, limits))
        else:
            self.changes = [(ms, limits)]
        self.limits = limits

    def _look(self, name, ms):
        limit, quiet = self.limits.get(name), self.is_quiet(ms)
        self.windows[name].look(ms, limit, quiet)
        if self.strangers_ms is not None:
            self.shared[name].look(ms, limit, quiet, self._foreign_now[name].count(ms))

    def accept(self, charges, ms):
        """A call was let in; returns its number for finish()."""
        self.arrivals.add(ms, 1)
        self.counts["accepted"] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        for name in MINUTE_LIMITS:
            if charges[name]:
                self.logs[name].add(ms, charges[name])
                self._look(name, ms)
        if RPD in self.limits:
            self.windows[RPD].look(ms, self.limits[RPD], self.is_quiet(ms))
        number = len(self.calls[0])
        if number >= CALLS_MAX:
            return None
        for column, value in zip(self.calls, (ms, charges[INPUT], charges[OUTPUT] or OUTPUT_UNKNOWN, charges[TOKENS])):
            column.append(value)
        return number

    def refuse(self, reason, ms):
        """A call was turned away. Returns True when it is a violation."""
        self.arrivals.add(ms, 1)
        self.refusals.setdefault(reason, Log()).add(ms, 1)
        if reason not in BY_LIMITS:
            return False
        if self.has_strangers(ms):
            self.counts["refused_with_strangers"] += 1
        elif not self.is_quiet(ms):
            self.counts["refused_after_change"] += 1
        else:
            self.counts["violations"] += 1
            return True
        return False

    def produce(self, count, ms, counted):
        """Output tokens were made; counted: the limits that charge them now."""
        self.produced.add(ms, count)
        for name in counted:
            self.logs[name].add(ms, count)
            self._look(name, ms)

    def finish(self, number, output, counted):
        """A call is over; counted: the limits that charged its output as it was made. number None: begun before a reset."""
        self.in_flight -= 1
        if number is None:
            return
        if OUTPUT in counted or self.calls[2][number] == OUTPUT_UNKNOWN:
            self.calls[2][number] = output
        if TOKENS in counted:
            self.calls[3][number] += output

    def strangers(self, name, amount, ms):
        self.strangers_ms = ms
        self.foreign[name].add(ms, amount)
        self._look(name, ms)

    # --- answers -----------------------------------------------------------------------------------------------

    def allowed(self, name, from_ms, to_ms):
        """What the limit allows evenly over an interval, None where it did not always exist."""
        total, edges = 0.0, [max(from_ms, at) if i else from_ms for i, (at, _) in enumerate(self.changes)] + [to_ms]
        for (_, limits), begin, end in zip(self.changes, edges, edges[1:]):
            begin, end = max(begin, from_ms), min(end, to_ms)
            if begin >= end:
                continue
            if limits.get(name) is None:
                return None
            total += limits[name] * (end - begin) / MINUTE_MS
        return total

    def use(self, from_ms, to_ms):
        """Of every limit a minute: used, allowed, share; foreign: what strangers took."""
        rows = {}
        for name in MINUTE_LIMITS:
            allowed = self.allowed(name, from_ms, to_ms)
            if allowed:
                used = self.logs[name].between(from_ms, to_ms)
                rows[name] = {"used": round(used, 3), "allowed": round(allowed, 3), "share": round(used / allowed, 6)}
                if self.strangers_ms is not None:
                    foreign = self.foreign[name].between(from_ms, to_ms)
                    rest = max(1e-9, allowed - foreign)
                    rows[name].update({"foreign": round(foreign, 3), "share_of_rest": round(used / rest, 6)})
        return rows

    def _sums(self, from_ms, to_ms):
        refused = {reason: int(log.between(from_ms, to_ms)) for reason, log in self.refusals.items()}
        refused = {reason: count for reason, count in refused.items() if count}
        arrivals = int(self.arrivals.between(from_ms, to_ms))
        logs = {"requests": self.logs[RPM], "input_tokens": self.logs[INPUT], "output_tokens": self.produced,
                "tokens": self.logs[TOKENS]}
        return {"arrivals": arrivals, "accepted": arrivals - sum(refused.values()), "refused": refused,
                **{name: round(log.between(from_ms, to_ms), 3) for name, log in logs.items()}}

    def longest_idle(self, from_ms, to_ms):
        """The longest time without an accepted call in an interval, its ends included."""
        at = self.logs[RPM].at
        low, high = bisect_left(at, from_ms), bisect_left(at, to_ms)
        edges = [from_ms, *at[low:high], to_ms]
        return max((b - a for a, b in zip(edges, edges[1:])), default=0)

    def window_report(self):
        rows = {}
        for name, window in self.windows.items():
            if name == RPD and RPD not in self.limits:
                continue
            limit = self.limits.get(name)
            best = _peak(window.quiet) or {"max": round(window.highest, 3), "limit": limit, "ratio": None, "at_ms": None}
            rows[name] = {**best, "over": window.over, "changed": _peak(window.changed), "with_strangers": _peak(
                self.shared[name].quiet) if name in self.shared else None}
        limit = self.limits.get("concurrency")
        rows["concurrency"] = {"limit": limit, "max": self.peak_in_flight, "ratio": self.peak_in_flight / limit if limit else None}
        return rows

    def sizes(self, from_ms, to_ms):
        """[(at, input, output, charged)] of the calls accepted in an interval and ended by now."""
        low, high = bisect_left(self.calls[0], from_ms), bisect_left(self.calls[0], to_ms)
        return [size for size in zip(*(column[low:high] for column in self.calls)) if size[2] != OUTPUT_UNKNOWN]

    def oracle(self, from_ms, to_ms, burst, used):
        """What an ideal bucket makes of the calls seen, all of them waiting from the start; beside what was used of the binding limit."""
        sizes = self.sizes(from_ms, to_ms)
        if not sizes or not used:
            return None
        binding = max(used, key=lambda name: used[name]["share"])
        found = oracle.let_through([(from_ms, *size[1:]) for size in sizes], self.changes, from_ms, to_ms, burst, is_endless=True)
        ideal = found["use"].get(binding, 0)
        return {"calls": found["calls"], "use": found["use"], "binding": binding,
                "ratio": round(used[binding]["used"] / ideal, 6) if ideal else None}

    def report(self, question):
        """The whole answer; question: a dict with from_ms, to_ms, step_ms, oracle, burst."""
        from_ms, to_ms = question["from_ms"], question["to_ms"]
        from_ms = self.born_ms if from_ms is None else from_ms
        use = self.use(from_ms, to_ms)
        binding = max(use, key=lambda name: use[name]["share"]) if use else None
        sums = self._sums(from_ms, to_ms)
        over = sum(window.over for window in self.windows.values())
        refused = {reason: int(log.total()) for reason, log in self.refusals.items()}
        return {
            "key": self.key, "model": self.model, "limits": self.limits,
            "changes": self._changes(to_ms),
            "arrivals": int(self.arrivals.total()), "accepted": self.counts["accepted"], "refused": refused,
            "refused_total": sum(refused.values()), "violations": self.counts["violations"], "over": over,
            "refused_after_change": self.counts["refused_after_change"],
            "refused_with_strangers": self.counts["refused_with_strangers"], "in_flight": self.in_flight,
            "windows": self.window_report(),
            "interval": {"from_ms": from_ms, "to_ms": to_ms, "use": use, "binding": binding,
                         "share": use[binding]["share"] if binding else None, **sums,
                         "longest_idle_ms": self.longest_idle(from_ms, to_ms),
                         "oracle": self.oracle(from_ms, to_ms, question["burst"], use) if question["oracle"] else None},
            "series": self._series(from_ms, to_ms, question["step_ms"])}

    def _changes(self, to_ms):
        """Every change after the first call, and what limits refused from it until the next one."""
        rows, ends = [], [at for at, _ in self.changes[2:]] + [max(to_ms, self.changes[-1][0])]
        for (at, limits), end in zip(self.changes[1:], ends):
            refused = sum(log.between(at, end) for reason, log in self.refusals.items() if reason in BY_LIMITS)
            rows.append({"at_ms": at, "limits": limits, "refused": int(refused)})
        return rows

    def _series(self, from_ms, to_ms, step_ms):
        rows = []
        step_ms = max(step_ms, (to_ms - from_ms) // SERIES_MAX + 1)
        for begin in range(from_ms, to_ms, step_ms):
            end = min(begin + step_ms, to_ms)
            use = self.use(begin, end)
            rows.append({"from_ms": begin, **self._sums(begin, end),
                         "share": max((row["share"] for row in use.values()), default=None)})
        return rows


class Judge:
    def __init__(self):
        self._pairs = {}

    def pair(self, key, model, limits, ms):
        """The record of a key and model; limits: those in force, for a new one."""
        name = (key, model)
        if name not in self._pairs:
            if len(self._pairs) >= PAIRS_MAX:
                name = ("others", "others")
            if name not in self._pairs:
                self._pairs[name] = Pair(name[0], name[1], limits, ms)
        return self._pairs[name]

    def find(self, key, model):
        return self._pairs.get((key, model))

    def pairs(self):
        return list(self._pairs.values())

    def reset(self, limits_of, ms):
        """Forget everything but the calls under way: limits in force count as known from here."""
        old, self._pairs = self._pairs, {}
        for name, pair in old.items():
            fresh = self._pairs[name] = Pair(*name, limits_of(*name), ms)
            fresh.in_flight = fresh.peak_in_flight = pair.in_flight

    def _live(self, pair):
        """The record that goes on for a call which may have begun before a reset."""
        return self._pairs.get((pair.key, pair.model), pair)

    def produce(self, pair, count, ms, counted):
        self._live(pair).produce(count, ms, counted)

    def finish(self, pair, number, output, counted):
        live = self._live(pair)
        live.finish(number if live is pair else None, output, counted)

    def limits_changed(self, limits_of, ms):
        for pair in self._pairs.values():
            pair.change(limits_of(pair.key, pair.model), ms)

