"""Streams: history, live, resume at every place, two gateways, cursors of all kinds, EventSource in Node, slow watchers."""

import json
import socket
import subprocess
import threading
from pathlib import Path

from tests.e2e.client import TERMINAL, Api, check_stream, text_of, until

ROOT = Path(__file__).resolve().parents[2]


def test_resume_at_every_event(api):
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=40 tps=400 text=numbered]] x"})
    whole = api.watch(job)
    check_stream(whole)
    ids = [e.id for e in whole]
    for cut in range(len(whole) - 1):
        rest = list(api.events(job, after=ids[cut]))
        assert [e.id for e in rest] == ids[cut + 1:]
    by_query = api.http.get(f"/v1/jobs/{job}/events", params={"after": ids[1]})
    assert ids[1] not in by_query.text and ids[2] in by_query.text


def test_a_watcher_that_leaves_and_comes_back_to_the_other_gateway(api, stack, second_url):
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=200 tps=200 text=numbered]] x"})
    events = api.watch(job, cut_every=3, urls=[stack.url, second_url])
    assert check_stream(events).type == "job.succeeded"
    assert text_of(events, "say") == api.job(job)["output"]


def test_after_the_end(api):
    job = api.submit_ok("noop")
    api.wait(job)
    last = api.watch(job)[-1].id
    answer = api.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last})
    assert answer.status_code == 204 and answer.content == b""
    answer = api.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last}, params={"format": "ndjson"})
    assert answer.status_code == 204


def test_cursors(api):
    job = api.submit_ok("noop")
    api.wait(job)
    for bad in ("1", "garbage", "0000000000000000-000000000x", "-1", "../..", "0000000000000000-00000000011"):
        answer = api.http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": bad})
        assert answer.status_code == 400 and answer.json()["code"] == "invalid_cursor", (bad, answer.text)
    unknown = "9000000000000000-0000000099"
    events = list(api.events(job, after=unknown))
    assert events[0].type == "reset" and events[0].id is None
    assert events[1].type == "job.snapshot" and events[-1].type in TERMINAL
    check_stream(events)


def test_many_watchers_of_one_job_see_the_same(api, stack, second_url):
    job = api.submit_ok("say", {"text": "[[sim ttft=300 tokens=100 tps=200 text=numbered]] x"})
    seen = [None] * 12

    def go(i):
        client = Api([stack.url, second_url][i % 2], stack.key)
        seen[i] = [(e.id, e.type) for e in client.watch(job, cut_every=5 + i)]

    threads = [threading.Thread(target=go, args=(i,)) for i in range(len(seen))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(s == seen[0] for s in seen)


def test_headers_heartbeat_and_retry(api, stack):
    job = api.submit_ok("say", {"text": "[[sim ttft=4000 tokens=1]] x"})
    with api.http.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no" and "no-cache" in answer.headers["cache-control"]
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if line == "event: job.succeeded":
                break
    assert any(line.startswith(":") for line in lines), "no heartbeat within 4 s"
    assert any(line.startswith("retry: ") for line in lines)


def cutting_proxy(target, cut_after):
    """A TCP proxy that cuts each of its first connections after so many bytes of the answer; returns its port and the list of cuts."""
    server, cuts = socket.create_server(("127.0.0.1", 0)), []

    def carry(client):
        with client, socket.create_connection(target) as upstream:
            threading.Thread(target=lambda: forward(client, upstream), daemon=True).start()
            sent = 0
            while data := upstream.recv(4096):
                if len(cuts) < 5 and sent + len(data) > cut_after:
                    client.sendall(data[: cut_after - sent])
                    cuts.append(sent)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
                sent += len(data)

    def forward(source, sink):
        try:
            while data := source.recv(4096):
                sink.sendall(data)
        except OSError:
            pass

    def accept():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server, cuts


def test_eventsource_in_node(api, stack):
    """A browser's EventSource over a line that breaks in mid-frame, five times: it comes back by itself and misses nothing."""
    job = api.submit_ok("say", {"text": "[[sim ttft=1 tokens=120 tps=60 text=numbered]] x"})
    token = api.http.post(f"/v1/jobs/{job}/token").json()["token"]
    host, port = stack.url.split("//")[1].split(":")
    server, cuts = cutting_proxy((host, int(port)), 3000)
    url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/jobs/{job}/events?token={token}"
    done = subprocess.run(["node", str(ROOT / "tests/e2e/node/watch.mjs"), url], timeout=60, capture_output=True, text=True,
                          cwd=ROOT / "build/node")
    server.close()
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cuts) >= 2, "the line was never cut"
    assert [r["seq"] for r in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["type"] == "job.succeeded"
    assert "".join(r["text"] for r in rows if r["type"] == "step.delta") == api.job(job)["output"]


def test_a_slow_watcher_is_cut_and_resumes(api, stack):
    """One that does not read costs a bounded number of bytes: the gateway cuts it, the others go on, and it comes back by id."""
    job = api.submit_ok("many", {"texts": [f"[[sim ttft=1 tokens=3000 tps=0 chunk_tokens=50]] {i}" for i in range(20)]})
    sock = socket.create_connection((stack.url.split("//")[1].split(":")[0], int(stack.url.rsplit(":", 1)[1])))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n\r\n".encode())
    job_end = api.wait(job, limit_s=60)
    assert job_end["status"] == "succeeded"
    assert check_stream(api.watch(job)).type == "job.succeeded"
    rss = int(next(line for line in open(f"/proc/{stack['gateway'].proc.pid}/status") if line.startswith("VmRSS")).split()[1])
    assert rss < 1_500_000  # ASan's own shadow included: no queue of the whole history
    sock.close()
