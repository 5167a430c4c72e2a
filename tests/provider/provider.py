#!/usr/bin/env python3
"""The simulated LLM provider: every dialect, every limit, every bad day on demand, and a judge of pacing. See
README.md.

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
from urllib.parse import parse_qsl

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.provider import clock  # noqa: E402  (the path must be set before)
from tests.provider.behavior import BadSetting, Behavior  # noqa: E402
from tests.provider.call import Call  # noqa: E402
from tests.provider.control import Control, reply_json  # noqa: E402
from tests.provider.dialects import find  # noqa: E402
from tests.provider.dialects.base import BAD  # noqa: E402
from tests.provider.dialects.openai import error_body  # noqa: E402
from tests.provider.journal import Journal  # noqa: E402
from tests.provider.judge import Judge  # noqa: E402
from tests.provider.limits import Limits  # noqa: E402
from tests.provider.server import Connection  # noqa: E402
from tests.provider.stats import Stats  # noqa: E402
from tests.provider.text import digest  # noqa: E402
from tests.provider.weather import Weather  # noqa: E402

MODELS = ("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4o-mini")
BEHAVIOR_ENV = "SIM_BEHAVIOR"


class Service:
    """Routes requests, and holds what calls share: behavior, limits, weather, judge, journal, stats."""

    def __init__(self, loop, document=None, journal=None, seed=0):
        self.loop = loop
        self.behavior = Behavior(document, seed)
        self.limits = Limits(self.behavior.document["limits"])
        self.weather = Weather(seed)
        self.judge = Judge()
        self.journal = Journal(journal)
        self.stats = Stats()
        self.control = Control(self)
        self.listener = None  # set by the program: can be closed and opened again
        self.calls = set()
        self._refuse_left = 0
        self._refuse_until = 0.0
        self.apply()

    def apply(self):
        """Put the behavior document in force, all meters full."""
        self.limits.set_rules(self.behavior.document["limits"])
        self.apply_rest()

    def apply_rest(self):
        """The same without touching the meters; the judge hears of changed limits."""
        document = self.behavior.document
        self.journal.is_light = document["record"] == "light"
        self._refuse_left = document["refuse_next"]
        self._refuse_until = self.loop.time() + document["refuse_ms"] / 1000
        self.judge.limits_changed(self.limits.limits_of, clock.mono_ms())

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

    def refuses_bytes(self, data):
        """True when whoever sent these first bytes of a request is to get an RST: an outage for all, but not for the controls."""
        if not self.weather.fronts or self.weather.outage(clock.mono_ms(), "refuse") is None:
            return False
        if b"/__sim/" in data[:16] or len(data) < 16:
            return False
        self.stats.refused += 1
        return True

    # --- what calls tell ---------------------------------------------------------------------------------------

    def begin(self, call):
        self.calls.add(call)
        self.journal.begin(call.entry)
        self.stats.begin(call.entry)

    def end(self, call):
        self.calls.discard(call)
        self.journal.end(call.entry)
        self.stats.end(call.entry)

    def front(self, call):
        """The bad weather that stops this call, or None."""
        if not self.weather.fronts:
            return None
        model = call.entry["model"]
        return self.weather.meets(call.entry["dialect"], call.key, model, self.limits.limits_of(call.key, model), call.arrived_ms)

    def record(self, call):
        """The judge's record of the call's key and model."""
        key, model = call.key, call.entry["model"]
        return self.judge.find(key, model) or self.judge.pair(key, model, self.limits.limits_of(key, model), call.arrived_ms)

    def ident(self, call):
        """Hex that is the same for the same call of the same step under the same seed."""
        entry = call.entry
        return digest(self.behavior.seed, "id", entry["identity"] or entry["prompt_sha256"], entry["call"]).hex()

    # --- outages -----------------------------------------------------------------------------------------------

    def outage_began(self, front):
        """Cut what is under way, and stop to listen, where the outage says so."""
        values = front.values
        if values["cut"]:
            for call in list(self.calls):
                if front.fits(call.entry["dialect"], call.key, call.entry["model"]):
                    call.cut_off()
        if values["mode"] == "closed":
            self.listener.close_for(values["for_s"])

    def listener_can_close(self):
        return self.listener is not None and self.listener.can_close

    def listener_back(self):
        """Listen again, if an outage had ended that."""
        if self.listener is not None:
            self.listener.reopen()

    # --- routes ------------------------------------------------------------------------------------------------

    def handle(self, connection, request):
        found = find(request.path)
        if found is not None and request.method == "POST":
            dialect, route = found
            query = dict(parse_qsl(request.query)) if request.query else {}
            Call(self, connection, request, dialect(route, query)).run()
        elif request.path.startswith("/__sim/"):
            self.control.handle(connection, request)
        elif request.path in ("/v1/models", "/vllm/v1/models", "/openai/v1/models") or request.path.startswith("/v1/models/"):
            self._models(connection, request)
        elif found is not None:
            body = error_body(f"Not allowed to {request.method} on {request.path}.", BAD)
            connection.reply(405, [], body)
        else:
            body = error_body(f"Invalid URL ({request.method} {request.path})", BAD)
            connection.reply(404, [], body)

    def _models(self, connection, request):
        document = self.behavior.document
        names = document["known_models"] or sorted({*MODELS, *document["models"]})
        objects = {name: {"id": name, "object": "model", "created": 1700000000, "owned_by": "simulated"}
                   for name in names}
        if request.method != "GET":
            connection.reply(405, [], error_body("Not allowed.", BAD))
        elif request.path.endswith("/v1/models"):
            reply_json(connection, {"object": "list", "data": list(objects.values())})
        elif request.path[11:] in objects:
            reply_json(connection, objects[request.path[11:]])
        else:
            message = f"The model '{request.path[11:]}' does not exist"
            connection.reply(404, [], error_body(message, BAD, "model", "model_not_found"))


class Listener:
    """The service's listening socket, which an outage can take away (connections are refused by the kernel) and give back."""

    def __init__(self, service, connections, host):
        self._service = service
        self._connections = connections
        self._host = host
        self._server = None
        self._timer = None
        self.port = 0
        self._is_opening = False
        self.can_close = False  # only where the controls have a port of their own

    async def open(self, port):
        self._is_opening = True
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self._service, self._connections), self._host, port, backlog=4096, reuse_address=True)
        finally:
            self._is_opening = False
        self.port = self._server.sockets[0].getsockname()[1]

    def close_for(self, seconds):
        """Stop to listen; after seconds (None: until reopen()) listen again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.reopen)

    def reopen(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._server is None and not self._is_opening:
            self._is_opening = True
            asyncio.get_running_loop().create_task(self.open(self.port))

    def close(self):
        if self._server is not None:
            self._server.close()


# --- the program -----------------------------------------------------------------------------------------------

def parse(arguments):
    parser = argparse.ArgumentParser(description="simulated LLM provider")
    parser.add_argument("--port", type=int, default=0, help="0: any; the one taken is printed")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--control-port", type=int, help="a port of its own for the controls (they answer on both); 0: any; printed too")
    parser.add_argument("--journal", help="file to append a line to when a call begins and when it ends")
    parser.add_argument("--behavior", help="JSON file with the settings to start with; the environment's SIM_BEHAVIOR "
                                           "(JSON text or a path) is laid over it")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def _read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def starting_behavior(path, told):
    """The document of --behavior with SIM_BEHAVIOR laid over it."""
    behavior = Behavior(_read_json(path) if path else {})
    if told:
        behavior.patch(json.loads(told) if told.lstrip().startswith("{") else _read_json(told))
    return behavior.document


async def serve(options):
    loop = asyncio.get_running_loop()
    document = starting_behavior(options.behavior, os.environ.get(BEHAVIOR_ENV))
    service = Service(loop, document, options.journal, options.seed)
    connections = set()
    service.listener = listener = Listener(service, connections, options.host)
    await listener.open(options.port)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    control = None
    if options.control_port is not None:
        control = Listener(service, connections, options.host)
        await control.open(options.control_port)
        listener.can_close = True
        print(f"control: http://{options.host}:{control.port}", flush=True)
    print(f"provider: http://{options.host}:{listener.port}", flush=True)
    await stop.wait()
    listener.close()
    if control is not None:
        control.close()
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
