"""What the provider's tests share: the program, a connection read by hand, requests.

The program is started once a class; every test uses a key of its own, so none sees another's calls. Bytes are read
from bare sockets: an HTTP library would hide what is being tested.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from tests.provider.client import SimClient

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WAIT_S = 10


def start(*more, env=None):
    """The program on a free port: (process, port)."""
    process = subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/provider/provider.py"), *more],
                               stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    return process, int(process.stdout.readline().rpartition(":")[2])


def stop(process):
    process.terminate()
    process.wait(WAIT_S)
    process.stdout.close()


class Wire:
    """One connection, read by hand."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT_S)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def post(self, body, key="key", identity=None, path="/v1/chat/completions", **headers):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", "host: sim", f"content-length: {len(raw)}"]
        lines += [f"authorization: Bearer {key}"] if key else []
        lines += [f"X-Client-Request-Id: {identity}"] if identity else []
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)

    def _fill(self):
        piece = self.sock.recv(65536)
        self.data += piece
        return bool(piece)

    def head(self):
        """(status, headers) of the next answer."""
        while b"\r\n\r\n" not in self.data:
            if not self._fill():
                raise ConnectionError("closed before a head")
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        return int(lines[0].split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines[1:])

    def exactly(self, count):
        while len(self.data) < count:
            if not self._fill():
                raise ConnectionError("closed in a body")
        piece, self.data = self.data[:count], self.data[count:]
        return piece

    def chunk(self):
        """The next chunk of a chunked body, b"" for the last."""
        while b"\r\n" not in self.data:
            if not self._fill():
                raise ConnectionError("closed in a stream")
        size, _, self.data = self.data.partition(b"\r\n")
        piece = self.exactly(int(size, 16) + 2)
        return piece[:-2]

    def answer(self):
        """(status, headers, body) of a whole answer."""
        status, headers = self.head()
        if "content-length" in headers:
            return status, headers, self.exactly(int(headers["content-length"]))
        pieces = []
        while True:
            pieces.append(self.chunk())
            if not pieces[-1]:
                return status, headers, b"".join(pieces)

    def rest(self):
        """Everything until the connection ends; the exception class it ended with, or None."""
        try:
            while self._fill():
                pass
        except ConnectionError as error:
            return type(error)
        return None


def prompt(words="hello", marker="", **more):
    body = {"model": "gpt-5-mini", "messages": [{"role": "system", "content": "Be brief."}, {
        "role": "user", "content": f"{words} [[sim ttft_ms=0 tps=0 {marker}]]"}]}
    return {**body, **more}


def streamed(words="hello", marker="", **more):
    return prompt(words, marker, stream=True, **more)


def events(body):
    """The payloads of the data lines; every event is one data line."""
    blocks = body.decode().split("\n\n")
    assert blocks[-1] == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1])
    return [block[6:] for block in blocks[:-1]]


def until(condition, what, timeout_s=WAIT_S):
    """Wait for condition() to be true and return its value."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s} s for {what}")
        time.sleep(0.005)
    return found


class ProviderTest(unittest.TestCase):
    number = 0
    words = ()

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.file = os.path.join(cls.folder.name, "journal.jsonl")
        cls.process, cls.port = start("--journal", cls.file, *cls.words)
        cls.sim = SimClient(f"http://127.0.0.1:{cls.port}")

    @classmethod
    def tearDownClass(cls):
        stop(cls.process)
        cls.folder.cleanup()

    def setUp(self):
        ProviderTest.number += 1
        self.key = f"key-{ProviderTest.number}"

    def ask(self, body, **more):
        with Wire(self.port) as wire:
            wire.post(body, **{"key": self.key, **more})
            return wire.answer()

    def calls(self, count=None, ended=True):
        """The journal's entries of this test's key, waited for until `count` of them have ended."""
        until = time.monotonic() + WAIT_S
        while True:
            mine = [entry for entry in self.sim.journal() if entry["key"] == self.key]
            done = [entry for entry in mine if entry["outcome"] is not None] if ended else mine
            if count is None or len(done) >= count or time.monotonic() > until:
                return mine
            time.sleep(0.005)

    def only_call(self):
        calls = self.calls(1)
        self.assertEqual(len(calls), 1)
        return calls[0]
