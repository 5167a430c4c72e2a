#!/usr/bin/env python3
"""How much the provider can carry: python3 tests/provider/load.py [--rate 300] [--seconds 20] [--dialect anthropic]
[--record light]

Starts the program on one core, opens streams at an even rate (an asyncio client on the other core that reads until
the last chunk), and prints what was served, how late the first byte came beyond the set time, and the CPU of the
provider. The figure in README.md comes from here.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.provider.client import SimClient  # noqa: E402  (the path must be set before)

HERE = os.path.dirname(os.path.abspath(__file__))
END = b"0\r\n\r\n"
BODIES = {
    "openai": ("/v1/chat/completions", {"model": "gpt-5-mini", "stream": True, "stream_options": {"include_usage": True}}),
    "anthropic": ("/v1/messages", {"model": "claude", "stream": True, "max_tokens": 100}),
    "responses": ("/v1/responses", {"model": "gpt-5-mini", "stream": True}),
    "gemini": ("/v1beta/models/gemini:streamGenerateContent?alt=sse", {}),
}


class Client(asyncio.Protocol):
    """One kept connection: asks, reads to the end, is idle again."""

    def __init__(self, idle):
        self.idle = idle
        self.transport = None
        self.tail = b""
        self.began = self.first = 0.0
        self.done = None

    def connection_made(self, transport):
        self.transport = transport

    def ask(self, data, done):
        self.tail, self.first, self.done = b"", 0.0, done
        self.began = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data):
        if not self.first:
            self.first = time.perf_counter()
        self.tail = (self.tail + data)[-5:]
        if self.tail == END:
            self.idle.append(self)
            self.done(self.first - self.began)


def request(dialect, number):
    path, body = BODIES[dialect]
    words = f"call {number} " + "lorem ipsum " * 20
    if dialect == "responses":
        body = {**body, "input": words}
    elif dialect == "gemini":
        body = {"contents": [{"role": "user", "parts": [{"text": words}]}]}
    else:
        body = {**body, "messages": [{"role": "user", "content": words}]}
    raw = json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\nauthorization: Bearer k\r\nx-api-key: k\r\n"
            f"x-goog-api-key: k\r\nanthropic-version: 2023-06-01\r\nx-client-request-id: job-{number}/s/-/1\r\n"
            f"content-length: {len(raw)}\r\n\r\n")
    return head.encode() + raw


async def drive(port, options):
    loop, idle, delays, open_calls = asyncio.get_running_loop(), [], [], 0
    began = loop.time()
    for number in range(int(options.rate * options.seconds)):
        wait = began + number / options.rate - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        client = idle.pop() if idle else (await loop.create_connection(lambda: Client(idle), "127.0.0.1", port))[1]
        open_calls += 1
        client.ask(request(options.dialect, number), delays.append)
    while len(delays) < open_calls and loop.time() < began + options.seconds + 30:
        await asyncio.sleep(0.01)
    return delays, loop.time() - began


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--dialect", choices=sorted(BODIES), default="openai")
    parser.add_argument("--record", choices=("full", "light"), default="full")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--ttft", type=int, default=50)
    parser.add_argument("--tps", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, os.path.join(HERE, "provider.py"), "--journal", os.path.join(folder, "j")]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            os.sched_setaffinity(process.pid, {0})
            os.sched_setaffinity(0, {os.cpu_count() - 1})
            rule = {"requests_per_minute": 10 ** 8, "input_tokens_per_minute": 10 ** 9, "output_tokens_per_minute": 10 ** 9}
            SimClient(f"http://127.0.0.1:{port}").behave({"record": options.record, "limits": [rule], "default": {
                "ttft_ms": options.ttft, "tokens_per_s": options.tps, "output_tokens": options.tokens}})
            delays, took = asyncio.run(drive(port, options))
            used = cpu_s(process.pid)
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()
    delays.sort()
    late = [round(1000 * delays[int(len(delays) * q)] - options.ttft, 1) for q in (0.5, 0.99)]
    print(f"{options.dialect} {options.record}: {len(delays)} streams of {options.tokens} tokens in {took:.1f} s = {len(delays) / took:.0f}/s, "
          f"first byte late by p50 {late[0]} ms, p99 {late[1]} ms, provider {100 * used / took:.0f} % of a core, "
          f"{1e6 * used / max(1, len(delays)):.0f} us a call")


if __name__ == "__main__":
    main()
