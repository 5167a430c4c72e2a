"""Limits per key and model: who may pass, what is charged when, and what changes without notice.

The first rule that fits key and model counts; each pair has its own meters. All meters of a call are taken, or none.
Requests and input tokens are charged at arrival with their true sizes. Output tokens are charged as they are made
(Anthropic's way; such a meter may go below zero and then nothing new is let in), or at arrival with max_tokens. The
combined limit charges at arrival as OpenAI does, max(max_tokens, a guess by length), or as Azure does, their sum, and
never gives back; or as tokens are made. `enforce: false` lets everything through and counts what would have been
refused.
"""

from collections import OrderedDict

from tests.provider import clock, meters, rules
from tests.provider.rules import INPUT, METERED, OUTPUT, RPD, RPM, TOKENS

PAIRS_MAX = 4096
CONCURRENCY_WAIT_MS = 1000
SPEND_WAIT_MS = 3_600_000


class Ask:
    """What a call would cost: true input tokens, the guess by length, max_tokens (0: none given)."""

    __slots__ = ("true_input", "guess", "most", "is_sum")

    def __init__(self, true_input, guess=0, most=0, is_sum=False):
        self.true_input = true_input
        self.guess = guess
        self.most = most
        self.is_sum = is_sum

    def combined(self):
        return self.guess + self.most if self.is_sum else max(self.guess, self.most)


class Pair:
    """The meters of one key and model under a rule (None: no limits, but calls are still counted)."""

    def __init__(self, key, model, rule, now_ms):
        self.key = key
        self.model = model
        self.rule = rule
        self.in_flight = 0
        self.spent_usd = 0.0
        self.meters = {}
        self._make(now_ms)

    def _make(self, now_ms):
        if self.rule is None:
            self.meters = {}
            return
        kept, self.meters = self.meters, {}
        for name in METERED:
            if self.rule[name] is None:
                continue
            period = meters.DAY_MS if name == RPD else meters.MINUTE_MS
            kind = rules.algorithm_of(self.rule, name)
            fresh = meters.make(kind, self.rule[name], period, now_ms, self.rule["burst_s"], self.rule["quantum_s"],
                                clock.wall_minus_mono_ms())
            old = kept.get(name)
            if type(old) is type(fresh):
                old.set_limit(self.rule[name], now_ms)
                fresh = old
            self.meters[name] = fresh

    def change(self, rule, now_ms):
        """Another rule from now on; meters of the same kind keep what was spent."""
        self.rule = rule
        self._make(now_ms)

    def refill(self, now_ms):
        self.meters = {}
        self.spent_usd = 0.0
        self._make(now_ms)

    def state(self, now_ms):
        """Every meter as it stands, for people and tests."""
        return {"key": self.key, "model": self.model, "in_flight": self.in_flight, "spent_usd": round(self.spent_usd, 9),
                "meters": {name: {"limit": meter.limit, "room": round(meter.room(now_ms), 3),
                                  "reset_ms": round(meter.reset_ms(now_ms), 1)} for name, meter in self.meters.items()}}


class Verdict:
    """What the limits say of one call: reason is None when admitted, else the limit that refused."""

    def __init__(self, pair=None):
        self.pair = pair
        self.reason = None
        self.wait_ms = 0.0
        self.limit = self.used = self.cost = 0
        self.over = False  # would have been refused, had the rule been enforced
        self.charges = {}
        self.is_held = False

    @property
    def rule(self):
        return self.pair.rule if self.pair else None

    def produce(self, count, now_ms):
        """Charge output tokens that were just made."""
        pair = self.pair
        if pair is None or pair.rule is None:
            return
        rule, held = pair.rule, pair.meters
        if OUTPUT in held and rule["output"] == "produced":
            held[OUTPUT].take(count, now_ms)
        if TOKENS in held and rule["tokens"] == "produced":
            held[TOKENS].take(count, now_ms)
        if rule["price"]:
            pair.spent_usd += count * rule["price"].get("output_per_million", 0) / 1e6

    def release(self):
        """The call is over: it no longer counts as under way."""
        if self.is_held:
            self.is_held = False
            self.pair.in_flight -= 1


