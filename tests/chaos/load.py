"""Clients: submit streaming jobs without a pause, watch every one to its end over any number of connections, cancel some, retry some, and write
down what they saw."""

import json
import random
import threading
import time

import httpx

from tests.e2e.client import TERMINAL, Api, Event

SIM = "[[sim ttft={ttft} tokens={tokens} tps={tps} text=numbered{fault}]]"
FAULTS = ["", "", "", " cut_after=3 cut_times=1", " fail=500 fail_times=1", " fail=429 fail_times=1 retry_after=1", " malformed_after=2 malformed_times=1"]
FATAL = "[[sim ttft=1 fail=400]]"
TROUBLES_MAX = 20


class Watched:
    """One accepted job and what its watcher saw."""

    def __init__(self, job, tenant, body, retry_of=None):
        self.job, self.tenant, self.body, self.retry_of = job, tenant, body, retry_of
        self.may_fail = FATAL in str(body)
        self.plan = random.Random(job)  # of its watcher: the same whatever else happens
        self.events, self.connections, self.ended, self.canceled, self.troubles = [], 0, False, False, []

    def trouble(self, text):
        self.troubles = self.troubles[1 - TROUBLES_MAX:] + [(round(time.time(), 3), text[:200])]

    def as_json(self):
        events = [{"id": e.id, "type": e.type, "data": e.data} for e in self.events]
        return {"job": self.job, "tenant": self.tenant, "body": self.body, "retry_of": self.retry_of, "connections": self.connections,
                "ended": self.ended, "canceled": self.canceled, "troubles": self.troubles, "events": events}


def ndjson_events(api, job, after, limit_s):
    """One connection's events, read as lines."""
    with api.http.stream("GET", f"/v1/jobs/{job}/events", params={"format": "ndjson", **({"after": after} if after else {})},
                         timeout=httpx.Timeout(limit_s, read=limit_s)) as answer:
        if answer.status_code == 204:
            return
        if answer.status_code != 200:
            answer.read()
            raise AssertionError(f"{answer.status_code} {answer.text}")
        for line in answer.iter_lines():
            if line.strip():
                data = json.loads(line)
                yield Event(data.pop("id", None), data["type"], data)


