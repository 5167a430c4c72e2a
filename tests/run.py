"""Runs the test phases one after another and ends with the sum: `python -m tests.run [phase ...]`.

A phase is a function that yields (name, passed). Every phase runs even when an earlier one failed; the last line is the plain
closing line `N passed, N failed`, and the exit status is 1 when anything failed.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
ASAN = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
PRODUCT = ("common", "schemas", "producer", "consumer", "gateway")
FUZZ_SECONDS_IN_ALL = 60
UNIT_LIMIT_S = 180


def surroundings(env):
    """The environment of a test: ours without what `make test` passes to sub-makes, or `make run` in a test would answer to it."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")}
    return {**kept, **(env or {})}


def run(name, argv, limit_s, env=None, tail=60):
    """One command as one test: its output is shown only when it fails."""
    started = time.monotonic()
    try:
        done = subprocess.run([str(a) for a in argv], cwd=ROOT, env=surroundings(env), timeout=limit_s,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        ok, text = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        text = (out.decode(errors="replace") if isinstance(out, bytes) else out) + f"\nstopped after {limit_s} s"
        ok = False
    print(f"  {'ok  ' if ok else 'FAIL'} {name} ({time.monotonic() - started:.1f} s)", flush=True)
    if not ok:
        print("\n".join("       | " + line for line in text.splitlines()[-tail:]), flush=True)
    return name, ok, text


def phase_lint():
    yield run("layers", [sys.executable, "tests/lint/layers.py"], 60)
    yield run("style", [sys.executable, "tests/lint/style.py"], 60)
    yield run("cppcheck", ["cppcheck", "--quiet", "--error-exitcode=1", "--enable=warning,portability", "--inline-suppr", "--std=c11",
                           "-I.", "--suppressions-list=tests/lint/cppcheck.txt", "-j2", *PRODUCT], 400)


def phase_unit():
    binaries = sorted(p for p in (BUILD / "asan/tests/unit").glob("test_*") if os.access(p, os.X_OK) and p.suffix == "")
    with Stack(BUILD / "test/unit", parts=["kafka", "redis"], fresh=True) as stack:
        env = {**ASAN, "KAFKA_BROKERS": stack.brokers, "REDIS_URL": stack.redis_url}
        for binary in binaries:
            yield run(f"unit {binary.name}", [binary], UNIT_LIMIT_S, env)


def phase_stack():
    yield run("provider", [sys.executable, "-m", "unittest", "discover", "-q", "-s", "tests/provider", "-t", "."], 120)
    yield run("stack", ["/usr/bin/python3", "-m", "unittest", "-q", "tests.stack.test_stack"], 300)


def phase_fuzz():
    targets = sorted(p for p in (BUILD / "fuzz/tests/fuzz").glob("fuzz_*") if os.access(p, os.X_OK) and p.suffix == "")
    seconds = max(1, FUZZ_SECONDS_IN_ALL // max(1, len(targets)))
    for target in targets:
        corpus = BUILD / "fuzz/corpus" / target.name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = ROOT / "tests/fuzz/corpus" / target.name
        argv = [target, f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=10", "-verbosity=0",
                f"-artifact_prefix={BUILD}/fuzz/", corpus] + ([seeds] if seeds.is_dir() else [])
        yield run(f"fuzz {target.name} {seconds} s", argv, seconds + 60)


def phase_sim():
    seeds = os.environ.get("SEEDS", "2000")
    yield run(f"simulation, {seeds} seeds", [BUILD / "plain/bin/sim", "--seeds", seeds], 900)


def phase_pacesim():
    """Two processes, so that both cores work: the named plays and the first worlds, and the rest."""
    seeds = int(os.environ.get("PACE_SEEDS", "1000"))
    first = seeds * 9 // 20
    program = BUILD / "plain/bin/pacesim"
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, f"pacing, named plays and {first} worlds", [program, "--seeds", str(first)], 600),
                pool.submit(run, f"pacing, {seeds - first} worlds more",
                            [program, "--no-named", "--seeds", str(seeds - first), "--from", str(first + 1)], 600)]
        yield from (r.result() for r in runs)


def pytest_phase(folder, limit_s):
    name, ok, text = run(f"pytest {folder}", [sys.executable, "-m", "pytest", "-q", "-x", "--maxfail=5", folder], limit_s, tail=150)
    print("       " + (text.strip().splitlines() or ["no output"])[-1], flush=True)
    yield name, ok, text


def phase_e2e():
    yield from pytest_phase("tests/e2e", 1200)


def phase_chaos():
    yield run("chaos", [sys.executable, "-m", "tests.chaos"], 600, tail=120)


PHASES = {"lint": phase_lint, "unit": phase_unit, "stack": phase_stack, "fuzz": phase_fuzz, "sim": phase_sim, "pacesim": phase_pacesim,
          "e2e": phase_e2e, "chaos": phase_chaos}


def main(names):
    unknown = [n for n in names if n not in PHASES]
    if unknown:
        print(f"no such phase: {', '.join(unknown)}; there are {', '.join(PHASES)}")
        return 2
    passed, failed = 0, []
    for phase in names or PHASES:
        started = time.monotonic()
        print(f"{phase}:", flush=True)
        for name, ok, _ in PHASES[phase]():
            passed += ok
            failed += [] if ok else [name]
        print(f"{phase}: {time.monotonic() - started:.0f} s", flush=True)
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
