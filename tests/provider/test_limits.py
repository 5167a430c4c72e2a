"""Limits: the four algorithms, accounting, changes without notice, and what the wire says of them."""

import json
import re
import time
import unittest

from tests.provider import headers, limits, meters, rules
from tests.provider.harness import ProviderTest, Wire, prompt, streamed
from tests.provider.limits import Ask
from tests.provider.rules import INPUT, OUTPUT, RPD, RPM, TOKENS


def book(**rule):
    return limits.Limits(rules.check_rules([rule]))


def admitted(meter, step_ms, until_ms, cost=1):
    """The moments at which a client that asks every step_ms gets through."""
    moments = []
    for now in range(0, until_ms, step_ms):
        if meter.wait_ms(cost, now) <= 0:
            meter.take(cost, now)
            moments.append(now)
    return moments


def highest(moments, period_ms=60_000):
    return max(sum(start <= at < start + period_ms for at in moments) for start in moments)


class Meters(unittest.TestCase):
    def test_bucket(self):
        bucket = meters.Bucket(60, 60_000, 0, burst_s=2)
        self.assertEqual(bucket.capacity, 2)
        bucket.take(2, 0)
        self.assertAlmostEqual(bucket.wait_ms(1, 0), 1000)
        self.assertAlmostEqual(bucket.wait_ms(1, 750), 250)
        self.assertEqual(bucket.room(100_000), 2)

    def test_a_whole_bucket_lets_two_minutes_through_in_one(self):
        moments = admitted(meters.Bucket(10, 60_000, 0), 50, 300_000)
        self.assertEqual(highest(moments), 19)

    def test_sliding_never_exceeds_any_minute(self):
        moments = admitted(meters.Sliding(10, 60_000, 0), 50, 300_000)
        self.assertEqual((highest(moments), len(moments)), (10, 50))

    def test_sliding_says_when(self):
        window = meters.Sliding(10, 60_000, 0)
        for now in (0, 1000, 1000, 5000):
            window.take(2.5, now)
        self.assertEqual(window.wait_ms(1, 6000), 54_000)
        self.assertEqual(window.wait_ms(2.6, 6000), 55_000)
        self.assertEqual(window.wait_ms(100, 6000), 59_000)
        self.assertEqual(window.reset_ms(6000), 59_000)

    def test_fixed_lets_two_minutes_meet_at_the_edge(self):
        window = meters.Fixed(10, 60_000, 0, epoch_ms=30_000)
        moments = [now for now in range(0, 61_000, 500) if now >= 29_000 - 10 * 500 and self._take(window, now)]
        self.assertEqual(highest(moments), 20)
        self.assertEqual(window.reset_ms(31_000), 59_000)

    @staticmethod
    def _take(meter, now):
        if meter.wait_ms(1, now) > 0:
            return False
        meter.take(1, now)
        return True

    def test_quantum_is_one_a_second(self):
        meter = meters.Quantum(60, 60_000, 0, 1)
        self.assertEqual(admitted(meter, 100, 5_000), [0, 1000, 2000, 3000, 4000])
        self.assertEqual(meter.wait_ms(1, 4_700), 300)
        self.assertEqual(meter.told(4_700), (55, 59_300))  # headers tell of the minute

    def test_quantum_pays_off_what_was_too_big(self):
        meter = meters.Quantum(60_000, 60_000, 0, 1)
        meter.take(3_500, 0)
        self.assertEqual(meter.wait_ms(1000, 0), 4_000)
        self.assertEqual(meter.room(3_000), 500)
        slow = meters.Quantum(20, 60_000, 0, 1)  # less than one a second: one in three
        self.assertEqual(admitted(slow, 500, 9_000), [0, 3000, 6000])

    def test_change_keeps_what_was_spent(self):
        for kind in meters.ALGORITHMS:
            meter = meters.make(kind, 100, 60_000, 0, quantum_s=60)
            meter.take(80, 0)
            meter.set_limit(50, 10)
            self.assertLessEqual(meter.room(10), 20.1, kind)
            meter.set_limit(200, 20)
            self.assertLessEqual(meter.room(20), 130, kind)

    def test_durations(self):
        for seconds, expected in ((0, "0ms"), (0.012, "12ms"), (1, "1s"), (360, "6m0s"), (90.5, "1m30.5s"), (3600, "1h0m0s"),
                                  (59.9996, "1m0s")):
            self.assertEqual(headers.duration(seconds), expected)


