"""The judge and its oracle: against brute force, against known schedules, and on the wire."""

import random
import time
import unittest
from bisect import bisect_right

from tests.provider import judge, oracle
from tests.provider.harness import ProviderTest, Wire, prompt, streamed
from tests.provider.rules import INPUT, OUTPUT, RPD, RPM, TOKENS

COUNTED = (OUTPUT, TOKENS)


def by_hand(events, period_ms=60_000, only=lambda at: True):
    """The highest sum over any window (t - period, t] of [(ms, amount)], looked for in all of them."""
    ats = [at for at, _ in events]
    return max((sum(amount for _, amount in events[bisect_right(ats, at - period_ms):bisect_right(ats, at)])
                for at in ats if only(at)), default=0)


def charges(tokens_in, out=0, combined=None):
    return {RPM: 1, RPD: 1, INPUT: tokens_in, OUTPUT: out, TOKENS: tokens_in if combined is None else combined}


class Windows(unittest.TestCase):
    def test_highest_count_is_that_of_all_windows(self):
        for seed in range(20):
            rng = random.Random(seed)
            pair = judge.Pair("k", "m", {RPM: 10, INPUT: 500, OUTPUT: 400}, 0)
            now, seen = 1, {RPM: [], INPUT: [], OUTPUT: []}
            for _ in range(400):
                now += rng.choice((0, 0, 1, 50, 999, 5000, 59_999))
                if rng.random() < 0.5:
                    size = rng.randrange(1, 200)
                    pair.accept(charges(size), now)
                    seen[RPM].append((now, 1))
                    seen[INPUT].append((now, size))
                else:
                    made = rng.randrange(1, 90)
                    pair.produce(made, now, COUNTED)
                    seen[OUTPUT].append((now, made))
            windows = pair.window_report()
            for name, events in seen.items():
                self.assertEqual(windows[name]["max"], by_hand(events), (seed, name))
                self.assertAlmostEqual(windows[name]["ratio"], by_hand(events) / pair.limits[name], 5)

    def test_a_minute_is_half_open(self):
        pair = judge.Pair("k", "m", {RPM: 1}, 0)
        for at in (0, 60_000, 119_999):
            pair.accept(charges(1), at)
        windows = pair.window_report()
        self.assertEqual((windows[RPM]["max"], windows[RPM]["at_ms"], windows[RPM]["over"]), (2, 119_999, 1))

    def test_windows_that_hold_a_change_are_apart(self):
        pair = judge.Pair("k", "m", {RPM: 10}, 0)
        for at in range(0, 10_000, 1000):
            pair.accept(charges(1), at)
        pair.change({RPM: 5}, 20_000)
        pair.accept(charges(1), 20_001)
        self.assertEqual(pair.window_report()[RPM]["ratio"], 1.0)
        self.assertEqual(pair.window_report()[RPM]["changed"]["ratio"], 2.2)
        for at in range(80_000, 86_000, 1000):
            pair.accept(charges(1), at)
        report = pair.window_report()[RPM]
        self.assertEqual((report["max"], report["limit"], report["ratio"], report["over"]), (6, 5, 1.2, 1))

    def test_limits_before_the_first_call_were_never_different(self):
        pair = judge.Pair("k", "m", {}, 0)
        pair.change({RPM: 5}, 1000)
        pair.accept(charges(1), 1001)
        self.assertTrue(pair.refuse(RPM, 1002))
        pair.change({RPM: 7}, 2000)
        self.assertFalse(pair.refuse(RPM, 61_999))
        self.assertTrue(pair.refuse(RPM, 62_000))
        self.assertEqual(dict(pair.counts), {"accepted": 1, "violations": 2, "refused_after_change": 1})

    def test_what_is_no_violation(self):
        pair = judge.Pair("k", "m", {RPM: 5}, 0)
        for reason in ("storm", "outage", "slow_start", "spend"):
            self.assertFalse(pair.refuse(reason, 10))
        pair.strangers(RPM, 3, 1000)
        self.assertFalse(pair.refuse(RPM, 60_999))
        self.assertTrue(pair.refuse(RPM, 61_000))
        self.assertEqual(pair.counts["refused_with_strangers"], 1)
        self.assertEqual(pair.window_report()[RPM]["with_strangers"]["max"], 3)

    def test_log_forgets_its_oldest_half(self):
        old, judge.LOG_MAX = judge.LOG_MAX, 1000
        try:
            pair = judge.Pair("k", "m", {RPM: 100}, 0)
            events = [(at * 100, 1) for at in range(2500)]
            for at, _ in events:
                pair.accept(charges(1), at)
        finally:
            judge.LOG_MAX = old
        self.assertEqual(pair.window_report()[RPM]["max"], by_hand(events))
        self.assertLessEqual(len(pair.logs[RPM].at), 1000)
        self.assertEqual(pair.logs[RPM].between(200_000, 250_000), 500)


