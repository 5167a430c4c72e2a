"""The record of every call: what tests judge the fleet by.

Two JSON lines a call go to the file, one when it begins and one when it ends, each in one write: what was begun and
never ended shows where this process itself was killed. The last KEEP calls are also held in memory for GET
/__sim/journal, those that have ended as the bytes of their line (a sixth of the room of the objects).
"""

import json
import os
from collections import OrderedDict

KEEP = 50_000
LIGHT_DROPS = ("produced", "estimate_input", "prompt_sha256")
TAIL_BYTES = 1 << 20


class Journal:
    def __init__(self, path=None):
        """path: appended to (numbers go on from its last line), or None for memory alone."""
        self._fd = None
        self.last = 0
        self.is_light = False  # one short line a call
        self._calls = OrderedDict()
        if path:
            self.last = _last_number(path)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _write(self, event, text):
        """text: an object as _text() writes it, not empty."""
        if self._fd is not None:
            os.write(self._fd, b'{"event":"%s",%s\n' % (event, text[1:]))

    def begin(self, entry):
        """Note a call that begins: gives it its number n and the fields of its end, still empty."""
        self.last += 1
        entry["n"] = self.last
        if not self.is_light:
            self._write(b"begin", _text(entry))
        entry.update({"t_first_ms": None, "t_end_ms": None, "status": None, "outcome": None, "fault": None,
                      "output_tokens": None, "tokens_sent": 0, "produced": None})
        self._calls[self.last] = entry
        if len(self._calls) > KEEP:
            self._calls.popitem(last=False)

    def end(self, entry):
        """Note that it ended; its fields were set by the caller."""
        if self.is_light:
            for name in LIGHT_DROPS:
                entry.pop(name, None)
        text = _text(entry)
        self._write(b"end", text)
        if entry["n"] in self._calls:
            self._calls[entry["n"]] = text

    def since(self, number, limit=10_000):
        """The calls after number as they stand now, oldest first, as a JSON array; those under way have outcome null."""
        calls = self._calls
        first = max(number + 1, next(iter(calls), self.last + 1))
        found = [calls[n] for n in range(first, min(self.last, first + limit - 1) + 1)]
        return b"[" + b",".join(entry if isinstance(entry, bytes) else _text(entry) for entry in found) + b"]"

    def reset(self):
        """Forget the calls; numbers go on, and the file gets a mark."""
        self._calls.clear()
        self._write(b"reset", b'{"n":%d}' % self.last)


def _text(entry):
    return json.dumps(entry, separators=(",", ":"), default=pairs).encode()


def pairs(flat):
    """A flat array of a, b, a, b, ... as JSON shows it: [[a, b], ...]."""
    return [[flat[i], flat[i + 1]] for i in range(0, len(flat), 2)]


def _last_number(path):
    """The highest n in the end of the file; 0 when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0
    highest = 0
    for line in lines:
        try:
            highest = max(highest, json.loads(line)["n"])
        except (ValueError, KeyError, TypeError):
            continue
    return highest
