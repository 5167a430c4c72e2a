"""The stack against its promises: python3 -m unittest tests.stack.test_stack   (about half a minute)

Kafka, Redis and the provider are real; gateway and consumer are stand-ins that only answer /readyz, so these tests need no
build and say nothing about Sluice itself.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from tests.stack import Stack, StackError, config, ports
from tests.stack.procs import Proc, start_ticks
from tests.stack.state import State

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WAIT_S = 60
STAND_IN = """#!/usr/bin/python3
import http.server, os, signal, sys, time
name = os.path.basename(sys.argv[0])
port = int(os.environ["SLUICE_%s_ADMIN" % name.upper()].rpartition(":")[2])
print("started with", os.environ.get("MARK"), flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass
def end(*_):
    with open(os.path.join(os.path.dirname(sys.argv[2]), "ended"), "a") as file:
        file.write(name + "\\n")
    os._exit(0)
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
signal.signal(signal.SIGTERM, end)
server.serve_forever()
"""


def wait_until(condition, what):
    until = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {WAIT_S} s: {what}")
        time.sleep(0.02)


class Run:
    """A `make run` of our own: stand-ins for the programs, nothing built."""

    def __init__(self, home, state, **variables):
        self.home = home
        self.state = os.path.join(home, state)
        self.errors = os.path.join(home, state + ".stderr")
        words = [f"{name}={value}" for name, value in {"STATE": self.state, **variables}.items()]
        with open(self.errors, "wb") as errors:
            self.make = subprocess.Popen(["make", "-f", os.path.join(home, "Makefile"), "run", *words], cwd=ROOT,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                                         start_new_session=True)

    def ready(self):
        line = self.make.stdout.readline()
        assert line.startswith("ready: http://127.0.0.1:"), (line, self.said())
        return self

    def said(self):
        with open(self.errors, encoding="utf-8") as file:
            return file.read()

    def env(self):
        with open(os.path.join(self.state, "env"), encoding="utf-8") as file:
            return dict(line[7:].rstrip("\n").split("=", 1) for line in file)

    def pids(self):
        return {name: int(value) for name, value in self.env().items() if name.startswith("PID_")}

    def end(self, signum=signal.SIGTERM, group=False):
        """Signal make (or its whole group, as Ctrl-C does); returns the rest of its standard output."""
        if group:
            os.killpg(self.make.pid, signum)
        else:
            self.make.send_signal(signum)
        rest = self.make.communicate(timeout=WAIT_S)[0]
        return rest

    def part(self, name, **env):
        return subprocess.run(["make", "-s", "-f", os.path.join(self.home, "Makefile"), "run-part", f"PART={name}",
                               f"STATE={self.state}"], cwd=ROOT, env={**os.environ, **env}, capture_output=True,
                              text=True, timeout=WAIT_S, check=False)


class MakeRun(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="sluice-stack-test-")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.home], check=False)
        for name in ("gateway", "consumer"):
            path = os.path.join(self.home, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(STAND_IN)
            os.chmod(path, 0o755)
        with open(os.path.join(self.home, "Makefile"), "w", encoding="utf-8") as file:
            file.write(f"STACK_BIN = {self.home}\ninclude tests/stack/stack.mk\n")
        self.runs = []
        self.addCleanup(self.end_all)

    def run_stack(self, state, **variables):
        self.runs.append(Run(self.home, state, **variables))
        return self.runs[-1]

    def end_all(self):
        for run in self.runs:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                run.end(signal.SIGTERM)
            run.make.stdout.close()

    def assert_gone(self, pids):
        wait_until(lambda: not [name for name, pid in pids.items() if start_ticks(pid)], f"all of {pids} gone")

    def test_two_side_by_side_and_ctrl_c_ends_one(self):
        first, second = self.run_stack("a", WORKERS=1), self.run_stack("b", WORKERS=3)
        first.ready(), second.ready()
        one, two = first.env(), second.env()
        self.assertEqual(set(first.pids()), {"PID_KAFKA", "PID_REDIS", "PID_PROVIDER", "PID_GATEWAY", "PID_CONSUMER_1"})
        self.assertIn("PID_CONSUMER_3", two)
        for name in ("SLUICE_URL", "SLUICE_ADMIN_URL", "SLUICE_KEY", "SLUICE_KEY_2", "KAFKA_BROKERS", "REDIS_URL",
                     "PROVIDER_URL"):
            self.assertNotEqual(one[name], two[name])
        pids = first.pids()
        self.assertEqual(first.end(signal.SIGINT, group=True), "")
        self.assert_gone(pids)
        self.assertFalse(os.path.exists(os.path.join(first.state, "env")))
        with open(os.path.join(first.state, "ended"), encoding="utf-8") as file:
            self.assertEqual(file.read().split(), ["gateway", "consumer"])
        self.assertTrue(all(start_ticks(pid) for pid in second.pids().values()))

    def test_after_kill_9_of_everything(self):
        run = self.run_stack("a").ready()
        before, pids = run.env(), run.pids()
        os.killpg(run.make.pid, signal.SIGKILL)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        self.assert_gone(pids)
        again = self.run_stack("a").ready()
        after = again.env()
        for name in ("SLUICE_URL", "SLUICE_KEY", "SLUICE_KEY_2", "KAFKA_BROKERS", "REDIS_URL", "PROVIDER_URL"):
            self.assertEqual(before[name], after[name])
        self.assertFalse(set(pids.values()) & set(again.pids().values()))

    def test_after_kill_9_of_the_parts_alone(self):
        run = self.run_stack("a", WORKERS=1).ready()
        for pid in run.pids().values():
            os.kill(pid, signal.SIGKILL)
        self.run_stack("a", WORKERS=1).ready()
        self.assertEqual(run.make.wait(WAIT_S), 0)

    def test_leftovers_are_ended_and_strangers_are_not(self):
        run = self.run_stack("a").ready()
        pids = run.pids()
        os.killpg(run.make.pid, signal.SIGKILL)
        run.make.wait(WAIT_S)
        stranger = subprocess.Popen(["sleep", "600"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        record = os.path.join(run.state, "stack.json")
        with open(record, encoding="utf-8") as file:
            text = file.read()
        os.kill(pids["PID_CONSUMER_1"], signal.SIGKILL)
        with open(record, "w", encoding="utf-8") as file:  # the dead consumer's pid now belongs to somebody else
            file.write(text.replace(f'"pid": {pids["PID_CONSUMER_1"]}', f'"pid": {stranger.pid}'))
        self.run_stack("a").ready()
        self.assert_gone(pids)
        self.assertIsNone(stranger.poll())

    def test_make_killed_ends_the_stack(self):
        run = self.run_stack("a").ready()
        pids = run.pids()
        run.make.kill()
        self.assert_gone(pids)

    def test_int_to_make_alone_ends_the_stack(self):
        run = self.run_stack("a", WORKERS=1).ready()
        pids = run.pids()
        run.end(signal.SIGINT)
        self.assert_gone(pids)

    def test_ctrl_c_while_starting(self):
        run = self.run_stack("a")
        state = State(run.state)
        wait_until(lambda: "redis" in state.read().get("parts", {}), "redis started")
        pids = {name: entry["pid"] for name, entry in state.read()["parts"].items()}
        self.assertEqual(run.end(signal.SIGINT, group=True), "")
        self.assert_gone(pids)
        self.assertEqual(state.read()["parts"], {})

    def test_parts_that_die_and_run_part(self):
        run = self.run_stack("a", WORKERS=2).ready()
        before = run.pids()
        log = os.path.join(run.state, "log", "consumer-2.log")
        wait_until(lambda: "started with None" in open(log, encoding="utf-8").read(), "consumer-2 begun")  # ready needs one consumer
        os.kill(before["PID_CONSUMER_2"], signal.SIGKILL)
        line = f"consumer-2 (pid {before['PID_CONSUMER_2']}) has ended: killed by SIGKILL; log: {run.state}/log/consumer-2.log"
        wait_until(lambda: line in run.said(), line)
        self.assertEqual(run.part("consumer-2", MARK="again").returncode, 0)
        self.assertEqual(run.part("consumer-3").returncode, 0)
        self.assertNotEqual(run.part("consumer-1").returncode, 0)  # it runs
        self.assertNotEqual(run.part("broker").returncode, 0)
        with open(log, encoding="utf-8") as file:
            self.assertEqual(file.read().split("\n")[:2], ["started with None", "started with again"])
        os.kill(before["PID_REDIS"], signal.SIGKILL)
        wait_until(lambda: "redis (pid" in run.said(), "redis reported")
        self.assertEqual(run.part("redis").returncode, 0)
        after = run.pids()
        self.assertEqual(set(after) - set(before), {"PID_CONSUMER_3"})
        changed = {name for name in before if before[name] != after[name]}
        self.assertEqual(changed, {"PID_CONSUMER_2", "PID_REDIS"})
        wait_until(lambda: f"consumer-3 (pid {after['PID_CONSUMER_3']})" in run.said(), "adopted")
        run.end()
        self.assert_gone(after)
        self.assertNotEqual(run.part("consumer-2").returncode, 0)  # nothing runs here now

    def test_a_second_run_in_the_same_state_is_refused(self):
        run = self.run_stack("a", WORKERS=1).ready()
        second = Run(self.home, "a")
        out, _ = second.make.communicate(timeout=WAIT_S)
        self.assertEqual((out, second.make.returncode), ("", 2))
        self.assertTrue(all(start_ticks(pid) for pid in run.pids().values()))

    def test_config_port_and_fresh(self):
        book = ports.PortBook()
        port = book.get("gateway")
        book.close()
        path = os.path.join(self.home, "own.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("tenants: [{id: acme, keys: [{sha256: abc, scopes: [read]}]}]\nworkflows: {dir: flows}\n")
        run = self.run_stack("a", CONFIG=path, PORT=port, WORKERS=1).ready()
        self.assertEqual(run.env()["SLUICE_URL"], f"http://127.0.0.1:{port}")
        effective = config.load(os.path.join(run.state, "sluice.yaml"))
        self.assertEqual([tenant["id"] for tenant in effective["tenants"]], ["acme", "local-1", "local-2"])
        self.assertEqual(effective["workflows"]["dir"], os.path.join(self.home, "flows"))
        self.assertEqual(effective["gateway"]["listen"], f"127.0.0.1:{port}")
        key = run.env()["SLUICE_KEY"]
        run.end()
        mark = os.path.join(run.state, "redis", "kept")
        with open(mark, "w", encoding="utf-8"):
            pass
        run = self.run_stack("a", FRESH=1, WORKERS=1).ready()
        self.assertFalse(os.path.exists(mark))
        self.assertNotEqual(run.env()["SLUICE_KEY"], key)

    def test_a_part_that_cannot_start_is_told_and_nothing_stays(self):
        with open(os.path.join(self.home, "gateway"), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\necho no such key: colour\nexit 3\n")
        run = self.run_stack("a")
        out, _ = run.make.communicate(timeout=WAIT_S)
        self.assertEqual((out, run.make.returncode), ("", 2))
        self.assertIn("gateway ended before it was ready: exit status 3", run.said())
        self.assertIn("no such key: colour", run.said())
        with open(os.path.join(run.state, "stack.json"), encoding="utf-8") as file:
            self.assertIn('"parts": {}', file.read())


class Objects(unittest.TestCase):
    def test_kill_pause_restart_keep_ports_and_data(self):
        with tempfile.TemporaryDirectory() as folder, \
                Stack(folder, parts=["kafka", "redis", "provider"], tenants=["acme"]) as stack:
            addresses = (stack.brokers, stack.redis_url, stack.provider_url)
            self.assertIn("acme", stack.keys)
            for name in ("kafka", "redis", "provider"):
                pid = stack.pid(name)
                stack.kill(name)
                self.assertFalse(stack.alive(name))
                stack.start_part(name)
                self.assertNotEqual(stack.pid(name), pid)
            stack.pause("redis")
            self.assertIsNotNone(stack["redis"].probe())
            stack.resume("redis")
            stack.wait_ready("redis")
            stack.restart("kafka")
            self.assertEqual((stack.brokers, stack.redis_url, stack.provider_url), addresses)
            self.assertEqual(stack.sim.stats()["total"]["calls"], 0)
            with self.assertRaises(StackError):
                Stack(folder).start()
            stack.pause("provider")  # a paused part is ended too
            pids = {name: part.pid for name, part in stack.parts.items()}
        self.assertEqual([name for name, pid in pids.items() if start_ticks(pid)], [])

    def test_identity_of_processes(self):
        child = subprocess.Popen(["sleep", "600"])
        try:
            proc = Proc.adopt(child.pid, start_ticks(child.pid))
            self.assertTrue(proc.alive())
            self.assertFalse(Proc.adopt(child.pid, 1).alive())
            Proc.adopt(child.pid, 1).send(signal.SIGKILL)
            self.assertFalse(proc.wait(0.1))
            proc.end(5)
            self.assertFalse(proc.alive())
        finally:
            child.kill()
            child.wait()

    def test_ports(self):
        one, two = ports.PortBook(), ports.PortBook()
        chosen = [one.get(str(n)) for n in range(20)]
        self.assertEqual(len(set(chosen)), 20)
        self.assertTrue(all(port < 32768 for port in chosen))
        self.assertFalse(two.claim("x", chosen[0]))
        one.close()
        self.assertTrue(two.claim("x", chosen[0]))
        two.close()


class Configs(unittest.TestCase):
    def load(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            return config.load(file.name)

    def test_scalars_keep_their_kind(self):
        values = self.load("a: yes\nb: 007\nc: 1.5\nd: true\ne: ~\nf: 6s\ng: '5'\nh: 12345678901234567890123\n")
        self.assertEqual(values, {"a": "yes", "b": 7, "c": 1.5, "d": True, "e": None, "f": "6s", "g": "5",
                                  "h": "12345678901234567890123"})

    def test_what_is_written_is_read_back(self):
        values = {"kafka": {"brokers": "127.0.0.1:1", "partitions": 8}, "empty": {}, "none": None, "list": [1, "x y", "no"],
                  "deep": [{"a": {"b": ["c", "5", 5, True]}, "q": 'quo"te\n#'}], "s": "ünï", "key: odd": "v"}
        self.assertEqual(self.load(config.dump(values)), values)

    def test_mistakes_are_told_with_their_line(self):
        for text, message in (("a: 1\na: 2\n", ":2: a stands twice"), ("- a\n", "must be a mapping"), ("a: [", "while parsing")):
            with self.assertRaisesRegex(StackError, message):
                self.load(text)
        with self.assertRaisesRegex(StackError, "No such file"):
            config.load("/nonexistent/x.yaml")

    def effective(self, given, environ):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(config.dump(given) if given else "")
            file.flush()
            return config.fill_providers(config.base(file.name), "http://127.0.0.1:5", environ)

    def test_providers_are_filled_in(self):
        sim = {"kind": "openai", "base_url": "http://127.0.0.1:5/v1", "api_key_env": "SLUICE_PROVIDER_KEY"}
        real = {"kind": "openai", "base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
        own = {"kind": "openai", "base_url": "http://127.0.0.1:77/v1", "api_key_env": "X"}
        self.assertEqual(self.effective({}, {})["providers"], {"main": sim})
        self.assertEqual(self.effective({"providers": {"main": real, "own": own}}, {})["providers"], {"main": sim, "own": own})
        found = self.effective({"providers": {"own": own}}, {"OPENAI_API_KEY": "k"})
        self.assertEqual(found["providers"], {"main": real, "own": own})
        self.assertEqual(found["models"]["fast"]["budget"]["requests_per_minute"], 500)

    def test_other_kinds_are_simulated_too(self):
        given = {"a": {"kind": "anthropic", "api_key_env": "ANTHROPIC_API_KEY"}, "v": {"kind": "vllm"}, "z": {"kind": "azure", "api_key_env": "Z"},
                 "g": {"kind": "gemini", "api_keys": [{"env": "G1"}, {"env": "G2"}]}, "own": {"kind": "vllm", "base_url": "http://127.0.0.1:7"}}
        sim = {"base_url": "http://127.0.0.1:5", "api_key_env": "SLUICE_PROVIDER_KEY"}
        found = self.effective({"providers": given}, {"Z": "z"})["providers"]
        self.assertEqual(found["a"], {"kind": "anthropic", **sim})
        self.assertEqual(found["v"], {"kind": "vllm", **sim, "base_url": "http://127.0.0.1:5/vllm/v1"})
        self.assertEqual(found["z"], {"kind": "azure", "base_url": "http://127.0.0.1:5", "api_key_env": "Z"})
        self.assertEqual(found["g"], {"kind": "gemini", "base_url": "http://127.0.0.1:5", "api_keys": given["g"]["api_keys"]})
        self.assertEqual(found["own"], given["own"])
        self.assertEqual(self.effective({"providers": given}, {"ANTHROPIC_API_KEY": "k"})["providers"]["a"], given["a"])

    def test_models_are_taken_whole(self):
        found = self.effective({"models": {"fast": {"route": [{"provider": "main", "model": "m"}]}}}, {})
        self.assertEqual(found["models"]["fast"], {"route": [{"provider": "main", "model": "m"}]})
        self.assertIn("smart", found["models"])

    def test_debian_python_reads_for_others(self):
        self.assertEqual(config._load_with_debian(config.DEFAULT) if sys.executable != config.DEBIAN_PYTHON
                         else config.load(config.DEFAULT), config.load(config.DEFAULT))


if __name__ == "__main__":
    unittest.main()
