"""The state folder: who runs here, on which ports, with which keys, written down so that others can find it.

    STATE/stack.json   the record below; replaced whole, changed only under edit.lock
    STATE/env          the same for a shell: `. STATE/env`
    STATE/lock         held by the process that runs the stack for as long as it lives (the kernel lets go with it)

Two processes write the record: the one that runs the stack, and run-part. Each changes it under edit.lock by
read, change, rename, so neither loses what the other wrote.
"""

import contextlib
import fcntl
import json
import os
import shlex
import shutil

from .errors import StackError

OURS = ("kafka", "redis", "provider", "log", "env", "stack.json", "sluice.yaml", "token.key")


class State:
    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self._lock = None

    def path(self, name):
        return os.path.join(self.folder, name)

    def take(self):
        """Make the folder ours for as long as this process lives. False when another process has it."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            lock = open(self.path("lock"), "w", encoding="ascii")
        except OSError as error:
            raise StackError(f"{error.filename}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def is_taken(self):
        """True when some process runs a stack here."""
        if not os.path.exists(self.path("lock")):
            return False
        with open(self.path("lock"), "r", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def let_go(self):
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wipe(self):
        """Remove what a stack keeps here, and nothing else."""
        for name in OURS:
            path = self.path(name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.unlink(path)

    def read(self):
        """The record, or an empty one when there is none (or half of one from a crash of the machine)."""
        try:
            with open(self.path("stack.json"), encoding="utf-8") as file:
                record = json.load(file)
            return record if isinstance(record, dict) else {}
        except (OSError, ValueError):
            return {}

    @contextlib.contextmanager
    def edit(self):
        """The record to change; written back when the block ends without an exception."""
        with open(self.path("edit.lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.read()
            yield record
            write_private(self.path("stack.json"), json.dumps(record, indent=1) + "\n")

    def stamp(self):
        """Changes whenever the record does."""
        try:
            status = os.stat(self.path("stack.json"))
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns)

    def write_env(self, values):
        """STATE/env: lines `export NAME=value`."""
        text = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in values.items())
        write_private(self.path("env"), text)

    def remove_env(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("env"))


def write_private(path, text):
    """Replace path by text in one step, readable by its owner alone."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, path)
