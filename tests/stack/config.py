"""From CONFIG to the one sluice.yaml that every part of a stack reads.

A user's CONFIG may hold only tenants, providers, models, workflows and limits; the defaults beside this file
give the rest. Sections merge by key, but a tenant, a provider or a model is taken whole from CONFIG: half of
our `fast` and half of theirs would be nobody's. Scalars are resolved as YAML 1.2 does, so `yes` stays a
word and a hash of digits stays a text. The result is written by a small emitter that quotes every string that is
not a plain word.
"""

import hashlib
import json
import os
import re
import subprocess
import sys

from .errors import StackError

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT = os.path.join(HERE, "sluice.yaml")
DEBIAN_PYTHON = "/usr/bin/python3"
SIM_KEY_ENV = "SLUICE_PROVIDER_KEY"
SIM_KEY = "sim-key"
REAL_KEY_ENV = "OPENAI_API_KEY"
REAL_URL = "https://api.openai.com/v1"
REAL_KEYS = {"openai": REAL_KEY_ENV, "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY"}
SIM_PATHS = {"openai": "/v1", "azure": "", "anthropic": "", "gemini": "", "vllm": "/vllm/v1"}  # base_url at the simulated provider
# A first guess at a small account; the provider's headers correct it.
REAL_BUDGET = {"requests_per_minute": 500, "input_tokens_per_minute": 200000,
               "output_tokens_per_minute": 50000, "concurrency": 64}
WHOLE = ("providers", "models")  # maps whose values are taken whole
ALL_SCOPES = ["submit", "read", "admin"]

_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FLOAT = re.compile(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)\Z")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


# --- reading ---------------------------------------------------------------------------------------------------

def _scalar(node):
    text = node.value
    if node.style is not None:
        return text
    if text.lower() in ("true", "false") and text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text) and len(text) <= 30:
        return float(text)
    return text


def _value(yaml, node, path):
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(yaml, item, path) for item in node.value]
    result = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key, str):
            raise StackError(f"{path}:{key_node.start_mark.line + 1}: a key must be a word")
        if key in result:
            raise StackError(f"{path}:{key_node.start_mark.line + 1}: {key} stands twice")
        result[key] = _value(yaml, value_node, path)
    return result


def load(path):
    """The mapping in a YAML file. Raises StackError naming file and line."""
    try:
        import yaml
    except ImportError:  # a Python without PyYAML (a virtual environment): ask Debian's
        return _load_with_debian(path)
    try:
        with open(path, encoding="utf-8") as file:
            node = yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        raise StackError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise StackError(f"{path}: {error}") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise StackError(f"{path}: the top must be a mapping")
    return _value(yaml, node, path)


