"""What a rule of limits may say: names, old names, values, defaults."""

import json

from tests.provider.meters import ALGORITHMS


class BadSetting(Exception):
    """A setting that does not exist or has an impossible value; its text says which."""


def number(low, high):
    def check(value):
        return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    return check


def whole(low, high):
    def check(value):
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return check


def one_of(*values):
    return lambda value: value in values


def flag(value):
    return isinstance(value, bool)


def string(value):
    return isinstance(value, str)


RPM, INPUT, OUTPUT, TOKENS, RPD = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute",
                                   "tokens_per_minute", "requests_per_day")
MINUTE_LIMITS = (RPM, TOKENS, INPUT, OUTPUT)
METERED = (*MINUTE_LIMITS, RPD)
NAMED = (*METERED, "concurrency", "spend")
ALIASES = {"rpm": RPM, "tpm": TOKENS, "input_tpm": INPUT, "output_tpm": OUTPUT, "rpd": RPD, "window": "algorithm"}
HEADERS = ("true", "off", "low", "high", "absurd", "negative", "malformed", "contradictory", "partial", "mixed")
RETRIES = ("true", "none", "short", "long", "lying")


def _algorithm(value):
    if isinstance(value, dict):
        return all(name in METERED and kind in ALGORITHMS for name, kind in value.items())
    return value in ALGORITHMS


def _price(value):
    return isinstance(value, dict) and all(name in ("input_per_million", "output_per_million")
                                           and number(0, 10 ** 6)(amount) for name, amount in value.items())


def _overrides(value):
    return isinstance(value, dict) and all(isinstance(name, str) and isinstance(text, str) and "\n" not in name + text
                                           and "\r" not in name + text for name, text in value.items())


def _retry(value):
    return value in RETRIES or number(0, 10 ** 9)(value)


# name: (what holds when the rule does not say, check)
RULE = {
    "key": ("*", string), "model": ("*", string),
    RPM: (None, whole(1, 10 ** 9)), TOKENS: (None, whole(1, 10 ** 12)), INPUT: (None, whole(1, 10 ** 12)),
    OUTPUT: (None, whole(1, 10 ** 12)), RPD: (None, whole(1, 10 ** 9)), "concurrency": (None, whole(0, 10 ** 6)),
    "spend": (None, number(0, 10 ** 9)), "price": ({}, _price),
    "algorithm": ("bucket", _algorithm), "quantum_s": (1, number(0.01, 60)), "burst_s": (60, number(0.1, 60)),
    "output": ("produced", one_of("produced", "upfront")), "tokens": ("upfront", one_of("upfront", "produced")),
    "refused_count": (False, flag), "enforce": (True, flag), "headers": ("true", one_of(*HEADERS)),
    "header_overrides": ({}, _overrides), "retry": ("true", _retry),
}


def check_rule(rule):
    """The rule in full, old names resolved. Raises BadSetting."""
    if not isinstance(rule, dict):
        raise BadSetting("limits: a rule must be an object")
    full = {name: default for name, (default, _) in RULE.items()}
    for name, value in rule.items():
        if name == "announce" and flag(value):
            full["headers"] = full["headers"] if value else "off"
            continue
        name = ALIASES.get(name, name)
        if name not in RULE:
            raise BadSetting(f"limits: unknown {name}")
        if not (RULE[name][1](value) or (value is None and name in NAMED)):
            raise BadSetting(f"limits: {name} cannot be {json.dumps(value)}")
        full[name] = value
    return full


def check_rules(rules):
    if not isinstance(rules, list):
        raise BadSetting("limits must be a list")
    return [check_rule(rule) for rule in rules]


def scaled(rule, factor):
    """The rule with every limit per minute and the concurrency multiplied; at least 1."""
    names = (*MINUTE_LIMITS, "concurrency")
    return {**rule, **{name: max(1, round(rule[name] * factor)) for name in names if rule[name] is not None}}


def algorithm_of(rule, name):
    kind = rule["algorithm"]
    return kind.get(name, "bucket") if isinstance(kind, dict) else kind


def limits_of(rule):
    """The limits that a rule sets, by name; {} for no rule."""
    return {} if rule is None else {name: rule[name] for name in NAMED if rule[name] is not None}
