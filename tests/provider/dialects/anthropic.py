"""Anthropic's Messages on the wire: named events, input usage at the start, cumulative output usage at the end, 529.

Both versions of the API: 2023-06-01, and 2026-10-21, which refuses temperature, top_p and top_k. The key comes as
x-api-key or as a bearer. Rate headers round token counts to thousands and tell resets as times. Pings come after the
first event and, with ping_ms, while the model thinks.
"""

from tests.provider import headers
from tests.provider.dialects.base import BAD, Dialect, Prompt, Refusal, Stream, dumps, joined
from tests.provider.rules import INPUT, OUTPUT, RPM, TOKENS

VERSIONS = ("2023-06-01", "2026-10-21")
SAMPLING = ("temperature", "top_p", "top_k")
KNOWN = frozenset("""
model messages max_tokens system stream stop_sequences temperature top_p top_k tools tool_choice thinking output_config metadata
service_tier container context_management mcp_servers cache_control inference_geo
""".split())
TYPES = {400: BAD, 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
         409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 504: "timeout_error",
         529: "overloaded_error"}
WORDS = {429: "This request would exceed your account's rate limit. Please try again later.", 500: "Internal server error",
         529: "Overloaded", 402: "Your credit balance is too low to access the Anthropic API.", 401: "invalid x-api-key"}
SHORT = {RPM: "requests per minute", INPUT: "input tokens per minute", OUTPUT: "output tokens per minute", TOKENS: "tokens per minute"}
SPEND_CODES = ("enforced_spend_limit_reached", "contract_spend_limit_reached", "linked_organization_spend_limit_reached")


def error_body(kind, message, ident, code=None):
    error = {"type": kind, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return dumps({"type": "error", "error": error, "request_id": "req_" + ident})


def _text_of(content, where):
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content):
        raise Refusal(400, f"{where}.content: Input should be a valid list")
    return [{"type": "text", "text": block.get("text", "")} for block in content]


def _messages(body):
    source = body.get("messages")
    if not isinstance(source, list):
        raise Refusal(400, "messages: Field required")
    if not source:
        raise Refusal(400, "messages: at least one message is required")
    messages = []
    for i, message in enumerate(source):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refusal(400, f"messages.{i}.role: Input should be 'user' or 'assistant'")
        messages.append({"role": message["role"], "content": _text_of(message.get("content"), f"messages.{i}")})
    system = body.get("system")
    if system is not None:
        messages.insert(0, {"role": "system", "content": _text_of(system, "system")})
    return messages


