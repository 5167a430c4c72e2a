"""Sums per key and model: outcomes, tokens, calls in flight, and the highest load of any 60 seconds.

The peaks are kept by the second: the sum of the last 60 whole seconds and the one under way, so they may lie a
second's worth above the truth, never below it. The journal holds the exact times.
"""

import time
from collections import deque

OUTCOMES = ("ok", "error", "cut", "client_gone", "stalled", "rejected_rate", "rejected_spend", "rejected_weather")
SECONDS = 61
NAMES_MAX = 4096


class Peak:
    """The highest sum over a minute."""

    def __init__(self):
        self.highest = 0
        self._sum = 0
        self._seconds = deque()

    def add(self, amount):
        second = int(time.monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self._sum += amount
        while self._seconds[0][0] <= second - SECONDS:
            self._sum -= self._seconds.popleft()[1]
        self.highest = max(self.highest, self._sum)


class Stats:
    def __init__(self):
        self.reset()

    def reset(self):
        self.refused = 0
        self._by_name = {}
        self._peaks = {}

    def of(self, entry):
        """The sums of the call's key and model (beyond NAMES_MAX of them: one common row)."""
        name = f"{entry['key']} {entry['model']}"
        if name not in self._by_name and len(self._by_name) >= NAMES_MAX:
            name = "others"
        if name not in self._by_name:
            sums = dict.fromkeys(("calls", *OUTCOMES, "violations", "input_tokens", "output_tokens", "in_flight",
                                  "peak_in_flight", "peak_requests_60s", "peak_tokens_60s"), 0)
            self._by_name[name] = {"key": entry["key"], "model": entry["model"], **sums}
            self._peaks[name] = (Peak(), Peak())
        return self._by_name[name]

    def _peaks_of(self, entry):
        name = f"{entry['key']} {entry['model']}"
        return self._peaks[name if name in self._peaks else "others"]

    def begin(self, entry):
        sums = self.of(entry)
        sums["calls"] += 1
        sums["in_flight"] += 1
        sums["peak_in_flight"] = max(sums["peak_in_flight"], sums["in_flight"])

    def admit(self, entry):
        """The limits let it through: from here it counts as load."""
        sums = self.of(entry)
        requests, tokens = self._peaks_of(entry)
        requests.add(1)
        tokens.add(entry["input_tokens"])
        sums["input_tokens"] += entry["input_tokens"]
        sums["peak_requests_60s"], sums["peak_tokens_60s"] = requests.highest, tokens.highest

    def end(self, entry):
        sums = self.of(entry)
        sums[entry["outcome"]] += 1
        sums["in_flight"] = max(0, sums["in_flight"] - 1)
        if entry["output_tokens"]:
            tokens = self._peaks_of(entry)[1]
            tokens.add(entry["output_tokens"])
            sums["output_tokens"] += entry["output_tokens"]
            sums["peak_tokens_60s"] = tokens.highest

    def report(self):
        rows = list(self._by_name.values())
        total = {name: sum(row[name] for row in rows) for name in ("calls", *OUTCOMES, "violations", "in_flight")}
        return {"total": {**total, "refused_connections": self.refused}, "by_key_and_model": rows}
