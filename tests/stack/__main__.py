"""python3 -m tests.stack up|part|libs: what `make run` and `make run-part` call, from the top of the checkout."""

import argparse
import sys

from . import supervise
from .errors import StackError
from .kafka import ensure_libs
from .stack import PART_NAME, ROOT


def _port(text):
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return value


def _workers(text):
    value = int(text)
    if not 1 <= value <= 50:
        raise argparse.ArgumentTypeError("1 to 50 workers")
    return value


def _part(text):
    if not PART_NAME.match(text):
        raise argparse.ArgumentTypeError("parts are kafka redis provider gateway consumer-N")
    return text


def parse(arguments):
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a stack and stay until a signal")
    up.add_argument("--state", default=".run")
    up.add_argument("--config", default=None)
    up.add_argument("--port", type=_port, default=None)
    up.add_argument("--workers", type=_workers, default=2)
    up.add_argument("--flavour", default="plain", choices=["plain", "asan"])
    up.add_argument("--bin", default=None, help="folder of gateway and consumer (default: build/FLAVOUR/bin)")
    up.add_argument("--fresh", action="store_true")
    up.add_argument("--parts", default=None, type=lambda text: [_part(name) for name in text.split(",")],
                    help="only these, by commas")
    part = commands.add_parser("part", help="start one part of the stack that runs in --state")
    part.add_argument("--state", default=".run")
    part.add_argument("part", type=_part)
    commands.add_parser("libs", help="fetch the broker's jars")
    return parser.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    try:
        if options.command == "up":
            return supervise.up(options)
        if options.command == "part":
            return supervise.part(options)
        ensure_libs(ROOT, supervise.say)
        return 0
    except StackError as error:
        supervise.say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
