"""OpenAI's Chat Completions on the wire: what a request must be, and every body and chunk that answers it.

Pure: no sockets, no clock. Chunks are built from two constant halves around the token, since thousands of streams
make them at the same time.
"""

import json

from tests.provider.dialects.base import Prompt, Refusal, Stream, joined
from tests.provider.dialects.openai import OpenAI, error_body

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
KNOWN = frozenset("""
messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention
reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options temperature
tool_choice tools top_logprobs top_p user verbosity web_search_options
""".split())
REASONING = ("gpt-5", "o1", "o3", "o4")
FINGERPRINT = "fp_simulated"
MAX_TOKENS_MAX = 2_000_000


# --- requests --------------------------------------------------------------------------------------------------

def check_messages(messages):
    if not isinstance(messages, list):
        raise Refusal(400, "Missing required parameter: 'messages'.", param="messages",
                      code="missing_required_parameter")
    if not messages:
        raise Refusal(400, "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
                           "empty array instead.", param="messages", code="empty_array")
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise Refusal(400, f"Invalid type for 'messages[{i}]': expected an object.", param=f"messages[{i}]",
                          code="invalid_type")
        if message.get("role") not in ROLES:
            raise Refusal(400, f"Invalid value for 'messages[{i}].role'.", param=f"messages[{i}].role",
                          code="invalid_value")
        content = message.get("content")
        if not isinstance(content, (str, list)) and not (content is None and message["role"] == "assistant"):
            raise Refusal(400, f"Invalid type for 'messages[{i}].content': expected one of a string or array of "
                               "objects.", param=f"messages[{i}].content", code="invalid_type")


def check_numbers(request):
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("frequency_penalty", -2, 2),
                            ("presence_penalty", -2, 2)):
        value = request.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refusal(400, f"Invalid type for '{name}': expected a decimal.", param=name, code="invalid_type")
        if not low <= value <= high:
            bound = "below minimum" if value < low else "above maximum"
            raise Refusal(400, f"Invalid '{name}': decimal {bound} value.", param=name,
                          code="decimal_" + bound.replace(" ", "_") + "_value")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = request.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refusal(400, f"Invalid type for '{name}': expected an integer.", param=name, code="invalid_type")
        if not 1 <= value <= MAX_TOKENS_MAX:
            raise Refusal(400, f"Invalid '{name}': integer out of range.", param=name,
                          code="integer_below_min_value" if value < 1 else "integer_above_max_value")


def _check_stream(request):
    if not isinstance(request.get("stream", False), (bool, type(None))):
        raise Refusal(400, "Invalid type for 'stream': expected a boolean.", param="stream", code="invalid_type")
    options = request.get("stream_options")
    if options is None:
        return
    if not request.get("stream"):
        raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                      param="stream_options")
    if not isinstance(options, dict) or not isinstance(options.get("include_usage", False), bool):
        raise Refusal(400, "Invalid type for 'stream_options'.", param="stream_options", code="invalid_type")


def _check_format(request):
    form = request.get("response_format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object", "json_schema"):
        raise Refusal(400, "Invalid value for 'response_format.type'.", param="response_format.type",
                      code="invalid_value")
    inner = form.get("json_schema")
    if form["type"] == "json_schema" and not (isinstance(inner, dict) and isinstance(inner.get("name"), str)
                                              and isinstance(inner.get("schema"), dict)):
        raise Refusal(400, "Missing required parameter: 'response_format.json_schema.name'.",
                      param="response_format.json_schema", code="missing_required_parameter")


def check_request(request):
    """Raises Refusal unless the request is one that every compatible service would take."""
    if not isinstance(request, dict):
        raise Refusal(400, "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
                           "using your HTTP library correctly. The OpenAI API expects a JSON payload.)")
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Refusal(400, "you must provide a model parameter")
    check_messages(request.get("messages"))
    _check_stream(request)
    check_numbers(request)
    _check_format(request)
    if request.get("n") not in (None, 1):
        raise Refusal(400, "The simulated provider makes one choice a call.", param="n")