class Load:
    def __init__(self, urls, keys, seed, submitters=4, in_hand=40):
        self.urls, self.keys, self.rng = urls, keys, random.Random(seed)
        self.accepted, self.doubts, self.errors = {}, {}, []
        self.refused = self.cancels = self.retries = 0
        self.lock, self.stop_submitting = threading.Lock(), threading.Event()
        self.slots = threading.BoundedSemaphore(in_hand)
        self.give_up_at, self.settled_s = None, 0
        self.threads = [threading.Thread(target=self._submit_for_ever, args=(i,), daemon=True) for i in range(submitters)]

    def start(self):
        for thread in self.threads:
            thread.start()

    # --- submitting ------------------------------------------------------------------------------------------------------------------

    def _prompt(self):
        rng = self.rng
        return SIM.format(ttft=rng.choice([1, 20, 200]), tokens=rng.randint(1, 60), tps=rng.choice([20, 60, 0]), fault=rng.choice(FAULTS)) + str(rng.random())

    def _body(self):
        kind = self.rng.choice(["say", "two", "two", "two", "many", "many", "noop"])
        if kind == "say":
            return {"workflow": "say", "input": {"text": self._prompt()}}
        if kind == "two":
            second = FATAL if self.rng.random() < 0.15 else self._prompt()
            return {"workflow": "two", "input": {"first": self._prompt(), "second": second}}
        if kind == "many":
            return {"workflow": "many", "input": {"texts": [self._prompt() for _ in range(self.rng.randint(1, 6))]}}
        return {"workflow": "noop", "input": {"n": self.rng.random()}, "class": "bulk"}

    def _submit_for_ever(self, index):
        number = 0
        while not self.stop_submitting.is_set():
            if not self.slots.acquire(timeout=0.2):
                continue
            with self.lock:
                body, tenant, url = self._body(), self.rng.randrange(len(self.keys)), self.rng.choice(self.urls)
            number += 1
            key = f"chaos-{index}-{number}" if number % 2 else None
            if not self._submit_one(url, tenant, body, key):
                self.slots.release()
                time.sleep(0.1)  # retry: the gateway may be away

    def _post(self, url, tenant, path, body=None, headers=None):
        with httpx.Client(timeout=15) as http:
            return http.post(url + path, json=body, headers={"Authorization": f"Bearer {self.keys[tenant]}", **(headers or {})})

    def _submit_one(self, url, tenant, body, key):
        """With a key: repeated until it is known; without: one try, whose 503 leaves a doubt. True: a watcher has the slot."""
        for attempt in range(200 if key else 1):
            if self.stop_submitting.is_set() and attempt > 20:
                return False
            try:
                answer = self._post(url, tenant, "/v1/jobs", body, {"Idempotency-Key": key} if key else None)
            except httpx.HTTPError:
                url = self.rng.choice(self.urls)
                time.sleep(0.2)  # retry
                continue
            if answer.status_code == 202:
                return self._accept(Watched(answer.json()["id"], tenant, body))
            with self.lock:
                self.refused += 1
                if answer.status_code == 503 and answer.json().get("job_id"):
                    self.doubts[answer.json()["job_id"]] = tenant
                if answer.status_code not in (429, 503):
                    self.errors.append(f"a submission was answered {answer.status_code} {answer.text[:200]}")
                    return False
            time.sleep(0.2)  # retry
        return False

    def _accept(self, watched):
        with self.lock:
            if watched.job in self.accepted:
                return False
            self.accepted[watched.job] = watched
            thread = threading.Thread(target=self._watch, args=(watched,), daemon=True)
            self.threads.append(thread)
        thread.start()
        return True

    # --- watching --------------------------------------------------------------------------------------------------------------------

    def _watch(self, watched):
        """To its end, and on with the job that repeats it, in the same slot."""
        try:
            while watched:
                cancel_at = watched.plan.randint(1, 12) if watched.plan.random() < 0.1 else None
                while not watched.ended and (self.give_up_at is None or time.monotonic() < self.give_up_at):
                    self._watch_once(watched, cancel_at)
                is_repeated = watched.ended and not watched.retry_of and watched.plan.random() < (0.7 if watched.may_fail else 0.05)
                watched = self._retry(watched) if is_repeated else None
        finally:
            self.slots.release()

    def _watch_once(self, watched, cancel_at):
        """One connection, left on purpose after some events or not; every other one reads lines instead of SSE."""
        plan = watched.plan
        if watched.events and watched.events[-1].type == "reset":
            watched.events.pop()  # its snapshot did not come in time: what this connection brings for the old cursor holds, or another reset
        api, last = Api(plan.choice(self.urls), self.keys[watched.tenant], limit_s=8), next((e.id for e in reversed(watched.events) if e.id), None)
        read = plan.choice([api.events, lambda *a, **k: ndjson_events(api, *a, **k)])
        cut, here = plan.choice([3, 10, 1000]), 0
        watched.connections += 1
        try:
            for event in read(watched.job, last, limit_s=8):
                watched.events.append(event)
                here += 1
                if event.type in TERMINAL:
                    watched.ended = True
                    return
                if cancel_at and len(watched.events) >= cancel_at and not watched.canceled:
                    self._cancel(watched)
                if here >= cut:
                    return
            watched.trouble(f"ended without an end after {last}")
        except (httpx.HTTPError, AssertionError) as trouble:
            watched.trouble(f"{type(trouble).__name__} {trouble}")
            time.sleep(0.1)  # retry
        finally:
            api.http.close()

    def _cancel(self, watched):
        """Once; what comes of it is the job's end, whichever was first."""
        watched.canceled = True
        try:
            answer = self._post(watched.plan.choice(self.urls), watched.tenant, f"/v1/jobs/{watched.job}/cancel")
        except httpx.HTTPError:
            return
        with self.lock:
            self.cancels += answer.status_code == 202
            if answer.status_code not in (200, 202, 503):
                self.errors.append(f"{watched.job}: a cancel was answered {answer.status_code} {answer.text[:200]}")

    def _retry(self, watched):
        """The ended job once more: the new one, or None. 409 conflict: a Redis that lost its tail does not know of the end yet."""
        if self.stop_submitting.is_set():
            return None
        try:
            answer = self._post(watched.plan.choice(self.urls), watched.tenant, f"/v1/jobs/{watched.job}/retry")
        except httpx.HTTPError:
            return None
        is_fine = answer.status_code in (202, 429, 503) or (answer.status_code == 409 and answer.json().get("code") == "conflict")
        with self.lock:
            if not is_fine:
                self.errors.append(f"{watched.job}: a retry was answered {answer.status_code} {answer.text[:200]}")
            if answer.status_code != 202 or answer.json()["id"] in self.accepted:
                return None
            self.retries += 1
            again = self.accepted[answer.json()["id"]] = Watched(answer.json()["id"], watched.tenant, watched.body, watched.job)
            return again

    # --- the end ---------------------------------------------------------------------------------------------------------------------

    def finish(self, limit_s):
        """No more submissions; every watcher to its end, or until the limit."""
        self.stop_submitting.set()
        self.give_up_at = time.monotonic() + limit_s
        joined, started = 0, time.monotonic()
        while joined < len(self.threads):
            self.threads[joined].join(max(0.1, self.give_up_at - time.monotonic() + 10))
            joined += 1
        self.settled_s = time.monotonic() - started

    def summary(self):
        connections = sum(w.connections for w in self.accepted.values())
        return f"{len(self.accepted)} jobs ({self.cancels} cancels, {self.retries} retries), {connections} connections, {self.refused} refusals, {self.settled_s:.0f} s to settle"
