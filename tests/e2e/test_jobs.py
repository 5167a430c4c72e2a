"""Submitting, reading, waiting, cancelling, retrying: the API as its users meet it."""

import threading
import time

from tests.e2e.client import TERMINAL, check_stream, text_of, until
from tests.provider.text import expected  # noqa: F401  (the provider's own oracle)


def test_a_job_runs_and_its_stream_is_whole(api, stack):
    answer = api.submit("say", {"text": "[[sim ttft=5 tokens=30 tps=300 text=numbered]] hello"})
    assert answer.status_code == 202
    body = answer.json()
    assert body["status"] in ("queued", "running") and body["workflow"] == "say"  # a quick worker may have begun
    assert answer.headers["location"].endswith(body["id"])
    events = api.watch(body["id"])
    end = check_stream(events)
    assert end.type == "job.succeeded"
    assert [e.type for e in events[:3]] == ["job.queued", "job.started", "step.started"]
    job = api.job(body["id"])
    assert job["status"] == "succeeded" and job["attempt"] == 1
    assert job["output"] == text_of(events, "say") and "t29" in job["output"]
    assert job["usage"]["output_tokens"] == 30 and job["usage"]["calls"] == 1
    assert 0 < job["cost"] < 1
    assert end.data["output"] == job["output"]


