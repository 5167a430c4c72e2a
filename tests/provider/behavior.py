"""How the simulated provider behaves: settings in three layers, and which fault meets which call.

    built-in values  <  "default"  <  "models": {NAME: ...}  <  the marker [[sim name=value ...]] in the last user message

A fault has a value (fail=500, cut_after=10) and gates; it happens where every gate that is set lets it through:
    F_times=N        the first N calls of the same step (identity without its attempt number)
    F_next=N         the next N calls that reach this setting, whoever makes them
    F_probability=P  by chance, drawn from seed, identity and the number of the call: the same in every run
"""

import json
import math
import re
import shlex
from collections import OrderedDict

from tests.provider import rules, text
from tests.provider.rules import BadSetting, flag, number, one_of, string, whole

IDENTITIES_MAX = 200_000
TOKENS_MAX = 2_000_000
MARKER = re.compile(r"\[\[sim\s(.*?)\]\]", re.DOTALL)
ALIASES = {"tps": "tokens_per_s", "tokens": "output_tokens", "ttft": "ttft_ms"}
FAULTS = ("drop", "fail", "error", "cut", "stall", "garbage", "malformed")


# --- what may be set -------------------------------------------------------------------------------------------

def _drawn(one):
    """A check for a value, [LOW, HIGH], or {"median": M, "p99": P}, each number such as `one` allows."""
    def check(value):
        if isinstance(value, list):
            return len(value) == 2 and all(one(end) for end in value) and value[0] <= value[1]
        if isinstance(value, dict):
            return set(value) == {"median", "p99"} and all(one(end) for end in value.values()) and 0 < value["median"] <= value["p99"]
        return one(value)
    return check


def _size_error(value):
    low = number(-0.95, 100)
    return flag(value) or (isinstance(value, list) and len(value) == 2 and all(low(end) for end in value) and value[0] <= value[1])


_MS = number(0, 86_400_000)
_AFTER = whole(0, TOKENS_MAX)
SIZE_ERROR = [-0.5, 2.0]
Z99 = 2.3263

# name: (built-in value, check); None means "not set" and is always allowed
SETTINGS = {
    "ttft_ms": (50, _drawn(_MS)),                 # until the response head, the role chunk and the first token
    "tokens_per_s": (200, _drawn(number(0, 10_000_000))),  # 0: all at once
    "head_ms": (0, _MS),                  # the response head trickles out over this time
    "output_tokens": (40, _drawn(whole(0, TOKENS_MAX))),  # N, or drawn from the prompt
    "reasoning_tokens": (0, _drawn(whole(0, TOKENS_MAX))),  # billed as output before the first token, not said
    "size_error": (None, _size_error),    # the true sizes differ from every honest estimate by 1/(1+e)
    "ping_ms": (0, _MS),                  # Anthropic: a ping this often while nothing else is sent
    "chunk_tokens": (1, whole(1, 10_000)),  # tokens in one event
    "text": ("words", one_of("words", "numbered", "echo", "fixed")),
    "fixed_text": ("", string),
    "usage": ("auto", one_of("auto", "missing")),
    "usage_in": (None, whole(0, 10 ** 12)),
    "usage_out": (None, whole(0, 10 ** 12)),
    "strict": (True, flag),              # refuse what the real service refuses
    "obfuscation": (False, flag),
    "drop": (None, flag),                # read the request, close without an answer
    "fail": (None, whole(400, 599)),     # answer with this status
    "fail_code": (None, string),
    "fail_type": (None, string),
    "fail_message": (None, string),
    "fail_body": (None, string),         # this body, whatever it is
    "retry_after": (None, number(0, 86_400)),
    "error_after": (None, _AFTER),        # an error event in the stream after N tokens
    "cut_after": (None, _AFTER),          # the connection ends after N tokens
    "cut": ("fin", one_of("fin", "rst")),
    "stall_after": (None, _AFTER),        # silence after N tokens
    "stall_ms": (-1, number(-1, 86_400_000)),  # -1: for ever
    "garbage_after": (None, _AFTER),      # bytes that are no event after N tokens
    "garbage": ("sse", one_of("sse", "http")),  # inside the framing, or breaking it
    "malformed_after": (None, _AFTER),    # an event whose JSON is torn after N tokens
}
for _fault in FAULTS:
    SETTINGS[_fault + "_times"] = (None, whole(0, 1_000_000))
    SETTINGS[_fault + "_next"] = (None, whole(0, 1_000_000_000))
    SETTINGS[_fault + "_probability"] = (None, number(0, 1))
VALUE_OF = {fault: fault if fault in ("drop", "fail") else fault + "_after" for fault in FAULTS}
BUILT_IN = {name: value for name, (value, _) in SETTINGS.items()}

TOP = ("default", "models", "limits", "keys", "known_models", "refuse_next", "refuse_ms", "record")


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
    models = document.get("models", {})
    if not isinstance(models, dict):
        raise BadSetting("models must be an object")
    refuse = {"refuse_next": document.get("refuse_next", 0), "refuse_ms": document.get("refuse_ms", 0)}
    for name, value in refuse.items():
        if not number(0, 10 ** 9)(value):
            raise BadSetting(f"{name} cannot be {json.dumps(value)}")
    record = document.get("record", "full")
    if record not in ("full", "light"):
        raise BadSetting("record must be full or light")
    return {"record": record, "default": check_settings(document.get("default", {}), "default"),
            "models": {name: check_settings(values, name) for name, values in models.items()},
            "limits": rules.check_rules(document.get("limits", [])),
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

    def set_limits(self, checked):
        """Note rules that were put in force by their own call."""
        self.document = {**self.document, "limits": checked}

    def draw(self, values, name, prompt_sha256, step=""):
        """The value of a setting that may be drawn: the same for the same prompt (and step) under the same seed."""
        value = values[name]
        if isinstance(value, list):
            odds = text.chance(self.seed, DRAW_LABEL.get(name, name), prompt_sha256, *([step] if step else []))
            whole_numbers = all(isinstance(end, int) for end in value)
            drawn = value[0] + odds * (value[1] - value[0] + (1 if whole_numbers else 0))
            return int(drawn) if whole_numbers else drawn
        if isinstance(value, dict):
            sigma = math.log(value["p99"] / value["median"]) / Z99
            drawn = value["median"] * math.exp(sigma * text.normal(self.seed, name, prompt_sha256, step))
            return round(drawn) if name in ("output_tokens", "reasoning_tokens") else drawn
        return value

    def resize(self, values, label, estimate, step):
        """The true size behind an estimate: estimate / (1 + e), e drawn evenly for each step and label."""
        span = values["size_error"]
        if not span:
            return None
        low, high = SIZE_ERROR if span is True else span
        error = low + text.chance(self.seed, "size", label, step) * (high - low)
        return max(1, round(estimate / (1 + error)))


DRAW_LABEL = {"output_tokens": "length"}
