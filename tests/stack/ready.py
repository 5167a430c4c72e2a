"""What "up" means for each kind of server: a question asked over the socket and answered, never a sleep."""

import http.client
import socket
import struct

TIMEOUT_S = 1.0
REPLY_MAX = 1 << 20


def _receive(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("connection closed")
        data += piece
    return data


def _kafka_call(sock, key, version, body):
    head = struct.pack(">hhih", key, version, 7, 5) + b"stack"
    sock.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    size = struct.unpack(">i", _receive(sock, 4))[0]
    if not 4 <= size <= REPLY_MAX:
        raise ConnectionError(f"a reply of {size} bytes")
    return _receive(sock, size)[4:]


def kafka(port):
    """None when the broker answers ApiVersions and lists itself (registered and unfenced); else the reason."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
            reply = _kafka_call(sock, 18, 0, b"")
            error, count = struct.unpack(">hi", reply[:6])
            if error or not count:
                return f"ApiVersions answered error {error}"
            # Metadata v1 of no topics: throttle-free layout, brokers first
            reply = _kafka_call(sock, 3, 1, struct.pack(">i", 0))
            return None if struct.unpack(">i", reply[:4])[0] > 0 else "the broker is not registered yet"
    except (OSError, struct.error) as error:
        return str(error) or type(error).__name__


def redis(port):
    """None when PING is answered PONG (not LOADING)."""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as sock:
            sock.sendall(b"*1\r\n$4\r\nPING\r\n")
            reply = sock.recv(200)
            return None if reply.startswith(b"+PONG") else reply.decode("ascii", "replace").strip()
    except OSError as error:
        return str(error) or type(error).__name__


def http_ok(port, path):
    """None when GET path is answered 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        body = reply.read(300).decode("utf-8", "replace").strip()
        return None if reply.status == 200 else f"{path} answered {reply.status} {body}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
