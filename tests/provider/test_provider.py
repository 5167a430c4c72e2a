"""The simulated provider against the facts of OpenAI's wire, its faults, settings and journal: python3 -m unittest
tests.provider.test_provider"""

import json
import os
import signal
import socket
import tempfile
import time
import unittest

from tests.provider import behavior, text
from tests.provider.client import read_journal
from tests.provider.harness import WAIT_S, ProviderTest, Wire, events, prompt, start, stop, streamed, until


class Streams(ProviderTest):
    def test_shape_with_usage(self):
        status, headers, body = self.ask(streamed(marker="tokens=3", stream_options={"include_usage": True}))
        self.assertEqual((status, headers["content-type"]), (200, "text/event-stream; charset=utf-8"))
        for name in ("x-request-id", "openai-processing-ms", "openai-organization", "openai-version"):
            self.assertIn(name, headers)
        data = events(body)
        self.assertEqual(data[-1], "[DONE]")
        chunks = [json.loads(event) for event in data[:-1]]
        self.assertEqual(len(chunks), 1 + 3 + 1 + 1)
        self.assertEqual(len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}), 1)
        self.assertTrue(chunks[0]["id"].startswith("chatcmpl-"))
        self.assertEqual(chunks[0]["object"], "chat.completion.chunk")
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": "", "refusal": None})
        for chunk in chunks[:-1]:
            self.assertIsNone(chunk["usage"])
            self.assertEqual((chunk["choices"][0]["index"], chunk["choices"][0]["logprobs"]), (0, None))
        self.assertEqual([c["choices"][0]["finish_reason"] for c in chunks[:-1]], [None] * 4 + ["stop"])
        self.assertEqual(chunks[-2]["choices"][0]["delta"], {})
        self.assertEqual(chunks[-1]["choices"], [])
        used = chunks[-1]["usage"]
        self.assertEqual(used["completion_tokens"], 3)
        self.assertEqual(used["total_tokens"], used["prompt_tokens"] + 3)
        self.assertEqual(used["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(used["completion_tokens_details"]["reasoning_tokens"], 0)

    def test_no_usage_unless_asked(self):
        _, _, body = self.ask(streamed(marker="tokens=2"))
        chunks = [json.loads(event) for event in events(body)[:-1]]
        self.assertEqual(len(chunks), 4)
        self.assertTrue(all("usage" not in chunk for chunk in chunks))

    def test_usage_may_be_missing_or_false(self):
        options = {"include_usage": True}
        _, _, body = self.ask(streamed(marker="tokens=2 usage=missing", stream_options=options))
        self.assertEqual(len(events(body)), 5)
        _, _, body = self.ask(streamed(marker="tokens=2 usage_in=7 usage_out=9", stream_options=options))
        self.assertEqual(json.loads(events(body)[-2])["usage"]["total_tokens"], 16)

    def test_text_is_known_beforehand(self):
        body = streamed(marker="tokens=300")
        _, _, answer = self.ask(body)
        said = "".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events(answer)[:-1])
        self.assertEqual(said, text.expected(text.prompt_hash(body["messages"]), 300))
        _, _, answer = self.ask({**body, "stream": False})
        self.assertEqual(json.loads(answer)["choices"][0]["message"]["content"], said)

    def test_other_texts(self):
        for marker, said in (("text=numbered tokens=3", "t0 t1 t2 "), ('text=fixed fixed_text="a \\"b\\"  c"', 'a "b"  c'),
                             ("text=echo", "hello"), ("tokens=4 chunk_tokens=3 text=numbered", "t0 t1 t2 t3 ")):
            _, _, answer = self.ask(streamed(marker=marker))
            deltas = [json.loads(e)["choices"][0]["delta"].get("content") for e in events(answer)[:-1]]
            self.assertEqual("".join(delta for delta in deltas if delta), said)

    def test_pace(self):
        began = time.monotonic()
        self.ask(streamed(marker="ttft_ms=100 tps=100 tokens=21"))
        took = time.monotonic() - began
        self.assertGreaterEqual(took, 0.29)
        entry = self.only_call()
        self.assertGreaterEqual(entry["t_first_ms"] - entry["t_start_ms"], 98)
        self.assertGreaterEqual(entry["t_end_ms"] - entry["t_first_ms"], 195)

    def test_length(self):
        _, _, body = self.ask(streamed(marker="tokens=9", max_completion_tokens=4))
        chunks = [json.loads(event) for event in events(body)[:-1]]
        self.assertEqual((len(chunks), chunks[-1]["choices"][0]["finish_reason"]), (6, "length"))


class Answers(ProviderTest):
    def test_shape(self):
        status, headers, raw = self.ask(prompt(marker="tokens=5"))
        body = json.loads(raw)
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertEqual(set(body), {"id", "object", "created", "model", "choices", "usage", "service_tier",
                                     "system_fingerprint"})
        self.assertEqual((body["object"], body["model"]), ("chat.completion", "gpt-5-mini"))
        choice = body["choices"][0]
        self.assertEqual((choice["index"], choice["finish_reason"], choice["logprobs"]), (0, "stop", None))
        self.assertEqual((choice["message"]["role"], choice["message"]["refusal"]), ("assistant", None))
        self.assertEqual(body["usage"]["completion_tokens"], 5)

    def test_structured_output_fits_its_schema(self):
        schema = {"type": "object", "required": ["name", "tags", "score", "kind"], "additionalProperties": False,
                  "properties": {"name": {"type": "string", "minLength": 12}, "kind": {"enum": ["a", "b"]},
                                 "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3},
                                 "score": {"type": "integer", "minimum": 5, "maximum": 6}}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
        for body in (prompt(response_format=form), streamed(response_format=form)):
            _, _, raw = self.ask(body)
            if body.get("stream"):
                said = "".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events(raw)[:-1])
            else:
                said = json.loads(raw)["choices"][0]["message"]["content"]
            value = json.loads(said)
            self.assertEqual(set(value), {"name", "tags", "score", "kind"})
            self.assertTrue(len(value["name"]) >= 12 and len(value["tags"]) == 3 and value["score"] in (5, 6))

    def test_models(self):
        with Wire(self.port) as wire:
            wire.sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: s\r\n\r\nGET /v1/models/gpt-5 HTTP/1.1\r\nhost: s\r\n\r\n"
                              b"GET /v1/models/none HTTP/1.1\r\nhost: s\r\n\r\n")
            listed = json.loads(wire.answer()[2])
            self.assertEqual(listed["object"], "list")
            self.assertIn("gpt-5-mini", [entry["id"] for entry in listed["data"]])
            self.assertEqual(json.loads(wire.answer()[2])["id"], "gpt-5")
            self.assertEqual(wire.answer()[0], 404)


