"""OpenAI's Chat Completions on the wire: what a request must be, and every body and chunk that answers it.

Pure: no sockets, no clock. Chunks are built from two constant halves around the token, since thousands of streams
make them at the same time.
"""

import json

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


def error_body(message, kind, param=None, code=None):
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


class Refusal(Exception):
    """A request that is answered with an error: status and body."""

    def __init__(self, status, message, kind="invalid_request_error", param=None, code=None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = error_body(message, kind, param, code)


# --- requests --------------------------------------------------------------------------------------------------

def _check_messages(messages):
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


def _check_numbers(request):
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


def check_request(request, strict):
    """Raises Refusal unless the request is one the service would take. strict: unknown and outdated fields too."""
    if not isinstance(request, dict):
        raise Refusal(400, "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
                           "using your HTTP library correctly. The OpenAI API expects a JSON payload.)")
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Refusal(400, "you must provide a model parameter")
    _check_messages(request.get("messages"))
    _check_stream(request)
    _check_numbers(request)
    _check_format(request)
    if request.get("n") not in (None, 1):
        raise Refusal(400, "The simulated provider makes one choice a call.", param="n")
    if strict:
        _check_strict(request)


def _check_strict(request):
    for name in request:
        if name not in KNOWN:
            raise Refusal(400, f"Unrecognized request argument supplied: {name}")
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

def usage(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                          "rejected_prediction_tokens": 0}}


def completion(ident, created, model, text, finish, used):
    """The body of an answer in one piece; used: usage object or None to leave it out."""
    body = {"id": ident, "object": "chat.completion", "created": created, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": None,
                                                 "annotations": []},
                         "logprobs": None, "finish_reason": finish}]}
    if used is not None:
        body["usage"] = used
    body.update({"service_tier": "default", "system_fingerprint": FINGERPRINT})
    return json.dumps(body).encode()


class Chunks:
    """The events of one stream: data lines with the same id, created and model."""

    def __init__(self, ident, created, model, with_usage, obfuscation=False):
        head = {"id": ident, "object": "chat.completion.chunk", "created": created, "model": model,
                "service_tier": "default", "system_fingerprint": FINGERPRINT}
        self._head = b"data: " + json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"choices":['
        tail = b"]" + (b',"usage":null' if with_usage else b"")
        self._tail = tail + (b',"obfuscation":"Zk3vQ9"' if obfuscation else b"") + b"}\n\n"
        self._before = self._head + b'{"index":0,"delta":{"content":"'
        self._after = b'"},"logprobs":null,"finish_reason":null}' + self._tail

    def role(self):
        return (self._head + b'{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,'
                b'"finish_reason":null}' + self._tail)

    def tokens(self, tokens, per_event):
        """Events for JSON-escaped tokens, per_event of them in each."""
        if per_event > 1:
            tokens = [b"".join(tokens[i:i + per_event]) for i in range(0, len(tokens), per_event)]
        if not tokens:
            return b""
        return self._before + (self._after + self._before).join(tokens) + self._after

    def finish(self, reason):
        return (self._head + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"' + reason.encode() + b'"}'
                + self._tail)

    def usage(self, used):
        return self._head + b'],"usage":' + json.dumps(used, separators=(",", ":")).encode() + b"}\n\n"

    def torn(self):
        """An event whose JSON ends in the middle."""
        return self._before + b"tor\n\n"


DONE = b"data: [DONE]\n\n"
MID_STREAM_ERROR = b"data: " + error_body("The server had an error while processing your request. Sorry about that!",
                                          "server_error") + b"\n\n"
GARBAGE = b"data: \xff\xfe{{{ not an event ]]\x01\n\n\x80\x81\x82 :::\n\n"

FAILURES = {
    400: ("invalid_request_error", None, "The simulated provider was told to refuse this request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again in {retry}."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "server_is_overloaded", "The engine is currently overloaded, please try again later"),
}


def failure(status, settings, retry):
    """The body of a programmed error."""
    if settings["fail_body"] is not None:
        return settings["fail_body"].encode("utf-8", "surrogatepass")
    kind, code, message = FAILURES.get(status, FAILURES[500 if status >= 500 else 400])
    return error_body(settings["fail_message"] or message.format(retry=retry), settings["fail_type"] or kind, None,
                      settings["fail_code"] or code)


def too_fast(model, verdict, retry):
    """The body of a refusal by the limits."""
    from tests.provider.limits import SHORT
    return error_body(f"Rate limit reached for {model} in organization org-simulated on {SHORT[verdict.kind]}: Limit "
                      f"{verdict.limit}, Used {verdict.used}, Requested {verdict.cost}. Please try again in {retry}.",
                      "requests" if verdict.kind == "requests" else "tokens", None, "rate_limit_exceeded")
