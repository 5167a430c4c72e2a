"""The judge: promises A to D over the clients' logs, the provider's journal and the topics."""

import json
import time

import httpx

from tests.chaos.topics import read_topic, stories
from tests.e2e.client import Api, check_stream, text_of, until
from tests.provider.client import read_journal

CLOCK_MS = 100  # one host: a record's stamp and the provider's start are taken by two processes
ENDS_S = 60  # jobs in doubt run as long as any other
REBUILT_S = 60  # after the last fault every home is whole again within this time


class Verdict:
    def __init__(self):
        self.lost, self.doubled, self.holes, self.paid_twice, self.foreign, self.other = [], [], [], [], [], []
        self.cut_calls = 0

    def failures(self):
        return self.lost + self.doubled + self.holes + self.paid_twice + self.foreign + self.other

    def line(self):
        return (f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.holes)} holes, {len(self.paid_twice)} steps paid twice "
                f"({self.cut_calls} calls cut by deaths), {len(self.foreign)} seen by strangers, {len(self.other)} other")


def settled(api, job):
    """The API's last word about a job: 503 means not now and is asked again, everything else is an answer."""
    return until(lambda: (answer := api.get(job)).status_code != 503 and answer, REBUILT_S, what=f"an answer about {job}")


def may_end(watched, status):
    """Only what somebody asked for, or a workflow that fails by itself, may end otherwise than well."""
    return status == "succeeded" or (status == "canceled" and watched.canceled) or (status == "failed" and watched.may_fail)


def check_ends(verdict, load, told, seen):
    for job, watched in load.accepted.items():
        story, view = told.get(job), seen[job]
        if not story or not story.end:
            verdict.lost.append(f"{job}: no terminal record")
            continue
        status = story.end["headers"]["kind"]
        if view is None:
            verdict.lost.append(f"{job}: {status} in the log, unknown to the API")
            continue
        if view["status"] != status:
            verdict.doubled.append(f"{job}: the log says {status}, the API {view['status']}")
        if view.get("output") != story.output:
            verdict.doubled.append(f"{job}: the API's output is not the recorded one")
        if not may_end(watched, status):
            verdict.other.append(f"{job}: {status} {view.get('error')}")
        if not watched.ended:
            verdict.lost.append(f"{job}: its watcher saw no end over {watched.connections} connections; {watched.troubles[-1:]}")


def texts_of(view):
    """(step, item, text) of every text in the output of an ended job."""
    if view["status"] == "succeeded" and view["workflow"] == "two":
        return [(step, None, view["output"][step]) for step in ("first", "second")]
    if view["status"] == "succeeded" and view["workflow"] == "many":
        return [("each", item, text) for item, text in enumerate(view["output"]["all"]) if text is not None]
    return []


def was_streamed(watched, step, item):
    """Did this watcher get the text in pieces? Not where a step's output was inherited from the job before, nor behind a snapshot that names no
    text of the step: those of items, and that of an ended job after a wipe, which is made from its terminal record alone."""
    snapshots = [event.data["job"] for event in watched.events if event.type == "job.snapshot"]
    if snapshots:
        row = next((s for s in snapshots[-1]["steps"] if s["id"] == step), {})
        return item is None and (row.get("text") or row.get("output")) is not None
    return not watched.retry_of or any(e.type == "step.delta" and e.data["step"] == step and e.data.get("item") == item for e in watched.events)


def check_one_stream(watched, view, again):
    end = check_stream(watched.events)
    assert end.type == "job." + view["status"], (end, view["status"])
    assert end.data.get("output") == view.get("output"), "the terminal event's output"
    for step, item, text in texts_of(view):
        if was_streamed(watched, step, item):
            assert text_of(watched.events, step, item) == text, (step, item, text_of(watched.events, step, item), text)
    assert check_stream(again).id == end.id, "a second reading ends elsewhere"


def check_streams(verdict, load, api, seen):
    for job, watched in load.accepted.items():
        if not watched.ended or seen[job] is None:
            continue
        try:
            check_one_stream(watched, seen[job], list(api[watched.tenant].events(job)))
        except AssertionError as wrong:
            verdict.holes.append(f"{job}: {str(wrong)[:300]}")


def inherited(load, told, job, step, item):
    """A retried job's steps that the job before it had completed are never called."""
    before = load.accepted[job].retry_of if job in load.accepted else None
    record = told[before].checkpoints.get((step, item)) if before and before in told else None
    return record is not None and json.loads(record["value"]).get("status") == "completed"


def check_payments(verdict, load, told, journal):
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
        if inherited(load, told, job, step, item):
            verdict.paid_twice.append(f"{job}/{step}/{item}: recorded by {load.accepted[job].retry_of} and called again")
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


def check_doubts(verdict, load, endless):
    """Whatever landed has an end, also where the client never heard a 202: a 503 in doubt, a gateway that died."""
    for job in endless:
        if job not in load.accepted:
            verdict.lost.append(f"{job}: {'in doubt' if job in load.doubts else 'never answered'}, landed, and without an end")


def read_all(stack, partitions, prefix):
    """The life of every job, and what was accepted; both are also kept as evidence."""
    rows = {name: read_topic(stack.brokers, prefix + name, partitions) for name in ("state", "jobs.interactive", "jobs.bulk", "cont", "dlq")}
    with open(stack.state.path("topics.jsonl"), "w", encoding="utf-8") as file:
        for name, list_of in rows.items():
            for row in list_of:
                file.write(json.dumps({"topic": name, **row, "value": row["value"].decode("utf-8", "replace")}) + "\n")
    return stories(rows["state"]), rows["jobs.interactive"] + rows["jobs.bulk"]


def ends_of_all(stack, partitions, prefix):
    """Read until everything that landed has its end (nobody watches jobs in doubt), or for as long as that may take."""
    deadline = time.monotonic() + ENDS_S
    while True:
        told, jobs = read_all(stack, partitions, prefix)
        endless = [job for job in {row["headers"]["job-id"] for row in jobs} if not (job in told and told[job].end)]
        if not endless or time.monotonic() > deadline:
            return told, endless
        time.sleep(0.5)  # poll


def judge(stack, load, keys, partitions, prefix="sluice."):
    verdict = Verdict()
    told, endless = ends_of_all(stack, partitions, prefix)
    api = [Api(stack.url, key) for key in keys]
    answers = {job: settled(api[watched.tenant], job) for job, watched in load.accepted.items()}
    seen = {job: answer.json() if answer.status_code == 200 else None for job, answer in answers.items()}
    check_ends(verdict, load, told, seen)
    check_streams(verdict, load, api, seen)
    check_payments(verdict, load, told, read_journal(stack.journal))
    check_walls(verdict, load, stack.url, keys)
    check_doubts(verdict, load, endless)
    return verdict
