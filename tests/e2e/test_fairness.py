"""Who goes first: a quiet tenant beside a burst, limits of keys, priorities.

The order is judged by the provider's own journal and by the times of the jobs."""

import re
from datetime import datetime

import httpx
import pytest

from tests.e2e.client import Api, check_stream, model_yaml, until
from tests.e2e.conftest import CONFIG, paced_stack

RPM = 1200
BURST, QUIET = 500, 12
MODELS = f"""
models:
{model_yaml("fast", "gpt-5-mini", (0.25, 2.0), requests_per_minute=RPM)}
keys:
  - {{match: "pair:*", concurrency: 2}}
  - {{match: "single:*", concurrency: 1}}
  - {{match: "paced:*", per_minute: 60}}
"""


@pytest.fixture(scope="module")
def fair(tmp_path_factory):
    config = {**CONFIG, "consumer": {**CONFIG["consumer"], "window": 80}}
    with paced_stack(tmp_path_factory.mktemp("fair"), "fair", MODELS, RPM, flavour="plain", config=config, tenants=[]) as running:
        yield running


def metric(stack, name):
    """The sum over both workers."""
    total = 0.0
    for worker in (1, 2):
        text = httpx.get(stack[f"consumer-{worker}"].admin_url + "/metrics").text
        total += sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.M))
    return total


def calls(stack, since=0):
    """Job and begin of every call that was let in, in their order."""
    entries = [e for e in stack.sim.journal(since) if e["identity"] and e["status"] in (None, 200)]
    return [(e["identity"].split("/")[0], e) for e in entries]


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_quiet_tenant_beside_a_burst(fair):
    loud, quiet = Api(fair.url, fair.key), Api(fair.url, fair.key_2)
    burst = [loud.submit_ok("say", {"text": "loud"}) for _ in range(BURST)]
    few = [quiet.submit_ok("say", {"text": "quiet"}) for _ in range(QUIET)]
    done = [quiet.wait(job, 60) for job in few]
    assert all(job["status"] == "succeeded" for job in done)
    waited = sorted(moment(job["ended_at"]) - moment(job["created_at"]) for job in done)
    order = [job for job, _ in calls(fair)]
    mine = [n for n, job in enumerate(order) if job in few]
    behind = [job for job in burst if job not in set(order)]
    # a fair half of 20 calls a second is its own: twelve calls are a second and a bit, and what was on its way before
    assert len(mine) == QUIET and len(behind) > BURST / 4, (mine, len(behind))
    assert waited[-1] < 6, waited
    assert metric(fair, "sluice_jobs_spilled_total") > 0
    ends = [loud.wait(job, 90) for job in burst]
    assert all(job["status"] == "succeeded" for job in ends)
    once = [job for job, _ in calls(fair)]
    assert sorted(once) == sorted(burst + few)  # spilled or not: each ran once
    assert len(fair.sim.journal()) == len(once)  # and nothing was refused


def test_a_key_has_at_most_so_many_at_once(fair):
    api = Api(fair.url, fair.key)
    jobs = [api.submit_ok("say", {"text": "[[sim ttft=400 tokens=3]] pair"}, key="pair:a") for _ in range(8)]
    others = [api.submit_ok("say", {"text": "free"}, key=f"free:{n}") for n in range(4)]
    free_ends = max(moment(api.wait(job)["ended_at"]) for job in others)
    held = until(lambda: next((j for j in map(api.job, jobs) if j["status"] == "waiting"), None), what="one that waits for its key")
    assert held["waiting"]["reason"] == "key" and held["started_at"] is None, held
    ended = [api.wait(job) for job in jobs]
    spans = sorted((moment(job["started_at"]), moment(job["ended_at"])) for job in ended)
    for start, _ in spans:
        assert sum(a <= start < b for a, b in spans) <= 2, spans
    assert spans[-1][0] - spans[0][0] > 1.0, spans  # four rounds of two
    assert free_ends < spans[-1][1]  # jobs of other keys passed
    told = []
    for job in jobs:
        events = api.watch(job)
        check_stream(events)
        told += [e for e in events if e.type == "job.waiting" and e.data["reason"] == "key"]
    assert told and all(e.data["until"] > moment(e.data["ts"]) * 1000 for e in told)


def test_a_key_has_at_most_so_many_starts_a_minute(fair):
    api = Api(fair.url, fair.key)
    jobs = [api.submit_ok("noop", {}, key="paced:a") for _ in range(8)]
    starts = sorted(moment(api.wait(job)["started_at"]) for job in jobs)
    # a burst of one in twenty and one, then one a second
    assert starts[-1] - starts[0] > (len(jobs) - 4) * 0.9, starts


def test_priority_within_a_tenant(fair):
    api = Api(fair.url, fair.key)
    first = api.submit_ok("say", {"text": "[[sim ttft=1500 tokens=3]] first"}, key="single:a")
    until(lambda: api.job(first)["status"] == "running", what="the first one")
    wishes = [5, 0, 9, 3, 9, 7]
    jobs = [api.submit_ok("say", {"text": "next"}, key="single:a", priority=p) for p in wishes]
    started = {job: moment(api.wait(job)["started_at"]) for job in jobs}
    order = [wishes[jobs.index(job)] for job in sorted(started, key=started.get)]
    assert order == sorted(wishes, reverse=True)
    assert started[jobs[2]] < started[jobs[4]]  # among equals the older one


def test_an_idempotency_key_and_a_key(fair):
    """Both at once, as the command-line tool sends them: the job lies in the home of its key, a retry is the same job."""
    api = Api(fair.url, fair.key)
    ids = [api.submit_ok("noop", {}, key="pair:z", headers={"Idempotency-Key": f"both-{n}"}) for n in range(6)]
    homes = {id[15:18] for id in ids}
    assert len(homes) == 1 and len(set(ids)) == 6
    assert api.submit_ok("noop", {}, key="pair:z", headers={"Idempotency-Key": "both-0"}) == ids[0]
    for members in ({"key": "pair:y"}, {}, {"key": "pair:z", "priority": 1}):
        answer = api.submit("noop", {}, headers={"Idempotency-Key": "both-0"}, **members)
        assert answer.status_code == 422, answer.text
    for id in ids:
        assert api.wait(id)["status"] == "succeeded"


def test_bad_priorities_and_keys(fair):
    api = Api(fair.url, fair.key)
    for members, where in (({"priority": 10}, "/priority"), ({"priority": -1}, "/priority"), ({"priority": "5"}, "/priority"),
                           ({"priority": 5.5}, "/priority"), ({"key": ""}, "/key"), ({"key": "k" * 257}, "/key")):
        answer = api.submit("noop", {}, **members)
        assert answer.status_code == 422 and where in answer.text, answer.text
    for key in ("café ☕", "k" * 256, "sha256:abc", "a b/c"):
        assert api.wait(api.submit_ok("noop", {}, key=key))["status"] == "succeeded"
