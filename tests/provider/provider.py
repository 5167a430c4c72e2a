#!/usr/bin/env python3
"""The simulated LLM provider: OpenAI's Chat Completions, with every bad day on demand. See README.md.

    python3 tests/provider/provider.py --port 9400 --journal calls.jsonl --behavior behavior.json
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import sys
from urllib.parse import parse_qs

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.provider import wire  # noqa: E402  (the path must be set before)
from tests.provider.behavior import BadSetting, Behavior  # noqa: E402
from tests.provider.call import Call, now_ms  # noqa: E402
from tests.provider.journal import Journal  # noqa: E402
from tests.provider.limits import Limits  # noqa: E402
from tests.provider.server import Connection  # noqa: E402
from tests.provider.stats import Stats  # noqa: E402
from tests.provider.text import digest  # noqa: E402

MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4o-mini")
LOOKS_LIKE_REQUEST = "invalid_request_error"


class Service:
    """Routes requests, and holds what calls share: behavior, limits, journal, stats."""

    def __init__(self, loop, document=None, journal=None, seed=0):
        self.loop = loop
        self.behavior = Behavior(document, seed)
        self.limits = Limits(self.behavior.document["limits"])
        self.journal = Journal(journal)
        self.stats = Stats()
        self._refuse_left = 0
        self._refuse_until = 0.0
        self._apply()

    def _apply(self):
        document = self.behavior.document
        self.limits.set_rules(document["limits"])
        self._refuse_left = document["refuse_next"]
        self._refuse_until = self.loop.time() + document["refuse_ms"] / 1000

    def refuses(self):
        """True when a connection that was just accepted is to be closed at once."""
        if self._refuse_left > 0:
            self._refuse_left -= 1
            self.stats.refused += 1
            return True
        if self.loop.time() < self._refuse_until:
            self.stats.refused += 1
            return True
        return False

    # --- what calls tell ---------------------------------------------------------------------------------------

    def begin(self, call):
        self.journal.begin(call.entry)
        self.stats.begin(call.entry)

    def count_over(self, call, verdict):
        if verdict.over and verdict.kind is None:
            self.stats.of(call.entry)["violations"] += 1

    def end(self, call):
        self.journal.end(call.entry)
        self.stats.end(call.entry)

    def ident(self, call):
        """Hex that is the same for the same call of the same step under the same seed."""
        entry = call.entry
        return digest(self.behavior.seed, "id", entry["identity"] or entry["prompt_sha256"], entry["call"]).hex()

    # --- routes ------------------------------------------------------------------------------------------------

    def handle(self, connection, request):
        if request.path == "/v1/chat/completions" and request.method == "POST":
            Call(self, connection, request).run()
        elif request.path.startswith("/__sim/"):
            self._control(connection, request)
        elif request.path == "/v1/models" or request.path.startswith("/v1/models/"):
            self._models(connection, request)
        elif request.path == "/v1/chat/completions":
            body = wire.error_body(f"Not allowed to {request.method} on {request.path}.", LOOKS_LIKE_REQUEST)
            connection.reply(405, [], body)
        else:
            body = wire.error_body(f"Invalid URL ({request.method} {request.path})", LOOKS_LIKE_REQUEST)
            connection.reply(404, [], body)

    def _models(self, connection, request):
        document = self.behavior.document
        names = document["known_models"] or sorted({*MODELS, *document["models"]})
        objects = {name: {"id": name, "object": "model", "created": 1700000000, "owned_by": "simulated"}
                   for name in names}
        if request.method != "GET":
            connection.reply(405, [], wire.error_body("Not allowed.", LOOKS_LIKE_REQUEST))
        elif request.path == "/v1/models":
            _reply_json(connection, {"object": "list", "data": list(objects.values())})
        elif request.path[11:] in objects:
            _reply_json(connection, objects[request.path[11:]])
        else:
            message = f"The model '{request.path[11:]}' does not exist"
            connection.reply(404, [], wire.error_body(message, LOOKS_LIKE_REQUEST, "model", "model_not_found"))

    def _control(self, connection, request):
        actions = {("GET", "/__sim/healthz"): lambda _: {"status": "ok", "now_ms": now_ms()},
                   ("GET", "/__sim/behavior"): lambda _: self.behavior.document,
                   ("PUT", "/__sim/behavior"): self._put, ("PATCH", "/__sim/behavior"): self._patch,
                   ("GET", "/__sim/journal"): self._journal, ("GET", "/__sim/stats"): lambda _: self.stats.report(),
                   ("POST", "/__sim/reset"): self._reset}
        action = actions.get((request.method, request.path))
        if action is None:
            _reply_json(connection, {"error": f"no {request.method} {request.path}"}, 404)
            return
        try:
            _reply_json(connection, action(request))
        except (BadSetting, ValueError) as error:
            _reply_json(connection, {"error": str(error)}, 400)

    def _put(self, request):
        self.behavior.replace(json.loads(request.body))
        self._apply()
        return self.behavior.document

    def _patch(self, request):
        before = self.behavior.document
        self.behavior.patch(json.loads(request.body))
        if before["limits"] != self.behavior.document["limits"]:
            self.limits.set_rules(self.behavior.document["limits"])
        self._refuse_left = self.behavior.document["refuse_next"]
        self._refuse_until = self.loop.time() + self.behavior.document["refuse_ms"] / 1000
        return self.behavior.document

    def _journal(self, request):
        query = parse_qs(request.query)
        since = int(query.get("since", ["0"])[0])
        limit = max(1, min(10_000, int(query.get("limit", ["10000"])[0])))
        entries = self.journal.since(since, limit)
        return {"entries": entries, "last": self.journal.last, "now_ms": now_ms()}

    def _reset(self, _):
        self.behavior.reset()
        self.stats.reset()
        self.journal.reset()
        self._apply()
        return {"status": "ok"}


def _reply_json(connection, value, status=200):
    connection.reply(status, [], json.dumps(value).encode() + b"\n")


# --- the program -----------------------------------------------------------------------------------------------

def parse(arguments):
    parser = argparse.ArgumentParser(description="simulated LLM provider")
    parser.add_argument("--port", type=int, default=0, help="0: any; the one taken is printed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--journal", help="file to append a line to when a call begins and when it ends")
    parser.add_argument("--behavior", help="JSON file with the settings to start with")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


async def serve(options):
    loop = asyncio.get_running_loop()
    document = {}
    if options.behavior:
        with open(options.behavior, encoding="utf-8") as file:
            document = json.load(file)
    service = Service(loop, document, options.journal, options.seed)
    connections = set()
    server = await loop.create_server(lambda: Connection(service, connections), options.host, options.port,
                                      backlog=4096, reuse_address=True)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    print(f"provider: http://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.transport.abort()
    await asyncio.sleep(0)


def main(arguments):
    options = parse(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(50_000, 20, 100)
    try:
        asyncio.run(serve(options))
    except (OSError, ValueError, BadSetting) as error:
        print(f"provider: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
