"""The judge: promises A to D over the clients' logs, the provider's journal and the topics."""

import httpx

from tests.chaos.topics import read_topic, stories
from tests.e2e.client import Api, check_stream, text_of
from tests.provider.client import read_journal

CLOCK_MS = 100  # one host: a record's stamp and the provider's start are taken by two processes


class Verdict:
    def __init__(self):
        self.lost, self.doubled, self.holes, self.paid_twice, self.foreign, self.other = [], [], [], [], [], []
        self.cut_calls = 0

    def failures(self):
        return self.lost + self.doubled + self.holes + self.paid_twice + self.foreign + self.other

    def line(self):
        return (f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.holes)} holes, {len(self.paid_twice)} steps paid twice "
                f"({self.cut_calls} calls cut by deaths), {len(self.foreign)} seen by strangers, {len(self.other)} other")


def check_ends(verdict, load, told, api):
    for job, watched in load.accepted.items():
        story = told.get(job)
        if not story or not story.end:
            verdict.lost.append(f"{job}: no terminal record")
            continue
        status = story.end["headers"]["kind"]
        seen = api[watched.tenant].job(job)
        if seen["status"] != status:
            verdict.doubled.append(f"{job}: the log says {status}, the API {seen['status']}")
        if seen.get("output") != story.output:
            verdict.doubled.append(f"{job}: the API's output is not the recorded one")
        if status != "succeeded" and "[[sim" in str(watched.body):
            verdict.other.append(f"{job}: {status} {seen.get('error')}")
        if not watched.ended:
            verdict.lost.append(f"{job}: its watcher saw no end over {watched.connections} connections")


def check_streams(verdict, load, api):
    for job, watched in load.accepted.items():
        if not watched.ended:
            continue
        try:
            end = check_stream(watched.events)
            done = api[watched.tenant].job(job)
            assert end.type == "job." + done["status"], (end, done["status"])
            if watched.body["workflow"] == "two" and done["status"] == "succeeded":
                for step in ("first", "second"):
                    assert text_of(watched.events, step) == done["output"][step], (step, text_of(watched.events, step))
            check_stream(list(api[watched.tenant].events(job)))
        except AssertionError as wrong:
            verdict.holes.append(f"{job}: {str(wrong)[:300]}")


def check_payments(verdict, told, journal):
    calls = {}
    for call in journal:
        if not call.get("identity"):
            continue
        job, step, item, _ = call["identity"].split("/")
        calls.setdefault((job, step, "-1" if item == "-" else item), []).append(call)
    for (job, step, item), made in calls.items():
        story = told.get(job)
        record = story.checkpoints.get((step, item)) if story else None
        if record:
            late = [c for c in made if c["t_start_ms"] > record["ms"] + CLOCK_MS]
            if late:
                verdict.paid_twice.append(f"{job}/{step}/{item}: recorded at {record['ms']}, called again {[c['t_start_ms'] for c in late]}")
        whole = [c for c in made if c.get("outcome") == "ok"]
        verdict.cut_calls += max(0, len(whole) - 1)


def check_walls(verdict, load, url, keys):
    with httpx.Client(base_url=url, timeout=20) as http:
        for job, watched in list(load.accepted.items())[:60]:
            foreign = keys[(watched.tenant + 1) % len(keys)]
            for path in ("", "/events"):
                answer = http.get(f"/v1/jobs/{job}{path}", headers={"Authorization": f"Bearer {foreign}"})
                if answer.status_code != 404:
                    verdict.foreign.append(f"{job}{path}: {answer.status_code} for another tenant")


def check_doubts(verdict, load, told, jobs):
    """A 503 with an id either never landed or has one end."""
    landed = {row["headers"]["job-id"] for row in jobs}
    for job in load.doubts:
        if job in landed and not (told.get(job) and told[job].end):
            verdict.lost.append(f"{job}: in doubt, landed, and without an end")


def judge(stack, load, keys, partitions, prefix="sluice."):
    verdict = Verdict()
    told = stories(read_topic(stack.brokers, prefix + "state", partitions))
    jobs = [row for cls in ("interactive", "bulk") for row in read_topic(stack.brokers, prefix + "jobs." + cls, partitions)]
    api = [Api(stack.url, key) for key in keys]
    check_ends(verdict, load, told, api)
    check_streams(verdict, load, api)
    check_payments(verdict, told, read_journal(stack.journal))
    check_walls(verdict, load, stack.url, keys)
    check_doubts(verdict, load, told, jobs)
    return verdict
