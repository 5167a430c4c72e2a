#!/usr/bin/env python3
"""Holds the layers: which room may include which, read off the #include lines.

    base <- io <- (schemas uses base only) <- producer <- gateway; consumer uses base, io, schemas, producer's library.

Pure files (a room's deciding code) may not include io at all, and a third-party header appears only where its library is at home.
Prints one line per breach, `file:line: what; how to mend`, and exits 1.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+(<[^>]+>|"[^"]+")')

MAY = {
    "common/base": {"common/base"},
    "common/io": {"common/base", "common/io"},
    "schemas": {"common/base", "schemas"},
    "producer": {"common/base", "common/io", "schemas", "producer"},
    "consumer": {"common/base", "common/io", "schemas", "producer", "consumer"},
    "gateway": {"common/base", "common/io", "schemas", "producer", "gateway"},
}

# Where each foreign library may be met: a regular expression over the file's path.
FOREIGN = {
    "uv.h": r"common/io/loop\w*\.[ch]$",
    "librdkafka/": r"common/io/kafka\w*\.[ch]$",
    "hiredis/": r"common/io/redis\w*\.c$",
    "curl/": r"common/io/httpc\w*\.c$",
    "microhttpd.h": r"common/io/httpd\w*\.[ch]$",
    "yaml.h": r"common/base/yaml\w*\.c$",
    "openssl/": r"common/base/hash\w*\.c$",
    "jq.h": r"consumer/jq\w*\.c$",
    "jv.h": r"consumer/jq\w*\.c$",
    "jansson.h": r"(common/base/(json|yaml)\w*|schemas/\w+|consumer/(llm|task|eval|jq)\w*|gateway/\w+|producer/\w+)\.[ch]$",
}
# Rooms' shells: the only files of gateway and consumer that may include io.
SHELL = {
    "gateway": r"gateway/(main|gateway\w*|reload|gauges|exchange|front|jobs|get|list|events|cancel|retry|grant|pages)\.[ch]$",
    "consumer": r"consumer/(main|shell\w*|adapt\w*|jq\w*|eval_\w+|doctor\w*)\.[ch]$",
}


def room_of(path):
    for room in sorted(MAY, key=len, reverse=True):
        if path.startswith(room + "/"):
            return room
    return None


def breaches(path):
    room = room_of(path)
    for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(1)[1:-1]
        if match.group(1)[0] == "<":
            for lib, home in FOREIGN.items():
                if name.startswith(lib) and not re.search(home, path):
                    yield f"{path}:{number}: <{name}> is not at home here; go through the shell that owns it"
            continue
        target = room_of(name)
        if target is None:
            if name.startswith("tests/"):
                yield f"{path}:{number}: product code includes tests"
            elif "/" not in name:
                yield f'{path}:{number}: include "{name}" by its path from the root'
            continue
        if target not in MAY[room]:
            yield f"{path}:{number}: {room} may not include {target} ({name})"
        elif target == "common/io" and room in SHELL and not re.search(SHELL[room], path):
            yield f"{path}:{number}: deciding code of {room} includes io ({name}); use its ports"


def main():
    found = []
    for room in MAY:
        for path in sorted((ROOT / room).rglob("*.[ch]")):
            found.extend(breaches(str(path.relative_to(ROOT))))
    print("\n".join(found) if found else "layers: every include goes the right way")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