def test_prefer_wait_and_stream_answers(api):
    answer = api.submit("noop", {"a": 0.1, "b": 12345678901234567890}, headers={"Prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["ok"] is True and answer.json()["output"]["given"]["a"] == 0.1
    answer = api.submit("say", {"text": "[[sim ttft=3000 tokens=1]]"}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    with api.http.stream("POST", "/v1/jobs?stream=true", json={"workflow": "noop", "input": {}}) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        types = [line.split(": ", 1)[1] for line in stream.iter_lines() if line.startswith("event:")]
    assert types[0] == "job.queued" and types[-1] == "job.succeeded"


def test_steps_foreach_and_jq(api):
    job = api.wait(api.submit_ok("many", {"texts": [f"[[sim ttft=1 tokens=3 text=numbered tps=0]] {i}" for i in range(7)]}))
    assert job["status"] == "succeeded", job
    assert job["output"]["n"] == 7 and all(t.startswith("t0") for t in job["output"]["all"])
    each = next(s for s in job["steps"] if s["id"] == "each")
    assert each["items"]["total"] == 7 and each["items"]["done"] == 7


def test_an_item_that_fails_for_good_leaves_the_others(api):
    job = api.wait(api.submit_ok("many", {"texts": ["[[sim ttft=1 tokens=2]] a", "[[sim ttft=1 fail=400]] b", "[[sim ttft=1 tokens=2]] c"]}))
    assert job["status"] == "succeeded", job
    assert job["output"]["all"][1] is None and job["output"]["all"][0] and job["output"]["all"][2]


def test_when_versions_and_a_hanging_expression(api):
    assert api.wait(api.submit_ok("branch", {"go": False}))["output"] == {"maybe": None, "loop": 1}
    assert api.wait(api.submit_ok("branch", {"go": False}, version=1))["output"] == "old"
    job = api.wait(api.submit_ok("branch", {"go": False, "hang": True}))
    assert job["status"] == "failed" and job["error"]["code"] == "expression_error" and job["error"]["step"] == "loop"


def test_retries_then_success_and_then_the_dead_letter(api, stack):
    events = api.watch(api.submit_ok("say", {"text": "[[sim ttft=1 tokens=4 cut_after=2 cut_times=1]] once"}))
    assert check_stream(events).type == "job.succeeded"
    assert "step.retrying" in [e.type for e in events]
    job = api.wait(api.submit_ok("say", {"text": "[[sim ttft=1 fail=500]] never"}))
    assert job["status"] == "failed" and job["error"]["step"] == "say"
    assert len([c for c in stack.sim.journal() if c["identity"] and c["identity"].startswith(job["id"])]) == 3


def test_garbage_from_the_provider_is_tried_again(api):
    for fault in ("garbage_after=1 garbage_times=1", "malformed_after=1 malformed_times=1", "error_after=1 error_times=1"):
        job = api.wait(api.submit_ok("say", {"text": f"[[sim ttft=1 tokens=4 {fault}]] x"}))
        assert job["status"] == "succeeded", (fault, job)


def test_a_throttled_call_waits_and_burns_no_attempt(api):
    events = api.watch(api.submit_ok("say", {"text": "[[sim ttft=1 tokens=2 fail=429 fail_times=5 retry_after=0]] x"}))
    assert check_stream(events).type == "job.succeeded"
    assert max(e.data["attempt"] for e in events if e.type == "step.started") == 1


def test_cancel_reaches_a_running_call_within_a_second(api, stack):
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=4000 tps=20]] long"})
    until(lambda: api.job(job)["status"] == "running" and any(s.get("text") for s in api.job(job)["steps"]), what="text")
    started = time.monotonic()
    answer = api.http.post(f"/v1/jobs/{job}/cancel")
    assert answer.status_code == 202, answer.text
    calls = lambda: [c for c in stack.sim.journal() if (c["identity"] or "").startswith(job)]
    try:
        until(lambda: [c for c in calls() if c["outcome"] == "client_gone"], 5, what="the cut call")
    except AssertionError as late:
        raise AssertionError(f"{late}: {calls()}") from late
    assert time.monotonic() - started < 2.0
    assert api.wait(job)["status"] == "canceled"
    again = api.http.post(f"/v1/jobs/{job}/cancel")
    assert again.status_code == 200 and again.json()["status"] == "canceled"
    assert check_stream(api.watch(job)).type == "job.canceled"


def test_idempotency_key(api, stack):
    key = {"Idempotency-Key": '"order-17"'}
    first, second = api.submit("noop", {"n": 1}, headers=key), api.submit("noop", {"n": 1}, headers={"Idempotency-Key": "order-17"})
    assert first.status_code == second.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    other = api.submit("noop", {"n": 2}, headers=key)
    assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"


def test_same_key_other_payload_at_once(api):
    answers, gate = [None] * 8, threading.Barrier(8)

    def go(i):
        gate.wait()
        answers[i] = api.submit("noop", {"n": i % 2}, headers={"Idempotency-Key": "race-1"})

    threads = [threading.Thread(target=go, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    won = {i % 2 for i, a in enumerate(answers) if a.status_code == 202}
    assert len(won) == 1 and all(a.status_code in (202, 422) for a in answers), [a.status_code for a in answers]
    job = api.wait(next(a.json()["id"] for a in answers if a.status_code == 202))
    assert job["output"]["given"]["n"] == won.pop()


def test_retry_of_a_failed_job_is_one_new_job(api):
    job = api.submit_ok("say", {"text": "[[sim ttft=1 fail=400]] x"})
    assert api.wait(job)["status"] == "failed"
    answers = [api.http.post(f"/v1/jobs/{job}/retry") for _ in range(2)]
    assert [a.status_code for a in answers] == [202, 202], answers[0].text
    new = {a.json()["id"] for a in answers}
    assert len(new) == 1 and job not in new
    assert api.wait(new.pop())["status"] == "failed"
    live = api.submit_ok("say", {"text": "[[sim ttft=5000 tokens=1]]"})
    assert api.http.post(f"/v1/jobs/{live}/retry").status_code == 409


def test_deadline_and_run_at(api):
    job = api.wait(api.submit_ok("say", {"text": "[[sim ttft=20000 tokens=1]]"}, deadline="1s"))
    assert job["status"] == "expired"
    started = time.monotonic()
    job = api.wait(api.submit_ok("noop", {}, run_at="6s"), limit_s=40)
    assert job["status"] == "succeeded" and time.monotonic() - started > 5


def test_list_pages_newest_first(api):
    made = [api.submit_ok("noop", {"i": i}, metadata={"n": i}) for i in range(5)]
    [api.wait(j) for j in made]
    page = api.http.get("/v1/jobs", params={"limit": 3, "workflow": "noop"}).json()
    assert [row["id"] for row in page["data"]] == made[:1:-1] and page["has_more"]
    more = api.http.get("/v1/jobs", params={"limit": 2, "workflow": "noop", "after": page["next"]}).json()
    assert [row["id"] for row in more["data"]] == made[1::-1]
    assert all(r["status"] == "succeeded" for r in api.http.get("/v1/jobs", params={"status": "succeeded"}).json()["data"])


def test_ndjson_events(api):
    job = api.submit_ok("noop", {})
    api.wait(job)
    lines = api.http.get(f"/v1/jobs/{job}/events", params={"format": "ndjson"}).text.strip().splitlines()
    import json
    rows = [json.loads(line) for line in lines]
    assert rows[0]["type"] == "job.queued" and rows[-1]["type"] in TERMINAL and all("id" in r for r in rows)
