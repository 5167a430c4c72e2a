"""`make run`: a stack in the foreground, and `make run-part`, which adds to it from another process.

The supervisor restarts nothing. It sleeps until a signal comes, a part ends (seen through its pidfd, which works for
children and for processes that run-part started alike) or the record changes; then it says so, or adopts what is new.
INT, TERM and HUP end everything in order; a second one kills what is left. When make itself dies, the
kernel sends us TERM (make forwards no other signal), so no stack outlives the command that asked for it.
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
    """Counts the signals that ask us to end; wakes a poll through a pipe. The first one that comes while the
    stack is starting raises KeyboardInterrupt, so that the start unwinds."""

    def __init__(self):
        self.count = 0
        self.starting = True
        self.fd, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note)

    def _note(self, *_):
        self.count += 1
        if self.starting:
            self.starting = False
            raise KeyboardInterrupt

    def drain(self):
        os.read(self.fd, 512)


def die_with_make():
    """Ask the kernel for a TERM when our parent ends, if make is our parent."""
    if "MAKELEVEL" in os.environ:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == 1:
            sys.exit(1)


def _report_deaths(stack, reported):
    for name, part in sorted(stack.parts.items()):
        mark = (name, part.pid)
        if part.pid is not None and mark not in reported and not part.alive():
            reported.add(mark)
            say(f"{name} (pid {part.pid}) has ended: {describe_status(part.proc.status())}; log: {part.log_path}")


def _watch(stack, signals):
    """Return when a signal asks to end."""
    reported = set()
    seen = None
    while signals.count == 0:
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


def _wait_for_leaving(state):
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
    die_with_make()
    stack = Stack(options.state, parts=options.parts, workers=options.workers, flavour=options.flavour,
                  port=options.port, config_file=options.config, fresh=options.fresh, say=say)
    try:
        _wait_for_leaving(stack.state)
        began = time.monotonic()
        stack.start(any_consumer=True)
        signals.starting = False
    except KeyboardInterrupt:
        say("ended while starting")
        return 1
    say(f"everything is up after {time.monotonic() - began:.1f} s; `. {stack.state.path('env')}` for addresses and keys")
    print(f"ready: {stack.url}", flush=True)
    _watch(stack, signals)
    say("ending in order; once more kills")
    before = signals.count
    stack.stop(should_hurry=lambda: signals.count > before)
    return 0


def part(options):
    """Start one part of the running stack, and leave it to the stack's supervisor."""
    stack = Stack.attach(options.state, say)
    _wait_for_old(stack, options.part)
    started = None
    try:
        started = stack.start_part(options.part, wait=False)
        started.wait_ready()
    except (StackError, KeyboardInterrupt):
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
