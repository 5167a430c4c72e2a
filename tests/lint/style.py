#!/usr/bin/env python3
"""Rules that a reader would otherwise have to remember: lengths, banned words, absolute paths, sleeps in tests.

Function lengths come from Universal Ctags. tests/lint/allow.txt lists exceptions (`rule path[:name]`); it may only shrink.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_MAX, FILE_MAX, LINE_MAX, PARAMS_MAX = 70, 600, 120, 8
PRODUCT = ("common", "schemas", "producer", "consumer", "gateway")


def allowed():
    path = ROOT / "tests/lint/allow.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)
    return [p for p in out.stdout.decode().split("\0") if p and (ROOT / p).is_file()]


def function_lengths(paths):
    cmd = ["ctags", "-L", "-", "-x", "--c-kinds=f", "--_xformat=%{line} %{end} %F %N"]
    out = subprocess.run(cmd, cwd=ROOT, input="\n".join(paths), capture_output=True, text=True, check=True)
    for row in out.stdout.splitlines():
        start, end, path, name = row.split(" ", 3)
        if end.isdigit() and int(end) - int(start) + 1 > FUNCTION_MAX:
            yield f"function {path}:{name}", f"{path}:{start}: {name} has {int(end) - int(start) + 1} lines (at most {FUNCTION_MAX})"


def file_rules(path):
    text = (ROOT / path).read_text(errors="replace")
    lines = text.splitlines()
    if len(lines) > FILE_MAX:
        yield f"file {path}", f"{path}: {len(lines)} lines (at most {FILE_MAX})"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield f"line {path}", f"{path}:{number}: {len(line)} columns (at most {LINE_MAX})"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"todo {path}", f"{path}:{number}: a note to self; finish it or tell the reader why"
        if re.match(r"^typedef\s+struct\b", line):
            yield f"typedef {path}", f"{path}:{number}: no struct typedefs"
    if path.endswith(".h") and path.startswith(PRODUCT) and re.search(r"^extern\b", text, re.M):
        yield f"extern {path}", f"{path}: extern variable in a header"


def text_rules(path):
    if path.endswith((".png", ".ico")):
        return
    text = (ROOT / path).read_text(errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"(/work/|/root/|/home/[a-z])", line) and not path.startswith("tests/lint/"):
            yield f"path {path}", f"{path}:{number}: an absolute path of one machine"


def main():
    allow, found = allowed(), []
    c_files = tracked("*.c", "*.h")
    product = [p for p in c_files if p.startswith(PRODUCT)]
    rows = list(function_lengths(product))
    for path in product:
        rows.extend(file_rules(path))
    for path in tracked():
        rows.extend(text_rules(path))
    used = set()
    for key, message in rows:
        if key in allow:
            used.add(key)
        else:
            found.append(message)
    found.extend(f"tests/lint/allow.txt: '{key}' is no longer needed; remove it" for key in sorted(allow - used))
    print("\n".join(found) if found else f"style: {len(product)} product files keep the rules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
