"""The provider's controls from a test: settings, journal, stats."""

import http.client
import json
from urllib.parse import urlsplit

TIMEOUT_S = 10


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
        """Settings as at the start; journal, counters and meters empty."""
        return self._ask("POST", "/__sim/reset")


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