class Intervals(unittest.TestCase):
    def question(self, **more):
        return {"from_ms": 0, "to_ms": 120_000, "step_ms": 60_000, "oracle": False, "burst": 0.02, **more}

    def test_use_of_a_limit_that_changed(self):
        pair = judge.Pair("k", "m", {RPM: 60, INPUT: 6000}, 0)
        for at in range(0, 60_000, 1000):
            pair.accept(charges(50), at)
        pair.change({RPM: 30, INPUT: 6000}, 60_000)
        for at in range(60_000, 120_000, 4000):
            pair.accept(charges(50), at)
        report = pair.report(self.question())
        use = report["interval"]["use"]
        self.assertEqual((use[RPM]["used"], use[RPM]["allowed"]), (75, 90))
        self.assertEqual((report["interval"]["binding"], report["interval"]["share"]), (RPM, round(75 / 90, 6)))
        self.assertEqual(report["interval"]["longest_idle_ms"], 4000)
        self.assertEqual([row["share"] for row in report["series"]], [1.0, 0.5])
        self.assertEqual(report["changes"], [{"at_ms": 60_000, "limits": {RPM: 30, INPUT: 6000}, "refused": 0}])
        self.assertEqual(pair.report(self.question(from_ms=60_000))["interval"]["share"], 0.5)

    def test_refusals_by_change_and_what_strangers_left(self):
        pair = judge.Pair("k", "m", {RPM: 60}, 0)
        pair.accept(charges(1), 0)
        for at, limit, refused in ((10_000, 30, 3), (20_000, 60, 1)):
            pair.change({RPM: limit}, at)
            for n in range(refused):
                pair.refuse(RPM, at + n)
            pair.refuse("storm", at + 5)
        pair.strangers(RPM, 45, 30_000)
        for at in range(31_000, 60_000, 1000):
            pair.accept(charges(1), at)
        report = pair.report(self.question(to_ms=60_000))
        self.assertEqual([change["refused"] for change in report["changes"]], [3, 1])
        use = report["interval"]["use"][RPM]
        self.assertEqual((use["used"], use["allowed"], use["foreign"], use["share_of_rest"]), (30, 55, 45, 3.0))

    def test_refusals_by_interval_and_idle_time(self):
        pair = judge.Pair("k", "m", {}, 0)
        pair.accept(charges(1), 1000)
        pair.refuse("outage", 5000)
        pair.refuse("storm", 70_000)
        report = pair.report(self.question(from_ms=60_000))
        self.assertEqual((report["refused"], report["interval"]["refused"]), ({"outage": 1, "storm": 1}, {"storm": 1}))
        self.assertEqual((report["interval"]["arrivals"], report["interval"]["accepted"]), (1, 0))
        self.assertEqual(report["interval"]["longest_idle_ms"], 60_000)
        self.assertEqual(pair.report(self.question())["interval"]["longest_idle_ms"], 119_000)


class Oracles(unittest.TestCase):
    def through(self, calls, limits, to_ms, burst=0.02, **more):
        return oracle.let_through(calls, limits if isinstance(limits, list) else [(0, limits)], 0, to_ms, burst, **more)

    def test_a_backlog_uses_the_limit_and_one_burst(self):
        found = self.through([(0, 10, 10)], {RPM: 600, INPUT: 10 ** 9}, 600_000, is_endless=True)
        self.assertEqual(found["calls"], 6000 + 12 - 1)  # the call due exactly at the end is outside
        self.assertEqual(len(found["per_minute"]), 10)

    def test_the_tightest_limit_binds(self):
        sizes = [(0, size, 5) for size in (100, 300, 50, 150)]
        found = self.through(sizes, {RPM: 10 ** 6, INPUT: 60_000, OUTPUT: 10 ** 6}, 60_000, is_endless=True)
        self.assertAlmostEqual(found["use"][INPUT], 61_200, delta=301)
        self.assertLess(found["use"][OUTPUT], 3000)

    def test_idle_time_is_lost(self):
        found = self.through([(0, 1, 1), (50_000, 1, 1), (50_000, 1, 1), (50_000, 1, 1)], {RPM: 60}, 52_500, 0.0)
        self.assertEqual((found["calls"], found["end_ms"]), (4, 52_000))
        self.assertEqual(self.through([(0, 1, 1)], {}, 1000)["calls"], 0)

    def test_a_call_above_the_burst_goes_and_is_paid_off(self):
        found = self.through([(0, 5000, 1), (0, 100, 1)], {INPUT: 6000}, 60_000, 0.02)
        self.assertEqual(found["calls"], 2)
        self.assertAlmostEqual(found["end_ms"], (5000 - 120 + 100) / 0.1, delta=1)

    def test_changes_hold_at_once(self):
        found = self.through([(0, 1, 1)], [(0, {RPM: 60}), (60_000, {RPM: 120}), (120_000, {RPM: 6})], 180_000, 0.0, is_endless=True)
        self.assertEqual(found["per_minute"][:2], [60, 120])
        self.assertTrue(5 <= found["per_minute"][2] <= 7)

    def test_never_above_the_limit_and_a_burst(self):
        for seed in range(10):
            rng = random.Random(seed)
            calls = sorted((rng.randrange(0, 300_000), rng.randrange(1, 500), rng.randrange(1, 200)) for _ in range(2000))
            limits = {RPM: 120, INPUT: 30_000, OUTPUT: 9000}
            found = self.through(calls, limits, 300_000)
            self.assertTrue(all(found["use"][name] <= limit * 5 * 1.03 + 500 for name, limit in limits.items()), found)
            self.assertGreater(max(found["use"][name] / (limit * 5) for name, limit in limits.items()), 0.95)


