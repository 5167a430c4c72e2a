"""The rows with a consumer: no-op jobs, the latency of an idle system, and the memory of streaming calls."""

import json
import os
import socket
import subprocess
import sys
import time

from . import jobs
from .conditions import Ends, Watched
from .measure import ROOT, BenchError, Meter, median, medians, per_operation, rss_kb, settle, tool
from .rows_gateway import PARTS, broker_topic

ALL = {"consumer": "consumer-1", **PARTS}
NOOP_JOBS = 30_000
NOOP_LIMIT_S = 90
PARTITIONS = 8
CALLS = 2_000
CLIENT_CALLS = 1_000


def _wait_left(stack, most, limit_s):
    """Until at most so many of the tenant's jobs have not ended."""
    with Watched(stack.redis_url) as watched:
        return watched.until("jobs left", lambda client: int(client.get("q:{local-1}") or 0), lambda left: left <= most, limit_s)


def _wait_built(stack, limit_s=30):
    """Until the view of every home is whole: a rebuild is not what this row is about."""
    keys = [f"built:{{{p}}}" for p in range(PARTITIONS)]
    boot = jobs.connect(stack).info("server")["run_id"].encode()
    with Watched(stack.redis_url) as watched:
        watched.until("homes built", lambda client: sum(mark == boot for mark in client.mget(keys)),
                      lambda built: built == PARTITIONS, limit_s)


def _last_of_homes(path):
    with open(path, encoding="ascii") as file:
        return list({jobs.home(line): line.split()[0] for line in file}.values())


def _noop_once(stack, client):
    _wait_built(stack)
    stack.stop_part("consumer-1")
    ids = jobs.submit(stack, NOOP_JOBS, connections=128)
    settle(stack, PARTS)
    with Ends(client, _last_of_homes(ids)) as last:
        stack.start_part("consumer-1", wait=False)
        first = _wait_left(stack, NOOP_JOBS - 1, 60)
        meter = Meter(stack, ALL)
        last.wait(NOOP_LIMIT_S)
    _wait_left(stack, 0, NOOP_LIMIT_S)
    used, seconds = meter.used_us()
    settle(stack, ALL)
    meter.begin()
    time.sleep(2)  # the interval that is measured
    idle, idle_s = meter.used_us()
    busy = {name: us - idle[name] * seconds / idle_s for name, us in used.items() if name != "gateway"}
    return {**per_operation(busy, first), "per_s": first / seconds, "count": first,
            "idle_cpu_percent": sum(idle.values()) / idle_s / 1e4, "rss_mb": rss_kb(stack.pid("consumer-1")) / 1024}


def _noop_floor(stack, n):
    source, sink = broker_topic(stack, f"bench-noop-{n}"), broker_topic(stack, f"bench-noop-out-{n}")
    tool("kafkafloor", brokers=stack.brokers, topic=source, mode="fill", count=NOOP_JOBS, outstanding=512)
    settle(stack, PARTS)
    meter = Meter(stack, {"broker": "kafka"})
    done = tool("kafkafloor", brokers=stack.brokers, topic=source, topic2=sink, mode="consume", count=NOOP_JOBS)
    used, _ = meter.used_us()
    broker = used["broker"] / NOOP_JOBS
    return {"client": done["cpu_us"], "broker": broker, "sum": broker + done["cpu_us"], "per_s": done["per_s"]}


def noop(stack, rounds=2):
    client = jobs.connect(stack)
    ours, floor = [], []
    for n in range(rounds):
        ours.append(_noop_once(stack, client))
        floor.append(_noop_floor(stack, n))
    return {"ours": medians(ours), "kafka_alone": medians(floor), "runs": ours, "floor_runs": floor}


# --- idle latency -----------------------------------------------------------------------------------------------

