"""The provider's controls from a test: settings, limits, weather, journal, stats, and the judge of pacing.

Times are CLOCK_MONOTONIC in ms (`time.monotonic() * 1000`); negative ones are relative to now.
"""

import http.client
import json
from urllib.parse import urlencode, urlsplit

TIMEOUT_S = 30


class SimClient:
    def __init__(self, url):
        self._address = urlsplit(url).netloc

    def _ask(self, method, path, value=None):
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            body = None if value is None else json.dumps(value).encode()
            connection.request(method, path, body)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise ValueError(answer.get("error", reply.status))
        return answer

    def behave(self, document):
        """Put a whole behavior document in force."""
        return self._ask("PUT", "/__sim/behavior", document)

    def patch(self, document):
        """Lay settings on those in force."""
        return self._ask("PATCH", "/__sim/behavior", document)

    def journal(self, since=0):
        """All calls after number `since` that the provider still remembers, in the order of their beginning."""
        entries = []
        while True:
            piece = self._ask("GET", f"/__sim/journal?since={since}")["entries"]
            entries += piece
            if len(piece) < 10_000:
                return entries
            since = piece[-1]["n"]

    def stats(self):
        return self._ask("GET", "/__sim/stats")

    def reset(self):
        """Settings as at the start; journal, counters and meters empty, fair weather."""
        return self._ask("POST", "/__sim/reset")

    # --- limits ------------------------------------------------------------------------------------------------

    def limits(self):
        """{"rules": [...], "meters": [...]} as they stand."""
        return self._ask("GET", "/__sim/limits")

    def set_limits(self, rules):
        """Other rules; every meter starts full."""
        return self._ask("PUT", "/__sim/limits", rules)

    def scale_limits(self, factor, key=None, model=None):
        """Every limit a minute of the rules written for this key and model times factor, without notice."""
        return self._ask("PATCH", "/__sim/limits", _given(scale=factor, key=key, model=model))

    def change_limits(self, values, key=None, model=None):
        """Some settings of those rules, without notice: meters keep what was spent."""
        return self._ask("PATCH", "/__sim/limits", _given(set=values, key=key, model=model))

    def spend(self, key, exhausted=True, code=None, model=None):
        """A key's money is gone (or there again)."""
        return self._ask("POST", "/__sim/spend", _given(key=key, exhausted=exhausted, code=code, model=model))

    # --- weather -----------------------------------------------------------------------------------------------

    def outage(self, mode="503", for_s=None, **more):
        return self._ask("POST", "/__sim/outage", _given(mode=mode, for_s=for_s, **more))

    def storm(self, for_s=None, **more):
        return self._ask("POST", "/__sim/storm", _given(for_s=for_s, **more))

    def slow_start(self, for_s, **more):
        """share_from: the share served at the beginning (0.1)."""
        if "share_from" in more:
            more["from"] = more.pop("share_from")
        return self._ask("POST", "/__sim/slow_start", _given(for_s=for_s, **more))

    def strangers(self, share, **more):
        """Others on the same key take this share of every minute; [low, high] is drawn anew every every_s seconds."""
        return self._ask("PUT", "/__sim/strangers", _given(share=share, **more))

    def end(self, kind):
        """End outage, storm, slow_start or strangers."""
        return self._ask("DELETE", f"/__sim/{kind}")

    def weather(self):
        return self._ask("GET", "/__sim/weather")["fronts"]

    # --- the judge ---------------------------------------------------------------------------------------------

    def pacing(self, **question):
        """The judge's report; question: since (from), to, step_s, key, model, oracle=1, burst."""
        if "since" in question:
            question["from"] = question.pop("since")
        query = urlencode({name: value for name, value in question.items() if value is not None})
        return self._ask("GET", "/__sim/pacing" + ("?" + query if query else ""))

    def pacing_of(self, key, model, **question):
        """The report of one key and model, None before its first call."""
        pairs = self.pacing(key=key, model=model, **question)["pairs"]
        return pairs[0] if pairs else None

    def pacing_reset(self, refill=True):
        """Forget all counts and windows; the limits in force are known and unchanged from here. Returns the moment."""
        return self._ask("POST", "/__sim/pacing/reset", {"refill": refill})["now_ms"]

    def oracle(self, **asked):
        """What an ideal bucket lets through: key and model, or limits; from_ms, to_ms, burst; calls or arrivals."""
        return self._ask("POST", "/__sim/oracle", asked)


def _given(**values):
    return {name: value for name, value in values.items() if value is not None}


def read_journal(path):
    """The journal file as one entry a call, by its number; a call that never ended has no `outcome`."""
    calls = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the line under way when the process was killed
            if entry["event"] in ("begin", "end"):
                calls.setdefault(entry["n"], {}).update(entry)
    return [calls[n] for n in sorted(calls)]
