"""Free loopback ports that stay ours while a part is down.

Two traps. A port inside the kernel's ephemeral range may be taken by anybody's outgoing connection while a
killed part is away; worse, a client reconnecting to a dead port of that range can connect to itself and hold
the port. So ports come from below the range. And between choosing and binding another stack could choose the
same: every chosen port is reserved by an abstract unix socket of its name, which the kernel frees with us.
"""

import random
import socket

LOW = 10240
TRIES = 2000


def _ephemeral_low():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768


def is_free(port):
    """True when a server could bind 127.0.0.1:port now (sockets in TIME_WAIT do not count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class PortBook:
    """Ports by name ("kafka", "consumer-1-admin"), each chosen once and then kept."""

    def __init__(self, wanted=None):
        """wanted: ports of an earlier run, taken again where they are free."""
        self.ports = {}
        self._wanted = dict(wanted or {})
        self._held = []
        self._rng = random.Random()

    def _reserve(self, port):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(f"\0sluice-stack-port-{port}")
        except OSError:
            sock.close()
            return False
        self._held.append(sock)
        return True

    def claim(self, name, port):
        """Use exactly this port. False when somebody else has it."""
        if self.ports.get(name) == port:
            return True
        if not is_free(port) or not self._reserve(port):
            return False
        self.ports[name] = port
        return True

    def adopt(self, name, port):
        """Note the port of a part that runs already."""
        self.ports[name] = port

    def get(self, name):
        """The port of this name, chosen now if it has none."""
        if name in self.ports:
            return self.ports[name]
        wanted = self._wanted.get(name)
        if wanted is not None and self.claim(name, wanted):
            return wanted
        high = max(_ephemeral_low(), LOW + 1000)
        taken = set(self._wanted.values())
        for _ in range(TRIES):
            port = self._rng.randrange(LOW, high)
            if port not in taken and self.claim(name, port):
                return port
        raise OSError(f"no free loopback port between {LOW} and {high}")

    def close(self):
        for sock in self._held:
            sock.close()
        self._held = []