class Refusals(ProviderTest):
    def refused(self, body, **more):
        status, _, raw = self.ask(body, **more)
        error = json.loads(raw)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        return status, error["type"], error["param"], error["code"]

    def test_what_the_service_refuses(self):
        bad = "invalid_request_error"
        cases = [(b"{", (400, bad, None, None)), (b"[" * 100000, (400, bad, None, None)), (b"[]", (400, bad, None, None)),
                 ({"messages": []}, (400, bad, None, None)),
                 ({"model": "m"}, (400, bad, "messages", "missing_required_parameter")),
                 ({"model": "m", "messages": []}, (400, bad, "messages", "empty_array")),
                 ({"model": "m", "messages": [{"role": "boss", "content": "x"}]}, (400, bad, "messages[0].role", "invalid_value")),
                 ({"model": "m", "messages": [{"role": "user"}]}, (400, bad, "messages[0].content", "invalid_type")),
                 (prompt(stream_options={"include_usage": True}), (400, bad, "stream_options", None)),
                 (prompt(stream="yes"), (400, bad, "stream", "invalid_type")),
                 (prompt(temperature=3), (400, bad, "temperature", "decimal_above_maximum_value")),
                 (prompt(max_completion_tokens=0), (400, bad, "max_completion_tokens", "integer_below_min_value")),
                 (prompt(max_tokens=5), (400, bad, "max_tokens", "unsupported_parameter")),
                 (prompt(colour="red"), (400, bad, None, None)), (prompt(marker="tokns=3"), (400, bad, None, None))]
        for body, expected in cases:
            self.assertEqual(self.refused(body), expected, body if isinstance(body, dict) else body[:20])
        self.assertEqual(len(self.calls(len(cases))), len(cases))
        self.assertTrue(all(entry["outcome"] == "error" and entry["status"] == 400 for entry in self.calls()))

    def test_lenient_on_request_and_by_model(self):
        self.assertEqual(self.ask(prompt(marker="strict=false", colour="red", max_tokens=5))[0], 200)
        self.assertEqual(self.ask({**prompt(max_tokens=5), "model": "llama-3"})[0], 200)

    def test_keys_and_addresses(self):
        self.assertEqual(self.refused(prompt(), key=None)[0], 401)
        self.assertEqual(self.refused(prompt(), path="/v1/chat")[0], 404)
        with Wire(self.port) as wire:
            wire.sock.sendall(b"GET /v1/chat/completions HTTP/1.1\r\nhost: s\r\n\r\n")
            self.assertEqual(wire.answer()[0], 405)


