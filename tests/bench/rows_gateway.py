"""The rows that need no consumer: ingest, fan-out, idle watchers, and the resume of a long history."""

import subprocess
import threading
import time

from . import jobs
from .measure import BenchError, Meter, Tool, command, median, medians, per_operation, rss_kb, settle, tool

PARTS = {"gateway": "gateway", "redis": "redis", "broker": "kafka"}
WATCHERS = 10_000
STREAMS = 5_000
DELIVERIES_PER_S = 20_000


def broker_topic(stack, name):
    """A topic of 8 partitions for a floor."""
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    for future in admin.create_topics([NewTopic(name, 8, 1)]).values():
        future.result(20)
    return name


# --- calibration ------------------------------------------------------------------------------------------------

def calibration(stack, rounds=3, count=100_000):
    """What a known operation costs on this machine right now: a neighbour's load makes every figure dearer alike."""
    port, costs = stack.site.ports.get("redis"), []
    words = ["redis-benchmark", "-p", str(port), "-n", str(count), "-P", "16", "-c", "50", "-q",
             "XADD", "bench", "MAXLEN", "~", "10000", "*", "d", "x" * 200]
    for _ in range(rounds):
        meter = Meter(stack, {"redis": "redis"})
        subprocess.run(words, capture_output=True, timeout=60, check=True)
        costs.append(meter.used_us()[0]["redis"] / count)
    return {"xadd_us": median(costs), "runs": costs}


# --- ingest -----------------------------------------------------------------------------------------------------

def _ingest_once(stack, body, connections, seconds):
    meter = Meter(stack, PARTS)
    done = tool("jobload", port=stack.site.ports.get("gateway"), key=stack.key, connections=connections,
                seconds=seconds, body=body)
    used, _ = meter.used_us()
    return {**per_operation(used, done["count"]), "client": done["cpu_us"], "per_s": done["per_s"],
            "p50_us": done["p50_us"], "p99_us": done["p99_us"], "count": done["count"], "errors": done["errors"]}


def _kafka_once(stack, topic, outstanding, seconds):
    meter = Meter(stack, {"broker": "kafka"})
    done = tool("kafkafloor", brokers=stack.brokers, topic=topic, mode="produce", outstanding=outstanding, seconds=seconds)
    used, _ = meter.used_us()
    broker = used["broker"] / done["count"]
    return {"client": done["cpu_us"], "broker": broker, "sum": broker + done["cpu_us"], "per_s": done["per_s"],
            "p50_us": done["p50_us"], "p99_us": done["p99_us"]}


