"""Gemini's generateContent on the wire: whole responses as events, no names, no [DONE], no rate headers at all.

Without alt=sse a stream is one JSON array, and so is its error. A refusal says by quotaId which quota it was; the
retryDelay of a daily one lies, as the real one's does. Money gone is 402 RESOURCE_EXHAUSTED.
"""

from tests.provider import text
from tests.provider.dialects.base import SSE_HEAD, Dialect, Prompt, Refusal, Stream, dumps, joined
from tests.provider.rules import INPUT, OUTPUT, RPD, RPM, TOKENS

STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
          429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
WORDS = {429: "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: "
              "https://ai.google.dev/gemini-api/docs/rate-limits.",
         500: "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
         503: "The model is overloaded. Please try again later.", 403: "Permission denied.", 504: "Deadline expired before operation could "
         "complete."}
QUOTAS = {
    RPM: ("generate_content_paid_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel"),
    RPD: ("generate_content_paid_tier_requests", "GenerateRequestsPerDayPerProjectPerModel"),
    INPUT: ("generate_content_paid_tier_input_token_count", "GenerateContentPaidTierInputTokensPerModelPerMinute"),
    OUTPUT: ("generate_content_paid_tier_output_token_count", "GenerateContentPaidTierOutputTokensPerModelPerMinute"),
    TOKENS: ("generate_content_paid_tier_token_count", "GenerateContentPaidTierTokensPerModelPerMinute"),
    "concurrency": ("generate_content_paid_tier_requests", "GenerateConcurrentRequestsPerMinutePerProjectPerModel"),
}
METRIC = "generativelanguage.googleapis.com/"
RPC = "type.googleapis.com/google.rpc."
KNOWN = frozenset("""contents systemInstruction system_instruction generationConfig generation_config safetySettings safety_settings tools
toolConfig tool_config cachedContent labels model""".split())
DAILY_LIE_S = (19, 45)


