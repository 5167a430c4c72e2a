"""What the simulated model says: token by token, a pure function of the seed, the prompt and the settings.

A test that knows the prompt knows every token, so it can tell a hole, a double or a foreign stream from the text
alone. Tokens are kept as JSON-escaped bytes, ready to be put between two halves of a chunk.
"""

import hashlib
import json
import math
import re

_WORDS = """
amber anchor apple april arrow atlas autumn badge baker bamboo basin beacon berry birch blossom bottle bridge bronze
brook bucket butter cabin cactus camel candle canyon carbon castle cedar cellar chalk cherry circle citrus clay clover
cobalt comet copper coral cotton cradle crane crystal curtain daisy dawn delta desert diamond dolphin dragon drift
eagle earth ebony echo elder ember engine envoy falcon feather fern fiber finch flame flint flora forest fossil
fountain fox frost garden garnet gentle ginger glacier glass globe golden grain granite grape gravel grove harbor
harvest hazel heather heron hollow honey horizon humble icicle indigo inlet iris island ivory ivy jade jasmine jasper
jewel jungle juniper kernel kettle kite lagoon lantern laurel lavender leaf lemon lilac linen lion lotus lumber lunar
magnet mango maple marble marsh meadow melon mercury mesa meteor mint mirror mist morning mosaic moss mountain myrtle
nectar needle nickel north nutmeg oak oasis ocean olive onyx opal orange orchid otter oyster paddle palm paper parcel
pearl pebble pepper petal pine planet plum pocket pollen poplar prairie prism quartz quiet rabbit rain raven reed ridge
river robin rocket rose ruby saddle saffron sail salmon sand sapphire scarlet shadow shell shore silk silver sky slate
snow spark spice spring spruce star stone storm stream sugar summer sunset swan tango temple thistle thunder tiger
timber topaz tower trail tulip tunnel turtle valley vapor velvet violet walnut water wave wheat willow window winter
wolf wonder yarrow yellow zenith zephyr zinc acorn bay cliff cloud dune elm fjord gull heath jet kelp lake moor pond
""".split()
WORDS = [(word + " ").encode() for word in _WORDS[:256]]

_PIECE = re.compile(r"\s*\S+|\s+\Z")
JSON_DEPTH_MAX = 8


def digest(seed, *parts):
    """32 bytes from the seed and the parts: the one source of chance here."""
    return hashlib.sha256("\x1f".join([str(seed), *map(str, parts)]).encode("utf-8", "surrogatepass")).digest()


def chance(seed, *parts):
    """A number in [0, 1) from the seed and the parts."""
    return int.from_bytes(digest(seed, *parts)[:8], "big") / 2 ** 64


def normal(seed, *parts):
    """A standard normal number from the seed and the parts, at most 4 away from 0."""
    first, second = chance(seed, "n1", *parts), chance(seed, "n2", *parts)
    drawn = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
    return max(-4.0, min(4.0, drawn))


def prompt_hash(messages):
    """SHA-256 (hex) of the messages as JSON with sorted keys and no spaces."""
    text = json.dumps(messages, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def message_text(message):
    """The text of one message, whose content is a string, a list of parts or nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content
                       if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def count_input(messages):
    """Our tokenizer: 4 bytes a token, 4 tokens a message, 3 for the answer's head."""
    return 3 + sum(4 + (len(message_text(message).encode("utf-8", "surrogatepass")) + 3) // 4 for message in messages)


def pieces(text):
    """Text cut into tokens, blanks kept with the word that follows them."""
    return _PIECE.findall(text)


class Words:
    """Endless deterministic words."""

    def __init__(self, seed, prompt_sha256):
        self._key = digest(seed, "words", prompt_sha256)

    def slice(self, start, stop):
        key = self._key
        return [WORDS[key[i & 31] ^ (i * 167 + (i >> 8) * 59) & 255] for i in range(start, stop)]


class Numbered:
    """t0 t1 t2 ...: a hole or a double is plain to see."""

    @staticmethod
    def slice(start, stop):
        return [b"t%d " % i for i in range(start, stop)]


class Fixed:
    """The tokens of a given text."""

    def __init__(self, text):
        self._tokens = [json.dumps(piece)[1:-1].encode() for piece in pieces(text)]

    def __len__(self):
        return len(self._tokens)

    def slice(self, start, stop):
        return self._tokens[start:stop]


def expected(prompt_sha256, count, seed=0, mode="words"):
    """The text of an answer of count tokens, for tests."""
    source = Numbered() if mode == "numbered" else Words(seed, prompt_sha256)
    return b"".join(source.slice(0, count)).decode()


def _sample_text(schema, key, path):
    word = WORDS[key[len(path) % 32] ^ (sum(path.encode()) & 255)].decode().strip()
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    known = {"date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "uri": "https://sim.example/" + word,
             "email": word + "@sim.example", "uuid": "00000000-0000-4000-8000-000000000000"}
    text = known.get(schema.get("format"), word)
    text += "x" * max(0, low - len(text))
    return text if high is None else text[:high]


def _sample_number(schema, key, path):
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    high = schema.get("maximum", low + 100)
    return low + (key[len(path) % 32] % (int(high - low) + 1) if high > low else 0)


def sample(schema, key, path="$", root=None):
    """A value that fits a JSON Schema of the plain kind (type, properties, items, enum, const, bounds, anyOf, $ref to $defs)."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or path.count(".") > JSON_DEPTH_MAX:
        return None
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target = root
        for step in reference[2:].split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        return sample(target, key, path + ".", root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][key[len(path) % 32] % len(schema["enum"])]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return sample(schema[union][0], key, path + ".", root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _sample_of(kind[0] if isinstance(kind, list) else kind, schema, key, path, root)


def _sample_of(kind, schema, key, path, root):
    if kind == "object":
        return {name: sample(inner, key, f"{path}.{name}", root)
                for name, inner in (schema.get("properties") or {}).items()}
    if kind == "array":
        count = max(schema.get("minItems", 0), min(2, schema.get("maxItems", 2)))
        return [sample(schema.get("items", {}), key, f"{path}.{i}", root) for i in range(min(count, 100))]
    if kind in ("integer", "number"):
        return _sample_number(schema, key, path)
    if kind == "boolean":
        return bool(key[len(path) % 32] & 1)
    return None if kind == "null" else _sample_text(schema, key, path)