def _http_floor():
    import json
    done = subprocess.run(command("httpd_floor", seconds=2), capture_output=True, text=True, timeout=120, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {f"{line['case']}-{line['connections']}": line for line in lines}


def ingest(stack, rounds=3):
    body = jobs.write_body(stack)
    topic = broker_topic(stack, "bench-ingest")
    jobs.submit(stack, 5000)
    _kafka_once(stack, topic, 64, 1)
    found = {"http_floor": _http_floor()}
    for connections in (64, 512):
        ours, floor = [], []
        for _ in range(rounds):
            jobs.wipe(stack)
            settle(stack, PARTS)
            ours.append(_ingest_once(stack, body, connections, 4))
            settle(stack, PARTS)
            floor.append(_kafka_once(stack, topic, connections, 2))
        found[str(connections)] = {"ours": medians(ours), "kafka_alone": medians(floor), "runs": ours, "floor_runs": floor}
    return found


# --- fan-out ----------------------------------------------------------------------------------------------------

def _watchers(stack, ids, count, source):
    return Tool("ssebench", port=stack.site.ports.get("gateway"), key=stack.key, ids=ids, watchers=count, source=source)


def _fanout_once(stack, streams, seconds, source):
    jobs.wipe(stack)
    ids = jobs.lease(stack, jobs.submit(stack, streams))
    settle(stack, PARTS)
    rate = DELIVERIES_PER_S * streams // WATCHERS
    with _watchers(stack, ids, WATCHERS, source) as sse:
        sse.expect("ready")
        settle(stack, PARTS)
        sse.tell("start")
        sse.expect("started")
        meter = Meter(stack, PARTS)
        load = tool("redisload", port=stack.site.ports.get("redis"), ids=ids, mode="live", rate=rate, seconds=seconds)
        expected = load["sent"] * WATCHERS // streams
        sse.tell(f"stop {expected}")
        seen = sse.result()
        used, _ = meter.used_us()
    if seen["events"] != expected or seen["holes"] or seen["repeats"] or seen["closed"]:
        raise BenchError(f"{expected} deliveries were due, the watchers say {seen}")
    return {**per_operation(used, seen["events"]), "client": seen["cpu_us"], "p50_us": seen["p50_us"],
            "p99_us": seen["p99_us"], "deliveries": seen["events"], "writer": load["cpu_us"] / seen["events"]}


def _raw_once(streams, seconds, ids, source):
    rate = DELIVERIES_PER_S * streams // WATCHERS
    with Tool("rawsend", watchers=WATCHERS, streams=streams, rate=rate, seconds=seconds) as raw:
        port = raw.expect("port")
        with Tool("ssebench", port=port, ids=ids, watchers=WATCHERS, first="none", source=source) as sse:
            raw.expect("ready")
            sse.expect("ready")
            sse.tell("start")
            sse.expect("started")
            raw.tell("start")
            sent = raw.result()
            sse.tell(f"stop {sent['deliveries']}")
            seen = sse.result()
            raw.tell("end")
    if seen["events"] != sent["deliveries"] or seen["holes"]:
        raise BenchError(f"raw sends: {sent}, the watchers say {seen}")
    return {"cpu": sent["cpu_us"], "client": seen["cpu_us"], "p50_us": seen["p50_us"], "p99_us": seen["p99_us"]}


def _fanout(stack, streams, rounds):
    ours, raw = [], []
    for n in range(rounds):
        ours.append(_fanout_once(stack, streams, 6, f"127.0.0.{10 + 2 * n}"))
        raw.append(_raw_once(streams, 6, stack.state.path("ids.txt"), f"127.0.0.{11 + 2 * n}"))
    return {"ours": medians(ours), "raw": medians(raw), "runs": ours, "raw_runs": raw}


def fanout_many(stack, rounds=3):
    return _fanout(stack, STREAMS, rounds)


def fanout_one(stack, rounds=3):
    return _fanout(stack, 1, rounds)


# --- idle watchers ----------------------------------------------------------------------------------------------

def idle_watchers(stack):
    found = {}
    for streams in (STREAMS, 1):
        stack.restart("gateway")
        jobs.wipe(stack)
        ids = jobs.lease(stack, jobs.submit(stack, streams))
        settle(stack, PARTS)
        before = rss_kb(stack.pid("gateway"))
        with _watchers(stack, ids, WATCHERS, f"127.0.0.{30 if streams == 1 else 31}") as sse:
            sse.expect("ready")
            settle(stack, PARTS)
            after = rss_kb(stack.pid("gateway"))
            meter = Meter(stack, {"gateway": "gateway"})
            time.sleep(2)  # the interval that is measured
            used, seconds = meter.used_us()
        found[str(streams)] = {"kb_per_watcher": (after - before) / WATCHERS, "before_kb": before, "after_kb": after,
                               "gateway_cpu_percent": used["gateway"] / seconds / 1e4}
    return {"streams": found}


# --- resume -----------------------------------------------------------------------------------------------------

class PeakRss:
    """The highest resident size of a process while the block runs, looked at every 2 ms."""

    def __init__(self, pid):
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.start_kb = self.peak_kb = rss_kb(pid)

    def _watch(self):
        while not self._over.wait(0.002):
            self.peak_kb = max(self.peak_kb, rss_kb(self._pid))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


HISTORY_BYTES = 50_000_000
HISTORY_EVENT_BYTES = 650


def resume(stack, rounds=3):
    stack.restart("gateway")
    jobs.wipe(stack)
    ids = jobs.lease(stack, jobs.submit(stack, 1))
    port = stack.site.ports.get("redis")
    count = HISTORY_BYTES // HISTORY_EVENT_BYTES
    made = tool("redisload", port=port, ids=ids, mode="bulk", count=count, text=500, items=50)
    ours, raw = [], []
    for _ in range(rounds):
        settle(stack, PARTS)
        read = tool("redisload", port=port, ids=ids, mode="xrange")
        raw.append({"mb_per_s": read["bytes"] / read["seconds"] / 1e6, "bytes": read["bytes"]})
        settle(stack, PARTS)
        meter = Meter(stack, PARTS)
        with PeakRss(stack.pid("gateway")) as peak:
            seen = tool("ssebench", port=stack.site.ports.get("gateway"), key=stack.key, ids=ids, watchers=1,
                        until_seq=count + 1)
        used, _ = meter.used_us()
        ours.append({"mb_per_s": seen["bytes"] / seen["seconds"] / 1e6, "bytes": seen["bytes"], "events": seen["events"],
                     "rss_growth_kb": peak.peak_kb - peak.start_kb, "gateway_ms": used["gateway"] / 1000,
                     "redis_ms": used["redis"] / 1000, "client_ms": seen["cpu_us"] * seen["events"] / 1000,
                     "wall_ms": seen["seconds"] * 1000})
    return {"ours": medians(ours), "xrange": medians(raw), "history_bytes": made["bytes"], "runs": ours, "raw_runs": raw,
            "rss_growth_first_kb": ours[0]["rss_growth_kb"], "median_mb_per_s": median([o["mb_per_s"] for o in ours])}
