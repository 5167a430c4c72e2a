"""`make run`: a stack in the foreground, and `make run-part`, which adds to it from another process.

The supervisor restarts nothing. It sleeps until a signal comes, a part ends (seen through its pidfd, which works for
children and for processes that run-part started alike) or the record changes; then it says so, or adopts what is new.
INT, TERM and HUP end everything in order; a second one kills what is left. No stack outlives the make that asked for
it.
"""

import ctypes
import os
import select
import signal
import sys
import time

from .errors import StackError
from .procs import Proc, describe_status
from .stack import Stack

TICK_MS = 250
PR_SET_PDEATHSIG = 1
PATIENCE_S = 45  # for an earlier supervisor that is on its way out


def say(text):
    print(f"stack: {text}", file=sys.stderr, flush=True)


class Signals:
    """Counts the signals that ask us to end, and wakes a poll through a pipe."""

    def __init__(self):
        self.count = 0
        self.fd, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note)

    def _note(self, *_):
        self.count += 1

    def drain(self):
        os.read(self.fd, 512)

    def check(self):
        """For waits: raises when a signal came. An exception out of the handler itself could lose a new child."""
        if self.count:
            raise StackError("given up at a signal")


class Make:
    """The make that runs us, if one does. It forwards TERM but neither an INT sent to it alone nor its own death:
    for the latter the kernel sends us TERM, and the former shows in the signals it still catches (make gives an INT
    back its default meaning before it waits for us)."""

    def __init__(self):
        self._pid = os.getppid() if "MAKELEVEL" in os.environ else None
        if self._pid is None:
            return
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != self._pid:
            raise StackError("make is gone")
        self._caught_int = self._catches_int()

    def _catches_int(self):
        try:
            with open(f"/proc/{self._pid}/status", encoding="ascii", errors="replace") as file:
                caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
        except (OSError, StopIteration):
            return None
        return bool(caught >> (signal.SIGINT - 1) & 1)

    def is_interrupted(self):
        return self._pid is not None and self._caught_int is True and self._catches_int() is False


def _report_deaths(stack, reported):
    for name, part in sorted(stack.parts.items()):
        mark = (name, part.pid)
        if part.pid is not None and mark not in reported and not part.alive():
            reported.add(mark)
            say(f"{name} (pid {part.pid}) has ended: {describe_status(part.proc.status())}; log: {part.log_path}")


def _watch(stack, signals, make):
    """Return when a signal asks to end."""
    reported = set()
    seen = None
    while signals.count == 0 and not make.is_interrupted():
        stamp = stack.state.stamp()
        if stamp != seen:
            seen = stamp
            for name in stack.adopt(stack.state.read()):
                say(f"{name} (pid {stack.pid(name)}) was started by run-part")
        _report_deaths(stack, reported)
        _sleep(stack, signals)


def _sleep(stack, signals):
    poller = select.poll()
    poller.register(signals.fd, select.POLLIN)
    fds = []
    for part in stack.parts.values():
        if part.alive():
            try:
                fds.append(os.pidfd_open(part.pid))
            except ProcessLookupError:
                continue
            poller.register(fds[-1], select.POLLIN)
    ready = poller.poll(TICK_MS)
    if any(fd == signals.fd for fd, _ in ready):
        signals.drain()
    for fd in fds:
        os.close(fd)


def _wait_for_leaving(state, signals):
    """An earlier supervisor that is ending, or whose parts are all gone, gets the time to leave. One that is well is
    left alone: Stack.start then says so."""
    until = time.monotonic() + PATIENCE_S
    told = False
    quick = time.monotonic() + 1.5
    while state.is_taken() and time.monotonic() < until:
        record = state.read()
        if not record.get("stopping") and time.monotonic() > quick:
            if _has_live_part(record):
                return
            _end_supervisor(record)
        if not told and record.get("stopping"):
            say("waiting for the earlier stack to end")
            told = True
        signals.check()
        time.sleep(0.1)


def _has_live_part(record):
    return any(Proc.adopt(entry["pid"], entry["ticks"]).alive() for entry in record.get("parts", {}).values())


def _end_supervisor(record):
    """All its parts were killed and only it is left: it holds the state for nobody."""
    entry = record.get("supervisor") or {}
    if entry:
        Proc.adopt(entry["pid"], entry["ticks"]).send(signal.SIGTERM)


def up(options):
    """Run a stack until a signal comes. Returns the exit status."""
    signals = Signals()
    make = Make()
    stack = Stack(options.state, parts=options.parts, workers=options.workers, flavour=options.flavour,
                  port=options.port, config_file=options.config, fresh=options.fresh, bin_dir=options.bin, say=say,
                  check=signals.check, real_provider=True)
    _wait_for_leaving(stack.state, signals)
    began = time.monotonic()
    stack.start(any_consumer=True)
    say(f"everything is up after {time.monotonic() - began:.1f} s; `. {stack.state.path('env')}` for addresses and keys")
    print(f"ready: {stack.url}", flush=True)
    _watch(stack, signals, make)
    say("ending in order; once more kills")
    before = signals.count
    stack.stop(should_hurry=lambda: signals.count > before)
    return 0


def part(options):
    """Start one part of the running stack, and leave it to the stack's supervisor."""
    stack = Stack.attach(options.state, say, Signals().check)
    _wait_for_old(stack, options.part)
    started = None
    try:
        started = stack.start_part(options.part, wait=False)
        started.wait_ready()
    except StackError:
        if started is not None:
            started.stop(5)
        raise
    say(f"{options.part}: up in {time.monotonic() - started.started_at:.1f} s (pid {started.pid})")
    return 0


def _wait_for_old(stack, name):
    """A part that is on its way out (alive, no longer ready) gets the time to leave."""
    old = stack.part(name)
    until = time.monotonic() + old.grace_s
    while old.alive():
        if old.probe() is None or time.monotonic() > until:
            raise StackError(f"{name} runs already (pid {old.pid})")
        time.sleep(0.1)
