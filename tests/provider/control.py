"""The control API: settings, limits, weather, the journal and the judge, under /__sim/. Kept apart from what models
would see."""

import json
from urllib.parse import parse_qsl

from tests.provider import clock, oracle, rules, weather
from tests.provider.meters import MINUTE_MS
from tests.provider.rules import BadSetting

JOURNAL_MAX = 10_000
CALLS_MAX = 1_000_000
WEATHER = ("outage", "storm", "slow_start", "strangers")


def reply_json(connection, value, status=200):
    connection.reply(status, [], json.dumps(value).encode() + b"\n")


def _object(request):
    value = json.loads(request.body or b"{}")
    if not isinstance(value, dict):
        raise BadSetting("the body must be an object")
    return value


def _only(value, *names):
    for name in value:
        if name not in names:
            raise BadSetting(f"unknown {name}; known are {' '.join(names)}")


def _time(value, now_ms, otherwise):
    """A moment: monotonic ms, or ms before now where it is negative."""
    if value is None or value == "":
        return otherwise
    number = int(float(value))
    return now_ms + number if number < 0 else number


class Control:
    """Answers one control request at a time; service is the running Service."""

    def __init__(self, service):
        self._service = service
        self._fed_ms = None  # when strangers last ate
        table = {"GET healthz": self._health, "GET behavior": self._behavior, "PUT behavior": self._put_behavior,
                 "PATCH behavior": self._patch_behavior, "GET journal": self._journal, "GET stats": self._stats,
                 "POST reset": self._reset, "GET limits": self._limits, "PUT limits": self._put_limits,
                 "PATCH limits": self._patch_limits, "POST spend": self._spend, "GET weather": self._weather,
                 "DELETE weather": self._clear, "GET pacing": self._pacing, "POST pacing/reset": self._pacing_reset,
                 "POST oracle": self._oracle, "PUT strangers": self._blow}
        for kind in WEATHER:
            table[f"POST {kind}"] = self._blow
            table[f"DELETE {kind}"] = self._end
        self._table = table

    def handle(self, connection, request):
        name = request.path[len("/__sim/"):]
        action = self._table.get(f"{request.method} {name}")
        if action is None:
            reply_json(connection, {"error": f"no {request.method} {request.path}"}, 404)
            return
        try:
            answer = action(request)
            if isinstance(answer, bytes):
                connection.reply(200, [], answer)
            else:
                reply_json(connection, answer)
        except (BadSetting, ValueError, OverflowError) as error:
            reply_json(connection, {"error": str(error)}, 400)

    # --- settings ----------------------------------------------------------------------------------------------

    def _health(self, _):
        return {"status": "ok", "now_ms": clock.wall_ms(), "mono_ms": clock.mono_ms()}

    def _behavior(self, _):
        return self._service.behavior.document

    def _put_behavior(self, request):
        self._service.behavior.replace(json.loads(request.body))
        self._service.apply()
        return self._service.behavior.document

    def _patch_behavior(self, request):
        service = self._service
        before = service.behavior.document
        service.behavior.patch(json.loads(request.body))
        if before["limits"] != service.behavior.document["limits"]:
            service.limits.set_rules(service.behavior.document["limits"], is_fresh=False)
        service.apply_rest()
        return service.behavior.document

    def _journal(self, request):
        query = dict(parse_qsl(request.query))
        limit = max(1, min(JOURNAL_MAX, int(query.get("limit", JOURNAL_MAX))))
        journal = self._service.journal
        rest = json.dumps({"last": journal.last, "now_ms": clock.wall_ms(), "mono_ms": clock.mono_ms()}).encode()
        return b'{"entries":%s,%s\n' % (journal.since(int(query.get("since", 0)), limit), rest[1:])

    def _stats(self, _):
        return self._service.stats.report()

    def _reset(self, _):
        service = self._service
        service.behavior.reset()
        service.stats.reset()
        service.journal.reset()
        service.weather.clear()
        service.limits.forget_decrees()
        service.listener_back()
        service.apply()
        service.judge.reset(service.limits.limits_of, clock.mono_ms())
        return {"status": "ok"}

    # --- limits ------------------------------------------------------------------------------------------------

    def _limits(self, _):
        now_ms = clock.mono_ms()
        limits = self._service.limits
        return {"rules": limits.rules, "meters": [pair.state(now_ms) for pair in limits.pairs()], "now_ms": now_ms}

    def _put_limits(self, request):
        document = json.loads(request.body)
        listed = rules.check_rules(document.get("limits") if isinstance(document, dict) else document)
        service = self._service
        service.behavior.set_limits(listed)
        service.limits.set_rules(listed)
        service.judge.limits_changed(service.limits.limits_of, clock.mono_ms())
        return self._limits(request)

    def _patch_limits(self, request):
        change = _object(request)
        _only(change, "key", "model", "scale", "set")
        if ("scale" in change) == ("set" in change):
            raise BadSetting("either scale or set")
        if "scale" in change:
            if not rules.number(1e-6, 1e6)(change["scale"]):
                raise BadSetting("scale must be a number above 0")
            alter = lambda rule: rules.scaled(rule, change["scale"])
        else:
            alter = lambda rule: rules.check_rule({**rule, **_renamed(change["set"])})
        service, now_ms = self._service, clock.mono_ms()
        if not service.limits.change(change.get("key"), change.get("model"), alter, now_ms):
            raise BadSetting("no rule is written for this key and model")
        service.behavior.set_limits(service.limits.rules)
        service.judge.limits_changed(service.limits.limits_of, now_ms)
        return self._limits(request)

    def _spend(self, request):
        change = _object(request)
        _only(change, "key", "model", "exhausted", "code")
        if not isinstance(change.get("key"), str):
            raise BadSetting("key is needed")
        code = change.get("code") or "default"
        self._service.limits.set_broke(change["key"], change.get("model"), code if change.get("exhausted", True) else None)
        return {"status": "ok"}

    # --- weather -----------------------------------------------------------------------------------------------

    def _weather(self, _):
        now_ms = clock.mono_ms()
        return {"fronts": self._service.weather.shown(now_ms), "now_ms": now_ms}

    def _blow(self, request):
        service, now_ms = self._service, clock.mono_ms()
        kind = request.path.rpartition("/")[2]
        document = _object(request)
        if document.get("mode") == "closed" and not service.listener_can_close():
            raise BadSetting("closed needs --control-port")
        if kind == "slow_start" and not document.get("per_minute") and not any(
                rule["requests_per_minute"] for rule in service.limits.rules):
            raise BadSetting("slow_start: per_minute is needed where no rule limits requests a minute")
        front = service.weather.put(kind, document, now_ms)
        if kind == "strangers" and self._fed_ms is None:
            self._fed_ms = now_ms
            service.loop.call_later(weather.TICK_MS / 1000, self._feed)
        if kind == "outage":
            service.outage_began(front)
        return {"front": front.shown(), "now_ms": now_ms}

    def _end(self, request):
        kind, now_ms = request.path.rpartition("/")[2], clock.mono_ms()
        self._service.weather.end(kind, now_ms)
        if kind == "outage":
            self._service.listener_back()
        return self._weather(request)

    def _clear(self, request):
        self._service.weather.clear()
        self._service.listener_back()
        return self._weather(request)

    def _feed(self):
        """Strangers eat what has become due since the last time."""
        service, now_ms = self._service, clock.mono_ms()
        if not service.weather.has_strangers(now_ms):
            self._fed_ms = None
            return
        service.weather.feed_strangers(service.limits.pairs(), now_ms - self._fed_ms, now_ms, self._tell_judge)
        self._fed_ms = now_ms
        service.loop.call_later(weather.TICK_MS / 1000, self._feed)

    def _tell_judge(self, pair, name, amount):
        now_ms, service = clock.mono_ms(), self._service
        record = service.judge.pair(pair.key, pair.model, service.limits.limits_of(pair.key, pair.model), now_ms)
        record.strangers(name, amount, now_ms)

    # --- the judge ---------------------------------------------------------------------------------------------

    def _pacing(self, request):
        query = dict(parse_qsl(request.query))
        _only(query, "from", "to", "step_s", "key", "model", "oracle", "burst")
        now_ms = clock.mono_ms()
        question = {"from_ms": _time(query.get("from"), now_ms, None), "to_ms": _time(query.get("to"), now_ms, now_ms),
                    "step_ms": max(1, int(float(query.get("step_s", 60)) * 1000)), "oracle": query.get("oracle", "0") not in ("0", "false"),
                    "burst": float(query.get("burst", 0.02))}
        wanted = [pair for pair in self._service.judge.pairs()
                  if query.get("key") in (None, "", pair.key) and query.get("model") in (None, "", pair.model)]
        return {"now_ms": now_ms, "from_ms": question["from_ms"], "to_ms": question["to_ms"],
                "pairs": [pair.report(question) for pair in wanted]}

    def _pacing_reset(self, request):
        change = _object(request)
        _only(change, "refill")
        service, now_ms = self._service, clock.mono_ms()
        if change.get("refill", True):
            service.limits.refill(now_ms)
        service.judge.reset(service.limits.limits_of, now_ms)
        return {"status": "ok", "now_ms": now_ms}

    def _oracle(self, request):
        asked = _object(request)
        _only(asked, "key", "model", "limits", "from_ms", "to_ms", "burst", "calls", "arrivals")
        now_ms = clock.mono_ms()
        record = self._service.judge.find(asked.get("key"), asked.get("model"))
        if "limits" in asked:
            changes = [(0, rules.limits_of(rules.check_rule(asked["limits"])))]
        elif record is not None:
            changes = record.changes
        else:
            raise BadSetting("no calls of this key and model were seen; give limits")
        from_ms = _time(asked.get("from_ms"), now_ms, record.born_ms if record else 0)
        to_ms = _time(asked.get("to_ms"), now_ms, now_ms)
        calls = _oracle_calls(asked, record, from_ms, to_ms, now_ms)
        if not 0 < to_ms - from_ms <= 7 * 86_400_000:
            raise BadSetting("to_ms must lie after from_ms, by a week at most")
        burst = asked.get("burst", 0.02)
        if not rules.number(0, 1)(burst):
            raise BadSetting("burst must be a share of the minute")
        found = oracle.let_through(calls, changes, from_ms, to_ms, burst)
        share = {name: found["use"][name] / (limit * (to_ms - from_ms) / MINUTE_MS)
                 for name, limit in changes[-1][1].items() if name in found["use"]}
        return {**found, "share": share}


def _renamed(values):
    if not isinstance(values, dict):
        raise BadSetting("set must be an object")
    return {rules.ALIASES.get(name, name): value for name, value in values.items()}


def _oracle_calls(asked, record, from_ms, to_ms, now_ms):
    calls = asked.get("calls")
    if calls is not None:
        if not isinstance(calls, list) or len(calls) > CALLS_MAX or not all(
                isinstance(call, list) and 3 <= len(call) <= 4 and all(map(rules.number(-1e15, 1e15), call)) for call in calls):
            raise BadSetting("calls: [[arrival ms, input, output], ...]")
        return sorted([_time(call[0], now_ms, 0), *call[1:]] for call in calls)
    arrivals = asked.get("arrivals")
    if record is None or not isinstance(arrivals, list) or len(arrivals) > CALLS_MAX:
        raise BadSetting("calls, or arrivals [ms, ...] with the key and model of calls that were seen")
    sizes = record.sizes(from_ms, to_ms) or record.sizes(0, now_ms)
    if not sizes:
        raise BadSetting("no call of this key and model has ended yet")
    times = sorted(_time(at, now_ms, 0) for at in arrivals)
    return [(at, *sizes[i % len(sizes)][1:]) for i, at in enumerate(times)]