def _load_with_debian(path):
    if os.path.realpath(sys.executable) == os.path.realpath(DEBIAN_PYTHON):
        raise StackError("python3-yaml is missing: run `make deps`")
    root = os.path.dirname(os.path.dirname(HERE))
    code = "import json, sys; from tests.stack import config; print(json.dumps(config.load(sys.argv[1])))"
    done = subprocess.run([DEBIAN_PYTHON, "-c", code, os.path.abspath(path)], cwd=root, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise StackError(done.stderr.strip().splitlines()[-1] if done.stderr else f"cannot read {path}")
    return json.loads(done.stdout)


# --- writing ---------------------------------------------------------------------------------------------------

def _emit_scalar(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    if _WORD.match(text) and text.lower() not in _RESERVED:
        return text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")


def _emit(value, indent, lines):
    pad = "  " * indent
    for key, item in value.items():
        name = _emit_scalar(str(key))
        if isinstance(item, dict) and item:
            lines.append(f"{pad}{name}:")
            _emit(item, indent + 1, lines)
        elif isinstance(item, list) and any(isinstance(entry, (dict, list)) for entry in item):
            lines.append(f"{pad}{name}:")
            lines.extend(f"{pad}  - {_flow(entry)}" for entry in item)
        else:
            lines.append(f"{pad}{name}: {_flow(item)}")


def _flow(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_emit_scalar(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(entry) for entry in value) + "]"
    return _emit_scalar(value)


def dump(config):
    """The mapping as YAML text."""
    lines = []
    _emit(config, 0, lines)
    return "\n".join(lines) + "\n"


# --- merging ---------------------------------------------------------------------------------------------------

def deep_merge(base, over):
    """base with over laid on it, mappings key by key; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = deep_merge(result[key], value)
        else:
            result[key] = value
    return result


def _lay(base, over):
    result = dict(base)
    for section, value in over.items():
        if section in WHOLE and isinstance(value, dict):
            result[section] = {**(result.get(section) or {}), **value}
        elif isinstance(value, dict):
            result[section] = deep_merge(result.get(section) or {}, value)
        else:
            result[section] = value
    return result


def _anchor(value, folder):
    for key, inner in value.items():
        if isinstance(inner, dict):
            _anchor(inner, folder)
        elif key.endswith("_file") and isinstance(inner, str) and inner:
            value[key] = os.path.normpath(os.path.join(folder, inner))


def _anchor_paths(config, path):
    """Paths in a config are relative to its file: make them absolute, since the result lies elsewhere."""
    folder = os.path.dirname(os.path.abspath(path))
    _anchor(config, folder)
    workflows = config.get("workflows")
    if isinstance(workflows, dict) and isinstance(workflows.get("dir"), str):
        workflows["dir"] = os.path.normpath(os.path.join(folder, workflows["dir"]))
    return config


def base(path):
    """The defaults with the user's file (or None) laid on them, its paths made absolute."""
    result = _anchor_paths(load(DEFAULT), DEFAULT)
    if path is not None:
        given = _anchor_paths(load(path), path)
        result = _lay(result, given)
        result["_given_models"] = sorted(given.get("models") or {})
    return result


def tenant(name, key, **more):
    """A tenant's entry holding one key, by its hash alone."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    scopes = more.pop("scopes", ALL_SCOPES)
    return {"id": name, "keys": [{"sha256": digest, "scopes": list(scopes)}], "weight": 1, **more}


def _is_ours_to_fill(entry, environ):
    if not isinstance(entry, dict):
        return False
    kind, url = entry.get("kind", "openai"), str(entry.get("base_url") or "")
    if kind != "openai":
        return kind in SIM_PATHS and not url and not environ.get(REAL_KEYS.get(kind, ""))
    if url and entry.get("api_key_file"):
        return False
    return not url or (url.startswith("https://api.openai.com") and
                       not environ.get(str(entry.get("api_key_env") or REAL_KEY_ENV)))


def _simulated(entry, sim_url, environ):
    """The entry with the simulated provider's address; a key of its own is kept where the environment has it."""
    kind = entry.get("kind", "openai")
    filled = {**{key: value for key, value in entry.items() if key != "api_key_file"}, "kind": kind,
              "base_url": sim_url + SIM_PATHS[kind]}
    if not entry.get("api_keys") and not environ.get(str(entry.get("api_key_env") or "")):
        filled["api_key_env"] = SIM_KEY_ENV
    return filled


def fill_providers(config, sim_url, environ):
    """Give the providers that name no address of their own one: the real service where its key is in the
    environment, else the simulated provider. Entries with another address are left as they are."""
    real = bool(environ.get(REAL_KEY_ENV))
    given = set(config.pop("_given_models", []))
    for name, entry in (config.get("providers") or {}).items():
        if not _is_ours_to_fill(entry, environ):
            continue
        if real and entry.get("kind", "openai") == "openai":
            rest = {key: value for key, value in entry.items() if key not in ("api_key_file", "api_keys")}
            config["providers"][name] = {**rest, "kind": "openai", "base_url": REAL_URL, "api_key_env": REAL_KEY_ENV}
        else:
            config["providers"][name] = _simulated(entry, sim_url, environ)
    if real:
        for name, entry in (config.get("models") or {}).items():
            if name not in given and isinstance(entry, dict):
                entry["budget"] = dict(REAL_BUDGET)
    return config


def duration_s(text, otherwise):
    """Seconds in a duration such as 500ms, 30s, 10m, 1h; otherwise where it is none."""
    match = re.match(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)\Z", str(text))
    if not match:
        return otherwise
    return float(match.group(1)) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[match.group(2)]