class Http(ProviderTest):
    def test_request_split_at_every_byte(self):
        raw = json.dumps(prompt(marker="tokens=1")).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {self.key}\r\ncontent-length: {len(raw)}\r\n\r\n"
        data = head.encode() + raw
        with Wire(self.port) as wire:
            wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(data)):
                wire.sock.sendall(data[i:i + 1])
            self.assertEqual(wire.answer()[0], 200)

    def test_chunked_body_expect_and_keep_alive(self):
        raw = json.dumps(prompt(marker="tokens=1")).encode()
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {self.key}\r\nexpect: 100-continue\r\n"
                "transfer-encoding: chunked\r\n\r\n").encode()
        body = b"".join(b"%x;x=y\r\n%s\r\n" % (len(raw[i:i + 9]), raw[i:i + 9]) for i in range(0, len(raw), 9))
        with Wire(self.port) as wire:
            for _ in range(3):
                wire.sock.sendall(head)
                self.assertEqual(wire.head()[0], 100)
                wire.sock.sendall(body + b"0\r\n\r\n")
                self.assertEqual(wire.answer()[0], 200)
            wire.post(prompt(marker="tokens=1"), key=self.key, Connection="close")
            self.assertEqual(wire.answer()[0], 200)
            self.assertIsNone(wire.rest())

    def test_nonsense(self):
        for data, status in ((b"hello\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
                             (b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400), (b"x" * 70000, 431),
                             (b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", 413),
                             (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400)):
            with Wire(self.port) as wire:
                wire.sock.sendall(data)
                self.assertEqual(wire.answer()[0], status)
                wire.rest()

    def _stands(self):
        before = self._rss()
        time.sleep(0.2)  # the interval in which it would grow
        return self._rss() == before

    def test_slow_reader_holds_the_stream_back(self):
        with Wire(self.port) as wire:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            wire.post(streamed(marker="tokens=100000 text=numbered"), key=self.key)
            self.assertEqual(wire.head()[0], 200)
            until(self._stands, "a stream that has stopped growing in there")
            self.assertIsNone(self.calls(ended=False)[0]["outcome"])
            last = b""
            while (piece := wire.chunk()):
                last = piece
        self.assertTrue(last.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(self.only_call()["tokens_sent"], 100000)

    def _rss(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1])


class Faults(ProviderTest):
    def test_fail_counts_by_step_not_by_attempt(self):
        statuses = [self.ask(prompt(marker="fail=503 fail_times=2"), identity=f"job/step/-/{n}")[0] for n in (1, 2, 3)]
        self.assertEqual(statuses, [503, 503, 200])
        self.assertEqual(self.ask(prompt(marker="fail=503 fail_times=2"), identity="job/step/7/1")[0], 503)
        self.assertEqual([entry["call"] for entry in self.calls(4)], [1, 2, 3, 1])

    def test_fail_bodies(self):
        status, headers, raw = self.ask(prompt(marker="fail=429"))
        error = json.loads(raw)["error"]
        self.assertEqual((status, headers["retry-after"], error["code"]), (429, "1", "rate_limit_exceeded"))
        _, _, raw = self.ask(prompt(marker="fail=429 fail_code=insufficient_quota fail_type=insufficient_quota"))
        self.assertEqual(json.loads(raw)["error"]["code"], "insufficient_quota")
        status, _, raw = self.ask(prompt(marker="fail=502 fail_body=<html>"))
        self.assertEqual((status, raw), (502, b"<html>"))
        self.assertEqual(self.ask(prompt(marker="fail=503 retry_after=7"))[1]["retry-after"], "7")

    def test_cut_fin(self):
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=9 cut_after=4 text=numbered"), key=self.key)
            self.assertIsNone(wire.rest())
            self.assertIn(b"t3 ", wire.data)
            self.assertNotIn(b"t4 ", wire.data)
            self.assertNotIn(b"0\r\n\r\n", wire.data)
        entry = self.only_call()
        self.assertEqual((entry["outcome"], entry["fault"], entry["tokens_sent"]), ("cut", "cut", 4))

    def test_cut_rst(self):
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=9 cut_after=4 cut=rst tps=50"), key=self.key)
            self.assertIs(wire.rest(), ConnectionResetError)
        self.assertEqual(self.only_call()["outcome"], "cut")

    def test_cut_of_a_whole_answer_and_drop(self):
        with Wire(self.port) as wire:
            wire.post(prompt(marker="cut_after=4"), key=self.key)
            _, headers = wire.head()
            wire.rest()
            self.assertLess(len(wire.data), int(headers["content-length"]))
        with Wire(self.port) as wire:
            wire.post(prompt(marker="drop=true"), key=self.key)
            wire.rest()
            self.assertEqual(wire.data, b"")
        self.assertEqual([(e["outcome"], e["fault"]) for e in self.calls(2)], [("cut", "cut"), ("cut", "drop")])

    def test_stall_for_a_while(self):
        began = time.monotonic()
        _, _, body = self.ask(streamed(marker="tokens=6 stall_after=3 stall_ms=200"))
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        self.assertEqual(len(events(body)), 1 + 6 + 1 + 1)
        self.assertEqual(self.only_call()["outcome"], "ok")

    def test_stall_for_ever(self):
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=6 stall_after=2 text=numbered"), key=self.key)
            while b"t1 " not in wire.data:
                wire.sock.settimeout(WAIT_S)
                wire._fill()
            wire.sock.settimeout(0.2)
            self.assertRaises(TimeoutError, wire._fill)
        entry = self.only_call()
        self.assertEqual((entry["outcome"], entry["tokens_sent"]), ("stalled", 2))

    def test_garbage_and_torn_json(self):
        _, _, body = self.ask(streamed(marker="tokens=4 garbage_after=2"))
        self.assertIn(b"\xff\xfe", body)
        _, _, body = self.ask(streamed(marker="tokens=4 malformed_after=2"))
        torn = 0
        for event in events(body)[:-1]:
            try:
                json.loads(event)
            except ValueError:
                torn += 1
        self.assertEqual(torn, 1)
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=4 garbage_after=2 garbage=http"), key=self.key)
            wire.head()
            with self.assertRaises((ValueError, ConnectionError)):
                while wire.chunk():
                    pass
        self.assertEqual([(e["outcome"], e["fault"]) for e in self.calls(3)],
                         [("error", "garbage"), ("error", "malformed"), ("error", "garbage")])

    def test_error_in_the_stream(self):
        _, _, body = self.ask(streamed(marker="tokens=4 error_after=2"))
        data = events(body)
        self.assertEqual(json.loads(data[-1])["error"]["type"], "server_error")
        self.assertNotIn("[DONE]", data)
        self.assertEqual(self.only_call()["outcome"], "error")

    def test_head_trickles(self):
        began = time.monotonic()
        self.assertEqual(self.ask(streamed(marker="head_ms=200 tokens=1"))[0], 200)
        self.assertGreaterEqual(time.monotonic() - began, 0.17)

    def test_client_gone(self):
        with Wire(self.port) as wire:
            wire.post(streamed(marker="tokens=1000 tps=50 text=numbered"), key=self.key)
            while b"t2 " not in wire.data:
                wire._fill()
        entry = self.only_call()
        self.assertEqual(entry["outcome"], "client_gone")
        self.assertLess(entry["tokens_sent"], 50)

    def test_client_gone_before_the_first_token(self):
        with Wire(self.port) as wire:
            wire.post(prompt(marker="ttft_ms=60000"), key=self.key)
            until(lambda: self.calls(ended=False), "the call's arrival")
        self.assertEqual((self.only_call()["outcome"], self.only_call()["status"]), ("client_gone", None))


class Settings(ProviderTest):
    def tearDown(self):
        self.sim.behave({})

    def test_layers(self):
        self.sim.behave({"default": {"ttft": 0, "tps": 0, "tokens": 5}, "models": {"m": {"output_tokens": 6}}})
        plain = {"messages": [{"role": "user", "content": "x"}]}
        for model, content, count in (("other", "x", 5), ("m", "x", 6), ("m", "x [[sim tokens=7]]", 7)):
            body = {**plain, "model": model, "messages": [{"role": "user", "content": content}]}
            self.assertEqual(json.loads(self.ask(body)[2])["usage"]["completion_tokens"], count)

    def test_next_and_patch(self):
        self.sim.behave({"default": {"fail": 500, "fail_next": 2}})
        self.assertEqual([self.ask(prompt())[0] for _ in range(4)], [500, 500, 200, 200])
        self.sim.patch({"default": {"fail_next": 1}})
        self.assertEqual([self.ask(prompt())[0] for _ in range(2)], [500, 200])

    def test_probability_is_the_same_every_time(self):
        self.sim.behave({"default": {"fail": 500, "fail_probability": 0.5}})
        first = [self.ask(prompt(), identity=f"j{n}/s/-/1")[0] for n in range(40)]
        self.assertTrue(8 < first.count(500) < 32)
        self.sim.reset()
        self.sim.behave({"default": {"fail": 500, "fail_probability": 0.5}})
        self.assertEqual([self.ask(prompt(), identity=f"j{n}/s/-/1")[0] for n in range(40)], first)

    def test_bad_settings_change_nothing(self):
        self.sim.behave({"default": {"output_tokens": 3}})
        for document in ({"default": {"tokenz": 1}}, {"default": {"fail": 200}}, {"defualt": {}}, {"limits": [{"rpm": 0}]},
                         {"models": []}, [], {"keys": "x"}):
            self.assertRaises(ValueError, self.sim.behave, document)
        self.assertEqual(self.sim._ask("GET", "/__sim/behavior")["default"], {"output_tokens": 3})

    def test_known_keys_and_models(self):
        self.sim.behave({"keys": [self.key], "known_models": ["gpt-5-mini"]})
        self.assertEqual(self.ask(prompt())[0], 200)
        self.assertEqual(self.ask(prompt(), key="other")[0], 401)
        self.assertEqual(self.ask({**prompt(), "model": "gpt-9"})[0], 404)

    def test_refused_connections(self):
        self.sim.behave({"refuse_next": 2})
        for _ in range(2):
            with Wire(self.port) as wire:
                wire.rest()
                self.assertEqual(wire.data, b"")
        self.assertEqual(self.ask(prompt())[0], 200)
        self.assertGreaterEqual(self.sim.stats()["total"]["refused_connections"], 2)


class Journals(ProviderTest):
    def test_fields_and_file(self):
        body = streamed(marker="tokens=2")
        self.ask(body, identity="job-1/write/-/1")
        entry = self.only_call()
        fields = {"n", "t_start_ms", "t_first_ms", "t_end_ms", "identity", "key", "model", "stream", "prompt_sha256",
                  "input_tokens", "output_tokens", "status", "outcome", "tokens_sent"}
        self.assertTrue(fields <= set(entry))
        self.assertEqual((entry["identity"], entry["prompt_sha256"], entry["stream"], entry["status"], entry["outcome"]),
                         ("job-1/write/-/1", text.prompt_hash(body["messages"]), True, 200, "ok"))
        self.assertTrue(entry["t_start_ms"] <= entry["t_first_ms"] <= entry["t_end_ms"] <= time.time() * 1000 + 1)
        self.assertEqual(self.sim.journal(entry["n"] - 1)[0], entry)
        kept = [line for line in read_journal(self.file) if line["n"] == entry["n"]]
        self.assertEqual({**kept[0], "event": None}, {**entry, "event": None})

    def test_numbers_go_on_after_a_kill(self):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "j")
            process, port = start("--journal", file)
            with Wire(port) as wire:
                wire.post(streamed(marker="tps=1 tokens=100"))
                wire.head()
                process.send_signal(signal.SIGKILL)
                stop(process)
            process, port = start("--journal", file)
            with Wire(port) as wire:
                wire.post(prompt())
                wire.answer()
            stop(process)
            calls = read_journal(file)
            self.assertEqual([(call["n"], call.get("outcome")) for call in calls], [(1, None), (2, "ok")])


class Pure(unittest.TestCase):
    def test_steps(self):
        self.assertEqual(behavior.step_of("j/s/-/12"), "j/s/-")
        self.assertEqual(behavior.step_of("plain"), "plain")
        self.assertEqual(behavior.step_of("j/s/x"), "j/s/x")

    def test_marker(self):
        self.assertEqual(behavior.parse_marker("a [[sim tps=5 text=fixed fixed_text='1 2']] b"),
                         {"tokens_per_s": 5, "text": "fixed", "fixed_text": "1 2"})
        self.assertRaises(behavior.BadSetting, behavior.parse_marker, "[[sim oops]]")


if __name__ == "__main__":
    unittest.main()
