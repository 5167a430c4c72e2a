"""Bad days at run time: outages, storms of 429s, a slow start after them, strangers on the same key.

Each front has filters (key, model, dialect; "*" is any), a beginning and an end. A call meets the first front that
fits, in the order outage, storm, slow start. Strangers are not met: they eat from the meters of the limits they fit,
every TICK_MS, and never more than is there.
"""

from tests.provider import text
from tests.provider.meters import MINUTE_MS
from tests.provider.rules import MINUTE_LIMITS, RPM, BadSetting, flag, number, one_of, string, whole

TICK_MS = 50
FRONTS_MAX = 64
OUTAGES = ("refuse", "closed", "500", "502", "503", "504", "529", "hang")
_COMMON = {"key": ("*", string), "model": ("*", string), "dialect": ("*", string), "for_s": (None, number(0, 10 ** 7))}


def _share(value):
    unit = number(0, 10)
    return unit(value) or (isinstance(value, list) and len(value) == 2 and all(unit(end) for end in value))


def _object(value):
    return isinstance(value, dict)


FORMS = {
    "outage": {**_COMMON, "mode": ("503", lambda value: str(value) in OUTAGES), "cut": (False, flag), "slow_start": (None, _object)},
    "storm": {**_COMMON, "share": (1.0, number(0, 1)), "retry_after": (None, number(0, 86_400))},
    "slow_start": {**_COMMON, "from": (0.1, number(0, 1)), "per_minute": (None, whole(1, 10 ** 9)),
                   "answer": ("slow_down", one_of("slow_down", "overloaded"))},
    "strangers": {**{name: form for name, form in _COMMON.items() if name != "dialect"},
                  "share": (0.3, _share), "every_s": (5, number(0.05, 3600))},
}
ORDER = ("outage", "storm", "slow_start")


def check_front(kind, document):
    """The document in full form. Raises BadSetting."""
    form = FORMS[kind]
    if not isinstance(document, dict):
        raise BadSetting(f"{kind}: must be an object")
    for name, value in document.items():
        if name not in form:
            raise BadSetting(f"{kind}: unknown {name}")
        if not (form[name][1](value) or (value is None and form[name][0] is None)):
            raise BadSetting(f"{kind}: {name} cannot be {value!r}")
    full = {name: document.get(name, default) for name, (default, _) in form.items()}
    if kind == "outage":
        full["mode"] = str(full["mode"])
        if full["slow_start"] is not None:
            full["slow_start"] = check_front("slow_start", {"for_s": 20, **full["slow_start"]})
    if kind == "slow_start" and not full["for_s"]:
        raise BadSetting("slow_start: for_s is needed")
    return full


class Front:
    """One of them, in force from begin_ms until end_ms (None: until it is ended)."""

    def __init__(self, kind, values, now_ms):
        self.kind = kind
        self.values = values
        self.begin_ms = now_ms
        self.end_ms = None if values["for_s"] is None else now_ms + int(values["for_s"] * 1000)
        self.levels = {}  # slow start: (key, model): [level, at_ms]
        self.debts = {}   # strangers: (key, model, limit): what is due and not yet whole
        self.met = 0
        self.share = 0.0
        self.drawn = -1

    def blows(self, now_ms):
        return self.begin_ms <= now_ms and (self.end_ms is None or now_ms < self.end_ms)

    def fits(self, dialect, key, model):
        wanted = self.values
        return (wanted["key"] in ("*", key) and wanted["model"] in ("*", model)
                and wanted.get("dialect", "*") in ("*", dialect))

    def shown(self):
        return {"kind": self.kind, **self.values, "begin_ms": self.begin_ms, "end_ms": self.end_ms, "met": self.met}


