"""A TCP proxy that breaks connections as told: in front of a gateway it is the bad network between a client and it."""

import select
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """plan(n): what happens to the n-th connection: None = nothing, a number = cut after so many bytes of the answer, "refuse" = closed
    at once."""

    def __init__(self, url, plan):
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._plan = plan
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopping = True
        self._thread.join(5)
        self._listener.close()

    def _accept(self):
        while not self._stopping:
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            client, _ = self._listener.accept()
            limit = self._plan(self.connections)
            self.connections += 1
            if limit == "refuse":
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client, limit), daemon=True).start()

    def _carry(self, client, limit):
        left = limit
        with client, socket.create_connection(self._target) as server:
            while not self._stopping:
                for ready in select.select([client, server], [], [], 0.1)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                        continue
                    client.sendall(data if left is None else data[:left])
                    if left is not None:
                        left -= len(data)
                        if left <= 0:
                            return
