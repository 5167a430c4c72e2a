"""How the simulated provider behaves: settings in three layers, and which fault meets which call.

    built-in values  <  "default"  <  "models": {NAME: ...}  <  the marker [[sim name=value ...]] in the last user message

A fault has a value (fail=500, cut_after=10) and gates; it happens where every gate that is set lets it through:
    F_times=N        the first N calls of the same step (identity without its attempt number)
    F_next=N         the next N calls that reach this setting, whoever makes them
    F_probability=P  by chance, drawn from seed, identity and the number of the call: the same in every run
"""

import json
import re
import shlex
from collections import OrderedDict

from tests.provider import text

IDENTITIES_MAX = 200_000
TOKENS_MAX = 2_000_000
MARKER = re.compile(r"\[\[sim\s(.*?)\]\]", re.DOTALL)
ALIASES = {"tps": "tokens_per_s", "tokens": "output_tokens", "ttft": "ttft_ms"}
FAULTS = ("drop", "fail", "error", "cut", "stall", "garbage", "malformed")


class BadSetting(Exception):
    """A setting that does not exist or has an impossible value; its text says which."""


# --- what may be set -------------------------------------------------------------------------------------------

def _number(low, high):
    def check(value):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    return check


def _whole(low, high):
    def check(value):
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return check


def _one_of(*values):
    return lambda value: value in values


def _flag(value):
    return isinstance(value, bool)


def _string(value):
    return isinstance(value, str)


def _length(value):
    whole = _whole(0, TOKENS_MAX)
    pair = isinstance(value, list) and len(value) == 2 and all(whole(end) for end in value)
    return whole(value) or (pair and value[0] <= value[1])


_MS = _number(0, 86_400_000)
_AFTER = _whole(0, TOKENS_MAX)

# name: (built-in value, check); None means "not set" and is always allowed
SETTINGS = {
    "ttft_ms": (50, _MS),                 # until the response head, the role chunk and the first token
    "tokens_per_s": (200, _number(0, 10_000_000)),  # 0: all at once
    "head_ms": (0, _MS),                  # the response head trickles out over this time
    "output_tokens": (40, _length),       # N, or [LOW, HIGH] drawn from the prompt
    "chunk_tokens": (1, _whole(1, 10_000)),  # tokens in one event
    "text": ("words", _one_of("words", "numbered", "echo", "fixed")),
    "fixed_text": ("", _string),
    "usage": ("auto", _one_of("auto", "missing")),
    "usage_in": (None, _whole(0, 10 ** 12)),
    "usage_out": (None, _whole(0, 10 ** 12)),
    "strict": (True, _flag),              # refuse what the real service refuses
    "obfuscation": (False, _flag),
    "drop": (None, _flag),                # read the request, close without an answer
    "fail": (None, _whole(400, 599)),     # answer with this status
    "fail_code": (None, _string),
    "fail_type": (None, _string),
    "fail_message": (None, _string),
    "fail_body": (None, _string),         # this body, whatever it is
    "retry_after": (None, _number(0, 86_400)),
    "error_after": (None, _AFTER),        # an error event in the stream after N tokens
    "cut_after": (None, _AFTER),          # the connection ends after N tokens
    "cut": ("fin", _one_of("fin", "rst")),
    "stall_after": (None, _AFTER),        # silence after N tokens
    "stall_ms": (-1, _number(-1, 86_400_000)),  # -1: for ever
    "garbage_after": (None, _AFTER),      # bytes that are no event after N tokens
    "garbage": ("sse", _one_of("sse", "http")),  # inside the framing, or breaking it
    "malformed_after": (None, _AFTER),    # an event whose JSON is torn after N tokens
}
for _fault in FAULTS:
    SETTINGS[_fault + "_times"] = (None, _whole(0, 1_000_000))
    SETTINGS[_fault + "_next"] = (None, _whole(0, 1_000_000_000))
    SETTINGS[_fault + "_probability"] = (None, _number(0, 1))
VALUE_OF = {fault: fault if fault in ("drop", "fail") else fault + "_after" for fault in FAULTS}
BUILT_IN = {name: value for name, (value, _) in SETTINGS.items()}

RULE = {
    "key": _string, "model": _string, "rpm": _whole(1, 10 ** 9), "tpm": _whole(1, 10 ** 12),
    "input_tpm": _whole(1, 10 ** 12), "output_tpm": _whole(1, 10 ** 12), "window": _one_of("bucket", "sliding"),
    "burst_s": _number(0.1, 60), "enforce": _flag, "announce": _flag,
}
TOP = ("default", "models", "limits", "keys", "known_models", "refuse_next", "refuse_ms")


def check_settings(values, where):
    """The settings with aliases resolved. Raises BadSetting."""
    if not isinstance(values, dict):
        raise BadSetting(f"{where}: settings must be an object")
    result = {}
    for name, value in values.items():
        name = ALIASES.get(name, name)
        if name not in SETTINGS:
            raise BadSetting(f"{where}: unknown setting {name}")
        if value is not None and not SETTINGS[name][1](value):
            raise BadSetting(f"{where}: {name} cannot be {json.dumps(value)}")
        result[name] = value
    return result


def _check_rule(rule):
    if not isinstance(rule, dict):
        raise BadSetting("limits: a rule must be an object")
    for name, value in rule.items():
        if name not in RULE:
            raise BadSetting(f"limits: unknown {name}")
        if not RULE[name](value):
            raise BadSetting(f"limits: {name} cannot be {json.dumps(value)}")
    return {"key": "*", "model": "*", "window": "bucket", "burst_s": 60, "enforce": True, "announce": True, **rule}


