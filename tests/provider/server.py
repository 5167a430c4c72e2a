"""HTTP/1.1 over raw asyncio protocols: heads, bodies, keep-alive and back-pressure, nothing about language models.

One Connection object a socket, no coroutine and no task: thousands of slow streams cost a timer each. Requests of one
connection are answered one after another; what a client sends ahead waits in a bounded buffer.
"""

import asyncio
import json
import socket
import struct
import time
from email.utils import formatdate

HEAD_MAX = 64 * 1024
BODY_MAX = 16 * 1024 * 1024
AHEAD_MAX = BODY_MAX + HEAD_MAX
DRIP_PIECES = 10
REASONS = {100: "Continue", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 413: "Payload Too Large", 422: "Unprocessable Entity", 429: "Too Many Requests",
           431: "Request Header Fields Too Large", 500: "Internal Server Error", 502: "Bad Gateway",
           503: "Service Unavailable", 504: "Gateway Timeout", 529: "Site Overloaded"}


class BadRequest(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Request:
    """One request, whole."""

    __slots__ = ("method", "path", "query", "headers", "body", "keep_alive")

    def __init__(self, method, target, headers, keep_alive):
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = b""
        self.keep_alive = keep_alive


def parse_head(head):
    """A Request from the bytes before the blank line. Raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(400, "bad request line")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "bad header line")
        headers[name.lower()] = value.strip()
    options = headers.get("connection", "").lower()
    keep_alive = "keep-alive" in options if words[2] == "HTTP/1.0" else "close" not in options
    return Request(words[0], words[1], headers, keep_alive)


def _split_chunks(data, start):
    """(body, end) of a chunked body in data from start, or None when it is not whole. Raises BadRequest."""
    body = []
    size_sum = 0
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        try:
            size = int(bytes(data[start:line_end]).split(b";")[0], 16)
        except ValueError as error:
            raise BadRequest(400, "bad chunk size") from error
        size_sum += size
        if size < 0 or size_sum > BODY_MAX:
            raise BadRequest(413, "body too large")
        start = line_end + 2
        if size == 0:
            end = data.find(b"\r\n", start)
            return None if end < 0 else (b"".join(body), end + 2)
        if len(data) < start + size + 2:
            return None
        body.append(bytes(data[start:start + size]))
        start += size + 2


class Connection(asyncio.Protocol):
    """One client. The service answers each request with reply() or begin() ... finish(), or ends the connection."""

    def __init__(self, service, connections):
        self.service = service
        self.transport = None
        self.call = None      # what to tell when the client goes or its socket fills: lost(), can_write()
        self.can_write = True
        self.busy = False
        self._connections = connections
        self._data = bytearray()
        self._request = None  # a request whose body is not whole yet
        self._keep_alive = True

    # --- asyncio's side ----------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)
        if self.service.refuses():
            self.close()

    def connection_lost(self, exc):
        self._connections.discard(self)
        call, self.call = self.call, None
        if call is not None:
            call.lost()

    def eof_received(self):
        return False

    def pause_writing(self):
        self.can_write = False

    def resume_writing(self):
        self.can_write = True
        if self.call is not None:
            self.call.may_write()

    def data_received(self, data):
        self._data += data
        if not self.busy:
            self._next()
        elif len(self._data) > AHEAD_MAX:
            self.close()

    # --- requests ----------------------------------------------------------------------------------------------

    def _next(self):
        while not self.busy and self._data and not self.transport.is_closing():
            if self._request is None and self.service.refuses_bytes(self._data):
                self.reset()
                return
            try:
                request = self._take_request()
            except BadRequest as error:
                self._keep_alive = False
                self.busy = True
                self.reply(error.status, [], json.dumps({"error": {"message": str(error), "type":
                           "invalid_request_error", "param": None, "code": None}}).encode())
                return
            if request is None:
                return
            self.busy = True
            self._keep_alive = request.keep_alive
            self.service.handle(self, request)

    def _take_request(self):
        if self._request is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if len(self._data) > HEAD_MAX:
                    raise BadRequest(431, "head too large")
                return None
            self._request = parse_head(bytes(self._data[:end]))
            del self._data[:end + 4]
            if self._request.headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._take_body(self._request)

    def _take_body(self, request):
        if "chunked" in request.headers.get("transfer-encoding", "").lower():
            whole = _split_chunks(self._data, 0)
            if whole is None:
                if len(self._data) > 2 * BODY_MAX:
                    raise BadRequest(413, "body too large")
                return None
            request.body, end = whole
        else:
            length = request.headers.get("content-length", "0")
            if not length.isdigit():
                raise BadRequest(400, "bad Content-Length")
            end = int(length)
            if end > BODY_MAX:
                raise BadRequest(413, "body too large")
            if len(self._data) < end:
                return None
            request.body = bytes(self._data[:end])
        del self._data[:end]
        self._request = None
        return request

    # --- answers -----------------------------------------------------------------------------------------------

    def _head(self, status, headers):
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"date: {http_date()}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if not self._keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def reply(self, status, headers, body, content_type="application/json"):
        """A whole answer."""
        lines = [("content-type", content_type), ("content-length", len(body)), *headers]
        self.transport.write(self._head(status, lines) + body)
        self.finish()

    def head(self, status, headers, length=None):
        """The bytes of a head whose body follows piece by piece: chunked, or of a promised length."""
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", length)
        return self._head(status, [*headers, framing])

    def write(self, data):
        self.transport.write(data)

    def write_chunk(self, data):
        if data:
            self.transport.write(b"%x\r\n" % len(data) + data + b"\r\n")

    def finish(self):
        """The answer is complete: close, or turn to the next request."""
        self.call = None
        self.busy = False
        if not self._keep_alive:
            self.transport.close()
        elif self._data:
            asyncio.get_running_loop().call_soon(self._next)

    def close(self):
        """End the connection after what was written: FIN, whatever the framing promised."""
        self.call = None
        self.transport.close()

    def reset(self):
        """End the connection at once with an RST."""
        self.call = None
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _Date:
    second = 0
    text = ""


def http_date():
    """The Date header's value, made once a second."""
    now = int(time.time())
    if now != _Date.second:
        _Date.second, _Date.text = now, formatdate(now, usegmt=True)
    return _Date.text
