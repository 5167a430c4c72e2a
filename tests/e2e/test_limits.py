"""Waiting made visible: budgets in GET /v1/limits and `sluice limits`, waits in streams, jobs and `sluice watch`.

A provider that allows two calls a second and a burst of jobs: what a user sees meanwhile."""

import json
import os
import re
import signal
import time

import httpx
import pytest

from tests.e2e.client import Api, model_yaml, until
from tests.e2e.conftest import paced_stack
from tests.e2e.terminal import Terminal
from tests.e2e.test_tool import SLUICE, Tool

RPM, JOBS = 120, 60
MODELS = f"""
models:
{model_yaml("fast", "gpt-5-mini", (0.25, 2.0), requests_per_minute=RPM)}
{model_yaml("smart", "gpt-5", (1.25, 10.0), requests_per_minute=3000, spend_per_day=12.5)}
"""
REASONS = {"budget", "closed", "outage", "exhausted", "concurrency", "spend", "tenant_budget", "key"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    tenants = [{"id": "capped", "tokens_per_day": 300}, {"id": "reader", "scopes": ["read"]}]
    with paced_stack(tmp_path_factory.mktemp("slow"), "slow", MODELS, RPM, tenants=tenants) as running:
        yield running


def limits(api, **params):
    answer = api.http.get("/v1/limits", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def budget(api, model="fast"):
    return next(m for m in limits(api)["data"] if m["model"] == model)["route"][0]


def test_what_is_configured_is_shown_before_anything_ran(slow):
    api = Api(slow.url, slow.key)
    page = limits(api)
    assert [m["model"] for m in page["data"]] == ["fast", "smart"] and not page["has_more"]
    got = budget(api, "smart")
    assert got["provider"] == "main" and got["model"] == "gpt-5" and got["key"] == "default"
    assert got["state"] == "open" and got["reason"] is None and got["until"] is None
    assert got["requests"]["limit"] == 3000 and got["requests"]["source"] == "configured" and got["requests"]["used"] == 0
    assert got["input_tokens"]["limit"] is None and got["spend_per_day"]["limit"] == 12.5
    assert [m["model"] for m in limits(api, model="smart")["data"]] == ["smart"]
    answer = api.http.get("/v1/limits", params={"model": "none"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "model"
    assert Api(slow.url, None).http.get("/v1/limits").status_code == 401


def test_a_burst_is_seen_to_wait(slow):
    """What waits, why and until when: in the streams, in the jobs, in the list, in /v1/limits and in both live pictures."""
    api, tool = Api(slow.url, slow.key), Tool(slow.url, slow.key)
    before = len(slow.sim.journal())
    started = time.monotonic()
    jobs = [api.submit_ok("say", {"text": f"number {i}"}) for i in range(JOBS)]

    def waiting():
        rows = api.http.get("/v1/jobs", params={"status": "waiting", "limit": 500}).json()["data"]
        return rows or None
    rows = until(waiting, 20, what="a job that waits")

    def one_that_waits():
        for row in waiting() or []:
            job = api.job(row["id"])
            if job["status"] == "waiting" and job["waiting"]["reason"] == "budget":
                return job
        return None
    job = until(one_that_waits, 20, what="a job that says why it waits")
    assert job["waiting"]["on"] == "main/gpt-5-mini" and job["waiting"]["until"] > time.time() * 1000 - 2000
    told = list(api.events(job["id"], stop=lambda e: e.type == "job.waiting"))
    assert told[-1].data["reason"] in REASONS and isinstance(told[-1].data["until"], int) and told[-1].data["seq"] > 1

    screen = Terminal([SLUICE, "limits"], tool.env)
    assert screen.read(lambda shown: re.search(r"^fast  main/gpt-5-mini  open .*waiting", shown.text(), re.M), 10)
    assert screen.read(lambda shown: re.search(r"^    requests .* of +120 a minute  configured", shown.text(), re.M), 10)
    os.kill(screen.pid, signal.SIGINT)
    assert screen.read(limit_s=10) and screen.code == 0
    job = until(one_that_waits, 20, what="another job that waits")
    watch = Terminal([SLUICE, "watch", job["id"]], tool.env)
    assert watch.read(lambda shown: "waiting for budget of main/gpt-5-mini" in shown.text() or "succeeded" in shown.text(), 10)
    assert watch.read(limit_s=60) and watch.code == 0
    assert b"waiting for budget of main/gpt-5-mini" in watch.raw
    lines = tool.ok("limits")
    assert re.search(r"^fast  main/gpt-5-mini  \w+", lines, re.M) and "configured" in lines
    assert json.loads(tool.ok("limits", "--json", "--model", "fast"))["data"][0]["model"] == "fast"
    got = budget(api)
    assert 0 < got["requests"]["used"] <= RPM and got["requests"]["limit"] == RPM

    ended = [api.wait(job, 120) for job in jobs]
    assert all(job["status"] == "succeeded" and job["attempt"] == 1 for job in ended)
    assert not any("waiting" in job for job in ended)
    assert time.monotonic() - started > (JOBS - 0.02 * RPM - 3) / (RPM / 60), "faster than the budget allows"
    calls = slow.sim.journal()[before:]
    assert len(calls) == JOBS
    assert not [c for c in calls if c["status"] == 429], "the provider had to refuse"
    until(lambda: budget(api)["waiters"] == 0, 15, what="an empty line")


def test_queued_jobs_are_told_what_keeps_them(slow):
    """Workers start no more jobs than a short line holds; the rest is queued, and whoever asks hears what the line is about."""
    api, tool = Api(slow.url, slow.key), Tool(slow.url, slow.key)
    jobs = [api.submit_ok("say", {"text": f"one of many {i}"}, **{"class": "bulk"}) for i in range(320)]
    last = jobs[-1]
    got = until(lambda: (j := api.job(last))["status"] == "queued" and "waiting" in j and j, 15, what="a guess about the line")
    assert got["waiting"]["reason"] == "budget" and got["waiting"]["on"] == "main/gpt-5-mini"
    assert 60 < got["waiting"]["until"] / 1000 - time.time() < 200, "320 jobs at two a second"
    assert 200 < limits(api)["tenant"]["unfinished_jobs"] <= 320
    assert re.search(r"^tenant \S+  \d+ jobs unfinished$", tool.ok("limits"), re.M)
    statuses = [row["status"] for row in api.http.get("/v1/jobs", params={"limit": 500}).json()["data"][:320]]
    assert statuses.count("queued") > 50 and statuses.count("waiting") > 20, (statuses.count("queued"), statuses.count("waiting"))
    watch = Terminal([SLUICE, "watch", last], tool.env)
    assert watch.read(lambda shown: "queued, waiting for budget of main/gpt-5-mini, about 2m" in shown.text(), 20)
    assert api.http.post(f"/v1/jobs/{last}/cancel").status_code == 202
    assert watch.read(limit_s=30) and watch.code == 3
    for job in jobs:
        assert api.http.post(f"/v1/jobs/{job}/cancel").status_code in (200, 202)
    assert {api.wait(job, 60)["status"] for job in jobs} <= {"canceled", "succeeded"}


def test_a_day_that_is_spent_is_said(slow):
    """A tenant's own cap: what is past it waits for tomorrow and says so; others go on."""
    capped, api = Api(slow.url, slow.keys["capped"]), Api(slow.url, slow.key)
    text = {"text": "[[sim ttft=5 tokens=1 usage_in=100 usage_out=10]] x"}
    for _ in range(3):
        assert capped.wait(capped.submit_ok("say", text))["status"] == "succeeded"
    until(lambda: limits(capped)["tenant"]["tokens_per_day"]["used"] >= 300, 5, what="the day's counters")
    held = None

    def why():
        """Workers hear of one another's calls within a second: one more may still go."""
        nonlocal held
        job = capped.job(held) if held else {"status": "succeeded"}
        held = capped.submit_ok("say", text) if job["status"] == "succeeded" else held
        return job["waiting"] if job["status"] == "waiting" else None
    waiting = until(why, 15, what="a wait for tomorrow")
    assert waiting["reason"] == "tenant_budget" and "on" not in waiting
    assert waiting["until"] % 86400000 < 120000 and waiting["until"] > time.time() * 1000 - 1000  # midnight UTC
    day = limits(capped)["tenant"]
    assert day["id"] == "capped" and day["tokens_per_day"]["limit"] == 300 and 330 <= day["tokens_per_day"]["used"] <= 660
    assert re.search(r"^tenant capped  1 job unfinished\n    tokens +[3-6]\d0 of +300 today$", Tool(slow.url, slow.keys["capped"]).ok("limits"), re.M)
    assert api.wait(api.submit_ok("say", text))["status"] == "succeeded"
    assert capped.http.post(f"/v1/jobs/{held}/cancel").status_code == 202
    assert capped.wait(held)["status"] == "canceled"


@pytest.mark.parametrize("weather, reason, why", [("storm", "throttle", "closed"), ("outage", "outage", "outage")])
def test_refusals_and_outages_are_seen(slow, weather, reason, why):
    """A closed budget says why and until when; its jobs wait, burn no attempt and go on."""
    api, tool = Api(slow.url, slow.key), Tool(slow.url, slow.key)
    before, seen = budget(api), {}
    getattr(slow.sim, weather)(for_s=6)
    jobs = [api.submit_ok("say", {"text": f"in bad weather {i}"}) for i in range(8)]

    def closed():
        got = budget(api)
        for job in map(api.job, jobs):
            if job["status"] == "waiting":
                seen.setdefault(job["waiting"]["reason"], job["id"])
        return got if got["state"] == "closed" and got["reason"] == reason and why in seen else None
    got = until(closed, 20, what=f"a budget closed by an {weather}")
    assert got["until"] > time.time() * 1000 - 1000 and got["closes"] > before["closes"]
    if reason == "throttle":
        assert got["refusals"] > before["refusals"]
    told = [e.data for e in api.events(seen[why], stop=lambda e: e.type == "job.waiting" and e.data["reason"] == why)][-1]
    assert told["on"] == "main/gpt-5-mini" and told["until"] > 0
    ended = [api.wait(job, 90) for job in jobs]
    assert all(job["status"] == "succeeded" and job["attempt"] == 1 for job in ended)
    until(lambda: budget(api)["state"] in ("open", "ramp") and budget(api)["until"] is None, 30, what="an open budget")
    assert re.search(rf"{budget(api)['refusals']} x 429", tool.ok("limits", "--model", "fast"))


def test_a_tenant_sees_no_other(slow):
    """No name and no figure of another tenant in what a key reads (its own day apart)."""
    api = Api(slow.url, slow.key)
    api.wait(api.submit_ok("say", {"text": "mine"}))
    until(lambda: limits(api)["tenant"]["tokens_per_day"]["used"] > 0, 10, what="the day's counters")
    held = api.submit_ok("say", {"text": "[[sim ttft=20000 tokens=1]] mine, too"})
    until(lambda: limits(api)["tenant"]["unfinished_jobs"] > 0, 10, what="the count of jobs")
    theirs = limits(Api(slow.url, slow.keys["reader"]))
    assert theirs["tenant"] == {"id": "reader", "unfinished_jobs": 0, "tokens_per_day": {"limit": None, "used": 0},
                                "spend_per_day": {"limit": None, "used": 0}}
    for name in ("capped", limits(api)["tenant"]["id"]):
        assert name not in json.dumps(theirs), name
    assert api.http.post(f"/v1/jobs/{held}/cancel").status_code == 202
    api.wait(held)


def test_metrics_name_no_tenant_and_no_job(slow):
    """Label sets of the gateway are bounded: routes, methods, codes, reasons."""
    api = Api(slow.url, slow.keys["capped"])
    job = api.submit_ok("say", {"text": "[[sim tokens=1 usage_in=0 usage_out=0]] x"})
    for path in ("/v1/usage", "/v1/limits", f"/v1/jobs/{job}", "/v1/usage?by=made-up", f"/v1/made-up-{job}"):
        api.http.get(path)
    text = httpx.get(slow.admin_url + "/metrics").text
    assert "/v1/usage" in text and "/v1/limits" in text
    for word in ("capped", "reader", job, "made-up"):
        assert word not in text, word
    assert api.http.post(f"/v1/jobs/{job}/cancel").status_code in (200, 202)
