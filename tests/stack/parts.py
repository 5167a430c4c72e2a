"""The parts of a stack: for each its command line, what it needs on disk, when it is ready and how it ends.

A part knows nothing of the others; the Stack gives it a Site (folders, ports, environment) and decides the order.
"""

import os
import signal
import sys
import time

from . import ready
from .errors import StackError
from .procs import Proc, describe_status

POLL_S = 0.02
TAIL_BYTES = 4000


class Site:
    """Where a stack lives: the checkout, its state folder, its programs, ports and environment. check is called
    before every start and while waiting; it raises StackError when the wait is to be given up."""

    def __init__(self, root, state, bin_dir, ports, env, check=lambda: None, elsewhere=None):
        self.check = check
        self.elsewhere = elsewhere or {}  # folders that lie outside the state, by name
        self.root = root
        self.state = state
        self.bin_dir = bin_dir
        self.ports = ports
        self.env = env

    def folder(self, name):
        path = self.elsewhere.get(name) or os.path.join(self.state, name)
        os.makedirs(path, exist_ok=True)
        return path


class Part:
    """One process of the stack. Subclasses say how; this class starts, asks, signals and ends it."""

    grace_s = 10
    port_names = ()
    clean_statuses = (0,)

    def __init__(self, site, name):
        self.site = site
        self.name = name
        self.proc = None
        self.env = {}
        self.program = None  # a program to run instead of the usual one
        self.prefix = []     # words put before the command; must exec (faketime, prlimit), never fork
        self.foreign = False  # started by run-part: its exit status cannot be known
        self.started_at = None

    # what a subclass gives
    def command(self):
        raise NotImplementedError

    def extra_env(self):
        return {}

    def prepare(self):
        """Whatever must be on disk before the process starts."""

    def probe(self):
        """None when ready, else the reason in words."""
        raise NotImplementedError

    # what everybody uses
    @property
    def log_path(self):
        return os.path.join(self.site.folder("log"), self.name + ".log")

    @property
    def pid(self):
        return self.proc.pid if self.proc is not None else None

    def alive(self):
        return self.proc is not None and self.proc.alive()

    def start(self):
        """Start the process; does not wait for it to be ready."""
        if self.alive():
            raise StackError(f"{self.name} runs already (pid {self.pid})")
        self.site.check()
        for name in self.port_names:
            self.site.ports.get(name)
        self.prepare()
        env = {**self.site.env, **self.extra_env(), **self.env}
        self.proc = Proc.spawn(self.prefix + self.command(), env, self.site.root, self.log_path)
        self.foreign = False
        self.started_at = time.monotonic()

    def wait_ready(self, timeout_s=60):
        """Return when the part is ready. Raises StackError when it ends or timeout_s pass before."""
        until = time.monotonic() + timeout_s
        while True:
            reason = self.probe()
            if reason is None:
                return
            if not self.alive():
                raise StackError(f"{self.name} ended before it was ready: {self.last_words()}")
            self.site.check()
            if time.monotonic() > until:
                raise StackError(f"{self.name} is not ready after {timeout_s} s: {reason}; see {self.log_path}")
            time.sleep(POLL_S)

    def last_words(self):
        """Exit status, the log's path and its last lines."""
        status = describe_status(self.proc.status() if self.proc else None)
        return f"{status}; the end of {self.log_path}:\n{self.log_tail()}"

    def log_tail(self, lines=12):
        try:
            with open(self.log_path, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log_path) - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join("    " + line for line in text.splitlines()[-lines:])

    def ask_to_stop(self):
        """TERM, and CONT in case it is paused; returns at once."""
        if self.proc is not None:
            self.proc.send(signal.SIGTERM)
            self.proc.send(signal.SIGCONT)

    def stop(self, grace_s=None):
        """TERM, then KILL after the grace. Returns the exit status (None when it cannot be known)."""
        if self.proc is None:
            return None
        return self.proc.end(self.grace_s if grace_s is None else grace_s)

    def kill(self):
        """KILL, and wait until it is gone."""
        if self.proc is not None:
            self.proc.send(signal.SIGKILL)
            self.proc.wait(10)

    def pause(self):
        self.proc.send(signal.SIGSTOP)

    def resume(self):
        self.proc.send(signal.SIGCONT)


class Provider(Part):
    """The simulated provider."""

    port_names = ("provider", "provider-control")

    def __init__(self, site, name, behavior):
        super().__init__(site, name)
        self.behavior = behavior  # path of a JSON file or None

    @property
    def journal(self):
        return os.path.join(self.site.folder("provider"), "journal.jsonl")

    def command(self):
        python = sys.executable or "/usr/bin/python3"
        words = [python, os.path.join(self.site.root, "tests/provider/provider.py"),
                 "--port", str(self.site.ports.get("provider")),
                 "--control-port", str(self.site.ports.get("provider-control")), "--journal", self.journal]
        return words + (["--behavior", self.behavior] if self.behavior else [])

    def probe(self):
        return (ready.http_ok(self.site.ports.get("provider"), "/__sim/healthz")
                or ready.http_ok(self.site.ports.get("provider-control"), "/__sim/healthz"))


class Binary(Part):
    """A program of ours: reads STATE/sluice.yaml, its own addresses come by environment."""

    binary = ""

    def command(self):
        path = self.program or os.path.join(self.site.bin_dir, self.binary)
        if not os.access(path, os.X_OK):
            raise StackError(f"{path} is not built: run `make`")
        return [path, "--config", os.path.join(self.site.state, "sluice.yaml")]

    def probe(self):
        return ready.http_ok(self.site.ports.get(self.name + "-admin"), "/readyz")

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.site.ports.get(self.name + '-admin')}"


class Gateway(Binary):
    binary = "gateway"

    def __init__(self, site, name):
        super().__init__(site, name)
        self.port_names = (name, name + "-admin")

    def extra_env(self):
        return {"SLUICE_GATEWAY_LISTEN": f"127.0.0.1:{self.site.ports.get(self.name)}",
                "SLUICE_GATEWAY_ADMIN": f"127.0.0.1:{self.site.ports.get(self.name + '-admin')}"}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.site.ports.get(self.name)}"


class Consumer(Binary):
    binary = "consumer"

    def __init__(self, site, name, drain_s):
        super().__init__(site, name)
        self.port_names = (name + "-admin",)
        self.grace_s = drain_s + 5

    def extra_env(self):
        return {"SLUICE_CONSUMER_NAME": self.name,
                "SLUICE_CONSUMER_ADMIN": f"127.0.0.1:{self.site.ports.get(self.name + '-admin')}"}