class Anthropic(Dialect):
    """POST /v1/messages."""

    name = "anthropic"
    style = "anthropic"
    tells_ms = False

    def __init__(self, route=None, query=None):
        super().__init__(route, query)
        self.version = None

    def key(self, lines):
        bearer = lines.get("authorization", "")
        return lines.get("x-api-key") or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")

    def head(self, ident, took_ms):
        del took_ms
        self.ident = ident[:24]
        return [("request-id", "req_" + ident[:24]), ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")]

    def no_key(self):
        return Refusal(401, "x-api-key header is required")

    def bad_key(self):
        return Refusal(401, WORDS[401])

    def no_model(self, model):
        return Refusal(404, f"model: {model}")

    def bad_json(self):
        return Refusal(400, "The request body is not valid JSON")

    def check_head(self, lines):
        self.version = lines.get("anthropic-version")
        if self.version is None:
            raise Refusal(400, "anthropic-version: header is required")
        if self.version not in VERSIONS:
            raise Refusal(400, f'anthropic-version: "{self.version}" is not a valid version')

    def read(self, body):
        if not isinstance(body, dict):
            raise self.bad_json()
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise Refusal(400, "model: Field required")
        most = body.get("max_tokens")
        if most is None:
            raise Refusal(400, "max_tokens: Field required")
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise Refusal(400, "max_tokens: Input should be greater than or equal to 1")
        if not isinstance(body.get("stream", False), bool):
            raise Refusal(400, "stream: Input should be a valid boolean")
        for name in SAMPLING:
            if self.version == VERSIONS[1] and name in body:
                raise Refusal(400, f"{name}: not supported by this version of the API")
        temperature = body.get("temperature", 1)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature <= 1:
            raise Refusal(400, "temperature: range: 0..1")
        return Prompt(body, body["model"], _messages(body), body.get("stream", False), most, _schema(body))

    def check_strict(self, prompt):
        for name in prompt.body:
            if name not in KNOWN:
                raise Refusal(400, f"{name}: Extra inputs are not permitted")

    def refusal(self, refusal):
        return error_body(TYPES.get(refusal.status, BAD), refusal.message, self.ident)

    def failure(self, status, settings, retry):
        del retry
        if settings["fail_body"] is not None:
            return settings["fail_body"].encode("utf-8", "surrogatepass")
        kind = settings["fail_type"] or TYPES.get(status, "api_error" if status >= 500 else BAD)
        return error_body(kind, settings["fail_message"] or WORDS.get(status, "The simulated provider was told to refuse this request."),
                          self.ident, settings["fail_code"])

    def limited(self, prompt, verdict, told_s):
        if verdict.reason == "concurrency":
            message = "Number of concurrent connections has exceeded your rate limit. Please try again later."
        else:
            message = (f"This request would exceed your organization's rate limit of {int(verdict.limit):,} "
                       f"{SHORT.get(verdict.reason, 'requests per day')} (model: {prompt.model}).")
        return 429, headers.retry_lines(told_s, self.tells_ms), error_body("rate_limit_error", message, self.ident)

    def broke(self, code):
        if code == "billing_error":
            return 402, [], error_body("billing_error", WORDS[402], self.ident)
        if code in SPEND_CODES:
            return 429, [], error_body("rate_limit_error", "Your organization has reached its spend limit.", self.ident, code)
        return 400, [], error_body(BAD, "You have reached your specified API usage limits. You will regain access on the 1st of next "
                                        "month at 00:00 UTC.", self.ident)

    def slow_down(self, answer, told_s):
        if answer == "slow_down":
            message = "This request would exceed your organization's acceleration limit. Ramp up gradually."
            return 429, headers.retry_lines(told_s, False), error_body("rate_limit_error", message, self.ident, "ramp_limit_exceeded")
        return 529, headers.retry_lines(told_s, False), error_body("overloaded_error", "Overloaded", self.ident)

    def message(self, answer, content, finish, used):
        return {"id": "msg_" + answer.ident[:24], "type": "message", "role": "assistant", "model": answer.model, "content": content,
                "stop_reason": None if finish is None else _stop(finish), "stop_sequence": None, "stop_details": None,
                **({} if used is None else {"usage": used})}

    def whole(self, answer, text, finish):
        used = None if answer.used is None else usage(answer.used, answer.used.output)
        return dumps(self.message(answer, [{"type": "text", "text": text}], finish, used))

    def stream(self, answer):
        return Events(self, answer)


def _schema(body):
    form = (body.get("output_config") or {}).get("format") if isinstance(body.get("output_config"), dict) else None
    return form.get("schema") if isinstance(form, dict) and isinstance(form.get("schema"), dict) else None


def _stop(finish):
    return "end_turn" if finish == "stop" else "max_tokens"


def usage(used, output):
    return {"input_tokens": used.input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": output,
            "service_tier": "standard"}


def _event(kind, **fields):
    return b"event: " + kind.encode() + b"\ndata: " + dumps({"type": kind, **fields}) + b"\n\n"


PING = _event("ping")
_BEFORE = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
_AFTER = b'"}}\n\n'


class Events(Stream):
    def __init__(self, dialect, answer):
        self._dialect = dialect
        self._answer = answer

    def open(self):
        answer = self._answer
        used = None if answer.used is None else usage(answer.used, 1)
        message = self._dialect.message(answer, [], None, used)
        return (_event("message_start", message=message)
                + _event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + PING)

    def tokens(self, tokens, per_event):
        tokens = joined(tokens, per_event)
        return _BEFORE + (_AFTER + _BEFORE).join(tokens) + _AFTER if tokens else b""

    def ping(self):
        return PING

    def finish(self, finish, used):
        told = {} if used is None else {"usage": {"output_tokens": used.output}}
        return (_event("content_block_stop", index=0)
                + _event("message_delta", delta={"stop_reason": _stop(finish), "stop_sequence": None}, **told) + _event("message_stop"))

    def error(self):
        return _event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    def torn(self):
        return _BEFORE + b"tor\n\n"

