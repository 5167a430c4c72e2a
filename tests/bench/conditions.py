"""Waiting for what Redis holds, by being told: the server says when a key that was read has changed (client tracking), and a
job's channel rings when there is an event of it. Nobody asks again and again beside a measurement.
"""

import time

import redis

from .measure import BenchError

TOLD_CHANNEL = "__redis__:invalidate"


class Watched:
    """Reads keys and is told of their next change."""

    def __init__(self, url):
        self._told = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
        self._told.execute_command("CLIENT", "ID")
        ident = self._told.parse_response()
        self._told.subscribe(TOLD_CHANNEL)
        self._reader = redis.Redis.from_url(url, single_connection_client=True)
        self._reader.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", str(ident))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._reader.close()  # the server forgets what it would tell
        self._told.close()

    def until(self, what, read, holds, limit_s):
        """read(client) again after every change of a key it read, until holds(value). Returns the value."""
        end = time.monotonic() + limit_s
        while not holds(value := read(self._reader)):
            left = end - time.monotonic()
            if left <= 0:
                raise BenchError(f"{what}: {value} after {limit_s} s")
            self._told.get_message(timeout=left)
        return value


class Ends:
    """The ends of a few jobs, heard by their doorbells. Listens from the moment it is made."""

    def __init__(self, client, ids):
        self._client = client
        self._bells = client.pubsub()
        self._open = {f"j:{{{job}}}".encode() for job in ids}
        self._bells.subscribe(*self._open)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bells.close()

    def wait(self, limit_s):
        """Until all of them have ended."""
        end = time.monotonic() + limit_s
        while self._open:
            left = end - time.monotonic()
            if left <= 0:
                raise BenchError(f"{len(self._open)} of the last jobs have not ended after {limit_s} s")
            bell = self._bells.get_message(timeout=left)
            if bell and bell["channel"] in self._open and self._client.hexists(bell["channel"] + b":m", "en"):
                self._open.remove(bell["channel"])
