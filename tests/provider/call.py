"""One chat completion, from the request to its line in the journal.

A small state machine on timers: wait for the first token, then write whatever is due by the clock (a late timer writes
several tokens at once, so a loaded machine slows nobody down), stop at the marks where a fault lies, finish. Whatever
ends the call, end() runs once and journals it.
"""

import json
import time

from tests.provider import behavior as rules
from tests.provider import limits, text, wire

SLICE = 512          # tokens written in one turn when there is no pace
DRIP_PIECES = 10
SSE_HEAD = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
MARKS = ("error", "cut", "stall", "garbage", "malformed")


def now_ms():
    return int(time.time() * 1000)


class Call:
    """See the head of the file. service: the running Service; connection: the client's."""

    def __init__(self, service, connection, request):
        self.service = service
        self.connection = connection
        self.loop = service.loop
        self.entry = {"t_start_ms": now_ms(), "identity": request.headers.get("x-client-request-id"), "key": None,
                      "model": None, "stream": False, "prompt_sha256": None, "input_tokens": None, "call": None}
        self.settings = None
        self.verdict = limits.Verdict()
        self.sent = 0
        self.timer = None
        self.stalled = False
        self.open = True
        self.total = 0
        self._began = self.loop.time()
        self._request = request

    # --- the beginning -----------------------------------------------------------------------------------------

    def run(self):
        """Judge the request and start to answer it."""
        self.connection.call = self
        try:
            body = self._read()
            self._learn(body)
        except wire.Refusal as refusal:
            self.service.begin(self)
            self._answer(refusal.status, refusal.body, "error")
            return
        self.service.begin(self)
        if self._is_too_fast(body):
            return
        self.service.stats.admit(self.entry)
        if self.settings["drop"]:
            self.entry["fault"] = "drop"
            self._end("cut")
            self.connection.close()
        elif self.settings["fail"]:
            self._fail()
        else:
            self._plan(body)

    def _read(self):
        key = self._request.headers.get("authorization", "")
        key = key[7:].strip() if key[:7].lower() == "bearer " else self._request.headers.get("api-key", "")
        self.entry["key"] = key or None
        known = self.service.behavior.document["keys"]
        if not key:
            raise wire.Refusal(401, "You didn't provide an API key. You need to provide your API key in an "
                                    "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
        if known is not None and key not in known:
            raise wire.Refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        try:
            return json.loads(self._request.body)
        except (ValueError, RecursionError) as error:
            raise wire.Refusal(400, "We could not parse the JSON body of your request. (HINT: This likely means you "
                                    "aren't using your HTTP library correctly. The OpenAI API expects a JSON "
                                    "payload.)") from error

    def _learn(self, body):
        wire.check_request(body, strict=False)
        entry, service = self.entry, self.service
        messages = body["messages"]
        entry["model"], entry["stream"] = body["model"], bool(body.get("stream"))
        entry["prompt_sha256"] = text.prompt_hash(messages)
        entry["input_tokens"] = text.count_input(messages)
        prompt = next((text.message_text(m) for m in reversed(messages) if m["role"] == "user"), "")
        step = rules.step_of(entry["identity"]) if entry["identity"] else f"{entry['key']}\x1f{entry['prompt_sha256']}"
        entry["call"] = service.behavior.count(step)
        try:
            marker = rules.parse_marker(prompt)
        except rules.BadSetting as error:
            raise wire.Refusal(400, f"[[sim ...]] {error}") from error
        self.settings = service.behavior.settle(body["model"], marker, step, entry["call"])
        self._prompt = prompt
        known = service.behavior.document["known_models"]
        if known is not None and body["model"] not in known:
            raise wire.Refusal(404, f"The model `{body['model']}` does not exist or you do not have access to it.",
                               code="model_not_found")
        if self.settings["strict"]:
            wire.check_request(body, strict=True)

    def _is_too_fast(self, body):
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        guess = sum(len(text.message_text(message)) for message in body["messages"]) // 4 + 1
        verdict = self.service.limits.admit(self.entry["key"], self.entry["model"], self.entry["input_tokens"],
                                            max(most, guess), self.loop.time())
        self.verdict = verdict
        self.service.count_over(self, verdict)
        if verdict.kind is None:
            return False
        wait = [("retry-after", max(1, int(verdict.wait_s + 0.999))), ("retry-after-ms", int(verdict.wait_s * 1000) + 1)]
        body = wire.too_fast(self.entry["model"], verdict, limits.duration(verdict.wait_s))
        self._answer(429, body, "rejected_rate", wait)
        return True

    def _fail(self):
        status, settings = self.settings["fail"], self.settings
        self.entry["fault"] = "fail"
        retry = settings["retry_after"]
        if retry is None and status == 429:
            retry = 1
        more = [] if retry is None else [("retry-after", max(1, int(retry + 0.999)) if status == 429 else retry)]
        self._answer(status, wire.failure(status, settings, limits.duration(retry or 1)), "error", more)

    def _answer(self, status, body, outcome, more=()):
        self._end(outcome, status)
        self.connection.reply(status, self._headers() + list(more), body)

    def _headers(self):
        ident = self.service.ident(self)
        took = int((self.loop.time() - self._began) * 1000)
        return [("x-request-id", "req_" + ident[:32]), ("openai-processing-ms", took),
                ("openai-organization", "org-simulated"), ("openai-version", "2020-10-01"),
                *self.verdict.headers(self.loop.time())]

    # --- the plan ----------------------------------------------------------------------------------------------

    def _plan(self, body):
        settings = self.settings
        self._source, wanted = self._text(body)
        most = body.get("max_completion_tokens") or body.get("max_tokens")
        self.total = wanted if most is None else min(wanted, most)
        self._reason = "stop" if self.total == wanted else "length"
        used_in = self.entry["input_tokens"] if settings["usage_in"] is None else settings["usage_in"]
        used_out = self.total if settings["usage_out"] is None else settings["usage_out"]
        self._used = None if settings["usage"] == "missing" else wire.usage(used_in, used_out)
        self._wants_usage = wire.wants_usage(body)
        marks = [(settings[rules.VALUE_OF[fault]], fault) for fault in MARKS
                 if settings[rules.VALUE_OF[fault]] is not None]
        self._marks = sorted(mark for mark in marks if mark[0] <= self.total)
        self._pace = settings["tokens_per_s"]
        first = settings["ttft_ms"] / 1000
        if self.entry["stream"]:
            self._later(first, self._open_stream)
        else:
            stop = self._marks[0][0] if self._marks else self.total
            self._later(first + (stop / self._pace if self._pace else 0), self._whole)

    def _text(self, body):
        settings, seed = self.settings, self.service.behavior.seed
        form = (body.get("response_format") or {}).get("type", "text")
        if settings["text"] == "fixed":
            source = text.Fixed(settings["fixed_text"])
        elif form != "text":
            schema = (body["response_format"].get("json_schema") or {}).get("schema") or {
                "type": "object", "properties": {"answer": {"type": "string"}}}
            key = text.digest(seed, "json", self.entry["prompt_sha256"])
            source = text.Fixed(json.dumps(text.sample(schema, key)))
        elif settings["text"] == "echo":
            source = text.Fixed(rules.without_marker(self._prompt))
        else:
            plain = (text.Numbered() if settings["text"] == "numbered"
                     else text.Words(seed, self.entry["prompt_sha256"]))
            return plain, self.service.behavior.length(settings, self.entry["prompt_sha256"])
        return source, len(source)

    def _later(self, seconds, action):
        if seconds <= 0:
            action()
        else:
            self.timer = self.loop.call_later(seconds, action)

    # --- an answer in one piece --------------------------------------------------------------------------------

    def _whole(self):
        mark = self._marks[0][1] if self._marks else None
        if mark == "error":
            self.entry["fault"] = mark
            self._answer(500, wire.failure(500, self.settings, ""), "error")
            return
        content = json.loads(b'"' + b"".join(self._source.slice(0, self.total)) + b'"')
        body = wire.completion("chatcmpl-" + self.service.ident(self)[:29], int(time.time()), self.entry["model"],
                               content, self._reason, self._used)
        self.entry["t_first_ms"] = now_ms()
        if mark is None:
            self._write_head([("content-type", "application/json")], len(body), lambda: self._deliver(body))
            return
        self.entry["fault"] = mark
        if mark in ("garbage", "malformed"):
            body = wire.GARBAGE if mark == "garbage" else body[:len(body) // 2]
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

    def _write_head(self, headers, length, then):
        head = self.connection.head(200, self._headers() + headers, length)
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
        self._chunks = wire.Chunks("chatcmpl-" + self.service.ident(self)[:29], int(time.time()), self.entry["model"],
                                   self._wants_usage, self.settings["obfuscation"])
        self._write_head(SSE_HEAD, None, self._start_stream)

    def _start_stream(self):
        self.connection.write_chunk(self._chunks.role())
        self._clock = self.loop.time()
        self._base = 0  # tokens sent before the clock (re)started
        self._tick()

    def _tick(self):
        self.timer = None
        if not self.connection.can_write:
            return  # may_write() comes when the client has read
        if self._at_mark():
            return
        stop = self._marks[0][0] if self._marks else self.total
        due = min(stop, self._due())
        if due > self.sent:
            data = self._chunks.tokens(self._source.slice(self.sent, due), self.settings["chunk_tokens"])
            if self.entry["t_first_ms"] is None:
                self.entry["t_first_ms"] = now_ms()
            self.sent = due
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
                self.connection.write_chunk(wire.MID_STREAM_ERROR)
                self._close_stream("error")
                return True
            self._spoil(fault)
        return False

    def _spoil(self, fault):
        if fault == "malformed":
            self.connection.write_chunk(self._chunks.torn())
        elif self.settings["garbage"] == "sse":
            self.connection.write_chunk(wire.GARBAGE)
        else:
            self.connection.write(wire.GARBAGE)

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
        data = self._chunks.finish(self._reason)
        if self._wants_usage and self._used is not None:
            data += self._chunks.usage(self._used)
        self.connection.write_chunk(data + wire.DONE)
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

    def _end(self, outcome, status=None):
        if not self.open:
            return
        self.open = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if status is not None:
            self.entry["status"] = status
        self.entry.update({"t_end_ms": now_ms(), "outcome": outcome, "tokens_sent": self.sent,
                           "output_tokens": self.total if outcome == "ok" else self.sent})
        self.verdict.settle(self.entry["output_tokens"], self.loop.time())
        self.service.end(self)
