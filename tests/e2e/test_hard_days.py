"""Kills, pauses, wipes, outages: a stack of its own that these tests may break, one after another."""

import os
import signal
import threading
import time

import httpx
import pytest
import redis

from tests.e2e.client import Api, check_stream, text_of, until

SLOW = "[[sim ttft=50 tokens=300 tps=60 text=numbered]] x"


@pytest.fixture
def stack(own_stack):
    """The module's stack, whole again before each test."""
    for name in ("kafka", "redis", "provider", "gateway", "gateway-2", "consumer-1", "consumer-2"):
        if not own_stack[name].alive():
            own_stack.start_part(name)
    own_stack.sim.reset()
    return own_stack


@pytest.fixture
def api(stack):
    return Api(stack.url, stack.key)


def owner_of(stack, job):
    """Which consumer has the lease."""
    name = redis.Redis.from_url(stack.redis_url).hget(f"j:{{{job}}}:m", "ow")
    return name.decode().rpartition(":")[0] if name else None


def running_text(api, job, step):
    return until(lambda: next((s.get("text") for s in api.job(job)["steps"] if s["id"] == step), None), what=f"text of {step}")


def started_two(api):
    """A job whose first step is recorded and whose second is in mid-sentence."""
    job = api.submit_ok("two", {"first": "[[sim ttft=1 tokens=3]] one", "second": SLOW})
    running_text(api, job, "second")
    return job


def calls_of(stack, job, step):
    return [c for c in stack.sim.journal() if (c["identity"] or "").startswith(f"{job}/{step}/")]


def watched(api, job):
    """A watcher in the background; the returned function gives its events."""
    box = []
    thread = threading.Thread(target=lambda: box.append(api.watch(job, limit_s=90)))
    thread.start()

    def result():
        thread.join(100)
        assert box, "the watcher saw no end"
        return box[0]
    return result


def test_kill_a_worker_in_mid_sentence(api, stack):
    job = started_two(api)
    events = watched(api, job)
    victim = owner_of(stack, job)
    stack.kill(victim)
    seen = events()
    assert check_stream(seen).type == "job.succeeded"
    done = api.job(job)
    assert len(calls_of(stack, job, "first")) == 1, "a recorded step was paid twice"
    assert len(calls_of(stack, job, "second")) == 2
    assert done["attempt"] == 2
    assert text_of(seen, "second") == done["output"]["second"]


def test_a_worker_paused_past_its_lease(api, stack):
    job = started_two(api)
    events = watched(api, job)
    victim = owner_of(stack, job)
    stack.pause(victim)
    try:
        assert check_stream(events()).type == "job.succeeded"
    finally:
        stack.resume(victim)
    until(lambda: stack[victim].probe() is None, 60, what="the paused worker ready again")
    before = api.job(job)
    assert api.wait(api.submit_ok("noop"))["status"] == "succeeded"
    assert api.job(job) == before
    check_stream(api.watch(job))
    assert len(calls_of(stack, job, "first")) == 1


def test_drain_hands_over_between_calls(api, stack):
    victim_jobs = [api.submit_ok("two", {"first": "[[sim ttft=1 tokens=30 tps=30]] a", "second": "[[sim ttft=1 tokens=5]] b"}) for _ in range(8)]
    until(lambda: all(api.job(j)["status"] == "running" for j in victim_jobs), what="all running")
    started = time.monotonic()
    status = stack.stop_part("consumer-1")
    assert status == 0 and time.monotonic() - started < 15
    for job in victim_jobs:
        done = api.wait(job, limit_s=40)
        assert done["status"] == "succeeded"
        check_stream(api.watch(job))
        assert len(calls_of(stack, job, "first")) == 1 and len(calls_of(stack, job, "second")) == 1


def test_flushall_in_the_middle_of_a_run(api, stack):
    ended = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=2]] before"})
    before = api.wait(ended)
    job = started_two(api)
    events = watched(api, job)
    redis.Redis.from_url(stack.redis_url).flushall()
    assert check_stream(events()).type == "job.succeeded"
    after = api.wait(ended)
    assert after["output"] == before["output"] and after["status"] == before["status"]
    check_stream(api.watch(ended))
    assert len(calls_of(stack, job, "first")) == 1 and len(calls_of(stack, job, "second")) == 1
    listed = [row["id"] for row in api.http.get("/v1/jobs", params={"limit": 10}).json()["data"]]
    assert job in listed and ended in listed


