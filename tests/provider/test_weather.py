"""Outages, storms, slow starts and strangers: the pure part by a clock of its own, the rest on the wire."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

from tests.provider import limits, rules, weather
from tests.provider.client import SimClient
from tests.provider.harness import ROOT, WAIT_S, ProviderTest, Wire, prompt, start, stop, streamed, until
from tests.provider.limits import Ask
from tests.provider.rules import INPUT, RPM


class Pure(unittest.TestCase):
    def served(self, sky, begin_ms, end_ms, step_ms=10, limit=6000):
        """How many calls of one every step_ms get through."""
        return sum(sky.meets("openai", "k", "m", {RPM: limit}, now) is None for now in range(begin_ms, end_ms, step_ms))

    def test_slow_start_rises_to_all(self):
        sky = weather.Weather(0)
        sky.put("slow_start", {"for_s": 20, "from": 0.1}, 0)
        per_second = [self.served(sky, at, at + 1000) for at in range(0, 21_000, 1000)]
        self.assertTrue(10 <= per_second[0] <= 14, per_second)
        self.assertTrue(50 <= per_second[9] <= 56, per_second)
        self.assertTrue(95 <= per_second[19] <= 100, per_second)
        self.assertEqual(per_second[20], 100)

    def test_it_follows_an_outage(self):
        sky = weather.Weather(0)
        sky.put("outage", {"mode": 503, "for_s": 10, "slow_start": {"for_s": 5}}, 0)
        self.assertEqual(self.served(sky, 0, 10_000), 0)
        self.assertEqual(sky.meets("openai", "k", "m", {RPM: 60}, 9_999).kind, "outage")
        self.assertTrue(self.served(sky, 10_000, 11_000) < 30)
        sky.put("outage", {"mode": "503", "for_s": 10, "slow_start": {"for_s": 5}}, 20_000)
        sky.end("outage", 21_000)
        self.assertTrue(self.served(sky, 21_000, 22_000) < 30)
        self.assertEqual(self.served(sky, 26_000, 27_000), 100)

    def test_filters_and_shares(self):
        sky = weather.Weather(0)
        sky.put("storm", {"for_s": 1, "dialect": "gemini"}, 0)
        self.assertIsNone(sky.meets("openai", "k", "m", {}, 0))
        self.assertEqual(sky.meets("gemini", "k", "m", {}, 0).kind, "storm")
        sky.clear()
        sky.put("storm", {"share": 0.3, "key": "k"}, 0)
        self.assertTrue(600 < self.served(sky, 0, 10_000) < 800)

    def test_strangers_take_their_share_and_never_more_than_is_there(self):
        sky, shelf, eaten = weather.Weather(0), limits.Limits(rules.check_rules([{"rpm": 600, "input_tpm": 60_000, "algorithm": "sliding"}])), {}
        shelf.admit("k", "m", Ask(1), 0)
        told = lambda pair, name, amount: eaten.update({name: eaten.get(name, 0) + amount})
        sky.put("strangers", {"share": 0.25}, 0)
        for now in range(50, 60_050, 50):
            sky.feed_strangers(shelf.pairs(), 50, now, told)
        self.assertEqual((round(eaten[RPM]), round(eaten[INPUT])), (150, 15_000))
        sky.put("strangers", {"share": 5}, 60_000)
        self.assertEqual(len(sky.shown(60_000)), 1)
        for now in range(60_100, 80_000, 50):
            sky.feed_strangers(shelf.pairs(), 50, now, told)
        self.assertEqual(shelf.pairs()[0].meters[RPM].room(79_950), 0)

    def test_strangers_vary(self):
        sky, shelf, steps = weather.Weather(0), limits.Limits(rules.check_rules([{"input_tpm": 600_000}])), []
        shelf.admit("k", "m", Ask(1), 0)
        sky.put("strangers", {"share": [0.1, 0.9], "every_s": 1}, 0)
        for now in range(1000, 30_000, 1000):
            sky.feed_strangers(shelf.pairs(), 1000, now, lambda pair, name, amount: steps.append(amount))
        self.assertTrue(min(steps) < 3000 and max(steps) > 6000 and len(set(steps)) > 10, steps)

    def test_bad_fronts(self):
        for kind, document in (("outage", {"mode": "rain"}), ("outage", {"colour": 1}), ("storm", {"share": 2}), ("slow_start", {}),
                               ("strangers", {"share": "all"}), ("strangers", {"dialect": "x"}), ("storm", []),
                               ("outage", {"for_s": 1, "slow_start": {"answer": "no"}})):
            self.assertRaises(rules.BadSetting, weather.check_front, kind, document)


class Wired(ProviderTest):
    def tearDown(self):
        self.sim.reset()

    def error(self, body=None, **more):
        status, lines, raw = self.ask(body or prompt(), **more)
        return status, json.loads(raw).get("error", {}), lines

    def test_outage_by_status_ends_by_itself(self):
        self.sim.outage("503", for_s=1)
        status, error, _ = self.error()
        self.assertEqual((status, error["code"]), (503, "server_is_overloaded"))
        until(lambda: self.ask(prompt())[0] == 200, "the end of the outage")
        report = self.sim.pacing_of(self.key, "gpt-5-mini")
        self.assertEqual((set(report["refused"]), report["violations"], report["accepted"]), ({"outage"}, 0, 1))

    def test_outage_for_one_dialect(self):
        self.sim.outage("529", dialect="anthropic")
        body = {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "x [[sim ttft_ms=0]]"}]}
        status, error, _ = self.error(body, path="/v1/messages", **{"anthropic-version": "2023-06-01"})
        self.assertEqual((status, error["type"]), (529, "overloaded_error"))
        self.assertEqual(self.ask(prompt())[0], 200)
        self.assertEqual(self.sim.weather()[0]["met"], 1)
        self.sim.end("outage")
        self.assertEqual(self.ask(body, path="/v1/messages", **{"anthropic-version": "2023-06-01"})[0], 200)

    def test_refused_connections_spare_the_controls(self):
        self.sim.outage("refuse", cut=True)
        with Wire(self.port) as wire:
            wire.post(prompt(), key=self.key)
            self.assertIs(wire.rest(), ConnectionResetError)
            self.assertEqual(wire.data, b"")
        with Wire(self.port) as wire:  # a control whose body comes after its head
            wire.sock.sendall(b"PATCH /__sim/behavior HTTP/1.1\r\nhost: s\r\ncontent-length: 33\r\n\r\n")
            until(self.sim.weather, "the head to be read")
            wire.sock.sendall(b'{"default": {"output_tokens": 7}}')
            self.assertEqual(wire.answer()[0], 200)
        self.sim.end("outage")
        self.assertEqual(self.ask(prompt())[0], 200)

    def test_calls_under_way_are_cut(self):
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tps=20 tokens=1000 text=numbered"), key=self.key)
            while b"t1 " not in wire.data:
                wire._fill()
            self.sim.outage("503", cut=True)
            self.assertIs(wire.rest(), ConnectionResetError)
        entry = self.only_call()
        self.assertEqual(entry["outcome"], "cut")
        self.assertEqual(self.sim.pacing_of(self.key, "gpt-5-mini")["in_flight"], 0)

    def test_hang(self):
        self.sim.outage("hang", for_s=1)
        began = time.monotonic()
        with Wire(self.port) as wire:
            wire.post(prompt(), key=self.key)
            wire.rest()
            self.assertEqual(wire.data, b"")
        self.assertGreaterEqual(time.monotonic() - began, 0.5)

    def test_storm(self):
        self.sim.storm(for_s=60, retry_after=2)
        status, error, lines = self.error()
        self.assertEqual((status, error["code"], lines["retry-after"]), (429, "rate_limit_exceeded", "2"))
        self.sim.end("storm")
        self.assertEqual(self.ask(prompt())[0], 200)

    def test_slow_start(self):
        self.assertRaises(ValueError, self.sim.slow_start, 5)  # no rule limits requests a minute
        for answer, expected in (("slow_down", (429, "slow_down")), ("overloaded", (503, "server_is_overloaded"))):
            self.sim.slow_start(600, share_from=0, per_minute=60, answer=answer)
            answers = [self.error() for _ in range(4)]
            self.assertIn(200, [status for status, _, _ in answers])
            self.assertIn(expected, [(status, error.get("code")) for status, error, _ in answers])
            self.sim.end("slow_start")

    def test_strangers(self):
        self.sim.set_limits([{"key": self.key, "input_tpm": 100_000, "rpm": 6000, "algorithm": "sliding"}])
        self.ask(prompt())
        self.sim.strangers(0.5)
        left = lambda: int(self.ask(prompt())[1]["x-ratelimit-remaining-input-tokens"])
        until(lambda: left() < 99_000, "strangers to be seen in the headers")
        report = self.sim.pacing_of(self.key, "gpt-5-mini")
        self.assertGreater(report["interval"]["use"][INPUT]["foreign"], 0)
        self.assertGreater(report["windows"][INPUT]["with_strangers"]["max"], report["windows"][INPUT]["max"])
        self.sim.end("strangers")


class Starting(unittest.TestCase):
    def test_closed_for_a_while(self):
        process, port = start("--control-port", "0")
        try:
            control = port  # the first line printed is the control port's
            port = int(process.stdout.readline().rpartition(":")[2])
            sim = SimClient(f"http://127.0.0.1:{control}")
            sim.outage("closed", for_s=1)
            self.assertRaises(ConnectionRefusedError, Wire, port)
            self.assertEqual(sim.weather()[0]["mode"], "closed")
            until(lambda: self._opens(port), "the port to open again")
            sim.outage("closed")
            for _ in range(3):
                sim.end("outage")
            until(lambda: self._opens(port), "the port to open again")
        finally:
            stop(process)

    @staticmethod
    def _opens(port):
        try:
            with Wire(port) as wire:
                wire.post(prompt())
                return wire.answer()[0] == 200
        except ConnectionError:
            return False

    def test_behavior_from_the_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "b.json")
            with open(file, "w", encoding="utf-8") as out:
                json.dump({"default": {"output_tokens": 7, "ttft_ms": 0}}, out)
            process, port = start("--behavior", file, env={"SIM_BEHAVIOR": '{"limits": [{"requests_per_minute": 60}]}'})
            try:
                sim = SimClient(f"http://127.0.0.1:{port}")
                self.assertEqual(sim.limits()["rules"][0][RPM], 60)
                self.assertEqual(sim._ask("GET", "/__sim/behavior")["default"]["output_tokens"], 7)
                sim.reset()
                self.assertEqual(sim.limits()["rules"][0][RPM], 60)
            finally:
                stop(process)
            process, port = start(env={"SIM_BEHAVIOR": file})
            stop(process)
            process = start_broken({"SIM_BEHAVIOR": '{"limits": 5}'})
            self.assertEqual(process.wait(WAIT_S), 1)
            process.stdout.close()


def start_broken(env):
    """The program with an environment that it refuses."""
    return subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/provider/provider.py")], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, **env})


if __name__ == "__main__":
    unittest.main()
