"""One call, from the request to its line in the journal, whatever dialect it speaks.

A small state machine on timers: wait for the first token, then write whatever is due by the clock (a late timer
writes several tokens at once, so a loaded machine slows nobody down), stop at the marks where a fault lies, finish.
Whatever ends the call, end() runs once and journals it. Tokens are charged and judged the moment they are made: in a
stream when they are written, in an answer in one piece at the same pace, BREW_MS at a time.
"""

import json
import time
from array import array

from tests.provider import behavior as rules
from tests.provider import clock, headers, limits, text
from tests.provider.dialects.base import GARBAGE, Answer, Refusal, Used
from tests.provider.rules import OUTPUT, TOKENS

SLICE = 512          # tokens written in one turn when there is no pace
DRIP_PIECES = 10
BREW_MS = 100
MARKS = ("error", "cut", "stall", "garbage", "malformed")
NOBODY = "-"         # the key of calls without one


def now_ms():
    return clock.wall_ms()


class Call:
    """See the head of the file. service: the running Service; connection: the client's; dialect: made for this request."""

    def __init__(self, service, connection, request, dialect):
        self.service = service
        self.connection = connection
        self.dialect = dialect
        self.loop = service.loop
        self.arrived_ms = clock.mono_ms()
        self.entry = {"t_start_ms": now_ms(), "t_ms": self.arrived_ms, "identity": request.headers.get("x-client-request-id"),
                      "key": None, "model": None, "dialect": dialect.name, "stream": False, "prompt_sha256": None,
                      "input_tokens": None, "estimate_input": None, "call": None}
        self.settings = None
        self.prompt = None
        self.verdict = limits.Verdict()
        self.sent = 0
        self.made = 0
        self.timer = None
        self.stalled = False
        self.open = True
        self.total = 0
        self.reasoning = 0
        self._pinger = None
        self._clock = None   # when the first token was made
        self._is_quiet = True
        self._record = None  # the judge's, of the key and model
        self._number = None
        self._counted = ()
        self._produced = array("I")
        self._began = self.loop.time()
        self._request = request

    # --- the beginning -----------------------------------------------------------------------------------------

    def run(self):
        """Judge the request and start to answer it."""
        self.connection.call = self
        try:
            self._learn(self._read())
        except Refusal as refusal:
            self._begin("failed", "request")
            self._answer(refusal.status, self.dialect.refusal(refusal), "error")
            return
        if self._is_stopped() or self._is_limited():
            return
        self._begin("accepted", None)
        self._record = self.service.record(self)
        self._number = self._record.accept(self.verdict.charges, self.arrived_ms)
        self._counted = _counted(self.verdict.rule)
        self.service.stats.admit(self.entry)
        if self.settings["drop"]:
            self.entry["fault"] = "drop"
            self._end("cut")
            self.connection.close()
        elif self.settings["fail"]:
            self._fail()
        else:
            self._plan()

    def _begin(self, verdict, reason):
        self.entry["verdict"], self.entry["reason"] = verdict, reason
        self.service.begin(self)

    def _read(self):
        self.dialect.ident = self.service.ident(self)[:24]
        key = self.dialect.key(self._request.headers)
        self.entry["key"] = key or None
        known = self.service.behavior.document["keys"]
        if self.dialect.needs_key:
            if not key:
                raise self.dialect.no_key()
            if known is not None and key not in known:
                raise self.dialect.bad_key()
        self.dialect.check_head(self._request.headers)
        try:
            return json.loads(self._request.body)
        except (ValueError, RecursionError) as error:
            raise self.dialect.bad_json() from error

    def _learn(self, body):
        prompt = self.prompt = self.dialect.read(body)
        entry, service, messages = self.entry, self.service, prompt.messages
        entry["model"], entry["stream"] = prompt.model, prompt.stream
        entry["prompt_sha256"] = text.prompt_hash(messages)
        texts = [text.message_text(message) for message in messages]
        chars = sum(map(len, texts))
        entry["estimate_input"], self._guess = -(-chars // 4), chars // 4 + 1
        entry["input_tokens"] = text.count_input(messages)
        self._asked = next((said for message, said in zip(reversed(messages), reversed(texts)) if message["role"] == "user"), "")
        step = rules.step_of(entry["identity"]) if entry["identity"] else f"{entry['key']}\x1f{entry['prompt_sha256']}"
        self.step = step
        entry["call"] = service.behavior.count(step)
        try:
            marker = rules.parse_marker(self._asked)
        except rules.BadSetting as error:
            raise Refusal(400, f"[[sim ...]] {error}") from error
        self.settings = service.behavior.settle(prompt.model, marker, step, entry["call"])
        if self.settings["size_error"]:
            entry["input_tokens"] = service.behavior.resize(self.settings, "in", max(1, entry["estimate_input"]), step)
        known = service.behavior.document["known_models"]
        if known is not None and prompt.model not in known:
            raise self.dialect.no_model(prompt.model)
        if self.settings["strict"]:
            self.dialect.check_strict(prompt)

    @property
    def key(self):
        return self.entry["key"] or NOBODY

    # --- what may stop it --------------------------------------------------------------------------------------

    def _is_stopped(self):
        """Bad weather: an outage, a storm, a slow start."""
        front = self.service.front(self)
        if front is None:
            return False
        self._begin("refused", front.kind)
        self.service.record(self).refuse(front.kind, self.arrived_ms)
        values = front.values
        if front.kind == "storm":
            verdict = limits.Verdict()
            verdict.reason = limits.RPM
            self._answer(*self._shaped(self.dialect.limited(self.prompt, verdict, values["retry_after"])))
        elif front.kind == "slow_start":
            self._answer(*self._shaped(self.dialect.slow_down(values["answer"], 1.0)))
        elif values["mode"] in ("refuse", "closed"):
            self._end("rejected_weather")
            self.connection.reset()
        elif values["mode"] == "hang":
            self._hang(front)
        else:
            status = int(values["mode"])
            self._answer(status, self.dialect.failure(status, self.settings, headers.duration(1)), "rejected_weather")
        return True

    @staticmethod
    def _shaped(answer, outcome="rejected_weather"):
        status, lines, body = answer
        return status, body, outcome, lines

    def _hang(self, front):
        """Say nothing until the outage is over, then close."""
        self.stalled = True
        if front.end_ms is not None:
            left_s = max(0, front.end_ms - clock.mono_ms()) / 1000
            self.timer = self.loop.call_later(left_s, self.cut_off)

    def _is_limited(self):
        most = self.prompt.most or 0
        ask = limits.Ask(self.entry["input_tokens"], self._guess, most, self.dialect.is_combined_sum)
        verdict = self.service.limits.admit(self.key, self.entry["model"], ask, self.arrived_ms)
        self.verdict = verdict
        if verdict.reason is None:
            if verdict.over:
                self.service.stats.of(self.entry)["violations"] += 1
            return False
        self._begin("refused", verdict.reason)
        self.service.record(self).refuse(verdict.reason, self.arrived_ms)
        if verdict.reason == "spend":
            code = self.service.limits.broke_code(self.key, self.entry["model"])
            self._answer(*self._shaped(self.dialect.broke("" if code == "default" else code), "rejected_spend"))
        else:
            told_s = headers.told_wait_s(verdict)
            self._answer(*self._shaped(self.dialect.limited(self.prompt, verdict, told_s), "rejected_rate"))
        return True

    def _fail(self):
        status, settings = self.settings["fail"], self.settings
        self.entry["fault"] = "fail"
        retry = settings["retry_after"]
        if retry is None and status == 429:
            retry = 1
        more = [] if retry is None else [("retry-after", max(1, int(retry + 0.999)) if status == 429 else retry)]
        if not self.dialect.tells_retry:
            more = []
        self._answer(status, self.dialect.failure(status, settings, headers.duration(retry or 1)), "error", more)

    def _answer(self, status, body, outcome, more=()):
        lines = self._headers()
        self._end(outcome, status)
        self.connection.reply(status, lines + list(more), body)

    def _headers(self):
        ident = self.service.ident(self)
        took = int((self.loop.time() - self._began) * 1000)
        lines = self.dialect.head(ident, took)
        if self.dialect.style is not None and self.verdict.pair is not None:
            lines = lines + headers.rate_lines(self.dialect.style, self.verdict, clock.mono_ms(), self.service.behavior.seed,
                                               self.entry.get("n", 0))
        return lines

    # --- the plan ----------------------------------------------------------------------------------------------

    def _plan(self):
        settings, prompt, behavior = self.settings, self.prompt, self.service.behavior
        sha = self.entry["prompt_sha256"]
        self._source, wanted = self._text()
        thought = behavior.draw(settings, "reasoning_tokens", sha, self.step)
        if prompt.most is not None:
            thought = min(thought, prompt.most)
        self.reasoning = thought
        self.total = wanted if prompt.most is None else min(wanted, prompt.most - thought)
        self._reason = "stop" if self.total == wanted else "length"
        used_in = self.entry["input_tokens"] if settings["usage_in"] is None else settings["usage_in"]
        used_out = self.total + thought if settings["usage_out"] is None else settings["usage_out"]
        used = None if settings["usage"] == "missing" else Used(used_in, used_out, thought)
        self._facts = Answer(self.service.ident(self), int(time.time()), prompt, used, settings)
        marks = [(settings[rules.VALUE_OF[fault]], fault) for fault in MARKS
                 if settings[rules.VALUE_OF[fault]] is not None]
        self._marks = sorted(mark for mark in marks if mark[0] <= self.total)
        self._pace = behavior.draw(settings, "tokens_per_s", sha, self.step)
        first = behavior.draw(settings, "ttft_ms", sha, self.step) / 1000
        if not prompt.stream:
            self._later(first, self._brew)
            return
        self._stream = self.dialect.stream(self._facts)
        if settings["ping_ms"] and self._stream.ping():
            self._thinks_s = first
            self._open_stream()
        else:
            self._thinks_s = 0
            self._later(first, self._open_stream)

    def _text(self):
        settings, seed, behavior = self.settings, self.service.behavior.seed, self.service.behavior
        sha, schema = self.entry["prompt_sha256"], self.prompt.schema
        if settings["text"] == "fixed":
            source = text.Fixed(settings["fixed_text"])
        elif schema is not None:
            source = text.Fixed(json.dumps(text.sample(schema, text.digest(seed, "json", sha))))
        elif settings["text"] == "echo":
            source = text.Fixed(rules.without_marker(self._asked))
        else:
            plain = text.Numbered() if settings["text"] == "numbered" else text.Words(seed, sha)
            wanted = behavior.draw(settings, "output_tokens", sha, self.step if isinstance(settings["output_tokens"], dict) else "")
            if settings["size_error"]:
                wanted = behavior.resize(settings, "out", max(1, wanted), self.step)
            return plain, wanted
        return source, len(source)

    def _later(self, seconds, action):
        if seconds <= 0:
            action()
        else:
            self.timer = self.loop.call_later(seconds, action)

    # --- tokens made -------------------------------------------------------------------------------------------

    def _make(self, count):
        """Charge and judge output tokens that were made just now."""
        if count <= 0:
            return
        at_ms = clock.mono_ms()
        self.made += count
        self.verdict.produce(count, at_ms)
        self.service.judge.produce(self._record, count, at_ms, self._counted)
        made, offset = self._produced, at_ms - self.arrived_ms
        if made and made[-2] == offset:
            made[-1] += count
        else:
            made.extend((offset, count))

    # --- an answer in one piece --------------------------------------------------------------------------------

    def _brew(self):
        """Make the tokens at their pace, unseen, up to the first fault; then answer."""
        self.timer = None
        if self._clock is None:
            self._clock = self.loop.time()
            self._make(self.reasoning)
        stop = self._marks[0][0] if self._marks else self.total
        said = self.made - self.reasoning
        due = stop if not self._pace else min(stop, int((self.loop.time() - self._clock) * self._pace + 1e-6))
        self._make(due - said)
        if due >= stop:
            self._whole()
        else:
            left_s = self._clock + stop / self._pace - self.loop.time()
            self.timer = self.loop.call_later(max(0.0, min(BREW_MS / 1000, left_s)), self._brew)

    def _whole(self):
        mark = self._marks[0][1] if self._marks else None
        if mark == "error":
            self.entry["fault"] = mark
            self._answer(500, self.dialect.failure(500, self.settings, ""), "error")
            return
        content = json.loads(b'"' + b"".join(self._source.slice(0, self.total)) + b'"')
        body = self.dialect.whole(self._facts, content, self._reason)
        self.entry["t_first_ms"] = now_ms()
        if mark is None:
            self._write_head([("content-type", "application/json")], len(body), lambda: self._deliver(body))
            return
        self.entry["fault"] = mark
        if mark in ("garbage", "malformed"):
            body = GARBAGE if mark == "garbage" else body[:len(body) // 2]
            self._write_head([("content-type", "application/json")], len(body), lambda: self._deliver(body, "error"))
        else:
            self._write_head([("content-type", "application/json")], len(body), lambda: self._break(mark, body))

    def _deliver(self, body, outcome="ok"):
        self.sent = self.total if outcome == "ok" else 0
        self._end(outcome, 200)
        self.connection.write(body)
        self.connection.finish()

    def _break(self, mark, body):
        self.connection.write(body[:len(body) // 2])
        if mark == "cut":
            self._cut()
        else:
            self._stall(lambda: self._deliver(body[len(body) // 2:]))

    # --- a stream ----------------------------------------------------------------------------------------------

    def _write_head(self, lines, length, then):
        head = self.connection.head(200, self._headers() + lines, length)
        self.entry["status"] = 200
        drip_ms = self.settings["head_ms"]
        if not drip_ms:
            self.connection.write(head)
            then()
            return
        size = -(-len(head) // DRIP_PIECES)
        pieces = [head[i:i + size] for i in range(0, len(head), size)]
        self._drip(pieces, drip_ms / 1000 / len(pieces), then)

    def _drip(self, pieces, pause_s, then):
        self.connection.write(pieces[0])
        if len(pieces) == 1:
            then()
        else:
            self.timer = self.loop.call_later(pause_s, self._drip, pieces[1:], pause_s, then)

    def _open_stream(self):
        self.timer = None
        self._write_head(self.dialect.stream_head, None, self._start_stream)

    def _start_stream(self):
        self.connection.write_chunk(self._stream.open())
        if self.settings["ping_ms"] and self._stream.ping():
            self._pinger = self.loop.call_later(self.settings["ping_ms"] / 1000, self._ping)
        self._later(self._thinks_s, self._speak)

    def _speak(self):
        self._make(self.reasoning)
        self._clock = self.loop.time()
        self._base = 0  # tokens sent before the clock (re)started
        self._tick()

    def _ping(self):
        if self._is_quiet and self.connection.can_write:
            self.connection.write_chunk(self._stream.ping())
        self._is_quiet = True
        self._pinger = self.loop.call_later(self.settings["ping_ms"] / 1000, self._ping)

    def _tick(self):
        self.timer = None
        if not self.connection.can_write:
            return  # may_write() comes when the client has read
        if self._at_mark():
            return
        stop = self._marks[0][0] if self._marks else self.total
        due = min(stop, self._due())
        if due > self.sent:
            data = self._stream.tokens(self._source.slice(self.sent, due), self.settings["chunk_tokens"])
            if self.entry["t_first_ms"] is None:
                self.entry["t_first_ms"] = now_ms()
            self._make(due - self.sent)
            self.sent = due
            self._is_quiet = False
            self.connection.write_chunk(data)
            if self._at_mark():
                return
        if self.sent >= self.total:
            self._finish()
        elif self._pace:
            step = max(self.sent + self.settings["chunk_tokens"] - 1, self.sent)
            self.timer = self.loop.call_at(self._clock + (min(step, self.total - 1) - self._base) / self._pace, self._tick)
        else:
            self.timer = self.loop.call_soon(self._tick)

    def _due(self):
        """How many tokens should have been sent by now; the first is due at once."""
        if not self._pace:
            return min(self.sent + SLICE, self.total)
        return min(self._base + int((self.loop.time() - self._clock) * self._pace + 1e-6) + 1, self.total)

    def _at_mark(self):
        """Let the fault that lies here happen; True when the stream stops for it."""
        while self._marks and self._marks[0][0] <= self.sent:
            fault = self._marks.pop(0)[1]
            self.entry["fault"] = fault
            if fault == "cut":
                self._cut()
                return True
            if fault == "stall":
                self._stall(self._go_on)
                return True
            if fault == "error":
                self.connection.write_chunk(self._stream.error())
                self._close_stream("error")
                return True
            self._spoil(fault)
        return False

    def _spoil(self, fault):
        if fault == "malformed":
            self.connection.write_chunk(self._stream.torn())
        elif self.settings["garbage"] == "sse":
            self.connection.write_chunk(GARBAGE)
        else:
            self.connection.write(GARBAGE)

    def _cut(self):
        self._end("cut", 200)
        if self.settings["cut"] == "rst":
            self.connection.reset()
        else:
            self.connection.close()

    def _stall(self, then):
        self.stalled = True
        if self.settings["stall_ms"] >= 0:
            self.timer = self.loop.call_later(self.settings["stall_ms"] / 1000, self._resume, then)

    def _resume(self, then):
        self.stalled = False
        then()

    def _go_on(self):
        self._base, self._clock = self.sent, self.loop.time()
        self._tick()

    def _finish(self):
        self.connection.write_chunk(self._stream.finish(self._reason, self._facts.used))
        spoiled = self.entry["fault"] in ("garbage", "malformed")
        self._close_stream("error" if spoiled else "ok")

    def _close_stream(self, outcome):
        self._end(outcome, 200)
        self.connection.write(b"0\r\n\r\n")
        self.connection.finish()

    # --- the end -----------------------------------------------------------------------------------------------

    def may_write(self):
        """The client has read: go on where back-pressure stopped a stream."""
        if self.timer is None and self.open and not self.stalled and self.entry["stream"] and self.entry["status"]:
            self._tick()

    def lost(self):
        """The client went away."""
        self._end("stalled" if self.stalled else "client_gone")

    def cut_off(self):
        """An outage ends the call where it stands."""
        self.stalled = False
        self._end("cut")
        self.connection.reset()

    def _end(self, outcome, status=None):
        if not self.open:
            return
        self.open = False
        for timer in (self.timer, self._pinger):
            if timer is not None:
                timer.cancel()
        self.timer = self._pinger = None
        if status is not None:
            self.entry["status"] = status
        self.entry.update({"t_end_ms": now_ms(), "outcome": outcome, "tokens_sent": self.sent,
                           "output_tokens": self.made, "produced": self._produced})
        self.verdict.release()
        if self._record is not None:
            self.service.judge.finish(self._record, self._number, self.made, self._counted)
        self.service.end(self)


def _counted(rule):
    """The limits that charge output tokens when they are made."""
    if rule is None:
        return (OUTPUT, TOKENS)
    return tuple(name for name, field in ((OUTPUT, "output"), (TOKENS, "tokens")) if rule[field] == "produced")
