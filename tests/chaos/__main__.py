"""`python -m tests.chaos [--runs N] [--seed S] [--faults N] [--flavour asan]`: exit status 0 when every run is clean.

A run judges one build: the programs are copied into its folder first, so that building meanwhile changes nothing. The folder of a clean run is
removed; a failed one keeps everything (logs, topics, Redis, the provider's journal) and what the clients saw, in clients.jsonl."""

import argparse
import collections
import json
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

from tests.chaos.check import judge
from tests.chaos.faults import Faults
from tests.chaos.load import Load
from tests.e2e.conftest import CONFIG
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
PATIENT = {**CONFIG, "consumer": {**CONFIG["consumer"], "max_attempts": 50}}  # three deaths under one job are no poison here
SETTLE_S = 150
SHOWN_MAX = 40


def copied_programs(folder, flavour):
    programs = folder.with_name(folder.name + ".bin")
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir(parents=True)
    for name in ("gateway", "consumer"):
        shutil.copy2(ROOT / "build" / flavour / "bin" / name, programs / name)
    return programs


def write_clients(path, load):
    with open(path, "w", encoding="utf-8") as file:
        for watched in load.accepted.values():
            file.write(json.dumps(watched.as_json()) + "\n")


def trial(stack, seed, faults):
    """One load under one list of faults, judged. Returns (load, faults done, verdict, lines of what is wrong)."""
    keys = [stack.key, stack.key_2]
    load = Load([stack.url, f"http://127.0.0.1:{stack.site.ports.get('gateway-2')}"], keys, seed)
    chaos = Faults(stack, seed)
    load.start()
    try:
        chaos.run(faults)
        chaos.heal()
        load.finish(SETTLE_S)
        verdict = judge(stack, load, keys, PARTITIONS)
        bad = verdict.failures() + load.errors + ([] if load.accepted else ["no job was accepted"])
    finally:
        load.stop_submitting.set()
        write_clients(stack.state.path("clients.jsonl"), load)
    return load, chaos, verdict, bad


def unclean_ends(stack):
    """After the stop: programs of ours that did not end well, and whatever a sanitizer said in any of their lives."""
    ends = [(name, part.proc.status()) for name, part in stack.parts.items() if name.startswith(("gateway", "consumer"))]
    return [f"{name}: ended with {status}" for name, status in ends if status != 0] + [f"{name}: {line}" for name, line in stack.sanitizer_reports()]


def run(seed, faults, flavour):
    folder = ROOT / f"build/test/chaos-{seed}"
    programs = copied_programs(folder, flavour)
    started = time.monotonic()
    try:
        with Stack(folder, flavour=flavour, bin_dir=programs, fresh=True, workers=3, gateways=2, config=PATIENT, lease_ttl="3s", session_timeout="6s",
                   partitions=PARTITIONS) as stack:
            load, chaos, verdict, bad = trial(stack, seed, faults)
        bad += unclean_ends(stack)
    except Exception:
        traceback.print_exc()
        print(f"seed {seed}: stopped after {time.monotonic() - started:.0f} s; evidence in {folder}")
        return False
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(collections.Counter(chaos.done).items()))
    print(f"seed {seed}: {load.summary()}; {len(chaos.done)} faults ({kinds}); {time.monotonic() - started:.0f} s: {verdict.line()}", flush=True)
    for line in bad[:SHOWN_MAX]:
        print("  " + line)
    shutil.rmtree(programs, ignore_errors=True)
    if bad:
        print(f"  evidence in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return not bad


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