class Wired(ProviderTest):
    def tearDown(self):
        self.sim.reset()

    def pair(self, **question):
        self.calls()
        return self.sim.pacing_of(self.key, "gpt-5-mini", **question)

    def test_report(self):
        self.assertIsNone(self.pair())
        self.sim.set_limits([{"key": self.key, "rpm": 3, "output_tpm": 100, "algorithm": "sliding"}])
        for _ in range(5):
            self.ask(streamed(marker="tokens=10"))
        self.calls(5)
        report = self.pair(oracle=1)
        self.assertEqual((report["arrivals"], report["accepted"], report["refused"], report["violations"]), (5, 3, {RPM: 2}, 2))
        self.assertEqual((report["windows"][RPM]["ratio"], report["windows"][OUTPUT]["max"], report["over"]), (1.0, 30, 0))
        self.assertEqual(report["interval"]["oracle"]["binding"], report["interval"]["binding"])
        self.assertGreater(report["interval"]["oracle"]["ratio"], 0)
        self.sim.scale_limits(0.5)
        self.ask(prompt())
        report = self.pair()
        self.assertEqual((report["refused_after_change"], report["violations"], len(report["changes"])), (1, 2, 1))

    def test_reset_keeps_calls_under_way(self):
        self.sim.set_limits([{"key": self.key, "rpm": 5}])
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=40 tps=40 text=numbered"), key=self.key)
            while b"t3 " not in wire.data:
                wire._fill()
            self.sim.pacing_reset()
            while b"[DONE]" not in wire.data:
                wire._fill()
        self.calls(1)
        report = self.pair()
        self.assertEqual((report["arrivals"], report["in_flight"]), (0, 0))
        self.assertTrue(1 <= report["interval"]["output_tokens"] < 40)

    def test_times_are_those_of_this_process(self):
        begin = int(time.monotonic() * 1000)
        self.ask(prompt())
        end = int(time.monotonic() * 1000) + 1
        self.assertEqual(self.pair(since=begin, to=end)["interval"]["arrivals"], 1)
        self.assertEqual(self.pair(since=begin - 1000, to=begin)["interval"]["arrivals"], 0)
        self.assertEqual(self.pair(since=-60_000)["interval"]["arrivals"], 1)
        self.assertTrue(begin <= self.only_call()["t_ms"] <= end)
        self.assertRaises(ValueError, self.sim.pacing, colour=1)

    def test_oracle(self):
        found = self.sim.oracle(limits={"rpm": 60}, from_ms=1000, to_ms=61_000, burst=0, calls=[[1000, 1, 1]] * 100)
        self.assertEqual(found["calls"], 60)
        self.sim.set_limits([{"key": self.key, "input_tpm": 6000}])
        self.ask(prompt())
        self.calls(1)
        now = int(time.monotonic() * 1000)
        asked = {"key": self.key, "model": "gpt-5-mini", "from_ms": now - 60_000, "to_ms": now, "arrivals": [now - 60_000] * 5000}
        self.assertAlmostEqual(self.sim.oracle(**asked)["share"][INPUT], 1.02, delta=0.01)
        for bad in ({}, {"calls": [[1]]}, {"limits": {"rpm": 1}, "calls": [[1, 1, 1]], "from_ms": 5, "to_ms": 5}):
            self.assertRaises(ValueError, self.sim.oracle, **bad)

    def test_sizes_differ_from_every_estimate(self):
        self.sim.behave({"default": {"size_error": True, "output_tokens": 100, "ttft_ms": 0, "tokens_per_s": 0}})
        words = "word " * 400
        for number in range(40):
            self.ask(prompt(words), identity=f"job-{number}/s/-/1")
        self.ask(prompt(words), identity="job-0/s/-/2")
        calls = self.calls(41)
        ratios = [call["estimate_input"] / call["input_tokens"] for call in calls]
        self.assertTrue(0.49 < min(ratios) < 0.8 and 2.3 < max(ratios) < 3.01, (min(ratios), max(ratios)))
        self.assertEqual(calls[0]["input_tokens"], calls[40]["input_tokens"])  # the same step is the same size
        made = [call["output_tokens"] for call in calls]
        self.assertTrue(33 <= min(made) < 50 and 130 < max(made) <= 200, (min(made), max(made)))
        self.ask(prompt(words, max_completion_tokens=10), identity="job-99/s/-/1")
        self.assertEqual(self.calls(42)[-1]["output_tokens"], 10)


if __name__ == "__main__":
    unittest.main()
