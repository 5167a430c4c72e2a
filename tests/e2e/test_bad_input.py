"""Strangers' bytes: a clear answer, bounded cost, nothing lost."""

import json
import socket
import time

import pytest


def post(api, body, **headers):
    return api.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("body, status, code, pointer", [
    (b"", 400, "invalid_json", None),
    (b"{", 400, "invalid_json", None),
    (b"[]", 422, "invalid_field", None),
    (b'{"workflow":"noop","workflow":"noop"}', 400, "invalid_json", "/workflow"),
    (b'{"workflow":"noop","input":{"a":"\\u0000"}}', 400, "invalid_json", "/input/a"),
    (b'{"workflow":"noop","input":{"a":"\\ud800"}}', 400, "invalid_json", "/input/a"),
    (b'{"workflow":"noop","input":"\xff\xfe"}', 400, "invalid_json", "/input"),
    (b'{"workflow":"noop","input":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "invalid_json", None),
    (b'{"workflow":"noop"} x', 400, "invalid_json", None),
    (b'{"workflow":"noop"}', 422, "invalid_field", "/input"),
    (b'{"input":{}}', 422, "invalid_field", "/workflow"),
    (b'{"workflow":7}', 422, "invalid_field", "/workflow"),
    (b'{"workflow":"noop","class":"fast"}', 422, "invalid_field", "/class"),
    (b'{"workflow":"noop","run_at":"13d"}', 422, "invalid_field", "/run_at"),
    (b'{"workflow":"noop","deadline":"soon"}', 422, "invalid_field", "/deadline"),
    (b'{"workflow":"noop","metadata":[]}', 422, "invalid_field", "/metadata"),
    (b'{"workflow":"noop","inputs":{}}', 422, "unknown_field", "/inputs"),
    (b'{"workflow":"nope","input":{}}', 422, "unknown_workflow", "/workflow"),
    (b'{"workflow":"noop","version":9,"input":{}}', 422, "unknown_workflow", "/version"),
    (b'{"workflow":"say","input":{"text":7}}', 422, "invalid_input", "/input/text"),
    (b'{"workflow":"say","input":{}}', 422, "invalid_input", "/input"),
    (b'{"workflow":"say","input":{"text":"x","more":1}}', 422, "invalid_input", "/input/more"),
])
def test_bodies(api, body, status, code, pointer):
    answer = post(api, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and problem["detail"]
    assert problem["error"]["code"] == code and problem["error"]["message"]
    if pointer is not None:
        assert problem["pointer"] == pointer, problem


def test_errors_do_not_echo_the_input(api):
    answer = post(api, json.dumps({"workflow": "say", "input": {"text": 7, "more": "CANARY-4711"}}))
    assert answer.status_code == 422 and "CANARY" not in answer.text


def test_sizes(api, stack):
    answer = post(api, b'{"workflow":"noop","input":{"a":"' + b"x" * (2 << 20) + b'"}}')
    assert answer.status_code == 413 and answer.json()["code"] == "request_too_large"
    answer = api.http.get("/v1/jobs", headers={"X-Big": "y" * 7000})
    assert answer.status_code == 431
    assert api.submit("noop", {"a": "x" * 200000}).status_code == 202


def raw(stack, data, limit_s=15, pieces=None):
    host, port = stack.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=limit_s) as sock:
        for piece in pieces or [data]:
            sock.sendall(piece)
        got = b""
        try:
            while chunk := sock.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass
        return got


HEAD = b"Host: x\r\nConnection: close\r\n"


@pytest.mark.parametrize("data", [
    b"GET /healthz HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\n" + HEAD + b"X : y\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HEAD + b"X: y\r\n folded\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /v1/jobs HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HEAD + b"X: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GARBAGE\r\n\r\n",
])
def test_heads_that_are_refused(stack, data):
    answer = raw(stack, data)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 501")) or answer == b"", answer[:200]


def test_a_slow_head_is_cut(stack):
    host, port = stack.url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        while sock.recv(4096):
            pass
        assert 8 < time.monotonic() - started < 15


def test_unknown_paths_and_methods(api):
    assert api.http.get("/v1/nothing").status_code == 404
    answer = api.http.delete("/v1/jobs")
    assert answer.status_code == 405 and "POST" in answer.headers["allow"]
    assert api.get("not-an-id").status_code == 404
    assert api.get("01234567-89ab-7000-8f01-23456789abcd").status_code == 404
    doc = api.http.get("/openapi.json").json()
    assert doc["openapi"].startswith("3.1") and "/v1/jobs" in doc["paths"]