def _names(document, field):
    value = document.get(field)
    if value is not None and not (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        raise BadSetting(f"{field} must be a list of strings")
    return value


def check_document(document):
    """A whole behavior document in full form. Raises BadSetting."""
    if not isinstance(document, dict):
        raise BadSetting("the behavior must be an object")
    for name in document:
        if name not in TOP:
            raise BadSetting(f"unknown section {name}; sections are {' '.join(TOP)}")
    document = {name: value for name, value in document.items() if value is not None}
    models, limits = document.get("models", {}), document.get("limits", [])
    if not isinstance(models, dict) or not isinstance(limits, list):
        raise BadSetting("models must be an object, limits a list")
    refuse = {"refuse_next": document.get("refuse_next", 0), "refuse_ms": document.get("refuse_ms", 0)}
    for name, value in refuse.items():
        if not _number(0, 10 ** 9)(value):
            raise BadSetting(f"{name} cannot be {json.dumps(value)}")
    return {"default": check_settings(document.get("default", {}), "default"),
            "models": {name: check_settings(values, name) for name, values in models.items()},
            "limits": [_check_rule(rule) for rule in limits],
            "keys": _names(document, "keys"), "known_models": _names(document, "known_models"), **refuse}


def parse_marker(prompt):
    """The settings of the last marker in the prompt, {} without one. Raises BadSetting."""
    found = MARKER.findall(prompt)
    if not found:
        return {}
    values = {}
    try:
        words = shlex.split(found[-1])
    except ValueError as error:
        raise BadSetting(f"marker: {error}") from error
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise BadSetting(f"marker: {word} is not name=value")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
        if ALIASES.get(name, name) in ("fixed_text", "fail_body", "fail_message", "fail_code", "fail_type"):
            values[name] = value
    return check_settings(values, "marker")


def without_marker(prompt):
    return MARKER.sub("", prompt).strip()


def step_of(identity):
    """An identity `job/step/item/attempt` without its attempt: the same for every try of one step."""
    head, slash, attempt = identity.rpartition("/")
    return head if slash and attempt.isdigit() and head.count("/") >= 2 else identity


# --- the live settings -----------------------------------------------------------------------------------------

class Behavior:
    """The settings in force, and the counters behind the gates."""

    def __init__(self, document=None, seed=0):
        self.seed = seed
        self.document = check_document(document or {})
        self._start = self.document
        self._calls = OrderedDict()
        self._left = self._counters()

    def replace(self, document):
        """Put a whole document in force; F_next counters start anew. Raises BadSetting and changes nothing then."""
        self.document = check_document(document)
        self._left = self._counters()

    def patch(self, document):
        """Lay a document on the one in force: settings by name, other sections whole."""
        if not isinstance(document, dict):
            raise BadSetting("the behavior must be an object")
        merged = {**self.document, **document}
        merged["default"] = {**self.document["default"], **(document.get("default") or {})}
        models = document.get("models") or {}
        merged["models"] = {**self.document["models"],
                            **{name: {**self.document["models"].get(name, {}), **(values or {})}
                               for name, values in models.items()}}
        self.replace(merged)

    def reset(self):
        """Back to the start: its document, no call counted."""
        self.document = self._start
        self._calls.clear()
        self._left = self._counters()

    def _counters(self):
        sections = {"default": self.document["default"], **{f"m:{k}": v for k, v in self.document["models"].items()}}
        return {(section, fault): values[fault + "_next"] for section, values in sections.items()
                for fault in FAULTS if values.get(fault + "_next") is not None}

    def count(self, step):
        """The number of this call among those of its step, from 1. Remembers a bounded number of steps."""
        number = self._calls.pop(step, 0) + 1
        self._calls[step] = number
        if len(self._calls) > IDENTITIES_MAX:
            self._calls.popitem(last=False)
        return number

    def settle(self, model, marker, step, number):
        """The settings of one call: layers laid over one another, and the faults that do not meet it removed."""
        layers = [("default", self.document["default"]), (f"m:{model}", self.document["models"].get(model, {})),
                  ("marker", marker)]
        values = dict(BUILT_IN)
        for _, layer in layers:
            values.update(layer)
        for fault in FAULTS:
            if values[VALUE_OF[fault]] not in (None, False) and not self._meets(fault, values, layers, step, number):
                values[VALUE_OF[fault]] = None
        return values

    def _meets(self, fault, values, layers, step, number):
        times, odds = values[fault + "_times"], values[fault + "_probability"]
        if times is not None and number > times:
            return False
        if odds is not None and text.chance(self.seed, fault, step, number) >= odds:
            return False
        if values[fault + "_next"] is None:
            return True
        owner = [section for section, layer in layers if layer.get(fault + "_next") is not None][-1]
        left = self._left.get((owner, fault), 0 if owner != "marker" else 1)
        if left <= 0:
            return False
        if owner != "marker":
            self._left[(owner, fault)] = left - 1
        return True

    def length(self, values, prompt_sha256):
        """How many tokens this answer would have without max_tokens."""
        length = values["output_tokens"]
        if isinstance(length, list):
            return length[0] + int(text.chance(self.seed, "length", prompt_sha256) * (length[1] - length[0] + 1))
        return length
