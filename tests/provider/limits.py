"""Rate limits per key and model, with the headers and refusals of the real service.

A rule may hold requests, tokens, input tokens and output tokens a minute. `window: bucket` is a token bucket that holds
burst_s seconds' worth (60: the whole minute at once); `window: sliding` allows the sum of any 60 s. Tokens are charged
as OpenAI does: max(max_tokens, a guess by length) when the call is admitted, never settled; output tokens are charged when
they have been made, so that meter may go below zero. All meters of a call are taken, or none.
`enforce: false` lets everything through and counts what would have been refused. `announce: false` sends no headers.
"""

from collections import OrderedDict, deque

MINUTE_S = 60.0
METERS_MAX = 4096
KINDS = (("rpm", "requests"), ("tpm", "tokens"), ("input_tpm", "input-tokens"), ("output_tpm", "output-tokens"))
SHORT = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)",
         "input-tokens": "input tokens per min (ITPM)", "output-tokens": "output tokens per min (OTPM)"}


class Bucket:
    def __init__(self, limit, burst_s, now):
        self.limit = limit
        self.capacity = max(1.0, limit * burst_s / MINUTE_S)
        self._rate = limit / MINUTE_S
        self._level = self.capacity
        self._at = now

    def room(self, now):
        self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def take(self, cost, now):
        self.room(now)
        self._level -= cost

    def wait_s(self, cost, now):
        """Seconds until cost fits; more than fits ever counts as the whole bucket."""
        return max(0.0, (min(cost, self.capacity) - self.room(now)) / self._rate)

    def reset_s(self, now):
        return (self.capacity - self.room(now)) / self._rate


class Sliding:
    def __init__(self, limit, _burst_s, now):
        self.limit = self.capacity = limit
        self._spent = deque()
        self._sum = 0
        del now

    def room(self, now):
        while self._spent and self._spent[0][0] <= now - MINUTE_S:
            self._sum -= self._spent.popleft()[1]
        return self.limit - self._sum

    def take(self, cost, now):
        if cost:
            self._spent.append((now, cost))
            self._sum += cost

    def wait_s(self, cost, now):
        lacking = min(cost, self.limit) - self.room(now)
        for at, spent in self._spent:
            if lacking <= 0:
                break
            lacking -= spent
            if lacking <= 0:
                return at + MINUTE_S - now
        return 0.0

    def reset_s(self, now):
        self.room(now)
        return self._spent[-1][0] + MINUTE_S - now if self._spent else 0.0


def duration(seconds):
    """A duration as the service writes it (Go's way): 12ms, 1s, 1m30.5s, 6m0s."""
    ms = max(0, round(seconds * 1000))
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail


class Verdict:
    """What the limits say of one call: kind is None when admitted, else the meter that refused."""

    def __init__(self):
        self.kind = None
        self.wait_s = 0.0
        self.limit = self.used = self.cost = 0
        self.over = False  # would have been refused, had the rule been enforced
        self.meters = {}
        self.announce = False

    def headers(self, now):
        """x-ratelimit-* lines as (name, value)."""
        if not self.announce:
            return []
        lines = [(f"x-ratelimit-limit-{name}", str(int(meter.limit))) for name, meter in self.meters.items()]
        lines += [(f"x-ratelimit-remaining-{name}", str(max(0, int(meter.room(now)))))
                  for name, meter in self.meters.items()]
        return lines + [(f"x-ratelimit-reset-{name}", duration(meter.reset_s(now)))
                        for name, meter in self.meters.items()]

    def settle(self, output_tokens, now):
        """Charge the tokens that were made."""
        if "output-tokens" in self.meters:
            self.meters["output-tokens"].take(output_tokens, now)


class Limits:
    def __init__(self, rules=()):
        self.set_rules(rules)

    def set_rules(self, rules):
        """New rules; every meter starts full."""
        self._rules = list(rules)
        self._meters = OrderedDict()

    def _rule(self, key, model):
        for number, rule in enumerate(self._rules):
            if rule["key"] in ("*", key) and rule["model"] in ("*", model):
                return number, rule
        return None, None

    def _meters_of(self, number, rule, key, model, now):
        name = (number, key, model)
        if name not in self._meters:
            make = Sliding if rule["window"] == "sliding" else Bucket
            self._meters[name] = {header: make(rule[field], rule["burst_s"], now)
                                  for field, header in KINDS if field in rule}
            if len(self._meters) > METERS_MAX:
                self._meters.popitem(last=False)
        self._meters.move_to_end(name)
        return self._meters[name]

    def admit(self, key, model, input_tokens, charge, now):
        """Take one call of this many input tokens, charged as `charge` tokens in all. Returns a Verdict."""
        verdict = Verdict()
        number, rule = self._rule(key, model)
        if rule is None:
            return verdict
        meters = self._meters_of(number, rule, key, model, now)
        verdict.meters, verdict.announce = meters, rule["announce"]
        costs = {"requests": 1, "tokens": charge, "input-tokens": input_tokens, "output-tokens": 1}
        for name, meter in meters.items():
            wait_s = meter.wait_s(costs[name], now)
            if wait_s > 1e-6:
                verdict.over = True
                if rule["enforce"] and wait_s > verdict.wait_s:
                    verdict.kind, verdict.wait_s = name, wait_s
                    verdict.limit, verdict.cost = int(meter.limit), costs[name]
                    verdict.used = int(meter.limit - max(0, meter.room(now)))
        if verdict.kind is None:
            for name, meter in meters.items():
                if name != "output-tokens":
                    meter.take(costs[name], now)
        return verdict