class Limits:
    def __init__(self, rule_list=()):
        self._rules = list(rule_list)
        self._pairs = OrderedDict()
        self._broke = {}  # (key, model or None) -> code: no money left, by decree

    @property
    def rules(self):
        return list(self._rules)

    def set_rules(self, rule_list, now_ms=None, is_fresh=True):
        """New rules; every meter starts full, unless is_fresh is false: then the same kind of meter keeps what was spent."""
        now_ms = clock.mono_ms() if now_ms is None else now_ms
        self._rules = list(rule_list)
        for pair in self._pairs.values():
            pair.change(self._rule(pair.key, pair.model), now_ms)
            if is_fresh:
                pair.refill(now_ms)

    def change(self, key, model, change, now_ms):
        """Put change(rule) in the place of every rule written for exactly this key and model (None: any). How many were found."""
        found = 0
        fresh = []
        for rule in self._rules:
            fits = key in (None, rule["key"]) and model in (None, rule["model"])
            found += fits
            fresh.append(change(rule) if fits else rule)
        self.set_rules(fresh, now_ms, is_fresh=False)
        return found

    def refill(self, now_ms):
        for pair in self._pairs.values():
            pair.refill(now_ms)

    def set_broke(self, key, model, code):
        """Decree that a key (with a model, or None for all) has no money left; code None: it has again."""
        if code is None:
            self._broke.pop((key, model), None)
        else:
            self._broke[(key, model)] = code

    def forget_decrees(self):
        self._broke.clear()

    def broke_code(self, key, model):
        return self._broke.get((key, model)) or self._broke.get((key, None)) or ""

    def pairs(self):
        return list(self._pairs.values())

    def limits_of(self, key, model):
        return rules.limits_of(self._rule(key, model))

    def _rule(self, key, model):
        for rule in self._rules:
            if rule["key"] in ("*", key) and rule["model"] in ("*", model):
                return rule
        return None

    def pair(self, key, model, now_ms):
        name = (key, model)
        pair = self._pairs.get(name)
        if pair is None:
            pair = self._pairs[name] = Pair(key, model, self._rule(key, model), now_ms)
            if len(self._pairs) > PAIRS_MAX:
                self._drop_idle()
        return pair

    def _drop_idle(self):
        for name, pair in self._pairs.items():
            if not pair.in_flight:
                del self._pairs[name]
                return

    def admit(self, key, model, ask, now_ms):
        """Take one call. Returns a Verdict; release() must follow when the call is over."""
        pair = self.pair(key, model, now_ms)
        verdict = Verdict(pair)
        rule = pair.rule
        verdict.charges = {RPM: 1, RPD: 1, INPUT: ask.true_input, OUTPUT: 0, TOKENS: ask.true_input}
        if rule is not None:
            if rule["output"] == "upfront":
                verdict.charges[OUTPUT] = ask.most
            if rule["tokens"] == "upfront":
                verdict.charges[TOKENS] = ask.combined()
        if self.broke_code(key, model):
            self._refuse(verdict, "spend", SPEND_WAIT_MS, 0, 0, 0)
            return verdict
        if rule is not None:
            self._weigh(verdict, rule, now_ms)
        if verdict.reason is None:
            self._take(verdict, rule, ask, now_ms)
        elif rule is not None and rule["refused_count"]:
            for name in (RPM, RPD):
                if name in pair.meters:
                    pair.meters[name].take(1, now_ms)
        return verdict

    def _weigh(self, verdict, rule, now_ms):
        pair = verdict.pair
        for name, meter in pair.meters.items():
            cost = max(1, verdict.charges[name])
            wait_ms = meter.wait_ms(cost, now_ms)
            if wait_ms > 0:
                self._refuse_if(verdict, rule, name, wait_ms, meter, cost, now_ms)
        if rule["concurrency"] is not None and pair.in_flight >= rule["concurrency"]:
            verdict.over = True
            if rule["enforce"] and verdict.reason is None:
                self._refuse(verdict, "concurrency", CONCURRENCY_WAIT_MS, rule["concurrency"], pair.in_flight, 1)
        if rule["spend"] is not None and pair.spent_usd >= rule["spend"]:
            verdict.over = True
            if rule["enforce"]:
                self._refuse(verdict, "spend", SPEND_WAIT_MS, rule["spend"], pair.spent_usd, 0)

    def _refuse_if(self, verdict, rule, name, wait_ms, meter, cost, now_ms):
        verdict.over = True
        if rule["enforce"] and wait_ms > verdict.wait_ms:
            used = meter.limit - max(0, meter.room(now_ms))
            self._refuse(verdict, name, wait_ms, meter.limit, used, cost)

    @staticmethod
    def _refuse(verdict, reason, wait_ms, limit, used, cost):
        verdict.reason, verdict.wait_ms = reason, wait_ms
        verdict.limit, verdict.used, verdict.cost = limit, used, cost

    @staticmethod
    def _take(verdict, rule, ask, now_ms):
        pair = verdict.pair
        for name, meter in pair.meters.items():
            meter.take(verdict.charges[name], now_ms)
        if rule is not None and rule["price"]:
            pair.spent_usd += ask.true_input * rule["price"].get("input_per_million", 0) / 1e6
        pair.in_flight += 1
        verdict.is_held = True
