"""Processes, told apart by pid and start time.

A pid alone is not an identity: after a crash the number may belong to a stranger. Whatever is written down
for a later run carries the start time the kernel gave the process (clock ticks since boot), and nothing is
signalled unless both still match. Processes are started in a session of their own, so that a Ctrl-C in the
terminal reaches only the supervisor, which then ends them in order.
"""

import os
import select
import signal
import subprocess
import time


def start_ticks(pid):
    """The start time of a live process in clock ticks since boot; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class Proc:
    """One process: a child of ours (popen is set) or one that another process started (adopted)."""

    def __init__(self, pid, ticks, popen=None):
        self.pid = pid
        self.ticks = ticks
        self.popen = popen

    @classmethod
    def spawn(cls, argv, env, cwd, log_path):
        """Start argv, its output appended to log_path. The pid is the program itself: no shell, no wrapper."""
        with open(log_path, "ab") as log:
            popen = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=subprocess.STDOUT, start_new_session=True)
        return cls(popen.pid, start_ticks(popen.pid), popen)

    @classmethod
    def adopt(cls, pid, ticks):
        """The process written down as (pid, ticks), alive or not."""
        return cls(pid, ticks)

    def alive(self):
        if self.popen is not None:
            return self.popen.poll() is None
        return self.ticks is not None and start_ticks(self.pid) == self.ticks

    def status(self):
        """Exit status (negative: the signal's number), None while alive or when it was never our child."""
        return self.popen.poll() if self.popen is not None else None

    def send(self, signum):
        """Signal the process if it is still the one meant."""
        if self.alive():
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass

    def wait(self, timeout_s):
        """True once it has ended, False after timeout_s."""
        if self.popen is not None:
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                return False
            return True
        return self._wait_adopted(timeout_s)

    def _wait_adopted(self, timeout_s):
        until = time.monotonic() + timeout_s
        while self.alive():
            left = until - time.monotonic()
            if left <= 0:
                return False
            try:
                fd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                return True
            try:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                if poller.poll(max(1, int(left * 1000))):
                    return True  # a zombie nobody reaps has ended all the same
            finally:
                os.close(fd)
        return True

    def end(self, grace_s):
        """TERM (CONT with it, or a stopped process would never see it), then KILL after grace_s.
        Returns the exit status where it can be known. Always returns with the process gone."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        if not self.wait(grace_s):
            self.send(signal.SIGKILL)
            self.wait(10)
        return self.status()


def describe_status(status):
    """One phrase for an exit status as Proc.status gives it."""
    if status is None:
        return "exit status unknown"
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"