def test_redis_killed_and_back(api, stack):
    job = started_two(api)
    events = watched(api, job)
    stack.kill("redis")
    answer = until(lambda: (a := api.submit("noop")).status_code == 202 and a, what="a job accepted without Redis")
    keyed = api.submit("noop", headers={"Idempotency-Key": "k-" + str(time.time_ns())})
    assert keyed.status_code == 503 and int(keyed.headers["retry-after"]) >= 1
    stack.start_part("redis")
    assert check_stream(events()).type == "job.succeeded"
    assert api.wait(answer.json()["id"], limit_s=60)["status"] == "succeeded"
    assert len(calls_of(stack, job, "first")) == 1


def test_broker_paused_longer_than_the_time_out(api, stack):
    stack.pause("kafka")
    try:
        answer = Api(stack.url, stack.key, limit_s=60).submit("noop", {"in": "the dark"})
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
        maybe = answer.json().get("job_id")
        assert maybe
    finally:
        stack.resume("kafka")
    until(lambda: api.submit("noop").status_code == 202, 60, what="accepting again")
    answer = until(lambda: (a := api.get(maybe)).status_code != 503 and a, 60, what="the truth about the job in doubt")
    assert answer.status_code == 404 or api.wait(maybe)["status"] == "succeeded"


def test_a_gateway_killed_under_its_watchers(api, stack):
    second = f"http://127.0.0.1:{stack.site.ports.get('gateway-2')}"
    job = api.submit_ok("say", {"text": SLOW})
    box = []
    thread = threading.Thread(target=lambda: box.append(api.watch(job, urls=[stack.url, second])))
    thread.start()
    running_text(api, job, "say")
    stack.kill("gateway")
    thread.join(60)
    assert box and check_stream(box[0]).type == "job.succeeded"


def test_cancel_then_wipe(api, stack):
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=3000 tps=10]] x"})
    running_text(api, job, "say")
    assert api.http.post(f"/v1/jobs/{job}/cancel").status_code == 202
    redis.Redis.from_url(stack.redis_url).flushall()
    assert api.wait(job, limit_s=60)["status"] == "canceled"
    check_stream(api.watch(job))


def test_a_job_that_kills_its_worker_ends_in_the_dead_letter_topic(api, stack):
    """Whoever starts it dies: two workers, three attempts, then it is failed without being run."""
    job = api.submit_ok("say", {"text": "[[sim ttft=20000 tokens=1]] poison"})
    for _ in range(3):
        victim = until(lambda: owner_of(stack, job), 60, what="an owner")
        until(lambda: api.job(job)["status"] == "running", 30, what="running")
        stack.kill(victim)
        stack.start_part(victim)
    done = api.wait(job, limit_s=60)
    assert done["status"] == "failed" and done["error"]["code"] == "attempts_exhausted", done
    assert len(calls_of(stack, job, "say")) <= 3


def test_start_in_any_order(stack):
    for name in ("consumer-1", "consumer-2", "gateway", "gateway-2", "redis", "kafka"):
        stack.kill(name)
    for name in ("consumer-1", "consumer-2", "gateway", "gateway-2"):
        stack.start_part(name, wait=False)
    until(lambda: "waiting_for_kafka" in open(stack.log("consumer-1")).read(), 30, what="a word about waiting")
    assert httpx.get(stack.admin_url + "/readyz").status_code == 503
    stack.start_part("redis")
    stack.start_part("kafka")
    for name in ("consumer-1", "consumer-2", "gateway", "gateway-2"):
        stack[name].wait_ready(60)
    api = Api(stack.url, stack.key)
    assert api.wait(api.submit_ok("noop"), limit_s=60)["status"] == "succeeded"


def test_ten_drains_of_one_job(api, stack):
    job = api.submit_ok("many", {"texts": [f"[[sim ttft=1 tokens=20 tps=40]] {i}" for i in range(30)]})
    until(lambda: api.job(job)["status"] == "running", what="running")
    for _ in range(10):
        victim = owner_of(stack, job)
        if api.job(job)["status"] not in ("running", "waiting", "queued"):
            break
        if victim:
            os.kill(stack[victim].pid, signal.SIGTERM)
            until(lambda: not stack[victim].alive(), 40, what="the drained worker's exit")
            stack.start_part(victim)
    done = api.wait(job, limit_s=90)
    assert done["status"] == "succeeded" and done["attempt"] == 1, done
    for i in range(30):
        assert len([c for c in stack.sim.journal() if (c["identity"] or "").startswith(f"{job}/each/{i}/")]) == 1
