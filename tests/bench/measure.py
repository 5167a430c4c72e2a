"""Clocks, memory and the C tools of the bench.

CPU time is the process clock of the kernel (all threads, those that have ended too, in nanoseconds), read from outside;
children such as the consumer's jq helpers are added to their parent's.
"""

import json
import os
import statistics
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOOLS = os.path.join(ROOT, "build", "plain", "tests", "bench")
TOOL_TIMEOUT_S = 120


class BenchError(Exception):
    """A row could not be measured; the text says why."""


def cpu_ns(pid):
    """CPU time of a process and of its living children."""
    total = time.clock_gettime_ns((~pid << 3) | 2)
    for child in _children(pid):
        try:
            total += cpu_ns(child)
        except OSError:
            pass
    return total


def _children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
        except OSError:
            pass
    return found


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


class Meter:
    """CPU of the named parts of a stack between two moments."""

    def __init__(self, stack, names):
        self._pids = {name: stack.pid(part) for name, part in names.items()}
        self.begin()

    def begin(self):
        self._at = time.monotonic()
        self._start = {name: cpu_ns(pid) for name, pid in self._pids.items()}

    def used_us(self):
        """Microseconds by part since begin, and the seconds that passed."""
        used = {name: (cpu_ns(pid) - self._start[name]) / 1000 for name, pid in self._pids.items()}
        return used, time.monotonic() - self._at


def per_operation(used, count):
    """CPU us an operation by part, and the sum."""
    each = {name: us / count for name, us in used.items()}
    each["sum"] = sum(each.values())
    return each


def settle(stack, names, limit_s=20):
    """Wait until the parts are quiet: together under 10 % of a core for half a second."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        meter = Meter(stack, names)
        time.sleep(0.5)  # the interval that is measured
        used, seconds = meter.used_us()
        if sum(used.values()) < 0.1 * seconds * 1e6:
            return


def tool(name, **options):
    """Run a C tool to its end; its line of JSON as a mapping. Raises BenchError when it says it failed."""
    done = subprocess.run(command(name, **options), capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)
    if done.returncode:
        raise BenchError(f"{name}: {done.stderr.strip()[-400:]} {done.stdout.strip()[-300:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def command(name, **options):
    words = [os.path.join(TOOLS, name)]
    for key, value in options.items():
        words += ["--" + key.replace("_", "-"), str(value)]
    return words


class Tool:
    """A C tool that is told what to do by lines on its standard input."""

    def __init__(self, name, **options):
        self.name = name
        self._proc = subprocess.Popen(command(name, **options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._proc.poll() is None:
            self._proc.kill()
        self._proc.communicate()

    @property
    def pid(self):
        return self._proc.pid

    def expect(self, word):
        line = self._proc.stdout.readline().strip()
        if not line.startswith(word):
            raise BenchError(f"{self.name} said {line or 'nothing'} instead of {word}")
        return line[len(word):].strip()

    def tell(self, line):
        self._proc.stdin.write(line + "\n")
        self._proc.stdin.flush()

    def result(self):
        """The line of JSON; what the tool found wrong stands in it."""
        line = self._proc.stdout.readline()
        if not line.startswith("{"):
            raise BenchError(f"{self.name} ended without a result")
        return json.loads(line)


def median(values):
    return statistics.median(values)


def medians(list_of_mappings):
    """The median of each number over runs of the same shape."""
    return {key: median([m[key] for m in list_of_mappings]) for key in list_of_mappings[0]
            if isinstance(list_of_mappings[0][key], (int, float))}
