"""Clients: submit streaming jobs without a pause, watch every one to its end over any number of connections, and write down what they saw."""

import random
import threading
import time

import httpx

from tests.e2e.client import TERMINAL, Api

SIM = "[[sim ttft={ttft} tokens={tokens} tps={tps} text=numbered{fault}]]"
FAULTS = ["", "", "", " cut_after=3 cut_times=1", " fail=500 fail_times=1", " fail=429 fail_times=1 retry_after=1", " malformed_after=2 malformed_times=1"]


class Watched:
    """One accepted job and what its watcher saw."""

    def __init__(self, job, tenant, body):
        self.job, self.tenant, self.body = job, tenant, body
        self.events, self.connections, self.ended = [], 0, False


class Load:
    def __init__(self, urls, keys, seed, submitters=4, in_hand=40):
        self.urls, self.keys, self.rng = urls, keys, random.Random(seed)
        self.accepted, self.refused, self.doubts = {}, 0, {}
        self.lock, self.stop_submitting = threading.Lock(), threading.Event()
        self.slots = threading.BoundedSemaphore(in_hand)
        self.give_up_at = None
        self.threads = [threading.Thread(target=self._submit_for_ever, args=(i,), daemon=True) for i in range(submitters)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def _prompt(self):
        rng = self.rng
        return SIM.format(ttft=rng.choice([1, 20, 200]), tokens=rng.randint(1, 60), tps=rng.choice([20, 60, 0]), fault=rng.choice(FAULTS)) + str(rng.random())

    def _body(self):
        kind = self.rng.choice(["say", "two", "two", "many", "noop"])
        if kind == "say":
            return {"workflow": "say", "input": {"text": self._prompt()}}
        if kind == "two":
            return {"workflow": "two", "input": {"first": self._prompt(), "second": self._prompt()}}
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

    def _submit_one(self, url, tenant, body, key):
        """With a key: repeated until it is known; without: one try, whose 503 leaves a doubt."""
        for attempt in range(200 if key else 1):
            if self.stop_submitting.is_set() and attempt > 20:
                return False
            try:
                with httpx.Client(timeout=15) as http:
                    headers = {"Authorization": f"Bearer {self.keys[tenant]}", **({"Idempotency-Key": key} if key else {})}
                    answer = http.post(url + "/v1/jobs", json=body, headers=headers)
            except httpx.HTTPError:
                url = self.rng.choice(self.urls)
                time.sleep(0.2)  # retry
                continue
            if answer.status_code == 202:
                self._accept(answer.json()["id"], tenant, body)
                return True
            with self.lock:
                self.refused += 1
                if answer.status_code == 503 and answer.json().get("job_id"):
                    self.doubts[answer.json()["job_id"]] = tenant
            assert answer.status_code in (429, 503), answer.text
            time.sleep(0.2)  # retry
        return False

    def _accept(self, job, tenant, body):
        with self.lock:
            if job in self.accepted:
                self.slots.release()
                return
            watched = self.accepted[job] = Watched(job, tenant, body)
        thread = threading.Thread(target=self._watch, args=(watched,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _watch(self, watched):
        last, leave = None, random.Random(watched.job)
        while self.give_up_at is None or time.monotonic() < self.give_up_at:
            api = Api(leave.choice(self.urls), self.keys[watched.tenant], limit_s=8)
            watched.connections += 1
            cut, here = leave.choice([3, 10, 1000]), 0
            try:
                for event in api.events(watched.job, last, limit_s=8):
                    watched.events.append(event)
                    last = event.id or last
                    here += 1
                    if event.type in TERMINAL:
                        watched.ended = True
                        break
                    if here >= cut:
                        break
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.1)  # retry
            finally:
                api.http.close()
            if watched.ended:
                break
        self.slots.release()

    def finish(self, limit_s):
        """No more submissions; every watcher to its end, or until the limit."""
        self.stop_submitting.set()
        self.give_up_at = time.monotonic() + limit_s
        for thread in list(self.threads):
            thread.join(max(0.1, self.give_up_at - time.monotonic() + 10))
        for thread in list(self.threads):
            thread.join(1)