def check_strict(request):
    for name in request:
        if name not in KNOWN:
            raise Refusal(400, f"Unrecognized request argument supplied: {name}")
    check_reasoning(request)


def check_reasoning(request):
    """What the reasoning models refuse."""
    if request.get("max_tokens") is not None and request["model"].startswith(REASONING):
        raise Refusal(400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                           "'max_completion_tokens' instead.", param="max_tokens", code="unsupported_parameter")
    if request.get("temperature") not in (None, 1) and request["model"].startswith(REASONING):
        raise Refusal(400, f"Unsupported value: 'temperature' does not support {request['temperature']} with this "
                           "model. Only the default (1) value is supported.", param="temperature",
                      code="unsupported_value")


def wants_usage(request):
    return bool((request.get("stream_options") or {}).get("include_usage"))


# --- answers ---------------------------------------------------------------------------------------------------

def usage(used):
    return {"prompt_tokens": used.input, "completion_tokens": used.output, "total_tokens": used.input + used.output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": used.reasoning, "audio_tokens": 0,
                                          "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}


class Chat(OpenAI):
    """POST /v1/chat/completions."""

    name = "openai"

    def read(self, body):
        check_request(body)
        schema = None
        form = body.get("response_format") or {}
        if form.get("type", "text") != "text":
            schema = (form.get("json_schema") or {}).get("schema") or {
                "type": "object", "properties": {"answer": {"type": "string"}}}
        return Prompt(body, body["model"], body["messages"], bool(body.get("stream")),
                      body.get("max_completion_tokens") or body.get("max_tokens"), schema, wants_usage(body))

    def check_strict(self, prompt):
        check_strict(prompt.body)

    def usage(self, used):
        return usage(used)

    def extra(self):
        """Fields at the end of every body and chunk."""
        return {"service_tier": "default", "system_fingerprint": FINGERPRINT}

    def whole(self, answer, text, finish):
        body = {"id": "chatcmpl-" + answer.ident[:29], "object": "chat.completion", "created": answer.created,
                "model": answer.model,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": None,
                                                     "annotations": []},
                             "logprobs": None, "finish_reason": finish}]}
        if answer.used is not None:
            body["usage"] = self.usage(answer.used)
        return json.dumps({**body, **self.extra()}).encode()

    def stream(self, answer):
        return Chunks(self, answer)


class Chunks(Stream):
    """The events of one stream: data lines with the same id, created and model."""

    def __init__(self, dialect, answer):
        self._dialect = dialect
        self._wants_usage = answer.prompt.wants_usage
        head = {"id": "chatcmpl-" + answer.ident[:29], "object": "chat.completion.chunk", "created": answer.created,
                "model": answer.model, **dialect.extra()}
        self._head = b"data: " + json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"choices":['
        tail = b"]" + (b',"usage":null' if self._wants_usage else b"")
        self._tail = tail + (b',"obfuscation":"Zk3vQ9"' if answer.settings["obfuscation"] else b"") + b"}\n\n"
        self._before = self._head + b'{"index":0,"delta":{"content":"'
        self._after = b'"},"logprobs":null,"finish_reason":null}' + self._tail

    def open(self):
        return (self._head + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,'
                b'"finish_reason":null}' + self._tail)

    def tokens(self, tokens, per_event):
        tokens = joined(tokens, per_event)
        if not tokens:
            return b""
        return self._before + (self._after + self._before).join(tokens) + self._after

    def finish(self, finish, used):
        data = (self._head + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"' + finish.encode() + b'"}'
                + self._tail)
        if self._wants_usage and used is not None:
            data += self._head + b'],"usage":' + json.dumps(self._dialect.usage(used), separators=(",", ":")).encode() + b"}\n\n"
        return data + DONE

    def error(self):
        return MID_STREAM_ERROR

    def torn(self):
        return self._before + b"tor\n\n"


DONE = b"data: [DONE]\n\n"
MID_STREAM_ERROR = b"data: " + error_body("The server had an error while processing your request. Sorry about that!",
                                          "server_error") + b"\n\n"