def _parts(value, where):
    parts = value.get("parts") if isinstance(value, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Refusal(400, f"* {where}.parts: contents must not be empty")
    return [{"type": "text", "text": part["text"]} for part in parts if isinstance(part.get("text"), str)]


def _messages(body):
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified")
    messages = []
    for i, content in enumerate(contents):
        role = content.get("role", "user") if isinstance(content, dict) else None
        if role not in ("user", "model"):
            raise Refusal(400, "Please use a valid role: user, model.")
        messages.append({"role": "assistant" if role == "model" else "user", "content": _parts(content, f"contents[{i}]")})
    system = body.get("systemInstruction") or body.get("system_instruction")
    if system is not None:
        messages.insert(0, {"role": "system", "content": _parts(system, "systemInstruction")})
    return messages


class Gemini(Dialect):
    """POST /v1beta/models/{m}:generateContent and :streamGenerateContent."""

    name = "gemini"
    tells_retry = False

    def __init__(self, route=None, query=None):
        super().__init__(route, query)
        self.is_array = self.route.get("verb") == "streamGenerateContent" and self.query.get("alt") != "sse"
        if self.is_array:
            self.stream_head = [("content-type", "application/json; charset=UTF-8")]
        else:
            self.stream_head = [("content-type", "text/event-stream"), *SSE_HEAD[1:]]

    def key(self, lines):
        return lines.get("x-goog-api-key") or self.query.get("key") or super().key(lines)

    def head(self, ident, took_ms):
        del ident
        return [("server", "scaffolding on HTTPServer2"), ("server-timing", f"gfet4t7; dur={took_ms}"), ("x-frame-options", "SAMEORIGIN")]

    def no_key(self):
        return Refusal(403, "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
                            "form of API consumer identity to call this API.")

    def bad_key(self):
        return Refusal(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")

    def no_model(self, model):
        return Refusal(404, f"models/{model} is not found for API version v1beta, or is not supported for generateContent.")

    def bad_json(self):
        return Refusal(400, "Invalid JSON payload received. Unexpected token.")

    def read(self, body):
        if not isinstance(body, dict):
            raise self.bad_json()
        config = body.get("generationConfig") or body.get("generation_config") or {}
        if not isinstance(config, dict):
            raise Refusal(400, "Invalid value at 'generation_config'")
        most = config.get("maxOutputTokens")
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise Refusal(400, "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32)")
        schema = None
        if config.get("responseMimeType") == "application/json":
            schema = config.get("responseSchema") or config.get("responseJsonSchema") or {
                "type": "object", "properties": {"answer": {"type": "string"}}}
        return Prompt(body, self.route["model"], _messages(body), self.route["verb"] == "streamGenerateContent", most, _lower(schema))

    def check_strict(self, prompt):
        for name in prompt.body:
            if name not in KNOWN:
                raise Refusal(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')

    def _error(self, status, message, details=None, name=None):
        error = {"code": status, "message": message, "status": name or STATUS.get(status, "UNKNOWN")}
        if details:
            error["details"] = details
        return dumps([{"error": error}] if self.is_array else {"error": error})

    def refusal(self, refusal):
        details = None
        if refusal.code:
            details = [{"@type": RPC + "ErrorInfo", "reason": refusal.code, "domain": "googleapis.com"}]
        return self._error(refusal.status, refusal.message, details)

    def failure(self, status, settings, retry):
        del retry
        if settings["fail_body"] is not None:
            return settings["fail_body"].encode("utf-8", "surrogatepass")
        message = settings["fail_message"] or WORDS.get(status, "The simulated provider was told to refuse this request.")
        details = None
        if status == 429:
            details = _quota_details(RPM, settings["fail_code"], "*", 0, settings["retry_after"] or 1)
        return self._error(status, message, details, settings["fail_type"])

    def limited(self, prompt, verdict, told_s):
        if verdict.reason == RPD:  # the service's own lie: seconds, where it is hours
            low, high = DAILY_LIE_S
            told_s = low + text.chance(0, "daily", verdict.cost, int(verdict.wait_ms)) * (high - low)
        return 429, [], self._error(429, WORDS[429], _quota_details(verdict.reason, None, prompt.model, verdict.limit, told_s))

    def broke(self, code):
        if code == "free":  # a quota of nothing
            return 429, [], self._error(429, WORDS[429], _quota_details(RPD, None, "*", 0, 30))
        return 402, [], self._error(402, "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.")

    def slow_down(self, answer, told_s):
        if answer == "slow_down":
            return 429, [], self._error(429, "Resource exhausted, please try again later.", _retry_info(told_s))
        return 503, [], self._error(503, WORDS[503])

    def chunk(self, answer, pieces, finish, said, used):
        candidate = {"content": {"parts": [{"text": pieces}], "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = "STOP" if finish == "stop" else "MAX_TOKENS"
        body = {"candidates": [candidate]}
        if used is not None:
            body["usageMetadata"] = usage(used, said)
        return {**body, "modelVersion": answer.model, "responseId": answer.ident[:22]}

    def whole(self, answer, text_said, finish):
        used = answer.used
        return dumps(self.chunk(answer, text_said, finish, used.output - used.reasoning if used else 0, used))

    def stream(self, answer):
        return Events(self, answer)


def _lower(schema):
    """Gemini writes types in capitals; the sampler knows JSON Schema's."""
    if isinstance(schema, dict):
        return {name: value.lower() if name == "type" and isinstance(value, str) else _lower(value) for name, value in schema.items()}
    return [_lower(entry) for entry in schema] if isinstance(schema, list) else schema


def _retry_info(told_s):
    if told_s is None:
        return []
    seconds = f"{told_s:.9f}".rstrip("0").rstrip(".")
    return [{"@type": RPC + "RetryInfo", "retryDelay": seconds + "s"}]


def _quota_details(reason, quota_id, model, limit, told_s):
    metric, name = QUOTAS[reason]
    violation = {"quotaMetric": METRIC + metric, "quotaId": quota_id or name, "quotaDimensions": {"location": "global", "model": model},
                 "quotaValue": str(int(limit))}
    links = [{"description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]
    return [{"@type": RPC + "QuotaFailure", "violations": [violation]}, {"@type": RPC + "Help", "links": links}, *_retry_info(told_s)]


def usage(used, said):
    """said: visible tokens so far; thoughts are counted apart."""
    told = {"promptTokenCount": used.input, "candidatesTokenCount": said,
            "totalTokenCount": used.input + said + used.reasoning,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": used.input}]}
    if used.reasoning:
        told["thoughtsTokenCount"] = used.reasoning
    return told


class Events(Stream):
    """Every event a GenerateContentResponse; in the array form the same between brackets and commas."""

    def __init__(self, dialect, answer):
        self._dialect = dialect
        self._answer = answer
        self._said = 0
        self._used = answer.used
        self._is_first = True
        body = dumps(dialect.chunk(answer, "\x00", None, 0, None))
        self._before, _, after = body.partition(b"\\u0000")
        self._after = after[:-1]

    def _frame(self, body):
        if not self._dialect.is_array:
            return b"data: " + body + b"\r\n\r\n"
        start, self._is_first = b"[" if self._is_first else b",\r\n", False
        return start + body

    def open(self):
        return b""

    def tokens(self, tokens, per_event):
        frames = []
        for i, piece in enumerate(joined(tokens, per_event)):
            self._said += min(per_event, len(tokens) - i * per_event)
            told = b"}" if self._used is None else b',"usageMetadata":' + dumps(usage(self._used, self._said)) + b"}"
            frames.append(self._frame(self._before + piece + self._after + told))
        return b"".join(frames)

    def finish(self, finish, used):
        said = used.output - used.reasoning if used is not None else 0
        last = self._frame(dumps(self._dialect.chunk(self._answer, "", finish, said, used)))
        return last + (b"]" if self._dialect.is_array else b"")

    def error(self):
        error = dumps({"error": {"code": 503, "message": WORDS[503], "status": "UNAVAILABLE"}})
        return self._frame(error) + (b"]" if self._dialect.is_array else b"")

    def torn(self):
        return self._frame(self._before + b"tor")
