"""A client of the API as a user would write one: httpx, and an SSE reader of a dozen lines.

Everything that waits has a limit; conditions are polled, never slept for.
"""

import json
import time

import httpx

TERMINAL = {"job.succeeded", "job.failed", "job.canceled", "job.expired"}
LIMIT_S = 30


def until(condition, limit_s=LIMIT_S, every_s=0.05, what="the condition"):
    """The first true value of condition()."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {limit_s} s")
        time.sleep(every_s)  # poll


class Event:
    def __init__(self, id, type, data):
        self.id, self.type, self.data = id, type, data

    def __repr__(self):
        return f"<{self.id} {self.type}>"


def parse_sse(lines):
    """Events out of decoded lines; comments and retry are left out."""
    fields = {}
    for line in lines:
        if line == "":
            if "data" in fields:
                yield Event(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            fields[name] = fields["data"] + "\n" + value if name == "data" and "data" in fields else value


class Api:
    def __init__(self, url, key, limit_s=LIMIT_S):
        self.url, self.key = url, key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=limit_s)

    def submit(self, workflow, input=None, headers=None, **members):
        body = {"workflow": workflow, "input": input if input is not None else {}, **members}
        return self.http.post("/v1/jobs", json=body, headers=headers)

    def submit_ok(self, *args, **kwargs):
        answer = self.submit(*args, **kwargs)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def get(self, job):
        return self.http.get(f"/v1/jobs/{job}")

    def job(self, job):
        answer = self.get(job)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job, limit_s=LIMIT_S):
        """The ended job."""
        def ended():
            answer = self.get(job)
            if answer.status_code == 503:
                return None
            assert answer.status_code == 200, answer.text
            return answer.json() if answer.json()["status"] in ("succeeded", "failed", "canceled", "expired") else None
        return until(ended, limit_s, what=f"the end of {job}")

    def events(self, job, after=None, limit_s=LIMIT_S, stop=None):
        """One connection's events. stop(event): true cuts the connection after that event."""
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = after
        with self.http.stream("GET", f"/v1/jobs/{job}/events", headers=headers,
                              timeout=httpx.Timeout(limit_s, read=limit_s)) as answer:
            if answer.status_code == 204:
                return
            if answer.status_code != 200:
                answer.read()
                raise AssertionError(f"{answer.status_code} {answer.text}")
            for event in parse_sse(answer.iter_lines()):
                yield event
                if stop and stop(event):
                    return

    def watch(self, job, limit_s=60, cut_every=None, urls=None):
        """All events to the end, over as many connections as it takes: whatever breaks, the watcher comes back with its last id.
        cut_every: leave after so many events on purpose. urls: gateways to come back to in turn."""
        seen, last, deadline, turn = [], None, time.monotonic() + limit_s, 0
        while time.monotonic() < deadline:
            api = Api(urls[turn % len(urls)], self.key) if urls else self
            turn, here = turn + 1, 0
            if seen and seen[-1].type == "reset":
                seen.pop()  # its snapshot did not come: the next connection says anew whether the cursor holds
            try:
                for event in api.events(job, last, limit_s=10):
                    seen.append(event)
                    last = event.id or last
                    here += 1
                    if event.type in TERMINAL:
                        return seen
                    if cut_every and here >= cut_every:
                        break
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.1)  # retry: the gateway may be away for a moment
        raise AssertionError(f"no terminal event of {job} within {limit_s} s; saw {seen[-3:]}")


def check_stream(events):
    """Promise B: every event once and in order, ids rising, seq without a hole (a hole is told by reset), one terminal event, last."""
    assert events, "no events"
    seq, last_id, expect_snapshot = 0, "", False
    for event in events:
        if event.type == "reset":
            assert event.id is None and "seq" not in event.data
            expect_snapshot = True
            continue
        assert event.id > last_id or expect_snapshot, (last_id, event)
        if expect_snapshot:
            assert event.type == "job.snapshot", event
            expect_snapshot = False
        else:
            assert event.data["seq"] == seq + 1, (seq, event, event.data)
        seq, last_id = event.data["seq"], event.id
        assert event.data["type"] == event.type
    ends = [e for e in events if e.type in TERMINAL]
    assert len(ends) == 1 and ends[0] is events[-1], ends
    return ends[0]


def text_of(events, step, item=None):
    """A step's text as a watcher assembles it: deltas of a higher attempt void those before; a snapshot replaces all."""
    text, attempt = "", 0
    for event in events:
        data = event.data
        if event.type == "job.snapshot":
            row = next((s for s in data["job"]["steps"] if s["id"] == step), {})
            text, attempt = row.get("text") or row.get("output") or "", row.get("attempt") or 0
        if event.type != "step.delta" or data["step"] != step or data.get("item") != item:
            continue
        if data["attempt"] > attempt:
            text, attempt = "", data["attempt"]
        if data["attempt"] == attempt:
            text += data["text"]
    return text


def model_yaml(name, provider_model, price, **budget):
    """One entry of `models:`, of the simulated provider. price: dollars a million tokens, of input and output."""
    limits = ", ".join(f"{key}: {value}" for key, value in budget.items())
    return (f"  {name}:\n    route: [{{provider: main, model: {provider_model}}}]\n    budget: {{{limits}}}\n"
            f"    price: {{input_per_million: {price[0]}, output_per_million: {price[1]}}}\n")
