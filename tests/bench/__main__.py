"""`make bench`: every row with its limit in the same run; a table, and build/bench.json.

    make bench                          # all rows, under 8 minutes
    make bench ROWS="ingest idle"       # some

Rows without a consumer share one stack, rows with one another; both end when their rows are done, or when one fails.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time

from tests.stack import Stack

from . import jobs, report, rows_consumer, rows_gateway
from .measure import ROOT, BenchError

GATEWAY_ROWS = {"calibration": rows_gateway.calibration, "ingest": rows_gateway.ingest, "fanout_many": rows_gateway.fanout_many,
                "fanout_one": rows_gateway.fanout_one, "watchers": rows_gateway.idle_watchers,
                "resume": rows_gateway.resume}
CONSUMER_ROWS = {"idle": rows_consumer.idle, "noop": rows_consumer.noop, "calls": rows_consumer.calls}
ROOM = {"requests_per_minute": 10_000_000, "input_tokens_per_minute": 1_000_000_000,
        "output_tokens_per_minute": 1_000_000_000, "concurrency": 10_000}
CONFIG = {"gateway": {"connections_max": 19_000},
          "consumer": {"max_calls": 10_000, "lease_ttl": "15s"},
          "kafka": {"session_timeout": "30s"},
          "log": {"level": "info"},
          "models": {"fast": {"route": [{"provider": "main", "model": "gpt-5-mini"}], "budget": ROOM}}}
STATE = os.path.join(ROOT, "build", "bench")


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure(stack, rows, figures):
    jobs.quiet_redis(stack)
    for name, row in rows.items():
        start = time.monotonic()
        try:
            figures[name] = row(stack)
        except (BenchError, subprocess.TimeoutExpired) as error:
            figures[name] = {"error": str(error)}
        figures[name]["took_s"] = round(time.monotonic() - start, 1)
        say(f"bench: {name} {figures[name]['took_s']} s" + (f": {figures[name]['error']}" if "error" in figures[name] else ""))


def words_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()


def circumstances():
    """What the figures depend on."""
    library = {name: words_of("pkg-config", "--modversion", name) for name in ("rdkafka", "hiredis", "libmicrohttpd", "libuv", "libcurl")}
    jars = os.listdir(os.path.join(ROOT, "build", "kafka-libs"))
    kafka = next((m.group(1) for jar in jars if (m := re.match(r"kafka_2\.13-(.+)\.jar", jar))), "")
    return {"commit": words_of("git", "-C", ROOT, "rev-parse", "--short", "HEAD"), "kernel": platform.release(),
            "cpus": os.cpu_count(), "load_average_before": os.getloadavg(), "kafka": kafka,
            "redis": words_of("redis-server", "--version"), "libraries": library,
            "settings": {"config": CONFIG, "partitions": 8, "linger_ms": 1, "acks": "all", "idempotent": True,
                         "compression": "lz4", "redis": "AOF everysec, no rewrite during the run", "flavour": "plain (-O2)",
                         "pinning": "none", "network": "loopback"}}


def main():
    wanted = os.environ.get("ROWS", "").split() or sys.argv[1:] or [*GATEWAY_ROWS, *CONSUMER_ROWS]
    unknown = [name for name in wanted if name not in GATEWAY_ROWS and name not in CONSUMER_ROWS]
    if unknown:
        say(f"bench: no row is called {' '.join(unknown)}; rows are {' '.join([*GATEWAY_ROWS, *CONSUMER_ROWS])}")
        return 2
    start, figures, result = time.monotonic(), {}, circumstances()
    for rows, parts in ((GATEWAY_ROWS, ["kafka", "redis", "gateway"]),
                        (CONSUMER_ROWS, ["kafka", "redis", "provider", "gateway", "consumer-1"])):
        chosen = {name: row for name, row in rows.items() if name in wanted}
        if not chosen:
            continue
        stack = Stack(STATE, parts=parts, config=CONFIG, fresh=True)
        stack.start()
        try:
            measure(stack, chosen, figures)
        finally:
            if "consumer-1" in parts:
                stack.kill("consumer-1")  # what it still streams is nobody's
            stack.stop()
    table = report.lines(figures)
    result.update({"seconds": round(time.monotonic() - start, 1), "table": table, "rows": figures,
                   "load_average_after": os.getloadavg()})
    with open(os.path.join(ROOT, "build", "bench.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(report.text(table))
    say(f"bench: {result['seconds']} s; raw figures in build/bench.json; load average {result['load_average_after'][0]:.1f}")
    return 1 if any("error" in row for row in figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
