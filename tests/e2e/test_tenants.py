"""Walls: keys, scopes, tenants, quotas, tokens, CORS."""

import hashlib
import os
import signal
import time

from tests.e2e.client import Api, until


def test_no_key_wrong_key(stack):
    for api in (Api(stack.url, None), Api(stack.url, "sk-wrong")):
        answer = api.submit("noop")
        assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"
    with_header = Api(stack.url, None)
    with_header.http.headers["x-api-key"] = stack.key
    assert with_header.submit("noop").status_code == 202


def test_foreign_and_unknown_look_the_same(api, other):
    job = api.submit_ok("noop")
    api.wait(job)
    unknown = job[:-4] + ("0000" if job[-4:] != "0000" else "1111")
    for path in ("", "/events"):
        foreign, missing = other.http.get(f"/v1/jobs/{job}{path}"), other.http.get(f"/v1/jobs/{unknown}{path}")
        assert foreign.status_code == missing.status_code == 404
        strip = lambda a: {k: v for k, v in a.json().items() if k not in ("instance", "request_id")}
        assert strip(foreign) == strip(missing)
    for path in ("cancel", "retry", "token"):
        assert other.http.post(f"/v1/jobs/{job}/{path}").status_code == 404
    assert job not in [row["id"] for row in other.http.get("/v1/jobs", params={"limit": 100}).json()["data"]]


def test_same_idempotency_key_of_two_tenants_is_two_jobs(api, other):
    key = {"Idempotency-Key": "shared"}
    assert api.submit("noop", headers=key).json()["id"] != other.submit("noop", headers=key).json()["id"]


def test_quota(stack):
    small = Api(stack.url, stack.keys["small"])
    held = [small.submit_ok("say", {"text": "[[sim ttft=20000 tokens=1]]"}) for _ in range(3)]
    answer = until(lambda: (a := small.submit("noop")).status_code == 429 and a, 5, what="429")
    assert answer.json()["code"] == "quota_exceeded" and int(answer.headers["retry-after"]) >= 1
    for job in held:
        assert small.http.post(f"/v1/jobs/{job}/cancel").status_code == 202
    [small.wait(job) for job in held]
    until(lambda: small.submit("noop").status_code == 202, 5, what="room again")


def test_job_tokens(api, stack, second_url):
    job = api.submit_ok("noop")
    api.wait(job)
    made = api.http.post(f"/v1/jobs/{job}/token")
    assert made.status_code in (200, 201), made.text
    token = made.json()["token"]
    assert made.json()["expires_at"].endswith("Z")
    for url in (stack.url, second_url):
        nobody = Api(url, None)
        assert nobody.http.get(f"/v1/jobs/{job}/events", params={"token": token}).status_code == 200
        assert nobody.http.get(f"/v1/jobs/{job}", params={"token": token}).status_code == 200
        assert nobody.http.post(f"/v1/jobs/{job}/cancel", params={"token": token}).status_code in (401, 403)
        assert nobody.http.get("/v1/jobs", params={"token": token}).status_code == 401
        assert nobody.http.get(f"/v1/jobs/{job}", params={"token": token[:-2] + "xx"}).status_code == 401
    another = api.submit_ok("noop")
    assert Api(stack.url, None).http.get(f"/v1/jobs/{another}", params={"token": token}).status_code in (401, 404)


def test_cors(api, stack):
    good = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = api.http.options("/v1/jobs", headers=good)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "idempotency-key" in answer.headers["access-control-allow-headers"].lower()
    answer = api.http.options("/v1/jobs", headers={**good, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    answer = api.http.get("/v1/jobs", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_scopes_and_reload(stack):
    bare = "sk-" + "ab" * 20
    reader = {"id": "reader", "keys": [{"sha256": hashlib.sha256(bare.encode()).hexdigest(), "scopes": ["read"]}]}
    assert Api(stack.url, bare).get("x").status_code == 401
    stack.reconfigure({"tenants": stack.config["tenants"] + [reader]})
    os.kill(stack["gateway"].pid, signal.SIGHUP)
    until(lambda: Api(stack.url, bare).http.get("/v1/jobs").status_code == 200, 10, what="the reloaded key")
    assert Api(stack.url, bare).submit("noop").status_code == 403


def test_no_secret_in_any_log(api, stack):
    canary = "CANARY-" + str(time.time_ns())
    job = api.submit_ok("say", {"text": f"[[sim ttft=1 fail=400 fail_message={canary}]] {canary}"})
    assert canary not in str(api.wait(job))
    for name in ("gateway", "gateway-2", "consumer-1", "consumer-2"):
        text = open(stack.log(name), errors="replace").read()
        assert canary not in text and stack.key not in text and "sim-key" not in text, name


def test_one_final_line_a_job(api, stack):
    job = api.submit_ok("noop")
    api.wait(job)

    def lines():
        return [line for n in (1, 2) for line in open(stack.log(f"consumer-{n}"), errors="replace") if job in line and '"job_done"' in line]

    assert len(until(lines, 5, what="the final line")) == 1


def test_metrics(api, stack):
    api.wait(api.submit_ok("noop"))
    import httpx
    text = httpx.get(stack.admin_url + "/metrics").text
    assert "sluice_http_requests_total{" in text and "# TYPE sluice_http_request_duration_seconds histogram" in text
    assert httpx.get(stack.admin_url + "/healthz").status_code == 200
