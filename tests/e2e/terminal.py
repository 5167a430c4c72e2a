"""A program in a pseudo-terminal, and what would stand on the screen: enough of a terminal for what the tool sends."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

ESCAPE = re.compile(r"\x1b\[(\d*)([A-Za-z])")


class Screen:
    """Rows of text; knows cursor up, erase line, erase below, colours. Anything else is a failure."""

    def __init__(self):
        self.rows, self.y, self.x = [[]], 0, 0

    def feed(self, text):
        at = 0
        while at < len(text):
            match = ESCAPE.match(text, at)
            if match:
                self._escape(match[2], int(match[1] or 1))
                at = match.end()
            else:
                assert text[at] != "\x1b", repr(text[at:at + 20])
                self._put(text[at])
                at += 1

    def _escape(self, what, n):
        if what == "A":
            assert self.y >= n, "the cursor leaves the screen"
            self.y -= n
        elif what == "K":
            del self.rows[self.y][self.x:]
        elif what == "J":
            del self.rows[self.y][self.x:]
            del self.rows[self.y + 1:]
        else:
            assert what == "m", what

    def _put(self, char):
        if char == "\r":
            self.x = 0
        elif char == "\n":
            self.y += 1
            while len(self.rows) <= self.y:
                self.rows.append([])
        else:
            row = self.rows[self.y]
            row.extend(" " * (self.x - len(row)))
            row[self.x:self.x + 1] = char
            self.x += 1

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.rows)


class Terminal:
    """argv in a terminal of 80 by 24; read() until it ends or until(screen) holds."""

    def __init__(self, argv, env, columns=80, rows=24):
        self.screen, self.raw, self.code = Screen(), b"", None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(argv[0], argv, {**env, "TERM": "xterm-256color"})
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._text = b""

    def read(self, until=None, limit_s=30):
        """True when until(screen) held; without until, when the program has ended (self.code is set)."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if until and until(self.screen):
                return True
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                return self._end() if until is None else False
            self._take(chunk)
        raise AssertionError(f"not within {limit_s} s; the screen holds\n{self.screen.text()}")

    def _take(self, chunk):
        """Feeds whole characters and whole escapes."""
        self.raw += chunk
        self._text += chunk
        cut = len(self._text)
        escape = self._text.rfind(b"\x1b", max(0, cut - 16))
        if escape >= 0 and not ESCAPE.match(self._text[escape:].decode("latin-1")):
            cut = escape
        text = self._text[:cut].decode("utf-8", "ignore")
        while cut and len(text.encode()) != cut:
            cut -= 1
            text = self._text[:cut].decode("utf-8", "ignore")
        self._text = self._text[cut:]
        self.screen.feed(text)

    def _end(self):
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return True