class Accounting(unittest.TestCase):
    def test_all_or_nothing(self):
        shelf = book(rpm=10, tpm=100)
        self.assertIsNone(shelf.admit("k", "m", Ask(5, 5, 90), 0).reason)
        self.assertEqual(shelf.admit("k", "m", Ask(5, 5, 90), 0).reason, TOKENS)
        verdict = shelf.admit("k", "m", Ask(5, 5, 5), 0)
        self.assertEqual(int(verdict.pair.meters[RPM].room(0)), 8)

    def test_the_longest_wait_is_told(self):
        shelf = book(rpm=60, input_tpm=60_000, output_tpm=600, burst_s=1)
        verdict = shelf.admit("k", "m", Ask(3000), 0)
        verdict.produce(25, 0)  # 1.6 s, and 3 s for the input
        refused = shelf.admit("k", "m", Ask(1000), 0)
        self.assertEqual((refused.reason, round(refused.wait_ms)), (INPUT, 3000))
        self.assertEqual(shelf.admit("k", "m", Ask(1000), 3_500).reason, None)

    def test_combined_is_max_or_sum_or_as_made(self):
        self.assertEqual(book(tpm=1000).admit("k", "m", Ask(7, 50, 90), 0).charges[TOKENS], 90)
        self.assertEqual(book(tpm=1000).admit("k", "m", Ask(7, 50, 90, is_sum=True), 0).charges[TOKENS], 140)
        verdict = book(tpm=1000, tokens="produced").admit("k", "m", Ask(7, 50, 90), 0)
        verdict.produce(20, 10)
        self.assertEqual(int(verdict.pair.meters[TOKENS].limit - verdict.pair.meters[TOKENS].room(10) + 0.5), 27)

    def test_output_as_made_goes_below_zero_and_then_stops(self):
        shelf = book(output_tpm=100, algorithm="sliding")
        verdict = shelf.admit("k", "m", Ask(1), 0)
        verdict.produce(150, 1000)
        refused = shelf.admit("k", "m", Ask(1), 2000)
        self.assertEqual((refused.reason, refused.wait_ms), (OUTPUT, 59_000))
        self.assertIsNone(shelf.admit("k", "m", Ask(1), 61_000).reason)

    def test_output_up_front(self):
        shelf = book(output_tpm=100, output="upfront")
        self.assertIsNone(shelf.admit("k", "m", Ask(1, 1, 80), 0).reason)
        self.assertEqual(shelf.admit("k", "m", Ask(1, 1, 80), 0).reason, OUTPUT)

    def test_concurrency_and_day(self):
        shelf = book(concurrency=1, requests_per_day=2)
        first = shelf.admit("k", "m", Ask(1), 0)
        self.assertEqual(shelf.admit("k", "m", Ask(1), 0).reason, "concurrency")
        first.release()
        first.release()
        self.assertEqual(first.pair.in_flight, 0)
        shelf.admit("k", "m", Ask(1), 0).release()
        self.assertEqual(shelf.admit("k", "m", Ask(1), 0).reason, RPD)
        self.assertIsNone(shelf.admit("k", "other", Ask(1), 0).reason)

    def test_spend(self):
        shelf = book(spend=0.01, price={"input_per_million": 1000, "output_per_million": 2000})
        verdict = shelf.admit("k", "m", Ask(5), 0)
        verdict.produce(2, 0)
        self.assertAlmostEqual(verdict.pair.spent_usd, 0.009)
        shelf.admit("k", "m", Ask(5), 0)
        self.assertEqual(shelf.admit("k", "m", Ask(1), 0).reason, "spend")
        shelf.set_broke("poor", None, "default")
        self.assertEqual(shelf.admit("poor", "m", Ask(1), 0).reason, "spend")
        shelf.set_broke("poor", None, None)
        self.assertIsNone(shelf.admit("poor", "m", Ask(1), 0).reason)

    def test_refused_calls_may_count(self):
        for counted, room in ((False, 0), (True, -3)):
            shelf = book(rpm=1, refused_count=counted)
            for _ in range(4):
                verdict = shelf.admit("k", "m", Ask(1), 0)
            self.assertEqual(verdict.pair.meters[RPM].room(0), room)

    def test_change_without_notice(self):
        shelf = book(rpm=10, algorithm="sliding")
        for _ in range(6):
            shelf.admit("k", "m", Ask(1), 0)
        self.assertEqual(shelf.change(None, None, lambda rule: rules.scaled(rule, 0.5), 10), 1)
        self.assertEqual(shelf.admit("k", "m", Ask(1), 20).reason, RPM)
        shelf.change("*", "*", lambda rule: rules.scaled(rule, 4), 30)
        self.assertIsNone(shelf.admit("k", "m", Ask(1), 40).reason)
        self.assertEqual(shelf.change("other", None, lambda rule: rule, 50), 0)

    def test_first_rule_that_fits(self):
        shelf = limits.Limits(rules.check_rules([{"key": "a", "rpm": 1}, {"model": "m", "input_tpm": 5}, {"rpm": 9}]))
        self.assertEqual(shelf.limits_of("a", "m"), {RPM: 1})
        self.assertEqual(shelf.limits_of("b", "m"), {INPUT: 5})
        self.assertEqual(shelf.limits_of("b", "n"), {RPM: 9})

    def test_bad_rules(self):
        for rule in ({"rpm": 0}, {"rpm": True}, {"color": 1}, {"algorithm": "leaky"}, {"algorithm": {"spend": "bucket"}},
                     {"headers": "yes"}, {"header_overrides": {"a": "b\r\nc"}}, {"price": {"in": 1}}, {"retry": "soon"}, []):
            self.assertRaises(rules.BadSetting, rules.check_rule, rule)