class Weather:
    def __init__(self, seed):
        self._seed = seed
        self.fronts = []
        self._drawn = 0

    def put(self, kind, document, now_ms):
        """Start a front. Strangers with the same filters take the place of the old ones. Raises BadSetting."""
        values = check_front(kind, document)
        if kind == "strangers":
            same = lambda front: front.kind == kind and all(front.values[n] == values[n] for n in ("key", "model"))
            self.fronts = [old for old in self.fronts if not same(old)]
        front = Front(kind, values, now_ms)
        after = [front]
        if kind == "outage" and values["slow_start"] and front.end_ms is not None:
            filters = {name: values[name] for name in ("key", "model", "dialect")}
            after.append(Front("slow_start", {**values["slow_start"], **filters}, front.end_ms))
        fronts = [old for old in self.fronts if old.end_ms is None or old.end_ms > now_ms] + after
        if len(fronts) > FRONTS_MAX:
            raise BadSetting(f"more than {FRONTS_MAX} fronts at once")
        self.fronts = fronts
        return front

    def end(self, kind, now_ms):
        """End every front of a kind; the slow start that was to follow an outage begins now."""
        for front in self.fronts:
            if front.kind == kind and front.blows(now_ms):
                front.end_ms = now_ms
        if kind == "outage":
            for front in self.fronts:
                if front.kind == "slow_start" and front.begin_ms > now_ms:
                    length = front.end_ms - front.begin_ms
                    front.begin_ms, front.end_ms = now_ms, now_ms + length

    def clear(self):
        self.fronts = []

    def shown(self, now_ms):
        return [front.shown() for front in self.fronts if front.end_ms is None or front.end_ms > now_ms]

    def outage(self, now_ms, mode):
        """The outage of this mode that meets every key, model and dialect, or None."""
        for front in self.fronts:
            if (front.kind == "outage" and front.values["mode"] == mode and front.blows(now_ms)
                    and all(front.values[name] == "*" for name in ("key", "model", "dialect"))):
                return front
        return None

    def meets(self, dialect, key, model, limits, now_ms):
        """The front that stops this call, or None. limits: of its key and model, by name."""
        if not self.fronts:
            return None
        for kind in ORDER:
            for front in self.fronts:
                if front.kind == kind and front.blows(now_ms) and front.fits(dialect, key, model):
                    if self._stops(front, key, model, limits, now_ms):
                        front.met += 1
                        return front
        return None

    def _stops(self, front, key, model, limits, now_ms):
        if front.kind == "outage":
            return True
        if front.kind == "storm":
            self._drawn += 1
            return front.values["share"] >= 1 or text.chance(self._seed, "storm", self._drawn) < front.values["share"]
        rate = front.values["per_minute"] or limits.get(RPM)
        if not rate:
            return False
        level = front.levels.setdefault((key, model), [1.0, front.begin_ms])
        share = self.slow_share(front, now_ms)
        per_ms = rate / MINUTE_MS * share
        level[0] = min(max(1.0, per_ms * 1000), level[0] + (now_ms - level[1]) * per_ms)
        level[1] = now_ms
        if level[0] < 1 - 1e-6:
            return True
        level[0] -= 1
        return False

    @staticmethod
    def slow_share(front, now_ms):
        """How much of the full rate a slow start serves at this moment."""
        start = front.values["from"]
        return start + (1 - start) * (now_ms - front.begin_ms) / max(1, front.end_ms - front.begin_ms)

    # --- strangers ---------------------------------------------------------------------------------------------

    def has_strangers(self, now_ms):
        return any(front.kind == "strangers" and front.blows(now_ms) for front in self.fronts)

    def feed_strangers(self, pairs, elapsed_ms, now_ms, told):
        """Let strangers eat for elapsed_ms; told(pair, limit, amount) hears of it."""
        for front in self.fronts:
            if front.kind != "strangers" or not front.blows(now_ms):
                continue
            share = self._strangers_share(front, now_ms)
            for pair in pairs:
                if front.fits(None, pair.key, pair.model):
                    self._eat(front, pair, share, elapsed_ms, now_ms, told)

    def _strangers_share(self, front, now_ms):
        share = front.values["share"]
        if not isinstance(share, list):
            return share
        turn = int((now_ms - front.begin_ms) // (front.values["every_s"] * 1000))
        if turn != front.drawn:
            front.drawn = turn
            front.share = share[0] + text.chance(self._seed, "strangers", front.begin_ms, turn) * (share[1] - share[0])
        return front.share

    @staticmethod
    def _eat(front, pair, share, elapsed_ms, now_ms, told):
        for name in MINUTE_LIMITS:
            meter = pair.meters.get(name)
            if meter is None:
                continue
            due = front.debts.get((pair.key, pair.model, name), 0.0) + meter.limit * share * elapsed_ms / MINUTE_MS
            whole_part = int(due)
            front.debts[(pair.key, pair.model, name)] = due - whole_part
            amount = min(whole_part, int(max(0, meter.room(now_ms))))
            if amount > 0:
                meter.take(amount, now_ms)
                told(pair, name, amount)
