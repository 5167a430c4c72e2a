"""Jobs for the rows: bodies, submissions, and leases taken by hand where no consumer is to run."""

import json
import os

import redis

from .measure import BenchError, tool

BODY_BYTES = 500
LEASE_S = 3600


def connect(stack):
    return redis.Redis.from_url(stack.redis_url)


def quiet_redis(stack):
    """No rewrite of the append-only file during a measurement: its cost is the state's, not the operation's."""
    connect(stack).config_set("auto-aof-rewrite-percentage", "0")


def write_body(stack, workflow="noop", size=BODY_BYTES, value=None):
    """The path of a body; without a value its input is padded so that the body has `size` bytes."""
    path = stack.state.path(f"body-{workflow}.json")
    body = {"workflow": workflow, "input": value if value is not None else {"url": "https://a.example/", "text": ""}}
    if value is None:
        body["input"]["text"] = "x" * (size - len(json.dumps(body, separators=(",", ":"))))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(body, file, separators=(",", ":"))
    return path


def submit(stack, count, connections=64, workflow="noop", value=None):
    """count jobs; the path of the file of their ids."""
    path = stack.state.path("ids.txt")
    done = tool("jobload", port=stack.site.ports.get("gateway"), key=stack.key, connections=connections, jobs=count,
                body=write_body(stack, workflow, value=value), ids=path)
    if done["errors"]:
        raise BenchError(f"{done['errors']} submissions were refused")
    return path


def home(job):
    return int(job[15:18], 16)


def lease(stack, path):
    """Take the lease of every job in the file, as a worker would, and write the epochs beside the ids."""
    client = connect(stack)
    boot = client.info("server")["run_id"]
    with open(path, encoding="ascii") as file:
        ids = [line.split()[0] for line in file]
    client.set("w:bench:1", "{}", ex=LEASE_S)
    for p in {home(job) for job in ids}:
        client.set(f"built:{{{p}}}", boot)
    tenant = client.hget(f"j:{{{ids[0]}}}:m", "tn").decode()
    pipe = client.pipeline(transaction=False)
    for job in ids:
        pipe.hget(f"j:{{{job}}}:m", "fp")
    prints = [(fp or b"").decode() for fp in pipe.execute()]
    for job, fp in zip(ids, prints):
        pipe.execute_command("FCALL", "sluice_v1_acquire", 5, f"j:{{{job}}}:m", f"j:{{{job}}}:e", f"ix:{{{tenant}}}",
                             f"q:{{{tenant}}}", f"built:{{{home(job)}}}", "bench:1", boot, "0", "0", "1",
                             job, "0", "0", "{}", fp)
    answers = pipe.execute()
    wrong = [answer for answer in answers if answer[0] != 0]
    if wrong:
        raise BenchError(f"a lease was refused: {wrong[0]}")
    with open(path + ".tmp", "w", encoding="ascii") as file:
        for job, answer in zip(ids, answers):
            file.write(f"{job} {answer[1]}\n")
    os.replace(path + ".tmp", path)
    return path


def wipe(stack):
    """An empty Redis for the next measurement; only where no consumer runs."""
    connect(stack).flushall()
