"""OpenAI's Responses on the wire: semantic events with a sequence number each, no [DONE].

Not simulated: stored responses (background, retrieve, resume): a worker asks once and reads the answer.
"""

import json

from tests.provider.dialects.base import Prompt, Refusal, Stream, dumps, joined
from tests.provider.dialects.chat import check_numbers, check_reasoning
from tests.provider.dialects.openai import OpenAI

KNOWN = frozenset("""
background context_management conversation include input instructions max_output_tokens max_tool_calls metadata model moderation
parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_retention reasoning safety_identifier
service_tier store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user
""".split())
ROLES = ("user", "assistant", "system", "developer")
PARTS = ("input_text", "output_text", "input_image", "input_file")
MOST_MAX, MOST_MIN = 2_000_000, 16


def _missing(name):
    return Refusal(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def _content(content, where):
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refusal(400, f"Invalid type for '{where}.content'.", param=f"{where}.content", code="invalid_type")
    for i, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") not in PARTS:
            raise Refusal(400, f"Invalid value for '{where}.content[{i}].type'.", param=f"{where}.content[{i}].type",
                          code="invalid_value")
    return [{"type": "text", "text": part.get("text", "")} for part in content]


def _messages(body):
    source = body.get("input")
    if source is None:
        raise _missing("input")
    if isinstance(source, str):
        messages = [{"role": "user", "content": source}]
    elif isinstance(source, list) and source:
        messages = []
        for i, item in enumerate(source):
            if not isinstance(item, dict):
                raise Refusal(400, f"Invalid type for 'input[{i}]'.", param=f"input[{i}]", code="invalid_type")
            if item.get("type", "message") != "message":
                continue
            if item.get("role") not in ROLES:
                raise Refusal(400, f"Invalid value for 'input[{i}].role'.", param=f"input[{i}].role", code="invalid_value")
            messages.append({"role": item["role"], "content": _content(item.get("content"), f"input[{i}]")})
    else:
        raise Refusal(400, "Invalid type for 'input'.", param="input", code="invalid_type")
    if isinstance(body.get("instructions"), str):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    return messages


def _check_most(body):
    most = body.get("max_output_tokens")
    if most is None:
        return
    if isinstance(most, bool) or not isinstance(most, int):
        raise Refusal(400, "Invalid type for 'max_output_tokens': expected an integer.", param="max_output_tokens", code="invalid_type")
    if not MOST_MIN <= most <= MOST_MAX:
        below = most < MOST_MIN
        raise Refusal(400, f"Invalid 'max_output_tokens': integer {'below minimum' if below else 'above maximum'} value.",
                      param="max_output_tokens", code="integer_below_min_value" if below else "integer_above_max_value")


def _schema(body):
    form = (body.get("text") or {}).get("format") if isinstance(body.get("text"), (dict, type(None))) else None
    if not isinstance(form, dict) or form.get("type", "text") == "text":
        return None
    if form["type"] == "json_schema" and not (isinstance(form.get("name"), str) and isinstance(form.get("schema"), dict)):
        raise Refusal(400, "Missing required parameter: 'text.format.name'.", param="text.format.name",
                      code="missing_required_parameter")
    return form.get("schema") or {"type": "object", "properties": {"answer": {"type": "string"}}}


class Responses(OpenAI):
    """POST /v1/responses."""

    name = "openai"

    def read(self, body):
        if not isinstance(body, dict):
            raise Refusal(400, "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload.")
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise _missing("model")
        if not isinstance(body.get("stream", False), (bool, type(None))):
            raise Refusal(400, "Invalid type for 'stream': expected a boolean.", param="stream", code="invalid_type")
        messages = _messages(body)
        check_numbers(body)
        _check_most(body)
        if body.get("background"):
            raise Refusal(400, "The simulated provider keeps no responses.", param="background")
        return Prompt(body, body["model"], messages, bool(body.get("stream")), body.get("max_output_tokens"), _schema(body))

    def check_strict(self, prompt):
        for name in prompt.body:
            if name not in KNOWN:
                raise Refusal(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        check_reasoning({**prompt.body, "max_tokens": None})

    def whole(self, answer, text, finish):
        return dumps(response_object(answer, finish, [message_item(answer, text, finish)], answer.used))

    def stream(self, answer):
        return Events(answer)


def usage(used):
    return {"input_tokens": used.input, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": used.output, "output_tokens_details": {"reasoning_tokens": used.reasoning},
            "total_tokens": used.input + used.output}


def part_object(text):
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(answer, text, finish):
    status = {None: "in_progress", "stop": "completed"}.get(finish, "incomplete")
    content = [] if finish is None else [part_object(text)]
    return {"id": "msg_" + answer.ident[:40], "type": "message", "status": status, "role": "assistant", "content": content}


def response_object(answer, finish, output, used):
    """finish: None while it goes on."""
    body = answer.prompt.body
    status = {None: "in_progress", "stop": "completed", "failed": "failed"}.get(finish, "incomplete")
    return {"id": "resp_" + answer.ident[:40], "object": "response", "created_at": answer.created, "status": status,
            "background": False, "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.get("instructions"), "max_output_tokens": body.get("max_output_tokens"),
            "model": answer.model, "output": output, "parallel_tool_calls": True,
            "previous_response_id": body.get("previous_response_id"), "reasoning": {"effort": None, "summary": None},
            "service_tier": "default", "store": body.get("store", True) is not False,
            "temperature": body.get("temperature", 1.0), "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": "auto", "tools": [], "top_p": body.get("top_p", 1.0), "truncation": "disabled",
            "usage": None if used is None or finish is None else usage(used), "user": None,
            "metadata": body.get("metadata") or {}}


class Events(Stream):
    """The events of one stream; the said text is kept, since the last events repeat it."""

    def __init__(self, answer):
        self._answer = answer
        self._number = 0
        self._said = []
        item = "msg_" + answer.ident[:40]
        self._place = {"item_id": item, "output_index": 0, "content_index": 0}
        place = dumps(self._place)[1:-1]
        self._before = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":'
        self._middle = b"," + place + b',"delta":"'
        self._after = b'","logprobs":[]' + (b',"obfuscation":"Zk3vQ9"' if answer.settings["obfuscation"] else b"") + b"}\n\n"

    def _event(self, kind, **fields):
        data = dumps({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def open(self):
        answer = self._answer
        response = response_object(answer, None, [], None)
        return (self._event("response.created", response=response) + self._event("response.in_progress", response=response)
                + self._event("response.output_item.added", output_index=0, item=message_item(answer, "", None))
                + self._event("response.content_part.added", **self._place, part=part_object("")))

    def tokens(self, tokens, per_event):
        self._said += tokens
        lines = []
        for token in joined(tokens, per_event):
            lines.append(b"%s%d%s%s%s" % (self._before, self._number, self._middle, token, self._after))
            self._number += 1
        return b"".join(lines)

    def finish(self, finish, used):
        answer, text = self._answer, json.loads(b'"' + b"".join(self._said) + b'"')
        item = message_item(answer, text, finish)
        response = response_object(answer, finish, [item], used)
        last = "response.completed" if finish == "stop" else "response.incomplete"
        return (self._event("response.output_text.done", **self._place, text=text, logprobs=[])
                + self._event("response.content_part.done", **self._place, part=part_object(text))
                + self._event("response.output_item.done", output_index=0, item=item) + self._event(last, response=response))

    def error(self):
        failed = response_object(self._answer, "failed", [], None)
        failed["error"] = {"code": "server_error", "message": "The server had an error processing your request."}
        return self._event("response.failed", response=failed)

    def torn(self):
        return self._before + b"%d" % self._number + self._middle + b"tor\n\n"
