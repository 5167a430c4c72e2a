"""The `sluice` tool against the whole stack: as a script uses it, as a person does, over a network that breaks."""

import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.client import Event, check_stream, text_of, until
from tests.e2e.proxy import Proxy
from tests.e2e.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
SLUICE = str(ROOT / "build/asan/bin/sluice")
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:")
SLOW = "[[sim ttft=5 tokens=40 tps=25 text=numbered]] slow"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Tool:
    def __init__(self, url, key, **env):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        self.key = key
        self.env = {**kept, "SLUICE_URL": url, "SLUICE_KEY": key or "", **env}

    def run(self, *args, input=None, limit_s=60):
        done = subprocess.run([SLUICE, *args], env=self.env, input=input, capture_output=True, text=True, timeout=limit_s)
        self.judge(done.stdout + done.stderr)
        return done

    def judge(self, said):
        assert not SANITIZER.search(said), said
        assert not self.key or self.key not in said, "the key was printed"

    def ok(self, *args, code=0, **kwargs):
        done = self.run(*args, **kwargs)
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *args):
        return subprocess.Popen([SLUICE, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def submit(self, text, *args):
        return self.ok("submit", "say", "--input", json.dumps({"text": text}), *args).strip()


@pytest.fixture
def tool(stack):
    return Tool(stack.url, stack.key)


def events_of(ndjson):
    rows = [json.loads(line) for line in ndjson.splitlines()]
    return [Event(row.pop("id", None), row["type"], row) for row in rows]


# --- as a script uses it ---


def test_a_first_job_in_a_pipe(tool, api):
    done = tool.run("submit", "say", "--input", json.dumps({"text": "[[sim ttft=5 tokens=30 text=numbered]] x"}), "--watch")
    assert done.returncode == 0, done
    lines = [line.split("  ", 1)[1] for line in done.stdout.splitlines()]
    kinds = [line.split()[0] for line in lines]
    assert kinds[:3] == ["job.queued", "job.started", "step.started"] and kinds[-2:] == ["job.succeeded", "output"]
    job = api.job(UUID.search(done.stderr)[0])
    shown = " ".join(line.split(" | ")[1] for line in lines if line.startswith("step.delta say | "))
    assert shown.split() == job["output"].split() and "t29" in shown
    assert json.loads(lines[-1].split(" ", 1)[1]) == job["output"]


def test_submit_prints_an_id_and_get_the_job(tool, api):
    job = tool.submit("[[sim ttft=1 tokens=3]] x", "--metadata", '{"n": 0.1, "big": 12345678901234567890}')
    assert UUID.fullmatch(job)
    api.wait(job)
    raw = tool.ok("get", job)
    assert json.loads(raw) == api.job(job)
    assert '"n": 0.1' in raw or '"n":0.1' in raw
    assert json.loads(tool.ok("get", job, "--json"))["id"] == job
    answer = json.loads(tool.ok("submit", "noop", "--json"))
    assert answer["workflow"] == "noop" and answer["status"]


def test_where_a_request_can_come_from(tool, api, tmp_path):
    file = tmp_path / "input.json"
    file.write_text('{"from": "a file"}\n')
    given = lambda job: api.wait(job)["output"]["given"]  # noqa: E731
    assert given(tool.ok("submit", "noop").strip()) == {}
    assert given(tool.ok("submit", "noop", "--input", f"@{file}").strip()) == {"from": "a file"}
    assert given(tool.ok("submit", "noop", "--input", "-", input='{"from": "a pipe"}').strip()) == {"from": "a pipe"}
    whole = {"workflow": "noop", "input": {"from": "a request"}, "class": "bulk", "metadata": {"a": 1}}
    job = api.wait(tool.ok("submit", "-", input=json.dumps(whole)).strip())
    assert job["output"]["given"] == {"from": "a request"} and job["class"] == "bulk" and job["metadata"] == {"a": 1}
    job = api.wait(tool.ok("submit", "branch", "--version", "1", "--input", '{"go": false}', "--class", "bulk").strip())
    assert job["version"] == 1 and job["class"] == "bulk"


def test_watch_as_ndjson_is_the_stream(tool, api):
    job = tool.submit("[[sim ttft=5 tokens=20 tps=100 text=numbered]] x")
    events = events_of(tool.ok("watch", job, "--json"))
    assert check_stream(events).type == "job.succeeded"
    assert text_of(events, "say") == api.job(job)["output"]
    again = events_of(tool.ok("watch", job, "--json", "--after", events[2].id))
    assert [e.id for e in again] == [e.id for e in events[3:]]
    over = tool.run("watch", job, "--json", "--after", events[-1].id)
    assert over.returncode == 0 and over.stdout == "" and "succeeded" in over.stderr


def test_list_is_a_table(tool, api):
    jobs = [tool.ok("submit", "noop", "--input", json.dumps({"i": i})).strip() for i in range(3)]
    [api.wait(job) for job in jobs]
    lines = tool.ok("list", "--workflow", "noop", "--limit", "3").splitlines()
    assert lines[0].split()[:3] == ["ID", "STATUS", "WORKFLOW"]
    assert [line.split()[0] for line in lines[1:]] == jobs[::-1]
    assert all(line.split()[1:4] == ["succeeded", "noop@1", "interactive"] for line in lines[1:])
    assert tool.ok("list", "--status", "failed", "--workflow", "noop").splitlines() == lines[:1]
    page = json.loads(tool.ok("list", "--limit", "2", "--json"))
    assert [row["id"] for row in page["data"]] == jobs[:0:-1] and page["has_more"]
    rest = tool.ok("list", "--limit", "1", "--after", page["next"]).splitlines()
    assert rest[1].split()[0] == jobs[0]


def test_exit_codes(tool, stack):
    assert tool.run("submit", "say", "--input", '{"text": "[[sim ttft=1 fail=400]] x"}', "--watch").returncode == 1
    assert tool.run("submit", "say", "--input", '{"text": "[[sim ttft=20000]] x"}', "--deadline", "1s", "--watch").returncode == 3
    job = tool.submit("[[sim ttft=1 tokens=4000 tps=20]] long")
    watch = tool.start("watch", job)
    until(lambda: "step.started" in watch.stdout.readline(), what="a running step")
    assert tool.ok("cancel", job).split()[0] == job
    out, err = watch.stdout.read(), watch.stderr.read()
    assert watch.wait(timeout=30) == 3 and "job.canceled" in out, (out, err)
    assert tool.ok("cancel", job) == f"{job} canceled\n"
    assert tool.run("get", "01900000-0000-7000-8000-000000000000").returncode == 1
    assert tool.run("frobnicate").returncode == 2
    assert tool.run("rollout", "status").returncode == 2
    assert tool.run("submit", "noop", "--input", "{").returncode == 2
    away = Tool("http://127.0.0.1:1", stack.key).run("get", job)
    assert away.returncode == 4 and "cannot reach http://127.0.0.1:1" in away.stderr and "hint" in away.stderr


def test_refusals_say_what_to_do(tool, stack):
    done = tool.run("submit", "say", "--input", '{"text": 7}')
    assert done.returncode == 1 and "  at /input/text\n" in done.stderr and "hint:" in done.stderr, done.stderr
    done = tool.run("submit", "nope")
    assert "422 unknown_workflow" in done.stderr and "hint:" in done.stderr
    wrong = Tool(stack.url, "sk-wrong-" + "x" * 30).run("list")
    assert wrong.returncode == 1 and "401" in wrong.stderr and "SLUICE_KEY" in wrong.stderr
    none = Tool(stack.url, None).run("list")
    assert none.returncode == 1 and "401" in none.stderr
    other = Tool(stack.url, stack.key_2).run("get", tool.submit("[[sim ttft=1 tokens=1]] x"))
    assert other.returncode == 1 and "404 not_found" in other.stderr


def test_key_file(tool, stack, tmp_path):
    file = tmp_path / "key"
    file.write_text(stack.key + "\n")
    keyless = Tool(stack.url, None)
    keyless.key = stack.key
    assert keyless.ok("list", "--key-file", str(file)).startswith("ID")
    assert keyless.run("list", "--key-file", str(tmp_path / "none")).returncode == 2
    file.write_text("two words")
    bad = keyless.run("list", "--key-file", str(file))
    assert bad.returncode == 2 and "two words" not in bad.stderr
    assert keyless.run("list", "--key", stack.key[:4]).returncode == 2


def test_one_key_is_one_job(tool):
    args = ("submit", "noop", "--input", '{"n": 1}', "--idempotency-key", "tool \"order\" 17")
    assert tool.ok(*args) == tool.ok(*args)
    other = tool.run("submit", "noop", "--input", '{"n": 2}', "--idempotency-key", "tool \"order\" 17")
    assert other.returncode == 1 and "--idempotency-key" in other.stderr
    assert tool.ok("submit", "noop") != tool.ok("submit", "noop")


def test_retry(tool, api):
    job = tool.submit("[[sim ttft=1 fail=400]] x")
    assert api.wait(job)["status"] == "failed"
    new = tool.ok("retry", job).strip()
    assert UUID.fullmatch(new) and new != job
    done = tool.run("retry", job, "--watch")
    assert done.returncode == 1 and new in done.stderr and "job.failed" in done.stdout
    live = tool.submit("[[sim ttft=3000 tokens=1]] x")
    refused = tool.run("retry", live)
    assert refused.returncode == 1 and "409" in refused.stderr and "sluice cancel" in refused.stderr


# --- over a network that breaks ---


def test_a_watch_survives_a_breaking_network(stack, api, tool):
    def plan(n):
        return "refuse" if n % 3 == 2 else 300 + 97 * n if n < 5 else None

    job = tool.submit(SLOW)
    with Proxy(stack.url, plan) as proxy:
        out = Tool(proxy.url, stack.key).run("watch", job, "--json")
        assert proxy.connections > 4, proxy.connections
    assert out.returncode == 0, out.stderr
    events = events_of(out.stdout)
    assert check_stream(events).type == "job.succeeded"
    assert text_of(events, "say") == api.job(job)["output"]
    assert "again in" in out.stderr and "connected again" in out.stderr


def test_a_submission_whose_answer_is_lost_is_one_job(stack, api):
    # The request arrives, its answer does not: the same key makes the second try the same job.
    with Proxy(stack.url, lambda n: 0 if n == 0 else None) as proxy:
        done = Tool(proxy.url, stack.key).run("submit", "noop", "--input", '{"lost": true}', "--metadata", '{"once": "lost-answer"}')
        assert proxy.connections == 2
    assert done.returncode == 0, done.stderr
    api.wait(done.stdout.strip())
    page = api.http.get("/v1/jobs", params={"limit": 20, "workflow": "noop"}).json()["data"]
    lost = [row["id"] for row in page if api.job(row["id"])["output"]["given"] == {"lost": True}]
    assert lost == [done.stdout.strip()]


def test_ctrl_c_says_how_to_go_on(tool, api):
    job = tool.submit(SLOW)
    watch = tool.start("watch", job, "--json")
    first = [watch.stdout.readline() for _ in range(5)]
    watch.send_signal(signal.SIGINT)
    rest, err = watch.stdout.read(), watch.stderr.read()
    tool.judge(err)
    assert watch.wait(timeout=20) == 130
    after = re.search(rf"sluice watch {job} --after (\S+)", err)
    assert after, err
    events = events_of("".join(first) + rest)
    assert events[-1].id == after[1]
    events += events_of(tool.ok("watch", job, "--json", "--after", after[1]))
    assert check_stream(events).type == "job.succeeded"
    assert text_of(events, "say") == api.job(job)["output"]


def test_a_reader_that_leaves_ends_the_watch(tool):
    job = tool.submit(SLOW)
    watch = tool.start("watch", job, "--json")
    watch.stdout.readline()
    watch.stdout.close()
    assert watch.wait(timeout=20) == 1
    tool.judge(watch.stderr.read())


# --- as a person uses it ---


def test_a_terminal_shows_steps_and_live_text(tool, api):
    terminal = Terminal([SLUICE, "submit", "two", "--watch", "--input", json.dumps(
        {"first": "[[sim ttft=1 tokens=5]] one", "second": "[[sim ttft=1 tokens=60 tps=40 text=numbered]] two"})], tool.env)
    assert terminal.read(lambda screen: "t9 t10" in screen.text())
    rows = terminal.screen.text().splitlines()
    head = next(i for i, row in enumerate(rows) if row.startswith("two  running"))
    assert re.match(r"  . first   completed", rows[head + 1]) and re.match(r"  . second  running", rows[head + 2]), rows
    assert terminal.read(limit_s=60) and terminal.code == 0
    tool.judge(terminal.raw.decode())
    text = terminal.screen.text()
    job = api.job(UUID.search(text)[0])
    assert text.count("two  succeeded") == 1 and "two  running" not in text
    assert re.search(r"  . second  completed .* 60 tokens", text)
    assert json.dumps(job["output"]["second"]) in text  # the whole output, indented, below


def test_a_terminal_forgets_text_that_is_void(tool):
    text = "[[sim ttft=1 tokens=30 tps=30 text=numbered cut_after=20 cut_times=1]] once"
    terminal = Terminal([SLUICE, "submit", "say", "--watch", "--input", json.dumps({"text": text})], tool.env)
    assert terminal.read(lambda screen: "t15" in screen.text())
    assert terminal.read(lambda screen: "attempt 2" in screen.text() and "t15" not in screen.text())
    assert terminal.read(limit_s=60) and terminal.code == 0
    assert terminal.screen.text().count("t15 ") == 1


def test_a_terminal_says_when_the_connection_is_gone(stack, tool):
    job = tool.submit("[[sim ttft=1 tokens=80 tps=20 text=numbered]] x")
    broken = threading.Event()
    with Proxy(stack.url, lambda n: 900 if n == 0 else "refuse" if not broken.is_set() else None) as proxy:
        terminal = Terminal([SLUICE, "watch", job], Tool(proxy.url, stack.key).env)
        assert terminal.read(lambda screen: "not connected" in screen.text())
        broken.set()
        assert terminal.read(lambda screen: "running" in screen.text() and "not connected" not in screen.text())
        assert terminal.read(limit_s=60) and terminal.code == 0
    assert "t79" in terminal.screen.text()


def test_get_is_indented_in_a_terminal(tool, api):
    job = tool.submit("[[sim ttft=1 tokens=2]] x")
    api.wait(job)
    terminal = Terminal([SLUICE, "get", job], tool.env)
    assert terminal.read() and terminal.code == 0
    assert f'{{\n  "id": "{job}",\n  "status": "succeeded",\n' in terminal.screen.text()
    assert json.loads(terminal.screen.text()) == api.job(job)


# --- keys and the doctor ---


def test_key_new(tool):
    lines = [tool.ok("key", "new", "--tenant", "acme", "--scopes", "submit,admin").splitlines() for _ in range(2)]
    key, line = lines[0]
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{43}", key) and key != lines[1][0]
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert line == f'- {{id: "acme", keys: [{{sha256: "{digest}", scopes: [submit, admin]}}]}}'


def test_the_doctor_finds_a_well_stack_well(stack, api):
    config = stack.state.path("sluice.yaml")
    doctor = Tool(stack.url, stack.key, SLUICE_ADMIN_URL=stack.admin_url, SLUICE_PROVIDER_KEY="x")
    out = doctor.ok("doctor", "--config", config)
    assert "0 failures" in out and not re.search(r"^fail", out, re.M), out
    for line in ("config", "workflows", "kafka", "topics", "workers", "redis", "clock", "gateway", "api"):
        assert re.search(rf"^ok    {line} ", out, re.M), (line, out)


def test_the_doctor_finds_what_is_wrong(stack, tmp_path):
    config = stack.state.path("sluice.yaml")
    doctor = Tool(stack.url, "sk-nobody-knows-me", SLUICE_ADMIN_URL="http://127.0.0.1:1", SLUICE_KAFKA_BROKERS="127.0.0.1:1",
                  SLUICE_REDIS_URL="redis://:secret-password@127.0.0.1:1/0")
    out = doctor.ok("doctor", "--config", config, code=1)
    for line in ("kafka", "redis", "gateway", "api"):
        assert re.search(rf"^fail  {line} .*\n +-> ", out, re.M), (line, out)
    assert "secret-password" not in out
    doctor = Tool(stack.url, stack.key, SLUICE_KAFKA_PARTITIONS="5")
    assert "has 4 partitions, not 5" in doctor.ok("doctor", "--config", config, code=1)
    bad = tmp_path / "bad.yaml"
    bad.write_text("kafka: {brokrs: x}\n")
    out = doctor.ok("doctor", "--config", str(bad), code=1)
    assert re.search(r"^fail  config .*bad.yaml:1.*brokrs", out, re.M) and "skip  kafka" in out


def test_a_doctor_changes_nothing(stack):
    fresh = Tool(stack.url, stack.key, SLUICE_KAFKA_TOPIC_PREFIX="nobody-made-these.")
    for _ in range(2):  # the first look made nothing
        assert "none is there yet" in fresh.ok("doctor", "--config", stack.state.path("sluice.yaml"))


def test_help_and_usage():
    tool = Tool("http://127.0.0.1:1", None)
    page = tool.ok("--help")
    for command in ("submit", "watch", "get", "list", "cancel", "retry", "doctor"):
        assert f"sluice {command}" in page
        assert tool.ok(command, "--help").startswith(f"sluice {command}")
    started = time.monotonic()
    done = tool.run("sumbit")
    assert done.returncode == 2 and "did you mean submit?" in done.stderr and time.monotonic() - started < 5
