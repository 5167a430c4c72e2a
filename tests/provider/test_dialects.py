"""Every dialect on the wire: shapes of answers and streams, usage, errors, headers."""

import json
import re
import time
import unittest
from datetime import datetime, timezone

from tests.provider import dialects, text
from tests.provider.harness import ProviderTest, Wire, events, prompt

MARK = "[[sim ttft_ms=0 tps=0 {}]]"


def named(body):
    """[(event name, data)] of a stream with named events."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: ")
        found.append((name[7:], json.loads(data[6:])))
    return found


class Responses(ProviderTest):
    def post(self, marker="tokens=3", path="/v1/responses", **more):
        body = {"model": "gpt-5-mini", "input": "hello " + MARK.format(marker), **more}
        return self.ask(body, path=path)

    def test_whole(self):
        status, lines, raw = self.post(instructions="Be brief.", max_output_tokens=100)
        body = json.loads(raw)
        self.assertEqual((status, body["object"], body["status"], body["error"], body["incomplete_details"]),
                         (200, "response", "completed", None, None))
        self.assertTrue({"id", "created_at", "instructions", "model", "tools", "output", "parallel_tool_calls", "metadata", "tool_choice",
                         "temperature", "top_p", "usage"} <= set(body))
        item = body["output"][0]
        self.assertEqual((item["type"], item["role"], item["status"], item["content"][0]["type"]),
                         ("message", "assistant", "completed", "output_text"))
        self.assertEqual(body["usage"]["output_tokens"], 3)
        self.assertEqual(body["usage"]["total_tokens"], body["usage"]["input_tokens"] + 3)
        self.assertEqual(body["usage"]["input_tokens_details"], {"cached_tokens": 0, "cache_write_tokens": 0})
        self.assertIn("x-request-id", lines)

    def test_stream(self):
        status, lines, raw = self.post(stream=True)
        self.assertEqual((status, lines["content-type"]), (200, "text/event-stream; charset=utf-8"))
        found = named(raw)
        self.assertEqual([name for name, _ in found], [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
            *["response.output_text.delta"] * 3, "response.output_text.done", "response.content_part.done",
            "response.output_item.done", "response.completed"])
        self.assertEqual([data["sequence_number"] for _, data in found], list(range(11)))
        self.assertTrue(all(data["type"] == name for name, data in found))
        said = "".join(data["delta"] for name, data in found if name.endswith("text.delta"))
        self.assertTrue(all(data["logprobs"] == [] for name, data in found if "output_text" in name))
        self.assertEqual(found[7][1]["text"], said)
        final = found[-1][1]["response"]
        self.assertEqual((final["status"], final["usage"]["output_tokens"], final["output"][0]["content"][0]["text"]), ("completed", 3, said))
        self.assertIsNone(found[0][1]["response"]["usage"])

    def test_incomplete_failed_and_refused(self):
        final = named(self.post("tokens=30", stream=True, max_output_tokens=16)[2])[-1]
        self.assertEqual((final[0], final[1]["response"]["incomplete_details"]), ("response.incomplete", {"reason": "max_output_tokens"}))
        final = named(self.post("tokens=9 error_after=2", stream=True)[2])[-1]
        self.assertEqual((final[0], final[1]["response"]["error"]["code"]), ("response.failed", "server_error"))
        for more, param in (({"input": None}, "input"), ({"max_output_tokens": 3}, "max_output_tokens"), ({"colour": 1}, "colour"),
                            ({"input": [{"role": "boss", "content": "x"}]}, "input[0].role"), ({"background": True}, "background")):
            status, _, raw = self.post(**more)
            self.assertEqual((status, json.loads(raw)["error"]["param"]), (400, param))

    def test_input_items_and_schema(self):
        source = [{"role": "user", "content": [{"type": "input_text", "text": MARK.format("")}]}]
        form = {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
        body = json.loads(self.post(input=source, text=form)[2])
        self.assertIsInstance(json.loads(body["output"][0]["content"][0]["text"])["a"], int)


class Azure(ProviderTest):
    PATH = "/openai/deployments/my-gpt/chat/completions"

    def tearDown(self):
        self.sim.behave({})

    def post(self, path, key_header="api-key", **more):
        body = {"messages": [{"role": "user", "content": "hi " + MARK.format("tokens=2")}], **more}
        with Wire(self.port) as wire:
            wire.post(body, key=None, path=path, **{key_header: self.key})
            return wire.answer()

    def test_deployment_path(self):
        status, lines, raw = self.post(self.PATH + "?api-version=2024-10-21")
        self.assertEqual((status, json.loads(raw)["model"]), (200, "my-gpt"))
        self.assertIn("apim-request-id", lines)
        self.assertEqual(self.post(self.PATH)[0], 404)
        self.assertEqual(self.post(self.PATH + "?api-version=2024-10-21", key_header="x-nothing")[0], 401)
        self.assertEqual((self.only_named()["dialect"], self.only_named()["key"]), ("azure", self.key))

    def only_named(self):
        return [call for call in self.calls(1) if call["status"] == 200][0]

    def test_v1_path(self):
        self.assertEqual(json.loads(self.post("/openai/v1/chat/completions", model="gpt-5-mini")[2])["model"], "gpt-5-mini")
        body = {"model": "gpt-5-mini", "input": MARK.format("")}
        self.assertEqual(self.ask(body, path="/openai/v1/responses")[0], 200)
        self.assertEqual(self.ask(body, path="/openai/responses?api-version=2025-04-01-preview")[0], 200)
        self.assertEqual(self.ask(body, path="/openai/responses")[0], 404)

    def test_stream_begins_without_choices(self):
        chunks = [json.loads(event) for event in events(self.post(self.PATH + "?api-version=x", stream=True)[2])[:-1]]
        self.assertEqual((chunks[0]["choices"], chunks[0]["id"]), ([], ""))
        self.assertIn("prompt_filter_results", chunks[0])
        self.assertEqual(chunks[1]["choices"][0]["delta"]["role"], "assistant")

    def test_limits(self):
        self.sim.set_limits([{"key": self.key, "rpm": 1, "tpm": 1000}])
        _, lines, _ = self.post(self.PATH + "?api-version=x", max_tokens=100)
        self.assertEqual(lines["x-ratelimit-remaining-requests"], "0")
        self.assertTrue(880 < int(lines["x-ratelimit-remaining-tokens"]) < 900)  # prompt + max_tokens
        self.assertNotIn("x-ratelimit-limit-requests", lines)
        status, lines, raw = self.post(self.PATH + "?api-version=x")
        self.assertEqual((status, json.loads(raw)["error"]["code"]), (429, "429"))
        self.assertTrue(0 < int(lines["retry-after-ms"]) <= 60_001)
        self.sim.set_limits([{"key": self.key, "rpm": 10}])
        lines = self.ask({"model": "gpt-5-mini", "input": MARK.format("")}, path="/openai/v1/responses")[1]
        self.assertEqual(lines["x-ratelimit-remaining-requests"], "-1")


class Anthropic(ProviderTest):
    def tearDown(self):
        self.sim.reset()

    def post(self, marker="tokens=3", version="2023-06-01", key_header="x-api-key", **more):
        body = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hello " + MARK.format(marker)}], **more}
        lines = {"anthropic-version": version} if version else {}
        with Wire(self.port) as wire:
            wire.post(body, key=None, path="/v1/messages", **lines, **{key_header: self.key})
            return wire.answer()

    def refused(self, *args, **more):
        status, _, raw = self.post(*args, **more)
        body = json.loads(raw)
        self.assertEqual((body["type"], set(body) >= {"error", "request_id"}), ("error", True))
        return status, body["error"]["type"]

    def test_whole(self):
        status, lines, raw = self.post(system="Be brief.")
        body = json.loads(raw)
        self.assertEqual((status, body["type"], body["role"], body["stop_reason"], body["stop_sequence"]),
                         (200, "message", "assistant", "end_turn", None))
        self.assertEqual(body["content"][0]["type"], "text")
        self.assertEqual(body["usage"]["output_tokens"], 3)
        self.assertTrue(lines["request-id"].startswith("req_"))
        self.assertEqual(json.loads(self.post("tokens=30", max_tokens=4)[2])["stop_reason"], "max_tokens")

    def test_stream(self):
        found = named(self.post(stream=True)[2])
        self.assertEqual([name for name, _ in found], ["message_start", "content_block_start", "ping", *["content_block_delta"] * 3,
                                                       "content_block_stop", "message_delta", "message_stop"])
        start = found[0][1]["message"]
        self.assertEqual((start["content"], start["stop_reason"], start["usage"]["output_tokens"]), ([], None, 1))
        self.assertGreater(start["usage"]["input_tokens"], 3)
        self.assertEqual(found[-2][1]["delta"], {"stop_reason": "end_turn", "stop_sequence": None})
        self.assertEqual(found[-2][1]["usage"]["output_tokens"], 3)
        self.assertEqual(self.calls(1)[0]["input_tokens"], start["usage"]["input_tokens"])

    def test_error_in_the_stream_and_missing_usage(self):
        found = named(self.post("tokens=5 error_after=2", stream=True)[2])
        self.assertEqual(found[-1], ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
        found = named(self.post("tokens=2 usage=missing", stream=True)[2])
        self.assertNotIn("usage", found[0][1]["message"])
        self.assertNotIn("usage", found[-2][1])

    def test_pings_while_it_thinks(self):
        began = time.monotonic()
        found = named(self.post("ttft_ms=250 ping_ms=50 tokens=2 reasoning_tokens=20", stream=True)[2])
        self.assertGreaterEqual(time.monotonic() - began, 0.24)
        self.assertGreaterEqual([name for name, _ in found].count("ping"), 3)
        self.assertEqual(found[-2][1]["usage"]["output_tokens"], 22)

    def test_versions(self):
        self.assertEqual(self.refused(version=None), (400, "invalid_request_error"))
        self.assertEqual(self.refused(version="2024-01-01"), (400, "invalid_request_error"))
        self.assertEqual(self.post(version="2023-06-01", temperature=1)[0], 200)
        self.assertEqual(self.post(version="2026-10-21")[0], 200)
        for name in ("temperature", "top_p", "top_k"):
            self.assertEqual(self.refused(version="2026-10-21", **{name: 1}), (400, "invalid_request_error"))
        body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": MARK.format("")}]}
        self.assertEqual(self.ask(body, path="/v1/messages", **{"anthropic-version": "2026-10-21"})[0], 200)  # as a bearer

    def test_refusals(self):
        self.assertEqual(self.refused(key_header="x-nothing"), (401, "authentication_error"))
        for more in ({"max_tokens": None}, {"max_tokens": 0}, {"messages": []}, {"temperature": 2}, {"colour": 1},
                     {"messages": [{"role": "system", "content": "x"}]}):
            self.assertEqual(self.refused(**more), (400, "invalid_request_error"))
        self.assertEqual(self.refused("fail=529"), (529, "overloaded_error"))
        self.assertEqual(self.refused("fail=500"), (500, "api_error"))
        status, lines, raw = self.post("fail=429 fail_code=enforced_spend_limit_reached")
        self.assertEqual((status, json.loads(raw)["error"]["details"]), (429, {"error_code": "enforced_spend_limit_reached"}))

    def test_limits_and_headers(self):
        self.sim.set_limits([{"key": self.key, "rpm": 2, "input_tpm": 50_000, "output_tpm": 8_400, "algorithm": "sliding"}])
        _, lines, _ = self.post("tokens=200", max_tokens=1000)
        get = lambda name: lines["anthropic-ratelimit-" + name]
        self.assertEqual((get("requests-limit"), get("requests-remaining")), ("2", "1"))
        self.assertEqual((get("input-tokens-limit"), get("input-tokens-remaining")), ("50000", "50000"))  # to the nearest thousand
        self.assertEqual((get("output-tokens-remaining"), get("tokens-limit"), get("tokens-remaining")), ("8000", "8400", "8000"))
        reset = datetime.strptime(get("requests-reset").upper(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        self.assertTrue(55 < (reset - datetime.now(timezone.utc)).total_seconds() < 62)
        self.post()
        status, lines, raw = self.post()
        self.assertEqual((status, json.loads(raw)["error"]["type"]), (429, "rate_limit_error"))
        self.assertIn("rate limit of 2 requests per minute", json.loads(raw)["error"]["message"])
        self.assertTrue(1 <= int(lines["retry-after"]) <= 60)
        self.assertNotIn("retry-after-ms", lines)

    def test_money(self):
        for code, expected in ((None, 400), ("billing_error", 402), ("contract_spend_limit_reached", 429)):
            self.sim.spend(self.key, code=code)
            status, lines, raw = self.post()
            self.assertEqual((status, "retry-after" in lines), (expected, False))
        self.assertEqual(json.loads(raw)["error"]["details"]["error_code"], "contract_spend_limit_reached")


class Gemini(ProviderTest):
    def tearDown(self):
        self.sim.reset()

    def post(self, marker="tokens=3", verb="generateContent", query="", **more):
        body = {"contents": [{"role": "user", "parts": [{"text": "hello " + MARK.format(marker)}]}], **more}
        with Wire(self.port) as wire:
            wire.post(body, key=None, path=f"/v1beta/models/gemini-x:{verb}{query}", **{"x-goog-api-key": self.key})
            return wire.answer()

    def test_whole(self):
        status, lines, raw = self.post(systemInstruction={"parts": [{"text": "Be brief."}]})
        body = json.loads(raw)
        candidate = body["candidates"][0]
        self.assertEqual((status, candidate["finishReason"], candidate["content"]["role"]), (200, "STOP", "model"))
        used = body["usageMetadata"]
        self.assertEqual((used["candidatesTokenCount"], used["totalTokenCount"]), (3, used["promptTokenCount"] + 3))
        self.assertEqual(body["modelVersion"], "gemini-x")
        self.assertFalse(any("ratelimit" in name or name == "retry-after" for name in lines))

    def stream(self, raw):
        blocks = raw.decode().split("\r\n\r\n")
        self.assertEqual(blocks[-1], "")
        return [json.loads(block[6:]) for block in blocks[:-1]]

    def test_stream(self):
        found = self.stream(self.post("tokens=4 reasoning_tokens=6", "streamGenerateContent", "?alt=sse")[2])
        self.assertEqual(len(found), 5)
        said = "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in found)
        whole = json.loads(self.post("tokens=4 reasoning_tokens=6")[2])
        self.assertEqual(said, whole["candidates"][0]["content"]["parts"][0]["text"])
        self.assertEqual([chunk["candidates"][0].get("finishReason") for chunk in found], [None] * 4 + ["STOP"])
        last = found[-1]["usageMetadata"]
        self.assertEqual((last["candidatesTokenCount"], last["thoughtsTokenCount"]), (4, 6))
        self.assertEqual(last["totalTokenCount"], last["promptTokenCount"] + 10)
        self.assertEqual(self.calls(2)[0]["output_tokens"], 10)

    def test_stream_as_an_array(self):
        _, lines, raw = self.post("tokens=3", "streamGenerateContent")
        self.assertTrue(lines["content-type"].startswith("application/json"))
        self.assertEqual(len(json.loads(raw)), 4)
        status, _, raw = self.post("fail=503", "streamGenerateContent")
        self.assertEqual((status, json.loads(raw)[0]["error"]["status"]), (503, "UNAVAILABLE"))
        self.assertEqual(json.loads(self.post("tokens=3 error_after=1", "streamGenerateContent")[2])[-1]["error"]["code"], 503)

    def test_quota_errors(self):
        self.sim.set_limits([{"key": self.key, "rpm": 1}])
        self.post()
        status, lines, raw = self.post()
        error = json.loads(raw)["error"]
        details = {entry["@type"].rpartition(".")[2]: entry for entry in error["details"]}
        violation = details["QuotaFailure"]["violations"][0]
        self.assertEqual((status, error["code"], error["status"]), (429, 429, "RESOURCE_EXHAUSTED"))
        self.assertIn("PerMinute", violation["quotaId"])
        self.assertEqual((violation["quotaValue"], violation["quotaDimensions"]["model"]), ("1", "gemini-x"))
        self.assertRegex(details["RetryInfo"]["retryDelay"], r"^\d+(\.\d+)?s$")
        self.assertNotIn("retry-after", lines)
        self.sim.set_limits([{"key": self.key, "requests_per_day": 1}])
        self.post()
        error = json.loads(self.post()[2])["error"]
        self.assertIn("PerDay", error["details"][0]["violations"][0]["quotaId"])
        self.assertTrue(19 <= float(error["details"][-1]["retryDelay"][:-1]) <= 45)  # a lie: it is hours

    def test_refusals_and_money(self):
        for more in ({"contents": []}, {"contents": [{"role": "boss", "parts": []}]}, {"colour": 1}, {"generationConfig": {"maxOutputTokens": 0}}):
            status, _, raw = self.post(**more)
            self.assertEqual((status, json.loads(raw)["error"]["status"]), (400, "INVALID_ARGUMENT"))
        body = {"contents": [{"parts": [{"text": "x"}]}]}
        self.assertEqual(self.ask(body, key=None, path="/v1beta/models/g:generateContent")[0], 403)
        self.sim.spend(self.key)
        status, _, raw = self.post()
        self.assertEqual((status, json.loads(raw)["error"]["status"]), (402, "RESOURCE_EXHAUSTED"))

    def test_length_and_schema(self):
        config = {"maxOutputTokens": 2}
        self.assertEqual(json.loads(self.post("tokens=9", generationConfig=config)[2])["candidates"][0]["finishReason"], "MAX_TOKENS")
        config = {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}}
        said = json.loads(self.post(generationConfig=config)[2])["candidates"][0]["content"]["parts"][0]["text"]
        self.assertIsInstance(json.loads(said)["n"], int)


class Vllm(ProviderTest):
    PATH = "/vllm/v1/chat/completions"

    def tearDown(self):
        self.sim.behave({})

    def test_answers(self):
        self.sim.set_limits([{"rpm": 1}])
        status, lines, raw = self.ask(prompt(marker="tokens=2", top_k=5, max_tokens=9), key=None, path=self.PATH)
        body = json.loads(raw)
        self.assertEqual((status, body["usage"]["completion_tokens"], "service_tier" in body), (200, 2, False))
        self.assertFalse(any(name.startswith("x-ratelimit") for name in lines))
        status, lines, raw = self.ask(prompt(), key=None, path=self.PATH)
        self.assertEqual((status, json.loads(raw)["code"], json.loads(raw)["object"]), (429, 429, "error"))

    def test_stream(self):
        chunks = [json.loads(event) for event in events(self.ask(prompt(marker="tokens=2", stream=True), path=self.PATH)[2])[:-1]]
        self.assertTrue(all("usage" not in chunk and "system_fingerprint" not in chunk for chunk in chunks))


class Shared(ProviderTest):
    def test_the_same_prompt_says_the_same_in_every_dialect(self):
        words = "hello " + MARK.format("tokens=5")
        messages = [{"role": "user", "content": words}]
        expected = text.expected(text.prompt_hash(messages), 5)
        chat = json.loads(self.ask({"model": "m", "messages": messages})[2])["choices"][0]["message"]["content"]
        answer = json.loads(self.ask({"model": "m", "input": words}, path="/v1/responses")[2])["output"][0]["content"][0]["text"]
        body = {"model": "m", "max_tokens": 50, "messages": messages}
        claude = json.loads(self.ask(body, path="/anthropic/v1/messages", **{"anthropic-version": "2023-06-01"})[2])["content"][0]["text"]
        self.assertEqual([chat, answer, claude], [expected] * 3)

    def test_faults_in_every_stream(self):
        asks = (("/v1/responses", lambda words: {"model": "m", "input": words, "stream": True}),
                ("/v1/messages", lambda words: {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": words}], "stream": True}),
                ("/v1beta/models/m:streamGenerateContent?alt=sse", lambda words: {"contents": [{"parts": [{"text": words}]}]}))
        for path, body in asks:
            for fault in ("cut_after=3", "garbage_after=3", "malformed_after=3"):
                with Wire(self.port) as wire:
                    wire.post(body("x " + MARK.format("text=numbered tokens=9 " + fault)), key=self.key, path=path,
                              **{"anthropic-version": "2023-06-01", "connection": "close"})
                    wire.rest()
                self.assertIn(b"t2 ", wire.data, (path, fault))
                self.assertEqual(b"t3 " in wire.data, not fault.startswith("cut"), (path, fault))

    def test_routes(self):
        for path in ("/v1/messages", "/anthropic/v1/messages", "/gemini/v1beta/models/a.b-c:generateContent", "/azure/openai/v1/responses",
                     "/openai/deployments/d/chat/completions"):
            self.assertIsNotNone(dialects.find(path), path)
        for path in ("/v1/messagesx", "/v1beta/models/a/b:generateContent", "/v1beta/models/a:countTokens", "/x/v1/messages"):
            self.assertIsNone(dialects.find(path), path)
        self.assertEqual(re.sub(r"\D", "", str(dialects.find("/openai/deployments/d1/chat/completions")[1])), "1")


if __name__ == "__main__":
    unittest.main()
