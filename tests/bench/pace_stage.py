"""The stage of a pacing row: a stack with four workers, a provider with limits, work, and what the provider saw."""

import os
import re
import threading
import time
import urllib.request

from tests.stack import Stack

from . import jobs
from .measure import HERE, ROOT, BenchError

STATE = os.path.join(ROOT, "build", "bench-pacing")
WORKERS = 4
MODEL, SECOND = "sim-large", "sim-small"  # names of our own: the stock models have other budgets
TEXT = "the quick brown fox jumps over the lazy dog and on it goes, "  # 60 bytes
PRICE = {"input_per_million": 0.25, "output_per_million": 2.0}


def prompt(tokens=200):
    return (TEXT * (tokens * 4 // len(TEXT) + 1))[:tokens * 4]


def mono_ms():
    return time.monotonic() * 1000


class Stage:
    """limits: the provider's rule. budget: what the configuration says of it (None: the same; {}: nothing is known)."""

    def __init__(self, limits, budget=None, behavior=None, tenants=(), routes=1, workers=WORKERS, config=None):
        dims = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_minute")
        known = {k: limits[k] for k in dims if k in limits} if budget is None else budget
        route = [{"provider": "main", "model": name} for name in (MODEL, SECOND)[:routes]]
        model = {"route": route, "price": PRICE}
        if known:
            model["budget"] = known
        whole = {"gateway": {"connections_max": 4000}, "consumer": {"lease_ttl": "5s", "drain_timeout": "20s"},
                 "models": {"paced": model}, "workflows": {"dir": os.path.join(HERE, "workflows")}}
        whole.update(config or {})
        self.stack = Stack(STATE, workers=workers, config=whole, fresh=True, tenants=list(tenants))
        self._limits, self._behavior = limits, behavior or {}

    def __enter__(self):
        try:
            self.stack.start()
        except Exception:
            self.stack.stop()
            raise
        self.sim = self.stack.sim
        default = {"ttft_ms": [200, 500], "tokens_per_s": 100, "output_tokens": [20, 100], "chunk_tokens": 20}
        self.sim.behave({"default": {**default, **self._behavior}, "limits": [self._limits]})
        self.sim.pacing_reset(refill=True)
        return self

    def __exit__(self, *_):
        try:
            for name in list(self.stack.parts):
                if name.startswith("consumer"):
                    self.stack.kill(name)  # what is left of the backlog is nobody's
        finally:
            self.stack.stop()

    def submit(self, count, tokens=200, connections=32):
        """A backlog, as fast as the gateway takes it."""
        return jobs.submit(self.stack, count, connections=connections, workflow="pace", value={"text": prompt(tokens)})

    def seen(self, model=MODEL, **query):
        for pair in self.sim.pacing(**query)["pairs"]:
            if pair["model"] == model:
                return pair
        raise BenchError(f"the provider saw no call of {model}")

    def wait_calls(self, count, limit_s=60):
        """Until the provider has accepted so many calls."""
        until = time.monotonic() + limit_s
        while True:
            pairs = self.sim.pacing()["pairs"]
            if sum(pair["accepted"] for pair in pairs) >= count:
                return
            if time.monotonic() > until:
                raise BenchError(f"no {count} calls within {limit_s} s")
            time.sleep(0.1)  # poll

    def metric(self, name):
        """The sum of a metric over all workers."""
        total = 0.0
        for part in self.stack.parts:
            if part.startswith("consumer"):
                total += self._metric_of(part, name)
        return total

    def _metric_of(self, part, name):
        port = self.stack.site.ports.get(part + "-admin")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


def hold(seconds):
    """An interval that is measured: what is counted in it is the row's figure, so there is no condition to wait for."""
    time.sleep(seconds)


class Client(threading.Thread):
    """A tenant that submits at a steady pace, and knows when it did."""

    def __init__(self, api, per_s, seconds, tokens, rng):
        super().__init__(daemon=True)
        self.sent, self.errors = {}, 0
        self._api, self._per_s, self._seconds, self._tokens, self._rng = api, per_s, seconds, tokens, rng

    def run(self):
        begin = time.monotonic()
        due = begin
        body = {"text": prompt(self._tokens)}
        while True:
            due += self._rng.expovariate(self._per_s)
            if due > begin + self._seconds:
                return
            time.sleep(max(0.0, due - time.monotonic()))  # the pace of the arrivals
            at = mono_ms()
            answer = self._api.submit("pace", body)
            if answer.status_code == 202:
                self.sent[answer.json()["id"]] = at
            else:
                self.errors += 1


def arrivals(stage):
    """When the first call of each job arrived at the provider, and its tokens: {job: (t_ms, tokens)}."""
    found = {}
    for call in stage.sim.journal():
        job = (call.get("identity") or "").partition("/")[0]
        if job and job not in found and call.get("verdict", "accepted") == "accepted":
            found[job] = (call["t_ms"], (call.get("input_tokens") or 0) + (call.get("output_tokens") or 0), call.get("key"))
    return found