class Submitter:
    """Submits with ?stream=true and reads the stream to its end; a connection a job, opened before the clock starts."""

    def __init__(self, stack):
        with open(jobs.write_body(stack), "rb") as file:
            body = file.read()
        self._address = ("127.0.0.1", stack.site.ports.get("gateway"))
        self._request = (f"POST /v1/jobs?stream=true HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {stack.key}\r\n"
                         f"Content-Type: application/json\r\nAccept: text/event-stream\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    def run(self):
        """Microseconds to job.started and to the end of the stream."""
        with socket.create_connection(self._address, 10) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._read(sock)

    def _read(self, sock):
        start = time.monotonic_ns()
        started, text = None, b""
        sock.sendall(self._request)
        while True:
            piece = sock.recv(65536)
            text += piece
            now = time.monotonic_ns()
            if started is None and b"event: job.started" in text:
                started = (now - start) / 1000
            if text.endswith(b"0\r\n\r\n"):
                break
            if not piece or len(text) > 1 << 20:
                raise BenchError(f"the stream broke off: {text[-300:]!r}")
        if started is None or b"event: job.succeeded" not in text:
            raise BenchError(f"the job did not run: {text[-300:]!r}")
        return started, (now - start) / 1000


def _percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _idle_once(stack, count):
    submitter = Submitter(stack)
    for _ in range(20):
        submitter.run()
    pairs = [submitter.run() for _ in range(count)]
    started, ended = [p[0] for p in pairs], [p[1] for p in pairs]
    return {"p50_us": median(started), "p99_us": _percentile(started, 0.99), "max_us": max(started),
            "end_p50_us": median(ended), "end_p99_us": _percentile(ended, 0.99), "samples": count}


def idle(stack, rounds=2, count=300):
    topic = broker_topic(stack, "bench-idle")
    ours, floor = [], []
    for _ in range(rounds):
        settle(stack, ALL)
        ours.append(_idle_once(stack, count))
        settle(stack, ALL)
        floor.append(tool("kafkafloor", brokers=stack.brokers, topic=topic, mode="idle", count=count))
    return {"ours": medians(ours), "kafka_alone": medians(floor), "runs": ours, "floor_runs": floor}


# --- memory of a streaming call -----------------------------------------------------------------------------------

def _wait_calls(stack, limit_s):
    """Until the worker's heartbeat says that all calls are out; how many the provider counts then."""
    keys = jobs.connect(stack).keys("w:consumer-1:*")
    with Watched(stack.redis_url) as watched:
        watched.until("calls out", lambda client: sum(json.loads(beat or "{}").get("calls", 0) for beat in client.mget(keys)),
                      lambda calls: calls >= CALLS, limit_s)
    return stack.sim.stats()["total"]["in_flight"]


def _client_alone(stack):
    """KB a streaming call costs our HTTP client and nothing else, plain and over TLS (HTTP/1.1: a connection a call)."""
    folder = stack.state.path("slowstream")
    os.makedirs(folder, exist_ok=True)
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.slowstream", folder], cwd=ROOT, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    try:
        ports = dict(server.stdout.readline().split() for _ in range(2))
        plain = tool("callhold", url=f"http://127.0.0.1:{ports['plain']}/", calls=CLIENT_CALLS)
        tls = tool("callhold", url=f"https://127.0.0.1:{ports['tls']}/", calls=CLIENT_CALLS, ca=os.path.join(folder, "cert.pem"))
    finally:
        server.stdin.close()
        server.wait(10)
    return {"plain_kb": plain["kb_per_call"], "tls_kb": tls["kb_per_call"], "calls": CLIENT_CALLS}


def calls(stack):
    """Slow streaming calls, all at once; the consumer's growth over its idle size, a call."""
    stack.stop_part("consumer-1")
    stack.start_part("consumer-1")
    stack.sim.behave({"default": {"ttft_ms": 50, "tokens_per_s": 3, "output_tokens": 190}})
    jobs.submit(stack, 10, workflow="hello", value={"name": "Ada"})
    settle(stack, {"consumer": "consumer-1"}, 3)
    before = rss_kb(stack.pid("consumer-1"))
    jobs.submit(stack, CALLS, workflow="hello", value={"name": "Ada"})
    now = _wait_calls(stack, 50)
    if now < CALLS * 0.8:
        raise BenchError(f"only {now} calls came into flight")
    after = rss_kb(stack.pid("consumer-1"))
    return {"kb_per_call": (after - before) / now, "calls": now, "before_kb": before, "after_kb": after,
            "client": _client_alone(stack)}