class Wired(ProviderTest):
    def tearDown(self):
        self.sim.behave({})

    def test_limits_on_the_wire(self):
        self.sim.behave({"limits": [{"key": self.key, "rpm": 2, "tpm": 10000, "input_tpm": 8000, "output_tpm": 5000,
                                     "window": "sliding"}]})
        status, lines, _ = self.ask(prompt(max_completion_tokens=100, marker="tokens=30"))
        self.assertEqual((status, lines["x-ratelimit-limit-requests"], lines["x-ratelimit-remaining-requests"]), (200, "2", "1"))
        self.assertEqual(lines["x-ratelimit-remaining-tokens"], "9900")
        self.assertEqual(lines["x-ratelimit-remaining-output-tokens"], "4970")
        for name in ("requests", "tokens", "input-tokens"):
            self.assertRegex(lines[f"x-ratelimit-reset-{name}"], r"^(\d+h)?(\d+m)?\d+(\.\d+)?m?s$")
        self.assertEqual(self.ask(prompt(max_completion_tokens=100))[0], 200)
        status, lines, raw = self.ask(prompt())
        error = json.loads(raw)["error"]
        self.assertEqual((status, error["code"], error["type"]), (429, "rate_limit_exceeded", "requests"))
        self.assertTrue(re.search(r"Limit 2, Used 2, Requested 1\. Please try again in [\dms.]+\.$", error["message"]))
        self.assertTrue(1 <= int(lines["retry-after"]) <= 60)
        self.assertEqual(self.ask(prompt(), key="unlimited")[0], 200)
        self.assertEqual([entry["outcome"] for entry in self.calls(3)], ["ok", "ok", "rejected_rate"])
        self.assertEqual([(entry["verdict"], entry["reason"]) for entry in self.calls(3)],
                         [("accepted", None), ("accepted", None), ("refused", RPM)])

    def test_limits_watched_but_not_enforced(self):
        self.sim.behave({"limits": [{"rpm": 1, "enforce": False, "announce": False}]})
        answers = [self.ask(prompt()) for _ in range(3)]
        self.assertEqual([status for status, _, _ in answers], [200] * 3)
        self.assertFalse(any(name.startswith("x-ratelimit") for _, lines, _ in answers for name in lines))
        rows = [row for row in self.sim.stats()["by_key_and_model"] if row["key"] == self.key]
        self.assertEqual((rows[0]["violations"], rows[0]["peak_requests_60s"]), (2, 3))

    def test_output_is_charged_while_it_is_made(self):
        self.sim.set_limits([{"output_tpm": 600, "algorithm": "sliding"}])
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=100 tps=100 text=numbered"), key=self.key)
            while b"t20 " not in wire.data:
                wire._fill()
            room = [row for row in self.sim.limits()["meters"] if row["key"] == self.key][0]["meters"][OUTPUT]["room"]
            self.assertTrue(500 <= room <= 579, room)
            while b"[DONE]" not in wire.data:
                wire._fill()
        made = self.only_call()["produced"]
        self.assertEqual(sum(count for _, count in made), 100)
        self.assertTrue(made[-1][0] - made[0][0] >= 900)
        whole = self.ask(prompt(marker="tokens=30 tps=100"))
        self.assertEqual(whole[0], 200)
        self.assertGreater(len(self.calls(2)[1]["produced"]), 2)  # an answer in one piece is made at the same pace

    def test_concurrency_on_the_wire(self):
        self.sim.set_limits([{"key": self.key, "concurrency": 1}])
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tps=1 tokens=50"), key=self.key)
            wire.head()
            self.assertEqual(self.ask(prompt())[0], 429)
        self.calls(2)
        self.assertEqual(self.ask(prompt())[0], 200)

    def test_halved_and_doubled_at_run_time(self):
        self.sim.set_limits([{"key": self.key, "model": "gpt-5-mini", "rpm": 4, "algorithm": "sliding"}])
        statuses = [self.ask(prompt())[0] for _ in range(2)]
        self.sim.scale_limits(0.5, model="gpt-5-mini")
        statuses.append(self.ask(prompt())[0])
        self.assertEqual(self.sim.limits()["rules"][0][RPM], 2)
        self.sim.change_limits({"rpm": 3}, key=self.key)
        statuses += [self.ask(prompt())[0] for _ in range(2)]
        self.assertEqual(statuses, [200, 200, 429, 200, 429])
        self.assertRaises(ValueError, self.sim.scale_limits, 2, key="nobody")
        self.assertRaises(ValueError, self.sim.change_limits, {"rpm": 0})
        self.assertRaises(ValueError, self.sim.set_limits, {"limits": 1})

    def test_lying_headers(self):
        lies = {}
        for mode in rules.HEADERS:
            self.sim.set_limits([{"key": self.key, "rpm": 50, "input_tpm": 9000, "headers": mode}])
            with Wire(self.port) as wire:
                wire.post(prompt(), key=self.key)
                while b"\r\n\r\n" not in wire.data:
                    wire._fill()
                lines = wire.data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
            lies[mode] = [line for line in lines if line.startswith("x-ratelimit")]
        self.assertIn("x-ratelimit-remaining-requests: 49", lies["true"])
        self.assertEqual(lies["off"], [])
        self.assertIn("x-ratelimit-remaining-requests: 0", lies["low"])
        self.assertIn("x-ratelimit-remaining-requests: 50", lies["high"])
        self.assertIn("x-ratelimit-reset-requests: 8760h0m0s", lies["absurd"])
        self.assertTrue(all(": -" in line for line in lies["negative"]))
        self.assertEqual(len(lies["contradictory"]), 2 * len(lies["true"]))
        self.assertLess(len(lies["partial"]), len(lies["true"]))
        self.assertTrue(all(not re.search(r": \d+$", line) or line.endswith("9" * 26) for line in lies["malformed"]))
        self.sim.set_limits([{"rpm": 1, "header_overrides": {"x-ratelimit-remaining-requests": "7"}, "retry": "none"}])
        self.assertEqual(self.ask(prompt())[1]["x-ratelimit-remaining-requests"], "7")
        status, lines, raw = self.ask(prompt())
        self.assertEqual((status, "retry-after" in lines), (429, False))
        self.assertNotIn("try again", json.loads(raw)["error"]["message"])

    def test_spend_of_a_key(self):
        self.sim.spend(self.key)
        status, lines, raw = self.ask(prompt())
        self.assertEqual((status, json.loads(raw)["error"]["code"], "retry-after" in lines), (429, "credit_balance_exhausted", False))
        self.sim.spend(self.key, code="project_spend_limit_exceeded")
        self.assertEqual(json.loads(self.ask(prompt())[2])["error"]["code"], "project_spend_limit_exceeded")
        self.sim.spend(self.key, exhausted=False)
        self.assertEqual(self.ask(prompt())[0], 200)
        self.assertEqual(self.calls(3)[0]["outcome"], "rejected_spend")

    def test_refills_with_time(self):
        self.sim.set_limits([{"key": self.key, "rpm": 300, "quantum_s": 0.2, "algorithm": "quantum"}])
        self.assertIn(429, [self.ask(prompt())[0] for _ in range(5)])  # at most one edge lies between them
        time.sleep(0.21)  # the limit itself is a matter of time
        self.assertEqual(self.ask(prompt())[0], 200)


if __name__ == "__main__":
    unittest.main()
