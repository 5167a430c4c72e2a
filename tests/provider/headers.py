"""Rate headers: the honest ones of OpenAI, Azure and Anthropic, and the lies that a rule may order."""

import time

from tests.provider import text
from tests.provider.rules import INPUT, OUTPUT, RPD, RPM, TOKENS

YEAR_MS = 31_536_000_000
HONEST_ORDER = ((RPM, "requests"), (TOKENS, "tokens"), (INPUT, "input-tokens"), (OUTPUT, "output-tokens"))
LIES = ("true", "low", "high", "absurd", "negative", "malformed", "contradictory", "partial")


def duration(seconds):
    """A duration as OpenAI writes it (Go's way): 12ms, 1s, 1m30.5s, 6m0s."""
    ms = max(0, round(seconds * 1000))
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + tail


def rfc3339(ms_from_now):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ms_from_now / 1000 + 0.999))


def _facts(verdict, now_ms):
    """[[short name, limit, remaining, ms until all of it is back]] of the limits that have headers."""
    held = verdict.pair.meters if verdict.pair else {}
    found = [(short, held[name]) for name, short in HONEST_ORDER if name in held]
    if RPM not in held and RPD in held:
        found.insert(0, ("requests", held[RPD]))
    rows = []
    for short, meter in found:
        left, reset_ms = meter.told(now_ms)
        rows.append([short, meter.limit, max(0, int(left + 1e-6)), reset_ms])
    return rows


def _openai(rows):
    return ([(f"x-ratelimit-limit-{name}", str(limit)) for name, limit, _, _ in rows]
            + [(f"x-ratelimit-remaining-{name}", str(left)) for name, _, left, _ in rows]
            + [(f"x-ratelimit-reset-{name}", duration(reset / 1000)) for name, _, _, reset in rows])


def _azure(rows):
    return [(f"x-ratelimit-remaining-{name}", str(left)) for name, _, left, _ in rows if name in ("requests", "tokens")]


def _azure_responses(rows):
    return [(f"x-ratelimit-remaining-{name}", "-1") for name, _, _, _ in rows if name in ("requests", "tokens")]


def _anthropic(rows):
    """Token counts are rounded to thousands; `tokens` shows the most restrictive of the token limits."""
    rows = [row for row in rows if row[0] != "tokens"] + [row for row in rows if row[0] == "tokens"]
    tokens = [row for row in rows if row[0] != "requests"]
    if tokens and all(row[0] != "tokens" for row in tokens):
        tightest = min(tokens, key=lambda row: row[2] / row[1])
        rows.append(["tokens", *tightest[1:]])
    lines = []
    for name, limit, left, reset in rows:
        left = left if name == "requests" else (left + 500) // 1000 * 1000
        lines += [(f"anthropic-ratelimit-{name}-limit", str(limit)), (f"anthropic-ratelimit-{name}-remaining", str(left)),
                  (f"anthropic-ratelimit-{name}-reset", rfc3339(reset))]
    return lines


STYLES = {"openai": _openai, "azure": _azure, "azure_responses": _azure_responses, "anthropic": _anthropic}


def _lie(mode, rows, lines, odds):
    """The lines of a lie; odds(n): a seeded number in [0, 1)."""
    if mode in ("low", "high", "absurd"):
        told = {"low": lambda row: [row[0], row[1], 0, 600_000], "high": lambda row: [row[0], row[1], row[1], 0],
                "absurd": lambda row: [row[0], 10 ** 18, 9 * 10 ** 18, YEAR_MS]}[mode]
        return None, [told(row) for row in rows]
    if mode == "negative":
        return [(name, "-" + (value or "1")) for name, value in lines], None
    if mode == "malformed":
        words = ("abc", "", "1e", "12 apples", "0x10", "NaN", "1,000", "99999999999999999999999999")
        return [(name, words[int(odds(i) * len(words))]) for i, (name, _) in enumerate(lines)], None
    if mode == "contradictory":
        return lines + [(name, "0" if odds(i) < 0.5 else "1000000") for i, (name, _) in enumerate(lines)], None
    if mode == "partial":
        return [line for i, line in enumerate(lines) if odds(i) < 0.5], None
    return lines, None


def rate_lines(style, verdict, now_ms, seed, number):
    """The rate headers of one answer as (name, value). number: of the call, for lies drawn by chance."""
    rule = verdict.rule
    if rule is None or style not in STYLES or rule["headers"] == "off":
        return []
    rows = _facts(verdict, now_ms)
    lines = STYLES[style](rows)
    mode = rule["headers"]
    if mode == "mixed":
        mode = LIES[int(text.chance(seed, "lie", number) * len(LIES))]
    if mode != "true":
        told, changed = _lie(mode, rows, lines, lambda i: text.chance(seed, "lie", number, i))
        lines = STYLES[style](changed) if told is None else told
    if rule["header_overrides"]:
        over = {name.lower(): value for name, value in rule["header_overrides"].items()}
        lines = [line for line in lines if line[0] not in over] + list(over.items())
    return lines


def told_wait_s(verdict):
    """Seconds that a refusal tells, None to tell nothing: the truth, or what the rule orders."""
    true_s = verdict.wait_ms / 1000
    mode = verdict.rule["retry"] if verdict.rule else "true"
    if mode == "true":
        return true_s
    if mode == "none":
        return None
    if mode == "short":
        return true_s / 4
    if mode == "long":
        return true_s * 4 + 10
    if mode == "lying":
        return YEAR_MS / 1000
    return float(mode)


def retry_lines(wait_s, with_ms=True):
    """retry-after in whole seconds, and OpenAI's retry-after-ms."""
    if wait_s is None:
        return []
    lines = [("retry-after", str(max(1, int(wait_s + 0.999))))]
    return lines + ([("retry-after-ms", str(int(wait_s * 1000) + 1))] if with_ms else [])
