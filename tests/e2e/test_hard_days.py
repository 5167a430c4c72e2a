"""Kills, pauses, wipes, outages: a stack of its own that these tests may break, one after another."""

import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
import redis

from tests.chaos.topics import read_topic
from tests.e2e.client import Api, check_stream, text_of, until
from tests.e2e.conftest import make_stack

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
    victim_jobs = [api.submit_ok("two", {"first": "[[sim ttft=1 tokens=90 tps=30]] a", "second": "[[sim ttft=1 tokens=5]] b"}) for _ in range(8)]
    until(lambda: all(api.job(j)["status"] != "queued" for j in victim_jobs), what="all begun")
    victim = until(lambda: next(filter(None, (owner_of(stack, j) for j in victim_jobs)), None), what="an owner")  # of one at least: it has something to hand over
    started = time.monotonic()
    status = stack.stop_part(victim)
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
    for attempt in (1, 2, 3):
        until(lambda: len(calls_of(stack, job, "say")) == attempt, 60, what=f"the call of attempt {attempt}")
        victim = owner_of(stack, job)  # whoever made that call: its `started` stands in the log
        stack.kill(victim)
        stack.start_part(victim)
    done = api.wait(job, limit_s=60)
    assert done["status"] == "failed" and done["error"]["code"] == "attempts_exhausted", done
    assert done["attempt"] == 3 and len(calls_of(stack, job, "say")) == 3
    check_stream(api.watch(job))
    buried = [row for row in read_topic(stack.brokers, "sluice.dlq", 4) if row["headers"]["job-id"] == job]
    assert len(buried) == 1 and buried[0]["headers"]["err-code"] == "attempts_exhausted", buried


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


@pytest.fixture
def small_disk(request):
    """A folder on a file system of its own with 64 MB."""
    folder = Path(__file__).resolve().parents[2] / "build/test/small-disk"
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_under_the_broker(small_disk):
    """The broker cannot write any more: nothing is accepted and it is said; what was accepted before ends once there is room again."""
    with make_stack("full-disk", folders={"kafka": small_disk}, gateways=1) as stack:
        api = Api(stack.url, stack.key, limit_s=60)
        before = api.wait(api.submit_ok("say", {"text": "[[sim ttft=1 tokens=2]] x"}))
        running = started_two(api)
        accepted = []
        filler = small_disk / "filler"
        with pytest.raises(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

        def refused():
            answer = api.submit("noop", {"text": "y" * 200000})
            assert answer.status_code in (202, 503), answer.text
            accepted.extend([answer.json()["id"]] if answer.status_code == 202 else [])
            return answer if answer.status_code == 503 else None
        answer = until(refused, 60, what="a refusal")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get(before["id"]).json() == before, "the view does not need the broker"
        stack.kill("kafka")
        os.unlink(filler)
        stack.start_part("kafka")
        accepted.append(until(lambda: (a := api.submit("noop")).status_code == 202 and a, 60, what="accepting again").json()["id"])
        for job in [running, *accepted]:
            assert api.wait(job, limit_s=60)["status"] == "succeeded"
            check_stream(api.watch(job))
        assert len(calls_of(stack, running, "first")) == 1


def test_two_crowds_of_watchers_over_both_gateways(api, stack):
    """The same stream for everybody, whichever gateway, however often they leave, and through a wipe: resets are told, texts agree."""
    urls = [stack.url, f"http://127.0.0.1:{stack.site.ports.get('gateway-2')}"]
    job = api.submit_ok("two", {"first": "[[sim ttft=1 tokens=40 tps=40 text=numbered]] a", "second": SLOW})
    seen = [[] for _ in range(16)]

    def crowd(i):
        seen[i] += Api(urls[i % 2], stack.key).watch(job, limit_s=90, cut_every=(None, 7)[i // 8], urls=[urls[i % 2], urls[(i + i // 8) % 2]])
    threads = [threading.Thread(target=crowd, args=(i,)) for i in range(len(seen))]
    for thread in threads:
        thread.start()
    running_text(api, job, "second")
    redis.Redis.from_url(stack.redis_url).flushall()
    for thread in threads:
        thread.join(100)
    done = api.job(job)
    ends = {check_stream(events).id for events in seen}
    assert len(ends) == 1
    for events in seen:
        assert text_of(events, "first") == done["output"]["first"] and text_of(events, "second") == done["output"]["second"]


def test_a_late_terminal_is_refused(api, stack):
    """The worker sleeps with its call's end on the wire: it wakes as somebody else's job has ended, and its record must count for nothing."""
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=60 tps=30 text=numbered]] x"})
    events = watched(api, job)
    running_text(api, job, "say")
    victim = owner_of(stack, job)
    stack.pause(victim)
    try:
        assert check_stream(events()).type == "job.succeeded"
        before = api.job(job)
    finally:
        stack.resume(victim)
    until(lambda: stack[victim].probe() is None, 60, what="the paused worker ready again")
    home = int(job[15:18], 16)
    epochs = lambda: [int(row["headers"]["epoch"]) for row in read_topic(stack.brokers, "sluice.state", 4)  # noqa: E731
                      if row["partition"] == home and row["headers"]["job-id"] == job and row["headers"]["kind"] == "succeeded"]
    assert api.wait(api.submit_ok("noop"))["status"] == "succeeded"
    written = epochs()
    assert written and max(written) == written[0], "the first terminal that counts is the one of the higher epoch"
    assert api.job(job) == before and before["attempt"] == 2
    assert [e.id for e in api.watch(job)][-1].startswith(f"{written[0]:016d}-")
