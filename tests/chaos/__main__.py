"""`python -m tests.chaos [--runs N] [--seed S] [--faults N] [--flavour asan]`: exit status 0 when every run is clean."""

import argparse
import random
import sys
import time
from pathlib import Path

from tests.chaos.check import judge
from tests.chaos.faults import Faults
from tests.chaos.load import Load
from tests.e2e.conftest import CONFIG
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
SETTLE_S = 150


def run(seed, faults, flavour):
    folder = ROOT / "build/test/chaos"
    started = time.monotonic()
    with Stack(folder, flavour=flavour, fresh=True, workers=3, gateways=2, config=CONFIG, lease_ttl="3s", session_timeout="6s",
               partitions=PARTITIONS) as stack:
        keys = [stack.key, stack.key_2]
        urls = [stack.url, f"http://127.0.0.1:{stack.site.ports.get('gateway-2')}"]
        load = Load(urls, keys, seed)
        load.start()
        chaos = Faults(stack, seed)
        chaos.run(faults)
        chaos.heal()
        load.finish(SETTLE_S)
        verdict = judge(stack, load, keys, PARTITIONS)
        reports = stack.sanitizer_reports()
    bad = verdict.failures() + [f"{name}: {line}" for name, line in reports]
    print(f"seed {seed}: {len(load.accepted)} jobs, {len(chaos.done)} faults, {load.refused} refusals, {time.monotonic() - started:.0f} s: {verdict.line()}")
    for line in bad[:40]:
        print("  " + line)
    return not bad and len(load.accepted) > 0


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None, help="of the first run; later ones count on")
    parser.add_argument("--faults", type=int, default=28)
    parser.add_argument("--flavour", default="plain")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    clean = sum(run(first + n, options.faults, options.flavour) for n in range(options.runs))
    print(f"{clean} passed, {options.runs - clean} failed")
    return 0 if clean == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
